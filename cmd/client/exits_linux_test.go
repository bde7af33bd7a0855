package main

import (
	"testing"

	"chatsecure/testdata/lab"
)

// TestBatchNeverAsksAtATerminal: a terminal controls the client, where somebody
// could be asked, and nothing is written to it.
func TestBatchNeverAsksAtATerminal(t *testing.T) {
	lab.NeedSoftHSM(t)
	w := newTown(t, people("alice"))
	tokens, err := w.pki.SoftHSM(w.path("tokens"))
	if err != nil {
		t.Fatal(err)
	}
	w.env = []string{tokens.Env()}
	for _, args := range w.everyCommand() {
		terminal := openPTY(t)
		cmd := w.client("alice", append([]string{"-timeout", "2s", "-accept-new=false", "-card", tokens.URI("alice"), "-state", w.path("other")}, args...)...)
		terminal.control(cmd)
		cmd.Run()
		if cmd.ProcessState.ExitCode() < 0 {
			t.Errorf("at a terminal %q did not end", args)
		}
		if asked := terminal.all(); asked != "" {
			t.Errorf("%q asked %q", args, asked)
		}
	}
}
