package client

import (
	"cmp"
	"slices"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/proto"
)

// step is work that takes longer than other people's messages may wait: a phase of a
// handshake, or a look at a peer's certificates. The engine fills it in and queues it. From
// start until it is back its fields are work's alone, which touches nothing of the engine's.
// Then the engine runs done, unless the connection does not wait for the step any more. What
// comes over the connection waits meanwhile, see heldLines: its lines keep their order.
type step struct {
	pc      *peerConn
	slot    **step // where the connection waits for it
	lane    *lane
	name    string // of the peer, as it was spelt then
	since   time.Time
	turn    uint64
	attempt *[32]byte // to refuse when the step gives way: nil for our own p1, and for a p3
	work    func(s *step)
	done    func(s *step)

	// What work needs, and what it makes.
	local  *crypto.Local
	cfg    *Config
	before *trust.Person // the user's last one proved
	init   *crypto.Initiator
	resp   *crypto.Responder
	again  *crypto.RetryState
	conv   *crypto.Conversation
	person *trust.Person
	body   []byte
	err    error
}

// erase drops the secrets of a step that nobody waits for, or that failed.
func (s *step) erase() {
	if s.init != nil {
		s.init.Erase()
	}
	if s.resp != nil {
		s.resp.Erase()
	}
	if s.conv != nil {
		s.conv.Erase()
	}
}

// verify is the crypto.VerifyFunc of a step.
func (s *step) verify(b *trust.Bundle, name string) (person *trust.Person, err error) {
	if person, err = s.cfg.verify(b, name); err != nil {
		return nil, err
	}
	s.person = person
	return person, s.cfg.samePerson(name, person, s.before)
}

// lane is a queue of steps with a few goroutines at work, at most one of them for a name. The
// engine's goroutine owns it.
type lane struct {
	queue   []*step
	bound   int    // of the queue
	turn    uint64 // the highest of a step that was started
	running []*step
}

// laneWorkers is the number of goroutines of a lane. With two, one person's step delays nobody
// else's.
const laneWorkers = 2

// lanes are apart so that strangers delay nobody who is accepted, and handshakes delay no
// messages.
type lanes struct {
	looks     lane // for messages that wait; at most one for each conversation
	known     lane // handshakes of people who are accepted, or whom the user has written to
	strangers lane
	back      chan *step // with room for all at work: none of them waits for the engine
}

// MaxQueued bounds the handshakes that wait in a lane, at some 30 KB each.
const MaxQueued = 256

func newLanes() lanes {
	return lanes{
		looks: lane{bound: maxConns}, known: lane{bound: MaxQueued}, strangers: lane{bound: MaxQueued},
		back: make(chan *step, 3*laneWorkers),
	}
}

// laneFor returns the lane of a connection's handshakes.
func (e *engine) laneFor(pc *peerConn) *lane {
	if pc.user.accepted || pc.user.watching {
		return &e.lanes.known
	}
	return &e.lanes.strangers
}

// shakeStep queues a step of a connection's handshake.
func (e *engine) shakeStep(pc *peerConn, s *step) { e.queue(pc, &pc.shake.step, e.laneFor(pc), s) }

// queue queues a step. Names take turns: the n-th waiting step of a name comes after the n-1
// first of every other. From a full queue the last step of the greediest name gives way.
func (e *engine) queue(pc *peerConn, slot **step, l *lane, s *step) {
	s.pc, s.slot, s.lane, s.name, s.since, s.turn = pc, slot, l, pc.name, time.Now(), l.turn
	s.local, s.cfg, s.before = e.local, e.cfg, pc.user.person
	for _, other := range l.queue {
		if other.pc.user == pc.user {
			s.turn = max(s.turn, other.turn)
		}
	}
	s.turn++
	*slot = s
	l.queue = append(l.queue, s)
	if len(l.queue) > l.bound {
		victim := slices.MaxFunc(l.queue, func(a, b *step) int { return cmp.Compare(a.turn, b.turn) })
		e.abandon(victim.slot)
		if victim.attempt != nil {
			e.answerError(victim.pc, proto.Busy, "too many handshakes wait here for the moment", *victim.attempt)
		} else { // our own attempt, or a p3, which has no answer
			victim.pc.shake.postpone(e.cfg.Again)
		}
	}
	e.startNext(l)
}

// abandon makes a connection wait no longer for a step. Its secrets are erased: at once if it
// is queued, and otherwise when it comes back.
func (e *engine) abandon(slot **step) {
	s := *slot
	if s == nil {
		return
	}
	*slot = nil
	if i := slices.Index(s.lane.queue, s); i >= 0 {
		s.lane.queue = slices.Delete(s.lane.queue, i, i+1)
		s.erase()
	}
}

// startNext starts the next steps of a lane. A peer has given up a handshake that waited for
// too long.
func (e *engine) startNext(l *lane) {
	for len(l.running) < laneWorkers {
		s := l.next()
		if s == nil {
			return
		}
		l.turn = max(l.turn, s.turn)
		if l != &e.lanes.looks && time.Since(s.since) > proto.PhaseTimeout {
			e.abandon(s.slot)
			continue
		}
		i := slices.Index(l.queue, s)
		l.queue = slices.Delete(l.queue, i, i+1)
		l.running = append(l.running, s)
		e.start(s)
	}
}

// next returns the step whose turn it is, or nil.
func (l *lane) next() (first *step) {
	for _, s := range l.queue {
		atWork := slices.ContainsFunc(l.running, func(r *step) bool { return r.pc.user == s.pc.user })
		if !atWork && (first == nil || s.turn < first.turn) {
			first = s
		}
	}
	return first
}

// startStep has a goroutine compute a step.
func (e *engine) startStep(s *step) {
	e.wg.Go(func() {
		s.work(s)
		e.lanes.back <- s
	})
}

// finish takes a step back. The connection may have gone meanwhile, or be spelt another way.
func (e *engine) finish(s *step) {
	s.lane.running = slices.DeleteFunc(s.lane.running, func(r *step) bool { return r == s })
	e.startNext(s.lane)
	wanted := *s.slot == s
	if wanted {
		*s.slot = nil
	}
	if !wanted || s.name != s.pc.name || e.leaving && s.lane != &e.lanes.looks {
		s.erase()
		return
	}
	if s.err == nil && s.person != nil {
		// Another connection may have proved the name to be another's.
		s.err = s.cfg.samePerson(s.name, s.person, s.pc.user.person)
	}
	s.done(s)
}

// eraseRunning waits for the steps at work when the engine has ended, and erases their secrets.
func (e *engine) eraseRunning() {
	for _, l := range []*lane{&e.lanes.looks, &e.lanes.known, &e.lanes.strangers} {
		for range l.running {
			e.wg.Go(func() { (<-e.lanes.back).erase() })
		}
	}
}
