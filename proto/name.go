package proto

import (
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// The longest name.
const (
	maxName      = 32                    // in characters
	MaxNameBytes = maxName * utf8.UTFMax // in bytes of UTF-8
)

// reserved are the words of the prompt, folded.
var reserved = map[string]bool{"all": true, "list": true, "whois": true, "history": true, "help": true, "exit": true, "quit": true}

// programs have the shapes of the words that begin the lines of these programs: at a terminal,
// the text of a person of that name would read as theirs.
var programs = sync.OnceValue(func() []string { return append(Shapes("client"), Shapes("relay")...) })

// isProgram reports whether a name looks like one of programs. None is longer than client.
func isProgram(name string) bool {
	return utf8.RuneCountInString(name) <= len("client") &&
		slices.ContainsFunc(Shapes(FoldName(name)), func(shape string) bool { return slices.Contains(programs(), shape) })
}

// CheckName refuses all but names: 1 to 32 letters or digits with "._-" inside, the letters of
// one script and in everyday use, no combining marks, no word of the prompt, nothing that
// looks like client or relay. Errors have the code NameInvalid.
func CheckName(name string) error {
	bad := func(why string) error { return Errorf(NameInvalid, "%s", "a name "+why) }
	if name == "" {
		return bad("must not be empty")
	}
	if len(name) > MaxNameBytes || utf8.RuneCountInString(name) > maxName {
		return bad("has at most 32 characters")
	}
	if !utf8.ValidString(name) {
		return bad("must be UTF-8")
	}
	last := len(name) - 1
	for i, r := range name {
		switch {
		case r == '.' || r == '_' || r == '-':
			if i == 0 || i == last {
				return bad("begins and ends with a letter or digit")
			}
		case !unicode.IsLetter(r) && !unicode.IsDigit(r), ignorable(r):
			return bad("has letters and digits, with . _ - inside, and nothing else")
		}
	}
	if reserved[FoldName(name)] {
		return bad("must not be a word of the prompt (all list whois history help exit quit)")
	}
	if isProgram(name) {
		return bad("must not look like client or relay, which begin the lines of these programs")
	}
	if len(name) == utf8.RuneCountInString(name) {
		return nil
	}
	return checkScripts(name)
}

// ignorable reports a letter that shows nothing: a Hangul filler.
func ignorable(r rune) bool {
	return r == 0x115f || r == 0x1160 || r == 0x3164 || r == 0xffa0
}

// FoldName returns the form in which names are compared, registered and listed
// in `to`: Unicode simple case folding, rune by rune, in no locale.
func FoldName(name string) string {
	return strings.Map(func(r rune) rune {
		// The smallest letter of the orbit stands for it: the smallest rune of the
		// Greek iota's is a combining mark. For ASCII it is the lower-case letter,
		// so that people recognise their names.
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			if f < least && unicode.IsLetter(f) {
				least = f
			}
		}
		if 'A' <= least && least <= 'Z' {
			return least + 'a' - 'A'
		}
		return least
	}, name)
}

// SameName reports whether two names are equal when folded.
func SameName(a, b string) bool { return FoldName(a) == FoldName(b) }

// plainNameByte reports whether c is an ASCII byte of a name. It needs neither
// JSON escapes nor Unicode tables.
func plainNameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-'
}
