package proto

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Visible makes s safe to show on a terminal and honest to read. Control
// characters, newlines among them, bidirectional controls, zero-width and other
// invisible characters, accents beyond maxMarks on one character and bytes that are
// not UTF-8 become \x.., \u.... or \U......... Everything else stays.
func Visible(s string) string { return visible(s, never, writeOut) }

// VisibleText is Visible for the text of a message. Newlines and tabs stay, and
// the joiners that emoji and the spelling of some languages need.
func VisibleText(s string) string { return visible(s, belongs, writeOut) }

// VisibleJSON is a JSON text of the same value, with escapes for all characters
// that Visible writes out.
func VisibleJSON(text string) string {
	return visible(text, never, func(b *strings.Builder, r rune) {
		for _, unit := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(b, `\u%04x`, unit)
		}
	})
}

// maxMarks bounds the accents of one character. Many terminals draw a high pile of
// them over the rows above. No orthography needs as many.
const maxMarks = 8

// visible writes out the invisible characters, unless they stay by their context.
func visible(s string, stays func(before string, r rune, after string) bool, writeOut func(*strings.Builder, rune)) string {
	if isPlain(s) {
		return s
	}
	var b strings.Builder
	marks := 0
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if marks++; r < utf8.RuneSelf || !unicode.In(r, unicode.Mn, unicode.Me) {
			marks = 0
		}
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case marks <= maxMarks && (!isInvisible(r) || stays(s[:i], r, s[i+size:])):
			b.WriteString(s[i : i+size])
		default:
			writeOut(&b, r)
		}
		i += size
	}
	return b.String()
}

func never(string, rune, string) bool { return false }

func writeOut(b *strings.Builder, r rune) {
	switch {
	case r < utf8.RuneSelf:
		fmt.Fprintf(b, `\x%02x`, r)
	case r <= 0xffff:
		fmt.Fprintf(b, `\u%04x`, r)
	default:
		fmt.Fprintf(b, `\U%08x`, r)
	}
}

// isPlain reports whether s is printable ASCII, as most text is.
func isPlain(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// isInvisible reports whether a character shows nothing or acts on the text
// around it. The variation selectors U+FE0E and U+FE0F stay: they only choose
// between the text form and the emoji form of a character.
func isInvisible(r rune) bool {
	if r == 0xfe0e || r == 0xfe0f {
		return false
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp,
		unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point)
}

// The zero-width joiners.
const (
	nonJoiner = '\u200c'
	joiner    = '\u200d'
)

// joining are scripts whose letters join, so that their spelling needs joiners.
var joining = []*unicode.RangeTable{
	unicode.Arabic, unicode.Syriac, unicode.Mandaic, unicode.Nko, unicode.Mongolian, unicode.Adlam, unicode.Hanifi_Rohingya,
	unicode.Devanagari, unicode.Bengali, unicode.Gurmukhi, unicode.Gujarati, unicode.Oriya, unicode.Tamil, unicode.Telugu,
	unicode.Kannada, unicode.Malayalam, unicode.Sinhala, unicode.Khmer, unicode.Myanmar, unicode.Tibetan,
}

// belongs reports whether an invisible character is part of a message's text: a
// newline, a tab, or a single joiner between two characters of one joining
// script or two pictographs.
func belongs(before string, r rune, after string) bool {
	if r != nonJoiner && r != joiner {
		return r == '\n' || r == '\t'
	}
	before = strings.TrimRightFunc(before, unicode.IsMark)
	last, size := utf8.DecodeLastRuneInString(before)
	next, _ := utf8.DecodeRuneInString(after)
	for _, script := range joining {
		if unicode.Is(script, last) {
			return unicode.IsLetter(last) && unicode.Is(script, next) && unicode.In(next, unicode.L, unicode.M)
		}
	}
	if '\U0001f3fb' <= last && last <= '\U0001f3ff' { // a skin tone
		last, _ = utf8.DecodeLastRuneInString(before[:len(before)-size])
	}
	return r == joiner && isPictograph(last) && isPictograph(next)
}

// isPictograph reports whether a character may be part of an emoji with joiners.
func isPictograph(r rune) bool {
	return r == '\u2194' || unicode.Is(unicode.So, r) && ('\u2195' <= r && r <= '\u2bff' || r >= '\U0001f000')
}

// Clip keeps the first n bytes of s, without a character cut in half: invalid
// UTF-8 has no canonical form, and the relay closes a connection that sends it.
func Clip(s string, n int) string {
	return strings.ToValidUTF8(s[:min(len(s), n)], "")
}

// QuoteShort is Quote of a text that is cut after n characters in visible form.
func QuoteShort(s string, n int) string {
	shown := []rune(Quote(s))
	if len(shown) <= n+2 {
		return string(shown)
	}
	return string(shown[:n+1]) + `…"`
}

// Quote makes s visible between quotes. Quotes and backslashes within are escaped, so
// that s cannot end its quotes and go on as the sentence around them.
func Quote(s string) string { return `"` + Visible(quotes.Replace(s)) + `"` }

var quotes = strings.NewReplacer(`\`, `\\`, `"`, `\"`)
