package chatsecure

import (
	"chatsecure/canon"
	"chatsecure/crypto"
	"chatsecure/proto"
)

// hello is what connect phase 3 seals: who the client is and what it takes.
type hello struct {
	Name      string         `json:"name"`
	Takes     string         `json:"takes"`
	Bundle    *crypto.Bundle `json:"bundle"`
	Signature []byte         `json:"data_signature"` // K over crypto.Connect.ClientSigns
}

// readHello decodes what connect phase 3 seals. Who it is has not been checked.
func readHello(opened []byte) (*hello, error) {
	var hi hello
	if err := canon.Unmarshal(opened, &hi); err != nil || hi.Bundle == nil || !proto.ValidTakes(hi.Takes) {
		return nil, proto.Errorf(proto.Malformed, "what connect phase 3 seals is malformed")
	}
	return &hi, hi.Bundle.Check()
}

// whoisEntry is one connection in the body of a whois answer, which is a JSON
// array of these.
type whoisEntry struct {
	ID     string         `json:"id"`
	Takes  string         `json:"takes"`
	Since  int64          `json:"since"` // Unix seconds
	Bundle *crypto.Bundle `json:"bundle"`
}

// unsignedPayload makes a payload of a header and no signature; a body may
// follow.
func unsignedPayload(h *proto.Header) []byte { return append(canon.MustMarshal(h), "\n\n"...) }

// lineSealer makes secure lines out of payloads. The goroutine that writes a
// connection owns it, with the memory it keeps: that of the longest line.
type lineSealer struct {
	hop    *crypto.Hop
	random [proto.RandomSize]byte
	sealed []byte
}

// append seals payload and appends the secure line to dst.
func (s *lineSealer) append(dst, payload []byte) []byte {
	seq := s.hop.Seq()
	s.sealed = s.hop.Seal(s.sealed[:0], &s.random, payload)
	return proto.AppendSecure(dst, seq, &s.random, s.sealed)
}

// openLine returns the payload of a secure line, in the line's own memory, and
// the line's number. Every error means that the connection must be closed.
func openLine(hop *crypto.Hop, line []byte) (seq uint64, payload []byte, err error) {
	seq, random, sealed, err := proto.ScanSecure(line)
	if err != nil {
		return 0, nil, err
	}
	payload, err = hop.Open(seq, &random, sealed)
	return seq, payload, err
}
