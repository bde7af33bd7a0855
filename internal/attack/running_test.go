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

// deliveredIsThere checks that all messages that one history calls delivered are in the other, and
// that both verify.
func deliveredIsThere(w *town.Town, from, to string) {
	w.T.Helper()
	verified(w.T, w.Run("", from, "history", "-verify"))
	verified(w.T, w.Run("", to, "history", "-verify"))
	theirs := w.Must("", to, "-json", "history", "-n", "0")
	delivered := 0
	for line := range strings.Lines(w.Must("", from, "-json", "history", "-n", "0")) {
		var o struct{ ID, Status string }
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			w.T.Fatal(err)
		}
		if o.Status != "READ" && o.Status != "DELIVERED" {
			continue
		}
		if delivered++; !strings.Contains(theirs, o.ID) {
			w.T.Fatalf("%s is delivered with %s, and not in %s's history", o.ID, from, to)
		}
	}
	if delivered == 0 {
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
