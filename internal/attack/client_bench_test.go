package attack

import (
	"bufio"
	"cmp"
	"context"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chatsecure/internal/client"
	"chatsecure/internal/history"
)

// bareRelay copies each line of one connection to the other and flushes when nothing more is there
// to read: the least that a relay can cost.
func bareRelay(b *testing.B) (addr string) {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { ln.Close() })
	go func() {
		for {
			one, err := ln.Accept()
			if err != nil {
				return
			}
			other, err := ln.Accept()
			if err != nil {
				return
			}
			go copyLines(one, other)
			go copyLines(other, one)
		}
	}()
	return ln.Addr().String()
}

func copyLines(from, to net.Conn) {
	defer to.Close()
	r, w := bufio.NewReaderSize(from, 64<<10), bufio.NewWriterSize(to, 64<<10)
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		w.Write(line)
		if r.Buffered() == 0 && w.Flush() != nil {
			return
		}
	}
}

// barePingPong times n round trips of a 200-byte line through the bare relay.
func barePingPong(b *testing.B, n int) []time.Duration {
	b.Helper()
	addr := bareRelay(b)
	one, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer one.Close()
	other, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer other.Close()
	go io.Copy(other, other)
	line := []byte(strings.Repeat("x", 199) + "\n")
	r := bufio.NewReader(one)
	var times []time.Duration
	for range n {
		start := time.Now()
		one.Write(line)
		if _, err := r.ReadSlice('\n'); err != nil {
			b.Fatal(err)
		}
		times = append(times, time.Since(start))
	}
	return times
}

// percentile returns the p-th percentile in microseconds.
func percentile(times []time.Duration, p int) float64 {
	slices.SortFunc(times, func(a, b time.Duration) int { return cmp.Compare(a, b) })
	return float64(times[len(times)*p/100].Nanoseconds()) / 1e3
}

// BenchmarkSendToRead times one message from Send to its READ receipt, warm, against the bare
// relay's ping-pong in the same run.
func BenchmarkSendToRead(b *testing.B) {
	town := newBenchTown(b, "alice", "bob")
	alice, bob := town.client("alice", quiet), town.client("bob", quiet)
	text := strings.Repeat("x", 200)
	ctx := context.Background()
	for range 200 {
		alice.mustSend(text, "bob")
		alice.mustSettle(history.StatusRead)
	}
	_ = bob
	bare := barePingPong(b, 2000)
	var times []time.Duration
	b.ResetTimer()
	for range b.N {
		start := time.Now()
		if _, err := alice.Send(ctx, []string{"bob"}, text); err != nil {
			b.Fatal(err)
		}
		alice.Wait(ctx, history.StatusRead)
		times = append(times, time.Since(start))
	}
	b.StopTimer()
	p50, bare50 := percentile(times, 50), percentile(bare, 50)
	b.ReportMetric(p50, "p50-us")
	b.ReportMetric(percentile(times, 95), "p95-us")
	b.ReportMetric(bare50, "bare-p50-us")
	b.ReportMetric(percentile(bare, 95), "bare-p95-us")
	b.ReportMetric(p50/bare50, "times-bare")
}

func quiet(cfg *client.Config) { cfg.Receipts = false }

// BenchmarkSendLines sends 100-byte lines until all are READ: signed, receipted and in both
// histories. One operation is one line. The bare relay carries the same lines, flushed one by one,
// in the same run.
func BenchmarkSendLines(b *testing.B) {
	town := newBenchTown(b, "alice", "bob")
	alice, bob := town.client("alice", quiet), town.client("bob", quiet)
	text := strings.Repeat("x", 100)
	ctx := context.Background()
	alice.mustSend(text, "bob")
	alice.mustSettle(history.StatusRead)
	_ = bob
	b.ResetTimer()
	for range b.N {
		if _, err := alice.Send(ctx, []string{"bob"}, text); err != nil {
			b.Fatal(err)
		}
	}
	if out := alice.Wait(ctx, history.StatusRead); len(out.Failed) > 0 {
		b.Fatal(out.Failed)
	}
	b.StopTimer()
	rate := float64(b.N) / b.Elapsed().Seconds()
	b.ReportMetric(rate, "lines/s")
	bare := bareLines(b, b.N)
	b.ReportMetric(bare, "bare-lines/s")
	b.ReportMetric(rate/bare, "of-bare")
}

// bareLines returns the rate, in lines a second, at which 100-byte lines written one by one cross
// the bare relay.
func bareLines(b *testing.B, n int) float64 {
	b.Helper()
	addr := bareRelay(b)
	one, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer one.Close()
	other, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer other.Close()
	line := []byte(strings.Repeat("x", 99) + "\n")
	start := time.Now()
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := io.CopyN(io.Discard, other, int64(n*len(line))); err != nil {
			b.Error(err)
		}
	})
	for range n {
		if _, err := one.Write(line); err != nil {
			b.Fatal(err)
		}
	}
	wg.Wait()
	return float64(n) / time.Since(start).Seconds()
}
