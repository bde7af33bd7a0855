package main

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// keyKind says what a key asks for.
type keyKind int

const (
	keyText keyKind = iota // characters, as they are
	keyBad                 // bytes or a sequence that mean nothing here
	keyEnter
	keyTab
	keyLeft
	keyRight
	keyUp
	keyDown
	keyHome
	keyEnd
	keyWordLeft
	keyWordRight
	keyBackspace
	keyDelete
	keyKillLine     // from the cursor to the end
	keyKillStart    // from the start to the cursor
	keyKillWord     // back to a space
	keyKillWordLeft // back over letters and digits
	keyKillWordRight
	keyYank
	keySearch
	keyRedraw
	keyInterrupt
	keyEndOfFile
	keySuspend
	keyPasteStart
	keyPasteEnd
)

// key is one key, or a run of characters.
type key struct {
	kind   keyKind
	text   []byte // of keyText: UTF-8, good until the call that it was given to returns
	pasted bool   // it stands in a paste, where nothing is a command
}

// controlKeys are the keys that send one byte, as Emacs and readline have them.
var controlKeys = map[byte]keyKind{
	0x01: keyHome, 0x02: keyLeft, 0x03: keyInterrupt, 0x04: keyEndOfFile, 0x05: keyEnd, 0x06: keyRight,
	0x08: keyBackspace, '\t': keyTab, '\n': keyEnter, 0x0b: keyKillLine, 0x0c: keyRedraw, '\r': keyEnter,
	0x0e: keyDown, 0x10: keyUp, 0x12: keySearch, 0x15: keyKillStart, 0x17: keyKillWord, 0x19: keyYank,
	0x1a: keySuspend, 0x7f: keyBackspace,
}

// altKeys are the keys that send ESC before another byte.
var altKeys = map[byte]keyKind{
	'b': keyWordLeft, 'B': keyWordLeft, 'f': keyWordRight, 'F': keyWordRight, 'd': keyKillWordRight, 'D': keyKillWordRight,
	0x08: keyKillWordLeft, 0x7f: keyKillWordLeft,
}

// csiKeys are the keys that send a control sequence (ECMA-48, section 5.4), by
// what follows its ESC [, as xterm and its kind, rxvt and the Linux console
// send them.
var csiKeys = map[string]keyKind{
	"A": keyUp, "B": keyDown, "C": keyRight, "D": keyLeft, "H": keyHome, "F": keyEnd,
	"1~": keyHome, "7~": keyHome, "4~": keyEnd, "8~": keyEnd, "3~": keyDelete,
	"1;5C": keyWordRight, "1;3C": keyWordRight, "1;5D": keyWordLeft, "1;3D": keyWordLeft, "3;5~": keyKillWordRight, "3;3~": keyKillWordRight,
	"200~": keyPasteStart,
}

// ss3Keys are the same in application mode, after ESC O.
var ss3Keys = map[byte]keyKind{'A': keyUp, 'B': keyDown, 'C': keyRight, 'D': keyLeft, 'H': keyHome, 'F': keyEnd, 'M': keyEnter}

const esc = 0x1b

// pasteEnd ends a bracketed paste.
const pasteEnd = "\x1b[201~"

// maxSequence bounds a control sequence in bytes: the longest that a key sends
// has ten.
const maxSequence = 32

// keyDecoder makes keys of the bytes that a terminal sends. What is not
// complete waits for the next bytes: an ESC is the Escape key or the beginning
// of another, and the next byte tells. The zero value is ready.
type keyDecoder struct {
	carry   []byte // not complete yet, shorter than maxSequence
	pasting bool
}

// decode hands every key in b to emit, in order.
func (d *keyDecoder) decode(b []byte, emit func(key)) {
	if len(d.carry) > 0 {
		b = append(d.carry, b...)
		defer clear(b) // it may be part of a PIN
		d.carry = nil
	}
	for len(b) > 0 {
		n := 0
		if d.pasting {
			n = d.pasted(b, emit)
		} else {
			n = d.typed(b, emit)
		}
		if n == 0 {
			d.carry = bytes.Clone(b)
			return
		}
		b = b[n:]
	}
}

// typed takes one key from b and returns its length, 0 if it is not complete.
func (d *keyDecoder) typed(b []byte, emit func(key)) int {
	c := b[0]
	switch {
	case c == esc:
		return d.escape(b, emit)
	case c >= ' ' && c != 0x7f:
		return runOfText(b, false, emit)
	}
	kind, ok := controlKeys[c]
	if !ok {
		kind = keyBad
	}
	emit(key{kind: kind})
	return 1
}

// pasted is typed within a paste.
func (d *keyDecoder) pasted(b []byte, emit func(key)) int {
	switch b[0] {
	case esc:
		if bytes.HasPrefix(b, []byte(pasteEnd)) {
			d.pasting = false
			emit(key{kind: keyPasteEnd})
			return len(pasteEnd)
		}
		if bytes.HasPrefix([]byte(pasteEnd), b) {
			return 0
		}
		emit(key{kind: keyText, text: b[:1], pasted: true})
		return 1
	case '\r':
		// More follows for sure: the end of the paste.
		if len(b) == 1 {
			return 0
		}
		emit(key{kind: keyEnter, pasted: true})
		if b[1] == '\n' {
			return 2
		}
		return 1
	case '\n':
		emit(key{kind: keyEnter, pasted: true})
		return 1
	}
	return runOfText(b, true, emit)
}

// runOfText takes as many characters from b as follow each other, and refuses
// bytes that are none. Control characters end the run; in a paste only those do
// that end a line, or the paste.
func runOfText(b []byte, pasted bool, emit func(key)) int {
	n := 0
	for n < len(b) {
		c := b[n]
		if c < utf8.RuneSelf {
			if pasted && (c == esc || c == '\r' || c == '\n') || !pasted && (c < ' ' || c == 0x7f) {
				break
			}
			n++
			continue
		}
		r, size := utf8.DecodeRune(b[n:])
		if r == utf8.RuneError && size == 1 && !utf8.FullRune(b[n:]) {
			break
		}
		if r == utf8.RuneError && size == 1 || unicode.IsControl(r) && !pasted {
			if n == 0 {
				emit(key{kind: keyBad, pasted: pasted})
				return size
			}
			break
		}
		n += size
	}
	if n > 0 {
		emit(key{kind: keyText, text: b[:n], pasted: pasted})
	}
	return n
}

// escape takes a key that begins with ESC from b and returns its length, 0 if
// it is not complete. An ESC before what cannot follow one is left out.
func (d *keyDecoder) escape(b []byte, emit func(key)) int {
	if len(b) == 1 {
		return 0
	}
	kind, known := altKeys[b[1]]
	switch c := b[1]; {
	case known:
		emit(key{kind: kind})
		return 2
	case c == '[':
		return d.controlSequence(b, emit)
	case c == 'O':
		if len(b) == 2 {
			return 0
		}
		if b[2] < ' ' || b[2] >= 0x7f {
			return 2
		}
		kind, known := ss3Keys[b[2]]
		if !known {
			kind = keyBad
		}
		emit(key{kind: kind})
		return 3
	case c < ' ' || c >= 0x7f:
		return 1
	}
	emit(key{kind: keyBad})
	return 2
}

// controlSequence is escape for what begins with ESC [.
func (d *keyDecoder) controlSequence(b []byte, emit func(key)) int {
	n := len("\x1b[")
	if len(b) > n && b[n] == '[' { // the Linux console's F1 to F5 have one byte more
		n++
	}
	for n < len(b) && n < maxSequence-1 && ' ' <= b[n] && b[n] <= '?' {
		n++
	}
	if n == len(b) {
		return 0
	}
	if b[n] < '@' || b[n] > '~' { // cut off, or without an end
		emit(key{kind: keyBad})
		return n
	}
	n++
	kind, known := csiKeys[string(b[len("\x1b["):n])]
	if !known {
		kind = keyBad
	}
	d.pasting = kind == keyPasteStart
	emit(key{kind: kind})
	return n
}
