package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"chatsecure/testdata/lab"
)

// patience bounds every wait of an end-to-end test: far more than any step
// takes on a busy machine.
const patience = 60 * time.Second

// binaryDir is where binaries has put them, if it was called.
var binaryDir string

// buildFlags is what a test that is alone adds to go build before it calls
// binaries.
var buildFlags []string

// binaries builds relay and client, once, as they are shipped.
var binaries = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "chatsecure-bin-"); err != nil {
		return "", err
	}
	binaryDir = dir
	args := append(append([]string{"build"}, buildFlags...), "-o", dir+string(filepath.Separator), "chatsecure/cmd/relay", "chatsecure/cmd/client")
	out, err := exec.Command("go", args...).CombinedOutput()
	if err != nil {
		return dir, fmt.Errorf("go build: %w\n%s", err, out)
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	status := m.Run()
	if binaryDir != "" {
		os.RemoveAll(binaryDir)
	}
	os.Exit(status)
}

// town is a lab, a relay that runs, and people with cards.
type town struct {
	t    testing.TB
	dir  string
	bin  string
	pki  *lab.PKI
	addr string
	env  []string
	pid  int    // the relay's
	stop func() // ends the relay, whose clients may be there
	end  func() // ends it when they have gone
	kill func() // ends it by SIGKILL

	relayIn, clientsIn string // network namespaces; "": this process's own
}

// newTown starts a relay and issues cards as the holders say.
func newTown(t testing.TB, holders map[string][]lab.IssueOption) *town {
	t.Helper()
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	pki, err := lab.New(lab.Options{CAKey: lab.P256})
	if err != nil {
		t.Fatal(err)
	}
	for name, opts := range holders {
		if _, err := pki.Issue(name, opts...); err != nil {
			t.Fatal(err)
		}
	}
	w := &town{t: t, dir: t.TempDir(), bin: bin, pki: pki, addr: "127.0.0.1:0", end: func() {}}
	if err := pki.Write(w.path("lab")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.end() }) // after what ends those who come to it
	w.startRelay("relay")
	return w
}

// people is holders with software cards, none of them special.
func people(names ...string) map[string][]lab.IssueOption {
	holders := make(map[string][]lab.IssueOption)
	for _, name := range names {
		holders[name] = nil
	}
	return holders
}

func (w *town) path(parts ...string) string {
	return filepath.Join(append([]string{w.dir}, parts...)...)
}

// startRelay starts a relay at the town's address, with a state directory of
// this name.
func (w *town) startRelay(state string) {
	w.t.Helper()
	addrFile := w.path("addr-" + state)
	os.Remove(addrFile)
	cmd := exec.Command(filepath.Join(w.bin, "relay"), "-listen", w.addr, "-addr-file", addrFile, "-state", w.path(state),
		"-ca-bundle", w.path("lab", "ca-bundle.pem"), "-crl", w.path("lab", "crl"))
	inNetns(cmd, w.relayIn)
	log := new(bytes.Buffer)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.pid = cmd.Process.Pid
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	var over atomic.Bool // it has been ended, one way or the other
	w.kill = func() {
		over.Store(true)
		cmd.Process.Kill()
		<-done
	}
	w.stop = func() {
		if over.Swap(true) {
			return
		}
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-done:
			if err != nil {
				w.t.Errorf("the relay ended with %v; it said\n%s", err, log)
			}
		case <-time.After(patience):
			cmd.Process.Kill()
			w.t.Errorf("the relay does not end")
		}
	}
	var before []string
	w.end = func() {
		if !over.Load() && !w.t.Failed() {
			checkOpen(w.t, cmd.Process.Pid, before)
		}
		w.stop()
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) { // the file is the barrier
		if addr, err := os.ReadFile(addrFile); err == nil {
			w.addr = strings.TrimSpace(string(addr))
			before = openIn(w.pid)
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatal("the relay does not listen")
		}
	}
}

// client is a client of the person's, with a software card, that is quiet and
// takes the relay and people it does not know. Flags that follow count more.
func (w *town) client(name string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), 5*patience) // its life is many steps
	w.t.Cleanup(cancel)
	return w.clientFor(ctx, name, args...)
}

// clientFor is client that is killed when ctx ends.
func (w *town) clientFor(ctx context.Context, name string, args ...string) *exec.Cmd {
	base := []string{
		"-relay", w.addr, "-card", w.path("lab", name), "-state", w.path("state-" + name), "-ca-bundle", w.path("lab", "ca-bundle.pem"),
		"-crl", w.path("lab", "crl"), "-crl-policy", "require", "-fetch=false", "-accept-new", "-batch", "-q",
	}
	if name != "" {
		base = append(base, "-name", name)
	}
	cmd := inNetns(exec.CommandContext(ctx, filepath.Join(w.bin, "client"), append(base, args...)...), w.clientsIn)
	// No terminal: nobody can be asked, wherever the tests run.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Env = append(append(os.Environ(), w.env...), "CHATSECURE_RELAY=", "CHATSECURE_NAME=", "CHATSECURE_CARD=", "CHATSECURE_STATE=", "HOME="+w.dir)
	return cmd
}

// result is how a command ended.
type result struct {
	status         int
	stdout, stderr string
}

// run runs a client to its end.
func (w *town) run(stdin, name string, args ...string) result {
	w.t.Helper()
	return runCommand(w.t, w.client(name, args...), stdin)
}

func runCommand(t testing.TB, cmd *exec.Cmd, stdin string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// must runs a client that has to succeed in silence, and returns what it
// writes.
func (w *town) must(stdin, name string, args ...string) string {
	w.t.Helper()
	r := w.run(stdin, name, args...)
	if r.status != 0 || r.stderr != "" {
		w.t.Fatalf("%s: client %q ended with %d and said %q; it wrote %q", name, args, r.status, r.stderr, r.stdout)
	}
	return r.stdout
}

// fails runs a client that has to fail with a status, with an error and a hint
// that say these things, and nothing as data.
func (w *town) fails(status int, name string, args []string, says ...string) {
	w.t.Helper()
	checkFails(w.t, w.run("", name, args...), status, says...)
}

func checkFails(t testing.TB, r result, status int, says ...string) {
	t.Helper()
	if r.status != status || r.stdout != "" || !strings.HasPrefix(r.stderr, "client: error: ") || !strings.Contains(r.stderr, "\nclient: hint: ") {
		t.Errorf("exit status %d, want %d; wrote %q, said %q", r.status, status, r.stdout, r.stderr)
	}
	for _, want := range says {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("nothing says %q in %q", want, r.stderr)
		}
	}
}

// running is a client in the background.
type running struct {
	t      testing.TB
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	out    *bufio.Reader
	stderr bytes.Buffer
}

// start starts a client and leaves its standard input open.
func (w *town) start(name string, args ...string) *running {
	w.t.Helper()
	p := &running{t: w.t, cmd: w.client(name, args...)}
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		w.t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	p.cmd.Stderr = &p.stderr
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	return p
}

// receive starts recv -json and returns once it is connected.
func (w *town) receive(name string, args ...string) *running {
	w.t.Helper()
	p := w.start(name, append([]string{"-json", "recv"}, args...)...)
	if o := p.object("connected"); o["name"] != name {
		w.t.Fatalf("connected as %v", o)
	}
	return p
}

// object reads objects until one of this type comes.
func (p *running) object(typ string) map[string]any {
	p.t.Helper()
	for {
		var o map[string]any
		if err := json.Unmarshal([]byte(p.line()), &o); err != nil {
			p.t.Fatal(err)
		}
		if o["type"] == typ {
			return o
		}
	}
}

// line reads a line of data.
func (p *running) line() string {
	p.t.Helper()
	line, err := p.out.ReadString('\n')
	if err != nil {
		p.cmd.Wait()
		p.t.Fatalf("client %q wrote %q and ended with %v; it said %q", p.cmd.Args[1:], line, p.cmd.ProcessState, p.stderr.String())
	}
	return line
}

// end waits for the end and returns the exit status and what is left.
func (p *running) end() result {
	p.t.Helper()
	p.stdin.Close()
	rest, err := io.ReadAll(p.out)
	if err != nil {
		p.t.Fatal(err)
	}
	p.cmd.Wait()
	return result{p.cmd.ProcessState.ExitCode(), string(rest), p.stderr.String()}
}

// inNetns has a command run in a network namespace.
func inNetns(cmd *exec.Cmd, ns string) *exec.Cmd {
	if ns == "" {
		return cmd
	}
	path, err := exec.LookPath("ip")
	if err != nil {
		cmd.Err = err
		return cmd
	}
	cmd.Args = append([]string{path, "netns", "exec", ns, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = path
	return cmd
}
