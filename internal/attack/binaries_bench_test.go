package attack

import (
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"chatsecure/testdata/lab/town"
)

// Benchmarks of the built programs, each beside a program that does less, in the same run.

// median returns the middle of the times, in milliseconds.
func median(times []time.Duration) float64 {
	slices.Sort(times)
	return float64(times[len(times)/2].Microseconds()) / 1e3
}

// openTLS starts openssl s_server on a free port with a lab certificate and returns its address.
func openTLS(b *testing.B, w *town.Town) (addr string) {
	b.Helper()
	card := w.Path("lab", "alice")
	for range 20 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		addr = ln.Addr().String()
		ln.Close()
		cmd := exec.Command("openssl", "s_server", "-quiet", "-tls1_3", "-accept", addr,
			"-cert", filepath.Join(card, "cert.pem"), "-key", filepath.Join(card, "key.pem"))
		// It ends a connection when its own standard input ends.
		hold, err := cmd.StdinPipe()
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { hold.Close() })
		if err := cmd.Start(); err != nil {
			b.Fatalf("openssl is needed for comparison: %v", err)
		}
		b.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		for range 200 {
			if conn, err := net.Dial("tcp", addr); err == nil {
				conn.Close()
				return addr
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	b.Fatal("openssl s_server does not listen")
	return ""
}

// BenchmarkColdSend times `client send -wait read` with a software card, from process start to
// exit, against an openssl s_client that shakes hands by TLS 1.3 and ends.
func BenchmarkColdSend(b *testing.B) {
	w := town.New(b, town.People("alice", "bob"))
	bob := collect(w.Receive("bob"))
	w.Must("", "alice", "send", "-wait", "read", "bob", "warm")
	addr := openTLS(b, w)
	var ours, tls []time.Duration
	for range b.N {
		cmd := w.Client("alice", "send", "-wait", "read", "bob", "hello")
		start := time.Now()
		if err := cmd.Run(); err != nil {
			b.Fatal(err)
		}
		ours = append(ours, time.Since(start))
		cmd = exec.Command("openssl", "s_client", "-tls1_3", "-quiet", "-no_ign_eof", "-connect", addr)
		cmd.Stdin = strings.NewReader("")
		start = time.Now()
		cmd.Run() // its status only says that it does not know the lab's root
		tls = append(tls, time.Since(start))
	}
	bob.Cmd.Process.Signal(syscall.SIGTERM)
	b.ReportMetric(median(ours), "median-ms")
	b.ReportMetric(float64(slices.Max(ours).Microseconds())/1e3, "max-ms")
	b.ReportMetric(median(tls), "openssl-ms")
	b.ReportMetric(median(ours)/median(tls), "of-openssl")
}

// randomFile writes so many random bytes to a file, none of them ASCII: s_client takes some letters
// for commands.
func randomFile(b *testing.B, path string, size int) {
	b.Helper()
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 1<<20)
	for range size / len(block) {
		rand.Read(block)
		for i := range block {
			block[i] |= 0x80
		}
		if _, err := f.Write(block); err != nil {
			b.Fatal(err)
		}
	}
}

// carry runs a receiver, whose output goes to /dev/null, and a sender that reads a file. It returns
// the time that this took, from the end of listening on, and the most memory that either had.
func carry(b *testing.B, file string, recv, send *exec.Cmd, listening func()) (took time.Duration, rss int64) {
	b.Helper()
	in, err := os.Open(file)
	if err != nil {
		b.Fatal(err)
	}
	defer in.Close()
	send.Stdin = in
	start := time.Now()
	if err := recv.Start(); err != nil {
		b.Fatal(err)
	}
	if listening != nil {
		listening()
		start = time.Now()
	}
	if err := send.Start(); err != nil {
		b.Fatal(err)
	}
	over, looked := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(looked)
		for {
			select {
			case <-over:
				return
			case <-time.After(50 * time.Millisecond):
			}
			for _, c := range []*exec.Cmd{recv, send} {
				n, _ := town.PeakResident(c.Process.Pid) // 0 for a process that has ended
				rss = max(rss, n)
			}
		}
	}()
	if err := send.Wait(); err != nil {
		b.Logf("%s: %v", send.Path, err)
	}
	took = time.Since(start)
	close(over)
	<-looked
	recv.Process.Signal(syscall.SIGTERM)
	recv.Wait()
	return took, rss
}

// BenchmarkPipeBinaries carries random bytes through `client pipe`, from a file to /dev/null, against
// nc and openssl s_client in the same run.
func BenchmarkPipeBinaries(b *testing.B) {
	const size = 256 << 20
	rate := func(took time.Duration, _ int64) float64 { return size / 1e6 / took.Seconds() }
	w := town.New(b, town.People("alice", "bob"))
	file := w.Path("random")
	randomFile(b, file, size)
	for range b.N {
		for _, suite := range []string{"MLKEM768X25519_AES256_GCM", "RSA_AES256_CBC_HMAC"} {
			took, rss := carry(b, file,
				w.Client("bob", "-ciphers", suite, "pipe", "-recv", "-wait-peer", "20s", "alice"),
				w.Client("alice", "-ciphers", suite, "pipe", "-send", "-wait-peer", "20s", "bob"), nil)
			name, _, _ := strings.Cut(suite, "_")
			b.ReportMetric(rate(took, rss), name+"-MB/s")
			b.ReportMetric(float64(rss)/(1<<20), name+"-MiB")
		}
		if _, err := exec.LookPath("nc"); err != nil {
			b.Log("nc is not installed: no comparison with it (apt-get install netcat-openbsd)")
		} else {
			port := fmt.Sprint(20000 + os.Getpid()%20000)
			nc := rate(carry(b, file, exec.Command("nc", "-l", "127.0.0.1", port), exec.Command("nc", "-N", "127.0.0.1", port),
				func() { time.Sleep(200 * time.Millisecond) }))
			b.ReportMetric(nc, "nc-MB/s")
		}
		client := exec.Command("openssl", "s_client", "-tls1_3", "-quiet", "-no_ign_eof", "-connect", openTLS(b, w))
		b.ReportMetric(rate(carry(b, file, exec.Command("true"), client, nil)), "tls-MB/s")
	}
}
