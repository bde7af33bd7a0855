package term

import (
	"io"
	"unicode/utf8"
)

// action is the meaning of a key.
type action struct {
	in fieldKind // the last kind of field that takes it
	do func(t *Terminal, f *field, k key)
}

// noField is the kind of field that takes nothing.
const noField fieldKind = -1

// The actions that each field takes. The cursor of a hidden text is not shown.
var (
	keyText      = &action{secretField, (*Terminal).text} // characters
	keyEnter     = &action{secretField, func(t *Terminal, f *field, _ key) { t.finish(f, nil) }}
	keyBackspace = &action{secretField, func(_ *Terminal, f *field, _ key) { f.line.cut(f.line.left()) }}
	keyKillStart = kill(secretField, (*editLine).start)
	keyEndOfFile = &action{secretField, (*Terminal).endOrDelete}
	keySuspend   = &action{secretField, func(t *Terminal, _ *field, _ key) { t.suspend() }}
	keyPasteEnd  = &action{secretField, func(_ *Terminal, f *field, _ key) { f.line.cutNewlines() }}
)

// Those that a field takes whose text is shown.
var (
	keyLeft          = move((*editLine).left)
	keyRight         = move((*editLine).right)
	keyHome          = move((*editLine).start)
	keyEnd           = move((*editLine).end)
	keyWordLeft      = move(wordLeft(isWordRune))
	keyWordRight     = move(wordRight(isWordRune))
	keyKillLine      = kill(questionField, (*editLine).end)
	keyKillWord      = kill(questionField, wordLeft(isNoSpace))
	keyKillWordLeft  = kill(questionField, wordLeft(isWordRune))
	keyKillWordRight = kill(questionField, wordRight(isWordRune))
	keyYank          = &action{questionField, (*Terminal).yank}
	keyDelete        = &action{questionField, func(_ *Terminal, f *field, _ key) { f.line.cut(f.line.right()) }}
	keyRedraw        = &action{questionField, func(t *Terminal, _ *field, _ key) { t.buf.WriteString(clearScreen); t.view.lose() }}
)

// Those that the prompt takes. An answer has one line and no recall.
var (
	keyNewline = &action{promptField, func(t *Terminal, f *field, k key) { k.text = []byte{'\n'}; t.text(f, k) }}
	keyUp      = recalling((*editLine).up, (*recall).back)
	keyDown    = recalling((*editLine).down, (*recall).forth)
	keySearch  = recalling(nil, (*recall).search)
	keyTab     = &action{promptField, (*Terminal).tab}
)

// Those that no field takes.
var (
	keyBad        = &action{in: noField} // bytes or a sequence without meaning
	keyInterrupt  = &action{in: noField}
	keyPasteStart = &action{in: noField}
	keyFocus      = &action{in: noField} // the terminal says that it has the focus
	keyNoFocus    = &action{in: noField} // or has lost it
)

// act executes a key.
func (t *Terminal) act(f *field, k key) {
	k.again, t.killing = t.killing, false
	if k.action != keySearch {
		t.recall.seeking = false
	}
	if k.in < f.kind {
		t.bell()
	} else {
		k.do(t, f, k)
	}
	if len(f.line.text) == 0 && !k.pasted {
		f.cut, f.pasted = false, false // the paste was taken back
	}
}

// text puts characters into the line. A paste without room is refused as a whole: see
// finish.
func (t *Terminal) text(f *field, k key) {
	if !t.insert(f, k.text, k.pasted) {
		f.cut = f.cut || k.pasted || len(k.text) > utf8.UTFMax
	}
}

// insert puts a text into the line. One without room is refused.
func (t *Terminal) insert(f *field, text []byte, pasted bool) bool {
	if !f.line.insert(f.line.cursor, text) {
		t.bell()
		return false
	}
	f.pasted = f.pasted || pasted
	return true
}

func (t *Terminal) yank(f *field, _ key) { t.insert(f, t.killed.line, t.killed.pasted) }

// endOrDelete is Ctrl-D.
func (t *Terminal) endOrDelete(f *field, _ key) {
	if len(f.line.text) == 0 {
		t.finish(f, io.EOF)
		return
	}
	f.line.cut(f.line.right())
}

// move moves the cursor.
func move(to func(*editLine) int) *action {
	return &action{questionField, func(_ *Terminal, f *field, _ key) { f.line.cursor = to(&f.line) }}
}

// kill removes the text between the cursor and another place, for Ctrl-Y. Texts
// killed by consecutive keys are put back as one.
func kill(in fieldKind, to func(*editLine) int) *action {
	return &action{in, func(t *Terminal, f *field, k key) {
		before := f.line.cursor
		gone := f.line.cut(to(&f.line))
		switch {
		case f.kind == secretField:
			clear(gone)
			return
		case !k.again:
			t.killed = typed{line: gone}
		case f.line.cursor < before:
			t.killed.line = append(gone, t.killed.line...)
		default:
			t.killed.line = append(t.killed.line, gone...)
		}
		t.killed.pasted = t.killed.pasted || f.pasted
		t.killing = true
	}}
}

// recalling moves the cursor to another line of the text, or else shows an earlier
// text.
func recalling(move func(*editLine) bool, find func(*recall, Line) (Line, bool)) *action {
	return &action{promptField, func(t *Terminal, f *field, _ key) {
		if move != nil && move(&f.line) {
			return
		}
		line, ok := find(&t.recall, Line{Text: string(f.line.text), Pasted: f.pasted})
		if !ok {
			t.bell()
			return
		}
		f.line.set(line.Text)
		f.pasted = line.Pasted
	}}
}

// tab completes the word before the cursor as far as it is unambiguous, and
// else lists the options.
func (t *Terminal) tab(f *field, _ key) {
	before := string(f.line.text[:f.line.cursor])
	from, options := t.complete(before)
	if len(options) == 0 {
		t.bell()
		return
	}
	common := commonStart(options)
	if len(options) == 1 {
		common += options[0].End
	}
	switch {
	case len(options) > 1 && len(common) <= len(before)-from:
		t.buf.WriteString(t.painter.paint.in(Faint, Wrap(listOptions(options), t.painter.cols)) + "\n")
	case !f.line.insert(from, []byte(common)):
		t.bell()
	}
}
