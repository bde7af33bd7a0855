package crypto

import (
	"crypto/hpke"
	"crypto/rsa"
	"crypto/x509"
	"flag"
	"fmt"
	"slices"
	"testing"

	"chatsecure/proto"
	"chatsecure/testdata/lab/people"
)

// Access to the inside for the golden transcripts, which are tested from outside the package.

// FixedKeys is a KeySource that hands out these RSA keys in order and makes none in the background.
func FixedKeys(keys ...KEMKey) *KeySource {
	k := &KeySource{closed: true, closing: make(chan struct{}), ready: make(chan KEMKey, len(keys))}
	close(k.closing)
	for _, key := range keys {
		k.ready <- key
	}
	return k
}

// ParseKEMKey reads the output of MarshalKEMKey.
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
	return &rsaKEMKey{k.(*rsa.PrivateKey), people.SPKI(t, &k.(*rsa.PrivateKey).PublicKey)}
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
func (i *Initiator) EphemeralKey() KEMKey { return i.key }

func (r *Responder) EphemeralKey() KEMKey { return r.key }

func (c *Conversation) RatchetKey() KEMKey { return c.mine }

// Replay is a recorded handshake, with the private keys of both sides.
type Replay struct {
	A, B             *Local
	EndA, EndB       End
	P1, P2, P3       []byte // bodies
	KeyA, KeyB, Next KEMKey // of p1, of p2, of p3
	Verify           VerifyFunc
}

// Initiator is A before p2.
func (h *Replay) Initiator(t testing.TB) *Initiator {
	t.Helper()
	p1, with := parts(t, h.P1)
	o, err := ReadOffer(h.P1, h.EndB, h.EndA)
	if err != nil {
		t.Fatal(err)
	}
	return &Initiator{
		local: h.A, me: h.EndA, peer: h.EndB, nonce: o.p.Nonce, first: o.Order(), suite: SuiteByName(o.p.Cipher), key: h.KeyA,
		p1: p1, t1: proto.HashTuple("cc-T1", p1, with[0]),
	}
}

// Conversations are both ends after the handshake: B's by its own code for p3, and A's from the
// same secrets.
func (h *Replay) Conversations(t testing.TB) (ca, cb *Conversation) {
	t.Helper()
	i := h.Initiator(t)
	o, err := ReadOffer(h.P1, h.EndB, h.EndA)
	if err != nil {
		t.Fatal(err)
	}
	personA, err := verifyBundle(o.p.Bundle, h.EndA.Name, proto.Tuple("cc-1", o.exact), o.sig, h.Verify)
	if err != nil {
		t.Fatal(err)
	}
	p2, with := parts(t, h.P2)
	var body phase2
	Must(t, proto.Unmarshal(p2, &body))
	t2 := proto.HashTuple("cc-T2", i.t1, p2)
	ss1, err := i.suite.Decapsulate(h.KeyA, body.Enc, i.t1[:])
	Must(t, err)
	root0 := extract(ss1, t2[:])
	r := &Responder{
		local: h.B, me: h.EndB, peer: h.EndA, suite: i.suite, key: h.KeyB, root0: slices.Clone(root0), t2: t2,
		sig2: with[0], confirm2: with[1], person: personA, peerBundle: o.p.Bundle,
	}
	p3, _ := parts(t, h.P3)
	var body3 phase3
	Must(t, proto.Unmarshal(p3, &body3))
	ss2, err := i.suite.Decapsulate(h.KeyB, body3.Enc, t2[:])
	Must(t, err)
	cb, err = r.Phase3(h.P3)
	Must(t, err)

	personB, err := h.Verify(body.Bundle, h.EndB.Name)
	Must(t, err)
	ca = &Conversation{
		T3: cb.T3, Me: h.EndA, Peer: h.EndB, Person: personB, PeerBundle: body.Bundle,
		local: h.A, suite: i.suite, role: initiatorRole,
	}
	ca.begin(ss2, root0)
	ca.mine = h.Next
	return ca, cb
}

func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Update is the flag to write the golden files anew.
var Update = flag.Bool("update", false, "write the golden files anew")

// AsSent gives src the records that dst has received as sent.
func AsSent(src, dst *Conversation) {
	src.sent = digestLog{base: dst.received.base, d: slices.Clone(dst.received.d)}
}

// Copy is a copy of the hop, to open the next line again.
func (h *Hop) Copy() *Hop {
	chain := *h.chain
	chain.ck, chain.info = slices.Clone(chain.ck), slices.Clone(chain.info)
	return &Hop{chain: &chain, t4: h.t4}
}
