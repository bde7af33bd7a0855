package client

import (
	"bytes"
	"slices"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/proto"
)

// peerConn is one connection of a user's. It begins when the relay or the peer
// first names it and ends when it is gone. The engine's goroutine owns it.
type peerConn struct {
	id    string
	name  string // as the relay says it
	user  *user
	takes string // as the peer has signed in conv, else as the relay says; empty until then
	told  bool   // as come or authenticated: its leaving is told, too

	shake    handshake
	refusals refusalCount

	conv      *crypto.Conversation
	confirmed bool           // the peer has sent something in conv
	first     int64          // the time of its first message in conv, Unix milliseconds
	checked   time.Time      // when the peer's bundle was last looked at
	look      *step          // a look at it that is under way
	party     *history.Party // for judge
	bundle    [32]byte
	last      [32]byte // the mailbox that the bundle named, or zeros
	ending    bool     // the peer has said that it ends
	adopted   bool     // it has got what waited for its device

	held    heldLines
	headers headerLines
	lines   lineWindow
	out     outgoing
	in      incoming
}

// maxConns bounds the peer connections that a client knows: a relay could invent
// any number.
const maxConns = 1 << 15

// connFor finds or makes a connection. It returns nil for our own, for one with
// another name than before, and beyond maxConns.
func (e *engine) connFor(id, name string) *peerConn {
	if pc := e.conns[id]; pc != nil {
		if pc.user.name != proto.FoldName(name) {
			return nil // a connection has one name for life; the relay lies
		}
		return pc
	}
	if id == e.link.sess.ID || len(e.conns) >= maxConns {
		return nil
	}
	pc := &peerConn{id: id, name: name, user: e.userFor(name)}
	e.conns[id] = pc
	pc.user.conns++
	return pc
}

// onPeer takes the relay's word that a connection came or left.
func (e *engine) onPeer(h *proto.Header) {
	if h.Done == proto.Left {
		e.connGone(h.ID, "the connection has left")
		return
	}
	e.connCame(h.ID, h.Name, h.Takes)
}

func (e *engine) connCame(id, name, takes string) {
	if id == e.link.sess.ID {
		return
	}
	_, before := e.conns[id]
	pc := e.connFor(id, name)
	if pc == nil {
		return
	}
	pc.name = name
	if pc.conv == nil {
		pc.takes = takes
	}
	if !before && takes != proto.TakesNone && (pc.user.person != nil || pc.user.accepted) {
		pc.told = true
		e.event(Event{Type: EventPeer, Peer: &PeerChange{Name: name, Conn: id, What: proto.Came}})
	}
	e.approach(pc)
}

// connGone takes the relay's word, or the peer's end, that a connection is
// not there any more.
func (e *engine) connGone(id, reason string) {
	pc := e.conns[id]
	if pc == nil {
		return
	}
	talked, ended := pc.conv != nil, pc.ending
	if talked && !ended {
		e.depart(pc)
	}
	e.dropConn(id, reason)
	pc.user.boxes.told = false // the next record asks again
	// The same person may have proved another connection before the relay knew
	// that this one was dead.
	for _, other := range e.connsOf(pc.user) {
		if other.conv != nil && !other.ending && !e.leaving {
			e.adopt(other)
		}
	}
	e.outbox.changed()
	if pc.told {
		change := &PeerChange{Name: pc.name, Conn: id, What: proto.Left}
		if talked && !ended {
			change.Reason = "cut short: " + reason
		}
		e.event(Event{Type: EventPeer, Peer: change})
	}
}

// dropConn forgets a connection. Its records that are not READ wait for another.
func (e *engine) dropConn(id, reason string) {
	pc := e.conns[id]
	e.endConversation(pc, reason)
	e.abandon(&pc.look)
	e.abandon(&pc.shake.step)
	e.dropHeld(pc)
	pc.erase()
	delete(e.conns, id)
	pc.user.conns--
	e.orphan(pc)
	e.forgetUser(pc.user)
}

// onPeerError takes an error that a peer sent through the relay. Anybody between
// could have made it: it decides only between trying again and giving up.
func (e *engine) onPeerError(h *proto.Header, body []byte) {
	pc := e.conns[h.SrcID]
	if pc == nil {
		return
	}
	refusal := pc.refusal(h.Code, h.Message)
	switch {
	case h.Code == proto.NoConversation && pc.conv != nil && bytes.Equal(body, pc.conv.T3[:]):
		e.breakConversation(pc, e.then("the other side says: "+proto.Quote(h.Message), "the conversation begins anew"))
	case !bytes.Equal(body, pc.shake.attempt[:]): // of another conversation or attempt
	case pc.shake.init != nil:
		e.attemptFailed(pc, refusal)
	case pc.shake.resp != nil: // what waits here has an attempt of its own
		pc.shake.drop()
		pc.shake.deadline = time.Time{}
		if h.Code != proto.Busy { // the peer begins anew by itself
			e.tellRefusal(pc, refusal)
		}
	}
}

// peerCodes has the codes of a peer's refusal: PROTOCOL.md, "Client-connect". The word of others
// would be this machine's or the relay's, with their advice.
var peerCodes = []proto.Code{
	proto.Malformed, proto.SignatureInvalid, proto.DecryptFailed, proto.NoCommonSuite, proto.Busy, proto.NotAccepted,
	proto.IdentityChanged, proto.NameMismatch, proto.CertificateUntrusted, proto.CertificateExpired, proto.CertificateNotYet,
	proto.CertificateRevoked, proto.CertificateUnsuitable, proto.RevocationUnknown, proto.DelegationInvalid,
	proto.DelegationExpired, proto.DelegationNotYet, proto.BundleMalformed,
}

// refusal is a peer's refusal in its own words.
func (pc *peerConn) refusal(code proto.Code, said string) *fail.Error {
	if !slices.Contains(peerCodes, code) {
		code = proto.Internal
	}
	return &fail.Error{
		Code: code, Message: pc.name + " refuses you: " + proto.Quote(said), Err: &proto.Error{Code: code, Message: said},
	}
}

// refusedBy takes the peer's signed word that it takes nothing more: what it has not called DELIVERED
// was not taken.
func (e *engine) refusedBy(pc *peerConn, said string) {
	refusal := pc.refusal(proto.NotAccepted, said)
	pc.out.refuse()
	e.endConversation(pc, refusal.Message)
	e.attemptFailed(pc, refusal)
}

// tickConn looks at one connection's time-outs.
func (e *engine) tickConn(pc *peerConn, now time.Time) {
	switch {
	case pc.shake.step == nil && !pc.shake.deadline.IsZero() && now.After(pc.shake.deadline):
		pc.shake.deadline = time.Time{}
		switch {
		case pc.shake.underWay():
			if pc.shake.init != nil {
				pc.user.refusal = fail.Errorf(proto.Timeout, "%s does not answer the handshake", pc.name)
			}
			pc.shake.drop()
			pc.shake.postpone(e.cfg.Again)
		case pc.conv != nil && !pc.confirmed:
			e.breakConversation(pc, e.then("the other side did not confirm the conversation", "it begins anew"))
		}
	case pc.conv != nil && pc.lines.overdue(now):
		pc.lines.excuse(now)
		e.breakConversation(pc, e.then("the relay does not pass messages on", "the conversation begins anew"))
	}
	e.leaveSilent(pc, now)
	if o := &pc.out; o.taken == o.quiet {
		e.markTaken(pc) // no receipt has come since the last tick: the history says SENT
	} else {
		o.quiet = o.taken
	}
	if e.link.sess != nil && pc.conv == nil && !fail.HasCode(pc.user.refusal, proto.NotAccepted) &&
		(len(pc.out.queue) > 0 || len(pc.user.orphans) > 0 || pc.user.watching) {
		e.approach(pc)
	}
}

// end names the connection in a handshake.
func (pc *peerConn) end() crypto.End { return crypto.End{Name: pc.name, Conn: pc.id} }

func (pc *peerConn) erase() {
	pc.shake.drop()
	if pc.conv != nil {
		pc.conv.Erase()
		pc.conv = nil
	}
}
