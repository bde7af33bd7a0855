package command

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/term"
	"chatsecure/proto"
)

// oneLine puts a sentence on one line.
func oneLine(s string) string { return strings.ReplaceAll(strings.TrimSpace(s), "\n", "; ") }

// messageText is a message's text, safe to show. Its newlines do not end the line.
func messageText(s string) string { return strings.ReplaceAll(proto.VisibleText(s), "\n", term.Row) }

// fields are lines of a label, a colon and a value. The rows of a long value stay below it.
func fields(text string) string { return fieldStart().ReplaceAllString(text, "$0"+term.Hang) }

var fieldStart = pattern(`(?m)^[^:\n]*: `)

// personText introduces a new person: the certificate and, if the revocation is
// unknown, that.
func personText(person *trust.Person) string {
	text := trust.CertificateText(person.Leaf)
	if person.Revocation.Status == trust.RevocationUnknown {
		text += revocationLine(person.Revocation)
	}
	return fields(text)
}

// revocationLine describes a revocation result and its source.
func revocationLine(r trust.RevocationResult) string {
	text := string(r.Status) + ": " + r.Reason
	if r.Status == trust.RevocationGood && len(r.Certificates) > 0 {
		list := r.Certificates[0].List
		text += fmt.Sprintf(" (%s, of %s UTC)", proto.Visible(list.Source),
			list.ThisUpdate.UTC().Format(time.DateTime))
	}
	return textLine("Revocation", text)
}

// textLine is a further line in the layout of trust.CertificateText.
func textLine(field, value string) string {
	return fmt.Sprintf("%-15s: %s%s\n", field, term.Hang, value)
}

func visibleNames(names []string) string { return proto.Visible(strings.Join(names, ", ")) }

// sortedNames returns names in alphabetical order, whatever their case.
func sortedNames(byFolded map[string]string) []string {
	return slices.SortedFunc(maps.Values(byFolded), func(a, b string) int {
		return strings.Compare(proto.FoldName(a), proto.FoldName(b))
	})
}

func clock(t time.Time) string { return t.Local().Format("[15:04:05]") }

// dateTime is a local time in a listing.
func dateTime(t time.Time) string { return t.Local().Format(time.DateTime) }

func day(t time.Time) string { return t.Local().Format(time.DateOnly) }

// shortConnLen is the part of a connection id that tells a user's few
// connections apart.
const shortConnLen = 4

func shortConn(conn string) string { return conn[:min(len(conn), shortConnLen)] }

// counted is a number with its noun.
func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// age is the time since something, for people.
func age(d time.Duration) string {
	switch {
	case d < 0:
		return "still to come"
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return counted(int(d/time.Minute), "minute", "minutes") + " ago"
	case d < 48*time.Hour:
		return counted(int(d/time.Hour), "hour", "hours") + " ago"
	}
	return counted(int(d/(24*time.Hour)), "day", "days") + " ago"
}

func described(s string) string {
	if s == "" {
		return ""
	}
	return " (" + proto.Visible(s) + ")"
}

// padded fills a text up to its column on the screen. A wider text gets two
// spaces.
func padded(text string, column int) string {
	return text + strings.Repeat(" ", max(column-term.TextWidth(text), 2))
}

// pattern is a regular expression that is compiled once it is needed: the start of a command need not
// wait for all of them.
func pattern(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}
