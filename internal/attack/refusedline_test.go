package attack

import (
	"chatsecure/testdata/lab/wire"
	"testing"
	"time"

	"chatsecure/internal/client"
	"chatsecure/proto"
)

// TestRefusedLinesAreNotOnTheirWay: the relay never acks a line that it refused. Such lines take no
// room in the window, and a client that leaves does not wait for them.
func TestRefusedLinesAreNotOnTheirWay(t *testing.T) {
	town, r := evilTown(t, "alice", "bob")
	refused, always := 0, false
	r.Do(func() {
		r.Refuse = func(h *proto.Header, body []byte) proto.Code {
			if h.Type != proto.TypeClientConnect || h.Phase != 1 || !always && refused > proto.RelayWindow {
				return ""
			}
			refused += len(body)
			return proto.Busy
		}
	})
	alice, bob := town.client("alice", func(cfg *client.Config) { cfg.Again = time.Millisecond }), town.client("bob")
	// More than a window of refused lines, then one that passes.
	alice.mustSend("hello", "bob")
	sees(t, alice, bob, "hello")
	r.Do(func() { always = true })
	other := town.clientIn("alice", "state-2", func(cfg *client.Config) { cfg.Again = time.Millisecond })
	go other.Send(t.Context(), []string{"bob"}, "nor this")
	wire.Until(t, "a refusal", func() (tried bool) {
		other.Inside().Look(func(s client.Snapshot) { tried = s.Conns[bob.Conn()].Tries > 0 })
		return tried
	})
	for _, tc := range []*testClient{alice, other} {
		tc.leave()
		tc.Inside().Look(func(s client.Snapshot) {
			if !s.Goodbye {
				t.Errorf("%s did not say good-bye", tc.Conn())
			}
		})
	}
}
