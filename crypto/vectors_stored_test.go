package crypto

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"math/big"
	"slices"
	"testing"

	"chatsecure/crypto/trust"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/people"
)

// No two signatures and certificates are equal, so those of the vectors stay as they are stored.
// Package trust holds its part of the code against them (TestStoredVectors there).

// vectorIdentity is the identity of the leaf of a path.
type vectorIdentity struct {
	Why       string   `json:"why"`
	Path      []string `json:"path"`       // leaf first, anchor last
	StateRoot string   `json:"state_root"` // H(SPKI) in the place of those in the table; empty for none
	Identity  string   `json:"identity"`
}

// vectorSignature is a signature by a K or by a card.
type vectorSignature struct {
	Why       string `json:"why"`
	By        string `json:"by"` // K or card
	SPKI      string `json:"spki"`
	Message   string `json:"message"`
	Signature string `json:"signature"`
	Holds     bool   `json:"holds"`
}

// stored checks the stored vectors, and makes those that are missing.
func (v *vectors) stored(t *testing.T, old *vectors) {
	t.Helper()
	v.Identity, v.Signature = old.Identity, old.Signature
	if *Update && len(v.Identity) == 0 {
		v.Identity = newIdentities(t)
	}
	if *Update && len(v.Signature) == 0 {
		v.Signature = newSignatures(t)
	}
	for _, s := range v.Signature {
		if s.By != "K" {
			continue
		}
		key, err := trust.ParsePublicKey(unhex(t, s.SPKI))
		if holds := err == nil && key.Verify(unhex(t, s.Message), unhex(t, s.Signature)); holds != s.Holds {
			t.Errorf("a signature by K, %s: holds: %v", s.Why, holds)
		}
	}
	if len(v.Identity) < 3 || len(v.Signature) < 20 {
		t.Errorf("%d vectors of identities, %d of signatures", len(v.Identity), len(v.Signature))
	}
}

func newIdentities(t *testing.T) (all []vectorIdentity) {
	t.Helper()
	ana := people.Card(t, "ana", lab.P256)
	root := ana.Issuer.Path()
	path := append([][]byte{ana.Leaf.Raw}, ana.ChainDER()...)
	path = append(path, people.Lab(t).Root.Cert.Raw)
	state := sha256.Sum256(people.Lab(t).Root.Cert.RawSubjectPublicKeyInfo)
	issuer := sha256.Sum256(root[0].RawSubjectPublicKeyInfo)
	subject := proto.HashTuple("identity-subject", issuer, proto.List{ana.Leaf.RawIssuer, ana.Leaf.RawSubject})
	citizen := proto.HashTuple("identity-citizen", "PT-CC", ana.Leaf.Subject.SerialNumber)
	renewed := people.Card(t, "ana2", lab.P256, lab.RenewalOf(ana))
	next := slices.Concat([][]byte{renewed.Leaf.Raw}, path[1:])
	for _, v := range []struct {
		why      string
		path     [][]byte
		state    []byte
		identity [32]byte
	}{
		{"a citizen's card", path, state[:], citizen},
		{"the next card of the same citizen", next, state[:], citizen},
		{"the same card where the root is not the state's", path, nil, subject},
	} {
		id := vectorIdentity{Why: v.why, StateRoot: hexOf(v.state), Identity: hexOf(v.identity[:])}
		for _, der := range v.path {
			id.Path = append(id.Path, hexOf(der))
		}
		all = append(all, id)
	}
	return all
}

// onlyWithCofactor is a signature over "message" with the key of the seed 03, 04 and so on. Its R
// has a part of order 2: it holds where both sides are multiplied by the cofactor.
const onlyWithCofactor = "76985cdbd2364a744397b773ed9a33933a0d9390c3775a2aa16fe4f8cb235a8d" +
	"0c07df525e53af7cb5b4d82b5409ef49a50206756a84980b9d3dc75c7f048309"

func newSignatures(t *testing.T) (all []vectorSignature) {
	t.Helper()
	message := []byte("message")
	add := func(by, why string, public any, signature []byte, holds bool) {
		all = append(all, vectorSignature{why, by, hexOf(people.SPKI(t, public)), hexOf(message), hexOf(signature), holds})
	}
	spoilt := func(signature []byte) []byte {
		b := slices.Clone(signature)
		b[len(b)/2] ^= 1
		return b
	}
	digest := func(h crypto.Hash) []byte {
		d := h.New()
		d.Write(message)
		return d.Sum(nil)
	}

	ed := ed25519.NewKeyFromSeed(run(3, 32))
	signature := ed25519.Sign(ed, message)
	neutral := append([]byte{1}, make([]byte, 31)...)
	add("K", "Ed25519", ed.Public(), signature, true)
	add("K", "a bit is changed", ed.Public(), spoilt(signature), false)
	add("K", "a byte is missing", ed.Public(), signature[:63], false)
	add("K", "S is not below the order of the group", ed.Public(), plusOrder(signature), false)
	add("K", "it holds only with the cofactor", ed.Public(), unhex(t, onlyWithCofactor), false)
	add("K", "the key is of small order, under which this holds for every message",
		ed25519.PublicKey(neutral), append(slices.Clone(neutral), make([]byte, 32)...), false)

	keys, err := onceRSA()
	Must(t, err)
	pss := func(h crypto.Hash, salt int) []byte {
		s, err := rsa.SignPSS(rand.Reader, keys[0], h, digest(h), &rsa.PSSOptions{SaltLength: salt, Hash: h})
		Must(t, err)
		return s
	}
	pkcs1 := func(h crypto.Hash) []byte {
		s, err := rsa.SignPKCS1v15(rand.Reader, keys[0], h, digest(h))
		Must(t, err)
		return s
	}
	rsaPublic := &keys[0].PublicKey
	add("K", "RSASSA-PSS", rsaPublic, pss(crypto.SHA256, 32), true)
	add("K", "a bit is changed", rsaPublic, spoilt(pss(crypto.SHA256, 32)), false)
	add("K", "a salt of 20 bytes", rsaPublic, pss(crypto.SHA256, 20), false)
	add("K", "SHA-384", rsaPublic, pss(crypto.SHA384, 32), false)
	add("K", "RSASSA-PKCS1-v1_5, as a card signs", rsaPublic, pkcs1(crypto.SHA256), false)

	add("card", "RSASSA-PKCS1-v1_5", rsaPublic, pkcs1(crypto.SHA256), true)
	add("card", "a bit is changed", rsaPublic, spoilt(pkcs1(crypto.SHA256)), false)
	add("card", "SHA-512 with RSA", rsaPublic, pkcs1(crypto.SHA512), false)
	add("card", "RSASSA-PSS, as a K signs", rsaPublic, pss(crypto.SHA256, 32), false)
	for _, curve := range []struct {
		c           elliptic.Curve
		right, next crypto.Hash
	}{
		{elliptic.P256(), crypto.SHA256, crypto.SHA384}, {elliptic.P384(), crypto.SHA384, crypto.SHA512}, {elliptic.P521(), crypto.SHA512, crypto.SHA256},
	} {
		name := "ECDSA with " + curve.c.Params().Name
		key, err := ecdsa.GenerateKey(curve.c, rand.Reader)
		Must(t, err)
		sign := func(h crypto.Hash) []byte {
			s, err := ecdsa.SignASN1(rand.Reader, key, digest(h))
			Must(t, err)
			return s
		}
		add("card", name, key.Public(), sign(curve.right), true)
		add("card", name+": a bit is changed", key.Public(), spoilt(sign(curve.right)), false)
		add("card", name+" and "+curve.next.String(), key.Public(), sign(curve.next), false)
		add("card", name+": a byte more", key.Public(), append(sign(curve.right), 0), false)
	}
	return all
}

// plusOrder adds the order of the group to S (RFC 8032, section 5.1).
func plusOrder(signature []byte) []byte {
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	s := slices.Clone(signature[32:])
	slices.Reverse(s)
	sum := new(big.Int).Add(order, new(big.Int).SetBytes(s)).FillBytes(make([]byte, 32))
	slices.Reverse(sum)
	return append(slices.Clone(signature[:32]), sum...)
}
