// Package town is a lab with a relay and clients as processes, built as they are
// shipped. A package whose tests use it calls Main in its TestMain:
//
//	func TestMain(m *testing.M) { os.Exit(town.Main(m)) }
package town

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
	"chatsecure/testdata/lab/contest"
)

// Patience bounds every wait of a test with processes: far more than any step
// takes on a busy machine.
const Patience = 60 * time.Second

// BuildFlags are added to go build. Only a test that runs alone in its process
// may set them, before its first town.
var BuildFlags []string

// binaryDir is the directory of the built binaries, or "".
var binaryDir string

// Binaries builds relay and client, once, as they are shipped. It returns their
// directory, which Main removes.
var Binaries = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "chatsecure-bin-"); err != nil {
		return "", err
	}
	binaryDir = dir
	args := append(append([]string{"build"}, BuildFlags...), "-o", dir+string(filepath.Separator), "chatsecure/cmd/relay",
		"chatsecure/cmd/client")
	out, err := exec.Command("go", args...).CombinedOutput()
	if err != nil {
		return dir, fmt.Errorf("go build: %w\n%s", err, out)
	}
	return dir, nil
})

// Main runs the tests of m, removes the binaries that were built for them, and returns
// the exit status.
func Main(m *testing.M) int {
	contest.RunBare()
	status := m.Run()
	if binaryDir != "" {
		os.RemoveAll(binaryDir)
	}
	return status
}

// Town is a lab, a running relay, and people with software cards.
type Town struct {
	T    testing.TB
	Dir  string
	Bin  string // the directory of the binaries
	PKI  *lab.PKI
	Addr string   // the relay's
	Env  []string // added to the environment of clients
	Args []string // of the relay's next start, besides the usual ones
	Pid  int      // the relay's
	Stop func()   // ends the relay in order
	Kill func()   // ends the relay by SIGKILL
	end  func()   // ends the relay in order, once its clients have left

	RelayIn, ClientsIn string // network namespaces; "" is that of this process
}

// New starts a relay and issues a card for each name, as its options say.
func New(t testing.TB, holders map[string][]lab.IssueOption) *Town {
	t.Helper()
	bin, err := Binaries()
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
	w := &Town{T: t, Dir: t.TempDir(), Bin: bin, PKI: pki, Addr: "127.0.0.1:0", end: func() {}}
	if err := pki.Write(w.Path("lab")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.end() }) // cleanups run last to first: the clients are gone
	w.StartRelay("relay")
	return w
}

// People are holders for New with usual cards.
func People(names ...string) map[string][]lab.IssueOption {
	holders := make(map[string][]lab.IssueOption)
	for _, name := range names {
		holders[name] = nil
	}
	return holders
}

// Path is a path in the town's directory.
func (w *Town) Path(parts ...string) string {
	return filepath.Join(append([]string{w.Dir}, parts...)...)
}

// StartRelay starts a relay at the town's address. state names its state
// directory, in the town's.
func (w *Town) StartRelay(state string) {
	w.T.Helper()
	addrFile := w.Path("addr-" + state)
	os.Remove(addrFile)
	cmd := exec.Command(filepath.Join(w.Bin, "relay"), append([]string{"-listen", w.Addr, "-addr-file", addrFile, "-state", w.Path(state),
		"-ca-bundle", w.Path("lab", "ca-bundle.pem"), "-crl", w.Path("lab", "crl")}, w.Args...)...)
	inNetns(cmd, w.RelayIn)
	log := new(bytes.Buffer)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		w.T.Fatal(err)
	}
	w.Pid = cmd.Process.Pid
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	var over atomic.Bool // Kill or Stop was called
	w.Kill = func() {
		over.Store(true)
		cmd.Process.Kill()
		<-done
	}
	w.Stop = func() {
		if over.Swap(true) {
			return
		}
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-done:
			if err != nil {
				w.T.Errorf("the relay ended with %v; it said\n%s", err, log)
			}
		case <-time.After(Patience):
			cmd.Process.Kill()
			w.T.Errorf("the relay does not end")
		}
	}
	w.Addr = w.relayAddr(addrFile)
	before := openIn(w.Pid)
	w.end = func() {
		if !over.Load() && !w.T.Failed() {
			checkOpen(w.T, cmd.Process.Pid, before)
		}
		w.Stop()
	}
}

// relayAddr waits for the address in the file of -addr-file.
func (w *Town) relayAddr(file string) string {
	w.T.Helper()
	for deadline := time.Now().Add(Patience); ; time.Sleep(time.Millisecond) { // the file is the barrier
		if addr, err := os.ReadFile(file); err == nil {
			return strings.TrimSpace(string(addr))
		}
		if time.Now().After(deadline) {
			w.Kill()
			w.T.Fatal("the relay does not listen")
		}
	}
}

// Client is a client with the person's software card, not started yet. It is
// quiet and accepts an unknown relay and unknown people. args override its flags.
func (w *Town) Client(name string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), 5*Patience) // its life is many steps
	w.T.Cleanup(cancel)
	return w.ClientFor(ctx, name, args...)
}

// ClientFor is a Client that is killed when ctx ends.
func (w *Town) ClientFor(ctx context.Context, name string, args ...string) *exec.Cmd {
	base := []string{
		"-relay", w.Addr, "-card", w.Path("lab", name), "-state", w.Path("state-" + name), "-ca-bundle", w.Path("lab", "ca-bundle.pem"),
		"-crl", w.Path("lab", "crl"), "-crl-policy", "require", "-fetch=false", "-accept-new", "-batch", "-q",
	}
	if name != "" {
		base = append(base, "-name", name)
	}
	cmd := inNetns(exec.CommandContext(ctx, filepath.Join(w.Bin, "client"), append(base, args...)...), w.ClientsIn)
	// Without a terminal nobody can be asked, wherever the tests run.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Env = append(append(os.Environ(), w.Env...), "CHATSECURE_RELAY=", "CHATSECURE_NAME=", "CHATSECURE_CARD=",
		"CHATSECURE_STATE=", "HOME="+w.Dir)
	return cmd
}

// Result is the end of a command.
type Result struct {
	Status         int
	Stdout, Stderr string
}

// Run runs a client to its end.
func (w *Town) Run(stdin, name string, args ...string) Result {
	w.T.Helper()
	return RunCommand(w.T, w.Client(name, args...), stdin)
}

// RunCommand runs a command to its end, with stdin as its standard input.
func RunCommand(t testing.TB, cmd *exec.Cmd, stdin string) Result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatal(err)
	}
	return Result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// Must runs a client that has to succeed in silence, and returns its output.
func (w *Town) Must(stdin, name string, args ...string) string {
	w.T.Helper()
	r := w.Run(stdin, name, args...)
	if r.Status != 0 || r.Stderr != "" {
		w.T.Fatalf("%s: client %q ended with %d and said %q; it wrote %q", name, args, r.Status, r.Stderr, r.Stdout)
	}
	return r.Stdout
}

// Fails runs a client that has to fail as CheckFails says.
func (w *Town) Fails(status int, name string, args []string, says ...string) {
	w.T.Helper()
	CheckFails(w.T, w.Run("", name, args...), status, says...)
}

// CheckFails checks that a client ended with a status, an error and a hint, that
// these contain every one of says, and that standard output is empty. A refusal (4) has a hint
// only where it can help.
func CheckFails(t testing.TB, r Result, status int, says ...string) {
	t.Helper()
	if r.Status != status || r.Stdout != "" || !strings.HasPrefix(r.Stderr, "client: error: ") ||
		status != 4 && !strings.Contains(r.Stderr, "\nclient: hint: ") {
		t.Errorf("exit status %d, want %d; wrote %q, said %q", r.Status, status, r.Stdout, r.Stderr)
	}
	for _, want := range says {
		if !strings.Contains(r.Stderr, want) {
			t.Errorf("nothing says %q in %q", want, r.Stderr)
		}
	}
}

// Running is a client in the background.
type Running struct {
	T      testing.TB
	Cmd    *exec.Cmd
	Stdin  io.WriteCloser
	Out    *bufio.Reader
	Stderr Words
}

// Words are what a program has said so far. They may be read while it runs.
type Words struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *Words) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(b)
}

func (w *Words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// Start starts a client and leaves its standard input open.
func (w *Town) Start(name string, args ...string) *Running {
	w.T.Helper()
	return StartCommand(w.T, w.Client(name, args...))
}

// StartCommand starts a client that was made in another way than by Client.
func StartCommand(t testing.TB, cmd *exec.Cmd) *Running {
	t.Helper()
	p := &Running{T: t, Cmd: cmd}
	var err error
	if p.Stdin, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.Out = bufio.NewReader(out)
	cmd.Stderr = &p.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// Receive starts recv -json and returns once it is connected.
func (w *Town) Receive(name string, args ...string) *Running {
	w.T.Helper()
	p := w.Start(name, append([]string{"-json", "recv"}, args...)...)
	if o := p.Object("connected"); o["name"] != name {
		w.T.Fatalf("connected as %v", o)
	}
	return p
}

// Object reads objects of -json until one of this type comes.
func (p *Running) Object(typ string) map[string]any {
	p.T.Helper()
	return p.Until(func(o map[string]any) bool { return o["type"] == typ })
}

// Until reads objects of -json until one is found.
func (p *Running) Until(found func(map[string]any) bool) map[string]any {
	p.T.Helper()
	for {
		var o map[string]any
		if err := json.Unmarshal([]byte(p.Line()), &o); err != nil {
			p.T.Fatal(err)
		}
		if found(o) {
			return o
		}
	}
}

// Line reads a line of data.
func (p *Running) Line() string {
	p.T.Helper()
	line, err := p.Out.ReadString('\n')
	if err != nil {
		p.Cmd.Wait()
		p.T.Fatalf("client %q wrote %q and ended with %v; it said %q", p.Cmd.Args[1:], line, p.Cmd.ProcessState, p.Stderr.String())
	}
	return line
}

// End closes standard input and waits for the end. The result has the output
// that was not read before.
func (p *Running) End() Result {
	p.T.Helper()
	p.Stdin.Close()
	rest, err := io.ReadAll(p.Out)
	if err != nil {
		p.T.Fatal(err)
	}
	p.Cmd.Wait()
	return Result{p.Cmd.ProcessState.ExitCode(), string(rest), p.Stderr.String()}
}

// Fingerprint is the output of relay -fingerprint, without its newline.
func (w *Town) Fingerprint(state string) string {
	w.T.Helper()
	out, err := exec.Command(filepath.Join(w.Bin, "relay"), "-fingerprint", "-state", w.Path(state)).Output()
	if err != nil {
		w.T.Fatal(err)
	}
	return strings.TrimSpace(string(out))
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
