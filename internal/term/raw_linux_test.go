package term

import (
	"context"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

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

// TestAnswersComeAfterTheirQuestion: a line that was typed before a question could be answered, or
// begun then, is no answer. It stays for a reader of lines.
func TestAnswersComeAfterTheirQuestion(t *testing.T) {
	confirm := func(terminal *Terminal) <-chan bool {
		got := make(chan bool, 1)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		go func() {
			defer cancel()
			yes, err := terminal.Confirm(ctx, "It is new.\n", "Sure? (y/n) ")
			if err != nil {
				t.Error(err)
			}
			got <- yes
		}()
		return got
	}
	open := func() (*tty.PTY, *Terminal, chan time.Time) {
		p, read := tty.OpenPTY(t), make(chan time.Time)
		terminal := New(p.Slave, p.Slave)
		terminal.after = func(d time.Duration) <-chan time.Time {
			if d != ReadingTime {
				t.Errorf("the time to read is %v", d)
			}
			return read
		}
		return p, terminal, read
	}
	for _, question := range []string{"before it is drawn", "before it is read"} {
		t.Run(question, func(t *testing.T) {
			p, terminal, read := open()
			early := func() {
				p.Types("y")
				p.Types("yes")
				p.Keys("n")
				p.Expect("y\nyes\nn")
			}
			if question == "before it is drawn" {
				early()
			}
			got := confirm(terminal)
			p.Expect("Sure? ")
			if question == "before it is read" {
				early()
			}
			read <- time.Time{}
			p.Expect("(y/n) ")
			p.Types("sim")
			if yes := <-got; !yes {
				t.Error("the answer is not taken as it was typed")
			}
			got = confirm(terminal)
			p.Expect("Sure? ")
			read <- time.Time{}
			p.Expect("(y/n) ")
			p.Types("n")
			if yes := <-got; yes {
				t.Error("an early line is an answer")
			}
			for _, want := range []string{"y", "yes"} {
				if line, err := terminal.Prompt(t.Context(), fixed("")); line.Text != want || err != nil {
					t.Errorf("the next line is %q %v, want %q", line.Text, err, want)
				}
			}
		})
	}
	t.Run("while lines are read", func(t *testing.T) {
		p, terminal, read := open()
		lines := make(chan string)
		next := func() {
			line, err := terminal.Prompt(t.Context(), fixed(""))
			if err != nil {
				t.Error(err)
			}
			lines <- line.Text
		}
		go next()
		for !waits(terminal, 1) {
			runtime.Gosched()
		}
		got := confirm(terminal)
		p.Expect("Sure? ")
		p.Types("yes")
		if line := <-lines; line != "yes" {
			t.Errorf("the reader of lines has %q", line)
		}
		go next()
		for !waits(terminal, 2) {
			runtime.Gosched()
		}
		read <- time.Time{}
		p.Expect("(y/n) ")
		p.Types("n")
		if yes := <-got; yes {
			t.Error("a line for others is an answer")
		}
		p.Types("hello")
		if line := <-lines; line != "hello" {
			t.Errorf("the reader of lines has %q", line)
		}
	})
}
