package client

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/fetch"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// handshake is a connection's way to its next conversation, begun here or
// there: PROTOCOL.md, "Client-connect". A step computes each phase, one at a time.
type handshake struct {
	// At most one of init and resp is set, beside the conversation that the
	// handshake is to replace. A step that needs it has it instead.
	init     *crypto.Initiator
	resp     *crypto.Responder
	step     *step
	nonce    []byte             // of our p1 that is out
	attempt  [32]byte           // the name of the latest one, in errors
	former   [][32]byte         // our attempts that were given up
	offers   pace               // of the peer's p1
	respAt   time.Time          // when resp was made
	retried  *crypto.RetryState // of the peer's p1 that was answered with a retry
	deadline time.Time          // of the handshake, or of the peer's first message after it
	again    time.Time          // when to begin anew after a failure
	tries    int                // failed in a row
}

// Bounds of the p1 that are looked at for one connection: a burst, and then one in this
// time. The others earn silence, before anything of theirs is checked.
const (
	OfferBurst = 16
	OfferEvery = time.Second
)

func (h *handshake) underWay() bool { return h.init != nil || h.resp != nil || h.step != nil }

// drop ends the handshake under way, but for a step of it.
func (h *handshake) drop() {
	h.nonce = nil
	if h.init != nil {
		h.former = h.init.GiveUp()
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
	if e.leaving || pc.conv != nil || pc.shake.underWay() || pc.takes != e.talksWith() ||
		!pc.user.watching || e.asked[pc.user] != nil {
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
	me, peer := e.myEnd(), pc.end()
	e.shakeStep(pc, &step{
		work: func(s *step) { s.init, s.body, s.err = crypto.Initiate(s.local, me, peer) },
		done: func(s *step) {
			if s.err != nil {
				pc.user.refusal = s.err
				return
			}
			s.init.Former = pc.shake.former
			e.sendOffer(pc, s)
		},
	})
}

// sendOffer sends a p1 that a step has made.
func (e *engine) sendOffer(pc *peerConn, s *step) {
	pc.shake.init, pc.shake.nonce, pc.shake.attempt = s.init, s.init.Nonce(), crypto.Attempt(s.body)
	pc.shake.deadline = time.Now().Add(proto.PhaseTimeout)
	e.sendPhase(pc, 1, s.body)
}

func (e *engine) myEnd() crypto.End { return crypto.End{Name: e.cfg.Name, Conn: e.link.sess.ID} }

func (e *engine) sendPhase(pc *peerConn, phase int, body []byte) {
	e.sendHeader(pc, &proto.Header{Type: proto.TypeClientConnect, Phase: phase, Dst: pc.name, DstID: pc.id}, body)
}

// samePerson refuses a blocked person, another person than the owner of the name, another than
// before in this session, and a name that looks like an accepted person's. Any goroutine may call
// it.
func (cfg *Config) samePerson(name string, person, before *trust.Person) error {
	if cfg.State.Blocked(person.Identity) {
		return cfg.State.PeerBlocked(name, person.Identity)
	}
	known, ok := cfg.State.KnownPeer(proto.FoldName(name))
	if ok && known.Identity != person.Identity {
		return state.PeerChanged(name, known, person)
	}
	if !ok || !known.Accepted {
		if err := cfg.State.CheckLooks(name, person); err != nil {
			return err
		}
	}
	if before != nil && before.Identity != person.Identity && !(ok && known.Accepted) { // accepted in this session
		return fail.Errorf(proto.IdentityChanged, "%s is another person than before in this session", name)
	}
	return nil
}

// onClientConnect takes a phase of a handshake. No step of one is under way: the connection's
// lines would wait for it.
func (e *engine) onClientConnect(h *proto.Header, body []byte) {
	if e.leaving || e.link.over {
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
		e.onRetry(pc, body)
	case typ == "p2" && h.Phase == 2 && pc.shake.init != nil:
		e.onPhase2(pc, body)
	case typ == "p3" && h.Phase == 3 && pc.shake.resp != nil:
		e.onPhase3(pc, body)
	}
}

func (e *engine) onPhase1(pc *peerConn, body []byte) {
	if !pc.shake.offers.take(time.Now(), e.cfg.Offers, OfferEvery) {
		return
	}
	attempt, named := crypto.Attempt(body), sha256.Sum256([]byte(pc.user.name))
	busy := func(tooMany bool) bool {
		if tooMany {
			e.answerError(pc, proto.Busy, errCallers.Message, attempt)
		}
		return tooMany
	}
	if busy(e.callers.over(named, time.Now(), e.cfg.Callers)) {
		return
	}
	offer, err := crypto.ReadOffer(body, e.myEnd(), pc.end())
	if err != nil {
		e.callers.count(named, time.Now(), e.cfg.Callers)
		e.refusePeer(pc, err, attempt)
		return
	}
	for _, other := range e.conns {
		if other.shake.nonce != nil && bytes.Equal(other.shake.nonce, offer.Nonce()) {
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
	if busy(e.callers.over(offer.Leaf(), time.Now(), e.cfg.Callers)) {
		return
	}
	before := pc.shake.retried
	e.shakeStep(pc, &step{
		attempt: &attempt,
		work:    func(s *step) { s.err = offer.Prove(s.local, before, s.verify) },
		done: func(s *step) {
			by := offer.Leaf()
			if s.person == nil {
				by = named
			}
			counts := s.person == nil || !e.standing(s.person.Identity).accepted
			if busy(counts && !e.callers.count(by, time.Now(), e.cfg.Callers)) { // others came meanwhile
				return
			}
			if s.err != nil {
				e.refusePeer(pc, s.err, attempt)
				return
			}
			if reason := e.turnsOffer(pc, s.person.Identity); reason != nil {
				e.answerError(pc, reason.Code, reason.Message, attempt)
				return
			}
			e.answerOffer(pc, offer, before, s.person, attempt)
		},
	})
}

// answerOffer answers a p1 of a person who is proved, and may have our keys.
func (e *engine) answerOffer(
	pc *peerConn, offer *crypto.Offer, before *crypto.RetryState, person *trust.Person, attempt [32]byte) {
	e.shakeStep(pc, &step{
		attempt: &attempt, person: person,
		work: func(s *step) { s.body, s.resp, s.again, s.err = offer.Answer(s.local, before, s.verify) },
		done: func(s *step) {
			if s.err != nil {
				s.erase()
				e.refusePeer(pc, s.err, attempt)
				return
			}
			if s.resp != nil { // and not a retry, which takes nobody's place
				e.limitHalfOpen(s.resp)
			}
			pc.shake.drop()
			pc.shake.attempt = attempt
			pc.shake.resp, pc.shake.retried, pc.shake.respAt = s.resp, s.again, time.Now()
			pc.shake.deadline = time.Now().Add(proto.PhaseTimeout)
			e.sendPhase(pc, 2, s.body)
		},
	})
}

// lendInit takes our attempt for a step that goes on with it.
func (pc *peerConn) lendInit() *crypto.Initiator {
	init := pc.shake.init
	pc.shake.init = nil
	return init
}

func (e *engine) onRetry(pc *peerConn, body []byte) {
	e.shakeStep(pc, &step{
		attempt: &pc.shake.attempt, init: pc.lendInit(),
		work: func(s *step) { s.body, s.err = s.init.Retry(body, s.verify); s.checkLate(body) },
		done: func(s *step) {
			if s.err != nil {
				e.answerFailed(pc, s)
				return
			}
			e.sendOffer(pc, s)
		},
	})
}

func (e *engine) onPhase2(pc *peerConn, body []byte) {
	e.shakeStep(pc, &step{
		attempt: &pc.shake.attempt, init: pc.lendInit(),
		work: func(s *step) { s.body, s.conv, s.err = s.init.Phase2(body, s.verify); s.checkLate(body) },
		done: func(s *step) {
			if s.err != nil {
				e.answerFailed(pc, s)
				return
			}
			e.sendPhase(pc, 3, s.body)
			e.converse(pc, s.conv)
			pc.shake.deadline = time.Now().Add(proto.PhaseTimeout)
		},
	})
}

// errLate means an answer to an attempt that was given up. The one to the present attempt may
// still come.
var errLate = errors.New("an answer to a former attempt")

func (s *step) checkLate(body []byte) {
	if s.err != nil && s.init.IsLate(body) {
		s.err = errLate
	}
}

func (e *engine) answerFailed(pc *peerConn, s *step) {
	if s.err == errLate {
		pc.shake.init = s.init
		return
	}
	s.erase()
	told, _ := refusal(s.err)
	e.answerError(pc, told.Code, told.Message, pc.shake.attempt) // the peer would wait for our p3
	e.attemptFailed(pc, s.err)
}

func (e *engine) onPhase3(pc *peerConn, body []byte) {
	resp := pc.shake.resp
	pc.shake.resp = nil
	e.shakeStep(pc, &step{
		resp: resp, person: resp.Person(),
		work: func(s *step) { s.conv, s.err = s.resp.Phase3(body) },
		done: func(s *step) {
			switch {
			case s.conv == nil:
				pc.shake.resp = s.resp // the honest p3 may still come
				return
			case s.err != nil: // blocked since p2, for one
				told, _ := refusal(s.err)
				e.endRefused(pc, s.conv, told)
				e.showRefusal(pc, s.err)
				s.erase()
				return
			}
			pc.shake.retried = nil
			e.converse(pc, s.conv)
			pc.confirmed, pc.in.owesAnswer, pc.shake.deadline = true, true, time.Time{}
		},
	})
}

// attemptFailed ends our attempt at a conversation. A refusal of the person
// gives up all records that wait for the user. Another failure is tried again later.
func (e *engine) attemptFailed(pc *peerConn, err error) {
	pc.shake.drop()
	pc.shake.postpone(e.cfg.Again)
	ee := fail.AsError(err)
	if errors.Is(err, crypto.ErrDecrypt) || errors.Is(err, crypto.ErrSignature) || errors.Is(err, crypto.ErrHandshake) {
		ee = &fail.Error{Code: ee.Code, Message: fmt.Sprintf("the handshake with %s: %v", pc.name, err), Err: err}
	}
	again := pc.refusals.last == ee.Message
	pc.refusals.last = ee.Message
	// A person who is proved over another connection is not refused over this
	// one: anybody between could have added it.
	if !final(ee) || !e.talks(pc.user) {
		pc.user.refusal = ee
	}
	if ee.Code == proto.Busy || errors.Is(err, fetch.ErrFetching) {
		return // tickConn begins anew
	}
	if !again {
		e.tellRefusal(pc, ee)
	}
	e.refuseUser(pc.user, ee)
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
