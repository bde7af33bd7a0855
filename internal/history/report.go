package history

import (
	"fmt"
	"strings"
)

// maxFindings bounds the findings in a report. A file of garbage has as many as
// lines.
const maxFindings = 1000

// Report is the result of Verify.
type Report struct {
	Files, Lines, Bundles, Conversations int
	Messages, Records, Receipts, Ends    int // of these, messages, receipts and ends have signatures

	Findings []Finding // by file and line; at most maxFindings
	More     int       // further findings
	Hint     string    // what to do about the findings
	Notes    []string  // oddities that are no findings

	// Unlisted is set if nothing is missing but revocation lists, which the policy
	// requires.
	Unlisted bool
}

// OK reports whether everything holds.
func (r *Report) OK() bool { return len(r.Findings) == 0 }

// String returns the report for people: lines with newlines, safe to print.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "checked: %d files with %d lines, %d bundles, %d conversations, %d messages with %d records, %d receipts, %d ends\n",
		r.Files, r.Lines, r.Bundles, r.Conversations, r.Messages, r.Records, r.Receipts, r.Ends)
	for _, note := range r.Notes {
		fmt.Fprintf(&b, "note: %s\n", note)
	}
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%v\n", f)
	}
	if r.More > 0 {
		fmt.Fprintf(&b, "and %d more that do not hold\n", r.More)
	}
	if r.OK() {
		b.WriteString("everything holds; the times are what the signers' clocks said\n")
	}
	return b.String()
}
