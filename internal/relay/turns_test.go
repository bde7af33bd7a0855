package relay

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/state"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/wire"
)

func network(n int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), 32)
}

// line is waiting work: its turns come in an order that the test reads.
type line struct {
	t     *testing.T
	turns *turns
	came  chan string
	work  *turn // that the one worker is at
}

// queue queues work of an address, and returns once it waits or has its turn.
func (l *line) queue(ctx context.Context, a *account, goesOn bool, name string) {
	l.t.Helper()
	before := l.waiting()
	go func() {
		turn, err := l.turns.take(ctx, a, goesOn)
		if err != nil {
			l.came <- name + " gone"
			return
		}
		l.work = turn // the channel orders this
		l.came <- name
	}()
	wire.Until(l.t, name, func() bool { return l.waiting() > before || len(l.came) > 0 })
}

func (l *line) waiting() (n int) {
	l.turns.mu.Lock()
	defer l.turns.mu.Unlock()
	for e := l.turns.order.Front(); e != nil; e = e.Next() {
		for _, waiting := range e.Value.(*account).waiting {
			n += len(waiting)
		}
	}
	return n
}

// next ends the present work and returns the name of the next.
func (l *line) next() string {
	l.turns.give(l.work)
	return <-l.came
}

// rests reports whether nobody is at work, and nothing is remembered.
func (l *line) rests() bool {
	l.turns.mu.Lock()
	defer l.turns.mu.Unlock()
	return len(l.turns.accounts) == 0 && l.turns.order.Len() == 0 && l.turns.idle == 1
}

func newLine(t *testing.T) *line {
	l := &line{t: t, turns: newTurns(1, MaxFailures), came: make(chan string, 2000)}
	var err error
	if l.work, err = l.turns.take(t.Context(), &account{}, false); err != nil {
		t.Fatal(err)
	}
	return l
}

// owing makes an address a debtor, for longer than a test takes.
func (l *line) owing(n int) *account {
	a := l.turns.enter(network(n))
	a.paid.Store(time.Now().Add(time.Hour).UnixNano())
	return a
}

// TestAddressesTakeTurns: one address with much work waits for itself, and others wait
// for one piece of it. The inspector has every second turn.
func TestAddressesTakeTurns(t *testing.T) {
	l := newLine(t)
	crowd, ana, bruno := l.turns.enter(network(1)), l.turns.enter(network(2)), l.turns.enter(network(3))
	for range 4 {
		l.queue(t.Context(), crowd, false, "crowd")
	}
	l.queue(t.Context(), ana, true, "ana")
	l.queue(t.Context(), bruno, false, "bruno")
	l.queue(t.Context(), ana, false, "ana comes")
	var order []string
	for range 4 {
		order = append(order, l.next())
	}
	l.queue(t.Context(), &l.turns.inspector, true, "inspector")
	order = append(order, l.next(), l.next())
	l.queue(t.Context(), &l.turns.inspector, true, "inspector")
	order = append(order, l.next(), l.next())
	l.queue(t.Context(), crowd, true, "crowd goes on")
	l.queue(t.Context(), crowd, false, "crowd")
	order = append(order, l.next(), l.next())
	want := []string{"crowd", "ana", "bruno", "crowd", "inspector", "ana comes", "inspector", "crowd", "crowd goes on", "crowd"}
	if !slices.Equal(order[:8], want[:8]) {
		t.Errorf("the order is %q, want %q", order, want)
	}
	l.next()
	l.turns.give(l.work)
	for _, a := range []*account{crowd, ana, bruno} {
		l.turns.leave(a)
	}
	if !l.rests() {
		t.Errorf("at rest there are %d accounts, %d in order, %d idle", len(l.turns.accounts), l.turns.order.Len(), l.turns.idle)
	}
}

// TestNeighbourIsNotLast: who has come after many of his own address waits for some of them,
// and who goes on with a visit for none.
func TestNeighbourIsNotLast(t *testing.T) {
	l := newLine(t)
	crowd := l.turns.enter(network(1))
	const many = 20
	for range many {
		l.queue(t.Context(), crowd, false, "crowd")
	}
	l.queue(t.Context(), crowd, true, "ana goes on")
	if got := l.next(); got != "ana goes on" {
		t.Errorf("then comes %s", got)
	}
	for range 60 { // each time, three of five do not wait for so many
		l.queue(t.Context(), crowd, false, "ana")
		before := 0
		for l.next() != "ana" {
			before++
			l.queue(t.Context(), crowd, false, "crowd")
		}
		if before < many {
			return
		}
	}
	t.Error("ana always waits for all who were there")
}

// TestDebtorsComeLast: work of an address that has failed too often waits for that of all
// others, and for a rest after each piece. One worker is at it at a time.
func TestDebtorsComeLast(t *testing.T) {
	l := newLine(t)
	debtor, other, ana := l.owing(1), l.owing(2), l.turns.enter(network(3))
	l.queue(t.Context(), debtor, true, "debtor")
	l.queue(t.Context(), other, false, "other")
	l.queue(t.Context(), ana, false, "ana")
	l.queue(t.Context(), ana, false, "ana")
	l.queue(t.Context(), &l.turns.inspector, true, "inspector")
	var order []string
	for range 4 {
		order = append(order, l.next())
	}
	if want := []string{"inspector", "ana", "ana", "debtor"}; !slices.Equal(order, want) {
		t.Errorf("the order is %q, want %q", order, want)
	}
	l.turns.mu.Lock()
	l.turns.idle++ // a second worker
	l.turns.shareOut()
	if !l.turns.debtor || l.turns.idle != 1 {
		t.Error("a second worker is at a debtor's work")
	}
	l.work.began = time.Now().Add(-time.Hour)
	l.turns.idle--
	l.turns.mu.Unlock()
	l.turns.give(l.work)
	l.turns.mu.Lock()
	if rest := time.Until(l.turns.rest); l.turns.idle != 1 || rest < DebtorsRest*time.Hour-time.Minute {
		t.Errorf("the debtors' rest is %v, %d workers are idle", rest, l.turns.idle)
	}
	l.turns.mu.Unlock()
	l.queue(t.Context(), ana, false, "ana again")
	if got := <-l.came; got != "ana again" {
		t.Errorf("the turn is %s's", got)
	}
	l.turns.give(l.work)
	l.turns.mu.Lock()
	l.turns.rest = time.Now().Add(time.Millisecond)
	l.turns.shareOut() // comes back by itself
	l.turns.mu.Unlock()
	if got := <-l.came; got != "other" {
		t.Errorf("the turn is %s's", got)
	}
}

// TestFailuresArePaid: a storm of failures is paid off in a bounded time, and the first ones
// cost nothing.
func TestFailuresArePaid(t *testing.T) {
	l := newLine(t)
	a := l.turns.enter(network(1))
	l.turns.credit = time.Hour // the clock stands still, as far as this test sees
	for range int(time.Hour / FailureEvery) {
		if l.turns.owes(a, time.Now()) {
			t.Fatal("the address is a debtor too early")
		}
		l.turns.fail(a, 1)
	}
	l.turns.fail(a, 1e6)
	now := time.Now()
	if !l.turns.owes(a, now) || l.turns.owes(a, now.Add(maxDebt)) {
		t.Errorf("a storm is paid off at %v", time.Unix(0, a.paid.Load()))
	}
}

// TestTurnsEndWithTheWait: who waits no longer leaves no trace, and loses no worker.
func TestTurnsEndWithTheWait(t *testing.T) {
	l := newLine(t)
	ctx, cancel := context.WithCancel(t.Context())
	a := l.turns.enter(network(1))
	l.queue(ctx, a, false, "ana")
	cancel()
	if got := <-l.came; got != "ana gone" {
		t.Errorf("got %s", got)
	}
	l.turns.leave(a)
	l.turns.give(l.work)
	if !l.rests() {
		t.Errorf("%d accounts, %d idle", len(l.turns.accounts), l.turns.idle)
	}
	// In a race of the two, the worker is given to one or none.
	var all sync.WaitGroup
	for i := range 200 {
		ctx, cancel := context.WithCancel(t.Context())
		all.Go(func() {
			a := l.turns.enter(network(i % 3))
			defer l.turns.leave(a)
			if turn, err := l.turns.take(ctx, a, i%2 > 0); err == nil {
				l.turns.give(turn)
			}
		})
		all.Go(cancel)
	}
	all.Wait()
	if !l.rests() {
		t.Errorf("after the race %d accounts, %d idle", len(l.turns.accounts), l.turns.idle)
	}
}

// TestAccountsAreBounded: no storm of addresses takes more memory than is stated, and
// all of it is given back.
func TestAccountsAreBounded(t *testing.T) {
	turns := newTurns(1, MaxFailures)
	for i := range maxAccounts + 100 {
		a := turns.enter(network(i))
		turns.fail(a, 1<<20)
		turns.leave(a)
	}
	if len(turns.accounts) != maxAccounts {
		t.Errorf("%d accounts, want %d", len(turns.accounts), maxAccounts)
	}
	for _, a := range turns.accounts {
		a.paid.Store(0)
	}
	turns.forget()
	if len(turns.accounts) > 0 {
		t.Errorf("%d accounts of paid failures", len(turns.accounts))
	}
}

// owes returns the failures that the tests' address has to pay for.
func (rt *server) owes() int {
	rt.turns.mu.Lock()
	defer rt.turns.mu.Unlock()
	for addr, a := range rt.turns.accounts {
		if paid := time.Unix(0, a.paid.Load()); addr.Addr().IsLoopback() && paid.After(time.Now()) {
			return int((time.Until(paid) + FailureEvery - 1) / FailureEvery)
		}
	}
	return 0
}

// TestFailedHandshakesAreCharged: to its address, each once, from phase 2 on. Success is
// free, and what is the relay's own fault.
func TestFailedHandshakesAreCharged(t *testing.T) {
	cred := wire.Delegate(t, wire.Person(t, "ana"), "ana")
	stranger := wire.Delegate(t, wire.Person(t, "stranger", lab.Untrusted), "stranger")
	for _, c := range []struct {
		why  string
		do   func(rt *server)
		cost int
	}{
		{"success", func(rt *server) { rt.Connect(cred, proto.TakesNone) }, 0},
		{"no first line", func(rt *server) { rt.Dial().Close() }, 0},
		{"no certificate", func(rt *server) { rt.Refused(stranger) }, 1},
		{"a signature of another", func(rt *server) {
			rt.Handshake(&wire.HandshakePlan{Cred: cred, Takes: proto.TakesNone, Hello: func(h *crypto.Hello) { h.Signature = stranger.Key.Sign(nil) }})
		}, 1},
		{"gone after phase 2", func(rt *server) {
			conn := rt.Dial()
			wire.Handshake(t, conn, &wire.HandshakePlan{Cred: cred, Takes: proto.TakesNone, Line3: func([]byte) []byte { conn.Close(); return nil }})
		}, 1},
		{"gone for another", func(rt *server) {
			conn := rt.Dial()
			wire.Handshake(t, conn, &wire.HandshakePlan{Cred: cred, Takes: proto.TakesNone, Line3: func([]byte) []byte {
				rt.halfOpen.mu.Lock()
				defer rt.halfOpen.mu.Unlock()
				rt.halfOpen.evictLocked(rt.halfOpen.order.Front().Value.(*visitor), proto.Busy)
				return nil
			}})
		}, 1},
		{"an RSA key for nothing", func(rt *server) {
			wire.Until(t, "an RSA key", func() bool {
				_, err := rt.Handshake(&wire.HandshakePlan{Cred: stranger, Takes: proto.TakesNone, Ciphers: []string{crypto.SuiteRSA256}})
				return tellable(err).Code != proto.Busy
			})
		}, RSAFailure},
		{"a relay that stops", func(rt *server) {
			rt.hub.mu.Lock()
			rt.hub.closed = true
			rt.hub.mu.Unlock()
			rt.Refused(cred)
		}, 0},
	} {
		rt := start(t)
		c.do(rt)
		owed := 0
		wire.Until(t, "the end of the visit", func() bool {
			owed = max(owed, rt.owes()) // some may be paid before the relay has closed
			rt.halfOpen.mu.Lock()
			defer rt.halfOpen.mu.Unlock()
			return rt.halfOpen.order.Len() == 0 || owed > 0
		})
		if owed > c.cost || c.cost > 0 && owed == 0 {
			t.Errorf("%s: the address owes %d, want %d", c.why, owed, c.cost)
		}
	}
}

// TestStopWaitsForNobody: neither a check of a certificate, nor a write of a name, nor a
// client that takes nothing holds up the end of a relay.
func TestStopWaitsForNobody(t *testing.T) {
	t.Run("certificate", func(t *testing.T) {
		asked, forever := make(chan struct{}), make(chan struct{})
		var once sync.Once
		rt := start(t, func(cfg *Config) {
			cfg.Now = func() time.Time {
				select {
				case <-asked:
					<-forever // a check that does not end
				default:
				}
				return time.Now()
			}
		})
		cred := wire.Delegate(t, wire.Person(t, "ana"), "ana")
		refused := make(chan error, 1)
		conn := rt.Dial()
		go func() {
			_, err := wire.Handshake(t, conn, &wire.HandshakePlan{Cred: cred, Takes: proto.TakesNone, Line3: func(b []byte) []byte {
				once.Do(func() { close(asked) })
				return b
			}})
			refused <- err
		}()
		<-asked
		wire.Until(t, "the check", func() bool {
			rt.turns.mu.Lock()
			defer rt.turns.mu.Unlock()
			return rt.turns.idle == 0
		})
		rt.Shutdown()
		if told, ok := errors.AsType[*proto.Error](<-refused); !ok || told.Code != proto.Shutdown {
			t.Errorf("told %v", told)
		}
		close(forever)
	})
	t.Run("name", func(t *testing.T) {
		begun, forever, sync := make(chan struct{}), make(chan struct{}), state.SyncFile
		t.Cleanup(func() { state.SyncFile = sync }) // once the relay's goroutines have ended
		rt := start(t)
		cred := wire.Delegate(t, wire.Person(t, "ana"), "ana")
		state.SyncFile = func(f *os.File) error {
			select {
			case begun <- struct{}{}:
				<-forever // a disk that does not answer
			case <-forever:
			}
			return sync(f)
		}
		conn := rt.Dial()
		go wire.Handshake(t, conn, &wire.HandshakePlan{Cred: cred, Takes: proto.TakesNone})
		<-begun
		rt.Shutdown()
		close(forever)
		rt.conns.Wait()
	})
	if 2*lastGrace > stopWithin || stopWithin+closeWithin >= 2*time.Second {
		t.Error("the bounds on the end do not add up")
	}
}
