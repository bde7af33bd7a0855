package term

import (
	"unicode"
	"unicode/utf8"
)

// The width of text on a terminal, and the bounds of its characters: the part
// of UAX #29 and UAX #11 that people type. Terminals differ about sequences;
// see clusterWidth.

const (
	nonJoiner       = '\u200c'
	zeroWidthJoiner = '\u200d'
	emojiSelector   = '\ufe0f' // shows the character before it as an emoji, of two columns
	firstSkinTone   = '\U0001f3fb'
	lastSkinTone    = '\U0001f3ff'
	firstRegional   = '\U0001f1e6' // two are a flag
	lastRegional    = '\U0001f1ff'
)

// clusterLen returns the length in bytes of the first character of s with all
// code points that belong to it: accents, skin tones, joined emoji. s must not
// be empty.
func clusterLen(s []byte) int {
	if s[0] < utf8.RuneSelf && (len(s) == 1 || s[1] < utf8.RuneSelf) {
		return 1
	}
	first, n := utf8.DecodeRune(s)
	if unicode.IsControl(first) {
		return n
	}
	last, flag := first, isRegional(first)
	for n < len(s) {
		r, size := utf8.DecodeRune(s[n:])
		switch {
		case isMark(r), isSkinTone(r) && unicode.Is(unicode.So, last):
		case isRegional(r) && flag:
			flag = false
		case unicode.Is(unicode.So, r) && last == zeroWidthJoiner:
		default:
			return n
		}
		last = r
		n += size
	}
	return n
}

// lastClusterLen is clusterLen of the last character of s, which must not be
// empty. Its start depends on all characters before it.
func lastClusterLen(s []byte) (n int) {
	for len(s) > 0 {
		n = clusterLen(s)
		s = s[n:]
	}
	return n
}

// clusterWidth returns the columns of a character, and the most that any
// terminal gives it: some show the parts of a sequence side by side, and they
// differ about the width of some code points. Control and format characters have
// been made visible before, unless they belong to the text.
func clusterWidth(s []byte) (own, most int) {
	if len(s) == 1 {
		return 1, 1
	}
	first, n := utf8.DecodeRune(s)
	own, most = runeWidth(first), greatestWidth(first)
	for last := first; n < len(s); {
		r, size := utf8.DecodeRune(s[n:])
		n += size
		switch {
		case unicode.In(r, unicode.Mn, unicode.Me) && r != emojiSelector:
			continue
		case r == emojiSelector && (unicode.Is(unicode.So, first) || first < utf8.RuneSelf):
			own = 2
		case isSkinTone(r), last == zeroWidthJoiner:
		case unicode.Is(unicode.Mc, r): // some give it no column
			own++
			most++
		default:
			own += runeWidth(r)
		}
		most += greatestWidth(r)
		last = r
	}
	return own, most
}

// clusterColumns returns the columns of a character.
func clusterColumns(s []byte) int {
	own, _ := clusterWidth(s)
	return own
}

// TextWidth returns the columns of a text without control characters.
func TextWidth(s string) (width int) {
	for b := []byte(s); len(b) > 0; {
		n := clusterLen(b)
		width += clusterColumns(b[:n])
		b = b[n:]
	}
	return width
}

// runeWidth is the width of a single code point. Characters of ambiguous width
// take one column, as in wcwidth.
func runeWidth(r rune) int {
	switch {
	case r < 0x300: // before the first accent
		return 1
	case isJamoTail(r), r == nonJoiner, r == zeroWidthJoiner, unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case unicode.Is(wide, r):
		return 2
	}
	return 1
}

// isMark reports whether a code point belongs to the character before it.
func isMark(r rune) bool {
	return r >= 0x300 && (unicode.In(r, unicode.Mn, unicode.Me, unicode.Mc) || r == nonJoiner || r == zeroWidthJoiner || isJamoTail(r))
}

func isSkinTone(r rune) bool { return firstSkinTone <= r && r <= lastSkinTone }

func isRegional(r rune) bool { return firstRegional <= r && r <= lastRegional }

// isJamoTail reports whether r is a Korean vowel or final consonant, which is
// written into the syllable before it.
func isJamoTail(r rune) bool { return 0x1160 <= r && r <= 0x11ff || 0xd7b0 <= r && r <= 0xd7fb }
