// Package manual reads what -h prints and the pages for man(1), for tests that
// hold the two against each other and against the flags of a program. It knows
// the layout of these texts and no other.
package manual

import (
	"fmt"
	"regexp"
	"strings"
)

// Entry is an option, a command or an exit status, with its explanation in one
// line.
type Entry struct{ Term, Text string }

// Name returns the option or command without its value and arguments.
func (e Entry) Name() string { return regexp.MustCompile(`^-?[\w-]*`).FindString(e.Term) }

// TakesValue reports whether the next word belongs to the option.
func (e Entry) TakesValue() bool { return strings.Contains(e.Term, " ") }

var (
	option  = regexp.MustCompile(`(?m)^  (-[\w-]+\S*(?: \S+)?)\s+(.*(?:\n {23}.*)*)`)
	command = regexp.MustCompile(`(?m)^  ([a-z].*(?:\n {14}.*)?)\n {8}(.*(?:\n {8}.*)*)`)
	status  = regexp.MustCompile(`(\d+(?:, \d+)*) ([^;]+)[;.]`)
	tagged  = regexp.MustCompile(`(?m)^\.TP\n\\fB(.*)\\fR(.*)\n(.*)`)
	named   = regexp.MustCompile(`(?m)(?:^|[\s|\[(])(-[a-z][a-z-]*)`)
	unroff  = strings.NewReplacer(`\-`, "-", `\fB`, "", `\fR`, "", `\e`, `\`)
)

// Options returns the options of a usage text.
func Options(usage string) []Entry { return entries(option, usage) }

// Commands returns the commands of a usage text.
func Commands(usage string) []Entry { return entries(command, usage) }

// Statuses returns the exit statuses of a usage text.
func Statuses(usage string) []Entry {
	_, text, _ := strings.Cut(usage, "\nExit status: ")
	return entries(status, strings.ReplaceAll(text, "\n", " "))
}

func entries(form *regexp.Regexp, text string) (all []Entry) {
	for _, m := range form.FindAllStringSubmatch(text, -1) {
		all = append(all, Entry{strings.Join(strings.Fields(m[1]), " "), strings.Join(strings.Fields(m[2]), " ")})
	}
	return all
}

// Section returns a section of a page, "" for none.
func Section(page, title string) string {
	_, rest, _ := strings.Cut(page, "\n.SH "+title+"\n")
	section, _, _ := strings.Cut(rest, "\n.SH ")
	return section + "\n"
}

// Tagged returns the tagged paragraphs of a part of a page.
func Tagged(page string) (all []Entry) {
	for _, m := range tagged.FindAllStringSubmatch(page, -1) {
		all = append(all, Entry{unroff.Replace(m[1] + m[2]), unroff.Replace(m[3])})
	}
	return all
}

// Differ returns a complaint unless a page has the entries of a usage text, in
// their order, and no others. The page may say more of each.
func Differ(page, usage []Entry) string {
	if len(page) != len(usage) || len(usage) == 0 {
		return fmt.Sprintf("%d entries, not %d: %q, and -h has %q", len(page), len(usage), page, usage)
	}
	for i, want := range usage {
		got := page[i]
		if n := len(want.Text); got.Term != want.Term || len(got.Text) < n || !strings.EqualFold(got.Text[:n], want.Text) {
			return fmt.Sprintf("%q, and -h has %q", got, want)
		}
	}
	return ""
}

// Named returns every option that a usage text or a page names anywhere.
func Named(text string) (all []string) {
	for _, m := range named.FindAllStringSubmatch(unroff.Replace(text), -1) {
		all = append(all, m[1])
	}
	return all
}
