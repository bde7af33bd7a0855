package chatsecure

import (
	"context"
	"testing"

	"chatsecure/proto"
)

// TestLeavingInTheMiddleOfAHandshake: who leaves between phases 2 and 3 has
// not lost anything, so the other side is not told of a gap: it hears from the
// relay that the connection has left.
func TestLeavingInTheMiddleOfAHandshake(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	held := make(chan evilLine, 8)
	relay.do(func() {
		relay.tamper = func(l evilLine) []evilLine {
			if l.from.hello.Name == "alice" && (l.header.Phase == 3 || l.header.Type == proto.TypeClientCom) {
				held <- l
				return nil
			}
			return []evilLine{l}
		}
		// Without its ack, what Bob has sent is still on its way: he stays.
		relay.dropAck = func(h *proto.Header) bool { return h.Phase == 2 }
	})
	alice, bob := town.client("alice"), town.client("bob")
	id := alice.mustSend("into the dark", "bob")
	lines := []evilLine{soon(t, "phase 3", held), soon(t, "the text", held)}
	if err := bob.engine.do(context.Background(), bob.engine.leave); err != nil {
		t.Fatal(err)
	}
	relay.do(func() {
		relay.tamper = nil
		for _, l := range lines {
			relay.forward(l)
		}
	})
	// What comes through the relay behind the two lines has been looked at
	// after them.
	ctx, cancel := context.WithTimeout(context.Background(), relayTestTimeout)
	defer cancel()
	if _, err := bob.List(ctx); err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithCancel(context.Background())
	cancel()
	bob.Close(ctx)
	alice.await("that he left", func(ev Event) bool {
		return ev.Peer != nil && ev.Peer.Name == "bob" && ev.Peer.What == proto.Left
	})
	if gaps := alice.gaps(); len(gaps) > 0 {
		t.Errorf("gaps: %q", gaps)
	}
	if got := alice.status(id); got.AtLeast(StatusDelivered) {
		t.Errorf("what nobody took is %s", got)
	}
}
