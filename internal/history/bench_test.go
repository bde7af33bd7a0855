package history

import (
	"fmt"
	"strings"
	"testing"

	"chatsecure/crypto"
)

// batch is one received message with n records of 100 bytes of text, as a client
// stores it. Each call of next gives the records other ids, as far as the index of
// known records sees.
type batch struct {
	o     *crypto.Opened
	exact [][]byte
	sent  *crypto.Sealed
}

func newBatch(p *pair, n int) *batch {
	p.T.Helper()
	var records []*crypto.Record
	for range n {
		records = append(records, p.record(strings.Repeat("0123456789", 10), to(p.b)))
	}
	s, exact, err := p.Ca.SealRecords(records, p.Clock.Now())
	p.Must(err)
	o, err := p.Cb.Open(s.Body, p.Clock.Now())
	p.Must(err)
	p.Cb.Commit(o)
	return &batch{o, exact, s}
}

func (b *batch) next(i int) {
	for j, r := range b.o.Records {
		r.ID = fmt.Sprintf("%016x%016x", i, j)
		copy(b.o.ExactRecords[j][len(`{"id":"`):], r.ID)
	}
}

func BenchmarkHistoryReceived(b *testing.B) {
	for _, n := range []int{1, 300} {
		b.Run(fmt.Sprintf("batch=%d", n), func(b *testing.B) {
			p := newPair(b)
			batch := newBatch(p, n)
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				batch.next(i)
				b.StartTimer()
				if err := p.b.h.Received(p.Cb, batch.o); err != nil {
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
			p := newPair(b)
			batch := newBatch(p, n)
			for b.Loop() {
				if err := p.a.h.Sent(p.Ca, batch.sent, batch.exact); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/record")
		})
	}
}

// of is a pair where b's history has so many records, n to a message.
func of(b *testing.B, records, n int) *pair {
	b.Helper()
	p := newPair(b)
	for range records / n {
		batch := newBatch(p, n)
		p.Must(p.b.h.Received(p.Cb, batch.o))
		p.Must(p.b.h.Shown(p.Cb.T3, p.Cb.SendDirection(), p.Cb.ReceivedSeq()))
	}
	p.close(p.b)
	return p
}

const benchRecords = 100_000

func BenchmarkHistoryVerify(b *testing.B) {
	for _, n := range []int{1, 300} {
		b.Run(fmt.Sprintf("batch=%d", n), func(b *testing.B) {
			p := of(b, benchRecords, n)
			for b.Loop() {
				if r := verified(b, p.b.dir, p.Verifier); !r.OK() {
					b.Fatal(r.Findings)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*benchRecords), "ns/record")
		})
	}
}

// BenchmarkHistoryOpen times the opening by a client that takes messages and by a
// one-shot sender, and a listing.
func BenchmarkHistoryOpen(b *testing.B) {
	p := of(b, benchRecords, 300)
	for name, receiving := range map[string]bool{"receiver": true, "one-shot": false} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				cfg := p.config(p.b)
				cfg.Receiving = receiving
				h, _, err := Open(cfg)
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
			if l, err := Read(p.b.dir, Query{}); err != nil || len(l.Messages) == 0 {
				b.Fatal(err)
			}
		}
	})
}
