package main

import (
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"chatsecure/testdata/lab"
)

// quiet runs a client that this terminal controls, and returns its exit status.
// A client that shows anything there is killed: it may wait for an answer.
func (p *pty) quiet(cmd *exec.Cmd) int {
	p.t.Helper()
	p.control(cmd)
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for p.text.Len() == 0 && !p.over {
			p.cond.Wait()
		}
		cmd.Process.Kill()
	}()
	cmd.Wait()
	p.slave.Close()
	p.mu.Lock()
	for !p.over { // all that was written has been read then
		p.cond.Wait()
	}
	p.mu.Unlock()
	if asked := p.all(); asked != "" {
		p.t.Errorf("%q asked %q", cmd.Args[1:], asked)
	}
	return cmd.ProcessState.ExitCode()
}

// TestBatchNeverAsksAtATerminal: a terminal controls the client, where somebody
// could be asked for name, PIN and fingerprint and about a stranger, and nothing
// is written to it.
func TestBatchNeverAsksAtATerminal(t *testing.T) {
	lab.NeedSoftHSM(t)
	w := newTown(t, people("alice", "bob"))
	tokens, err := w.pki.SoftHSM(w.path("tokens"))
	if err != nil {
		t.Fatal(err)
	}
	w.env = []string{tokens.Env()}
	for _, lacking := range w.lacks(tokens) {
		for _, c := range w.everyCommand() {
			if !lacking.concerns(c) {
				continue
			}
			if got, want := openPTY(t).quiet(w.client("alice", slices.Concat(lacking.flags, c.args)...)), lacking.ends(c); got != want {
				t.Errorf("at a terminal, lacking %s, %q: exit status %d, want %d", lacking.what, c.args, got, want)
			}
		}
	}

	// The relay is known, and Bob is a stranger.
	bob := w.receive("bob")
	known := []string{"-state", w.path("knows")}
	w.must("", "alice", append(known, "list")...)
	for _, c := range []struct {
		stdin string
		args  []string
	}{
		{"", []string{"send", "bob", "x"}},
		{"x\n", []string{"send", "bob"}},
		{"bob: x\n", nil},
	} {
		cmd := w.client("alice", slices.Concat(known, []string{"-timeout", "2s", "-accept-new=false"}, c.args)...)
		cmd.Stdin = strings.NewReader(c.stdin)
		if got := openPTY(t).quiet(cmd); got != 4 {
			t.Errorf("at a terminal, %q to a stranger: exit status %d, want 4", c.args, got)
		}
	}
	bob.cmd.Process.Signal(syscall.SIGTERM)
	if r := bob.end(); strings.Contains(r.stdout, `"type":"message"`) {
		t.Errorf("bob got %q", r.stdout)
	}
}
