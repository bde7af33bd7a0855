// Package canon is the one JSON form that ChatSecure signs, hashes, stores and
// accepts: what encoding/json writes for a Go struct, fields in the struct's
// order, without HTML escaping, spaces or a final newline.
//
// encoding/json alone takes "dAtA" for "data", duplicate keys and invalid
// UTF-8 without a word. Unmarshal therefore encodes what it decoded again and
// refuses whatever does not come back byte for byte, so two parties that hash
// the same bytes have read the same values. PROTOCOL.md, "Canonical JSON".
package canon

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// errNotCanonical is in the chain of every error about input that is valid
// JSON for the type but not in its one canonical form.
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
		panic(fmt.Sprintf("canon: %T: %v", v, err))
	}
	return b
}

// Unmarshal decodes data into the zero value that v points to. It refuses
// unknown fields, trailing bytes and every encoding but the canonical one: none
// of them comes back. Errors are short, however long the input.
func Unmarshal(data []byte, v any) error {
	if err := json.Unmarshal(data, v); err != nil {
		if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			// After "number" comes all of it, be it a megabyte of digits, and errors
			// are shown, stored and logged.
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

// match is a Writer that takes only what is next in rest, so that comparing
// with an encoding needs no copy of it.
type match struct{ rest []byte }

func (m *match) Write(p []byte) (int, error) {
	rest, ok := bytes.CutPrefix(m.rest, bytes.TrimSuffix(p, []byte("\n"))) // Encode adds it
	if !ok {
		return 0, errNotCanonical
	}
	m.rest = rest
	return len(p), nil
}
