package attack

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"chatsecure/testdata/lab/town"
)

// feed writes numbered lines to a running send, and calls between at evenly spaced cuts.
func feed(t *testing.T, p *town.Running, lines, cuts int, between func(cut int)) {
	t.Helper()
	for i := range lines {
		if i > 0 && i%(lines/(cuts+1)) == 0 && i/(lines/(cuts+1)) <= cuts {
			between(i / (lines / (cuts + 1)))
		}
		if _, err := fmt.Fprintf(p.Stdin, "line %d\n", i); err != nil {
			t.Fatalf("line %d: %v; it said %s", i, err, p.Stderr.String())
		}
	}
}

// drain reads a command's output in the background, so that the command never waits. The returned
// function waits for the command and returns the output.
func drain(p *town.Running) (rest func() string) {
	var out bytes.Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(&out, p.Out)
	}()
	return func() string {
		p.Stdin.Close()
		<-done // Wait closes the output, so it must have ended
		p.Cmd.Wait()
		return out.String()
	}
}

// collector reads a recv -json in the background and keeps the texts.
type collector struct {
	*town.Running
	mu    sync.Mutex
	cond  *sync.Cond
	texts []string
	again []bool // for each text: the client says that it may have shown it before
	err   error  // from a line that is no JSON
	over  bool
}

func collect(p *town.Running) *collector {
	c := &collector{Running: p}
	c.cond = sync.NewCond(&c.mu)
	go func() {
		for {
			line, err := p.Out.ReadBytes('\n')
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

// more waits until there are more than n messages, or the end.
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
	c.Cmd.Wait()
	if c.err != nil {
		c.T.Fatal(c.err)
	}
	return c.texts
}

// showings counts how often each text was shown, by all clients on one state directory.
type showings map[string]int

// add counts a client's texts up to its end and returns them. A text shown again must say so.
func (s showings) add(c *collector) []string {
	c.T.Helper()
	texts := c.rest()
	for i, text := range texts {
		if s[text]++; s[text] > 1 && !c.again[i] {
			c.T.Fatalf("%q was shown %d times, at last without a word about that", text, s[text])
		}
	}
	return texts
}

// verified checks that a verification succeeded.
func verified(t testing.TB, r town.Result) {
	t.Helper()
	if r.Status != 0 {
		t.Errorf("verification ended with %d: %s%s", r.Status, r.Stdout, r.Stderr)
	}
}

// statusesAreTrue checks the statuses of messages in one history against the other: a delivered one
// is there, a read one was shown there, a failed one is not there. Both histories verify.
func statusesAreTrue(w *town.Town, from, to string) {
	w.T.Helper()
	read := func(name, direction string) map[string]string {
		verified(w.T, w.Run("", name, "history", "-verify"))
		statuses := make(map[string]string)
		for line := range strings.Lines(w.Must("", name, "-json", "history", "-n", "0")) {
			var o struct{ ID, Direction, Status string }
			if err := json.Unmarshal([]byte(line), &o); err != nil {
				w.T.Fatal(err)
			}
			if _, twice := statuses[o.ID]; twice {
				w.T.Errorf("%s is twice in %s's history", o.ID, name)
			}
			if o.Direction == direction {
				statuses[o.ID] = o.Status
			}
		}
		return statuses
	}
	theirs, count := read(to, "in"), make(map[string]int)
	for id, status := range read(from, "out") {
		count[status]++
		theirs, there := theirs[id]
		if want := status == "READ" || status == "DELIVERED"; there != want && (want || status == "FAILED") ||
			status == "READ" && theirs != "READ" {
			w.T.Fatalf("%s is %s with %s, and %q in %s's history", id, status, from, theirs, to)
		}
	}
	w.T.Logf("%s's messages are %v", from, count)
	if count["READ"]+count["DELIVERED"] == 0 {
		w.T.Errorf("nothing of %s's is delivered", from)
	}
}

// await waits for a text, or for the end.
func (c *collector) await(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !slices.Contains(c.texts, text) && !c.over {
		c.cond.Wait()
	}
}
