package client

import (
	"fmt"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/proto"
)

// judge makes the check of a message's two people that every later verification of the history
// makes, at the time in its header: PROTOCOL.md, "Who is judged when". The look at the present is
// another one, and it asks for the revocation lists. The code of a fault of our own is Card.
func (e *engine) judge(pc *peerConn, ours bool, at int64) error {
	if e.me == nil || e.me.Bundle != e.local.Bundle { // renewed
		e.me = &history.Party{Verifier: e.lenient, Bundle: e.local.Bundle, Identity: e.self}
	}
	from, to, clock := pc.party, e.me, "the other side's"
	if ours {
		from, to, clock = to, from, "this machine's"
	}
	wrong, err := history.Judge(from, to, at)
	if wrong == e.me {
		return &fail.Error{
			Code: proto.Card, Err: err,
			Message: fmt.Sprintf("at its time by %s clock, your own card does not hold: %s", clock, fail.AsError(err).Message),
			Hint:    "compare the clocks of both machines",
		}
	}
	return err
}

// mayWrite judges a text that is to leave now. Until one's own card holds nothing leaves, and the
// user is told so once.
func (e *engine) mayWrite(pc *peerConn, now time.Time) bool {
	err := e.judge(pc, true, now.UnixMilli())
	if !fail.HasCode(err, proto.Card) {
		e.toldCard = false
		if err != nil {
			e.refuseMessage(pc, err)
		}
		return err == nil
	}
	if !e.toldCard {
		e.toldCard = true
		e.problem(err)
	}
	return false
}

// partyOf is the peer of a conversation, for judge.
func (e *engine) partyOf(conv *crypto.Conversation) *history.Party {
	return &history.Party{
		Verifier: e.lenient, Bundle: conv.PeerBundle, Proved: conv.Person.Proved, Identity: conv.Person.Identity,
	}
}
