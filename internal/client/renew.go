package client

import (
	"errors"
	"fmt"
	"time"

	"chatsecure/card"
	"chatsecure/internal/fail"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// renewal is the state of the card's next delegation.
type renewal struct {
	running bool      // the card is being asked
	next    time.Time // not before this, after a failure
	ownsKey bool      // K was made anew; the first one is the caller's
}

const (
	// renewBefore is the time before its end at which a delegation is renewed: a person
	// needs time to find the card and type the PIN. A quarter of the delegation's
	// life is the most, renewShort the least.
	renewBefore = 10 * time.Minute
	// renewShort is enough for a card without a PIN, where a delegation lasts
	// seconds.
	renewShort = 2 * time.Second
	// renewAgain is the wait after a failed renewal.
	renewAgain = time.Minute
)

// RenewalOver is an error of Config.Renew that every further call would repeat,
// such as a wrong PIN in a file. The client does not call Renew again. A wrong PIN
// that a person typed is not of this kind.
type RenewalOver struct{ Err error }

// Error returns the text of Err.
func (e *RenewalOver) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *RenewalOver) Unwrap() error { return e.Err }

func (e *engine) delegationEnd() time.Time { return time.Unix(e.local.Bundle.NotAfter, 0) }

// renewIfDue renews the delegation before its end, or after it on a machine that
// has slept. Without Renew, or while it must wait, the end of the delegation ends
// the client.
func (e *engine) renewIfDue(now time.Time) {
	end := e.delegationEnd()
	life := end.Sub(time.Unix(e.local.Bundle.NotBefore, 0)) - startsBefore
	clock := e.now()
	if e.renewal.running || clock.Before(end.Add(-min(renewBefore, max(life/4, renewShort)))) {
		return
	}
	if e.cfg.Renew == nil || now.Before(e.renewal.next) {
		if clock.After(end) {
			e.end(&fail.Error{
				Code: proto.Card, Message: "the delegation that the card signed has ended",
				Hint: "start again with the card; -keep makes one that lasts longer, up to 24h",
			})
		}
		return
	}
	e.renewal.running = true
	renew := e.cfg.Renew
	e.wg.Go(func() {
		cred, err := renew(e.ctx)
		if err == nil {
			err = e.checkRenewed(cred)
		}
		if !e.post(func() { e.renewed(cred, err) }) && cred != nil {
			cred.Key.Erase()
		}
	})
}

// renewed replaces the credential. It reconnects, and records that were not READ
// are sent again. The old K is erased.
func (e *engine) renewed(cred *state.Credential, err error) {
	e.renewal.running = false
	if err != nil {
		if cred != nil {
			cred.Key.Erase()
		}
		e.renewalFailed(err)
		return
	}
	old := e.local
	local := *old
	local.Key, local.Bundle = cred.Key, cred.Bundle
	e.local, e.cfg.Credential, e.renewal.ownsKey = &local, cred, true
	if e.link.sess != nil {
		e.link.sess.Fail(fail.Errorf(proto.Lost, "it is made anew, under a new delegation of the card"))
		e.lost(e.link.sess.Reason())
		e.link.retryAt = time.Time{}
	}
	e.history.SignAs(local.Bundle, local.Key)
	if err := e.history.OwnBundle(local.Bundle); err != nil {
		e.problem(err)
	}
	old.Key.Erase()
	e.event(Event{Type: EventNotice, Notice: "the card has signed a new delegation"})
}

// checkRenewed checks that a new credential proves the same person. Any goroutine may call it.
func (e *engine) checkRenewed(cred *state.Credential) error {
	self, err := e.cfg.Verifier.Verify(cred.Bundle, e.cfg.Name)
	if err == nil && self.Identity != e.self {
		err = fail.Errorf(proto.Card, "the card is another person's than the one this client began with")
	}
	return err
}

func (e *engine) renewalFailed(err error) {
	e.renewal.next = time.Now().Add(renewAgain)
	_, over := errors.AsType[*RenewalOver](err)
	if over || errors.Is(err, card.PINNeeded) || errors.Is(err, card.PINLocked) {
		e.cfg.Renew = nil // asking again would change nothing
	}
	e.problem(&fail.Error{Code: proto.Card, Message: fmt.Sprintf("the delegation ends soon and could not be made anew: %v", err), Err: err})
}
