package term

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"chatsecure/proto"
)

// Terminal asks the person at a terminal, and prints. It is the only writer to it.
// Output goes above the line being typed, which is drawn again. A question may
// interrupt a prompt, which is drawn again after the answer.
//
// After StartEditing it reads keys, and draws the line while it is typed. Without
// that, the terminal gives and shows whole lines. Its methods may be called from any
// goroutine, but only one waits at the prompt.
type Terminal struct {
	device device
	in     *bufio.Reader // owned by the goroutine that reads
	out    io.Writer
	now    func() time.Time
	soon   func(wait time.Duration, f func())   // calls f after some time
	after  func(time.Duration) <-chan time.Time // nil: nobody needs time to read

	// The actions of keys that are not the editor's. The lock is held during a call.
	complete  Completer
	interrupt func() // Ctrl-C with nothing to clear
	suspend   func() // Ctrl-Z

	mu      sync.Mutex // guards the fields below
	painter painter
	buf     bytes.Buffer // output to come
	fields  []*field     // that wait for a line: the last one is typed now
	prompt  field        // keeps what is typed for it, also while it does not wait
	away    bool         // another program has the terminal: nothing is drawn
	status  string       // below the prompt
	reading bool         // lines are read: see readLines
	ended   error        // why there is no more input

	held    []output  // to be written when that is calm
	heldLen int       // bytes in held
	written sync.Cond // of held output; its lock is mu
	calm    time.Time // until then nothing is drawn but for a key or a question
	waits   bool      // a drawing at that time is under way

	decoder  keyDecoder
	pasteTo  *field  // the field in which the present paste began; nil: the paste is refused
	ready    []typed // lines that wait for the prompt
	readyLen int     // bytes in ready

	recall  recall
	killed  typed // for Ctrl-Y
	killing bool  // the last key added to killed

	unfocused bool      // the terminal has said so
	looked    time.Time // time of the last key, or of the focus that came back
	mark      mark
	view      view
	rang      time.Time
}

// device has the operations of a terminal beside reading and writing.
type device interface {
	echo(on bool) error      // shows what is typed, or not
	enter() error            // makes the terminal raw
	leave(forGood bool) bool // ends that, and reports whether it was raw
	size() (cols, rows int)
	interruptible(on bool) // Ctrl-C is the kernel's while the terminal is raw
	lineWaits() bool       // a whole line can be read
	drop()                 // drops what was typed and has not been read
}

// Line is a text typed at the prompt, without the Enter that ended it. It has
// several lines only if they were pasted, or typed with Alt-Enter.
type Line struct {
	Text   string
	Pasted bool // any of it came by bracketed paste
	Blind  bool // its Enter came while what Show has shown was not in view
}

// New returns the terminal that in and out are open on.
func New(in, out *os.File) *Terminal { return newTerminal(in, out, &rawMode{fd: in.Fd()}) }

// NewOf returns a terminal that is no device: it is always raw, has 80 columns
// and 24 rows, and echo is called to switch its echo. Nobody needs time to read there.
func NewOf(in io.Reader, out io.Writer, echo func(on bool) error) *Terminal {
	t := newTerminal(in, out, noDevice{echo})
	t.after = nil
	return t
}

func newTerminal(in io.Reader, out io.Writer, device device) *Terminal {
	t := &Terminal{
		in: bufio.NewReaderSize(in, maxTyped), out: out, device: device, now: time.Now, after: time.After, looked: time.Now(),
	}
	t.prompt = *newField(promptField, fixed(""), proto.MaxText)
	t.painter.plain = true
	t.written.L = &t.mu
	t.soon = func(wait time.Duration, f func()) { time.AfterFunc(wait, f) }
	// As without raw mode: all programs of the process group get the signal.
	t.interrupt = func() { syscall.Kill(0, syscall.SIGINT) }
	t.suspend = func() { syscall.Kill(0, syscall.SIGTSTP) }
	return t
}

// noDevice is the device of NewOf.
type noDevice struct{ setEcho func(on bool) error }

func (d noDevice) echo(on bool) error   { return d.setEcho(on) }
func (noDevice) enter() error           { return nil }
func (noDevice) leave(bool) bool        { return false }
func (noDevice) size() (cols, rows int) { return unknownCols, unknownRows }
func (noDevice) interruptible(bool)     {}
func (noDevice) lineWaits() bool        { return false }
func (noDevice) drop()                  {}

// Prompt asks for a line at the program's prompt: an editor offers recall and
// completion there. prompt is called at the begin, with each output and status,
// and at the end. A text that is too long is ErrLineTooLong. If ctx ends first, the
// text typed so far stays for the next Prompt.
func (t *Terminal) Prompt(ctx context.Context, prompt func() string) (Line, error) {
	t.mu.Lock()
	t.prompt.prompt = prompt
	t.mu.Unlock()
	got := t.read(ctx, &t.prompt)
	return Line{string(got.line), got.pasted, got.blind}, got.err
}

// Recalls reports whether the key Up brings earlier lines back.
func (t *Terminal) Recalls() bool { return !t.isPlain() }

// Typing reports whether a line for the prompt has been begun. Without an editor
// nothing is known of that.
func (t *Terminal) Typing() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.prompt.line.text) > 0 || len(t.ready) > 0
}

// LineWaits is Typing, and without an editor looks for lines that have come. One
// that is begun is dropped, since nothing tells whether it was meant as an answer.
func (t *Terminal) LineWaits() bool {
	t.mu.Lock()
	if t.painter.plain {
		t.fresh()
	}
	t.mu.Unlock()
	return t.Typing()
}

// Untaken returns the whole lines that were typed for no question, for a program that reads the
// terminal itself from now on.
func (t *Terminal) Untaken() (lines []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, got := range t.ready {
		if got.err == nil {
			lines = append(append(lines, got.line...), '\n')
		}
	}
	t.ready, t.readyLen = nil, 0
	return lines
}

// Question asks for a line that is an answer. What was typed before the question is
// none, and stays for the prompt.
func (t *Terminal) Question(ctx context.Context, prompt string) (string, error) {
	got := t.read(ctx, newField(questionField, t.lastRow(prompt), proto.MaxText))
	return string(got.line), got.err
}

// maxSecret is longer than any PIN.
const maxSecret = 1 << 10

// Secret asks for a line that is not shown while it is typed.
func (t *Terminal) Secret(ctx context.Context, prompt string) ([]byte, error) {
	f := newField(secretField, t.lastRow(prompt), maxSecret)
	f.line.text = make([]byte, 0, maxSecret) // it never moves in memory
	if t.isPlain() {
		t.LineWaits() // the change of the echo would drop whole lines, too
		show, err := t.hide()
		defer show()
		if err != nil {
			return nil, fmt.Errorf("the terminal would show the typed text: %w", err)
		}
	}
	got := t.read(ctx, f)
	return got.line, got.err
}

// lastRow prints a question that takes several rows, all but the last one,
// which it returns as the prompt.
func (t *Terminal) lastRow(question string) func() string {
	cols, _ := t.device.size()
	rows := Wrap(question, cols)
	last := strings.LastIndexByte(rows, '\n') + 1
	if last > 0 {
		t.Print(rows[:last])
	}
	return fixed(rows[last:])
}

// fixed is a prompt that never changes.
func fixed(prompt string) func() string { return func() string { return prompt } }

// confirmTries bounds how often a question is asked again after an answer that
// is neither yes nor no.
const confirmTries = 3

// ReadingTime is the time that a person needs to see a question. What is typed
// sooner was not meant for it.
const ReadingTime = 700 * time.Millisecond

// Unanswerable is a question of yes and no before its ReadingTime is over.
func Unanswerable(question string) string {
	before, _, _ := strings.Cut(question, "(y/n)")
	return before
}

// Confirm asks a question, as "Confirm (y/n)? ", after a text. Anything but a yes is a no.
// Lines of the time before "(y/n)" is shown are for the prompt.
func (t *Terminal) Confirm(ctx context.Context, text, question string) (bool, error) {
	t.Print(text)
	for range confirmTries {
		answer, err := t.letRead(ctx, question)
		yes, no := IsYes(answer)
		switch {
		case errors.Is(err, io.EOF):
			return false, nil
		case err != nil || yes || no:
			return yes, err
		}
	}
	return false, nil
}

// letRead asks a question that can be answered once it has been read.
func (t *Terminal) letRead(ctx context.Context, question string) (string, error) {
	if t.after == nil {
		return t.Question(ctx, question)
	}
	last := t.lastRow(question)
	f := newField(questionField, fixed(Unanswerable(last())), proto.MaxText)
	f.unread = true
	over := make(chan struct{})
	defer close(over)
	go func() {
		defer t.RestoreOnPanic()
		select {
		case <-t.after(ReadingTime):
			t.mu.Lock()
			defer t.mu.Unlock()
			t.fresh()
			t.redraw(func() {
				f.unread, f.since, f.prompt, f.shown = false, t.now(), last, last()
			})
		case <-over:
		}
	}()
	got := t.read(ctx, f)
	return string(got.line), got.err
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

// Print writes whole lines, which it wraps.
func (t *Terminal) Print(text string) { t.PrintMarked(text, nil) }

// In returns a text in a style, if the terminal has colour.
func (t *Terminal) In(st Style, text string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.painter.paint.in(st, text)
}

// isPlain reports whether there is no editor.
func (t *Terminal) isPlain() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.painter.plain
}

// Away reports whether the person seems not to look: the terminal has told that
// it lacks the focus, or has had no key and no focus for a time. Without an
// editor nothing is known of that.
func (t *Terminal) Away(idle time.Duration) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.painter.plain && (t.unfocused || t.now().Sub(t.looked) >= idle)
}

// ringEvery is the time between two bells: a flood of output is no alarm.
const ringEvery = time.Second

// Bell rings, always or if the terminal has told that it lacks the focus. Of
// several bells in a second it rings one.
func (t *Terminal) Bell(always bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := t.now(); !t.away && (always || t.unfocused) && now.Sub(t.rang) >= ringEvery {
		t.rang = now
		t.bell()
		t.flush()
	}
}

// SetStatus shows a text below the prompt until the next line is typed, if an
// editor has the terminal.
func (t *Terminal) SetStatus(status string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.status = status; !t.painter.plain {
		t.drawOnceCalm()
	}
}
