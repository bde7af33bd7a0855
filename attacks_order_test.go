package chatsecure

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"chatsecure/canon"
	"chatsecure/crypto"
	"chatsecure/proto"
)

// Rows 7 and 8 beyond one connection: lines of earlier connections played
// again, also to a client whose state is that of a backup, and lines and acks
// that are left out in the middle.

// tape is all that passed an evil relay, end to end.
type tape struct {
	relay *evilRelay
	lines []evilLine
	old   int // so many of them passed before the present connections
}

// record keeps what passes from now on, and passes it on.
func (r *evilRelay) record() *tape {
	tp := &tape{relay: r}
	r.tampering(func(l evilLine) []evilLine {
		tp.lines = append(tp.lines, l)
		return honest(l)
	})
	return tp
}

// cut says that what passed so far is of earlier connections.
func (tp *tape) cut() { tp.relay.do(func() { tp.old = len(tp.lines) }) }

// replay sends all that is old again to who has those names now: as of the
// connections that they have now, and as of those that they had then. It
// returns how many lines that were.
func (tp *tape) replay() (n int) {
	tp.relay.do(func() {
		for _, l := range tp.lines[:tp.old] {
			from, to := tp.relay.named(l.from.hello.Name), tp.relay.named(l.to.hello.Name)
			if from == nil || to == nil {
				continue
			}
			then := l
			then.to = to
			tp.relay.forward(then)
			l.from, l.to = from, to
			tp.relay.forward(l)
			n += 2
		}
	})
	return n
}

// hangUp ends a client's connection as a lost network does.
func (r *evilRelay) hangUp(tc *testClient) {
	r.do(func() { r.byID(tc.Conn()).conn.Close() })
}

func TestAttack07ReplayAfterReconnect(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	tp := relay.record()
	alice.mustSend("one", "bob")
	bob.mustSend("back", "alice")
	bob.mustSettle(StatusRead)
	sees(t, alice, bob, "one")
	for i, tc := range []*testClient{alice, bob} {
		relay.hangUp(tc)
		tp.cut()
		tc.await("a new connection", func(ev Event) bool { return ev.Type == EventBack })
		text := fmt.Sprintf("after loss %d", i)
		alice.mustSend(text, "bob")
		bob.awaitText(text)
		alice.mustSettle(StatusRead)
		if n := tp.replay(); n < 10 {
			t.Errorf("%d lines were replayed", n)
		}
	}
	alice.mustSend("the end", "bob")
	bob.mustSend("the end", "alice")
	bob.mustSettle(StatusRead)
	sees(t, alice, bob, "one", "after loss 0", "after loss 1", "the end")
	if got := alice.texts(); !slices.Equal(got, []string{"back", "the end"}) {
		t.Errorf("alice saw %q", got)
	}
	// What is of other conversations does not end the present one.
	if a, b := alice.gaps(), bob.gaps(); len(a)+len(b) != 0 {
		t.Errorf("gaps: %q, %q", a, b)
	}
}

// TestAttack07ReplayToABackup gives each client in turn the state that it had
// before the last messages, and plays everything to it again.
func TestAttack07ReplayToABackup(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	tp := relay.record()
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

	// Bob's history has never heard of the second message.
	alice, bob = town.client("alice"), town.clientIn("bob", "backup-bob")
	if n := tp.replay(); n < 10 {
		t.Errorf("%d lines were replayed", n)
	}
	alice.mustSend("three", "bob")
	sees(t, alice, bob, "three")
	stop()

	// And Alice's does not say that she has sent it. Whatever she sends now is
	// new, in number and key.
	alice, bob = town.clientIn("alice", "backup-alice"), town.clientIn("bob", "backup-bob")
	tp.replay()
	alice.mustSend("four", "bob")
	sees(t, alice, bob, "four")
	if got := alice.texts(); len(got) != 0 {
		t.Errorf("alice saw %q", got)
	}
	stop()
	numbers := map[string]evilLine{}
	for _, l := range tp.lines {
		if l.header.Type == proto.TypeClientConnect || l.header.Type == proto.TypeError {
			continue
		}
		header, _, _ := bytes.Cut(l.body, []byte("\n"))
		h, err := crypto.ParseMessageHeader(header)
		if err != nil {
			t.Fatal(err)
		}
		key := fmt.Sprintf("%x %s %d", h.Conversation, h.Direction, h.N)
		if other, ok := numbers[key]; ok {
			t.Errorf("number %s serves for %.200q and %.200q", key, other.body, l.body)
		}
		numbers[key] = l
	}
	if len(numbers) < 8 {
		t.Errorf("%d messages passed", len(numbers))
	}
	for _, dir := range []string{"backup-alice", "backup-bob", "state-alice", "state-bob"} {
		if report, err := VerifyHistory(filepath.Join(town.dir, dir, "history"), town.verifier()); err != nil || !report.OK() {
			t.Errorf("%s: %v\n%s", dir, err, report)
		}
	}
	if _, err := ExportProof(filepath.Join(town.dir, "backup-bob", "history"), two); err == nil {
		t.Error("a message came into Bob's history by replay")
	}
}

// TestAttack07ReplayOfALine repeats a line of the relay's own: the client
// leaves that connection and comes back over another.
func TestAttack07ReplayOfALine(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	alice.mustSend("one", "bob")
	sees(t, alice, bob, "one")
	relay.do(func() {
		c := relay.byID(bob.Conn())
		payload := proto.AppendPayload(nil, canon.MustMarshal(&proto.Header{Type: proto.TypeAck}), nil, nil)
		line := c.sealer.append(nil, payload)
		c.conn.Write(append(line, line...))
	})
	lost := bob.await("the loss", func(ev Event) bool { return ev.Type == EventLost })
	if ExitStatus(lost.Err) != 3 {
		t.Errorf("bob is told %v, exit status %d", lost.Err, ExitStatus(lost.Err))
	}
	bob.await("the new connection", func(ev Event) bool { return ev.Type == EventBack })
	alice.mustSend("two", "bob")
	sees(t, alice, bob, "one", "two")
}

// TestAttack08DropInTheMiddle leaves out one message of three: the next one
// shows the gap, and what was left out comes all the same, in order.
func TestAttack08DropInTheMiddle(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	alice.mustSend("one", "bob")
	sees(t, alice, bob, "one")
	dropped := make(chan struct{})
	relay.tampering(func(l evilLine) []evilLine {
		select {
		case <-dropped:
		default:
			if l.header.Type == proto.TypeClientCom {
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

// TestAttack08DropAck withholds the relay's own ack, in the middle and the
// last one: it decides nothing about what was read, a message counts as SENT by
// nothing else, and a relay that never acks is not waited for for ever.
func TestAttack08DropAck(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	alice.mustSend("one", "bob")
	sees(t, alice, bob, "one")
	dropped := 0
	once := func(h *proto.Header) bool { dropped++; return dropped == 1 }
	relay.do(func() { relay.dropAck = once })
	unsent := func(id string) {
		t.Helper()
		if got := alice.statuses(id); slices.Contains(got, StatusSent) {
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
	relay.do(func() { relay.dropAck = func(*proto.Header) bool { return true } })
	first := alice.conversation("bob").T3
	four := alice.mustSend("four", "bob")
	sees(t, alice, bob, "one", "two", "three", "four")
	unsent(four)
	// The time that an ack may take is over.
	alice.engine.do(context.Background(), func() {
		for _, pc := range alice.engine.conns {
			for i := range pc.inflight {
				pc.inflight[i].since = pc.inflight[i].since.Add(-proto.AckTimeout - time.Second)
			}
		}
	})
	alice.awaitGap(1, "the relay does not pass messages on")
	relay.do(func() { relay.dropAck = nil })
	alice.mustSend("five", "bob")
	sees(t, alice, bob, "one", "two", "three", "four", "five")
	if alice.conversation("bob").T3 == first {
		t.Error("the conversation is the same one")
	}
}
