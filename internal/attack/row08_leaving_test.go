package attack

import (
	"context"
	"testing"

	"chatsecure/internal/client"
	"chatsecure/internal/history"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// TestLeavingInTheMiddleOfAHandshake: a client that leaves between phases 2 and 3 has lost nothing.
// The other side is told of no gap; it hears from the relay that the connection has left.
func TestLeavingInTheMiddleOfAHandshake(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	held := make(chan wire.EvilLine, 8)
	relay.Do(func() {
		relay.Tamper = func(l wire.EvilLine) []wire.EvilLine {
			if l.From.Hello.Name == "alice" && (l.Header.Phase == 3 || l.Header.Type == proto.TypeClientCom) {
				held <- l
				return nil
			}
			return []wire.EvilLine{l}
		}
		// Bob's line has no ack and counts as on its way, so he stays.
		relay.DropAck = func(h *proto.Header) bool { return h.Phase == 2 }
	})
	alice, bob := town.client("alice"), town.client("bob")
	id := alice.mustSend("into the dark", "bob")
	lines := []wire.EvilLine{soon(t, "phase 3", held), soon(t, "the text", held)}
	bob.Inside().Leave()
	relay.Do(func() {
		relay.Tamper = nil
		for _, l := range lines {
			relay.Forward(l)
		}
	})
	// The relay's next line is read after these two.
	ctx, cancel := context.WithTimeout(context.Background(), wire.Timeout)
	defer cancel()
	if _, err := bob.List(ctx); err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithCancel(context.Background())
	cancel()
	bob.Close(ctx)
	alice.await("that he left", func(ev client.Event) bool {
		return ev.Peer != nil && ev.Peer.Name == "bob" && ev.Peer.What == proto.Left
	})
	if gaps := alice.gaps(); len(gaps) > 0 {
		t.Errorf("gaps: %q", gaps)
	}
	if got := alice.status(id); got.AtLeast(history.StatusDelivered) {
		t.Errorf("what nobody took is %s", got)
	}
}
