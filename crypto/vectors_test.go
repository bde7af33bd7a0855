package crypto

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"chatsecure/crypto/trust"
	"chatsecure/proto"
	"chatsecure/testdata/lab/people"
)

// vectors.json is for the authors of other clients: one construction at a time, with its inputs.
// Bytes are hex, and JSON inside strings is exact. The code makes the file again here, byte for
// byte. testdata/second_vectors.py computes the same by the formulas of PROTOCOL.md, so a mistake
// would have to be made twice.

type vectors struct {
	Note       string             `json:"note"`
	Tuple      []vectorTuple      `json:"tuple"`
	Delegation []vectorDelegation `json:"delegation"`
	Bundle     []vectorBundle     `json:"bundle"`
	KEM        []vectorKEM        `json:"kem"`
	Seal       []vectorSeal       `json:"seal"`
	Chain      []vectorChain      `json:"chain"`
	Line       []vectorLine       `json:"line"`
	Step       []vectorStep       `json:"step"`
	Record     []vectorRecord     `json:"record"`
	Digest     vectorDigest       `json:"digest"`
	Receipt    []vectorReceipt    `json:"receipt"`
	Message    vectorMessage      `json:"message"`
	Canonical  []vectorCanonical  `json:"canonical"`
	Refused    []vectorNotARecord `json:"records_refused"`

	Name              []vectorName       `json:"name"`
	NotNames          []vectorNotAName   `json:"names_refused"`
	Identity          []vectorIdentity   `json:"identity"`
	Signature         []vectorSignature  `json:"signature"`
	Retry             vectorRetry        `json:"retry"`
	Request           vectorRequest      `json:"request"`
	Header            []vectorHeader     `json:"header"`
	NotHeaders        []vectorRefused    `json:"headers_refused"`
	NotMessageHeaders []vectorNotAHeader `json:"message_headers_refused"`

	Letter     []vectorLetter     `json:"letter"`
	NotLetters []vectorNotALetter `json:"letters_refused"`
}

type vectorTuple struct {
	Context string       `json:"context"`
	Items   []vectorItem `json:"items"`
	Tuple   string       `json:"tuple"`
	Hash    string       `json:"hash"`
}

// vectorItem is one of its fields.
type vectorItem struct {
	Bytes   *string       `json:"bytes,omitempty"`
	String  *string       `json:"string,omitempty"`
	Integer *uint64       `json:"integer,omitempty"`
	List    *[]vectorItem `json:"list,omitempty"`
}

type vectorDelegation struct {
	Leaf      string `json:"leaf"`
	Name      string `json:"name"`
	SPKI      string `json:"spki"`
	NotBefore int64  `json:"not_before"`
	NotAfter  int64  `json:"not_after"`
	Mailbox   string `json:"mailbox"`
	BoxEnd    int64  `json:"mailbox_end"`
	Message   string `json:"message"`
}

type vectorBundle struct {
	Bundle string `json:"bundle"`
	Hash   string `json:"hash"`
}

type vectorKEM struct {
	Suite   string `json:"suite"`
	Private string `json:"private"` // the seed, or PKCS #8
	Public  string `json:"public"`
	Info    string `json:"info"`
	Enc     string `json:"enc"`
	Secret  string `json:"secret"`
}

type vectorSeal struct {
	Suite     string `json:"suite"`
	MK        string `json:"mk"`
	AAD       string `json:"aad"`
	Plaintext string `json:"plaintext"`
	Sealed    string `json:"sealed"`
}

// vectorLine is a secure line, with and without a body.
type vectorLine struct {
	Suite   string `json:"suite"`
	MK      string `json:"mk"`
	Seq     uint64 `json:"seq"`
	Random  string `json:"random"`
	Payload string `json:"payload"`
	Body    string `json:"body"`
	Line    string `json:"line"`
}

type vectorChain struct {
	Suite     string       `json:"suite"`
	Session   string       `json:"session"`
	Direction string       `json:"direction"`
	CK        string       `json:"ck"`
	Links     []vectorLink `json:"links"`
}

type vectorLink struct {
	N      uint64 `json:"n"`
	Random string `json:"random"`
	MK     string `json:"mk"`
	NextCK string `json:"next_ck"`
}

type vectorStep struct {
	Suite     string `json:"suite"`
	T3        string `json:"t3"`
	Direction string `json:"direction"`
	Root      string `json:"root"`
	Secret    string `json:"secret"`
	Number    uint64 `json:"number"`
	KeyUsed   string `json:"key_used"`
	Enc       string `json:"enc"`
	NewKey    string `json:"new_key"`
	NextRoot  string `json:"next_root"`
	NextCK    string `json:"next_ck"`
}

type vectorRecord struct {
	Sender string `json:"sender"`
	Record string `json:"record"`
	ID     string `json:"id"`
}

type vectorDigest struct {
	T3        string   `json:"t3"`
	Direction string   `json:"direction"`
	Records   []string `json:"records"`
	Digests   []string `json:"digests"` // d0, and after each record
}

type vectorReceipt struct {
	T3        string `json:"t3"`
	Direction string `json:"direction"` // of the receipt
	Receipt   string `json:"receipt"`
	Digest    string `json:"digest"`
}

type vectorMessage struct {
	Header     string `json:"header"`
	CipherHash string `json:"cipher_hash"`
	Signed     string `json:"signed"` // the message that K signs
}

// vectorRetry is a p1, the retry that answers it, and the p1 that answers that.
type vectorRetry struct {
	P1         string `json:"p1"`
	Signature1 string `json:"signature1"` // A's, over p1
	T1         string `json:"t1"`
	Retry      string `json:"retry"`
	Signed     string `json:"signed"`    // the message that B's K signs
	Signature  string `json:"signature"` // B's
	Again      string `json:"again"`     // the second p1
	Order      string `json:"order"`     // H(first p1), for both
}

// vectorRequest is a signed request to the relay.
type vectorRequest struct {
	T4        string `json:"t4"`
	Seq       uint64 `json:"seq"`
	Header    string `json:"header"`
	SPKI      string `json:"spki"`
	Signed    string `json:"signed"`
	Signature string `json:"signature"`
}

type vectorCanonical struct {
	Text string `json:"text"` // hex of UTF-8
	JSON string `json:"json"` // hex of its canonical JSON string
}

type vectorNotARecord struct {
	Why    string `json:"why"`
	Record string `json:"record"`
}

// hexOf is the form of bytes in the file.
var hexOf = hex.EncodeToString

// run is n bytes that count up.
func run(from byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = from + byte(i)
	}
	return b
}

func run32(from byte) [32]byte { return [32]byte(run(from, 32)) }

const vectorsFile = "testdata/vectors.json"

func TestVectors(t *testing.T) {
	stored, err := os.ReadFile(vectorsFile)
	if err != nil && !*Update {
		t.Fatal(err)
	}
	var old vectors
	if err == nil {
		if err := json.Unmarshal(stored, &old); err != nil {
			t.Fatal(err)
		}
	}
	v := &vectors{Note: "Test vectors of PROTOCOL.md, one construction at a time. Bytes are hex; records, receipts, headers and bundles are the exact JSON."}
	v.identities(t)
	v.kem(t, old.KEM)
	v.keys()
	v.records(t)
	v.names(t)
	v.stored(t, &old)
	v.retry(t)
	v.request(t)
	v.headers(t)
	v.messageHeaders(t, v.Message.Header)
	v.letters(t, &old)
	got, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *Update {
		if err := os.WriteFile(vectorsFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
		stored = got
	}
	if !bytes.Equal(got, stored) {
		lines := strings.Split(string(stored), "\n")
		for i, line := range strings.Split(string(got), "\n") {
			if i >= len(lines) || line != lines[i] {
				t.Fatalf("%s, line %d: now %.300s", vectorsFile, i+1, line)
			}
		}
		t.Fatalf("%s: it has more lines than there are vectors", vectorsFile)
	}
}

func (v *vectors) identities(t *testing.T) {
	t.Helper()
	for _, test := range []struct {
		context string
		items   []any
	}{
		{"x", nil},
		{"x", []any{[]byte{}, []byte{1, 2, 3}}},
		{"x", []any{"texto é", uint64(0), uint64(1795348800), ^uint64(0)}},
		{"x", []any{proto.List{}, proto.List{"a", []byte{2}}, proto.List{proto.List{"alice", []byte{}}, proto.List{"bob", []byte{3}}}}},
	} {
		b := proto.Tuple(test.context, test.items...)
		hash := sha256.Sum256(b)
		v.Tuple = append(v.Tuple, vectorTuple{proto.ContextPrefix + test.context, vectorItems(test.items), hexOf(b), hexOf(hash[:])})
	}
	b := &trust.Bundle{
		Name: "Bob", PublicKey: people.SPKI(t, ed25519.PublicKey(run(1, 32))), NotBefore: 1795345200, NotAfter: 1795374000,
		Signature: run(50, 70), X509: run(100, 20), Chain: [][]byte{run(120, 10), run(130, 5)},
	}
	for _, box := range []struct {
		hash []byte
		end  int64
	}{{[]byte{}, 0}, {run(140, 32), 1796554800}} {
		b.Mailbox, b.MailboxEnd = box.hash, box.end
		Must(t, b.Check())
		hash := b.Hash()
		v.Bundle = append(v.Bundle, vectorBundle{string(proto.MustMarshal(b)), hexOf(hash[:])})
		v.Delegation = append(v.Delegation, vectorDelegation{
			hexOf(b.X509), b.Name, hexOf(b.PublicKey), b.NotBefore, b.NotAfter, hexOf(b.Mailbox), b.MailboxEnd, hexOf(b.DelegationMessage()),
		})
	}
}

func vectorItems(items []any) []vectorItem {
	all := []vectorItem{}
	for _, it := range items {
		var item vectorItem
		switch it := it.(type) {
		case []byte:
			s := hexOf(it)
			item.Bytes = &s
		case string:
			item.String = &it
		case uint64:
			item.Integer = &it
		case proto.List:
			sub := vectorItems(it)
			item.List = &sub
		}
		all = append(all, item)
	}
	return all
}

// kem checks the stored encapsulations, since no two are equal. It makes them only if there are
// none.
func (v *vectors) kem(t *testing.T, old []vectorKEM) {
	t.Helper()
	for _, suite := range []string{SuiteMLKEM, SuiteRSA256} {
		s, found := SuiteByName(suite), false
		for _, k := range old {
			if k.Suite != suite {
				continue
			}
			found = true
			key := ParseKEMKey(t, suite, unhex(t, k.Private))
			secret, err := s.Decapsulate(key, unhex(t, k.Enc), unhex(t, k.Info))
			if err != nil {
				t.Fatal(err)
			}
			k.Public, k.Secret = hexOf(key.Public()), hexOf(secret)
			v.KEM = append(v.KEM, k)
		}
		if found || !*Update {
			continue
		}
		key, err := s.GenerateKey()
		Must(t, err)
		enc, secret, err := s.Encapsulate(key.Public(), []byte("info"))
		Must(t, err)
		v.KEM = append(v.KEM, vectorKEM{suite, hexOf(MarshalKEMKey(t, key)), hexOf(key.Public()),
			hexOf([]byte("info")), hexOf(enc), hexOf(secret)})
	}
	if len(v.KEM) != 2 {
		t.Errorf("%d vectors of encapsulation", len(v.KEM))
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (v *vectors) keys() {
	for _, s := range suites {
		for _, n := range []int{0, 15, 16, 33} {
			sealed := s.Seal(nil, run(1, 32), []byte("aad"), run(0, n))
			v.Seal = append(v.Seal, vectorSeal{s.Name(), hexOf(run(1, 32)), hexOf([]byte("aad")),
				hexOf(run(0, n)), hexOf(sealed)})
		}
		for seq, body := range []string{"", "sealed bytes of a pipe"} {
			payload, random, text := []byte("{}\n\nbody"), [32]byte(run(90, 32)), proto.AppendBase64(nil, []byte(body))
			line := proto.AppendSecure(nil, uint64(seq), &random, s.Seal(nil, run(70, 32), text, payload), text)
			v.Line = append(v.Line, vectorLine{
				s.Name(), hexOf(run(70, 32)), uint64(seq), hexOf(random[:]), hexOf(payload), hexOf([]byte(body)), strings.TrimSuffix(string(line), "\n"),
			})
		}
		chain := newKDFChain(s, run(40, 32), run32(80), DirectionBA)
		vc := vectorChain{s.Name(), hexOf(run(80, 32)), DirectionBA, hexOf(chain.ck), nil}
		for range 3 {
			random := run(byte(chain.n), 32)
			mk, next := chain.keys(random)
			link := vectorLink{N: chain.n, Random: hexOf(random), MK: hexOf(mk), NextCK: hexOf(next)}
			chain.advance(next)
			vc.Links = append(vc.Links, link)
		}
		v.Chain = append(v.Chain, vc)

		r := ratchet{root: run(7, 32), steps: 2}
		c := &Conversation{T3: run32(9), suite: s}
		used, enc, next := run(1, 40), run(2, 50), run(3, 60)
		root, ck := r.stepKeys(c, run(5, 32), DirectionAB, used, enc, next)
		v.Step = append(v.Step, vectorStep{s.Name(), hexOf(c.T3[:]), DirectionAB, hexOf(run(7, 32)), hexOf(run(5, 32)), 3,
			hexOf(used), hexOf(enc), hexOf(next), hexOf(root), hexOf(ck)})
	}
}

// fixedKey is a K from a seed.
func fixedKey(t testing.TB, from byte) *trust.Key {
	t.Helper()
	pkcs8, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(run(from, 32)))
	Must(t, err)
	key, err := trust.ParseKey(pkcs8)
	Must(t, err)
	return key
}

// fixedBundle is a bundle of K that proves nobody.
func fixedBundle(name string, key *trust.Key) *trust.Bundle {
	return &trust.Bundle{
		Name: name, PublicKey: key.Public().SPKI(), NotBefore: 1795345200, NotAfter: 1795374000,
		Mailbox: []byte{}, Signature: run(50, 70), X509: run(100, 20), Chain: [][]byte{},
	}
}

// retry has B ask A for another suite. The KEM keys are none: nobody encapsulates here.
func (v *vectors) retry(t *testing.T) {
	t.Helper()
	a, b := fixedKey(t, 3), fixedKey(t, 4)
	p := phase1{
		Type: "p1", Nonce: run(5, 32), Ciphers: []string{SuiteMLKEM, SuiteRSA256}, Cipher: SuiteMLKEM, Key: run(6, 40),
		Src: "alice", SrcID: "a0a0a0a0a0a0a0a0", Dst: "Bob", DstID: "b0b0b0b0b0b0b0b0",
		Bundle: fixedBundle("alice", a), Takes: proto.TakesMessages,
	}
	exact := proto.MustMarshal(&p)
	sig1 := a.Sign(proto.Tuple("cc-1", exact))
	offer, err := ReadOffer(joinBody(exact, sig1), End{p.Dst, p.DstID}, End{p.Src, p.SrcID})
	Must(t, err)
	local := &Local{Key: b, Bundle: fixedBundle("Bob", b), Suites: []string{SuiteRSA256}}
	anybody := func(*trust.Bundle, string) (*trust.Person, error) { return &trust.Person{}, nil }
	body, _, again, err := offer.Answer(local, nil, anybody)
	Must(t, err)
	rt, with, err := splitBody(body, 1)
	Must(t, err)
	p.Nonce, p.Cipher, p.Key, p.Retry = run(7, 32), SuiteRSA256, run(8, 40), again.answered[:]
	if !again.answeredBy(&p) {
		t.Error("the second p1 does not answer the retry")
	}
	t1, order := proto.HashTuple("cc-T1", exact, sig1), again.Order()
	v.Retry = vectorRetry{
		string(exact), hexOf(sig1), hexOf(t1[:]), string(rt), hexOf(proto.Tuple("cc-retry", t1, SuiteRSA256, local.Bundle.Hash())),
		hexOf(with[0]), string(proto.MustMarshal(&p)), hexOf(order[:]),
	}
	if !b.Public().Verify(unhex(t, v.Retry.Signed), with[0]) {
		t.Error("B has not signed that retry")
	}
}

func (v *vectors) request(t *testing.T) {
	t.Helper()
	hop, key := &Hop{t4: run32(9)}, fixedKey(t, 3)
	header := proto.MustMarshal(&proto.Header{Type: proto.TypeList, Name: "bob", Watch: true})
	signed := hop.RequestSigns(2, header)
	v.Request = vectorRequest{
		hexOf(hop.t4[:]), 2, string(header), hexOf(key.Public().SPKI()), hexOf(signed), hexOf(key.Sign(signed)),
	}
}

func (v *vectors) records(t *testing.T) {
	t.Helper()
	sender, t3 := run32(11), run32(22)
	d := FirstDigest(t3, DirectionAB)
	v.Digest = vectorDigest{T3: hexOf(t3[:]), Direction: DirectionAB, Digests: []string{hexOf(d[:])}}
	for i, r := range []*Record{
		{To: []Recipient{{"bob", hexOf(run(33, 32))}}, Text: "olá"},
		{To: []Recipient{{"alice", ""}, {"bob", hexOf(run(33, 32))}, {proto.FoldName("joão"), hexOf(run(34, 32))}}, Text: "\"quoted\", \\, <&>\n\t\x00\u007f\u2028😀"},
		{To: []Recipient{{"bob", ""}}, Text: ""},
	} {
		r.Time, r.Salt = 1795348800000+int64(i), run(byte(i), saltSize)
		r.ID, r.Seq = RecordID(sender, r), uint64(i+1)
		exact := r.Encode()
		if _, err := ParseRecord(exact, sender); err != nil {
			t.Fatal(err)
		}
		d = NextDigest(d, sha256.Sum256(exact))
		v.Record = append(v.Record, vectorRecord{hexOf(sender[:]), string(exact), r.ID})
		v.Digest.Records = append(v.Digest.Records, string(exact))
		v.Digest.Digests = append(v.Digest.Digests, hexOf(d[:]))
	}
	d2 := unhex(t, v.Digest.Digests[2])
	d0 := unhex(t, v.Digest.Digests[0])
	for _, rc := range []*Receipt{
		{Delivered: 3, DeliveredDigest: d[:], Read: 2, ReadDigest: d2, Time: 1795348801000, Salt: run(60, saltSize)},
		{DeliveredDigest: d0, ReadDigest: d0, Time: 1795348800000, Salt: run(61, saltSize)}, // that of a B after p3
	} {
		digest := rc.Digest(t3, DirectionBA)
		v.Receipt = append(v.Receipt, vectorReceipt{hexOf(t3[:]), DirectionBA, string(proto.MustMarshal(rc)), hexOf(digest[:])})
	}

	h := &MessageHeader{
		Conversation: t3[:], Direction: DirectionAB, Kind: KindText, N: 7, Random: run(70, 32), Step: &Step{Enc: run(1, 3), Key: run(2, 4)},
		SrcBundle: run(71, 32), DstBundle: run(72, 32), Time: 1795348800000, Seq: 1, Count: 3, Digest: d[:],
	}
	header := proto.MustMarshal(h)
	if _, err := ParseMessageHeader(header); err != nil {
		t.Fatal(err)
	}
	cipherHash := run32(90)
	v.Message = vectorMessage{string(header), hexOf(cipherHash[:]), hexOf(MessageSigns(header, cipherHash))}

	for _, text := range []string{"a", "\"\\/", "\b\t\n\f\r", "\x00\x1f\u007f", "<>&", "é日😀", "\u2028\u2029"} {
		v.Canonical = append(v.Canonical, vectorCanonical{hexOf([]byte(text)), hexOf(proto.MustMarshal(text))})
	}
	good := v.Record[0].Record
	for _, test := range []struct{ why, old, new string }{
		{"a space", `"seq":1`, `"seq": 1`},
		{"a field doubled", `"seq":1`, `"seq":1,"seq":1`},
		{"a field in another case", `"seq"`, `"SEQ"`},
		{"a field more", `"seq":1`, `"seq":1,"more":1`},
		{"a needless escape", `olá`, `ol\u00e1`},
		{"an exponent", `"seq":1`, `"seq":1e0`},
		{"a leading zero", `"seq":1`, `"seq":01`},
		{"spare bits in base64", `Dw=="`, `Dx=="`},
		{"base64 without padding", `Dw=="`, `Dw"`},
		{"another text than the id's", `olá`, `ola`},
	} {
		bad := strings.Replace(good, test.old, test.new, 1)
		if bad == good {
			t.Fatalf("%s: nothing changed in %s", test.why, good)
		}
		if _, err := ParseRecord([]byte(bad), sender); err == nil {
			t.Errorf("%s: taken", test.why)
		}
		v.Refused = append(v.Refused, vectorNotARecord{test.why, bad})
	}
}
