package history

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// longMessages are those of a history of years, in conversations of longTalk messages each.
const longMessages, longTalk = 200_000, 1000

// longHistory is a receiver's, closed.
func longHistory(b *testing.B) *pair {
	b.Helper()
	p := newPair(b)
	p.a.Keeps = nil
	for i := range longMessages {
		if i%longTalk == 0 && i > 0 {
			p.Connect()
		}
		p.SendRecords(p.record(fmt.Sprintf("message %d %s", i, strings.Repeat("0123456789", 10)), to(p.b)))
		if i%10 == 9 {
			p.Must(p.b.h.Shown(p.Cb.T3, p.Cb.SendDirection(), p.Cb.ReceivedSeq()))
		}
		if i%8 == 0 {
			p.Clock.Add(-7e9) // else the bundles end
		}
	}
	p.close(p.b)
	return p
}

// BenchmarkHistoryLong times what people do with a history of years.
func BenchmarkHistoryLong(b *testing.B) {
	p := longHistory(b)
	list := func(q Query, want int) func(b *testing.B) {
		return func(b *testing.B) {
			processorTime(b, func() {
				l, err := Read(p.b.dir, q)
				if err != nil || len(l.Messages) != want || len(l.Problems) > 0 {
					b.Fatalf("%d messages, %v, %v", len(l.Messages), l.Problems, err)
				}
			})
		}
	}
	b.Run("last 50", list(Query{N: 50}, 50))
	b.Run("grep", list(Query{Grep: "message 1234 "}, 1))
	b.Run("all", list(Query{}, longMessages))
	b.Run("verify", func(b *testing.B) {
		processorTime(b, func() {
			if r := verified(b, p.b.dir, p.Verifier); !r.OK() || r.Messages != longMessages {
				b.Fatal(r.Findings)
			}
		})
	})
}

// processorTime reports the processor time of f beside the time on the clock, which others on the
// machine share.
func processorTime(b *testing.B, f func()) {
	used := func() (d time.Duration) {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	b.ReportAllocs()
	before := used()
	for b.Loop() {
		f()
	}
	b.ReportMetric(float64((used()-before).Milliseconds())/float64(b.N), "cpu-ms/op")
}
