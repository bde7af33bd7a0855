package crypto

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"slices"

	"chatsecure/crypto/trust"
	"chatsecure/proto"
)

// An Offer is a p1 for this connection, before its answer.
type Offer struct {
	p        phase1
	exact    []byte
	sig      []byte
	me, peer End
	person   *trust.Person // once A is proved
}

// ReadOffer decodes p1 and checks that it goes from peer to me, as the relay
// stamped it. It checks no signature.
func ReadOffer(body []byte, me, peer End) (*Offer, error) {
	exact, with, err := splitBody(body, 1)
	if err != nil {
		return nil, err
	}
	o := &Offer{exact: exact, sig: with[0], me: me, peer: peer}
	p := &o.p
	if err := proto.Unmarshal(exact, p); err != nil || p.Type != "p1" || p.Bundle == nil || !proto.ValidTakes(p.Takes) {
		return nil, handshakeError("malformed p1")
	}
	if p.Src != peer.Name || p.SrcID != peer.Conn || p.Dst != me.Name || p.DstID != me.Conn {
		return nil, handshakeError("p1 for other names or connections than the relay says")
	}
	if p.SrcID == me.Conn {
		return nil, handshakeError("p1 from this very connection")
	}
	if len(p.Nonce) != nonceSize || len(p.Ciphers) == 0 || len(p.Ciphers) > proto.MaxCiphers || !slices.Contains(p.Ciphers, p.Cipher) ||
		len(p.Retry) != 0 && len(p.Retry) != sha256.Size {
		return nil, handshakeError("malformed p1")
	}
	if len(p.Retry) == 0 && p.Cipher != p.Ciphers[0] {
		return nil, handshakeError("p1 with a key that is not for its first suite")
	}
	return o, nil
}

// Order returns H(this p1). Of two first ones that cross, the lower goes on.
func (o *Offer) Order() [32]byte { return sha256.Sum256(o.exact) }

// Retried reports whether this p1 claims to answer a retry.
func (o *Offer) Retried() bool { return len(o.p.Retry) > 0 }

// Leaf returns the hash of the certificate that the offer shows.
func (o *Offer) Leaf() [32]byte { return sha256.Sum256(o.p.Bundle.X509) }

// Nonce returns the offer's nonce.
func (o *Offer) Nonce() []byte { return o.p.Nonce }

// A RetryState is B's memory of a retry that it asked for, and serves for one p1.
// B keeps it as long as the connection lives, so it has hashes of the old p1, whose
// length is the peer's choice, and not its bytes.
type RetryState struct {
	answered [32]byte // H(tuple("cc-retried", old p1, retry))
	kept     [32]byte // phase1.kept of the old p1
	cipher   string
	first    [32]byte // H(old p1)
}

// kept returns a hash of the fields that a p1 in answer to a retry must keep.
func (p *phase1) kept() [32]byte {
	return sha256.Sum256(proto.MustMarshal(&phase1{
		Ciphers: p.Ciphers, Src: p.Src, SrcID: p.SrcID, Dst: p.Dst, DstID: p.DstID, Bundle: p.Bundle, Takes: p.Takes,
	}))
}

// answeredBy reports whether p answers this retry: with its suite, and with the
// fields of the old p1 that must stay.
func (r *RetryState) answeredBy(p *phase1) bool {
	return r != nil && bytes.Equal(p.Retry, r.answered[:]) && p.Cipher == r.cipher && p.kept() == r.kept
}

// Order returns H(first p1).
func (r *RetryState) Order() [32]byte { return r.first }

// Responder is B, between its p2 and A's p3.
type Responder struct {
	local      *Local
	me, peer   End
	suite      Suite
	key        KEMKey // private half of p2's key
	root0      []byte
	t2         [32]byte
	sig2       []byte // an item of T3, as is confirm2
	confirm2   []byte
	person     *trust.Person
	peerBundle *trust.Bundle
	peerTakes  string
	offer      [32]byte // H(p1 that this answers)
}

// Prove checks, the cheap things first, all that p1 must have before an answer is worth
// its keys: the retry that it answers, a suite in common, A's signature and bundle. before
// is the state of an earlier retry for the same connection, or nil. errNoCommonSuite is
// among its errors.
func (o *Offer) Prove(local *Local, before *RetryState, verify VerifyFunc) (err error) {
	if len(o.p.Retry) > 0 && !before.answeredBy(&o.p) {
		return handshakeError("p1 that answers a retry nobody asked for")
	}
	if ChooseSuite(o.p.Ciphers, local.Suites) == nil {
		return errNoCommonSuite
	}
	o.person, err = verifyBundle(o.p.Bundle, o.peer.Name, proto.Tuple("cc-1", o.exact), o.sig, verify)
	return err
}

// Answer answers p1, which it proves first where nobody has: with p2 and a Responder,
// or, if the suite of A's key is not allowed here, with a retry and its state.
// ErrBusy is among its errors.
func (o *Offer) Answer(local *Local, before *RetryState, verify VerifyFunc) (body []byte, r *Responder, again *RetryState, err error) {
	if o.person == nil {
		if err := o.Prove(local, before, verify); err != nil {
			return nil, nil, nil, err
		}
	}
	p, first := &o.p, o.Order()
	if len(p.Retry) > 0 {
		first = before.first
	}
	t1 := proto.HashTuple("cc-T1", o.exact, o.sig)
	if !slices.Contains(local.Suites, p.Cipher) {
		suite := ChooseSuite(p.Ciphers, local.Suites)
		rt := proto.MustMarshal(&retry{Type: "retry", Cipher: suite.Name(), Bundle: local.Bundle})
		sig := local.Key.Sign(proto.Tuple("cc-retry", t1, suite.Name(), local.Bundle.Hash()))
		again = &RetryState{answered: proto.HashTuple("cc-retried", o.exact, rt), kept: p.kept(), cipher: suite.Name(), first: first}
		return joinBody(rt, sig), nil, again, nil
	}

	suite := SuiteByName(p.Cipher)
	enc1, ss1, err := suite.Encapsulate(p.Key, t1[:])
	if err != nil {
		return nil, nil, nil, handshakeError("p1 with a KEM key that cannot be used")
	}
	defer clear(ss1)
	key, err := local.Keys.forPeer(suite)
	if err != nil {
		return nil, nil, nil, err
	}
	p2 := proto.MustMarshal(&phase2{
		Type: "p2", Cipher: suite.Name(), Enc: enc1, Key: key.Public(),
		Bundle: local.Bundle, Takes: local.Takes, Letter: local.letterTo(o.person, p.Bundle),
	})
	t2 := proto.HashTuple("cc-T2", t1, p2)
	r = &Responder{
		local: local, me: o.me, peer: o.peer, suite: suite, key: key, t2: t2,
		root0: extract(ss1, t2[:]), person: o.person, peerBundle: p.Bundle, peerTakes: p.Takes, offer: o.Order(),
	}
	r.sig2 = local.Key.Sign(proto.Tuple("cc-2", t2))
	r.confirm2 = confirmB(r.root0, t2)
	return joinBody(p2, r.sig2, r.confirm2), r, nil, nil
}

// Person returns the person that A has proved to be.
func (r *Responder) Person() *trust.Person { return r.person }

// Answers reports whether this is the answer to that p1. A p1 has one p2, and a
// repeated p1 gets none.
func (r *Responder) Answers(o *Offer) bool { return r.offer == o.Order() }

// Phase3 takes A's p3 and returns the conversation. A is authenticated from here
// on. A refused p3 changes nothing: a forged one does not end an honest handshake.
func (r *Responder) Phase3(body []byte) (*Conversation, error) {
	p3, with, err := splitBody(body, 2)
	if err != nil {
		return nil, err
	}
	sig3, confirm3 := with[0], with[1]
	var p phase3
	if err := proto.Unmarshal(p3, &p); err != nil || p.Type != "p3" {
		return nil, handshakeError("malformed p3")
	}
	t3 := proto.HashTuple("cc-T3", r.t2, r.sig2, r.confirm2, p3)
	if !r.person.Key.Verify(proto.Tuple("cc-3", t3), sig3) {
		return nil, ErrSignature
	}
	if r.suite.CheckKey(p.Key) != nil {
		return nil, handshakeError("p3 with a KEM key that cannot be used")
	}
	ss2, err := r.suite.Decapsulate(r.key, p.Enc, r.t2[:])
	if err != nil {
		return nil, err
	}
	defer clear(ss2)
	c := &Conversation{
		T3: t3, Me: r.me, Peer: r.peer, Person: r.person, PeerBundle: r.peerBundle, PeerTakes: r.peerTakes, PeerLetter: p.Letter,
		local: r.local, suite: r.suite, role: responderRole,
	}
	kc := c.begin(ss2, r.root0)
	defer clear(kc)
	if !hmac.Equal(confirm(kc, t3), confirm3) {
		c.Erase()
		return nil, ErrDecrypt
	}
	r.Erase()
	c.theirs = p.Key // unused: B has the first turn
	return c, nil
}

// Erase drops the secrets of an abandoned attempt.
func (r *Responder) Erase() {
	r.key.Erase()
	clear(r.root0)
}
