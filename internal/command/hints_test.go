package command

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"chatsecure/internal/fail"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// claimed is a state directory that belongs to a name, with a config.
func claimed(t *testing.T, name, config string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "of "+name)
	st, err := state.Open(dir, name)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Claim(name); err != nil {
		t.Fatal(err)
	}
	if config != "" {
		writeConfig(t, dir, config)
	}
	return dir
}

// TestClaimedNameCounts: the name comes from the directory that has one. Another one in a farther place is named with its
// place and does not count; on the command line it is refused, and to leave it out helps.
func TestClaimedNameCounts(t *testing.T) {
	dir := claimed(t, "bob2", "# mine\nname carol\ncard none")
	place := filepath.Join(dir, "config") + ", line 2"
	for _, c := range []struct {
		args, env string
		refused   bool
		says      string
	}{
		{"", "", false, place + ": name carol does not count"},
		{"", "dave", false, "CHATSECURE_NAME dave does not count"},
		{"", "BOB2", false, ""},
		{"-name bob2", "", false, ""},
		{"-name=", "", false, ""},
		{"-name carol", "bob2", true, "belongs to the name bob2, not to carol"},
	} {
		for _, command := range []string{"list", "doctor", "init"} {
			sys, stdout, stderr := fakeSystem("")
			sys.OpenTTY = noTTY
			sys.Env = func(name string) string { return map[string]string{"CHATSECURE_NAME": c.env}[name] }
			args := append(strings.Fields(c.args), "-state", dir, "-relay", "127.0.0.1:1", "-timeout", "1s", "-batch", command)
			status := Run(args, sys)
			said := stdout.String() + stderr.String()
			if strings.Contains(said, "belongs to the name bob2, not") != c.refused || (status == 2) != c.refused && command != "doctor" ||
				!strings.Contains(said, c.says) || c.says == "" && strings.Contains(said, "does not count") {
				t.Errorf("%s with %q and CHATSECURE_NAME=%s: exit status %d, %s", command, c.args, c.env, status, said)
			}
			if command == "init" && !c.refused {
				writeConfig(t, dir, "# mine\nname carol\ncard none")
			}
		}
	}
	if got := readConfigText(t, dir); !strings.Contains(got, "name carol\n") {
		t.Fatalf("the config is %q", got)
	}
	sys, _, stderr := fakeSystem("")
	sys.OpenTTY = noTTY
	Run([]string{"-state", dir, "-batch", "list"}, sys)
	_, remedy, _ := strings.Cut(stderr.String(), "to mend the line: ")
	remedy, _, _ = strings.Cut(remedy, "\n")
	sys, _, stderr = fakeSystem("")
	sys.OpenTTY = noTTY
	if status := Run(shellWords(remedy)[1:], sys); status != 0 {
		t.Fatalf("%s: exit status %d, %s", remedy, status, stderr.String())
	}
	sys, _, stderr = fakeSystem("")
	sys.OpenTTY = noTTY
	if Run([]string{"-state", dir, "-batch", "list"}, sys); strings.Contains(stderr.String(), "does not count") {
		t.Errorf("after %s: %s", remedy, stderr.String())
	}
}

// hinted are the commands in a hint, as a reader would type them.
func hinted(t *testing.T, dir, said string) (commands [][]string) {
	t.Helper()
	_, hint, ok := strings.Cut(said, "\nclient: hint: ")
	if !ok {
		return nil
	}
	filled := strings.NewReplacer("HOST:PORT", "h:1", "NAME", "ana", "; ", "\n", ", or ", "\n", ", then ", "\n", ": client", "\nclient",
		" init makes", " init\n", " shows ", "\n", " takes ", "\n", " erases ", "\n", " tells ", "\n").Replace(strings.TrimSpace(hint))
	for line := range strings.Lines(filled) {
		switch words := shellWords(strings.TrimSpace(strings.TrimPrefix(line, "name it with -state "))); {
		case len(words) > 1 && words[0] == "client" && !slices.Contains(words, "-h") || len(words) > 2 && words[0] == "chmod":
			commands = append(commands, words)
		}
	}
	return commands
}

// TestHintsHelp: each command in a hint is run in the situation that it is said in. None ends with the error that it is said
// about, nor with a usage error, and after it that error is gone, where the hint promises so.
func TestHintsHelp(t *testing.T) {
	t.Setenv("SOFTHSM2_CONF", "/dev/null")
	one, two := strings.Repeat("01", 32), strings.Repeat("02", 32)
	run := func(dir string, args ...string) (int, string) {
		sys, stdout, stderr := fakeSystem("")
		sys.OpenTTY = noTTY
		status := Run(append([]string{"-state", dir}, args...), sys)
		return status, stdout.String() + "\n" + stderr.String()
	}
	block := func(identities ...string) func(dir string) error {
		return func(dir string) error {
			st, err := state.Open(dir, "ana")
			for _, identity := range identities {
				_, _, blockErr := st.Block("bob", proto.MustHash(identity))
				err = errors.Join(err, blockErr)
			}
			return err
		}
	}
	file := func(name, text string, mode os.FileMode) func(dir string) error {
		return func(dir string) error {
			path := filepath.Join(dir, name)
			return errors.Join(os.WriteFile(path, []byte(text), mode), os.Chmod(path, mode))
		}
	}
	for _, c := range []struct {
		situation string
		prepare   func(dir string) error
		line      string
		commands  int
		cures     bool
	}{
		{"a known file that others can write", file("known_peers", "", 0o666), "trust", 1, true},
		{"a config that others can write", file("config", "batch\n", 0o666), "trust", 1, true},
		{"a kept key that others can read", file("kept", "x", 0o644), "-name ana list", 1, true},
		{"a kept key that is damaged", file("kept", "x", 0o600), "-name ana list", 1, true},
		{"no state directory", os.Remove, "trust", 1, true},
		{"nothing to write", nil, "-batch init", 1, false},
		{"no name", nil, "-batch list", 1, false},
		{"nobody known", nil, "trust block bob", 1, false},
		{"nobody blocked", nil, "trust unblock bob", 1, false},
		{"a blocked person accepted under another name", block(one), "trust accept frank " + one, 1, true},
		{"two people blocked under a name", block(one, two), "trust unblock bob", 2, true},
		{"an option of all commands after the command", nil, "trust -json", 1, false},
		{"a card in the config that cannot be", file("config", "card pkcs11:token=a?module-path=b\n", 0o600), "card", 0, false},
		{"a module in the config that is none", file("config", "card pkcs11:token=a?module-path=/etc/passwd\n", 0o600), "-name ana list", 1, false},
		{"a module in the config that is none, of card", file("config", "card pkcs11:token=a?module-path=/etc/passwd\n", 0o600), "card", 1, false},
	} {
		dir := filepath.Join(t.TempDir(), "of Ana")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if c.prepare != nil {
			if err := c.prepare(dir); err != nil {
				t.Fatal(err)
			}
		}
		status, said := run(dir, strings.Fields(c.line)...)
		_, failed, _ := strings.Cut(said, "client: error: ")
		failed, _, _ = strings.Cut(failed, "\n")
		commands := hinted(t, dir, said)
		if status == 0 || failed == "" || len(commands) != c.commands {
			t.Errorf("%s: exit status %d, %d commands in %s", c.situation, status, len(commands), said)
		}
		for _, words := range commands {
			if words[0] == "chmod" {
				if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
					t.Errorf("%s: %q: %v %s", c.situation, words, err, out)
				}
				continue
			}
			if !slices.Contains(words, dir) && words[len(words)-1] != "card" {
				t.Errorf("%s: %q is not for the directory in use", c.situation, words)
			}
			sys, stdout, stderr := fakeSystem("")
			sys.OpenTTY = noTTY
			sys.Env = func(name string) string { return map[string]string{"CHATSECURE_STATE": dir}[name] }
			if status := Run(words[1:], sys); status == 2 && words[len(words)-1] != "init" || strings.Contains(stdout.String()+stderr.String(), failed) {
				t.Errorf("%s: %q ends with %d: %s", c.situation, words, status, stderr.String())
			}
		}
		if _, said := run(dir, strings.Fields(c.line)...); c.cures && strings.Contains(said, failed) {
			t.Errorf("%s: after %q it says %s", c.situation, commands, said)
		}
	}
}

// TestHintIsNotTheSameCommand: the command that is said to show more is not the one that has just failed.
func TestHintIsNotTheSameCommand(t *testing.T) {
	for code, command := range map[proto.Code]string{proto.Card: "client card", proto.History: "client history -verify", proto.NoSuchName: "client list"} {
		for running, want := range map[string]bool{"": true, "client doctor": true, command: false} {
			sys, _, stderr := fakeSystem("")
			out := newDisplay(sys, options{})
			out.running = running
			out.fail(fail.Errorf(code, "it failed"))
			if got := strings.Contains(stderr.String(), command+" "); got != want {
				t.Errorf("%q fails: %s", running, stderr.String())
			}
		}
	}
}

// TestHintsOfCodesExist: the commands in the hints of all codes are there, and so are the options.
func TestHintsOfCodesExist(t *testing.T) {
	sets := flagSets()
	words := regexp.MustCompile(`client ([a-z]+)|(?:^|[ (])-([a-z][a-z-]*)`)
	found := 0
	for code := range fail.Codes {
		hint := fail.Errorf(code, "").Advice()
		for _, m := range words.FindAllStringSubmatch(hint, -1) {
			found++
			command, relays, option := m[1], strings.Contains(hint, "relay "+strings.TrimSpace(m[0])), m[2]
			known := command != "" && sets[command] != nil || relays || option == "h"
			for _, f := range sets {
				known = known || option != "" && f.Lookup(option) != nil
			}
			if !known {
				t.Errorf("%s: there is no %q: %s", code, m[0], hint)
			}
		}
	}
	if found < len(fail.Codes)/2 {
		t.Errorf("%d commands and options are found in all hints", found)
	}
}

// TestHintsCanBeCopied: at a terminal of any width each command to copy is a line of its own, which the program does not
// break, as is a hash, below the text where it has room. A pipe gets one line, and the prompt the command in its own words.
func TestHintsCanBeCopied(t *testing.T) {
	known, now := strings.Repeat("01", 32), strings.Repeat("02", 32)
	st, err := state.Open(t.TempDir(), "ana")
	if err != nil {
		t.Fatal(err)
	}
	person := &state.KnownPeer{Name: "bob", Identity: proto.MustHash(known)}
	opt := options{typed: map[string]string{"state": "lab/state/frank"}}
	for _, c := range []struct {
		err  error
		rows []string
	}{
		{st.RelayChanged("localhost:8080", known, now), []string{known, now, "client -state lab/state/frank trust accept localhost:8080 " + now}},
		{st.RelayUnknown("localhost:8080", now), []string{now, "client -state lab/state/frank trust accept localhost:8080 " + now}},
		{state.PeerChanged("bob", person, fakePerson("bob", 2)), []string{
			"client -state lab/state/frank trust accept bob 02" + strings.Repeat("00", 31), "client -state lab/state/frank trust block bob 02" + strings.Repeat("00", 31)}},
		{state.PeerUnknown("bob", fakePerson("bob", 2)), []string{"client -state lab/state/frank trust accept bob 02" + strings.Repeat("00", 31)}},
	} {
		said := func(cols int) string {
			sys, _, stderr := fakeSystem("")
			d := newDisplay(sys, opt)
			d.advice = opt.advice
			d.errCols = func() int { return cols }
			d.fail(c.err)
			return stderr.String()
		}
		for _, cols := range []int{132, 80, 60, 20} {
			got := said(cols)
			for _, row := range c.rows {
				aligned := cols >= 80 && strings.Contains(got, "\n             | "+row+"\n") && len(row) == 64
				if !aligned && !strings.Contains(got, "\n  "+row+"\n") {
					t.Errorf("%d columns: no row is %q in\n%s", cols, row, got)
				}
			}
			if regexp.MustCompile(`\n +\| *\n`).MatchString(got) {
				t.Errorf("%d columns: an empty row is in\n%s", cols, got)
			}
		}
		if got := said(0); strings.Count(got, "\n") != 2 || strings.ContainsAny(got, "\f") {
			t.Errorf("a pipe gets %q", got)
		}
		if got := promptAdvice(fail.AsError(c.err).Advice()); strings.Contains(got, fail.Mark) || !strings.Contains(got, "/trust accept ") {
			t.Errorf("the prompt says %q", got)
		}
	}
}
