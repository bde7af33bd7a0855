package chatsecure

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"chatsecure/card"
	"chatsecure/crypto"
	"chatsecure/proto"
)

// What rests on time: the delegation of our own K, and who our peers are.

const (
	// renewBefore is how long before its end a delegation is made anew: a
	// person needs time to find the card and type the PIN. It is at most a
	// quarter of the delegation's life, and at least renewShort.
	renewBefore = 10 * time.Minute
	// renewShort leaves a delegation of seconds time for one card without a PIN.
	renewShort = 2 * time.Second
	// renewAgain is how long a renewal that failed waits for the next try.
	renewAgain = time.Minute
	// recheckEvery is how often every peer is looked at again, also one that is
	// silent: a revoked one is told within one reload of the lists.
	recheckEvery = 2 * time.Second
	// refreshEvery is how often the revocation lists' directory is looked at.
	refreshEvery = 5 * time.Second
)

// watchLists looks at the revocation lists in the background, because reading
// a large one takes longer than a message may wait.
func (e *engine) watchLists() {
	ticker := time.NewTicker(refreshEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-e.ended:
			return
		}
		changed, problems := e.cfg.Refresh()
		if changed {
			for _, p := range problems {
				e.event(Event{Type: EventNotice, Notice: "revocation lists: " + p.Error()})
			}
		}
	}
}

// recheck looks again at everyone there is a conversation with.
func (e *engine) recheck(now time.Time) {
	if d := now.Sub(e.rechecked); d >= 0 && d < recheckEvery {
		return
	}
	e.rechecked = now
	for _, pc := range e.conns {
		if pc.conv == nil {
			continue
		}
		if _, err := e.cfg.Fetcher.Verify(e.cfg.Verifier, pc.conv.PeerBundle, pc.name); err != nil && !errors.Is(err, errFetching) {
			e.refuseMessage(pc, err)
		}
	}
	e.recheckDeparted(now)
}

// departed is somebody whose connection ended without a word: perhaps the relay
// sent them away, for a reason that the lists here will show as well.
type departed struct {
	name, conn string
	bundle     *crypto.Bundle
	at         time.Time
}

const (
	// departedFor is how long lists may take to say why somebody is gone.
	departedFor = refreshEvery + 2*recheckEvery
	// maxDeparted bounds them; a whole relay that is lost is not among them.
	maxDeparted = 64
)

func (e *engine) recheckDeparted(now time.Time) {
	e.departed = slices.DeleteFunc(e.departed, func(d departed) bool {
		_, err := e.cfg.Fetcher.Verify(e.cfg.Verifier, d.bundle, d.name)
		if err != nil && final(err) {
			e.event(Event{Type: EventPeer, Peer: &PeerChange{Name: d.name, Conn: d.conn, What: "refused", Reason: AsError(err).Message}})
			return true
		}
		return now.Sub(d.at) > departedFor
	})
}

func (e *engine) delegationEnd() time.Time { return time.Unix(e.local.Bundle.NotAfter, 0) }

// renewIfDue makes a new K and delegation before the present one ends, or after
// it on a machine that has slept; where nobody may be asked, the client ends.
func (e *engine) renewIfDue(now time.Time) {
	end := e.delegationEnd()
	life := end.Sub(time.Unix(e.local.Bundle.NotBefore, 0)) - startsBefore
	clock := e.now()
	if e.renewing || clock.Before(end.Add(-min(renewBefore, max(life/4, renewShort)))) {
		return
	}
	if e.cfg.Renew == nil || now.Before(e.renewNext) {
		if clock.After(end) {
			e.end(&Error{Code: proto.Card, Message: "the delegation that the card signed has ended", Hint: "start again with the card; -keep makes one that lasts longer, up to 24h"})
		}
		return
	}
	e.renewing = true
	e.wg.Go(func() {
		cred, err := e.cfg.Renew(e.ctx)
		select {
		case e.cmds <- func() { e.renewed(cred, err) }:
		case <-e.ended:
			if err == nil {
				cred.Key.Erase()
			}
		}
	})
}

// RenewalOver is an error of ClientConfig.Renew that every further call would end
// with, such as a wrong PIN in a file: it is not called again. Where a person was
// asked, a wrong PIN is not of this kind.
type RenewalOver struct{ Err error }

// Error returns what Err says.
func (e *RenewalOver) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *RenewalOver) Unwrap() error { return e.Err }

// renewed takes a new credential into use: the connection is made anew under
// it, and what was not READ is sent again. The old K is erased.
func (e *engine) renewed(cred *Credential, err error) {
	e.renewing = false
	if err == nil {
		var self *crypto.Person
		self, err = e.cfg.Verifier.Verify(cred.Bundle, e.cfg.Name)
		if err == nil && self.Identity != e.self {
			err = Errorf(proto.Card, "the card is another person's than the one this client began with")
		}
	}
	if err != nil {
		if cred != nil {
			cred.Key.Erase()
		}
		e.renewNext = time.Now().Add(renewAgain)
		_, over := errors.AsType[*RenewalOver](err)
		if over || errors.Is(err, card.PINNeeded) || errors.Is(err, card.PINLocked) {
			e.cfg.Renew = nil // asking again would not find anybody
		}
		e.event(Event{Type: EventError, Err: &Error{Code: proto.Card, Message: fmt.Sprintf("the delegation ends soon and could not be made anew: %v", err), Err: err}})
		return
	}
	old := e.local
	local := *old
	local.Key, local.Bundle = cred.Key, cred.Bundle
	e.local, e.cfg.Credential, e.ownsKey = &local, cred, true
	if e.sess != nil {
		e.sess.fail(Errorf(proto.Lost, "it is made anew, under a new delegation of the card"))
		e.lost(e.sess.reason())
		e.retryAt = time.Time{}
	}
	old.Key.Erase()
	e.event(Event{Type: EventNotice, Notice: "the card has signed a new delegation"})
}
