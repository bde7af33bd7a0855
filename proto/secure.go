package proto

import (
	"bytes"
	"strconv"
)

// Secure lines are the only ones after connect phase 4, and the relay's hot
// path. They are scanned by hand: their canonical form is simple, and
// encoding/json decodes base64 ten times slower. PROTOCOL.md, "Secure lines".
//
//	{"type":"secure","sa-data":{"seq":N,"random":"BASE64"},"payload":"BASE64"}
const (
	securePrefix  = `{"type":"secure","sa-data":{"seq":`
	secureRandom  = `,"random":"`
	securePayload = `"},"payload":"`
	secureSuffix  = `"}`
)

// RandomSize is the size in bytes of the random in every sealed message.
const RandomSize = 32

var randomChars = Base64Len(RandomSize)

// errSecure is the one error of ScanSecure.
var errSecure = Errorf(Malformed, "not a secure line")

// ScanSecure takes a secure line apart. It decodes the payload in place, in
// line's memory, which is spent. Anything but the canonical form is a Malformed
// error.
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
		if seq > (1<<63-1-d)/10 {
			return 0, random, nil, errSecure
		}
		seq = seq*10 + d
	}
	rest, ok = bytes.CutPrefix(rest[digits:], []byte(secureRandom))
	if !ok || len(rest) < randomChars {
		return 0, random, nil, errSecure
	}
	if got, ok := DecodeBase64(random[:0], rest[:randomChars]); !ok || len(got) != RandomSize {
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
	payload, ok = DecodeBase64(rest[:0], rest)
	if !ok {
		return 0, random, nil, errSecure
	}
	return seq, random, payload, nil
}

// AppendSecure appends a secure line with its newline to dst.
func AppendSecure(dst []byte, seq uint64, random *[RandomSize]byte, payload []byte) []byte {
	dst = append(dst, securePrefix...)
	dst = strconv.AppendUint(dst, seq, 10)
	dst = append(dst, secureRandom...)
	dst = AppendBase64(dst, random[:])
	dst = append(dst, securePayload...)
	dst = AppendBase64(dst, payload)
	dst = append(dst, secureSuffix...)
	return append(dst, '\n')
}
