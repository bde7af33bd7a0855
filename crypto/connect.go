package crypto

import (
	"crypto/rand"
	"encoding/binary"
)

// Connect is the transcript and key schedule of the connect handshake between
// client and relay. Both sides feed it the same lines, exact bytes without
// their newline, in order; PROTOCOL.md, "Connect". It makes no decision: the
// caller checks what each phase says before it goes on.
type Connect struct {
	suite    Suite
	t        [5][32]byte // t[1] to t[4]
	enc      []byte
	secret   []byte
	c2s, s2c []byte // handshake secrets: each serves once, as a message key
}

// NewConnect begins a transcript with line 1.
func NewConnect(line1 []byte) *Connect {
	c := &Connect{}
	c.t[1] = hashTuple("connect-T1", line1)
	return c
}

// RelaySigns returns what the relay's identity key signs in phase 2.
func (c *Connect) RelaySigns(suite string, kemKey, spki []byte) []byte {
	return tuple("connect-2", c.t[1], suite, kemKey, spki)
}

// Line2 takes line 2 into the transcript.
func (c *Connect) Line2(line []byte) { c.t[2] = hashTuple("connect-T2", c.t[1], line) }

// Encapsulate is the client's key exchange, after Line2.
func (c *Connect) Encapsulate(suite Suite, kemKey []byte) (enc []byte, err error) {
	enc, secret, err := suite.Encapsulate(kemKey, c.t[2][:])
	if err != nil {
		return nil, err
	}
	c.derive(suite, enc, secret)
	return enc, nil
}

// Decapsulate is the relay's key exchange, after Line2. The key is erased.
func (c *Connect) Decapsulate(suite Suite, key KEMKey, enc []byte) error {
	secret, err := suite.Decapsulate(key, enc, c.t[2][:])
	key.Erase()
	if err != nil {
		return err
	}
	c.derive(suite, enc, secret)
	return nil
}

func (c *Connect) derive(suite Suite, enc, secret []byte) {
	c.suite, c.enc, c.secret = suite, enc, secret
	prk := extract(secret, c.t[2][:])
	c.c2s = expand(prk, string(tuple("hs", suite.Name(), enc, "c2s")), secretSize)
	c.s2c = expand(prk, string(tuple("hs", suite.Name(), enc, "s2c")), secretSize)
	clear(prk)
}

// ClientSigns returns what the client's K signs in phase 3.
func (c *Connect) ClientSigns(name string, bundleHash [32]byte) []byte {
	return tuple("connect-3", c.t[2], c.enc, name, bundleHash)
}

// SealHello seals the client's phase 3.
func (c *Connect) SealHello(plaintext []byte) []byte {
	mk := takeSecret(&c.c2s)
	defer clear(mk)
	return c.suite.Seal(nil, mk, tuple("hs", c.t[2], c.enc), plaintext)
}

// OpenHello opens what SealHello sealed.
func (c *Connect) OpenHello(sealed []byte) ([]byte, error) {
	mk := takeSecret(&c.c2s)
	defer clear(mk)
	return c.suite.Open(nil, mk, tuple("hs", c.t[2], c.enc), sealed)
}

// Line3 takes line 3 into the transcript.
func (c *Connect) Line3(line []byte) { c.t[3] = hashTuple("connect-T3", c.t[2], line) }

// SealWelcome seals the relay's phase 4.
func (c *Connect) SealWelcome(plaintext []byte) []byte {
	mk := takeSecret(&c.s2c)
	defer clear(mk)
	return c.suite.Seal(nil, mk, tuple("hs", c.t[3]), plaintext)
}

// OpenWelcome opens what SealWelcome sealed.
func (c *Connect) OpenWelcome(sealed []byte) ([]byte, error) {
	mk := takeSecret(&c.s2c)
	defer clear(mk)
	return c.suite.Open(nil, mk, tuple("hs", c.t[3]), sealed)
}

// Finish takes line 4 into the transcript and returns the two directions of
// the connection. The handshake's secrets are erased.
func (c *Connect) Finish(line4 []byte) (c2s, s2c *Hop) {
	c.t[4] = hashTuple("connect-T4", c.t[3], line4)
	secret := takeSecret(&c.secret)
	prk := extract(secret, c.t[4][:])
	clear(secret)
	c2s = newHop(c.suite, prk, c.t[4], "c2s")
	s2c = newHop(c.suite, prk, c.t[4], "s2c")
	clear(prk)
	c.Erase()
	return c2s, s2c
}

// Erase clears the handshake's secrets; for a handshake that fails.
func (c *Connect) Erase() {
	for _, secret := range [...]*[]byte{&c.secret, &c.c2s, &c.s2c} {
		clear(*secret)
		*secret = nil
	}
}

// takeSecret hands out a secret that serves once. After its turn, or after
// Erase, there is only one that nobody has.
func takeSecret(secret *[]byte) []byte {
	s := *secret
	*secret = nil
	if s == nil {
		return unknownSecret()
	}
	return s
}

// Hop is one direction of one connection between a client and the relay: a
// chain whose messages are the payloads of `secure` lines, numbered from 0
// without gaps. One goroutine owns it.
type Hop struct {
	chain *kdfChain
	t4    [32]byte
	aad   []byte // tuple("secure", T4, direction, seq, random), its last two items filled in for each line
}

func newHop(suite Suite, prk []byte, t4 [32]byte, direction string) *Hop {
	ck := expand(prk, string(tuple("app", suite.Name(), direction)), secretSize)
	return &Hop{
		chain: newKDFChain(suite, ck, t4, direction),
		t4:    t4,
		aad:   tuple("secure", t4, direction, uint64(0), [32]byte{}),
	}
}

// Seq returns the number of the next line.
func (h *Hop) Seq() uint64 { return h.chain.n }

func (h *Hop) fillAAD(random *[32]byte) {
	n := len(h.aad)
	copy(h.aad[n-32:], random[:])
	binary.BigEndian.PutUint64(h.aad[n-32-4-8:], h.chain.n)
}

// Seal appends the sealed payload of line Seq() to dst, fills in random and
// moves on.
func (h *Hop) Seal(dst []byte, random *[32]byte, payload []byte) []byte {
	rand.Read(random[:])
	h.fillAAD(random)
	return h.chain.seal(dst, random[:], h.aad, payload)
}

// Open opens a line's payload in place and moves on. A number other than the
// next one, like everything else that does not hold, is ErrDecrypt, and the
// connection must be closed.
func (h *Hop) Open(seq uint64, random *[32]byte, sealed []byte) ([]byte, error) {
	if seq != h.chain.n {
		return nil, ErrDecrypt
	}
	h.fillAAD(random)
	payload, err := h.chain.open(sealed[:0], random[:], h.aad, sealed)
	if err != nil {
		return nil, err
	}
	h.chain.advance()
	return payload, nil
}

// RequestSigns returns what K signs in a request to the relay that crosses as
// line seq of this direction.
func (h *Hop) RequestSigns(seq uint64, header []byte) []byte {
	return tuple("request", h.t4, seq, header)
}

// Erase clears the chain key.
func (h *Hop) Erase() { h.chain.erase() }
