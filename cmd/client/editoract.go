package main

import (
	"io"
	"strings"
	"unicode/utf8"
)

// act does what a key asks for.
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
		e.kill(f, 0, killing)
	case keyEndOfFile:
		if len(f.line.text) == 0 {
			e.close(f, typed{err: io.EOF})
		} else {
			f.line.cut(f.line.right())
		}
	case keySuspend:
		e.suspend()
	case keyPasteEnd:
	default:
		if f.kind == secretField { // nothing shows where the cursor is
			e.bell()
			return
		}
		e.edit(f, k.kind, killing)
	}
	if k.kind != keyText && len(f.line.text) == 0 {
		f.cut = false // it has been taken back
	}
}

// edit is act for what needs the line to be seen.
func (e *editor) edit(f *field, kind keyKind, killing bool) {
	line := &f.line
	switch kind {
	case keyLeft:
		line.cursor = line.left()
	case keyRight:
		line.cursor = line.right()
	case keyHome:
		line.cursor = 0
	case keyEnd:
		line.cursor = len(line.text)
	case keyWordLeft:
		line.cursor = line.wordLeft(isWordRune)
	case keyWordRight:
		line.cursor = line.wordRight(isWordRune)
	case keyDelete:
		line.cut(line.right())
	case keyKillLine:
		e.kill(f, len(line.text), killing)
	case keyKillWord:
		e.kill(f, line.wordLeft(isNoSpace), killing)
	case keyKillWordLeft:
		e.kill(f, line.wordLeft(isWordRune), killing)
	case keyKillWordRight:
		e.kill(f, line.wordRight(isWordRune), killing)
	case keyYank:
		if !line.insert(e.killed) {
			e.bell()
		}
	case keyRedraw:
		e.buf.WriteString(clearScreen)
	case keyUp, keyDown, keySearch, keyTab:
		if f.kind != commandField {
			e.bell()
		} else if kind == keyTab {
			e.tab(f)
		} else {
			e.remember(f, kind)
		}
	default:
		e.bell()
	}
}

// insert puts characters into the line. A character that does not fit is
// refused; of many at once, a paste, nothing is sent then: see enter.
func (e *editor) insert(f *field, k key) {
	if !f.line.insert(k.text) {
		e.bell()
		f.cut = f.cut || len(k.text) > utf8.UTFMax
	}
}

// enter ends the line.
func (e *editor) enter(f *field) {
	got := typed{line: append([]byte(nil), f.line.text...)}
	if f.cut {
		got = typed{err: errLineTooLong}
	}
	if f.kind == commandField {
		e.status = ""
		e.recall.add(string(got.line))
		f.shown = f.prompt() // the line stays as of the time when it was sent
	}
	e.close(f, got)
}

// kill removes what is between the cursor and another place, for Ctrl-Y. What
// is killed by one key after the other is put back as one.
func (e *editor) kill(f *field, to int, more bool) {
	back := to < f.line.cursor
	gone := f.line.cut(to)
	switch {
	case f.kind == secretField:
		clear(gone)
		return
	case !more:
		e.killed = gone
	case back:
		e.killed = append(gone, e.killed...)
	default:
		e.killed = append(e.killed, gone...)
	}
	e.killing = true
}

// remember shows a line typed before.
func (e *editor) remember(f *field, kind keyKind) {
	find := e.recall.back
	switch kind {
	case keyDown:
		find = e.recall.forth
	case keySearch:
		find = e.recall.search
	}
	line, ok := find(string(f.line.text))
	if !ok {
		e.bell()
		return
	}
	f.line.set(line)
}

// tab completes the word before the cursor as far as there is only one way to
// go on, and shows the ways if there are several.
func (e *editor) tab(f *field) {
	before := string(f.line.text[:f.line.cursor])
	from, options := e.complete(before)
	switch len(options) {
	case 0:
		e.bell()
	case 1:
		if !f.line.replace(from, options[0].word+options[0].end) {
			e.bell()
		}
	default:
		common := commonStart(options)
		if len(common) > len(before)-from {
			if !f.line.replace(from, common) {
				e.bell()
			}
			return
		}
		e.buf.WriteString(e.painter.paint.in(faint, strings.TrimSuffix(listOptions(options, e.painter.cols), "\n")) + "\n")
	}
}
