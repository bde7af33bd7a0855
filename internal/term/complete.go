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

// listOptions lists options on a line.
func listOptions(options []Option) string {
	var words []string
	for _, o := range options[:min(len(options), maxOptions)] {
		words = append(words, proto.Visible(o.Word))
	}
	if more := len(options) - maxOptions; more > 0 {
		words = append(words, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(words, " ")
}
