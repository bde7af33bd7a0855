package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"chatsecure/testdata/lab/town"
)

func TestMain(m *testing.M) { os.Exit(town.Main(m)) }

// TestLabOfTheReadme runs the README's lab as it stands there: one command for lab and programs,
// one for the relay and one for each person are enough for a message and its answer.
func TestLabOfTheReadme(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "\n## A lab\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var lines []string
	for _, m := range regexp.MustCompile(`(?m)^    (.*)$`).FindAllStringSubmatch(section, -1) {
		lines = append(lines, m[1])
	}
	if len(lines) != 4 {
		t.Fatalf("the README's lab has the commands %q", lines)
	}
	build, lab, _ := strings.Cut(lines[0], " && ")
	args, isPKI := strings.CutPrefix(lab, "go run ./testdata/pki ")
	if build != "make build" || !isPKI {
		t.Fatalf("the README's lab begins with %q", lines[0])
	}
	bin, err := town.Binaries()
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	if err := os.Symlink(bin, "bin"); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if status := run(strings.Fields(args), &stdout, &stderr); status != 0 || stderr.Len() > 0 {
		t.Fatalf("%s: exit status %d, %s", lab, status, &stderr)
	}
	for _, line := range lines[1:] {
		if !strings.Contains(stdout.String(), "\n"+line+"\n") {
			t.Errorf("pki does not say %q: %s", line, &stdout)
		}
	}
	// The port of the README may be another program's here.
	relay := exec.Command("sh", "-c", "exec "+lines[1]+" -listen 127.0.0.1:0 -addr-file addr")
	relay.Stderr = os.Stderr
	if err := relay.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		relay.Process.Signal(os.Interrupt)
		relay.Wait()
	}()
	var addr string
	for deadline := time.Now().Add(town.Patience); addr == ""; time.Sleep(10 * time.Millisecond) {
		text, _ := os.ReadFile("addr")
		if addr = strings.TrimSpace(string(text)); addr == "" && time.Now().After(deadline) {
			t.Fatal("the relay does not listen")
		}
	}
	person := func(line string, args ...string) *exec.Cmd {
		words := strings.Fields(line)
		cmd := exec.CommandContext(t.Context(), words[0], append(append(words[1:], "-relay", addr, "-accept-new", "-batch"), args...)...)
		cmd.Env = append(os.Environ(), "HOME=/none", "XDG_STATE_HOME=")
		return cmd
	}
	bob := town.StartCommand(t, person(lines[3], "-json", "recv", "-n", "1"))
	bob.Object("connected")
	if r := town.RunCommand(t, person(lines[2], "send", "-wait", "read", "bob", "hello"), ""); r.Status != 0 {
		t.Errorf("alice: %+v", r)
	}
	if m := bob.Object("message"); m["text"] != "hello" {
		t.Errorf("bob: %v", m)
	}
	bob.End()
	for _, line := range lines[2:] {
		if out, err := person(line, "history").CombinedOutput(); err != nil || !strings.Contains(string(out), "hello") {
			t.Errorf("%s history: %s %v", line, out, err)
		}
	}
	// A config that is there is its person's own, whatever is added to the lab.
	config := filepath.Join("lab", "state", "alice", "config")
	if err := os.WriteFile(config, []byte("# hers\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status := run([]string{"-out", "lab", "-append", "alice:renew", "carol"}, &stdout, &stderr); status != 0 {
		t.Fatalf("append: exit status %d, %s", status, &stderr)
	}
	if text, err := os.ReadFile(config); err != nil || string(text) != "# hers\n" {
		t.Errorf("alice's config was replaced: %q %v", text, err)
	}
	if _, err := os.Stat(filepath.Join("lab", "state", "carol", "config")); err != nil {
		t.Error(err)
	}
}
