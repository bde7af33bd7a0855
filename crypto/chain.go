package crypto

import "encoding/binary"

// A kdfChain is one direction's symmetric chain: a key per message from a chain
// key that moves one way only, so that a message key of yesterday cannot be
// had from the state of today. Both layers use it; PROTOCOL.md, "Chain".
//
// One goroutine owns it.
type kdfChain struct {
	suite Suite
	ck    []byte // nil once erased
	n     uint64 // of the next message
	info  []byte // tuple("mk", suite, session, direction, n); n is its last 8 bytes
}

func newKDFChain(suite Suite, ck []byte, session [32]byte, direction string) *kdfChain {
	return &kdfChain{suite: suite, ck: ck, info: tuple("mk", suite.Name(), session, direction, uint64(0))}
}

// messageKey derives the key of message n and leaves the chain where it is.
func (c *kdfChain) messageKey(random []byte) []byte {
	if c.ck == nil {
		return unknownSecret()
	}
	binary.BigEndian.PutUint64(c.info[len(c.info)-8:], c.n)
	prk := extract(c.ck, random)
	mk := expand(prk, string(c.info), secretSize)
	clear(prk)
	return mk
}

// seal seals message n and moves on.
func (c *kdfChain) seal(dst, random, aad, plaintext []byte) []byte {
	mk := c.messageKey(random)
	dst = c.suite.Seal(dst, mk, aad, plaintext)
	clear(mk)
	c.advance()
	return dst
}

// open opens message n and stays: what is opened may still be refused, and
// then nothing may have changed. advance commits.
func (c *kdfChain) open(dst, random, aad, sealed []byte) ([]byte, error) {
	mk := c.messageKey(random)
	out, err := c.suite.Open(dst, mk, aad, sealed)
	clear(mk)
	return out, err
}

func (c *kdfChain) advance() {
	if c.ck == nil {
		return
	}
	next := expandLabel(c.ck, "next", secretSize)
	clear(c.ck)
	c.ck = next
	c.n++
}

// replace puts a new chain key in the place of the old one, which is cleared.
// The numbers go on.
func (c *kdfChain) replace(ck []byte) {
	clear(c.ck)
	c.ck = ck
}

// erase clears the chain key. Afterwards the chain opens nothing, and what it
// seals nobody can open.
func (c *kdfChain) erase() {
	clear(c.ck)
	c.ck = nil
}
