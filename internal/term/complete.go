package term

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"chatsecure/proto"
)

// Option is one way to complete a word.
type Option struct {
	Word string
	End  string // follows the word if it is the only option
}

// commonStart is the common beginning of all options, in the case of the first
// one.
func commonStart(options []Option) string {
	first := options[0].Word
	n := len(first)
	for _, o := range options[1:] {
		at := 0
		for at < n {
			a, sizeA := utf8.DecodeRuneInString(first[at:])
			b, sizeB := utf8.DecodeRuneInString(o.Word[min(at, len(o.Word)):])
			if sizeB == 0 || sizeA != sizeB || unicode.ToLower(a) != unicode.ToLower(b) {
				break
			}
			at += sizeA
		}
		n = at
	}
	return first[:n]
}

// maxOptions bounds the options in a list.
const maxOptions = 100

// listOptions lists options side by side, in lines of at most cols columns if
// possible.
func listOptions(options []Option, cols int) string {
	var b strings.Builder
	width := 0
	add := func(word string) {
		w := TextWidth(word)
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
		add(proto.Visible(o.Word))
	}
	if more := len(options) - maxOptions; more > 0 {
		add(fmt.Sprintf("and %d more", more))
	}
	b.WriteByte('\n')
	return b.String()
}
