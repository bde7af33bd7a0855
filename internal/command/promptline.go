package command

import (
	"fmt"
	"slices"
	"strings"

	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// promptCommand is a line typed at the prompt.
type promptCommand struct {
	verb     string   // of promptVerbs, say, or "" for a blank line
	args     []string // of the verb
	names    []string // of say, and of to
	everyone bool     // say to all conversations
	text     string   // of say
}

// promptVerbs are the commands of the prompt: the largest number of their arguments, and whether
// they are commands with a slash only.
var promptVerbs = map[string]struct {
	most  int
	slash bool
}{
	"list": {}, "help": {}, "quit": {}, "exit": {}, "whois": {most: 1}, "history": {most: 2}, "trust": {most: 3},
	"to": {proto.MaxRecipients, true}, "pin": {slash: true},
}

// promptView is the state of the prompt on which the meaning of a line depends.
type promptView struct {
	current []string               // those whom bare lines go to, or nil
	known   func(name string) bool // whether a name has been seen here
}

// parse reads a line. One that begins with a slash is a command, and with two slashes a message
// that begins with one. NAME[,NAME...]: TEXT is a message. Other lines go to the current
// conversation; without one they are commands. A text of several lines is never a command.
func (v promptView) parse(line string) (c promptCommand, err error) {
	several := strings.Contains(line, "\n")
	switch {
	case strings.TrimSpace(line) == "":
		return c, nil
	case several:
	case strings.HasPrefix(line, "//"):
		return v.bare(line[1:])
	case strings.HasPrefix(line, "/"):
		return parseVerb(strings.Fields(line[1:]), true)
	}
	if several {
		line = strings.TrimRight(line, "\n")
	}
	if before, text, ok := strings.Cut(line, ":"); ok {
		c, is, err := v.named(before, text, several)
		if is {
			return c, err
		}
	}
	if several {
		return v.bare(line)
	}
	command, err := parseVerb(strings.Fields(line), false)
	if v.current == nil {
		return command, err
	}
	if err == nil && (len(command.args) == 0 || slices.ContainsFunc(command.args, v.known)) {
		// The line may be meant as either.
		line = proto.Visible(strings.TrimSpace(line))
		return c, promptError("/%s is the command, and %s: %[1]s says it", line, strings.Join(v.current, ","))
	}
	return v.bare(line)
}

func isOption(word string) bool { return strings.HasPrefix(word, "-") } // no name does

// bare is a message to the current conversation.
func (v promptView) bare(text string) (c promptCommand, err error) {
	if v.current == nil {
		return c, promptError("%s is for nobody: begin with a name, as in john: hello", quoteText(text))
	}
	return promptCommand{verb: "say", names: v.current, text: text}, nil
}

// named reads a message with its recipients. is tells that these are recipients, or must be meant
// so.
func (v promptView) named(before, text string, several bool) (c promptCommand, is bool, err error) {
	to := strings.ReplaceAll(strings.Trim(before, " \t"), ", ", ",")
	if strings.ContainsAny(to, " \t\n") {
		return c, false, nil
	}
	blank := strings.TrimSpace(text) == ""
	c = promptCommand{verb: "say", text: strings.TrimPrefix(strings.TrimPrefix(text, " "), "\n")}
	if to == "*" || proto.SameName(to, "all") {
		c.everyone = true
		if blank {
			err = promptError("there is nothing to send after %q", to+":")
		}
		return c, !several, err // no paste goes to everybody
	}
	if c.names, err = parseNames(to); err != nil {
		return c, v.current == nil, err
	}
	switch stranger := slices.IndexFunc(c.names, func(name string) bool { return !v.known(name) }); {
	case blank && several:
		return c, false, nil
	case blank:
		c.verb, c.text = "to", ""
	case v.current == nil || stranger < 0:
	case several:
		return c, false, nil
	default:
		// 10:30, note: and http: are mostly words, and may yet be names.
		current := strings.Join(v.current, ",")
		return c, true, promptError("nobody by the name of %s has been seen here; "+
			"%s: %s... says it to %[2]s, and /to %[1]s begins with %[1]s", c.names[stranger], current, proto.Visible(proto.Clip(to+":"+text, 12)))
	}
	return c, true, nil
}

// parseVerb reads a command.
func parseVerb(words []string, slash bool) (c promptCommand, err error) {
	if len(words) == 0 {
		return c, promptError("a command follows the slash")
	}
	c.verb, c.args = words[0], words[1:]
	verb, ok := promptVerbs[c.verb]
	switch {
	case !ok || verb.slash && !slash:
		return c, promptError("there is no command %q", c.verb)
	case c.verb == "to":
		if len(c.args) > 0 {
			c.names, err = parseNames(strings.ReplaceAll(strings.Join(c.args, " "), ", ", ","))
		}
		return c, err
	case c.verb == "whois" && len(c.args) != 1:
		return c, promptError("whois needs one name: whois john")
	case c.verb == "history" && slices.ContainsFunc(c.args, isOption):
		return c, promptError("here history takes a name and a number, and no option")
	case len(c.args) > verb.most:
		return c, promptError("%s takes no %q", c.verb, c.args[verb.most])
	}
	names := c.args
	switch {
	case c.verb == "trust":
		names = nil // it takes more than names
	case c.verb == "history" && len(names) == 2:
		if _, err := positive(names[1]); err != nil {
			return c, promptError("%q is no number of messages: %v", names[1], err)
		}
		names = names[:1]
	}
	for _, name := range names {
		if err := proto.CheckName(name); err != nil {
			return c, promptError("%q is not a name: %v", name, err)
		}
	}
	return c, nil
}

// promptError is an error in a typed line.
func promptError(format string, args ...any) error {
	return &fail.Error{Code: proto.Usage, Message: fmt.Sprintf(format, args...), Hint: "/help shows what can be typed"}
}

// promptHelp is the answer to help: the words of the original, then the new
// ones.
const promptHelp = `Available commands are:
list
help
history
whois

Syntax for sending message to 'john':
john: hello there

'john,mary: hello' sends to both; '*: hello' to each you talk with now.
'whois john' and 'history john' are about john.
'/to john', or 'john:' alone, makes john the one whom lines without a name
go to; '/to' ends that. Commands begin with a slash then: /list, /help,
/history, /whois, /exit; '//text' says '/text'.
'/trust' shows whom you know; '/trust accept', 'block', 'unblock' or 'forget',
and the name, change that. '/pin' asks for the PIN that a card waits for.
Alt-Enter begins a new line in a message, Tab completes, Up brings earlier
lines back. 'exit' or 'quit' leaves; what waits to be sent is dropped then,
but not what the relay keeps for somebody who is away.
`
