package attack

import (
	"context"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"chatsecure/internal/client"
	"chatsecure/internal/history"
)

// heldConn delivers bytes while its reader is not held.
type heldConn struct {
	net.Conn
	reins *reins
}

// reins hold back the bytes for a client.
type reins struct{ mu sync.Mutex }

// hold keeps all bytes from the client until release.
func (r *reins) hold(t *testing.T) (release func()) {
	r.mu.Lock()
	release = sync.OnceFunc(r.mu.Unlock)
	t.Cleanup(release) // the client's end waits for its reader
	return release
}

func (c heldConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.reins.mu.Lock()
	defer c.reins.mu.Unlock()
	return n, err
}

func holding(r *reins) clientOption {
	return func(cfg *client.Config) {
		cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			return heldConn{conn, r}, err
		}
	}
}

// TestOtherConnectionEnds: two clients with one user and state directory are connected when a
// message is sent. The first has shown it and ended when the second gets it. The second shows its
// own copy all the same.
func TestOtherConnectionEnds(t *testing.T) {
	town := newTown(t, "alice", "bob")
	alice := town.client("alice")
	var reading reins
	slow, fast := town.client("bob", holding(&reading)), town.client("bob")
	release := reading.hold(t)
	alice.mustSend("to both", "bob")
	fast.awaitText("to both")
	alice.mustSettle(history.StatusRead)
	fast.leave()
	release()
	if m := slow.awaitText("to both"); m.Again {
		t.Errorf("it is said to have come before: %+v", m)
	}
	alice.leave()
	slow.leave()
	for _, c := range []*testClient{alice, slow} {
		town.historyHolds(c.state.HistoryDir())
	}
}

// TestLeftBehind: a client ends with a message stored and not shown. The message is sent again to
// another client on the same state directory that came later, and proved itself before or after the
// first one's end. That client shows it once.
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
	alice.mustSettle(history.StatusDelivered)
	var release func()
	if !before {
		release = reading.hold(t)
	}
	second := town.client("bob", func(cfg *client.Config) {
		// Lines have times in milliseconds: the two must differ.
		cfg.Now = func() time.Time { return time.Now().Add(2 * time.Millisecond) }
	})
	if before {
		alice.awaitConn(second)
		alice.mustSend("to both", "bob")
		second.awaitText("to both")
		release = reading.hold(t) // the first must have let go of its history, too
	}
	first.leave()
	for there := true; there; {
		online, err := second.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		there = slices.ContainsFunc(online, func(o client.Online) bool { return o.Conn == conn })
	}
	release()
	if m := second.awaitText("left behind"); m.ID != id || m.Again {
		t.Errorf("it came as %+v", m)
	}
	alice.mustSettle(history.StatusRead)
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

// TestLeftLate: Bob's network fails, and he returns over another before the relay notices the dead
// connection. The messages for the dead connection are sent to his present one, before later ones.
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
	end := alice.await("its end", func(ev client.Event) bool {
		return ev.Receipt != nil && ev.Receipt.ID == id && (ev.Receipt.Status == history.StatusFailed || ev.Receipt.Status == history.StatusRead)
	})
	if end.Receipt.Status != history.StatusRead {
		t.Errorf("it is %s: %s", end.Receipt.Status, end.Receipt.Reason)
	}
	if got := back.texts(); !slices.Equal(got, []string{"into the dead connection", "to both"}) {
		t.Errorf("shown are %q", got)
	}
	release()
	for _, tc := range []*testClient{alice, back} {
		tc.leave()
		town.historyHolds(tc.state.HistoryDir())
	}
}
