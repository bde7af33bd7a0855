package client

import (
	"errors"
	"fmt"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/fail"
	"chatsecure/internal/fetch"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// maxAnswering bounds the messages that are on the way to a connection. Beyond it
// messages of unknown conversations get no answer: a flood earns silence.
const maxAnswering = 64

// Bounds of the refusals that are told for one connection: a burst, and then one
// in this time. The connection may try as fast as it likes.
const (
	RefusalBurst = 32
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

// refusalCount holds back the refusals of one connection that come too fast.
type refusalCount struct {
	pace   pace
	untold int    // since the last that was told
	last   string // the reason of the last failed attempt: said again it is no news
}

// tell adds the number of untold refusals to a reason. It returns false if this
// one is not told either.
func (c *refusalCount) tell(now time.Time, reason string) (string, bool) {
	if !c.pace.take(now, RefusalBurst, refusalEvery) {
		c.untold++
		return "", false
	}
	if c.untold > 0 {
		reason = fmt.Sprintf("%s (after %d more refusals that were not shown)", reason, c.untold)
		c.untold = 0
	}
	return reason, true
}

// answerError answers a peer with an error, unless it takes no answers. about is the T3 of the
// conversation that ends, or the name of the attempt.
func (e *engine) answerError(pc *peerConn, code proto.Code, message string, about [32]byte) {
	if !pc.lines.answerRoom() {
		return
	}
	message = proto.Clip(message, proto.MaxMessage)
	e.sendHeader(pc, &proto.Header{Type: proto.TypeError, Dst: pc.name, DstID: pc.id, Code: code, Message: message}, about[:])
}

// refusePeer tells a peer why its attempt is refused, and shows that here.
func (e *engine) refusePeer(pc *peerConn, err error, attempt [32]byte) {
	told, _ := refusal(err)
	e.answerError(pc, told.Code, told.Message, attempt)
	e.showRefusal(pc, err)
}

// showRefusal shows a refusal here, unless nobody need know.
func (e *engine) showRefusal(pc *peerConn, err error) {
	if _, quiet := refusal(err); !quiet {
		e.tellRefusal(pc, err)
	}
}

// refusal returns what a peer is told of a refusal. quiet means that nobody here need know.
func refusal(err error) (told *proto.Error, quiet bool) {
	ee := fail.AsError(err)
	if errors.Is(err, crypto.ErrBusy) {
		ee = fail.Errorf(proto.Busy, "the keys for this suite are used up for the moment")
	}
	told = fail.Told(ee)
	switch {
	case errors.Is(err, fetch.ErrFetching): // the peer tries again
		return &proto.Error{Code: proto.Busy, Message: "a revocation list about the certificate is being fetched"}, true
	case ee.Code == proto.NotAccepted: // blocked
		return &proto.Error{Code: proto.NotAccepted, Message: "no messages are taken from you there"}, true
	case errors.As(err, new(*state.Refused)):
		told.Message = "the name is known there as another person's" // not whose
	}
	return told, false
}

// tellRefusal reports a refused connection, no faster than a person can read.
func (e *engine) tellRefusal(pc *peerConn, err error) {
	if told, ok := pc.refusals.tell(time.Now(), fail.AsError(err).Message); ok {
		refused, _ := errors.AsType[*state.Refused](err)
		change := &PeerChange{Name: pc.name, Conn: pc.id, What: "refused", Reason: told, Refused: refused}
		e.event(Event{Type: EventPeer, Peer: change})
	}
}

// replyUnknown answers a message of an unknown conversation. A leaving client
// says nothing: it may have ignored the phase 3 before, and an answer would make
// the peer begin anew with a connection that is gone in a moment.
func (e *engine) replyUnknown(h *proto.Header, t3 []byte) {
	pc := e.connFor(h.SrcID, h.Src)
	if pc == nil || e.leaving || len(t3) != 32 || len(pc.lines.inflight) > maxAnswering {
		return
	}
	e.answerError(pc, proto.NoConversation, "the conversation is not known there", [32]byte(t3))
}

// refusedByRelay says whose verdict a refusal is: this machine may hold the opposite.
func refusedByRelay(perr *proto.Error) *fail.Error {
	e := &fail.Error{Code: perr.Code, Message: "the relay refuses this connection: " + proto.Quote(perr.Message), Err: perr}
	if perr.Code == proto.CertificateUntrusted {
		e.Hint = "its operator decides which authorities it trusts; or another relay than you mean answers at this address (-relay)"
	}
	return e
}
