package chatsecure

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"chatsecure/crypto"
	"chatsecure/proto"
)

// maxAnswering is how many messages may be on the way to a connection before
// what is not known is no longer answered: a flood earns silence.
const maxAnswering = 64

// Refusals of one connection are told this many at once, and then one in this
// time: it can come again as fast as it likes.
const (
	refusalBurst = 32
	refusalEvery = time.Second
)

// pace lets a burst through and then one thing in a time.
type pace struct{ next time.Time }

// take tells whether one more may pass now.
func (p *pace) take(now time.Time, burst int, every time.Duration) bool {
	if p.next.Before(now) {
		p.next = now
	}
	if p.next.Sub(now) >= time.Duration(burst)*every {
		return false
	}
	p.next = p.next.Add(every)
	return true
}

// answerError answers a peer with an error, unless it takes no answers.
func (e *engine) answerError(pc *peerConn, code proto.Code, message string, body []byte) {
	if pc.answerRoom() {
		e.sendHeader(pc, &proto.Header{Type: proto.TypeError, Dst: pc.name, DstID: pc.id, Code: code, Message: clip(message, proto.MaxMessage)}, body, 0)
	}
}

// refusePeer tells a peer by its code why who it is, or what it sent, is
// refused, and shows it here.
func (e *engine) refusePeer(pc *peerConn, err error) {
	ee := AsError(err)
	switch {
	case errors.Is(err, crypto.ErrDecrypt), errors.Is(err, crypto.ErrHandshake):
		ee = Errorf(proto.DecryptFailed, "the handshake does not hold")
	case errors.Is(err, crypto.ErrBusy):
		ee = Errorf(proto.Busy, "the keys for this suite are used up for the moment")
	}
	if errors.Is(err, errFetching) {
		e.answerError(pc, proto.Busy, ee.Message, nil)
		return // the peer comes again, and nobody need know
	}
	told := ee.Message
	if errors.As(err, new(*IdentityChange)) {
		told = "the name is known here as another person's" // whose is not for whoever uses it
	}
	e.answerError(pc, ee.Code, told, nil)
	e.tellRefusal(pc, AsError(err).Message)
}

// tellRefusal shows here that a connection was refused, not more often than a
// person can read.
func (e *engine) tellRefusal(pc *peerConn, reason string) {
	if !pc.refusals.take(time.Now(), refusalBurst, refusalEvery) {
		pc.untold++
		return
	}
	if pc.untold > 0 {
		reason = fmt.Sprintf("%s (after %d more refusals that were not shown)", reason, pc.untold)
		pc.untold = 0
	}
	e.event(Event{Type: EventPeer, Peer: &PeerChange{Name: pc.name, Conn: pc.id, What: "refused", Reason: reason}})
}

// clip keeps the first n bytes of a sentence, less what is left of a character
// at the cut: invalid UTF-8 has no canonical form, and the relay closes whoever
// sends it.
func clip(s string, n int) string {
	return strings.ToValidUTF8(s[:min(len(s), n)], "")
}

// replyUnknown answers a message of a conversation that is not known here. Who
// leaves takes no phase 3 any more, and does not answer what follows it: the
// relay says in a moment that the connection is gone, and beginning anew with
// it is no use.
func (e *engine) replyUnknown(h *proto.Header, t3 []byte) {
	pc := e.connFor(h.SrcID, h.Src)
	if pc == nil || e.leaving || len(t3) != 32 || len(pc.inflight) > maxAnswering {
		return
	}
	e.answerError(pc, proto.NoConversation, "the conversation is not known here", t3)
}
