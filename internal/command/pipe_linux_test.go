package command

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

	"chatsecure/testdata/lab/town"
	"chatsecure/testdata/lab/tty"
)

// TestPipeProgress: standard error shows bytes, rate and time if it is a
// terminal.
func TestPipeProgress(t *testing.T) {
	w := town.New(t, town.People("alice", "bob"))
	bob := w.Start("bob", "pipe", "-recv", "-wait-peer", "30s", "alice")
	got := make(chan town.Result, 1)
	go func() { got <- bob.End() }()
	p := tty.OpenPTY(t)
	cmd := w.Client("alice", "-q=false", "pipe", "-send", "-wait-peer", "30s", "bob")
	cmd.Stdin, cmd.Stderr = strings.NewReader(strings.Repeat("x", 3<<20)), p.Slave
	if err := cmd.Run(); err != nil {
		t.Error(err)
	}
	p.Expect("sent 3.0 MiB, received 0 B, ")
	p.Expect("/s, 0:0")
	if r := <-got; r.Status != 0 || len(r.Stdout) != 3<<20 || r.Stderr != "" {
		t.Errorf("bob ended with %d, got %d bytes and said %q", r.Status, len(r.Stdout), r.Stderr)
	}
}

// TestPipeAfterAQuestion: lines typed at a terminal before a question are for the pipe.
func TestPipeAfterAQuestion(t *testing.T) {
	w := town.New(t, town.People("alice", "bob"))
	bob := w.Start("bob", "pipe", "-recv", "-wait-peer", "30s", "alice")
	got := make(chan town.Result, 1)
	go func() { got <- bob.End() }()
	p := tty.OpenPTY(t)
	p.Types("early y")
	p.Types("y")
	cmd := w.Client("alice", "-batch=false", "-accept-new=false", "-fingerprint", w.Fingerprint("relay"), "pipe", "-send", "-wait-peer", "30s", "bob")
	cmd.Stdin, cmd.Stderr = p.Slave, p.Slave
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.Expect("you mean? (y/n) ")
	p.Types("y")
	p.Types("late")
	p.Keys("\x04")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if r := <-got; r.Status != 0 || r.Stdout != "early y\ny\nlate\n" {
		t.Errorf("bob ended with %d, got %q and said %q", r.Status, r.Stdout, r.Stderr)
	}
}

// maxPipeMemory bounds the resident memory of each program, whatever the length
// of the file.
const maxPipeMemory = 64 << 20

// randomStream is always the same, and cannot be compressed.
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

// countedOutput hashes the output of a pipe, and tells when there is enough of
// it.
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

// isBeginning checks that the output is the beginning of the stream.
func (c *countedOutput) isBeginning(t *testing.T) {
	t.Helper()
	want := sha256.New()
	io.Copy(want, randomStream(c.n))
	if string(want.Sum(nil)) != string(c.hash.Sum(nil)) {
		t.Errorf("the %d bytes that came are not those that were sent", c.n)
	}
}

// pipeOf starts a pipe of n random bytes from alice to bob.
func pipeOf(w *town.Town, n, enough int64) (alice, bob *exec.Cmd, out *countedOutput) {
	w.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	w.T.Cleanup(cancel)
	out = &countedOutput{hash: sha256.New(), enough: enough, there: make(chan struct{})}
	alice = w.ClientFor(ctx, "alice", "pipe", "-send", "-wait-peer", "30s", "bob")
	bob = w.ClientFor(ctx, "bob", "pipe", "-recv", "-wait-peer", "30s", "alice")
	alice.Stdin, bob.Stdout = randomStream(n), out
	for _, cmd := range []*exec.Cmd{alice, bob} {
		cmd.WaitDelay = town.Patience // a closed client ends its writer
		if err := cmd.Start(); err != nil {
			w.T.Fatal(err)
		}
	}
	return alice, bob, out
}

// peakMemory is PeakResident of a running process.
func peakMemory(t *testing.T, pid int) (n int64) {
	t.Helper()
	n, err := town.PeakResident(pid)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestPipeOfAGiB: it arrives unchanged, and takes no more memory than a small
// one in any program.
func TestPipeOfAGiB(t *testing.T) {
	w := town.New(t, town.People("alice", "bob"))
	const size = 1 << 30
	alice, bob, out := pipeOf(w, size, size-64<<20) // they still run
	select {
	case <-out.there:
	case <-time.After(3 * time.Minute):
		t.Fatal("it does not get there")
	}
	for what, pid := range map[string]int{"sender": alice.Process.Pid, "receiver": bob.Process.Pid, "relay": w.Pid} {
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

// TestPipeKilledHalfWay: after a kill of any of the three programs, the others
// fail, and the output is a true beginning.
func TestPipeKilledHalfWay(t *testing.T) {
	for _, who := range []string{"sender", "receiver", "relay"} {
		t.Run(who, func(t *testing.T) {
			w := town.New(t, town.People("alice", "bob"))
			alice, bob, out := pipeOf(w, 1<<50, 16<<20)
			select {
			case <-out.there:
			case <-time.After(town.Patience):
				t.Fatal("nothing goes through the pipe")
			}
			switch who {
			case "sender":
				alice.Process.Kill()
			case "receiver":
				bob.Process.Kill()
			default:
				w.Kill()
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
