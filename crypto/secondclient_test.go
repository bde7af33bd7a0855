package crypto_test

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/hpke"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"chatsecure/crypto"
)

// A second client, written from PROTOCOL.md with the standard library alone: it
// reads the golden transcripts by the formulas given there, and uses nothing of
// package crypto but the names of its suites. What the two agree on is the
// protocol, and not a mistake made once.

// tup is a tuple: byte strings, strings, integers and lists.
func tup(context string, items ...any) []byte {
	b := tupItem(nil, "chatsecure/1 "+context)
	for _, item := range items {
		b = tupItem(b, item)
	}
	return b
}

func tupItem(b []byte, item any) []byte {
	var content []byte
	switch item := item.(type) {
	case []byte:
		content = item
	case string:
		content = []byte(item)
	case int64:
		content = binary.BigEndian.AppendUint64(nil, uint64(item))
	case uint64:
		content = binary.BigEndian.AppendUint64(nil, item)
	case []any:
		for _, sub := range item {
			content = tupItem(content, sub)
		}
	default:
		panic("item")
	}
	return append(binary.BigEndian.AppendUint32(b, uint32(len(content))), content...)
}

func h(b []byte) []byte { sum := sha256.Sum256(b); return sum[:] }

func hTup(context string, items ...any) []byte { return h(tup(context, items...)) }

// second is that client, in one of the suites.
type second struct {
	t     testing.TB
	suite string
}

func (s *second) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *second) extract(secret, salt []byte) []byte {
	prk, err := hkdf.Extract(sha256.New, secret, salt)
	s.must(err)
	return prk
}

func (s *second) expand(prk, info []byte, size int) []byte {
	out, err := hkdf.Expand(sha256.New, prk, string(info), size)
	s.must(err)
	return out
}

// kdf is HKDF(secret, salt, info tuple(...)) of one label.
func (s *second) kdf(secret, salt []byte, label, context string, items ...any) []byte {
	return s.expand(s.extract(secret, salt), tup(context, append(items, label)...), 32)
}

func (s *second) decapsulate(private, enc, info []byte) []byte {
	s.t.Helper()
	if s.suite == "MLKEM768X25519_AES256_GCM" {
		key, err := hpke.MLKEM768X25519().NewPrivateKey(private)
		s.must(err)
		r, err := hpke.NewRecipient(enc, key, hpke.HKDFSHA256(), hpke.ExportOnly(), info)
		s.must(err)
		secret, err := r.Export("chatsecure/1 kem", 32)
		s.must(err)
		return secret
	}
	key, err := x509.ParsePKCS8PrivateKey(private)
	s.must(err)
	secret, err := key.(*rsa.PrivateKey).Decrypt(nil, enc, &rsa.OAEPOptions{Hash: stdcrypto.SHA256, Label: info})
	s.must(err)
	return secret
}

func (s *second) public(private []byte) []byte {
	if s.suite == "MLKEM768X25519_AES256_GCM" {
		key, err := hpke.MLKEM768X25519().NewPrivateKey(private)
		s.must(err)
		return key.PublicKey().Bytes()
	}
	key, err := x509.ParsePKCS8PrivateKey(private)
	s.must(err)
	spki, err := x509.MarshalPKIXPublicKey(key.(*rsa.PrivateKey).Public())
	s.must(err)
	return spki
}

func (s *second) open(mk, aad, sealed []byte) []byte {
	s.t.Helper()
	label := func(l string, size int) []byte { return s.expand(mk, []byte("chatsecure/1 "+l), size) }
	if s.suite == "MLKEM768X25519_AES256_GCM" {
		block, err := aes.NewCipher(label("key", 32))
		s.must(err)
		aead, err := cipher.NewGCM(block)
		s.must(err)
		plain, err := aead.Open(nil, label("nonce", 12), sealed, aad)
		s.must(err)
		return plain
	}
	size := 32
	if s.suite == "RSA_AES128_CBC_HMAC" {
		size = 16
	}
	ciphertext, mac := sealed[:len(sealed)-32], sealed[len(sealed)-32:]
	iv := label("iv", 16)
	m := hmac.New(sha256.New, label("mac", 32))
	m.Write(tupItem(tupItem(tupItem(nil, aad), iv), ciphertext))
	if !hmac.Equal(m.Sum(nil), mac) {
		s.t.Fatal("the MAC does not hold")
	}
	block, err := aes.NewCipher(label("key", size))
	s.must(err)
	plain := make([]byte, len(ciphertext))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, ciphertext)
	pad := int(plain[len(plain)-1])
	if !bytes.Equal(plain[len(plain)-pad:], bytes.Repeat([]byte{byte(pad)}, pad)) {
		s.t.Fatal("padding")
	}
	return plain[:len(plain)-pad]
}

// links opens message n of a chain and returns the next chain key.
func (s *second) link(ck, random, session []byte, direction string, n uint64, aad, sealed []byte) (plain, next []byte) {
	s.t.Helper()
	mk := s.expand(s.extract(ck, random), tup("mk", s.suite, session, direction, n), 32)
	return s.open(mk, aad, sealed), s.expand(ck, []byte("chatsecure/1 next"), 32)
}

// object is JSON that has been read, without regard to its form.
type object map[string]any

func (s *second) read(text []byte) object {
	s.t.Helper()
	var o object
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	s.must(dec.Decode(&o))
	return o
}

func (s *second) bytes(o object, key string) []byte {
	s.t.Helper()
	b, err := base64.StdEncoding.DecodeString(o[key].(string))
	s.must(err)
	return b
}

func (s *second) number(o object, key string) uint64 {
	s.t.Helper()
	n, err := o[key].(json.Number).Int64()
	s.must(err)
	return uint64(n)
}

// verify checks a signature by an Ed25519 key in SPKI.
func (s *second) verify(spki, message, signature []byte, what string) {
	s.t.Helper()
	key, err := x509.ParsePKIXPublicKey(spki)
	s.must(err)
	if !ed25519.Verify(key.(ed25519.PublicKey), message, signature) {
		s.t.Errorf("the signature of %s does not hold", what)
	}
}

func (s *second) equal(got, want []byte, what string) {
	s.t.Helper()
	if !bytes.Equal(got, want) {
		s.t.Errorf("%s is %x, want %x", what, got, want)
	}
}

func (s *second) bundleHash(b object) []byte {
	s.t.Helper()
	var chain []any
	for _, der := range b["x509_chain"].([]any) {
		chain = append(chain, s.bytes(object{"": der}, ""))
	}
	return hTup("bundle", b["name"], s.bytes(b, "public_key"), s.number(b, "not_before"), s.number(b, "not_after"),
		s.bytes(b, "public_key_signature"), s.bytes(b, "x509"), chain)
}

// checkDelegation is what the card signed.
func (s *second) checkDelegation(b object) {
	s.t.Helper()
	leaf, err := x509.ParseCertificate(s.bytes(b, "x509"))
	s.must(err)
	message := tup("delegation", h(leaf.Raw), b["name"], s.bytes(b, "public_key"), s.number(b, "not_before"), s.number(b, "not_after"))
	s.must(leaf.CheckSignature(x509.ECDSAWithSHA256, message, s.bytes(b, "public_key_signature")))
}

func TestGoldenConnectBySecondClient(t *testing.T) {
	eachGolden(t, func(t *testing.T, g fields, _ *cast, suite string) {
		s := &second{t, suite}
		line := func(n string) []byte { return []byte(g.get(t, "line"+n)) }
		t1 := hTup("connect-T1", line("1"))
		t2 := hTup("connect-T2", t1, line("2"))
		t3 := hTup("connect-T3", t2, line("3"))
		t4 := hTup("connect-T4", t3, line("4"))

		p2 := s.read(line("2"))
		s.equal(s.public(g.hex(t, "relay-kem-private")), s.bytes(p2, "data"), "the KEM key")
		s.verify(s.bytes(p2, "public_key"), tup("connect-2", t1, suite, s.bytes(p2, "data"), s.bytes(p2, "public_key")), s.bytes(p2, "signature"), "line 2")

		p3 := s.read(line("3"))
		enc := s.bytes(p3, "data")
		secret := s.decapsulate(g.hex(t, "relay-kem-private"), enc, t2)
		plain := s.open(s.kdf(secret, t2, "c2s", "hs", suite, enc), tup("hs", t2, enc), s.bytes(p3, "payload"))
		s.equal(plain, []byte(g.get(t, "hello")), "hello")
		hello := s.read(plain)
		bundle := object(hello["bundle"].(map[string]any))
		s.checkDelegation(bundle)
		s.verify(s.bytes(bundle, "public_key"), tup("connect-3", t2, enc, hello["name"], s.bundleHash(bundle)), s.bytes(hello, "data_signature"), "hello")

		plain = s.open(s.kdf(secret, t2, "s2c", "hs", suite, enc), tup("hs", t3), s.bytes(s.read(line("4")), "payload"))
		s.equal(plain, []byte(g.get(t, "welcome")), "welcome")

		for _, direction := range []string{"c2s", "s2c"} {
			ck := s.kdf(secret, t4, direction, "app", suite)
			for i, line := range g[direction] {
				o := s.read([]byte(line))
				sa := object(o["sa-data"].(map[string]any))
				random, seq := s.bytes(sa, "random"), s.number(sa, "seq")
				if seq != uint64(i) {
					t.Errorf("seq %d, want %d", seq, i)
				}
				plain, ck = s.link(ck, random, t4, direction, seq, tup("secure", t4, direction, seq, random), s.bytes(o, "payload"))
				s.equal(plain, g.hexes(t, direction+"-payload")[i], "a payload")
				parts := bytes.SplitN(plain, []byte("\n"), 3)
				if len(parts[1]) > 0 {
					s.verify(s.bytes(bundle, "public_key"), tup("request", t4, seq, parts[0]), s.bytes(object{"": string(parts[1])}, ""), "a request")
				}
			}
		}
	})
}

func TestGoldenConversationBySecondClient(t *testing.T) {
	eachGolden(t, func(t *testing.T, g fields, who *cast, suite string) {
		s := &second{t, suite}
		phase := func(key string) (exact []byte, with [][]byte) {
			for _, w := range g[key+"-with"] {
				with = append(with, s.bytes(object{"": w}, ""))
			}
			return []byte(g.get(t, key)), with
		}
		p1, with1 := phase("p1")
		p2, with2 := phase("p2")
		p3, with3 := phase("p3")
		o1, o2, o3 := s.read(p1), s.read(p2), s.read(p3)
		bundleA, bundleB := object(o1["bundle"].(map[string]any)), object(o2["bundle"].(map[string]any))
		kA, kB := s.bytes(bundleA, "public_key"), s.bytes(bundleB, "public_key")
		s.checkDelegation(bundleA)
		s.checkDelegation(bundleB)
		for key, o := range map[string]object{"p1": o1, "p2": o2, "p3": o3} {
			s.equal(s.public(g.hex(t, key+"-private")), s.bytes(o, "key"), "the key of "+key)
		}

		s.verify(kA, tup("cc-1", p1), with1[0], "p1")
		t1 := hTup("cc-T1", p1, with1[0])
		t2 := hTup("cc-T2", t1, p2)
		s.verify(kB, tup("cc-2", t2), with2[0], "p2")
		root0 := s.extract(s.decapsulate(g.hex(t, "p1-private"), s.bytes(o2, "data"), t1), t2)
		mac := func(key, m []byte) []byte { x := hmac.New(sha256.New, key); x.Write(m); return x.Sum(nil) }
		s.equal(mac(s.expand(root0, []byte("chatsecure/1 confirm B"), 32), t2), with2[1], "confirm2")
		t3 := hTup("cc-T3", t2, with2[0], with2[1], p3)
		s.equal(t3, g.hex(t, "t3"), "T3")
		s.verify(kA, tup("cc-3", t3), with3[0], "p3")
		ss2 := s.decapsulate(g.hex(t, "p2-private"), s.bytes(o3, "data"), t2)
		derive := func(label string) []byte { return s.kdf(ss2, root0, label, "root", suite, t3) }
		s.equal(mac(derive("confirm"), t3), with3[1], "confirm3")

		c := &secondConversation{second: s, t3: t3, root: derive("root"), ck: map[string][]byte{"AB": derive("AB"), "BA": derive("BA")},
			n: map[string]uint64{}, k: map[string][]byte{"AB": kA, "BA": kB},
			bundle: map[string][]byte{"AB": s.bundleHash(bundleA), "BA": s.bundleHash(bundleB)},
			sender: map[string][]byte{"AB": who.aliceID[:], "BA": who.bobID[:]},
			d:      map[string][][]byte{"AB": {hTup("records", t3, "AB")}, "BA": {hTup("records", t3, "BA")}}}
		c.message(g, "answer", "BA", nil)
		c.message(g, "text", "AB", nil)
		c.message(g, "receipt", "BA", g.hex(t, "p3-private"))
		c.message(g, "last", "AB", g.hex(t, "receipt-private"))
		if c.steps != 2 || len(c.d["AB"]) != 4 {
			t.Errorf("%d steps, %d records", c.steps, len(c.d["AB"])-1)
		}
	})
}

type secondConversation struct {
	*second
	t3, root              []byte
	ck, k, bundle, sender map[string][]byte
	n                     map[string]uint64
	d                     map[string][][]byte // the digest after each record
	steps                 uint64
}

// message checks and opens one. unused is the private half of the receiver's
// key that a step uses.
func (c *secondConversation) message(g fields, key, direction string, unused []byte) {
	t := c.t
	t.Helper()
	header, sealed := []byte(g.get(t, key)), g.hex(t, key+"-sealed")
	o := c.read(header)
	other := map[string]string{"AB": "BA", "BA": "AB"}[direction]
	c.verify(c.k[direction], tup("message", header, h(sealed)), c.bytes(object{"": g.get(t, key+"-signature")}, ""), key)
	c.equal(c.bytes(o, "conversation"), c.t3, "conversation")
	c.equal(c.bytes(o, "src-bundle"), c.bundle[direction], "src-bundle")
	c.equal(c.bytes(o, "dst-bundle"), c.bundle[other], "dst-bundle")
	if o["direction"] != direction || c.number(o, "n") != c.n[direction] {
		t.Errorf("%s: direction %s, n %d", key, o["direction"], c.number(o, "n"))
	}
	if step, ok := o["step"].(map[string]any); ok != (unused != nil) {
		t.Fatalf("%s: step %v", key, ok)
	} else if ok {
		enc, next := c.bytes(step, "enc"), c.bytes(step, "key")
		ss := c.decapsulate(unused, enc, c.t3)
		c.steps++
		items := []any{c.suite, c.t3, direction, c.steps, h(c.public(unused)), h(enc), h(next)}
		root := c.kdf(ss, c.root, "root", "step", items...)
		c.ck[direction] = c.kdf(ss, c.root, "chain", "step", items...)
		c.root = root
	}
	plain, next := c.link(c.ck[direction], c.bytes(o, "random"), c.t3, direction, c.n[direction], header, sealed)
	c.ck[direction] = next
	c.n[direction]++
	switch o["kind"] {
	case "text":
		c.records(g, key, direction, o, plain)
	case "receipt":
		r := c.read(plain)
		n, m := c.number(r, "delivered"), c.number(r, "read")
		c.equal(c.bytes(r, "delivered_digest"), c.d[other][n], "delivered_digest")
		c.equal(c.bytes(r, "read_digest"), c.d[other][m], "read_digest")
		c.equal(hTup("receipt", c.t3, direction, n, c.d[other][n], m, c.d[other][m], c.number(r, "time"), c.bytes(r, "salt")), c.bytes(o, "digest"), "digest")
	default:
		t.Fatalf("kind %s", o["kind"])
	}
}

func (c *secondConversation) records(g fields, key, direction string, o object, plain []byte) {
	t := c.t
	t.Helper()
	lines := strings.Split(string(plain), "\n")
	if uint64(len(lines)) != c.number(o, "count") || c.number(o, "seq") != uint64(len(c.d[direction])) {
		c.must(errors.New("seq or count"))
	}
	for i, line := range lines {
		if line != g[key+"-record"][i] {
			t.Errorf("%s: record %d is %s", key, i, line)
		}
		r := c.read([]byte(line))
		var to []any
		for _, rc := range r["to"].([]any) {
			rc := rc.(map[string]any)
			identity, err := hex.DecodeString(rc["identity"].(string))
			c.must(err)
			to = append(to, []any{rc["name"], identity})
		}
		id := hTup("id", c.sender[direction], to, c.number(r, "time"), c.bytes(r, "salt"), r["text"])[:16]
		if r["id"] != hex.EncodeToString(id) {
			t.Errorf("%s: id %s, want %x", key, r["id"], id)
		}
		d := c.d[direction]
		if c.number(r, "seq") != uint64(len(d)) {
			t.Errorf("%s: seq %d", key, c.number(r, "seq"))
		}
		c.d[direction] = append(d, hTup("record", d[len(d)-1], h([]byte(line))))
	}
	d := c.d[direction]
	c.equal(d[len(d)-1], c.bytes(o, "digest"), "digest")
}

// The suites that the second client knows are all.
func TestSecondClientKnowsTheSuites(t *testing.T) {
	if got := strings.Join(crypto.SuiteNames(), " "); got != "MLKEM768X25519_AES256_GCM RSA_AES256_CBC_HMAC RSA_AES128_CBC_HMAC" {
		t.Errorf("suites %s", got)
	}
}
