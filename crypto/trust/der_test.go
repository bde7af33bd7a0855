package trust

import (
	"bytes"
	"encoding/asn1"
	"testing"

	"chatsecure/testdata/corpus"
)

func TestDERHeader(t *testing.T) {
	for _, test := range []struct {
		name         string
		in           []byte
		header, body int
		ok           bool
	}{
		{"empty", nil, 0, 0, false},
		{"tag alone", []byte{0x30}, 0, 0, false},
		{"no contents", []byte{0x30, 0}, 2, 0, true},
		{"127", []byte{0x30, 0x7f}, 2, 127, true},
		{"128", []byte{0x30, 0x81, 0x80}, 3, 128, true},
		{"length missing", []byte{0x30, 0x81}, 0, 0, false},
		{"length cut", []byte{0x30, 0x84, 1, 0}, 0, 0, false},
		{"4 bytes", []byte{0x30, 0x84, 0x7f, 0xff, 0xff, 0xff}, 6, 1<<31 - 1, true},
		{"over 2^31", []byte{0x30, 0x84, 0x80, 0, 0, 0}, 0, 0, false},
		{"indefinite", []byte{0x30, 0x80, 0, 0}, 0, 0, false},
		{"127 in long form", []byte{0x30, 0x81, 0x7f}, 0, 0, false},
		{"leading zero", []byte{0x30, 0x82, 0, 0x80}, 0, 0, false},
		{"5 bytes", []byte{0x30, 0x85, 0, 0, 0, 0, 0x80}, 0, 0, false},
		{"9 bytes", []byte{0x30, 0x89, 1, 0, 0, 0, 0, 0, 0, 0, 0x80}, 0, 0, false},
		{"reserved form", append([]byte{0x30, 0xff}, make([]byte, 127)...), 0, 0, false},
		{"large tag number", []byte{0x3f, 0x21, 0}, 0, 0, false},
	} {
		header, body, ok := derHeader(test.in)
		if ok != test.ok || ok && (header != test.header || body != test.body) {
			t.Errorf("%s: %d, %d, %v", test.name, header, body, ok)
		}
	}
}

// FuzzDER: encoding/asn1 agrees about every element that is accepted.
func FuzzDER(f *testing.F) {
	corpus.Add(f, func(data []byte) bool { _, _, ok := derNext(data); return ok },
		[][]byte{newRawCRL().bytes(), {0x30, 0}, {0x81, 1, 0xff}, der(derSequence, make([]byte, 300)), der(derSequence, make([]byte, 70000))}, []byte{0x30, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		e, rest, ok := derNext(data)
		if !ok {
			return
		}
		var want asn1.RawValue
		after, err := asn1.Unmarshal(data, &want)
		if err != nil {
			t.Fatalf("encoding/asn1: %v", err)
		}
		if !bytes.Equal(e.raw, want.FullBytes) || !bytes.Equal(e.body, want.Bytes) || !bytes.Equal(rest, after) {
			t.Errorf("%x is split into %x and %x", data, e.raw, rest)
		}
	})
}
