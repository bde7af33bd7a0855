package crypto

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"chatsecure/proto"
	"chatsecure/testdata/corpus"
	"chatsecure/testdata/lab/people"
)

func TestNewRecord(t *testing.T) {
	a, b, c := newParty(t, "alice", "a1"), newParty(t, "bob", "b1"), newParty(t, "carol", "c1")
	list := []Recipient{to(c)[0], to(b)[0]}
	r := NewRecord(a.Identity, list, "text", people.Now)
	if r.To[0].Name != "bob" || r.Seq != 0 || r.Time != people.Now.UnixMilli() {
		t.Errorf("record %+v", r)
	}
	if again := NewRecord(a.Identity, list, "text", people.Now); again.ID == r.ID {
		t.Error("two records have one id")
	}
	got, err := ParseRecord(r.Encode(), a.Identity)
	if err != nil || got.ID != r.ID {
		t.Errorf("%v", err)
	}
	if _, err := ParseRecord(r.Encode(), b.Identity); err == nil {
		t.Error("a record of another sender's was taken")
	}
	if !r.Names("bob", proto.FormatHash(b.Identity)) || r.Names("bob", proto.FormatHash(c.Identity)) ||
		r.Names("alice", proto.FormatHash(a.Identity)) {
		t.Error("Names")
	}
}

// The bounds of a record hold against a dishonest sender.
func TestRecordBounds(t *testing.T) {
	sender := run32(1)
	const first = 1577836800000 // 2020
	parse := func(r *Record) error {
		r.Salt = run(0, 16)
		if r.Time == 0 {
			r.Time = first
		}
		r.ID = RecordID(sender, r)
		_, err := ParseRecord(r.Encode(), sender)
		return err
	}
	many := make([]Recipient, proto.MaxRecipients+1)
	for i := range many {
		many[i].Name = strings.Repeat("n", i/100+1) + string(rune('a'+i%26)) + string(rune('a'+i/26))
	}
	SortRecipients(many)
	for _, test := range []struct {
		name string
		r    *Record
		good bool
	}{
		{"the longest text", &Record{To: many[:1], Text: strings.Repeat("x", proto.MaxText)}, true},
		{"a longer text", &Record{To: many[:1], Text: strings.Repeat("x", proto.MaxText+1)}, false},
		{"the most recipients", &Record{To: many[:proto.MaxRecipients]}, true},
		{"more recipients", &Record{To: many}, false},
		{"the longest name", &Record{To: named(strings.Repeat("n", 32))}, true},
		{"a longer name", &Record{To: named(strings.Repeat("n", 33))}, false},
		{"a folded name", &Record{To: named(proto.FoldName("joão"))}, true},
		{"a name that is not folded", &Record{To: named("joão")}, false},
		{"one name in two spellings", &Record{To: named("BOB", "bob")}, false},
		{"names in another order", &Record{To: named("bob", "alice")}, false},
		{"one name twice", &Record{To: named("bob", "bob")}, false},
		{"no name", &Record{To: named("")}, false},
		{"an ESC", &Record{To: named("\x1b[2J")}, false},
		{"a blank", &Record{To: named("bob ")}, false},
		{"a word of the prompt", &Record{To: named("all")}, false},
		{"a name like the program's", &Record{To: named("c1ient")}, false},
		{"two scripts", &Record{To: named("bоb")}, false},
		{"the last moment of 2019", &Record{To: named("bob"), Time: first - 1}, false},
		{"1970", &Record{To: named("bob"), Time: 1}, false},
		{"before 1970", &Record{To: named("bob"), Time: -1}, false},
		{"the end of time", &Record{To: named("bob"), Time: 1<<63 - 1}, true},
		{"the largest seq", &Record{To: named("bob"), Seq: 1<<63 - 1}, true},
		{"a larger seq", &Record{To: named("bob"), Seq: 1 << 63}, false},
	} {
		if err := parse(test.r); (err == nil) != test.good {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func named(names ...string) (to []Recipient) {
	for _, name := range names {
		to = append(to, Recipient{Name: name})
	}
	return to
}

// TestFoldedNamesAreNames: the folded form of each name is a name, and itself folded: `to` has no other.
func TestFoldedNamesAreNames(t *testing.T) {
	names := 0
	for r := range rune(utf8.MaxRune + 1) {
		name := string(r) + string(r)
		if proto.CheckName(name) != nil {
			continue
		}
		names++
		if folded := proto.FoldName(name); checkRecipients(named(folded)) != nil {
			t.Errorf("%q is a name, and its folded form %q is none", name, folded)
		}
	}
	if names < 1000 {
		t.Errorf("%d names", names)
	}
}

// The faults for which a header is refused by itself, as one read back from a history.
func TestMessageHeaderAlone(t *testing.T) {
	for _, test := range []struct {
		name string
		edit func(h *MessageHeader)
		good bool
	}{
		{"as it should be", func(h *MessageHeader) {}, true},
		{"the largest numbers", func(h *MessageHeader) { h.N, h.Seq, h.Time = 1<<63-1, 1<<63-1, 1<<63-1 }, true},
		{"a larger n", func(h *MessageHeader) { h.N = 1 << 63 }, false},
		{"a larger seq", func(h *MessageHeader) { h.Seq = 1 << 63 }, false},
		{"a step of null", func(h *MessageHeader) { h.Step = new(Step) }, false},
		{"a step of the largest suite", func(h *MessageHeader) { h.Step = &Step{make([]byte, 1120), make([]byte, 1216)} }, true},
		{"a time before 1970", func(h *MessageHeader) { h.Time = -1 }, false},
		{"a header over the limit", func(h *MessageHeader) { h.Step = &Step{make([]byte, maxHeader), nil} }, false},
		{"a batch over the limit", func(h *MessageHeader) { h.Count = maxBatch + 1 }, false},
		{"no records", func(h *MessageHeader) { h.Count = 0 }, false},
		{"seq 0", func(h *MessageHeader) { h.Seq = 0 }, false},
		{"a short T3", func(h *MessageHeader) { h.Conversation = run(0, 31) }, false},
		{"a short bundle of the sender", func(h *MessageHeader) { h.SrcBundle = run(0, 31) }, false},
		{"a long bundle of the receiver", func(h *MessageHeader) { h.DstBundle = run(0, 33) }, false},
		{"a short random", func(h *MessageHeader) { h.Random = run(0, 31) }, false},
		{"a short digest", func(h *MessageHeader) { h.Digest = run(0, 31) }, false},
		{"an unknown direction", func(h *MessageHeader) { h.Direction = "ab" }, false},
		{"an unknown kind", func(h *MessageHeader) { h.Kind = "call" }, false},
	} {
		h := &MessageHeader{
			Conversation: run(0, 32), Direction: DirectionAB, Kind: KindText, Random: run(1, 32), SrcBundle: run(2, 32), DstBundle: run(3, 32),
			Time: 1, Seq: 1, Count: 1, Digest: run(4, 32),
		}
		test.edit(h)
		if _, err := ParseMessageHeader(proto.MustMarshal(h)); (err == nil) != test.good {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestPeekConversation(t *testing.T) {
	p := newPair(t, SuiteMLKEM)
	s := p.text(t, true, people.Now, "text")
	if got := PeekConversation(s.Body); !bytes.Equal(got, p.ca.T3[:]) {
		t.Errorf("%x", got)
	}
	for _, body := range [][]byte{nil, {}, []byte("{}\n"), s.Header[:60], append([]byte("x"), s.Body...)} {
		if PeekConversation(body) != nil {
			t.Errorf("a conversation in %q", body)
		}
	}
}

// messageSeeds are headers, receipts and whole messages of every kind.
func messageSeeds(t testing.TB) (headers, receipts, bodies [][]byte) {
	p := newPair(t, SuiteMLKEM)
	later := people.Now.Add(2 * stepAge)
	var all []*Sealed
	all = append(all, receipt(t, p.cb, 0, 0, people.Now), p.text(t, true, people.Now, "one", "two"), receipt(t, p.cb, 0, 0, later))
	for _, seal := range []func() (*Sealed, error){
		func() (*Sealed, error) { return p.ca.SealPipe([]byte("chunk"), people.Now, NewMemory) },
		func() (*Sealed, error) { return p.ca.SealEnd(people.Now) },
	} {
		s, err := seal()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	for _, s := range all {
		headers, bodies = append(headers, s.Header), append(bodies, s.Body)
	}
	receipts = append(receipts, proto.MustMarshal(&Receipt{1, run(0, 32), 1, run(0, 32), 5, run(0, 16)}), proto.MustMarshal(&Receipt{}), []byte("{}"))
	return headers, receipts, bodies
}

// Every header without a step is read and written from its fields, and every receipt, and both as
// package proto would.
func TestMessageFields(t *testing.T) {
	headers, receipts, _ := messageSeeds(t)
	steps := 0
	for _, b := range headers {
		var h, want MessageHeader
		Must(t, proto.Unmarshal(b, &want))
		fields := h.fields(len(want.Digest) > 0)
		if fast := scanFields(b, fields[:]); want.Step != nil {
			steps++
		} else if !fast || !reflect.DeepEqual(h, want) || !bytes.Equal(want.encode(), b) {
			t.Errorf("%s: fast %v, %+v", b, fast, h)
		}
	}
	if steps == 0 || steps == len(headers) {
		t.Errorf("%d of %d headers have a step", steps, len(headers))
	}
	var r, want Receipt
	Must(t, proto.Unmarshal(receipts[0], &want))
	if fields := r.fields(); !scanFields(receipts[0], fields[:]) || !reflect.DeepEqual(r, want) {
		t.Errorf("%s: %+v", receipts[0], r)
	}
	for _, edit := range []func(h *MessageHeader){
		func(h *MessageHeader) { h.Random = nil },
		func(h *MessageHeader) { h.Random = []byte{} },
		func(h *MessageHeader) { h.Kind = "\u2028\x01" },
		func(h *MessageHeader) { h.Time, h.N = -1, 1<<64-1 },
	} {
		h := &MessageHeader{Conversation: run(0, 32), Random: run(0, 32), SrcBundle: run(0, 32), DstBundle: run(0, 32), Digest: run(0, 32)}
		edit(h)
		if want := proto.MustMarshal(h); !bytes.Equal(h.encode(), want) {
			t.Errorf("%s, want %s", h.encode(), want)
		}
	}
}

func FuzzMessageHeader(f *testing.F) {
	headers, _, _ := messageSeeds(f)
	corpus.Add(f, func(b []byte) bool { _, err := ParseMessageHeader(b); return err == nil }, headers, []byte("{}"), nil)
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseMessageHeader(b)
		if err != nil {
			return
		}
		for _, again := range [][]byte{proto.MustMarshal(h), h.encode()} {
			if !bytes.Equal(again, b) || len(b) > maxHeader {
				t.Fatalf("%q is %q in canonical form", b, again)
			}
		}
		if len(h.Conversation) != 32 || len(h.Random) != 32 || h.Time < 0 || h.Count > maxBatch {
			t.Fatalf("header %+v", h)
		}
	})
}

func FuzzReceipt(f *testing.F) {
	_, receipts, _ := messageSeeds(f)
	corpus.Add(f, func(b []byte) bool { _, err := ParseReceipt(b); return err == nil }, receipts[:1], receipts[1:]...)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseReceipt(b)
		if err != nil {
			return
		}
		for _, again := range [][]byte{proto.MustMarshal(r), r.encode()} {
			if !bytes.Equal(again, b) || r.Read > r.Delivered || r.Time < 0 {
				t.Fatalf("%q is %+v, and %q in canonical form", b, r, again)
			}
		}
	})
}

// FuzzOpen lets anything arrive as a message, and, well signed and sealed, anything as its header
// and plaintext. Nothing of it changes the state or spoils the next message.
func FuzzOpen(f *testing.F) {
	_, receipts, bodies := messageSeeds(f)
	p := newPair(f, SuiteMLKEM)
	start := *p.ca.send
	start.ck = slices.Clone(start.ck)
	next := p.text(f, true, people.Now, "next")
	p.ca.send = &start // a forged message has the place of that message
	// forged is the message that A would send with b sealed as that kind.
	forged := func(kind string, b []byte) (*Opened, error) {
		return p.cb.Open(forge(p.ca, kind, b, func(h *MessageHeader) {
			d := FirstDigest(p.ca.T3, p.ca.SendDirection())
			switch kind {
			case KindText:
				h.Seq, h.Count = 1, 1
				d = NextDigest(d, sha256.Sum256(b))
			case KindReceipt:
				if r, err := ParseReceipt(b); err == nil {
					d = r.Digest(p.ca.T3, p.ca.SendDirection())
				}
			}
			if kind != KindPipe {
				h.Digest = d[:]
			}
		}), people.Now)
	}
	record := newRecords(p.a, p.b, "text")[0]
	record.Seq = 1
	d0 := FirstDigest(p.cb.T3, p.cb.SendDirection())
	for kind, plaintext := range map[string][]byte{
		KindText: record.Encode(), KindEnd: nil, KindPipe: []byte("chunk"),
		KindReceipt: proto.MustMarshal(&Receipt{0, d0[:], 0, d0[:], people.Now.UnixMilli(), run(0, 16)}),
	} {
		corpus.Add(f, func(b []byte) bool { _, err := forged(kind, b); return err == nil }, [][]byte{plaintext})
	}
	corpus.Add(f, func(b []byte) bool { return PeekConversation(b) != nil }, bodies, receipts...)
	f.Fuzz(func(t *testing.T, b []byte) {
		before := stateOf(p.cb)
		p.cb.Open(bytes.Clone(b), people.Now)
		header, rest, _ := bytes.Cut(b, []byte("\n"))
		p.cb.Open(sign(p.ca, header, rest), people.Now)
		for _, kind := range []string{KindText, KindReceipt, KindEnd, KindPipe} {
			o, err := forged(kind, b)
			if err != nil {
				continue
			}
			if exact := slices.Concat(o.Chunk, o.ExactReceipt, []byte(o.Refusal), bytes.Join(o.ExactRecords, nil)); !bytes.Equal(exact, b) {
				t.Fatalf("a %s of %q was taken for %q", kind, b, exact)
			}
			o.Discard()
		}
		if stateOf(p.cb) != before {
			t.Fatal("the state has changed")
		}
		o, err := p.cb.Open(bytes.Clone(next.Body), people.Now)
		if err != nil {
			t.Fatal(err)
		}
		o.Discard()
	})
}

// FuzzClientConnect lets anything arrive as each phase of a handshake, and, well signed, anything
// as its JSON. Nothing of it spoils the honest phase.
func FuzzClientConnect(f *testing.F) {
	done := begin(f, alice(f), bob(f))
	done.finish(f)
	rt, newP1, _ := retryOf(f, alice(f), bob(f, SuiteRSA256))
	h := begin(f, alice(f), bob(f))
	verify := h.verify
	corpus.Add(f, func(b []byte) bool {
		offer, err := ReadOffer(b, h.b.end, h.a.end)
		if err == nil {
			_, _, _, err = offer.Answer(h.b.Local, nil, verify)
		}
		return err == nil
	}, [][]byte{done.p1}, done.p2, done.p3, rt, newP1, []byte("\n\n"), nil)
	f.Fuzz(func(t *testing.T, b []byte) {
		exact, _, _ := bytes.Cut(b, []byte("\n"))
		for _, body := range [][]byte{b, h.resignP1(exact)} {
			PeekPhase(body)
			if offer, err := ReadOffer(body, h.b.end, h.a.end); err == nil {
				offer.Answer(h.b.Local, nil, verify)
			}
		}
		i := h.spare()
		if _, _, err := i.Phase2(b, verify); err == nil && !bytes.Equal(b, h.p2) {
			t.Fatal("a p2 was taken")
		}
		h.refusedP2(t, "signed", h.resignP2(t, exact))
		i.Retry(b, verify)
		h.refusedP3(t, "as it is", b)
		h.refusedP3(t, "signed", h.resignP3(t, exact, run(0, 32)))
		if _, _, err := h.spare().Phase2(h.p2, verify); err != nil {
			t.Fatalf("the honest p2: %v", err)
		}
	})
}

// FuzzBody: the parts of a handshake's body have one form.
func FuzzBody(f *testing.F) {
	good := joinBody([]byte(`{"type":"p2"}`), run(0, 64), run(1, 32))
	_, _, err := splitBody(good, 2)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, uint8(2))
	f.Add(joinBody([]byte(`{"type":"p1"}`), nil), uint8(1))
	f.Add([]byte("p\nQUJ=\n"), uint8(2))
	f.Add([]byte("p\nQU\rJD"), uint8(1))
	f.Fuzz(func(t *testing.T, body []byte, n uint8) {
		p, with, err := splitBody(body, int(n%4))
		if err != nil {
			if !errors.Is(err, ErrHandshake) {
				t.Fatal(err)
			}
			return
		}
		if again := joinBody(p, with...); !bytes.Equal(again, body) || len(with) != int(n%4) {
			t.Fatalf("%q becomes %q", body, again)
		}
		if phase := PeekPhase(body); phase != "" && !strings.Contains(string(p), phase) {
			t.Fatalf("%q looks like %s", body, phase)
		}
	})
}
