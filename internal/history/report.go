package history

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
