package relay

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/wire"
)

// BenchmarkRelayHostile has twenty connections of one address send the costliest chain
// to the built relay, again and again, and measures the handshakes and messages of
// another address, with them and without, in alternating rounds. p95-times should be at
// most 2 for both. The load comes from this machine too: so elsewhere-times compares with
// rounds in which another relay gets it. At last it ends the relay under that load.
func BenchmarkRelayHostile(b *testing.B) {
	const samples = 100
	hostile := costliest(b)
	cred := wire.Delegate(b, wire.Person(b, "honest"), "honest")
	addr, pid := wire.Program(b)
	elsewhere, _ := wire.Program(b)
	ana, err := wire.Dial(b, addr, wire.Delegate(b, wire.Person(b, "ana"), "ana"), proto.TakesMessages)
	if err != nil {
		b.Fatal(err)
	}
	bruno, err := wire.Dial(b, addr, wire.Delegate(b, wire.Person(b, "bruno"), "bruno"), proto.TakesMessages)
	if err != nil {
		b.Fatal(err)
	}
	ana.Conn.SetDeadline(time.Time{})
	bruno.Conn.SetDeadline(time.Time{})
	next := func(c *wire.Client, typ string) {
		for m := c.Next(); m.Type != typ; m = c.Next() {
		}
	}
	probe := func(handshakes, messages *[]time.Duration) {
		for range samples {
			start := time.Now()
			c, err := shake(b, addr, "127.0.0.1", cred)
			for err != nil { // a busy relay asks to try again
				c, err = shake(b, addr, "127.0.0.1", cred)
			}
			*handshakes = append(*handshakes, time.Since(start))
			c.Close()
			for range 3 {
				start = time.Now()
				ana.To(bruno, strings.Repeat("x", wire.TextSize))
				next(bruno, proto.TypeClientCom)
				*messages = append(*messages, time.Since(start))
			}
		}
	}
	var none []time.Duration
	probe(&none, &none) // warm
	var quiet, apart, loaded [2][]time.Duration
	var refused atomic.Int64
	storm := func(addr string) (stop func()) {
		var over atomic.Bool
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				for !over.Load() {
					if _, err := shake(b, addr, "127.0.0.2", hostile); err == nil {
						b.Error("the stranger was let in")
					}
					refused.Add(1)
				}
			})
		}
		return func() { over.Store(true); all.Wait() }
	}
	took, done := time.Duration(0), int64(0)
	for range b.N {
		for range 5 {
			probe(&quiet[0], &quiet[1])
			stop := storm(elsewhere)
			time.Sleep(time.Second)
			probe(&apart[0], &apart[1])
			stop()
			stop = storm(addr)
			time.Sleep(time.Second) // the relay knows the address by now
			start, before := time.Now(), refused.Load()
			probe(&loaded[0], &loaded[1])
			took += time.Since(start)
			done += refused.Load() - before
			stop()
		}
	}
	for i, what := range []string{"handshake", "message"} {
		for _, p := range []int{50, 95} {
			without, with := percentile(quiet[i], p), percentile(loaded[i], p)
			b.ReportMetric(without, fmt.Sprintf("%s-p%d-us", what, p))
			b.ReportMetric(with, fmt.Sprintf("%s-loaded-p%d-us", what, p))
			b.ReportMetric(with/without, fmt.Sprintf("%s-p%d-times", what, p))
			b.ReportMetric(with/percentile(apart[i], p), fmt.Sprintf("%s-p%d-elsewhere-times", what, p))
		}
	}
	b.ReportMetric(float64(done)/took.Seconds(), "refused/s")
	stop := storm(addr)
	start := time.Now()
	syscall.Kill(pid, syscall.SIGTERM)
	for {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			break
		}
		time.Sleep(time.Millisecond)
	}
	b.ReportMetric(time.Since(start).Seconds(), "end-s")
	stop()
}

func percentile(times []time.Duration, p int) (us float64) {
	slices.Sort(times)
	return float64(times[len(times)*p/100].Nanoseconds()) / 1000
}

// shake shakes hands from an address of this machine.
func shake(b *testing.B, addr, from string, cred *wire.Cred) (*wire.Client, error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := dialer.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	c, err := wire.Handshake(b, conn, &wire.HandshakePlan{Cred: cred, Takes: proto.TakesNone, Ciphers: []string{crypto.SuiteMLKEM}})
	if err != nil {
		conn.Close()
	}
	return c, err
}

// costliest is a bundle of a stranger's: three authorities that sign for each other, with
// slow keys, and that nobody trusts.
func costliest(b *testing.B) *wire.Cred {
	b.Helper()
	other, err := lab.New(lab.Options{CAKey: lab.P521})
	if err != nil {
		b.Fatal(err)
	}
	var first [3]*lab.CA
	var chain [][]byte
	name := func(i int) string { return fmt.Sprint("Stranger ", i) }
	for i := range first {
		if first[i], err = other.NewCA(nil, lab.DN("CN", name(i))); err != nil {
			b.Fatal(err)
		}
	}
	chain = append(chain, first[0].Cert.Raw)
	for i := range first {
		for j := range first {
			if i == j {
				continue
			}
			ca, err := other.NewCA(first[j], lab.DN("CN", name(i)), lab.WithKey(first[i].Key))
			if err != nil {
				b.Fatal(err)
			}
			chain = append(chain, ca.Cert.Raw)
		}
	}
	h, err := other.Issue("stranger", lab.P521, lab.By(first[0]))
	if err != nil {
		b.Fatal(err)
	}
	cred := wire.Delegate(b, h, "stranger")
	cred.Bundle.Chain = chain
	if err := cred.Bundle.Check(); err != nil {
		b.Fatal(err)
	}
	return cred
}
