package history

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/proto"
	"chatsecure/testdata/corpus"
	"chatsecure/testdata/lab/people"
)

// exported returns a proof of a record out of a user's history, and its report. The
// proof must hold.
func (p *pair) exported(u *user, id string) ([]byte, *ProofReport) {
	p.T.Helper()
	data, err := ExportProof(u.dir, id, p.Verifier)
	p.Must(err)
	report, err := VerifyProof(data, p.Verifier)
	p.Must(err)
	return data, report
}

func TestProof(t *testing.T) {
	p := newPair(t)
	ids := p.Send("earlier", "the text", "later")
	after := p.Send("after")
	p.Receipt(2, 0)
	p.Receipt(4, 1)
	p.Must(p.a.h.Taken(p.Ca.T3, p.Ca.SendDirection(), 4))

	data, got := p.exported(p.a, ids[1])
	if got.ID != ids[1] || got.Text != "the text" || got.From.Name != "Ana" || got.Recipient.Name != "Bruno" ||
		len(got.To) != 1 || got.To[0].Name != "bruno" || got.From.Identity != p.a.Local.Identity {
		t.Errorf("the proof says %+v", got)
	}
	if got.Receipt == nil || got.Receipt.Status != StatusDelivered {
		t.Errorf("the receipt is %+v, want DELIVERED", got.Receipt)
	}
	if _, first := p.exported(p.a, ids[0]); first.Receipt == nil || first.Receipt.Status != StatusRead {
		t.Errorf("the receipt of the first is %+v, want READ", first.Receipt)
	}
	// The receipt for this record reaches beyond its message.
	if _, last := p.exported(p.a, ids[2]); last.Receipt == nil || last.Receipt.Status != StatusDelivered {
		t.Errorf("the receipt of the third is %+v, want DELIVERED", last.Receipt)
	}
	_, theirs := p.exported(p.b, ids[1])
	if theirs.Receipt != nil || theirs.Text != "the text" {
		t.Errorf("the receiver's proof says %+v", theirs)
	}
	if c := CompareProofs(got, theirs); !c.Same || c.Conflict || len(c.different) != 0 {
		t.Errorf("both sides' proofs compare as %+v", c)
	}
	for _, secret := range []string{"earlier", "later", "after"} {
		if bytes.Contains(data, []byte(`"text":"`+secret)) {
			t.Errorf("the proof has the text of another record, %q", secret)
		}
	}
	if _, other := p.exported(p.a, after[0]); CompareProofs(got, other).Same || CompareProofs(got, other).Conflict {
		t.Error("proofs of different messages compare as the same, or as a contradiction")
	}
	text := got.String()
	for _, want := range []string{ids[1], "the text", "Ana", "Bruno", "DELIVERED", "nobody else attests"} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
}

// TestProofQuotesNames: nobody's name in a certificate can be taken for the report's own words.
func TestProofQuotesNames(t *testing.T) {
	named := func(name string) pkix.Name { return pkix.Name{CommonName: name} }
	person := &trust.Person{Name: "eve", Leaf: &x509.Certificate{
		Subject: named(`BOB", issued by "State`), Issuer: named("Shop, identity 11)"),
	}}
	want := `eve ("BOB\", issued by \"State", issued by "Shop, identity 11)", identity ` + strings.Repeat("00", 32) + ")"
	if got := personText(person); got != want {
		t.Errorf("the party is %s, want %s", got, want)
	}
}

// TestProofEveryByte: row 12 of the attacks, for proofs. Every byte counts.
func TestProofEveryByte(t *testing.T) {
	p := newPair(t)
	ids := p.Send("one", "two", "three")
	p.Send("four")
	p.Receipt(4, 4)
	data, _ := p.exported(p.a, ids[1])
	refused := func(what string, at int, changed []byte) {
		t.Helper()
		_, err := VerifyProof(changed, p.Verifier)
		if err == nil {
			t.Fatalf("%s at byte %d of %d is accepted: %q", what, at, len(data), proofContext(changed, at))
		}
		if e, ok := errors.AsType[*fail.Error](err); !ok || e.Code != proto.SignatureInvalid {
			t.Fatalf("%s at byte %d: %v, want code %s", what, at, err, proto.SignatureInvalid)
		}
	}
	changes := []byte{1, 0x20, 0x80} // a digit or letter, its case, no ASCII
	for i := range data {
		changed := bytes.Clone(data)
		changed[i] ^= changes[i%len(changes)]
		refused("a changed byte", i, changed)
	}
	for i := 0; i <= len(data); i += 7 { // a sample: the form alone refuses another length
		refused("a missing byte", i, append(bytes.Clone(data[:min(i, len(data)-1)]), data[min(i+1, len(data)):]...))
		for _, more := range []string{" ", "\n", "A"} {
			refused("a byte more", i, append(append(bytes.Clone(data[:i]), more...), data[i:]...))
		}
	}
}

func proofContext(b []byte, at int) []byte { return b[max(0, at-20):min(len(b), at+20)] }

// TestProofOfAnUnknownAuthority: if nothing but the authority is missing, the hint asks
// for the authority, and not for another file.
func TestProofOfAnUnknownAuthority(t *testing.T) {
	p := newPair(t)
	data, _ := p.exported(p.a, p.Send("the text")[0])
	store := public(t)
	stranger := trust.NewVerifier(trust.VerifierConfig{Trust: store, Policy: trust.PolicyOff, Now: p.Clock.Now})
	const again = "ask for the file again"
	for says, data := range map[string][]byte{
		"-ca-bundle": data,
		again:        bytes.Replace(data, []byte("the text"), []byte("The text"), 1),
	} {
		_, err := VerifyProof(data, stranger)
		hint := fail.AsError(err).Advice()
		if fail.ExitStatus(err) != 8 || !strings.Contains(hint, says) || says != again && strings.Contains(hint, again) {
			t.Errorf("exit status %d, %v; hint %q, want one with %q", fail.ExitStatus(err), err, hint, says)
		}
	}
}

// TestProofParts: a part of one good proof does not hold in another.
func TestProofParts(t *testing.T) {
	p := newPair(t)
	ids := p.Send("one", "two")
	more := p.Send("three", "four")
	p.Receipt(2, 1)
	p.Receipt(4, 4)
	decode := func(id string) *Proof {
		data, _ := p.exported(p.a, id)
		q := new(Proof)
		p.Must(proto.Unmarshal(data, q))
		return q
	}
	own, _ := p.exported(p.a, ids[1])
	for name, edit := range map[string]func(q, other *Proof){
		"record":          func(q, other *Proof) { q.Lines[2].Records[1] = other.Lines[2].Records[0] },
		"header":          func(q, other *Proof) { q.Lines[2].Header = other.Lines[2].Header },
		"signature":       func(q, other *Proof) { q.Lines[2].Signature = other.Lines[2].Signature },
		"whole message":   func(q, other *Proof) { q.Lines[2] = other.Lines[2] },
		"no signature":    func(q, _ *Proof) { q.Lines[2].Signature = nil },
		"sender":          func(q, _ *Proof) { q.Lines[0] = q.Lines[1] },
		"parties swapped": func(q, _ *Proof) { q.Lines[0], q.Lines[1] = q.Lines[1], q.Lines[0] },
		"no recipient":    func(q, _ *Proof) { q.Lines = slices.Delete(q.Lines, 1, 2) },
		"no bundle":       func(q, _ *Proof) { q.Lines[1].Bundle = nil },
		"bundle's hash":   func(q, _ *Proof) { q.Lines[0].Hash[0] ^= 1 },
		"records swapped": func(q, _ *Proof) { r := q.Lines[2].Records; r[0], r[1] = r[1], r[0] },
		"one hash less":   func(q, _ *Proof) { q.Lines[2].Records = q.Lines[2].Records[1:] },
		"one hash more":   func(q, _ *Proof) { r := q.Lines[2].Records; q.Lines[2].Records = append(r, r[0]) },
		"no record":       func(q, _ *Proof) { r := q.Lines[2].Records; r[1] = r[0] },
		"two records":     func(q, _ *Proof) { r := q.Lines[2].Records; r[0] = r[1] },
		"before":          func(q, other *Proof) { q.Lines[2].Before = other.Lines[2].Before },
		"short hash":      func(q, _ *Proof) { q.Lines[2].Before = q.Lines[2].Before[:31] },
		"receipt's record": func(q, _ *Proof) {
			q.Lines[3].Records = append(q.Lines[3].Records, q.Lines[2].Records[0])
		},
		"receipt's text": func(q, _ *Proof) { q.Lines[3].Records = append(q.Lines[3].Records, q.Lines[2].Records[1]) },
		"receipt's values": func(q, _ *Proof) {
			q.Lines[3].Receipt = bytes.Replace(q.Lines[3].Receipt, []byte(`"delivered":4`), []byte(`"delivered":3`), 1)
		},
		"receipt's signature": func(q, _ *Proof) { q.Lines[3].Signature[0] ^= 1 },
		"message as receipt": func(q, _ *Proof) {
			q.Lines[3].Header, q.Lines[3].Signature, q.Lines[3].CipherHash = q.Lines[2].Header, q.Lines[2].Signature, q.Lines[2].CipherHash
		},
		"two receipts":    func(q, _ *Proof) { q.Lines = append(q.Lines, q.Lines[3]) },
		"receipt first":   func(q, _ *Proof) { q.Lines[2], q.Lines[3] = q.Lines[3], q.Lines[2] },
		"a line's time":   func(q, _ *Proof) { q.Lines[2].Time = 1 },
		"a line's number": func(q, _ *Proof) { q.Lines[2].Seq = 1 },
		"sent":            func(q, _ *Proof) { q.Lines[2].Type = lineSent },
		"version":         func(q, _ *Proof) { q.V = 1 },
		"type":            func(q, _ *Proof) { q.Type = "proof" },
	} {
		q, other := decode(ids[1]), decode(more[0])
		edit(q, other)
		changed := proto.MustMarshal(q)
		if bytes.Equal(changed, own) {
			t.Errorf("%s: the edit changed nothing", name)
			continue
		}
		if name == "whole message" {
			// All of it together is another proof, whose receipt reaches it or not.
			if r, err := VerifyProof(changed, p.Verifier); err == nil && r.ID == ids[1] {
				t.Errorf("%s: accepted as a proof of %s", name, ids[1])
			}
			continue
		}
		if _, err := VerifyProof(changed, p.Verifier); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	// Without its receipt it still proves the message, and no more.
	q := decode(ids[1])
	q.Lines = q.Lines[:3]
	if r, err := VerifyProof(proto.MustMarshal(q), p.Verifier); err != nil || r.Receipt != nil {
		t.Errorf("without the receipt: %+v, %v", r, err)
	}
}

func TestProofWhen(t *testing.T) {
	p := newPair(t)
	ids := p.Send("text")
	data, _ := p.exported(p.a, ids[0])

	// Years later the certificate has expired, but the proof still holds.
	p.Clock.Add(6 * 365 * 24 * time.Hour)
	r, err := VerifyProof(data, p.Verifier)
	p.Must(err)
	if !strings.Contains(strings.Join(r.Notes, "\n"), "valid then, not now") {
		t.Errorf("notes are %q, want that it was valid then and is not now", r.Notes)
	}
	// It does not hold for somebody who trusts other authorities.
	store := public(t)
	if _, err := VerifyProof(data, trust.NewVerifier(trust.VerifierConfig{Trust: store})); err == nil {
		t.Error("a proof under a root that is not trusted is accepted")
	}
}

// TestVerifyWithoutLists: a proof or history that lacks nothing but revocation lists is
// not called damaged. A damaged one is.
func TestVerifyWithoutLists(t *testing.T) {
	p := newPair(t)
	ids := told(p)
	data, err := ExportProof(p.a.dir, ids[0], p.Verifier)
	p.Must(err)
	strict := trust.NewVerifier(trust.VerifierConfig{
		Trust: people.Trust(t, p.PKI), Policy: trust.PolicyRequire, Now: p.Clock.Now,
	})
	_, err = VerifyProof(data, strict)
	e := fail.AsError(err)
	const says = "hold, and one thing is missing: the sender: whether the certificate of "
	if e == nil || fail.ExitStatus(err) != 8 || !strings.Contains(e.Message, says) || e.Hint != UnlistedHint {
		t.Errorf("the proof: %v", e)
	}
	changed := bytes.Replace(data, []byte(`{"v":2`), []byte(`{"v":3`), 1)
	if _, err = VerifyProof(changed, strict); err == nil || !strings.Contains(err.Error(), "does not hold") {
		t.Errorf("a damaged proof: %v", err)
	}

	if r := verified(t, p.a.dir, strict); r.OK() || !r.Unlisted {
		t.Errorf("the history: %+v", r)
	}
	if r := verified(t, p.a.dir, p.Verifier); !r.OK() || r.Unlisted {
		t.Errorf("the history under try: %+v", r)
	}
	file := filepath.Join(p.a.dir, linesName)
	text, err := os.ReadFile(file)
	p.Must(err)
	p.Must(os.WriteFile(file, text[:len(text)-len(text)/8], 0o600))
	if r := verified(t, p.a.dir, strict); r.OK() || r.Unlisted {
		t.Errorf("a damaged history: %+v", r)
	}
}

func TestExportProofRefuses(t *testing.T) {
	p := newPair(t)
	record := p.record("waits", to(p.b))
	p.Must(p.a.h.Pending(record, []string{"Bruno"}))
	for id, code := range map[string]proto.Code{
		"":                                 proto.Usage,
		"zz":                               proto.Usage,
		strings.Repeat("A", 32):            proto.Usage,
		strings.Repeat("0", 32):            proto.History,
		record.ID:                          proto.History,
		`0"}` + strings.Repeat("0", 29):    proto.Usage,
		strings.Repeat("0", 32) + "\x00":   proto.Usage,
		strings.Repeat("0", 31) + "\u0660": proto.Usage,
	} {
		_, err := ExportProof(p.a.dir, id, p.Verifier)
		if e, ok := errors.AsType[*fail.Error](err); !ok || e.Code != code {
			t.Errorf("id %q: %v, want code %s", id, err, code)
		}
	}
	if _, err := ExportProof(filepath.Join(t.TempDir(), "none"), strings.Repeat("0", 32), p.Verifier); err == nil {
		t.Error("a proof out of no history")
	}
}

// TestProofEquivocation: row 14 of the attacks. Two members who compare their proofs
// find out that a sender told them different things at one moment.
func TestProofEquivocation(t *testing.T) {
	p := newPair(t)
	carla := p.open(p.User("Carla", "conn-c"))
	both := to(p.b, carla)
	now := p.Clock.Now()
	tell := func(u *user, text string, to []crypto.Recipient) *ProofReport {
		p.T.Helper()
		ca, cb := p.Shake(p.A, u.User)
		p.Must(u.h.Begin(cb, u.Local.Bundle))
		r := crypto.NewRecord(p.a.Local.Identity, append([]crypto.Recipient(nil), to...), text, now)
		s, _, err := ca.SealRecords([]*crypto.Record{r}, p.Clock.Now())
		p.Must(err)
		o, err := cb.Open(s.Body, p.Clock.Now())
		p.Must(err)
		p.Must(u.h.Received(cb, o))
		cb.Commit(o)
		_, report := p.exported(u, r.ID)
		return report
	}
	toBruno := tell(p.b, "we meet at five", both)
	for name, other := range map[string]*ProofReport{
		"text": tell(carla, "we meet at six", both),
		"to":   tell(carla, "we meet at five", to(carla)),
	} {
		c := CompareProofs(toBruno, other)
		if c.Same || !c.Conflict || !strings.Contains(c.String(), "contradict") {
			t.Errorf("%s: compares as %+v", name, c)
		}
	}
}

// TestExportKeepsOneCopy: whoever sends a message again and again does not fill the memory of the
// one who exports it.
func TestExportKeepsOneCopy(t *testing.T) {
	p := newPair(t)
	record := p.record("again and again", to(p.b))
	for range 5 {
		p.SendRecords(record)
		p.Connect()
	}
	s := &search{reader: newReader(), marks: [][]byte{[]byte(`{"id":"` + record.ID + `"`)}}
	data, err := os.ReadFile(filepath.Join(p.b.dir, linesName))
	p.Must(err)
	for _, line := range lines(data) {
		s.line(0, line)
	}
	if len(s.found) != 1 {
		t.Errorf("%d copies are kept", len(s.found))
	}
	p.exported(p.b, record.ID)
}

// TestProofTwoConnections: a record that went to two connections is one message with
// two proofs.
func TestProofTwoConnections(t *testing.T) {
	p := newPair(t)
	carla := p.open(p.User("Carla", "conn-c"))
	record := p.record("to both", to(p.b, carla))
	p.SendRecords(record)
	_, first := p.exported(p.b, record.ID)
	ca, cb := p.Shake(p.A, carla.User)
	p.Must(carla.h.Begin(cb, carla.Local.Bundle))
	s, _, err := ca.SealRecords([]*crypto.Record{record}, p.Clock.Now())
	p.Must(err)
	o, err := cb.Open(s.Body, p.Clock.Now())
	p.Must(err)
	p.Must(carla.h.Received(cb, o))
	_, second := p.exported(carla, record.ID)
	if c := CompareProofs(first, second); !c.Same || c.Conflict {
		t.Errorf("compare as %+v", c)
	}
	// Among several, the one with the furthest receipt is exported.
	p.Receipt(1, 1)
	if _, best := p.exported(p.a, record.ID); best.Receipt == nil || best.Receipt.Status != StatusRead {
		t.Errorf("the receipt is %+v", best.Receipt)
	}
}

func FuzzVerifyProof(f *testing.F) {
	p := newPair(f)
	ids := p.Send("one", "two")
	p.Receipt(2, 1)
	data, _ := p.exported(p.a, ids[0])
	received, _ := p.exported(p.b, ids[1])
	corpus.Add(f, func(b []byte) bool { _, err := VerifyProof(b, p.Verifier); return err == nil }, [][]byte{data, received}, []byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := VerifyProof(b, p.Verifier)
		if err != nil {
			return
		}
		// Only the two proofs that were made hold, or their messages without the
		// receipt.
		if r.Text != "one" && r.Text != "two" {
			t.Errorf("a proof of %q holds that nobody made", r.Text)
		}
	})
}

// TestProofQuote: a text in a comparison cannot end its quotes.
func TestProofQuote(t *testing.T) {
	for in, want := range map[string]string{`five" and "six`: `"five\" and \"six"`, `five\`: `"five\\"`} {
		if got := proofQuote(in); got != want {
			t.Errorf("%q is quoted as %s, not %s", in, got, want)
		}
	}
}
