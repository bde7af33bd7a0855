package crypto

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"slices"

	"chatsecure/crypto/trust"
	"chatsecure/proto"
)

// Initiator is A, between its p1 and the conversation.
type Initiator struct {
	local    *Local
	me, peer End
	nonce    []byte
	first    [32]byte // H(first p1), which decides between two that cross
	suite    Suite
	key      KEMKey
	p1       []byte
	t1       [32]byte
	retried  *retry // the retry that the present p1 answers

	// Former are the T1 of former attempts with this peer. Their answers may still come.
	Former [][32]byte
}

// maxFormer bounds the attempts of which a late answer is known as such.
const maxFormer = 4

// Initiate makes p1, for the first of local's suites.
func Initiate(local *Local, me, peer End) (*Initiator, []byte, error) {
	if me.Conn == peer.Conn {
		return nil, nil, handshakeError("the peer is this very connection")
	}
	suite := ChooseSuite(local.Suites, local.Suites)
	if suite == nil || suite.Name() != local.Suites[0] {
		return nil, nil, handshakeError("no cipher suite is allowed, or one that is not known")
	}
	i := &Initiator{local: local, me: me, peer: peer}
	body, err := i.phase1(suite, nil)
	if err != nil {
		return nil, nil, err
	}
	i.first = sha256.Sum256(i.p1)
	return i, body, nil
}

// phase1 makes a p1 with a fresh key for the suite. retryHash is nil in the first.
func (i *Initiator) phase1(suite Suite, retryHash []byte) (body []byte, err error) {
	key, err := i.local.Keys.Get(suite)
	if err != nil {
		return nil, err
	}
	i.Erase()
	i.suite, i.key = suite, key
	i.nonce = make([]byte, nonceSize)
	rand.Read(i.nonce)
	i.p1 = proto.MustMarshal(&phase1{
		Type: "p1", Nonce: i.nonce, Ciphers: i.local.Suites, Cipher: suite.Name(), Key: i.key.Public(),
		Src: i.me.Name, SrcID: i.me.Conn, Dst: i.peer.Name, DstID: i.peer.Conn,
		Bundle: i.local.Bundle, Takes: i.local.Takes, Retry: retryHash,
	})
	sig := i.local.Key.Sign(proto.Tuple("cc-1", i.p1))
	i.t1 = proto.HashTuple("cc-T1", i.p1, sig)
	return joinBody(i.p1, sig), nil
}

// Nonce returns the nonce of the present p1. A p1 of a peer with the same nonce is
// a reflection.
func (i *Initiator) Nonce() []byte { return i.nonce }

// Order returns H(first p1). Of two handshakes that cross, the lower goes on.
func (i *Initiator) Order() [32]byte { return i.first }

// Retry takes the answer of a B that does not allow the suite of p1, and returns a
// new p1. A handshake has one retry at most.
func (i *Initiator) Retry(body []byte, verify VerifyFunc) (newBody []byte, err error) {
	r, with, err := splitBody(body, 1)
	if err != nil {
		return nil, err
	}
	var rt retry
	if err := proto.Unmarshal(r, &rt); err != nil || rt.Type != "retry" || rt.Bundle == nil {
		return nil, handshakeError("malformed retry")
	}
	suite := SuiteByName(rt.Cipher)
	if i.retried != nil || suite == nil || suite == i.suite || !slices.Contains(i.local.Suites, rt.Cipher) {
		return nil, handshakeError("retry with a suite that was not offered, or a second retry")
	}
	hash := rt.Bundle.Hash()
	if _, err := verifyBundle(rt.Bundle, i.peer.Name, proto.Tuple("cc-retry", i.t1, rt.Cipher, hash), with[0], verify); err != nil {
		return nil, err
	}
	answered := proto.HashTuple("cc-retried", i.p1, r)
	if newBody, err = i.phase1(suite, answered[:]); err != nil {
		return nil, err
	}
	i.retried = &rt
	return newBody, nil
}

// Phase2 takes B's p2, verifies B's identity and its keys, and returns p3 and the
// conversation. B is authenticated from here on.
func (i *Initiator) Phase2(body []byte, verify VerifyFunc) (body3 []byte, c *Conversation, err error) {
	p2, with, err := splitBody(body, 2)
	if err != nil {
		return nil, nil, err
	}
	sig2, confirm2 := with[0], with[1]
	var p phase2
	if err := proto.Unmarshal(p2, &p); err != nil || p.Type != "p2" || p.Bundle == nil || !proto.ValidTakes(p.Takes) {
		return nil, nil, handshakeError("malformed p2")
	}
	if p.Cipher != i.suite.Name() {
		return nil, nil, handshakeError("p2 with another suite than p1's key is for")
	}
	if i.retried != nil && p.Bundle.Hash() != i.retried.Bundle.Hash() {
		return nil, nil, handshakeError("p2 with another bundle than the retry's")
	}
	t2 := proto.HashTuple("cc-T2", i.t1, p2)
	person, err := verifyBundle(p.Bundle, i.peer.Name, proto.Tuple("cc-2", t2), sig2, verify)
	if err != nil {
		return nil, nil, err
	}
	ss1, err := i.suite.Decapsulate(i.key, p.Enc, i.t1[:])
	if err != nil {
		return nil, nil, err
	}
	root0 := extract(ss1, t2[:])
	defer clear(root0)
	clear(ss1)
	if !hmac.Equal(confirmB(root0, t2), confirm2) {
		return nil, nil, ErrDecrypt
	}
	i.key.Erase()

	enc2, ss2, err := i.suite.Encapsulate(p.Key, t2[:])
	if err != nil {
		return nil, nil, handshakeError("p2 with a KEM key that cannot be used")
	}
	defer clear(ss2)
	next, err := i.local.Keys.Get(i.suite)
	if err != nil {
		return nil, nil, err
	}
	p3 := proto.MustMarshal(&phase3{Type: "p3", Enc: enc2, Key: next.Public(), Letter: i.local.letterTo(person, p.Bundle)})
	t3 := proto.HashTuple("cc-T3", t2, sig2, confirm2, p3)
	c = &Conversation{
		T3: t3, Me: i.me, Peer: i.peer, Person: person, PeerBundle: p.Bundle, PeerTakes: p.Takes, PeerLetter: p.Letter,
		local: i.local, suite: i.suite, role: initiatorRole,
	}
	kc := c.begin(ss2, root0)
	defer clear(kc)
	c.mine = next
	sig3 := i.local.Key.Sign(proto.Tuple("cc-3", t3))
	return joinBody(p3, sig3, confirm(kc, t3)), c, nil
}

// GiveUp erases the attempt. It returns the Former of the next one.
func (i *Initiator) GiveUp() [][32]byte {
	i.Erase()
	former := slices.Concat(i.Former, [][32]byte{i.t1})
	return former[max(0, len(former)-maxFormer):]
}

// IsLate reports whether an answer that does not hold was signed for a former attempt.
func (i *Initiator) IsLate(body []byte) bool {
	var p2 phase2
	var rt retry
	if p, with, err := splitBody(body, 2); err == nil && proto.Unmarshal(p, &p2) == nil {
		return i.signedFormer(p2.Bundle, with[0], func(t1 [32]byte) []byte { return proto.Tuple("cc-2", proto.HashTuple("cc-T2", t1, p)) })
	}
	p, with, err := splitBody(body, 1)
	return err == nil && proto.Unmarshal(p, &rt) == nil && i.signedFormer(rt.Bundle, with[0], func(t1 [32]byte) []byte {
		return proto.Tuple("cc-retry", t1, rt.Cipher, rt.Bundle.Hash())
	})
}

func (i *Initiator) signedFormer(b *trust.Bundle, sig []byte, signed func(t1 [32]byte) []byte) bool {
	if b == nil || b.Check() != nil {
		return false
	}
	k, err := b.Key()
	return err == nil && slices.ContainsFunc(i.Former, func(t1 [32]byte) bool { return k.Verify(signed(t1), sig) })
}

// Erase drops the ephemeral key of an abandoned attempt.
func (i *Initiator) Erase() {
	if i.key != nil {
		i.key.Erase()
	}
}
