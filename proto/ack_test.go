package proto

import (
	"reflect"
	"strings"
	"testing"
)

// FuzzScanAck holds the scanner against the parser: what it recognises the
// parser accepts, with the same meaning.
func FuzzScanAck(f *testing.F) {
	for _, s := range []string{
		`{"type":"ack","dst-id":"0123456789abcdef","answers":0}`,
		`{"type":"ack","dst-id":"0123456789abcdef","answers":18446744073709551615}`,
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
	})
}

func TestScanAckReadsWhatAppendAckWrites(t *testing.T) {
	payload := string(AppendAck(nil, "0123456789abcdef", 42))
	h, ok := ScanAck([]byte(strings.TrimSuffix(payload, "\n\n")))
	if !ok || h.DstID != "0123456789abcdef" || *h.Answers != 42 {
		t.Errorf("%q gives %+v %v", payload, h, ok)
	}
}
