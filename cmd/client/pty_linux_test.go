package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"chatsecure/testdata/lab"
)

// pty is a terminal of which the test is the person.
type pty struct {
	t      *testing.T
	master *os.File
	slave  *os.File

	mu   sync.Mutex
	cond *sync.Cond
	text bytes.Buffer // all that was shown
	from int          // where expect looks on
	over bool
}

func openPTY(t *testing.T) *pty {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	var number, unlock uint32
	for request, arg := range map[uintptr]*uint32{syscall.TIOCSPTLCK: &unlock, syscall.TIOCGPTN: &number} {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, master.Fd(), request, uintptr(unsafe.Pointer(arg))); errno != 0 {
			t.Fatal(errno)
		}
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	p := &pty{t: t, master: master, slave: slave}
	p.cond = sync.NewCond(&p.mu)
	go p.collect()
	t.Cleanup(func() { slave.Close(); master.Close() })
	return p
}

func (p *pty) collect() {
	buf := make([]byte, 4096)
	for {
		n, err := p.master.Read(buf)
		p.mu.Lock()
		p.text.Write(buf[:n])
		p.over = err != nil
		p.mu.Unlock()
		p.cond.Broadcast()
		if err != nil {
			return
		}
	}
}

// expect waits until text is shown, after what was expected before.
func (p *pty) expect(text string) {
	p.t.Helper()
	timer := time.AfterFunc(patience, func() { p.mu.Lock(); p.over = true; p.mu.Unlock(); p.cond.Broadcast() })
	defer timer.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		shown := strings.ReplaceAll(p.text.String(), "\r\n", "\n")
		if i := strings.Index(shown[p.from:], text); i >= 0 {
			p.from += i + len(text)
			return
		}
		if p.over {
			p.t.Fatalf("%q does not come; shown was %q", text, shown)
		}
		p.cond.Wait()
	}
}

func (p *pty) types(line string) {
	p.t.Helper()
	if _, err := p.master.WriteString(line + "\n"); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pty) all() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// control makes the terminal the one that controls cmd.
func (p *pty) control(cmd *exec.Cmd) {
	cmd.ExtraFiles = []*os.File{p.slave}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 3}
}

// TestAtATerminal: name, PIN, fingerprint and first contact are asked, and the
// prompt works. The PIN is never shown.
func TestAtATerminal(t *testing.T) {
	lab.NeedSoftHSM(t)
	w := newTown(t, people("alice", "bob"))
	tokens, err := w.pki.SoftHSM(w.path("tokens"))
	if err != nil {
		t.Fatal(err)
	}
	w.env = []string{tokens.Env()}
	bob := w.receive("bob", "-n", "1")

	p := openPTY(t)
	cmd := w.client("", "-card", tokens.URI("alice"), "-state", w.path("state-alice"), "-accept-new=false", "-batch=false")
	p.control(cmd)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.slave, p.slave, p.slave
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.expect("Name: ")
	p.types("alice")
	p.expect(`PIN of token "alice"`)
	p.expect(": ")
	p.types(lab.PIN)
	p.expect("Server cipher sha256 fingerprint is:\n")
	p.expect("\nConfirm (y/n)? ")
	p.types("y")
	p.expect("] [alice-")
	p.expect("] ")
	p.types("bob: olá")
	p.expect("bob is new here")
	p.expect("Nome           : ")
	p.expect("Confirm (y/n)? ")
	p.types("y")
	if o := bob.object("message"); o["text"] != "olá" {
		t.Errorf("bob got %v", o)
	}
	bob.end()
	p.expect("] [alice-")
	p.types("quit")
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v; shown was %q", err, p.all())
	}
	if strings.Contains(p.all(), lab.PIN) {
		t.Error("the PIN was shown")
	}
	var modes syscall.Termios
	if err := ioctl(p.slave.Fd(), getModes, &modes); err != nil || modes.Lflag&syscall.ECHO == 0 {
		t.Errorf("the terminal is left without echo: %v", err)
	}
}

// TestQuestionsWhileInputIsData go to the controlling terminal.
func TestQuestionsWhileInputIsData(t *testing.T) {
	w := newTown(t, people("alice", "bob"))
	bob := w.receive("bob", "-n", "2")
	p := openPTY(t)
	cmd := w.client("alice", "-accept-new=false", "-batch=false", "send", "-wait", "read", "bob")
	p.control(cmd)
	done := make(chan result, 1)
	go func() { done <- runCommand(t, cmd, "one\ntwo\n") }()
	p.expect("Server cipher sha256 fingerprint is:")
	p.expect("Confirm (y/n)? ")
	p.types("y")
	p.expect("bob is new here")
	p.expect("Confirm (y/n)? ")
	p.types("yes")
	if r := <-done; r.status != 0 || strings.Count(r.stdout, "\n") != 2 || r.stderr != "" {
		t.Errorf("alice: %+v", r)
	}
	bob.end()

	// A no is a refusal, and nothing goes.
	carol := openPTY(t)
	cmd = w.client("alice", "-accept-new=false", "-batch=false", "-state", w.path("state-new"), "list")
	carol.control(cmd)
	go func() { done <- runCommand(t, cmd, "") }()
	carol.expect("Confirm (y/n)? ")
	carol.types("n")
	checkFails(t, <-done, 4, "-fingerprint")
}

// TestInterruptedAtTheTerminal: a signal while a PIN is asked for leaves the
// terminal as it was.
func TestInterruptedAtTheTerminal(t *testing.T) {
	lab.NeedSoftHSM(t)
	w := newTown(t, people("alice"))
	tokens, err := w.pki.SoftHSM(w.path("tokens"))
	if err != nil {
		t.Fatal(err)
	}
	w.env = []string{tokens.Env()}
	p := openPTY(t)
	cmd := w.client("alice", "-card", tokens.URI("alice"), "-batch=false", "list")
	p.control(cmd)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.slave, p.slave, p.slave
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.expect("PIN of ")
	cmd.Process.Signal(syscall.SIGINT)
	cmd.Wait()
	if status := cmd.ProcessState.ExitCode(); status != 130 {
		t.Errorf("exit status %d; shown was %q", status, p.all())
	}
	var modes syscall.Termios
	if err := ioctl(p.slave.Fd(), getModes, &modes); err != nil || modes.Lflag&syscall.ECHO == 0 {
		t.Errorf("the terminal is left without echo: %v", err)
	}
}
