package proto

import (
	"bytes"
	"testing"

	"chatsecure/testdata/corpus"
)

// FuzzPayload takes payloads apart and puts them together again.
func FuzzPayload(f *testing.F) {
	corpus.Add(f, func(b []byte) bool { _, _, _, err := SplitPayload(b); return err == nil },
		[][]byte{[]byte(`{"type":"ack"}` + "\n\n"), []byte("h\nQUJD\nbody\nwith\nlines")},
		[]byte("h\n*\n"), []byte("h\nQUJ=\n"), []byte("no newline"))
	f.Fuzz(func(t *testing.T, payload []byte) {
		header, signature, body, err := SplitPayload(payload)
		if err != nil {
			return
		}
		if again := AppendPayload(nil, header, signature, body); !bytes.Equal(again, payload) {
			t.Fatalf("%q becomes %q", payload, again)
		}
	})
}
