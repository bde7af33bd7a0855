package relay

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/contest"
	"chatsecure/testdata/lab/leaks"
	"chatsecure/testdata/lab/wire"
)

// benchSuite allows only the default suite. For the others RSA keys would be made in
// the background, and measured too.
func benchSuite(cfg *Config) { cfg.Ciphers = []string{crypto.SuiteMLKEM} }

// BenchmarkRelayThroughput passes lines of 200 bytes from one connection to another
// through the built relay, many in flight, each in a write of its own like the lines
// of a chat. It does so once more through a process that only copies lines. Their
// ratio is the cost of sealing, checking and acknowledging each line.
func BenchmarkRelayThroughput(b *testing.B) {
	const n = 50_000 // lines in a turn
	// Without RSA suites, whose keys would be made in the background and measured too.
	addr, pid := wire.ProgramIn(b, wire.Files(b), "-ciphers", crypto.SuiteMLKEM)
	person := func(name string) *wire.Client {
		c, err := wire.Dial(b, addr, wire.Delegate(b, wire.Person(b, name), name), proto.TakesMessages)
		if err != nil {
			b.Fatal(err)
		}
		c.Conn.SetDeadline(time.Time{})
		return c
	}
	from, to := person("from"), person("to")
	bareFrom, bareTo, barePid := contest.BareProgram(b)
	text := bytes.Repeat([]byte("x"), wire.TextSize)
	header := proto.MustMarshal(&proto.Header{Type: proto.TypeClientCom, Dst: to.Name, DstID: to.ID})
	payload := proto.AppendPayload(nil, header, nil, text)
	bareLine := append(bytes.Clone(text), '\n')
	acks := &benchAcks{more: make(chan struct{}, 1)}
	go acks.read(from)
	contest.Measure(b, func(report contest.Report) {
		lines := make([][]byte, n)
		for i := range lines {
			lines[i] = from.Line(payload)
		}
		used, start := contest.Processor(b, pid), time.Now()
		acked := acks.count.Load()
		benchPass(b, to.Conn, lines, func(i int, line []byte) error {
			// The sender keeps to its window, which counts bodies.
			for int64(i)-(acks.count.Load()-acked) >= min(proto.RelayWindow/wire.TextSize, proto.RelayMessages) {
				<-acks.more
			}
			_, err := from.Conn.Write(line)
			return err
		})
		rate := n / time.Since(start).Seconds()
		used = contest.Processor(b, pid) - used
		report("now-lines/s", rate)
		report("now-cpu-ns/line", used/n)
		for i := range lines {
			lines[i] = bareLine
		}
		bareUsed, start := contest.Processor(b, barePid), time.Now()
		benchPass(b, bareTo, lines, func(_ int, line []byte) error {
			_, err := bareFrom.Write(line)
			return err
		})
		bare := n / time.Since(start).Seconds()
		bareUsed = contest.Processor(b, barePid) - bareUsed
		report("bare-lines/s", bare)
		report("bare-cpu-ns/line", bareUsed/n)
		report("now/bare", rate/bare)
		report("cpu-now/bare", used/bareUsed)
		if then := contest.Then(b, ".", "^BenchmarkThenThroughput$", fmt.Sprint(n, "x")); then != nil {
			report("then-lines/s", then["lines/s"])
			report("then-cpu-ns/line", then["cpu-ns/line"])
			report("then/bare", then["lines/s"]/bare)
			report("now/then", rate/then["lines/s"])
		}
	})
}

// benchAcks counts the lines that the relay has acknowledged.
type benchAcks struct {
	count atomic.Int64
	more  chan struct{} // capacity 1
}

func (a *benchAcks) read(from *wire.Client) {
	for {
		m, err := from.Read()
		if err != nil {
			return
		}
		if m.Type == proto.TypeAck && m.Answers != nil {
			a.count.Store(int64(*m.Answers) + 1)
			select {
			case a.more <- struct{}{}:
			default:
			}
		}
	}
}

// benchPass writes lines, and returns when all have arrived.
func benchPass(b *testing.B, to io.Reader, lines [][]byte, write func(i int, line []byte) error) {
	b.Helper()
	done := make(chan error, 1)
	go func() { done <- benchCount(to, len(lines)) }()
	for i, line := range lines {
		if err := write(i, line); err != nil {
			b.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

// benchCount reads n lines and throws them away.
func benchCount(r io.Reader, n int) error {
	buf := make([]byte, 256<<10)
	for n > 0 {
		m, err := r.Read(buf)
		if err != nil {
			return err
		}
		n -= bytes.Count(buf[:m], []byte("\n"))
	}
	return nil
}

// BenchmarkRelayPingPong is the time of one line there and one back through the
// relay, sealed and opened at both ends. BenchmarkRelayPingPongBare is the time
// through a relay that only copies lines.
func BenchmarkRelayPingPong(b *testing.B) {
	rt := start(b, benchSuite)
	ping, pong := rt.Join("ping"), rt.Join("pong")
	text := strings.Repeat("x", wire.TextSize)
	for _, c := range []*wire.Client{ping, pong} {
		c.Conn.SetDeadline(time.Time{})
	}
	next := func(c *wire.Client) error {
		for {
			if m, err := c.Read(); err != nil || m.Type == proto.TypeClientCom {
				return err
			}
		}
	}
	go func() {
		for next(pong) == nil {
			header := proto.MustMarshal(&proto.Header{Type: proto.TypeClientCom, Dst: "ping", DstID: ping.ID})
			if _, err := pong.Conn.Write(pong.Line(proto.AppendPayload(nil, header, nil, []byte(text)))); err != nil {
				return
			}
		}
	}()
	for b.Loop() {
		ping.To(pong, text)
		if err := next(ping); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRelayPingPongBare(b *testing.B) {
	one, two := contest.Bare(b)
	line := append(bytes.Repeat([]byte("x"), wire.TextSize), '\n')
	go func() {
		buf := make([]byte, len(line))
		for {
			if _, err := io.ReadFull(two, buf); err != nil {
				return
			}
			if _, err := two.Write(buf); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, len(line))
	for b.Loop() {
		if _, err := one.Write(line); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(one, buf); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRelayIdle is the resident memory of the real program for a connection at
// rest, and for one that names a mailbox. It has 10,000 connections, or as many as this
// process has descriptors for, and a certificate for each.
func BenchmarkRelayIdle(b *testing.B) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		b.Fatal(err)
	}
	n := int(min(10_100, limit.Cur)) - 100 // without a limit it is the largest number there is
	key, err := lab.RSA2048.Generate()
	if err != nil {
		b.Fatal(err)
	}
	plans := make([]*wire.HandshakePlan, n)
	for i := range plans {
		name := fmt.Sprintf("user%d", i)
		plans[i] = newDevice(b, wire.Person(b, name, lab.WithKey(key)), name).plan(proto.TakesMessages)
	}
	for b.Loop() {
		benchIdle(b, "conn-with-mailbox", plans)
		bare := make([]*wire.HandshakePlan, n)
		for i, plan := range plans {
			bare[i] = &wire.HandshakePlan{Cred: plan.Cred, Takes: plan.Takes}
		}
		benchIdle(b, "conn", bare)
		b.ReportMetric(float64(n), "conns")
	}
}

// benchIdle reports the memory of a new relay for each of these connections.
func benchIdle(b *testing.B, what string, plans []*wire.HandshakePlan) {
	addr, pid := wire.ProgramIn(b, wire.Files(b), "-ciphers", crypto.SuiteMLKEM) // see BenchmarkRelayThroughput
	runtime.GC()
	before := leaks.Resident(b, pid)
	var next atomic.Int64
	var wg sync.WaitGroup
	conns := make([]net.Conn, len(plans))
	for range 8 {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(plans); i = int(next.Add(1)) - 1 {
				conn, err := net.Dial("tcp", addr)
				if err == nil {
					conns[i] = conn
					_, err = wire.Handshake(b, conn, plans[i])
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	each := func() float64 { return float64(leaks.Resident(b, pid)-before) / float64(len(plans)) }
	b.ReportMetric(each(), "B/"+what+"-at-once")
	// The program gives memory back in the background.
	time.Sleep(5 * time.Second)
	b.ReportMetric(each(), "B/"+what)
	for _, conn := range conns {
		conn.Close()
	}
}
