package crypto

import "encoding/binary"

// A Chain is one direction's symmetric chain: a key per message from a chain
// key that moves one way only, so that a message key of yesterday cannot be
// had from the state of today. Both layers use it; PROTOCOL.md, "Chain".
//
// One goroutine owns a Chain.
type Chain struct {
	suite Suite
	ck    []byte // nil once erased
	n     uint64
	info  []byte // tuple("mk", suite, session, direction, n); n is its last 8 bytes
}

func newChain(suite Suite, ck []byte, session [32]byte, direction string) *Chain {
	return &Chain{suite: suite, ck: ck, info: tuple("mk", suite.Name(), session, direction, uint64(0))}
}

// N returns the number of the next message.
func (c *Chain) N() uint64 { return c.n }

// messageKey derives the key of message n and leaves the chain where it is.
func (c *Chain) messageKey(random []byte) []byte {
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
func (c *Chain) seal(dst, random, aad, plaintext []byte) []byte {
	mk := c.messageKey(random)
	dst = c.suite.Seal(dst, mk, aad, plaintext)
	clear(mk)
	c.advance()
	return dst
}

// open opens message n and stays: what is opened may still be refused, and
// then nothing may have changed. advance commits.
func (c *Chain) open(dst, random, aad, sealed []byte) ([]byte, error) {
	mk := c.messageKey(random)
	out, err := c.suite.Open(dst, mk, aad, sealed)
	clear(mk)
	return out, err
}

func (c *Chain) advance() {
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
func (c *Chain) replace(ck []byte) {
	clear(c.ck)
	c.ck = ck
}

// erase clears the chain key. Afterwards the chain opens nothing, and what it
// seals nobody can open.
func (c *Chain) erase() {
	clear(c.ck)
	c.ck = nil
}
