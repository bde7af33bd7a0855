package chatsecure

import (
	"context"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

// heldConn delivers what it reads when its reader is not held.
type heldConn struct {
	net.Conn
	reading *sync.Mutex
}

func (c heldConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.reading.Lock()
	defer c.reading.Unlock()
	return n, err
}

func holding(reading *sync.Mutex) clientOption {
	return func(cfg *ClientConfig) {
		cfg.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			return heldConn{conn, reading}, err
		}
	}
}

// TestOtherConnectionEnds: two clients of one user and state directory are
// there when a message is sent. The first has shown it, and has ended, when the
// second gets it, which shows it nevertheless: it is its own copy.
func TestOtherConnectionEnds(t *testing.T) {
	town := newTown(t, "alice", "bob")
	alice := town.client("alice")
	var reading sync.Mutex
	slow, fast := town.client("bob", holding(&reading)), town.client("bob")
	reading.Lock()
	alice.mustSend("to both", "bob")
	fast.awaitText("to both")
	alice.mustSettle(StatusRead)
	fast.leave()
	reading.Unlock()
	if m := slow.awaitText("to both"); m.Again {
		t.Errorf("it is said to have come before: %+v", m)
	}
	alice.leave()
	slow.leave()
	for _, c := range []*testClient{alice, slow} {
		if r := verified(t, c.state.HistoryDir(), town.verifier()); !r.OK() {
			t.Errorf("%s: %v", c.Name(), r.Findings)
		}
	}
}

// TestLeftBehind: what a client has stored and not shown when it ends is sent
// again to another one of the same state directory, which came later. That one
// shows it, and only once.
func TestLeftBehind(t *testing.T) {
	town := newTown(t, "alice", "bob")
	var reading sync.Mutex
	alice, first := town.client("alice", holding(&reading)), town.client("bob")
	conn := first.Conn()
	first.mu.Lock()
	first.hold = true
	first.mu.Unlock()
	id := alice.mustSend("left behind", "bob")
	first.awaitText("left behind")
	alice.mustSettle(StatusDelivered)
	reading.Lock() // what waits for bob is given to the second when it proves itself: after the first is gone
	second := town.client("bob", func(cfg *ClientConfig) {
		// Lines have times in milliseconds: not in the same one.
		cfg.Now = func() time.Time { return time.Now().Add(2 * time.Millisecond) }
	})
	first.leave()
	for there := true; there; {
		online, err := second.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		there = slices.ContainsFunc(online, func(o Online) bool { return o.Conn == conn })
	}
	reading.Unlock()
	if m := second.awaitText("left behind"); m.ID != id || !m.Again {
		t.Errorf("it came as %+v", m)
	}
	alice.mustSettle(StatusRead)
	second.leave()
	third := town.client("bob")
	alice.mustSend("another", "bob")
	third.awaitText("another")
	if got := slices.Concat(second.texts(), third.texts()); !slices.Equal(got, []string{"left behind", "another"}) {
		t.Errorf("shown were %q", got)
	}
}
