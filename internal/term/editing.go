package term

import (
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// Private modes of xterm and its kind: bracketed paste, and news of the focus.
const (
	modesOn  = "\x1b[?2004h\x1b[?1004h"
	modesOff = "\x1b[?1004l\x1b[?2004l"
)

// editing is a terminal while an editor has it.
type editing struct {
	*editor
	device  device
	signals chan os.Signal
	over    chan struct{}
	stop    func()
}

// startEditing gives a terminal to an editor. It returns nil if the terminal
// cannot be edited on. The caller ends it by stop, which may be called more
// than once.
func startEditing(d device, in io.Reader, out io.Writer, env func(string) string, complete Completer) *editing {
	if IsDumb(env) {
		return nil
	}
	t := &editing{
		editor: &editor{in: in, out: out, complete: complete, size: d.size, now: time.Now, looked: time.Now()}, device: d,
		signals: make(chan os.Signal, 8), over: make(chan struct{}),
	}
	t.written.L = &t.mu
	t.stop = sync.OnceFunc(t.finish)
	t.soon = func(wait time.Duration, f func()) {
		time.AfterFunc(wait, func() {
			defer t.restoreOnPanic()
			f()
		})
	}
	t.painter.paint = colours(env)
	// xterm and screen cut long lines off.
	t.painter.breaks = env("XTERM_VERSION") == "" && env("STY") == ""
	// As without raw mode: all programs of the process group get the signal.
	t.interrupt = func() { syscall.Kill(0, syscall.SIGINT) }
	t.suspend = func() { syscall.Kill(0, syscall.SIGTSTP) }
	// Before raw mode begins, so that every signal restores the terminal.
	signal.Notify(t.signals, syscall.SIGWINCH, syscall.SIGTSTP, syscall.SIGCONT, syscall.SIGQUIT)
	if !signal.Ignored(syscall.SIGHUP) { // nohup
		signal.Notify(t.signals, syscall.SIGHUP)
	}
	if err := t.device.enter(); err != nil {
		signal.Stop(t.signals)
		return nil
	}
	go t.awaitSignals()
	io.WriteString(t.out, modesOn)
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

// restore gives the terminal back for good. It takes no lock of the editor,
// whatever its state.
func (t *editing) restore() { t.release(true) }

func (t *editing) release(forGood bool) {
	if t.device.leave(forGood) {
		io.WriteString(t.out, modesOff)
	}
}

// restoreOnPanic is deferred in every goroutine of the editor: a panic must not
// leave the terminal raw.
func (t *editing) restoreOnPanic() {
	if r := recover(); r != nil {
		if t != nil {
			t.restore()
		}
		panic(r)
	}
}

// awaitSignals executes signals until the end.
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

// die restores the terminal and lets a signal end the program by its default.
func (t *editing) die(s os.Signal) {
	t.restore()
	signal.Reset(s)
	syscall.Kill(syscall.Getpid(), s.(syscall.Signal))
}

// stopSoon bounds the time until a stop takes effect.
const stopSoon = 200 * time.Millisecond

// stopUntilContinued is Ctrl-Z. It restores the terminal and stops the program.
func (t *editing) stopUntilContinued() {
	if !hasJobControl() {
		return
	}
	t.leaveTerminal()
	t.release(false)
	// SIGTSTP would not do: package signal does not restore its default.
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

// hasJobControl reports whether a shell can continue a stopped program: one
// that gave it a process group of its own. The kernel does not stop others
// either (POSIX, orphaned process groups).
func hasJobControl() bool {
	session, _, errno := syscall.Syscall(syscall.SYS_GETSID, 0, 0, 0)
	return errno == 0 && int(session) != syscall.Getpgrp()
}

// resume takes the terminal from another program.
func (t *editing) resume() {
	if t.device.enter() != nil {
		return // the reader notices that it is gone
	}
	io.WriteString(t.out, modesOn)
	t.takeTerminal()
}
