package attack

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"chatsecure/crypto"
	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// Row 7: lines replayed, at once and after a new connection, also to a client with the state of a
// backup.

// TestAttack07Replay repeats every message at once. It repeats the first messages again much later,
// and in a new conversation.
func TestAttack07Replay(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	var old []wire.EvilLine
	var repeat atomic.Bool
	relay.Tampering(func(l wire.EvilLine) []wire.EvilLine {
		if l.Header.Type != proto.TypeClientCom {
			return honest(l)
		}
		old = append(old, l)
		if repeat.CompareAndSwap(true, false) {
			return []wire.EvilLine{l, l}
		}
		return honest(l)
	})
	alice.mustSend("one", "bob")
	sees(t, alice, bob, "one")
	repeat.Store(true)
	alice.mustSend("two", "bob")
	bob.await("that a repeat is refused", func(ev client.Event) bool { return ev.Gap != nil })
	alice.mustSend("three", "bob")
	sees(t, alice, bob, "one", "two", "three")
	relay.Do(func() {
		for _, l := range old {
			relay.Forward(l)
		}
	})
	alice.mustSend("four", "bob")
	sees(t, alice, bob, "one", "two", "three", "four")
}

// tape has all end-to-end lines that passed an evil relay.
type tape struct {
	relay *wire.EvilRelay
	lines []wire.EvilLine
	old   int // the number of lines from earlier connections
}

// record keeps the lines that pass from now on.
func record(r *wire.EvilRelay) *tape {
	tp := &tape{relay: r}
	r.Tampering(func(l wire.EvilLine) []wire.EvilLine {
		tp.lines = append(tp.lines, l)
		return honest(l)
	})
	return tp
}

// cut marks all lines so far as those of earlier connections.
func (tp *tape) cut() { tp.relay.Do(func() { tp.old = len(tp.lines) }) }

// replay sends all old lines again to the people of those names: once on their present connections,
// once on those of then. It returns the number of lines.
func (tp *tape) replay() (n int) {
	tp.relay.Do(func() {
		for _, l := range tp.lines[:tp.old] {
			from, to := tp.relay.Named(l.From.Hello.Name), tp.relay.Named(l.To.Hello.Name)
			if from == nil || to == nil {
				continue
			}
			then := l
			then.To = to
			tp.relay.Forward(then)
			l.From, l.To = from, to
			tp.relay.Forward(l)
			n += 2
		}
	})
	return n
}

func TestAttack07ReplayAfterReconnect(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	tp := record(relay)
	alice.mustSend("one", "bob")
	bob.mustSend("back", "alice")
	bob.mustSettle(history.StatusRead)
	sees(t, alice, bob, "one")
	for i, tc := range []*testClient{alice, bob} {
		hangUp(relay, tc)
		tp.cut()
		tc.await("a new connection", func(ev client.Event) bool { return ev.Type == client.EventBack })
		text := fmt.Sprintf("after loss %d", i)
		alice.mustSend(text, "bob")
		bob.awaitText(text)
		alice.mustSettle(history.StatusRead)
		if n := tp.replay(); n < 10 {
			t.Errorf("%d lines were replayed", n)
		}
	}
	alice.mustSend("the end", "bob")
	bob.mustSend("the end", "alice")
	bob.mustSettle(history.StatusRead)
	sees(t, alice, bob, "one", "after loss 0", "after loss 1", "the end")
	if got := alice.texts(); !slices.Equal(got, []string{"back", "the end"}) {
		t.Errorf("alice saw %q", got)
	}
	// Lines of other conversations do not end the present one.
	if a, b := alice.gaps(), bob.gaps(); len(a)+len(b) != 0 {
		t.Errorf("gaps: %q, %q", a, b)
	}
}

// TestAttack07ReplayToABackup gives each client in turn its state from before the last messages,
// and replays everything to it.
func TestAttack07ReplayToABackup(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	tp := record(relay)
	alice, bob := town.client("alice"), town.client("bob")
	alice.mustSend("one", "bob")
	sees(t, alice, bob, "one")
	copyState := func(from, to string) {
		if out, err := exec.Command("cp", "-a", filepath.Join(town.dir, from), filepath.Join(town.dir, to)).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	stop := func() { alice.leave(); bob.leave(); tp.cut() }
	stop()
	copyState("state-alice", "backup-alice")
	copyState("state-bob", "backup-bob")
	alice, bob = town.client("alice"), town.client("bob")
	two := alice.mustSend("two", "bob")
	sees(t, alice, bob, "two")
	stop()

	// Bob's history does not know the second message.
	alice, bob = town.client("alice"), town.clientIn("bob", "backup-bob")
	if n := tp.replay(); n < 10 {
		t.Errorf("%d lines were replayed", n)
	}
	alice.mustSend("three", "bob")
	sees(t, alice, bob, "three")
	stop()

	// Alice's does not know that she sent it. All that she sends now is new, in number and key.
	alice, bob = town.clientIn("alice", "backup-alice"), town.clientIn("bob", "backup-bob")
	tp.replay()
	alice.mustSend("four", "bob")
	sees(t, alice, bob, "four")
	if got := alice.texts(); len(got) != 0 {
		t.Errorf("alice saw %q", got)
	}
	stop()
	numbers := map[string]wire.EvilLine{}
	for _, l := range tp.lines {
		if l.Header.Type == proto.TypeClientConnect || l.Header.Type == proto.TypeError {
			continue
		}
		header, _, _ := bytes.Cut(l.Body, []byte("\n"))
		h, err := crypto.ParseMessageHeader(header)
		if err != nil {
			t.Fatal(err)
		}
		key := fmt.Sprintf("%x %s %d", h.Conversation, h.Direction, h.N)
		if other, ok := numbers[key]; ok {
			t.Errorf("number %s serves for %.200q and %.200q", key, other.Body, l.Body)
		}
		numbers[key] = l
	}
	if len(numbers) < 8 {
		t.Errorf("%d messages passed", len(numbers))
	}
	for _, dir := range []string{"backup-alice", "backup-bob", "state-alice", "state-bob"} {
		town.historyHolds(filepath.Join(town.dir, dir, "history"))
	}
	if _, err := history.ExportProof(filepath.Join(town.dir, "backup-bob", "history"), two, town.verifier()); err == nil {
		t.Error("a message came into Bob's history by replay")
	}
}

// TestAttack07ReplayOfALine repeats a line of the relay's own. The client leaves that connection
// and comes back over another.
func TestAttack07ReplayOfALine(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	alice.mustSend("one", "bob")
	sees(t, alice, bob, "one")
	relay.Do(func() {
		c := relay.ByID(bob.Conn())
		payload := proto.AppendPayload(nil, proto.MustMarshal(&proto.Header{Type: proto.TypeAck}), nil, nil)
		line := c.Sealer.Append(nil, payload, nil)
		c.Conn.Write(append(line, line...))
	})
	lost := bob.await("the loss", func(ev client.Event) bool { return ev.Type == client.EventLost })
	if fail.ExitStatus(lost.Err) != 3 {
		t.Errorf("bob is told %v, exit status %d", lost.Err, fail.ExitStatus(lost.Err))
	}
	bob.await("the new connection", func(ev client.Event) bool { return ev.Type == client.EventBack })
	alice.mustSend("two", "bob")
	sees(t, alice, bob, "one", "two")
}
