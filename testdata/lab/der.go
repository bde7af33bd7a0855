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
	if len(rest) != 0 {
		panic("lab.ParseDER: there is more than an element")
	}
	return d
}

func nextDER(b []byte) (d *DER, rest []byte) {
	n, header := int(b[1]), 2
	if n >= 0x80 {
		header += n - 0x80
		n = 0
		for _, c := range b[2:header] {
			n = n<<8 | int(c)
		}
	}
	d, rest = &DER{Tag: b[0]}, b[header+n:]
	body := b[header : header+n]
	if b[0]&0x20 == 0 {
		d.Body = slices.Clone(body)
		return d, rest
	}
	for len(body) > 0 {
		var part *DER
		part, body = nextDER(body)
		d.Parts = append(d.Parts, part)
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

// Find returns the first element of d with these contents' bytes, or nil.
func (d *DER) Find(tag byte, body string) *DER {
	if d.Tag == tag && string(d.Body) == body {
		return d
	}
	for _, part := range d.Parts {
		if found := part.Find(tag, body); found != nil {
			return found
		}
	}
	return nil
}
