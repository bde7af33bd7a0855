package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"chatsecure/testdata/lab"
)

// TestEveryExitStatus reaches each by the binaries as they are shipped.
func TestEveryExitStatus(t *testing.T) {
	w := newTown(t, map[string][]lab.IssueOption{"alice": nil, "bob": nil, "untrusted": {lab.Untrusted}, "revoked": {lab.Revoked}})
	bob := w.receive("bob")
	id := strings.TrimSpace(w.must("", "alice", "send", "-wait", "read", "bob", "hello"))
	proof := w.must("", "alice", "history", "-export", id)
	spoiled := strings.Replace(proof, "hello", "hullo", 1)
	empty := w.path("empty")
	if err := os.Mkdir(empty, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		status      int
		name, stdin string
		args        []string
	}{
		{0, "alice", "", []string{"list"}},
		{0, "alice", "bob: hi\n", nil},
		{0, "alice", "", []string{"-version"}},
		{0, "alice", "", []string{"-h"}},
		{0, "alice", "", []string{"send", "-h"}},
		{0, "alice", "one\ntwo\n", []string{"send", "-wait", "read", "bob"}},
		{0, "alice", proof, []string{"verify", "-"}},
		{1, "alice", "", []string{"verify", w.path("none")}},
		{1, "alice", "", []string{"-state", w.path("none"), "history"}},
		{1, "alice", "\xff\nfine\n", []string{"send", "bob"}},
		{2, "alice", "", []string{"nonsense"}},
		{2, "alice", "", []string{"-nonsense", "list"}},
		{2, "alice", "", []string{"send"}},
		{2, "", "", []string{"-card", w.path("lab", "alice"), "list"}}, // no name
		{2, "bob", "", []string{"-state", w.path("state-alice"), "list"}},
		{3, "alice", "", []string{"-relay", "127.0.0.1:1", "list"}},
		{4, "alice", "", []string{"-accept-new=false", "-state", w.path("new"), "list"}}, // the relay is not known
		{4, "alice", "", []string{"-fingerprint", strings.Repeat("ab", 32), "list"}},
		{4, "untrusted", "", []string{"list"}},
		{4, "revoked", "", []string{"list"}},
		{4, "alice", "", []string{"-crl", empty, "list"}},
		{4, "revoked", "", []string{"-crl-policy", "off", "list"}},                   // by the relay
		{4, "bob", "", []string{"-name", "alice", "-state", w.path("bobs"), "list"}}, // the name is taken
		{5, "alice", "", []string{"-card", w.path("none"), "list"}},
		{5, "alice", "", []string{"-card", "pkcs11:?module-path=/none.so", "list"}},
		{6, "alice", "", []string{"send", "nobody", "hello"}},
		{6, "alice", "", []string{"whois", "nobody"}},
		{6, "alice", "", []string{"pipe", "nobody"}},
		{6, "alice", "", []string{"recv", "-n", "1", "-for", "1ms"}},
		{7, "alice", "", []string{"send", "bob,nobody", "hello"}},
		{8, "alice", spoiled, []string{"verify", "-"}},
	} {
		r := w.run(c.stdin, c.name, c.args...)
		if r.status != c.status {
			t.Errorf("%s %q: exit status %d, want %d; it said %q", c.name, c.args, r.status, c.status, r.stderr)
		}
		if said := strings.HasPrefix(r.stderr, "client: error: "); said != (c.status != 0) {
			t.Errorf("%s %q: exit status %d, and it said %q", c.name, c.args, r.status, r.stderr)
		}
	}
	for signal, status := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		for _, args := range [][]string{{"-json", "recv"}, {"-json"}, {"-json", "send", "bob"}} {
			alice := w.start("alice", args...)
			alice.object("connected")
			alice.cmd.Process.Signal(signal)
			alice.cmd.Wait() // with standard input open
			if got := alice.cmd.ProcessState.ExitCode(); got != status {
				t.Errorf("%q after %v: exit status %d, want %d; it said %q", args, signal, got, status, alice.stderr.String())
			}
		}
	}
	if list := w.must("", "bob", "list"); strings.Contains(list, "alice") {
		t.Errorf("who was ended by a signal is still listed: %q", list)
	}
	bob.cmd.Process.Kill()
	bob.end()

	// A history that was changed, and one that two reasons apply to: 8 counts.
	file, err := filepath.Glob(filepath.Join(w.path("state-alice"), "history", "*.jsonl"))
	if err != nil || len(file) == 0 {
		t.Fatalf("no history: %v", err)
	}
	for _, f := range file {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f, []byte(strings.Replace(string(data), "hello", "hullo", 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if r := w.run("", "alice", "history", "-verify"); r.status != 8 {
		t.Errorf("a changed history: %+v", r)
	}
	if r := w.run(spoiled, "alice", "verify", "-", w.path("none")); r.status != 8 {
		t.Errorf("a spoiled proof and none: %+v", r)
	}
}

// everyCommand is a command line for each command, of those that end by
// themselves where nobody answers.
func (w *town) everyCommand() [][]string {
	return [][]string{
		{}, {"list"}, {"whois", "bob"}, {"send", "bob"}, {"send", "bob", "hello"}, {"send", "-wait", "read", "-wait-peer", "1ms", "bob"}, {"recv", "-for", "1ms"},
		{"pipe", "bob"}, {"pipe", "-send", "bob"}, {"pipe", "-recv", "bob"}, {"history"}, {"history", "-verify"}, {"history", "-export", strings.Repeat("00", 16)},
		{"verify", "-"}, {"verify", w.path("none")}, {"card"}, {"crl"}, {"crl", "refresh"}, {"trust"}, {"trust", "accept", "bob"}, {"trust", "forget", "bob"},
		{"logout"}, {"release"}, {"doctor"}, {"completion", "bash"},
	}
}

// TestEveryCommandIsTried: a new command cannot be forgotten here.
func TestEveryCommandIsTried(t *testing.T) {
	tried := make(map[string]bool)
	for _, args := range (&town{}).everyCommand() {
		if len(args) > 0 {
			tried[args[0]] = true
		}
	}
	for _, c := range commands {
		if !tried[c.Name] {
			t.Errorf("everyCommand does not have %s", c.Name)
		}
	}
}

// TestBatchNeverWaitsForInput: whatever would have to be asked, every command
// ends by itself with standard input closed.
func TestBatchNeverWaitsForInput(t *testing.T) {
	lab.NeedSoftHSM(t)
	w := newTown(t, people("alice"))
	tokens, err := w.pki.SoftHSM(w.path("tokens"))
	if err != nil {
		t.Fatal(err)
	}
	w.env = []string{tokens.Env()}
	missing := map[string][]string{
		"nothing": nil, "the fingerprint": {"-accept-new=false"}, "a PIN": {"-card", tokens.URI("alice")}, "everything": {"-accept-new=false", "-card", tokens.URI("alice"), "-state", w.path("new")},
	}
	for what, flags := range missing {
		for _, args := range w.everyCommand() {
			cmd := w.client("alice", append(append([]string{"-timeout", "2s"}, flags...), args...)...)
			sh := exec.CommandContext(bounded(t), "sh", append([]string{"-c", `exec "$@" <&-`, "sh"}, cmd.Args...)...)
			sh.Env, sh.SysProcAttr = cmd.Env, cmd.SysProcAttr
			if out, err := sh.CombinedOutput(); sh.ProcessState.ExitCode() < 0 {
				t.Errorf("without %s, %q did not end: %v; it said %q", what, args, err, out)
			}
		}
	}
}

// bounded is a context for one command.
func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}
