package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// screen is the one writer to a terminal. What is printed while somebody types
// goes above the line being typed, which is drawn again. A question may come
// while another prompt waits; that one is drawn again after the answer.
type screen struct {
	mu      sync.Mutex // guards what follows
	out     io.Writer
	prompts []func() string // the last one stands on the last line

	dumb    bool                    // it knows no control sequences
	paint   palette                 // whether it has colour
	editing atomic.Pointer[editing] // has the terminal instead, unless it is nil
}

// clearLine goes to the start of the line and clears it (ECMA-48, EL).
const clearLine = "\r\x1b[K"

// print writes whole lines.
func (s *screen) print(text string) {
	if e := s.editing.Load(); e != nil {
		e.print(text)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.prompts) > 0 {
		text = s.clear() + text + s.prompts[len(s.prompts)-1]()
	}
	io.WriteString(s.out, text)
}

// clear makes room for a line where a prompt stands.
func (s *screen) clear() string {
	if s.dumb {
		return "\n"
	}
	return clearLine
}

// show shows a prompt; answered says that its line has ended.
func (s *screen) show(prompt func() string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := prompt()
	if len(s.prompts) > 0 {
		text = s.clear() + text
	}
	s.prompts = append(s.prompts, prompt)
	io.WriteString(s.out, text)
}

// answered: see show. end is what the terminal has not echoed.
func (s *screen) answered(end string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prompts = s.prompts[:len(s.prompts)-1]
	if len(s.prompts) > 0 {
		end += s.prompts[len(s.prompts)-1]()
	}
	io.WriteString(s.out, end)
}

// in returns a text in a style, if the terminal has colour.
func (s *screen) in(st style, text string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.paint.in(st, text)
}

// fixed is a prompt that is the same whenever it is drawn.
func fixed(prompt string) func() string { return func() string { return prompt } }

// terminal is the person at a terminal. Its methods may be called from any
// goroutine: of several that wait for a line, the last gets the next one.
type terminal struct {
	*screen
	echo func(on bool) error // switches the echo
	fd   uintptr

	in *bufio.Reader // of the goroutine that reads, while reading is set

	turn    sync.Mutex // guards what follows
	reading bool
	waiting []chan typed
	left    *typed // read, when nobody waited any more
}

// typed is a line as it was typed, without its newline.
type typed struct {
	line []byte
	err  error
}

func newTerminal(in, out *os.File) *terminal {
	t := newTerminalOf(in, out, func(on bool) error { return setEcho(in.Fd(), on) })
	t.fd = in.Fd()
	return t
}

// newTerminalOf returns a terminal whose input need not be a device. echo
// switches its echo.
func newTerminalOf(in io.Reader, out io.Writer, echo func(on bool) error) *terminal {
	return &terminal{screen: &screen{out: out}, in: bufio.NewReaderSize(in, maxTyped), echo: echo}
}

// maxTyped bounds a typed line in bytes; the kernel's own bound is 4,096.
const maxTyped = 8 << 10

// readLine returns the next line. It reads only when it is called, so that a
// client in the background is not stopped for reading.
func (t *terminal) readLine(ctx context.Context) ([]byte, error) {
	mine := make(chan typed, 1)
	t.turn.Lock()
	if t.left != nil {
		got := *t.left
		t.left = nil
		t.turn.Unlock()
		return got.line, got.err
	}
	t.waiting = append(t.waiting, mine)
	if !t.reading {
		t.reading = true
		go t.readWhileWanted()
	}
	t.turn.Unlock()
	select {
	case got := <-mine:
		return got.line, got.err
	case <-ctx.Done():
		t.turn.Lock()
		t.waiting = slices.DeleteFunc(t.waiting, func(c chan typed) bool { return c == mine })
		t.turn.Unlock()
		return nil, ctx.Err()
	}
}

// readWhileWanted reads lines as long as somebody waits for one.
func (t *terminal) readWhileWanted() {
	for {
		got := t.readOne()
		t.turn.Lock()
		if n := len(t.waiting); n > 0 {
			t.waiting[n-1] <- got
			t.waiting = t.waiting[:n-1]
		} else {
			t.left = &got
		}
		t.reading = len(t.waiting) > 0
		more := t.reading
		t.turn.Unlock()
		if !more {
			return
		}
	}
}

func (t *terminal) readOne() typed {
	line, err := t.in.ReadSlice('\n')
	if err != nil && !(err == io.EOF && len(line) > 0) { // a last line without its newline is a line
		return typed{err: err}
	}
	defer clear(line) // it may be a PIN
	return typed{line: bytes.Clone(bytes.TrimRight(line, "\r\n"))}
}

// question asks for a line.
func (t *terminal) question(ctx context.Context, prompt func() string) (string, error) {
	return t.ask(ctx, questionField, prompt)
}

// command asks for a line at the prompt.
func (t *terminal) command(ctx context.Context, prompt func() string) (string, error) {
	return t.ask(ctx, commandField, prompt)
}

func (t *terminal) ask(ctx context.Context, kind fieldKind, prompt func() string) (string, error) {
	if e := t.editing.Load(); e != nil {
		line, err := e.read(ctx, newField(kind, prompt))
		return string(line), err
	}
	t.show(prompt)
	line, err := t.readLine(ctx)
	end := ""
	if err != nil {
		end = "\n"
	}
	t.answered(end)
	return string(line), err
}

// secret asks for a line that is not shown while it is typed.
func (t *terminal) secret(ctx context.Context, prompt string) ([]byte, error) {
	if e := t.editing.Load(); e != nil {
		return e.read(ctx, newField(secretField, fixed(prompt)))
	}
	if err := t.echo(false); err != nil {
		return nil, fmt.Errorf("the terminal would show what is typed: %w", err)
	}
	defer t.echo(true)
	t.show(fixed(prompt))
	line, err := t.readLine(ctx)
	t.answered("\n")
	return line, err
}

// confirmTries is how often an answer that is neither yes nor no is asked for
// again.
const confirmTries = 3

// confirm asks a question whose last line is Confirm (y/n)?, as the original
// did. Anything but a yes is a no.
func (t *terminal) confirm(ctx context.Context, text string) (bool, error) {
	t.print(text)
	for range confirmTries {
		answer, err := t.question(ctx, fixed("Confirm (y/n)? "))
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		switch strings.ToLower(strings.TrimSpace(answer)) {
		case "y", "yes", "s", "sim":
			return true, nil
		case "n", "no", "não", "nao":
			return false, nil
		}
	}
	return false, nil
}

// startEditing gives the terminal to an editor, if it can be had: else lines
// are read as the terminal gives them. complete finds the ways to go on with
// the text before the cursor. stop ends the editing, and may be called again.
func (t *terminal) startEditing(env func(string) string, complete func(before string) (int, []option)) (stop func()) {
	t.dumb, t.paint = isDumb(env), colours(env)
	e := startEditing(t.fd, t.in, t.out, env, complete)
	if e == nil {
		return func() {}
	}
	t.editing.Store(e)
	return func() {
		e.stop()
		t.editing.Store(nil)
	}
}

// restore puts the terminal back before the program ends at once.
func (t *terminal) restore() {
	if e := t.editing.Load(); e != nil {
		e.restore()
	}
}

// restoreOnPanic is deferred in every goroutine that may run while an editor
// has the terminal.
func (t *terminal) restoreOnPanic() {
	if r := recover(); r != nil {
		t.restore()
		panic(r)
	}
}

// setStatus shows where the last message is, if there is an editor to do so.
func (t *terminal) setStatus(status string) {
	if e := t.editing.Load(); e != nil {
		e.setStatus(status)
	}
}
