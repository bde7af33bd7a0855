package chatsecure

import (
	"context"
	"testing"
	"time"

	"chatsecure/proto"
)

// TestRefusedLinesAreNotOnTheirWay: what the relay has refused to pass it acks
// never. It takes nothing of the window, and nobody who leaves waits for it.
func TestRefusedLinesAreNotOnTheirWay(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	refused, always := 0, false
	relay.do(func() {
		relay.refuse = func(h *proto.Header, body []byte) proto.Code {
			if h.Type != proto.TypeClientConnect || h.Phase != 1 || !always && refused > proto.RelayWindow {
				return ""
			}
			refused += len(body)
			return proto.Busy
		}
	})
	alice, bob := town.client("alice", func(cfg *ClientConfig) { cfg.again = time.Millisecond }), town.client("bob")
	// More than a window of them, and then one that passes.
	alice.mustSend("hello", "bob")
	sees(t, alice, bob, "hello")
	relay.do(func() { always = true })
	other := town.clientIn("alice", "state-2", func(cfg *ClientConfig) { cfg.again = time.Millisecond })
	go other.Send(t.Context(), []string{"bob"}, "nor this")
	relayTestUntil(t, "a refusal", func() (tried bool) {
		other.engine.do(context.Background(), func() {
			pc := other.engine.conns[bob.Conn()]
			tried = pc != nil && pc.tries > 0
		})
		return tried
	})
	for _, tc := range []*testClient{alice, other} {
		tc.leave()
		if !tc.engine.goodbye {
			t.Errorf("%s did not say good-bye", tc.Conn())
		}
	}
}
