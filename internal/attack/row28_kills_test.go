package attack

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"chatsecure/testdata/lab/town"
)

// TestAttack28SenderKilled kills a sender again and again: its history has every message that
// arrived, complete, and the next one goes on.
func TestAttack28SenderKilled(t *testing.T) {
	w := town.New(t, town.People("alice", "bob"))
	bob := collect(w.Receive("bob"))
	n := 0
	for round := range 4 {
		alice := w.Start("alice", "send", "-wait", "read", "bob")
		rest := drain(alice)
		for i := range 500 << round {
			if _, err := fmt.Fprintf(alice.Stdin, "round %d line %d\n", round, i); err != nil {
				t.Fatal(err)
			}
		}
		n = bob.more(n) // some have come
		alice.Cmd.Process.Kill()
		rest() // the next client cuts off a torn line
	}
	w.Must("", "alice", "send", "-wait", "read", "bob", "the last")
	bob.Cmd.Process.Signal(syscall.SIGTERM)
	texts := bob.rest()
	if !slices.Contains(texts, "the last") {
		t.Errorf("the last is not among bob's %d texts", len(texts))
	}
	hers := make(map[string]bool)
	for line := range strings.Lines(w.Must("", "alice", "-json", "history", "-n", "0")) {
		var o struct{ Text string }
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatal(err)
		}
		hers[o.Text] = true
	}
	seen := make(map[string]bool)
	for _, text := range texts {
		if seen[text] {
			t.Errorf("%q came twice", text)
		}
		seen[text] = true
		if !hers[text] {
			t.Errorf("bob has %q, and alice's history has not", text)
		}
	}
	for _, name := range []string{"alice", "bob"} {
		verified(t, w.Run("", name, "history", "-verify"))
	}
}

// TestAttack28KilledWhileLeaving: the relay lets a sender wait with its good-bye, and the sender is
// killed. Its run has not ended: the next start tells of the message that nobody has confirmed.
func TestAttack28KilledWhileLeaving(t *testing.T) {
	w := town.New(t, town.People("alice", "bob"))
	bob := w.Receive("bob")
	alice := w.Start("alice", "send", "bob")
	rest := drain(alice)
	lines := func(typ string) int {
		written, _ := os.ReadFile(w.Path("state-alice", "history", "lines.jsonl"))
		return bytes.Count(written, []byte(`"type":"`+typ+`"`))
	}
	fmt.Fprintln(alice.Stdin, "first")
	bob.Object("message")
	stop(bob.Cmd.Process.Pid)
	fmt.Fprintln(alice.Stdin, "second")
	for range 500 {
		if lines("sent") == 2 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	stop(w.Pid)
	alice.Cmd.Process.Signal(syscall.SIGINT)
	for range 50 { // time to take leave
		if lines("run") > 0 {
			t.Error("the run has ended while a message was on its way")
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	alice.Cmd.Process.Kill()
	rest()
	syscall.Kill(w.Pid, syscall.SIGCONT)
	bob.Cmd.Process.Kill()
	bob.Cmd.Wait()
	w.Run("", "alice", "send", "carol", "hello")
	written, _ := os.ReadFile(w.Path("state-alice", "history", "lines.jsonl"))
	if !bytes.Contains(written, []byte(`"reason":"the client was killed, and it showed no messages"`)) {
		t.Errorf("the next start does not take it for a killed one, after %d messages", lines("sent"))
	}
}

// stop stops a process, and waits until it has stopped: on a busy machine that takes a while.
func stop(pid int) {
	syscall.Kill(pid, syscall.SIGSTOP)
	for range 500 {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || bytes.Contains(stat, []byte(") T ")) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestAttack28ReceiverKilled kills Bob's recv three times: all that Alice's history calls DELIVERED
// is in Bob's, and complete.
func TestAttack28ReceiverKilled(t *testing.T) {
	w := town.New(t, town.People("alice", "bob"))
	const lines = 6000
	bob := collect(w.Receive("bob"))
	seen := showings{}
	alice := w.Start("alice", "send", "-wait", "read", "bob")
	ids := drain(alice)
	feed(t, alice, lines, 3, func(int) {
		bob.more(0)
		bob.Cmd.Process.Kill()
		seen.add(bob)
		bob = collect(w.Receive("bob"))
	})
	ids()
	if status := alice.Cmd.ProcessState.ExitCode(); status != 0 {
		t.Fatalf("send ended with %d: %s", status, alice.Stderr.String())
	}
	bob.Cmd.Process.Signal(syscall.SIGTERM)
	seen.add(bob)
	// A client killed between showing and marking shows its last lines again.
	for i := range lines {
		if n := seen[fmt.Sprintf("line %d", i)]; n < 1 || n > 4 {
			t.Fatalf("line %d was shown %d times", i, n)
		}
	}
	statusesAreTrue(w, "alice", "bob")
}

// TestAttack28KilledAtRandom kills relay, sender and receiver in turn, at random moments, while
// lines pass. A prompt and one-shot senders of the same state directory write beside the sender.
// Each line of a client that was not killed comes once, in the order of that client, and each
// status is true.
func TestAttack28KilledAtRandom(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	chance := rand.New(rand.NewPCG(seed, 0))
	w := town.New(t, town.People("alice", "bob"))
	const rounds = 12
	lines := 125 // a round, besides those of the one-shot senders
	if faultsAll {
		lines = 1000
	}
	begun := time.Now()
	// Bob names no mailbox: a letter that the relay hands to a client that was just killed comes again
	// after what is said in the next conversation. TestAttack28LettersKilled has letters.
	receive := func() *collector {
		p := w.Start("bob", "-letters=false", "-json", "recv")
		p.Object("connected")
		return collect(p)
	}
	bob := receive()
	var shown []string
	times := showings{}
	type line struct {
		must bool // arrive
		most int  // times that it is shown
	}
	fed, count := map[string]line{}, map[string]int{}
	next := func(from string) string {
		count[from]++
		return fmt.Sprintf("%s line %d", from, count[from]-1)
	}
	// After a restart the relay may have Alice before Bob.
	send := func(args ...string) []string {
		return append([]string{"send", "-wait", "read", "-wait-peer", "30s"}, args...)
	}
	var relay sync.Mutex // held while the town gets another one
	// Its life is that of the test, and it waits as long for a relay or a person.
	prompt := w.Start("alice", "-timeout", "2m")
	promptRest := drain(prompt)
	for round := range rounds {
		victim := []string{"relay", "sender", "receiver"}[round%3]
		alice := w.Start("alice", send("bob")...)
		rest := drain(alice)
		at, after := lines/2+chance.IntN(lines/2), time.Microsecond<<chance.IntN(18)
		kill := func() {
			time.Sleep(after) // a random moment
			switch victim {
			case "relay":
				relay.Lock()
				w.Kill()
				w.StartRelay("relay")
				relay.Unlock()
			case "sender":
				alice.Cmd.Process.Kill()
			case "receiver":
				bob.Cmd.Process.Kill()
				shown = append(shown, times.add(bob)...)
				bob = receive()
			}
		}
		var beside sync.WaitGroup
		stop, once := make(chan struct{}), map[string]line{}
		beside.Go(func() {
			for i := 0; ; i++ {
				text := fmt.Sprintf("once-%d line %d", round, i)
				relay.Lock()
				client := w.Client("alice", send("bob", text)...)
				relay.Unlock()
				r := town.RunCommand(t, client, "")
				once[text] = line{r.Status == 0, 2}
				if r.Status != 0 { // a client that cannot reach the relay at its start ends at once
					if victim != "relay" && !t.Failed() {
						t.Errorf("round %d: %q ended with %d: %s", round, text, r.Status, r.Stderr)
					}
					return
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
		own := fmt.Sprint("send-", round)
		for i, gone := 0, false; i < lines; i++ {
			if i == at {
				// So the sender is connected.
				if victim == "relay" {
					bob.await(own + " line 0")
				}
				kill()
			}
			if i%4 == 3 {
				text := next("prompt")
				fed[text] = line{true, 2}
				if _, err := fmt.Fprintf(prompt.Stdin, "bob: %s\n", text); err != nil {
					t.Fatalf("round %d: the prompt: %v; it said %s", round, err, prompt.Stderr.String())
				}
				continue
			}
			if gone {
				continue
			}
			text := next(own)
			// A receiver killed between showing and marking may show recent lines once more.
			fed[text] = line{victim != "sender", []int{1, 2, 2}[round%3]}
			if _, err := fmt.Fprintln(alice.Stdin, text); err != nil && victim == "sender" && i >= at {
				gone = true
			} else if err != nil {
				t.Fatalf("round %d: %v; it said %s", round, err, alice.Stderr.String())
			}
		}
		rest()
		close(stop)
		beside.Wait()
		maps.Copy(fed, once)
		if status := alice.Cmd.ProcessState.ExitCode(); victim != "sender" && status != 0 {
			t.Fatalf("round %d, the %s killed: send ended with %d: %s", round, victim, status, alice.Stderr.String())
		}
	}
	promptRest()
	if status := prompt.Cmd.ProcessState.ExitCode(); status != 0 {
		t.Errorf("the prompt ended with %d: %s", status, prompt.Stderr.String())
	}
	bob.Cmd.Process.Signal(syscall.SIGTERM)
	shown = append(shown, times.add(bob)...)
	seen, firsts := map[string]int{}, map[string]int{}
	for _, text := range shown {
		from, number, _ := strings.Cut(text, " line ")
		if seen[text]++; seen[text] == 1 {
			if number != fmt.Sprint(firsts[from]) {
				t.Fatalf("%q came where line %d is next", text, firsts[from])
			}
			firsts[from]++
		}
		if most := fed[text].most; seen[text] > most {
			t.Fatalf("%q was shown %d times, of %d", text, seen[text], most)
		}
	}
	for text, line := range fed {
		if line.must && seen[text] == 0 {
			t.Errorf("%q was lost", text)
		}
	}
	statusesAreTrue(w, "alice", "bob")
	t.Logf("%d lines in %v", len(fed), time.Since(begun).Round(time.Second))
}
