package relay

import (
	"context"
	"errors"
	"fmt"
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
}

// queue queues work of an address, and returns once it waits or has its turn.
func (l *line) queue(ctx context.Context, addr netip.Prefix, name string) {
	l.t.Helper()
	before := l.waiting()
	go func() {
		if err := l.turns.take(ctx, addr); err != nil {
			l.came <- name + " " + string(tellable(err).Code)
			return
		}
		l.came <- name
	}()
	wire.Until(l.t, name, func() bool { return l.waiting() > before || len(l.came) > 0 })
}

func (l *line) waiting() (n int) {
	l.turns.mu.Lock()
	defer l.turns.mu.Unlock()
	for _, a := range l.turns.accounts {
		n += len(a.waiting)
	}
	return n
}

func newLine(t *testing.T) *line {
	l := &line{t, newTurns(1, MaxFailures), make(chan string, 100)}
	if err := l.turns.take(t.Context(), network(0)); err != nil {
		t.Fatal(err)
	}
	return l
}

// TestAddressesTakeTurns: one address with much work waits for itself, and others wait
// for one piece of it.
func TestAddressesTakeTurns(t *testing.T) {
	l := newLine(t)
	for i := range 4 {
		l.queue(t.Context(), network(1), fmt.Sprint("crowd ", i))
	}
	l.queue(t.Context(), network(2), "ana")
	l.queue(t.Context(), network(3), "bruno")
	l.queue(t.Context(), network(2), "carla")
	var order []string
	for range 7 {
		l.turns.give()
		order = append(order, <-l.came)
	}
	if want := []string{"crowd 0", "ana", "bruno", "crowd 1", "carla", "crowd 2", "crowd 3"}; !slices.Equal(order, want) {
		t.Errorf("the order is %q, want %q", order, want)
	}
	l.turns.give()
	if len(l.turns.accounts) > 0 || l.turns.order.Len() > 0 || l.turns.idle != 1 {
		t.Errorf("at rest there are %d accounts, %d in order, %d idle", len(l.turns.accounts), l.turns.order.Len(), l.turns.idle)
	}
}

// TestFailuresArePaid: work of an address that has failed too often waits, whoever comes
// later. Its neighbour's is not charged, nor is success.
func TestFailuresArePaid(t *testing.T) {
	l := newLine(t)
	l.turns.credit = 3 * time.Hour // the clock stands still, as far as this test sees
	for range 3 * int(time.Hour/FailureEvery) {
		l.turns.fail(network(1), 1)
	}
	a := l.turns.accounts[network(1)]
	if most := time.Now().Add(maxDebt); a.paid.After(most) {
		t.Errorf("a storm is paid off at %v, later than %v", a.paid, most)
	}
	a.paid = time.Now().Add(4 * time.Hour)
	l.queue(t.Context(), network(1), "crowd")
	l.queue(t.Context(), network(2), "ana")
	l.turns.give()
	if got := <-l.came; got != "ana" {
		t.Errorf("the turn is %s's", got)
	}
	l.turns.give() // and now a worker is idle
	l.queue(t.Context(), network(2), "ana again")
	if got := <-l.came; got != "ana again" {
		t.Errorf("the turn is %s's", got)
	}
	// Only so much waits, whether the debt or the work came first.
	for i := range maxPaced {
		l.queue(t.Context(), network(1), fmt.Sprint("crowd ", i))
	}
	if got := <-l.came; got != fmt.Sprint("crowd ", maxPaced-1, " busy") {
		t.Errorf("got %s", got)
	}
	l.turns.mu.Lock()
	a.paid = time.Time{}
	l.turns.idle = 0
	l.turns.mu.Unlock()
	l.queue(t.Context(), network(1), "one more")
	l.turns.mu.Lock()
	l.turns.credit = 0
	l.turns.mu.Unlock()
	l.turns.fail(network(1), MaxFailures)
	if got := <-l.came; got != "one more busy" {
		t.Errorf("got %s", got)
	}
	l.turns.mu.Lock()
	a.paid = time.Time{}
	l.turns.mu.Unlock()
	for i := range maxPaced {
		l.turns.give()
		want := "crowd"
		if i > 0 {
			want = fmt.Sprint("crowd ", i-1)
		}
		if got := <-l.came; got != want {
			t.Errorf("then the turn is %s's, not %s's", got, want)
		}
	}
}

// TestTurnsEndWithTheWait: who waits no longer leaves no trace, and loses no worker.
func TestTurnsEndWithTheWait(t *testing.T) {
	l := newLine(t)
	ctx, cancel := context.WithCancel(t.Context())
	l.queue(ctx, network(1), "ana")
	cancel()
	if got := <-l.came; got != "ana busy" {
		t.Errorf("got %s", got)
	}
	l.turns.give()
	if len(l.turns.accounts) > 0 || l.turns.idle != 1 {
		t.Errorf("%d accounts, %d idle", len(l.turns.accounts), l.turns.idle)
	}
	// In a race of the two, the worker is given to one or none.
	var all sync.WaitGroup
	for i := range 200 {
		ctx, cancel := context.WithCancel(t.Context())
		all.Go(func() {
			if l.turns.take(ctx, network(i%3)) == nil {
				l.turns.give()
			}
		})
		all.Go(cancel)
	}
	all.Wait()
	if len(l.turns.accounts) > 0 || l.turns.idle != 1 {
		t.Errorf("after the race %d accounts, %d idle", len(l.turns.accounts), l.turns.idle)
	}
}

// TestAccountsAreBounded: no storm of addresses takes more memory than is stated, and
// all of it is given back.
func TestAccountsAreBounded(t *testing.T) {
	turns := newTurns(1, MaxFailures)
	for i := range maxAccounts + 100 {
		turns.fail(network(i), 1<<20)
	}
	if len(turns.accounts) != maxAccounts {
		t.Errorf("%d accounts, want %d", len(turns.accounts), maxAccounts)
	}
	for _, a := range turns.accounts {
		a.paid = time.Now()
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
		if addr.Addr().IsLoopback() && a.paid.After(time.Now()) {
			return int((time.Until(a.paid) + FailureEvery - 1) / FailureEvery)
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

// TestBusyAddressIsHeld: a visitor with too much work before it hears of that later, since
// it would come back at once. It holds up nobody meanwhile.
func TestBusyAddressIsHeld(t *testing.T) {
	rt := start(t, func(cfg *Config) { cfg.busyPause, cfg.handshakeTimeout = time.Hour, time.Hour })
	cred := wire.Delegate(t, wire.Person(t, "ana"), "ana")
	conn, answer := rt.Dial(), make(chan error, 1)
	addr := prefix(conn) // of both ends
	rt.turns.mu.Lock()
	a := rt.turns.account(addr)
	a.paid = time.Now().Add(time.Hour)
	a.waiting = slices.Repeat([]chan error{make(chan error, 1)}, maxPaced)
	rt.turns.mu.Unlock()
	go func() {
		_, err := wire.Handshake(t, conn, &wire.HandshakePlan{Cred: cred, Takes: proto.TakesNone})
		answer <- err
	}()
	wire.Until(t, "the refusal", func() bool {
		rt.turns.mu.Lock()
		defer rt.turns.mu.Unlock()
		return a.place != nil && len(a.waiting) == maxPaced
	})
	rt.turns.mu.Lock()
	rt.turns.order.Remove(a.place)
	delete(rt.turns.accounts, addr)
	rt.turns.mu.Unlock()
	rt.Join("bruno")
	rt.Shutdown()
	if told := tellable(<-answer); told == nil || told.Code != proto.Shutdown {
		t.Errorf("it was told %v before", told)
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
