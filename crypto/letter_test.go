package crypto

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/proto"
	"chatsecure/testdata/corpus"
)

// device has a K, a bundle that proves nobody, and a mailbox. Opening a letter asks no certificate.
type device struct {
	key      *trust.Key
	bundle   *trust.Bundle
	box      *Mailbox
	identity [32]byte
}

func fixedDevice(t testing.TB, name string, from byte) *device {
	t.Helper()
	box, err := ParseMailbox(run(from, 32))
	Must(t, err)
	d := &device{fixedKey(t, from), nil, box, run32(from + 1)}
	d.bundle = fixedBundle(name, d.key)
	hash := box.Hash()
	d.bundle.Mailbox, d.bundle.MailboxEnd = hash[:], d.bundle.NotAfter
	return d
}

// letterTime lies within the delegation of a fixedBundle.
var letterTime = time.UnixMilli(1795350000123)

// draft is a letter of one text to another device.
func (d *device) draft(to *device, records ...*Record) LetterDraft {
	return LetterDraft{
		Key: d.key, Bundle: d.bundle, MailboxKey: d.box.Public(), To: to.bundle.Hash(), ToKey: to.box.Public(),
		N: 3, Time: letterTime, Records: records,
	}
}

// record is a record with a salt from a number.
func (d *device) record(text string, salt byte) *Record {
	r := &Record{Time: letterTime.UnixMilli(), To: []Recipient{{Name: "bob"}}, Text: text, Salt: run(salt, 16)}
	r.ID = RecordID(d.identity, r)
	return r
}

// TestLetter seals and opens random drafts. All comes back as it was, the receiver finds the
// sender's exact bytes, and a draft leaves nothing in the records.
func TestLetter(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	alice, bob := fixedDevice(t, "alice", 10), fixedDevice(t, "Bob", 20)
	for range 200 {
		d := alice.draft(bob)
		d.N, d.Time = 1+random.Uint64N(1<<40), letterTime.Add(time.Duration(random.IntN(1e6))*time.Millisecond)
		if random.IntN(3) == 0 { // a sender without a mailbox
			bundle := *d.Bundle
			bundle.Mailbox, bundle.MailboxEnd = []byte{}, 0
			d.Bundle, d.MailboxKey = &bundle, nil
		}
		n := 1 + random.IntN(20)
		if random.IntN(8) == 0 {
			n = MaxLetterEntries
		}
		isText := random.IntN(2) == 0
		for i := range n {
			if isText {
				text := strings.Repeat("a\n\"é\u2028", random.IntN(10)*20/n)
				r := alice.record(text, byte(i))
				r.Seq = random.Uint64N(1 << 30)
				if n == MaxLetterEntries { // as many as there is room for
					r.To = r.To[:1]
					n = 200
				}
				if d.Records = append(d.Records, r); len(d.Records) == n {
					break
				}
				continue
			}
			level := []string{LevelDelivered, LevelRead}[random.IntN(2)]
			d.Receipts = append(d.Receipts, LetterReceiptEntry{ID: run(byte(i), 32), Level: level, Time: random.Int64N(1 << 41)})
		}
		var seqs []uint64
		for _, r := range d.Records {
			seqs = append(seqs, r.Seq)
		}
		l, err := SealLetter(d)
		Must(t, err)
		for i, r := range d.Records {
			if r.Seq != seqs[i] {
				t.Fatalf("record %d of the draft has now seq %d", i, r.Seq)
			}
		}
		body := bytes.Clone(l.Body)
		got, err := OpenLetter(bob.box, body)
		Must(t, err)
		if len(got.Records)+len(got.Receipts) != 0 {
			t.Fatal("records stand there before ReadRecords")
		}
		Must(t, got.ReadRecords(alice.identity))
		if !bytes.Equal(body, l.Body) {
			t.Fatal("opening has changed the body")
		}
		got.inside = nil
		if len(got.MailboxKey) == 0 {
			got.MailboxKey = nil
		}
		if !reflect.DeepEqual(got, l) {
			t.Fatalf("opened %+v\nsealed %+v", got, l)
		}
		if h := got.Header; h.N != d.N || h.Time != d.Time.UnixMilli() || [32]byte(h.DstBundle) != d.To {
			t.Fatalf("header %+v", h)
		}
		for i, r := range got.Records {
			if r.Seq != uint64(i)+1 || r.ID != d.Records[i].ID || r.Text != d.Records[i].Text {
				t.Fatalf("record %d is %+v, was %+v", i, r, d.Records[i])
			}
		}
		if !isText && !reflect.DeepEqual(got.Receipts, d.Receipts) {
			t.Fatalf("receipts %v", got.Receipts)
		}
	}
}

// Two letters of one draft have nothing in common.
func TestLettersDiffer(t *testing.T) {
	alice, bob := fixedDevice(t, "alice", 10), fixedDevice(t, "Bob", 20)
	d := alice.draft(bob, alice.record("hi", 1))
	a, err := SealLetter(d)
	Must(t, err)
	b, err := SealLetter(d)
	Must(t, err)
	oa, _, sa, _ := SplitLetter(a.Body)
	ob, _, sb, _ := SplitLetter(b.Body)
	if a.ID == b.ID || bytes.Equal(oa.Enc, ob.Enc) || bytes.Equal(sa[:32], sb[:32]) || bytes.Equal(a.Header.Digest, b.Header.Digest) {
		t.Error("the two agree in more than who writes and reads")
	}
}

// A letter filled to its room is taken, of a sender with any K and certificates, and one that is
// longer is refused before it goes anywhere.
func TestLetterRoom(t *testing.T) {
	bob := fixedDevice(t, "Bob", 20)
	for name, alice := range map[string]*device{
		"Ed25519": fixedDevice(t, "alice", 10), "RSA, and long certificates": rsaDevice(t, 20<<10), "no mailbox": fixedDevice(t, "alice", 10),
	} {
		room := LetterRoom(alice.bundle)
		d := alice.draft(bob)
		if name == "no mailbox" {
			alice.bundle.Mailbox, alice.bundle.MailboxEnd, d.MailboxKey = []byte{}, 0, nil
		}
		d.N, d.Time = 1<<63-1, time.UnixMilli(1<<63-1)
		text := strings.Repeat("x", room-len(alice.record("", 1).Encode())-1)
		d.Records = []*Record{alice.record(text, 1)}
		l, err := SealLetter(d)
		if err != nil {
			t.Errorf("%s: a letter with %d bytes of records: %v", name, room, err)
			continue
		}
		if got := proto.MaxLetter - len(l.Body); name != "no mailbox" && got > 500 {
			t.Errorf("%s: %d bytes of a letter are left", name, got)
		}
		d.Records[0] = alice.record(text+strings.Repeat("x", proto.MaxLetter-len(l.Body)), 1)
		l, err = SealLetter(d)
		Must(t, err)
		if len(l.Body) != proto.MaxLetter {
			t.Errorf("%s: %d bytes", name, len(l.Body))
		}
		d.Records[0] = alice.record(d.Records[0].Text+"x", 1)
		if _, err = SealLetter(d); refusalCode(err) != proto.TooLong {
			t.Errorf("%s: a letter that is too long: %v", name, err)
		}
	}
}

// rsaDevice has an RSA key, and certificates of so many bytes.
func rsaDevice(t *testing.T, certificates int) *device {
	t.Helper()
	d := fixedDevice(t, "alice", 30)
	key, err := trust.GenerateKey(trust.KeyRSA)
	Must(t, err)
	d.key, d.bundle.PublicKey, d.bundle.X509 = key, key.Public().SPKI(), make([]byte, certificates)
	return d
}

func TestSealLetterRefuses(t *testing.T) {
	alice, bob := fixedDevice(t, "alice", 10), fixedDevice(t, "Bob", 20)
	id := run(1, 32)
	for _, c := range []struct {
		why    string
		says   string
		change func(*LetterDraft)
	}{
		{"a key that is none", "KEM key", func(d *LetterDraft) { d.ToKey = d.ToKey[1:] }},
		{"a point of low order", "KEM key", func(d *LetterDraft) {
			d.ToKey = append(bytes.Clone(d.ToKey[:len(d.ToKey)-32]), make([]byte, 32)...)
		}},
		{"a mailbox key that its bundle does not name", "does not name", func(d *LetterDraft) { d.MailboxKey = bob.box.Public() }},
		{"n is 0", "number", func(d *LetterDraft) { d.N = 0 }},
		{"a time below 0", "time", func(d *LetterDraft) { d.Time = time.UnixMilli(-1) }},
		{"nothing in it", "has both or none", func(d *LetterDraft) { d.Records = nil }},
		{"records and receipts", "has both or none", func(d *LetterDraft) { d.Receipts = LetterReceipts{{id, LevelRead, 1}} }},
		{"513 records", "513 entries", func(d *LetterDraft) { d.Records = slices.Repeat(d.Records, 513) }},
		{"513 receipts", "513 receipts", func(d *LetterDraft) {
			d.Records, d.Receipts = nil, slices.Repeat(LetterReceipts{{id, LevelRead, 1}}, 513)
		}},
		{"a receipt at no level", "malformed receipt", func(d *LetterDraft) { d.Records, d.Receipts = nil, LetterReceipts{{id, "SENT", 1}} }},
		{"a record to nobody", "0 recipients", func(d *LetterDraft) { r := *d.Records[0]; r.To = nil; d.Records = []*Record{&r} }},
		{"a K that is erased", "erased", func(d *LetterDraft) { d.Key = fixedKey(t, 10); d.Key.Erase() }},
	} {
		d := alice.draft(bob, alice.record("hi", 1))
		c.change(&d)
		l, err := SealLetter(d)
		if l != nil || err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.why, err)
		}
	}
}

// post is a letter that is taken apart, for letters that are spoilt and sealed again.
type post struct {
	alice, bob *device
	enc, ss    []byte
}

// newPost encapsulates to bob's mailbox. A nil enc stands for a new one.
func newPost(t testing.TB, enc []byte) *post {
	t.Helper()
	p := &post{alice: fixedDevice(t, "alice", 10), bob: fixedDevice(t, "Bob", 20), enc: enc}
	var err error
	info := letterInfo(run32(60), p.bob.box.Hash())
	if enc == nil {
		p.enc, p.ss, err = mailboxSuite().Encapsulate(p.bob.box.Public(), info)
	} else {
		p.ss, err = mailboxSuite().Decapsulate(p.bob.box.key, enc, info)
	}
	Must(t, err)
	return p
}

// forgery is a letter before it is signed and sealed again.
type forgery struct {
	*post
	o          LetterOutside
	bundle     []byte
	mailboxKey []byte
	h          *LetterHeader
	header     []byte // for one that is not canonical
	inside     []byte

	signs    func([]byte) []byte // of the header
	key      *trust.Key
	lines    func([]byte) []byte // of the plaintext
	sealedBy []byte              // a secret
	after    func([]byte) []byte // of the body
}

// letters are the two good ones: a text of three records of a sender without a mailbox, and receipts.
func (p *post) letters(t testing.TB) []*Letter {
	t.Helper()
	d := p.alice.draft(p.bob, p.alice.record("hi", 1), p.alice.record("é\n\u2028", 2), p.alice.record("", 3))
	bundle := *p.alice.bundle
	bundle.Mailbox, bundle.MailboxEnd = []byte{}, 0
	d.Bundle, d.MailboxKey = &bundle, nil
	text, err := d.seal(run32(60), p.enc, p.ss)
	Must(t, err)
	d.Bundle, d.MailboxKey, d.Records, d.N = p.alice.bundle, p.alice.box.Public(), nil, 1
	d.Receipts = LetterReceipts{{run(7, 32), LevelDelivered, letterTime.UnixMilli() - 5}, {run(8, 32), LevelRead, letterTime.UnixMilli()}}
	receipt, err := d.seal(run32(60), p.enc, p.ss)
	Must(t, err)
	return []*Letter{text, receipt}
}

// forge changes a good letter, the text or the receipts, and signs and seals it again.
func (p *post) forge(t testing.TB, kind string, change func(*forgery)) []byte {
	t.Helper()
	l := p.letters(t)[map[string]int{LetterText: 0, LetterReceipt: 1}[kind]]
	f := &forgery{
		post: p, bundle: proto.MustMarshal(l.Bundle), mailboxKey: l.MailboxKey, h: l.Header, key: p.alice.key, signs: LetterSigns, sealedBy: p.ss,
		inside: bytes.Join(append(l.ExactRecords, l.ExactReceipts), []byte("\n")),
		o:      LetterOutside{Letter: bytes.Clone(l.ID[:]), Suite: SuiteMLKEM, Mailbox: bytes.Clone(l.Mailbox[:]), Enc: p.enc},
		lines:  bytes.Clone, after: bytes.Clone,
	}
	f.inside = bytes.TrimSuffix(f.inside, []byte("\n"))
	change(f)
	if f.header == nil {
		f.header = proto.MustMarshal(f.h)
	}
	plaintext := f.lines(joinLetter(f.bundle, f.mailboxKey, f.header, f.key.Sign(f.signs(f.header)), f.inside))
	return f.after(sealLetterBody(&f.o, f.sealedBy, plaintext))
}

// digestOf has the header fit the records inside.
func (f *forgery) digestOf() {
	d := FirstLetterDigest([32]byte(f.h.Letter), [32]byte(f.h.Mailbox))
	lines := bytes.Split(f.inside, []byte("\n"))
	for _, line := range lines {
		d = NextDigest(d, sha256.Sum256(line))
	}
	f.h.Digest, f.h.Count = d[:], uint64(len(lines))
}

// replaced changes something that stands there once or more.
func replaced(t testing.TB, b []byte, old, new string) []byte {
	t.Helper()
	out := bytes.Replace(b, []byte(old), []byte(new), 1)
	if bytes.Equal(out, b) {
		t.Fatalf("nothing changed: %q is not in %.300q", old, b)
	}
	return out
}

// badLetter is a letter that bob refuses.
type badLetter struct {
	why, kind string
	code      proto.Code
	says      string
	change    func(t testing.TB, f *forgery)
}

var badLetters = []badLetter{
	{"nothing", LetterText, proto.Malformed, "nothing is sealed", func(_ testing.TB, f *forgery) { f.after = func([]byte) []byte { return []byte{} } }},
	{"no newline", LetterText, proto.Malformed, "nothing is sealed", func(_ testing.TB, f *forgery) {
		f.after = func(b []byte) []byte { outside, _, _ := bytes.Cut(b, []byte("\n")); return outside }
	}},
	{"a tag and nothing else is sealed", LetterText, proto.Malformed, "nothing is sealed", func(_ testing.TB, f *forgery) {
		f.after = func(b []byte) []byte { return b[:bytes.IndexByte(b, '\n')+1+letterTag] }
	}},
	{"a byte too many", LetterText, proto.TooLong, "65537 bytes", func(_ testing.TB, f *forgery) {
		f.after = func(b []byte) []byte { return append(b, make([]byte, proto.MaxLetter+1-len(b))...) }
	}},
	{"a space in the outside", LetterText, proto.Malformed, "its outside: not canonical", func(t testing.TB, f *forgery) {
		f.after = func(b []byte) []byte { return replaced(t, b, `,"suite"`, `, "suite"`) }
	}},
	{"a field more outside", LetterText, proto.Malformed, "its outside: not canonical", func(t testing.TB, f *forgery) {
		f.after = func(b []byte) []byte { return replaced(t, b, `,"suite"`, `,"n":1,"suite"`) }
	}},
	{"an id of 31 bytes", LetterText, proto.Malformed, "of another length", func(_ testing.TB, f *forgery) { f.o.Letter = f.o.Letter[1:] }},
	{"a mailbox of 33 bytes", LetterText, proto.Malformed, "of another length", func(_ testing.TB, f *forgery) { f.o.Mailbox = append(f.o.Mailbox, 0) }},
	{"an enc of 1,119 bytes", LetterText, proto.Malformed, "of another length", func(_ testing.TB, f *forgery) { f.o.Enc = f.o.Enc[1:] }},
	{"another suite", LetterText, proto.NoCommonSuite, "another suite", func(_ testing.TB, f *forgery) { f.o.Suite = SuiteRSA256 }},
	{"another mailbox", LetterText, proto.Malformed, "another mailbox", func(_ testing.TB, f *forgery) { f.o.Mailbox = bytes.Repeat([]byte{1}, 32) }},
	{"an enc for nobody", LetterText, proto.DecryptFailed, "", func(_ testing.TB, f *forgery) {
		f.o.Enc = bytes.Clone(f.o.Enc)
		f.o.Enc[0] ^= 1
		f.sealedBy = run(1, 32)
	}},
	{"an enc with a point of low order", LetterText, proto.DecryptFailed, "", func(_ testing.TB, f *forgery) {
		f.o.Enc = append(bytes.Clone(f.o.Enc[:letterEncSize-32]), make([]byte, 32)...)
	}},
	{"another id outside than was sealed", LetterText, proto.DecryptFailed, "", func(t testing.TB, f *forgery) {
		f.after = func(b []byte) []byte {
			other := bytes.Repeat([]byte{9}, 32)
			return replaced(t, b, string(proto.AppendBase64(nil, f.o.Letter)), string(proto.AppendBase64(nil, other)))
		}
	}},
	{"a bit of the sealed bytes", LetterText, proto.DecryptFailed, "", func(_ testing.TB, f *forgery) {
		f.after = func(b []byte) []byte { b[len(b)-letterTag-1] ^= 1; return b }
	}},
	{"a bit of the tag", LetterText, proto.DecryptFailed, "", func(_ testing.TB, f *forgery) {
		f.after = func(b []byte) []byte { b[len(b)-1] ^= 0x80; return b }
	}},
	{"a byte behind the tag", LetterText, proto.DecryptFailed, "", func(_ testing.TB, f *forgery) { f.after = func(b []byte) []byte { return append(b, 0) } }},
	{"sealed under another secret", LetterText, proto.DecryptFailed, "", func(_ testing.TB, f *forgery) { f.sealedBy = run(1, 32) }},

	{"four lines", LetterText, proto.Malformed, "lines are missing", func(_ testing.TB, f *forgery) {
		f.lines = func(b []byte) []byte { return bytes.Join(bytes.SplitN(b, []byte("\n"), 5)[:4], []byte("\n")) }
	}},
	{"a bundle with a space", LetterText, proto.Malformed, "its bundle is not canonical", func(t testing.TB, f *forgery) {
		f.bundle = replaced(t, f.bundle, `,"x509"`, `, "x509"`)
	}},
	{"null for a bundle", LetterText, proto.Malformed, "its bundle is not canonical", func(_ testing.TB, f *forgery) { f.bundle = []byte("null") }},
	{"a mailbox key that is not base64", LetterText, proto.Malformed, "is not base64", func(t testing.TB, f *forgery) {
		f.lines = func(b []byte) []byte { return replaced(t, b, "}\n", "}\n!") }
	}},
	{"a signature that is not base64", LetterText, proto.Malformed, "is not base64", func(t testing.TB, f *forgery) {
		f.lines = func(b []byte) []byte { return replaced(t, b, "=\n{\"id\"", "\n{\"id\"") }
	}},
	{"a header with a space", LetterText, proto.Malformed, "its header: not canonical", func(t testing.TB, f *forgery) {
		f.header = replaced(t, proto.MustMarshal(f.h), `,"n":`, `, "n":`)
	}},
	{"a header with a field more", LetterText, proto.Malformed, "its header: not canonical", func(t testing.TB, f *forgery) {
		f.header = replaced(t, proto.MustMarshal(f.h), `,"n":`, `,"random":"","n":`)
	}},
	{"n beyond 2^63 - 1", LetterText, proto.Malformed, "its header: a number is too large", func(t testing.TB, f *forgery) {
		f.header = replaced(t, proto.MustMarshal(f.h), `"n":3`, `"n":9223372036854775808`)
	}},
	{"a digest of 31 bytes", LetterText, proto.Malformed, "a hash of another length", func(_ testing.TB, f *forgery) { f.h.Digest = f.h.Digest[1:] }},
	{"another kind", LetterText, proto.Malformed, "of no known kind", func(_ testing.TB, f *forgery) { f.h.Kind = KindPipe }},
	{"n is 0", LetterText, proto.Malformed, "time or number", func(_ testing.TB, f *forgery) { f.h.N = 0 }},
	{"a time below 0", LetterText, proto.Malformed, "time or number", func(_ testing.TB, f *forgery) { f.h.Time = -1 }},
	{"no records by its header", LetterText, proto.Malformed, "0 entries", func(_ testing.TB, f *forgery) { f.h.Count = 0 }},
	{"513 records by its header", LetterText, proto.Malformed, "513 entries", func(_ testing.TB, f *forgery) { f.h.Count = 513 }},

	{"another id inside", LetterText, proto.Malformed, "of another letter", func(_ testing.TB, f *forgery) { f.h.Letter = bytes.Repeat([]byte{9}, 32) }},
	{"another mailbox inside", LetterText, proto.Malformed, "of another letter", func(_ testing.TB, f *forgery) { f.h.Mailbox = bytes.Repeat([]byte{9}, 32) }},
	{"the hash of another enc inside", LetterText, proto.Malformed, "of another letter", func(_ testing.TB, f *forgery) { f.h.EncHash = bytes.Repeat([]byte{9}, 32) }},
	{"src-bundle is another", LetterText, proto.Malformed, "another bundle than the one inside", func(_ testing.TB, f *forgery) { f.h.SrcBundle = bytes.Repeat([]byte{9}, 32) }},
	{"another bundle inside", LetterText, proto.Malformed, "another bundle than the one inside", func(_ testing.TB, f *forgery) {
		f.bundle = proto.MustMarshal(f.bob.bundle)
	}},
	{"a bundle without a certificate", LetterText, proto.BundleMalformed, "no certificate", func(_ testing.TB, f *forgery) {
		b := *f.alice.bundle
		b.X509 = []byte{}
		f.rebundle(&b)
	}},
	{"a bundle whose key is none", LetterText, proto.BundleMalformed, "key", func(_ testing.TB, f *forgery) {
		b := *f.alice.bundle
		b.PublicKey = []byte{1}
		f.rebundle(&b)
	}},
	{"the mailbox key of somebody else", LetterReceipt, proto.Malformed, "does not name", func(_ testing.TB, f *forgery) { f.mailboxKey = f.bob.box.Public() }},
	{"a mailbox key, where the bundle names none", LetterText, proto.Malformed, "does not name", func(_ testing.TB, f *forgery) { f.mailboxKey = f.alice.box.Public() }},
	{"a mailbox key that is none, and is named", LetterReceipt, proto.Malformed, "cannot be used", func(_ testing.TB, f *forgery) {
		f.mailboxKey = []byte{1, 2, 3}
		b, hash := *f.alice.bundle, MailboxHash(f.mailboxKey)
		b.Mailbox = hash[:]
		f.rebundle(&b)
	}},
	{"signed by another K", LetterText, proto.SignatureInvalid, "", func(_ testing.TB, f *forgery) { f.key = f.bob.key }},
	{"signed as a message", LetterText, proto.SignatureInvalid, "", func(_ testing.TB, f *forgery) {
		f.signs = func(h []byte) []byte { return MessageSigns(h, sha256.Sum256(f.inside)) }
	}},
	{"a header changed after it was signed", LetterText, proto.SignatureInvalid, "", func(t testing.TB, f *forgery) {
		f.lines = func(b []byte) []byte { return replaced(t, b, `,"n":3,`, `,"n":4,`) }
	}},

	{"a record less than it says", LetterText, proto.Malformed, "3 records where its header says 4", func(_ testing.TB, f *forgery) { f.h.Count = 4 }},
	{"a record more than it says", LetterText, proto.Malformed, "where its header says 2", func(_ testing.TB, f *forgery) { f.h.Count = 2 }},
	{"another record", LetterText, proto.DecryptFailed, "the digest", func(t testing.TB, f *forgery) { f.inside = replaced(t, f.inside, `"hi"`, `"ho"`) }},
	{"records in another order", LetterText, proto.DecryptFailed, "the digest", func(_ testing.TB, f *forgery) {
		lines := bytes.Split(f.inside, []byte("\n"))
		slices.Reverse(lines)
		f.inside = bytes.Join(lines, []byte("\n"))
	}},
	{"the digest of a conversation", LetterText, proto.DecryptFailed, "the digest", func(_ testing.TB, f *forgery) {
		d := FirstDigest([32]byte(f.h.Letter), DirectionAB)
		for line := range bytes.SplitSeq(f.inside, []byte("\n")) {
			d = NextDigest(d, sha256.Sum256(line))
		}
		f.h.Digest = d[:]
	}},
	{"the digest of another letter", LetterText, proto.DecryptFailed, "the digest", func(_ testing.TB, f *forgery) {
		good := f.h.Letter
		f.h.Letter = bytes.Repeat([]byte{9}, 32)
		f.digestOf()
		f.h.Letter = good
	}},
	{"a record that is not canonical", LetterText, proto.Malformed, "record: not canonical", func(t testing.TB, f *forgery) {
		f.inside = replaced(t, f.inside, `"seq":1`, `"seq": 1`)
		f.digestOf()
	}},
	{"a record of another sender", LetterText, proto.Malformed, "the id is not that of its content", func(t testing.TB, f *forgery) {
		f.inside = replaced(t, f.inside, `{"id":"`+f.alice.record("hi", 1).ID, `{"id":"`+f.bob.record("hi", 1).ID)
		f.digestOf()
	}},
	{"a record with the seq of a conversation", LetterText, proto.Malformed, "seq or time", func(t testing.TB, f *forgery) {
		f.inside = replaced(t, f.inside, `"seq":3`, `"seq":7`)
		f.digestOf()
	}},
	{"a record of later", LetterText, proto.Malformed, "seq or time", func(_ testing.TB, f *forgery) {
		f.h.Time -= trust.ClockTolerance.Milliseconds() + 1
	}},
	{"receipts, called records", LetterReceipt, proto.DecryptFailed, "the digest", func(_ testing.TB, f *forgery) { f.h.Kind, f.h.Count = LetterText, 1 }},
	{"records, called receipts", LetterText, proto.Malformed, "its receipts: it is not JSON", func(_ testing.TB, f *forgery) { f.h.Kind = LetterReceipt }},
	{"a receipt less than it says", LetterReceipt, proto.Malformed, "2 receipts where its header says 3", func(_ testing.TB, f *forgery) { f.h.Count = 3 }},
	{"no receipts", LetterReceipt, proto.Malformed, "0 receipts", func(_ testing.TB, f *forgery) { f.inside = []byte("[]") }},
	{"null for receipts", LetterReceipt, proto.Malformed, "its receipts: a null", func(_ testing.TB, f *forgery) { f.inside = []byte("null") }},
	{"another receipt", LetterReceipt, proto.DecryptFailed, "the digest", func(t testing.TB, f *forgery) { f.inside = replaced(t, f.inside, LevelDelivered, LevelRead) }},
	{"a receipt for half an id", LetterReceipt, proto.Malformed, "a malformed receipt", func(_ testing.TB, f *forgery) { f.receipts(LetterReceiptEntry{run(1, 16), LevelRead, 1}) }},
	{"a receipt at another level", LetterReceipt, proto.Malformed, "a malformed receipt", func(_ testing.TB, f *forgery) { f.receipts(LetterReceiptEntry{run(1, 32), "KEPT", 1}) }},
	{"a receipt from before 1970", LetterReceipt, proto.Malformed, "a malformed receipt", func(_ testing.TB, f *forgery) { f.receipts(LetterReceiptEntry{run(1, 32), LevelRead, -1}) }},
}

// rebundle has the letter come from another bundle.
func (f *forgery) rebundle(b *trust.Bundle) {
	hash := b.Hash()
	f.bundle, f.h.SrcBundle = proto.MustMarshal(b), hash[:]
}

// receipts has the letter carry these.
func (f *forgery) receipts(r ...LetterReceiptEntry) {
	d := LetterReceipts(r).Digest([32]byte(f.h.Letter), [32]byte(f.h.Mailbox))
	f.inside, f.h.Digest, f.h.Count = proto.MustMarshal(r), d[:], uint64(len(r))
}

// readLetter is what a receiver does whose sender has this identity.
func readLetter(m *Mailbox, body []byte, sender [32]byte) (*Letter, error) {
	l, err := OpenLetter(m, body)
	if err != nil {
		return nil, err
	}
	return l, l.ReadRecords(sender)
}

// refusalCode is the code with which another program would be told.
func refusalCode(err error) proto.Code {
	if e, ok := errors.AsType[*proto.Error](err); ok {
		return e.Code
	}
	if e, ok := errors.AsType[interface {
		error
		Refusal() (proto.Code, string, string)
	}](err); ok {
		code, _, _ := e.Refusal()
		return code
	}
	return ""
}

// Every check refuses a letter that all others take, and says why.
func TestLetterRefused(t *testing.T) {
	p := newPost(t, nil)
	for _, kind := range []string{LetterText, LetterReceipt} {
		if _, err := readLetter(p.bob.box, p.forge(t, kind, func(*forgery) {}), p.alice.identity); err != nil {
			t.Fatalf("a good %s: %v", kind, err)
		}
	}
	for _, bad := range badLetters {
		body := p.forge(t, bad.kind, func(f *forgery) { bad.change(t, f) })
		_, err := readLetter(p.bob.box, body, p.alice.identity)
		if err == nil || refusalCode(err) != bad.code || !strings.Contains(err.Error(), bad.says) {
			t.Errorf("%s: %s %v", bad.why, refusalCode(err), err)
		}
	}
	body := p.forge(t, LetterText, func(*forgery) {})
	if _, err := readLetter(p.bob.box, body, p.bob.identity); refusalCode(err) != proto.Malformed {
		t.Errorf("a letter of somebody who is another person: %v", err)
	}
	p.bob.box.Erase()
	if _, err := OpenLetter(p.bob.box, body); err != ErrDecrypt {
		t.Errorf("an erased mailbox: %v", err)
	}
}

// The relay looks at the outside only.
func TestSplitLetterTakesAnyInside(t *testing.T) {
	p := newPost(t, nil)
	for _, bad := range badLetters {
		body := p.forge(t, bad.kind, func(f *forgery) { bad.change(t, f) })
		o, exact, sealed, err := SplitLetter(body)
		if inside := bad.code != proto.TooLong && bad.code != proto.NoCommonSuite && !strings.Contains(bad.says, "outside") &&
			!strings.Contains(bad.says, "nothing is sealed") && bad.says != "of another length"; inside != (err == nil) {
			t.Errorf("%s: %v", bad.why, err)
		}
		if err == nil && (!bytes.Equal(slices.Concat(exact, []byte("\n"), sealed), body) || len(o.Letter) != 32) {
			t.Errorf("%s: taken apart wrongly", bad.why)
		}
	}
}

func FuzzSplitLetter(f *testing.F) {
	stored, err := os.ReadFile(vectorsFile)
	Must(f, err)
	var v vectors
	Must(f, json.Unmarshal(stored, &v))
	o, _, _, err := SplitLetter(unhex(f, v.Letter[0].Body))
	Must(f, err)
	p := newPost(f, o.Enc) // every worker makes the same letters
	good := p.forge(f, LetterText, func(*forgery) {})
	var others [][]byte
	for _, bad := range badLetters {
		others = append(others, p.forge(f, bad.kind, func(x *forgery) { bad.change(f, x) }))
	}
	corpus.Add(f, func(b []byte) bool { _, _, _, err := SplitLetter(b); return err == nil }, [][]byte{good}, others...)
	f.Fuzz(func(t *testing.T, b []byte) {
		o, exact, sealed, err := SplitLetter(b)
		if err != nil {
			if _, ok := errors.AsType[*proto.Error](err); !ok {
				t.Fatalf("%v is not told", err)
			}
			return
		}
		if !bytes.Equal(proto.MustMarshal(o), exact) || !bytes.Equal(slices.Concat(exact, []byte("\n"), sealed), b) || len(b) > proto.MaxLetter {
			t.Fatalf("%q was taken for %+v", b, o)
		}
		sealedHere := func(x []byte) bool { return bytes.Equal(x, b) }
		if _, err := OpenLetter(p.bob.box, b); err == nil && !sealedHere(good) && !slices.ContainsFunc(others, sealedHere) {
			t.Fatalf("%q was opened", b)
		}
	})
}

// FuzzOpenedLetter seals any plaintext, and signs any header. A letter that is taken is the only
// encoding of its values.
func FuzzOpenedLetter(f *testing.F) {
	p := newPost(f, nil)
	open := func(t testing.TB, plaintext []byte) (*Letter, error) {
		body := p.forge(t, LetterText, func(x *forgery) {
			x.lines = func([]byte) []byte {
				lines := bytes.SplitN(plaintext, []byte("\n"), 5)
				if len(lines) == 5 && string(lines[3]) == "sign" {
					lines[3] = proto.AppendBase64(nil, p.alice.key.Sign(LetterSigns(lines[2])))
				}
				return bytes.Join(lines, []byte("\n"))
			}
		})
		return readLetter(p.bob.box, body, p.alice.identity)
	}
	var good, others [][]byte
	plain := func(kind string, change func(*forgery)) (plaintext []byte) {
		p.forge(f, kind, func(x *forgery) {
			change(x)
			lines := x.lines
			x.lines = func(b []byte) []byte {
				plaintext = lines(b)
				if parts := bytes.SplitN(plaintext, []byte("\n"), 5); len(parts) == 5 {
					parts[3] = []byte("sign")
					plaintext = bytes.Join(parts, []byte("\n"))
				}
				return plaintext
			}
		})
		return plaintext
	}
	for _, kind := range []string{LetterText, LetterReceipt} {
		good = append(good, plain(kind, func(*forgery) {}))
	}
	for _, bad := range badLetters {
		others = append(others, plain(bad.kind, func(x *forgery) { bad.change(f, x) }))
	}
	corpus.Add(f, func(b []byte) bool { _, err := open(f, b); return err == nil }, good, others...)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > proto.MaxLetter-2048 {
			return
		}
		l, err := open(t, b)
		if err != nil {
			if refusalCode(err) == "" {
				t.Fatalf("%v has no code", err)
			}
			return
		}
		lines := bytes.SplitN(b, []byte("\n"), 5)
		again := [][]byte{proto.MustMarshal(l.Bundle), proto.AppendBase64(nil, l.MailboxKey), proto.MustMarshal(l.Header)}
		if !slices.EqualFunc(again, lines[:3], bytes.Equal) {
			t.Fatalf("%q was taken for %q", b, again)
		}
		if l.Header.Kind == LetterReceipt && !bytes.Equal(proto.MustMarshal(l.Receipts), lines[4]) || uint64(len(l.Records)+len(l.Receipts)) != l.Header.Count {
			t.Fatalf("%q was taken for %+v", b, l)
		}
		for i, r := range l.Records {
			if !bytes.Equal(r.Encode(), l.ExactRecords[i]) {
				t.Fatalf("%q was taken for %+v", l.ExactRecords[i], r)
			}
		}
	})
}

func FuzzLetterHeader(f *testing.F) {
	p := newPost(f, nil)
	var good [][]byte
	for _, l := range p.letters(f) {
		good = append(good, l.Exact)
	}
	corpus.Add(f, func(b []byte) bool { _, err := ParseLetterHeader(b); return err == nil }, good,
		[]byte("{}"), replaced(f, good[0], `"n":3`, `"n":0`), replaced(f, good[0], `"n":3`, `"n":-1`), replaced(f, good[0], `"count":3`, `"count":513`))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseLetterHeader(b)
		if err != nil {
			if refusalCode(err) != proto.Malformed {
				t.Fatalf("%v", err)
			}
			return
		}
		if !bytes.Equal(proto.MustMarshal(h), b) || h.N == 0 || h.Count == 0 || h.Count > MaxLetterEntries {
			t.Fatalf("%q was taken for %+v", b, h)
		}
	})
}

func FuzzLetterReceipts(f *testing.F) {
	good := newPost(f, nil).letters(f)[1].ExactReceipts
	corpus.Add(f, func(b []byte) bool { _, err := ParseLetterReceipts(b); return err == nil }, [][]byte{good},
		[]byte("[]"), []byte("null"), replaced(f, good, LevelRead, "KEPT"), replaced(f, good, `"time":`, `"time":-`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseLetterReceipts(b)
		if err != nil {
			if refusalCode(err) != proto.Malformed {
				t.Fatalf("%v", err)
			}
			return
		}
		if !bytes.Equal(proto.MustMarshal(r), b) || len(r) == 0 || len(r) > MaxLetterEntries {
			t.Fatalf("%q was taken for %+v", b, r)
		}
		r.Digest([32]byte{1}, [32]byte{2})
	})
}
