package term

import (
	"bytes"
	"slices"
	"unicode"
)

// editLine is a text of UTF-8 with a cursor. It can have several lines.
type editLine struct {
	text   []byte
	cursor int // the place of the next character: an offset in text
	max    int // length in bytes
}

// insert puts text in the place of the text between from and the cursor.
// Without room it changes nothing and returns false.
func (l *editLine) insert(from int, text []byte) bool {
	if len(l.text)-(l.cursor-from)+len(text) > l.max {
		return false
	}
	l.text = slices.Replace(l.text, from, l.cursor, text...)
	l.cursor = from + len(text)
	return true
}

// set makes text the line, with the cursor at its end.
func (l *editLine) set(text string) {
	l.clear()
	l.text = append(l.text, text...)
	l.cursor = len(l.text)
}

// clear empties the line and erases it from memory.
func (l *editLine) clear() {
	clear(l.text[:cap(l.text)])
	l.text, l.cursor = l.text[:0], 0
}

// cut removes the text between the cursor and another place, and returns it.
func (l *editLine) cut(to int) []byte {
	from, to := min(l.cursor, to), max(l.cursor, to)
	gone := slices.Clone(l.text[from:to])
	l.text = slices.Delete(l.text, from, to)
	l.cursor = from
	return gone
}

// left is the place one character before the cursor.
func (l *editLine) left() (at int) {
	for at = range clusters(l.text[:l.cursor]) { // where a character begins depends on all before it
	}
	return at
}

// right is the place one character after the cursor.
func (l *editLine) right() int {
	if l.cursor == len(l.text) {
		return l.cursor
	}
	return l.cursor + clusterLen(l.text[l.cursor:])
}

// start is the start of the cursor's line.
func (l *editLine) start() int { return bytes.LastIndexByte(l.text[:l.cursor], '\n') + 1 }

// end is the end of the cursor's line.
func (l *editLine) end() int {
	if n := bytes.IndexByte(l.text[l.cursor:], '\n'); n >= 0 {
		return l.cursor + n
	}
	return len(l.text)
}

// up moves the cursor to the line above, if there is one.
func (l *editLine) up() bool { return l.along(l.start() - 1) }

// down moves the cursor to the line below, if there is one.
func (l *editLine) down() bool { return l.along(l.end() + 1) }

// along moves the cursor to the line of another place, and there below or above
// its own place.
func (l *editLine) along(to int) bool {
	if to < 0 || to > len(l.text) {
		return false
	}
	cols := TextWidth(string(l.text[l.start():l.cursor]))
	l.cursor = to
	l.cursor = l.start()
	for end := l.end(); cols > 0 && l.cursor < end; {
		from := l.cursor
		l.cursor = l.right()
		cols -= TextWidth(string(l.text[from:l.cursor]))
	}
	return true
}

// cutNewlines removes the newlines before the cursor.
func (l *editLine) cutNewlines() { l.cut(len(bytes.TrimRight(l.text[:l.cursor], "\n"))) }

// isWordRune reports whether a character is part of a word for Alt-B and Alt-F.
func isWordRune(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) }

func isNoSpace(r rune) bool { return !unicode.IsSpace(r) }

// wordLeft finds the start of the word before the cursor.
func wordLeft(in func(rune) bool) func(*editLine) int {
	return func(l *editLine) int {
		before := bytes.TrimRightFunc(l.text[:l.cursor], func(r rune) bool { return !in(r) })
		return len(bytes.TrimRightFunc(before, in))
	}
}

// wordRight finds the end of the word after the cursor.
func wordRight(in func(rune) bool) func(*editLine) int {
	return func(l *editLine) int {
		after := bytes.TrimLeftFunc(l.text[l.cursor:], func(r rune) bool { return !in(r) })
		return len(l.text) - len(bytes.TrimLeftFunc(after, in))
	}
}
