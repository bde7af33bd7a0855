package attack

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/client"
	"chatsecure/internal/history"
	"chatsecure/testdata/lab/contest"
	"chatsecure/testdata/lab/people"
	"chatsecure/testdata/lab/wire"
)

// barePingPong times n round trips of a 200-byte line through the bare relay.
func barePingPong(b *testing.B, n int) []time.Duration {
	b.Helper()
	one, other := contest.Bare(b)
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

// BenchmarkSendToRead times one message from Send to its READ receipt, warm. Its floor is two
// signatures, two verifications, and the ping-pong of the bare relay.
func BenchmarkSendToRead(b *testing.B) {
	town := newBenchTown(b, "alice", "bob")
	alice, bob := town.client("alice", quiet), town.client("bob", quiet)
	text := strings.Repeat("x", wire.TextSize)
	ctx := context.Background()
	send := func(n int) (times []time.Duration) {
		for range n {
			start := time.Now()
			if _, err := alice.Send(ctx, []string{"bob"}, text); err != nil {
				b.Fatal(err)
			}
			alice.Wait(ctx, history.StatusRead)
			times = append(times, time.Since(start))
		}
		return times
	}
	send(200)
	_ = bob
	contest.Measure(b, func(report contest.Report) {
		bare := percentile(barePingPong(b, 1000), 50)
		floor := bare + 2*signAndVerify(b)
		own := contest.Own(b)
		times := send(1000)
		own = contest.Own(b) - own
		p50 := percentile(times, 50)
		report("now-p50-us", p50)
		report("now-p95-us", percentile(times, 95))
		report("now-cpu-us", own/1e3/float64(len(times)))
		report("bare-p50-us", bare)
		report("floor-us", floor)
		report("now/floor", p50/floor)
		if then := contest.Then(b, ".", "^BenchmarkSendToRead$", "1000x"); then != nil {
			report("then-p50-us", then["p50-us"])
			report("now/then", p50/then["p50-us"])
		}
	})
}

// signAndVerify returns the time of one signature of a K and its verification, in microseconds.
func signAndVerify(b *testing.B) float64 {
	b.Helper()
	key, text := people.Key(b, trust.KeyEd25519), make([]byte, 300)
	public := key.Public()
	var times []time.Duration
	for range 200 {
		start := time.Now()
		if !public.Verify(text, key.Sign(text)) {
			b.Fatal("the signature does not hold")
		}
		times = append(times, time.Since(start))
	}
	return float64(contest.Median(times).Nanoseconds()) / 1e3
}

func quiet(cfg *client.Config) { cfg.Receipts = false }

// benchLines is the number of lines in one turn of BenchmarkSendLines.
const benchLines = 100_000

// BenchmarkSendLines sends 100-byte lines until all are READ: signed, receipted and in both
// histories. The bare relay carries the same lines, flushed one by one.
func BenchmarkSendLines(b *testing.B) {
	town := newBenchTown(b, "alice", "bob")
	town.forget = true
	alice, bob := town.client("alice", quiet), town.client("bob", quiet)
	text := strings.Repeat("x", 100)
	ctx := context.Background()
	alice.mustSend(text, "bob")
	alice.mustSettle(history.StatusRead)
	_ = bob
	contest.Measure(b, func(report contest.Report) {
		own, start := contest.Own(b), time.Now()
		for range benchLines {
			if _, err := alice.Send(ctx, []string{"bob"}, text); err != nil {
				b.Fatal(err)
			}
		}
		if out := alice.Wait(ctx, history.StatusRead); len(out.Failed) > 0 {
			b.Fatal(out.Failed)
		}
		rate := benchLines / time.Since(start).Seconds()
		cpu := contest.Own(b) - own
		report("now-lines/s", rate)
		report("now-cpu-ns/line", cpu/benchLines)
		own = contest.Own(b)
		bare := bareLines(b, benchLines)
		report("bare-lines/s", bare)
		report("bare-cpu-ns/line", (contest.Own(b)-own)/benchLines)
		report("now/bare", rate/bare)
		if then := contest.Then(b, ".", "^BenchmarkSendLines$", fmt.Sprint(benchLines, "x")); then != nil {
			report("then-lines/s", then["lines/s"])
			report("now/then", rate/then["lines/s"])
		}
	})
}

// bareLines returns the rate, in lines a second, at which 100-byte lines written one by one cross
// the bare relay.
func bareLines(b *testing.B, n int) float64 {
	b.Helper()
	one, other := contest.Bare(b)
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
