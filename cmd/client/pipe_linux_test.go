package main

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"hash"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestPipeProgress: bytes, rate and time stand on standard error, if that is a
// terminal.
func TestPipeProgress(t *testing.T) {
	w := newTown(t, people("alice", "bob"))
	bob := w.start("bob", "pipe", "-recv", "-wait-peer", "30s", "alice")
	got := make(chan result, 1)
	go func() { got <- bob.end() }()
	p := openPTY(t)
	cmd := w.client("alice", "-q=false", "pipe", "-send", "-wait-peer", "30s", "bob")
	cmd.Stdin, cmd.Stderr = strings.NewReader(strings.Repeat("x", 3<<20)), p.slave
	if err := cmd.Run(); err != nil {
		t.Error(err)
	}
	p.expect("sent 3.0 MiB, received 0 B, ")
	p.expect("/s, 0:0")
	if r := <-got; r.status != 0 || len(r.stdout) != 3<<20 || r.stderr != "" {
		t.Errorf("bob ended with %d, got %d bytes and said %q", r.status, len(r.stdout), r.stderr)
	}
}

// maxPipeMemory is what each of the three programs may have resident while a
// file of any length goes through.
const maxPipeMemory = 64 << 20

// randomStream is the same bytes for everybody, that nothing can compress.
func randomStream(n int64) io.Reader {
	block, err := aes.NewCipher(make([]byte, 16))
	if err != nil {
		panic(err)
	}
	return io.LimitReader(cipher.StreamReader{S: cipher.NewCTR(block, make([]byte, aes.BlockSize)), R: zeros{}}, n)
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// countedOutput hashes what a pipe writes, and tells when there has been enough.
type countedOutput struct {
	mu     sync.Mutex
	hash   hash.Hash
	n      int64
	enough int64
	there  chan struct{} // closed when enough has come
}

func (c *countedOutput) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hash.Write(b)
	if c.n += int64(len(b)); c.n >= c.enough && c.enough > 0 {
		c.enough = 0
		close(c.there)
	}
	return len(b), nil
}

// isBeginning checks that exactly the stream's first bytes have come.
func (c *countedOutput) isBeginning(t *testing.T) {
	t.Helper()
	want := sha256.New()
	io.Copy(want, randomStream(c.n))
	if string(want.Sum(nil)) != string(c.hash.Sum(nil)) {
		t.Errorf("the %d bytes that came are not those that were sent", c.n)
	}
}

// pipeOf starts a pipe of so many random bytes from alice to bob.
func (w *town) pipeOf(n, enough int64) (alice, bob *exec.Cmd, out *countedOutput) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	w.t.Cleanup(cancel)
	out = &countedOutput{hash: sha256.New(), enough: enough, there: make(chan struct{})}
	alice = w.clientFor(ctx, "alice", "pipe", "-send", "-wait-peer", "30s", "bob")
	bob = w.clientFor(ctx, "bob", "pipe", "-recv", "-wait-peer", "30s", "alice")
	alice.Stdin, bob.Stdout = randomStream(n), out
	for _, cmd := range []*exec.Cmd{alice, bob} {
		cmd.WaitDelay = patience // what feeds a client that is gone ends with it
		if err := cmd.Start(); err != nil {
			w.t.Fatal(err)
		}
	}
	return alice, bob, out
}

// peakMemory is peakResident of a process that must be there.
func peakMemory(t *testing.T, pid int) (n int64) {
	t.Helper()
	n, err := peakResident(pid)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestPipeOfAGiB: it arrives as it was, and takes none of the three programs
// more memory than a small one.
func TestPipeOfAGiB(t *testing.T) {
	w := newTown(t, people("alice", "bob"))
	const size = 1 << 30
	alice, bob, out := w.pipeOf(size, size-64<<20) // they still run
	select {
	case <-out.there:
	case <-time.After(3 * time.Minute):
		t.Fatal("it does not get there")
	}
	for what, pid := range map[string]int{"sender": alice.Process.Pid, "receiver": bob.Process.Pid, "relay": w.pid} {
		if n := peakMemory(t, pid); n > maxPipeMemory {
			t.Errorf("the %s had %d bytes resident", what, n)
		}
	}
	for _, cmd := range []*exec.Cmd{alice, bob} {
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", cmd.Args[len(cmd.Args)-1], err)
		}
	}
	if out.n != size {
		t.Errorf("%d bytes came of %d", out.n, size)
	}
	out.isBeginning(t)
}

// TestPipeKilledHalfWay: whoever of the three is killed, those that are left end
// with a status that is not 0, and what was written is a true beginning.
func TestPipeKilledHalfWay(t *testing.T) {
	for _, who := range []string{"sender", "receiver", "relay"} {
		t.Run(who, func(t *testing.T) {
			w := newTown(t, people("alice", "bob"))
			alice, bob, out := w.pipeOf(1<<50, 16<<20)
			select {
			case <-out.there:
			case <-time.After(patience):
				t.Fatal("nothing goes through the pipe")
			}
			switch who {
			case "sender":
				alice.Process.Kill()
			case "receiver":
				bob.Process.Kill()
			default:
				w.kill()
			}
			for name, cmd := range map[string]*exec.Cmd{"sender": alice, "receiver": bob} {
				cmd.Wait()
				if status := cmd.ProcessState.ExitCode(); status == 0 || name != who && status != 3 && status != 8 {
					t.Errorf("the %s was killed; the %s ended with %d", who, name, status)
				}
			}
			out.isBeginning(t)
		})
	}
}
