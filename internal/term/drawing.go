package term

import (
	"bytes"
	"math"
	"strings"
	"time"
)

// output is whole lines to be written above the line being typed. With a row
// they are marked as new: see mark.
type output struct {
	text string
	row  func(n int) string
	gone func() // of a text to be read: see Show
}

// Bounds in bytes of the output that waits, and of the output in a drawing: the
// terminal must not be busy with it when a key comes.
const (
	maxHeld  = 64 << 10
	maxDrawn = 8 << 10
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

// PrintMarked prints whole lines as Print does, below a row that marks all that
// was printed so since the person last pressed a key or gave the terminal the
// focus: row(n) for n calls. The row is written anew with each call, until it is
// off the screen or the size changes: then it stays as it is. Without an editor
// there is no mark.
//
// Output is held until the next drawing. While too much is held, it waits.
func (t *Terminal) PrintMarked(text string, row func(n int) string) {
	t.print(output{text: text, row: row})
}

// Show prints whole lines that a person is to read before the next line is typed. gone is called,
// with the terminal locked, once rows of them may have left the screen. One text at a time is
// followed so.
func (t *Terminal) Show(text string, gone func()) { t.print(output{text: text, gone: gone}) }

func (t *Terminal) print(o output) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.heldLen > maxHeld {
		t.written.Wait()
	}
	t.held = append(t.held, o)
	t.heldLen += len(o.text)
	t.drawOnceCalm()
}

// drawOnceCalm draws now, or when that is calm. The lock is held.
func (t *Terminal) drawOnceCalm() {
	wait := t.calm.Sub(t.now())
	if wait <= 0 || t.away || t.painter.plain {
		t.redraw(func() { t.takeHeld(maxDrawn) })
		wait = drawEvery
		t.calm = t.now().Add(wait)
		if len(t.held) == 0 {
			return
		}
	}
	if t.waits {
		return
	}
	t.waits = true
	t.soon(wait, func() {
		defer t.RestoreOnPanic()
		t.mu.Lock()
		defer t.mu.Unlock()
		t.waits = false
		t.drawOnceCalm()
	})
}

// takeHeld writes held output, and no more of it once that is this many bytes.
func (t *Terminal) takeHeld(most int) {
	for taken := 0; len(t.held) > 0 && taken < most; {
		o := t.held[0]
		t.held[0] = output{}
		t.held = t.held[1:]
		taken += len(o.text)
		t.heldLen -= len(o.text)
		if o.row != nil && !t.painter.plain {
			t.mark.count(&t.buf, &t.painter, o.row)
		}
		rows := Wrap(o.text, t.painter.cols)
		t.buf.WriteString(rows)
		t.mark.passed(rows, &t.painter)
		if o.gone != nil {
			t.view = view{strings.Count(rows, "\n"), -t.rowsToCome(), o.gone}
		}
	}
	for _, f := range t.fields {
		f.shown = f.prompt() // its time may be new
	}
	t.written.Broadcast()
}

// resized draws everything for the terminal's new size, once that stays. Until
// then the terminal itself has wrapped the drawn rows anew.
func (t *Terminal) resized() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.calm = t.now().Add(settled)
	t.drawOnceCalm()
}

// measure updates the size before the drawn rows are erased, since the signal
// of a new size may come later than the next drawing.
func (t *Terminal) measure() {
	cols, rows := t.device.size()
	if cols != t.painter.cols || rows != t.painter.rows {
		t.mark.freeze()
		t.view.lose()
	}
	t.painter.resize(cols, rows)
}

// leaveTerminal leaves the line being typed on the screen and draws nothing
// until takeTerminal.
func (t *Terminal) leaveTerminal() {
	t.change(func() {
		t.takeHeld(math.MaxInt)
		if b := t.block(); b.prompt != "" && !t.away {
			t.painter.leave(&t.buf, b)
		}
		t.away = true
	})
}

// takeTerminal draws again, from the cursor's row on.
func (t *Terminal) takeTerminal() {
	t.change(func() {
		t.away = false
		t.view.lose()
		t.buf.WriteString(ClearLine)
	})
}

// Above lets another stream to the same terminal write whole lines, above what is
// typed there.
func (t *Terminal) Above(write func()) {
	t.change(func() {
		t.view.lose()
		t.flush()
		write()
	})
}

// change makes a change with the lock held, and draws the result.
func (t *Terminal) change(what func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.redraw(what)
}

// redraw is change with the lock held already.
func (t *Terminal) redraw(what func()) {
	t.measure()
	begun := t.rowsToCome()
	t.painter.erase(&t.buf)
	if !t.painter.dumb {
		begun = t.rowsToCome() // these stay where they are
	}
	t.view.under -= begun
	what()
	t.view.under += t.rowsToCome()
	switch {
	case t.away:
		t.mark.freeze()
	case len(t.fields) > 0:
		t.painter.draw(&t.buf, t.block())
	}
	t.mark.below(&t.painter)
	t.view.below(&t.painter)
	t.flush()
}

// rowsToCome counts the rows in the buffer.
func (t *Terminal) rowsToCome() int { return bytes.Count(t.buf.Bytes(), []byte("\n")) }

// block is the visible part of the field that is typed now.
func (t *Terminal) block() *block {
	f := t.top()
	b := &block{prompt: f.shown}
	if f.kind != secretField {
		b.text, b.cursor = f.line.text, f.line.cursor
	}
	if f.kind == promptField {
		b.status = t.status
	}
	return b
}

// flush writes the output. An error is left to the reader, which notices a
// closed terminal.
func (t *Terminal) flush() {
	t.out.Write(t.buf.Bytes())
	t.buf.Reset()
}

func (t *Terminal) bell() { t.buf.WriteByte('\a') }
