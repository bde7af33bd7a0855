package crypto

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"

	"chatsecure/proto"
)

// The kinds of message.
const (
	KindText    = "text"
	KindPipe    = "pipe"
	KindReceipt = "receipt"
	KindEnd     = "end"
)

// The directions of a conversation. A began it.
const (
	DirectionAB = "AB"
	DirectionBA = "BA"
)

const (
	saltSize = 16
	idSize   = 16
	// maxBatch bounds the records of one message: a proof of one carries a hash of
	// each of the others.
	maxBatch = 1024
	// maxHeader bounds a header in bytes, as it is stored with every message. One
	// with a step of the largest suite takes 3.7 kB.
	maxHeader = 8 << 10
)

// MessageHeader is the header of a message. Its exact bytes are signed, and are the
// additional data of the seal. PROTOCOL.md, "Messages".
type MessageHeader struct {
	Conversation []byte `json:"conversation"` // T3
	Direction    string `json:"direction"`
	Kind         string `json:"kind"`
	N            uint64 `json:"n"` // of this direction, all kinds, from 0 without gaps
	Random       []byte `json:"random"`
	Step         *Step  `json:"step,omitempty"`
	SrcBundle    []byte `json:"src-bundle"` // bundle hash of the sender
	DstBundle    []byte `json:"dst-bundle"` // bundle hash of the receiver
	Time         int64  `json:"time"`       // Unix milliseconds
	Seq          uint64 `json:"seq"`        // of a text's first record, from 1; in an end, of the last record sent
	Count        uint64 `json:"count"`      // records of a text
	Digest       []byte `json:"digest,omitempty"`
}

// fields are those of a header without a step.
func (h *MessageHeader) fields(digest bool) [12]field {
	end := [2]field{{"}", nil}}
	if digest {
		end = [...]field{{`,"digest":"`, &h.Digest}, {`"}`, nil}}
	}
	return [...]field{
		{`{"conversation":"`, &h.Conversation}, {`","direction":"`, &h.Direction}, {`","kind":"`, &h.Kind},
		{`","n":`, &h.N}, {`,"random":"`, &h.Random}, {`","src-bundle":"`, &h.SrcBundle},
		{`","dst-bundle":"`, &h.DstBundle}, {`","time":`, &h.Time}, {`,"seq":`, &h.Seq},
		{`,"count":`, &h.Count}, end[0], end[1],
	}
}

// encode returns the header's exact bytes.
func (h *MessageHeader) encode() []byte {
	if h.Step != nil {
		return proto.MustMarshal(h)
	}
	fields := h.fields(len(h.Digest) > 0)
	return encode(h, fields[:])
}

// Step is a ratchet step: a fresh secret for the peer's unused key, and the
// sender's next key.
type Step struct {
	Enc []byte `json:"enc"`
	Key []byte `json:"key"`
}

// MessageSigns returns the tuple that K signs for a message, of its exact header
// and the hash of its ciphertext.
func MessageSigns(header []byte, cipherHash [32]byte) []byte {
	return proto.Tuple("message", header, cipherHash)
}

// ParseMessageHeader decodes a message header and checks its form.
func ParseMessageHeader(b []byte) (*MessageHeader, error) {
	if len(b) > maxHeader {
		return nil, fmt.Errorf("message header: longer than %d bytes", maxHeader)
	}
	var h MessageHeader
	if fields := h.fields(bytes.HasSuffix(b, []byte(`"}`))); !scanFields(b, fields[:]) {
		h = MessageHeader{}
		if err := proto.Unmarshal(b, &h); err != nil {
			return nil, fmt.Errorf("message header: %w", err)
		}
	}
	ok := len(h.Conversation) == 32 && len(h.Random) == 32 && len(h.SrcBundle) == 32 && len(h.DstBundle) == 32 && h.Time >= 0 &&
		(h.Direction == DirectionAB || h.Direction == DirectionBA)
	switch h.Kind {
	case KindText:
		ok = ok && h.Seq > 0 && h.Count > 0 && h.Count <= maxBatch && len(h.Digest) == 32
	case KindReceipt:
		ok = ok && h.Seq == 0 && h.Count == 0 && len(h.Digest) == 32
	case KindEnd:
		ok = ok && h.Count == 0 && len(h.Digest) == 32
	case KindPipe:
		ok = ok && h.Seq == 0 && h.Count == 0 && len(h.Digest) == 0
	default:
		ok = false
	}
	if !ok {
		return nil, errors.New("message header: malformed")
	}
	return &h, nil
}

// Receipt is a receiver's signed statement, cumulative, by record seq.
type Receipt struct {
	Delivered       uint64 `json:"delivered"` // checked and stored
	DeliveredDigest []byte `json:"delivered_digest"`
	Read            uint64 `json:"read"` // shown, or written to standard output
	ReadDigest      []byte `json:"read_digest"`
	Time            int64  `json:"time"` // Unix milliseconds
	Salt            []byte `json:"salt"`
}

func (r *Receipt) fields() [7]field {
	return [...]field{
		{`{"delivered":`, &r.Delivered}, {`,"delivered_digest":"`, &r.DeliveredDigest},
		{`","read":`, &r.Read}, {`,"read_digest":"`, &r.ReadDigest},
		{`","time":`, &r.Time}, {`,"salt":"`, &r.Salt}, {`"}`, nil},
	}
}

// encode returns the receipt's exact bytes.
func (r *Receipt) encode() []byte {
	fields := r.fields()
	return encode(r, fields[:])
}

// Digest returns the digest in the header of the receipt's message. direction is
// the receipt's own, not that of the records.
func (r *Receipt) Digest(t3 [32]byte, direction string) [32]byte {
	return proto.HashTuple("receipt", t3, direction, r.Delivered, r.DeliveredDigest, r.Read, r.ReadDigest, uint64(r.Time), r.Salt)
}

// ParseReceipt decodes a receipt and checks its form.
func ParseReceipt(b []byte) (*Receipt, error) {
	var r Receipt
	if fields := r.fields(); !scanFields(b, fields[:]) {
		r = Receipt{}
		if err := proto.Unmarshal(b, &r); err != nil {
			return nil, fmt.Errorf("receipt: %w", err)
		}
	}
	if len(r.DeliveredDigest) != 32 || len(r.ReadDigest) != 32 || len(r.Salt) != saltSize || r.Time < 0 || r.Read > r.Delivered {
		return nil, errors.New("receipt: malformed")
	}
	return &r, nil
}

// newSalt returns 16 random bytes.
func newSalt() []byte {
	salt := make([]byte, saltSize)
	rand.Read(salt)
	return salt
}
