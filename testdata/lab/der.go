package lab

import (
	"fmt"
	"slices"
)

// DER is an element of DER that tests take apart, edit and put together again with
// right lengths. Parts are its elements if it is constructed, else Body is its
// contents.
type DER struct {
	Tag   byte
	Body  []byte
	Parts []*DER
}

// ParseDER parses one element. It panics on bytes that are none, which is a mistake
// in a test.
func ParseDER(b []byte) *DER {
	d, rest := nextDER(b)
	if d == nil || len(rest) != 0 {
		panic("lab.ParseDER: this is not one element")
	}
	return d
}

// nextDER splits the first element off b, nil if there is none. A constructed one
// with other contents than elements has a Body.
func nextDER(b []byte) (d *DER, rest []byte) {
	if len(b) < 2 {
		return nil, nil
	}
	n, header := int(b[1]), 2
	if n >= 0x80 {
		header += n - 0x80
		n = 0
		for _, c := range b[2:min(header, len(b))] {
			n = n<<8 | int(c)
		}
	}
	if header > 6 || n > len(b)-header {
		return nil, nil
	}
	d, rest = &DER{Tag: b[0]}, b[header+n:]
	body := b[header : header+n]
	for inner := body; b[0]&0x20 != 0 && len(inner) > 0; {
		var part *DER
		if part, inner = nextDER(inner); part == nil {
			d.Parts = nil
			break
		}
		d.Parts = append(d.Parts, part)
	}
	if d.Parts == nil {
		d.Body = slices.Clone(body)
	}
	return d, rest
}

// Bytes returns the encoding.
func (d *DER) Bytes() []byte {
	body := slices.Clone(d.Body)
	for _, part := range d.Parts {
		body = append(body, part.Bytes()...)
	}
	switch n := len(body); {
	case n < 0x80:
		return append([]byte{d.Tag, byte(n)}, body...)
	case n < 0x100:
		return append([]byte{d.Tag, 0x81, byte(n)}, body...)
	case n < 0x10000:
		return append([]byte{d.Tag, 0x82, byte(n >> 8), byte(n)}, body...)
	case n < 0x1000000:
		return append([]byte{d.Tag, 0x83, byte(n >> 16), byte(n >> 8), byte(n)}, body...)
	}
	panic(fmt.Sprintf("lab.DER: %d bytes in an element", len(body)))
}

// Clone returns a copy that shares nothing with d.
func (d *DER) Clone() *DER { return ParseDER(d.Bytes()) }
