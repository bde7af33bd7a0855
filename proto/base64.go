package proto

import (
	"encoding/base64"
	"encoding/binary"
)

// strictBase64 refuses spare bits. PROTOCOL.md, "Notation".
var strictBase64 = base64.StdEncoding.Strict()

// AppendBase64 appends src in base64 to dst.
func AppendBase64(dst, src []byte) []byte { return strictBase64.AppendEncode(dst, src) }

// Base64Len returns the length of n bytes in base64.
func Base64Len(n int) int { return strictBase64.EncodedLen(n) }

// DecodeBase64 appends the bytes that src encodes to dst, which may be src[:0].
// It takes each value in its one encoding only.
func DecodeBase64(dst, src []byte) (out []byte, ok bool) {
	out, err := strictBase64.AppendDecode(dst, src)
	// Even the strict decoder skips newlines. Then src is too long for its value.
	if err != nil || Base64Len(len(out)-len(dst)) != len(src) {
		return nil, false
	}
	return out, true
}

// Base64Size returns the number of bytes that text encodes, and whether
// DecodeBase64 would take it. It decodes only the last characters: the relay
// checks the text of pipes, and passes it on as it is.
func Base64Size(text []byte) (n int, ok bool) {
	if len(text) == 0 || len(text)%4 != 0 {
		return 0, len(text) == 0
	}
	cut := (len(text) - 1) &^ 7
	var room [6]byte
	last, ok := DecodeBase64(room[:0], text[cut:])
	// Eight characters at a time. A sum has a byte's highest bit from the first character of a
	// range on, and a difference up to the last one.
	const each, high = 0x0101010101010101, 0x80 * 0x0101010101010101
	good, all := uint64(high), uint64(0)
	for i := 0; i+8 <= cut; i += 8 {
		c := binary.LittleEndian.Uint64(text[i : i+8 : cut])
		all |= c
		c &^= high
		letter := c | 0x20*each
		good &= (letter+(0x80-'a')*each)&((0x80+'z')*each-letter) |
			(c+(0x80-'/')*each)&((0x80+'9')*each-c) | (c+(0x80-'+')*each)&((0x80+'+')*each-c)
	}
	return cut/4*3 + len(last), ok && good == high && all&high == 0
}
