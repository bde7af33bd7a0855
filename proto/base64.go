package proto

import "encoding/base64"

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
// DecodeBase64 would take it. It decodes only the last four characters: the relay
// checks the text of pipes, and passes it on as it is.
func Base64Size(text []byte) (n int, ok bool) {
	if len(text) == 0 || len(text)%4 != 0 {
		return 0, len(text) == 0
	}
	head, tail := text[:len(text)-4], text[len(text)-4:]
	var room [3]byte
	last, ok := DecodeBase64(room[:0], tail)
	foreign := byte(0)
	for _, c := range head {
		foreign |= notBase64[c]
	}
	return len(head)/4*3 + len(last), ok && foreign == 0
}

// notBase64 is 1 for each byte that is not of the alphabet.
var notBase64 = func() (t [256]byte) {
	for c := range t {
		t[c] = 1
	}
	for value := range 64 {
		t[strictBase64.EncodeToString([]byte{byte(value << 2)})[0]] = 0
	}
	return t
}()
