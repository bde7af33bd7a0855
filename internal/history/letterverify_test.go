package history

import (
	"crypto/sha256"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/proto"
)

func TestVerifyLetters(t *testing.T) {
	p := newPost(t)
	toldLetters(p)
	for u, letters := range map[*user]int{p.a: 1, p.b: 1} {
		r := verified(t, u.dir, p.Verifier)
		if !r.OK() {
			t.Errorf("%s's history does not hold: %v", u.End.Name, r.Findings)
		}
		if r.Letters != letters || r.Messages != 4 || r.Records != 7 {
			t.Errorf("%s's history has %d letters, %d messages and %d records", u.End.Name, r.Letters, r.Messages, r.Records)
		}
	}
	if a, b := verified(t, p.a.dir, p.Verifier), verified(t, p.b.dir, p.Verifier); a.Receipts != b.Receipts+4 {
		t.Errorf("%d and %d receipts", a.Receipts, b.Receipts)
	}
	if r := verified(t, p.a.dir, trust.NewVerifier(trust.VerifierConfig{Trust: public(t), Now: p.Clock.Now})); r.OK() {
		t.Error("letters of an unknown authority hold")
	}
}

// forgedLetter is a letter of Ana's to Bruno in Bruno's history, before it is signed.
type forgedLetter struct {
	*post
	f        *forger
	from, to *device
	header   crypto.LetterHeader
	records  []*crypto.Record
	receipts crypto.LetterReceipts
	line     Line // its type, name, identity, and what else a case sets
}

// TestVerifyLetterRefused: each thing that a letter must not be, signed by whoever has the key for
// it, is found with a sentence of its own.
func TestVerifyLetterRefused(t *testing.T) {
	p := newPost(t)
	carla := p.device("Carla", "conn-c")
	holder, err := p.PKI.Issue("another Ana")
	p.Must(err)
	another := p.boxed(holder, p.Delegate(holder, "Ana", "conn-d"))
	for name, test := range map[string]struct {
		spoil  func(l *forgedLetter)
		signed func(l *forgedLetter) // changes it then
		after  func(l *forgedLetter) // it is written
		want   string                // "": it holds
	}{
		"a letter":  {},
		"a receipt": {spoil: func(l *forgedLetter) { l.receipt() }},
		"to an old delegation whose mailbox lives": {spoil: func(l *forgedLetter) { l.later(23 * time.Hour) }},
		"at the end of the mailbox":                {spoil: func(l *forgedLetter) { l.at(l.to.Local.Bundle.MailboxEnd) }},
		"after the end of the mailbox":             {spoil: func(l *forgedLetter) { l.at(l.to.Local.Bundle.MailboxEnd + 1) }, want: "at that time the mailbox of Bruno had ended"},
		"after the delegation of its sender":       {spoil: func(l *forgedLetter) { l.header.Time += (8 * time.Hour).Milliseconds() }, want: "ended on"},
		"another signature":                        {signed: func(l *forgedLetter) { l.line.Signature[9] ^= 1 }, want: "the signature of Ana does not hold"},
		"a header that is none":                    {signed: func(l *forgedLetter) { l.line.Header = json.RawMessage(`{"letter":""}`) }, want: "its header is none of a letter"},
		"the header of a receipt":                  {spoil: func(l *forgedLetter) { l.header.Kind = crypto.LetterReceipt }, want: "its header is of another kind than its place"},
		"to another mailbox":                       {spoil: func(l *forgedLetter) { l.header.Mailbox = l.header.Letter }, want: "it is to another mailbox than Bruno's"},
		"to a bundle that nobody has":              {spoil: func(l *forgedLetter) { l.header.DstBundle = l.header.Letter }, want: "the bundle of Bruno is not in the history before it"},
		"of a bundle that nobody has":              {spoil: func(l *forgedLetter) { l.header.SrcBundle = l.header.Letter }, want: "the bundle of Ana is not in the history before it"},
		"to somebody else":                         {spoil: func(l *forgedLetter) { l.to = carla; l.address() }, want: "the bundle of Bruno is of another name"},
		"of somebody else of that name":            {spoil: func(l *forgedLetter) { l.from = another; l.address() }, want: "at that time Ana was another person"},
		"of another name":                          {spoil: func(l *forgedLetter) { l.line.Name = "Eva" }, want: "the bundle of Eva is of another name"},
		"more records than it says":                {spoil: func(l *forgedLetter) { l.header.Count = 3 }, want: "it has 2 records where its header says 3"},
		"another digest":                           {signed: func(l *forgedLetter) { l.line.Records = slices.Clone(l.line.Records); slices.Reverse(l.line.Records) }, want: "has another number or a later time than its message"},
		"another record":                           {signed: func(l *forgedLetter) { l.line.Records[1] = l.numbered(l.texts(l.ana, to(l.b), "another")[0], 2) }, want: "its records are not those that were signed"},
		"a record of somebody else":                {spoil: func(l *forgedLetter) { l.records[0] = l.texts(carla, to(l.b), "Carla's")[0] }, want: "id"},
		"a record for somebody else":               {spoil: func(l *forgedLetter) { l.records[0] = l.texts(l.ana, to(carla.user), "for Carla")[0] }, want: "does not name Bruno among those it is for"},
		"a record of a later time": {spoil: func(l *forgedLetter) {
			l.records[0].Time += time.Hour.Milliseconds()
			l.records[0].ID = crypto.RecordID(l.A.Local.Identity, l.records[0])
		}, want: "has another number or a later time than its message"},
		"more receipts than it says": {spoil: func(l *forgedLetter) { l.receipt(); l.header.Count = 2 }, want: "it has 1 receipts where its header says 2"},
		"another receipt": {spoil: func(l *forgedLetter) { l.receipt() }, signed: func(l *forgedLetter) {
			l.receipts[0].Level = crypto.LevelRead
			l.line.Receipts = proto.MustMarshal(l.receipts)
		}, want: "the receipts differ from those that were signed"},
		"a receipt that is none":         {spoil: func(l *forgedLetter) { l.receipt() }, signed: func(l *forgedLetter) { l.line.Receipts = json.RawMessage(`[]`) }, want: "receipts, 1 to 512 are allowed"},
		"as if its receiver had left it": {signed: func(l *forgedLetter) { l.line.Type, l.line.Run, l.line.Left, l.line.Until = lineLetterSent, "", 0, 1 }, want: "the bundle of Bruno is of another name"},
		"twice":                          {after: func(l *forgedLetter) { l.f.line(l.line) }, want: "the letter is in the history twice"},
		"shown":                          {after: func(l *forgedLetter) { l.mark(2) }},
		"more records shown than it has": {after: func(l *forgedLetter) { l.mark(3) }, want: "records have been shown which are not in the history"},
		"receipts that were shown":       {spoil: func(l *forgedLetter) { l.receipt() }, after: func(l *forgedLetter) { l.mark(1) }, want: "records have been shown which are not in the history"},
		"shown before it came":           {after: func(l *forgedLetter) { l.header.Letter = l.header.EncHash; l.mark(1) }, want: "about a conversation that has no line before it"},
	} {
		t.Run(name, func(t *testing.T) {
			l := &forgedLetter{post: p, f: forge(p.B, p.Clock), from: p.ana, to: p.bruno}
			for _, d := range []*device{p.ana, p.bruno, carla, another} {
				l.f.know(d.Local.Bundle)
			}
			l.header = crypto.LetterHeader{
				Letter: slices.Repeat([]byte{7}, 32), EncHash: slices.Repeat([]byte{8}, 32),
				Kind: crypto.LetterText, Time: p.Clock.Now().UnixMilli(), N: 1,
			}
			l.records = l.texts(p.ana, to(p.b), "one", "two")
			l.line = Line{
				Type: lineLetterReceived, Name: "Ana", Identity: proto.FormatHash(p.A.Local.Identity),
				Run: "00112233445566aa", Left: l.header.Time,
			}
			l.address()
			if test.spoil != nil {
				test.spoil(l)
			}
			l.sign()
			ahead := time.UnixMilli(l.header.Time).Sub(p.Clock.Now())
			p.Clock.Add(ahead) // the verifier's
			defer p.Clock.Add(-ahead)
			if test.signed != nil {
				test.signed(l)
			}
			l.f.line(l.line)
			if test.after != nil {
				test.after(l)
			}
			r := verified(t, l.f.write(t), p.Verifier)
			switch {
			case test.want == "" && !r.OK():
				t.Errorf("it does not hold: %v", r.Findings)
			case test.want != "" && (len(r.Findings) != 1 || !strings.Contains(r.Findings[0].What, test.want)):
				t.Errorf("found is %v, want %q", r.Findings, test.want)
			}
		})
	}
}

// address names the bundles of both, and the mailbox.
func (l *forgedLetter) address() {
	src, dst, box := l.from.Local.Bundle.Hash(), l.to.Local.Bundle.Hash(), l.to.box.Hash()
	l.header.SrcBundle, l.header.DstBundle, l.header.Mailbox = src[:], dst[:], box[:]
}

// receipt makes it a letter with receipts.
func (l *forgedLetter) receipt() {
	l.records, l.header.Kind = nil, crypto.LetterReceipt
	l.receipts = crypto.LetterReceipts{{ID: l.header.Letter, Level: crypto.LevelDelivered, Time: l.header.Time}}
	l.line.Type, l.line.Run = lineLetterReceipt, ""
}

// at dates it, in Unix seconds, and delegates to its sender then.
func (l *forgedLetter) at(seconds int64) {
	l.later(time.Unix(seconds, 0).Sub(time.UnixMilli(l.header.Time)))
}

// later dates it later, under a later delegation of its sender's.
func (l *forgedLetter) later(by time.Duration) {
	l.T.Helper()
	l.Clock.Add(by)
	defer l.Clock.Add(-by)
	holder := l.from.holder
	l.from = l.boxed(holder, l.Delegate(holder, "Ana", "conn-a"))
	l.f.know(l.from.Local.Bundle)
	l.header.Time += by.Milliseconds()
	l.address()
}

// numbered is a record in the place of a number.
func (l *forgedLetter) numbered(r *crypto.Record, seq uint64) json.RawMessage {
	r.Seq = seq
	return r.Encode()
}

// sign closes the header over the records or receipts, and signs it.
func (l *forgedLetter) sign() {
	h := &l.header
	id, box := [32]byte(h.Letter), [32]byte(h.Mailbox)
	digest, count := crypto.FirstLetterDigest(id, box), len(l.records)
	for i, r := range l.records {
		exact := l.numbered(r, uint64(i)+1)
		l.line.Records = append(l.line.Records, exact)
		digest = crypto.NextDigest(digest, sha256.Sum256(exact))
	}
	if l.receipts != nil {
		digest, count = l.receipts.Digest(id, box), len(l.receipts)
		l.line.Receipts = proto.MustMarshal(l.receipts)
	}
	h.Digest = digest[:]
	if h.Count == 0 {
		h.Count = uint64(count)
	}
	l.line.Header = proto.MustMarshal(h)
	l.line.Signature = l.from.Local.Key.Sign(crypto.LetterSigns(l.line.Header))
}

// mark says that its records up to a number have been shown.
func (l *forgedLetter) mark(seq uint64) {
	l.f.mark(lineShown, [32]byte(l.header.Letter), crypto.DirectionAB, seq)
}
