package main

import (
	"errors"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// rawMode is a terminal that hands on every key as it is pressed, and can be
// put back as it was. Its methods may be called from any goroutine.
type rawMode struct {
	fd uintptr

	mu    sync.Mutex // guards what follows
	saved *syscall.Termios
	raw   bool
	over  bool // it is not made raw any more
}

var errGivenBack = errors.New("the terminal has been given back")

// enter makes the terminal raw. Output stays as it is: a newline goes to the
// start of the next line, whoever writes it. What was saved the first time is
// put back in the end: another program may have had the terminal since.
func (r *rawMode) enter() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return errGivenBack
	}
	if r.saved == nil {
		var now syscall.Termios
		if err := ioctl(r.fd, getModes, &now); err != nil {
			return err
		}
		r.saved = &now
	}
	modes := *r.saved
	modes.Iflag &^= syscall.IGNBRK | syscall.BRKINT | syscall.PARMRK | syscall.ISTRIP | syscall.INLCR | syscall.IGNCR | syscall.ICRNL | syscall.IXON
	modes.Lflag &^= syscall.ECHO | syscall.ECHONL | syscall.ICANON | syscall.ISIG | syscall.IEXTEN
	modes.Cc[syscall.VMIN], modes.Cc[syscall.VTIME] = 1, 0
	if err := ioctl(r.fd, setModesLater, &modes); err != nil {
		return err
	}
	r.raw = true
	return nil
}

// leave puts the terminal's modes back, if they were changed, and reports
// whether they were. What was typed and not read is thrown away: the rest of a
// paste is not for the shell.
func (r *rawMode) leave(forGood bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.raw
	if was {
		ioctl(r.fd, setModes, r.saved)
	}
	r.raw = false
	r.over = r.over || forGood
	return was
}

// Sizes that are taken for a terminal's that does not know it.
const (
	unknownCols = 80
	unknownRows = 24
)

// windowSize returns a terminal's columns and rows.
func windowSize(fd uintptr) (cols, rows int) {
	var size struct{ rows, cols, x, y uint16 } // struct winsize
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCGWINSZ, uintptr(unsafe.Pointer(&size)))
	if errno != 0 || size.cols == 0 || size.rows == 0 {
		return unknownCols, unknownRows
	}
	return int(size.cols), int(size.rows)
}

// Private modes of xterm and its kind: pastes are marked as such.
const (
	pasteModeOn  = "\x1b[?2004h"
	pasteModeOff = "\x1b[?2004l"
)

// editing is a terminal while an editor has it.
type editing struct {
	*editor
	mode    *rawMode
	signals chan os.Signal
	over    chan struct{}
	stop    func()
}

// startEditing gives the terminal fd, of which in reads and to which out
// writes, to an editor; nil if lines have to be read as the terminal gives them.
// The caller ends it by stop, which may be called more than once.
func startEditing(fd uintptr, in io.Reader, out io.Writer, env func(string) string, complete func(string) (int, []option)) *editing {
	if isDumb(env) {
		return nil
	}
	t := &editing{
		editor: &editor{in: in, out: out, complete: complete}, mode: &rawMode{fd: fd},
		signals: make(chan os.Signal, 8), over: make(chan struct{}),
	}
	t.stop = sync.OnceFunc(t.finish)
	t.painter.paint = colours(env)
	// xterm and screen cut lines off instead.
	t.painter.breaks = env("XTERM_VERSION") == "" && env("STY") == ""
	t.size = func() (cols, rows int) { return windowSize(t.mode.fd) }
	// As the keys would do if the terminal were not raw: all programs that
	// were started together get the signal.
	t.interrupt = func() { syscall.Kill(0, syscall.SIGINT) }
	t.suspend = func() { syscall.Kill(0, syscall.SIGTSTP) }
	// First, so that a signal finds somebody who puts the terminal back.
	signal.Notify(t.signals, syscall.SIGWINCH, syscall.SIGTSTP, syscall.SIGCONT, syscall.SIGQUIT)
	if !signal.Ignored(syscall.SIGHUP) { // nohup
		signal.Notify(t.signals, syscall.SIGHUP)
	}
	if err := t.mode.enter(); err != nil {
		signal.Stop(t.signals)
		return nil
	}
	go t.awaitSignals()
	io.WriteString(t.out, pasteModeOn)
	go func() {
		defer t.restoreOnPanic()
		t.readAll()
	}()
	return t
}

// finish gives the terminal back for good.
func (t *editing) finish() {
	signal.Stop(t.signals)
	close(t.over)
	t.leaveTerminal()
	t.restore()
}

// restore gives the terminal back for good, in whatever state the editor is: it
// needs no lock of its.
func (t *editing) restore() { t.release(true) }

func (t *editing) release(forGood bool) {
	if t.mode.leave(forGood) {
		io.WriteString(t.out, pasteModeOff)
	}
}

// restoreOnPanic is deferred in every goroutine of this program: a mistake does
// not leave a terminal raw.
func (t *editing) restoreOnPanic() {
	if r := recover(); r != nil {
		if t != nil {
			t.restore()
		}
		panic(r)
	}
}

// awaitSignals acts on signals until the editing is over.
func (t *editing) awaitSignals() {
	defer t.restoreOnPanic()
	for {
		select {
		case <-t.over:
			return
		case s := <-t.signals:
			switch s {
			case syscall.SIGWINCH:
				t.resized()
			case syscall.SIGCONT:
				t.resume()
			case syscall.SIGTSTP:
				t.stopUntilContinued()
			default:
				t.die(s)
			}
		}
	}
}

// die lets a signal end the program in its own way, with the terminal as it
// was.
func (t *editing) die(s os.Signal) {
	t.restore()
	signal.Reset(s)
	syscall.Kill(syscall.Getpid(), s.(syscall.Signal))
}

// stopSoon is how long a stop takes at most to come about.
const stopSoon = 200 * time.Millisecond

// stopUntilContinued is Ctrl-Z: it stops the program, with the terminal as it
// was.
func (t *editing) stopUntilContinued() {
	if !hasJobControl() {
		return
	}
	t.leaveTerminal()
	t.release(false)
	// Not SIGTSTP once more: package signal does not give its default back.
	syscall.Kill(syscall.Getpid(), syscall.SIGSTOP)
	soon := time.After(stopSoon)
	for stopped := true; stopped; {
		select {
		case s := <-t.signals:
			if s == syscall.SIGHUP || s == syscall.SIGQUIT {
				t.die(s)
			}
			stopped = s != syscall.SIGCONT
		case <-soon:
			stopped = false
		case <-t.over:
			return
		}
	}
	t.resume()
}

// hasJobControl reports whether a shell is there that could continue a program
// which stops: one that gave it a process group of its own. The kernel does not
// stop others either (POSIX, orphaned process groups).
func hasJobControl() bool {
	session, _, errno := syscall.Syscall(syscall.SYS_GETSID, 0, 0, 0)
	return errno == 0 && int(session) != syscall.Getpgrp()
}

// resume takes the terminal from whoever had it meanwhile.
func (t *editing) resume() {
	if t.mode.enter() != nil {
		return // it is gone, which the reader notices
	}
	io.WriteString(t.out, pasteModeOn)
	t.takeTerminal()
}
