package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// feed writes numbered lines to a running send, and calls between at each of
// cuts places.
func feed(t *testing.T, p *running, lines, cuts int, between func(cut int)) {
	t.Helper()
	for i := range lines {
		if i > 0 && i%(lines/(cuts+1)) == 0 && i/(lines/(cuts+1)) <= cuts {
			between(i / (lines / (cuts + 1)))
		}
		if _, err := fmt.Fprintf(p.stdin, "line %d\n", i); err != nil {
			t.Fatalf("line %d: %v; it said %s", i, err, p.stderr.String())
		}
	}
}

// drain reads a command's output in the background, so that it never waits.
// The function it returns waits for the command and gives what was read.
func (p *running) drain() (rest func() string) {
	var out bytes.Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(&out, p.out)
	}()
	return func() string {
		p.stdin.Close()
		<-done // the output ends when the command does, and before Wait closes it
		p.cmd.Wait()
		return out.String()
	}
}

// collector reads a recv -json in the background and keeps the texts.
type collector struct {
	*running
	mu    sync.Mutex
	cond  *sync.Cond
	texts []string
	again []bool // of each of texts: it may have been shown before
	err   error  // of a line that is no object
	over  bool
}

func (p *running) collect() *collector {
	c := &collector{running: p}
	c.cond = sync.NewCond(&c.mu)
	go func() {
		for {
			line, err := p.out.ReadBytes('\n')
			c.mu.Lock()
			var o struct {
				Type, Text string
				Again      bool
			}
			if err == nil {
				c.err = errors.Join(c.err, json.Unmarshal(line, &o))
			}
			if o.Type == "message" {
				c.texts, c.again = append(c.texts, o.Text), append(c.again, o.Again)
			}
			c.over = err != nil
			c.mu.Unlock()
			c.cond.Broadcast()
			if err != nil {
				return
			}
		}
	}()
	return c
}

// more waits until there is at least one message more than n, or the end.
func (c *collector) more(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.texts) <= n && !c.over {
		c.cond.Wait()
	}
	return len(c.texts)
}

// rest waits for the end of the command and returns all texts.
func (c *collector) rest() []string {
	c.mu.Lock()
	for !c.over {
		c.cond.Wait()
	}
	c.mu.Unlock()
	c.cmd.Wait()
	if c.err != nil {
		c.t.Fatal(c.err)
	}
	return c.texts
}

// showings is how often each text was shown, by all clients of one person's on
// one state directory.
type showings map[string]int

// add counts what a client has shown until its end, and returns it. What may
// have been shown before says so.
func (s showings) add(c *collector) []string {
	c.t.Helper()
	texts := c.rest()
	for i, text := range texts {
		if s[text]++; s[text] > 1 && !c.again[i] {
			c.t.Fatalf("%q was shown %d times, at last without a word about that", text, s[text])
		}
	}
	return texts
}

// TestAttack27RelayKilled sends 10,000 lines while the relay is killed and
// restarted five times: each line comes exactly once and in order.
func TestAttack27RelayKilled(t *testing.T) {
	w := newTown(t, people("alice", "bob"))
	const lines = 10000
	bob := w.receive("bob", "-n", fmt.Sprint(lines)).collect()
	alice := w.start("alice", "send", "-wait", "read", "bob")
	ids := alice.drain()
	n := 0
	feed(t, alice, lines, 5, func(int) {
		n = bob.more(n)
		w.kill()
		w.startRelay("relay")
	})
	sent := ids()
	if status := alice.cmd.ProcessState.ExitCode(); status != 0 {
		t.Fatalf("send ended with %d: %s", status, alice.stderr.String())
	}
	texts := bob.rest()
	if status := bob.cmd.ProcessState.ExitCode(); status != 0 {
		t.Errorf("recv ended with %d: %s", status, bob.stderr.String())
	}
	if n := strings.Count(sent, "\n"); n != lines {
		t.Errorf("send wrote %d ids", n)
	}
	if len(texts) != lines {
		t.Errorf("%d lines came", len(texts))
	}
	for i, text := range texts {
		if text != fmt.Sprintf("line %d", i) {
			t.Fatalf("line %d is %q", i, text)
		}
	}
	w.run("", "alice", "history", "-verify").verified(t)
	w.run("", "bob", "history", "-verify").verified(t)
}

// verified checks that a verification held.
func (r result) verified(t testing.TB) {
	t.Helper()
	if r.status != 0 {
		t.Errorf("verification ended with %d: %s%s", r.status, r.stdout, r.stderr)
	}
}

// TestAttack28ReceiverKilled kills Bob's client three times under recv: all
// that Alice's history calls DELIVERED is in Bob's, and nothing is half.
func TestAttack28ReceiverKilled(t *testing.T) {
	w := newTown(t, people("alice", "bob"))
	const lines = 6000
	bob := w.receive("bob").collect()
	seen := showings{}
	alice := w.start("alice", "send", "-wait", "read", "bob")
	ids := alice.drain()
	feed(t, alice, lines, 3, func(int) {
		bob.more(0)
		bob.cmd.Process.Kill()
		seen.add(bob)
		bob = w.receive("bob").collect()
	})
	ids()
	if status := alice.cmd.ProcessState.ExitCode(); status != 0 {
		t.Fatalf("send ended with %d: %s", status, alice.stderr.String())
	}
	bob.cmd.Process.Signal(syscall.SIGTERM)
	seen.add(bob)
	// A client killed between showing and marking shows its last lines again.
	for i := range lines {
		if n := seen[fmt.Sprintf("line %d", i)]; n < 1 || n > 4 {
			t.Fatalf("line %d was shown %d times", i, n)
		}
	}
	w.deliveredIsThere("alice", "bob")
}

// TestBobTwiceAndCarol sends to two users, one of them on two connections.
func TestBobTwiceAndCarol(t *testing.T) {
	w := newTown(t, people("alice", "bob", "carol"))
	bob1 := w.receive("bob", "-n", "2")
	bob2 := w.receive("bob", "-n", "2")
	carol := w.receive("carol", "-n", "1")
	// She stays until all have it: one of Bob's would do for READ.
	send := func(text string) (*running, string) {
		p := w.start("alice", "send", "-wait", "read", "bob,carol")
		fmt.Fprintln(p.stdin, text)
		return p, strings.TrimSpace(p.line())
	}
	alice, id := send("all three")
	conns := map[any]bool{}
	for _, p := range []*running{bob1, bob2, carol} {
		m := p.object("message")
		if m["id"] != id || m["text"] != "all three" || fmt.Sprint(m["to"]) != "[bob carol]" {
			t.Errorf("it came as %v", m)
		}
		conns[m["conn"]] = true
	}
	if len(conns) != 1 {
		t.Errorf("alice spoke from the connections %v", conns)
	}
	if r := carol.end(); r.status != 0 {
		t.Errorf("carol's recv ended with %d", r.status)
	}
	if r := alice.end(); r.status != 0 {
		t.Errorf("alice's send ended with %+v", r)
	}
	alice, _ = send("carol is away")
	bob1.object("message")
	bob2.object("message")
	r := alice.end()
	if r.status != 7 || !strings.Contains(r.stderr, "nobody by the name of carol") || !strings.Contains(r.stderr, "bob has read it; carol has not got it") {
		t.Errorf("with carol away: exit status %d, said %q", r.status, r.stderr)
	}
	for _, p := range []*running{bob1, bob2} {
		if r := p.end(); r.status != 0 {
			t.Errorf("bob's recv ended with %d", r.status)
		}
	}
	// The two histories of one message agree when they are compared.
	var proofs []string
	for _, name := range []string{"bob", "carol"} {
		file := w.path(name + ".proof")
		if err := os.WriteFile(file, []byte(w.must("", name, "history", "-export", id)), 0o600); err != nil {
			t.Fatal(err)
		}
		proofs = append(proofs, file)
	}
	r = w.run("", "alice", append([]string{"verify"}, proofs...)...)
	r.verified(t)
	if !strings.Contains(r.stderr, "both prove the same message") {
		t.Errorf("of two proofs of one message verify says %q", r.stderr)
	}
}
