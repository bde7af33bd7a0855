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
}

func parseSecure(line []byte) (*secureLine, bool) {
	var s secureLine
	if Unmarshal(line, &s) != nil || s.Type != "secure" || len(s.SAData.Random) != RandomSize || s.Payload == nil {
		return nil, false
	}
	return &s, true
}

func secureExample(seq uint64, payload []byte) []byte {
	var random [RandomSize]byte
	for i := range random {
		random[i] = byte(i * 37)
	}
	return bytes.TrimSuffix(AppendSecure(nil, seq, &random, payload), []byte("\n"))
}

func TestSecureRoundTrip(t *testing.T) {
	for _, seq := range []uint64{0, 1, 9, 10, 1 << 32, 1<<63 - 1} {
		for n := range 100 {
			payload := bytes.Repeat([]byte{byte(n), 0xfe}, n)[:n]
			line := secureExample(seq, payload)
			want, ok := parseSecure(line)
			if !ok {
				t.Fatalf("%s is not canonical", line)
			}
			gotSeq, random, got, err := ScanSecure(line)
			if err != nil || gotSeq != seq || !bytes.Equal(got, payload) || !bytes.Equal(random[:], want.SAData.Random) {
				t.Fatalf("%d bytes: %d %x, %v", n, gotSeq, got, err)
			}
		}
	}
}

// Row 22: secure lines.
func TestRow22SecureLines(t *testing.T) {
	good := string(secureExample(7, []byte("payload!")))
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
	} {
		if _, ok := parseSecure([]byte(line)); ok {
			t.Errorf("%s: the oracle takes %.80s", why, line)
		}
		if _, _, _, err := ScanSecure([]byte(line)); err != errSecure {
			t.Errorf("%s: %v", why, err)
		}
	}
}

func TestScanSecureAllocatesNothing(t *testing.T) {
	line := secureExample(123456, bytes.Repeat([]byte("x"), 400))
	work := make([]byte, len(line))
	if n := testing.AllocsPerRun(100, func() {
		copy(work, line)
		if _, _, _, err := ScanSecure(work); err != nil {
			t.Fatal(err)
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
		good = append(good, secureExample(uint64(n), []byte("abcd")[:n]))
	}
	corpus.Add(f, func(b []byte) bool { _, _, _, err := ScanSecure(bytes.Clone(b)); return err == nil }, good)
	f.Add([]byte(`{"type":"secure","sa-data":{"seq":18446744073709551616,"random":""},"payload":"AA=="}`))
	f.Add([]byte(fmt.Sprintf(`{"type":"secure","sa-data":{"seq":1,"random":"%044d"},"payload":"\r\r\r\r"}`, 0)))
	f.Fuzz(func(t *testing.T, line []byte) {
		want, ok := parseSecure(line)
		seq, random, payload, err := ScanSecure(bytes.Clone(line))
		if ok != (err == nil) {
			t.Fatalf("%q: canonical %v, scanned %v", line, ok, err)
		}
		if ok && (seq != want.SAData.Seq || !bytes.Equal(random[:], want.SAData.Random) || !bytes.Equal(payload, want.Payload)) {
			t.Fatalf("%q: scanned %d %x %x", line, seq, random, payload)
		}
		if again := AppendSecure(nil, seq, &random, payload); ok && string(again) != string(line)+"\n" {
			t.Fatalf("%q becomes %q", line, again)
		}
	})
}
