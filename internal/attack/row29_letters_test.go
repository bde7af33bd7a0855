package attack

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"chatsecure/testdata/lab/town"
)

// TestAttack29Letters: several clients of Alice's on one state directory leave letters at once, and two
// of Bob's collect them. Each comes once, in the order of its client.
func TestAttack29Letters(t *testing.T) {
	w := town.New(t, town.People("alice", "bob"))
	comeBy(w, "alice", "bob")
	const each = 40
	var all []*town.Running
	var rests []func() string
	for i := range 3 {
		p := w.Start("alice", "send", "bob")
		all, rests = append(all, p), append(rests, drain(p))
		for n := range each {
			fmt.Fprintf(p.Stdin, "sender%d text %d\n", i, n)
		}
	}
	for i := range 5 {
		keptAt(w, "alice", fmt.Sprint("once text ", i))
	}
	for i, rest := range rests {
		rest()
		if p := all[i]; p.Cmd.ProcessState.ExitCode() != 9 {
			t.Errorf("sender %d ended with %v: %s", i, p.Cmd.ProcessState, p.Stderr.String())
		}
	}
	first, second := collect(w.Start("bob", "-json", "recv")), collect(w.Start("bob", "-json", "recv"))
	var shown []string
	for len(shown) < 3*each+5 {
		first.mu.Lock()
		second.mu.Lock()
		shown = slices.Concat(first.texts, second.texts)
		over := first.over && second.over
		second.mu.Unlock()
		first.mu.Unlock()
		if over {
			t.Fatalf("both end after %d: %s %s", len(shown), first.Stderr.String(), second.Stderr.String())
		}
	}
	for _, c := range []*collector{first, second} {
		c.Cmd.Process.Signal(syscall.SIGTERM)
		c.rest()
	}
	shown = slices.Concat(first.texts, second.texts)
	next := map[string]int{}
	for _, text := range shown {
		from, number, _ := strings.Cut(text, " text ")
		if number != fmt.Sprint(next[from]) {
			t.Errorf("%q is shown where %d is next", text, next[from])
		}
		next[from]++
	}
	if len(shown) != 3*each+5 {
		t.Errorf("%d texts are shown", len(shown))
	}
	for _, name := range []string{"alice", "bob"} {
		verified(t, w.Run("", name, "history", "-verify"))
	}
}

// TestAttack29LettersFromABackup: the sender's state directory is that of yesterday, so that numbers of
// letters come again: each text is shown. Then the receiver's is: what was collected since, and what is for a
// later delegation, is told to be missing or refused. What comes is shown once.
func TestAttack29LettersFromABackup(t *testing.T) {
	w := town.New(t, town.People("alice", "bob"))
	comeBy(w, "alice", "bob")
	copied := func(from, to string) {
		t.Helper()
		if err := os.RemoveAll(w.Path(to)); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("cp", "-a", w.Path(from), w.Path(to)).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	copied("state-alice", "backup-alice")
	keptAt(w, "alice", "one")
	keptAt(w, "alice", "two")
	copied("backup-alice", "state-alice")
	keptAt(w, "alice", "three")
	copied("state-bob", "backup-bob")
	if got := w.Must("", "bob", "recv", "-n", "3"); got != "alice: one\nalice: two\nalice: three\n" {
		t.Errorf("bob shows %q", got)
	}
	keptAt(w, "alice", "four")
	copied("backup-bob", "state-bob")
	// Yesterday's state has not heard of the delegation that four is for.
	r := w.Run("", "bob", "recv", "-for", "1s")
	if r.Stdout != "" || !strings.Contains(r.Stderr, "a letter is refused: it ") {
		t.Errorf("with yesterday's state: %+v", r)
	}
	keptAt(w, "alice", "five")
	r = w.Run("", "bob", "-json", "recv", "-n", "1")
	if r.Status != 0 || !strings.Contains(r.Stdout, `"text":"five"`) || !strings.Contains(r.Stdout, "letters of alice's are missing: numbers 1 to 2") {
		t.Errorf("with yesterday's state: %+v", r)
	}
	if got := w.Must("", "bob", "recv", "-for", "300ms"); got != "" {
		t.Errorf("bob shows again %q", got)
	}
	for _, name := range []string{"alice", "bob"} {
		verified(t, w.Run("", name, "history", "-verify"))
	}
}

// TestLettersAreOff: without letters at the receiver, or at the relay, nobody who is away gets any.
func TestLettersAreOff(t *testing.T) {
	w := town.New(t, town.People("alice", "bob"))
	w.Must("", "bob", "-letters=false", "recv", "-for", "1ms")
	w.Fails(6, "alice", []string{"send", "bob", "hello"}, "nobody by the name of bob")
	comeBy(w, "bob")
	keptAt(w, "alice", "kept")
	w.Stop()
	w.Args = []string{"-letters=false"}
	w.StartRelay("relay")
	w.Fails(6, "alice", []string{"send", "bob", "hello"}, "nobody by the name of bob")
	w.Stop()
	w.Args = nil
	w.StartRelay("relay")
	if got := w.Must("", "bob", "recv", "-n", "1"); got != "alice: kept\n" {
		t.Errorf("bob shows %q", got)
	}
}
