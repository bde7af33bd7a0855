package command

import (
	"fmt"
	"strings"

	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// promptCommand is a line typed at the prompt.
type promptCommand struct {
	verb     string // list, whois, history, help, quit, say, or "" for a blank line
	arg      string // of whois and history
	names    []string
	everyone bool   // say to all conversations
	text     string // of say
}

// parsePrompt reads a line: a command, or NAME[,NAME...]: TEXT.
func parsePrompt(line string) (c promptCommand, err error) {
	if before, text, ok := strings.Cut(line, ":"); ok {
		if to := strings.TrimSpace(before); !strings.ContainsAny(strings.ReplaceAll(to, ", ", ","), " \t") {
			return parseSay(to, text)
		}
	}
	words := strings.Fields(line)
	if len(words) == 0 {
		return c, nil
	}
	c.verb = words[0]
	args := words[1:]
	switch c.verb {
	case "list", "help":
	case "exit", "quit":
		c.verb = "quit"
	case "whois":
		if len(args) != 1 {
			return c, promptError("whois needs one name: whois john")
		}
		c.arg, args = args[0], nil
	case "history":
		if len(args) == 1 {
			c.arg, args = args[0], nil
		}
	default:
		return c, promptError("there is no command %q", c.verb)
	}
	if len(args) > 0 {
		return c, promptError("%s takes no %q", c.verb, args[0])
	}
	if c.arg != "" {
		if err := proto.CheckName(c.arg); err != nil {
			return c, promptError("%q is not a name: %v", c.arg, err)
		}
	}
	return c, nil
}

// parseSay reads a message and its recipients.
func parseSay(to, text string) (c promptCommand, err error) {
	c = promptCommand{verb: "say", text: strings.TrimPrefix(text, " ")}
	if strings.TrimSpace(text) == "" {
		return c, promptError("there is nothing to send after %q", to+":")
	}
	if to == "*" || proto.SameName(to, "all") {
		c.everyone = true
		return c, nil
	}
	c.names, err = parseNames(strings.ReplaceAll(to, ", ", ","))
	return c, err
}

// promptError is an error in a typed line.
func promptError(format string, args ...any) error {
	return &fail.Error{Code: proto.Usage, Message: fmt.Sprintf(format, args...), Hint: "help shows what can be typed"}
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

'john,mary: hello' sends to both, '*: hello' to all you talk with.
'whois john' and 'history john' are about john; 'quit' leaves.
`
