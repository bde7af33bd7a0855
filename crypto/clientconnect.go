package crypto

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"slices"

	"chatsecure/canon"
	"chatsecure/proto"
)

// The client-connect handshake, end to end between two connections:
// PROTOCOL.md, "Client-connect". A starts, B answers. Bodies are what the relay
// copies: the exact bytes of p1, p2, p3 or a retry, then the signature and the
// confirmation in base64, a line each.

// ErrHandshake is in the chain of every refusal of a handshake message that is
// malformed or does not belong to this handshake.
var ErrHandshake error = &refusal{code: proto.Malformed, text: "client-connect handshake"}

func handshakeError(what string) error { return &handshakeFailure{what} }

type handshakeFailure struct{ what string }

func (e *handshakeFailure) Error() string { return "client-connect: " + e.what }
func (e *handshakeFailure) Unwrap() error { return ErrHandshake }

const nonceSize = 32

// An End is one end of a conversation: a name as its bundle has it, and a
// connection id.
type End struct {
	Name, Conn string
}

// A Local is this client's side of every handshake: what it proves itself
// with. Its fields do not change.
type Local struct {
	Key        *Key
	Bundle     *Bundle
	Identity   [32]byte // of the bundle's person
	FoldedName string   // the bundle's name, folded
	Suites     []string // allowed, best first
	Keys       *KeySource
}

// VerifyFunc checks a bundle as Verifier.Verify does, and whatever else must
// hold of who it proves. It is called after the signature by the bundle's K
// has been checked.
type VerifyFunc func(b *Bundle, name string) (*Person, error)

type phase1 struct {
	Type    string   `json:"type"` // p1
	Nonce   []byte   `json:"data"`
	Ciphers []string `json:"ciphers"`
	Cipher  string   `json:"cipher"` // the suite that Key is for: the first, or the retry's
	Key     []byte   `json:"key"`
	Src     string   `json:"src"`
	SrcID   string   `json:"src-id"`
	Dst     string   `json:"dst"`
	DstID   string   `json:"dst-id"`
	Bundle  *Bundle  `json:"bundle"`
	Retry   []byte   `json:"retry,omitempty"` // H of the old p1 and the retry
}

type retry struct {
	Type   string  `json:"type"` // retry
	Cipher string  `json:"cipher"`
	Bundle *Bundle `json:"bundle"`
}

type phase2 struct {
	Type   string  `json:"type"` // p2
	Cipher string  `json:"cipher"`
	Enc    []byte  `json:"data"`
	Key    []byte  `json:"key"`
	Bundle *Bundle `json:"bundle"`
}

type phase3 struct {
	Type string `json:"type"` // p3
	Enc  []byte `json:"data"`
	Key  []byte `json:"key"`
}

// joinBody makes a body of exact bytes and what goes with them.
func joinBody(p []byte, with ...[]byte) []byte {
	b := slices.Clone(p)
	for _, w := range with {
		b = append(b, '\n')
		b = base64.StdEncoding.AppendEncode(b, w)
	}
	return b
}

// splitBody takes apart what joinBody made of p and n parts.
func splitBody(body []byte, n int) (p []byte, with [][]byte, err error) {
	lines := bytes.SplitN(body, []byte("\n"), n+2) // one more than there may be
	if len(lines) != n+1 {
		return nil, nil, handshakeError("malformed body")
	}
	for _, line := range lines[1:] {
		w, err := decodeBase64(line)
		if err != nil {
			return nil, nil, handshakeError("malformed body")
		}
		with = append(with, w)
	}
	return lines[0], with, nil
}

// decodeBase64 decodes the one strict encoding, without newlines.
func decodeBase64(src []byte) ([]byte, error) {
	out, err := base64.StdEncoding.Strict().AppendDecode(nil, src)
	if err != nil || base64.StdEncoding.EncodedLen(len(out)) != len(src) {
		return nil, handshakeError("malformed base64")
	}
	return out, nil
}

// PeekPhase returns what a client-connect body says it is: "p1", "p2", "p3",
// "retry", or "" for anything else.
func PeekPhase(body []byte) string {
	for _, typ := range [...]string{"p1", "p2", "p3", "retry"} {
		if bytes.HasPrefix(body, []byte(`{"type":"`+typ+`"`)) {
			return typ
		}
	}
	return ""
}

// Initiator is A, between its p1 and the conversation.
type Initiator struct {
	local    *Local
	me, peer End
	nonce    []byte
	first    [32]byte // H of the first p1, which decides when two cross
	suite    Suite
	key      KEMKey
	p1       []byte
	t1       [32]byte
	retried  *retry // the retry that the present p1 answers
}

// Initiate makes p1.
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

func (i *Initiator) phase1(suite Suite, retryHash []byte) (body []byte, err error) {
	key, err := i.local.Keys.Get(suite)
	if err != nil {
		return nil, err
	}
	i.Erase()
	i.suite, i.key = suite, key
	i.nonce = make([]byte, nonceSize)
	rand.Read(i.nonce)
	i.p1 = canon.MustMarshal(&phase1{
		Type: "p1", Nonce: i.nonce, Ciphers: i.local.Suites, Cipher: suite.Name(), Key: i.key.Public(),
		Src: i.me.Name, SrcID: i.me.Conn, Dst: i.peer.Name, DstID: i.peer.Conn,
		Bundle: i.local.Bundle, Retry: retryHash,
	})
	sig := i.local.Key.Sign(tuple("cc-1", i.p1))
	i.t1 = hashTuple("cc-T1", i.p1, sig)
	return joinBody(i.p1, sig), nil
}

// Nonce returns the nonce of the present p1: one that comes back from a peer
// is a reflection.
func (i *Initiator) Nonce() []byte { return i.nonce }

// Order returns H of the first p1: of two that cross, the lower one goes on.
func (i *Initiator) Order() [32]byte { return i.first }

// Erase drops the ephemeral key; for an attempt that is given up.
func (i *Initiator) Erase() {
	if i.key != nil {
		i.key.Erase()
	}
}

// Retry takes B's answer that it lacks the first suite, and returns a new p1.
// There is one retry in a handshake.
func (i *Initiator) Retry(body []byte, verify VerifyFunc) (newBody []byte, err error) {
	r, with, err := splitBody(body, 1)
	if err != nil {
		return nil, err
	}
	var rt retry
	if err := canon.Unmarshal(r, &rt); err != nil || rt.Type != "retry" || rt.Bundle == nil {
		return nil, handshakeError("malformed retry")
	}
	suite := SuiteByName(rt.Cipher)
	if i.retried != nil || suite == nil || suite == i.suite || !slices.Contains(i.local.Suites, rt.Cipher) {
		return nil, handshakeError("retry with a suite that was not offered, or a second retry")
	}
	hash := rt.Bundle.Hash()
	if _, err := verifyBundle(rt.Bundle, i.peer.Name, tuple("cc-retry", i.t1, rt.Cipher, hash), with[0], verify); err != nil {
		return nil, err
	}
	answered := hashTuple("cc-retried", i.p1, r)
	if newBody, err = i.phase1(suite, answered[:]); err != nil {
		return nil, err
	}
	i.retried = &rt
	return newBody, nil
}

// verifyBundle checks a signature by the bundle's K, then the bundle.
func verifyBundle(b *Bundle, name string, signed, sig []byte, verify VerifyFunc) (*Person, error) {
	if err := b.Check(); err != nil {
		return nil, err
	}
	k, err := b.Key()
	if err != nil {
		return nil, err
	}
	if !k.Verify(signed, sig) {
		return nil, ErrDecrypt
	}
	return verify(b, name)
}

// Phase2 takes B's p2, checks who B is and that B holds what it says, and
// returns p3 and the conversation. B is authenticated from here on.
func (i *Initiator) Phase2(body []byte, verify VerifyFunc) (body3 []byte, c *Conversation, err error) {
	p2, with, err := splitBody(body, 2)
	if err != nil {
		return nil, nil, err
	}
	sig2, confirm2 := with[0], with[1]
	var p phase2
	if err := canon.Unmarshal(p2, &p); err != nil || p.Type != "p2" || p.Bundle == nil {
		return nil, nil, handshakeError("malformed p2")
	}
	if p.Cipher != i.suite.Name() {
		return nil, nil, handshakeError("p2 with another suite than p1's key is for")
	}
	if i.retried != nil && p.Bundle.Hash() != i.retried.Bundle.Hash() {
		return nil, nil, handshakeError("p2 with another bundle than the retry's")
	}
	t2 := hashTuple("cc-T2", i.t1, p2)
	person, err := verifyBundle(p.Bundle, i.peer.Name, tuple("cc-2", t2), sig2, verify)
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
	ratchet, err := i.local.Keys.Get(i.suite)
	if err != nil {
		return nil, nil, err
	}
	p3 := canon.MustMarshal(&phase3{Type: "p3", Enc: enc2, Key: ratchet.Public()})
	t3 := hashTuple("cc-T3", t2, sig2, confirm2, p3)
	c, kc := newConversation(i.local, person, i.suite, t3, ss2, root0, initiatorRole)
	defer clear(kc)
	c.Me, c.Peer = i.me, i.peer
	c.myHash, c.PeerBundle, c.peerHash = i.local.Bundle.Hash(), p.Bundle, p.Bundle.Hash()
	c.mine = ratchet
	sig3 := i.local.Key.Sign(tuple("cc-3", t3))
	return joinBody(p3, sig3, confirm(kc, t3)), c, nil
}

// Responder is B, between its p2 and A's p3.
type Responder struct {
	local      *Local
	me, peer   End
	suite      Suite
	key        KEMKey // rpkB's private half
	root0      []byte
	t2         [32]byte
	sig2       []byte // items of T3, as confirm2
	confirm2   []byte
	person     *Person
	peerBundle *Bundle
	offer      [32]byte // H of the p1 that this answers
	first      [32]byte // H of the first p1
}

// An Offer is a p1 that has been read and belongs here, but not yet been
// answered.
type Offer struct {
	p        phase1
	exact    []byte
	sig      []byte
	me, peer End
}

// ReadOffer decodes p1 and checks that it is from peer to me, as the relay
// stamped it. It checks no signature yet.
func ReadOffer(body []byte, me, peer End) (*Offer, error) {
	exact, with, err := splitBody(body, 1)
	if err != nil {
		return nil, err
	}
	o := &Offer{exact: exact, sig: with[0], me: me, peer: peer}
	p := &o.p
	if err := canon.Unmarshal(exact, p); err != nil || p.Type != "p1" || p.Bundle == nil {
		return nil, handshakeError("malformed p1")
	}
	if p.Src != peer.Name || p.SrcID != peer.Conn || p.Dst != me.Name || p.DstID != me.Conn {
		return nil, handshakeError("p1 for other names or connections than the relay says")
	}
	if p.SrcID == me.Conn {
		return nil, handshakeError("p1 from this very connection")
	}
	if len(p.Nonce) != nonceSize || len(p.Ciphers) == 0 || len(p.Ciphers) > maxSuites || !slices.Contains(p.Ciphers, p.Cipher) ||
		len(p.Retry) != 0 && len(p.Retry) != sha256.Size {
		return nil, handshakeError("malformed p1")
	}
	if len(p.Retry) == 0 && p.Cipher != p.Ciphers[0] {
		return nil, handshakeError("p1 with a key that is not for its first suite")
	}
	return o, nil
}

// maxSuites bounds the suites in p1, as in connect.
const maxSuites = 16

// Order returns H of this very p1: of two first ones that cross, the lower goes on.
func (o *Offer) Order() [32]byte { return sha256.Sum256(o.exact) }

// Retried tells whether this p1 says that it answers a retry.
func (o *Offer) Retried() bool { return len(o.p.Retry) > 0 }

// Nonce returns the offer's nonce.
func (o *Offer) Nonce() []byte { return o.p.Nonce }

// A RetryState is what B remembers of a retry that it asked for. It serves for
// one p1. Nothing of the old p1 itself is in it: how long that is the peer says,
// and a retry is remembered for as long as the connection lives.
type RetryState struct {
	answered [32]byte // H of the old p1 and the retry
	kept     [32]byte // H of what the new p1 must keep
	cipher   string
	first    [32]byte // H of the old p1
}

// kept returns H of what stays the same in a p1 that answers a retry.
func (p *phase1) kept() [32]byte {
	return sha256.Sum256(canon.MustMarshal(&phase1{
		Ciphers: p.Ciphers, Src: p.Src, SrcID: p.SrcID, Dst: p.Dst, DstID: p.DstID, Bundle: p.Bundle,
	}))
}

// answeredBy tells whether p keeps what the p1 that was answered with the
// retry had, and takes the suite that the retry names.
func (r *RetryState) answeredBy(p *phase1) bool {
	return r != nil && bytes.Equal(p.Retry, r.answered[:]) && p.Cipher == r.cipher && p.kept() == r.kept
}

// Order returns H of the first p1.
func (r *RetryState) Order() [32]byte { return r.first }

// Answer checks A's signature and bundle and answers p1: with p2 and a
// Responder, or, where A's key is for a suite that is not allowed here, with a
// retry and its state. before is the state of a retry asked for earlier from
// the same connection, or nil. Where there is no suite in common it returns
// nil, nil, nil and no error.
func (o *Offer) Answer(local *Local, before *RetryState, verify VerifyFunc) (body []byte, r *Responder, again *RetryState, err error) {
	p := &o.p
	first := o.Order()
	if len(p.Retry) > 0 {
		if !before.answeredBy(p) {
			return nil, nil, nil, handshakeError("p1 that answers a retry nobody asked for")
		}
		first = before.first
	}
	person, err := verifyBundle(p.Bundle, o.peer.Name, tuple("cc-1", o.exact), o.sig, verify)
	if err != nil {
		return nil, nil, nil, err
	}
	t1 := hashTuple("cc-T1", o.exact, o.sig)
	if !slices.Contains(local.Suites, p.Cipher) {
		suite := ChooseSuite(p.Ciphers, local.Suites)
		if suite == nil {
			return nil, nil, nil, nil
		}
		rt := canon.MustMarshal(&retry{Type: "retry", Cipher: suite.Name(), Bundle: local.Bundle})
		sig := local.Key.Sign(tuple("cc-retry", t1, suite.Name(), local.Bundle.Hash()))
		again = &RetryState{answered: hashTuple("cc-retried", o.exact, rt), kept: p.kept(), cipher: suite.Name(), first: first}
		return joinBody(rt, sig), nil, again, nil
	}

	suite := SuiteByName(p.Cipher)
	if suite == nil {
		return nil, nil, nil, handshakeError("an allowed cipher suite is not known")
	}
	enc1, ss1, err := suite.Encapsulate(p.Key, t1[:])
	if err != nil {
		return nil, nil, nil, handshakeError("p1 with a KEM key that cannot be used")
	}
	defer clear(ss1)
	key, err := local.Keys.forPeer(suite)
	if err != nil {
		return nil, nil, nil, err
	}
	p2 := canon.MustMarshal(&phase2{Type: "p2", Cipher: suite.Name(), Enc: enc1, Key: key.Public(), Bundle: local.Bundle})
	t2 := hashTuple("cc-T2", t1, p2)
	r = &Responder{
		local: local, me: o.me, peer: o.peer, suite: suite, key: key, t2: t2,
		root0: extract(ss1, t2[:]), person: person, peerBundle: p.Bundle, offer: o.Order(), first: first,
	}
	r.sig2 = local.Key.Sign(tuple("cc-2", t2))
	r.confirm2 = confirmB(r.root0, t2)
	return joinBody(p2, r.sig2, r.confirm2), r, nil, nil
}

// Person returns who A has proved to be.
func (r *Responder) Person() *Person { return r.person }

// Answers tells whether this answers that very p1: there is one p2 for a p1,
// and one that comes again gets none.
func (r *Responder) Answers(o *Offer) bool { return r.offer == o.Order() }

// Erase drops the handshake's secrets; for an attempt that is given up.
func (r *Responder) Erase() {
	r.key.Erase()
	clear(r.root0)
}

// Phase3 takes A's p3 and returns the conversation. A is authenticated from
// here on. A p3 that fails leaves the Responder as it was, so that a forged one
// does not end an honest handshake.
func (r *Responder) Phase3(body []byte) (*Conversation, error) {
	p3, with, err := splitBody(body, 2)
	if err != nil {
		return nil, err
	}
	sig3, confirm3 := with[0], with[1]
	var p phase3
	if err := canon.Unmarshal(p3, &p); err != nil || p.Type != "p3" {
		return nil, handshakeError("malformed p3")
	}
	t3 := hashTuple("cc-T3", r.t2, r.sig2, r.confirm2, p3)
	if !r.person.Key.Verify(tuple("cc-3", t3), sig3) {
		return nil, ErrDecrypt
	}
	if checkKEMKey(r.suite, p.Key) != nil {
		return nil, handshakeError("p3 with a KEM key that cannot be used")
	}
	ss2, err := r.suite.Decapsulate(r.key, p.Enc, r.t2[:])
	if err != nil {
		return nil, err
	}
	defer clear(ss2)
	c, kc := newConversation(r.local, r.person, r.suite, t3, ss2, r.root0, responderRole)
	defer clear(kc)
	if !hmac.Equal(confirm(kc, t3), confirm3) {
		c.Erase()
		return nil, ErrDecrypt
	}
	r.Erase()
	c.Me, c.Peer = r.me, r.peer
	c.myHash, c.PeerBundle, c.peerHash = r.local.Bundle.Hash(), r.peerBundle, r.peerBundle.Hash()
	c.theirs = p.Key // unused: B has the first turn
	return c, nil
}

func confirmB(root0 []byte, t2 [32]byte) []byte {
	key := expandLabel(root0, "confirm B", secretSize)
	defer clear(key)
	return confirm(key, t2)
}

func confirm(key []byte, t [32]byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(t[:])
	return h.Sum(nil)
}
