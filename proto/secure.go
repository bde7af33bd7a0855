package proto

import (
	"bytes"
	"encoding/base64"
	"strconv"
)

// A secure line is the only one after connect phase 4, and the relay's hot
// path: it is scanned by hand, because it has one canonical form and
// encoding/json decodes base64 ten times slower.
//
//	{"type":"secure","sa-data":{"seq":N,"random":"BASE64"},"payload":"BASE64"}
const (
	securePrefix  = `{"type":"secure","sa-data":{"seq":`
	secureRandom  = `,"random":"`
	securePayload = `"},"payload":"`
	secureSuffix  = `"}`
)

// RandomSize is the size of the random that every sealed message carries, in
// bytes.
const RandomSize = 32

var randomChars = base64.StdEncoding.EncodedLen(RandomSize)

// Base64 is the one encoding of binary: standard alphabet, padded, strict.
var Base64 = base64.StdEncoding.Strict()

// errSecure is the one error of ScanSecure.
var errSecure = Errorf(Malformed, "not a secure line")

// ScanSecure takes a secure line apart. The payload is decoded in place: the
// result shares line's memory and line is spent. Anything but the canonical
// form is a Malformed error.
func ScanSecure(line []byte) (seq uint64, random [RandomSize]byte, payload []byte, err error) {
	rest, ok := bytes.CutPrefix(line, []byte(securePrefix))
	if !ok {
		return 0, random, nil, errSecure
	}
	digits := 0
	for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
		if digits == 20 {
			return 0, random, nil, errSecure
		}
		digits++
	}
	if digits == 0 || digits > 1 && rest[0] == '0' {
		return 0, random, nil, errSecure
	}
	for _, c := range rest[:digits] {
		d := uint64(c - '0')
		if seq > (1<<64-1-d)/10 {
			return 0, random, nil, errSecure
		}
		seq = seq*10 + d
	}
	rest, ok = bytes.CutPrefix(rest[digits:], []byte(secureRandom))
	if !ok || len(rest) < randomChars || !decodeExact(random[:], rest[:randomChars]) {
		return 0, random, nil, errSecure
	}
	rest, ok = bytes.CutPrefix(rest[randomChars:], []byte(securePayload))
	if !ok {
		return 0, random, nil, errSecure
	}
	rest, ok = bytes.CutSuffix(rest, []byte(secureSuffix))
	if !ok {
		return 0, random, nil, errSecure
	}
	payload = rest[:decodedLen(rest)]
	if !decodeExact(payload, rest) {
		return 0, random, nil, errSecure
	}
	return seq, random, payload, nil
}

// decodedLen returns how many bytes the padded base64 text b stands for.
func decodedLen(b []byte) int {
	n := len(b) / 4 * 3
	for i := len(b) - 1; i >= 0 && i >= len(b)-2 && b[i] == '='; i-- {
		n--
	}
	return max(n, 0)
}

// decodeExact decodes src into dst, which may share its start, and tells
// whether src was the one strict encoding of len(dst) bytes. The standard
// decoder skips newlines even when strict; they would leave dst short.
func decodeExact(dst, src []byte) bool {
	if len(src)%4 != 0 || decodedLen(src) != len(dst) || bytes.IndexByte(src, '\r') >= 0 || bytes.IndexByte(src, '\n') >= 0 {
		return false
	}
	n, err := Base64.Decode(dst, src)
	return err == nil && n == len(dst)
}

// AppendSecure appends a secure line with its newline to dst.
func AppendSecure(dst []byte, seq uint64, random *[RandomSize]byte, payload []byte) []byte {
	dst = append(dst, securePrefix...)
	dst = strconv.AppendUint(dst, seq, 10)
	dst = append(dst, secureRandom...)
	dst = base64.StdEncoding.AppendEncode(dst, random[:])
	dst = append(dst, securePayload...)
	dst = base64.StdEncoding.AppendEncode(dst, payload)
	dst = append(dst, secureSuffix...)
	return append(dst, '\n')
}
