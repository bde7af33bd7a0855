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
	reins *reins
}

// reins can hold back what a client hears.
type reins struct{ mu sync.Mutex }

// hold has the client hear nothing until release.
func (r *reins) hold(t *testing.T) (release func()) {
	r.mu.Lock()
	release = sync.OnceFunc(r.mu.Unlock)
	t.Cleanup(release) // before the client's end, which waits for its reader
	return release
}

func (c heldConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.reins.mu.Lock()
	defer c.reins.mu.Unlock()
	return n, err
}

func holding(r *reins) clientOption {
	return func(cfg *ClientConfig) {
		cfg.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			return heldConn{conn, r}, err
		}
	}
}

// TestOtherConnectionEnds: two clients of one user and state directory are
// there when a message is sent. The first has shown it, and has ended, when the
// second gets it, which shows it nevertheless: it is its own copy.
func TestOtherConnectionEnds(t *testing.T) {
	town := newTown(t, "alice", "bob")
	alice := town.client("alice")
	var reading reins
	slow, fast := town.client("bob", holding(&reading)), town.client("bob")
	release := reading.hold(t)
	alice.mustSend("to both", "bob")
	fast.awaitText("to both")
	alice.mustSettle(StatusRead)
	fast.leave()
	release()
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
// again to another one of the same state directory, which came later, whether
// that proves itself after the first one's end or before. That one shows it,
// and only once.
func TestLeftBehind(t *testing.T) {
	for name, before := range map[string]bool{"proved after": false, "proved before": true} {
		t.Run(name, func(t *testing.T) { leftBehind(t, before) })
	}
}

func leftBehind(t *testing.T, before bool) {
	town := newTown(t, "alice", "bob")
	var reading reins
	alice, first := town.client("alice", holding(&reading)), town.client("bob")
	conn := first.Conn()
	first.mu.Lock()
	first.hold = true
	first.mu.Unlock()
	id := alice.mustSend("left behind", "bob")
	first.awaitText("left behind")
	alice.mustSettle(StatusDelivered)
	var release func()
	if !before {
		release = reading.hold(t)
	}
	second := town.client("bob", func(cfg *ClientConfig) {
		// Lines have times in milliseconds: not in the same one.
		cfg.Now = func() time.Time { return time.Now().Add(2 * time.Millisecond) }
	})
	if before {
		alice.awaitConn(second)
		alice.mustSend("to both", "bob")
		second.awaitText("to both")
		release = reading.hold(t) // until the first is not only gone, but has let go of its history
	}
	first.leave()
	for there := true; there; {
		online, err := second.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		there = slices.ContainsFunc(online, func(o Online) bool { return o.Conn == conn })
	}
	release()
	if m := second.awaitText("left behind"); m.ID != id || !m.Again {
		t.Errorf("it came as %+v", m)
	}
	alice.mustSettle(StatusRead)
	second.leave()
	third := town.client("bob")
	alice.mustSend("another", "bob")
	third.awaitText("another")
	got := slices.Concat(second.texts(), third.texts())
	if before {
		got = slices.DeleteFunc(got, func(s string) bool { return s == "to both" })
	}
	if !slices.Equal(got, []string{"left behind", "another"}) {
		t.Errorf("shown were %q", got)
	}
}

// TestLeftLate: Bob's network is gone, and he is back over another before the
// relay knows that the old connection is dead. What was sent to that one is his
// all the same, once it is known, and is sent to the one that he has.
func TestLeftLate(t *testing.T) {
	town := newTown(t, "alice", "bob")
	var reading reins
	alice, dead := town.client("alice"), town.client("bob", holding(&reading))
	alice.mustSend("hello", "bob")
	sees(t, alice, dead, "hello")
	release := reading.hold(t)
	id := alice.mustSend("into the dead connection", "bob")
	back := town.clientIn("bob", "state-bob-2")
	alice.awaitConn(back)
	alice.mustSend("to both", "bob")
	back.awaitText("to both")
	dead.cutOff() // now the relay knows
	end := alice.await("its end", func(ev Event) bool {
		return ev.Receipt != nil && ev.Receipt.ID == id && (ev.Receipt.Status == StatusFailed || ev.Receipt.Status == StatusRead)
	})
	if end.Receipt.Status != StatusRead {
		t.Errorf("it is %s: %s", end.Receipt.Status, end.Receipt.Reason)
	}
	if got := back.texts(); !slices.Equal(got, []string{"to both", "into the dead connection"}) {
		t.Errorf("shown are %q", got)
	}
	release()
	for _, tc := range []*testClient{alice, back} {
		tc.leave()
		if r := verified(t, tc.state.HistoryDir(), town.verifier()); !r.OK() {
			t.Errorf("%s: %v", tc.Name(), r.Findings)
		}
	}
}
