package chatsecure

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"chatsecure/canon"
	"chatsecure/crypto"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
)

// These benchmarks are run in the last commit with wire format 1, of which the helpers are.
// Its own share one process with the relay; these start the program that it ships.

// thenProgram starts the relay for the lab in dir, and returns its address and its
// processor time in nanoseconds.
func thenProgram(b *testing.B, dir string, options ...string) (addr string, used func() float64) {
	b.Helper()
	program, addrFile := "./bench-relay", filepath.Join(dir, "addr") // built once
	if out, err := exec.Command("go", "build", "-o", program, "./cmd/relay").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(program, append([]string{"-listen", "127.0.0.1:0", "-addr-file", addrFile, "-ciphers", crypto.SuiteMLKEM,
		"-state", filepath.Join(dir, "state"), "-ca-bundle", filepath.Join(dir, "ca-bundle.pem")}, options...)...)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	relayTestUntil(b, "the relay's address", func() bool {
		text, err := os.ReadFile(addrFile)
		addr = strings.TrimSpace(string(text))
		return err == nil
	})
	time.Sleep(2 * time.Second) // by then it has adjusted its garbage collector
	return addr, func() (sum float64) {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", cmd.Process.Pid))
		for _, thread := range threads {
			stat, _ := os.ReadFile(thread)
			var ran float64
			fmt.Sscan(string(stat), &ran)
			sum += ran
		}
		return sum
	}
}

func BenchmarkThenConnect(b *testing.B) {
	for ca, authority := range map[string]lab.KeyType{"rsa4096": lab.RSA4096, "p384": lab.P384} {
		for _, who := range []string{"known", "new"} {
			b.Run(ca+"/"+who, func(b *testing.B) { thenConnect(b, authority, who == "new") })
		}
	}
}

func thenConnect(b *testing.B, ca lab.KeyType, fresh bool) {
	p, err := relayBenchLab(ca)
	if err != nil {
		b.Fatal(err)
	}
	first, err := p.Issue("ana", lab.RSA2048)
	if err != nil {
		b.Fatal(err)
	}
	creds := make([]*relayTestCred, b.N)
	for i := range creds {
		h := first
		if fresh {
			if h, err = p.Issue("ana", lab.RenewalOf(first), lab.WithKey(first.Key)); err != nil {
				b.Fatal(err)
			}
		}
		creds[i] = relayTestDelegate(b, h, "ana")
	}
	dir := b.TempDir()
	if err := p.Write(dir); err != nil {
		b.Fatal(err)
	}
	addr, used := thenProgram(b, dir, "-crl", filepath.Join(dir, "crl"))
	relayBenchConnect(b, addr, []*relayTestCred{relayTestDelegate(b, first, "ana")}) // takes the name
	before := used()
	b.ResetTimer()
	relayBenchConnect(b, addr, creds)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "connects/s")
	b.ReportMetric((used()-before)/1e3/float64(b.N), "cpu-us")
}

func BenchmarkThenThroughput(b *testing.B) {
	dir := b.TempDir()
	if err := relayTestLab().Write(dir); err != nil {
		b.Fatal(err)
	}
	addr, used := thenProgram(b, dir)
	join := func(name string) *relayTestClient {
		c, err := relayTestDial(b, addr, relayTestDelegate(b, relayTestPerson(b, name), name), proto.TakesMessages)
		if err != nil {
			b.Fatal(err)
		}
		c.conn.SetDeadline(time.Time{})
		return c
	}
	from, to := join("from"), join("to")
	header := canon.MustMarshal(&proto.Header{Type: proto.TypeClientCom, Dst: to.name, DstID: to.id})
	payload := proto.AppendPayload(nil, header, nil, bytes.Repeat([]byte("x"), relayBenchText))
	lines := make([][]byte, b.N)
	for i := range lines {
		lines[i] = from.line(payload)
	}
	var acked atomic.Int64
	more := make(chan struct{}, 1)
	go func() {
		for {
			m, err := from.read()
			if err != nil {
				return
			}
			if m.Type == proto.TypeAck && m.Answers != nil {
				acked.Store(int64(*m.Answers) + 1)
				select {
				case more <- struct{}{}:
				default:
				}
			}
		}
	}()
	before := used()
	b.ResetTimer()
	done := make(chan error, 1)
	go func() { done <- relayBenchCount(to.conn, b.N) }()
	for i, line := range lines {
		// The sender keeps to its window, which is counted in bodies.
		for int64(i)-acked.Load() >= min(proto.RelayWindow/relayBenchText, proto.RelayMessages) {
			<-more
		}
		if _, err := from.conn.Write(line); err != nil {
			b.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lines/s")
	b.ReportMetric((used()-before)/float64(b.N), "cpu-ns/line")
}
