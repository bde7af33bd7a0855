package term

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"chatsecure/testdata/lab/tty"
)

// TestRawMode: the modes are restored, and stay so at the end.
func TestRawMode(t *testing.T) {
	p := tty.OpenPTY(t)
	before := p.Modes()
	r := &rawMode{fd: p.Slave.Fd()}
	if r.leave(false) {
		t.Error("it was raw before it was made so")
	}
	for range 2 {
		for range 2 {
			if err := r.enter(); err != nil {
				t.Fatal(err)
			}
		}
		raw := p.Modes()
		if raw.Lflag&(syscall.ECHO|syscall.ICANON|syscall.ISIG) != 0 || raw.Iflag&syscall.ICRNL != 0 || raw.Oflag != before.Oflag {
			t.Errorf("the raw modes are %+v", raw)
		}
		if !r.leave(false) || p.Modes() != before {
			t.Errorf("the modes are %+v, were %+v", p.Modes(), before)
		}
	}
	if err := r.enter(); err != nil {
		t.Fatal(err)
	}
	r.leave(true)
	if err := r.enter(); err != errGivenBack || p.Modes() != before {
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

// TestWindowSize is the terminal's own, or a usual size.
func TestWindowSize(t *testing.T) {
	p := tty.OpenPTY(t)
	if cols, rows := (&rawMode{fd: p.Slave.Fd()}).size(); cols != unknownCols || rows != unknownRows {
		t.Errorf("unknown: %d, %d", cols, rows)
	}
	p.Resize(132, 50)
	if cols, rows := (&rawMode{fd: p.Slave.Fd()}).size(); cols != 132 || rows != 50 {
		t.Errorf("%d, %d", cols, rows)
	}
}

// TestPanicRestoresTheTerminal before the program ends.
func TestPanicRestoresTheTerminal(t *testing.T) {
	p := tty.OpenPTY(t)
	before := p.Modes()
	e := newTerminal(strings.NewReader(""), p.Slave, &rawMode{fd: p.Slave.Fd()})
	defer e.StartEditing(func(string) string { return "xterm" }, nil)()
	if p.Modes() == before {
		t.Fatal("the terminal is not raw")
	}
	func() {
		defer func() {
			if r := recover(); r != "a mistake" {
				t.Errorf("the panic is %v", r)
			}
		}()
		func() {
			defer e.RestoreOnPanic()
			panic("a mistake")
		}()
	}()
	if p.Modes() != before {
		t.Errorf("the modes are %+v, were %+v", p.Modes(), before)
	}
	func() { // nothing to restore
		defer e.RestoreOnPanic()
	}()
}
