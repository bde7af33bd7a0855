package command

import (
	"path/filepath"
	"strings"
	"testing"

	"chatsecure/internal/state"
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
		{"", "", false, place + ": the name carol does not count"},
		{"", "dave", false, "CHATSECURE_NAME: the name dave does not count"},
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
