package command

import (
	"context"
	"strings"
	"unicode/utf8"
)

// Program describes a program to people. The text of -h, the page for man(1)
// and the completion of shells are made from it, so that they cannot disagree.
type Program struct {
	Name     string
	Source   string   // the file of this description, from the top of the source
	Brief    string   // for apropos(1): the purpose, without a full stop
	Synopsis []string // usage lines
	About    []string // paragraphs
	Commands []command
	Before   string // stands above Flags in -h
	Flags    []Flag
	Statuses []Item // exit statuses
	More     []Section
	SeeAlso  string
}

// command is one command of the client. run parses its flags.
type command struct {
	name  string
	usage string // the whole line, with the name
	text  string // one line
	flags []Flag // its own
	words []string
	files bool // its arguments are files
	names bool // its arguments are people
	run   func(a *app, ctx context.Context, args []string) error
}

// Flag is a flag of a program or a command.
type Flag struct {
	Name  string
	Value string // the value as -h names it; "" for a flag without one
	Text  string
	Words []string // values to choose from
	Kind  kind     // of the value
}

// kind is the completion of a value.
type kind int

// The kinds of value.
const (
	plain kind = iota
	File
	Dir
)

// Item is a term with its explanation.
type Item struct{ Term, Text string }

// Section is a further part of a man page, not shown by -h.
type Section struct {
	Title string
	Text  []string // paragraphs
	Items []Item
}

// width of the text of -h, in characters.
const width = 79

// The columns of -h.
const (
	flagColumn    = 23
	commandIndent = 8
)

// Help returns the text of -h.
func (p *Program) Help() string {
	var b strings.Builder
	for i, line := range p.Synopsis {
		b.WriteString([]string{"usage: ", "       "}[min(i, 1)] + line + "\n")
	}
	for _, text := range p.About {
		b.WriteString("\n" + wrap(text, 0))
	}
	if len(p.Commands) > 0 {
		b.WriteString("\nCommands:\n")
	}
	for _, c := range p.Commands {
		b.WriteString("  " + c.usage + "\n" + strings.Repeat(" ", commandIndent) + wrap(c.text, commandIndent))
	}
	b.WriteString("\n" + wrap(p.Before, 0))
	b.WriteString(flagLines(p.Flags))
	if len(p.Statuses) > 0 {
		var parts []string
		for _, s := range p.Statuses {
			parts = append(parts, s.Term+" "+s.Text)
		}
		b.WriteString("\n" + wrap("Exit status: "+strings.Join(parts, "; ")+".", 0))
	}
	return b.String()
}

// help returns the text of -h after the command.
func (c *command) help(program string) string {
	text := "usage: " + program + " [options] " + c.usage + "\n\n" + wrap(upper(c.text)+".", 0)
	if len(c.flags) > 0 {
		text += "\n" + flagLines(c.flags)
	}
	return text
}

func flagLines(flags []Flag) string {
	var b strings.Builder
	for _, f := range flags {
		head := "  " + f.head()
		if n := utf8.RuneCountInString(head); n < flagColumn {
			head += strings.Repeat(" ", flagColumn-n)
		} else {
			head += "\n" + strings.Repeat(" ", flagColumn)
		}
		b.WriteString(head + wrap(f.Text, flagColumn))
	}
	return b.String()
}

// head is the flag with its value.
func (f Flag) head() string {
	switch {
	case f.Value == "":
		return "-" + f.Name
	case strings.HasPrefix(f.Value, "="):
		return "-" + f.Name + f.Value
	}
	return "-" + f.Name + " " + f.Value
}

// wrap breaks a text into lines that begin at a column. The first line has its
// indent already. The result ends with a newline, or is empty.
func wrap(text string, column int) string {
	var b strings.Builder
	used := 0
	for word := range strings.FieldsSeq(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case used == 0:
		case column+used+1+n > width:
			b.WriteString("\n" + strings.Repeat(" ", column))
			used = 0
		default:
			b.WriteByte(' ')
			used++
		}
		b.WriteString(word)
		used += n
	}
	if used > 0 {
		b.WriteByte('\n')
	}
	return b.String()
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
