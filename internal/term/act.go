package term

import (
	"bytes"
	"io"
	"unicode/utf8"
)

// act executes a key.
func (e *editor) act(f *field, k key) {
	killing := e.killing
	e.killing = false
	if k.kind != keySearch {
		e.recall.seeking = false
	}
	switch k.kind {
	case keyText:
		e.insert(f, k)
	case keyEnter:
		e.enter(f)
	case keyBackspace:
		f.line.cut(f.line.left())
	case keyKillStart:
		e.kill(f, f.line.start(), killing)
	case keyEndOfFile:
		if len(f.line.text) == 0 {
			e.close(f, typed{err: io.EOF})
		} else {
			f.line.cut(f.line.right())
		}
	case keySuspend:
		e.suspend()
	case keyPasteEnd:
		f.line.cut(len(bytes.TrimRight(f.line.text[:f.line.cursor], "\n")))
	default:
		if f.kind == secretField { // the cursor of a hidden text is not shown
			e.bell()
			return
		}
		e.edit(f, k, killing)
	}
	if len(f.line.text) == 0 && !k.pasted {
		f.cut, f.pasted = false, false // the paste was taken back
	}
}

// moves are the keys that move the cursor, kills those that remove the text up to
// a place for Ctrl-Y.
var (
	moves = map[keyKind]func(*editLine) int{
		keyLeft: (*editLine).left, keyRight: (*editLine).right, keyHome: (*editLine).start, keyEnd: (*editLine).end,
		keyWordLeft: wordLeft(isWordRune), keyWordRight: wordRight(isWordRune),
	}
	kills = map[keyKind]func(*editLine) int{
		keyKillLine: (*editLine).end, keyKillWord: wordLeft(isNoSpace),
		keyKillWordLeft: wordLeft(isWordRune), keyKillWordRight: wordRight(isWordRune),
	}
)

// edit executes the keys that need a visible line.
func (e *editor) edit(f *field, k key, killing bool) {
	line := &f.line
	if to := moves[k.kind]; to != nil {
		line.cursor = to(line)
		return
	}
	if to := kills[k.kind]; to != nil {
		e.kill(f, to(line), killing)
		return
	}
	switch k.kind {
	case keyDelete:
		line.cut(line.right())
	case keyYank:
		if line.insert(line.cursor, e.killed.line) {
			f.pasted = f.pasted || e.killed.pasted
		} else {
			e.bell()
		}
	case keyRedraw:
		e.buf.WriteString(clearScreen)
	case keyNewline, keyUp, keyDown, keySearch, keyTab:
		if f.kind != promptField {
			e.bell()
			return
		}
		e.compose(f, k)
	default:
		e.bell()
	}
}

// compose executes the keys of the prompt.
func (e *editor) compose(f *field, k key) {
	switch line := &f.line; k.kind {
	case keyNewline:
		e.insert(f, key{text: []byte("\n"), pasted: k.pasted})
	case keyTab:
		e.tab(f)
	case keyUp:
		if !line.up() {
			e.remember(f, e.recall.back)
		}
	case keyDown:
		if !line.down() {
			e.remember(f, e.recall.forth)
		}
	case keySearch:
		e.remember(f, e.recall.search)
	}
}

// insert puts characters into the line. A character without room is refused. A
// paste without room is refused as a whole: see enter.
func (e *editor) insert(f *field, k key) {
	if !f.line.insert(f.line.cursor, k.text) {
		e.bell()
		f.cut = f.cut || k.pasted || len(k.text) > utf8.UTFMax
		return
	}
	f.pasted = f.pasted || k.pasted
}

// enter ends the line.
func (e *editor) enter(f *field) {
	got := typed{line: bytes.Clone(f.line.text), pasted: f.pasted}
	if f.cut {
		got = typed{err: ErrLineTooLong}
	}
	if f.kind == promptField {
		e.status = ""
		e.recall.add(Line{string(got.line), got.pasted})
		f.shown = f.prompt() // the sent line shows its time
	}
	e.close(f, got)
}

// kill removes the text between the cursor and another place, for Ctrl-Y. Texts
// killed by consecutive keys are put back as one.
func (e *editor) kill(f *field, to int, more bool) {
	back := to < f.line.cursor
	gone := f.line.cut(to)
	switch {
	case f.kind == secretField:
		clear(gone)
		return
	case !more:
		e.killed = typed{line: gone}
	case back:
		e.killed.line = append(gone, e.killed.line...)
	default:
		e.killed.line = append(e.killed.line, gone...)
	}
	e.killed.pasted = e.killed.pasted || f.pasted
	e.killing = true
}

// remember shows an earlier line.
func (e *editor) remember(f *field, find func(now Line) (Line, bool)) {
	line, ok := find(Line{string(f.line.text), f.pasted})
	if !ok {
		e.bell()
		return
	}
	f.line.set(line.Text)
	f.pasted = line.Pasted
}

// tab completes the word before the cursor as far as it is unambiguous, and
// else lists the options.
func (e *editor) tab(f *field) {
	before := string(f.line.text[:f.line.cursor])
	from, options := e.complete(before)
	if len(options) == 0 {
		e.bell()
		return
	}
	common := commonStart(options)
	if len(options) == 1 {
		common += options[0].End
	}
	switch {
	case len(options) > 1 && len(common) <= len(before)-from:
		e.buf.WriteString(e.painter.paint.in(Faint, Wrap(listOptions(options), e.painter.cols)) + "\n")
	case !f.line.insert(from, []byte(common)):
		e.bell()
	}
}
