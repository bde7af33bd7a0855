package main

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"chatsecure/crypto"
)

// option is one way to go on with a word.
type option struct {
	word string
	end  string // what follows it if it is the only one
}

// commonStart is what all options begin with, in the first one's case.
func commonStart(options []option) string {
	first := options[0].word
	n := len(first)
	for _, o := range options[1:] {
		at := 0
		for at < n {
			a, sizeA := utf8.DecodeRuneInString(first[at:])
			b, sizeB := utf8.DecodeRuneInString(o.word[min(at, len(o.word)):])
			if sizeB == 0 || sizeA != sizeB || unicode.ToLower(a) != unicode.ToLower(b) {
				break
			}
			at += sizeA
		}
		n = at
	}
	return first[:n]
}

// maxOptions is how many options are shown: more do not help.
const maxOptions = 100

// listOptions writes options one beside the other, in lines of at most cols
// columns where that can be.
func listOptions(options []option, cols int) string {
	var b strings.Builder
	width := 0
	add := func(word string) {
		w := textWidth(word)
		switch {
		case width == 0:
		case width+2+w > cols:
			b.WriteByte('\n')
			width = 0
		default:
			b.WriteString("  ")
			width += 2
		}
		b.WriteString(word)
		width += w
	}
	for _, o := range options[:min(len(options), maxOptions)] {
		add(crypto.Visible(o.word))
	}
	if more := len(options) - maxOptions; more > 0 {
		add(fmt.Sprintf("and %d more", more))
	}
	b.WriteByte('\n')
	return b.String()
}
