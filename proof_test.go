package chatsecure

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chatsecure/canon"
	cs "chatsecure/crypto"
	"chatsecure/proto"
	"chatsecure/testdata/corpus"
)

// exported is a proof of the record out of a user's history, which must hold.
func (p *historyPair) exported(u *historyUser, id string) ([]byte, *ProofReport) {
	p.t.Helper()
	data, err := ExportProof(u.dir, id)
	p.must(err)
	report, err := VerifyProof(data, p.verifier)
	p.must(err)
	return data, report
}

func TestProof(t *testing.T) {
	p := newHistoryPair(t)
	ids := p.send("earlier", "the text", "later")
	after := p.send("after")
	p.receipt(2, 0)
	p.receipt(4, 1)
	p.must(p.a.h.Taken(p.ca.T3, 4))

	data, got := p.exported(p.a, ids[1])
	if got.ID != ids[1] || got.Text != "the text" || got.From.Name != "Ana" || got.Recipient.Name != "Bruno" ||
		len(got.To) != 1 || got.To[0].Name != "bruno" || got.From.Person.Identity != p.a.local.Identity {
		t.Errorf("the proof says %+v", got)
	}
	if got.Receipt == nil || got.Receipt.Status != StatusDelivered {
		t.Errorf("the receipt is %+v, want DELIVERED", got.Receipt)
	}
	if _, first := p.exported(p.a, ids[0]); first.Receipt == nil || first.Receipt.Status != StatusRead {
		t.Errorf("the receipt of the first is %+v, want READ", first.Receipt)
	}
	// A record that another receipt reaches only beyond the message itself.
	if _, last := p.exported(p.a, ids[2]); last.Receipt == nil || last.Receipt.Status != StatusDelivered {
		t.Errorf("the receipt of the third is %+v, want DELIVERED", last.Receipt)
	}
	_, theirs := p.exported(p.b, ids[1])
	if theirs.Receipt != nil || theirs.Text != "the text" {
		t.Errorf("the receiver's proof says %+v", theirs)
	}
	if c := CompareProofs(got, theirs); !c.Same || c.Conflict || len(c.Different) != 0 {
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

// Row 12 of the attacks, for proofs: every byte counts.
func TestProofEveryByte(t *testing.T) {
	p := newHistoryPair(t)
	ids := p.send("one", "two", "three")
	p.send("four")
	p.receipt(4, 4)
	data, _ := p.exported(p.a, ids[1])
	refused := func(what string, at int, changed []byte) {
		t.Helper()
		_, err := VerifyProof(changed, p.verifier)
		if err == nil {
			t.Fatalf("%s at byte %d of %d is accepted: %q", what, at, len(data), proofContext(changed, at))
		}
		if e, ok := errors.AsType[*Error](err); !ok || e.Code != proto.SignatureInvalid {
			t.Fatalf("%s at byte %d: %v, want code %s", what, at, err, proto.SignatureInvalid)
		}
	}
	changes := []byte{1, 0x20, 0x80} // a digit or letter, its case, no ASCII
	for i := range data {
		changed := bytes.Clone(data)
		changed[i] ^= changes[i%len(changes)]
		refused("a changed byte", i, changed)
	}
	for i := 0; i <= len(data); i += 7 { // of what makes it longer or shorter, a part: form alone refuses it
		refused("a missing byte", i, append(bytes.Clone(data[:min(i, len(data)-1)]), data[min(i+1, len(data)):]...))
		for _, more := range []string{" ", "\n", "A"} {
			refused("a byte more", i, append(append(bytes.Clone(data[:i]), more...), data[i:]...))
		}
	}
}

func proofContext(b []byte, at int) []byte { return b[max(0, at-20):min(len(b), at+20)] }

// TestProofOfAnUnknownAuthority: where nothing but the authority is missing,
// that is what has to be given; the file is as good as any.
func TestProofOfAnUnknownAuthority(t *testing.T) {
	p := newHistoryPair(t)
	data, _ := p.exported(p.a, p.send("the text")[0])
	trust, err := cs.NewTrust(CABundle)
	p.must(err)
	stranger := cs.NewVerifier(cs.VerifierConfig{Trust: trust, Policy: cs.PolicyOff, Now: p.clock.Now})
	const again = "ask for the file again"
	for says, data := range map[string][]byte{
		"-ca-bundle": data,
		again:        bytes.Replace(data, []byte("the text"), []byte("The text"), 1),
	} {
		_, err := VerifyProof(data, stranger)
		hint := AsError(err).Advice()
		if ExitStatus(err) != 8 || !strings.Contains(hint, says) || says != again && strings.Contains(hint, again) {
			t.Errorf("exit status %d, %v; hint %q, want one with %q", ExitStatus(err), err, hint, says)
		}
	}
}

// What is moved from one good proof to another holds in neither.
func TestProofParts(t *testing.T) {
	p := newHistoryPair(t)
	ids := p.send("one", "two")
	more := p.send("three", "four")
	p.receipt(2, 1)
	p.receipt(4, 4)
	decode := func(id string) *proof {
		data, _ := p.exported(p.a, id)
		q := new(proof)
		p.must(canon.Unmarshal(data, q))
		return q
	}
	own, _ := p.exported(p.a, ids[1])
	for name, edit := range map[string]func(q, other *proof){
		"record":           func(q, other *proof) { q.Data.Record = other.Data.Record },
		"header":           func(q, other *proof) { q.Data.Header = other.Data.Header },
		"signature":        func(q, other *proof) { q.Signature = other.Signature },
		"whole message":    func(q, other *proof) { q.Data, q.Signature, q.Digests = other.Data, other.Signature, other.Digests },
		"no signature":     func(q, _ *proof) { q.Signature = nil },
		"sender":           func(q, _ *proof) { q.Bundle = *q.Recipient },
		"parties swapped":  func(q, _ *proof) { b := q.Bundle; q.Bundle, q.Recipient = *q.Recipient, &b },
		"no recipient":     func(q, _ *proof) { q.Recipient = nil },
		"earlier as later": func(q, _ *proof) { q.Digests.Later, q.Digests.Earlier = q.Digests.Earlier, q.Digests.Later },
		"one hash less":    func(q, _ *proof) { q.Digests.Earlier = nil },
		"before":           func(q, other *proof) { q.Digests.Before = other.Digests.Before },
		"short hash":       func(q, _ *proof) { q.Digests.Before = q.Digests.Before[:31] },
		"receipt's record": func(q, _ *proof) { q.Receipt.Records = append(q.Receipt.Records, q.Digests.Before) },
		"receipt's values": func(q, _ *proof) {
			q.Receipt.Receipt = bytes.Replace(q.Receipt.Receipt, []byte(`"delivered":4`), []byte(`"delivered":3`), 1)
		},
		"message as receipt": func(q, _ *proof) {
			q.Receipt.Header, q.Receipt.Signature, q.Receipt.Ciphertext = q.Data.Header, q.Signature, q.Digests.Ciphertext
		},
		"version": func(q, _ *proof) { q.V = 2 },
		"type":    func(q, _ *proof) { q.Type = "proof" },
	} {
		q, other := decode(ids[1]), decode(more[0])
		edit(q, other)
		changed := canon.MustMarshal(q)
		if bytes.Equal(changed, own) {
			t.Errorf("%s: the edit changed nothing", name)
			continue
		}
		if name == "whole message" {
			// All of it is another proof, with a receipt that reaches it or not.
			if r, err := VerifyProof(changed, p.verifier); err == nil && r.ID == ids[1] {
				t.Errorf("%s: accepted as a proof of %s", name, ids[1])
			}
			continue
		}
		if _, err := VerifyProof(changed, p.verifier); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	// Without its receipt it still proves the message, and no more.
	q := decode(ids[1])
	q.Receipt = nil
	if r, err := VerifyProof(canon.MustMarshal(q), p.verifier); err != nil || r.Receipt != nil {
		t.Errorf("without the receipt: %+v, %v", r, err)
	}
}

func TestProofWhen(t *testing.T) {
	p := newHistoryPair(t)
	ids := p.send("text")
	data, _ := p.exported(p.a, ids[0])

	// Years later the certificate has ended; the proof has not.
	p.clock.Add(6 * 365 * 24 * time.Hour)
	r, err := VerifyProof(data, p.verifier)
	p.must(err)
	if !strings.Contains(strings.Join(r.Notes, "\n"), "valid then, not now") {
		t.Errorf("notes are %q, want that it was valid then and is not now", r.Notes)
	}
	// Somebody who trusts others believes nothing.
	trust, err := cs.NewTrust(CABundle)
	p.must(err)
	if _, err := VerifyProof(data, cs.NewVerifier(cs.VerifierConfig{Trust: trust})); err == nil {
		t.Error("a proof under a root that is not trusted is accepted")
	}
}

// Where only revocation lists are missing, neither a proof nor a history is said
// to be damaged; what is damaged as well is.
func TestVerifyWithoutLists(t *testing.T) {
	p := newHistoryPair(t)
	ids := told(p)
	data, err := ExportProof(p.a.dir, ids[0])
	p.must(err)
	strict := p.verifier.WithPolicy(cs.PolicyRequire)
	_, err = VerifyProof(data, strict)
	e := AsError(err)
	if e == nil || ExitStatus(err) != 8 || !strings.Contains(e.Message, "hold, and one thing is missing: the sender: whether the certificate of ") || e.Hint != UnlistedHint {
		t.Errorf("the proof: %v", e)
	}
	changed := bytes.Replace(data, []byte(`"v":1`), []byte(`"v":2`), 1)
	if _, err = VerifyProof(changed, strict); err == nil || !strings.Contains(err.Error(), "does not hold") {
		t.Errorf("a damaged proof: %v", err)
	}

	if r := verified(t, p.a.dir, strict); r.OK() || !r.Unlisted {
		t.Errorf("the history: %+v", r)
	}
	if r := verified(t, p.a.dir, p.verifier); !r.OK() || r.Unlisted {
		t.Errorf("the history under try: %+v", r)
	}
	files, err := filepath.Glob(filepath.Join(p.a.dir, "*"+historyExt))
	p.must(err)
	text, err := os.ReadFile(files[0])
	p.must(err)
	p.must(os.WriteFile(files[0], text[:len(text)-len(text)/8], 0o600))
	if r := verified(t, p.a.dir, strict); r.OK() || r.Unlisted {
		t.Errorf("a damaged history: %+v", r)
	}
}

func TestExportProofRefuses(t *testing.T) {
	p := newHistoryPair(t)
	record := cs.NewRecord(p.a.local.Identity, p.to(p.b), "waits", p.clock.Now())
	p.must(p.a.h.Pending(record, []string{"Bruno"}))
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
		_, err := ExportProof(p.a.dir, id)
		if e, ok := errors.AsType[*Error](err); !ok || e.Code != code {
			t.Errorf("id %q: %v, want code %s", id, err, code)
		}
	}
	if _, err := ExportProof(filepath.Join(t.TempDir(), "none"), strings.Repeat("0", 32)); err == nil {
		t.Error("a proof out of no history")
	}
}

// Row 14 of the attacks: a sender who tells two members different things in
// one moment is found when they compare.
func TestProofEquivocation(t *testing.T) {
	p := newHistoryPair(t)
	carla := p.user("Carla", "conn-c")
	p.open(carla)
	to := p.to(p.b, carla)
	now := p.clock.Now()
	tell := func(u *historyUser, text string, to []cs.Recipient) *ProofReport {
		p.t.Helper()
		ca, cb := p.shake(p.a, u)
		p.must(u.h.Begin(cb, u.local.Bundle))
		r := cs.NewRecord(p.a.local.Identity, append([]cs.Recipient(nil), to...), text, now)
		s, _, err := ca.SealRecords([]*cs.Record{r}, p.clock.Now())
		p.must(err)
		o, err := cb.Open(s.Body, p.clock.Now())
		p.must(err)
		p.must(u.h.Received(cb, o))
		cb.Commit(o)
		_, report := p.exported(u, r.ID)
		return report
	}
	toBruno := tell(p.b, "we meet at five", to)
	for name, other := range map[string]*ProofReport{
		"text": tell(carla, "we meet at six", to),
		"to":   tell(carla, "we meet at five", p.to(carla)),
	} {
		c := CompareProofs(toBruno, other)
		if c.Same || !c.Conflict || !strings.Contains(c.String(), "contradict") {
			t.Errorf("%s: compares as %+v", name, c)
		}
	}
}

// A record that went to two connections is one message, with two proofs.
func TestProofTwoConnections(t *testing.T) {
	p := newHistoryPair(t)
	carla := p.user("Carla", "conn-c")
	p.open(carla)
	record := cs.NewRecord(p.a.local.Identity, p.to(p.b, carla), "to both", p.clock.Now())
	p.sendRecords([]*cs.Record{record})
	_, first := p.exported(p.b, record.ID)
	ca, cb := p.shake(p.a, carla)
	p.must(carla.h.Begin(cb, carla.local.Bundle))
	s, _, err := ca.SealRecords([]*cs.Record{record}, p.clock.Now())
	p.must(err)
	o, err := cb.Open(s.Body, p.clock.Now())
	p.must(err)
	p.must(carla.h.Received(cb, o))
	_, second := p.exported(carla, record.ID)
	if c := CompareProofs(first, second); !c.Same || c.Conflict {
		t.Errorf("compare as %+v", c)
	}
	// Among several, the one with the receipt that says most is exported.
	p.receipt(1, 1)
	if _, best := p.exported(p.a, record.ID); best.Receipt == nil || best.Receipt.Status != StatusRead {
		t.Errorf("the receipt is %+v", best.Receipt)
	}
}

func FuzzVerifyProof(f *testing.F) {
	p := newHistoryPair(f)
	ids := p.send("one", "two")
	p.receipt(2, 1)
	data, _ := p.exported(p.a, ids[0])
	received, _ := p.exported(p.b, ids[1])
	corpus.Add(f, func(b []byte) bool { _, err := VerifyProof(b, p.verifier); return err == nil }, [][]byte{data, received}, []byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := VerifyProof(b, p.verifier)
		if err != nil {
			return
		}
		// What holds is one of the two that were made, or its message without
		// the receipt.
		if r.Text != "one" && r.Text != "two" {
			t.Errorf("a proof of %q holds that nobody made", r.Text)
		}
	})
}
