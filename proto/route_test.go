package proto

import (
	"bytes"
	"testing"

	"chatsecure/testdata/corpus"
)

// FuzzScanRoute compares the relay's scanner with the parser.
func FuzzScanRoute(f *testing.F) {
	taken := 0
	for _, h := range goodHeaders["client"] {
		b := MustMarshal(&h)
		f.Add(b)
		if _, ok := ScanRoute(b); ok {
			taken++
		}
	}
	corpus.Check(f, taken)
	for _, s := range []string{
		`{"type":"client-com","dst":"","dst-id":"` + testID + `"}`,
		`{"type":"client-com","dst":"a\"b","dst-id":"` + testID + `"}`,
		`{"type":"client-com","dst":"all","dst-id":"` + testID + `"}`,
		`{"type":"comm-ack","dst":"ana","dst-id":"` + testID + `x"}`,
		`{"type":"comm-ack","dst":"ana","dst-id":"0123456789abcde\""}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseClientHeader(b)
		r, ok := ScanRoute(b)
		if !ok {
			if err == nil && (h.Type == TypeClientCom || h.Type == TypeCommAck) && isPlainName(h.Dst) {
				t.Fatalf("%q was not recognised", b)
			}
			return
		}
		if err != nil {
			// Only a bad name or id, which the relay finds out by itself.
			if CheckName(string(r.Dst)) == nil && ValidConnID(string(r.DstID)) {
				t.Fatalf("%q was recognised, and the parser says %v", b, err)
			}
			return
		}
		if h.Type != string(r.Type) || h.Dst != string(r.Dst) || h.DstID != string(r.DstID) {
			t.Fatalf("%q was scanned as %q", b, r)
		}
		stamped := AppendStamped(nil, r, "João", testID)
		h.Src, h.SrcID = "João", testID
		if want := MustMarshal(h); !bytes.Equal(stamped, want) {
			t.Fatalf("stamped %q, want %q", stamped, want)
		}
		if _, err := ParseRelayHeader(stamped); err != nil {
			t.Fatalf("%q: %v", stamped, err)
		}
	})
}

func isPlainName(name string) bool {
	for i := range len(name) {
		if !plainNameByte(name[i]) {
			return false
		}
	}
	return true
}

func TestScanRouteAllocatesNothing(t *testing.T) {
	header := []byte(`{"type":"client-com","dst":"ana","dst-id":"` + testID + `"}`)
	room := make([]byte, 0, 512)
	if n := testing.AllocsPerRun(100, func() {
		r, ok := ScanRoute(header)
		if !ok {
			t.Fatal("not recognised")
		}
		room = AppendStamped(room[:0], r, "bruno", testID)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
