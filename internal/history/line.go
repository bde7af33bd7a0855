package history

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/proto"
)

// version is the v of every line and of every proof.
const version = 2

// MaxLine bounds a line of the history in bytes. A batch of records has at most
// 640 KiB and a bundle 27 KiB; the rest is room for hashes and a header.
const MaxLine = 1 << 20

// The types of a line: PROTOCOL.md, "History".
const (
	lineOwner        = "owner"        // the first line: whose history this is
	lineBundle       = "bundle"       // a bundle, before the first line that names it
	lineHead         = "head"         // the owner's signature over all lines before
	lineConversation = "conversation" // who talks with whom
	linePending      = "pending"      // a record is fixed and waits to be sent
	lineSent         = "sent"         // a text message of ours
	lineTaken        = "taken"        // the relay has our records up to seq
	lineReceived     = "received"     // a text message of the peer's
	lineShown        = "shown"        // its records up to seq have been shown
	lineSeen         = "seen"         // they have been shown, and their sender is not accepted: not READ
	lineReceipt      = "receipt"      // the peer's receipt for ours
	lineFailed       = "failed"       // a record is given up for a name
	lineEnd          = "end"          // the peer ended its part of the conversation
	lineGap          = "gap"          // messages of the peer's are missing
	lineRun          = "run"          // how a run of a client ended

	lineLetterSent     = "letter-sent"     // a letter of ours, which the relay keeps
	lineLetterReceived = "letter-received" // a letter to us
	lineLetterReceipt  = "letter-receipt"  // receipts in a letter to us

	lineText   = "text"   // of proofs only: a text message with one record
	lineLetter = "letter" // of proofs only: a letter with one record
)

// flow is one direction of a conversation. Two clients of one user on one
// state directory may talk with each other: then the history has both.
type flow struct {
	t3        [32]byte
	direction string
}

// reverse returns the other direction.
func reverse(direction string) string {
	if direction == crypto.DirectionAB {
		return crypto.DirectionBA
	}
	return crypto.DirectionAB
}

// End is one end of a conversation in its line.
type End struct {
	Name     string `json:"name"`
	Conn     string `json:"conn"`
	Identity string `json:"identity"` // hex, as proved when the conversation began
	Bundle   []byte `json:"bundle"`   // hash; the bundle has an earlier line
}

// Line has every field that a line can have, in the order of the canonical encoding.
// Fields tells which of them a type has. Signed and hashed values are nested in their
// exact bytes.
type Line struct {
	V    int    `json:"v,omitempty"`    // not in a proof, as the next two
	Prev string `json:"prev,omitempty"` // hex SHA-256 of the line before, without its newline; zeros in the first
	Time int64  `json:"time,omitempty"` // Unix milliseconds, of the writing
	Type string `json:"type"`

	Hash   []byte        `json:"hash,omitempty"` // of Bundle; in a head: of the owner's bundle
	Bundle *trust.Bundle `json:"bundle,omitempty"`

	Conversation []byte `json:"conversation,omitempty"` // T3
	Suite        string `json:"suite,omitempty"`
	Direction    string `json:"direction,omitempty"` // conversation, taken: ours; shown, seen, gap: that of the records
	Me           *End   `json:"me,omitempty"`
	Peer         *End   `json:"peer,omitempty"`

	Seq      uint64   `json:"seq,omitempty"`
	ID       string   `json:"id,omitempty"`
	Name     string   `json:"name,omitempty"`
	Identity string   `json:"identity,omitempty"` // hex
	Run      string   `json:"run,omitempty"`      // 16 hex digits
	Reason   string   `json:"reason,omitempty"`
	Names    []string `json:"names,omitempty"`
	Until    int64    `json:"until,omitempty"` // Unix milliseconds: the relay keeps a letter no longer
	Left     int64    `json:"left,omitempty"`  // when the relay got a letter, by its clock

	Header     json.RawMessage   `json:"header,omitempty"`
	CipherHash []byte            `json:"cipher_hash,omitempty"`
	Signature  []byte            `json:"signature,omitempty"`
	Before     []byte            `json:"before,omitempty"` // the digest before the first record
	Record     json.RawMessage   `json:"record,omitempty"`
	Receipt    json.RawMessage   `json:"receipt,omitempty"`
	Records    []json.RawMessage `json:"records,omitempty"` // of a proof's receipt: after its own fields
	Receipts   json.RawMessage   `json:"receipts,omitempty"`
}

const (
	signed = "header cipher_hash signature"
	letter = "name identity header signature"
)

// Fields has the fields of each type after its own: exactly these.
var Fields = map[string]uint32{
	lineOwner:        fieldSet("name identity"),
	lineBundle:       fieldSet("hash bundle"),
	lineHead:         fieldSet("hash signature"),
	lineConversation: fieldSet("conversation suite direction me peer"),
	linePending:      fieldSet("run names record"),
	lineSent:         fieldSet(signed + " before records"),
	lineTaken:        fieldSet("conversation direction seq"),
	lineReceived:     fieldSet(signed + " before records"),
	lineShown:        fieldSet("conversation direction seq"),
	lineSeen:         fieldSet("conversation direction seq"),
	lineReceipt:      fieldSet(signed + " receipt"),
	lineFailed:       fieldSet("id name reason"),
	lineEnd:          fieldSet(signed),
	lineGap:          fieldSet("conversation direction reason"),
	lineRun:          fieldSet("run reason"),

	lineLetterSent:     fieldSet(letter + " until records"),
	lineLetterReceived: fieldSet(letter + " run left records"),
	lineLetterReceipt:  fieldSet(letter + " left receipts"),
}

// afterType is the place of the first field after the type in Line.
const afterType = 4

// fieldSet returns fields by their names, each as the bit of its place in Line.
func fieldSet(names string) (set uint32) {
	for i, field := range reflect.VisibleFields(reflect.TypeFor[Line]()) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if slices.Contains(strings.Fields(names), name) {
			set |= 1 << i
		}
	}
	return set
}

// fields returns the fields after the type that a line has.
func (l *Line) fields() (set uint32) {
	v := reflect.ValueOf(l).Elem()
	for i := afterType; i < v.NumField(); i++ {
		if f := v.Field(i); !f.IsZero() && (f.Kind() != reflect.Slice || f.Len() > 0) {
			set |= 1 << i
		}
	}
	return set
}

var errLine = errors.New("malformed line")

// parseLine decodes a line without its newline and checks its form. It leaves the
// exact bytes inside to its callers.
func parseLine(b []byte) (*Line, error) {
	var l Line
	if err := proto.Unmarshal(b, &l); err != nil {
		return nil, fmt.Errorf("malformed line: %w", err)
	}
	want, known := Fields[l.Type]
	if l.V != version {
		return nil, fmt.Errorf("a line of version %d, this program knows version %d", l.V, version)
	}
	if !known || l.fields() != want || !proto.IsHex(l.Prev, sha256.Size) || l.Time <= 0 || !l.wellFormed() {
		return nil, errLine
	}
	return &l, nil
}

// wellFormed checks hashes, identities, ends, runs and directions.
func (l *Line) wellFormed() bool {
	for _, hash := range [...][]byte{l.Hash, l.Conversation, l.CipherHash, l.Before} {
		if len(hash) != 0 && len(hash) != sha256.Size {
			return false
		}
	}
	for _, end := range [...]*End{l.Me, l.Peer} {
		if end != nil && (len(end.Bundle) != sha256.Size || !proto.IsHex(end.Identity, sha256.Size)) {
			return false
		}
	}
	if l.Identity != "" && !proto.IsHex(l.Identity, sha256.Size) || l.Run != "" && !proto.IsHex(l.Run, 8) {
		return false
	}
	return l.Direction == "" || l.Direction == crypto.DirectionAB || l.Direction == crypto.DirectionBA
}

// identity returns the identity of an end whose form has been checked.
func (e *End) identity() [sha256.Size]byte { return proto.MustHash(e.Identity) }

// The append functions write lines by hand, because 100,000 records a second leave no
// time for reflection. TestHistoryLinesAreCanonical compares them with the canonical
// JSON of package proto.

func appendLineStart(b []byte, prev *[sha256.Size]byte, now int64, typ string) []byte {
	b = append(b, prevStart...)
	b = hex.AppendEncode(b, prev[:])
	b = append(b, `","time":`...)
	b = strconv.AppendInt(b, now, 10)
	b = append(b, `,"type":"`...)
	b = append(b, typ...)
	return append(b, '"')
}

func appendLineBytes(b []byte, field string, value []byte) []byte {
	b = appendLineField(b, field)
	b = append(b, '"')
	b = base64.StdEncoding.AppendEncode(b, value)
	return append(b, '"')
}

func appendLineField(b []byte, field string) []byte {
	b = append(b, `,"`...)
	b = append(b, field...)
	return append(b, `":`...)
}

// appendLineJSON appends a field whose value is JSON already.
func appendLineJSON(b []byte, field string, value []byte) []byte {
	return append(appendLineField(b, field), value...)
}

// appendLineSigned appends the fields of every signed message.
func appendLineSigned(b, header []byte, cipherHash *[sha256.Size]byte, signature []byte) []byte {
	b = appendLineJSON(b, "header", header)
	b = appendLineBytes(b, "cipher_hash", cipherHash[:])
	return appendLineBytes(b, "signature", signature)
}

func appendLineRecords(b []byte, before *[sha256.Size]byte, records [][]byte) []byte {
	return appendLineArray(appendLineBytes(b, "before", before[:]), "records", records)
}

// appendLineArray appends a field with an array of values that are JSON already.
func appendLineArray(b []byte, field string, records [][]byte) []byte {
	b = append(appendLineField(b, field), '[')
	for i, r := range records {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, r...)
	}
	return append(b, ']')
}
