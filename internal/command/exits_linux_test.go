package command

import (
	"slices"
	"strings"
	"syscall"
	"testing"

	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/town"
	"chatsecure/testdata/lab/tty"
)

// TestBatchNeverAsksAtATerminal: although a terminal controls the client, it is
// never asked for name, PIN, fingerprint or a stranger.
func TestBatchNeverAsksAtATerminal(t *testing.T) {
	lab.NeedSoftHSM(t)
	w := town.New(t, town.People("alice", "bob"))
	tokens, err := w.PKI.SoftHSM(w.Path("tokens"))
	if err != nil {
		t.Fatal(err)
	}
	w.Env = []string{tokens.Env()}
	for _, lacking := range lacks(w, tokens) {
		for _, c := range everyCommand(w) {
			if !lacking.concerns(c) {
				continue
			}
			if got, want := tty.OpenPTY(t).Quiet(w.Client("alice", slices.Concat(lacking.flags, c.args)...)), lacking.ends(c); got != want {
				t.Errorf("at a terminal, lacking %s, %q: exit status %d, want %d", lacking.what, c.args, got, want)
			}
		}
	}

	// The relay is known, and Bob is a stranger.
	bob := w.Receive("bob")
	known := []string{"-state", w.Path("knows")}
	w.Must("", "alice", append(known, "list")...)
	for _, c := range []struct {
		stdin string
		args  []string
	}{
		{"", []string{"send", "bob", "x"}},
		{"x\n", []string{"send", "bob"}},
		{"bob: x\n", nil},
	} {
		cmd := w.Client("alice", slices.Concat(known, []string{"-timeout", "2s", "-accept-new=false"}, c.args)...)
		cmd.Stdin = strings.NewReader(c.stdin)
		if got := tty.OpenPTY(t).Quiet(cmd); got != 4 {
			t.Errorf("at a terminal, %q to a stranger: exit status %d, want 4", c.args, got)
		}
	}
	bob.Cmd.Process.Signal(syscall.SIGTERM)
	if r := bob.End(); strings.Contains(r.Stdout, `"type":"message"`) {
		t.Errorf("bob got %q", r.Stdout)
	}
}
