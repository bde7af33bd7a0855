package term

import (
	"fmt"
	"strings"
	"testing"
)

// TestRecallIsBounded in lines and bytes, and keeps the newest.
func TestRecallIsBounded(t *testing.T) {
	var r recall
	for i := range maxRecall + 10 {
		r.add(Line{Text: fmt.Sprint(i)})
	}
	if len(r.lines) != maxRecall || r.lines[0].Text != "10" {
		t.Errorf("%d lines, the first is %q", len(r.lines), r.lines[0].Text)
	}
	for i := range 9 {
		r.add(Line{Text: fmt.Sprint(i) + strings.Repeat("x", maxRecallBytes/4)})
	}
	if r.bytes > maxRecallBytes || len(r.lines) != 3 || r.lines[2].Text[0] != '8' {
		t.Errorf("%d bytes in %d lines", r.bytes, len(r.lines))
	}
	sum := 0
	for _, line := range r.lines {
		sum += len(line.Text)
	}
	if sum != r.bytes {
		t.Errorf("%d bytes are counted, and there are %d", r.bytes, sum)
	}
}
