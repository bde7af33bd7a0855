package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
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

// tried is a command line that ends by itself where nobody answers.
type tried struct {
	args   []string
	status int  // how it ends where nothing is missing
	online bool // it needs all that may be missing
	reads  bool // standard input is data to it
}

// everyCommand is a command line for each command.
func (w *town) everyCommand() []tried {
	return []tried{
		{nil, 0, true, true},
		{[]string{"list"}, 0, true, false},
		{[]string{"whois", "bob"}, 6, true, false},
		{[]string{"send", "bob"}, 0, true, true},
		{[]string{"send", "bob", "hello"}, 6, true, false},
		{[]string{"send", "-wait", "read", "-wait-peer", "1ms", "bob"}, 0, true, true},
		{[]string{"recv", "-for", "1ms"}, 0, true, false},
		{[]string{"pipe", "bob"}, 6, true, true},
		{[]string{"pipe", "-send", "bob"}, 6, true, true},
		{[]string{"pipe", "-recv", "bob"}, 6, true, false},
		{[]string{"history"}, 0, false, false},
		{[]string{"history", "-verify"}, 0, false, false},
		{[]string{"history", "-export", strings.Repeat("00", 16)}, 1, false, false},
		{[]string{"verify", "-"}, 8, false, true},
		{[]string{"verify", w.path("none")}, 1, false, false},
		{[]string{"card"}, 0, false, false},
		{[]string{"crl"}, 0, false, false},
		{[]string{"crl", "refresh"}, 2, false, false}, // nothing is fetched here
		{[]string{"trust"}, 0, false, false},
		{[]string{"trust", "accept", "bob"}, 1, false, false},
		{[]string{"trust", "forget", "bob"}, 1, false, false},
		{[]string{"logout"}, 0, false, false},
		{[]string{"release"}, 0, true, false},
		{[]string{"doctor"}, 0, false, false},
		{[]string{"completion", "bash"}, 0, false, false},
	}
}

// TestEveryCommandIsTried: a new command cannot be forgotten here.
func TestEveryCommandIsTried(t *testing.T) {
	there := make(map[string]bool)
	for _, c := range (&town{}).everyCommand() {
		if len(c.args) > 0 {
			there[c.args[0]] = true
		}
	}
	for _, c := range commands {
		if !there[c.Name] {
			t.Errorf("everyCommand does not have %s", c.Name)
		}
	}
}

// lack is what a client lacks that it would have to ask for.
type lack struct {
	what   string
	status int // how what needs it ends
	doctor int // how doctor ends, which says that it will be needed
	flags  []string
}

// lacks are all of them, and nothing. Each has a state directory of its own:
// what one is told is not known to the next.
func (w *town) lacks(tokens *lab.Tokens) []lack {
	pin, unknown := []string{"-card", tokens.URI("alice")}, []string{"-accept-new=false"}
	all := []lack{
		{"nothing", 0, 0, nil},
		{"a name", 2, 0, []string{"-name", ""}},
		{"a PIN", 5, 0, pin},
		{"the relay's fingerprint", 4, 4, unknown},
		{"PIN and fingerprint", 5, 4, slices.Concat(pin, unknown)},
	}
	for i := range all {
		state := w.path("lacks-" + strconv.Itoa(i))
		if err := os.Mkdir(state, 0o700); err != nil {
			w.t.Fatal(err)
		}
		all[i].flags = append([]string{"-timeout", "2s", "-state", state}, all[i].flags...)
	}
	return all
}

// ends is the status that c has to end with.
func (l lack) ends(c tried) int {
	switch {
	case c.online && l.status != 0:
		return l.status
	case len(c.args) > 0 && c.args[0] == "doctor":
		return l.doctor
	}
	return c.status
}

// concerns tells whether c ends otherwise for want of it. With nothing missing,
// everything is tried.
func (l lack) concerns(c tried) bool { return l.status == 0 || l.ends(c) != c.status }

// TestBatchNeverWaitsForInput: whatever would have to be asked, every command
// ends by itself. Standard input never gives anything, and never ends; but for
// what it is data to, and gets as far as to read it, it has ended.
func TestBatchNeverWaitsForInput(t *testing.T) {
	lab.NeedSoftHSM(t)
	w := newTown(t, people("alice"))
	tokens, err := w.pki.SoftHSM(w.path("tokens"))
	if err != nil {
		t.Fatal(err)
	}
	w.env = []string{tokens.Env()}
	silent, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	defer writer.Close()
	for _, lacking := range w.lacks(tokens) {
		for _, c := range w.everyCommand() {
			if !lacking.concerns(c) {
				continue
			}
			cmd := w.client("alice", slices.Concat(lacking.flags, c.args)...)
			cmd.Stdin = silent
			if c.reads && lacking.status == 0 {
				sh := exec.CommandContext(bounded(t), "sh", append([]string{"-c", `exec "$@" <&-`, "sh"}, cmd.Args...)...)
				sh.Env, sh.SysProcAttr = cmd.Env, cmd.SysProcAttr
				cmd = sh
			}
			out, err := cmd.CombinedOutput()
			if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() < 0 {
				t.Fatalf("lacking %s, %q did not end: %v; it said %q", lacking.what, c.args, err, out)
			}
			if got, want := cmd.ProcessState.ExitCode(), lacking.ends(c); got != want {
				t.Errorf("lacking %s, %q: exit status %d, want %d; it said %q", lacking.what, c.args, got, want, out)
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
