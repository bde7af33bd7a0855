package crypto

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"chatsecure/proto"
)

// Records may cross by the hundred thousand a second, and encoding/json takes ten
// microseconds to decode one and encode it again for the comparison. The functions
// here know the canonical form of a Record. They are no second definition of it:
// they leave rare forms to proto.Marshal and proto.Unmarshal, and agree with these
// byte for byte. FuzzRecord compares the two.

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

// The classes of the bytes in a JSON string.
const (
	jsonPlain  = iota // stands for itself
	jsonQuote         // escaped by a backslash and one character: " \ \n \r \t
	jsonOther         // the rest below U+0020, left to package proto
	jsonBeyond        // not ASCII
)

var jsonClass = func() (class [256]uint8) {
	for c := range class {
		switch {
		case c == '"' || c == '\\' || c == '\n' || c == '\r' || c == '\t':
			class[c] = jsonQuote
		case c < ' ':
			class[c] = jsonOther
		case c >= utf8.RuneSelf:
			class[c] = jsonBeyond
		}
	}
	return class
}()

// appendJSONText appends s as it stands between the quotes of a JSON string.
func appendJSONText(b []byte, s string) (_ []byte, ok bool) {
	start, beyond := 0, false
	for i := 0; i < len(s); i++ {
		switch jsonClass[s[i]] {
		case jsonOther:
			return b, false
		case jsonBeyond:
			beyond = true
		case jsonQuote:
			b = append(b, s[start:i]...)
			start = i + 1
			c := s[i]
			switch c {
			case '\n':
				c = 'n'
			case '\r':
				c = 'r'
			case '\t':
				c = 't'
			}
			b = append(b, '\\', c)
		}
	}
	if beyond && !plainUTF8(s) {
		return b, false
	}
	return append(b, s[start:]...), true
}

// plainUTF8 reports whether s is UTF-8 without the two characters beyond ASCII that
// canonical JSON escapes, U+2028 and U+2029.
func plainUTF8(s string) bool {
	return utf8.ValidString(s) && !strings.Contains(s, "\u2028") && !strings.Contains(s, "\u2029")
}

// recordScanner takes a record apart. The first unknown form ends it.
type recordScanner struct {
	rest []byte
	bad  bool
}

// literal takes these exact bytes.
func (s *recordScanner) literal(want string) {
	if len(s.rest) < len(want) || string(s.rest[:len(want)]) != want {
		s.bad = true
		return
	}
	s.rest = s.rest[len(want):]
}

// number takes a decimal number of at most 19 digits. One beyond an int64 is left to
// proto.Unmarshal.
func (s *recordScanner) number() (n uint64) {
	i := 0
	for i < len(s.rest) && s.rest[i] >= '0' && s.rest[i] <= '9' && i < 19 {
		n = n*10 + uint64(s.rest[i]-'0')
		i++
	}
	if i == 0 || i > 1 && s.rest[0] == '0' || n > 1<<63-1 {
		s.bad = true
	}
	s.rest = s.rest[i:]
	return n
}

// text takes the inside of a JSON string up to its closing quote, which stays.
func (s *recordScanner) text() string {
	var undone []byte // with escapes undone, if there were any
	start, beyond := 0, false
	b := s.rest
	for i := 0; i < len(b); i++ {
		switch jsonClass[b[i]] {
		case jsonPlain:
			continue
		case jsonBeyond:
			beyond = true
			continue
		case jsonOther:
			s.bad = true
			return ""
		}
		switch b[i] {
		case '"':
			s.rest = b[i:]
			var text string
			if undone == nil {
				text = string(b[:i])
			} else {
				text = string(append(undone, b[start:i]...))
			}
			if beyond && !plainUTF8(text) {
				s.bad = true
			}
			return text
		case '\\':
			undone = append(undone, b[start:i]...)
			i++
			c := byte(0)
			if i < len(b) {
				c = jsonEscaped[b[i]]
			}
			if c == 0 {
				s.bad = true
				return ""
			}
			undone = append(undone, c)
			start = i + 1
		default: // a newline, return or tab that is not escaped
			s.bad = true
			return ""
		}
	}
	s.bad = true
	return ""
}

// jsonEscaped maps the character after a backslash to the one that it stands for; 0
// is left to package proto.
var jsonEscaped = [256]byte{'"': '"', '\\': '\\', 'n': '\n', 'r': '\r', 't': '\t'}

// RecordParser is ParseRecord for the records of one message. Most have the same
// recipients, which it reads and checks once.
type RecordParser struct {
	Sender  [32]byte // identity
	exactTo []byte   // inside of `to` of the last good record, in its memory
	to      []Recipient
}

// Parse is ParseRecord.
func (p *RecordParser) Parse(b []byte) (*Record, error) {
	r := new(Record)
	exactTo, ok := p.scan(b, r)
	if !ok {
		*r, exactTo = Record{}, nil
		if err := proto.Unmarshal(b, r); err != nil {
			return nil, fmt.Errorf("record: %w", err)
		}
	}
	if shared := ok && exactTo == nil; !shared {
		if err := checkRecipients(r.To); err != nil {
			return nil, err
		}
	}
	if err := r.checkOwn(); err != nil {
		return nil, err
	}
	if id := recordID(p.Sender, r); r.ID != string(id[:]) {
		return nil, errors.New("record: the id is not that of its content")
	}
	if exactTo != nil {
		p.exactTo, p.to = exactTo, r.To
	}
	return r, nil
}

// scan decodes a record in its canonical form into r. It reports false for a form
// that is left to proto.Unmarshal. exactTo is the inside of `to`, or nil if that is
// the same as in the record before and is shared with it.
func (p *RecordParser) scan(b []byte, r *Record) (exactTo []byte, ok bool) {
	s := recordScanner{rest: b}
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
	if s.bad || len(s.rest) != saltChars+len(recordSuffix) {
		return nil, false
	}
	salt, ok := proto.DecodeBase64(nil, s.rest[:saltChars])
	r.Salt, s.rest = salt, s.rest[saltChars:]
	s.literal(recordSuffix)
	return exactTo, ok && !s.bad
}

// recipients takes the inside of `to`, up to the text's prefix.
func (s *recordScanner) recipients() (to []Recipient) {
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
