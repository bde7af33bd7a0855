package crypto

import "chatsecure/proto"

// A kdfChain is the symmetric chain of one direction. Each message has its key
// from a chain key that moves one way only: later state does not give an earlier
// message key. Both layers use it. PROTOCOL.md, "Suites".
//
// One goroutine owns it.
type kdfChain struct {
	suite     Suite
	ck        []byte // nil once erased
	n         uint64 // number of the next message
	session   [32]byte
	direction string
	info      []byte // memory for the tuple of each message
}

func newKDFChain(suite Suite, ck []byte, session [32]byte, direction string) *kdfChain {
	return &kdfChain{suite: suite, ck: ck, session: session, direction: direction}
}

// keys derives the key of message n and the chain key after it. The chain does
// not move.
func (c *kdfChain) keys(random []byte) (mk, next []byte) {
	if c.ck == nil {
		return unknownSecret(), nil
	}
	c.info = proto.AppendTuple(c.info[:0], "mk", c.suite.Name(), c.session, c.direction, c.n, random)
	both := expand(c.ck, c.info, 2*secretSize)
	return both[:secretSize:secretSize], both[secretSize:]
}

// seal seals message n and advances.
func (c *kdfChain) seal(dst, random, aad, plaintext []byte) []byte {
	mk, next := c.keys(random)
	dst = c.suite.Seal(dst, mk, aad, plaintext)
	clear(mk)
	c.advance(next)
	return dst
}

// open opens message n without advancing: the message may still be refused, and
// must then have changed nothing. next is the chain key after it, for advance; it
// stands beside the chain and not in it, because another message may be opened
// before this one is taken or refused.
func (c *kdfChain) open(dst, random, aad, sealed []byte) (out, next []byte, err error) {
	mk, next := c.keys(random)
	out, err = c.suite.Open(dst, mk, aad, sealed)
	clear(mk)
	if err != nil {
		clear(next)
		return nil, nil, err
	}
	return out, next, nil
}

// advance moves to the next message, whose chain key is next. An erased chain
// stays erased.
func (c *kdfChain) advance(next []byte) {
	if c.ck == nil {
		clear(next)
		return
	}
	c.replace(next)
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
