package crypto

import (
	"crypto/hpke"
	"crypto/rsa"
	"crypto/x509"
	"flag"
	"fmt"
	"slices"
	"testing"

	"chatsecure/canon"
)

// What the golden transcripts, which are tested from outside because they need
// package proto, must reach inside for.

// FixedKeys is a KeySource that hands out these RSA keys in order, and makes no
// others in the background.
func FixedKeys(keys ...KEMKey) *KeySource {
	keys = slices.Clone(keys)
	slices.Reverse(keys)
	return &KeySource{keys: keys, closed: true}
}

// ParseKEMKey reads what MarshalKEMKey wrote.
func ParseKEMKey(t testing.TB, suite string, private []byte) KEMKey {
	t.Helper()
	if suite == SuiteMLKEM {
		k, err := hpke.MLKEM768X25519().NewPrivateKey(private)
		if err != nil {
			t.Fatal(err)
		}
		return &hpkeKey{k, k.PublicKey().Bytes()}
	}
	k, err := x509.ParsePKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return &rsaKEMKey{k.(*rsa.PrivateKey), spkiOf(t, &k.(*rsa.PrivateKey).PublicKey)}
}

// MarshalKEMKey returns the private half: the seed, or PKCS #8.
func MarshalKEMKey(t testing.TB, key KEMKey) []byte {
	t.Helper()
	var private []byte
	err := fmt.Errorf("a key of type %T", key)
	switch key := key.(type) {
	case *hpkeKey:
		private, err = key.private.Bytes()
	case *rsaKEMKey:
		private, err = x509.MarshalPKCS8PrivateKey(key.private)
	}
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(private)
}

// The unused private keys of a handshake and a conversation.
func (i *Initiator) EphemeralKey() KEMKey  { return i.key }
func (r *Responder) EphemeralKey() KEMKey  { return r.key }
func (c *Conversation) RatchetKey() KEMKey { return c.mine }

// Replay is a handshake as recorded, with the private keys of both sides.
type Replay struct {
	A, B             *Local
	EndA, EndB       End
	P1, P2, P3       []byte // bodies
	KeyA, KeyB, Next KEMKey // of p1, of p2, of p3
	Verify           VerifyFunc
}

// Initiator is A as it stood before p2 came.
func (h *Replay) Initiator(t testing.TB) *Initiator {
	t.Helper()
	p1, with := parts(t, h.P1)
	o, err := ReadOffer(h.P1, h.EndB, h.EndA)
	if err != nil {
		t.Fatal(err)
	}
	return &Initiator{
		local: h.A, me: h.EndA, peer: h.EndB, nonce: o.p.Nonce, first: o.Order(), suite: SuiteByName(o.p.Cipher), key: h.KeyA,
		p1: p1, t1: hashTuple("cc-T1", p1, with[0]),
	}
}

// Conversations are both ends of what the handshake led to: B's as its own code
// takes p3, and A's from the same secrets.
func (h *Replay) Conversations(t testing.TB) (ca, cb *Conversation) {
	t.Helper()
	i := h.Initiator(t)
	o, err := ReadOffer(h.P1, h.EndB, h.EndA)
	if err != nil {
		t.Fatal(err)
	}
	personA, err := verifyBundle(o.p.Bundle, h.EndA.Name, tuple("cc-1", o.exact), o.sig, h.Verify)
	if err != nil {
		t.Fatal(err)
	}
	p2, with := parts(t, h.P2)
	var body phase2
	must(t, canon.Unmarshal(p2, &body))
	t2 := hashTuple("cc-T2", i.t1, p2)
	ss1, err := i.suite.Decapsulate(h.KeyA, body.Enc, i.t1[:])
	must(t, err)
	root0 := extract(ss1, t2[:])
	r := &Responder{
		local: h.B, me: h.EndB, peer: h.EndA, suite: i.suite, key: h.KeyB, root0: slices.Clone(root0), t2: t2,
		sig2: with[0], confirm2: with[1], person: personA, peerBundle: o.p.Bundle, first: o.Order(),
	}
	p3, _ := parts(t, h.P3)
	var body3 phase3
	must(t, canon.Unmarshal(p3, &body3))
	ss2, err := i.suite.Decapsulate(h.KeyB, body3.Enc, t2[:])
	must(t, err)
	cb, err = r.Phase3(h.P3)
	must(t, err)

	personB, err := h.Verify(body.Bundle, h.EndB.Name)
	must(t, err)
	ca, _ = newConversation(h.A, personB, i.suite, cb.T3, ss2, root0, initiatorRole)
	ca.Me, ca.Peer, ca.PeerBundle = h.EndA, h.EndB, body.Bundle
	ca.myHash, ca.peerHash, ca.mine = h.A.Bundle.Hash(), body.Bundle.Hash(), h.Next
	return ca, cb
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Update tells that the golden files are to be written anew.
var Update = flag.Bool("update", false, "write the golden files anew")

// AsSent makes what dst has received what src has sent.
func AsSent(src, dst *Conversation) {
	src.sent = digestLog{base: dst.received.base, d: slices.Clone(dst.received.d)}
}

// Copy is the hop as it stands, so that what comes next can be opened again.
func (h *Hop) Copy() *Hop {
	chain := *h.chain
	chain.ck, chain.info = slices.Clone(chain.ck), slices.Clone(chain.info)
	return &Hop{chain: &chain, t4: h.t4, aad: slices.Clone(h.aad)}
}
