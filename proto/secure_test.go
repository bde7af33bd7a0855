package proto

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"chatsecure/testdata/corpus"
)

// secureLine is a secure line for encoding/json, the scanner's oracle.
type secureLine struct {
	Type   string `json:"type"`
	SAData struct {
		Seq    uint64 `json:"seq"`
		Random []byte `json:"random"`
	} `json:"sa-data"`
	Payload []byte `json:"payload"`
	Body    []byte `json:"body,omitempty"`
}

func parseSecure(line []byte) (*secureLine, bool) {
	var s secureLine
	if Unmarshal(line, &s) != nil || s.Type != "secure" || len(s.SAData.Random) != RandomSize || s.Payload == nil {
		return nil, false
	}
	return &s, true
}

// scanStrict is ScanSecure as a relay uses it: a line that it passes on has a body in
// base64, or none.
func scanStrict(line []byte) (s SecureLine, body []byte, ok bool) {
	s, err := ScanSecure(line)
	if err != nil {
		return s, nil, false
	}
	size, ok := Base64Size(s.Text)
	body, decodes := DecodeBase64(nil, s.Text)
	if ok != decodes || ok && size != len(body) {
		panic(fmt.Sprintf("%q: %d bytes, %v, and decoded %d, %v", s.Text, size, ok, len(body), decodes))
	}
	return s, body, ok
}

func secureExample(seq uint64, payload []byte, body ...byte) []byte {
	var random [RandomSize]byte
	for i := range random {
		random[i] = byte(i * 37)
	}
	return bytes.TrimSuffix(AppendSecure(nil, seq, &random, payload, AppendBase64(nil, body)), []byte("\n"))
}

func TestSecureRoundTrip(t *testing.T) {
	for _, seq := range []uint64{0, 1, 9, 10, 1 << 32, 1<<63 - 1} {
		for n := range 100 {
			payload := bytes.Repeat([]byte{byte(n), 0xfe}, n)[:n]
			for _, body := range [][]byte{nil, bytes.Repeat([]byte{0xff, byte(n)}, n)[n:]} {
				line := secureExample(seq, payload, body...)
				want, ok := parseSecure(line)
				if !ok {
					t.Fatalf("%s is not canonical", line)
				}
				s, text, ok := scanStrict(line)
				if !ok || s.Seq != seq || !bytes.Equal(s.Payload, payload) || !bytes.Equal(s.Random[:], want.SAData.Random) || !bytes.Equal(text, body) {
					t.Fatalf("%d bytes: %+v", n, s)
				}
				if (s.Text == nil) != (len(body) == 0) {
					t.Fatalf("%d bytes have the text %q", len(body), s.Text)
				}
			}
		}
	}
}

// Row 22: secure lines.
func TestRow22SecureLines(t *testing.T) {
	good, body := string(secureExample(7, []byte("payload!"))), string(secureExample(7, []byte("payload!"), []byte("body")...))
	beside := func(old, new string) string {
		changed := strings.Replace(body, old, new, 1)
		if changed == body {
			t.Fatalf("no %q in %s", old, body)
		}
		return changed
	}
	change := func(old, new string) string {
		changed := strings.Replace(good, old, new, 1)
		if changed == good {
			t.Fatalf("no %q in %s", old, good)
		}
		return changed
	}
	payload := string(AppendBase64(nil, []byte("payload!")))
	for why, line := range map[string]string{
		"empty":               "",
		"another object":      "{}",
		"a list":              "[" + good + "]",
		"deep nesting":        strings.Repeat("[", 100_000),
		"bytes after":         good + " ",
		"bytes before":        " " + good,
		"cut":                 good[:len(good)-1],
		"a space":             change(`,"payload"`, `, "payload"`),
		"a field twice":       change(`,"payload"`, `,"payload":"","payload"`),
		"a field too many":    change(`"seq":7`, `"seq":7,"x":0`),
		"another order":       change(`"type":"secure",`, ``),
		"another case":        change(`"payload"`, `"Payload"`),
		"another type":        change(`"secure"`, `"list"`),
		"seq empty":           change(`:7,`, `:,`),
		"seq with zeros":      change(`:7,`, `:07,`),
		"seq with a sign":     change(`:7,`, `:-7,`),
		"seq as text":         change(`:7,`, `:"7",`),
		"seq a fraction":      change(`:7,`, `:7.0,`),
		"seq with exponent":   change(`:7,`, `:7e1,`),
		"seq too large":       change(`:7,`, `:9223372036854775808,`),
		"seq far too large":   change(`:7,`, `:`+strings.Repeat("9", 400)+`,`),
		"random short":        change(`"random":"A`, `"random":"`),
		"random with junk":    change(`"random":"A`, `"random":"!`),
		"payload null":        change(`"`+payload+`"`, `null`),
		"payload not base64":  change(payload, "*"+payload[1:]),
		"payload unpadded":    change(payload, strings.TrimRight(payload, "=")),
		"payload overpadded":  change(payload, payload+"===="),
		"payload with LF":     change(payload, payload[:4]+"\n"+payload[4:]),
		"payload with CRs":    change(payload, payload[:4]+"\r\r\r\r"+payload[4:]),
		"payload with escape": change(payload, `\u0063`+payload[1:]),
		"payload spare bits":  change(payload, payload[:len(payload)-2]+"F="),
		"payload url-safe":    change(payload, "-_-_"),
		"invalid UTF-8":       change(payload, "\xff\xfe"),
		"NUL":                 change(payload, "\x00"),
		"a quote inside":      change(payload, `AAAA","x":"AAAA`),

		"body empty":        beside(`"Ym9keQ=="`, `""`),
		"body null":         beside(`"Ym9keQ=="`, `null`),
		"body a list":       beside(`"Ym9keQ=="`, `["Ym9keQ=="]`),
		"body first":        beside(`"payload":"`+payload+`","body":"Ym9keQ=="`, `"body":"Ym9keQ==","payload":"`+payload+`"`),
		"body twice":        beside(`,"body"`, `,"body":"AAAA","body"`),
		"body spaced":       beside(`,"body"`, `, "body"`),
		"body in SA data":   change(`,"random"`, `,"body":"Ym9keQ==","random"`),
		"a field behind":    beside(`"}`, `","x":"AAAA"}`),
		"body with quote":   beside(`Ym9keQ==`, `Ym9"keQ=`),
		"body alone":        beside(`"payload":"`+payload+`",`, ``),
		"body of old":       beside(`"body"`, `"Body"`),
		"body not the last": beside(`"}`, `"} `),
	} {
		if _, ok := parseSecure([]byte(line)); ok {
			t.Errorf("%s: the oracle takes %.80s", why, line)
		}
		if _, err := ScanSecure([]byte(line)); err != errSecure {
			t.Errorf("%s: %v", why, err)
		}
	}
	// These come as a line, but not as a body that a relay passes on.
	for why, text := range map[string]string{
		"not base64":       "Ym9*eQ==",
		"unpadded":         "Ym9keQ",
		"overpadded":       "Ym9keQ======",
		"padded inside":    "Yg==Ym9keQ==",
		"padding alone":    "====",
		"spare bits":       "Ym9keR==",
		"url alphabet":     "-_-_",
		"a space":          "Ym9k eQ=",
		"spaces at an end": "Ym9k    ",
		"LF":               "Ym9k\nY==",
		"CRs":              "Ym9k\r\r\r\reQ==",
		"an escape":        `\u0059m9keQ==`,
		"invalid UTF-8":    "Ym9k\xff\xfeQ=",
		"NUL":              "Ym9k\x00\x00\x00\x00",
	} {
		line := []byte(beside("Ym9keQ==", text))
		if _, ok := parseSecure(line); ok {
			t.Errorf("body %s: the oracle takes %q", why, line)
		}
		if s, err := ScanSecure(bytes.Clone(line)); err != nil || string(s.Text) != text {
			t.Errorf("body %s: %q, %v", why, s.Text, err)
		}
		if _, _, ok := scanStrict(line); ok {
			t.Errorf("body %s: it is base64", why)
		}
	}
}

func TestScanSecureAllocatesNothing(t *testing.T) {
	line := secureExample(123456, bytes.Repeat([]byte("x"), 400), []byte("body")...)
	work := make([]byte, len(line))
	if n := testing.AllocsPerRun(100, func() {
		copy(work, line)
		s, err := ScanSecure(work)
		if err != nil {
			t.Fatal(err)
		}
		if n, ok := Base64Size(s.Text); n != 4 || !ok {
			t.Fatal(n, ok)
		}
	}); n != 0 {
		t.Errorf("%v allocations a line", n)
	}
}

// FuzzScanSecure compares the scanner with canonical JSON: both accept the same lines and read the
// same values.
func FuzzScanSecure(f *testing.F) {
	var good [][]byte
	for n := range 5 {
		good = append(good, secureExample(uint64(n), []byte("abcd")[:n]), secureExample(uint64(n), []byte("abcd")[:n], []byte("body")[:n]...))
	}
	corpus.Add(f, func(b []byte) bool { _, _, ok := scanStrict(bytes.Clone(b)); return ok }, good)
	f.Add([]byte(`{"type":"secure","sa-data":{"seq":18446744073709551616,"random":""},"payload":"AA=="}`))
	for _, junk := range []string{`"payload":"\r\r\r\r"}`, `"payload":"AA==","body":""}`, `"payload":"AA==","body":"\r\r\r\r"}`} {
		f.Add([]byte(fmt.Sprintf(`{"type":"secure","sa-data":{"seq":1,"random":"%044d"},%s`, 0, junk)))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		want, canonical := parseSecure(line)
		s, body, ok := scanStrict(bytes.Clone(line))
		if ok != canonical {
			t.Fatalf("%q: canonical %v, scanned %v", line, canonical, ok)
		}
		if !ok {
			return
		}
		if s.Seq != want.SAData.Seq || !bytes.Equal(s.Random[:], want.SAData.Random) || !bytes.Equal(s.Payload, want.Payload) || !bytes.Equal(body, want.Body) {
			t.Fatalf("%q: scanned %+v", line, s)
		}
		if again := AppendSecure(nil, s.Seq, &s.Random, s.Payload, s.Text); string(again) != string(line)+"\n" {
			t.Fatalf("%q becomes %q", line, again)
		}
	})
}
