package client

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/proto"
)

// engine owns all state of a client. One goroutine, run, touches the fields
// below "owned by run". Other goroutines hand it functions through the loop,
// records through the outbox, and marks through Client.Shown.
type engine struct {
	*loop
	cfg  *Config  // run replaces Credential and drops Renew; nothing else changes
	self [32]byte // identity
	// lenient leaves the revocation lists to the look at the present, which waits for a fetch.
	lenient *trust.Verifier
	// confirmed is the relay's fingerprint to which a person has said yes, for connectFirst.
	confirmed string
	events    *eventQueue
	outbox    outbox
	marks     markQueue
	facts     atomic.Pointer[sessionInfo]
	mail      *mail

	// Owned by run.
	local    *crypto.Local // replaced when the delegation is renewed
	link     link
	lanes    lanes
	held     int              // bytes of lines that wait for a step
	users    map[string]*user // by folded name
	conns    map[string]*peerConn
	history  *history.History
	watchAll bool
	pipe     *pipe // of a connection that takes one
	inbox    inbox
	waiting  accounts
	trust    decisions
	letters  letters
	collect  collecting

	callers    callers
	toldTurned map[[32]byte]bool // strangers whose messages are refused, and zero for all together
	renewal    renewal
	me         *history.Party // for judge
	toldCard   bool           // one's own card does not hold, and the user knows
	departed   []departed
	waiters    []*waiter
	leaving    bool // Close has begun: no new handshakes
	goodbye    bool // and the relay has been told

	asked  map[*user]context.CancelCauseFunc // ends an open question; owned by run
	asking sync.Mutex                        // held while the person at the client is asked
	start  func(*step)                       // computes a step that comes back; tests do so at once
}

// sessionInfo describes the present session to any goroutine.
type sessionInfo struct{ conn, fingerprint, suite string }

const (
	// tick is the time between two looks at the time-outs.
	tick = 250 * time.Millisecond
	// burst bounds the lines from the relay that are taken before the next
	// receipts and records go out.
	burst = 32
)

// newEngine returns an engine without a session and a history. self is the
// identity that the credential proves.
func newEngine(cfg *Config, events *eventQueue, self [32]byte) *engine {
	e := &engine{
		loop: newLoop(), cfg: cfg, events: events, self: self, mail: openMail(cfg.State.Dir()),
		local: &crypto.Local{
			Key: cfg.Credential.Key, Bundle: cfg.Credential.Bundle, Identity: self,
			FoldedName: proto.FoldName(cfg.Name), Suites: cfg.Ciphers, Takes: cfg.Takes, Keys: new(crypto.KeySource),
		},
		link: newLink(cfg.Again), lanes: newLanes(),
		users: map[string]*user{}, conns: map[string]*peerConn{},
		inbox:   inbox{pending: map[string]*shownMark{}},
		waiting: accounts{of: map[[32]byte]int{}}, trust: decisions{of: map[[32]byte]standing{}}, callers: callers{}, toldTurned: map[[32]byte]bool{},
		asked: map[*user]context.CancelCauseFunc{}, letters: newLetters(),
	}
	e.lenient, e.start = cfg.Verifier.Lenient(), e.startStep
	return e
}

func (e *engine) info() sessionInfo {
	if f := e.facts.Load(); f != nil {
		return *f
	}
	return sessionInfo{}
}

func (e *engine) now() time.Time { return e.cfg.Now() }

func (e *engine) event(ev Event) {
	ev.Time = e.now()
	e.events.add(ev)
}

// problem reports an error that does not end the client, unless it was told as the reason why there is
// no relay.
func (e *engine) problem(err error) {
	if fail.AsError(err).Message == e.link.told {
		return
	}
	e.event(Event{Type: EventError, Err: fail.AsError(err)})
}

// begin takes a session into use.
func (e *engine) begin(sess *Session) {
	e.link.begin(sess)
	e.facts.Store(&sessionInfo{sess.ID, sess.fingerprint, sess.suite})
	e.collect.begin(sess, time.Now())
	if e.watchAll {
		e.requestWatch("")
	}
	for name, u := range e.users {
		u.listed, u.boxes.told = false, false
		if u.refusal != nil && fail.ExitStatus(u.refusal) == fail.ExitRelay {
			u.refusal = nil
		}
		if u.watching {
			e.requestWatch(name)
		}
		if u.watching && (u.boxes.due || u.counts.open()) {
			e.askBoxes(u)
		}
	}
}

// run is the engine's goroutine.
func (e *engine) run() {
	ticker := time.NewTicker(min(tick, e.cfg.Again))
	receipts := time.NewTimer(time.Hour)
	var timed time.Time // what receipts is set to: setting it at each turn costs more than the turn
	defer ticker.Stop()
	defer receipts.Stop()
	for e.fatal == nil {
		var in chan Inbound
		if e.link.sess != nil && !e.link.over {
			in = e.link.sess.In
		}
		select {
		case m, ok := <-in:
			e.onInbound(m, ok)
			// One receipt then covers all lines that have come already.
			for more := burst; ok && e.fatal == nil && more > 0 && len(in) > 0; more-- {
				m, ok = <-in
				e.onInbound(m, ok)
			}
		case s := <-e.lanes.back:
			e.finish(s)
		case f := <-e.cmds:
			f()
		case <-e.wake:
		case <-receipts.C:
		case <-ticker.C:
			e.onTick(time.Now())
		case <-e.ctx.Done():
			e.end(nil)
		}
		if e.fatal == nil {
			e.releaseHeld()
		}
		if e.fatal == nil && e.link.over && e.held == 0 {
			e.lost(e.link.sess.Reason()) // nothing that came before waits any more
		}
		if e.fatal != nil {
			return
		}
		e.takeBack()
		e.noticeDecisions()
		e.takeMarks()
		e.takeOutbox()
		e.flush()
		if at := e.inbox.receiptAt; at != timed && !at.IsZero() {
			receipts.Reset(max(time.Until(at), 0))
			timed = at
		}
		if e.fatal == nil {
			e.checkWaiters()
		}
	}
}

// onTick looks at all time-outs.
func (e *engine) onTick(now time.Time) {
	if e.link.sess == nil {
		e.tickLost(now)
	} else if now.Sub(e.link.lastSent) > proto.KeepAlive {
		e.link.send(ackLine, nil, nil)
	}
	if e.fatal == nil {
		e.renewIfDue(now)
	}
	e.expireMail()
	if e.fatal != nil {
		return
	}
	for _, pc := range e.conns {
		e.tickConn(pc, now)
	}
	for _, u := range e.users {
		e.expire(u, now)
	}
	e.collectNext()
	e.takeOthersReceipts()
}

// flush sends due receipts, and then records.
func (e *engine) flush() {
	if e.link.sess == nil || e.fatal != nil {
		return
	}
	e.flushReceipts()
	for _, pc := range e.conns {
		e.pump(pc)
	}
	if e.pipe != nil {
		e.pipe.pump()
	}
	e.flushLetters()
	e.checkMissing()
	e.finishLeaving()
}

// end stops the engine. A nil error is an orderly stop.
func (e *engine) end(err error) {
	if e.fatal != nil {
		return
	}
	if e.events.lastMessages(e.leaving) {
		e.history.Unsure()
	}
	e.takeMarks()
	e.link.close(nil, fail.Errorf(proto.Lost, "the client is closing"))
	for _, pc := range e.conns {
		e.abandon(&pc.look)
		e.abandon(&pc.shake.step)
		pc.erase()
	}
	e.eraseRunning()
	reason := "the client stopped"
	if err != nil {
		reason = err.Error()
	}
	e.failOpen(proto.Lost, reason)
	e.letters.release()
	if herr := e.history.Close(); herr != nil && err == nil {
		err = herr
	}
	e.outbox.close()
	e.events.close(err)
	e.fatal = err
	if err == nil {
		e.fatal = fail.Errorf(proto.Lost, "the client is closed")
	}
	e.local.Keys.Close()
	if e.renewal.ownsKey {
		e.local.Key.Erase()
	}
	close(e.ended)
}
