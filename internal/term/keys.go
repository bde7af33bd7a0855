package term

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// keyKind is the meaning of a key.
type keyKind int

const (
	keyText keyKind = iota // characters
	keyBad                 // bytes or a sequence without meaning
	keyEnter
	keyNewline // within a text
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
	keyFocus   // the terminal says that it has the focus
	keyNoFocus // or has lost it
)

// key is a key, or a run of characters.
type key struct {
	kind   keyKind
	text   []byte // of keyText: UTF-8, valid during the call that gets it
	pasted bool   // part of a paste, where nothing is a command
}

// controlKeys are the keys that send one byte, as in Emacs and readline.
var controlKeys = map[byte]keyKind{
	0x01: keyHome, 0x02: keyLeft, 0x03: keyInterrupt, 0x04: keyEndOfFile, 0x05: keyEnd, 0x06: keyRight,
	0x08: keyBackspace, '\t': keyTab, '\n': keyEnter, 0x0b: keyKillLine, 0x0c: keyRedraw, '\r': keyEnter,
	0x0e: keyDown, 0x10: keyUp, 0x12: keySearch, 0x15: keyKillStart, 0x17: keyKillWord, 0x19: keyYank,
	0x1a: keySuspend, 0x7f: keyBackspace,
}

// altKeys are the keys that send ESC and another byte.
var altKeys = map[byte]keyKind{
	'b': keyWordLeft, 'B': keyWordLeft, 'f': keyWordRight, 'F': keyWordRight, 'd': keyKillWordRight, 'D': keyKillWordRight,
	0x08: keyKillWordLeft, 0x7f: keyKillWordLeft, '\r': keyNewline, '\n': keyNewline,
}

// csiKeys are the keys that send a control sequence (ECMA-48, section 5.4), by
// its text after ESC [, as sent by xterm and its kind, rxvt and the Linux
// console.
var csiKeys = map[string]keyKind{
	"A": keyUp, "B": keyDown, "C": keyRight, "D": keyLeft, "H": keyHome, "F": keyEnd,
	"1~": keyHome, "7~": keyHome, "4~": keyEnd, "8~": keyEnd, "3~": keyDelete,
	"1;5C": keyWordRight, "1;3C": keyWordRight, "1;5D": keyWordLeft, "1;3D": keyWordLeft, "3;5~": keyKillWordRight, "3;3~": keyKillWordRight,
	"200~": keyPasteStart, "I": keyFocus, "O": keyNoFocus,
}

// ss3Keys are the same keys in application mode, by the text after ESC O.
var ss3Keys = map[byte]keyKind{'A': keyUp, 'B': keyDown, 'C': keyRight, 'D': keyLeft, 'H': keyHome, 'F': keyEnd, 'M': keyEnter}

const esc = 0x1b

// pasteEnd ends a bracketed paste.
const pasteEnd = "\x1b[201~"

// maxSequence bounds a control sequence in bytes. The longest of a key has ten.
const maxSequence = 32

// keyDecoder decodes the bytes from a terminal. Incomplete input waits for
// more: whether an ESC is the Escape key or begins a sequence is known at the
// next byte. The zero value is ready.
type keyDecoder struct {
	carry   []byte // incomplete input, shorter than maxSequence
	pasting bool
}

// decode passes every key in b to emit, in order.
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

// typed decodes a key at the start of b and returns its length, 0 if it is
// incomplete.
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
			emit(key{kind: keyPasteEnd, pasted: true})
			return len(pasteEnd)
		}
		if bytes.HasPrefix([]byte(pasteEnd), b) {
			return 0
		}
		emit(key{kind: keyText, text: b[:1], pasted: true})
		return 1
	case '\r':
		// The end of the paste is still to come.
		if len(b) == 1 {
			return 0
		}
		emit(key{kind: keyNewline, pasted: true})
		if b[1] == '\n' {
			return 2
		}
		return 1
	case '\n':
		emit(key{kind: keyNewline, pasted: true})
		return 1
	}
	return runOfText(b, true, emit)
}

// runOfText takes a run of characters from b and refuses bytes that are none.
// Control characters end the run. In a paste only the end of a line or of the
// paste does.
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

// escape decodes a key that begins with ESC and returns its length, 0 if it is
// incomplete. An ESC before a byte that cannot follow it is dropped.
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

// controlSequence is escape for ESC [.
func (d *keyDecoder) controlSequence(b []byte, emit func(key)) int {
	n := len("\x1b[")
	if len(b) > n && b[n] == '[' { // F1 to F5 of the Linux console have one byte more
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
