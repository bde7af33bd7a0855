package client

import (
	"fmt"
	"maps"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/fail"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// The small inbox: what is kept of a person whom this user has accepted under no name, until then.
// The bytes are those of all lines of the history that the person causes, so neither handshakes nor
// receipts nor certificates pass it.
const (
	StrangerRecords = 32
	StrangerBytes   = 256 << 10
)

// leastRoom is about the bytes of a conversation with one short message. Without so much room none
// begins.
const leastRoom = 4 << 10

// Bounds of what all strangers together may leave in a day. Who comes too late can come tomorrow:
// nothing that was stored gives way.
const (
	StrangersRecords = 1024
	StrangersBytes   = 8 << 20
)

// Refusals of strangers. Their sentences are for them.
var (
	errSmallInbox = fail.Errorf(proto.NotAccepted,
		"before you are accepted there, no more than %d messages of together %d KiB are taken", StrangerRecords, StrangerBytes>>10)
	errStrangers = fail.Errorf(proto.NotAccepted,
		"too many people who are not accepted there have written today: try again tomorrow")
)

// Bounds of the handshakes that a stranger begins over all connections, and of those of a name that
// fail before their person is proved: a burst, and then one in this time.
const (
	CallerBurst = 256
	CallerEvery = 250 * time.Millisecond
)

var errCallers = fail.Errorf(proto.Busy, "too many handshakes of the same person at once")

// callers are the paces of handshakes over all connections: a stranger's by the hash of the
// certificate, once it is proved, or somebody with another's certificate could use up the other's;
// and failed ones by that of the name, for which the relay's word is enough: it could say anything
// itself. The engine's goroutine owns it.
type callers map[[32]byte]pace

// over tells whether nothing more is checked now.
func (c callers) over(by [32]byte, now time.Time, burst int) bool {
	p := c[by]
	return !p.take(now, burst, CallerEvery)
}

// count counts a handshake, unless it is one too many. Paces that are paid off are forgotten, and at
// most MaxUsers remembered.
func (c callers) count(by [32]byte, now time.Time, burst int) bool {
	maps.DeleteFunc(c, func(_ [32]byte, p pace) bool { return p.next.Before(now) })
	p, known := c[by]
	taken := (known || len(c) < MaxUsers) && p.take(now, burst, CallerEvery)
	if taken {
		c[by] = p
	}
	return taken
}

// admit is asked before each line of the history that another person causes.
func (e *engine) admit(identity [32]byte, records, bytes int) error {
	if reason := e.turnsAway(identity, records, bytes); reason != nil {
		return reason
	}
	return nil
}

// turnsAway returns the reason to refuse new records of a person, or nil. The size is in bytes.
func (e *engine) turnsAway(identity [32]byte, records, bytes int) *fail.Error {
	if e.standing(identity).accepted || e.cfg.State.Accepted(identity) { // maybe since the last turn
		return nil
	}
	own := e.history.Account(identity)
	if own.Records+records > StrangerRecords || own.Bytes+int64(bytes) > StrangerBytes {
		return errSmallInbox
	}
	all := e.history.Today(func(other [32]byte) bool { return e.standing(other) == standing{} })
	if all.DayRecords+records > e.cfg.Strangers || all.DayBytes+int64(bytes) > StrangersBytes {
		return errStrangers
	}
	return nil
}

// turnAway ends a conversation with a stranger of whom no more is stored. It returns false for
// another error of the history. Nothing here begins a conversation before the user writes again.
func (e *engine) turnAway(pc *peerConn, conv *crypto.Conversation, err error) bool {
	if !fail.HasCode(err, proto.NotAccepted) {
		return false
	}
	reason := fail.AsError(err)
	e.endRefused(pc, conv, fail.Told(reason))
	pc.user.watching = false
	e.tellTurned(pc.name, pc.id, conv.Person.Identity, reason)
	return true
}

// turnsOffer returns the reason to refuse a p1 of a person, or nil.
func (e *engine) turnsOffer(pc *peerConn, identity [32]byte) *fail.Error {
	if e.waiting.full(identity) {
		return fail.Errorf(proto.Busy, "too much waits there to be read")
	}
	reason := e.turnsAway(identity, 1, leastRoom)
	if reason != nil {
		e.tellTurned(pc.name, pc.id, identity, reason)
	}
	return reason
}

// tellTurned tells the user, once for each person, that messages are refused.
func (e *engine) tellTurned(name, conn string, identity [32]byte, reason *fail.Error) {
	person := identity
	if reason == errStrangers {
		person = [32]byte{}
	}
	if e.toldTurned[person] {
		return
	}
	e.toldTurned[person] = true
	if reason == errStrangers {
		e.event(Event{Type: EventNotice, Notice: fmt.Sprintf(
			"people who are not accepted have left all that is kept of them in a day "+
				"(%d messages, %d MiB): more is refused until tomorrow, unless some are accepted or blocked; client trust shows them",
			StrangersRecords, StrangersBytes>>20)})
		return
	}
	e.event(Event{Type: EventPeer, Peer: &PeerChange{
		Name: name, Conn: conn, What: "refused",
		Reason: fmt.Sprintf("more than the %d messages (%d KiB) that are kept of somebody who is not accepted",
			StrangerRecords, StrangerBytes>>10),
		Refused: &state.Refused{Target: name, Value: proto.FormatHash(identity)},
	}})
}
