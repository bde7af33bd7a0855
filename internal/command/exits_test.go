package command

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
	"chatsecure/testdata/lab/town"
)

// TestEveryExitStatus reaches each status with the shipped binaries.
func TestEveryExitStatus(t *testing.T) {
	w := town.New(t, map[string][]lab.IssueOption{"alice": nil, "bob": nil, "untrusted": {lab.Untrusted}, "revoked": {lab.Revoked}})
	bob := w.Receive("bob")
	id := strings.TrimSpace(w.Must("", "alice", "send", "-wait", "read", "bob", "hello"))
	proof := w.Must("", "alice", "history", "-export", id)
	spoiled := strings.Replace(proof, "hello", "hullo", 1)
	empty := w.Path("empty")
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
		{1, "alice", "", []string{"verify", w.Path("none")}},
		{1, "alice", "", []string{"-state", w.Path("none"), "history"}},
		{1, "alice", "\xff\nfine\n", []string{"send", "bob"}},
		{2, "alice", "", []string{"nonsense"}},
		{2, "alice", "", []string{"-nonsense", "list"}},
		{2, "alice", "", []string{"send"}},
		{2, "alice", "", []string{"send", "bob,Alice", "to oneself"}},
		{2, "alice", "", []string{"send", "-0", "bob", "text"}},
		{2, "alice", "", []string{"-json", "recv", "-0"}},
		{2, "", "", []string{"-card", w.Path("lab", "alice"), "list"}}, // no name
		{2, "bob", "", []string{"-state", w.Path("state-alice"), "list"}},
		{3, "alice", "", []string{"-relay", "127.0.0.1:1", "list"}},
		{4, "alice", "", []string{"-accept-new=false", "-state", w.Path("new"), "list"}}, // the relay is not known
		{4, "alice", "", []string{"-fingerprint", strings.Repeat("ab", 32), "list"}},
		{4, "untrusted", "", []string{"list"}},
		{4, "revoked", "", []string{"list"}},
		{4, "alice", "", []string{"-crl", empty, "list"}},
		{4, "revoked", "", []string{"-crl-policy", "off", "list"}},                   // by the relay
		{4, "bob", "", []string{"-name", "alice", "-state", w.Path("bobs"), "list"}}, // the name is taken
		{5, "alice", "", []string{"-card", w.Path("none"), "list"}},
		{5, "alice", "", []string{"-card", w.Path("none"), "-relay", "127.0.0.1:1", "list"}}, // the card comes first
		{4, "revoked", "", []string{"-relay", "127.0.0.1:1", "list"}},
		{5, "alice", "", []string{"-card", "pkcs11:?module-path=/none.so", "list"}},
		{6, "alice", "", []string{"send", "nobody", "hello"}},
		{6, "alice", "", []string{"whois", "nobody"}},
		{6, "alice", "", []string{"pipe", "nobody"}},
		{6, "alice", "", []string{"recv", "-n", "1", "-for", "1ms"}},
		{7, "alice", "", []string{"send", "bob,nobody", "hello"}},
		{8, "alice", spoiled, []string{"verify", "-"}},
	} {
		r := w.Run(c.stdin, c.name, c.args...)
		if r.Status != c.status {
			t.Errorf("%s %q: exit status %d, want %d; it said %q", c.name, c.args, r.Status, c.status, r.Stderr)
		}
		if said := strings.HasPrefix(r.Stderr, "client: error: "); said != (c.status != 0) {
			t.Errorf("%s %q: exit status %d, and it said %q", c.name, c.args, r.Status, r.Stderr)
		}
	}
	endsBySignal(t, w)
	if list := w.Must("", "bob", "list"); strings.Contains(list, "alice") {
		t.Errorf("who was ended by a signal is still listed: %q", list)
	}
	bob.Cmd.Process.Kill()
	bob.End()
	if r := w.Run("", "alice", "send", "bob", "hello"); r.Status != 9 || !strings.HasPrefix(r.Stderr, "client: notice: bob is not here") {
		t.Errorf("to somebody who has left: %+v", r)
	}

	// Two reasons apply to a changed history: 8 counts.
	changeHistory(t, w.Path("state-alice"))
	if r := w.Run("", "alice", "history", "-verify"); r.Status != 8 {
		t.Errorf("a changed history: %+v", r)
	}
	if r := w.Run(spoiled, "alice", "verify", "-", w.Path("none")); r.Status != 8 {
		t.Errorf("a spoiled proof and none: %+v", r)
	}
}

// endsBySignal checks the exit status of alice's clients that a signal ends.
func endsBySignal(t *testing.T, w *town.Town) {
	t.Helper()
	for signal, status := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		for _, args := range [][]string{{"-json", "recv"}, {"-json"}, {"-json", "send", "bob"}} {
			alice := w.Start("alice", args...)
			alice.Object("connected")
			alice.Cmd.Process.Signal(signal)
			alice.Cmd.Wait() // with standard input open
			if got := alice.Cmd.ProcessState.ExitCode(); got != status {
				t.Errorf("%q after %v: exit status %d, want %d; it said %q", args, signal, got, status, alice.Stderr.String())
			}
		}
	}
}

// changeHistory changes the text of a message in the history of a state directory.
func changeHistory(t *testing.T, state string) {
	t.Helper()
	file, err := filepath.Glob(filepath.Join(state, "history", "*.jsonl"))
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
}

// tried is a command line that ends by itself without an answer.
type tried struct {
	args   []string
	status int  // exit status with nothing missing
	online bool // it needs everything that can be missing
	reads  bool // standard input is its data
}

// everyCommand is a command line for each command.
func everyCommand(w *town.Town) []tried {
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
		{[]string{"verify", w.Path("none")}, 1, false, false},
		{[]string{"card"}, 0, false, false},
		{[]string{"crl"}, 0, false, false},
		{[]string{"crl", "refresh"}, 2, false, false}, // nothing is fetched here
		{[]string{"trust"}, 0, false, false},
		{[]string{"trust", "accept", "bob"}, 2, false, false},
		{[]string{"trust", "forget", "bob"}, 1, false, false},
		{[]string{"logout"}, 0, false, false},
		{[]string{"release"}, 0, true, false},
		{[]string{"doctor"}, 0, false, false},
		{[]string{"completion", "bash"}, 0, false, false},
		{[]string{"help", "send"}, 0, false, false},
		{[]string{"init"}, 0, false, false},
	}
}

// TestEveryCommandIsTried: everyCommand has every command.
func TestEveryCommandIsTried(t *testing.T) {
	there := make(map[string]bool)
	for _, c := range everyCommand(&town.Town{}) {
		if len(c.args) > 0 {
			there[c.args[0]] = true
		}
	}
	for _, c := range commands {
		if !there[c.name] {
			t.Errorf("everyCommand does not have %s", c.name)
		}
	}
}

// lack is something that a client would have to ask for.
type lack struct {
	what   string
	status int // exit status of a command that needs it
	doctor int // exit status of doctor, which reports it
	flags  []string
}

// lacks are all of them, and none. Each has its own state directory, so that
// none learns from another.
func lacks(w *town.Town, tokens *lab.Tokens) []lack {
	pin, unknown := []string{"-card", tokens.URI("alice")}, []string{"-accept-new=false"}
	all := []lack{
		{"nothing", 0, 0, nil},
		{"a name", 2, 0, []string{"-name", ""}},
		{"a PIN", 5, 0, pin},
		{"the relay's fingerprint", 4, 4, unknown},
		{"PIN and fingerprint", 5, 4, slices.Concat(pin, unknown)},
	}
	for i := range all {
		state := w.Path("lacks-" + strconv.Itoa(i))
		if err := os.Mkdir(state, 0o700); err != nil {
			w.T.Fatal(err)
		}
		all[i].flags = append([]string{"-timeout", "2s", "-state", state}, all[i].flags...)
	}
	return all
}

// ends is the exit status that c must have.
func (l lack) ends(c tried) int {
	switch {
	case c.online && l.status != 0:
		return l.status
	case len(c.args) > 0 && c.args[0] == "doctor":
		return l.doctor
	}
	return c.status
}

// concerns reports whether a lack changes the end of c. With nothing missing,
// every command is tried.
func (l lack) concerns(c tried) bool { return l.status == 0 || l.ends(c) != c.status }

// TestBatchNeverWaitsForInput: every command ends by itself, whatever it would
// have to ask. Standard input gives nothing and never ends, but for a command
// that gets as far as to read data from it.
func TestBatchNeverWaitsForInput(t *testing.T) {
	lab.NeedSoftHSM(t)
	w := town.New(t, town.People("alice"))
	tokens, err := w.PKI.SoftHSM(w.Path("tokens"))
	if err != nil {
		t.Fatal(err)
	}
	w.Env = []string{tokens.Env()}
	silent, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	defer writer.Close()
	for _, lacking := range lacks(w, tokens) {
		for _, c := range everyCommand(w) {
			if !lacking.concerns(c) {
				continue
			}
			cmd := w.Client("alice", slices.Concat(lacking.flags, c.args)...)
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
	ctx, cancel := context.WithTimeout(context.Background(), town.Patience)
	t.Cleanup(cancel)
	return ctx
}
