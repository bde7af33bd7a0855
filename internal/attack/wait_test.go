package attack

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"chatsecure/crypto"
	"chatsecure/internal/client"
	"chatsecure/internal/history"
	"chatsecure/testdata/lab/wire"
)

// TestBothDevicesGetIt: a wait for READ by one of Bob's connections lasts until the other has been
// sent the message, even if its handshake is slower. It does not wait for a connection that never
// answers.
func TestBothDevicesGetIt(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	one, two := town.clientIn("bob", "bob-1"), town.clientIn("bob", "bob-2")
	held := make(chan wire.EvilLine, 8) // the second one's answer to p1
	deaf := false
	relay.Tampering(func(l wire.EvilLine) []wire.EvilLine {
		if l.From.ID == two.Conn() && crypto.PeekPhase(l.Body) == "p2" && !deaf {
			held <- l
			return nil
		}
		if deaf && l.To.ID == two.Conn() {
			return nil
		}
		return honest(l)
	})
	alice := town.client("alice")
	alice.mustSend("to both", "bob")
	one.awaitText("to both")
	done := make(chan client.Outcome, 1)
	go func() { done <- alice.Wait(context.Background(), history.StatusRead) }()
	alice.await("READ by the first", func(ev client.Event) bool { return ev.Receipt != nil && ev.Receipt.Status == history.StatusRead })
	answer := soon(t, "the second one's answer", held)
	relay.Do(func() { relay.Forward(answer) })
	if out := <-done; len(out.Failed) > 0 {
		t.Error(out.Failed)
	}
	alice.leave()
	two.awaitText("to both")

	relay.Do(func() { deaf = true })
	alice = town.client("alice")
	alice.mustSend("to who hears", "bob")
	alice.mustSettle(history.StatusRead)
	one.awaitText("to who hears")
}

// TestWritten: a sent message stands in the history once Written has returned.
func TestWritten(t *testing.T) {
	town := newTown(t, "alice", "bob")
	alice := town.client("alice")
	town.client("bob")
	for i := range 50 {
		id := alice.mustSend(fmt.Sprint("text ", i), "bob")
		if err := alice.Written(t.Context()); err != nil {
			t.Fatal(err)
		}
		listing, err := history.Read(alice.state.HistoryDir(), history.Query{})
		if err != nil || !slices.ContainsFunc(listing.Messages, func(m *history.Message) bool { return m.ID == id }) {
			t.Fatalf("message %d is not in the history (%v)", i, err)
		}
	}
}
