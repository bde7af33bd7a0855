package history

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/proto"
	"chatsecure/testdata/lab/people"
	"chatsecure/testdata/spoil"
)

// renew delegates again from a device's card, with the same mailbox: its letters come under another
// bundle.
func (p *post) renew(d *device) {
	p.T.Helper()
	*d.User = *p.Delegate(d.holder, d.End.Name, d.End.Conn)
	people.NameMailbox(p.T, d.holder, d.Local.Bundle, d.box.Hash(), p.Clock.Now().Add(9*24*time.Hour))
	d.keep(d.h)
	d.h.SignAs(d.Local.Bundle, d.Local.Key)
}

// letterProofs are proofs of letters of Ana's: without a receipt, with one under the bundles of the
// letter, with one days later under others, and of a conversation's message with one.
func letterProofs(p *post) (ids map[string]string) {
	p.T.Helper()
	ids = make(map[string]string)
	leave := func(name string) *crypto.Record {
		records := p.texts(p.ana, to(p.b), "the first", name, "the third")
		p.receive(p.ana, p.bruno, p.leave(p.ana, p.bruno, records...))
		ids[name] = records[1].ID
		return records[1]
	}
	leave("no receipt")
	soon := leave("soon")
	p.receipt(p.bruno, p.ana, crypto.LevelDelivered, leave("other"), soon)
	later := leave("days later")
	p.receipt(p.bruno, p.ana, crypto.LevelDelivered, later)
	p.Connect()
	said := p.record("said", to(p.b))
	p.SendRecords(p.record("the first", to(p.b)), said)
	p.Receipt(2, 0)
	ids["said"] = said.ID
	p.Clock.Add(3 * 24 * time.Hour)
	p.renew(p.ana)
	p.renew(p.bruno)
	p.receipt(p.bruno, p.ana, crypto.LevelRead, later, said)
	return ids
}

func TestLetterProof(t *testing.T) {
	p := newPost(t)
	ids := letterProofs(p)
	for name, want := range map[string]struct {
		status Status
		types  string
	}{
		"no receipt": {"", "bundle bundle letter"},
		"soon":       {StatusDelivered, "bundle bundle letter letter-receipt"},
		"days later": {StatusRead, "bundle bundle letter bundle bundle letter-receipt"},
		"said":       {StatusRead, "bundle bundle text bundle bundle letter-receipt"},
	} {
		data, r := p.exported(p.a, ids[name])
		if r.Text != name || r.From.Name != "Ana" || r.Recipient.Name != "Bruno" || r.ID != ids[name] {
			t.Errorf("%s: the proof says %+v", name, r)
		}
		if (r.Receipt == nil) != (want.status == "") || r.Receipt != nil && r.Receipt.Status != want.status {
			t.Errorf("%s: the receipt is %+v, want %s", name, r.Receipt, want.status)
		}
		if strings.Contains(string(data), "the first") || strings.Contains(string(data), "the third") {
			t.Errorf("%s: the proof has another text", name)
		}
		var proof Proof
		p.Must(proto.Unmarshal(data, &proof))
		var types []string
		for _, l := range proof.Lines {
			types = append(types, l.Type)
		}
		if got := strings.Join(types, " "); got != want.types {
			t.Errorf("%s: the proof has %s, want %s", name, got, want.types)
		}
		if name == "said" {
			continue
		}
		_, theirs := p.exported(p.b, ids[name])
		if theirs.Receipt != nil || !CompareProofs(r, theirs).Same {
			t.Errorf("%s: the receiver's proof is %+v", name, theirs)
		}
	}
}

// TestLetterProofEveryByte: row 12 of the attacks, for proofs of letters.
func TestLetterProofEveryByte(t *testing.T) {
	p := newPost(t)
	data, _ := p.exported(p.a, letterProofs(p)["days later"])
	changes := []byte{1, 0x20, 0x80}
	for i := range spoil.NewSweep(t, "proofs of a letter with a changed byte").Positions(len(data), 1500) {
		changed := bytes.Clone(data)
		changed[i] ^= changes[i%len(changes)]
		if _, err := VerifyProof(changed, p.Verifier); err == nil {
			t.Fatalf("a changed byte at %d of %d is accepted: %q", i, len(data), proofContext(changed, i))
		}
	}
}

// TestLetterProofRefused: a receipt proves nothing for another message, or of another person, and a
// proof has one form.
func TestLetterProofRefused(t *testing.T) {
	p := newPost(t)
	ids := letterProofs(p)
	parse := func(name string) *Proof {
		data, _ := p.exported(p.a, ids[name])
		var proof Proof
		p.Must(proto.Unmarshal(data, &proof))
		return &proof
	}
	holder, err := p.PKI.Issue("another Bruno")
	p.Must(err)
	namesake := p.boxed(holder, p.Delegate(holder, "Bruno", "conn-d"))
	carla := p.device("Carla", "conn-c")
	by := func(d *device) *Proof { // a receipt of d's in the place of Bruno's
		proof := parse("days later")
		receipts, err := crypto.ParseLetterReceipts(proof.Lines[5].Receipts)
		p.Must(err)
		l := p.seal(d, p.ana, nil, receipts)
		hash := d.Local.Bundle.Hash()
		proof.Lines[3] = &Line{Type: lineBundle, Hash: hash[:], Bundle: d.Local.Bundle}
		proof.Lines[5] = &Line{Type: lineLetterReceipt, Header: l.Exact, Signature: l.Signature, Receipts: l.ExactReceipts}
		return proof
	}
	with := func(change func(proof *Proof)) *Proof {
		proof := parse("days later")
		change(proof)
		return proof
	}
	for name, test := range map[string]struct {
		proof *Proof
		want  string
	}{
		"a receipt for another":      {with(func(p *Proof) { p.Lines[2] = parse("no receipt").Lines[2] }), "the receipt: it is not for this message"},
		"a receipt of another name":  {by(carla), "the receipt: the bundle of Bruno is of another name"},
		"a receipt of another Bruno": {by(namesake), ""},
		"bundles swapped":            {with(func(p *Proof) { p.Lines[0], p.Lines[1] = p.Lines[1], p.Lines[0] }), "its header names other bundles"},
		"further bundles swapped":    {with(func(p *Proof) { p.Lines[3], p.Lines[4] = p.Lines[4], p.Lines[3] }), errProofForm.Error()},
		"a bundle too few":           {with(func(p *Proof) { p.Lines = append(p.Lines[:3:3], p.Lines[4:]...) }), errProofForm.Error()},
		"a bundle that nobody needs": {with(func(q *Proof) {
			q.Lines = append(append(parse("soon").Lines[:3:3], q.Lines[3]), parse("soon").Lines[3])
		}), errProofForm.Error()},
		"a receipt of a conversation": {with(func(q *Proof) {
			q.Lines = append(q.Lines[:3:3], &Line{Type: lineReceipt, Header: q.Lines[5].Header, CipherHash: q.Lines[0].Hash, Signature: q.Lines[5].Signature, Receipt: q.Lines[5].Receipts})
		}), errProofForm.Error()},
		"a name in the letter":   {with(func(q *Proof) { q.Lines[2].Name = "Ana" }), errProofForm.Error()},
		"two records":            {with(func(q *Proof) { q.Lines[2].Records[0] = q.Lines[2].Records[1] }), errProofForm.Error()},
		"no record":              {with(func(q *Proof) { q.Lines[2].Records[1] = q.Lines[2].Records[0] }), errProofForm.Error()},
		"bundles and no receipt": {with(func(q *Proof) { q.Lines = q.Lines[:5] }), errProofForm.Error()},
	} {
		r, err := VerifyProof(proto.MustMarshal(test.proof), p.Verifier)
		switch {
		case test.want == "": // the message holds
			if err != nil || r.Receipt != nil || !strings.Contains(strings.Join(r.Notes, "\n"), "Bruno's receipt proves nothing: at that time Bruno was another person") {
				t.Errorf("%s: %+v, %v", name, r, err)
			}
		case err == nil || !strings.Contains(err.Error(), test.want):
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}
