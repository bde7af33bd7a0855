package attack

import (
	"bytes"
	"context"
	"crypto/rand"
	"strings"
	"testing"

	"chatsecure/internal/fail"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// Row 10: the text that crosses the relay beside the payloads of a pipe.

// textChange is an evil relay's change to the fourth chunk of a pipe.
type textChange struct {
	name   string
	whole  bool // it does no harm
	exit   int  // of the receiver
	ends   bool // the session, and not the conversation alone
	change func(l, before wire.EvilLine) []wire.EvilLine
}

// text is a change to the text of one line.
func text(change func(l, before wire.EvilLine) string) func(l, before wire.EvilLine) []wire.EvilLine {
	return func(l, before wire.EvilLine) []wire.EvilLine {
		return []wire.EvilLine{l.WithText(change(l, before))}
	}
}

var textChanges = []textChange{
	{"a letter of it", false, 8, false, text(func(l, _ wire.EvilLine) string {
		return strings.Map(func(r rune) rune {
			if r == 'A' {
				return 'B'
			}
			return r
		}, l.Text)
	})},
	{"that of the chunk before", false, 8, false, text(func(_, before wire.EvilLine) string { return before.Text })},
	{"two swapped", false, 8, false, func(l, before wire.EvilLine) []wire.EvilLine {
		return []wire.EvilLine{before.WithText(l.Text), l.WithText(before.Text)}
	}},
	{"dropped", false, 8, false, text(func(_, _ wire.EvilLine) string { return "" })},
	{"cut", false, 8, false, text(func(l, _ wire.EvilLine) string { return l.Text[:len(l.Text)-4] })},
	{"doubled", false, 8, false, text(func(l, _ wire.EvilLine) string { return l.Text + l.Text })},
	{"longer", false, 8, false, text(func(l, _ wire.EvilLine) string { return "AAAA" + l.Text })},
	{"moved into the payload", true, 0, false, func(l, _ wire.EvilLine) []wire.EvilLine { return []wire.EvilLine{l.With(l.Body)} }},
	{"a space in it", false, 8, false, text(func(l, _ wire.EvilLine) string { return l.Text[:4] + " " + l.Text[5:] })},
	{"CRs in it", false, 8, false, text(func(l, _ wire.EvilLine) string { return l.Text[:4] + "\r\r\r\r" + l.Text[4:] })},
	{"the alphabet of URLs", false, 8, false, text(func(l, _ wire.EvilLine) string { return "-_-_" + l.Text[4:] })},
	{"without padding", false, 8, false, text(func(l, _ wire.EvilLine) string { return l.Text[:len(l.Text)-1] })},
	{"spare bits", false, 8, false, text(func(l, _ wire.EvilLine) string { return "AAAB" + l.Text[4:len(l.Text)-4] + "AB==" })},
	{"an escape", false, 8, false, text(func(l, _ wire.EvilLine) string { return `\u0041` + l.Text[6:] })},
	{"a quote in it", false, 3, true, text(func(l, _ wire.EvilLine) string { return `A","x":"` + l.Text })},
	{"in the line of a receipt", false, 3, true, func(l, _ wire.EvilLine) []wire.EvilLine {
		l.Header.Type = proto.TypeCommAck
		return []wire.EvilLine{l}
	}},
	{"in the line of a handshake", false, 3, true, func(l, _ wire.EvilLine) []wire.EvilLine {
		l.Header.Type, l.Header.Phase = proto.TypeClientConnect, 1
		return []wire.EvilLine{l}
	}},
	{"in the line of an end", false, 3, true, func(l, _ wire.EvilLine) []wire.EvilLine {
		l.Header.Type = proto.TypeDisconnect
		return []wire.EvilLine{l}
	}},
}

// TestAttack10PipeText: a relay changes the text of a chunk, and seals its line anew. What comes out
// is a true prefix. A changed text ends the conversation, as its end-to-end seal does not hold, and
// the session goes on. Only what an honest relay never passes on, whatever a peer sends, ends that.
func TestAttack10PipeText(t *testing.T) {
	data := make([]byte, 2<<20)
	rand.Read(data)
	for _, c := range textChanges {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.pipe(t, data)
		})
	}
}

func (c *textChange) pipe(t *testing.T, data []byte) {
	town, relay := evilTown(t, "alice", "bob")
	var before wire.EvilLine
	n := 0
	relay.Tampering(func(l wire.EvilLine) []wire.EvilLine {
		if len(l.Body) < len(data)/40 || l.Beside == 0 {
			return honest(l)
		}
		n++
		held := before
		before = l
		switch {
		case n == 3 && c.name == "two swapped":
			return nil // until the fourth is there
		case n == 4:
			return c.change(l, held)
		}
		return honest(l)
	})
	alice, bob := town.client("alice", takesPipe), town.client("bob", takesPipe)
	defer alice.leave()
	defer bob.leave()
	sent := make(chan error, 1)
	go func() { sent <- alice.Pipe(context.Background(), "bob", bytes.NewReader(data), nil, nil) }()
	var out bytes.Buffer
	got := bob.Pipe(context.Background(), "alice", nil, &out, nil)
	if exit := fail.ExitStatus(got); exit != c.exit {
		t.Errorf("bob's side ends with %v, exit status %d, want %d", got, exit, c.exit)
	}
	relay.Do(func() {
		if ended := relay.ByID(bob.Conn()) == nil; ended && !c.ends {
			t.Error("bob's connection to the relay has ended")
		}
	})
	if c.ends {
		wire.Until(t, "the end of bob's connection", func() (ended bool) {
			relay.Do(func() { ended = relay.ByID(bob.Conn()) == nil })
			return ended
		})
	}
	if err := soon(t, "the end of alice's side", sent); (err == nil) != c.whole {
		t.Errorf("alice's side ends with %v", err)
	}
	if c.whole != (out.Len() == len(data)) || !bytes.HasPrefix(data, out.Bytes()) {
		t.Errorf("%d bytes of %d came, or other ones", out.Len(), len(data))
	}
}
