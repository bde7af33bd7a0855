package proto

import (
	"bytes"
	"encoding/base64"
	"testing"

	"chatsecure/testdata/corpus"
)

// FuzzBase64: an accepted text is the one encoding of its value, and the value of every encoding
// comes back, in place too.
func FuzzBase64(f *testing.F) {
	take := func(b []byte) bool { _, ok := DecodeBase64(nil, b); return ok }
	corpus.Add(f, take, [][]byte{{}, []byte("AA=="), []byte("AAE="), []byte("AAEC"), []byte("+/+/")},
		[]byte("AB=="), []byte("AA"), []byte("AA=\n="), []byte("AAEC\n"), []byte("\r\r\r\r"), []byte("-_-_"), []byte("===="), []byte("A"))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := []byte("before")
		out, ok := DecodeBase64(bytes.Clone(before), b)
		if want, err := base64.StdEncoding.DecodeString(string(b)); ok != (err == nil && base64.StdEncoding.EncodeToString(want) == string(b)) {
			t.Fatalf("%q: accepted %v", b, ok)
		} else if ok && !bytes.Equal(out, append(before, want...)) {
			t.Fatalf("%q is %q", b, out)
		}
		text := AppendBase64(nil, b)
		if len(text) != Base64Len(len(b)) {
			t.Fatalf("%d bytes take %d", len(b), len(text))
		}
		if out, ok := DecodeBase64(text[:0], text); !ok || !bytes.Equal(out, b) {
			t.Fatalf("%q comes back as %q, %v", b, out, ok)
		}
	})
}

// Base64Size takes each byte at each place as the decoder does.
func TestBase64Size(t *testing.T) {
	for _, length := range []int{4, 8, 12, 16, 20, 24} {
		for at := range length {
			for c := range 256 {
				text := bytes.Repeat([]byte("A"), length)
				text[at] = byte(c)
				want, decodes := DecodeBase64(nil, text)
				if n, ok := Base64Size(text); ok != decodes || ok && n != len(want) {
					t.Errorf("%q: %d, %v; decoded %d, %v", text, n, ok, len(want), decodes)
				}
			}
		}
	}
}
