package attack

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"chatsecure/testdata/lab/town"
)

// TestAttack29TwoClients: four of Alice's clients on one state directory send and receive at once.
// No message is lost, doubled or torn, and no conversation, number, random or id occurs twice.
func TestAttack29TwoClients(t *testing.T) {
	w := town.New(t, town.People("alice", "bob"))
	w.Must("", "alice", "list")
	bob := collect(w.Receive("bob"))
	receivers := []*collector{collect(w.Receive("alice")), collect(w.Receive("alice"))}
	const lines = 500
	send := func(name, to, what string, args ...string) *town.Running {
		p := w.Start(name, append(args, "send", "-wait", "read", to)...)
		fmt.Fprintf(p.Stdin, "%s 0\n", what)
		return p
	}
	senders := []*town.Running{
		send("alice", "bob", "one", "-keep", "1h"), send("alice", "bob", "two", "-keep", "1h"),
		send("bob", "alice", "back", "-state", w.Path("state-bob-2")),
	}
	what := []string{"one", "two", "back"}
	var ids []string
	for _, p := range senders {
		ids = append(ids, strings.TrimSpace(p.Line())) // now all are connected
	}
	var rests []func() string
	var fed sync.WaitGroup
	for i, p := range senders {
		rests = append(rests, drain(p))
		fed.Go(func() {
			for line := range lines - 1 {
				fmt.Fprintf(p.Stdin, "%s %d\n", what[i], line+1)
			}
		})
	}
	fed.Wait()
	for i, p := range senders {
		ids = append(ids, strings.Fields(rests[i]())...)
		if p.Cmd.ProcessState.ExitCode() != 0 || p.Stderr.String() != "" {
			t.Errorf("send %s ended with %v: %s", what[i], p.Cmd.ProcessState, p.Stderr.String())
		}
	}
	want := len(ids)
	if slices.Sort(ids); want != 3*lines || len(slices.Compact(ids)) != want {
		t.Errorf("%d ids, %d of them different", want, len(slices.Compact(ids)))
	}
	// A send ends when one receiver has read and the other has been sent the message.
	for _, c := range receivers {
		c.await(fmt.Sprint("back ", lines-1))
	}
	for _, c := range append(receivers, bob) {
		c.Cmd.Process.Signal(syscall.SIGTERM)
	}
	texts := bob.rest()
	next := map[string]int{}
	for _, text := range texts {
		from, number, _ := strings.Cut(text, " ")
		if number != fmt.Sprint(next[from]) {
			t.Fatalf("%q came, when %d was next of %q", text, next[from], from)
		}
		next[from]++
	}
	if len(texts) != 2*lines {
		t.Errorf("bob saw %d lines", len(texts))
	}
	for i, c := range receivers {
		got := c.rest()
		if len(got) != lines {
			t.Errorf("receiver %d of alice's saw %d lines of %d", i, len(got), lines)
		}
		for n, text := range got {
			if text != fmt.Sprintf("back %d", n) {
				t.Fatalf("receiver %d saw %q as line %d", i, text, n)
			}
		}
	}
	for _, name := range []string{"alice", "bob"} {
		verified(t, w.Run("", name, "history", "-verify"))
	}
	usedOnce(t, w.Path("state-alice", "history"))
}

// usedOnce checks the lines of all clients of a history: no conversation, and no number or random of a sent
// message, stands there twice.
func usedOnce(t *testing.T, dir string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "lines.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	used, kinds := map[string]bool{}, map[string]int{}
	for line := range bytes.Lines(data) {
		var o struct {
			Type, Conversation string
			Header             struct {
				Conversation, Direction, Random string
				N                               uint64
			}
		}
		if err := json.Unmarshal(line, &o); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		h := o.Header
		var keys []string
		switch o.Type {
		case "conversation":
			keys = []string{"conversation " + o.Conversation}
		case "sent":
			keys = []string{fmt.Sprint("number ", h.Conversation, h.Direction, h.N), "random " + h.Random}
		}
		for _, key := range keys {
			kinds[o.Type]++
			if used[key] {
				t.Errorf("%s is there twice", key)
			}
			used[key] = true
		}
	}
	if kinds["conversation"] < 4 || kinds["sent"] < 4 {
		t.Errorf("of %v only", kinds)
	}
}
