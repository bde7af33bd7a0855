package chatsecure

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"chatsecure/crypto"
	"chatsecure/proto"
)

// Client is one user's connection to a relay, and its conversations with other
// users' connections. Its methods may be called from any goroutine.
type Client struct {
	cfg    ClientConfig
	events *eventQueue
	engine *engine
}

// engine owns all state of a client. One goroutine, run, touches every field
// below "owned by run"; other goroutines hand it functions through do, records
// through the outbox and marks through shown.
type engine struct {
	cfg    *ClientConfig
	local  *crypto.Local
	self   [32]byte // identity
	events *eventQueue

	cmds  chan func()     // unbuffered: what is taken out is run, also while the client ends
	wake  chan struct{}   // capacity 1: outbox or marks have something
	ctx   context.Context // ends when the client must stop at once
	abort context.CancelFunc
	ended chan struct{} // closed when run has returned
	wg    sync.WaitGroup

	outbox outbox
	marks  markQueue
	facts  atomic.Pointer[sessionInfo]

	// Owned by run.
	sess      *session
	nextLine  uint64 // seq of the next line to the relay
	answers   map[uint64]func(inbound, error)
	users     map[string]*user // by folded name
	conns     map[string]*peerConn
	history   *History
	watchAll  bool
	dialing   bool
	lostAt    time.Time // zero while there is a session
	backoff   time.Duration
	retryAt   time.Time
	lastSent  time.Time // any line, for the keep-alive
	leaving   bool      // Close has begun: nothing is begun anew
	goodbye   bool      // and the relay has been told
	receiptAt time.Time // when a coalesced receipt is due; zero: none
	waiters   []*waiter
	pipe      *pipe // of a connection that takes one
	rechecked time.Time
	departed  []departed
	renewing  bool
	ownsKey   bool // K was made anew; the first one is the caller's
	renewNext time.Time
	pending   map[string]*shownMark // received, stored, not shown, by record id
	fatal     error                 // set once: why the client ended by itself
}

type sessionInfo struct{ conn, fingerprint, suite string }

// Times of the engine's own.
const (
	// tick is how often time-outs are looked at.
	tick = 250 * time.Millisecond
	// receiptDelay is how long a receipt that could only say DELIVERED waits
	// for the messages to be shown.
	receiptDelay = 3 * time.Millisecond
	// Reconnection: 1 s doubling to 30 s, each drawn between half and all.
	backoffMin = time.Second
	backoffMax = 30 * time.Second
)

func dial(ctx context.Context, cfg ClientConfig) (*Client, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 30 * time.Second
	}
	if len(cfg.Ciphers) == 0 {
		cfg.Ciphers = crypto.SuiteNames()
	}
	if cfg.dial == nil {
		cfg.dial = new(net.Dialer).DialContext
	}
	if cfg.through == nil {
		cfg.through = func(f *os.File) historyStore { return f }
	}
	if cfg.again == 0 {
		cfg.again = backoffMin
	}
	c := &Client{cfg: cfg, events: newEventQueue()}

	// Who we are is checked as any peer would, before anybody is told.
	looking, cancel := context.WithTimeout(ctx, fetchWait)
	defer cancel()
	self, err := cfg.Fetcher.VerifyWait(looking, cfg.Verifier, cfg.Credential.Bundle, cfg.Name)
	if err != nil {
		return nil, err
	}
	e := newEngine(&c.cfg, c.events, self.Identity)
	if cfg.Ciphers[0] != crypto.SuiteMLKEM {
		e.local.Keys.Fill()
	}
	c.engine = e
	sess, err := e.connect(ctx)
	if err != nil {
		e.local.Keys.Close() // RSA keys may still be in the making
		return nil, err
	}
	receiving := cfg.Takes == proto.TakesMessages
	history, notices, err := openHistory(cfg.State.HistoryDir(), receiving, sess.since, cfg.Now, cfg.through)
	if err != nil {
		sess.fail(nil)
		return nil, err
	}
	e.history = history
	e.begin(sess)
	for _, n := range notices {
		e.event(Event{Type: EventNotice, Notice: n})
	}
	if receiving {
		e.showStored()
	}
	if cfg.Refresh != nil {
		e.wg.Go(e.watchLists)
	}
	go e.run()
	return c, nil
}

// newEngine is an engine without a session and without a history yet. self is
// the identity that the credential proves.
func newEngine(cfg *ClientConfig, events *eventQueue, self [32]byte) *engine {
	e := &engine{
		cfg: cfg, events: events, self: self,
		local: &crypto.Local{
			Key: cfg.Credential.Key, Bundle: cfg.Credential.Bundle, Identity: self,
			FoldedName: proto.FoldName(cfg.Name), Suites: cfg.Ciphers, Keys: new(crypto.KeySource),
		},
		cmds: make(chan func()), wake: make(chan struct{}, 1), ended: make(chan struct{}),
		answers: map[uint64]func(inbound, error){}, users: map[string]*user{}, conns: map[string]*peerConn{}, pending: map[string]*shownMark{},
		backoff: cfg.again,
	}
	e.ctx, e.abort = context.WithCancel(context.Background())
	return e
}

// connect dials once, and once more after a question about the fingerprint: a
// handshake does not wait for a person.
func (e *engine) connect(ctx context.Context) (*session, error) {
	for asked := false; ; asked = true {
		sess, err := e.dial(ctx, e.cfg.Credential)
		var ask *errAskRelay
		if !errors.As(err, &ask) {
			return sess, err
		}
		if asked || e.cfg.Asker == nil {
			return nil, errRelayUnknown(e.cfg.Relay, ask.fingerprint)
		}
		yes, err := e.cfg.Asker.ConfirmRelay(ctx, e.cfg.Relay, ask.fingerprint)
		if err != nil {
			return nil, err
		}
		if !yes {
			return nil, errRelayUnknown(e.cfg.Relay, ask.fingerprint)
		}
		if err := e.cfg.State.SetKnownRelay(e.cfg.Relay, ask.fingerprint); err != nil {
			return nil, err
		}
	}
}

// checkRelay is the relayCheck of this client.
func (e *engine) checkRelay(fingerprint string) error {
	known, ok := e.cfg.State.KnownRelay(e.cfg.Relay)
	if given := normalFingerprint(e.cfg.Fingerprint); given != "" {
		switch {
		case given != fingerprint:
			return RelayNotGiven(e.cfg.Relay, given, fingerprint)
		case !ok: // it is a person's word, as a yes is
			return e.cfg.State.SetKnownRelay(e.cfg.Relay, fingerprint)
		}
		return nil // for this run, whatever is known
	}
	switch {
	case ok && known == fingerprint:
		return nil
	case ok:
		err := errRelayChanged(e.cfg.Relay, known, fingerprint)
		return errors.Join(err, e.cfg.State.OfferRelay(e.cfg.Relay, fingerprint))
	case e.cfg.AcceptNew:
		return e.cfg.State.SetKnownRelay(e.cfg.Relay, fingerprint)
	}
	return &errAskRelay{fingerprint}
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

// do runs f in the engine's goroutine and waits for it.
func (e *engine) do(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case e.cmds <- func() { f(); close(done) }:
	case <-e.ended:
		return e.endError()
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-done:
		return nil
	case <-e.ended:
		return e.endError()
	}
}

// endError says why the engine ended. It may be asked after ended is closed.
func (e *engine) endError() error {
	if e.fatal != nil {
		return e.fatal
	}
	return Errorf(proto.Lost, "the client is closed")
}

// begin takes a session into use.
func (e *engine) begin(sess *session) {
	e.sess = sess
	e.nextLine = 0
	e.lostAt, e.retryAt, e.backoff = time.Time{}, time.Time{}, e.cfg.again
	e.lastSent = time.Now()
	e.facts.Store(&sessionInfo{sess.id, sess.fingerprint, sess.suite})
	if e.watchAll {
		e.requestWatch("")
	}
	for name, u := range e.users {
		u.listed = false
		if u.refusal != nil && ExitStatus(u.refusal) == 3 {
			u.refusal = nil
		}
		if u.watching {
			e.requestWatch(name)
		}
	}
}

// run is the engine's goroutine.
func (e *engine) run() {
	ticker := time.NewTicker(min(tick, e.cfg.again))
	receipts := time.NewTimer(time.Hour)
	defer ticker.Stop()
	defer receipts.Stop()
	for e.fatal == nil {
		var in chan inbound
		if e.sess != nil {
			in = e.sess.in
		}
		select {
		case m, ok := <-in:
			e.onInbound(m, ok)
			// What has come already is taken before receipts go, so that one
			// receipt covers it.
			for more := 32; ok && e.fatal == nil && more > 0 && len(in) > 0; more-- {
				m, ok = <-in
				e.onInbound(m, ok)
			}
		case f := <-e.cmds:
			f()
		case <-e.wake:
		case <-receipts.C:
		case <-ticker.C:
			e.onTick(time.Now())
		case <-e.ctx.Done():
			e.end(nil)
		}
		if e.fatal != nil {
			return
		}
		e.takeMarks()
		e.takeOutbox()
		e.flush()
		if !e.receiptAt.IsZero() {
			receipts.Reset(max(time.Until(e.receiptAt), 0))
		}
		e.checkWaiters()
	}
}

// end stops the engine. A nil error is an orderly stop.
func (e *engine) end(err error) {
	if e.fatal != nil {
		return
	}
	if e.sess != nil {
		e.sess.fail(nil)
		e.sess.wg.Wait()
		e.sess = nil
	}
	for _, answer := range e.answers {
		answer(inbound{}, Errorf(proto.Lost, "the client is closing"))
	}
	e.answers = nil
	for _, pc := range e.conns {
		pc.eraseAll()
	}
	reason := "the client stopped"
	if err != nil {
		reason = err.Error()
	}
	e.failOpen(proto.Lost, reason)
	if herr := e.history.Close(); herr != nil && err == nil {
		err = herr
	}
	e.outbox.close()
	e.checkWaiters()
	e.events.close(err)
	e.fatal = err
	if err == nil {
		e.fatal = Errorf(proto.Lost, "the client is closed")
	}
	e.local.Keys.Close()
	if e.ownsKey {
		e.local.Key.Erase()
	}
	close(e.ended)
}

// onInbound takes one payload from the relay, or the end of the session.
func (e *engine) onInbound(m inbound, ok bool) {
	if !ok {
		e.lost(e.sess.reason())
		return
	}
	h := m.header
	switch h.Type {
	case proto.TypeClientCom, proto.TypeCommAck:
		e.onMessage(h, m.body)
	case proto.TypeAck:
		if h.DstID != "" {
			e.onRelayAck(h.DstID, *h.Answers)
		}
	case proto.TypeClientConnect:
		e.onClientConnect(h, m.body)
	case proto.TypeDisconnect:
		if h.DstID != "" {
			e.onMessage(h, m.body)
		} else {
			e.connGone(h.SrcID, "the relay says that the connection is gone")
		}
	case proto.TypePeer:
		e.onPeer(h)
	case proto.TypeError:
		e.onError(h, m.body)
	case proto.TypeList, proto.TypeWhoisResponse, proto.TypeRelease:
		if answer := e.answers[*h.Answers]; answer != nil {
			if h.Type != proto.TypeList || h.Done != "" {
				delete(e.answers, *h.Answers)
			}
			answer(m, nil)
		}
	}
}

// onError takes an error from the relay or, relayed, from a peer.
func (e *engine) onError(h *proto.Header, body []byte) {
	// What it says may stand in any event, and be shown by any program.
	perr := &proto.Error{Code: h.Code, Message: crypto.Visible(h.Message)}
	if h.SrcID != "" {
		e.onPeerError(h, perr, body)
		return
	}
	if h.Answers != nil {
		if answer := e.answers[*h.Answers]; answer != nil {
			delete(e.answers, *h.Answers)
			answer(inbound{}, perr)
			return
		}
		if h.DstID != "" {
			e.onRefusedLine(h.DstID, *h.Answers)
		}
	}
	switch {
	case h.DstID != "" && (h.Code == proto.Gone || h.Code == proto.Slow):
		e.connGone(h.DstID, perr.Message)
	case h.DstID != "":
		e.attemptFailed(e.conns[h.DstID], perr)
	case h.Code == proto.Shutdown:
		e.event(Event{Type: EventNotice, Notice: "the relay says that it stops"})
	default:
		// A live connection that is refused does not come back.
		if final(perr) {
			e.end(&Error{Code: h.Code, Message: "the relay refuses this connection: " + perr.Message, Err: perr})
			return
		}
		e.event(Event{Type: EventError, Err: AsError(perr)})
	}
}

// lost drops the session and everything that rests on its connection ids.
func (e *engine) lost(err error) {
	e.sess.fail(err)
	e.sess.wg.Wait()
	e.sess = nil
	for _, answer := range e.answers {
		answer(inbound{}, Errorf(proto.Lost, "the relay was lost before it answered"))
	}
	clear(e.answers)
	for id := range e.conns {
		e.dropConn(id, "the relay is lost")
	}
	if e.leaving {
		e.end(nil)
		return
	}
	if e.cfg.Takes == proto.TakesPipe {
		e.end(&Error{Code: proto.Lost, Message: "the relay is lost, and the pipe with it: " + lostReason(err), Err: err})
		return
	}
	e.lostAt = time.Now()
	e.scheduleRetry()
	e.event(Event{Type: EventLost, Err: &Error{Code: proto.Lost, Message: "the relay is lost: " + lostReason(err), Err: err}})
}

func lostReason(err error) string {
	if err == nil {
		return "the connection ended"
	}
	return plainNetError(err).Error()
}

func (e *engine) scheduleRetry() {
	half := e.backoff / 2
	e.retryAt = time.Now().Add(half + rand.N(half+1))
	e.backoff = min(2*e.backoff, backoffMax)
}

// dial makes one attempt to be connected to the relay.
func (e *engine) dial(ctx context.Context, cred *Credential) (*session, error) {
	since := e.now()
	sess, err := connect(ctx, e.cfg.dial, e.cfg.Relay, e.cfg.Ciphers, cred, e.cfg.Takes, e.checkRelay)
	if err == nil {
		sess.since = since
	}
	return sess, err
}

// retry dials again in the background.
func (e *engine) retry() {
	e.dialing = true
	cred := e.cfg.Credential
	e.wg.Go(func() {
		sess, err := e.dial(e.ctx, cred)
		done := func() { e.retried(sess, cred, err) }
		select {
		case e.cmds <- done:
		case <-e.ended:
			if sess != nil {
				sess.fail(nil)
				sess.wg.Wait()
			}
		}
	})
}

func (e *engine) retried(sess *session, cred *Credential, err error) {
	e.dialing = false
	if e.leaving || cred != e.cfg.Credential { // there is a new one meanwhile
		if sess != nil {
			sess.fail(nil)
		}
		return
	}
	if err == nil {
		e.history.Connected(sess.since)
		e.begin(sess)
		e.event(Event{Type: EventBack, Conn: sess.id})
		return
	}
	// A refusal is final; what may pass is tried again.
	var ask *errAskRelay
	if errors.As(err, &ask) {
		err = errRelayUnknown(e.cfg.Relay, ask.fingerprint)
	}
	if final(err) {
		e.end(AsError(err))
		return
	}
	e.scheduleRetry()
}

// onTick looks at everything that waits for time to pass.
func (e *engine) onTick(now time.Time) {
	if e.sess == nil {
		switch {
		case e.leaving:
			e.end(nil)
			return
		case !e.cfg.Persistent && now.Sub(e.lostAt) > e.cfg.Timeout:
			e.end(Errorf(proto.Lost, "the relay at %s was lost and could not be reached again within %v", e.cfg.Relay, e.cfg.Timeout))
			return
		case !e.dialing && now.After(e.retryAt) && !e.now().After(e.delegationEnd()):
			e.retry() // what has ended the relay refuses for good
		}
	} else if now.Sub(e.lastSent) > proto.KeepAlive {
		e.sendLine([]byte(`{"type":"ack"}`+"\n\n"), nil)
	}
	if e.renewIfDue(now); e.fatal != nil {
		return
	}
	if e.sess != nil {
		e.recheck(now)
	}
	for _, pc := range e.conns {
		e.tickConn(pc, now)
	}
	for _, u := range e.users {
		e.expire(u, now)
	}
}

// sendLine queues a payload to the relay and returns its line's number. Nobody
// changes head and body any more.
func (e *engine) sendLine(head, body []byte) uint64 {
	seq := e.nextLine
	e.nextLine++
	e.lastSent = time.Now()
	e.sess.send(outLine{head, body})
	return seq
}

// flush sends what is due: receipts first, then records.
func (e *engine) flush() {
	if e.sess == nil || e.fatal != nil {
		return
	}
	e.flushReceipts()
	for _, pc := range e.conns {
		e.pump(pc)
	}
	if e.pipe != nil {
		e.pipe.pump()
	}
	e.finishLeaving()
}

// close is Client.Close.
func (c *Client) close(ctx context.Context) error {
	e := c.engine
	err := e.do(ctx, e.leave)
	if err == nil {
		select {
		case <-e.ended:
		case <-ctx.Done():
		}
	}
	e.abort()
	<-e.ended
	e.wg.Wait()
	return nil
}

// leave ends every conversation. The relay is told once it has taken what is
// on its way: see finishLeaving.
func (e *engine) leave() {
	if e.leaving {
		return
	}
	e.leaving = true
	if e.sess == nil {
		e.end(nil)
		return
	}
	e.takeOutbox()
	e.takeMarks()
	e.receiptAt = time.Now()
	e.flushReceipts()
	for _, pc := range e.conns {
		if pc.conv == nil {
			continue
		}
		if s, err := pc.conv.SealEnd(e.now()); err == nil {
			e.sendTo(pc, proto.TypeDisconnect, s.Body, 0)
		}
	}
}

// finishLeaving says good-bye to the relay once nothing is un-acked.
func (e *engine) finishLeaving() {
	if !e.leaving || e.goodbye || e.sess == nil {
		return
	}
	for _, pc := range e.conns {
		if len(pc.inflight) > 0 {
			return
		}
	}
	e.goodbye = true
	e.sendLine([]byte(`{"type":"client-disconnect"}`+"\n\n"), nil)
	e.sess.finish()
}
