package relay

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"
)

// Bounds of the log lines that visitors and people provoke: a burst, and then one in a time.
// So one address or person adds some 30 MiB a day at most, and all strangers together 300.
const (
	lineBurst     = 512            // twice the connections that one person may have
	lineEvery     = time.Second    // of one source
	strangerEvery = lineEvery / 16 // of all strangers
	maxSources    = 4096           // that are remembered; the others share one place
)

// journal writes lines about sources of one kind, the networks of strangers or the identities of
// people, which can provoke them without end. It counts the lines that it leaves out. Safe for
// concurrent use.
type journal[K comparable] struct {
	strangers bool // all together are paced, too

	mu      sync.Mutex // guards the fields below
	sources map[K]time.Time
	all     time.Time
	swept   time.Time
	untold  int // lines since the last one written
}

// write writes a line about a source unless there were too many. The next line tells how many were
// left out.
func (j *journal[K]) write(source K, level slog.Level, log *slog.Logger, message string, fields ...any) {
	j.mu.Lock()
	now := time.Now()
	if _, known := j.sources[source]; !known && len(j.sources) >= maxSources {
		if now.Sub(j.swept) >= lineEvery {
			maps.DeleteFunc(j.sources, func(_ K, next time.Time) bool { return !next.After(now) })
			j.swept = now
		}
		if len(j.sources) >= maxSources {
			source = *new(K)
		}
	}
	if j.sources == nil {
		j.sources = make(map[K]time.Time)
	}
	next, ok := paced(j.sources[source], now, lineBurst, lineEvery)
	if j.strangers && ok {
		j.all, ok = paced(j.all, now, lineBurst, strangerEvery)
	}
	untold := j.untold
	if j.sources[source] = next; !ok {
		j.untold++
	} else {
		j.untold = 0
	}
	j.mu.Unlock()
	if !ok {
		return
	}
	if untold > 0 {
		fields = append(fields, "untold", untold)
	}
	log.Log(context.Background(), level, message, fields...)
}

// paced lets a burst through, and then one in a time. next is the time when all are paid off.
func paced(next, now time.Time, burst int, every time.Duration) (time.Time, bool) {
	if next.Before(now) {
		next = now
	}
	if next.Sub(now) >= time.Duration(burst)*every {
		return next, false
	}
	return next.Add(every), true
}
