package attack

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"chatsecure/crypto"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// Row 10: a part of one message in the place of another's, from another conversation, kind or
// direction, in chat and in pipes.

// TestAttack10Splice moves messages to another conversation and to another type of line.
func TestAttack10Splice(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob", "carol")
	alice, bob, carol := town.client("alice"), town.client("bob"), town.client("carol")
	alice.mustSend("to bob", "bob")
	alice.mustSend("to carol", "carol")
	sees(t, alice, bob, "to bob")
	carol.awaitText("to carol")
	var spliced bool
	relay.Tampering(func(l wire.EvilLine) []wire.EvilLine {
		if spliced || l.Header.Type != proto.TypeClientCom || l.To.Hello.Name != "bob" {
			return honest(l)
		}
		spliced = true
		other, typed := l, l
		for _, c := range relay.Conns {
			if c.Hello.Name == "carol" {
				other.To = c
			}
		}
		typed.Header.Type = proto.TypeCommAck
		return []wire.EvilLine{other, typed, l}
	})
	alice.mustSend("again to bob", "bob")
	alice.mustSend("again to carol", "carol")
	bob.awaitText("again to bob")
	carol.awaitText("again to carol")
	alice.mustSettle(history.StatusRead)
	if got := carol.texts(); !slices.Equal(got, []string{"to carol", "again to carol"}) {
		t.Errorf("carol saw %q", got)
	}
	if !spliced {
		t.Error("nothing was spliced")
	}
}

// TestAttack10SpliceKinds replaces a text or a receipt by another message or a part of one. One of
// the two is told, and Bob sees all of Alice's texts once.
func TestAttack10SpliceKinds(t *testing.T) {
	t.Parallel() // it mostly waits
	town, relay := evilTown(t, "alice", "bob", "carol")
	alice, bob, carol := town.client("alice"), town.client("bob"), town.client("carol")
	last := map[string]wire.EvilLine{} // by sender, receiver and type
	key := func(from, to, typ string) string { return from + " " + to + " " + typ }
	var splice func(l wire.EvilLine) *wire.EvilLine // nil leaves the line as it is
	relay.Tampering(func(l wire.EvilLine) []wire.EvilLine {
		k := key(l.From.Hello.Name, l.To.Hello.Name, l.Header.Type)
		if splice != nil && len(l.Body) > 0 {
			if m := splice(l); m != nil {
				splice = nil
				return []wire.EvilLine{*m}
			}
		}
		last[k] = l
		return honest(l)
	})
	want := []string{"hello"}
	alice.mustSend("hello", "bob")
	alice.mustSend("hello", "carol")
	sees(t, alice, bob, "hello")
	bob.mustSend("answer", "alice")
	bob.mustSettle(history.StatusRead)

	sealed := func(l wire.EvilLine) []byte { return bytes.SplitN(l.Body, []byte("\n"), 3)[2] }
	withSealed := func(l wire.EvilLine, s []byte) *wire.EvilLine {
		parts := bytes.SplitN(l.Body, []byte("\n"), 3)
		l.Body = bytes.Join([][]byte{parts[0], parts[1], s}, []byte("\n"))
		return &l
	}
	aliceText, bobReceipt := key("alice", "bob", proto.TypeClientCom), key("bob", "alice", proto.TypeCommAck)
	bobText, carolText := key("bob", "alice", proto.TypeClientCom), key("alice", "carol", proto.TypeClientCom)
	for i, c := range []struct {
		name string
		line string // the line to replace
		make func(l wire.EvilLine) *wire.EvilLine
	}{
		{"a receipt as a text", aliceText, func(l wire.EvilLine) *wire.EvilLine { l.Body = last[bobReceipt].Body; return &l }},
		{"Bob's own text as Alice's", aliceText, func(l wire.EvilLine) *wire.EvilLine { l.Body = last[bobText].Body; return &l }},
		{"a text of another conversation", aliceText, func(l wire.EvilLine) *wire.EvilLine { l.Body = last[carolText].Body; return &l }},
		{"the ciphertext of another conversation", aliceText, func(l wire.EvilLine) *wire.EvilLine {
			return withSealed(l, sealed(last[carolText]))
		}},
		{"the ciphertext of the message before", aliceText, func(l wire.EvilLine) *wire.EvilLine {
			return withSealed(l, sealed(last[aliceText]))
		}},
		{"the ciphertext of a receipt", aliceText, func(l wire.EvilLine) *wire.EvilLine { return withSealed(l, sealed(last[bobReceipt])) }},
		{"the ciphertext of the other direction", aliceText, func(l wire.EvilLine) *wire.EvilLine {
			return withSealed(l, sealed(last[bobText]))
		}},
		{"a text that travels as a receipt", aliceText, func(l wire.EvilLine) *wire.EvilLine { l.Header.Type = proto.TypeCommAck; return &l }},
		{"a text that travels as an end", aliceText, func(l wire.EvilLine) *wire.EvilLine { l.Header.Type = proto.TypeDisconnect; return &l }},
		{"a receipt that travels as a text", bobReceipt, func(l wire.EvilLine) *wire.EvilLine { l.Header.Type = proto.TypeClientCom; return &l }},
		{"Alice's own text as Bob's receipt", bobReceipt, func(l wire.EvilLine) *wire.EvilLine { l.Body = last[aliceText].Body; return &l }},
		{"the ciphertext of a text in a receipt", bobReceipt, func(l wire.EvilLine) *wire.EvilLine {
			return withSealed(l, sealed(last[aliceText]))
		}},
		{"the receipt before", bobReceipt, func(l wire.EvilLine) *wire.EvilLine { l.Body = last[bobReceipt].Body; return &l }},
	} {
		done := make(chan struct{})
		before := len(alice.gaps()) + len(bob.gaps())
		relay.Do(func() {
			splice = func(l wire.EvilLine) *wire.EvilLine {
				if key(l.From.Hello.Name, l.To.Hello.Name, l.Header.Type) != c.line {
					return nil
				}
				close(done)
				return c.make(l)
			}
		})
		spliced, after := fmt.Sprintf("spliced %d", i), fmt.Sprintf("after %d", i)
		alice.mustSend(spliced, "bob")
		soon(t, "the line to splice", done)
		alice.mustSend(after, "bob")
		want = append(want, spliced, after)
		alice.mustSettle(history.StatusRead)
		if got := bob.texts(); !slices.Equal(got, want) {
			t.Fatalf("%s: bob saw %q, want %q", c.name, got, want)
		}
		if got := len(alice.gaps()) + len(bob.gaps()); got == before {
			t.Errorf("%s: nobody was told", c.name)
		}
	}
	if a, c := alice.texts(), carol.texts(); !slices.Equal(a, []string{"answer"}) || !slices.Equal(c, []string{"hello"}) {
		t.Errorf("alice saw %q, carol %q", a, c)
	}
}

// pipeSplice is a change to a pipe.
type pipeSplice struct {
	name  string
	whole bool
	// splice gets the fifth chunk, the one before it, a text of the chat, and their
	// connections.
	splice func(l, before, text wire.EvilLine) []wire.EvilLine
}

var pipeSplices = []pipeSplice{
	{"into the chat, and the chat into the pipe", true, func(l, before, text wire.EvilLine) []wire.EvilLine {
		into, from := l, text
		into.From, into.To = text.From, text.To
		from.From, from.To = l.From, l.To
		return []wire.EvilLine{into, from, l}
	}},
	{"a text in a chunk's place", false, func(l, _, text wire.EvilLine) []wire.EvilLine { return []wire.EvilLine{l.With(text.Body)} }},
	{"a chunk left out", false, func(l, _, _ wire.EvilLine) []wire.EvilLine { return nil }},
	{"a chunk again", false, func(l, before, _ wire.EvilLine) []wire.EvilLine { return []wire.EvilLine{before, l} }},
	{"a chunk's ciphertext in the next", false, func(l, before, _ wire.EvilLine) []wire.EvilLine {
		now, then := bytes.SplitN(l.Body, []byte("\n"), 3), bytes.SplitN(before.Body, []byte("\n"), 3)
		return []wire.EvilLine{l.With(bytes.Join([][]byte{now[0], now[1], then[2]}, []byte("\n")))}
	}},
	{"a chunk that travels as a receipt", false, func(l, _, _ wire.EvilLine) []wire.EvilLine {
		l.Header.Type = proto.TypeCommAck
		return []wire.EvilLine{l.With(l.Body)}
	}},
	{"a chunk sent back", false, func(l, before, _ wire.EvilLine) []wire.EvilLine {
		before.From, before.To = l.To, l.From
		return []wire.EvilLine{before, l}
	}},
}

// TestAttack10SplicePipe moves chunks of a pipe elsewhere, and puts others in their place. The pipe
// is complete or ends with a true prefix, and the chat beside it goes on.
func TestAttack10SplicePipe(t *testing.T) {
	data := make([]byte, 2<<20)
	rand.Read(data)
	for _, c := range pipeSplices {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.pipe(t, data)
		})
	}
}

// fifth has an evil relay splice the fifth line of Alice's pipe.
func (c *pipeSplice) fifth(relay *wire.EvilRelay) {
	isPipe := func(l wire.EvilLine) bool {
		return l.Header.Type == proto.TypeClientCom && l.From.Hello.Takes == proto.TakesPipe && l.From.Hello.Name == "alice"
	}
	var before, text wire.EvilLine
	n := 0
	relay.Tampering(func(l wire.EvilLine) []wire.EvilLine {
		if crypto.PeekPhase(l.Body) != "" || !isPipe(l) {
			if l.Header.Type == proto.TypeClientCom && l.From.Hello.Takes == proto.TakesMessages {
				text = l
			}
			return honest(l)
		}
		n++
		out := honest(l)
		if n == 5 {
			out = c.splice(l, before, text)
		}
		before = l
		return out
	})
}

// pipe carries data from Alice to Bob, spliced, beside a chat of the two.
func (c *pipeSplice) pipe(t *testing.T, data []byte) {
	town, relay := evilTown(t, "alice", "bob")
	chatA, chatB := town.client("alice"), town.client("bob")
	c.fifth(relay)
	chatA.mustSend("beside the pipe", "bob")
	sees(t, chatA, chatB, "beside the pipe")
	a, b := town.clientIn("alice", "pipe-alice", takesPipe), town.clientIn("bob", "pipe-bob", takesPipe)
	var out bytes.Buffer
	var sendErr, recvErr error
	var wg sync.WaitGroup
	wg.Go(func() { sendErr = a.Pipe(context.Background(), "bob", bytes.NewReader(data), nil, nil); a.leave() })
	wg.Go(func() { recvErr = b.Pipe(context.Background(), "alice", nil, &out, nil); b.leave() })
	wg.Wait()
	if !bytes.HasPrefix(data, out.Bytes()) {
		t.Error("what came is not what was sent")
	}
	if c.whole {
		if sendErr != nil || recvErr != nil || out.Len() != len(data) {
			t.Errorf("%d of %d bytes came; %v, %v", out.Len(), len(data), sendErr, recvErr)
		}
	} else {
		if out.Len() == len(data) || sendErr == nil || recvErr == nil {
			t.Errorf("%d of %d bytes came; %v, %v", out.Len(), len(data), sendErr, recvErr)
		}
		if s, r := fail.ExitStatus(sendErr), fail.ExitStatus(recvErr); s != 8 && r != 8 {
			t.Errorf("exit statuses %d and %d: %v, %v", s, r, sendErr, recvErr)
		}
	}
	for _, err := range []error{sendErr, recvErr} {
		if err != nil && (strings.Contains(err.Error(), "anew") || strings.Contains(err.Error(), "again")) {
			t.Errorf("%v: a pipe is not resumed", err)
		}
	}
	chatA.mustSend("and after it", "bob")
	sees(t, chatA, chatB, "beside the pipe", "and after it")
}
