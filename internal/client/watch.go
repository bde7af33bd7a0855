package client

import (
	"context"
	"math/rand/v2"
	"time"

	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// Watch makes the relay tell who comes and leaves: events of type peer for
// names that are known here.
func (c *Client) Watch(ctx context.Context) error {
	e := c.engine
	return e.do(ctx, func() {
		e.watchAll = true
		e.requestWatch("")
	})
}

// requestWatch asks who is there, all or one name, and to be told who comes
// and leaves from now on.
func (e *engine) requestWatch(name string) {
	if name != "" {
		e.userFor(name).watching = true
	}
	e.tryWatch(name, e.cfg.Again)
}

// tryWatch makes the request. If the relay is too busy, it makes it again after
// about wait, and then twice that.
func (e *engine) tryWatch(name string, wait time.Duration) {
	e.request(&proto.Header{Type: proto.TypeList, Name: name, Watch: true}, func(in Inbound, err error) {
		var u *user
		if name != "" {
			u = e.userFor(name)
		}
		if err != nil {
			e.watchRefused(name, u, fail.AsError(err), wait)
			return
		}
		page, err := readListed(in.Body)
		if err != nil {
			e.problem(err)
		}
		for _, l := range page {
			e.connCame(l.ID, l.Name, l.Takes)
		}
		if u != nil && in.Header.Done != "" {
			u.listed = true
			if u.refusal != nil && fail.AsError(u.refusal).Code == proto.Busy {
				u.refusal = nil
			}
		}
	})
}

// watchRefused takes the reason why a user is not watched, or all where u is nil.
func (e *engine) watchRefused(name string, u *user, err *fail.Error, wait time.Duration) {
	switch {
	case err.Code == proto.Lost: // begin asks again once the relay is back
	case err.Code == proto.Busy && e.watched() <= proto.MaxWatches:
		if u != nil {
			u.refusal = err // for a Send that does not wait so long
		}
		e.watchLater(name, wait)
	case u != nil:
		u.listed, u.refusal = true, err
		if e.cfg.Persistent {
			u.watching = false // until the next Send
			e.failUser(u, err)
		}
	}
}

// watched counts watched names. Once it exceeds MaxWatches, a relay that
// answers busy does so until it falls.
func (e *engine) watched() (n int) {
	for _, u := range e.users {
		if u.watching {
			n++
		}
	}
	return n
}

// watchLater asks again after a while, unless the relay was lost or has answered
// another request meanwhile.
func (e *engine) watchLater(name string, wait time.Duration) {
	sess := e.link.sess
	e.wg.Go(func() {
		select {
		case <-time.After(wait/2 + rand.N(wait/2+1)):
		case <-e.ended:
			return
		case <-e.ctx.Done():
			return
		}
		e.do(e.ctx, func() {
			if e.link.sess == sess && (name == "" || !e.userFor(name).listed) {
				e.tryWatch(name, min(2*wait, backoffMax))
			}
		})
	})
}
