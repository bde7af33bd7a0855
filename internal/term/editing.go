package term

import (
	"io"
	"os"
	"os/signal"
	"runtime/pprof"
	"sync"
	"syscall"
	"time"
)

// Private modes of xterm and its kind: bracketed paste, and news of the focus.
const (
	modesOn  = "\x1b[?2004h\x1b[?1004h"
	modesOff = "\x1b[?1004l\x1b[?2004l"
)

// StartEditing gives the terminal to an editor until stop is called. It is called
// once, and stop may be called again. Nothing changes for a terminal that cannot be
// raw. env is the environment: TERM and NO_COLOR decide what is written.
func (t *Terminal) StartEditing(env func(string) string, complete Completer) (stop func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.complete = complete
	t.painter.dumb, t.painter.paint = IsDumb(env), colours(env)
	// xterm and screen cut long lines off.
	t.painter.breaks = env("XTERM_VERSION") == "" && env("STY") == ""
	if t.painter.dumb {
		return func() {}
	}
	// Before raw mode begins, so that every signal restores the terminal.
	signals, ends := make(chan os.Signal, 8), endSignals()
	signal.Notify(signals, syscall.SIGWINCH, syscall.SIGTSTP, syscall.SIGCONT)
	if err := t.device.enter(); err != nil {
		signal.Stop(signals)
		signal.Stop(ends)
		return func() {}
	}
	t.painter.plain = false
	go t.awaitSignals(signals)
	go t.awaitEnd(ends)
	io.WriteString(t.out, modesOn)
	go func() {
		defer t.RestoreOnPanic()
		t.readAll()
	}()
	return sync.OnceFunc(func() {
		signal.Stop(signals)
		close(signals)
		t.leaveTerminal()
		t.Restore()
		signal.Stop(ends)
		close(ends)
	})
}

// Restore puts the terminal back for good. It takes no lock of the editor, whatever
// its state.
func (t *Terminal) Restore() { t.release(true) }

func (t *Terminal) release(forGood bool) {
	inTime(func() {
		if t.device.leave(forGood) {
			io.WriteString(t.out, modesOff)
		}
	})
}

// inTime calls f, which may write to a terminal. One that takes no output is left alone soon.
func inTime(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(500 * time.Millisecond):
	}
}

// RestoreOnPanic is deferred in every goroutine that may run while an editor has the
// terminal: a panic must not leave it raw.
func (t *Terminal) RestoreOnPanic() {
	if r := recover(); r != nil {
		t.Restore()
		panic(r)
	}
}

// awaitSignals executes signals until the end.
func (t *Terminal) awaitSignals(signals <-chan os.Signal) {
	defer t.RestoreOnPanic()
	for s := range signals {
		switch s {
		case syscall.SIGWINCH:
			t.resized()
		case syscall.SIGCONT:
			t.resume()
		case syscall.SIGTSTP:
			t.stopUntilContinued(signals)
		}
	}
}

// endSignals takes the signals that end a program at once.
func endSignals() chan os.Signal {
	ends := make(chan os.Signal, 2)
	signal.Notify(ends, syscall.SIGQUIT)
	if !signal.Ignored(syscall.SIGHUP) { // nohup
		signal.Notify(ends, syscall.SIGHUP)
	}
	return ends
}

// hide hides what is typed until show is called. Shells show it again when they continue a stopped
// program.
func (t *Terminal) hide() (show func(), err error) {
	ends, continued, done := endSignals(), make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(continued, syscall.SIGCONT)
	go t.awaitEnd(ends)
	go func() {
		defer close(done)
		for range continued {
			t.device.echo(false)
		}
	}()
	return func() {
		signal.Stop(continued)
		close(continued)
		<-done
		t.device.echo(true)
		signal.Stop(ends)
		close(ends)
	}, t.device.echo(false)
}

// awaitEnd restores the terminal at a signal and lets that end the program by its default. It waits
// for nothing else: a change of size may wait for a terminal that takes no output.
func (t *Terminal) awaitEnd(ends <-chan os.Signal) {
	s, ok := (<-ends).(syscall.Signal)
	if !ok {
		return
	}
	t.Restore()
	if s == syscall.SIGQUIT { // the default of Go, which would wait for the terminal
		inTime(func() { pprof.Lookup("goroutine").WriteTo(os.Stderr, 2) })
		os.Exit(2)
	}
	signal.Reset(s)
	syscall.Kill(syscall.Getpid(), s)
}

// stopSoon bounds the time until a stop takes effect.
const stopSoon = 200 * time.Millisecond

// stopUntilContinued is Ctrl-Z. It restores the terminal and stops the program.
func (t *Terminal) stopUntilContinued(signals <-chan os.Signal) {
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
		case s, more := <-signals:
			if !more {
				return
			}
			stopped = s != syscall.SIGCONT
		case <-soon:
			stopped = false
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
func (t *Terminal) resume() {
	if t.device.enter() != nil {
		return // the reader notices that it is gone
	}
	io.WriteString(t.out, modesOn)
	t.takeTerminal()
}
