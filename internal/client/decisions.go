package client

import (
	"context"

	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// standing is the user's decision about a person, under all names.
type standing struct{ accepted, blocked bool }

// decisions remembers the standings for as long as the file of known peers stays as it is. The
// engine's goroutine owns it.
type decisions struct {
	read uint64
	of   map[[32]byte]standing
}

func (e *engine) standing(identity [32]byte) standing {
	if identity == e.self {
		return standing{accepted: true}
	}
	s, ok := e.trust.of[identity]
	if !ok {
		s = standing{e.cfg.State.Accepted(identity), e.cfg.State.Blocked(identity)}
		e.trust.of[identity] = s
	}
	return s
}

// knows tells whether this person is accepted under this name.
func (cfg *Config) knows(name string, identity [32]byte) bool {
	k, ok := cfg.State.KnownPeer(proto.FoldName(name))
	return ok && k.Accepted && k.Identity == identity
}

// Knows tells whether the sender of a message is accepted under that name by now.
func (c *Client) Knows(m *Message) bool { return c.cfg.knows(m.From, m.Identity) }

// noticeDecisions looks whether somebody was accepted or blocked, in this client or by another on
// the state directory.
func (e *engine) noticeDecisions() {
	read := e.cfg.State.PeersRead()
	if read == e.trust.read {
		return
	}
	e.trust = decisions{read, map[[32]byte]standing{}}
	for _, u := range e.users {
		// Only who was accepted or has proved to be that person is: the name may be another's by now.
		if (u.accepted || u.person != nil) && e.standing(u.identity).blocked {
			e.block(u)
		}
		u.accepted = u.accepted || e.cfg.knows(u.name, u.identity)
		if u.person != nil && !u.accepted {
			if err := e.cfg.State.CheckLooks(u.shown, u.person); err != nil {
				e.turnOut(u, err)
			}
		}
	}
	var now []*shownMark // may be READ by now
	type sender struct {
		name string
		from [32]byte
	}
	known := map[sender]bool{}
	for _, m := range e.inbox.pending {
		if e.standing(m.from).blocked {
			e.settle(m)
			continue
		}
		if m.seen && e.standing(m.from).accepted {
			now = append(now, m)
		}
		if m.known {
			continue
		}
		by := sender{m.name, m.from}
		if _, looked := known[by]; !looked {
			if known[by] = e.cfg.knows(m.name, m.from); known[by] {
				e.event(Event{Type: EventAccepted})
			}
		}
		m.known = known[by]
	}
	e.marks.put(now)
}

// turnOut ends all that there is with a person who is refused by now, and tells both sides why.
func (e *engine) turnOut(u *user, err error) {
	for _, pc := range e.connsOf(u) {
		if pc.conv != nil {
			told, _ := refusal(err)
			e.endRefused(pc, pc.conv, told)
			e.tellRefusal(pc, err)
		}
	}
	u.watching, u.person, u.refusal = false, nil, fail.AsError(err)
	e.failUser(u, fail.AsError(err))
}

// block ends all that there is with a blocked person. Only an open question is ended by a word.
func (e *engine) block(u *user) {
	err := e.cfg.State.PeerBlocked(u.shown, u.identity)
	for _, pc := range e.connsOf(u) {
		pc.told = false // nor is their leaving told
		if pc.conv != nil {
			told, _ := refusal(err)
			e.endRefused(pc, pc.conv, told)
		}
	}
	if unask := e.asked[u]; unask != nil {
		unask(err)
	}
	u.accepted, u.watching, u.person = false, false, nil
	u.refusal = err
	e.failUser(u, err)
}

// acceptNew accepts a person whose first message has come, if AcceptNew says so.
func (e *engine) acceptNew(u *user, person *trust.Person) {
	if !e.cfg.AcceptNew || u.accepted {
		return
	}
	if err := e.rememberAccepted(u, person); err != nil {
		e.problem(err)
		return
	}
	u.accepted = true
	delete(e.trust.of, person.Identity)
}

// acceptMet accepts the sender of a message that an earlier run has stored. Nobody takes the name of
// somebody else so.
func (c *Client) acceptMet(ctx context.Context, m *Message) error {
	met, ok := c.cfg.State.KnownPeer(proto.FoldName(m.From))
	if !ok {
		met = &state.KnownPeer{Name: m.From, Identity: m.Identity}
	}
	yes, err := c.cfg.AcceptNew, error(nil)
	if same := met.Identity == m.Identity && !met.Blocked; !same {
		yes = false
	} else if !yes && c.cfg.Asker != nil {
		yes, err = c.cfg.Asker.ConfirmMet(ctx, met)
	}
	if err == nil && !yes {
		err = fail.Errorf(proto.UnknownPeer, "the person who uses the name %s is not accepted", proto.Visible(m.From))
	}
	if err == nil {
		_, err = c.cfg.State.AcceptPeer(m.From, m.Identity)
	}
	return err
}

// Accept accepts the sender of a message under that name: by AcceptNew, or by a question. An error
// means that the person is not accepted.
func (c *Client) Accept(ctx context.Context, m *Message) error {
	if m.Person == nil {
		return c.acceptMet(ctx, m)
	}
	var u *user
	if err := c.engine.do(ctx, func() { u = c.engine.userFor(m.From) }); err != nil {
		return err
	}
	return c.engine.accept(ctx, u, m.From, m.Person)
}
