package crypto

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"chatsecure/proto"
)

const (
	recordPrefix = `{"id":"`
	recordSeq    = `","seq":`
	recordTime   = `,"time":`
	recordTo     = `,"to":[`
	recordName   = `{"name":"`
	recordIdent  = `","identity":"`
	recordToEnd  = `"}`
	recordText   = `],"text":"`
	recordSalt   = `","salt":"`
	recordSuffix = `"}`

	// recordFixed bounds the length of a record without its id, text and `to`.
	recordFixed = len(recordPrefix+recordSeq+recordTime+recordTo+recordText+recordSalt+recordSuffix) + 20 + 19 + saltChars
	// recipientFixed is the same for one recipient.
	recipientFixed = len(recordName + recordIdent + recordToEnd + ",")
)

// saltChars is a salt's length in base64.
const saltChars = (saltSize + 2) / 3 * 4

// appendRecord appends the canonical form of r to dst. It reports false for a form
// that is left to proto.Marshal.
func appendRecord(dst []byte, r *Record) (b []byte, ok bool) {
	if r.Salt == nil || r.To == nil || r.Time < 0 {
		return dst, false
	}
	b = append(dst, recordPrefix...)
	if b, ok = appendJSONText(b, r.ID); !ok {
		return dst, false
	}
	b = append(b, recordSeq...)
	b = strconv.AppendUint(b, r.Seq, 10)
	b = append(b, recordTime...)
	b = strconv.AppendInt(b, r.Time, 10)
	b = append(b, recordTo...)
	for i := range r.To {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, recordName...)
		if b, ok = appendJSONText(b, r.To[i].Name); !ok {
			return dst, false
		}
		b = append(b, recordIdent...)
		if b, ok = appendJSONText(b, r.To[i].Identity); !ok {
			return dst, false
		}
		b = append(b, recordToEnd...)
	}
	b = append(b, recordText...)
	if b, ok = appendJSONText(b, r.Text); !ok {
		return dst, false
	}
	b = append(b, recordSalt...)
	b = proto.AppendBase64(b, r.Salt)
	return append(b, recordSuffix...), true
}

// encodedSize estimates the length of r's canonical form. Only escapes make it
// wrong.
func (r *Record) encodedSize() int {
	n := recordFixed + len(r.ID) + len(r.Text) + len(r.Text)/16
	for i := range r.To {
		n += recipientFixed + len(r.To[i].Name) + len(r.To[i].Identity)
	}
	return n
}

// RecordParser is ParseRecord for the records of one sender. Most have the same
// recipients, which it reads and checks once.
type RecordParser struct {
	Sender  [32]byte // identity
	exactTo []byte   // inside of `to` of the last good record
	to      []Recipient
	salts   []byte // memory for those of the records to come
}

// Parse is ParseRecord.
func (p *RecordParser) Parse(b []byte) (*Record, error) {
	r := new(Record)
	if err := p.parse(b, r); err != nil {
		return nil, err
	}
	return r, nil
}

// maxKeptTo bounds the `to` in bytes that a conversation remembers from one message to the next: a
// peer can have thousands of conversations here, and a `to` may have 80 KB in memory.
const maxKeptTo = 1 << 10

func (p *RecordParser) forgetLong() {
	if p.salts = nil; len(p.exactTo) > maxKeptTo {
		p.exactTo, p.to = nil, nil
	}
}

// parse decodes and checks a record into r, which is zero.
func (p *RecordParser) parse(b []byte, r *Record) error {
	exactTo, ok := p.scan(b, r)
	if !ok {
		*r, exactTo = Record{}, nil
		if err := proto.Unmarshal(b, r); err != nil {
			return fmt.Errorf("record: %w", err)
		}
	}
	if shared := ok && exactTo == nil; !shared {
		if err := checkRecipients(r.To); err != nil {
			return err
		}
	}
	if err := r.checkOwn(); err != nil {
		return err
	}
	if id := recordID(p.Sender, r); r.ID != string(id[:]) {
		return errors.New("record: the id is not that of its content")
	}
	if exactTo != nil {
		p.exactTo, p.to = bytes.Clone(exactTo), r.To
	}
	return nil
}

// scan decodes a record in its canonical form into r. It reports false for a form
// that is left to proto.Unmarshal. exactTo is the inside of `to`, or nil if that is
// the same as in the record before and is shared with it.
func (p *RecordParser) scan(b []byte, r *Record) (exactTo []byte, ok bool) {
	s := fieldScanner{rest: b, bytes: p.salts}
	s.literal(recordPrefix)
	r.ID = s.text()
	s.literal(recordSeq)
	r.Seq = s.number()
	s.literal(recordTime)
	r.Time = int64(s.number())
	s.literal(recordTo)
	if len(p.exactTo) > 0 && bytes.HasPrefix(s.rest, p.exactTo) {
		// If the list goes on, the next bytes are not the text.
		s.rest, r.To = s.rest[len(p.exactTo):], p.to
	} else {
		from := s.rest
		r.To = s.recipients()
		exactTo = from[:len(from)-len(s.rest)]
	}
	s.literal(recordText)
	r.Text = s.text()
	s.literal(recordSalt)
	r.Salt = s.base64()
	s.literal(recordSuffix)
	if s.bad || len(s.rest) > 0 {
		return nil, false
	}
	p.salts = s.bytes
	return exactTo, true
}

// recipients takes the inside of `to`, up to the text's prefix.
func (s *fieldScanner) recipients() (to []Recipient) {
	for more := true; more && !s.bad; {
		var rc Recipient
		s.literal(recordName)
		rc.Name = s.text()
		s.literal(recordIdent)
		rc.Identity = s.text()
		s.literal(recordToEnd)
		to = append(to, rc)
		if more = len(s.rest) > 0 && s.rest[0] == ','; more {
			s.rest = s.rest[1:]
		}
	}
	return to
}
