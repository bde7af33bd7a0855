package crypto

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"

	"chatsecure/proto"
)

// Headers, receipts and records cross by the thousand a second, and encoding/json takes
// ten microseconds to decode one and encode it again for the comparison. The functions
// here know the canonical form of a struct from a list of its fields. They are no second
// definition of it: they leave rare forms to proto.Marshal and proto.Unmarshal, and agree
// with these byte for byte. FuzzRecord, FuzzMessageHeader and FuzzReceipt compare both ways.

// A field of canonical JSON is a value, and the exact text before it.
type field struct {
	before string
	value  any // *string, *[]byte, *uint64 or *int64; nil if nothing but the text stands there
}

// encode is proto.MustMarshal for a struct with these fields.
func encode(v any, fields []field) []byte {
	b, ok := make([]byte, 0, 640), true // a header has 500 bytes
	for i := range fields {
		b = append(b, fields[i].before...)
		switch v := fields[i].value.(type) {
		case *string:
			b, ok = appendJSONText(b, *v)
		case *[]byte:
			b, ok = proto.AppendBase64(b, *v), *v != nil
		case *uint64:
			b = strconv.AppendUint(b, *v, 10)
		case *int64:
			b = strconv.AppendInt(b, *v, 10)
		}
		if !ok {
			return proto.MustMarshal(v)
		}
	}
	return b
}

// scanFields decodes the canonical form of fields. It reports false for a form that is
// left to proto.Unmarshal.
func scanFields(b []byte, fields []field) (ok bool) {
	s := fieldScanner{rest: b, bytes: make([]byte, 0, len(b)/2)}
	s.fields(fields)
	return !s.bad && len(s.rest) == 0
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

// fieldScanner takes canonical JSON apart. The first unknown form ends it.
type fieldScanner struct {
	rest  []byte
	bytes []byte // memory for the values of []byte
	bad   bool
}

// fields takes these fields.
func (s *fieldScanner) fields(fields []field) {
	for i := range fields {
		s.literal(fields[i].before)
		switch v := fields[i].value.(type) {
		case *string:
			*v = s.text()
		case *[]byte:
			*v = s.base64()
		case *uint64:
			*v = s.number()
		case *int64:
			*v = int64(s.number())
		}
	}
}

// base64 takes the inside of a JSON string up to its closing quote. An empty value is
// left to proto.Unmarshal.
func (s *fieldScanner) base64() []byte {
	n, start := bytes.IndexByte(s.rest, '"'), len(s.bytes)
	if n <= 0 {
		s.bad = true
		return nil
	}
	all, ok := proto.DecodeBase64(s.bytes, s.rest[:n])
	if !ok {
		s.bad = true
		return nil
	}
	s.bytes, s.rest = all, s.rest[n:]
	return all[start:len(all):len(all)]
}

// literal takes these exact bytes.
func (s *fieldScanner) literal(want string) {
	if len(s.rest) < len(want) || string(s.rest[:len(want)]) != want {
		s.bad = true
		return
	}
	s.rest = s.rest[len(want):]
}

// number takes a decimal number of at most 19 digits. One beyond an int64 is left to
// proto.Unmarshal.
func (s *fieldScanner) number() (n uint64) {
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
func (s *fieldScanner) text() string {
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
