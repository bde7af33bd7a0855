package client

import (
	"fmt"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/proto"
)

// judge makes the check of a message's two people that every later verification of the history
// makes, at the time in its header: PROTOCOL.md, "Who is judged when". The look at the present is
// another one, and it asks for the revocation lists. The code of a fault of our own is Card.
func (e *engine) judge(pc *peerConn, ours bool, at int64) error {
	e.renewMe()
	from, to, clock := pc.party, e.me, "the other side's"
	if ours {
		from, to, clock = to, from, "this machine's"
	}
	wrong, err := history.Judge(from, to, at)
	if wrong == e.me {
		const own = "at its time by %s clock, your own card does not hold: %s"
		return &fail.Error{
			Code: proto.Card, Message: fmt.Sprintf(own, clock, fail.AsError(err).Message),
			Hint: "compare the clocks of both machines", Err: err,
		}
	}
	return err
}

// renewMe has one's own side judged by the present bundle.
func (e *engine) renewMe() {
	if e.me == nil || e.me.Bundle != e.local.Bundle {
		e.me = e.party(e.local.Bundle, &trust.Person{Identity: e.self})
	}
}

// holds judges one's own bundle, for the heads of the history.
func (e *engine) holds(at time.Time) bool {
	e.renewMe()
	_, err := history.Judge(e.me, e.me, at.UnixMilli())
	return err == nil
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

// party is the person of a bundle, for judge.
func (e *engine) party(b *trust.Bundle, person *trust.Person) *history.Party {
	return &history.Party{
		Verifier: e.lenient, Bundle: b, Proved: person.Proved, Identity: person.Identity,
	}
}
