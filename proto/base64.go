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
