package trust

import (
	"crypto/x509"
	"fmt"
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

	told string // Reason for the side that is refused, without files of this machine
}

// CertificateStatus is the status of one certificate.
type CertificateStatus struct {
	Name   string // shownName
	Status RevocationStatus
	Reason string    // of the revocation, or of an unknown status
	Date   time.Time // of the revocation; zero if the list does not say it clearly
	List   CRLInfo   // the list that decided; zero if none did

	hint string // a remedy; may be empty
	told string // Reason for the side that is refused, without files of this machine

	cert    *x509.Certificate
	points  []distributionPoint // of its lists
	signers []*x509.Certificate // who may sign lists about it

	bases, deltas []listDates // of the lists that were looked in
	freshest      []string    // addresses of deltas of bases
}
