package crypto

import "chatsecure/proto"

// Connect is the transcript and key schedule of the connect handshake between
// client and relay. Both sides give it the same lines in order, exact bytes
// without newlines. It decides nothing: the caller checks each phase first.
// PROTOCOL.md, "Connect".
type Connect struct {
	suite    Suite
	t        [5][32]byte // t[1] to t[4]
	enc      []byte
	secret   []byte
	c2s, s2c []byte // handshake secrets; each serves once, as a message key
}

// NewConnect begins a transcript with line 1.
func NewConnect(line1 []byte) *Connect {
	c := &Connect{}
	c.t[1] = proto.HashTuple("connect-T1", line1)
	return c
}

// RelaySigns returns the message that the relay's identity key signs in phase 2.
func (c *Connect) RelaySigns(suite string, kemKey, spki []byte) []byte {
	return proto.Tuple("connect-2", c.t[1], suite, kemKey, spki)
}

// Line2 adds line 2 to the transcript.
func (c *Connect) Line2(line []byte) { c.t[2] = proto.HashTuple("connect-T2", c.t[1], line) }

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
	c.c2s = expand(prk, proto.Tuple("hs-keys", suite.Name(), enc, "c2s"), secretSize)
	c.s2c = expand(prk, proto.Tuple("hs-keys", suite.Name(), enc, "s2c"), secretSize)
	clear(prk)
}

// ClientSigns returns the message that the client's K signs in phase 3. The bundle
// binds the mailbox key.
func (c *Connect) ClientSigns(h *Hello) []byte {
	collects := make(proto.List, len(h.Collects))
	for i, hash := range h.Collects {
		collects[i] = hash
	}
	return proto.Tuple("connect-3", c.t[2], c.enc, h.Name, h.Bundle.Hash(), collects)
}

// SealHello seals the payload of phase 3.
func (c *Connect) SealHello(plaintext []byte) []byte {
	mk := takeSecret(&c.c2s)
	defer clear(mk)
	return c.suite.Seal(nil, mk, proto.Tuple("hs-c2s", c.t[2], c.enc), plaintext)
}

// OpenHello opens the payload of phase 3.
func (c *Connect) OpenHello(sealed []byte) ([]byte, error) {
	mk := takeSecret(&c.c2s)
	defer clear(mk)
	return c.suite.Open(nil, mk, proto.Tuple("hs-c2s", c.t[2], c.enc), sealed)
}

// Line3 adds line 3 to the transcript.
func (c *Connect) Line3(line []byte) { c.t[3] = proto.HashTuple("connect-T3", c.t[2], line) }

// SealWelcome seals the payload of phase 4.
func (c *Connect) SealWelcome(plaintext []byte) []byte {
	mk := takeSecret(&c.s2c)
	defer clear(mk)
	return c.suite.Seal(nil, mk, proto.Tuple("hs-s2c", c.t[3]), plaintext)
}

// OpenWelcome opens the payload of phase 4.
func (c *Connect) OpenWelcome(sealed []byte) ([]byte, error) {
	mk := takeSecret(&c.s2c)
	defer clear(mk)
	return c.suite.Open(nil, mk, proto.Tuple("hs-s2c", c.t[3]), sealed)
}

// Finish adds line 4 to the transcript and returns the two directions of the
// connection. It erases the handshake's secrets.
func (c *Connect) Finish(line4 []byte) (c2s, s2c *Hop) {
	c.t[4] = proto.HashTuple("connect-T4", c.t[3], line4)
	secret := takeSecret(&c.secret)
	prk := extract(secret, c.t[4][:])
	clear(secret)
	c2s = newHop(c.suite, prk, c.t[4], "c2s")
	s2c = newHop(c.suite, prk, c.t[4], "s2c")
	clear(prk)
	c.Erase()
	return c2s, s2c
}

// Erase clears the secrets of a failed handshake.
func (c *Connect) Erase() {
	for _, secret := range [...]*[]byte{&c.secret, &c.c2s, &c.s2c} {
		clear(*secret)
		*secret = nil
	}
}
