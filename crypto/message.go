package crypto

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"chatsecure/canon"
)

// The kinds of message.
const (
	KindText    = "text"
	KindPipe    = "pipe"
	KindReceipt = "receipt"
	KindEnd     = "end"
)

// The directions of a conversation: from A, who began it, to B, and back.
const (
	DirectionAB = "AB"
	DirectionBA = "BA"
)

const (
	saltSize = 16
	idSize   = 16
	// maxBatch bounds the records of one message, as a proof of one of them
	// carries a hash of each other.
	maxBatch = 1024
)

// MessageHeader is what a message signs and binds as additional data, in its
// exact bytes: PROTOCOL.md, "Messages".
type MessageHeader struct {
	Conversation []byte `json:"conversation"` // T3
	Direction    string `json:"direction"`
	Kind         string `json:"kind"`
	N            uint64 `json:"n"` // of this direction, all kinds, from 0 without gaps
	Random       []byte `json:"random"`
	Step         *Step  `json:"step,omitempty"`
	SrcBundle    []byte `json:"src-bundle"` // bundle hash of who sends
	DstBundle    []byte `json:"dst-bundle"` // bundle hash of who receives
	Time         int64  `json:"time"`       // Unix milliseconds
	Seq          uint64 `json:"seq"`        // text: of the first record, from 1; end: of the last record sent
	Count        uint64 `json:"count"`      // text: how many records
	Digest       []byte `json:"digest,omitempty"`
}

// Step is a ratchet step: a fresh secret for the peer's unused key, and the
// sender's next key.
type Step struct {
	Enc []byte `json:"enc"`
	Key []byte `json:"key"`
}

// Recipient is one name of a record's `to` list.
type Recipient struct {
	Name     string `json:"name"`     // folded
	Identity string `json:"identity"` // hex, or empty where it was not known when the record was fixed
}

// Record is one text with what makes it unique: PROTOCOL.md, "Records".
type Record struct {
	ID   string      `json:"id"` // hex of the first 16 bytes of a hash over all but seq
	Seq  uint64      `json:"seq"`
	Time int64       `json:"time"` // Unix milliseconds
	To   []Recipient `json:"to"`   // sorted
	Text string      `json:"text"`
	Salt []byte      `json:"salt"`
}

// RecordID returns the id that a record by sender must have, in hex.
func RecordID(sender [32]byte, r *Record) string {
	to := make(list, 0, len(r.To))
	for _, rc := range r.To {
		identity, _ := hex.DecodeString(rc.Identity)
		to = append(to, list{rc.Name, identity})
	}
	h := hashTuple("id", sender, to, uint64(r.Time), r.Salt, r.Text)
	return hex.EncodeToString(h[:idSize])
}

// SortRecipients puts a `to` list into its one order.
func SortRecipients(to []Recipient) {
	slices.SortFunc(to, compareRecipients)
}

func compareRecipients(a, b Recipient) int {
	if c := strings.Compare(a.Name, b.Name); c != 0 {
		return c
	}
	return strings.Compare(a.Identity, b.Identity)
}

// Encode returns the record's exact bytes.
func (r *Record) Encode() []byte { return canon.MustMarshal(r) }

// ParseRecord decodes a record and checks everything about it that can be
// checked without knowing who it is for: form, order of `to`, and the id.
func ParseRecord(b []byte, sender [32]byte) (*Record, error) {
	var r Record
	if err := canon.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	if len(r.Salt) != saltSize || len(r.To) == 0 || r.Time < 0 || !utf8.ValidString(r.Text) {
		return nil, fmt.Errorf("record: malformed")
	}
	for i, rc := range r.To {
		if rc.Identity != "" && !validHash(rc.Identity) {
			return nil, fmt.Errorf("record: malformed recipient")
		}
		if i > 0 && compareRecipients(r.To[i-1], rc) >= 0 {
			return nil, fmt.Errorf("record: recipients out of order")
		}
	}
	if r.ID != RecordID(sender, &r) {
		return nil, fmt.Errorf("record: the id is not that of its content")
	}
	return &r, nil
}

// Names tells whether the record is for the folded name and identity.
func (r *Record) Names(folded, identity string) bool {
	for _, rc := range r.To {
		if rc.Name == folded && (rc.Identity == identity || rc.Identity == "") {
			return true
		}
	}
	return false
}

func validHash(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == sha256.Size && hex.EncodeToString(b) == s
}

// FirstDigest returns d0 of a direction of a conversation.
func FirstDigest(t3 [32]byte, direction string) [32]byte {
	return hashTuple("records", t3, direction)
}

// NextDigest returns the digest after a record whose exact bytes hash to h.
func NextDigest(d, h [32]byte) [32]byte { return hashTuple("record", d, h) }

// MessageSigns returns what K signs for a message: its exact header and the
// hash of its ciphertext.
func MessageSigns(header []byte, cipherHash [32]byte) []byte {
	return tuple("message", header, cipherHash)
}

// ParseMessageHeader decodes a message header and checks its form.
func ParseMessageHeader(b []byte) (*MessageHeader, error) {
	var h MessageHeader
	if err := canon.Unmarshal(b, &h); err != nil {
		return nil, fmt.Errorf("message header: %w", err)
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
		return nil, fmt.Errorf("message header: malformed")
	}
	return &h, nil
}

// Receipt is what a receiver signs of what it has: cumulative, by record seq.
type Receipt struct {
	Delivered       uint64 `json:"delivered"` // checked and in the history
	DeliveredDigest []byte `json:"delivered_digest"`
	Read            uint64 `json:"read"` // shown, or written to standard output
	ReadDigest      []byte `json:"read_digest"`
	Time            int64  `json:"time"` // Unix milliseconds
	Salt            []byte `json:"salt"`
}

// Digest returns the digest that the header of the message with this receipt
// has. direction is that of the receipt, not of what it is about.
func (r *Receipt) Digest(t3 [32]byte, direction string) [32]byte {
	return hashTuple("receipt", t3, direction, r.Delivered, r.DeliveredDigest, r.Read, r.ReadDigest, uint64(r.Time), r.Salt)
}

// ParseReceipt decodes a receipt and checks its form.
func ParseReceipt(b []byte) (*Receipt, error) {
	var r Receipt
	if err := canon.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("receipt: %w", err)
	}
	if len(r.DeliveredDigest) != 32 || len(r.ReadDigest) != 32 || len(r.Salt) != saltSize || r.Time < 0 || r.Read > r.Delivered {
		return nil, fmt.Errorf("receipt: malformed")
	}
	return &r, nil
}

// splitRecords cuts a text message's plaintext into its records.
func splitRecords(plaintext []byte, count uint64) ([][]byte, error) {
	lines := bytes.Split(plaintext, []byte("\n"))
	if uint64(len(lines)) != count {
		return nil, fmt.Errorf("message: %d records where its header says %d", len(lines), count)
	}
	return lines, nil
}
