package chatsecure

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"chatsecure/crypto"
)

// TestBothDevicesGetIt: the wait for one of Bob's connections to read goes on
// until the other has been sent it, though its handshake is slower; not for one
// that never answers.
func TestBothDevicesGetIt(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	one, two := town.clientIn("bob", "bob-1"), town.clientIn("bob", "bob-2")
	held := make(chan evilLine, 8) // what the second one answers p1 with
	deaf := false
	relay.tampering(func(l evilLine) []evilLine {
		if l.from.id == two.Conn() && crypto.PeekPhase(l.body) == "p2" && !deaf {
			held <- l
			return nil
		}
		if deaf && l.to.id == two.Conn() {
			return nil
		}
		return honest(l)
	})
	alice := town.client("alice")
	alice.mustSend("to both", "bob")
	one.awaitText("to both")
	done := make(chan Outcome, 1)
	go func() { done <- alice.Wait(context.Background(), StatusRead) }()
	alice.await("READ by the first", func(ev Event) bool { return ev.Receipt != nil && ev.Receipt.Status == StatusRead })
	answer := soon(t, "the second one's answer", held)
	relay.do(func() { relay.forward(answer) })
	if out := <-done; len(out.Failed) > 0 {
		t.Error(out.Failed)
	}
	alice.leave()
	two.awaitText("to both")

	relay.do(func() { deaf = true })
	alice = town.client("alice")
	alice.mustSend("to who hears", "bob")
	alice.mustSettle(StatusRead)
	one.awaitText("to who hears")
}

// TestWritten: what is sent stands in the history once Written has returned.
func TestWritten(t *testing.T) {
	town := newTown(t, "alice", "bob")
	alice := town.client("alice")
	town.client("bob")
	for i := range 50 {
		id := alice.mustSend(fmt.Sprint("text ", i), "bob")
		if err := alice.Written(t.Context()); err != nil {
			t.Fatal(err)
		}
		messages, _, err := ReadHistory(alice.state.HistoryDir())
		if err != nil || !slices.ContainsFunc(messages, func(m *HistoryMessage) bool { return m.ID == id }) {
			t.Fatalf("message %d is not in the history (%v)", i, err)
		}
	}
}
