package client

import (
	"context"
	"time"

	"chatsecure/crypto"
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

// OwnMailbox is a mailbox to which letters to this client's name go, in the relay's word.
type OwnMailbox struct {
	Hash  [32]byte
	Named time.Time // when its device last did
	Ends  time.Time
	Self  bool // it is this device's
}

// OwnMailboxes asks the relay for those of all this user's devices, the newest first.
func (c *Client) OwnMailboxes(ctx context.Context) (own []OwnMailbox, err error) {
	answers, err := c.engine.ask(ctx, &proto.Header{Type: proto.TypeLetterTo, Name: c.Name()})
	if err != nil {
		return nil, err
	}
	told, err := crypto.ReadLetterBoxes(answers[0].Body)
	if err != nil {
		return nil, err
	}
	for _, b := range told {
		mailbox := [32]byte(b.Bundle.Mailbox)
		box, err := c.engine.mail.box(mailbox)
		if err != nil {
			return nil, err
		}
		if box != nil {
			box.Key.Erase()
		}
		own = append(own, OwnMailbox{
			mailbox, time.Unix(b.Bundle.NotBefore, 0), time.Unix(b.Bundle.MailboxEnd, 0), box != nil,
		})
	}
	return own, nil
}

// ReleaseMailbox has the relay drop a mailbox of this client's identity, with its letters: that
// of a device that is lost.
func (c *Client) ReleaseMailbox(ctx context.Context, mailbox [32]byte) error {
	_, err := c.engine.ask(ctx, &proto.Header{Type: proto.TypeRelease, Mailbox: proto.FormatHash(mailbox)})
	return err
}

// Release gives this client's name up at the relay, so that another identity
// may take it.
func (c *Client) Release(ctx context.Context) error {
	_, err := c.engine.ask(ctx, &proto.Header{Type: proto.TypeRelease})
	return err
}
