package crypto_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/cryptotest"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/people"
)

// The golden transcripts are both handshakes and some lines and messages of each suite, byte for
// byte, with the private keys to open them. Three tests hold them. They are made again from fixed
// keys and a fixed random stream, and must be equal. They are decoded as stored (replay_test.go),
// since a release of Go may draw its random numbers in another order. And the second client plays
// them by PROTOCOL.md alone (testdata/second_golden.py). If only the first fails with a new release
// of Go, write them anew with
//
//	go test ./crypto -run Golden -update

// goldenTime is the time in the transcripts.
var goldenTime = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// transcript is lines of `key: value`. A key may stand several times.
type transcript struct{ text strings.Builder }

func (g *transcript) comment(s string) { fmt.Fprintf(&g.text, "\n# %s\n", s) }

func (g *transcript) add(key, value string) { fmt.Fprintf(&g.text, "%s: %s\n", key, value) }

func (g *transcript) addHex(key string, b []byte) { g.add(key, hex.EncodeToString(b)) }

// body adds an end-to-end body: a line each for its JSON, and for the base64 or
// the sealed bytes after it.
func (g *transcript) body(key string, body []byte) {
	lines := bytes.Split(body, []byte("\n"))
	g.add(key, string(lines[0]))
	for _, line := range lines[1:] {
		g.add(key+"-with", string(line))
	}
}

// message adds a message. Its last part is not text.
func (g *transcript) message(key string, s *crypto.Sealed) {
	parts := bytes.SplitN(s.Body, []byte("\n"), 3)
	g.add(key, string(parts[0]))
	g.add(key+"-signature", string(parts[1]))
	g.addHex(key+"-sealed", parts[2])
}

// fields is a transcript that was read.
type fields map[string][]string

func readFields(t testing.TB, name string) fields {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	f := fields{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(line, ": ")
		if !ok {
			t.Fatalf("%s: a line without a key: %s", name, line)
		}
		f[key] = append(f[key], value)
	}
	return f
}

func (f fields) get(t testing.TB, key string) string {
	t.Helper()
	if len(f[key]) != 1 {
		t.Fatalf("%d values of %s", len(f[key]), key)
	}
	return f[key][0]
}

func (f fields) hex(t testing.TB, key string) []byte {
	t.Helper()
	b, err := hex.DecodeString(f.get(t, key))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (f fields) body(t testing.TB, key string) []byte {
	t.Helper()
	return []byte(strings.Join(append([]string{f.get(t, key)}, f[key+"-with"]...), "\n"))
}

func (f fields) message(t testing.TB, key string) []byte {
	t.Helper()
	return slices.Concat([]byte(f.get(t, key)+"\n"+f.get(t, key+"-signature")+"\n"), f.hex(t, key+"-sealed"))
}

// cast is the parties of the transcripts.
type cast struct {
	alice, bob, relay *trust.Key
	aliceB, bobB      *trust.Bundle
	aliceID, bobID    [32]byte
	rsa               [][]byte // PKCS #8, in the order of use
	verify            crypto.VerifyFunc
}

var (
	aliceEnd = crypto.End{Name: "alice", Conn: "a11ce00000000001"}
	bobEnd   = crypto.End{Name: "Bob", Conn: "b0b0000000000002"}
)

const identitiesFile = "golden-identities.txt"

func loadCast(t testing.TB) *cast {
	t.Helper()
	if _, err := os.Stat(filepath.Join("testdata", identitiesFile)); os.IsNotExist(err) && *crypto.Update {
		makeCast(t)
	}
	f := readFields(t, identitiesFile)
	c := &cast{}
	for _, k := range []struct {
		name string
		key  **trust.Key
	}{{"alice-k", &c.alice}, {"bob-k", &c.bob}, {"relay-k", &c.relay}} {
		key, err := trust.ParseKey(f.hex(t, k.name))
		if err != nil {
			t.Fatal(err)
		}
		*k.key = key
	}
	store, err := trust.NewStore(nil, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.hex(t, "root")}))
	if err != nil {
		t.Fatal(err)
	}
	c.verify = trust.NewVerifier(trust.VerifierConfig{Trust: store, Policy: trust.PolicyOff, Now: func() time.Time { return goldenTime }}).Verify
	for _, p := range []struct {
		name, key string
		bundle    **trust.Bundle
		id        *[32]byte
	}{{"alice", "alice-bundle", &c.aliceB, &c.aliceID}, {"Bob", "bob-bundle", &c.bobB, &c.bobID}} {
		*p.bundle = new(trust.Bundle)
		if err := proto.Unmarshal([]byte(f.get(t, p.key)), *p.bundle); err != nil {
			t.Fatal(err)
		}
		person, err := c.verify(*p.bundle, p.name)
		if err != nil {
			t.Fatal(err)
		}
		*p.id = person.Identity
	}
	for _, key := range f["rsa"] {
		private, err := hex.DecodeString(key)
		if err != nil {
			t.Fatal(err)
		}
		c.rsa = append(c.rsa, private)
	}
	return c
}

// makeCast makes the identities, which stay when the transcripts are written anew.
func makeCast(t testing.TB) {
	t.Helper()
	g := &transcript{}
	g.text.WriteString("# Who takes part in the golden transcripts. These keys are for tests, and public.\n")
	pki, err := lab.New(lab.Options{CAKey: lab.P256, Now: func() time.Time { return goldenTime }})
	if err != nil {
		t.Fatal(err)
	}
	g.addHex("root", pki.Root.Cert.Raw)
	for _, name := range []string{"alice", "Bob", "relay"} {
		key, err := trust.GenerateKey(trust.KeyEd25519)
		if err != nil {
			t.Fatal(err)
		}
		lower := strings.ToLower(name)
		g.addHex(lower+"-k", key.PKCS8())
		if name == "relay" {
			continue
		}
		holder, err := pki.Issue(name)
		if err != nil {
			t.Fatal(err)
		}
		b := people.Delegate(t, holder, name, key, goldenTime.Add(-time.Hour), goldenTime.Add(7*time.Hour))
		if name == "alice" { // who has no mailbox
			b.Mailbox, b.MailboxEnd = []byte{}, 0
			if b.Signature, err = holder.Sign(b.DelegationMessage()); err != nil {
				t.Fatal(err)
			}
		}
		g.add(lower+"-bundle", string(proto.MustMarshal(b)))
	}
	for range 6 {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		private, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		g.addHex("rsa", private)
	}
	if err := os.WriteFile(filepath.Join("testdata", identitiesFile), []byte(g.text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

func goldenFile(suite string) string { return "golden-" + suite + ".txt" }

// TestGolden makes the transcripts again.
func TestGolden(t *testing.T) {
	for _, suite := range crypto.SuiteNames() {
		t.Run(suite, func(t *testing.T) {
			who := loadCast(t)
			// Nothing else may draw random numbers: this is one goroutine, and the test is not
			// parallel.
			cryptotest.SetGlobalRandom(t, 1)
			g := &transcript{}
			fmt.Fprintf(&g.text, "# Golden transcript of %s; see golden_test.go and PROTOCOL.md.\n", suite)
			g.text.WriteString("# Lines and JSON are exact bytes; keys, secrets and sealed bytes are hex, signatures and confirmations base64.\n")
			g.add("suite", suite)
			who.recordConnect(t, g, suite)
			who.recordConversation(t, g, suite)

			file := filepath.Join("testdata", goldenFile(suite))
			if *crypto.Update {
				if err := os.WriteFile(file, []byte(g.text.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Split(g.text.String(), "\n")
			for i, line := range strings.Split(string(want), "\n") {
				if i >= len(got) || got[i] != line {
					t.Fatalf("%s, line %d: the format has changed, or, where the other golden tests pass, Go's random numbers have; it was\n%.300s\nand is\n%.300s",
						file, i+1, line, strings.Join(got[min(i, len(got)):min(i+1, len(got))], ""))
				}
			}
			if len(got) != strings.Count(string(want), "\n")+1 {
				t.Fatalf("%s: it has grown", file)
			}
		})
	}
}

// kemKey is the i-th RSA key, or a new one of the default suite.
func (c *cast) kemKey(t testing.TB, suite string, i int) crypto.KEMKey {
	t.Helper()
	if suite != crypto.SuiteMLKEM {
		return crypto.ParseKEMKey(t, suite, c.rsa[i])
	}
	key, err := crypto.SuiteByName(suite).GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (c *cast) recordConnect(t testing.TB, g *transcript, suite string) {
	t.Helper()
	s := crypto.SuiteByName(suite)
	g.comment("Connect: alice and the relay")
	random := make([]byte, proto.RandomSize)
	rand.Read(random)
	line1 := proto.MustMarshal(&proto.Connect1{Type: proto.TypeConnect, Phase: 1, Ciphers: []string{suite}, Data: random})
	client, relay := crypto.NewConnect(line1), crypto.NewConnect(line1)
	g.add("line1", string(line1))

	key := c.kemKey(t, suite, 0)
	g.addHex("relay-kem-private", crypto.MarshalKEMKey(t, key))
	p2 := proto.Connect2{Type: proto.TypeConnect, Phase: 2, Cipher: suite, Data: key.Public(), PublicKey: c.relay.Public().SPKI()}
	p2.Signature = c.relay.Sign(relay.RelaySigns(suite, p2.Data, p2.PublicKey))
	line2 := proto.MustMarshal(&p2)
	client.Line2(line2)
	relay.Line2(line2)
	g.add("line2", string(line2))

	enc, err := client.Encapsulate(s, p2.Data)
	if err != nil {
		t.Fatal(err)
	}
	h := crypto.Hello{Name: aliceEnd.Name, Takes: proto.TakesMessages, Bundle: c.aliceB, Mailbox: []byte{}, Collects: [][]byte{bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)}}
	h.Signature = c.alice.Sign(client.ClientSigns(&h))
	plain := proto.MustMarshal(&h)
	line3 := proto.MustMarshal(&proto.Connect3{Type: proto.TypeConnect, Phase: 3, Data: enc, Payload: client.SealHello(plain)})
	client.Line3(line3)
	relay.Line3(line3)
	g.add("hello", string(plain))
	g.add("line3", string(line3))
	if err := relay.Decapsulate(s, key, enc); err != nil {
		t.Fatal(err)
	}

	plain = proto.MustMarshal(&proto.Welcome{Done: "ok", ID: aliceEnd.Conn})
	line4 := proto.MustMarshal(&proto.Connect4{Type: proto.TypeConnect, Phase: 4, Payload: relay.SealWelcome(plain)})
	g.add("welcome", string(plain))
	g.add("line4", string(line4))
	c2s, _ := client.Finish(line4)
	_, s2c := relay.Finish(line4)

	g.comment("Secure lines: a signed request, a second line, one with a body, and the relay's first")
	header := proto.MustMarshal(&proto.Header{Type: proto.TypeList, Watch: true})
	signature := c.alice.Sign(c2s.RequestSigns(c2s.Seq(), header))
	toBob := proto.MustMarshal(&proto.Header{Type: proto.TypeClientCom, Dst: bobEnd.Name, DstID: bobEnd.Conn})
	for _, line := range []struct {
		key           string
		hop           *crypto.Hop
		payload, body []byte
	}{
		{"c2s", c2s, proto.AppendPayload(nil, header, signature, nil), nil},
		{"c2s", c2s, proto.AppendPayload(nil, proto.MustMarshal(&proto.Header{Type: proto.TypeAck}), nil, nil), nil},
		{"c2s", c2s, proto.AppendPayload(nil, toBob, nil, []byte("{}\n\n")), []byte("sealed bytes of a pipe")},
		{"s2c", s2c, proto.AppendPayload(nil, proto.MustMarshal(&proto.Header{Type: proto.TypeAck}), nil, nil), nil},
	} {
		sealer := crypto.LineSealer{Hop: line.hop}
		g.addHex(line.key+"-payload", line.payload)
		g.addHex(line.key+"-body", line.body)
		g.add(line.key, strings.TrimSuffix(string(sealer.Append(nil, line.payload, proto.AppendBase64(nil, line.body))), "\n"))
	}
}

// locals are the two sides, with their ephemeral keys.
func (c *cast) locals(t testing.TB, suite string) (a, b *crypto.Local) {
	t.Helper()
	fixed := func(i ...int) *crypto.KeySource {
		var keys []crypto.KEMKey
		for _, i := range i {
			if suite != crypto.SuiteMLKEM {
				keys = append(keys, c.kemKey(t, suite, i))
			}
		}
		return crypto.FixedKeys(keys...)
	}
	a = &crypto.Local{Key: c.alice, Bundle: c.aliceB, Identity: c.aliceID, FoldedName: "alice", Suites: []string{suite}, Takes: proto.TakesMessages, Keys: fixed(1, 3, 5)}
	b = &crypto.Local{Key: c.bob, Bundle: c.bobB, Identity: c.bobID, FoldedName: "bob", Suites: []string{suite}, Takes: proto.TakesMessages, Keys: fixed(2, 4)}
	a.Letter = func([32]byte, []byte) uint64 { return 7 }
	b.Letter = func([32]byte, []byte) uint64 { return 9 } // in vain: alice has no mailbox
	return a, b
}

func (c *cast) recordConversation(t testing.TB, g *transcript, suite string) {
	t.Helper()
	a, b := c.locals(t, suite)
	g.comment("Client-connect: alice is A, Bob is B")
	i, p1, err := crypto.Initiate(a, aliceEnd, bobEnd)
	if err != nil {
		t.Fatal(err)
	}
	g.addHex("p1-private", crypto.MarshalKEMKey(t, i.EphemeralKey()))
	g.body("p1", p1)
	attempt := crypto.Attempt(p1)
	g.addHex("attempt", attempt[:])
	offer, err := crypto.ReadOffer(p1, bobEnd, aliceEnd)
	if err != nil {
		t.Fatal(err)
	}
	p2, r, _, err := offer.Answer(b, nil, c.verify)
	if err != nil {
		t.Fatal(err)
	}
	g.addHex("p2-private", crypto.MarshalKEMKey(t, r.EphemeralKey()))
	g.body("p2", p2)
	p3, ca, err := i.Phase2(p2, c.verify)
	if err != nil {
		t.Fatal(err)
	}
	g.addHex("p3-private", crypto.MarshalKEMKey(t, ca.RatchetKey()))
	g.body("p3", p3)
	cb, err := r.Phase3(p3)
	if err != nil {
		t.Fatal(err)
	}
	g.addHex("t3", cb.T3[:])

	g.comment("Messages: B answers p3, a text of A's, B's receipt with the first step, a text of A's with the second")
	now := goldenTime
	take := func(c *crypto.Conversation, s *crypto.Sealed) {
		t.Helper()
		o, err := c.Open(bytes.Clone(s.Body), now)
		if err != nil {
			t.Fatal(err)
		}
		c.Commit(o)
	}
	answer, err := cb.SealReceipt(0, 0, now)
	if err != nil {
		t.Fatal(err)
	}
	take(ca, answer)
	g.message("answer", answer)
	now = now.Add(time.Second)
	to := []crypto.Recipient{{Name: "bob", Identity: proto.FormatHash(c.bobID)}, {Name: "alice", Identity: ""}}
	text := func(key string, texts ...string) {
		t.Helper()
		var records []*crypto.Record
		for _, text := range texts {
			records = append(records, crypto.NewRecord(c.aliceID, slices.Clone(to), text, now))
		}
		s, exact, err := ca.SealRecords(records, now)
		if err != nil {
			t.Fatal(err)
		}
		take(cb, s)
		for _, r := range exact {
			g.add(key+"-record", string(r))
		}
		g.message(key, s)
	}
	text("text", "Olá, Bob!", "\"line\"\n<second>\u2028")
	now = now.Add(2 * time.Minute)
	receipt, err := cb.SealReceipt(2, 1, now)
	if err != nil {
		t.Fatal(err)
	}
	g.addHex("receipt-private", crypto.MarshalKEMKey(t, cb.RatchetKey()))
	take(ca, receipt)
	g.message("receipt", receipt)
	now = now.Add(2 * time.Minute)
	text("last", "a text with a step")
}

func (f fields) hexes(t testing.TB, key string) (all [][]byte) {
	t.Helper()
	for _, value := range f[key] {
		b, err := hex.DecodeString(value)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	return all
}
