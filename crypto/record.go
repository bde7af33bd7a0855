package crypto

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"chatsecure/proto"
)

// Record is one text with the fields that make it unique. PROTOCOL.md, "Messages".
type Record struct {
	ID   string      `json:"id"` // RecordID
	Seq  uint64      `json:"seq"`
	Time int64       `json:"time"` // Unix milliseconds
	To   []Recipient `json:"to"`   // sorted
	Text string      `json:"text"`
	Salt []byte      `json:"salt"`
}

// Recipient is one entry of a record's `to` list.
type Recipient struct {
	Name     string `json:"name"`     // folded
	Identity string `json:"identity"` // hex; empty if unknown when the record was fixed
}

// NewRecord fixes a record: it draws the salt and computes the id, which stay when
// the record is sent again. It sorts to in place, and only reads what is sorted.
func NewRecord(sender [32]byte, to []Recipient, text string, now time.Time) *Record {
	SortRecipients(to)
	r := &Record{Time: now.UnixMilli(), To: to, Text: text, Salt: newSalt()}
	r.ID = RecordID(sender, r)
	return r
}

// RecordID returns the id of a record by sender, in hex: the first 16 bytes of a hash
// over all its fields but seq.
func RecordID(sender [32]byte, r *Record) string {
	id := recordID(sender, r)
	return string(id[:])
}

// recordID is RecordID without an allocation.
func recordID(sender [32]byte, r *Record) (id [2 * idSize]byte) {
	h := FullRecordID(sender, r)
	hex.Encode(id[:], h[:idSize])
	return id
}

// FullRecordID returns the whole hash of which RecordID is the first half.
func FullRecordID(sender [32]byte, r *Record) [32]byte {
	var room [512]byte
	list := room[:0] // the bytes of a list of lists, which are as many as the recipients
	for i := range r.To {
		var room [sha256.Size]byte
		identity, _ := hex.AppendDecode(room[:0], []byte(r.To[i].Identity))
		list = proto.AppendItems(list, proto.List{r.To[i].Name, identity})
	}
	return proto.HashTuple("id", sender, list, uint64(r.Time), r.Salt, r.Text)
}

// SortRecipients puts a `to` list into its one order.
func SortRecipients(to []Recipient) {
	if !slices.IsSortedFunc(to, compareRecipients) {
		slices.SortFunc(to, compareRecipients)
	}
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
	return append(dst, proto.MustMarshal(r)...)
}

// ParseRecord decodes a record and checks its form, the order of `to` and the id.
// Whether it is for this receiver is a question for Names.
func ParseRecord(b []byte, sender [32]byte) (*Record, error) {
	p := RecordParser{Sender: sender}
	return p.Parse(b)
}

// check refuses a bad form of anything but the id.
func (r *Record) check() error {
	if err := checkRecipients(r.To); err != nil {
		return err
	}
	return r.checkOwn()
}

// checkOwn is check without `to`.
func (r *Record) checkOwn() error {
	switch {
	case len(r.Salt) != saltSize || !utf8.ValidString(r.Text):
		return errors.New("record: malformed")
	case r.Time < earliestRecord:
		return errors.New("record: it is dated before 2020, so the clock of its machine is wrong")
	case len(r.Text) > proto.MaxText:
		return fmt.Errorf("record: a text of %d bytes, at most %d are allowed", len(r.Text), proto.MaxText)
	}
	return nil
}

// earliestRecord is the beginning of 2020 in Unix milliseconds. A record of before
// comes from a machine that does not know the time.
const earliestRecord = 1577836800000

// checkRecipients refuses a bad `to` list. Names must ascend strictly, so none
// stands twice, under one identity or under two, or in two spellings.
func checkRecipients(to []Recipient) error {
	if len(to) == 0 || len(to) > proto.MaxRecipients {
		return fmt.Errorf("record: %d recipients, 1 to %d are allowed", len(to), proto.MaxRecipients)
	}
	for i := range to {
		rc := &to[i]
		if rc.Identity != "" && !proto.IsHex(rc.Identity, sha256.Size) {
			return errors.New("record: malformed recipient")
		}
		if proto.CheckName(rc.Name) != nil || proto.FoldName(rc.Name) != rc.Name {
			shown := proto.QuoteShort(rc.Name, proto.MaxNameBytes)
			return fmt.Errorf("record: the recipient %s is no folded name", shown)
		}
		if i > 0 && to[i-1].Name >= rc.Name {
			return errors.New("record: recipients out of order, or one name twice")
		}
	}
	return nil
}

// Names reports whether the record is for the folded name with this identity, in hex.
func (r *Record) Names(folded, identity string) bool {
	for _, rc := range r.To {
		if rc.Name == folded && (rc.Identity == identity || rc.Identity == "") {
			return true
		}
	}
	return false
}

// FirstDigest returns d0 of a direction: the digest before its first record.
func FirstDigest(t3 [32]byte, direction string) [32]byte {
	return proto.HashTuple("records", t3, direction)
}

// NextDigest returns the digest after a record whose exact bytes hash to h.
func NextDigest(d, h [32]byte) [32]byte {
	return proto.HashTuple("record", d, h)
}

// splitRecords cuts a text message's plaintext into its records. count is from the
// header, and ParseMessageHeader has bounded it.
func splitRecords(plaintext []byte, count uint64) ([][]byte, error) {
	lines := bytes.SplitN(plaintext, []byte("\n"), int(count)+1) // one more line than allowed
	if uint64(len(lines)) != count {
		return nil, fmt.Errorf("%d records where its header says %d", len(lines), count)
	}
	return lines, nil
}
