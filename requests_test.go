package chatsecure

import (
	"context"
	"testing"
	"time"

	"chatsecure/proto"
)

// TestRelayBusyWithWatches: a relay that has been asked for too much is asked
// again, until it tells who is there.
func TestRelayBusyWithWatches(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob", "carol")
	bob, carol := town.client("bob"), town.client("carol")
	refused := map[string]int{}
	relay.do(func() {
		relay.busy = func(h *proto.Header) bool {
			refused[h.Name]++
			return h.Watch && refused[h.Name] <= 3
		}
	})
	alice := town.client("alice", func(cfg *ClientConfig) { cfg.again = 20 * time.Millisecond })
	if err := alice.Watch(context.Background()); err != nil {
		t.Fatal(err)
	}
	alice.mustSend("hello", "bob")
	sees(t, alice, bob, "hello")
	alice.mustSend("hello", "carol")
	sees(t, alice, carol, "hello")
	relayTestUntil(t, "who is there at all to be asked again", func() (yes bool) {
		relay.do(func() { yes = refused[""] > 3 && refused["bob"] > 3 && refused["carol"] > 3 })
		return yes
	})
}

// TestRelayStaysBusy: where it does not get better, that is the reason.
func TestRelayStaysBusy(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	relay.do(func() { relay.busy = func(*proto.Header) bool { return true } })
	alice := town.client("alice", func(cfg *ClientConfig) { cfg.again, cfg.Timeout = 10*time.Millisecond, 3*time.Second })
	_, err := alice.Send(context.Background(), []string{"bob"}, "hello")
	if e := AsError(err); e == nil || e.Code != proto.Busy || ExitStatus(err) != 3 {
		t.Errorf("%v", err)
	}
	if _, err := alice.List(context.Background()); err == nil || AsError(err).Code != proto.Busy {
		t.Errorf("list: %v", err)
	}
}
