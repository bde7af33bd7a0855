package term

import (
	"iter"
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
	last, flag := first, isRegional(first)
	for n < len(s) && !unicode.IsControl(first) {
		r, size := utf8.DecodeRune(s[n:])
		switch {
		case isWidthless(r), unicode.Is(unicode.Mc, r), isSkinTone(r) && unicode.Is(unicode.So, last):
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

// clusters yields the characters of s, each with its place.
func clusters(s []byte) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		for at, n := 0, 0; at < len(s); at += n {
			if n = clusterLen(s[at:]); !yield(at, s[at:at+n]) {
				return
			}
		}
	}
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
	own, most = runeWidth(first)
	for last := first; n < len(s); {
		r, size := utf8.DecodeRune(s[n:])
		n += size
		its, itsMost := runeWidth(r)
		switch {
		case r == emojiSelector && (unicode.Is(unicode.So, first) || first < utf8.RuneSelf):
			own = 2
		case r != emojiSelector && unicode.In(r, unicode.Mn, unicode.Me):
			continue
		case unicode.Is(unicode.Mc, r): // some give it no column
			own++
			most++
		case !isSkinTone(r) && last != zeroWidthJoiner:
			own += its
		}
		most += itsMost
		last = r
	}
	return own, most
}

// TextWidth returns the columns of a text without control characters.
func TextWidth(s string) (width int) {
	for _, c := range clusters([]byte(s)) {
		own, _ := clusterWidth(c)
		width += own
	}
	return width
}

// fitting cuts a text to a number of columns of any terminal.
func fitting(s string, cols int) string {
	for at, c := range clusters([]byte(s)) {
		if cols -= mostWidth(c); cols < 0 {
			return s[:at]
		}
	}
	return s
}

// runeWidth returns the usual columns of a single code point, and the most that
// any terminal gives it. Terminals differ about characters of ambiguous width, the
// parts of a sequence, pictographs, private characters, and those that are newer
// than their tables. So the most is two columns, but for what is known as narrow.
func runeWidth(r rune) (own, most int) {
	if r < utf8.RuneSelf {
		return 1, 1
	}
	own, most = 1, 2
	if unicode.Is(wide, r) {
		own = 2
	} else if unicode.In(r, narrow, unicode.Mn, unicode.Me) && !unicode.Is(unicode.Cn, r) {
		most = 1
	}
	if isWidthless(r) {
		own = 0
	}
	return own, most
}

// isWidthless reports whether a code point belongs to the character before it and
// has no column of its own: accents, joiners, and Korean vowels and final
// consonants, which are written into the syllable before them.
func isWidthless(r rune) bool {
	return r >= 0x300 && (unicode.In(r, unicode.Mn, unicode.Me) || r == nonJoiner || r == zeroWidthJoiner ||
		0x1160 <= r && r <= 0x11ff || 0xd7b0 <= r && r <= 0xd7fb)
}

func isSkinTone(r rune) bool { return firstSkinTone <= r && r <= lastSkinTone }

func isRegional(r rune) bool { return firstRegional <= r && r <= lastRegional }
