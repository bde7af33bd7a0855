package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync"

	"chatsecure/proto"
)

// editor reads lines from a terminal in raw mode and draws them while they are
// typed. What is printed meanwhile goes above. Its methods may be called from
// any goroutine; one of its own reads.
type editor struct {
	in  io.Reader
	out io.Writer

	size func() (cols, rows int) // of the terminal, as it is now

	// What keys ask for that is not the editor's. They are called with the lock
	// held and must not wait for it.
	interrupt func()                              // Ctrl-C with nothing to clear
	suspend   func()                              // Ctrl-Z
	complete  func(before string) (int, []option) // Tab: see completer

	mu      sync.Mutex // guards what follows
	painter painter
	buf     bytes.Buffer // what the terminal gets next
	fields  []*field     // the last one is being typed
	away    bool         // the terminal is somebody else's for now: nothing is drawn
	status  string       // below the prompt
	ended   error        // why nothing more can be typed

	decoder  keyDecoder
	pasteFor *field // where the present paste began; nil: with the prompt to come
	ahead    []key  // typed before the prompt was there to take it
	aheadLen int    // its bytes
	dropped  bool   // some of what was typed ahead, and not told yet

	recall  recall
	killed  []byte // what Ctrl-Y puts back
	killing bool   // the last key added to it
}

// fieldKind says what is asked for.
type fieldKind int

const (
	commandField  fieldKind = iota // the prompt's line, with recall and completion
	questionField                  // an answer
	secretField                    // an answer that is not shown
)

// field is one line that somebody is asked for.
type field struct {
	kind   fieldKind
	prompt func() string
	shown  string // the prompt as it was drawn
	line   editLine
	cut    bool       // some of what was pasted did not fit in
	done   chan typed // capacity 1
}

// Bounds of what can be typed, in bytes.
const (
	maxSecret = 1 << 10 // longer than any PIN
	maxAhead  = 4 << 20 // a paste of a long file, while the first of its lines is sent
)

// errLineTooLong says that a line was pasted of which a message cannot be made.
var errLineTooLong = errors.New("the line is too long")

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

// read asks for a line. io.EOF is Ctrl-D on an empty one. A field that is
// asked for while another is being typed comes first; the other is drawn again
// after it, as it was.
func (e *editor) read(ctx context.Context, f *field) ([]byte, error) {
	e.begin(f)
	select {
	case got := <-f.done:
		return got.line, got.err
	case <-ctx.Done():
		e.change(func() { e.close(f, typed{err: ctx.Err()}) })
		got := <-f.done // that, or a line that came just before
		return got.line, got.err
	}
}

// begin is read up to where it waits.
func (e *editor) begin(f *field) {
	e.change(func() {
		if e.ended != nil && (f.kind != commandField || len(e.ahead) == 0) {
			f.done <- typed{err: e.ended}
			return
		}
		e.fields = append(e.fields, f)
		f.shown = f.prompt()
		e.takeAhead()
		if e.ended != nil {
			e.end(e.ended)
		}
	})
}

// print writes whole lines above the one being typed.
func (e *editor) print(text string) {
	e.change(func() {
		e.buf.WriteString(text)
		for _, f := range e.fields {
			f.shown = f.prompt() // the time, and the connection, may be new
		}
	})
}

// setStatus shows a text below the prompt until the next line is typed.
func (e *editor) setStatus(text string) { e.change(func() { e.status = text }) }

// resized draws again at the terminal's new size.
func (e *editor) resized() { e.change(func() {}) }

// measure asks for the terminal's size, before what is drawn is erased. The
// signal that tells of a new size may come later than the next thing to draw.
func (e *editor) measure() { e.painter.resize(e.size()) }

// leaveTerminal leaves the line being typed where it is and draws nothing more
// until takeTerminal.
func (e *editor) leaveTerminal() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.away {
		return
	}
	e.measure()
	e.painter.erase(&e.buf)
	if len(e.fields) > 0 {
		e.painter.leave(&e.buf, e.block())
	}
	e.flush()
	e.away = true
}

// takeTerminal draws again, on the row where the cursor is now.
func (e *editor) takeTerminal() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.away = false
	e.painter.forget()
	e.redraw(func() {})
}

// readAll reads what is typed until there is no more.
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

// feed takes what a terminal sends.
func (e *editor) feed(b []byte) { e.change(func() { e.decoder.decode(b, e.key) }) }

// end ends every field: nothing more is typed. What was typed ahead is there
// for the prompt still to come.
func (e *editor) end(err error) {
	e.ended = err
	for len(e.fields) > 0 {
		e.close(e.top(), typed{err: err})
	}
}

// change makes a change, with the lock held, and draws what has become of it.
func (e *editor) change(what func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.redraw(what)
}

// redraw is change under a lock that is held.
func (e *editor) redraw(what func()) {
	if e.away {
		what()
		e.flush()
		return
	}
	e.measure()
	e.painter.erase(&e.buf)
	what()
	if e.dropped {
		e.dropped = false
		e.buf.WriteString("client: notice: more was pasted than can wait, and the rest of it is dropped\n")
	}
	if len(e.fields) > 0 {
		e.painter.draw(&e.buf, e.block())
	}
	e.flush()
}

// flush writes out what has been drawn. A terminal that takes nothing is gone,
// which its reader notices.
func (e *editor) flush() {
	e.out.Write(e.buf.Bytes())
	e.buf.Reset()
}

func (e *editor) bell() { e.buf.WriteByte('\a') }

// top is the field being typed, or nil.
func (e *editor) top() *field {
	if len(e.fields) == 0 {
		return nil
	}
	return e.fields[len(e.fields)-1]
}

// block is what is to be seen of the field being typed.
func (e *editor) block() *block {
	f := e.top()
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

// close ends a field. What stood there stays, and the next thing is written
// below it. The terminal shows nothing of any field yet.
func (e *editor) close(f *field, got typed) {
	at := slices.Index(e.fields, f)
	if at < 0 {
		return
	}
	if f == e.top() && !e.away {
		e.painter.leave(&e.buf, e.block())
	}
	e.fields = slices.Delete(e.fields, at, at+1)
	f.line.clear()
	f.done <- got
	if f.kind != commandField {
		e.takeAhead() // the prompt may be back
	}
}

// key takes one key. What belongs to the prompt waits until that is there, so
// that a question which comes up is not answered by what was typed before it.
func (e *editor) key(k key) {
	f := e.top()
	switch {
	case k.kind == keyPasteStart:
		e.pasteFor = f
	case k.kind == keyInterrupt:
		e.interrupted(f)
	case k.pasted && e.pasteFor != nil && e.pasteFor.kind != commandField:
		// A paste is an answer to the question it began in, and to no other.
		if f == e.pasteFor {
			e.act(f, k)
		} else {
			e.bell()
		}
	case f != nil && f.kind != commandField && !k.pasted:
		e.act(f, k)
	default:
		e.typeAhead(k)
		e.takeAhead()
	}
}

// interrupted is Ctrl-C: it takes back what was typed, or else ends the
// program.
func (e *editor) interrupted(f *field) {
	e.killing = false
	switch {
	case len(e.ahead) > 0 && (f == nil || f.kind == commandField):
		e.ahead, e.aheadLen = nil, 0
		if f != nil {
			e.clearLine(f)
		}
	case f != nil && len(f.line.text) > 0:
		e.clearLine(f)
	default:
		e.interrupt()
	}
}

func (e *editor) clearLine(f *field) {
	f.line.clear()
	f.cut = false
	if f.kind == commandField {
		e.recall.reset()
	}
}

// typeAhead keeps a key for the prompt.
func (e *editor) typeAhead(k key) {
	size := len(k.text) + 1
	if e.aheadLen+size > maxAhead {
		e.bell()
		e.dropped = true
		return
	}
	k.text = bytes.Clone(k.text)
	e.ahead = append(e.ahead, k)
	e.aheadLen += size
}

// takeAhead hands on what was typed ahead as long as there is a prompt for it.
func (e *editor) takeAhead() {
	for len(e.ahead) > 0 {
		f := e.top()
		if f == nil || f.kind != commandField {
			return
		}
		k := e.ahead[0]
		e.ahead[0] = key{}
		e.ahead = e.ahead[1:]
		e.aheadLen -= len(k.text) + 1
		e.act(f, k)
	}
}
