package attack

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/proto"
	"chatsecure/testdata/lab/leaks"
	"chatsecure/testdata/lab/wire"
)

// Row 27: a transport that fails after N reads, or N writes, for every N of a session, at the
// client's socket or the relay's, in chat and in a pipe.

// fault makes a connection fail before one of its reads or, with half of the bytes written, in one
// of its writes. The zero value never fails.
type fault struct {
	read, write   int64 // number of the one that fails, from 1, or 0
	reads, writes atomic.Int64
	over          atomic.Bool
}

func (f *fault) String() string { return fmt.Sprintf("read %d, write %d", f.read, f.write) }

// errFault is the system's error for a lost connection.
func errFault(op string) error { return &net.OpError{Op: op, Net: "tcp", Err: syscall.ECONNRESET} }

// faultyConn is a connection with a fault, after which it is dead.
type faultyConn struct {
	net.Conn
	*fault
}

func (c *faultyConn) Read(b []byte) (int, error) {
	if c.reads.Add(1) == c.read {
		c.over.Store(true)
	}
	if c.over.Load() {
		return 0, errFault("read")
	}
	return c.Conn.Read(b)
}

func (c *faultyConn) Write(b []byte) (n int, err error) {
	if c.over.Load() {
		return 0, errFault("write")
	}
	if c.writes.Add(1) == c.write {
		c.over.Store(true)
		n, _ = c.Conn.Write(b[:len(b)/2])
		return n, errFault("write")
	}
	return c.Conn.Write(b)
}

func (c *faultyConn) CloseWrite() error {
	if c.over.Load() {
		return errFault("shutdown")
	}
	return c.Conn.(*net.TCPConn).CloseWrite()
}

// faultTown is a town that can give the next connection a fault, at either end.
type faultTown struct {
	*localTown
	relaySide bool
	next      atomic.Pointer[fault]
}

// newFaultTown makes one with the cards of another town.
func newFaultTown(t *testing.T, cards *localTown, relaySide bool) *faultTown {
	t.Helper()
	leaks.Check(t)
	town := &faultTown{localTown: &localTown{t: t, dir: t.TempDir(), pki: cards.pki, addr: "127.0.0.1:0"}, relaySide: relaySide}
	if err := os.Symlink(filepath.Join(cards.dir, "lab"), filepath.Join(town.dir, "lab")); err != nil {
		t.Fatal(err)
	}
	town.listen = func(ln net.Listener) net.Listener { return &faultyListener{ln, town} }
	town.startRelay()
	t.Cleanup(func() { town.stop() })
	return town
}

// wrap gives a connection the waiting fault.
func (town *faultTown) wrap(conn net.Conn) net.Conn {
	if f := town.next.Swap(nil); f != nil {
		return &faultyConn{conn, f}
	}
	return conn
}

type faultyListener struct {
	net.Listener
	town *faultTown
}

func (l *faultyListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil && l.town.relaySide {
		conn = l.town.wrap(conn)
	}
	return conn, err
}

// impatient makes a client retry soon, through the town's connections.
func (town *faultTown) impatient(cfg *client.Config) {
	cfg.Again = 20 * time.Millisecond
	if town.relaySide {
		return
	}
	cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err == nil {
			conn = town.wrap(conn)
		}
		return conn, err
	}
}

// wantLost checks that an error is the loss of the relay.
func wantLost(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil && (fail.AsError(err).Code != proto.Lost || fail.ExitStatus(err) != 3) {
		t.Errorf("%s: %v, code %s, exit status %d", what, err, fail.AsError(err).Code, fail.ExitStatus(err))
	}
}

// connect makes a client whose first connection has the fault. If that fails, with an error that
// says so, the next one has none.
func (town *faultTown) connect(f *fault, name string, opts ...clientOption) *testClient {
	town.t.Helper()
	cfg := town.config(name, "state-"+name)
	town.impatient(&cfg)
	for _, o := range opts {
		o(&cfg)
	}
	if f != nil {
		town.next.Store(f)
		if c, err := client.Dial(context.Background(), cfg); err == nil {
			return town.watch(c, cfg)
		} else if wantLost(town.t, "dial", err); !f.over.Load() {
			town.t.Errorf("without a fault: %v", err)
		}
	}
	return town.dial(cfg)
}

// faultyChat is a whole session: list, whois, three messages with their receipts and one back.
// Alice's connection has the fault.
func faultyChat(t *testing.T, town *faultTown, f *fault) {
	bob := town.connect(nil, "bob", func(cfg *client.Config) { cfg.WaitPeer = wire.Timeout })
	alice := town.connect(f, "alice")
	_, err := alice.List(context.Background())
	wantLost(t, "list", err)
	_, err = alice.Whois(context.Background(), "bob")
	wantLost(t, "whois", err)
	var sent []string
	for _, text := range []string{"one", "two", "three"} {
		if _, err := alice.Send(context.Background(), []string{"bob"}, text); err == nil {
			sent = append(sent, text)
		} else {
			wantLost(t, "send "+text, err) // and nothing was sent to anyone
		}
		alice.mustSettle(history.StatusRead)
	}
	bob.mustSend("back", "alice")
	bob.mustSettle(history.StatusRead)
	leaves(t, alice)

	// Bob is undisturbed, and talks with a new connection.
	again := town.connect(nil, "alice")
	again.mustSend("afterwards", "bob")
	again.mustSettle(history.StatusRead)
	bob.mustSend("back again", "alice")
	bob.mustSettle(history.StatusRead)
	leaves(t, again, bob)
	if got := bob.texts(); !slices.Equal(got, append(sent, "afterwards")) {
		t.Errorf("bob saw %q, and %q was sent", got, sent)
	}
	if got := append(alice.texts(), again.texts()...); !slices.Equal(got, []string{"back", "back again"}) {
		t.Errorf("alice saw %q", got)
	}
	town.historiesHold("alice", "bob")
}

// faultyPipe is a pipe both ways. Alice's connection has the fault.
func faultyPipe(t *testing.T, town *faultTown, f *fault) {
	there, back := make([]byte, 300<<10), make([]byte, 90<<10)
	rand.Read(there)
	rand.Read(back)
	attempt := func(f *fault) (errs []error, toAlice, toBob []byte) {
		bob := town.connect(nil, "bob", takesPipe)
		alice := town.connect(f, "alice", takesPipe)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		var wg sync.WaitGroup
		errs = make([]error, 2)
		var outs [2]bytes.Buffer
		wg.Go(func() {
			errs[1] = bob.Pipe(ctx, "alice", bytes.NewReader(back), &outs[1], nil)
			leaves(t, bob)
		})
		errs[0] = alice.Pipe(ctx, "bob", bytes.NewReader(there), &outs[0], nil)
		leaves(t, alice)
		agreed := true
		bob.Inside().Look(func(s client.Snapshot) { agreed = s.PipeAgreed })
		if !agreed {
			cancel() // nobody is there any more
		}
		wg.Wait()
		return errs, outs[0].Bytes(), outs[1].Bytes()
	}
	errs, toAlice, toBob := attempt(f)
	for i, err := range errs {
		if errors.Is(err, context.Canceled) {
			continue
		}
		wantLost(t, []string{"alice", "bob"}[i], err)
		if err != nil && !f.over.Load() {
			t.Errorf("without a fault: %v", err)
		}
	}
	if !bytes.HasPrefix(there, toBob) || !bytes.HasPrefix(back, toAlice) {
		t.Error("what came is not the beginning of what was sent")
	}
	// Success means that everything has come, and that everything has arrived.
	if whole := len(toBob) == len(there) && len(toAlice) == len(back); !whole && (errs[0] == nil || errs[1] == nil) {
		t.Errorf("%d of %d and %d of %d bytes came, and the sides ended with %v", len(toBob), len(there), len(toAlice), len(back), errs)
	}
	if f.over.Load() {
		errs, toAlice, toBob := attempt(nil)
		if errors.Join(errs...) != nil || !bytes.Equal(toBob, there) || !bytes.Equal(toAlice, back) {
			t.Errorf("afterwards: %v", errs)
		}
	}
}

// faultsAll tries every N instead of a sample.
var faultsAll = os.Getenv("CHATSECURE_ATTACK") == "1"

func TestFaultyTransport(t *testing.T) {
	cards := newTown(t, "alice", "bob")
	for name, session := range map[string]func(*testing.T, *faultTown, *fault){"chat": faultyChat, "pipe": faultyPipe} {
		for _, relaySide := range []bool{false, true} {
			side := map[bool]string{false: "client", true: "relay"}[relaySide]
			t.Run(name+" "+side, func(t *testing.T) {
				// The number of each in a session without a fault.
				whole := new(fault)
				t.Run("none", func(t *testing.T) { session(t, newFaultTown(t, cards, relaySide), whole) })
				var faults []*fault
				for n := int64(1); n <= whole.reads.Load(); n++ {
					faults = append(faults, &fault{read: n})
				}
				for n := int64(1); n <= whole.writes.Load(); n++ {
					faults = append(faults, &fault{write: n})
				}
				all := len(faults)
				if !faultsAll {
					faults = slices.DeleteFunc(faults, func(f *fault) bool { return (f.read+f.write)%7 != 2 })
				}
				t.Logf("%d of %d faults", len(faults), all)
				var hit atomic.Int64
				t.Run("each", func(t *testing.T) {
					for _, f := range faults {
						t.Run(f.String(), func(t *testing.T) {
							t.Parallel()
							session(t, newFaultTown(t, cards, relaySide), f)
							if f.over.Load() {
								hit.Add(1)
							}
						})
					}
				})
				if int(hit.Load()) < len(faults)*3/4 {
					t.Errorf("only %d of %d faults happened", hit.Load(), len(faults))
				}
			})
		}
	}
}
