package command

import (
	"context"
	"errors"
	"flag"
	"fmt"

	"chatsecure/proto"
)

// releaseOptions are the flags of release.
type releaseOptions struct{ mailbox string }

func (o *releaseOptions) flags(f *flag.FlagSet) runner {
	f.Var(checked[string]{&o.mailbox, mailboxHash}, "mailbox", "")
	return alone(o.run)(f)
}

const mailboxList = "list" // in the place of a hash

func mailboxHash(s string) (string, error) {
	if s != mailboxList && !proto.IsHex(s, 32) {
		return "", errors.New("it has 64 hex digits, or is the word list")
	}
	return s, nil
}

// run gives up the name at the relay, or drops a mailbox there, or lists those that are there.
func (o *releaseOptions) run(a *app, ctx context.Context) error {
	return a.oneShot(ctx, func(ctx context.Context, c *connection) error {
		switch o.mailbox {
		case "":
		case mailboxList:
			own, err := c.OwnMailboxes(ctx)
			for _, m := range own {
				a.out.show(&mailboxObject{
					a.out.head("mailbox"), proto.FormatHash(m.Hash), jsonTime{m.Named}, jsonTime{m.Ends}, m.Self,
				})
			}
			if err == nil && len(own) == 0 {
				a.out.notice("no device of yours takes letters at %s", a.opt.relay)
			}
			return err
		default:
			err := c.ReleaseMailbox(ctx, proto.MustHash(o.mailbox))
			if err == nil {
				a.out.notice("the mailbox is dropped at %s, with the letters in it", a.opt.relay)
			}
			return err
		}
		if err := c.Release(ctx); err != nil {
			return err
		}
		a.out.notice("the name %s is free at %s as soon as your other connections have left; "+
			"then anybody can take it", proto.Visible(c.Name()), a.opt.relay)
		return nil
	})
}

// mailboxObject is a mailbox of one's own at the relay.
type mailboxObject struct {
	head
	Mailbox string   `json:"mailbox"`
	Named   jsonTime `json:"named"`
	Ends    jsonTime `json:"ends"`
	Self    bool     `json:"self,omitempty"`
}

func (o *mailboxObject) text() string {
	device := "another device"
	if o.Self {
		device = "this device"
	}
	return fmt.Sprintf("%s of %s, last named %s, ends %s\n", o.Mailbox, device, dateTime(o.Named.Time), dateTime(o.Ends.Time))
}
