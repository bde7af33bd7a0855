package proto

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Canonical JSON is the one form that ChatSecure signs, hashes, stores and
// accepts: the encoding that encoding/json gives a Go struct, fields in the
// struct's order, without HTML escapes, spaces or a final newline. PROTOCOL.md,
// "Canonical JSON".
//
// encoding/json alone takes "dAtA" for "data", duplicate keys and invalid UTF-8
// in silence. Unmarshal therefore encodes the decoded value again and compares
// the bytes, so two parties that hash the same bytes have read the same values.
// Nothing is null, and no number is beyond an int64: other languages lack those.

// errNotCanonical is in the chain of errors about JSON that fits the type but is
// not in its canonical form.
var errNotCanonical = errors.New("not canonical JSON")

var (
	errNotJSON   = errors.New("it is not JSON, or it is cut off")
	errNotBase64 = errors.New("a field is not base64")
	errNull      = errors.New("a null stands where a value belongs")
	errNumber    = errors.New("a number is too large")
)

// Marshal returns the canonical encoding of v.
func Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// MustMarshal is Marshal for types that cannot fail: structs of strings,
// integers, booleans, byte slices and slices of those.
func MustMarshal(v any) []byte {
	b, err := Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("proto: %T: %v", v, err))
	}
	return b
}

// Unmarshal decodes data into the zero value that v points to. It refuses every
// encoding but the canonical one, and with it unknown fields and trailing bytes.
// Errors are for people, and short, however long the input.
func Unmarshal(data []byte, v any) error {
	if err := json.Unmarshal(data, v); err != nil {
		return misread(err)
	}
	want := match{data}
	enc := json.NewEncoder(&want)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	if len(want.rest) > 0 {
		return errNotCanonical
	}
	return checkValues(data)
}

// misread says in words for people why something was not read.
func misread(err error) error {
	if _, ok := errors.AsType[base64.CorruptInputError](err); ok {
		return errNotBase64
	}
	e, ok := errors.AsType[*json.UnmarshalTypeError](err)
	if !ok {
		return errNotJSON
	}
	value, _, _ := strings.Cut(e.Value, " ") // behind "number " come all its digits
	if e.Field == "" {
		return fmt.Errorf("it is the wrong kind of JSON, %s", value)
	}
	return fmt.Errorf("the %s in the field %s does not fit there", value, e.Field)
}

// checkValues refuses null and numbers beyond an int64 in canonical JSON.
func checkValues(b []byte) error {
	for len(b) > 0 {
		quote := bytes.IndexByte(b, '"')
		if quote < 0 {
			quote = len(b)
		}
		if bytes.Contains(b[:quote], []byte("null")) {
			return errNull
		}
		for number := range bytes.FieldsFuncSeq(b[:quote], isNoDigit) {
			if _, err := strconv.ParseInt(string(number), 10, 64); err != nil {
				return errNumber
			}
		}
		b = afterString(b[quote:])
	}
	return nil
}

func isNoDigit(r rune) bool { return r < '0' || r > '9' }

// afterString returns what follows the string with which b begins.
func afterString(b []byte) []byte {
	for end := 1; end < len(b); end++ {
		quote := bytes.IndexByte(b[end:], '"')
		if quote < 0 {
			return nil
		}
		end += quote
		escapes := end - len(bytes.TrimRight(b[:end], `\`))
		if escapes%2 == 0 {
			return b[end+1:]
		}
	}
	return nil
}

// match is a Writer that takes only the next bytes of rest: a comparison with an
// encoding, without a copy of it.
type match struct{ rest []byte }

func (m *match) Write(p []byte) (int, error) {
	rest, ok := bytes.CutPrefix(m.rest, bytes.TrimSuffix(p, []byte("\n"))) // Encode adds it
	if !ok {
		return 0, errNotCanonical
	}
	m.rest = rest
	return len(p), nil
}
