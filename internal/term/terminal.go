package term

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
	"time"
)

// Terminal asks the person at a terminal, and prints. Its methods may be called
// from any goroutine. Of several that wait for a line, the last gets the next one.
type Terminal struct {
	*screen
	device device

	in *bufio.Reader // owned by the goroutine that reads, while reading is set

	turn    sync.Mutex // guards the fields below
	reading bool
	waiting []chan typed
	left    *typed // a line that came after the last waiter had gone
}

// device has the operations of a terminal beside reading and writing.
type device interface {
	echo(on bool) error      // shows what is typed, or not
	enter() error            // makes the terminal raw
	leave(forGood bool) bool // ends that, and reports whether it was raw
	size() (cols, rows int)
}

// Line is a text typed at the prompt, without the Enter that ended it. It has
// several lines only if they were pasted, or typed with Alt-Enter.
type Line struct {
	Text   string
	Pasted bool // any of it came by bracketed paste
}

// typed is a line as it was typed, without its newline.
type typed struct {
	line   []byte
	pasted bool
	err    error
}

// New returns the terminal that in and out are open on.
func New(in, out *os.File) *Terminal { return newTerminal(in, out, &rawMode{fd: in.Fd()}) }

// NewOf returns a terminal that is no device: it is always raw, has 80 columns
// and 24 rows, and echo is called to switch its echo.
func NewOf(in io.Reader, out io.Writer, echo func(on bool) error) *Terminal {
	return newTerminal(in, out, noDevice{echo})
}

func newTerminal(in io.Reader, out io.Writer, device device) *Terminal {
	return &Terminal{screen: &screen{out: out, size: device.size}, in: bufio.NewReaderSize(in, maxTyped), device: device}
}

// noDevice is the device of NewOf.
type noDevice struct{ setEcho func(on bool) error }

func (d noDevice) echo(on bool) error   { return d.setEcho(on) }
func (noDevice) enter() error           { return nil }
func (noDevice) leave(bool) bool        { return false }
func (noDevice) size() (cols, rows int) { return unknownCols, unknownRows }

// maxTyped bounds a typed line in bytes. The kernel's own bound is 4,096.
const maxTyped = 8 << 10

// ReadLine returns the next line. It reads only when it is called: the kernel
// stops a program in the background that reads.
func (t *Terminal) ReadLine(ctx context.Context) ([]byte, error) {
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
		if at := slices.Index(t.waiting, mine); at >= 0 {
			t.waiting = slices.Delete(t.waiting, at, at+1)
		}
		t.turn.Unlock()
		return nil, ctx.Err()
	}
}

// readWhileWanted reads lines as long as somebody waits for one.
func (t *Terminal) readWhileWanted() {
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

func (t *Terminal) readOne() typed {
	line, err := t.in.ReadSlice('\n')
	if err != nil && !(err == io.EOF && len(line) > 0) { // a last line without its newline is a line
		return typed{err: err}
	}
	defer clear(line) // it may be a PIN
	return typed{line: bytes.Clone(bytes.TrimRight(line, "\r\n"))}
}

// Prompt asks for a line at the program's prompt: an editor offers recall and
// completion there. prompt is called at the begin, with each output and status,
// and at the end. A text that was pasted and is too long is ErrLineTooLong. If
// ctx ends first, the text typed so far stays for the next Prompt.
func (t *Terminal) Prompt(ctx context.Context, prompt func() string) (Line, error) {
	got := t.ask(ctx, promptField, prompt)
	return Line{string(got.line), got.pasted}, got.err
}

// Keep makes a text the line of the next Prompt, to be changed or sent again.
func (t *Terminal) Keep(text string) {
	if e := t.editing.Load(); e != nil {
		e.keep(text)
	}
}

// Typing reports whether the line of the prompt has been begun. Without an editor
// nothing is known of that.
func (t *Terminal) Typing() bool {
	e := t.editing.Load()
	return e != nil && e.isTyping()
}

// Question asks for a line that is an answer.
func (t *Terminal) Question(ctx context.Context, prompt string) (string, error) {
	got := t.ask(ctx, questionField, t.lastRow(prompt))
	return string(got.line), got.err
}

func (t *Terminal) ask(ctx context.Context, kind fieldKind, prompt func() string) typed {
	if e := t.editing.Load(); e != nil {
		return e.read(ctx, newField(kind, prompt))
	}
	t.show(prompt)
	line, err := t.ReadLine(ctx)
	end := ""
	if err != nil {
		end = "\n"
	}
	t.answered(end)
	return typed{line: line, err: err}
}

// Secret asks for a line that is not shown while it is typed.
func (t *Terminal) Secret(ctx context.Context, prompt string) ([]byte, error) {
	last := t.lastRow(prompt)
	if e := t.editing.Load(); e != nil {
		got := e.read(ctx, newField(secretField, last))
		return got.line, got.err
	}
	if err := t.device.echo(false); err != nil {
		return nil, fmt.Errorf("the terminal would show the typed text: %w", err)
	}
	defer t.device.echo(true)
	t.show(last)
	line, err := t.ReadLine(ctx)
	t.answered("\n")
	return line, err
}

// lastRow prints a question that takes several rows, all but the last one,
// which it returns as the prompt.
func (t *Terminal) lastRow(question string) func() string {
	rows := t.wrapped(question)
	last := strings.LastIndexByte(rows, '\n') + 1
	if last > 0 {
		t.Print(rows[:last])
	}
	return fixed(rows[last:])
}

// confirmTries bounds how often a question is asked again after an answer that
// is neither yes nor no.
const confirmTries = 3

// Confirm asks a question, as "Confirm (y/n)? ", after a text. Anything but a yes is a no.
func (t *Terminal) Confirm(ctx context.Context, text, question string) (bool, error) {
	t.Print(text)
	for range confirmTries {
		answer, err := t.Question(ctx, question)
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if yes, no := IsYes(answer); yes || no {
			return yes, nil
		}
	}
	return false, nil
}

// IsYes reports whether an answer is a yes, or a no. It may be neither.
func IsYes(answer string) (yes, no bool) {
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes", "s", "sim":
		return true, false
	case "n", "no", "não", "nao":
		return false, true
	}
	return false, false
}

// StartEditing gives the terminal to an editor until stop is called. It is called
// once, and stop may be called again. Nothing changes for a terminal that cannot be raw. env is the
// environment: TERM and NO_COLOR decide what is written.
func (t *Terminal) StartEditing(env func(string) string, complete Completer) (stop func()) {
	t.dumb, t.paint = IsDumb(env), colours(env)
	e := startEditing(t.device, t.in, t.out, env, complete)
	if e == nil {
		return func() {}
	}
	t.editing.Store(e)
	return func() {
		e.stop()
		t.editing.Store(nil)
	}
}

// Restore puts the terminal back before the program ends at once.
func (t *Terminal) Restore() {
	if e := t.editing.Load(); e != nil {
		e.restore()
	}
}

// RestoreOnPanic is deferred in every goroutine that may run while an editor
// has the terminal.
func (t *Terminal) RestoreOnPanic() {
	if r := recover(); r != nil {
		t.Restore()
		panic(r)
	}
}

// Width returns the present number of columns, or 80 where that is unknown.
func (t *Terminal) Width() int {
	cols, _ := t.device.size()
	return cols
}

// PrintMarked prints whole lines as Print does, below a row that marks all that
// was printed so since the person last pressed a key or gave the terminal the
// focus: row(n) for n calls. The row is written anew with each call, until it is
// off the screen or the size changes: then it stays as it is.
func (t *Terminal) PrintMarked(text string, row func(n int) string) {
	if e := t.editing.Load(); e != nil {
		e.print(text, row)
		return
	}
	t.Print(text)
}

// Away reports whether the person seems not to look: the terminal has told that
// it lacks the focus, or has had no key and no focus for a time. Without an
// editor nothing is known of that.
func (t *Terminal) Away(idle time.Duration) bool {
	e := t.editing.Load()
	return e != nil && e.isAway(idle)
}

// Bell rings, always or if the terminal has told that it lacks the focus. Of
// several bells in a second it rings one.
func (t *Terminal) Bell(always bool) {
	if e := t.editing.Load(); e != nil {
		e.ring(always)
	} else if always {
		t.Print("\a")
	}
}

// SetStatus shows a text below the prompt until the next line is typed, if an
// editor has the terminal.
func (t *Terminal) SetStatus(status string) {
	if e := t.editing.Load(); e != nil {
		e.setStatus(status)
	}
}
