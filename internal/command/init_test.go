package command

import (
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/town"
	"chatsecure/testdata/lab/tty"
)

// initAt runs init with what a person types, and returns its exit status and all that is said.
func initAt(t *testing.T, args []string, types ...string) (status int, said string) {
	t.Helper()
	sys, _, stderr := fakeSystem("")
	opt, rest, err := parseGlobal(append(args, "init"), sys.Env)
	if err != nil || len(rest) != 1 {
		t.Fatal(rest, err)
	}
	a := &app{System: sys, opt: opt, out: newDisplay(sys, opt)}
	var steps []tty.Step
	for _, line := range types {
		steps = append(steps, tty.Step{Types: line})
	}
	a.tty = fakeTerminal(stderr, steps...)
	return a.finish(runInit(a, t.Context())), stderr.String()
}

func readConfigText(t *testing.T, dir string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "config"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestInitAsks: each answer is checked at once and asked for again, and the result is enough to go
// online with.
func TestInitAsks(t *testing.T) {
	t.Setenv("SOFTHSM2_CONF", "/dev/null")
	w := town.New(t, town.People("alice"))
	dir := w.Path("state-init")
	t.Setenv("HOME", w.Path("lab"))
	status, said := initAt(t, []string{"-state", dir, "-only-ca", w.Path("lab", "ca-bundle.pem"), "-crl", w.Path("lab", "crl"), "-fetch=false"},
		"no port", "127.0.0.1:1", "n", w.Addr, "a/b", "alice", w.Path("none"), "~/alice")
	if status != 0 {
		t.Fatalf("exit status %d, %s", status, said)
	}
	last := 0
	for _, want := range []string{"Relay, as HOST:PORT [localhost:8080]: ", "-relay is HOST:PORT", "Take this relay all the same?",
		w.Fingerprint("relay"), "Name: ", "Card, as a pkcs11: URI", "The card of ALICE", "config is written; next: client -state " + dir + " "} {
		at := strings.Index(said[last:], want)
		if at < 0 {
			t.Fatalf("%q does not stand where it should in\n%s", want, said)
		}
		last += at
	}
	want := "relay " + w.Addr + "\nname alice\ncard " + w.Path("lab", "alice") + "\ncrl " + w.Path("lab", "crl") +
		"\nfetch false\nonly-ca " + w.Path("lab", "ca-bundle.pem") + "\n"
	if text := readConfigText(t, dir); text != want {
		t.Errorf("written: %q, want %q", text, want)
	}
	if info, err := os.Stat(filepath.Join(dir, "config")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	cmd := w.Client("")
	cmd.Args = append(cmd.Args[:1:1], "-state", dir, "-batch", "-accept-new", "list")
	if r := town.RunCommand(t, cmd, ""); r.Status != 0 || !strings.Contains(r.Stdout, "alice") {
		t.Errorf("client -state %s list: exit status %d, %q %q", dir, r.Status, r.Stdout, r.Stderr)
	}
	// The state directory has a name by now. Empty answers keep what stands there.
	status, said = initAt(t, []string{"-state", dir}, "", "")
	if status != 0 || strings.Contains(said, "Name") || readConfigText(t, dir) != want {
		t.Errorf("again: exit status %d, %s\n%s", status, said, readConfigText(t, dir))
	}
	status, said = initAt(t, []string{"-state", dir}, w.Addr)
	if status != 2 || !strings.Contains(said, "nothing is written") || readConfigText(t, dir) != want {
		t.Errorf("broken off: exit status %d, %s", status, said)
	}
}

// TestInitBatch: what is given is written, every other line stays, and nothing is guessed.
func TestInitBatch(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "state")
	run := func(args ...string) (int, string) {
		sys, stdout, stderr := fakeSystem("")
		sys.OpenTTY = noTTY
		status := Run(append([]string{"-state", dir}, args...), sys)
		if stdout.String() != "" {
			t.Errorf("%q: wrote %q", args, stdout.String())
		}
		return status, stderr.String()
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if status, said := run("-batch", "init"); status != 2 || !strings.Contains(said, "nothing to write") {
		t.Errorf("without options: exit status %d, %s", status, said)
	}
	if status, said := run("-batch", "-relay", "h:1", "-card", "some card", "-timeout", "60s", "-accept-new", "init"); status != 0 {
		t.Errorf("exit status %d, %s", status, said)
	}
	if text := readConfigText(t, dir); text != "accept-new true\ncard "+filepath.Join(here, "some card")+"\nrelay h:1\ntimeout 1m0s\n" {
		t.Errorf("written: %q", text)
	}
	bundle := filepath.Join("..", "..", "ca-bundle.pem")
	kept := "# mine\r\n\n  relay\th:1\n\tonly-ca /none.pem\n# wait-peer 5s\nwait-peer 1h"
	writeConfig(t, dir, kept)
	if status, said := run("-batch", "-q", "-relay", "h:2", "-ca-bundle", bundle, "-card", "pkcs11:token=a", "init"); status != 0 || said != "" {
		t.Errorf("exit status %d, %s", status, said)
	}
	want := "# mine\r\n\nrelay h:2\n# wait-peer 5s\nwait-peer 1h\nca-bundle " + filepath.Join(here, bundle) + "\ncard pkcs11:token=a\n"
	if text := readConfigText(t, dir); text != want {
		t.Errorf("changed: %q, want %q", text, want)
	}
	less := strings.Replace(want, "card pkcs11:token=a\n", "", 1)
	if status, said := run("-batch", "-card", "", "init"); status != 0 || readConfigText(t, dir) != less {
		t.Errorf("a line taken away: exit status %d, %s\n%s", status, said, readConfigText(t, dir))
	}
	before := readConfigText(t, dir)
	for _, args := range [][]string{
		{"-relay", "no port"}, {"-ca-bundle", "/none"}, {"-card", "a\nb"}, {"-card", " "}, {"-relay", "h:1\nbatch"},
		{"-card", strings.Repeat("x", 70_000)},
	} {
		if status, said := run(append(append([]string{"-batch"}, args...), "init")...); status != 2 || readConfigText(t, dir) != before {
			t.Errorf("%.40q: exit status %d, %.300s\n%s", args, status, said, readConfigText(t, dir))
		}
	}
	writeConfig(t, dir, "relay h:1\nrely h:2")
	if status, said := run("-batch", "-relay", "h:3", "init"); status != 2 || !strings.Contains(said, "line 2") ||
		readConfigText(t, dir) != "relay h:1\nrely h:2\n" {
		t.Errorf("a file that does not parse: exit status %d, %s", status, said)
	}
}

// TestInitChecksTheChain: a card that the roots do not lead to is told, with the remedy, and a person
// is asked for its root. Nobody is sent on to a connection that would fail.
func TestInitChecksTheChain(t *testing.T) {
	t.Setenv("SOFTHSM2_CONF", "/dev/null")
	w := town.New(t, map[string][]lab.IssueOption{"alice": nil, "frank": {lab.Untrusted}, "old": {lab.Revoked}})
	roots, card := w.Path("lab", "ca-bundle.pem"), w.Path("lab", "alice")
	other := w.Path("other.pem")
	foreign, err := lab.New(lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(other, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: foreign.Root.Cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	const asked, fails = "roots to trust, as a PEM file", "but a connection would fail: "
	for i, c := range []struct {
		args  []string
		types []string
		says  string
		adds  string
	}{
		{nil, []string{card, "/none", roots}, "next: client", "ca-bundle " + roots},
		{nil, []string{card, ""}, fails, ""},
		{[]string{"-only-ca", other}, []string{card, roots}, "next: client", "only-ca " + roots},
		{[]string{"-card", card}, []string{roots}, "as ana, with the card of ALICE MARIA EXEMPLO", "ca-bundle " + roots},
	} {
		dir := w.Path("init-" + string(rune('a'+i)))
		args := append([]string{"-state", dir, "-relay", w.Addr, "-name", "ana", "-fetch=false"}, c.args...)
		status, said := initAt(t, args, c.types...)
		said = strings.Join(strings.Fields(strings.ReplaceAll(said, " | ", " ")), " ") // rows are broken
		if status != 0 || !strings.Contains(said, asked) || !strings.Contains(said, "does not lead to a trusted authority") || !strings.Contains(said, c.says) ||
			strings.Contains(said, "next: ") == strings.Contains(said, fails) || c.adds != "" && !strings.Contains(readConfigText(t, dir), c.adds+"\n") {
			t.Errorf("%q %q: exit status %d, %s\n%s", c.args, c.types, status, said, readConfigText(t, dir))
		}
	}
	for i, c := range []struct {
		card, says string
		more       []string
	}{
		{"frank", "does not lead to a trusted authority", nil},
		{"old", "revoked", []string{"-only-ca", roots, "-crl", w.Path("lab", "crl")}},
		{"none", "there is no software card", nil},
	} {
		dir := w.Path("batch-" + string(rune('a'+i)))
		sys, _, stderr := fakeSystem("")
		sys.OpenTTY = noTTY
		status := Run(append(c.more, "-state", dir, "-batch", "-name", "ana", "-fetch=false", "-card", w.Path("lab", c.card), "init"), sys)
		if said := stderr.String(); status != 0 || !strings.Contains(said, fails) || !strings.Contains(said, c.says) || strings.Contains(said, "next: ") {
			t.Errorf("%s: exit status %d, %s", c.card, status, said)
		}
	}
}
