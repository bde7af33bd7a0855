package history

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/people"
	"chatsecure/testdata/lab/wire"
)

const vectorsFile = "testdata/vectors.json"

// vectors are the test vectors of PROTOCOL.md, "History" and "Proofs". All but the certificates,
// what they sign and the lists is computed anew from fixed keys and times.
type vectors struct {
	Note      string              `json:"note"`
	Now       int64               `json:"now"`     // of whoever verifies, in Unix milliseconds
	Root      []byte              `json:"root"`    // the one trusted authority
	Bundles   map[string]string   `json:"bundles"` // by the one who has its K
	Lists     map[string][][]byte `json:"lists"`   // by what they say
	History   []string            `json:"history"` // lines without their newlines
	Whole     vectorWhole         `json:"whole"`
	Proofs    []vectorProof       `json:"proofs"`
	Judged    []vectorJudged      `json:"judged"`
	Spoilt    []vectorSpoilt      `json:"spoilt"`
	NotProofs []vectorSpoiltProof `json:"proofs_spoilt"`

	verifiers map[string]*trust.Verifier // by lists
}

// vectorWhole is what verification says of the history.
type vectorWhole struct {
	Owner         string `json:"owner"`
	Identity      string `json:"identity"`
	Certificate   string `json:"certificate"`
	Lines         int    `json:"lines"`
	Bundles       int    `json:"bundles"`
	Conversations int    `json:"conversations"`
	Messages      int    `json:"messages"`
	Letters       int    `json:"letters"`
	Records       int    `json:"records"`
	Receipts      int    `json:"receipts"`
	Ends          int    `json:"ends"`
	Heads         int    `json:"heads"`
	HeadTime      int64  `json:"head_time"` // of the last one
	vectorFound
}

// vectorFound is how far a history is whole.
type vectorFound struct {
	Found    uint64   `json:"found"`          // the first line that does not hold; 0: all hold
	Torn     int      `json:"torn,omitempty"` // bytes after the last newline
	Doubtful []uint64 `json:"doubtful"`       // lines in doubt; of the heads by one bundle only the first
	Head     uint64   `json:"head"`           // the last head before the first line that does not hold
	After    int      `json:"after"`          // lines that follow it
}

// vectorSpoilt is the history with other lines: from the line at, counted from 1, so many are
// dropped and others put in their place.
type vectorSpoilt struct {
	Why     string   `json:"why"`
	At      int      `json:"at"`
	Drop    int      `json:"drop"`
	Put     []string `json:"put"`
	Chained bool     `json:"chained"` // after that each prev is set right
	Tail    string   `json:"tail"`    // after the last newline
	vectorFound
}

type vectorProof struct {
	Why       string `json:"why"`
	Proof     string `json:"proof"`
	ID        string `json:"id"`
	From      string `json:"from"`
	FromID    string `json:"from_identity"`
	Recipient string `json:"recipient"`
	RecID     string `json:"recipient_identity"`
	Text      string `json:"text"`
	Sent      int64  `json:"sent"`
	Verdict   string `json:"verdict"` // as in vectorJudged
	ReceiptAt int64  `json:"receipt_time,omitempty"`
}

// vectorJudged has what the lists make of the history and of each proof: "READ", "DELIVERED" or
// "no receipt", "void" where the receipt proves nothing, "doubtful" where the message is, or
// "refused".
type vectorJudged struct {
	Lists string `json:"lists"`
	vectorFound
	Proofs []string `json:"proofs"`
}

// vectorSpoiltProof is a proof of which bytes were changed: from at, counted from 0, so many are
// dropped and others put in their place. None holds.
type vectorSpoiltProof struct {
	Why  string `json:"why"`
	Of   int    `json:"of"`
	At   int    `json:"at"`
	Drop int    `json:"drop"`
	Put  string `json:"put"`
}

// The bundles of the vectors: a card, a name, a K from a seed, and when the delegation begins.
var vectorPeople = map[string]struct {
	card, name string
	seed       byte
	begin      time.Duration // after wire.Epoch
}{
	"Ana":          {"Ana", "Ana", 1, -time.Hour},
	"Ana later":    {"Ana renewed", "Ana", 2, 3 * time.Hour},
	"Ana tomorrow": {"Ana renewed", "Ana", 5, 20 * time.Hour},
	"Ana as Eva":   {"Ana renewed", "Eva", 6, 3 * time.Hour},
	"another Ana":  {"another Ana", "Ana", 7, 3 * time.Hour},
	"Bruno":        {"Bruno", "Bruno", 3, -time.Hour},
	"Carla":        {"Carla", "Carla", 4, -time.Hour},
}

const vectorDelegation = 8 * time.Hour

// certify makes what cannot be computed anew: certificates, delegations and lists. -update asks for
// them only if there is no file.
func (v *vectors) certify(t *testing.T) {
	t.Helper()
	pki, err := lab.New(lab.Options{CAKey: lab.P256, Now: func() time.Time { return wire.Epoch }})
	must(t, err)
	v.Root = pki.Root.Cert.Raw
	v.Bundles, v.Lists = make(map[string]string), make(map[string][][]byte)
	holders := make(map[string]*lab.Holder)
	for _, card := range []string{"Ana", "Bruno", "Carla", "another Ana", "Ana renewed"} {
		options := []lab.IssueOption{map[bool]lab.KeyType{true: lab.RSA2048, false: lab.P256}[card == "Ana"]}
		if card == "Ana renewed" {
			options = append(options, lab.RenewalOf(holders["Ana"]))
		}
		holders[card], err = pki.Issue(card, options...)
		must(t, err)
	}
	for bundle, p := range vectorPeople {
		begin := wire.Epoch.Add(p.begin)
		b := people.Delegate(t, holders[p.card], p.name, vectorKey(t, p.seed), begin, begin.Add(vectorDelegation))
		v.Bundles[bundle] = string(proto.MustMarshal(b))
	}
	upper := make([][]byte, 2)
	for i, ca := range []*lab.CA{pki.Root, pki.CC} {
		upper[i], err = ca.MakeCRL(lab.CRL{ThisUpdate: wire.Epoch.Add(20 * time.Hour), Entries: []x509.RevocationListEntry{}})
		must(t, err)
	}
	list := func(what string, entries ...x509.RevocationListEntry) {
		if entries == nil {
			entries = []x509.RevocationListEntry{}
		}
		auth, err := pki.Auth.MakeCRL(lab.CRL{ThisUpdate: wire.Epoch.Add(20 * time.Hour), Entries: entries})
		must(t, err)
		v.Lists[what] = [][]byte{upper[0], upper[1], auth}
	}
	entry := func(name string, after time.Duration, reason int) x509.RevocationListEntry {
		return x509.RevocationListEntry{
			SerialNumber: holders[name].Leaf.SerialNumber, RevocationTime: wire.Epoch.Add(after), ReasonCode: reason,
		}
	}
	v.Lists["none at hand"] = [][]byte{}
	list("nobody is revoked")
	for _, reason := range reasons {
		for _, name := range []string{"Ana", "Bruno"} {
			list(fmt.Sprintf("%s is revoked after all: %s", name, reason.name), entry(name, 10*time.Hour, reason.code))
		}
	}
	list("Ana is revoked in the first conversation: keyCompromise", entry("Ana", 6*time.Second, 1))
	list("Bruno is revoked in the first conversation: keyCompromise", entry("Bruno", 6*time.Second, 1))
	list("Bruno is revoked between a message and its receipt: superseded", entry("Bruno", 4*time.Second, superseded))
	list("Ana is revoked between a message and its receipt: superseded", entry("Ana", 4*time.Second, superseded))
	list("Ana is revoked between a message and its receipt: keyCompromise", entry("Ana", 4*time.Second, 1))
	list("both are revoked after all: keyCompromise", entry("Ana", 10*time.Hour, 1), entry("Ana renewed", 10*time.Hour, 1), entry("Bruno", 10*time.Hour, 1))
	list("Ana is revoked before all: superseded", entry("Ana", -time.Hour, superseded))
}

func vectorKey(t *testing.T, seed byte) *trust.Key {
	t.Helper()
	pkcs8, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize)))
	must(t, err)
	key, err := trust.ParseKey(pkcs8)
	must(t, err)
	return key
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// trusting is a verifier with the root and these lists.
func (v *vectors) trusting(t *testing.T, lists string) *trust.Verifier {
	t.Helper()
	if v.verifiers[lists] != nil {
		return v.verifiers[lists]
	}
	dir := t.TempDir()
	for i, list := range v.Lists[lists] {
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprint(i, ".crl")), list, 0o600))
	}
	crls := trust.NewCRLStore()
	if problems := crls.LoadDir(dir); len(problems) > 0 {
		t.Fatal(problems)
	}
	roots, err := trust.NewStore(nil, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: v.Root}))
	must(t, err)
	if v.verifiers == nil {
		v.verifiers = make(map[string]*trust.Verifier)
	}
	v.verifiers[lists] = trust.NewVerifier(trust.VerifierConfig{
		Trust: roots, CRLs: crls, Now: func() time.Time { return time.UnixMilli(v.Now) },
	})
	return v.verifiers[lists]
}

// user is somebody of the vectors.
func (v *vectors) user(t *testing.T, bundle, conn string) *wire.User {
	t.Helper()
	b := new(trust.Bundle)
	must(t, proto.Unmarshal([]byte(v.Bundles[bundle]), b))
	proved, err := v.trusting(t, "none at hand").Prove(b, b.Name)
	must(t, err)
	person, err := v.trusting(t, "none at hand").At(proved, time.Unix(b.NotBefore, 0))
	must(t, err)
	return &wire.User{
		Local: &crypto.Local{Key: vectorKey(t, vectorPeople[bundle].seed), Bundle: b, Identity: person.Identity, FoldedName: proto.FoldName(b.Name)},
		End:   crypto.End{Name: b.Name, Conn: conn},
	}
}

// vectorTalk is a conversation whose messages have fixed values in the place of random ones. No
// handshake was before it, and its messages were never sealed: a history shows neither.
type vectorTalk struct {
	clock *wire.Clock
	t3    [32]byte
	of    map[string]*wire.User // by direction: the sender
	n     map[string]uint64
	sent  map[string][][32]byte // the digests
}

func newVectorTalk(clock *wire.Clock, ab, ba *wire.User, t3 byte) *vectorTalk {
	c := &vectorTalk{
		clock: clock, t3: [32]byte(bytes.Repeat([]byte{t3}, 32)), n: make(map[string]uint64), sent: make(map[string][][32]byte),
		of: map[string]*wire.User{crypto.DirectionAB: ab, crypto.DirectionBA: ba},
	}
	for direction := range c.of {
		c.sent[direction] = [][32]byte{crypto.FirstDigest(c.t3, direction)}
	}
	return c
}

// begin is the line of a conversation.
func (c *vectorTalk) begin(ours string) Line {
	end := func(u *wire.User) *End {
		hash := u.Local.Bundle.Hash()
		return &End{u.End.Name, u.End.Conn, proto.FormatHash(u.Local.Identity), hash[:]}
	}
	return Line{
		Type: lineConversation, Conversation: c.t3[:], Suite: crypto.SuiteMLKEM, Direction: ours,
		Me: end(c.of[ours]), Peer: end(c.of[reverse(ours)]),
	}
}

// message signs the next message of a direction.
func (c *vectorTalk) message(typ, direction string, h crypto.MessageHeader) Line {
	c.clock.Add(time.Second)
	from, to := c.of[direction], c.of[reverse(direction)]
	src, dst := from.Local.Bundle.Hash(), to.Local.Bundle.Hash()
	random := sha256.Sum256(fmt.Appendf(nil, "random %x %s %d", c.t3, direction, c.n[direction]))
	h.Conversation, h.Direction, h.N, h.Random, h.Time = c.t3[:], direction, c.n[direction], random[:], c.clock.Now().UnixMilli()
	h.SrcBundle, h.DstBundle = src[:], dst[:]
	c.n[direction]++
	l := Line{Type: typ}
	signAs(from.Local.Key, &l, &h)
	return l
}

// signAs gives a line another header, with its signature.
func signAs(key *trust.Key, l *Line, h *crypto.MessageHeader) {
	l.Header = proto.MustMarshal(h)
	hash := sha256.Sum256(append([]byte("sealed "), l.Header...))
	l.CipherHash, l.Signature = hash[:], key.Sign(crypto.MessageSigns(l.Header, hash))
}

// records are the next ones of a direction, for these people.
func (c *vectorTalk) records(direction string, to []crypto.Recipient, texts ...string) (records []*crypto.Record) {
	for i, text := range texts {
		salt := sha256.Sum256([]byte("salt " + text))
		r := &crypto.Record{Seq: uint64(len(c.sent[direction]) + i), Time: c.clock.Now().UnixMilli(), To: to, Text: text, Salt: salt[:16]}
		r.ID = crypto.RecordID(c.of[direction].Local.Identity, r)
		records = append(records, r)
	}
	return records
}

// text is a message with records.
func (c *vectorTalk) text(typ, direction string, records ...*crypto.Record) Line {
	sent := c.sent[direction]
	seq, before := uint64(len(sent)), sent[len(sent)-1]
	var exact []json.RawMessage
	for _, r := range records {
		exact = append(exact, r.Encode())
		sent = append(sent, crypto.NextDigest(sent[len(sent)-1], sha256.Sum256(r.Encode())))
	}
	c.sent[direction] = sent
	l := c.message(typ, direction, crypto.MessageHeader{
		Kind: crypto.KindText, Seq: seq, Count: uint64(len(records)), Digest: sent[len(sent)-1][:],
	})
	l.Before, l.Records = before[:], exact
	return l
}

// say is text for the other side.
func (c *vectorTalk) say(typ, direction string, texts ...string) Line {
	return c.text(typ, direction, c.records(direction, wire.To(c.of[reverse(direction)]), texts...)...)
}

// receipt is one by the sender of a direction.
func (c *vectorTalk) receipt(direction string, delivered, read uint64) Line {
	digests := c.sent[reverse(direction)]
	digest := func(n uint64) []byte { return digests[min(n, uint64(len(digests)-1))][:] }
	salt := sha256.Sum256(fmt.Appendf(nil, "salt %x %s %d", c.t3, direction, c.n[direction]))
	r := &crypto.Receipt{
		Delivered: delivered, DeliveredDigest: digest(delivered), Read: read, ReadDigest: digest(read),
		Time: c.clock.Now().UnixMilli(), Salt: salt[:16],
	}
	return c.receiptOf(direction, r)
}

func (c *vectorTalk) receiptOf(direction string, r *crypto.Receipt) Line {
	d := r.Digest(c.t3, direction)
	l := c.message(lineReceipt, direction, crypto.MessageHeader{Kind: crypto.KindReceipt, Digest: d[:]})
	l.Receipt = proto.MustMarshal(r)
	return l
}

func (c *vectorTalk) end(direction string, seq uint64) Line {
	d := c.sent[direction][seq]
	return c.message(lineEnd, direction, crypto.MessageHeader{Kind: crypto.KindEnd, Seq: seq, Digest: d[:]})
}

// vectorLetter is a letter with fixed values in the place of random ones. It was never sealed.
type vectorLetter struct {
	clock    *wire.Clock
	from, to *wire.User
	id       byte
	n        uint64
	change   func(*crypto.LetterHeader) // before it is signed
}

func (*vectorLetter) hash(of byte) [32]byte { return [32]byte(bytes.Repeat([]byte{of}, 32)) }

// texts are records for its receiver.
func (c *vectorLetter) texts(texts ...string) (records []*crypto.Record) {
	for _, text := range texts {
		salt := sha256.Sum256([]byte("salt " + text))
		r := &crypto.Record{Time: c.clock.Now().UnixMilli(), To: wire.To(c.to), Text: text, Salt: salt[:16]}
		r.ID = crypto.RecordID(c.from.Local.Identity, r)
		records = append(records, r)
	}
	return records
}

// sign gives a line the header of the letter with this digest, and the other one's name.
func (c *vectorLetter) sign(l Line, other *wire.User, kind string, count int, digest [32]byte) Line {
	src, dst, id, enc := c.from.Local.Bundle.Hash(), c.to.Local.Bundle.Hash(), c.hash(c.id), sha256.Sum256([]byte{c.id})
	h := &crypto.LetterHeader{
		Letter: id[:], Kind: kind, SrcBundle: src[:], DstBundle: dst[:], Mailbox: c.to.Local.Bundle.Mailbox, EncHash: enc[:],
		Time: c.clock.Now().UnixMilli(), N: c.n, Count: uint64(count), Digest: digest[:],
	}
	if c.change != nil {
		c.change(h)
	}
	l.Name, l.Identity = other.End.Name, proto.FormatHash(other.Local.Identity)
	l.Header = proto.MustMarshal(h)
	l.Signature = c.from.Local.Key.Sign(crypto.LetterSigns(l.Header))
	return l
}

func (c *vectorLetter) records(l Line, other *wire.User, records []*crypto.Record) Line {
	digest := crypto.FirstLetterDigest(c.hash(c.id), [32]byte(c.to.Local.Bundle.Mailbox))
	for i, r := range records {
		numbered := *r
		numbered.Seq += uint64(i) + 1
		l.Records = append(l.Records, numbered.Encode())
		digest = crypto.NextDigest(digest, sha256.Sum256(numbered.Encode()))
	}
	return c.sign(l, other, crypto.LetterText, len(records), digest)
}

// kept is its line with its sender.
func (c *vectorLetter) kept(records ...*crypto.Record) Line {
	c.clock.Add(time.Second)
	until := c.clock.Now().Add(7 * 24 * time.Hour)
	return c.records(Line{Type: lineLetterSent, Until: until.UnixMilli()}, c.to, records)
}

// received is its line with its receiver.
func (c *vectorLetter) received(records ...*crypto.Record) Line {
	c.clock.Add(time.Second)
	return c.records(Line{Type: lineLetterReceived, Run: vectorRun, Left: c.clock.Now().UnixMilli()}, c.from, records)
}

// receipt is the line of a letter with receipts for records of its receiver's.
func (c *vectorLetter) receipt(level string, records ...*crypto.Record) Line {
	c.clock.Add(time.Second)
	var receipts crypto.LetterReceipts
	for _, r := range records {
		id := crypto.FullRecordID(c.to.Local.Identity, r)
		receipts = append(receipts, crypto.LetterReceiptEntry{ID: id[:], Level: level, Time: c.clock.Now().UnixMilli()})
	}
	l := Line{Type: lineLetterReceipt, Left: c.clock.Now().UnixMilli(), Receipts: proto.MustMarshal(receipts)}
	digest := receipts.Digest(c.hash(c.id), [32]byte(c.to.Local.Bundle.Mailbox))
	return c.sign(l, c.from, crypto.LetterReceipt, len(receipts), digest)
}

const (
	ab, ba    = crypto.DirectionAB, crypto.DirectionBA
	vectorRun = "00112233445566aa"
)

// vectorStory is Ana's history as it is told, with what its spoilt forms need.
type vectorStory struct {
	*forger
	people       map[string]*wire.User
	bruno, again *vectorTalk       // two conversations with Bruno
	letter       *vectorLetter     // to Bruno, in Ana's first delegation
	ids          map[string]string // of records, by text
	other        [][]byte          // lines of Bruno's history
}

// tellVectors tells Ana's history: with Bruno; with Carla, who begins and whom she does not accept;
// with herself, where both ends are in one file; and with Bruno again by another K.
func (v *vectors) tell(t *testing.T) *vectorStory {
	clock := wire.NewClock()
	ana, bruno, carla := v.user(t, "Ana", "a0a0a0a0a0a0a0a0"), v.user(t, "Bruno", "b0b0b0b0b0b0b0b0"), v.user(t, "Carla", "c0c0c0c0c0c0c0c0")
	f, theirs := forge(ana, clock), forge(bruno, clock)
	s := &vectorStory{forger: f, people: map[string]*wire.User{"Ana": ana, "Bruno": bruno, "Carla": carla}, ids: make(map[string]string)}
	write := func(f *forger, lines ...Line) {
		for _, l := range lines {
			for _, exact := range l.Records {
				var r crypto.Record
				must(t, proto.Unmarshal(exact, &r))
				s.ids[r.Text] = r.ID
			}
			must(t, f.line(l))
		}
	}
	begin := func(f *forger, c *vectorTalk, ours string) {
		f.know(c.of[ours].Local.Bundle)
		f.know(c.of[reverse(ours)].Local.Bundle)
		write(f, c.begin(ours))
		must(t, f.head())
	}

	c := newVectorTalk(clock, ana, bruno, 1)
	s.bruno = c
	begin(f, c, ab)
	begin(theirs, c, ba)
	write(f, c.receipt(ba, 0, 0))
	first := c.records(ab, wire.To(bruno), "one", "two, \"quoted\"", "three \u2028\n<&> olá")
	waiting := *first[0]
	waiting.Seq = 0
	write(f, Line{Type: linePending, Run: vectorRun, Names: []string{"Bruno"}, Record: waiting.Encode()})
	sent := c.text(lineSent, ab, first...)
	write(f, sent)
	sent.Type = lineReceived
	write(theirs, sent)
	must(t, f.mark(lineTaken, c.t3, ab, 3))
	write(f, c.receipt(ba, 3, 1))
	write(f, c.say(lineReceived, ba, "four", "five"))
	must(t, f.mark(lineShown, c.t3, ba, 2))
	c.n[ab]++ // a receipt of Ana's, which her history does not have
	write(f, c.receipt(ba, 3, 3))
	write(f, c.say(lineSent, ab, "six"))
	write(f, Line{Type: lineGap, Conversation: c.t3[:], Direction: ba, Reason: "a message did not open"})
	must(t, f.head())
	must(t, theirs.head())
	s.other = theirs.lines

	clock.Add(time.Minute)
	c = newVectorTalk(clock, carla, ana, 2)
	begin(f, c, ba)
	write(f, c.say(lineReceived, ab, "seven"))
	must(t, f.mark(lineSeen, c.t3, ab, 1))
	write(f, c.say(lineSent, ba, "eight"))
	write(f, c.end(ab, 1))
	must(t, f.head())
	unsent := c.records(ba, wire.To(bruno), "nine")[0]
	unsent.Seq = 0
	write(f, Line{Type: linePending, Run: vectorRun, Names: []string{"Bruno"}, Record: unsent.Encode()})
	write(f, Line{Type: lineFailed, ID: unsent.ID, Name: "Bruno", Reason: "there is nobody of that name"})
	write(f, Line{Type: lineRun, Run: vectorRun, Reason: runKilled})
	must(t, f.head())

	clock.Add(time.Minute)
	other := v.user(t, "Ana", "a1a1a1a1a1a1a1a1")
	c = newVectorTalk(clock, ana, other, 3)
	begin(f, c, ab)
	write(f, c.begin(ba))
	must(t, f.head())
	said := c.say(lineSent, ab, "ten")
	heard := said
	heard.Type = lineReceived
	write(f, said, heard)
	must(t, f.mark(lineTaken, c.t3, ab, 1))
	must(t, f.mark(lineShown, c.t3, ab, 1))
	must(t, f.head())

	clock.Add(time.Minute)
	c = newVectorTalk(clock, ana, carla, 5) // of a pipe, whose chunks are not stored
	begin(f, c, ab)
	write(f, c.receipt(ba, 0, 0))
	c.n[ab], c.n[ba] = c.n[ab]+9, c.n[ba]+7
	write(f, c.end(ba, 0))
	must(t, f.head())

	clock.Add(time.Minute)
	f.know(ana.Local.Bundle)
	f.know(bruno.Local.Bundle)
	left := &vectorLetter{clock: clock, from: ana, to: bruno, id: 7, n: 1}
	s.letter = left
	texts := left.texts("a letter", "its second record")
	write(f, left.kept(texts...))
	came := &vectorLetter{clock: clock, from: bruno, to: ana, id: 8, n: 1}
	write(f, came.received(came.texts("an answer", "and more")...))
	must(t, f.mark(lineShown, came.hash(8), ab, 1))
	must(t, f.mark(lineSeen, came.hash(8), ab, 2))
	answer := &vectorLetter{clock: clock, from: bruno, to: ana, id: 9, n: 1}
	write(f, answer.receipt(crypto.LevelDelivered, texts...))
	answer = &vectorLetter{clock: clock, from: bruno, to: ana, id: 10, n: 2}
	write(f, answer.receipt(crypto.LevelRead, texts[0]))
	must(t, f.head())

	clock.Add(4 * time.Hour)
	later := v.user(t, "Ana later", "a2a2a2a2a2a2a2a2")
	s.people["Ana later"] = later
	f.bundle, f.key = later.Local.Bundle, later.Local.Key
	c = newVectorTalk(clock, later, bruno, 4)
	s.again = c
	begin(f, c, ab)
	write(f, c.receipt(ba, 0, 0), c.say(lineSent, ab, "eleven", "twelve"), c.say(lineSent, ab, "thirteen"), c.receipt(ba, 3, 0))
	must(t, f.head())
	clock.Add(190 * time.Minute)
	write(f, c.say(lineSent, ab, "fourteen")) // Bruno's delegation is over
	must(t, f.head())
	write(f, c.say(lineSent, ab, "fifteen"))
	must(t, f.mark(lineTaken, c.t3, ab, 5))
	return s
}

// found verifies lines with a tail after the last newline.
func (v *vectors) found(t *testing.T, lines [][]byte, tail, lists string) (*Report, vectorFound) {
	t.Helper()
	r := verified(t, writeFile(t, append(append(bytes.Join(lines, []byte("\n")), '\n'), tail...)), v.trusting(t, lists))
	f := vectorFound{Doubtful: []uint64{}, Head: r.Head.Line, After: r.After}
	for _, finding := range r.Findings {
		switch {
		case finding.class == classTorn:
			f.Torn = len(tail)
		case finding.class == classDoubtful:
			f.Doubtful = append(f.Doubtful, finding.Line)
		case f.Found == 0 && finding.class == classDamage:
			f.Found = finding.Line
		}
	}
	return r, f
}

// verdict is what the lists make of a proof.
func (v *vectors) verdict(t *testing.T, proof []byte, lists string) (*ProofReport, string) {
	t.Helper()
	r, err := VerifyProof(proof, v.trusting(t, lists))
	switch {
	case err != nil && fail.AsError(err).Hint == DoubtfulHint:
		return nil, "doubtful"
	case err != nil:
		return nil, "refused"
	case strings.Contains(strings.Join(r.Notes, "\n"), "'s receipt proves nothing"):
		return r, "void"
	case r.Receipt == nil:
		return r, "no receipt"
	}
	return r, string(r.Receipt.Status)
}

// TestHistoryVectors: a client of another make can check itself by testdata/vectors.json. This one
// says of each history and proof there what stands beside it.
func TestHistoryVectors(t *testing.T) {
	stored, err := os.ReadFile(vectorsFile)
	v := &vectors{
		Note: "Test vectors of PROTOCOL.md, \"History\" and \"Proofs\". Binary is base64; lines, bundles and proofs are the exact JSON. " +
			"now is the clock of whoever verifies. found is the first line that does not hold, 0 if all do; head is the last head before it, " +
			"and after counts the lines that follow that; doubtful are the lines in doubt, of the heads by one bundle only the first. " +
			"In spoilt, drop lines from the line at (the first is 1) give way to those in put, and tail follows the last newline; " +
			"where it is chained, each prev from there on is set right. " +
			"In proofs_spoilt the same is done with bytes (the first is 0), and none of them holds. " +
			"judged has what becomes of the history and of each proof by the lists: void is a receipt that proves nothing.",
		Now: wire.Epoch.Add(24 * time.Hour).UnixMilli(),
	}
	switch {
	case err == nil:
		var old vectors
		must(t, json.Unmarshal(stored, &old))
		v.Root, v.Bundles, v.Lists = old.Root, old.Bundles, old.Lists
	case errors.Is(err, os.ErrNotExist) && *update:
		v.certify(t)
	default:
		t.Fatal(err)
	}
	s := v.tell(t)
	v.tellOf(t, s)
	v.judge(t, s.lines)
	v.spoilHistory(t, s)
	v.spoilProofs(t)

	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	must(t, e.Encode(v))
	if *update {
		must(t, os.WriteFile(vectorsFile, b.Bytes(), 0o644))
		stored = b.Bytes()
	}
	was := strings.Split(string(stored), "\n")
	for i, line := range strings.Split(b.String(), "\n") {
		if i >= len(was) || line != was[i] {
			t.Fatalf("%s, line %d: now %.300s", vectorsFile, i+1, line)
		}
	}
	if b.Len() != len(stored) {
		t.Fatalf("%s: it has more lines than there are vectors", vectorsFile)
	}
}

// tellOf says what the good history and its proofs show.
func (v *vectors) tellOf(t *testing.T, s *vectorStory) {
	t.Helper()
	for _, line := range s.lines {
		v.History = append(v.History, string(line))
	}
	r, found := v.found(t, s.lines, "", "nobody is revoked")
	if !r.OK() || len(r.Notes) > 0 {
		t.Fatalf("the history does not hold: %v, %v", r.Findings, r.Notes)
	}
	v.Whole = vectorWhole{
		Owner: r.Owner.Name, Identity: proto.FormatHash(r.Owner.Identity), Certificate: r.Certificate, Lines: r.Lines,
		Bundles: r.Bundles, Conversations: r.Conversations, Messages: r.Messages, Letters: r.Letters, Records: r.Records, Receipts: r.Receipts,
		Ends: r.Ends, Heads: r.Heads, HeadTime: r.Head.Time.UnixMilli(), vectorFound: found,
	}
	if v.Whole.After != 2 || v.Whole.Conversations != 6 {
		t.Errorf("it has %d conversations, and %d lines follow the last head", v.Whole.Conversations, v.Whole.After)
	}
	dir := writeLines(t, s.lines)
	for _, p := range []struct{ text, why, want string }{
		{"two, \"quoted\"", "by the sender, of the second of three records", "READ"},
		{"eleven", "by the sender, with a receipt that goes on beyond the message", "DELIVERED"},
		{"thirteen", "by the sender, of one record", "DELIVERED"},
		{"fourteen", "by the sender, without a receipt, after the end of the recipient's delegation", "no receipt"},
		{"five", "by the recipient, of the second of two records", "no receipt"},
		{"eight", "by the sender, who is the B of the conversation", "no receipt"},
		{"thirteen", "by the sender, with a receipt after the end of the recipient's delegation", "void"},
		{"a letter", "of a letter by its sender, with a receipt in a letter", "READ"},
		{"its second record", "of a letter by its sender, of the second of two records", "DELIVERED"},
		{"an answer", "of a letter by its recipient", "no receipt"},
		{"six", "of a message of a conversation, with a receipt in a letter under another delegation", "READ"},
	} {
		data, err := ExportProof(dir, s.ids[p.text], v.trusting(t, "nobody is revoked"))
		must(t, err)
		if p.want == "void" {
			var late Proof
			must(t, proto.Unmarshal(data, &late))
			h, err := crypto.ParseMessageHeader(late.Lines[3].Header)
			must(t, err)
			h.Time += vectorDelegation.Milliseconds()
			signAs(s.people["Bruno"].Local.Key, late.Lines[3], h)
			data = proto.MustMarshal(&late)
		}
		if p.text == "six" {
			data = v.receiptLater(t, s, data)
		}
		r, verdict := v.verdict(t, data, "nobody is revoked")
		if verdict != p.want || r.Text != p.text {
			t.Fatalf("the proof of %q is %s, want %s", p.text, verdict, p.want)
		}
		proof := vectorProof{
			Why: p.why, Proof: string(data), ID: r.ID, From: r.From.Name, FromID: proto.FormatHash(r.From.Identity), Recipient: r.Recipient.Name,
			RecID: proto.FormatHash(r.Recipient.Identity), Text: r.Text, Sent: r.Sent.UnixMilli(), Verdict: verdict,
		}
		if r.Receipt != nil {
			proof.ReceiptAt = r.Receipt.Time.UnixMilli()
		}
		v.Proofs = append(v.Proofs, proof)
	}
}

// receiptLater gives a proof a receipt in a letter that names a later delegation of the sender's.
func (v *vectors) receiptLater(t *testing.T, s *vectorStory, data []byte) []byte {
	t.Helper()
	var p Proof
	must(t, proto.Unmarshal(data, &p))
	var r crypto.Record
	must(t, proto.Unmarshal(p.Lines[2].Records[slices.IndexFunc(p.Lines[2].Records, isRecord)], &r))
	clock := wire.NewClock()
	clock.Add(4 * time.Hour)
	later := s.people["Ana later"]
	l := (&vectorLetter{clock: clock, from: s.people["Bruno"], to: later, id: 11, n: 1}).receipt(crypto.LevelRead, &r)
	l.Name, l.Identity, l.Left = "", "", 0
	hash := later.Local.Bundle.Hash()
	p.Lines = append(p.Lines[:3], &Line{Type: lineBundle, Hash: hash[:], Bundle: later.Local.Bundle}, &l)
	return proto.MustMarshal(&p)
}

// judge has each of the lists judge the history and the proofs.
func (v *vectors) judge(t *testing.T, lines [][]byte) {
	t.Helper()
	for _, lists := range slices.Sorted(maps.Keys(v.Lists)) {
		_, found := v.found(t, lines, "", lists)
		j := vectorJudged{Lists: lists, vectorFound: found}
		for _, p := range v.Proofs {
			_, verdict := v.verdict(t, []byte(p.Proof), lists)
			j.Proofs = append(j.Proofs, verdict)
		}
		v.Judged = append(v.Judged, j)
	}
}

// spoilHistory changes the history in many ways.
func (v *vectors) spoilHistory(t *testing.T, s *vectorStory) {
	t.Helper()
	own := func() [][]byte { return slices.Clone(s.lines) }
	// of is the index of a line by its type, counted from 0, or from the last one by -1.
	of := func(typ string, n int) int {
		var all []int
		for i, line := range s.lines {
			if got, _, _ := peekType(line); string(got) == typ {
				all = append(all, i)
			}
		}
		return all[(n+len(all))%len(all)]
	}
	// edit is the lines with one that says something else.
	edit := func(i int, change func(*Line)) [][]byte {
		lines := own()
		l, err := parseLine(lines[i])
		must(t, err)
		change(l)
		lines[i] = proto.MustMarshal(l)
		return lines
	}
	// text is the lines with a line that has another text.
	text := func(i int, from, to string) [][]byte {
		lines := own()
		lines[i] = bytes.Replace(lines[i], []byte(from), []byte(to), 1)
		return lines
	}
	// signedAnew is the lines with a message whose signer says something else.
	signedAnew := func(i int, who string, change func(*crypto.MessageHeader)) [][]byte {
		return edit(i, func(l *Line) {
			h, err := crypto.ParseMessageHeader(l.Header)
			must(t, err)
			change(h)
			signAs(s.people[who].Local.Key, l, h)
		})
	}
	receipt := func(i int, change func(*crypto.Receipt)) [][]byte {
		return edit(i, func(l *Line) {
			r, err := crypto.ParseReceipt(l.Receipt)
			must(t, err)
			h, err := crypto.ParseMessageHeader(l.Header)
			must(t, err)
			change(r)
			d := r.Digest([32]byte(h.Conversation), h.Direction)
			h.Digest, l.Receipt = d[:], proto.MustMarshal(r)
			signAs(s.people["Bruno"].Local.Key, l, h)
		})
	}
	// more is the lines and one that Ana's client adds.
	more := func(l Line) [][]byte {
		l.V, l.Time, l.Prev = version, s.clock.Now().UnixMilli(), strings.Repeat("0", 64)
		return append(own(), proto.MustMarshal(&l))
	}
	n := len(s.lines)
	lastHead := of(lineHead, -1)
	other := *s.again // says what Ana could have signed
	other.sent, other.n = maps.Clone(s.again.sent), maps.Clone(s.again.n)
	bad := func(to []crypto.Recipient, change func(*crypto.Record)) [][]byte {
		c := other
		c.sent, c.n = maps.Clone(other.sent), maps.Clone(other.n)
		r := c.records(ab, to, "bad")[0]
		change(r)
		return more(c.text(lineSent, ab, r))
	}
	// headBy is the lines with a bundle and a head by its K.
	headBy := func(b *trust.Bundle, key *trust.Key, now time.Time) [][]byte {
		hash := b.Hash()
		lines := vectorChain(more(Line{Type: lineBundle, Hash: hash[:], Bundle: b}), n)
		prev := sha256.Sum256(lines[n])
		return append(lines, proto.MustMarshal(&Line{
			V: version, Prev: hex.EncodeToString(prev[:]), Time: now.UnixMilli(), Type: lineHead, Hash: hash[:],
			Signature: key.Sign(headSigns(prev, now.UnixMilli(), hash)),
		}))
	}
	forged := *s.bundle
	forged.NotAfter-- // no card has signed that
	eva, tomorrow, stranger := v.user(t, "Ana as Eva", "").Local, v.user(t, "Ana tomorrow", "").Local, v.user(t, "another Ana", "").Local
	// taken is a conversation whose peer is not the one that its line names, and a message in it.
	c := newVectorTalk(s.clock, s.people["Ana later"], s.people["Bruno"], 6)
	begun := c.begin(ab)
	begun.Peer.Identity = proto.FormatHash(s.people["Carla"].Local.Identity)
	said := c.text(lineSent, ab, c.records(ab, []crypto.Recipient{{Name: "bruno", Identity: begun.Peer.Identity}}, "bad")...)
	taken := slices.Concat(more(begun), more(said)[n:])
	bruno := wire.To(s.people["Bruno"])
	waits := s.again.records(ab, bruno, "waits")[0]
	waits.Seq = 0
	// mail is the lines and a letter to Bruno, who is still there, in Ana's later delegation.
	letterClock := wire.NewClock()
	letterClock.Add(4 * time.Hour)
	boxEnd := s.people["Bruno"].Local.Bundle.MailboxEnd
	mail := func(header func(*crypto.LetterHeader), record func(*crypto.Record)) [][]byte {
		l := &vectorLetter{clock: letterClock, from: s.people["Ana later"], to: s.people["Bruno"], id: 12, n: 1, change: header}
		r := l.texts("further")[0]
		if record != nil {
			record(r)
		}
		return more(l.kept(r))
	}
	without := func(i, j int) [][]byte { return slices.Delete(own(), i, j) }
	const found, hidden, chained, loose = true, false, true, false

	for _, x := range []struct {
		why     string
		lines   [][]byte
		chained bool
		found   bool
		tail    string
	}{
		{"a torn line at the end", own(), loose, hidden, `{"v":2,"prev":"00`},
		{"a line removed", without(of(lineTaken, 0), of(lineTaken, 0)+1), loose, found, ""},
		{"an unsigned line before a head removed", without(of(lineTaken, 0), of(lineTaken, 0)+1), chained, found, ""},
		{"a message of the peer's removed", without(of(lineReceived, 0), of(lineReceived, 0)+1), chained, found, ""},
		{"a message of ours removed", without(of(lineSent, 0), of(lineSent, 0)+1), chained, found, ""},
		{"a receipt removed", without(of(lineReceipt, 1), of(lineReceipt, 1)+1), chained, found, ""},
		{"the first line removed", without(0, 1), chained, found, ""},
		{"a head removed", without(of(lineHead, 1), of(lineHead, 1)+1), chained, found, ""},
		{"all after the last head removed", without(lastHead+1, n), loose, hidden, ""},
		{"the last line removed", without(n-1, n), loose, hidden, ""},
		{"the last head removed", without(lastHead, lastHead+1), chained, hidden, ""},
		{"the last head and all after it removed", without(lastHead, n), loose, hidden, ""},
		{"all heads and all after the first removed", without(of(lineHead, 0), n), loose, hidden, ""},
		{"a line doubled", slices.Insert(own(), of(lineReceipt, 1), s.lines[of(lineReceipt, 1)]), loose, found, ""},
		{"a receipt doubled", slices.Insert(own(), of(lineReceipt, 1), s.lines[of(lineReceipt, 1)]), chained, found, ""},
		{"a conversation doubled", append(own(), s.lines[of(lineConversation, 0)]), chained, found, ""},
		{"a head doubled", slices.Insert(own(), lastHead, s.lines[lastHead]), chained, found, ""},
		{"a line moved", slices.Insert(without(of(lineTaken, 0), of(lineTaken, 0)+1), of(lineGap, 0), s.lines[of(lineTaken, 0)]), chained, found, ""},
		{"a message moved before the one before it", slices.Insert(without(n-2, n-1), of(lineSent, -2), s.lines[n-2]), chained, found, ""},
		{"what was shown changed", edit(of(lineShown, 0), func(l *Line) { l.Seq = 1 }), chained, found, ""},
		{"what was taken changed after the last head", edit(n-1, func(l *Line) { l.Seq = 3 }), chained, hidden, ""},
		{"a line changed and not chained", edit(of(lineShown, 0), func(l *Line) { l.Seq = 1 }), loose, found, ""},
		{"a text changed", text(of(lineSent, 0), `"one"`, `"One"`), chained, found, ""},
		{"a message's signature changed", edit(n-2, func(l *Line) { l.Signature[9] ^= 1 }), chained, found, ""},
		{"a hash of sealed bytes changed", edit(n-2, func(l *Line) { l.CipherHash[9] ^= 1 }), chained, found, ""},
		{"a digest before the first record changed", edit(n-2, func(l *Line) { l.Before[9] ^= 1 }), chained, found, ""},
		{"a receipt changed", text(of(lineReceipt, -1), `"delivered":3`, `"delivered":2`), chained, found, ""},
		{"a line with a space", text(n-1, `"seq":`, `"seq": `), chained, found, ""},
		{"a line with an unknown field", text(n-1, `"seq":5`, `"seq":5,"more":1`), chained, found, ""},
		{"a line of another version", text(n-1, `"v":2`, `"v":3`), loose, found, ""},
		{"a line of an unknown type", text(n-1, `"taken"`, `"other"`), chained, found, ""},
		{"a line with a field of 0", text(n-1, `"seq":5`, `"seq":0`), chained, found, ""},
		{"a line with a field of another type's", edit(n-1, func(l *Line) { l.Reason = "because" }), chained, found, ""},
		{"a line that is no JSON", append(own(), []byte("no line")), loose, found, ""},
		{"an empty line", append(own(), nil), loose, found, ""},
		{"a first line that names one before it", text(0, strings.Repeat("0", 64), strings.Repeat("0", 63)+"1"), loose, found, ""},
		{"a second owner", more(Line{Type: lineOwner, Name: "Ana", Identity: proto.FormatHash(s.owner.Identity)}), chained, found, ""},
		{"another owner's name", edit(0, func(l *Line) { l.Name = "Bruno" }), chained, found, ""},
		{"another owner's identity", edit(0, func(l *Line) { l.Identity = proto.FormatHash(s.people["Bruno"].Local.Identity) }), chained, found, ""},
		{"a conversation of Bruno's", slices.Concat(own(), s.other[3:4]), chained, found, ""},
		{"a message out of Bruno's history", slices.Concat(own(), s.other[5:6]), chained, found, ""},
		{"a head out of Bruno's history", slices.Concat(own(), s.other[len(s.other)-1:]), chained, found, ""},
		{"Bruno's history under Ana's first line", slices.Concat(s.lines[:1], s.other[1:]), chained, found, ""},
		{"somebody else as me", edit(of(lineConversation, 0), func(l *Line) { l.Me, l.Peer = l.Peer, l.Me }), chained, found, ""},
		{"the peer's name changed", edit(of(lineConversation, -1), func(l *Line) { l.Peer.Name = "Bruna" }), chained, found, ""},
		{"the peer's identity changed", edit(of(lineConversation, 0), func(l *Line) { l.Peer.Identity = l.Me.Identity }), chained, found, ""},
		{"the direction of a conversation changed", edit(of(lineConversation, -1), func(l *Line) { l.Direction = ba }), chained, found, ""},
		{"a head's signature changed", edit(lastHead, func(l *Line) { l.Signature[9] ^= 1 }), chained, found, ""},
		{"a head's time changed", edit(lastHead, func(l *Line) { l.Time++ }), chained, found, ""},
		{"a head by Ana's earlier K under the later bundle", edit(lastHead, func(l *Line) {
			l.Signature = s.people["Ana"].Local.Key.Sign(headSigns(proto.MustHash(l.Prev), l.Time, [32]byte(l.Hash)))
		}), chained, found, ""},
		{"a head by Bruno", edit(lastHead, func(l *Line) {
			hash := s.people["Bruno"].Local.Bundle.Hash()
			l.Hash, l.Signature = hash[:], s.people["Bruno"].Local.Key.Sign(headSigns(proto.MustHash(l.Prev), l.Time, hash))
		}), chained, found, ""},
		{"a head after the end of its delegation", edit(lastHead, func(l *Line) {
			l.Time += (24 * time.Hour).Milliseconds()
			l.Signature = s.key.Sign(headSigns(proto.MustHash(l.Prev), l.Time, [32]byte(l.Hash)))
		}), chained, found, ""},
		{"a further head", headBy(s.bundle, s.key, s.clock.Now()), loose, hidden, ""},
		{"a head by a delegation that no card signed", headBy(&forged, s.key, s.clock.Now()), loose, found, ""},
		{"a head under another name", headBy(eva.Bundle, eva.Key, s.clock.Now()), loose, found, ""},
		{"a head by somebody else of that name", headBy(stranger.Bundle, stranger.Key, s.clock.Now()), loose, found, ""},
		{"a head of a time to come", headBy(tomorrow.Bundle, tomorrow.Key, time.UnixMilli(v.Now).Add(6*time.Minute)), loose, found, ""},
		{"a head of five minutes to come", headBy(tomorrow.Bundle, tomorrow.Key, time.UnixMilli(v.Now).Add(5*time.Minute)), loose, hidden, ""},
		{"a direction that is none", edit(of(lineConversation, -1), func(l *Line) { l.Direction = "AA" }), chained, found, ""},
		{"a bundle of another hash", edit(of(lineBundle, 1), func(l *Line) { l.Hash[9] ^= 1 }), chained, found, ""},
		{"a bundle changed", edit(of(lineBundle, 1), func(l *Line) { l.Bundle.NotAfter++ }), chained, found, ""},
		{"another bundle in the place of one", edit(of(lineBundle, -1), func(l *Line) {
			l.Bundle.NotAfter++
			hash := l.Bundle.Hash()
			l.Hash = hash[:]
		}), chained, found, ""},
		{"a bundle missing", without(of(lineBundle, -1), of(lineBundle, -1)+1), chained, found, ""},
		{"a receipt for more than was sent", receipt(of(lineReceipt, -1), func(r *crypto.Receipt) { r.Delivered = 9 }), chained, found, ""},
		{"a receipt for other records", receipt(of(lineReceipt, -1), func(r *crypto.Receipt) { r.DeliveredDigest[9] ^= 1 }), chained, found, ""},
		{"a receipt that has read more than was delivered", receipt(of(lineReceipt, -1), func(r *crypto.Receipt) {
			r.Read, r.ReadDigest, r.Delivered, r.DeliveredDigest = r.Delivered, r.DeliveredDigest, r.Read, r.ReadDigest
		}), chained, found, ""},
		{"a receipt that goes back", receipt(of(lineReceipt, 2), func(r *crypto.Receipt) {
			d := s.bruno.sent[ab][2]
			r.Delivered, r.DeliveredDigest, r.Read, r.ReadDigest = 2, d[:], 2, d[:]
		}), chained, found, ""},
		{"a receipt after the end of the sender's delegation", signedAnew(of(lineReceipt, -1), "Bruno", func(h *crypto.MessageHeader) {
			h.Time += (24 * time.Hour).Milliseconds()
		}), chained, found, ""},
		{"a message whose number goes back", signedAnew(n-2, "Ana later", func(h *crypto.MessageHeader) { h.N-- }), chained, found, ""},
		{"a message of ours behind one that is not stored", signedAnew(n-2, "Ana later", func(h *crypto.MessageHeader) { h.N++ }), chained, hidden, ""},
		{"a message of the peer's behind one that is missing", signedAnew(of(lineReceived, 1), "Carla", func(h *crypto.MessageHeader) { h.N++ }), chained, found, ""},
		{"a message of other bundles", signedAnew(n-2, "Ana later", func(h *crypto.MessageHeader) { h.SrcBundle = h.DstBundle }), chained, found, ""},
		{"a message of another kind", signedAnew(n-2, "Ana later", func(h *crypto.MessageHeader) { h.Kind, h.Seq, h.Count = crypto.KindReceipt, 0, 0 }), chained, found, ""},
		{"a message of another conversation", signedAnew(n-2, "Ana later", func(h *crypto.MessageHeader) { h.Conversation[0] ^= 1 }), chained, found, ""},
		{"a message that leaves out a record", signedAnew(n-2, "Ana later", func(h *crypto.MessageHeader) { h.Seq++ }), chained, found, ""},
		{"a message to another person than the peer", taken, chained, found, ""},
		{"a message with another digest", signedAnew(n-2, "Ana later", func(h *crypto.MessageHeader) { h.Digest[9] ^= 1 }), chained, found, ""},
		{"a message with another count", signedAnew(n-2, "Ana later", func(h *crypto.MessageHeader) { h.Count++ }), chained, found, ""},
		{"an end that is not the end", signedAnew(of(lineEnd, 0), "Carla", func(h *crypto.MessageHeader) { h.Seq = 2 }), chained, found, ""},
		{"an end of a pipe whose number goes back", signedAnew(of(lineEnd, -1), "Carla", func(h *crypto.MessageHeader) { h.N = 0 }), chained, found, ""},
		{"a record that waits with a number", edit(of(linePending, 0), func(l *Line) {
			l.Record = bytes.Replace(l.Record, []byte(`"seq":0`), []byte(`"seq":1`), 1)
		}), chained, found, ""},
		{"a record that waits with another text", text(of(linePending, 0), `"one"`, `"One"`), chained, found, ""},
		{"a record that waits for somebody else", edit(of(linePending, 0), func(l *Line) { l.Names = []string{"Carla"} }), chained, found, ""},
		{"a record that waits after the last head", more(Line{Type: linePending, Run: vectorRun, Names: []string{"BRUNO"}, Record: waits.Encode()}), chained, hidden, ""},
		{"a record that waits for a name that is none", more(Line{Type: linePending, Run: vectorRun, Names: []string{"Bruno", "\x1b"}, Record: waits.Encode()}), chained, found, ""},
		{"a further message", bad(bruno, func(*crypto.Record) {}), chained, hidden, ""},
		{"a record for somebody else", bad(wire.To(s.people["Carla"]), func(*crypto.Record) {}), chained, found, ""},
		{"a record with another id", bad(bruno, func(r *crypto.Record) { r.ID = strings.Repeat("0", 32) }), chained, found, ""},
		{"a record with another number", bad(bruno, func(r *crypto.Record) { r.Seq++ }), chained, found, ""},
		{"a record of ten minutes later", bad(bruno, func(r *crypto.Record) {
			r.Time += (10 * time.Minute).Milliseconds()
			r.ID = crypto.RecordID(s.owner.Identity, r)
		}), chained, found, ""},
		{"more taken than was sent", more(Line{Type: lineTaken, Conversation: s.again.t3[:], Direction: ab, Seq: 6}), chained, found, ""},
		{"less taken than before", more(Line{Type: lineTaken, Conversation: s.again.t3[:], Direction: ab, Seq: 3}), chained, found, ""},
		{"more shown than came", more(Line{Type: lineShown, Conversation: s.bruno.t3[:], Direction: ba, Seq: 3}), chained, found, ""},
		{"more seen than came", more(Line{Type: lineSeen, Conversation: s.bruno.t3[:], Direction: ba, Seq: 3}), chained, found, ""},
		{"a further letter", mail(nil, nil), chained, hidden, ""},
		{"a letter twice", append(own(), s.lines[of(lineLetterSent, 0)]), chained, found, ""},
		{"receipts twice", append(own(), s.lines[of(lineLetterReceipt, 0)]), chained, found, ""},
		{"a letter removed", without(of(lineLetterSent, 0), of(lineLetterSent, 0)+1), chained, found, ""},
		{"a letter's signature changed", edit(of(lineLetterReceived, 0), func(l *Line) { l.Signature[9] ^= 1 }), chained, found, ""},
		{"a letter's text changed", text(of(lineLetterSent, 0), `"a letter"`, `"A letter"`), chained, found, ""},
		{"a letter of another's name", edit(of(lineLetterSent, 0), func(l *Line) { l.Name = "Carla" }), chained, found, ""},
		{"a letter of another identity", edit(of(lineLetterSent, 0), func(l *Line) { l.Identity = strings.Repeat("0", 64) }), chained, found, ""},
		{"a letter that was received as if it was sent", edit(of(lineLetterReceived, 0), func(l *Line) {
			l.Type, l.Run, l.Until, l.Left = lineLetterSent, "", l.Left, 0
		}), chained, found, ""},
		{"a letter without a run", edit(of(lineLetterReceived, 0), func(l *Line) { l.Run = "" }), chained, found, ""},
		{"a letter at the end of the mailbox", mail(func(h *crypto.LetterHeader) { h.Time = boxEnd*1000 + 999 }, nil), chained, hidden, ""},
		{"a letter after the end of the mailbox", mail(func(h *crypto.LetterHeader) { h.Time = (boxEnd + 1) * 1000 }, nil), chained, found, ""},
		{"a letter before its sender's delegation", mail(func(h *crypto.LetterHeader) { h.Time -= (8 * time.Hour).Milliseconds() }, nil), chained, found, ""},
		{"a letter to another mailbox", mail(func(h *crypto.LetterHeader) { h.Mailbox = h.Digest }, nil), chained, found, ""},
		{"a letter of another kind", mail(func(h *crypto.LetterHeader) { h.Kind = crypto.LetterReceipt }, nil), chained, found, ""},
		{"a letter of a kind that is none", mail(func(h *crypto.LetterHeader) { h.Kind = "other" }, nil), chained, found, ""},
		{"a letter without a number", mail(func(h *crypto.LetterHeader) { h.N = 0 }, nil), chained, found, ""},
		{"a letter of another digest", mail(func(h *crypto.LetterHeader) { h.Digest[9] ^= 1 }, nil), chained, found, ""},
		{"a letter with a record too few", mail(func(h *crypto.LetterHeader) { h.Count++ }, nil), chained, found, ""},
		{"a letter to a bundle that is missing", mail(func(h *crypto.LetterHeader) { h.DstBundle = h.Digest }, nil), chained, found, ""},
		{"a letter to a bundle of somebody else's", mail(func(h *crypto.LetterHeader) {
			hash := s.people["Carla"].Local.Bundle.Hash()
			h.DstBundle = hash[:]
		}, nil), chained, found, ""},
		{"a letter with another record id", mail(nil, func(r *crypto.Record) { r.ID = strings.Repeat("0", 32) }), chained, found, ""},
		{"a letter with another record number", mail(nil, func(r *crypto.Record) { r.Seq = 1 }), chained, found, ""},
		{"a letter with a record of ten minutes later", mail(nil, func(r *crypto.Record) {
			r.Time += (10 * time.Minute).Milliseconds()
			r.ID = crypto.RecordID(s.owner.Identity, r)
		}), chained, found, ""},
		{"a letter with a record for somebody else", mail(nil, func(r *crypto.Record) {
			r.To = wire.To(s.people["Carla"])
			r.ID = crypto.RecordID(s.owner.Identity, r)
		}), chained, found, ""},
		{"a receipt in a letter changed", text(of(lineLetterReceipt, 0), `"DELIVERED"`, `"READ"`), chained, found, ""},
		{"a receipt in a letter of another level", text(of(lineLetterReceipt, 0), `"DELIVERED"`, `"SENT"`), chained, found, ""},
		{"no receipts in a letter", edit(of(lineLetterReceipt, 0), func(l *Line) { l.Receipts = json.RawMessage("[]") }), chained, found, ""},
		{"a receipt in a letter for a record that is not there", more((&vectorLetter{
			clock: letterClock, from: s.people["Bruno"], to: s.people["Ana later"], id: 12, n: 1,
		}).receipt(crypto.LevelRead, waits)), chained, hidden, ""},
		{"more shown than a letter has", more(Line{Type: lineShown, Conversation: bytes.Repeat([]byte{8}, 32), Direction: ab, Seq: 3}), chained, found, ""},
		{"shown of a letter as if its sender had", more(Line{Type: lineShown, Conversation: bytes.Repeat([]byte{7}, 32), Direction: ba, Seq: 1}), chained, found, ""},
		{"shown of receipts", more(Line{Type: lineSeen, Conversation: bytes.Repeat([]byte{9}, 32), Direction: ab, Seq: 1}), chained, found, ""},
		{"a gap before a letter", more(Line{Type: lineGap, Conversation: bytes.Repeat([]byte{8}, 32), Direction: ab, Reason: "because"}), chained, hidden, ""},
		{"a run of another length", more(Line{Type: lineRun, Run: vectorRun[1:], Reason: runKilled}), chained, found, ""},
		{"an identity in capitals", edit(0, func(l *Line) { l.Identity = strings.ToUpper(l.Identity) }), chained, found, ""},
		{"a gap of an unknown conversation", more(Line{Type: lineGap, Conversation: bytes.Repeat([]byte{9}, 32), Direction: ba, Reason: "because"}), chained, found, ""},
	} {
		if len(x.lines) == n && slices.EqualFunc(x.lines, s.lines, bytes.Equal) && x.tail == "" {
			t.Errorf("%s: nothing is changed", x.why)
		}
		before, put := 0, x.lines
		for before < min(n, len(put)) && bytes.Equal(put[before], s.lines[before]) {
			before++
		}
		after := 0
		for after < min(n, len(put))-before && bytes.Equal(put[len(put)-1-after], s.lines[n-1-after]) {
			after++
		}
		spoilt := vectorSpoilt{Why: x.why, At: before + 1, Drop: n - before - after, Put: []string{}, Chained: x.chained, Tail: x.tail}
		for _, line := range put[before : len(put)-after] {
			spoilt.Put = append(spoilt.Put, string(line))
		}
		lines := put
		if x.chained {
			lines = vectorChain(put, before)
		}
		r, got := v.found(t, lines, x.tail, "nobody is revoked")
		spoilt.vectorFound = got
		if (got.Found > 0) != x.found || int(got.Head) > before && (before < n || x.found) || len(got.Doubtful) > 0 || (got.Torn > 0) != (x.tail != "") {
			t.Errorf("%s, from line %d: it is whole up to line %d, found is %v", x.why, before+1, got.Head, r.Findings)
		}
		v.Spoilt = append(v.Spoilt, spoilt)
	}
}

// vectorChain sets each prev right, from a line on, wherever a line has one.
func vectorChain(lines [][]byte, from int) [][]byte {
	lines = slices.Clone(lines)
	for i := from; i < len(lines); i++ {
		prev := strings.Repeat("0", 64)
		if i > 0 {
			hash := sha256.Sum256(lines[i-1])
			prev = hex.EncodeToString(hash[:])
		}
		lines[i] = vectorPrev.ReplaceAll(lines[i], []byte(`${1}`+prev))
	}
	return lines
}

var vectorPrev = regexp.MustCompile(`^(\{"v":\d+,"prev":")[0-9a-f]{64}`)

// vectorFields finds the first character of each number and string in a proof.
var vectorFields = regexp.MustCompile(`[:\[,]"?[0-9A-Za-z+/]`)

// spoilProofs changes every field of the proofs, and their lines.
func (v *vectors) spoilProofs(t *testing.T) {
	t.Helper()
	add := func(why string, of int, changed []byte) {
		t.Helper()
		good := []byte(v.Proofs[of].Proof)
		before := 0
		for before < min(len(good), len(changed)) && good[before] == changed[before] {
			before++
		}
		after := 0
		for after < min(len(good), len(changed))-before && good[len(good)-1-after] == changed[len(changed)-1-after] {
			after++
		}
		if before == len(good) && len(changed) == len(good) {
			t.Errorf("%s: nothing is changed", why)
		}
		if _, verdict := v.verdict(t, changed, "nobody is revoked"); verdict != "refused" {
			t.Errorf("%s: the proof is %s", why, verdict)
		}
		v.NotProofs = append(v.NotProofs, vectorSpoiltProof{
			why, of, before, len(good) - before - after, string(changed[before : len(changed)-after]),
		})
	}
	const read, delivered, none, mailed, later = 0, 1, 3, 7, 10
	others := map[int]int{delivered: read, read: delivered, none: delivered}
	for _, of := range []int{read, delivered, mailed, later} {
		good := []byte(v.Proofs[of].Proof)
		from := 0
		switch of { // which have the same bundles, or the same message
		case delivered:
			from = bytes.Index(good, []byte(`"type":"text"`))
		case mailed:
			from = bytes.Index(good, []byte(`"type":"letter"`))
		case later:
			from = bytes.Index(good, []byte(`"type":"letter-receipt"`))
		}
		for _, at := range vectorFields.FindAllIndex(good, -1) {
			if at[1] <= from {
				continue
			}
			changed := bytes.Clone(good)
			changed[at[1]-1] ^= 1 // letters and digits stay such, nearly all
			add(fmt.Sprintf("the character at byte %d changed", at[1]-1), of, changed)
		}
	}
	edit := func(why string, of int, change func(p, other *Proof)) {
		t.Helper()
		var p, other Proof
		must(t, proto.Unmarshal([]byte(v.Proofs[of].Proof), &p))
		must(t, proto.Unmarshal([]byte(v.Proofs[others[of]].Proof), &other))
		change(&p, &other)
		add(why, of, proto.MustMarshal(&p))
	}
	edit("the bundles in another order", read, func(p, _ *Proof) { p.Lines[0], p.Lines[1] = p.Lines[1], p.Lines[0] })
	edit("the receipt before the message", read, func(p, _ *Proof) { p.Lines[2], p.Lines[3] = p.Lines[3], p.Lines[2] })
	edit("the sender's bundle missing", read, func(p, _ *Proof) { p.Lines = p.Lines[1:] })
	edit("the recipient's bundle missing", read, func(p, _ *Proof) { p.Lines = slices.Delete(p.Lines, 1, 2) })
	edit("the message missing", read, func(p, _ *Proof) { p.Lines = slices.Delete(p.Lines, 2, 3) })
	edit("another sender's bundle", read, func(p, other *Proof) { p.Lines[0] = other.Lines[0] })
	edit("a receipt of another conversation", read, func(p, other *Proof) { p.Lines[3] = other.Lines[3] })
	edit("a receipt that does not reach the record", read, func(p, _ *Proof) {
		i := slices.IndexFunc(v.History, func(line string) bool { return strings.Contains(line, `"type":"receipt"`) })
		l, err := parseLine([]byte(v.History[i]))
		must(t, err)
		l.V, l.Prev, l.Time = 0, "", 0
		p.Lines[3] = l
	})
	edit("two receipts", read, func(p, _ *Proof) { p.Lines = append(p.Lines, p.Lines[3]) })
	edit("another text", read, func(p, _ *Proof) {
		p.Lines[2].Records[1] = bytes.Replace(p.Lines[2].Records[1], []byte("two"), []byte("Two"), 1)
	})
	edit("another header", read, func(p, other *Proof) { p.Lines[2].Header = other.Lines[2].Header })
	edit("records in another order", read, func(p, _ *Proof) { r := p.Lines[2].Records; r[1], r[2] = r[2], r[1] })
	edit("a record less", read, func(p, _ *Proof) { p.Lines[2].Records = p.Lines[2].Records[1:] })
	edit("a record more", read, func(p, _ *Proof) { p.Lines[2].Records = append(p.Lines[2].Records, p.Lines[2].Records[0]) })
	edit("no record, and hashes alone", read, func(p, _ *Proof) {
		hash := sha256.Sum256(p.Lines[2].Records[1])
		p.Lines[2].Records[1] = proto.MustMarshal(hash[:])
	})
	edit("a record that another sender's id rests on", read, func(p, other *Proof) { p.Lines[2].Records[1] = other.Lines[2].Records[0] })
	edit("the record twice", read, func(p, _ *Proof) { p.Lines[2].Records[2] = p.Lines[2].Records[1] })
	edit("a receipt with a record too many", read, func(p, _ *Proof) { p.Lines[3].Records = p.Lines[2].Records[:1] })
	edit("a receipt that lacks a record", delivered, func(p, _ *Proof) { p.Lines[3].Records = nil })
	edit("a receipt with another record", delivered, func(p, _ *Proof) { p.Lines[3].Records = p.Lines[2].Records[1:2] })
	var soon Proof // its receipt is not for the message of the last one
	must(t, proto.Unmarshal([]byte(v.Proofs[mailed].Proof), &soon))
	edit("a letter's bundles in another order", mailed, func(p, _ *Proof) { p.Lines[0], p.Lines[1] = p.Lines[1], p.Lines[0] })
	edit("a bundle that no line names", mailed, func(p, _ *Proof) { p.Lines = slices.Insert(p.Lines, 3, p.Lines[0]) })
	edit("a letter with a name", mailed, func(p, _ *Proof) { p.Lines[2].Name = "Bruno" })
	edit("a letter with the hash of no sealed bytes", mailed, func(p, _ *Proof) { p.Lines[2].CipherHash = p.Lines[0].Hash })
	edit("a message with a letter's receipt for another", mailed, func(p, _ *Proof) {
		p.Lines[2] = soon.Lines[2]
		r := p.Lines[2].Records
		r[0], r[1] = r[1], r[0]
	})
	edit("a further bundle missing", later, func(p, _ *Proof) { p.Lines = slices.Delete(p.Lines, 3, 4) })
	edit("a further bundle twice", later, func(p, _ *Proof) { p.Lines = slices.Insert(p.Lines, 3, p.Lines[3]) })
	edit("a further bundle and no receipt", later, func(p, _ *Proof) { p.Lines = p.Lines[:4] })
	edit("another receipt in a letter", later, func(p, _ *Proof) {
		p.Lines = append(p.Lines[:3], soon.Lines[3])
	})
	edit("two receipts, one in a letter", read, func(p, _ *Proof) { p.Lines = append(p.Lines, soon.Lines[3]) })
	edit("the line of a history", none, func(p, _ *Proof) { p.Lines[2].Type = lineSent })
	edit("a line with a time", none, func(p, _ *Proof) { p.Lines[2].Time = 1 })
	edit("no lines", none, func(p, _ *Proof) { p.Lines = []*Line{} })
	add("a newline at the end", none, []byte(v.Proofs[none].Proof+"\n"))
	add("its last byte missing", none, []byte(v.Proofs[none].Proof[:len(v.Proofs[none].Proof)-1]))
}
