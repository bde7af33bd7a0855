package command

import (
	"context"

	"chatsecure/proto"
)

// runRelease gives up the name at the relay.
func runRelease(a *app, ctx context.Context) error {
	return a.oneShot(ctx, func(ctx context.Context, c *connection) error {
		if err := c.Release(ctx); err != nil {
			return err
		}
		a.out.notice("the name %s is free at %s as soon as your other connections have left; "+
			"then anybody can take it", proto.Visible(c.Name()), a.opt.relay)
		return nil
	})
}
