package proto

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
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

// errNotCanonical is in the chain of errors about JSON that fits the type but is
// not in its canonical form.
var errNotCanonical = errors.New("not canonical JSON")

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
// Errors are short, however long the input.
func Unmarshal(data []byte, v any) error {
	if err := json.Unmarshal(data, v); err != nil {
		if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			// After "number " come all its digits, perhaps a megabyte. Errors are
			// shown, stored and logged.
			e.Value, _, _ = strings.Cut(e.Value, " ")
		}
		return err
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
