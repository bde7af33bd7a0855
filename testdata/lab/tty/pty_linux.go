package tty

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// patience bounds every wait: far more than any step takes on a busy machine.
const patience = 60 * time.Second

// PTY is a terminal device with the test in the place of the person.
type PTY struct {
	T      testing.TB
	Master *os.File
	Slave  *os.File

	mu   sync.Mutex
	cond *sync.Cond
	text bytes.Buffer // all output
	from int          // where Expect continues
	over bool
}

// OpenPTY opens a terminal. It closes at the end of the test.
func OpenPTY(t testing.TB) *PTY {
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
	p := &PTY{T: t, Master: master, Slave: slave}
	p.cond = sync.NewCond(&p.mu)
	go p.collect()
	t.Cleanup(func() { slave.Close(); master.Close() })
	return p
}

func (p *PTY) collect() {
	buf := make([]byte, 4096)
	for {
		n, err := p.Master.Read(buf)
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

// Expect waits for text in the output after the last expected one.
func (p *PTY) Expect(text string) {
	p.T.Helper()
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
			p.T.Fatalf("%q does not come; shown was %q", text, shown)
		}
		p.cond.Wait()
	}
}

// Types types a line.
func (p *PTY) Types(line string) {
	p.T.Helper()
	p.Keys(line + "\n")
}

// Keys types keys.
func (p *PTY) Keys(keys string) {
	p.T.Helper()
	if _, err := p.Master.WriteString(keys); err != nil {
		p.T.Fatal(err)
	}
}

// Echo types keys and returns the time until text is in the output.
func (p *PTY) Echo(keys, text string) time.Duration {
	p.T.Helper()
	timer := time.AfterFunc(patience, func() { p.mu.Lock(); p.over = true; p.mu.Unlock(); p.cond.Broadcast() })
	defer timer.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	from := p.text.Len()
	start := time.Now()
	p.Keys(keys)
	for !bytes.Contains(p.text.Bytes()[from:], []byte(text)) {
		if p.over {
			p.T.Fatalf("%q does not come; shown was %q", text, p.text.Bytes()[from:])
		}
		p.cond.Wait()
	}
	return time.Since(start)
}

// All is the output so far.
func (p *PTY) All() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// Fill types keys whose output nobody reads, until the terminal takes no more of it.
// Nothing is read from then on.
func (p *PTY) Fill(keys string) {
	p.T.Helper()
	p.mu.Lock() // collect waits for it, with what it has read last
	go p.Master.WriteString(keys)
	for deadline := time.Now().Add(patience); p.isWritable(); runtime.Gosched() {
		if time.Now().After(deadline) {
			p.T.Fatal("the terminal takes all output")
		}
	}
}

// isWritable reports whether the terminal takes output.
func (p *PTY) isWritable() bool {
	p.T.Helper()
	poll, now := struct {
		fd              int32
		events, revents int16
	}{fd: int32(p.Slave.Fd()), events: 4}, syscall.Timespec{} // POLLOUT
	n, _, errno := syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&poll)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
	if errno != 0 {
		p.T.Fatal(errno)
	}
	return n > 0
}

// Control makes this the controlling terminal of cmd.
func (p *PTY) Control(cmd *exec.Cmd) {
	cmd.ExtraFiles = []*os.File{p.Slave}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 3}
}

// Modes are the terminal's modes.
func (p *PTY) Modes() syscall.Termios {
	p.T.Helper()
	var modes syscall.Termios
	p.ioctl(p.Slave, syscall.TCGETS, unsafe.Pointer(&modes))
	return modes
}

// SetModes sets the terminal's modes, as a shell does.
func (p *PTY) SetModes(modes syscall.Termios) {
	p.T.Helper()
	p.ioctl(p.Slave, syscall.TCSETS, unsafe.Pointer(&modes))
}

// Resize sets the terminal's size.
func (p *PTY) Resize(cols, rows uint16) {
	p.T.Helper()
	size := struct{ rows, cols, x, y uint16 }{rows, cols, 0, 0}
	p.ioctl(p.Master, syscall.TIOCSWINSZ, unsafe.Pointer(&size))
}

func (p *PTY) ioctl(f *os.File, request uintptr, arg unsafe.Pointer) {
	p.T.Helper()
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), request, uintptr(arg)); errno != 0 {
		p.T.Fatal(errno)
	}
}

// Quiet runs a program controlled by this terminal to its end. Any output on it
// fails the test and kills the program, which may wait for an answer.
func (p *PTY) Quiet(cmd *exec.Cmd) (status int) {
	p.T.Helper()
	p.Control(cmd)
	if err := cmd.Start(); err != nil {
		p.T.Fatal(err)
	}
	go func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for p.text.Len() == 0 && !p.over {
			p.cond.Wait()
		}
		cmd.Process.Kill()
	}()
	cmd.Wait()
	p.Slave.Close()
	p.mu.Lock()
	for !p.over { // until the output is complete
		p.cond.Wait()
	}
	p.mu.Unlock()
	if asked := p.All(); asked != "" {
		p.T.Errorf("%q asked %q", cmd.Args[1:], asked)
	}
	return cmd.ProcessState.ExitCode()
}
