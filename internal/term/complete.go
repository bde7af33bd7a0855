package term

import (
	"fmt"
	"strings"
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
	common := options[0].Word
	for _, o := range options[1:] {
		for n := len(common); len(o.Word) < n || !strings.EqualFold(o.Word[:n], common); n = len(common) {
			_, last := utf8.DecodeLastRuneInString(common)
			common = common[:n-last]
		}
	}
	return common
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
