package history

import (
	"bytes"
	"crypto/x509"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/people"
	"chatsecure/testdata/lab/wire"
)

var update = flag.Bool("update", false, "write the golden files anew")

// reasons are those of RFC 5280, section 5.3.1, that a complete list can give.
var reasons = []struct {
	code int
	name string
}{
	{0, "unspecified"}, {1, "keyCompromise"}, {2, "cACompromise"}, {3, "affiliationChanged"}, {4, "superseded"},
	{5, "cessationOfOperation"}, {6, "certificateHold"}, {8, "removeFromCRL"}, {9, "privilegeWithdrawn"}, {10, "aACompromise"},
}

// revocation is an entry of a list, so long after the first second of wire.Epoch.
type revocation struct {
	of     *x509.Certificate
	after  time.Duration
	reason int
}

// scenes are talks of one text each, with no receipt, with one ten seconds later, with one two
// hours later, and with both.
type scenes struct {
	pki   *lab.PKI
	cards map[string]*lab.Holder
	lines map[string][][]byte // the sender's history, by talk and receipt
}

const (
	receiptNone   = "no receipt"
	receiptBefore = "receipt after 10 s"
	receiptLate   = "receipt after 2 h"
	receiptsBoth  = "both receipts"
)

// speaker is somebody in a talk, by a card. The ends of the card and of its delegation are so long
// after the message.
type speaker struct {
	card       string // in scenes: the name, or that and a comma and more for a renewed one
	cert       time.Duration
	delegation time.Duration
}

const (
	long   = 5 * 365 * 24 * time.Hour
	toTalk = 6 * time.Hour
)

func newScenes(t *testing.T) *scenes {
	t.Helper()
	pki, err := lab.New(lab.Options{CAKey: lab.P256, Now: func() time.Time { return wire.Epoch }})
	must(t, err)
	s := &scenes{pki: pki, cards: make(map[string]*lab.Holder), lines: make(map[string][][]byte)}
	ana, bruno := speaker{"Ana", long, toTalk}, speaker{"Bruno", long, toTalk}
	s.talk(t, "Bruno", ana, bruno)
	s.talk(t, "herself", ana, speaker{"Ana, renewed", long, toTalk})
	s.talk(t, "from a renewed card", speaker{"Ana, renewed", long, toTalk}, bruno)
	s.talk(t, "to a renewed card", ana, speaker{"Bruno, renewed", long, toTalk})
	for _, end := range ends {
		what, after := end.what, end.after
		s.talk(t, endsOf[0]+what, speaker{"Ana, who " + what, after, toTalk}, bruno)
		s.talk(t, endsOf[1]+what, ana, speaker{"Bruno, who " + what, after, toTalk})
		s.talk(t, endsOf[2]+what, speaker{"Ana", long, after}, bruno)
		s.talk(t, endsOf[3]+what, ana, speaker{"Bruno", long, after})
	}
	return s
}

// ends are those of certificates and delegations, beside the message.
var ends = []struct {
	what  string
	after time.Duration
}{
	{"ends 1h after the message", time.Hour},
	{"ended 4m before the message", -4 * time.Minute},
	{"ended 10m before the message", -10 * time.Minute},
}

var endsOf = []string{
	"the sender's certificate ", "the recipient's certificate ",
	"the sender's delegation ", "the recipient's delegation ",
}

// talk has one write to another: the text one second after wire.Epoch, and the conversation began
// long before it.
func (s *scenes) talk(t *testing.T, name string, from, to speaker) {
	t.Helper()
	p := wire.EmptyPair(t, s.pki)
	p.Clock.Add(-30 * time.Minute)
	user := func(who speaker, conn string) *wire.User {
		name, _, _ := strings.Cut(who.card, ",")
		if s.cards[who.card] == nil {
			end := wire.Epoch.Add(time.Second + who.cert)
			options := []lab.IssueOption{lab.Window(wire.Epoch.Add(-24*time.Hour), end)}
			if who.card != name {
				options = append(options, lab.RenewalOf(s.cards[name]))
			}
			card, err := s.pki.Issue(name, options...)
			must(t, err)
			s.cards[who.card] = card
		}
		u := p.Delegate(s.cards[name], name, conn)
		end := wire.Epoch.Add(time.Second + min(who.cert, who.delegation))
		cred := wire.DelegateAt(t, s.cards[who.card], name, wire.Epoch.Add(-time.Hour), end)
		u.Local.Key, u.Local.Bundle = cred.Key, cred.Bundle
		return u
	}
	p.A, p.B = user(from, "conn-a"), user(to, "conn-b")
	f := forge(p.A, p.Clock)
	p.A.Keeps = f
	p.Connect()
	p.Clock.Add(30 * time.Minute)
	p.Send("the text")
	begun := slices.Clone(f.lines)
	s.lines[name+", "+receiptNone] = begun
	for _, receipt := range []struct {
		what string
		wait time.Duration
		read uint64
	}{{receiptBefore, 9 * time.Second, 0}, {receiptLate, 2*time.Hour - 11*time.Second, 1}} {
		p.Clock.Add(receipt.wait)
		p.Receipt(1, receipt.read)
		s.lines[name+", "+receipt.what] = rechain(append(slices.Clone(begun), f.lines[len(f.lines)-1]))
	}
	s.lines[name+", "+receiptsBoth] = f.lines
}

// verifier knows lists with these revocations, a day later.
func (s *scenes) verifier(t *testing.T, now time.Time, revoked ...revocation) *trust.Verifier {
	t.Helper()
	dir := t.TempDir()
	for _, ca := range s.pki.CAs() {
		c := lab.CRL{ThisUpdate: wire.Epoch.Add(3 * time.Hour), Entries: []x509.RevocationListEntry{}}
		for _, r := range revoked {
			if bytes.Equal(r.of.RawIssuer, ca.Cert.RawSubject) {
				c.Entries = append(c.Entries, x509.RevocationListEntry{
					SerialNumber: r.of.SerialNumber, RevocationTime: wire.Epoch.Add(time.Second + r.after), ReasonCode: r.reason,
				})
			}
		}
		list, err := ca.MakeCRL(c)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, ca.File+".crl"), list, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	store := trust.NewCRLStore()
	if problems := store.LoadDir(dir); len(problems) > 0 {
		t.Fatal(problems)
	}
	return trust.NewVerifier(trust.VerifierConfig{
		Trust: people.Trust(t, s.pki), CRLs: store, Now: func() time.Time { return now },
	})
}

// proof exports the one message of a scene.
func (s *scenes) proof(t *testing.T, scene string, v *trust.Verifier) []byte {
	t.Helper()
	dir := writeLines(t, s.lines[scene])
	l, err := Read(dir, Query{})
	if err != nil || len(l.Messages) != 1 {
		t.Fatalf("%s: %+v, %v", scene, l, err)
	}
	data, err := ExportProof(dir, l.Messages[0].ID, v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// verdict is what is said of a proof, without what every proof has.
func verdict(data []byte, v *trust.Verifier) string {
	r, err := VerifyProof(data, v)
	if err != nil {
		said := fmt.Sprintf("%d %v", fail.ExitStatus(err), err)
		if hint := fail.AsError(err).Hint; hint == DoubtfulHint {
			said += " [doubtful]"
		} else {
			said += "\n    hint: " + hint
		}
		return said
	}
	said := "0 no receipt"
	if r.Receipt != nil {
		said = "0 " + string(r.Receipt.Status)
	}
	return strings.Join(append([]string{said}, r.Notes[1:]...), "; ")
}

// TestProofMatrix: what becomes of a proof when a certificate is revoked, for each reason and each
// order of message, receipt and revocation.
func TestProofMatrix(t *testing.T) {
	s := newScenes(t)
	later := wire.Epoch.Add(24 * time.Hour)
	proofs := make(map[string][]byte)
	for scene := range s.lines {
		proofs[scene] = s.proof(t, scene, s.verifier(t, later))
	}
	var b strings.Builder
	row := func(what, talk string, v *trust.Verifier) {
		for _, receipt := range []string{receiptNone, receiptBefore, receiptLate} {
			fmt.Fprintf(&b, "%s, %s\n    %s\n", what, receipt, verdict(proofs[talk+", "+receipt], v))
		}
	}
	ana, bruno := s.cards["Ana"].Leaf, s.cards["Bruno"].Leaf
	row("nobody is revoked", "Bruno", s.verifier(t, later))
	row("six years later", "Bruno", s.verifier(t, later.AddDate(6, 0, 0)))
	for _, who := range []struct {
		name string
		cert *x509.Certificate
	}{{"the sender", ana}, {"the recipient", bruno}, {"their authority", s.pki.Auth.Cert}} {
		for _, reason := range reasons {
			for _, after := range []time.Duration{-time.Minute, time.Minute, 3 * time.Hour} {
				row(fmt.Sprintf("%s is revoked %v after the message: %s", who.name, after, reason.name), "Bruno",
					s.verifier(t, later, revocation{who.cert, after, reason.code}))
			}
		}
	}
	const compromise = 1
	row("both are revoked 1m0s after the message: keyCompromise", "Bruno",
		s.verifier(t, later, revocation{ana, time.Minute, compromise}, revocation{bruno, time.Minute, compromise}))
	row("the sender for superseded 1m0s after the message, the recipient 2h30m0s after it for keyCompromise", "Bruno",
		s.verifier(t, later, revocation{ana, time.Minute, superseded}, revocation{bruno, 150 * time.Minute, compromise}))
	row("the recipient is the sender under a renewed card, and the old card is revoked 1m0s after the message: keyCompromise",
		"herself", s.verifier(t, later, revocation{ana, time.Minute, compromise}))
	for _, end := range ends {
		for _, what := range endsOf {
			row(what+end.what, what+end.what, s.verifier(t, later))
		}
	}
	for _, x := range []struct {
		by, talk string
		old      *x509.Certificate
		reason   int
	}{
		{"the sender's old card", "Bruno", ana, superseded},
		{"the sender's renewed card", "from a renewed card", ana, superseded},
		{"the sender's renewed card", "from a renewed card", ana, compromise},
		{"the recipient's old card", "Bruno", bruno, superseded},
		{"the recipient's renewed card", "to a renewed card", bruno, superseded},
		{"the recipient's renewed card", "to a renewed card", bruno, compromise},
	} {
		for _, after := range []time.Duration{-time.Minute, time.Minute} {
			why := map[int]string{superseded: "superseded", compromise: "keyCompromise"}[x.reason]
			row(fmt.Sprintf("by %s, and the old one is revoked %v after the message: %s", x.by, after, why), x.talk,
				s.verifier(t, later, revocation{x.old, after, x.reason}))
		}
	}
	golden := filepath.Join("testdata", "proof-matrix.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.String(); got != string(want) {
		t.Errorf("the verdicts differ from %s; -update writes them anew:\n%s", golden, got)
	}
}

// TestExportProvesMost: of two receipts a proof has the one that proves most by the lists at hand,
// and the further one where both prove the same.
func TestExportProvesMost(t *testing.T) {
	s := newScenes(t)
	later := wire.Epoch.Add(24 * time.Hour)
	ana, bruno := s.cards["Ana"].Leaf, s.cards["Bruno"].Leaf
	const compromise = 1
	for what, test := range map[string]struct {
		revoked []revocation
		want    Status // of the receipt in the proof, whether it holds or not
		said    string // the beginning of the verdict
	}{
		"nobody is revoked":               {nil, StatusRead, "0 READ"},
		"the sender between the two":      {[]revocation{{ana, time.Minute, compromise}}, StatusDelivered, "0 DELIVERED"},
		"the sender after both":           {[]revocation{{ana, 3 * time.Hour, compromise}}, StatusRead, "0 READ"},
		"the sender before both":          {[]revocation{{ana, 5 * time.Second, compromise}}, StatusRead, "8 "},
		"the sender before all":           {[]revocation{{ana, -time.Minute, superseded}}, StatusRead, "8 "},
		"the recipient between, replaced": {[]revocation{{bruno, time.Minute, superseded}}, StatusDelivered, "0 DELIVERED"},
		"the recipient after both":        {[]revocation{{bruno, 3 * time.Hour, compromise}}, StatusRead, "0 no receipt"},
	} {
		v := s.verifier(t, later, test.revoked...)
		data := s.proof(t, "Bruno, "+receiptsBoth, v)
		if has := verdict(data, s.verifier(t, later)); has != "0 "+string(test.want) {
			t.Errorf("%s: without lists the proof is %s, want %s", what, has, test.want)
		}
		if said := verdict(data, v); !strings.HasPrefix(said, test.said) {
			t.Errorf("%s: the proof is %s, want %s", what, said, test.said)
		}
	}
	// Without the lists that its policy requires, a client knows of no revocation.
	strict := trust.NewVerifier(trust.VerifierConfig{
		Trust: people.Trust(t, s.pki), Policy: trust.PolicyRequire, Now: func() time.Time { return later },
	})
	data := s.proof(t, "Bruno, "+receiptsBoth, strict)
	if said := verdict(data, s.verifier(t, later)); said != "0 READ" {
		t.Errorf("without lists the proof is %s", said)
	}
}

// TestVerifyHistoryDoubtful: what was signed before a certificate was revoked holds in a history if a
// head or a receipt by somebody else is older than the revocation.
func TestVerifyHistoryDoubtful(t *testing.T) {
	s := newScenes(t)
	p := wire.EmptyPair(t, s.pki)
	ana, err := s.pki.Issue("Ana")
	p.Must(err)
	bruno, err := s.pki.Issue("Bruno")
	p.Must(err)
	p.A, p.B = p.Delegate(ana, "Ana", "conn-a"), p.Delegate(bruno, "Bruno", "conn-b")
	a, b := forge(p.A, p.Clock), forge(p.B, p.Clock)
	p.A.Keeps, p.B.Keeps = a, b
	p.Connect()         // line 5 is a head of second 0
	p.Send("the first") // line 6, of second 1
	p.Clock.Add(9 * time.Second)
	p.Receipt(1, 0)                // line 7, of second 11
	p.Send("the second")           // line 8 of Ana's, 7 of Bruno's, of second 12
	p.Clock.Add(8 * time.Second)   // second 20
	withoutEnd := map[*forger]int{ // what a client that was killed then has
		a: len(a.lines), b: len(b.lines),
	}
	p.Must(a.head()) // line 9
	p.Must(b.head()) // line 8
	later := wire.Epoch.Add(24 * time.Hour)
	const compromise, hold = 1, 6
	for _, test := range []struct {
		what  string
		of    *forger
		whole bool // with the last head
		who   *x509.Certificate
		after time.Duration
		why   int
		lines []uint64 // in doubt
	}{
		{"Ana's own: what Bruno gave a receipt for", a, true, ana.Leaf, time.Hour, compromise, []uint64{5, 8}},
		{"Ana's own, before the receipt", a, true, ana.Leaf, 5 * time.Second, compromise, []uint64{5, 6, 7, 8, 9}},
		{"Ana's own, replaced", a, true, ana.Leaf, time.Hour, superseded, nil},
		{"Ana of Bruno, and a head follows", a, true, bruno.Leaf, time.Hour, compromise, nil},
		{"Ana of Bruno, and no head follows", a, false, bruno.Leaf, time.Hour, hold, []uint64{7}},
		{"Ana of Bruno, and the head is late", a, true, bruno.Leaf, 15 * time.Second, compromise, []uint64{7}},
		{"Bruno of Ana, and a head follows", b, true, ana.Leaf, time.Hour, compromise, nil},
		{"Bruno of Ana, and no head follows", b, false, ana.Leaf, time.Hour, compromise, []uint64{6, 7}},
		{"Bruno of Ana, replaced, and no head follows", b, false, ana.Leaf, time.Hour, superseded, nil},
	} {
		lines := test.of.lines
		if !test.whole {
			lines = lines[:withoutEnd[test.of]]
		}
		r := verified(t, writeLines(t, lines), s.verifier(t, later, revocation{test.who, test.after, test.why}))
		var found []uint64
		for _, f := range r.Findings {
			found = append(found, f.Line)
		}
		if !slices.Equal(found, test.lines) {
			t.Errorf("%s: found is %v, want lines %v", test.what, r.Findings, test.lines)
		}
		revokedThen := test.after < 10*time.Second // some lines are not in doubt: they do not hold
		if want := len(test.lines) > 0 && !revokedThen; r.Doubtful != want || want != (r.Hint == DoubtfulHint) || r.Unlisted {
			t.Errorf("%s: doubtful: %t, hint %q", test.what, r.Doubtful, r.Hint)
		}
		note := strings.Join(r.Notes, "")
		if told := strings.Contains(note, "whoever has the keys of both"); !strings.Contains(note, "valid then, not now") ||
			test.why == superseded && told || !revokedThen && test.why != superseded && !told {
			t.Errorf("%s: the notes are %q", test.what, note)
		}
	}
}
