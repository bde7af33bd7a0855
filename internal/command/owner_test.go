package command

import (
	"os"
	"testing"

	"chatsecure/testdata/lab/town"
)

// TestStateDirectoryHasItsName: only a connection that the relay took claims a state directory.
// From then on the name need not be given, and another one is refused.
func TestStateDirectoryHasItsName(t *testing.T) {
	w := town.New(t, town.People("alice", "bob"))
	w.Must("", "alice", "list") // alice's from here on
	// The last option counts: bob asks for alice's name, on a directory of his own.
	w.Fails(4, "bob", []string{"-name", "alice", "list"}, "name")
	if _, err := os.Stat(w.Path("state-bob", "name")); err == nil {
		t.Error("a refused connection has claimed the directory")
	}
	w.Must("", "bob", "list")
	nameless := func(who string, args ...string) town.Result {
		cmd := w.Client("", append([]string{"-card", w.Path("lab", who), "-state", w.Path("state-" + who)}, args...)...)
		return town.RunCommand(t, cmd, "")
	}
	if r := nameless("bob", "list"); r.Status != 0 || r.Stderr != "" {
		t.Errorf("without -name: exit status %d, %q", r.Status, r.Stderr)
	}
	town.CheckFails(t, nameless("bob", "-name", "carol", "list"), 2, "belongs to the name bob, not to carol", "leave -name out")
	town.CheckFails(t, nameless("nobody", "list"), 2, "a name is needed", "-name NAME init")
	w.Fails(2, "bob", []string{"-state", w.Path("relay"), "list"}, "is a relay's")
	town.CheckFails(t, nameless("bob", "-state", w.Path("relay"), "list"), 2, "is a relay's")
}
