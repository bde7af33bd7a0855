package crypto

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"chatsecure/proto"
	"chatsecure/testdata/corpus"
	"chatsecure/testdata/lab/people"
)

// codecTexts are texts with a special form in JSON.
func codecTexts() []string {
	texts := []string{
		"", "plain", `a "quoted" text`, `back\slash`, "line\nline\r\n\ttab", "não há", "日本", "😀", "<&>", "\u007f\u0080", "e\u0301",
		"\u2027\u202a", "x\u2028y", "x\u2029y", "\xff", "a\xc3", "\xed\xa0\x80", "\ufffd", "\ufeff", "/", "\\u0041", `\"`, strings.Repeat(`"`, 100),
	}
	for c := range 0x20 {
		texts = append(texts, "x"+string(rune(c))+"y")
	}
	return texts
}

func codecRecords(t testing.TB) []*Record {
	a, b := newParty(t, "alice", "a1"), newParty(t, "bob", "b1")
	var records []*Record
	for i, text := range codecTexts() {
		r := NewRecord(a.Identity, to(a, b), text, people.Now)
		r.Seq = uint64(i)
		records = append(records, r)
	}
	for _, edit := range []func(r *Record){
		func(r *Record) { r.Seq = ^uint64(0) },
		func(r *Record) { r.Seq = 1 << 63 },
		func(r *Record) { r.Seq = 9999999999999999999 },
		func(r *Record) { r.Time = 1<<63 - 1 },
		func(r *Record) { r.Time = -1 },
		func(r *Record) { r.Time = 0 },
		func(r *Record) { r.To = nil },
		func(r *Record) { r.To = []Recipient{} },
		func(r *Record) { r.To = []Recipient{{}} },
		func(r *Record) { r.To = []Recipient{{"\"\n", "x"}} },
		func(r *Record) { r.Salt = nil },
		func(r *Record) { r.Salt = []byte{} },
		func(r *Record) { r.Salt = make([]byte, 15) },
		func(r *Record) { r.Salt = make([]byte, 17) },
		func(r *Record) { r.ID = "" },
		func(r *Record) { r.ID = "\u2028" },
	} {
		r := newRecords(a, b, "text")[0]
		edit(r)
		records = append(records, r)
	}
	return records
}

// Encode is proto.Marshal for every record.
func TestRecordEncoding(t *testing.T) {
	fast := 0
	for _, r := range codecRecords(t) {
		want := proto.MustMarshal(r)
		if got := r.Encode(); !bytes.Equal(got, want) {
			t.Errorf("%s, want %s", got, want)
		}
		if got := r.appendTo([]byte("x")); !bytes.Equal(got, append([]byte("x"), want...)) {
			t.Errorf("appended: %s", got)
		}
		if b, ok := appendRecord([]byte("x"), r); ok {
			fast++
		} else if string(b) != "x" {
			t.Error("what was begun is left behind")
		}
	}
	if fast < 20 {
		t.Errorf("only %d records took the fast way", fast)
	}
}

// sameAsCanon compares both ways of decoding with proto.Unmarshal.
func sameAsCanon(t testing.TB, p *RecordParser, b []byte) (fast bool) {
	t.Helper()
	var want Record
	canonical := proto.Unmarshal(b, &want) == nil
	var got Record
	_, fast = p.scan(b, &got)
	if fast && !canonical {
		t.Fatalf("scanned, though it is not canonical: %q", b)
	}
	if fast && !reflect.DeepEqual(got, want) {
		t.Fatalf("%q scanned as %+v, want %+v", b, got, want)
	}
	r, err := p.Parse(b)
	id := recordID(p.Sender, &want)
	if good := canonical && want.check() == nil && want.ID == string(id[:]); good != (err == nil) {
		t.Fatalf("%q parsed with %v, want good %v", b, err, good)
	}
	if err == nil && !reflect.DeepEqual(*r, want) {
		t.Fatalf("%q parsed as %+v, want %+v", b, r, want)
	}
	return fast
}

func TestRecordDecoding(t *testing.T) {
	sender := newParty(t, "alice", "a1").Identity
	shared, fast := &RecordParser{Sender: sender}, 0
	for _, r := range codecRecords(t) {
		b := proto.MustMarshal(r)
		for _, p := range []*RecordParser{{Sender: sender}, shared} {
			if sameAsCanon(t, p, b) {
				fast++
			}
		}
		for i := range b {
			sameAsCanon(t, shared, b[:i])
			bad := bytes.Clone(b)
			bad[i] ^= 1 << (i % 8)
			sameAsCanon(t, shared, bad)
		}
		sameAsCanon(t, shared, append(bytes.Clone(b), ' '))
	}
	if fast < 40 {
		t.Errorf("only %d records took the fast way", fast)
	}
}

// Records of one message share a `to` of the same bytes, and no other.
func TestRecordsShareRecipients(t *testing.T) {
	a, b, c := newParty(t, "alice", "a1"), newParty(t, "bob", "b1"), newParty(t, "carol", "c1")
	p := &RecordParser{Sender: a.Identity}
	parse := func(list ...*party) *Record {
		t.Helper()
		r, err := p.Parse(NewRecord(a.Identity, to(list...), "text", people.Now).Encode())
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	one, two := parse(b), parse(b)
	if &one.To[0] != &two.To[0] {
		t.Error("the same recipients were read twice")
	}
	if more := parse(b, c); len(more.To) != 2 || more.To[1].Name != "carol" {
		t.Errorf("recipients %v", more.To)
	}
	if less := parse(b); len(less.To) != 1 {
		t.Errorf("recipients %v", less.To)
	}
	// A refused list is refused again.
	bad := newRecords(a, b, "text")[0]
	bad.To = []Recipient{{"bob", ""}, {"bob", ""}}
	bad.ID = RecordID(a.Identity, bad)
	for range 2 {
		if _, err := p.Parse(bad.Encode()); err == nil {
			t.Error("one name twice was taken")
		}
	}
}

// A conversation remembers the `to` of a message for the next one, and no long one: its peer may have
// thousands of conversations.
func TestLongRecipientsAreForgotten(t *testing.T) {
	p := newPair(t, SuiteMLKEM)
	of := func(more int) []Recipient {
		list := to(p.b)
		for i := range more {
			list = append(list, Recipient{Name: fmt.Sprintf("carol%dof%d", i, more), Identity: proto.FormatHash(p.a.Identity)})
		}
		return list
	}
	var last []Recipient
	for i, c := range []struct {
		more         int
		shared, kept bool
	}{{2, false, true}, {2, true, true}, {proto.MaxRecipients - 1, false, false}, {2, false, true}} {
		var records []*Record
		for range 2 {
			records = append(records, NewRecord(p.a.Identity, of(c.more), "text", people.Now))
		}
		s, _, err := p.ca.SealRecords(records, people.Now)
		if err != nil {
			t.Fatal(err)
		}
		o := take(t, p.cb, s, people.Now)
		one, two := o.Records[0].To, o.Records[1].To
		if len(one) != c.more+1 || &one[0] != &two[0] || last != nil && (&one[0] == &last[0]) != c.shared {
			t.Errorf("message %d: %d recipients", i, len(one))
		}
		if kept := p.cb.records.exactTo != nil && p.cb.records.to != nil; kept != c.kept {
			t.Errorf("message %d: %d recipients are remembered %v", i, len(one), kept)
		}
		last = one
	}
}

func FuzzRecord(f *testing.F) {
	var seeds [][]byte
	for _, r := range codecRecords(f) {
		seeds = append(seeds, proto.MustMarshal(r))
	}
	seeds = append(seeds, []byte(`{"id":"","seq":01,"time":0,"to":[],"text":"","salt":""}`), []byte("{}"), nil)
	sender := newParty(f, "alice", "a1").Identity
	good := newRecords(newParty(f, "alice", "a1"), newParty(f, "bob", "b1"), "text")[0].Encode()
	corpus.Add(f, func(b []byte) bool { _, err := ParseRecord(b, sender); return err == nil }, [][]byte{good}, seeds...)
	f.Fuzz(func(t *testing.T, b []byte) {
		p := &RecordParser{Sender: sender}
		sameAsCanon(t, p, b)
		if _, err := p.Parse(good); err != nil {
			t.Fatal(err)
		}
		sameAsCanon(t, p, b) // with another's recipients in memory

		// Any input survives as a text.
		r := Record{ID: "id", Text: string(b), Salt: b, To: []Recipient{{Name: string(b)}}}
		if got, want := r.Encode(), proto.MustMarshal(&r); !bytes.Equal(got, want) {
			t.Fatalf("%s, want %s", got, want)
		}
		sameAsCanon(t, p, r.Encode())
	})
}
