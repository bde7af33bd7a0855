package command

import (
	"fmt"
	"io"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"chatsecure/testdata/lab/town"
	"chatsecure/testdata/lab/tty"
)

// BenchmarkTyping times the echo of a key at alice's prompt, in a real terminal
// device: ms from the writing of the key to the reading of its echo. A person
// notices more than 50 ms. cat, which only reads and writes, shows the part of a
// busy machine.
func BenchmarkTyping(b *testing.B) {
	for _, load := range []struct {
		name string
		with func(w *town.Town, p *tty.PTY) (line, end string) // begins the load; typed before and after 20 keys
	}{
		{"quiet", func(*town.Town, *tty.PTY) (string, string) { return "", "\x15" }},
		{"sending", func(w *town.Town, _ *tty.PTY) (string, string) {
			w.Receive("bob")
			return "bob: ", "\r"
		}},
		{"flood", func(w *town.Town, _ *tty.PTY) (string, string) {
			floodFrom(w, "bob")
			return "", "\x15"
		}},
		{"flood-and-sending", func(w *town.Town, _ *tty.PTY) (string, string) {
			floodFrom(w, "bob")
			w.Receive("carol")
			return "carol: ", "\r"
		}},
		{"handshakes", func(w *town.Town, _ *tty.PTY) (string, string) {
			w.Receive("carol")
			go func() {
				for w.Client("bob", "send", "alice,carol", "hello").Run() == nil {
				}
			}()
			return "carol: ", "\r"
		}},
		{"relay-gone", func(w *town.Town, _ *tty.PTY) (string, string) {
			w.Stop()
			return "bob: ", "\r"
		}},
		{"relay-hangs", func(w *town.Town, _ *tty.PTY) (string, string) {
			syscall.Kill(w.Pid, syscall.SIGSTOP)
			w.T.Cleanup(func() { syscall.Kill(w.Pid, syscall.SIGCONT) })
			return "bob: ", "\r"
		}},
		{"narrow-and-wide", func(w *town.Town, p *tty.PTY) (string, string) {
			floodFrom(w, "bob")
			var resizes sync.WaitGroup
			quit := make(chan struct{})
			w.T.Cleanup(func() { close(quit); resizes.Wait() })
			resizes.Go(func() {
				for cols := uint16(40); ; cols = 140 - cols {
					select {
					case <-quit:
						return
					case <-time.After(100 * time.Millisecond):
						p.Resize(cols, 24)
					}
				}
			})
			return "", "\x15"
		}},
	} {
		b.Run(load.name, func(b *testing.B) {
			w := town.New(b, town.People("alice", "bob", "carol"))
			p := tty.OpenPTY(b)
			cmd := w.Client("alice", "-batch=false")
			cmd.Env = append(cmd.Env, "TERM=xterm")
			p.Control(cmd)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = p.Slave, p.Slave, p.Slave
			if err := cmd.Start(); err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
			p.Expect("\x1b[?1004h") // the editor has the terminal
			bare := tty.OpenPTY(b)
			cat := exec.Command("sh", "-c", "stty raw -echo; echo ready; exec cat")
			cat.Stdin, cat.Stdout = bare.Slave, bare.Slave
			if err := cat.Start(); err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { cat.Process.Kill(); cat.Wait() })
			bare.Expect("ready")
			line, end := load.with(w, p)
			var took, least []time.Duration
			for i := range max(b.N, 20) {
				if i%20 == 0 {
					p.Keys(end + line)
				}
				key := string(rune(0x4e00 + i%20_000))
				took, least = append(took, p.Echo(key, key)), append(least, bare.Echo(key, key))
				time.Sleep(10 * time.Millisecond) // the pace of the keys, not part of the measured time
			}
			for name, times := range map[string][]time.Duration{"": took, "cat-": least} {
				slices.Sort(times)
				ms := func(at int) float64 { return float64(times[at].Microseconds()) / 1e3 }
				b.ReportMetric(ms(len(times)/2), name+"p50-ms")
				b.ReportMetric(ms(len(times)*99/100), name+"p99-ms")
				b.ReportMetric(ms(len(times)-1), name+"max-ms")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// floodFrom sends lines to alice without an end.
func floodFrom(w *town.Town, name string) {
	w.T.Helper()
	r := w.Start(name, "send", "-wait", "sent", "alice")
	w.T.Cleanup(func() { r.Cmd.Process.Kill() })
	go io.Copy(io.Discard, r.Out)
	go func() {
		for i := 0; ; i++ {
			if _, err := fmt.Fprintf(r.Stdin, "%d: a line of a flood, of some sixty characters or so, and more\n", i); err != nil {
				return
			}
		}
	}()
}
