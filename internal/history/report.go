package history

import (
	"fmt"
	"time"

	"chatsecure/proto"
)

// maxFindings bounds the findings in a report. A file of garbage has as many as lines.
const maxFindings = 1000

// class says what a finding means for the whole history.
type class int

const (
	classDamage    class = iota // the files were changed, or lost something
	classTorn                   // a killed writer left it
	classUntrusted              // an authority is unknown
	classUnlisted               // a revocation list is missing
	classDoubtful               // a certificate was revoked later, and nobody else attests the time
	classes
)

// Report is the result of Verify.
type Report struct {
	Owner       Owner  // whose history it is
	Certificate string // the name in the owner's certificate; "" without a head

	Lines, Bundles, Conversations     int
	Messages, Records, Receipts, Ends int // of these, messages, receipts and ends have signatures
	Letters                           int // of the messages
	Heads                             int

	// Head is the last head before any damage. After counts the lines that follow it.
	Head  Head
	After int

	Findings []Finding // by line; at most maxFindings
	More     int       // further findings
	Hint     string    // what to do about the findings
	Notes    []string  // oddities that are no findings

	// Unlisted is set if nothing is missing but revocation lists, which the policy requires.
	Unlisted bool
	// Doubtful is set if all findings are that a certificate was revoked later for a reason that
	// leaves open who had its key before, and nobody else attests the time.
	Doubtful bool

	signed uint64 // the line of the last head whose signature holds
}

// Head is the owner's signature over all lines before.
type Head struct {
	Line uint64 // 0: there is none
	Time time.Time
}

// OK reports whether everything holds.
func (r *Report) OK() bool { return len(r.Findings) == 0 }

// The sentences about what holds. SECURITY.md and PROTOCOL.md have the same.
const (
	wholeUntil = "It is whole up to the head that %s signed on %s (line %d)."
	noLines    = "There is no history here. One that was removed whole leaves no trace."
	noHead     = "No head is in it: no signature of %s's covers its lines together, so any of them may be gone."
	noHeadHold = "No head is before the damage: no signature of %s's shows how far it is whole."
	afterHead  = "Lines after that head are covered by no signature of %s's: %s; more may have followed and be gone."
	laterHeads = "After that head %[2]s, and the later heads of %[1]s's do not show that these are whole; " +
		"more may have followed and be gone."
	unattested = ", and nobody else attests that this was signed before"
)

// UnlistedHint says what to do if nothing is missing but revocation lists.
const UnlistedHint = "give the revocation lists with -crl DIR (client crl refresh fetches them into crls in the state directory), " +
	"or use -crl-policy try"

// DoubtfulHint says what to do if somebody else may have signed what is dated before a revocation.
const DoubtfulHint = "whoever had the key could date this as they liked: ask the person by another way; " +
	"a receipt from before the revocation, by somebody else, would show it"

// Sentences tell whose history it is, and how far it is whole: for people, safe to print.
func (r *Report) Sentences() []string {
	switch {
	case r.Lines == 0 && r.OK():
		return []string{noLines}
	case r.Owner.Name == "":
		return nil // a finding says that the first line is not the owner's
	}
	name := proto.Visible(r.Owner.Name)
	card := ""
	if r.Certificate != "" {
		card = proto.Quote(r.Certificate) + ", "
	}
	whose := fmt.Sprintf("It is the history of %s (%sidentity %s).", name, card, proto.FormatHash(r.Owner.Identity))
	switch {
	case r.Head.Line == 0 && r.Heads > 0:
		return []string{whose, fmt.Sprintf(noHeadHold, name)}
	case r.Head.Line == 0:
		return []string{whose, fmt.Sprintf(noHead, name)}
	}
	follow, after := fmt.Sprintf("%d lines follow", r.After), afterHead
	if r.After == 1 {
		follow = "1 line follows"
	}
	if r.signed > r.Head.Line {
		after = laterHeads
	}
	return []string{whose, fmt.Sprintf(wholeUntil, name, proofTime(r.Head.Time), r.Head.Line), fmt.Sprintf(after, name, follow)}
}

// classify says what the findings mean together. Neither the traces of a killed client, nor an
// unknown authority, nor a missing list, nor a revocation mean that somebody was at the files.
func (r *Report) classify(counts [classes]int, untrusted string) {
	all := len(r.Findings) + r.More
	r.Unlisted = all > 0 && counts[classUnlisted] == all
	r.Doubtful = all > 0 && counts[classDoubtful] == all
	switch {
	case all == 0:
	case counts[classDamage] > 0:
		r.Hint = "something other than this program has changed the files, or lost some of them; a backup may have them whole"
	case counts[classUntrusted] > 0:
		r.Hint = untrusted
	case counts[classUnlisted] > 0:
		r.Hint = UnlistedHint
	case counts[classDoubtful] > 0:
		r.Hint = DoubtfulHint
	default:
		r.Hint = "the rest holds, and the next client that writes sets it right; nothing that was acknowledged is lost"
	}
}

// cover finds the last head before the first damage; 0: there is none.
func (r *Report) cover(heads []Head, damaged uint64) {
	for _, h := range heads {
		if damaged == 0 || h.Line < damaged {
			r.Head = h
		}
	}
	if r.Head.Line > 0 {
		r.After = r.Lines - int(r.Head.Line)
	}
}
