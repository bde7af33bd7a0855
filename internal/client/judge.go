package client

import (
	"chatsecure/crypto"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/proto"
)

// judge makes the check of a message's two people that every later verification of the history
// makes, at the time in its header: PROTOCOL.md, "Who is judged when". The look at the present is
// another one, and it asks for the revocation lists.
func (e *engine) judge(pc *peerConn, ours bool, at int64) error {
	if e.me == nil || e.me.Bundle != e.local.Bundle { // renewed
		e.me = &history.Party{Verifier: e.lenient, Bundle: e.local.Bundle, Identity: e.self}
	}
	from, to := pc.party, e.me
	if ours {
		from, to = to, from
	}
	wrong, err := history.Judge(from, to, at)
	if wrong == e.me {
		return &fail.Error{
			Code: proto.Unexpected, Message: "at the time in it your own card did not hold: " + fail.AsError(err).Message,
			Hint: "look at both clocks: one of them may be wrong",
		}
	}
	return err
}

// partyOf is the peer of a conversation, for judge.
func (e *engine) partyOf(conv *crypto.Conversation) *history.Party {
	return &history.Party{
		Verifier: e.lenient, Bundle: conv.PeerBundle, Proved: conv.Person.Proved, Identity: conv.Person.Identity,
	}
}
