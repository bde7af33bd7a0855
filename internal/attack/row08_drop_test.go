package attack

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// Row 8: lines and acks left out.

// TestAttack08Drop loses each line in turn, of each direction and type. The receiver shows a gap
// for a message; for a phase the handshake begins anew. The conversation recovers, and nothing is
// lost or shown twice.
func TestAttack08Drop(t *testing.T) {
	for _, drop := range []struct {
		name string
		what func(l wire.EvilLine) bool
		gap  string // who shows a gap
		why  string
	}{
		{"a message", func(l wire.EvilLine) bool { return l.Header.Type == proto.TypeClientCom }, "bob", "messages are missing"},
		{"p1", func(l wire.EvilLine) bool { return crypto.PeekPhase(l.Body) == "p1" }, "", ""},
		{"p2", func(l wire.EvilLine) bool { return crypto.PeekPhase(l.Body) == "p2" }, "", ""},
		{"p3", func(l wire.EvilLine) bool { return crypto.PeekPhase(l.Body) == "p3" }, "alice", "begins anew"},
		{"a receipt", func(l wire.EvilLine) bool { return l.Header.Type == proto.TypeCommAck }, "alice", "messages are missing"},
	} {
		t.Run(drop.name, func(t *testing.T) {
			t.Parallel()
			town, relay := evilTown(t, "alice", "bob")
			alice, bob := town.client("alice"), town.client("bob")
			dropped, begun := false, 0
			relay.Tampering(func(l wire.EvilLine) []wire.EvilLine {
				if crypto.PeekPhase(l.Body) == "p1" {
					begun++
				}
				if !dropped && drop.what(l) {
					dropped = true
					return nil
				}
				return honest(l)
			})
			var sent []string
			send := func() {
				sent = append(sent, fmt.Sprintf("line %d", len(sent)))
				alice.mustSend(sent[len(sent)-1], "bob")
			}
			for range 3 {
				send()
			}
			// The next message shows the gap.
			ctx, cancel := context.WithTimeout(context.Background(), wire.Timeout)
			defer cancel()
			for {
				short, stop := context.WithTimeout(ctx, time.Second)
				out := alice.Wait(short, history.StatusRead)
				stop()
				if len(out.Failed) == 0 {
					break
				}
				if ctx.Err() != nil {
					t.Fatalf("%v: %v%s", out.Names, out.Failed, describe(alice.seen()))
				}
				send()
			}
			if got := bob.texts(); !slices.Equal(got, sent) {
				t.Errorf("bob saw %q, and %q were sent", got, sent)
			}
			gaps := map[string][]string{"alice": alice.gaps(), "bob": bob.gaps()}
			if drop.gap != "" && !slices.ContainsFunc(gaps[drop.gap], func(why string) bool { return strings.Contains(why, drop.why) }) {
				t.Errorf("the gaps are %q, want %s to show %q", gaps, drop.gap, drop.why)
			}
			relay.Do(func() {
				if !dropped {
					t.Error("nothing was dropped")
				}
				if begun < 2 {
					t.Errorf("a handshake was begun %d times: it did not begin anew", begun)
				}
			})
		})
	}
}

// TestAttack08LostTail drops everything from some message on: that is never DELIVERED.
func TestAttack08LostTail(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	alice.mustSend("one", "bob")
	sees(t, alice, bob, "one")
	relay.Tampering(func(l wire.EvilLine) []wire.EvilLine {
		if l.Header.Type == proto.TypeClientCom {
			return nil
		}
		return honest(l)
	})
	id := alice.mustSend("the tail", "bob")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if out := alice.Wait(ctx, history.StatusDelivered); len(out.Failed) == 0 || fail.ExitStatus(out.Failed[0]) != 6 {
		t.Errorf("the tail was dropped, and Wait says %v", out.Failed)
	}
	for _, ev := range alice.seen() {
		if ev.Receipt != nil && ev.Receipt.ID == id && ev.Receipt.Status.AtLeast(history.StatusDelivered) {
			t.Errorf("the tail was dropped, and is %s", ev.Receipt.Status)
		}
	}
}

// TestAttack08DropInTheMiddle loses one message of three. The next one shows the gap, and the lost
// one still arrives, in order.
func TestAttack08DropInTheMiddle(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	alice.mustSend("one", "bob")
	sees(t, alice, bob, "one")
	dropped := make(chan struct{})
	relay.Tampering(func(l wire.EvilLine) []wire.EvilLine {
		select {
		case <-dropped:
		default:
			if l.Header.Type == proto.TypeClientCom {
				close(dropped)
				return nil
			}
		}
		return honest(l)
	})
	id := alice.mustSend("two", "bob")
	soon(t, "what is dropped", dropped)
	alice.undelivered("dropped", id)
	alice.mustSend("three", "bob")
	bob.awaitGap(1, "messages are missing")
	sees(t, alice, bob, "one", "two", "three")
	alice.awaitGap(1, "begins anew")
}

// TestAttack08DropAck withholds the relay's own acks, one in the middle and the last one. READ does
// not depend on them, SENT does, and a client does not wait for ever for a relay that never acks.
func TestAttack08DropAck(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	alice.mustSend("one", "bob")
	sees(t, alice, bob, "one")
	dropped := 0
	once := func(h *proto.Header) bool { dropped++; return dropped == 1 }
	relay.Do(func() { relay.DropAck = once })
	unsent := func(id string) {
		t.Helper()
		if got := alice.statuses(id); slices.Contains(got, history.StatusSent) {
			t.Errorf("without the relay's ack a message was told as %s", got)
		}
	}
	two := alice.mustSend("two", "bob")
	sees(t, alice, bob, "one", "two")
	unsent(two)
	alice.mustSend("three", "bob")
	sees(t, alice, bob, "one", "two", "three")
	if n := len(alice.gaps()); n != 0 {
		t.Errorf("%d gaps", n)
	}
	relay.Do(func() { relay.DropAck = func(*proto.Header) bool { return true } })
	first := alice.conversation("bob").T3
	four := alice.mustSend("four", "bob")
	sees(t, alice, bob, "one", "two", "three", "four")
	unsent(four)
	// The time for an ack is over.
	alice.Inside().Tick(time.Now().Add(proto.AckTimeout + time.Second))
	alice.awaitGap(1, "the relay does not pass messages on")
	relay.Do(func() { relay.DropAck = nil })
	alice.mustSend("five", "bob")
	sees(t, alice, bob, "one", "two", "three", "four", "five")
	if alice.conversation("bob").T3 == first {
		t.Error("the conversation is the same one")
	}
}
