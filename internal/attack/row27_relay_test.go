package attack

import (
	"fmt"
	"strings"
	"testing"

	"chatsecure/testdata/lab/town"
)

// TestAttack27RelayKilled sends 10,000 lines while the relay is killed and restarted five times:
// each line arrives once and in order.
func TestAttack27RelayKilled(t *testing.T) {
	w := town.New(t, town.People("alice", "bob"))
	const lines = 10000
	bob := collect(w.Receive("bob", "-n", fmt.Sprint(lines)))
	alice := w.Start("alice", "send", "-wait", "read", "bob")
	ids := drain(alice)
	n := 0
	feed(t, alice, lines, 5, func(int) {
		n = bob.more(n)
		w.Kill()
		w.StartRelay("relay")
	})
	sent := ids()
	if status := alice.Cmd.ProcessState.ExitCode(); status != 0 {
		t.Fatalf("send ended with %d: %s", status, alice.Stderr.String())
	}
	texts := bob.rest()
	if status := bob.Cmd.ProcessState.ExitCode(); status != 0 {
		t.Errorf("recv ended with %d: %s", status, bob.Stderr.String())
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
	verified(t, w.Run("", "alice", "history", "-verify"))
	verified(t, w.Run("", "bob", "history", "-verify"))
}
