package main

import (
	"os"
	"strings"
	"testing"
)

// TestFirstMinutes: without card, relay or flags the client says what to do
// next, in order; with any of them it does not.
func TestFirstMinutes(t *testing.T) {
	w := newTown(t, people("alice"))
	bare := func(args ...string) result {
		cmd := w.client("", args...)
		cmd.Args = append(cmd.Args[:1:1], args...)
		cmd.Env = append(cmd.Env, "SOFTHSM2_CONF=/dev/null", "XDG_STATE_HOME="+w.path("xdg"))
		return runCommand(t, cmd, "")
	}
	if err := os.MkdirAll(w.path("xdg", "chatsecure", "relay"), 0o700); err != nil { // as step 2 leaves it
		t.Fatal(err)
	}
	r := bare()
	last := 0
	for _, step := range []string{"Nothing is set up", "1. A card: ", "client card", "2. A relay: ", "3. Its fingerprint", "relay -fingerprint", "4. A name", "-name NAME", "client: error: "} {
		at := strings.Index(r.stderr, step)
		if at < last {
			t.Errorf("%q does not stand where it should in\n%s", step, r.stderr)
		}
		last = max(last, at)
	}
	if r.status != 2 || r.stdout != "" {
		t.Errorf("exit status %d, wrote %q", r.status, r.stdout)
	}
	for line := range strings.Lines(r.stderr[:strings.Index(r.stderr, "client: error: ")]) {
		if !strings.Contains(line, "1. A card: ") && len([]rune(strings.TrimSpace(line))) > 80 {
			t.Errorf("longer than a terminal: %q", line)
		}
	}
	for _, args := range [][]string{{"-name", "alice"}, {"-relay", w.addr}, {"-card", w.path("lab", "alice")}, {"list"}} {
		if r := bare(args...); strings.Contains(r.stderr, "Nothing is set up") || r.status == 0 {
			t.Errorf("%q: exit status %d, said %q", args, r.status, r.stderr)
		}
	}
}

// TestFirstMinutesAtATerminal: the status is that of the first thing missing.
func TestFirstMinutesAtATerminal(t *testing.T) {
	dir := t.TempDir()
	sys, _, stderr := fakeSystem("")
	sys.env = func(name string) string { return map[string]string{"HOME": dir}[name] }
	opt, _, err := parseGlobal([]string{"-timeout", "1s", "-ciphers", "MLKEM768X25519_AES256_GCM"}, sys.env)
	if err != nil {
		t.Fatal(err)
	}
	a := &app{system: sys, opt: opt, out: newDisplay(sys, opt)}
	a.tty = fakeTerminal(stderr)
	t.Setenv("SOFTHSM2_CONF", "/dev/null")
	if status := a.finish(a.firstMinutes(t.Context())); status != 5 || !strings.Contains(stderr.String(), "4. A name") || !strings.Contains(stderr.String(), "client: hint: the steps above") {
		t.Errorf("exit status %d, said %q", status, stderr.String())
	}
}
