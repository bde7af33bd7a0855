package trust

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"chatsecure/proto"
)

// lookup is the search for one certificate in the lists of its authority (RFC 5280,
// section 6.3.3).
type lookup struct {
	cert   *x509.Certificate
	serial []byte
	at     time.Time
	past   bool

	covered reasonMask // reasons for which a current list does not name it
	good    CRLInfo    // the last such list
	why     string     // the cause of an unknown status
	rank    int        // of why
}

// unknown notes the cause of an unknown status. The one of the highest rank is reported,
// which takes the least to mend: a stale list before a missing one.
func (l *lookup) unknown(rank int, format string, args ...any) {
	if rank >= l.rank {
		l.rank, l.why = rank, fmt.Sprintf(format, args...)
	}
}

// check looks up every certificate of a path but the anchor. Live, a certificate is
// revoked if a list names it; for a time in the past, if by today's lists it was revoked
// by then.
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

// checkOne looks up one certificate.
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

// crlScope is the lists of one scope.
type crlScope struct {
	scope  string
	mask   reasonMask
	bases  []heldCRL // newest first
	deltas []heldCRL // newest first
}

// usable picks the lists about the certificate that its issuer has signed, by scope.
func (l *lookup) usable(lists []heldCRL, issuer *x509.Certificate) (scopes []*crlScope) {
	for _, h := range lists {
		mask := h.point.covers(l.cert)
		switch {
		case h.problem != "":
			l.unknown(2, "the list %s cannot be used: %s", proto.Visible(h.source), h.problem)
			continue
		case mask == 0:
			l.unknown(1, "the lists of %s at hand are about other certificates", shownIssuer(l.cert))
			continue
		case !l.past && h.thisUpdate.Sub(l.at) > ClockTolerance:
			l.unknown(4, "the list %s is from the future (%s)", proto.Visible(h.source), shownTime(h.thisUpdate))
			continue
		}
		if err := h.verify(issuer); err != nil {
			l.unknown(3, "the list %s cannot be used: %s", proto.Visible(h.source), err)
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

// search looks in one scope: in the newest complete list, with the newest delta for it or
// for an older one.
func (l *lookup) search(s *crlScope) (entry crlEntry, list heldCRL, revoked bool) {
	if len(s.bases) == 0 {
		l.unknown(4, "there is a delta of %s, and not the list it builds upon", shownIssuer(l.cert))
		// A revocation in it counts all the same.
		entry, list, revoked = l.revokedBy(s.deltas)
		return entry, list, revoked && l.counts(entry)
	}
	base := s.bases[0]
	// A list issued after a certificate expired may have dropped it (RFC 5280, section
	// 5). Then an older one decides.
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
	case listed: // revoked after the time in question, so not by then
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

// combine applies the newest applicable delta to a complete list (RFC 5280, sections 5.2.4
// and 6.3.3 (c)). A delta without its base lifts no hold; but if it is not older, a
// revocation in it counts. until is the time by which the applied lists must be replaced.
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
			// Only a hold can be lifted, and not by a stale delta: the hold may be back.
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

// revokedBy returns the newest revocation of the certificate in deltas.
func (l *lookup) revokedBy(deltas []heldCRL) (entry crlEntry, delta heldCRL, ok bool) {
	for _, d := range deltas {
		if entry, ok := d.entries.find(l.serial); ok && entry.reason() != reasonRemove {
			return entry, d, true
		}
	}
	return entry, delta, false
}

// counts reports whether an entry means "revoked" at the time in question.
func (l *lookup) counts(e crlEntry) bool { return !l.past || !e.date().After(l.at) }

// since dates an entry back to an earlier one: a certificate that was on hold is revoked
// from the start of the hold.
func (e crlEntry) since(earlier crlEntry, listed bool) crlEntry {
	if listed && earlier.date().Before(e.date()) {
		e.setDate(earlier.date())
	}
	return e
}

// takes reports whether a delta of the same scope is applicable to c.
func (c *crl) takes(delta *crl) bool {
	return c.number != nil && compareNumbers(c.number, delta.base) >= 0 && compareNumbers(c.number, delta.number) < 0 &&
		(len(c.authority) == 0 || len(delta.authority) == 0 || bytes.Equal(c.authority, delta.authority))
}

// CRLFetch is the place of a revocation list about a certificate.
type CRLFetch struct {
	URL     string            // http
	Issuer  *x509.Certificate // its signer, for CRLStore.Add
	Delta   bool
	Lacking bool // no list at hand decides any more; of a delta: none is current
	// The dates of the list at hand, zero without one.
	ThisUpdate, NextUpdate time.Time
}

// hold notes the dates of a list at hand, unless those of a later one are noted.
func (f *CRLFetch) hold(h heldCRL) {
	if h.nextUpdate.After(f.NextUpdate) {
		f.ThisUpdate, f.NextUpdate = h.thisUpdate, h.nextUpdate
	}
}

// crlURLs returns the http addresses of the lists about a certificate: complete ones
// (CRLDistributionPoints) and deltas (FreshestCRL).
func crlURLs(cert *x509.Certificate) (complete, deltas []string) {
	return httpURLs(certPoints(cert, oidDistributionPoints)), httpURLs(certPoints(cert, oidFreshestCRL))
}

// Places returns the places of all lists about a verified path: complete ones, and deltas if
// the authority has them, since one may also lift a hold. It includes alternative
// addresses of one list.
func (s *CRLStore) Places(path []*x509.Certificate, now time.Time) (places []CRLFetch) {
	for i, cert := range path[:len(path)-1] {
		issuer := path[i+1]
		urls, deltaURLs := crlURLs(cert)
		// An unknown status has no list: its NextUpdate is zero, long past.
		lacking := s.checkOne(cert, issuer, now, false).List.NextUpdate.Before(now)
		complete, delta := CRLFetch{Issuer: issuer, Lacking: lacking}, CRLFetch{Issuer: issuer, Delta: true, Lacking: true}
		l := &lookup{cert: cert, at: now}
		for _, scope := range l.usable(s.lists(cert.RawIssuer), issuer) {
			for _, base := range scope.bases {
				complete.hold(base)
				deltaURLs = append(deltaURLs, base.freshest...)
				for _, d := range scope.deltas {
					if base.takes(d.crl) && !now.After(d.nextUpdate) {
						delta.hold(d)
						delta.Lacking = false
					}
				}
			}
		}
		for _, complete.URL = range urls {
			places = append(places, complete)
		}
		slices.Sort(deltaURLs)
		for _, delta.URL = range slices.Compact(deltaURLs) {
			places = append(places, delta)
		}
	}
	return places
}
