package term

import (
	"bytes"
	"io"
	"unicode/utf8"
)

// lastKey is the last kind of key that a field takes. The cursor of a hidden text is
// not shown, and an answer has one line and no recall.
var lastKey = [...]keyKind{promptField: keyTab, questionField: keyRedraw, secretField: keyPasteEnd}

// moves are the keys that move the cursor, kills those that remove the text up to
// a place for Ctrl-Y.
var (
	moves = map[keyKind]func(*editLine) int{
		keyLeft: (*editLine).left, keyRight: (*editLine).right, keyHome: (*editLine).start, keyEnd: (*editLine).end,
		keyWordLeft: wordLeft(isWordRune), keyWordRight: wordRight(isWordRune),
	}
	kills = map[keyKind]func(*editLine) int{
		keyKillStart: (*editLine).start, keyKillLine: (*editLine).end, keyKillWord: wordLeft(isNoSpace),
		keyKillWordLeft: wordLeft(isWordRune), keyKillWordRight: wordRight(isWordRune),
	}
)

// act executes a key.
func (t *Terminal) act(f *field, k key) {
	killing := t.killing
	t.killing = false
	if k.kind != keySearch {
		t.recall.seeking = false
	}
	move, kill := moves[k.kind], kills[k.kind]
	switch line := &f.line; {
	case k.kind > lastKey[f.kind]:
		t.bell()
	case move != nil:
		line.cursor = move(line)
	case kill != nil:
		t.kill(f, kill(line), killing)
	default:
		t.edit(f, k)
	}
	if len(f.line.text) == 0 && !k.pasted {
		f.cut, f.pasted = false, false // the paste was taken back
	}
}

// edit executes the keys that do more than to move or kill.
func (t *Terminal) edit(f *field, k key) {
	switch line := &f.line; k.kind {
	case keyText:
		t.insert(f, k)
	case keyNewline:
		t.insert(f, key{text: []byte("\n"), pasted: k.pasted})
	case keyEnter:
		t.finish(f, nil)
	case keyEndOfFile:
		if len(line.text) == 0 {
			t.finish(f, io.EOF)
			return
		}
		line.cut(line.right())
	case keyBackspace:
		line.cut(line.left())
	case keyDelete:
		line.cut(line.right())
	case keySuspend:
		t.suspend()
	case keyPasteEnd:
		line.cut(len(bytes.TrimRight(line.text[:line.cursor], "\n")))
	case keyYank:
		t.insert(f, key{kind: keyYank, text: t.killed.line, pasted: t.killed.pasted})
	case keyRedraw:
		t.buf.WriteString(clearScreen)
	case keyTab:
		t.tab(f)
	case keyUp:
		if !line.up() {
			t.remember(f, t.recall.back)
		}
	case keyDown:
		if !line.down() {
			t.remember(f, t.recall.forth)
		}
	case keySearch:
		t.remember(f, t.recall.search)
	}
}

// insert puts characters into the line. A character without room is refused. A
// paste without room is refused as a whole: see finish.
func (t *Terminal) insert(f *field, k key) {
	if !f.line.insert(f.line.cursor, k.text) {
		t.bell()
		f.cut = f.cut || k.kind != keyYank && (k.pasted || len(k.text) > utf8.UTFMax)
		return
	}
	f.pasted = f.pasted || k.pasted
}

// kill removes the text between the cursor and another place, for Ctrl-Y. Texts
// killed by consecutive keys are put back as one.
func (t *Terminal) kill(f *field, to int, more bool) {
	back := to < f.line.cursor
	gone := f.line.cut(to)
	switch {
	case f.kind == secretField:
		clear(gone)
		return
	case !more:
		t.killed = typed{line: gone}
	case back:
		t.killed.line = append(gone, t.killed.line...)
	default:
		t.killed.line = append(t.killed.line, gone...)
	}
	t.killed.pasted = t.killed.pasted || f.pasted
	t.killing = true
}

// remember shows an earlier line.
func (t *Terminal) remember(f *field, find func(now Line) (Line, bool)) {
	line, ok := find(Line{string(f.line.text), f.pasted})
	if !ok {
		t.bell()
		return
	}
	f.line.set(line.Text)
	f.pasted = line.Pasted
}

// tab completes the word before the cursor as far as it is unambiguous, and
// else lists the options.
func (t *Terminal) tab(f *field) {
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
