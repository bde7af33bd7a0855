package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// deliveredIsThere checks that all which one history calls delivered is in
// another's, and that both hold.
func (w *town) deliveredIsThere(from, to string) {
	w.t.Helper()
	w.run("", from, "history", "-verify").verified(w.t)
	w.run("", to, "history", "-verify").verified(w.t)
	theirs := w.must("", to, "history")
	for line := range strings.Lines(w.must("", from, "history")) {
		id, _, _ := strings.Cut(line, " ")
		if len(id) == 32 && (strings.Contains(line, "READ") || strings.Contains(line, "DELIVERED")) && !strings.Contains(theirs, id) {
			w.t.Fatalf("%s is delivered with %s, and not in %s's history", id, from, to)
		}
	}
}

// await waits until a text has come, or the end.
func (c *collector) await(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !slices.Contains(c.texts, text) && !c.over {
		c.cond.Wait()
	}
}

// TestKilledAtRandom kills relay, sender and receiver in turn, at moments that
// nothing chooses but chance, while lines pass.
func TestKilledAtRandom(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	chance := rand.New(rand.NewPCG(seed, 0))
	w := newTown(t, people("alice", "bob"))
	const rounds, lines = 12, 2000
	bob := w.receive("bob").collect()
	var shown []string
	times := showings{}
	feeds, whole := map[string]bool{}, []string{}
	for round := range rounds {
		victim := []string{"relay", "sender", "receiver"}[round%3]
		// A relay that is back may have Alice before it has Bob again.
		alice := w.start("alice", "send", "-wait", "read", "-wait-peer", "30s", "bob")
		rest := alice.drain()
		at, after := 1+chance.IntN(lines-1), time.Duration(chance.IntN(200_000))*time.Microsecond
		kill := func() {
			time.Sleep(after) // the moment is chance's
			switch victim {
			case "relay":
				w.kill()
				w.startRelay("relay")
			case "sender":
				alice.cmd.Process.Kill()
			case "receiver":
				bob.cmd.Process.Kill()
				shown = append(shown, times.add(bob)...)
				bob = w.receive("bob").collect()
			}
		}
		for i := range lines {
			if i == at {
				// Who cannot reach the relay at first ends at once.
				if victim == "relay" {
					bob.await(fmt.Sprintf("round %d line 0", round))
				}
				kill()
			}
			line := fmt.Sprintf("round %d line %d", round, i)
			if _, err := fmt.Fprintln(alice.stdin, line); err != nil && victim == "sender" && i >= at {
				break
			} else if err != nil {
				t.Fatalf("round %d: %v; it said %s", round, err, alice.stderr.String())
			}
			feeds[line] = true
			if victim != "sender" {
				whole = append(whole, line)
			}
		}
		rest()
		if status := alice.cmd.ProcessState.ExitCode(); victim != "sender" && status != 0 {
			t.Fatalf("round %d, the %s killed: send ended with %d: %s", round, victim, status, alice.stderr.String())
		}
	}
	bob.cmd.Process.Signal(syscall.SIGTERM)
	shown = append(shown, times.add(bob)...)
	seen := map[string]int{}
	next := map[string]int{}
	for _, text := range shown {
		var round, line int
		fmt.Sscanf(text, "round %d line %d", &round, &line)
		key := fmt.Sprint(round)
		if !feeds[text] {
			t.Fatalf("%q was shown, and not sent", text)
		}
		if seen[text]++; seen[text] == 1 {
			if line != next[key] {
				t.Fatalf("round %d: line %d came where line %d is next", round, line, next[key])
			}
			next[key]++
		}
		// Killed between showing and marking, the receiver may show lines of
		// then, or of just before, once more.
		if most := []int{1, 2, 2}[round%3]; seen[text] > most {
			t.Fatalf("%q was shown %d times", text, seen[text])
		}
	}
	for _, line := range whole {
		if seen[line] == 0 {
			t.Fatalf("%q was lost", line)
		}
	}
	w.deliveredIsThere("alice", "bob")
}
