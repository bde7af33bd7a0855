package term

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"slices"
	"sync"
	"time"

	"chatsecure/proto"
)

// Completer finds completions for the text before the cursor. They replace its
// end, from an offset on. It must not use the terminal.
type Completer func(before string) (from int, options []Option)

// editor reads lines from a terminal in raw mode and draws them while they are
// typed, below all other output. Its methods may be called from any goroutine.
// A goroutine of its own reads keys.
type editor struct {
	complete Completer
	in       io.Reader
	out      io.Writer

	size func() (cols, rows int) // the present size of the terminal
	now  func() time.Time
	soon func(wait time.Duration, f func()) // calls f after some time

	// The actions of keys that are not the editor's. The lock is held during a
	// call.
	interrupt func() // Ctrl-C with nothing to clear
	suspend   func() // Ctrl-Z

	mu      sync.Mutex // guards the fields below
	painter painter
	buf     bytes.Buffer // output to come
	fields  []*field     // the last one is typed now
	away    bool         // another program has the terminal: nothing is drawn
	status  string       // below the prompt
	ended   error        // why there is no more input

	held    []output  // to be written when that is calm
	heldLen int       // bytes in held
	written sync.Cond // of held output; its lock is mu
	calm    time.Time // until then nothing is drawn but for a key or a question
	waits   bool      // a drawing at that time is under way

	decoder  keyDecoder
	pasteFor *field // the field in which the present paste began; nil for the next prompt
	ahead    []key  // keys that wait for a prompt
	aheadLen int    // bytes in ahead
	lost     bool   // some keys had no room there: the line that they were for is too long

	recall  recall
	killed  typed  // for Ctrl-Y
	killing bool   // the last key added to killed
	kept    *field // of a prompt that was interrupted: its line goes on in the next one

	unfocused bool      // the terminal has said so
	looked    time.Time // time of the last key, or of the focus that came back
	mark      mark
	rang      time.Time
}

// output is whole lines to be written above the line being typed. With a row
// they are marked as new: see mark.
type output struct {
	text string
	row  func(n int) string
}

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
	done   chan typed // capacity 1
}

// Bounds of typed text, in bytes.
const (
	maxSecret = 1 << 10           // longer than any PIN
	maxAhead  = 2 * proto.MaxText // the longest text, and keys before it
	maxHeld   = 64 << 10
	maxDrawn  = 8 << 10 // of output in a drawing: the terminal must not be busy with it when a key comes
)

// Times without a drawing, but for keys and questions. A terminal has its new
// width before the program is told, and what is drawn for the old one is wrapped
// in it and cannot be erased. In a flood of output, few drawings are less likely
// to meet that moment. After one change of size the next may be near: tmux tells
// the program up to 250 ms later.
const (
	drawEvery = 20 * time.Millisecond
	settled   = 300 * time.Millisecond
)

// ErrLineTooLong is the error of a pasted text of more than proto.MaxText
// bytes.
var ErrLineTooLong = errors.New("the line is too long")

// newField makes a field. A secret's line never moves in memory.
func newField(kind fieldKind, prompt func() string) *field {
	f := &field{kind: kind, prompt: prompt, done: make(chan typed, 1)}
	f.line.max = proto.MaxText
	if kind == secretField {
		f.line.max = maxSecret
		f.line.text = make([]byte, 0, maxSecret)
	}
	return f
}

// read asks for a line. Ctrl-D on an empty line is io.EOF. A later field comes
// first: the earlier one is drawn again after it, unchanged.
func (e *editor) read(ctx context.Context, f *field) typed {
	e.begin(f)
	select {
	case got := <-f.done:
		return got
	case <-ctx.Done():
		e.change(func() { e.leaveOff(f, ctx.Err()) })
		return <-f.done // ctx.Err(), or a line that came just before
	}
}

// leaveOff ends a field that nobody waits for any more. The line of a prompt is
// kept for the next one.
func (e *editor) leaveOff(f *field, err error) {
	at := slices.Index(e.fields, f)
	if at < 0 || f.kind != promptField {
		e.close(f, typed{err: err})
		return
	}
	e.fields = slices.Delete(e.fields, at, at+1)
	e.kept = f
	f.done <- typed{err: err}
}

// begin is the part of read before the wait.
func (e *editor) begin(f *field) {
	e.change(func() {
		e.takeHeld(math.MaxInt)
		if e.ended != nil && (f.kind != promptField || len(e.ahead) == 0) {
			f.done <- typed{err: e.ended}
			return
		}
		if kept := e.kept; f.kind == promptField && kept != nil {
			e.kept, f.line, f.cut, f.pasted = nil, kept.line, kept.cut, kept.pasted
		}
		e.fields = append(e.fields, f)
		f.shown = f.prompt()
		e.takeAhead()
		if e.ended != nil {
			e.end(e.ended)
		}
	})
}

// keep makes a text the line of the next prompt.
func (e *editor) keep(text string) {
	e.change(func() {
		e.kept = newField(promptField, fixed(""))
		e.kept.line.set(text)
	})
}

// isTyping reports whether the line of the prompt has been begun.
func (e *editor) isTyping() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, f := range append(slices.Clone(e.fields), e.kept) {
		if f != nil && f.kind == promptField && len(f.line.text) > 0 {
			return true
		}
	}
	return len(e.ahead) > 0
}

// print writes whole lines above the line being typed, or holds them until the
// next drawing. While too much is held, it waits.
func (e *editor) print(text string, row func(n int) string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for e.heldLen > maxHeld {
		e.written.Wait()
	}
	e.held = append(e.held, output{text, row})
	e.heldLen += len(text)
	e.drawOnceCalm()
}

// drawOnceCalm draws now, or when that is calm. The lock is held.
func (e *editor) drawOnceCalm() {
	wait := e.calm.Sub(e.now())
	if wait <= 0 || e.away {
		e.redraw(func() { e.takeHeld(maxDrawn) })
		wait = drawEvery
		if next := e.now().Add(wait); next.After(e.calm) {
			e.calm = next
		}
		if len(e.held) == 0 {
			return
		}
	}
	if e.waits {
		return
	}
	e.waits = true
	e.soon(wait, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.waits = false
		e.drawOnceCalm()
	})
}

// takeHeld writes held output, and no more of it once that is this many bytes.
func (e *editor) takeHeld(most int) {
	if len(e.held) == 0 {
		return
	}
	for taken := 0; len(e.held) > 0 && taken < most; {
		o := e.held[0]
		e.held[0] = output{}
		e.held = e.held[1:]
		taken += len(o.text)
		e.heldLen -= len(o.text)
		if o.row != nil {
			e.mark.count(&e.buf, &e.painter, o.row)
		}
		rows := Wrap(o.text, e.painter.cols)
		e.buf.WriteString(rows)
		e.mark.passed(rows, &e.painter)
	}
	e.newPrompts()
	e.written.Broadcast()
}

// newPrompts asks for the prompts: the time in them may be new.
func (e *editor) newPrompts() {
	for _, f := range e.fields {
		f.shown = f.prompt()
	}
}

// setStatus shows a text below the prompt until the next line is typed.
func (e *editor) setStatus(text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.status = text
	e.newPrompts()
	e.drawOnceCalm()
}

// isAway reports whether the person seems not to look.
func (e *editor) isAway(idle time.Duration) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.unfocused || e.now().Sub(e.looked) >= idle
}

// ringEvery is the time between two bells: a flood of output is no alarm.
const ringEvery = time.Second

// ring rings the bell for somebody who does not look.
func (e *editor) ring(always bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if now := e.now(); !e.away && (always || e.unfocused) && now.Sub(e.rang) >= ringEvery {
		e.rang = now
		e.bell()
		e.flush()
	}
}

// resized draws everything for the terminal's new size, once that stays. Until
// then the terminal itself has wrapped the drawn rows anew.
func (e *editor) resized() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calm = e.now().Add(settled)
	e.drawOnceCalm()
}

// measure updates the size before the drawn rows are erased, since the signal
// of a new size may come later than the next drawing.
func (e *editor) measure() {
	cols, rows := e.size()
	if cols != e.painter.cols || rows != e.painter.rows {
		e.mark.freeze()
	}
	e.painter.resize(cols, rows)
}

// leaveTerminal leaves the line being typed on the screen and draws nothing
// until takeTerminal.
func (e *editor) leaveTerminal() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.away {
		return
	}
	e.measure()
	e.painter.erase(&e.buf)
	e.takeHeld(math.MaxInt)
	if len(e.fields) > 0 || e.kept != nil {
		e.painter.leave(&e.buf, e.block())
	}
	e.flush()
	e.mark.freeze()
	e.away = true
}

// takeTerminal draws again, from the cursor's row on.
func (e *editor) takeTerminal() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.away = false
	e.painter.forget()
	e.redraw(func() {})
}

// readAll reads keys until the end of the input.
func (e *editor) readAll() {
	buf := make([]byte, 4<<10)
	for {
		n, err := e.in.Read(buf)
		e.feed(buf[:n])
		clear(buf[:n]) // it may be a PIN
		if err != nil {
			e.change(func() { e.end(err) })
			return
		}
	}
}

// feed takes input from the terminal.
func (e *editor) feed(b []byte) { e.change(func() { e.decoder.decode(b, e.key) }) }

// end ends every field for good. Keys that wait are still there for the next
// prompt.
func (e *editor) end(err error) {
	e.ended = err
	for len(e.fields) > 0 {
		e.close(e.top(), typed{err: err})
	}
}

// change makes a change with the lock held, and draws the result.
func (e *editor) change(what func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.redraw(what)
}

// redraw is change with the lock held already.
func (e *editor) redraw(what func()) {
	if e.away {
		what()
		e.mark.freeze()
		e.flush()
		return
	}
	e.measure()
	e.painter.erase(&e.buf)
	what()
	if len(e.fields) > 0 {
		e.painter.draw(&e.buf, e.block())
	}
	e.mark.below(&e.painter)
	e.flush()
}

// flush writes the output. An error is left to the reader, which notices a
// closed terminal.
func (e *editor) flush() {
	e.out.Write(e.buf.Bytes())
	e.buf.Reset()
}

func (e *editor) bell() { e.buf.WriteByte('\a') }

// top is the field that is typed now, or nil.
func (e *editor) top() *field {
	if len(e.fields) == 0 {
		return nil
	}
	return e.fields[len(e.fields)-1]
}

// block is the visible part of the field that is typed now.
func (e *editor) block() *block {
	f := e.top()
	if f == nil {
		f = e.kept
	}
	switch {
	case f == nil:
		return &block{}
	case f.kind == secretField:
		return &block{prompt: f.shown}
	case f.kind == questionField:
		return &block{prompt: f.shown, text: f.line.text, cursor: f.line.cursor}
	}
	return &block{prompt: f.shown, text: f.line.text, cursor: f.line.cursor, status: e.status}
}

// close ends a field. Its text stays on the screen, and further output comes
// below. The drawn rows have been erased before.
func (e *editor) close(f *field, got typed) {
	at := slices.Index(e.fields, f)
	if at < 0 {
		return
	}
	if f == e.top() && !e.away {
		e.painter.leave(&e.buf, e.block())
		e.mark.freeze()
	}
	e.fields = slices.Delete(e.fields, at, at+1)
	f.line.clear()
	f.done <- got
	if f.kind != promptField {
		e.takeAhead() // the prompt may be on top again
	}
}

// key takes a key. Keys for the prompt wait until it is on top, so that they
// never answer a question that has come up since.
func (e *editor) key(k key) {
	e.unfocused = k.kind == keyNoFocus
	if e.unfocused {
		return
	}
	e.looked, e.mark = e.now(), mark{}
	f := e.top()
	switch {
	case k.kind == keyFocus:
	case k.kind == keyPasteStart:
		e.pasteFor = f
	case k.kind == keyInterrupt:
		e.interrupted(f)
	case k.pasted && e.pasteFor != nil && e.pasteFor.kind != promptField:
		// A paste answers the question in which it began, and no other. Its first
		// line is the answer, which an Enter sends.
		switch {
		case f == e.pasteFor && k.kind == keyNewline:
			e.pasteFor = noField
		case f == e.pasteFor:
			e.act(f, k)
		case k.kind == keyText:
			e.bell()
		}
	case f != nil && f.kind != promptField && !k.pasted:
		e.act(f, k)
	default:
		e.typeAhead(k)
		e.takeAhead()
	}
}

// noField is where the rest of a paste goes.
var noField = &field{kind: questionField}

// interrupted is Ctrl-C. It clears the typed text, or else ends the program.
func (e *editor) interrupted(f *field) {
	e.killing = false
	if f == nil {
		f = e.kept
	}
	switch {
	case len(e.ahead) > 0 && (f == nil || f.kind == promptField):
		e.ahead, e.aheadLen, e.lost = nil, 0, false
		if f != nil {
			e.clearLine(f)
		}
	case f != nil && (len(f.line.text) > 0 || f.cut):
		e.clearLine(f)
	default:
		e.interrupt()
	}
}

func (e *editor) clearLine(f *field) {
	f.line.clear()
	f.cut, f.pasted = false, false
	if f.kind == promptField {
		e.recall.reset()
	}
}

// typeAhead keeps a key for the prompt.
func (e *editor) typeAhead(k key) {
	size := len(k.text) + 1
	if e.aheadLen+size > maxAhead {
		e.bell()
		e.lost = true
		return
	}
	k.text = bytes.Clone(k.text)
	e.ahead = append(e.ahead, k)
	e.aheadLen += size
}

// takeAhead executes waiting keys while the prompt is on top.
func (e *editor) takeAhead() {
	f := e.top()
	for ; f != nil && f.kind == promptField && len(e.ahead) > 0; f = e.top() {
		k := e.ahead[0]
		e.ahead[0] = key{}
		e.ahead = e.ahead[1:]
		e.aheadLen -= len(k.text) + 1
		e.act(f, k)
	}
	if e.lost && f != nil && f.kind == promptField {
		f.cut, e.lost = true, false
	}
}
