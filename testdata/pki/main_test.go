package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure/internal/relay"
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
	server := exec.Command("sh", "-c", "exec "+lines[1]+" -listen 127.0.0.1:0 -addr-file addr")
	server.Stderr = os.Stderr
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		server.Process.Signal(os.Interrupt)
		server.Wait()
	}()
	var addr string
	for deadline := time.Now().Add(town.Patience); addr == ""; time.Sleep(10 * time.Millisecond) {
		text, _ := os.ReadFile("addr")
		if addr = strings.TrimSpace(string(text)); addr == "" && time.Now().After(deadline) {
			t.Fatal("the relay does not listen")
		}
	}
	add := func(args ...string) {
		t.Helper()
		if status := run(slices.Concat([]string{"-out", "lab", "-append"}, args), &stdout, &stderr); status != 0 {
			t.Fatalf("-append %q: exit status %d, %s", args, status, &stderr)
		}
	}
	add("-relay", addr)
	person := func(line string, args ...string) *exec.Cmd {
		words := strings.Fields(line)
		cmd := exec.CommandContext(t.Context(), words[0], slices.Concat(words[1:], []string{"-batch"}, args)...)
		cmd.Env = append(os.Environ(), "HOME=/none", "XDG_STATE_HOME=")
		return cmd
	}
	bob := town.StartCommand(t, person(lines[3], "-accept-new", "-json", "recv", "-n", "1"))
	bob.Object("connected")
	// Only bob is a question. The lab's relay is known from the start.
	if r := town.RunCommand(t, person(lines[2], "list"), ""); r.Status != 0 {
		t.Errorf("alice: %+v", r)
	}
	if r := town.RunCommand(t, person(lines[2], "-accept-new", "send", "-wait", "read", "bob", "hello"), ""); r.Status != 0 {
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
	add("alice:renew", "carol")
	if text, err := os.ReadFile(config); err != nil || string(text) != "# hers\n" {
		t.Errorf("alice's config was replaced: %q %v", text, err)
	}
	carol, err := os.ReadFile(filepath.Join("lab", "state", "carol", "config"))
	if err != nil || !strings.Contains(string(carol), "\nrelay "+addr+"\n") {
		t.Errorf("carol's relay: %q %v", carol, err)
	}
}

// TestRelayOfTheLab: relay.sh and every config have one address and one key. -append keeps both,
// and with -relay moves everybody who is at the lab's relay.
func TestRelayOfTheLab(t *testing.T) {
	t.Chdir(t.TempDir())
	pki := func(line string) {
		t.Helper()
		var stdout, stderr bytes.Buffer
		if status := run(strings.Fields(line), &stdout, &stderr); status != 0 {
			t.Fatalf("%s: exit status %d, %s", line, status, &stderr)
		}
	}
	at := func(addr string, names ...string) {
		t.Helper()
		if script, err := os.ReadFile("lab/relay.sh"); err != nil || !strings.Contains(string(script), " -listen "+quote(addr)+" ") {
			t.Errorf("relay.sh is not at %s: %s %v", addr, script, err)
		}
		fingerprint, err := relay.Fingerprint("lab/state/relay")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			config, err := os.ReadFile(filepath.Join("lab/state", name, "config"))
			if err != nil || !strings.Contains(string(config), "\nrelay "+addr+"\n") || !strings.Contains(string(config), "\nfingerprint "+fingerprint+"\n") {
				t.Errorf("%s is not at %s with %s: %s %v", name, addr, fingerprint, config, err)
			}
		}
	}
	pki("-out lab alice bob")
	at("127.0.0.1:8080", "alice", "bob")
	elsewhere := []byte("# mine\nrelay h:1\n")
	if err := os.WriteFile("lab/state/bob/config", elsewhere, 0o600); err != nil {
		t.Fatal(err)
	}
	pki("-out lab -append -relay [::1]:09 carol")
	at("[::1]:9", "alice", "carol")
	pki("-out lab -append dave")
	at("[::1]:9", "alice", "carol", "dave")
	if config, err := os.ReadFile("lab/state/bob/config"); err != nil || !bytes.Equal(config, elsewhere) {
		t.Errorf("bob, who is at another relay, was moved: %s %v", config, err)
	}
	pki("-out other -relay localhost:7 erin")
	var stdout, stderr bytes.Buffer
	if status := run(strings.Fields("-out new -relay 8081 alice"), &stdout, &stderr); status != 2 || !strings.Contains(stderr.String(), "HOST:PORT") {
		t.Errorf("no address: exit status %d, %s", status, &stderr)
	}
}
