package command

import (
	"os"
	"strings"
	"testing"

	"chatsecure/testdata/lab/town"
)

// TestFirstMinutes: without card, relay or flags, the client lists the next
// steps in order. With any of them it does not.
func TestFirstMinutes(t *testing.T) {
	w := town.New(t, town.People("alice"))
	bare := func(args ...string) town.Result {
		cmd := w.Client("", args...)
		cmd.Args = append(cmd.Args[:1:1], args...)
		cmd.Env = append(cmd.Env, "SOFTHSM2_CONF=/dev/null", "XDG_STATE_HOME="+w.Path("xdg"))
		return town.RunCommand(t, cmd, "")
	}
	if err := os.MkdirAll(w.Path("xdg", "chatsecure", "relay"), 0o700); err != nil { // as after step 2
		t.Fatal(err)
	}
	r := bare()
	last := 0
	for _, step := range []string{"Nothing is set up", "1. A card: ", "client card", "2. A relay: ", "3. client init", "-state DIR",
		"4. The relay's fingerprint", "relay -fingerprint", "client: error: "} {
		at := strings.Index(r.Stderr, step)
		if at < last {
			t.Errorf("%q does not stand where it should in\n%s", step, r.Stderr)
		}
		last = max(last, at)
	}
	if r.Status != 2 || r.Stdout != "" {
		t.Errorf("exit status %d, wrote %q", r.Status, r.Stdout)
	}
	for line := range strings.Lines(r.Stderr[:strings.Index(r.Stderr, "client: error: ")]) {
		if !strings.Contains(line, "1. A card: ") && len([]rune(strings.TrimSpace(line))) > 80 {
			t.Errorf("longer than a terminal: %q", line)
		}
	}
	for _, args := range [][]string{{"-name", "alice"}, {"-relay", w.Addr}, {"-card", w.Path("lab", "alice")}, {"list"}} {
		if r := bare(args...); strings.Contains(r.Stderr, "Nothing is set up") || r.Status == 0 {
			t.Errorf("%q: exit status %d, said %q", args, r.Status, r.Stderr)
		}
	}
}

// TestFirstMinutesAtATerminal: the exit status is that of the first missing
// thing.
func TestFirstMinutesAtATerminal(t *testing.T) {
	dir := t.TempDir()
	sys, _, stderr := fakeSystem("")
	sys.Env = func(name string) string { return map[string]string{"HOME": dir}[name] }
	opt, _, err := parseGlobal([]string{"-timeout", "1s", "-ciphers", "MLKEM768X25519_AES256_GCM"}, sys.Env)
	if err != nil {
		t.Fatal(err)
	}
	a := &app{System: sys, opt: opt, out: newDisplay(sys, opt)}
	a.tty = fakeTerminal(stderr)
	t.Setenv("SOFTHSM2_CONF", "/dev/null")
	if status := a.finish(a.firstMinutes(t.Context())); status != 5 || !strings.Contains(stderr.String(), "client init") ||
		!strings.Contains(stderr.String(), "client: hint: the steps above") {
		t.Errorf("exit status %d, said %q", status, stderr.String())
	}
}
