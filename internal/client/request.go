package client

import (
	"context"

	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// request sends a request that the relay itself answers. It runs in the
// engine's goroutine.
func (e *engine) request(h *proto.Header, answer func(Inbound, error)) {
	e.link.request(h, e.local.Key, answer)
}

// ask makes a request from another goroutine and collects all its answers.
func (e *engine) ask(ctx context.Context, h *proto.Header) ([]Inbound, error) {
	type result struct {
		in  Inbound
		err error
	}
	results := make(chan result, 64)
	ctx, cancel := context.WithTimeout(ctx, e.cfg.Timeout)
	defer cancel()
	err := e.do(ctx, func() {
		e.request(h, func(in Inbound, err error) {
			select {
			case results <- result{in, err}:
			default: // more pages than any relay has users
			}
		})
	})
	if err != nil {
		return nil, err
	}
	var all []Inbound
	for {
		select {
		case r := <-results:
			if r.err != nil {
				return nil, r.err
			}
			all = append(all, r.in)
			if r.in.Header.Type != proto.TypeList || r.in.Header.Done != "" {
				return all, nil
			}
		case <-e.ended:
			return nil, e.endError()
		case <-ctx.Done():
			return nil, fail.Errorf(proto.Lost, "the relay did not answer within %v", e.cfg.Timeout)
		}
	}
}

// Release gives this client's name up at the relay, so that another identity
// may take it.
func (c *Client) Release(ctx context.Context) error {
	_, err := c.engine.ask(ctx, &proto.Header{Type: proto.TypeRelease})
	return err
}
