package main

import (
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"unsafe"
)

// modes are a terminal's, which nothing may leave changed.
func (p *pty) modes() syscall.Termios {
	p.t.Helper()
	var modes syscall.Termios
	if err := ioctl(p.slave.Fd(), getModes, &modes); err != nil {
		p.t.Fatal(err)
	}
	return modes
}

// resize sets the terminal's size.
func (p *pty) resize(cols, rows uint16) {
	p.t.Helper()
	size := struct{ rows, cols, x, y uint16 }{rows, cols, 0, 0}
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, p.master.Fd(), syscall.TIOCSWINSZ, uintptr(unsafe.Pointer(&size))); errno != 0 {
		p.t.Fatal(errno)
	}
}

// TestRawMode is left as it was found, and for good at the end.
func TestRawMode(t *testing.T) {
	p := openPTY(t)
	before := p.modes()
	r := &rawMode{fd: p.slave.Fd()}
	if r.leave(false) {
		t.Error("it was raw before it was made so")
	}
	for range 2 {
		for range 2 {
			if err := r.enter(); err != nil {
				t.Fatal(err)
			}
		}
		raw := p.modes()
		if raw.Lflag&(syscall.ECHO|syscall.ICANON|syscall.ISIG) != 0 || raw.Iflag&syscall.ICRNL != 0 || raw.Oflag != before.Oflag {
			t.Errorf("the raw modes are %+v", raw)
		}
		if !r.leave(false) || p.modes() != before {
			t.Errorf("the modes are %+v, were %+v", p.modes(), before)
		}
	}
	if err := r.enter(); err != nil {
		t.Fatal(err)
	}
	r.leave(true)
	if err := r.enter(); err != errGivenBack || p.modes() != before {
		t.Errorf("after the end: %v", err)
	}
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := (&rawMode{fd: file.Fd()}).enter(); err == nil {
		t.Error("what is no terminal is made raw")
	}
}

// TestWindowSize is the terminal's, or a usual one.
func TestWindowSize(t *testing.T) {
	p := openPTY(t)
	if cols, rows := windowSize(p.slave.Fd()); cols != unknownCols || rows != unknownRows {
		t.Errorf("unknown: %d, %d", cols, rows)
	}
	p.resize(132, 50)
	if cols, rows := windowSize(p.slave.Fd()); cols != 132 || rows != 50 {
		t.Errorf("%d, %d", cols, rows)
	}
}

// TestPanicRestoresTheTerminal before the program is gone.
func TestPanicRestoresTheTerminal(t *testing.T) {
	p := openPTY(t)
	before := p.modes()
	e := startEditing(p.slave.Fd(), strings.NewReader(""), p.slave, func(string) string { return "xterm" }, nil)
	if e == nil || p.modes() == before {
		t.Fatal("the terminal is not raw")
	}
	defer e.stop()
	func() {
		defer func() {
			if r := recover(); r != "a mistake" {
				t.Errorf("the panic is %v", r)
			}
		}()
		func() {
			defer e.restoreOnPanic()
			panic("a mistake")
		}()
	}()
	if p.modes() != before {
		t.Errorf("the modes are %+v, were %+v", p.modes(), before)
	}
	func() { // nothing to restore, nothing to stop
		defer (*editing)(nil).restoreOnPanic()
	}()
}

// atPrompt starts a client at a terminal and waits for its prompt.
func (w *town) atPrompt(p *pty, name, term string) *exec.Cmd {
	w.t.Helper()
	cmd := w.client(name, "-batch=false")
	cmd.Env = append(cmd.Env, "TERM="+term, "NO_COLOR=1")
	p.control(cmd)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.slave, p.slave, p.slave
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	p.expect("] [" + name + "-")
	p.expect("] ")
	return cmd
}

// TestPromptEnds: however it ends, the terminal is as before, and the status
// says how.
func TestPromptEnds(t *testing.T) {
	// Under nohup SIGHUP is ignored, and a client would inherit that; what is
	// caught here is as usual there.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	w := newTown(t, people("alice"))
	for _, test := range []struct {
		name   string
		keys   string
		signal syscall.Signal
		exit   int            // or
		killed syscall.Signal // by it
	}{
		{name: "Ctrl-D", keys: "\x04", exit: 0},
		{name: "exit", keys: "exit\r", exit: 0},
		{name: "Ctrl-C", keys: "abc\x03\x03", exit: 130},
		{name: "SIGINT", signal: syscall.SIGINT, exit: 130},
		{name: "SIGTERM", keys: "abc", signal: syscall.SIGTERM, exit: 143},
		{name: "SIGHUP", signal: syscall.SIGHUP, killed: syscall.SIGHUP},
		{name: "SIGQUIT", signal: syscall.SIGQUIT, exit: 2}, // the runtime's own
	} {
		t.Run(test.name, func(t *testing.T) {
			w.t = t
			p := openPTY(t)
			before := p.modes()
			cmd := w.atPrompt(p, "alice", "xterm")
			if raw := p.modes(); raw.Lflag&syscall.ICANON != 0 {
				t.Error("the terminal is not raw")
			}
			p.keys(test.keys)
			if test.signal != 0 {
				cmd.Process.Signal(test.signal)
			}
			cmd.Wait()
			status := cmd.ProcessState.Sys().(syscall.WaitStatus)
			if test.killed != 0 && (!status.Signaled() || status.Signal() != test.killed) || test.killed == 0 && status.ExitStatus() != test.exit {
				t.Errorf("it ended with %v; shown was %q", cmd.ProcessState, p.all())
			}
			if p.modes() != before {
				t.Errorf("the modes are %+v, were %+v", p.modes(), before)
			}
			p.expect(pasteModeOff)
			// It has left the relay's list, if it could say so.
			if test.killed == 0 && test.exit != 2 {
				if got := w.must("", "alice", "list"); strings.Count(got, "alice") != 1 { // the asker
					t.Errorf("the list is %q", got)
				}
			}
		})
	}
}

func (p *pty) keys(keys string) {
	p.t.Helper()
	if _, err := p.master.WriteString(keys); err != nil {
		p.t.Fatal(err)
	}
}

// TestDumbTerminalGivesLines: without control sequences, as the kernel edits
// them.
func TestDumbTerminalGivesLines(t *testing.T) {
	w := newTown(t, people("alice"))
	for _, term := range []string{"dumb", ""} {
		p := openPTY(t)
		cmd := w.atPrompt(p, "alice", term)
		if modes := p.modes(); modes.Lflag&syscall.ICANON == 0 {
			t.Error("the terminal is raw")
		}
		p.types("help")
		p.expect("Available commands are:")
		p.types("quit")
		if err := cmd.Wait(); err != nil {
			t.Errorf("it ended with %v", err)
		}
		if strings.Contains(p.all(), "\x1b") {
			t.Errorf("TERM=%q: a control sequence in %q", term, p.all())
		}
	}
}
