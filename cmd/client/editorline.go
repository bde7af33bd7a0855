package main

import (
	"slices"
	"unicode"
	"unicode/utf8"
)

// editLine is a line while it is typed: UTF-8, with a cursor.
type editLine struct {
	text   []byte
	cursor int // where the next character goes: an offset in text
	max    int // of bytes
}

// insert puts text before the cursor. It reports whether there is room for it;
// if not, nothing is changed.
func (l *editLine) insert(text []byte) bool {
	if len(l.text)+len(text) > l.max {
		return false
	}
	l.text = slices.Insert(l.text, l.cursor, text...)
	l.cursor += len(text)
	return true
}

// replace puts text in the place of what stands from there to the cursor. It
// reports whether there is room for it.
func (l *editLine) replace(from int, text string) bool {
	if len(l.text)-(l.cursor-from)+len(text) > l.max {
		return false
	}
	l.text = slices.Replace(l.text, from, l.cursor, []byte(text)...)
	l.cursor = from + len(text)
	return true
}

// set makes text the line, with the cursor at its end.
func (l *editLine) set(text string) {
	l.clear()
	l.text = append(l.text, text...)
	l.cursor = len(l.text)
}

// clear empties the line. What was typed leaves no trace in memory.
func (l *editLine) clear() {
	clear(l.text[:cap(l.text)])
	l.text, l.cursor = l.text[:0], 0
}

// cut removes what stands between the cursor and another place, on either
// side, and returns it. The cursor is then where it was.
func (l *editLine) cut(to int) []byte {
	from, to := min(l.cursor, to), max(l.cursor, to)
	gone := slices.Clone(l.text[from:to])
	l.text = slices.Delete(l.text, from, to)
	l.cursor = from
	return gone
}

// left is the place one character before the cursor.
func (l *editLine) left() int {
	if l.cursor == 0 {
		return 0
	}
	return l.cursor - lastClusterLen(l.text[:l.cursor])
}

// right is the place one character after the cursor.
func (l *editLine) right() int {
	if l.cursor == len(l.text) {
		return l.cursor
	}
	return l.cursor + clusterLen(l.text[l.cursor:])
}

// isWordRune reports whether Alt-B and Alt-F go over a character.
func isWordRune(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) }

func isNoSpace(r rune) bool { return !unicode.IsSpace(r) }

// wordLeft is the place before the word before the cursor.
func (l *editLine) wordLeft(in func(rune) bool) int {
	at := l.cursor
	for inside := false; at > 0; {
		r, n := utf8.DecodeLastRune(l.text[:at])
		if inside && !in(r) {
			break
		}
		inside = inside || in(r)
		at -= n
	}
	return at
}

// wordRight is the place after the word after the cursor.
func (l *editLine) wordRight(in func(rune) bool) int {
	at := l.cursor
	for inside := false; at < len(l.text); {
		r, n := utf8.DecodeRune(l.text[at:])
		if inside && !in(r) {
			break
		}
		inside = inside || in(r)
		at += n
	}
	return at
}
