package crypto

import (
	"crypto/rand"

	"chatsecure/proto"
)

// Hop is one direction of a connection between a client and the relay. It is a
// chain whose messages are the payloads of secure lines, numbered from 0 without
// gaps. One goroutine owns it. PROTOCOL.md, "Secure lines".
type Hop struct {
	chain *kdfChain
	t4    [32]byte
	aad   []byte // memory for that of each line
}

func newHop(suite Suite, prk []byte, t4 [32]byte, direction string) *Hop {
	ck := expand(prk, string(proto.Tuple("app", suite.Name(), direction)), secretSize)
	return &Hop{chain: newKDFChain(suite, ck, t4, direction), t4: t4}
}

// Seq returns the number of the next line.
func (h *Hop) Seq() uint64 { return h.chain.n }

func (h *Hop) fillAAD(random *[32]byte) {
	h.aad = proto.AppendTuple(h.aad[:0], "secure", h.t4, h.chain.direction, h.chain.n, random[:])
}

// Seal appends the sealed payload of line Seq() to dst, draws its random and
// advances.
func (h *Hop) Seal(dst []byte, random *[32]byte, payload []byte) []byte {
	rand.Read(random[:])
	h.fillAAD(random)
	return h.chain.seal(dst, random[:], h.aad, payload)
}

// Open opens a line's payload in place and advances. Its one error is ErrDecrypt,
// also for a number other than the next; the connection must then be closed.
func (h *Hop) Open(seq uint64, random *[32]byte, sealed []byte) ([]byte, error) {
	if seq != h.chain.n {
		return nil, ErrDecrypt
	}
	h.fillAAD(random)
	payload, next, err := h.chain.open(sealed[:0], random[:], h.aad, sealed)
	if err != nil {
		return nil, err
	}
	h.chain.advance(next)
	return payload, nil
}

// RequestSigns returns the message that K signs for a request to the relay in
// line seq of this direction.
func (h *Hop) RequestSigns(seq uint64, header []byte) []byte {
	return proto.Tuple("request", h.t4, seq, header)
}

// Erase clears the chain key.
func (h *Hop) Erase() { h.chain.erase() }

// LineSealer makes secure lines of payloads. The writing goroutine of a connection
// owns it. It keeps the memory of the longest line.
type LineSealer struct {
	Hop    *Hop // the direction of the lines
	random [proto.RandomSize]byte
	Sealed []byte // the last sealed payload, whose memory is used again
}

// Append seals payload and appends its secure line to dst.
func (s *LineSealer) Append(dst, payload []byte) []byte {
	seq := s.Hop.Seq()
	s.Sealed = s.Hop.Seal(s.Sealed[:0], &s.random, payload)
	return proto.AppendSecure(dst, seq, &s.random, s.Sealed)
}

// OpenLine opens a secure line in its own memory and returns its number and its
// payload. On any error the connection must be closed.
func OpenLine(hop *Hop, line []byte) (seq uint64, payload []byte, err error) {
	seq, random, sealed, err := proto.ScanSecure(line)
	if err != nil {
		return 0, nil, err
	}
	payload, err = hop.Open(seq, &random, sealed)
	return seq, payload, err
}
