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
//	{"type":"secure","sa-data":{"seq":N,"random":"BASE64"},"payload":"BASE64","body":"BASE64"}
const (
	securePrefix  = `{"type":"secure","sa-data":{"seq":`
	secureRandom  = `,"random":"`
	securePayload = `"},"payload":"`
	secureText    = `","body":"`
	secureSuffix  = `"}`
)

// RandomSize is the size in bytes of the random in every sealed message.
const RandomSize = 32

var randomChars = Base64Len(RandomSize)

// SecureLine is a secure line, taken apart.
type SecureLine struct {
	Seq     uint64
	Random  [RandomSize]byte
	Payload []byte // sealed
	Text    []byte // of the body, in base64; nil without one
}

// errSecure is the one error of ScanSecure.
var errSecure = Errorf(Malformed, "not a secure line")

// ScanSecure takes a secure line apart. It decodes the payload in place, in
// line's memory, which is spent. Anything but the canonical form is a Malformed
// error. It leaves one check to its caller: that Text is base64. A relay refuses
// the line otherwise, and a client the message.
func ScanSecure(line []byte) (s SecureLine, err error) {
	rest, ok := bytes.CutPrefix(line, []byte(securePrefix))
	if !ok {
		return SecureLine{}, errSecure
	}
	digits := 0
	for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
		if digits == 20 {
			return SecureLine{}, errSecure
		}
		digits++
	}
	if digits == 0 || digits > 1 && rest[0] == '0' {
		return SecureLine{}, errSecure
	}
	for _, c := range rest[:digits] {
		d := uint64(c - '0')
		if s.Seq > (1<<63-1-d)/10 {
			return SecureLine{}, errSecure
		}
		s.Seq = s.Seq*10 + d
	}
	rest, ok = bytes.CutPrefix(rest[digits:], []byte(secureRandom))
	if !ok || len(rest) < randomChars {
		return SecureLine{}, errSecure
	}
	if got, ok := DecodeBase64(s.Random[:0], rest[:randomChars]); !ok || len(got) != RandomSize {
		return SecureLine{}, errSecure
	}
	rest, ok = bytes.CutPrefix(rest[randomChars:], []byte(securePayload))
	if !ok {
		return SecureLine{}, errSecure
	}
	rest, ok = bytes.CutSuffix(rest, []byte(secureSuffix))
	if !ok {
		return SecureLine{}, errSecure
	}
	if end := bytes.IndexByte(rest, '"'); end >= 0 {
		s.Text, ok = bytes.CutPrefix(rest[end:], []byte(secureText))
		if !ok || len(s.Text) == 0 || bytes.IndexByte(s.Text, '"') >= 0 {
			return SecureLine{}, errSecure
		}
		rest = rest[:end]
	}
	s.Payload, ok = DecodeBase64(rest[:0], rest)
	if !ok {
		return SecureLine{}, errSecure
	}
	return s, nil
}

// AppendSecure appends a secure line with its newline to dst.
func AppendSecure(dst []byte, seq uint64, random *[RandomSize]byte, payload, text []byte) []byte {
	dst = append(dst, securePrefix...)
	dst = strconv.AppendUint(dst, seq, 10)
	dst = append(dst, secureRandom...)
	dst = AppendBase64(dst, random[:])
	dst = append(dst, securePayload...)
	dst = AppendBase64(dst, payload)
	if len(text) > 0 {
		dst = append(append(dst, secureText...), text...)
	}
	dst = append(dst, secureSuffix...)
	return append(dst, '\n')
}
