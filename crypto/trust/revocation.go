package trust

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"slices"
	"time"
)

// Policy decides about an unknown revocation status.
type Policy string

// The policies.
const (
	PolicyTry     Policy = "try"     // refuse a revoked certificate, accept an unknown status and report it
	PolicyRequire Policy = "require" // refuse an unknown status too
	PolicyOff     Policy = "off"     // do not look
)

// ParsePolicy reads a policy's name.
func ParsePolicy(s string) (Policy, error) {
	switch p := Policy(s); p {
	case PolicyTry, PolicyRequire, PolicyOff:
		return p, nil
	}
	return "", fmt.Errorf("unknown revocation policy %q: choose try, require or off", s)
}

// RevocationStatus is the state of knowledge about a certificate's revocation.
type RevocationStatus string

// The statuses.
const (
	RevocationGood    RevocationStatus = "good"    // a current list does not name it
	RevocationRevoked RevocationStatus = "revoked" // a list of its authority names it
	RevocationUnknown RevocationStatus = "unknown" // no list decides
	RevocationOff     RevocationStatus = "off"     // by PolicyOff
)

// better orders the statuses of different paths to one certificate.
func (s RevocationStatus) better(other RevocationStatus) bool {
	rank := map[RevocationStatus]int{RevocationRevoked: 0, RevocationUnknown: 1, RevocationGood: 2}
	return rank[s] > rank[other]
}

// RevocationResult is the status of a path: revoked if one certificate is, else unknown if
// one is.
type RevocationResult struct {
	Status       RevocationStatus
	Reason       string              // a sentence for people about the certificate that decided
	Hint         string              // a remedy; may be empty
	Certificates []CertificateStatus // leaf first, without the anchor's
	Later        *Revocation         // after the time in question, by the lists of now; nil if there is none

	told string // Reason for the side that is refused, without files of this machine
}

// CertificateStatus is the status of one certificate.
type CertificateStatus struct {
	Name   string // shownName
	Status RevocationStatus
	Reason string    // of the revocation, or of an unknown status
	Date   time.Time // of the revocation; zero if the list does not say it clearly
	List   CRLInfo   // the list that decided; zero if none did
	Later  *Revocation

	hint string // a remedy; may be empty
	told string // Reason for the side that is refused, without files of this machine

	cert    *x509.Certificate
	points  []distributionPoint // of its lists
	signers []*x509.Certificate // who may sign lists about it

	bases, deltas []listDates // of the lists that were looked in
	freshest      []string    // addresses of deltas of bases
}

// Revocation is what a list says of a revoked certificate.
type Revocation struct {
	Name   string // shownName
	Date   time.Time
	reason byte
}

// sound are the reasons that say that the key was in order. A hold, whose cause is not known yet,
// and no reason are not among them.
var sound = []byte{reasonAffiliation, reasonSuperseded, reasonCessation, reasonWithdrawn}

// Doubts reports whether the revocation makes doubtful what was signed before it: whoever had the
// key could date that as they liked. Without a revocation nothing is.
func (r *Revocation) Doubts() bool { return r != nil && !slices.Contains(sound, r.reason) }

// String says when the certificate was revoked, and why: a sentence, safe to print.
func (r *Revocation) String() string {
	why := "because of " + reasonNames[r.reason]
	if r.reason == reasonUnspecified {
		why = "with no reason given"
	}
	return fmt.Sprintf("the certificate of %s was revoked on %s %s", r.Name, shownTime(r.Date), why)
}

// worseOf returns the revocation that leaves more in doubt: one that does at all, or the earlier.
func worseOf(a, b *Revocation) *Revocation {
	switch {
	case a == nil, b == nil:
		return cmp.Or(a, b)
	case a.Doubts() != b.Doubts():
		return map[bool]*Revocation{true: a, false: b}[a.Doubts()]
	case b.Date.Before(a.Date):
		return b
	}
	return a
}
