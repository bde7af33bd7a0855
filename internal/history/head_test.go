package history

import (
	"bytes"
	"strings"
	"testing"

	"chatsecure/proto"
	"chatsecure/testdata/corpus"
)

func FuzzHistoryHead(f *testing.F) {
	fingerprint := strings.Repeat("0a", 32)
	hash := proto.MustHash(fingerprint)
	corpus.Add(f, func(b []byte) bool { _, err := parseHead(b); return err == nil },
		[][]byte{appendHead(nil, 0, &[32]byte{}), appendHead(nil, 1<<63-1, &hash)},
		nil, []byte("{}"), []byte(`{"v":1,"count":-1,"hash":"`+fingerprint+`"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHead(b)
		if err != nil {
			return
		}
		last := proto.MustHash(h.Hash)
		if again := appendHead(nil, h.Count, &last); !bytes.Equal(again, b) {
			t.Fatalf("%q was taken for %q", b, again)
		}
	})
}
