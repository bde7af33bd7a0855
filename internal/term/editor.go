package term

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"runtime"
	"slices"
	"time"

	"chatsecure/proto"
)

// Completer finds completions for the text before the cursor. They replace its
// end, from an offset on. It must not use the terminal.
type Completer func(before string) (from int, options []Option)

// fieldKind is the kind of a line.
type fieldKind int

const (
	promptField   fieldKind = iota // at the prompt, with recall and completion
	questionField                  // an answer
	secretField                    // a hidden answer
)

// field is a line to be typed.
type field struct {
	kind   fieldKind
	prompt func() string
	shown  string // the prompt as drawn
	line   editLine
	cut    bool       // a paste had no room
	pasted bool       // part of it was pasted
	unread bool       // a question that cannot be answered yet
	since  time.Time  // without an editor: an answer comes later
	done   chan typed // capacity 1
}

// typed is a line as it was typed, without its newline.
type typed struct {
	line   []byte
	pasted bool
	blind  bool
	err    error
	at     time.Time // of reading it, without an editor
}

// Bounds of typed text, in bytes.
const (
	maxTyped = 8 << 10           // a line without an editor: the kernel's own bound is 4,096
	maxAhead = 2 * proto.MaxText // lines that wait for the prompt
)

// ErrLineTooLong is the error of a line that has no room: a pasted text of more than
// proto.MaxText bytes, or a line typed long before the prompt is there.
var ErrLineTooLong = errors.New("the line is too long")

// newField makes a field of at most so many bytes.
func newField(kind fieldKind, prompt func() string, most int) *field {
	return &field{kind: kind, prompt: prompt, line: editLine{max: most}, done: make(chan typed, 1)}
}

// read asks for a line. Ctrl-D on an empty line is io.EOF. A later field comes
// first, and the prompt last: the earlier one is drawn again after it, unchanged.
func (t *Terminal) read(ctx context.Context, f *field) typed {
	t.begin(f)
	var got typed
	select {
	case got = <-f.done:
		t.mu.Lock() // until the end of the line is drawn
	case <-ctx.Done():
		t.mu.Lock()
		t.leaveOff(f, ctx.Err())
		got = <-f.done // ctx.Err(), or a line that came just before
	}
	t.mu.Unlock()
	return got
}

// begin is the part of read before the wait.
func (t *Terminal) begin(f *field) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f.kind != promptField && t.painter.plain {
		t.fresh()
		f.since = t.now()
	}
	t.redraw(func() {
		if t.ended != nil && (f.kind != promptField || len(t.ready) == 0) {
			f.done <- typed{err: t.ended}
			return
		}
		at := len(t.fields)
		if f.kind == promptField {
			at = 0
		}
		t.fields = slices.Insert(t.fields, at, f)
		t.takeHeld(math.MaxInt)
		t.handOver()
	})
	if t.painter.plain && !t.reading && len(t.fields) > 0 {
		t.reading = true
		go t.readLines()
	}
}

// leaveOff ends a field that nobody waits for any more. What was typed at the
// prompt is there for the next one.
func (t *Terminal) leaveOff(f *field, err error) {
	at := slices.Index(t.fields, f)
	switch {
	case at < 0:
	case t.painter.plain:
		t.answered(f, typed{err: err})
	case f.kind == promptField:
		t.redraw(func() {
			t.fields = slices.Delete(t.fields, at, at+1)
			f.done <- typed{err: err}
		})
	default:
		t.redraw(func() { t.close(f, typed{err: err}) })
	}
}

// readLines reads lines without an editor, as long as somebody waits for one: the
// kernel stops a program in the background that reads.
func (t *Terminal) readLines() {
	for more := true; more; {
		got := t.readLine()
		t.mu.Lock()
		got.blind = t.view.gone == nil
		if f := t.answeredBy(got); f != nil {
			t.answered(f, got)
		} else {
			t.wait(got)
		}
		t.reading = len(t.fields) > 0
		more = t.reading
		t.mu.Unlock()
	}
}

// answeredBy returns the last field that a line can be for, or nil.
func (t *Terminal) answeredBy(got typed) *field {
	for _, f := range slices.Backward(t.fields) {
		if got.err != nil || !f.unread && !got.at.Before(f.since) {
			return f
		}
	}
	return nil
}

// wait makes a line wait for the prompt, if there is room.
func (t *Terminal) wait(got typed) bool {
	if t.readyLen+len(got.line) >= maxAhead {
		return false
	}
	t.ready = append(t.ready, got)
	t.readyLen += len(got.line) + 1
	return true
}

// fresh makes the next line without an editor one that is typed from now on: whole
// lines wait for the prompt, and one that is begun is dropped. The lock is held, and
// given away while readLines takes a line.
func (t *Terminal) fresh() {
	for t.device.lineWaits() {
		if t.reading {
			t.mu.Unlock()
			runtime.Gosched()
			t.mu.Lock()
			continue
		}
		if got := t.readLine(); !t.wait(got) || got.err != nil {
			break
		}
	}
	t.device.drop()
}

func (t *Terminal) readLine() typed {
	line, err := t.in.ReadSlice('\n')
	at := t.now()
	if err == bufio.ErrBufferFull {
		err = ErrLineTooLong
	}
	if err != nil && !(err == io.EOF && len(line) > 0) { // a last line without its newline is a line
		return typed{err: err}
	}
	defer clear(line) // it may be a PIN
	return typed{line: bytes.Clone(bytes.TrimRight(line, "\r\n")), at: at}
}

// answered ends a field without an editor. The terminal has shown the newline of a
// line, unless that is hidden.
func (t *Terminal) answered(f *field, got typed) {
	if f == t.top() {
		if got.err != nil || f.kind == secretField {
			t.buf.WriteByte('\n')
		}
		t.painter.forget()
		t.view.under++ // by the terminal itself
	}
	t.redraw(func() { t.close(f, got) })
}

// readAll reads keys until the end of the input.
func (t *Terminal) readAll() {
	buf := make([]byte, 4<<10)
	for {
		n, err := t.in.Read(buf)
		t.feed(buf[:n])
		clear(buf[:n]) // it may be a PIN
		if err != nil {
			t.change(func() { t.end(err) })
			return
		}
	}
}

// stuckAfter is the time after which a terminal that takes no output is stuck.
const stuckAfter = time.Second

// feed takes input from the terminal. While that is stuck, keys wait, and Ctrl-C is the
// kernel's, as without raw mode.
func (t *Terminal) feed(b []byte) {
	given := make(chan struct{})
	stuck := time.AfterFunc(stuckAfter, func() {
		t.device.interruptible(true)
		close(given)
	})
	t.change(func() { t.decoder.decode(b, t.key) })
	if !stuck.Stop() {
		<-given
		t.device.interruptible(false)
	}
}

// end ends every field for good. Lines that wait are still there for the next
// prompt.
func (t *Terminal) end(err error) {
	t.ended = err
	for len(t.fields) > 0 {
		t.close(t.top(), typed{err: err})
	}
}

// top is the field that is typed now: the prompt, if none waits.
func (t *Terminal) top() *field {
	if len(t.fields) == 0 {
		return &t.prompt
	}
	return t.fields[len(t.fields)-1]
}

// finish ends a line, or all of them by an error. One for the prompt waits until that
// is on top.
func (t *Terminal) finish(f *field, err error) {
	got := typed{line: bytes.Clone(f.line.text), pasted: f.pasted, blind: t.view.gone == nil, err: err}
	if f.cut {
		got.err = ErrLineTooLong
	}
	switch {
	case f.kind != promptField:
		t.close(f, got)
		return
	case !t.wait(got):
		t.bell()
		f.cut = true // the next line goes on in this one, and neither is sent
		return
	case got.err == nil:
		t.recall.add(Line{Text: string(got.line), Pasted: got.pasted})
	}
	t.recall.reset()
	f.line.clear()
	t.handOver()
}

// handOver gives the prompt a line that waits for it.
func (t *Terminal) handOver() {
	f := &t.prompt
	if len(t.ready) == 0 || !slices.Contains(t.fields, f) {
		return
	}
	got := t.ready[0]
	t.ready = t.ready[1:]
	t.readyLen -= len(got.line) + 1
	t.status = ""
	f.shown = f.prompt() // the sent line shows its time
	t.close(f, got)
}

// close ends a field. Its text stays on the screen, and further output comes
// below. The drawn rows have been erased before.
func (t *Terminal) close(f *field, got typed) {
	at := slices.Index(t.fields, f)
	if at < 0 {
		return
	}
	if f == t.top() && !t.away {
		b := t.block()
		if f.kind == promptField {
			b.text = got.line
		}
		t.painter.leave(&t.buf, b)
		t.mark.freeze()
	}
	t.fields = slices.Delete(t.fields, at, at+1)
	if f.shown = ""; f.kind != promptField {
		f.line.clear()
		if t.pasteTo == f {
			t.pasteTo = nil
		}
	}
	f.done <- got
}

// key takes a key. Keys go to the question on top, or else to the prompt. A paste
// goes where it began and nowhere else, so that it never answers a question that
// has come up since. In a question its first line is the answer, which an Enter
// sends.
func (t *Terminal) key(k key) {
	t.unfocused = k.action == keyNoFocus
	if t.unfocused {
		return
	}
	t.looked, t.mark = t.now(), mark{}
	switch f := t.top(); {
	case k.action == keyFocus:
	case k.action == keyPasteStart:
		t.pasteTo = f
	case k.action == keyInterrupt:
		t.interrupted(f)
	case f.unread:
		t.bell()
	case !k.pasted:
		t.act(f, k)
	case t.pasteTo == nil:
		if k.action == keyText {
			t.bell()
		}
	case t.pasteTo.kind != promptField && k.action == keyNewline:
		t.pasteTo = nil
	default:
		t.act(t.pasteTo, k)
	}
}

// interrupted is Ctrl-C. It clears the typed text, or else ends the program.
func (t *Terminal) interrupted(f *field) {
	t.killing = false
	waiting := f.kind == promptField && len(t.ready) > 0
	if len(f.line.text) == 0 && !f.cut && !waiting {
		t.interrupt()
		return
	}
	f.line.clear()
	f.cut, f.pasted = false, false
	if f.kind == promptField {
		t.ready, t.readyLen = nil, 0
		t.recall.reset()
	}
}
