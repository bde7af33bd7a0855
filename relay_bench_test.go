package chatsecure

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"chatsecure/canon"
	"chatsecure/crypto"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
)

// relayBenchText is how many bytes of text a line carries.
const relayBenchText = 200

// relayBenchSuite leaves the default suite alone: making RSA keys for the
// others in the background would be measured too.
func relayBenchSuite(cfg *RelayConfig) { cfg.Ciphers = []string{crypto.SuiteMLKEM} }

// BenchmarkRelayThroughput passes lines of 200 bytes from one connection to
// another, many in flight, each written by itself as a chat's are, and once
// more through a relay that only copies lines. Both relays run in this process
// beside those who feed and read them, so the numbers are not those of a relay
// that has its machine to itself; their ratio is what sealing, checking and
// acknowledging every line costs.
func BenchmarkRelayThroughput(b *testing.B) {
	checkLeaks(b) // of the bare relay, too
	lines := make([][]byte, b.N)
	text := bytes.Repeat([]byte("x"), relayBenchText)
	for i := range lines {
		lines[i] = append(text[:relayBenchText:relayBenchText], '\n')
	}
	bare := relayBenchBare(b, lines)
	b.StopTimer()

	rt := startRelayTest(b, relayBenchSuite)
	from, to := rt.join("from"), rt.join("to")
	from.conn.SetDeadline(time.Time{})
	to.conn.SetDeadline(time.Time{})
	header := canon.MustMarshal(&proto.Header{Type: proto.TypeClientCom, Dst: to.name, DstID: to.id})
	payload := proto.AppendPayload(nil, header, nil, text)
	for i := range lines {
		lines[i] = from.line(payload)
	}
	// The sender keeps to its window, which is counted in bodies.
	const window = proto.RelayWindow / relayBenchText
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
	b.StartTimer()
	begin := time.Now()
	done := make(chan error, 1)
	go func() { done <- relayBenchCount(to.conn, b.N) }()
	for i, line := range lines {
		for int64(i)-acked.Load() >= min(window, proto.RelayMessages) {
			<-more
		}
		if _, err := from.conn.Write(line); err != nil {
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

// relayBenchCount reads n lines and throws them away.
func relayBenchCount(r io.Reader, n int) error {
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

// relayBenchBare passes the lines through a relay that copies lines, and
// returns how many it did a second.
func relayBenchBare(b *testing.B, lines [][]byte) float64 {
	b.Helper()
	from, to := relayBenchBareRelay(b)
	begin := time.Now()
	done := make(chan error, 1)
	go func() { done <- relayBenchCount(to, len(lines)) }()
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

// relayBenchBareRelay connects two clients to a relay that copies each one's
// lines to the other, and flushes when no further line is there.
func relayBenchBareRelay(b *testing.B) (one, two net.Conn) {
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

// BenchmarkRelayPingPong is the time of one line there and one back through
// the relay, sealed and opened at both ends, and BenchmarkRelayPingPongBare that
// through a relay that only copies lines.
func BenchmarkRelayPingPong(b *testing.B) {
	rt := startRelayTest(b, relayBenchSuite)
	ping, pong := rt.join("ping"), rt.join("pong")
	text := strings.Repeat("x", relayBenchText)
	for _, c := range []*relayTestClient{ping, pong} {
		c.conn.SetDeadline(time.Time{})
	}
	next := func(c *relayTestClient) error {
		for {
			if m, err := c.read(); err != nil || m.Type == proto.TypeClientCom {
				return err
			}
		}
	}
	go func() {
		for next(pong) == nil {
			if _, err := pong.conn.Write(pong.line(proto.AppendPayload(nil, canon.MustMarshal(&proto.Header{Type: proto.TypeClientCom, Dst: "ping", DstID: ping.id}), nil, []byte(text)))); err != nil {
				return
			}
		}
	}()
	for b.Loop() {
		ping.to(pong, text)
		if err := next(ping); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRelayPingPongBare(b *testing.B) {
	one, two := relayBenchBareRelay(b)
	line := append(bytes.Repeat([]byte("x"), relayBenchText), '\n')
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

// BenchmarkRelayIdle is what a connection at rest costs the real program in
// resident memory, everybody with a certificate of their own: 10,000 of them,
// or as many as this process may have descriptors for.
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
	creds := make([]*relayTestCred, n)
	for i := range creds {
		name := fmt.Sprintf("user%d", i)
		creds[i] = relayTestDelegate(b, relayTestPerson(b, name, lab.WithKey(key)), name)
	}
	for b.Loop() {
		addr, pid := relayBenchProgram(b)
		runtime.GC()
		before := relayBenchRSS(b, pid)
		var next atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
					if _, err := relayTestDial(b, addr, creds[i], proto.TakesMessages); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		after := relayBenchRSS(b, pid)
		b.ReportMetric(float64(after-before)/float64(n), "B/conn-at-once")
		// The program gives memory back in the background.
		time.Sleep(5 * time.Second)
		b.ReportMetric(float64(relayBenchRSS(b, pid)-before)/float64(n), "B/conn")
		b.ReportMetric(float64(n), "conns")
	}
}

// relayBenchProgram builds and starts the relay.
func relayBenchProgram(b *testing.B) (addr string, pid int) {
	b.Helper()
	dir := b.TempDir()
	if err := relayTestLab().Write(dir); err != nil {
		b.Fatal(err)
	}
	program, addrFile := filepath.Join(dir, "relay"), filepath.Join(dir, "addr")
	if out, err := exec.Command("go", "build", "-o", program, "./cmd/relay").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(program, "-listen", "127.0.0.1:0", "-state", filepath.Join(dir, "state"), "-ca-bundle", filepath.Join(dir, "ca-bundle.pem"), "-addr-file", addrFile)
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
	return addr, cmd.Process.Pid
}

// relayBenchRSS returns a process's resident memory in bytes.
func relayBenchRSS(b *testing.B, pid int) int64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return kb << 10
		}
	}
	b.Fatal("no VmRSS")
	return 0
}
