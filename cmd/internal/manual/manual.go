// Package manual makes what people read about a program out of one
// description of its commands and flags: the text of -h, the page for man(1)
// and the completion of shells, so that they cannot disagree. It parses no
// command line and knows no program.
package manual

import (
	"strings"
	"unicode/utf8"
)

// Program describes a program.
type Program struct {
	Name     string
	Brief    string   // for apropos(1): what it does, without a full stop
	Synopsis []string // usage lines
	About    []string // paragraphs
	Commands []Command
	Before   string // what stands above Flags in -h
	Flags    []Flag
	Statuses []Item // exit statuses
	More     []Section
	SeeAlso  string
}

// Command is one of a program's commands.
type Command struct {
	Name  string
	Usage string // the whole line, with the name
	Text  string // what it does, in one line
	Flags []Flag // its own
	Words []string
	Files bool // its arguments are files
	Names bool // its arguments are people
}

// Flag is a flag of a program or a command.
type Flag struct {
	Name  string
	Value string // what follows it, as -h names it; "" for none
	Text  string
	Words []string // values to choose from
	Kind  Kind     // what its value is
}

// Kind says how the value of a flag is completed.
type Kind int

// The kinds of value.
const (
	Plain Kind = iota
	File
	Dir
)

// Item is a term and what is said of it.
type Item struct{ Term, Text string }

// Section is one more part of a man page. -h does not show it.
type Section struct {
	Title string
	Text  []string // paragraphs
	Items []Item
}

// width is how wide -h is, in characters.
const width = 79

// The columns of -h.
const (
	flagColumn    = 23
	commandIndent = 8
)

// Help is the text of -h.
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
		b.WriteString("  " + c.Usage + "\n" + strings.Repeat(" ", commandIndent) + wrap(c.Text, commandIndent))
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

// Help is the text of -h after the command.
func (c *Command) Help(program string) string {
	text := "usage: " + program + " [options] " + c.Usage + "\n\n" + wrap(upper(c.Text)+".", 0)
	if len(c.Flags) > 0 {
		text += "\n" + flagLines(c.Flags)
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

// wrap breaks a text into lines that begin at a column; the first has its
// indent already. It ends with a newline, or is empty.
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
