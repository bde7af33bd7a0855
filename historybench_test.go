package chatsecure

import (
	"fmt"
	"strings"
	"testing"

	cs "chatsecure/crypto"
)

// historyBatch is what a client stores for one received message with n records
// of 100 bytes of text. Each call of next gives it other ids, as far as the
// index of known records sees.
type historyBatch struct {
	o     *cs.Opened
	exact [][]byte
	sent  *cs.Sealed
}

func newHistoryBatch(p *historyPair, n int) *historyBatch {
	p.t.Helper()
	var records []*cs.Record
	for range n {
		records = append(records, cs.NewRecord(p.a.local.Identity, p.to(p.b), strings.Repeat("0123456789", 10), p.clock.Now()))
	}
	s, exact, err := p.ca.SealRecords(records, p.clock.Now())
	p.must(err)
	o, err := p.cb.Open(s.Body, p.clock.Now())
	p.must(err)
	p.cb.Commit(o)
	return &historyBatch{o, exact, s}
}

func (b *historyBatch) next(i int) {
	for j, r := range b.o.Records {
		r.ID = fmt.Sprintf("%016x%016x", i, j)
	}
}

func BenchmarkHistoryReceived(b *testing.B) {
	for _, n := range []int{1, 300} {
		b.Run(fmt.Sprintf("batch=%d", n), func(b *testing.B) {
			p := newHistoryPair(b)
			batch := newHistoryBatch(p, n)
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				batch.next(i)
				b.StartTimer()
				if err := p.b.h.Received(p.cb, batch.o); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/record")
		})
	}
}

func BenchmarkHistorySent(b *testing.B) {
	for _, n := range []int{1, 300} {
		b.Run(fmt.Sprintf("batch=%d", n), func(b *testing.B) {
			p := newHistoryPair(b)
			batch := newHistoryBatch(p, n)
			for b.Loop() {
				if err := p.a.h.Sent(p.ca, batch.sent, batch.exact); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/record")
		})
	}
}

// historyOf has so many records in its history, n to a message.
func historyOf(b *testing.B, records, n int) *historyPair {
	b.Helper()
	p := newHistoryPair(b)
	for range records / n {
		batch := newHistoryBatch(p, n)
		p.must(p.b.h.Received(p.cb, batch.o))
		p.must(p.b.h.Shown(p.cb.T3, p.cb.ReceivedSeq()))
	}
	p.close(p.b)
	return p
}

const benchRecords = 100_000

func BenchmarkHistoryVerify(b *testing.B) {
	for _, n := range []int{1, 300} {
		b.Run(fmt.Sprintf("batch=%d", n), func(b *testing.B) {
			p := historyOf(b, benchRecords, n)
			for b.Loop() {
				if r := verified(b, p.b.dir, p.verifier); !r.OK() {
					b.Fatal(r.Findings)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*benchRecords), "ns/record")
		})
	}
}

// How long a client that takes messages waits for its history at start, how
// long a one-shot sender, and how long a listing takes.
func BenchmarkHistoryOpen(b *testing.B) {
	p := historyOf(b, benchRecords, 300)
	for name, receiving := range map[string]bool{"receiver": true, "one-shot": false} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				h, _, err := OpenHistory(p.b.dir, receiving, p.clock.Now)
				if err != nil {
					b.Fatal(err)
				}
				h.Unshown()
				b.StopTimer()
				if err := h.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			if m, _, err := ReadHistory(p.b.dir); err != nil || len(m) == 0 {
				b.Fatal(err)
			}
		}
	})
}
