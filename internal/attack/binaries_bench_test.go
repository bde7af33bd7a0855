package attack

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/testdata/lab/contest"
	"chatsecure/testdata/lab/people"
	"chatsecure/testdata/lab/town"
)

// Benchmarks of the built programs, each beside a program that does less, in the same run.

// openTLS starts openssl s_server on a free port with a lab certificate and returns its address
// and process.
func openTLS(b *testing.B, w *town.Town) (addr string, pid int) {
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
				return addr, cmd.Process.Pid
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	b.Fatal("openssl s_server does not listen")
	return "", 0
}

// BenchmarkColdSend times `client send -wait read` with a software card, from process start to
// exit, against an openssl s_client that shakes hands by TLS 1.3 and ends.
func BenchmarkColdSend(b *testing.B) {
	const starts = 10 // in a turn
	w := town.New(b, town.People("alice", "bob"))
	bob := collect(w.Receive("bob"))
	w.Must("", "alice", "send", "-wait", "read", "bob", "warm")
	addr, _ := openTLS(b, w)
	contest.Measure(b, func(report contest.Report) {
		var ours, tls []time.Duration
		var oursUsed, tlsUsed float64
		for range starts {
			cmd := w.Client("alice", "send", "-wait", "read", "bob", "hello")
			start := time.Now()
			if err := cmd.Run(); err != nil {
				b.Fatal(err)
			}
			ours = append(ours, time.Since(start))
			oursUsed += contest.Used(cmd)
			cmd = exec.Command("openssl", "s_client", "-tls1_3", "-quiet", "-no_ign_eof", "-connect", addr)
			cmd.Stdin = strings.NewReader("")
			start = time.Now()
			cmd.Run() // its status only says that it does not know the lab's root
			tls = append(tls, time.Since(start))
			tlsUsed += contest.Used(cmd)
		}
		now, openssl := contest.Median(ours).Seconds()*1e3, contest.Median(tls).Seconds()*1e3
		report("now-ms", now)
		report("now-max-ms", slices.Max(ours).Seconds()*1e3)
		report("now-cpu-ms", oursUsed/1e6/starts)
		report("openssl-ms", openssl)
		report("openssl-cpu-ms", tlsUsed/1e6/starts)
		report("now/openssl", now/openssl)
		if then := contest.Then(b, "./cmd/client", "^BenchmarkColdSend$", fmt.Sprint(starts, "x")); then != nil {
			report("then-ms", then["median-ms"])
			report("then/openssl", then["of-openssl"])
			report("now/then", now/then["median-ms"])
		}
	})
	bob.Cmd.Process.Signal(syscall.SIGTERM)
	bob.Cmd.Wait()
}

// BenchmarkColdLetter times `client send -wait sent` to somebody who is away, from process start to
// exit, against the same to somebody who is there.
func BenchmarkColdLetter(b *testing.B) {
	const starts = 10 // in a turn
	w := town.New(b, town.People("alice", "bob", "carol"))
	bob, carol := collect(w.Receive("bob")), w.Receive("carol", "-n", "1")
	w.Must("", "alice", "send", "-wait", "read", "bob,carol", "warm")
	if r := carol.End(); r.Status != 0 {
		b.Fatalf("carol: %+v", r)
	}
	send := func(to string) (took time.Duration, used float64) {
		cmd := w.Client("alice", "send", "-wait", "sent", to, "hello")
		start := time.Now()
		if err := cmd.Run(); err != nil {
			b.Fatal(err)
		}
		return time.Since(start), contest.Used(cmd) / 1e6
	}
	contest.Measure(b, func(report contest.Report) {
		var there, away []time.Duration
		var thereUsed, awayUsed float64
		for range starts {
			took, used := send("bob")
			there, thereUsed = append(there, took), thereUsed+used
			took, used = send("carol")
			away, awayUsed = append(away, took), awayUsed+used
		}
		toAway, toThere := contest.Median(away).Seconds()*1e3, contest.Median(there).Seconds()*1e3
		report("away-ms", toAway)
		report("away-cpu-ms", awayUsed/starts)
		report("there-ms", toThere)
		report("there-cpu-ms", thereUsed/starts)
		report("away/there", toAway/toThere)
		report("cpu-away/there", awayUsed/thereUsed)
	})
	bob.Cmd.Process.Signal(syscall.SIGTERM)
	bob.Cmd.Wait()
}

// BenchmarkWaitingLetters times `client recv` of 1,000 letters that eight people have left, from
// process start to exit: opened, stored on the disk, shown, answered and receipted. Its floor is to
// open each letter and to verify who wrote it.
func BenchmarkWaitingLetters(b *testing.B) {
	const senders, each = 8, 125
	const n = senders * each
	names := []string{"bob"}
	for i := range senders {
		names = append(names, fmt.Sprint("sender", i))
	}
	w := town.New(b, town.People(names...))
	bob := w.Receive("bob", "-n", fmt.Sprint(senders))
	for _, name := range names[1:] {
		w.Must("", name, "send", "-wait", "read", "bob", "warm")
	}
	if r := bob.End(); r.Status != 0 {
		b.Fatalf("bob: %+v", r)
	}
	leave := func(name string) {
		c := w.Start(name, "-json", "send", "-wait", "sent", "bob")
		for range each {
			fmt.Fprintln(c.Stdin, "hello")
			c.Until(func(o map[string]any) bool { return o["type"] == "receipt" && o["status"] == "KEPT" })
		}
		if r := c.End(); r.Status != 0 {
			b.Errorf("%s: %+v", name, r)
		}
	}
	floor := letterFloor(b)
	contest.Measure(b, func(report contest.Report) {
		var all sync.WaitGroup
		for _, name := range names[1:] {
			all.Go(func() { leave(name) })
		}
		all.Wait()
		relay := contest.Processor(b, w.Pid)
		cmd := w.Client("bob", "recv", "-n", fmt.Sprint(n))
		start := time.Now()
		out, err := cmd.Output()
		took := time.Since(start)
		if lines := bytes.Count(out, []byte("\n")); err != nil || lines != n {
			b.Fatalf("%d lines, %v", lines, err)
		}
		used := contest.Used(cmd) / 1e3 / n
		report("now-ms", took.Seconds()*1e3)
		report("now-letters/s", n/took.Seconds())
		report("now-cpu-us/letter", used)
		report("relay-cpu-us/letter", (contest.Processor(b, w.Pid)-relay)/1e3/n)
		report("floor-us/letter", floor)
		report("cpu-now/floor", used/floor)
	})
}

// letterFloor returns the time of opening a letter, which verifies its sender's K, in microseconds.
func letterFloor(b *testing.B) float64 {
	b.Helper()
	box, err := crypto.NewMailbox()
	if err != nil {
		b.Fatal(err)
	}
	card, key := people.Card(b, "alice"), people.AnyKey(b)
	bundle, sender := people.Bundle(b, card, "alice", key), [32]byte{1}
	r := &crypto.Record{
		Time: people.Now.UnixMilli(), To: []crypto.Recipient{{Name: "bob"}}, Text: "hello", Salt: make([]byte, 16),
	}
	r.ID = crypto.RecordID(sender, r)
	l, err := crypto.SealLetter(crypto.LetterDraft{
		Key: key, Bundle: bundle, ToKey: box.Public(), N: 1, Time: people.Now, Records: []*crypto.Record{r},
	})
	if err != nil {
		b.Fatal(err)
	}
	var times []time.Duration
	for range 200 {
		start := time.Now()
		opened, err := crypto.OpenLetter(box, l.Body)
		if err == nil {
			err = opened.ReadRecords(sender)
		}
		if err != nil {
			b.Fatal(err)
		}
		times = append(times, time.Since(start))
	}
	return float64(contest.Median(times).Nanoseconds()) / 1e3
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

// carried is one way of a file from a sender to a receiver.
type carried struct {
	rate float64 // MB/s, from the end of listening on
	cpu  float64 // nanoseconds of the processor for each byte, of both ends and what is between
	rss  int64   // the most memory in bytes that either end had
}

// carry runs a receiver, whose output goes to /dev/null, and a sender that reads a file.
// between are processes that both need.
func carry(b *testing.B, file string, recv, send *exec.Cmd, listening func(), between ...int) (c carried) {
	b.Helper()
	in, err := os.Open(file)
	if err != nil {
		b.Fatal(err)
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		b.Fatal(err)
	}
	send.Stdin = in
	used := func() (sum float64) {
		for _, pid := range between {
			sum += contest.Processor(b, pid)
		}
		return sum
	}
	before, start := used(), time.Now()
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
			for _, cmd := range []*exec.Cmd{recv, send} {
				n, _ := town.PeakResident(cmd.Process.Pid) // 0 for a process that has ended
				c.rss = max(c.rss, n)
			}
		}
	}()
	if err := send.Wait(); err != nil {
		b.Fatalf("%v: %v", send, err)
	}
	took := time.Since(start)
	close(over)
	<-looked
	recv.Process.Signal(syscall.SIGTERM)
	recv.Wait()
	size := float64(info.Size())
	c.rate = size / 1e6 / took.Seconds()
	c.cpu = (used() - before + contest.Used(recv) + contest.Used(send)) / size
	return c
}

// installed tells whether a program is there to compare with.
func installed(b *testing.B, program, pkg string) bool {
	_, err := exec.LookPath(program)
	if err != nil {
		b.Logf("%s is not installed: no comparison with it (%s)", program, pkg)
	}
	return err == nil
}

// BenchmarkPipeBinaries carries random bytes through `client pipe`, from a file to /dev/null, against
// openssl, and against nc and croc where they are installed.
func BenchmarkPipeBinaries(b *testing.B) {
	w := town.New(b, town.People("alice", "bob"))
	file := w.Path("random")
	randomFile(b, file, 256<<20)
	addr, server := openTLS(b, w)
	hasNC := installed(b, "nc", "apt-get install netcat-openbsd")
	hasCroc := installed(b, "croc", "go install github.com/schollz/croc/v10@latest")
	pipe := func(suite string) carried {
		return carry(b, file,
			w.Client("bob", "-ciphers", suite, "pipe", "-recv", "-wait-peer", "20s", "alice"),
			w.Client("alice", "-ciphers", suite, "pipe", "-send", "-wait-peer", "20s", "bob"), nil, w.Pid)
	}
	contest.Measure(b, func(report contest.Report) {
		tell := func(name string, c carried) {
			report(name+"-MB/s", c.rate)
			report(name+"-cpu-ns/B", c.cpu)
			if c.rss > 0 {
				report(name+"-MiB", float64(c.rss)/(1<<20))
			}
		}
		now, rsa := pipe("MLKEM768X25519_AES256_GCM"), pipe("RSA_AES256_CBC_HMAC")
		tell("now", now)
		tell("now-RSA", rsa)
		client := exec.Command("openssl", "s_client", "-tls1_3", "-quiet", "-no_ign_eof", "-connect", addr)
		tls := carry(b, file, exec.Command("true"), client, nil, server)
		tls.rss = 0
		tell("tls", tls)
		report("now/tls", now.rate/tls.rate)
		report("now-RSA/tls", rsa.rate/tls.rate)
		if hasNC {
			port := fmt.Sprint(20000 + os.Getpid()%20000)
			nc := carry(b, file, exec.Command("nc", "-l", "127.0.0.1", port), exec.Command("nc", "-N", "127.0.0.1", port),
				func() { time.Sleep(200 * time.Millisecond) })
			nc.rss = 0
			tell("nc", nc)
			report("now/nc", now.rate/nc.rate)
		}
		if hasCroc {
			croc := carryByCroc(b, w, file)
			tell("croc", croc)
			report("now/croc", now.rate/croc.rate)
		}
		if then := contest.Then(b, "./cmd/client", "^BenchmarkPipeBinaries$", "1x"); then != nil {
			report("then-MB/s", then["MLKEM768X25519-MB/s"])
			report("then-RSA-MB/s", then["RSA-MB/s"])
			report("now/then", now.rate/then["MLKEM768X25519-MB/s"])
			report("now-RSA/then", rsa.rate/then["RSA-MB/s"])
		}
	})
}

// carryByCroc carries the file by croc without compression, over the relay in its sender. The
// receiver is the one whose end is waited for: the sender waits for it.
func carryByCroc(b *testing.B, w *town.Town, file string) carried {
	b.Helper()
	port := fmt.Sprint(20000 + os.Getpid()%20000)
	croc := func(args ...string) *exec.Cmd {
		cmd := exec.Command("croc", append([]string{"--yes", "--quiet", "--overwrite", "--disable-clipboard", "--ignore-stdin"}, args...)...)
		cmd.Env = append(os.Environ(), "CROC_SECRET=a-lab-is-open", "HOME="+w.Dir)
		cmd.Dir = w.Dir
		return cmd
	}
	return carry(b, file, croc("--no-compress", "send", "--port", port, file),
		croc("--ip", "127.0.0.1:"+port, "--out", b.TempDir()), func() { time.Sleep(time.Second) })
}
