package term

import (
	"unicode"
	"unicode/utf8"
)

// The width of text on a terminal, and the bounds of its characters: the part
// of UAX #29 and UAX #11 that people type. Terminals differ about sequences;
// see plainCluster.

const (
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

// clusterWidth returns the columns of a character. Control and format
// characters have been made visible by proto.Visible before.
func clusterWidth(s []byte) int {
	first, n := utf8.DecodeRune(s)
	width := runeWidth(first)
	for n < len(s) {
		r, size := utf8.DecodeRune(s[n:])
		n += size
		switch {
		case isSkinTone(r):
		case r == emojiSelector && (unicode.Is(unicode.So, first) || first < utf8.RuneSelf):
			width = 2
		default:
			width += runeWidth(r)
		}
	}
	return width
}

// plainCluster reports whether all terminals agree about the width of a
// character, as they do if only accents follow the first code point. After any
// other character the column is set explicitly.
func plainCluster(s []byte) bool {
	_, n := utf8.DecodeRune(s)
	for n < len(s) {
		r, size := utf8.DecodeRune(s[n:])
		if r == emojiSelector || !unicode.In(r, unicode.Mn, unicode.Me) {
			return false
		}
		n += size
	}
	return true
}

// TextWidth returns the columns of a text without control characters.
func TextWidth(s string) (width int) {
	for b := []byte(s); len(b) > 0; {
		n := clusterLen(b)
		width += clusterWidth(b[:n])
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
	case isJamoTail(r) || unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case unicode.Is(wide, r):
		return 2
	}
	return 1
}

// isMark reports whether a code point belongs to the character before it.
func isMark(r rune) bool {
	return r >= 0x300 && (unicode.In(r, unicode.Mn, unicode.Me, unicode.Mc) || r == zeroWidthJoiner || isJamoTail(r))
}

func isSkinTone(r rune) bool { return firstSkinTone <= r && r <= lastSkinTone }

func isRegional(r rune) bool { return firstRegional <= r && r <= lastRegional }

// isJamoTail reports whether r is a Korean vowel or final consonant, which is
// written into the syllable before it.
func isJamoTail(r rune) bool { return 0x1160 <= r && r <= 0x11ff || 0xd7b0 <= r && r <= 0xd7fb }
