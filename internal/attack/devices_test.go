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
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// door is a client's way to the relay. The test shuts and opens it.
type door struct {
	mu      sync.Mutex
	reading reins
}

// shut lets the client make no connection to the relay until open.
func (d *door) shut(t *testing.T) (open func()) {
	d.mu.Lock()
	open = sync.OnceFunc(d.mu.Unlock)
	t.Cleanup(open) // the client's end waits for its attempt
	return open
}

// behind is a prompt that comes back to the relay as soon as its door is open.
func behind(d *door) clientOption {
	return func(cfg *client.Config) {
		cfg.Persistent, cfg.Again = true, 10*time.Millisecond
		cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			d.mu.Lock()
			defer d.mu.Unlock()
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			return heldConn{conn, &d.reading}, err
		}
	}
}

// twoDevices is Alice, and Bob at two machines. Each has a door to the relay.
type twoDevices struct {
	*localTown
	alice, bob, bob2         *testClient
	aliceAt, bobAt, secondAt door
}

func (d *twoDevices) begin() {
	d.alice = d.client("alice", behind(&d.aliceAt))
	d.bob, d.bob2 = d.client("bob", behind(&d.bobAt)), d.clientIn("bob", "state-bob2", behind(&d.secondAt))
}

// meet sends a first message to both devices.
func (d *twoDevices) meet() {
	d.alice.mustSend("hello", "bob")
	d.bob.awaitText("hello")
	d.bob2.awaitText("hello")
	d.alice.mustSettle(history.StatusRead)
	d.awaitRead()
}

// awaitRead waits until both devices have read all that was sent to them.
func (d *twoDevices) awaitRead() {
	d.t.Helper()
	for deadline := time.Now().Add(wire.Timeout); ; time.Sleep(time.Millisecond) {
		open := 0
		d.alice.Inside().Look(func(s client.Snapshot) {
			for _, c := range s.Conns {
				open += c.Queued + c.Unread
			}
		})
		if open == 0 {
			return
		}
		if time.Now().After(deadline) {
			d.t.Fatalf("%d messages are not READ", open)
		}
	}
}

// restart ends the relay, has something done while it is away, and starts it again.
func (d *twoDevices) restart(meanwhile func()) {
	d.stop()
	for _, c := range []*testClient{d.alice, d.bob, d.bob2} {
		c.await("the loss", func(ev client.Event) bool { return ev.Type == client.EventLost })
	}
	meanwhile()
	d.startRelay()
}

// awaited counts the records that wait for devices of Bob's which are not there.
func (d *twoDevices) awaited() (n int) {
	d.alice.Inside().Look(func(s client.Snapshot) { n = s.Users["bob"].Awaited })
	return n
}

// check waits until both devices have the last message. Each has all, once and in order.
func (d *twoDevices) check(ids []string, want ...string) {
	d.t.Helper()
	for _, c := range []*testClient{d.bob, d.bob2} {
		c.awaitText(want[len(want)-1])
		if got := c.texts(); !slices.Equal(got, want) {
			d.t.Errorf("shown are %q, want %q", got, want)
		}
	}
	d.awaitRead()
	for _, id := range ids {
		all := d.alice.statuses(id)
		if !slices.IsSortedFunc(all, func(a, b history.Status) int {
			switch {
			case a == b:
				return 0
			case a.AtLeast(b):
				return 1
			}
			return -1
		}) || all[len(all)-1] != history.StatusRead {
			d.t.Errorf("a message is %q", all)
		}
	}
	for _, c := range []*testClient{d.alice, d.bob, d.bob2} {
		c.leave()
		d.historyHolds(c.state.HistoryDir())
	}
}

// TestEachDeviceAfterTheRelay: messages written while the relay is away come to each device that was
// there before, also to one that comes back when the other has read them, and before later ones.
func TestEachDeviceAfterTheRelay(t *testing.T) {
	d := &twoDevices{localTown: newTown(t, "alice", "bob")}
	d.begin()
	d.meet()
	open := d.secondAt.shut(t)
	var ids []string
	d.restart(func() { ids = append(ids, d.alice.mustSend("one", "bob"), d.alice.mustSend("two", "bob")) })
	d.alice.awaitStatus(ids[1], "bob", history.StatusRead)
	ids = append(ids, d.alice.mustSend("three", "bob"))
	d.alice.mustSettle(history.StatusRead)
	open()
	d.check(ids, "hello", "one", "two", "three")
}

// TestEachDeviceAfterALossOnTheWay: messages on their way when both connections are lost come to each device.
func TestEachDeviceAfterALossOnTheWay(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	d := &twoDevices{localTown: town}
	d.begin()
	d.meet()
	alice := d.alice.Conn()
	relay.Do(func() {
		relay.Tamper = func(l wire.EvilLine) []wire.EvilLine {
			if l.From.ID == alice && l.Header.Type == proto.TypeClientCom {
				return nil
			}
			return honest(l)
		}
	})
	ids := []string{d.alice.mustSend("one", "bob"), d.alice.mustSend("two", "bob")}
	d.alice.awaitStatus(ids[1], "bob", history.StatusSent)
	first, second := d.bobAt.shut(t), d.secondAt.shut(t)
	hangUp(relay, d.bob)
	hangUp(relay, d.bob2)
	for _, c := range []*testClient{d.bob, d.bob2} {
		c.await("the loss", func(ev client.Event) bool { return ev.Type == client.EventLost })
	}
	relay.Do(func() { relay.Tamper = nil })
	first()
	d.alice.awaitStatus(ids[1], "bob", history.StatusRead)
	second()
	d.check(ids, "hello", "one", "two")
}

// TestEachDeviceAfterItsOwnLoss: a device loses its connection for a moment. It has what the other one
// has read meanwhile.
func TestEachDeviceAfterItsOwnLoss(t *testing.T) {
	d := &twoDevices{localTown: newTown(t, "alice", "bob")}
	d.begin()
	d.meet()
	open := d.secondAt.shut(t)
	conn := d.bob2.Conn()
	d.bob2.cutOff()
	d.alice.await("its end", func(ev client.Event) bool {
		return ev.Peer != nil && ev.Peer.Conn == conn && ev.Peer.What == proto.Left
	})
	ids := []string{d.alice.mustSend("one", "bob"), d.alice.mustSend("two", "bob")}
	d.alice.mustSettle(history.StatusRead)
	open()
	d.check(ids, "hello", "one", "two")
}

// TestEachDeviceOfTheFirstMessage: the first message to Bob is written while the relay is away. It goes to all
// of his devices that are there when Alice comes back.
func TestEachDeviceOfTheFirstMessage(t *testing.T) {
	d := &twoDevices{localTown: newTown(t, "alice", "bob")}
	d.begin()
	open := d.aliceAt.shut(t)
	var ids []string
	d.restart(func() { ids = append(ids, d.alice.mustSend("one", "bob"), d.alice.mustSend("two", "bob")) })
	for _, c := range []*testClient{d.bob, d.bob2} {
		c.await("the relay back", func(ev client.Event) bool { return ev.Type == client.EventBack })
	}
	release := d.secondAt.reading.hold(t)
	open()
	d.alice.awaitStatus(ids[1], "bob", history.StatusRead)
	release()
	d.check(ids, "one", "two")
}

// TestDeviceThatStaysAway holds nothing up, and after a bounded time nothing is kept for it.
func TestDeviceThatStaysAway(t *testing.T) {
	d := &twoDevices{localTown: newTown(t, "alice", "bob")}
	d.begin()
	d.meet()
	open := d.secondAt.shut(t)
	var id string
	d.restart(func() { id = d.alice.mustSend("one", "bob") })
	d.alice.awaitStatus(id, "bob", history.StatusRead)
	d.alice.mustSettle(history.StatusRead)
	if n := d.awaited(); n != 1 {
		t.Errorf("%d messages wait for the device", n)
	}
	d.alice.Inside().Tick(time.Now().Add(time.Minute))
	d.alice.mustSend("two", "bob")
	d.alice.mustSettle(history.StatusRead)
	if n := d.awaited(); n != 0 {
		t.Errorf("%d messages wait for a device that did not come back", n)
	}
	open()
	d.alice.awaitAnother(d.bob2)
	d.alice.mustSend("three", "bob")
	d.bob2.awaitText("three")
	if got := d.bob2.texts(); !slices.Equal(got, []string{"hello", "three"}) {
		t.Errorf("the second device saw %q", got)
	}
}

// awaitAnother waits until a client is back over another connection, and has proved itself there.
func (tc *testClient) awaitAnother(other *testClient) {
	tc.t.Helper()
	other.await("the relay back", func(ev client.Event) bool { return ev.Type == client.EventBack })
	tc.awaitConn(other)
}

// TestEachDeviceWithANewKey: a device ends and begins anew with another key. It has what the other one has read
// meanwhile.
func TestEachDeviceWithANewKey(t *testing.T) {
	d := &twoDevices{localTown: newTown(t, "alice", "bob")}
	d.begin()
	d.meet()
	conn, before := d.bob2.Conn(), d.bob2
	before.leave()
	d.alice.await("its end", func(ev client.Event) bool {
		return ev.Peer != nil && ev.Peer.Conn == conn && ev.Peer.What == proto.Left
	})
	d.alice.mustSend("one", "bob")
	d.alice.mustSettle(history.StatusRead)
	d.bob2 = d.clientIn("bob", "state-bob2")
	d.bob2.awaitText("one")
	d.awaitRead()
	if got := slices.Concat(before.texts(), d.bob2.texts()); !slices.Equal(got, []string{"hello", "one"}) {
		t.Errorf("the second device saw %q", got)
	}
}
