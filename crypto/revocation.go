package crypto

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"slices"
	"time"
)

// Policy says what to make of an unknown revocation status.
type Policy string

// The policies.
const (
	PolicyTry     Policy = "try"     // known to be revoked: refuse; unknown: accept, and say so
	PolicyRequire Policy = "require" // unknown: refuse as well
	PolicyOff     Policy = "off"     // revocation is not looked at
)

// ParsePolicy reads a policy's name.
func ParsePolicy(s string) (Policy, error) {
	switch p := Policy(s); p {
	case PolicyTry, PolicyRequire, PolicyOff:
		return p, nil
	}
	return "", fmt.Errorf("unknown revocation policy %q: choose try, require or off", s)
}

// RevocationStatus is what is known of a certificate's revocation.
type RevocationStatus string

// The statuses.
const (
	RevocationGood    RevocationStatus = "good"    // a current list does not name it
	RevocationRevoked RevocationStatus = "revoked" // a list of its authority names it
	RevocationUnknown RevocationStatus = "unknown" // no list answers
	RevocationOff     RevocationStatus = "off"     // the policy is not to look
)

// better orders the statuses of different paths to one certificate.
func (s RevocationStatus) better(other RevocationStatus) bool {
	rank := map[RevocationStatus]int{RevocationRevoked: 0, RevocationUnknown: 1, RevocationGood: 2}
	return rank[s] > rank[other]
}

// RevocationResult is the status of a path: revoked if one certificate is, else
// unknown if one is.
type RevocationResult struct {
	Status       RevocationStatus
	Reason       string              // a sentence for people about the certificate that decided
	Certificates []CertificateStatus // each but the anchor's, leaf first
}

// CertificateStatus is the status of one certificate.
type CertificateStatus struct {
	Name   string // its CN, made visible and without a civil number
	Status RevocationStatus
	Reason string    // why it is unknown, or that of the revocation
	Date   time.Time // of the revocation
	List   CRLInfo   // the list that decided; zero if none did
}

// check looks up every certificate of a path but the anchor. Live, a
// certificate is revoked if a list names it. In the past, it is if it was by
// then; what is known today counts.
func (s *CRLStore) check(path []*x509.Certificate, at time.Time, past bool) RevocationResult {
	result := RevocationResult{Status: RevocationGood, Reason: "no revocation list names it"}
	for i, cert := range path[:len(path)-1] {
		status := s.checkOne(cert, path[i+1], at, past)
		result.Certificates = append(result.Certificates, status)
		if !result.Status.better(status.Status) {
			continue
		}
		result.Status = status.Status
		if status.Status == RevocationRevoked {
			result.Reason = fmt.Sprintf("the certificate of %s was revoked on %s (%s)", status.Name, shownTime(status.Date), status.Reason)
		} else {
			result.Reason = fmt.Sprintf("whether the certificate of %s is revoked is not known: %s", status.Name, status.Reason)
		}
	}
	return result
}

// lookup is one certificate's way through the lists of its authority: RFC
// 5280, section 6.3.3.
type lookup struct {
	cert   *x509.Certificate
	serial []byte
	at     time.Time
	past   bool

	covered reasonMask // reasons for which a current list does not name it
	good    CRLInfo    // the list that said so last
	why     string     // why there is no answer
	rank    int        // how much that says
}

// unknown notes why a list does not answer. What needs the least done about it
// is told: a stale list before a missing one.
func (l *lookup) unknown(rank int, format string, args ...any) {
	if rank >= l.rank {
		l.rank, l.why = rank, fmt.Sprintf(format, args...)
	}
}

func (s *CRLStore) checkOne(cert, issuer *x509.Certificate, at time.Time, past bool) CertificateStatus {
	status := CertificateStatus{Name: shownName(cert), Status: RevocationUnknown}
	l := &lookup{cert: cert, serial: cert.SerialNumber.Bytes(), at: at, past: past}
	if cert.SerialNumber.Sign() <= 0 || len(l.serial) > maxSerial {
		status.Reason = "its serial number cannot stand in a list"
		return status
	}
	l.unknown(0, "no revocation list of %s is at hand", shownIssuer(cert))
	scopes := l.usable(s.lists(cert.RawIssuer), issuer)
	for _, scope := range scopes {
		if entry, list, revoked := l.search(scope); revoked {
			status.Status = RevocationRevoked
			status.Reason = reasonNames[entry.reason()]
			status.Date = entry.date()
			status.List = list.info()
			return status
		}
	}
	if l.covered == allReasons {
		status.Status, status.List = RevocationGood, l.good
		return status
	}
	if l.covered != 0 {
		l.unknown(9, "the lists of %s at hand speak of some reasons only", shownIssuer(cert))
	}
	status.Reason = l.why
	return status
}

// crlScope is all lists at hand that have one scope.
type crlScope struct {
	scope  string
	mask   reasonMask
	bases  []heldCRL // newest first
	deltas []heldCRL // newest first
}

// usable picks the lists that are about the certificate and signed by its
// issuer, by scope.
func (l *lookup) usable(lists []heldCRL, issuer *x509.Certificate) (scopes []*crlScope) {
	for _, h := range lists {
		mask := h.point.covers(l.cert)
		switch {
		case h.problem != "":
			l.unknown(2, "the list %s cannot be used: %s", Visible(h.source), h.problem)
			continue
		case mask == 0:
			l.unknown(1, "the lists of %s at hand are about other certificates", shownIssuer(l.cert))
			continue
		case !l.past && h.thisUpdate.Sub(l.at) > ClockTolerance:
			l.unknown(4, "the list %s is from the future (%s)", Visible(h.source), shownTime(h.thisUpdate))
			continue
		}
		if err := h.verify(issuer); err != nil {
			l.unknown(3, "the list %s cannot be used: %s", Visible(h.source), err)
			continue
		}
		i := slices.IndexFunc(scopes, func(s *crlScope) bool { return s.scope == h.scope })
		if i < 0 {
			i = len(scopes)
			scopes = append(scopes, &crlScope{scope: h.scope, mask: mask})
		}
		if h.base == nil {
			scopes[i].bases = append(scopes[i].bases, h)
		} else {
			scopes[i].deltas = append(scopes[i].deltas, h)
		}
	}
	newestFirst := func(a, b heldCRL) int {
		if a.newer(b.crl) {
			return -1
		}
		if b.newer(a.crl) {
			return 1
		}
		return 0
	}
	for _, s := range scopes {
		slices.SortStableFunc(s.bases, newestFirst)
		slices.SortStableFunc(s.deltas, newestFirst)
	}
	return scopes
}

// search looks through one scope: the newest complete list, with the newest
// delta that builds upon it or upon an older one.
func (l *lookup) search(s *crlScope) (entry crlEntry, list heldCRL, revoked bool) {
	if len(s.bases) == 0 {
		l.unknown(4, "there is a delta of %s, and not the list it builds upon", shownIssuer(l.cert))
		// Its word that a certificate is revoked counts all the same.
		entry, list, revoked = l.revokedBy(s.deltas)
		return entry, list, revoked && l.counts(entry)
	}
	base := s.bases[0]
	// A list issued after a certificate ended may have dropped it (RFC 5280,
	// section 5); an older one is asked then.
	if i := slices.IndexFunc(s.bases, func(h heldCRL) bool { return !h.thisUpdate.After(l.cert.NotAfter) }); i > 0 {
		if entry, ok := base.entries.find(l.serial); ok && l.counts(entry) {
			return entry, base, true
		}
		base = s.bases[i]
	}
	entry, list, listed, until := l.combine(base, s.deltas)
	if listed && l.counts(entry) {
		return entry, list, true
	}
	switch {
	case listed: // revoked after the time asked about, so not before
		l.covered |= s.mask
		l.good = list.info()
	case base.thisUpdate.After(l.cert.NotAfter):
		l.unknown(5, "the list of %s at hand was issued after the certificate ended", shownIssuer(l.cert))
	case l.at.Sub(until) > ClockTolerance:
		l.unknown(6, "the list of %s at hand was due to be replaced on %s", shownIssuer(l.cert), shownTime(until))
	default:
		l.covered |= s.mask
		l.good = list.info()
	}
	return entry, list, false
}

// combine applies to a complete list the newest delta that can be: RFC 5280,
// sections 5.2.4 and 6.3.3 (c). A delta that cannot be, since its base is not at
// hand, lifts no hold; but where it is not older, its word that the certificate
// is revoked counts. until is when the lists that were applied must be replaced.
func (l *lookup) combine(base heldCRL, deltas []heldCRL) (entry crlEntry, list heldCRL, listed bool, until time.Time) {
	entry, listed = base.entries.find(l.serial)
	list, until = base, base.nextUpdate
	newest := base
	if i := slices.IndexFunc(deltas, func(d heldCRL) bool { return base.takes(d.crl) }); i >= 0 {
		newest = deltas[i]
		current := l.at.Sub(newest.nextUpdate) <= ClockTolerance
		if newest.nextUpdate.After(until) {
			until = newest.nextUpdate
		}
		change, ok := newest.entries.find(l.serial)
		switch {
		case !ok:
			if !listed && current {
				list = newest
			}
		case change.reason() == reasonRemove:
			// Only a hold is ever lifted, and a stale delta lifts none: the hold
			// may be back.
			if listed && entry.reason() == reasonHold && current {
				listed, list = false, newest
			}
		default:
			entry, list, listed = change.since(entry, listed), newest, true
		}
	}
	others := slices.DeleteFunc(slices.Clone(deltas), func(d heldCRL) bool { return d.crl == newest.crl || newest.newer(d.crl) })
	if change, delta, ok := l.revokedBy(others); ok {
		entry, list, listed = change.since(entry, listed), delta, true
	}
	return entry, list, listed, until
}

// revokedBy returns the newest word of deltas that the certificate is revoked.
func (l *lookup) revokedBy(deltas []heldCRL) (entry crlEntry, delta heldCRL, ok bool) {
	for _, d := range deltas {
		if entry, ok := d.entries.find(l.serial); ok && entry.reason() != reasonRemove {
			return entry, d, true
		}
	}
	return entry, delta, false
}

// since dates an entry back to an earlier one: what was on hold and is revoked
// is so from the start of the hold.
func (e crlEntry) since(earlier crlEntry, listed bool) crlEntry {
	if listed && earlier.date().Before(e.date()) {
		e.setDate(earlier.date())
	}
	return e
}

// takes reports whether a delta of the same scope can be applied to c.
func (c *crl) takes(delta *crl) bool {
	return c.number != nil && compareNumbers(c.number, delta.base) >= 0 && compareNumbers(c.number, delta.number) < 0 &&
		(len(c.authority) == 0 || len(delta.authority) == 0 || bytes.Equal(c.authority, delta.authority))
}

// counts reports whether an entry means "revoked" at the time asked about.
func (l *lookup) counts(e crlEntry) bool { return !l.past || !e.date().After(l.at) }

// CRLFetch is a revocation list that would tell more about a certificate.
type CRLFetch struct {
	URL    string            // http
	Issuer *x509.Certificate // who signs it: what CRLStore.Add asks for
	Delta  bool
}

// crlURLs returns where the lists about a certificate are: complete ones
// (CRLDistributionPoints) and deltas (FreshestCRL), http only.
func crlURLs(cert *x509.Certificate) (complete, deltas []string) {
	return httpURLs(certPoints(cert, oidDistributionPoints)), httpURLs(certPoints(cert, oidFreshestCRL))
}

// Due returns what to fetch for a verified path: complete lists where none at
// hand answers any more, and deltas where the authority has them and none at
// hand is current, since one may also lift a hold. Alternative addresses of one
// list are all named.
func (s *CRLStore) Due(path []*x509.Certificate, now time.Time) (fetches []CRLFetch) {
	for i, cert := range path[:len(path)-1] {
		issuer := path[i+1]
		complete, deltas := crlURLs(cert)
		// An unknown status has no list, and so one that is long over.
		if s.checkOne(cert, issuer, now, false).List.NextUpdate.Before(now) {
			for _, url := range complete {
				fetches = append(fetches, CRLFetch{url, issuer, false})
			}
		}
		l := &lookup{cert: cert, at: now}
		current := false
		for _, scope := range l.usable(s.lists(cert.RawIssuer), issuer) {
			for _, base := range scope.bases {
				deltas = append(deltas, base.freshest...)
				current = current || slices.ContainsFunc(scope.deltas, func(d heldCRL) bool {
					return base.takes(d.crl) && !now.After(d.nextUpdate)
				})
			}
		}
		if current {
			continue
		}
		slices.Sort(deltas)
		for _, url := range slices.Compact(deltas) {
			fetches = append(fetches, CRLFetch{url, issuer, true})
		}
	}
	return fetches
}
