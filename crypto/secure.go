package crypto

import (
	"crypto/rand"

	"chatsecure/proto"
)

// Hop is one direction of a connection between a client and the relay. It is a
// chain whose messages are the payloads of secure lines, numbered from 0 without
// gaps. One goroutine owns it. PROTOCOL.md, "Secure lines".
//
// The additional data of a seal is the text of the line's body and nothing else:
// suite, T4, direction, number and random are bound by the message key, which is
// derived from them and serves once.
type Hop struct {
	chain *kdfChain
	t4    [32]byte
}

func newHop(suite Suite, prk []byte, t4 [32]byte, direction string) *Hop {
	ck := expand(prk, proto.Tuple("app", suite.Name(), direction), secretSize)
	return &Hop{chain: newKDFChain(suite, ck, t4, direction), t4: t4}
}

// Seq returns the number of the next line.
func (h *Hop) Seq() uint64 { return h.chain.n }

// Seal appends the sealed payload of line Seq() to dst, draws its random and
// advances. The seal covers the text of the line's body too.
func (h *Hop) Seal(dst []byte, random *[32]byte, payload, text []byte) []byte {
	rand.Read(random[:])
	return h.chain.seal(dst, random[:], text, payload)
}

// Open opens a line's payload in place and advances. Its one error is ErrDecrypt,
// also for a number other than the next; the connection must then be closed.
func (h *Hop) Open(s *proto.SecureLine) ([]byte, error) {
	if s.Seq != h.chain.n {
		return nil, ErrDecrypt
	}
	payload, next, err := h.chain.open(s.Payload[:0], s.Random[:], s.Text, s.Payload)
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

// Append seals payload and appends its secure line to dst. text is that of the
// line's body; most lines have none.
func (s *LineSealer) Append(dst, payload, text []byte) []byte {
	seq := s.Hop.Seq()
	s.Sealed = s.Hop.Seal(s.Sealed[:0], &s.random, payload, text)
	return proto.AppendSecure(dst, seq, &s.random, s.Sealed, text)
}

// OpenLine opens a secure line in its own memory and returns its number, its
// payload, and the text of its body, nil without one. On any error the connection
// must be closed.
func OpenLine(hop *Hop, line []byte) (seq uint64, payload, text []byte, err error) {
	s, err := proto.ScanSecure(line)
	if err != nil {
		return 0, nil, nil, err
	}
	payload, err = hop.Open(&s)
	return s.Seq, payload, s.Text, err
}
