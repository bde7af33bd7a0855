package client

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/fetch"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// resolve finds the persons behind the names before the first record to them. It
// waits until the connected ones are proved or refused, and asks about new ones.
// It fails if nobody is left.
func (e *engine) resolve(ctx context.Context, names []string) (*targets, error) {
	if err := checkNames(names); err != nil {
		return nil, err
	}
	t := &targets{}
	if err := e.do(ctx, func() {
		t.users = e.usersOf(names)
		for _, u := range t.users {
			e.seek(u)
		}
	}); err != nil {
		return nil, err
	}
	if err := e.awaitSettled(ctx, t.users); err != nil {
		return nil, err
	}
	refusals := make([]*fail.Error, len(t.users))
	for i, u := range t.users {
		var err error
		if refusals[i], err = e.confirm(ctx, u); err != nil {
			return nil, err
		}
	}
	if err := e.do(ctx, func() { t.to = address(t.users, refusals) }); err != nil {
		return nil, err
	}
	if slices.Contains(refusals, nil) {
		return t, nil
	}
	// Nobody is left to send to. The most severe reason is told.
	slices.SortStableFunc(refusals, func(a, b *fail.Error) int {
		return fail.Severity(fail.ExitStatus(a)) - fail.Severity(fail.ExitStatus(b))
	})
	return nil, refusals[0]
}

// checkNames refuses names that no message can go to.
func checkNames(names []string) error {
	if len(names) == 0 || len(names) > proto.MaxRecipients {
		return fail.Errorf(proto.Usage, "a message goes to 1 to %d names", proto.MaxRecipients)
	}
	for _, name := range names {
		if err := proto.CheckName(name); err != nil {
			return err
		}
	}
	return nil
}

// usersOf returns the users of some names, each once.
func (e *engine) usersOf(names []string) (users []*user) {
	for _, name := range names {
		if u := e.userFor(name); !slices.Contains(users, u) {
			users = append(users, u)
		}
	}
	return users
}

// seek begins to look for a user.
func (e *engine) seek(u *user) {
	u.refusal = nil
	asks := !u.watching
	u.watching = true
	for _, pc := range e.connsOf(u) {
		pc.shake.again = time.Time{}
		e.approach(pc)
	}
	// Without a connection, news of one may be on its way from the relay. The answer to this
	// request comes after it. A persistent client waits for the news. An answer that is still to come
	// will do.
	if asks || u.listed && !e.cfg.Persistent && !e.prospect(u, proto.TakesMessages).there {
		u.listed = false
		if e.link.sess != nil {
			e.requestWatch(u.shown)
		}
	}
	e.askBoxes(u)
}

// address returns the sorted `to` list for users, with proved identities, and
// notes the refusals.
func address(users []*user, refusals []*fail.Error) (to []crypto.Recipient) {
	for i, u := range users {
		if refusals[i] != nil {
			u.refusal = refusals[i]
		}
		rc := crypto.Recipient{Name: u.name}
		if u.identity != [32]byte{} {
			rc.Identity = proto.FormatHash(u.identity)
		}
		to = append(to, rc)
	}
	crypto.SortRecipients(to)
	return to
}

// prospect is the state of the way to a user.
type prospect struct {
	shown    string
	person   *trust.Person // the last one proved, or nil
	accepted bool
	refusal  error
	listed   bool // the relay has told who is there
	there    bool // with a connection of the kind that was asked for
	talks    bool // over such a connection
	others   bool // with connections of another kind
	hopeless bool // the handshakes with each such connection fail again and again
	away     bool // the relay is lost: nobody knows who is there
	asks     bool // for mailboxes, or looks at one
	boxed    bool // a mailbox of theirs holds
}

func (e *engine) prospect(u *user, takes string) prospect {
	p := prospect{shown: u.shown, person: u.person, accepted: u.accepted, refusal: u.refusal, listed: u.listed, away: e.link.sess == nil}
	p.asks, p.boxed = e.leaves() && (!u.boxes.told || u.boxes.open > 0), e.leaves() && e.hasBox(u)
	hopes := 0
	for _, pc := range e.connsOf(u) {
		if pc.takes == takes {
			p.there = true
			p.talks = p.talks || pc.conv != nil
			if pc.shake.tries < hopelessTries {
				hopes++
			}
		} else {
			p.others = true
		}
	}
	p.hopeless = p.there && hopes == 0 && fail.ExitStatus(p.refusal) == fail.ExitIntegrity
	return p
}

// settled tells whether waiting longer would change nothing.
func (p *prospect) settled() bool {
	// Without the relay nobody knows who is there. A person who was proved before
	// can be written to all the same.
	if !p.listed || p.away && p.person == nil {
		return false
	}
	return !p.there && !p.asks || p.found()
}

// found tells whether the person is known to be there, is refused for good, or cannot be proved.
func (p *prospect) found() bool { return p.talks || final(p.refusal) || p.hopeless }

// waitsFor tells whether a record waits for somebody absent: it is bound to the known person, or
// to the first who is accepted.
func (e *engine) waitsFor(p *prospect) bool {
	return !p.there && e.cfg.WaitPeer != 0 && (p.accepted || e.cfg.AcceptNew)
}

// awaitSettled waits until each user has a conversation, is refused, or is known
// to be absent. If all are absent, and somebody must be asked about, it waits up to WaitPeer.
func (e *engine) awaitSettled(ctx context.Context, users []*user) error {
	var start time.Time
	return e.await(ctx, func(now time.Time) bool {
		now = e.link.patient(now)
		if start.IsZero() {
			start = now
		}
		settled, anybody, pending := true, false, true
		waited := now.Sub(start)
		tried := waited > e.triedFor()
		for _, u := range users {
			p := e.prospect(u, proto.TakesMessages)
			p.asks = p.asks && !tried
			settled = settled && (p.settled() || tried && p.boxed)
			anybody = anybody || p.there || p.boxed || p.found()
			pending = pending && e.waitsFor(&p)
		}
		return settled && (anybody || pending || waited >= e.cfg.WaitPeer) || waited > e.cfg.Timeout+e.cfg.WaitPeer
	})
}

// final tells whether a refusal is of the person, and stays. Other failures, such
// as a lost or spoiled line or a list that is still being fetched, are tried
// again, and so is a refusal that nobody has signed: any stranger on the way can send one.
func final(refusal error) bool {
	_, unproved := errors.AsType[*proto.ClearError](refusal)
	return refusal != nil && !unproved && fail.ExitStatus(refusal) == fail.ExitRefused && !errors.Is(refusal, fetch.ErrFetching)
}

// confirm asks about a new user. The refusal is the reason why nothing can be
// sent to that user. An error ends the whole Send.
func (e *engine) confirm(ctx context.Context, u *user) (refusal *fail.Error, err error) {
	var p prospect
	if err := e.do(ctx, func() { p = e.prospect(u, proto.TakesMessages) }); err != nil {
		return nil, err
	}
	switch {
	case final(p.refusal): // perhaps by somebody who was proved before
		return fail.AsError(p.refusal), nil
	case p.person != nil && p.accepted:
		return nil, nil
	case p.person != nil:
		refusal := e.accept(ctx, u, p.shown, p.person)
		err := e.do(ctx, func() { e.decided(u, p.person, refusal) })
		return fail.AsError(cmp.Or(refusal, err)), nil
	case p.refusal != nil:
		return fail.AsError(p.refusal), nil
	case p.there && !p.away:
		return fail.Errorf(proto.Timeout, "%s does not answer the handshake", p.shown), nil
	case e.waitsFor(&p):
		return nil, nil
	case p.away:
		return fail.Errorf(proto.Lost, "the relay at %s is lost, so nobody knows whether %s is there", e.cfg.Relay, p.shown), nil
	}
	return p.absent(), nil
}

// absent is the reason why there is nobody to send to.
func (p *prospect) absent() *fail.Error {
	if p.others {
		return fail.Errorf(proto.NotTaking, "%s is connected, but not where messages are taken", p.shown)
	}
	return errNobody(p.shown)
}

// accept decides about a new person, by AcceptNew or by a question, and writes a yes down. Any
// goroutine may call it but the engine's.
func (e *engine) accept(ctx context.Context, u *user, name string, p *trust.Person) error {
	k, ok := e.cfg.State.KnownPeer(u.name)
	acceptedElsewhere := ok && k.Accepted && k.Identity == p.Identity
	if !acceptedElsewhere {
		if err := e.cfg.State.CheckLooks(name, p); err != nil {
			return err
		}
	}
	if !e.cfg.AcceptNew && !acceptedElsewhere {
		if e.cfg.Asker == nil {
			return state.PeerUnknown(name, p)
		}
		yes, err := e.cfg.Asker.ConfirmPeer(ctx, name, p)
		if err != nil {
			return err
		}
		if !yes {
			return state.PeerUnknown(name, p)
		}
	}
	return e.rememberAccepted(u, p)
}

// rememberAccepted writes the person down as the accepted owner of the name.
func (e *engine) rememberAccepted(u *user, p *trust.Person) error {
	k := e.seen(u, p)
	k.Accepted = true
	if old, ok := e.cfg.State.KnownPeer(u.name); ok {
		k.First = old.First
	}
	return e.cfg.State.SetKnownPeer(k)
}
