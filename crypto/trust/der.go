package trust

// derElement is one element of DER (X.690), in the memory of its source.
type derElement struct {
	tag  byte   // class, constructed bit and number below 31
	body []byte // contents
	raw  []byte // header and contents
}

// The universal tags of RFC 5280's structures.
const (
	derBoolean         = 0x01
	derInteger         = 0x02
	derBitString       = 0x03
	derOctetString     = 0x04
	derOID             = 0x06
	derEnumerated      = 0x0a
	derUTCTime         = 0x17
	derGeneralizedTime = 0x18
	derSequence        = 0x30
	derSet             = 0x31
	derContext0        = 0xa0 // context-specific, number 0, constructed
)

// derHeader reads a tag and a length from the start of b: definite, minimal and of at
// most 4 bytes. It returns the sizes of header and body. No element here has a tag number of
// 31 or more.
func derHeader(b []byte) (header, body int, ok bool) {
	if len(b) < 2 || b[0]&0x1f == 0x1f {
		return 0, 0, false
	}
	if b[1] < 0x80 {
		return 2, int(b[1]), true
	}
	n := int(b[1] & 0x7f)
	if n == 0 || n > 4 || len(b) < 2+n || b[2] == 0 {
		return 0, 0, false
	}
	for _, c := range b[2 : 2+n] {
		body = body<<8 | int(c)
	}
	return 2 + n, body, body >= 0x80 && body <= 1<<31-1
}

// derNext splits the first element off b.
func derNext(b []byte) (e derElement, rest []byte, ok bool) {
	header, body, ok := derHeader(b)
	if !ok || len(b)-header < body {
		return derElement{}, nil, false
	}
	return derElement{b[0], b[header : header+body], b[:header+body]}, b[header+body:], true
}

// derExpect is derNext for an element that must have the tag.
func derExpect(b []byte, tag byte) (e derElement, rest []byte, ok bool) {
	e, rest, ok = derNext(b)
	return e, rest, ok && e.tag == tag
}

// derOnly is derExpect for an element that must be all of b.
func derOnly(b []byte, tag byte) (body []byte, ok bool) {
	e, rest, ok := derExpect(b, tag)
	return e.body, ok && len(rest) == 0
}
