package relay

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestLogIsPaced: neither one source nor all strangers fill the log, no source hides another's
// lines, and the lines left out are counted.
func TestLogIsPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, nil))
		visitors, people := journal[int]{strangers: true}, journal[string]{}
		lines := func(do func()) (n int, text string) {
			out.Reset()
			do()
			return strings.Count(out.String(), "\n"), out.String()
		}
		flood := func(sources, each int) func() {
			return func() {
				for i := range sources * each {
					visitors.write(i%sources, slog.LevelInfo, log, "refused")
				}
			}
		}
		if n, _ := lines(flood(1, 10_000)); n != lineBurst {
			t.Errorf("%d lines about one source", n)
		}
		if n, text := lines(func() { people.write("a person", slog.LevelInfo, log, "connected") }); n != 1 || strings.Contains(text, "untold") {
			t.Errorf("beside it: %q", text)
		}
		if n, text := lines(flood(1, 1)); n != 0 {
			t.Errorf("beyond it: %q", text)
		}
		time.Sleep(2 * lineEvery)
		if n, text := lines(flood(1, 1)); n != 1 || !strings.Contains(text, fmt.Sprint("untold=", 10_000-lineBurst+1)) {
			t.Errorf("after a rest: %q", text)
		}
		time.Sleep(lineBurst * lineEvery)
		if n, _ := lines(flood(10*maxSources, 2)); n > 2*lineBurst || n < lineBurst {
			t.Errorf("%d lines about many strangers", n)
		}
		if len(visitors.sources) > maxSources+1 {
			t.Errorf("%d sources are remembered", len(visitors.sources))
		}
		if n, _ := lines(func() { people.write("another", slog.LevelInfo, log, "connected") }); n != 1 {
			t.Error("strangers hide a person")
		}
		start := time.Now()
		n, _ := lines(func() {
			for time.Since(start) < time.Hour {
				visitors.write(1, slog.LevelInfo, log, "refused")
				time.Sleep(100 * time.Millisecond)
			}
		})
		if most := int(time.Hour/lineEvery) + lineBurst + 1; n > most || n < most/2 {
			t.Errorf("%d lines in an hour, want up to %d", n, most)
		}
	})
}
