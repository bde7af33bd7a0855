package relay

import (
	"bufio"
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
	"chatsecure/testdata/lab/leaks"
	"chatsecure/testdata/lab/wire"
)

// benchSuite allows only the default suite. For the others RSA keys would be made in
// the background, and measured too.
func benchSuite(cfg *Config) { cfg.Ciphers = []string{crypto.SuiteMLKEM} }

// BenchmarkRelayThroughput passes lines of 200 bytes from one connection to another,
// many in flight, each in a write of its own like the lines of a chat. It does so once
// more through a relay that only copies lines. Both relays share this process with
// their clients, so neither number is that of a relay with a machine to itself. Their
// ratio is the cost of sealing, checking and acknowledging each line.
func BenchmarkRelayThroughput(b *testing.B) {
	leaks.Check(b) // of the bare relay, too
	lines := make([][]byte, b.N)
	text := bytes.Repeat([]byte("x"), wire.TextSize)
	for i := range lines {
		lines[i] = append(text[:wire.TextSize:wire.TextSize], '\n')
	}
	bare := benchBare(b, lines)
	b.StopTimer()

	rt := start(b, benchSuite)
	from, to := rt.Join("from"), rt.Join("to")
	from.Conn.SetDeadline(time.Time{})
	to.Conn.SetDeadline(time.Time{})
	header := proto.MustMarshal(&proto.Header{Type: proto.TypeClientCom, Dst: to.Name, DstID: to.ID})
	payload := proto.AppendPayload(nil, header, nil, text)
	for i := range lines {
		lines[i] = from.Line(payload)
	}
	// The sender keeps to its window, which counts bodies.
	const window = proto.RelayWindow / wire.TextSize
	var acked atomic.Int64
	more := make(chan struct{}, 1)
	go func() {
		for {
			m, err := from.Read()
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
	b.StartTimer()
	begin := time.Now()
	done := make(chan error, 1)
	go func() { done <- benchCount(to.Conn, b.N) }()
	for i, line := range lines {
		for int64(i)-acked.Load() >= min(window, proto.RelayMessages) {
			<-more
		}
		if _, err := from.Conn.Write(line); err != nil {
			b.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	took := time.Since(begin)
	b.StopTimer()
	relay := float64(b.N) / took.Seconds()
	b.ReportMetric(relay, "relay-lines/s")
	b.ReportMetric(bare, "bare-lines/s")
	b.ReportMetric(relay/bare, "relay/bare")
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

// benchBare passes the lines through a relay that only copies them, and returns its
// rate in lines a second.
func benchBare(b *testing.B, lines [][]byte) float64 {
	b.Helper()
	from, to := benchBareRelay(b)
	begin := time.Now()
	done := make(chan error, 1)
	go func() { done <- benchCount(to, len(lines)) }()
	for _, line := range lines {
		if _, err := from.Write(line); err != nil {
			b.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	return float64(len(lines)) / time.Since(begin).Seconds()
}

// benchBareRelay connects two clients to a relay that copies the lines of each to the
// other, and flushes when it has no further line.
func benchBareRelay(b *testing.B) (one, two net.Conn) {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	var ends [4]net.Conn
	for i := range 2 {
		if ends[i], err = net.Dial("tcp", ln.Addr().String()); err != nil {
			b.Fatal(err)
		}
		if ends[2+i], err = ln.Accept(); err != nil {
			b.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	pass := func(from, to net.Conn) {
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
	wg.Go(func() { pass(ends[2], ends[3]) })
	wg.Go(func() { pass(ends[3], ends[2]) })
	b.Cleanup(func() {
		for _, c := range ends {
			c.Close()
		}
		wg.Wait()
	})
	return ends[0], ends[1]
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
	one, two := benchBareRelay(b)
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
// rest. It has 10,000 connections, or as many as this process has descriptors for,
// and a certificate for each.
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
	creds := make([]*wire.Cred, n)
	for i := range creds {
		name := fmt.Sprintf("user%d", i)
		creds[i] = wire.Delegate(b, wire.Person(b, name, lab.WithKey(key)), name)
	}
	for b.Loop() {
		addr, pid := wire.Program(b)
		runtime.GC()
		before := leaks.Resident(b, pid)
		var next atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
					if _, err := wire.Dial(b, addr, creds[i], proto.TakesMessages); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		after := leaks.Resident(b, pid)
		b.ReportMetric(float64(after-before)/float64(n), "B/conn-at-once")
		// The program gives memory back in the background.
		time.Sleep(5 * time.Second)
		b.ReportMetric(float64(leaks.Resident(b, pid)-before)/float64(n), "B/conn")
		b.ReportMetric(float64(n), "conns")
	}
}
