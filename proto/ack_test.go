package proto

import (
	"reflect"
	"strings"
	"testing"

	"chatsecure/testdata/corpus"
)

// FuzzScanAck compares the scanner with the parser: the parser accepts every header that the
// scanner recognises, with the same meaning.
func FuzzScanAck(f *testing.F) {
	good := [][]byte{
		[]byte(`{"type":"ack","dst-id":"0123456789abcdef","answers":0}`),
		[]byte(`{"type":"ack","dst-id":"0123456789abcdef","answers":9223372036854775807}`),
	}
	corpus.Add(f, func(b []byte) bool { _, ok := ScanAck(b); return ok }, good)
	for _, s := range []string{
		`{"type":"ack","dst-id":"0123456789abcdef","answers":18446744073709551616}`,
		`{"type":"ack","dst-id":"0123456789abcdeF","answers":1}`,
		`{"type":"ack","dst-id":"0123456789abcdef","answers":01}`,
		`{"type":"ack","dst-id":"0123456789abcdef","answers":+1}`,
		`{"type":"ack","dst-id":"0123456789abcdef","answers":1}}`,
		`{"type":"ack"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, header []byte) {
		h, ok := ScanAck(header)
		if !ok {
			if want, err := ParseRelayHeader(header); err == nil && want.Type == TypeAck && want.DstID != "" {
				t.Fatalf("%q was not recognised", header)
			}
			return
		}
		want, err := ParseRelayHeader(header)
		if err != nil || !reflect.DeepEqual(h, want) {
			t.Fatalf("%q: scanned %+v, parsed %+v, %v", header, h, want, err)
		}
		if again := AppendAck(nil, h.DstID, *h.Answers); string(again) != string(header)+"\n\n" {
			t.Fatalf("%q becomes %q", header, again)
		}
	})
}

func TestScanAckReadsWhatAppendAckWrites(t *testing.T) {
	payload := string(AppendAck(nil, "0123456789abcdef", 42))
	h, ok := ScanAck([]byte(strings.TrimSuffix(payload, "\n\n")))
	if !ok || h.DstID != "0123456789abcdef" || *h.Answers != 42 {
		t.Errorf("%q gives %+v %v", payload, h, ok)
	}
}
