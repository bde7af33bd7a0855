package crypto

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"chatsecure/canon"
	"chatsecure/proto"
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
	// maxHeader bounds a message's header in bytes. One with a step of the
	// largest suite takes 3.7 kB; it is stored with every message.
	maxHeader = 8 << 10
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
	id := recordID(sender, r)
	return string(id[:])
}

func recordID(sender [32]byte, r *Record) (id [2 * idSize]byte) {
	// tuple("id", sender, to, time, salt, text), where to is a list of lists of
	// name and identity.
	toLen := 0
	for i := range r.To {
		toLen += 4 + 4 + len(r.To[i].Name) + 4 + len(r.To[i].Identity)/2
	}
	var room [512]byte
	b := appendContext(room[:0], "id")
	b = appendBytes(b, sender[:])
	b = binary.BigEndian.AppendUint32(b, uint32(toLen))
	for i := range r.To {
		rc := &r.To[i]
		b = binary.BigEndian.AppendUint32(b, uint32(4+len(rc.Name)+4+len(rc.Identity)/2))
		b = appendBytes(b, rc.Name)
		b = binary.BigEndian.AppendUint32(b, uint32(len(rc.Identity)/2))
		b, _ = hex.AppendDecode(b, []byte(rc.Identity))
	}
	b = appendUint(b, uint64(r.Time))
	b = appendBytes(b, r.Salt)
	b = appendBytes(b, r.Text)
	h := sha256.Sum256(b)
	hex.Encode(id[:], h[:idSize])
	return id
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
func (r *Record) Encode() []byte { return r.appendTo(make([]byte, 0, r.encodedSize())) }

// appendTo appends the record's exact bytes.
func (r *Record) appendTo(dst []byte) []byte {
	if b, ok := appendRecord(dst, r); ok {
		return b
	}
	return append(dst, canon.MustMarshal(r)...)
}

// ParseRecord decodes a record and checks everything about it that can be
// checked without knowing who it is for: form, order of `to`, and the id.
func ParseRecord(b []byte, sender [32]byte) (*Record, error) {
	p := recordParser{sender: sender}
	return p.parse(b)
}

// check looks at the form of everything but the id.
func (r *Record) check() error {
	if err := checkRecipients(r.To); err != nil {
		return err
	}
	return r.checkOwn()
}

func (r *Record) checkOwn() error {
	switch {
	case len(r.Salt) != saltSize || r.Time < 0 || !utf8.ValidString(r.Text):
		return errors.New("record: malformed")
	case len(r.Text) > proto.MaxText:
		return fmt.Errorf("record: a text of %d bytes, at most %d are allowed", len(r.Text), proto.MaxText)
	}
	return nil
}

// checkRecipients looks at a `to` list. A name stands once: the order by name
// and identity becomes one by name, which also refuses a name under two
// identities.
func checkRecipients(to []Recipient) error {
	if len(to) == 0 || len(to) > proto.MaxRecipients {
		return fmt.Errorf("record: %d recipients, 1 to %d are allowed", len(to), proto.MaxRecipients)
	}
	for i := range to {
		rc := &to[i]
		if rc.Name == "" || len(rc.Name) > maxBundleName || !utf8.ValidString(rc.Name) || rc.Identity != "" && !validHash(rc.Identity) {
			return errors.New("record: malformed recipient")
		}
		if i > 0 && to[i-1].Name >= rc.Name {
			return errors.New("record: recipients out of order, or one name twice")
		}
	}
	return nil
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

// validHash tells whether s is a hash in lower-case hexadecimal.
func validHash(s string) bool {
	if len(s) != 2*sha256.Size {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// FirstDigest returns d0 of a direction of a conversation.
func FirstDigest(t3 [32]byte, direction string) [32]byte {
	return hashTuple("records", t3, direction)
}

// NextDigest returns the digest after a record whose exact bytes hash to h.
func NextDigest(d, h [32]byte) [32]byte {
	var room [128]byte
	b := appendContext(room[:0], "record")
	b = appendBytes(b, d[:])
	return sha256.Sum256(appendBytes(b, h[:]))
}

// MessageSigns returns what K signs for a message: its exact header and the
// hash of its ciphertext.
func MessageSigns(header []byte, cipherHash [32]byte) []byte {
	return tuple("message", header, cipherHash)
}

// ParseMessageHeader decodes a message header and checks its form.
func ParseMessageHeader(b []byte) (*MessageHeader, error) {
	if len(b) > maxHeader {
		return nil, fmt.Errorf("message header: longer than %d bytes", maxHeader)
	}
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
		return nil, errors.New("message header: malformed")
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
		return nil, errors.New("receipt: malformed")
	}
	return &r, nil
}

// splitRecords cuts a text message's plaintext into its records, as many as its
// header says, which ParseMessageHeader has bounded.
func splitRecords(plaintext []byte, count uint64) ([][]byte, error) {
	lines := bytes.SplitN(plaintext, []byte("\n"), int(count)+1) // one more than there may be
	if uint64(len(lines)) != count {
		return nil, fmt.Errorf("message: %d records where its header says %d", len(lines), count)
	}
	return lines, nil
}
