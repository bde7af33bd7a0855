package chatsecure

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
	"chatsecure/proto"
)

// Row 10: parts of one message in the place of another's, of another
// conversation, kind or direction; in chat and in pipes.

// TestAttack10SpliceKinds puts another message, or a part of one, in the place
// of a text or a receipt: one of the two is told, and Bob sees all that Alice
// sent, once.
func TestAttack10SpliceKinds(t *testing.T) {
	t.Parallel() // it waits, mostly
	town, relay := evilTown(t, "alice", "bob", "carol")
	alice, bob, carol := town.client("alice"), town.client("bob"), town.client("carol")
	last := map[string]evilLine{} // by sender, receiver and type
	key := func(from, to, typ string) string { return from + " " + to + " " + typ }
	var splice func(l evilLine) *evilLine // nil: not this line
	relay.tampering(func(l evilLine) []evilLine {
		k := key(l.from.hello.Name, l.to.hello.Name, l.header.Type)
		if splice != nil && len(l.body) > 0 {
			if m := splice(l); m != nil {
				splice = nil
				return []evilLine{*m}
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
	bob.mustSettle(StatusRead)

	sealed := func(l evilLine) []byte { return bytes.SplitN(l.body, []byte("\n"), 3)[2] }
	withSealed := func(l evilLine, s []byte) *evilLine {
		parts := bytes.SplitN(l.body, []byte("\n"), 3)
		l.body = bytes.Join([][]byte{parts[0], parts[1], s}, []byte("\n"))
		return &l
	}
	aliceText, bobReceipt := key("alice", "bob", proto.TypeClientCom), key("bob", "alice", proto.TypeCommAck)
	bobText, carolText := key("bob", "alice", proto.TypeClientCom), key("alice", "carol", proto.TypeClientCom)
	for i, c := range []struct {
		name string
		line string // in whose place
		make func(l evilLine) *evilLine
	}{
		{"a receipt as a text", aliceText, func(l evilLine) *evilLine { l.body = last[bobReceipt].body; return &l }},
		{"Bob's own text as Alice's", aliceText, func(l evilLine) *evilLine { l.body = last[bobText].body; return &l }},
		{"a text of another conversation", aliceText, func(l evilLine) *evilLine { l.body = last[carolText].body; return &l }},
		{"the ciphertext of another conversation", aliceText, func(l evilLine) *evilLine { return withSealed(l, sealed(last[carolText])) }},
		{"the ciphertext of the message before", aliceText, func(l evilLine) *evilLine { return withSealed(l, sealed(last[aliceText])) }},
		{"the ciphertext of a receipt", aliceText, func(l evilLine) *evilLine { return withSealed(l, sealed(last[bobReceipt])) }},
		{"the ciphertext of the other direction", aliceText, func(l evilLine) *evilLine { return withSealed(l, sealed(last[bobText])) }},
		{"a text that travels as a receipt", aliceText, func(l evilLine) *evilLine { l.header.Type = proto.TypeCommAck; return &l }},
		{"a text that travels as an end", aliceText, func(l evilLine) *evilLine { l.header.Type = proto.TypeDisconnect; return &l }},
		{"a receipt that travels as a text", bobReceipt, func(l evilLine) *evilLine { l.header.Type = proto.TypeClientCom; return &l }},
		{"Alice's own text as Bob's receipt", bobReceipt, func(l evilLine) *evilLine { l.body = last[aliceText].body; return &l }},
		{"the ciphertext of a text in a receipt", bobReceipt, func(l evilLine) *evilLine { return withSealed(l, sealed(last[aliceText])) }},
		{"the receipt before", bobReceipt, func(l evilLine) *evilLine { l.body = last[bobReceipt].body; return &l }},
	} {
		done := make(chan struct{})
		before := len(alice.gaps()) + len(bob.gaps())
		relay.do(func() {
			splice = func(l evilLine) *evilLine {
				if key(l.from.hello.Name, l.to.hello.Name, l.header.Type) != c.line {
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
		alice.mustSettle(StatusRead)
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

// TestAttack10SplicePipe puts chunks of a pipe where they do not belong, and
// others in their place: the pipe is whole or ends with a true prefix, and the
// chat beside it goes on.
func TestAttack10SplicePipe(t *testing.T) {
	data := make([]byte, 2<<20)
	rand.Read(data)
	isPipe := func(l evilLine) bool {
		return l.header.Type == proto.TypeClientCom && l.from.hello.Takes == proto.TakesPipe && l.from.hello.Name == "alice"
	}
	for _, c := range []struct {
		name  string
		whole bool
		// splice gets the fifth chunk, the one before it, and a text of the chat
		// with the connections that it goes between.
		splice func(l, before, text evilLine) []evilLine
	}{
		{"into the chat, and the chat into the pipe", true, func(l, before, text evilLine) []evilLine {
			into, from := l, text
			into.from, into.to = text.from, text.to
			from.from, from.to = l.from, l.to
			return []evilLine{into, from, l}
		}},
		{"a text in a chunk's place", false, func(l, _, text evilLine) []evilLine { return []evilLine{l.with(text.body)} }},
		{"a chunk left out", false, func(l, _, _ evilLine) []evilLine { return nil }},
		{"a chunk again", false, func(l, before, _ evilLine) []evilLine { return []evilLine{before, l} }},
		{"a chunk's ciphertext in the next", false, func(l, before, _ evilLine) []evilLine {
			now, then := bytes.SplitN(l.body, []byte("\n"), 3), bytes.SplitN(before.body, []byte("\n"), 3)
			return []evilLine{l.with(bytes.Join([][]byte{now[0], now[1], then[2]}, []byte("\n")))}
		}},
		{"a chunk that travels as a receipt", false, func(l, _, _ evilLine) []evilLine { l.header.Type = proto.TypeCommAck; return []evilLine{l} }},
		{"a chunk sent back", false, func(l, before, _ evilLine) []evilLine {
			before.from, before.to = l.to, l.from
			return []evilLine{before, l}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			town, relay := evilTown(t, "alice", "bob")
			chatA, chatB := town.client("alice"), town.client("bob")
			var before, text evilLine
			n := 0
			relay.tampering(func(l evilLine) []evilLine {
				if crypto.PeekPhase(l.body) != "" || !isPipe(l) {
					if l.header.Type == proto.TypeClientCom && l.from.hello.Takes == proto.TakesMessages {
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
				if s, r := ExitStatus(sendErr), ExitStatus(recvErr); s != 8 && r != 8 {
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
		})
	}
}
