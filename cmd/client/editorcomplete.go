package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"chatsecure"
	"chatsecure/crypto"
	"chatsecure/proto"
)

// option is one way to go on with a word.
type option struct {
	word string
	end  string // what follows it if it is the only one
}

// promptCommands are the commands that can be completed.
var promptCommands = []option{{"exit", ""}, {"help", ""}, {"history", " "}, {"list", ""}, {"quit", ""}, {"whois", " "}}

// complete finds the ways to go on with the last word of what stands before
// the cursor, and where the word begins. A line begins with a command, or with
// the names that it is for.
func complete(before string, names []string) (from int, options []option) {
	command, arg, isArg := strings.Cut(before, " ")
	switch {
	case strings.Contains(before, ":"):
		return 0, nil // a text
	case isArg && (command == "whois" || command == "history"):
		from = len(before) - len(arg)
		return from, among(arg, asOptions(names, ""))
	}
	// NAME[, NAME...]: with or without a space after the comma.
	from = strings.LastIndexByte(before, ',') + 1
	for from > 0 && strings.HasPrefix(before[from:], " ") {
		from++
	}
	options = asOptions(names, ": ")
	if from == 0 {
		options = append(slices.Clone(promptCommands), options...)
	}
	return from, among(before[from:], options)
}

func asOptions(names []string, end string) (options []option) {
	for _, name := range names {
		options = append(options, option{name, end})
	}
	return options
}

// among returns the options that begin with what is typed, in whatever case.
func among(typed string, options []option) (found []option) {
	typed = proto.FoldName(typed)
	for _, o := range options {
		if strings.HasPrefix(proto.FoldName(o.word), typed) {
			found = append(found, o)
		}
	}
	return found
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

// maxRoster bounds the names that can be completed: a relay could tell of any
// number.
const maxRoster = 10_000

// roster is the names that can be completed: those that are known, and those
// online now or before. Its methods may be called from any goroutine.
type roster struct {
	mu    sync.Mutex
	names map[string]string // as their owners write them, by the folded name
}

// add takes note of a name.
func (r *roster) add(name string) {
	if proto.CheckName(name) != nil {
		return
	}
	folded := proto.FoldName(name)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.names == nil {
		r.names = make(map[string]string)
	}
	old, known := r.names[folded]
	if known && (name == folded || name == old) || !known && len(r.names) >= maxRoster {
		return
	}
	r.names[folded] = name
}

// note takes note of the name in an event.
func (r *roster) note(ev *chatsecure.Event) {
	switch {
	case ev.Message != nil:
		r.add(ev.Message.From)
	case ev.Peer != nil:
		r.add(ev.Peer.Name)
	}
}

// sorted returns all names, in the order of the alphabet.
func (r *roster) sorted() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := make([]string, 0, len(r.names))
	for _, name := range r.names {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(proto.FoldName(a), proto.FoldName(b)) })
	return names
}
