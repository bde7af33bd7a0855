package client

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/fetch"
	"chatsecure/proto"
)

// handshake is a connection's way to its next conversation, begun here or
// there: PROTOCOL.md, "Client-connect".
type handshake struct {
	// At most one of init and resp is set, beside the conversation that the
	// handshake is to replace.
	init     *crypto.Initiator
	resp     *crypto.Responder
	respAt   time.Time          // when resp was made
	retried  *crypto.RetryState // of the peer's p1 that was answered with a retry
	deadline time.Time          // of the handshake, or of the peer's first message after it
	again    time.Time          // when to begin anew after a failure
	tries    int                // failed in a row
}

func (h *handshake) underWay() bool { return h.init != nil || h.resp != nil }

// drop ends the handshake under way.
func (h *handshake) drop() {
	if h.init != nil {
		h.init.Erase()
		h.init = nil
	}
	if h.resp != nil {
		h.resp.Erase()
		h.resp = nil
	}
}

// postpone sets when the next attempt may begin: doubling from first, with
// chance in it, so that two sides that failed do not meet again at once.
func (h *handshake) postpone(first time.Duration) {
	wait := min(first<<min(h.tries, 5), backoffMax)
	h.tries++
	h.again = time.Now().Add(wait/2 + rand.N(wait/2+1))
}

// approach begins a handshake with a connection of a watched user, unless there
// is one or it must wait.
func (e *engine) approach(pc *peerConn) {
	if e.leaving || pc.conv != nil || pc.shake.underWay() || pc.takes != e.talksWith() || !pc.user.watching {
		return
	}
	if time.Now().Before(pc.shake.again) {
		return
	}
	e.initiate(pc)
}

// talksWith returns the kind of connection that this client begins with.
func (e *engine) talksWith() string {
	if e.cfg.Takes == proto.TakesPipe {
		return proto.TakesPipe
	}
	return proto.TakesMessages
}

func (e *engine) initiate(pc *peerConn) {
	init, body, err := crypto.Initiate(e.local, e.myEnd(), crypto.End{Name: pc.name, Conn: pc.id})
	if err != nil {
		pc.user.refusal = err
		return
	}
	pc.shake.init = init
	pc.shake.deadline = time.Now().Add(proto.PhaseTimeout)
	e.sendPhase(pc, 1, body)
}

func (e *engine) myEnd() crypto.End { return crypto.End{Name: e.cfg.Name, Conn: e.link.sess.ID} }

func (e *engine) sendPhase(pc *peerConn, phase int, body []byte) {
	e.sendHeader(pc, &proto.Header{Type: proto.TypeClientConnect, Phase: phase, Dst: pc.name, DstID: pc.id}, body)
}

// verifyPeer is the crypto.VerifyFunc of this client. It checks the bundle, and
// that the name belongs to the same person as before.
func (e *engine) verifyPeer(b *trust.Bundle, name string) (*trust.Person, error) {
	person, err := e.cfg.Fetcher.Verify(e.cfg.Verifier, b, name)
	if err != nil {
		return nil, err
	}
	u := e.userFor(name)
	if known, ok := e.cfg.State.KnownPeer(u.name); ok && known.Identity != person.Identity {
		return nil, e.cfg.State.RefusePeer(name, known, person)
	}
	if u.person != nil && u.person.Identity != person.Identity {
		return nil, fail.Errorf(proto.IdentityChanged, "%s is another person than before in this session", name)
	}
	return person, nil
}

// onClientConnect takes a phase of a handshake.
func (e *engine) onClientConnect(h *proto.Header, body []byte) {
	if e.leaving {
		return
	}
	pc := e.connFor(h.SrcID, h.Src)
	if pc == nil || pc.name != h.Src && pc.conv != nil {
		return // its conversation binds the old name
	}
	pc.name = h.Src
	switch typ := crypto.PeekPhase(body); {
	case typ == "p1" && h.Phase == 1:
		e.onPhase1(pc, body)
	case typ == "retry" && h.Phase == 2 && pc.shake.init != nil:
		newBody, err := pc.shake.init.Retry(body, e.verifyPeer)
		if err != nil {
			e.attemptFailed(pc, err)
			return
		}
		e.sendPhase(pc, 1, newBody)
	case typ == "p2" && h.Phase == 2 && pc.shake.init != nil:
		body3, conv, err := pc.shake.init.Phase2(body, e.verifyPeer)
		if err != nil {
			e.attemptFailed(pc, err)
			return
		}
		pc.shake.init = nil
		e.sendPhase(pc, 3, body3)
		e.converse(pc, conv)
		pc.shake.deadline = time.Now().Add(proto.PhaseTimeout)
	case typ == "p3" && h.Phase == 3 && pc.shake.resp != nil:
		conv, err := pc.shake.resp.Phase3(body)
		if err != nil {
			return // the honest p3 may still come
		}
		pc.shake.resp, pc.shake.retried = nil, nil
		e.converse(pc, conv)
		pc.confirmed, pc.in.owesAnswer, pc.shake.deadline = true, true, time.Time{}
	}
}

func (e *engine) onPhase1(pc *peerConn, body []byte) {
	offer, err := crypto.ReadOffer(body, e.myEnd(), crypto.End{Name: pc.name, Conn: pc.id})
	if err != nil {
		e.refusePeer(pc, err)
		return
	}
	for _, other := range e.conns {
		if other.shake.init != nil && bytes.Equal(other.shake.init.Nonce(), offer.Nonce()) {
			return // our own nonce, reflected
		}
	}
	if pc.shake.resp != nil && pc.shake.resp.Answers(offer) {
		return // one p2 for a p1
	}
	if pc.shake.init != nil {
		// Two p1 have crossed: the lower one goes on, at both ends.
		mine, theirs := pc.shake.init.Order(), offer.Order()
		if pc.shake.retried != nil && offer.Retried() {
			theirs = pc.shake.retried.Order()
		}
		if bytes.Compare(mine[:], theirs[:]) <= 0 {
			return
		}
	}
	if !pc.lines.answerRoom() {
		return // it takes no answers
	}
	answer, resp, again, err := offer.Answer(e.local, pc.shake.retried, e.verifyPeer)
	if err != nil {
		e.refusePeer(pc, err)
		return
	}
	pc.shake.drop()
	if resp != nil { // and not a retry, which takes nobody's place
		e.limitHalfOpen(resp)
	}
	pc.shake.resp, pc.shake.retried, pc.shake.respAt = resp, again, time.Now()
	pc.shake.deadline = time.Now().Add(proto.PhaseTimeout)
	e.sendPhase(pc, 2, answer)
}

// attemptFailed ends our attempt at a conversation. A refusal of the person
// gives up all records that wait for the user. Another failure is tried again later.
func (e *engine) attemptFailed(pc *peerConn, err error) {
	if pc == nil || pc.shake.init == nil {
		return
	}
	pc.shake.drop()
	pc.shake.postpone(e.cfg.Again)
	ee := fail.AsError(err)
	if errors.Is(err, crypto.ErrDecrypt) {
		message := fmt.Sprintf("the handshake with %s does not hold: it was changed on the way", pc.name)
		ee = &fail.Error{Code: proto.DecryptFailed, Message: message, Err: err}
	} else if errors.Is(err, crypto.ErrHandshake) {
		ee = &fail.Error{Code: proto.Malformed, Message: fmt.Sprintf("the handshake with %s: %v", pc.name, err), Err: err}
	}
	// A person who is proved over another connection is not refused over this
	// one: anybody between could have added it.
	if !final(ee) || !e.talks(pc.user) {
		pc.user.refusal = ee
	}
	if ee.Code == proto.Busy || errors.Is(err, fetch.ErrFetching) {
		return // tickConn begins anew
	}
	e.tellRefusal(pc, ee.Message)
	if final(ee) {
		e.failUser(pc.user, ee)
	}
}

// MaxHalfOpen bounds the unfinished handshakes that others began, each some
// 10 KiB. Beyond it the oldest of the person with the most of them gives way,
// the new one counted: one person with many connections and names must not keep
// others out.
const MaxHalfOpen = 64

// limitHalfOpen makes room for one more half-open conversation. It counts by
// proved identity: one person may have many names.
func (e *engine) limitHalfOpen(next *crypto.Responder) {
	var open []*peerConn
	of := map[[32]byte]int{next.Person().Identity: 1}
	for _, pc := range e.conns {
		if pc.shake.resp != nil {
			open = append(open, pc)
			of[pc.shake.resp.Person().Identity]++
		}
	}
	if len(open) < MaxHalfOpen {
		return
	}
	victim := slices.MaxFunc(open, func(a, b *peerConn) int {
		most := cmp.Compare(of[a.shake.resp.Person().Identity], of[b.shake.resp.Person().Identity])
		return cmp.Or(most, b.shake.respAt.Compare(a.shake.respAt))
	})
	victim.shake.drop()
}
