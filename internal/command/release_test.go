package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"chatsecure/proto"
	"chatsecure/testdata/lab/town"
)

// TestReleaseMailbox: the mailbox of a lost device goes from the relay with its letters, and the name
// stays.
func TestReleaseMailbox(t *testing.T) {
	w := town.New(t, town.People("alice"))
	there := func() (mailboxes []string) {
		t.Helper()
		dirs, err := filepath.Glob(w.Path("relay", "letters", "*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range dirs {
			if name := filepath.Base(dir); proto.IsHex(name, 32) {
				mailboxes = append(mailboxes, name)
			}
		}
		return mailboxes
	}
	w.Must("", "alice", "list")
	lost := there()
	if _, err := os.Stat(w.Path("state-alice", "mailbox", strings.Join(lost, " "))); err != nil || len(lost) != 1 {
		t.Fatalf("the relay has the mailboxes %q: %v", lost, err)
	}
	list := func() string { return w.Must("", "alice", "release", "-mailbox", "list") }
	if got := list(); got != "" {
		t.Errorf("before a device takes letters: %q", got)
	}
	recv := w.Start("alice", "-json", "recv") // which takes messages
	recv.Object("connected")
	recv.Cmd.Process.Signal(os.Interrupt)
	recv.End()
	if got := list(); !strings.HasPrefix(got, lost[0]+" of this device, last named 2") || strings.Count(got, "\n") != 1 {
		t.Errorf("listed: %q", got)
	}
	if err := os.RemoveAll(w.Path("state-alice", "mailbox")); err != nil { // as on another device
		t.Fatal(err)
	}
	if got := list(); !strings.HasPrefix(got, lost[0]+" of another device, last named 2") || strings.Count(got, "\n") != 1 {
		t.Errorf("listed: %q", got)
	}
	if r := w.Run("", "alice", "release", "-mailbox", lost[0]); r.Status != 0 || r.Stderr != "" {
		t.Errorf("release says %d: %s", r.Status, r.Stderr)
	}
	if left := there(); len(left) != 1 || left[0] == lost[0] {
		t.Errorf("the relay has the mailboxes %q; %s was dropped", left, lost[0])
	}
	for _, wrong := range []string{"", "12", strings.ToUpper(lost[0][:63] + "a")} {
		if r := w.Run("", "alice", "release", "-mailbox", wrong); r.Status != 2 {
			t.Errorf("%q for a mailbox ends with %d", wrong, r.Status)
		}
	}
}
