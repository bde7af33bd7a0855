package crypto

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"chatsecure/crypto/trust"
	"chatsecure/proto"
	"chatsecure/testdata/corpus"
)

// hello is a client's with a mailbox, which collects that and the one before.
func (d *device) hello() Hello {
	return Hello{
		Name: d.bundle.Name, Takes: proto.TakesMessages, Bundle: d.bundle, Mailbox: d.box.Public(),
		Collects: [][]byte{d.bundle.Mailbox, run(70, 32)}, Signature: make([]byte, 64),
	}
}

func TestReadHello(t *testing.T) {
	alice, bob := fixedDevice(t, "alice", 10), fixedDevice(t, "Bob", 20)
	unnamed := *alice.bundle
	unnamed.Mailbox, unnamed.MailboxEnd = []byte{}, 0
	for _, c := range []struct {
		why    string
		code   proto.Code // "" if it is taken
		says   string
		change func(*Hello)
	}{
		{"two mailboxes to collect", "", "", func(*Hello) {}},
		{"one", "", "", func(h *Hello) { h.Collects = h.Collects[1:] }},
		{"none", "", "", func(h *Hello) { h.Collects = [][]byte{} }},
		{"a mailbox without its key", "", "", func(h *Hello) { h.Mailbox = []byte{} }},
		{"no mailbox, and an older one to collect", "", "", func(h *Hello) { h.Bundle, h.Mailbox = &unnamed, []byte{} }},
		{"takes none, and collects", "", "", func(h *Hello) { h.Takes = proto.TakesNone }},
		{"takes a pipe, and names its mailbox", "", "", func(h *Hello) { h.Takes, h.Collects = proto.TakesPipe, [][]byte{} }},

		{"takes a pipe, and collects", proto.Malformed, "connect phase 3", func(h *Hello) { h.Takes = proto.TakesPipe }},
		{"three mailboxes to collect", proto.Malformed, "connect phase 3", func(h *Hello) { h.Collects = append(h.Collects, run(90, 32)) }},
		{"one twice", proto.Malformed, "connect phase 3", func(h *Hello) { h.Collects[1] = h.Collects[0] }},
		{"one of 31 bytes", proto.Malformed, "connect phase 3", func(h *Hello) { h.Collects[1] = run(1, 31) }},
		{"one of 33 bytes", proto.Malformed, "connect phase 3", func(h *Hello) { h.Collects[0] = run(1, 33) }},
		{"null to collect", proto.Malformed, "connect phase 3", func(h *Hello) { h.Collects = nil }},
		{"null for a mailbox", proto.Malformed, "connect phase 3", func(h *Hello) { h.Mailbox = nil }},
		{"another kind to take", proto.Malformed, "connect phase 3", func(h *Hello) { h.Takes = "letters" }},
		{"no bundle", proto.Malformed, "connect phase 3", func(h *Hello) { h.Bundle = nil }},
		{"a bundle without a certificate", proto.BundleMalformed, "no certificate", func(h *Hello) { b := *h.Bundle; b.X509 = []byte{}; h.Bundle = &b }},
		{"the mailbox key of somebody else", proto.Malformed, "does not name", func(h *Hello) { h.Mailbox = bob.box.Public() }},
		{"a mailbox key, and a bundle that names none", proto.Malformed, "does not name", func(h *Hello) { h.Bundle = &unnamed }},
		{"a mailbox key that is none, and is named", proto.Malformed, "cannot be used", func(h *Hello) {
			b, hash := *h.Bundle, MailboxHash([]byte{1})
			b.Mailbox, h.Mailbox, h.Bundle = hash[:], []byte{1}, &b
		}},
	} {
		h := alice.hello()
		c.change(&h)
		exact := proto.MustMarshal(&h)
		got, err := ReadHello(exact)
		if code := refusalCode(err); code != c.code || c.code != "" && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %q %v", c.why, code, err)
		} else if c.code == "" && !bytes.Equal(proto.MustMarshal(got), exact) {
			t.Errorf("%s: read as %+v", c.why, got)
		}
	}
}

// The client's signature covers the mailboxes that it collects and their order.
func TestClientSignsWhatItCollects(t *testing.T) {
	alice := fixedDevice(t, "alice", 10)
	c := NewConnect([]byte("1"))
	h := alice.hello()
	signed := c.ClientSigns(&h)
	turned, fewer, longer := h, h, h
	turned.Collects = [][]byte{h.Collects[1], h.Collects[0]}
	fewer.Collects = h.Collects[:1]
	longer.Collects = [][]byte{slices.Concat(h.Collects...)}
	for why, other := range map[string]Hello{"another order": turned, "one less": fewer, "two in one": longer} {
		if bytes.Equal(c.ClientSigns(&other), signed) {
			t.Errorf("%s: the signature holds for both", why)
		}
	}
}

// letterBoxes is a good answer to letter-to.
func letterBoxes(t testing.TB, n int) (boxes []LetterBox) {
	t.Helper()
	for i := range n {
		d := fixedDevice(t, "Bob", byte(20+i))
		boxes = append(boxes, LetterBox{d.box.Public(), d.bundle})
	}
	return boxes
}

func TestReadLetterBoxes(t *testing.T) {
	for n := range proto.MaxMailboxesTo + 1 {
		boxes := append([]LetterBox{}, letterBoxes(t, n)...)
		got, err := ReadLetterBoxes(proto.MustMarshal(boxes))
		if err != nil || !bytes.Equal(proto.MustMarshal(got), proto.MustMarshal(boxes)) {
			t.Errorf("%d mailboxes: %v", n, err)
		}
	}
	for _, c := range []struct {
		why    string
		code   proto.Code
		says   string
		change func(boxes []LetterBox) []LetterBox
	}{
		{"nine", proto.Malformed, "list of mailboxes", func([]LetterBox) []LetterBox { return letterBoxes(t, 9) }},
		{"null", proto.Malformed, "list of mailboxes", func([]LetterBox) []LetterBox { return nil }},
		{"no key", proto.Malformed, "list of mailboxes", func(b []LetterBox) []LetterBox { b[1].Key = []byte{}; return b }},
		{"no bundle", proto.Malformed, "list of mailboxes", func(b []LetterBox) []LetterBox { b[1].Bundle = nil; return b }},
		{"a bundle without a certificate", proto.BundleMalformed, "no certificate", func(b []LetterBox) []LetterBox { b[1].Bundle.X509 = []byte{}; return b }},
		{"a name that is none", proto.NameInvalid, "a name", func(b []LetterBox) []LetterBox { b[1].Bundle.Name = "a b"; return b }},
		{"two keys exchanged", proto.Malformed, "does not name", func(b []LetterBox) []LetterBox { b[0].Key, b[1].Key = b[1].Key, b[0].Key; return b }},
		{"a key that is none, and is named", proto.Malformed, "cannot be used", func(b []LetterBox) []LetterBox {
			hash := MailboxHash([]byte{1})
			b[1].Key, b[1].Bundle.Mailbox = []byte{1}, hash[:]
			return b
		}},
	} {
		_, err := ReadLetterBoxes(proto.MustMarshal(c.change(letterBoxes(t, 2))))
		if refusalCode(err) != c.code || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.why, err)
		}
	}
	if _, err := ReadLetterBoxes([]byte("[] ")); refusalCode(err) != proto.Malformed {
		t.Errorf("not canonical: %v", err)
	}
}

func FuzzLetterBoxes(f *testing.F) {
	take := func(b []byte) bool { _, err := ReadLetterBoxes(b); return err == nil }
	good := [][]byte{[]byte("[]"), proto.MustMarshal(letterBoxes(f, 1)), proto.MustMarshal(letterBoxes(f, 3))}
	corpus.Add(f, take, good, []byte("null"), []byte("[{}]"), []byte(`[{"key":"","bundle":null}]`), proto.MustMarshal(letterBoxes(f, 9)))
	f.Fuzz(func(t *testing.T, b []byte) {
		boxes, err := ReadLetterBoxes(b)
		if err != nil {
			_, ofProto := errors.AsType[*proto.Error](err)
			_, ofTrust := errors.AsType[*trust.Error](err)
			if !ofProto && !ofTrust {
				t.Fatalf("%v is not told", err)
			}
			return
		}
		if !bytes.Equal(proto.MustMarshal(boxes), b) || len(boxes) > proto.MaxMailboxesTo {
			t.Fatalf("%q was taken for %+v", b, boxes)
		}
		for _, box := range boxes {
			if hash := MailboxHash(box.Key); !bytes.Equal(hash[:], box.Bundle.Mailbox) {
				t.Fatalf("%q: a key of another mailbox", b)
			}
		}
	})
}
