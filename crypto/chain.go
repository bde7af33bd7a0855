package crypto

import (
	"encoding/binary"

	"chatsecure/proto"
)

// A kdfChain is the symmetric chain of one direction. Each message has its key
// from a chain key that moves one way only: later state does not give an earlier
// message key. Both layers use it. PROTOCOL.md, "Suites".
//
// One goroutine owns it.
type kdfChain struct {
	suite Suite
	ck    []byte // nil once erased
	n     uint64 // number of the next message
	info  []byte // tuple("mk", suite, session, direction, n); n stands in its last 8 bytes
}

func newKDFChain(suite Suite, ck []byte, session [32]byte, direction string) *kdfChain {
	return &kdfChain{suite: suite, ck: ck, info: proto.Tuple("mk", suite.Name(), session, direction, uint64(0))}
}

// messageKey derives the key of message n. The chain does not move.
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

// seal seals message n and advances.
func (c *kdfChain) seal(dst, random, aad, plaintext []byte) []byte {
	mk := c.messageKey(random)
	dst = c.suite.Seal(dst, mk, aad, plaintext)
	clear(mk)
	c.advance()
	return dst
}

// open opens message n without advancing: the message may still be refused, and
// must then have changed nothing.
func (c *kdfChain) open(dst, random, aad, sealed []byte) ([]byte, error) {
	mk := c.messageKey(random)
	out, err := c.suite.Open(dst, mk, aad, sealed)
	clear(mk)
	return out, err
}

// advance moves to the next message.
func (c *kdfChain) advance() {
	if c.ck == nil {
		return
	}
	next := expandLabel(c.ck, "next", secretSize)
	clear(c.ck)
	c.ck = next
	c.n++
}

// replace replaces and clears the chain key. The numbers continue.
func (c *kdfChain) replace(ck []byte) {
	clear(c.ck)
	c.ck = ck
}

// erase clears the chain key. The chain then opens nothing, and nobody can open
// its messages.
func (c *kdfChain) erase() {
	clear(c.ck)
	c.ck = nil
}
