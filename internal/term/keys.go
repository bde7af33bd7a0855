package term

import (
	"bytes"
	"regexp"
	"sync"
	"unicode"
	"unicode/utf8"
)

// key is a key, or a run of characters.
type key struct {
	*action
	text   []byte // of keyText: UTF-8, valid during the call that gets it
	pasted bool   // part of a paste, where nothing is a command
	again  bool   // the key before it killed, too
}

// keys are the keys by the bytes that they send: one byte as in Emacs and
// readline, ESC and another, or a control sequence (ECMA-48, section 5.4) of
// xterm and its kind, rxvt or the Linux console. ESC O begins one in application
// mode.
var keys = map[string]*action{
	"\x01": keyHome, "\x02": keyLeft, "\x03": keyInterrupt, "\x04": keyEndOfFile, "\x05": keyEnd, "\x06": keyRight,
	"\x08": keyBackspace, "\t": keyTab, "\n": keyEnter, "\x0b": keyKillLine, "\x0c": keyRedraw, "\r": keyEnter,
	"\x0e": keyDown, "\x10": keyUp, "\x12": keySearch, "\x15": keyKillStart, "\x17": keyKillWord, "\x19": keyYank,
	"\x1a": keySuspend, "\x7f": keyBackspace,

	"\x1bb": keyWordLeft, "\x1bB": keyWordLeft, "\x1bf": keyWordRight, "\x1bF": keyWordRight, "\x1bd": keyKillWordRight,
	"\x1bD": keyKillWordRight, "\x1b\x08": keyKillWordLeft, "\x1b\x7f": keyKillWordLeft,
	"\x1b\r": keyNewline, "\x1b\n": keyNewline,

	"\x1b[A": keyUp, "\x1b[B": keyDown, "\x1b[C": keyRight, "\x1b[D": keyLeft, "\x1b[H": keyHome, "\x1b[F": keyEnd,
	"\x1bOA": keyUp, "\x1bOB": keyDown, "\x1bOC": keyRight, "\x1bOD": keyLeft, "\x1bOH": keyHome,
	"\x1bOF": keyEnd, "\x1bOM": keyEnter,
	"\x1b[1~": keyHome, "\x1b[7~": keyHome, "\x1b[4~": keyEnd, "\x1b[8~": keyEnd, "\x1b[3~": keyDelete,
	"\x1b[1;5C": keyWordRight, "\x1b[1;3C": keyWordRight, "\x1b[1;5D": keyWordLeft, "\x1b[1;3D": keyWordLeft,
	"\x1b[3;5~": keyKillWordRight, "\x1b[3;3~": keyKillWordRight,
	"\x1b[200~": keyPasteStart, "\x1b[I": keyFocus, "\x1b[O": keyNoFocus,
}

const esc = 0x1b

// pasteEnd ends a bracketed paste.
const pasteEnd = "\x1b[201~"

// keyDecoder decodes the bytes from a terminal. Incomplete input waits for
// more: whether an ESC is the Escape key or begins a sequence is known at the
// next byte. The zero value is ready.
type keyDecoder struct {
	carry   []byte // incomplete input, shorter than 32 bytes
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
		n := d.key(b, emit)
		if n == 0 {
			d.carry = bytes.Clone(b)
			return
		}
		b = b[n:]
	}
}

// key decodes a key at the start of b and returns its length, 0 if it is
// incomplete. An ESC before a byte that cannot follow it is dropped.
func (d *keyDecoder) key(b []byte, emit func(key)) int {
	if d.pasting {
		return d.pasted(b, emit)
	}
	if b[0] >= ' ' && b[0] != 0x7f {
		return runOfText(b, false, emit)
	}
	n := 1
	if b[0] == esc {
		if n = escapeLen(b); n <= 1 {
			return n
		}
	}
	action := keys[string(b[:n])]
	if action == nil {
		action = keyBad
	}
	d.pasting = action == keyPasteStart
	emit(key{action: action})
	return n
}

// pasted is key within a paste.
func (d *keyDecoder) pasted(b []byte, emit func(key)) int {
	switch b[0] {
	case esc:
		if bytes.HasPrefix(b, []byte(pasteEnd)) {
			d.pasting = false
			emit(key{action: keyPasteEnd, pasted: true})
			return len(pasteEnd)
		}
		if bytes.HasPrefix([]byte(pasteEnd), b) {
			return 0
		}
		emit(key{action: keyText, text: b[:1], pasted: true})
		return 1
	case '\r', '\n':
		if string(b) == "\r" { // the end of the paste is still to come
			return 0
		}
		emit(key{action: keyNewline, pasted: true})
		if bytes.HasPrefix(b, []byte("\r\n")) {
			return 2
		}
		return 1
	}
	return runOfText(b, true, emit)
}

// runOfText takes a run of characters from b and refuses bytes that are none.
// Control characters end the run. In a paste only the end of a line or of the
// paste does.
func runOfText(b []byte, pasted bool, emit func(key)) (n int) {
	for n < len(b) {
		r, size := utf8.DecodeRune(b[n:])
		ends := unicode.IsControl(r) && (!pasted || r == esc || r == '\r' || r == '\n')
		if ends || r == utf8.RuneError && size == 1 {
			break
		}
		n += size
	}
	switch {
	case n > 0:
		emit(key{action: keyText, text: b[:n], pasted: pasted})
	case utf8.FullRune(b):
		emit(key{action: keyBad, pasted: pasted})
		_, n = utf8.DecodeRune(b)
	}
	return n
}

// The begin of a key that begins with ESC, which may lack its end, and one that is
// incomplete. F1 to F5 of the Linux console have one byte more.
var (
	escape   = pattern("^\x1b(?:" + sequence + "[@-~]?|O[ -~]|[ -~\b\r\n\x7f])?")
	cutOff   = pattern("^\x1b(?:" + sequence + "|O)?$")
	sequence = `\[[[ -?]?[ -?]{0,28}` // with its ESC and end at most 32 bytes; the longest of a key has ten
)

// escapeLen is the length of a key that begins with ESC, 0 if it is incomplete.
func escapeLen(b []byte) int {
	if cutOff().Match(b) {
		return 0
	}
	return len(escape().Find(b))
}

// pattern is a regular expression that is compiled once it is needed: the start of a program need not
// wait for all of them.
func pattern(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}
