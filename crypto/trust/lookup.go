package trust

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"chatsecure/proto"
)

// lookup is the search for one certificate in the lists of its authority (RFC 5280,
// section 6.3.3).
type lookup struct {
	cert    *x509.Certificate
	signers []*x509.Certificate // its issuer, and other certificates of that authority
	serial  []byte
	at, now time.Time
	past    bool

	covered reasonMask  // reasons for which a current list does not name it
	good    heldCRL     // the last such list
	later   *Revocation // after the time in question
	why     string      // the cause of an unknown status
	told    string      // the same without files of this machine
	rank    whyRank     // of why
}

// whyRank orders the causes of an unknown status by the work to mend them: a stale list takes
// less than a missing one.
type whyRank int

const (
	whyMissing whyRank = iota
	whyOutOfScope
	whyFlawed
	whyRefused
	whyDeltaAlone
	whyFuture
	whyEnded
	whyStale
	whySomeReasons
)

// hint is the remedy for a cause.
func (w whyRank) hint() string {
	switch w {
	case whyFlawed, whyRefused:
		return "put a list without that fault into the -crl directory"
	case whyFuture:
		return "check this machine's clock"
	}
	return "get its revocation list with crl refresh or put it into the -crl directory"
}

// unknown notes the cause of an unknown status: a fault of the list from a source, or without one
// a sentence. The first one of the highest rank is reported.
func (l *lookup) unknown(rank whyRank, source, format string, args ...any) {
	if rank <= l.rank && l.why != "" {
		return
	}
	why := fmt.Sprintf(format, args...)
	if l.rank, l.why, l.told = rank, why, why; source != "" {
		l.why, l.told = "the list "+proto.Visible(source)+why, "a list of "+shownIssuer(l.cert)+why
	}
}

// check looks up every certificate of a path but the anchor. signers are other certificates
// of its authorities, perhaps with other keys. Live, with a zero now, a certificate is revoked
// if a list names it; for a time in the past, if by the lists of now it was revoked by then.
func (s *CRLStore) check(path, signers []*x509.Certificate, at, now time.Time) RevocationResult {
	result := RevocationResult{Status: RevocationGood, Reason: "no revocation list names it"}
	for i, cert := range path[:len(path)-1] {
		status := s.checkOne(cert, signersOf(path[i+1:], signers), at, now)
		result.Certificates = append(result.Certificates, status)
		result.Later = worseOf(result.Later, status.Later)
		if !result.Status.better(status.Status) {
			continue
		}
		result.Status, result.Hint = status.Status, status.hint
		if i > 0 && status.Status == RevocationRevoked {
			result.Hint = "" // the hint is about a card
		}
		switch {
		case status.Status == RevocationUnknown:
			question := fmt.Sprintf("whether the certificate of %s is revoked is not known: ", status.Name)
			result.Reason, result.told = question+status.Reason, question+status.told
		case status.Date.IsZero():
			result.Reason = fmt.Sprintf("the certificate of %s was revoked, and its list does not say when (%s)",
				status.Name, status.Reason)
		default:
			result.Reason = fmt.Sprintf("the certificate of %s was revoked on %s (%s)",
				status.Name, shownTime(status.Date), status.Reason)
		}
	}
	return result
}

// signersOf returns the certificates that may sign lists about a certificate: its issuer, which
// is the first of those above it, and the others of that name (RFC 5280, section 6.3.3 (f)).
// None below may: an old key signs new ones, and no key clears itself.
func signersOf(above, others []*x509.Certificate) []*x509.Certificate {
	return slices.DeleteFunc(slices.Concat(above, others), func(other *x509.Certificate) bool {
		return other != above[0] && !sameName(other.RawSubject, above[0].RawSubject)
	})
}

// checkOne looks up one certificate. The first of signers is its issuer.
func (s *CRLStore) checkOne(cert *x509.Certificate, signers []*x509.Certificate, at, now time.Time) (status CertificateStatus) {
	status = CertificateStatus{
		Name: shownName(cert), Status: RevocationUnknown, cert: cert, points: certPoints(cert, oidDistributionPoints), signers: signers,
	}
	l := &lookup{cert: cert, signers: signers, serial: cert.SerialNumber.Bytes(), at: at, now: cmp.Or(now, at), past: !now.IsZero()}
	if cert.SerialNumber.Sign() <= 0 || len(l.serial) > maxSerial {
		status.Reason = "its serial number cannot stand in a list"
		status.told = status.Reason
		return status
	}
	lists, refused := s.lists(cert.RawIssuer)
	if refused != nil {
		cause := ": " + errors.Unwrap(refused).Error() // behind the file's path
		l.unknown(whyRefused, strings.TrimSuffix(refused.Error(), cause), "%s", proto.Visible(cause))
	}
	scopes := l.usable(lists, status.points)
	status.note(scopes)
	defer func() { status.Later = l.later }()
	for _, scope := range scopes {
		if found := l.search(scope); found.revoked {
			status.Status, status.Reason = RevocationRevoked, reasonNames[found.reason]
			status.Date, status.List = found.date(), found.list.info()
			status.List.list = nil
			if slices.Contains([]byte{reasonUnspecified, reasonCompromise, reasonSuperseded}, found.reason) {
				status.hint = "the card was reported lost, or replaced: do not rely on it"
			}
			return status
		}
	}
	if l.covered == allReasons {
		status.Status, status.List = RevocationGood, l.good.info()
		status.List.list = nil
		return status
	}
	l.unknown(whyMissing, "", "no revocation list of %s is at hand", shownIssuer(cert)) // where there is no better cause
	if l.covered != 0 {
		l.unknown(whySomeReasons, "", "the lists of %s at hand speak of some reasons only", shownIssuer(cert))
	}
	status.Reason, status.told, status.hint = l.why, l.told, l.rank.hint()
	return status
}

// crlScope is the lists of one scope that one key has signed, newest first. An authority may have
// each of its keys sign a list about the certificates of that key.
type crlScope struct {
	scope         string
	key           [32]byte
	mask          reasonMask // 0: about other certificates
	bases, deltas []heldCRL
	flawed        []heldCRL // with replaced ones; they revoke, and clear nobody
}

// usable picks the lists that the authority of the certificate has signed, by scope. A serial
// number on a list of another scope is the certificate's too: the authority gives each once.
func (l *lookup) usable(lists []heldCRL, points []distributionPoint) (scopes []*crlScope) {
	if len(lists) == 0 {
		return nil
	}
	issuer := sha256.Sum256(l.signers[0].RawSubjectPublicKeyInfo)
	for _, h := range slices.SortedStableFunc(slices.Values(lists), l.newestFirst) {
		mask := h.point.covers(l.cert, points)
		if mask == 0 {
			l.unknown(whyOutOfScope, "", "the lists of %s at hand are about other certificates", shownIssuer(l.cert))
		}
		if h.point.AttrCerts {
			continue
		}
		key, err := h.verify(l.signers)
		if err != nil {
			l.unknown(whyRefused, h.source, " cannot be used: %s", err)
			continue
		}
		if key != issuer {
			// The key of the certificate has a list of its own, or another holder: who is
			// not on this list may be on that one.
			mask = 0
			l.unknown(whyRefused, h.source, " is by another key of %s, and so clears nobody", shownIssuer(l.cert))
		}
		i := slices.IndexFunc(scopes, func(s *crlScope) bool { return s.scope == h.scope && s.key == key })
		if i < 0 {
			i, scopes = len(scopes), append(scopes, &crlScope{scope: h.scope, key: key, mask: mask})
		}
		s := scopes[i]
		switch {
		case h.replaced:
			s.flawed = append(s.flawed, h)
		case len(h.flaws) > 0:
			s.flawed = append(s.flawed, h)
			l.unknown(whyFlawed, h.source, " clears nobody: %s", h.flaws)
		case !h.isSound(l.now):
			s.flawed = append(s.flawed, h)
			l.unknown(whyFuture, h.source, " is from the future (%s)", shownTime(h.thisUpdate))
		case h.delta:
			s.deltas = append(s.deltas, h)
		default:
			s.bases = append(s.bases, h)
		}
	}
	return scopes
}

// newestFirst orders lists. Of two of one time and number the one that revokes counts.
func (l *lookup) newestFirst(a, b heldCRL) int {
	if d := b.compareAge(a.crl); d != 0 {
		return d
	}
	_, first := a.revokes(l.serial)
	_, second := b.revokes(l.serial)
	return map[[2]bool]int{{true, false}: -1, {false, true}: 1}[[2]bool{first, second}]
}

// listing is what lists say of the certificate.
type listing struct {
	crlEntry
	list    heldCRL // the one that decides
	revoked bool    // the entry is there and revokes
}

// search looks in one scope: in the newest complete list, with the newest delta for it or
// for an older one. Lists with flaws that are not older revoke in addition.
func (l *lookup) search(s *crlScope) listing {
	if len(s.bases) == 0 {
		if len(s.deltas) > 0 && s.mask != 0 {
			l.unknown(whyDeltaAlone, "", "there is a delta of %s, and not the list it builds upon", shownIssuer(l.cert))
		}
		// A revocation in them counts all the same.
		return l.condemned(slices.Concat(s.deltas, s.flawed))
	}
	// A list issued after a certificate expired may have dropped it (RFC 5280, section
	// 5). Then an older one decides.
	i := slices.IndexFunc(s.bases, func(h heldCRL) bool { return !h.thisUpdate.After(l.cert.NotAfter) })
	base := s.bases[max(i, 0)]
	if i < 0 {
		i = len(s.bases)
	}
	if found := l.condemned(s.bases[:i]); found.revoked {
		return found
	}
	found, until, newest := l.combine(base, s.deltas)
	if found.revoked && l.counts(found.crlEntry) {
		return found
	}
	if found := l.condemned(notOlder(s.flawed, newest)); found.revoked {
		return found
	}
	switch {
	case s.mask == 0:
	case !found.revoked && base.thisUpdate.After(l.cert.NotAfter):
		l.unknown(whyEnded, "", "the list of %s at hand was issued after the certificate ended", shownIssuer(l.cert))
	case !found.revoked && l.at.Sub(until) > ClockTolerance:
		l.unknown(whyStale, "", "the list of %s at hand was due to be replaced on %s", shownIssuer(l.cert), shownTime(until))
	default: // one that is revoked was so after the time in question, so not by then
		l.covered |= s.mask
		l.good = found.list
	}
	return listing{}
}

// combine applies the newest applicable delta to a complete list (RFC 5280, sections 5.2.4
// and 6.3.3 (c)). A delta without its base lifts no hold; but if it is not older, a
// revocation in it counts. until is the time by which the applied lists must be replaced,
// newest the newest of them.
func (l *lookup) combine(base heldCRL, deltas []heldCRL) (found listing, until time.Time, newest heldCRL) {
	entry, listed := base.entries.find(l.serial)
	found, until, newest = listing{entry, base, listed}, base.nextUpdate, base
	if i := slices.IndexFunc(deltas, func(d heldCRL) bool { return base.takes(d.crl) }); i >= 0 {
		newest = deltas[i]
		if newest.nextUpdate.After(until) {
			until = newest.nextUpdate
		}
		change, ok := newest.entries.find(l.serial)
		// Only a hold can be lifted, and not by a stale delta: the hold may be back.
		lifts := listed && entry.reason == reasonHold && ok && change.reason == reasonRemove
		if (lifts || !listed && !ok) && l.at.Sub(newest.nextUpdate) <= ClockTolerance {
			found = listing{list: newest}
		}
	}
	for _, d := range slices.Backward(notOlder(deltas, newest)) {
		if change, ok := d.revokes(l.serial); ok {
			found = listing{change.since(found), d, true}
		}
	}
	return found, until, newest
}

// notOlder returns the lists that are not older than one.
func notOlder(lists []heldCRL, than heldCRL) []heldCRL {
	return slices.DeleteFunc(slices.Clone(lists), func(h heldCRL) bool { return than.outdates(h.crl) })
}

// condemned returns the newest revocation of the certificate in lists that counts.
func (l *lookup) condemned(lists []heldCRL) listing {
	for _, h := range lists {
		if entry, ok := h.revokes(l.serial); ok && l.counts(entry) {
			return listing{entry, h, true}
		}
	}
	return listing{}
}

// revokes returns the entry by which the list alone revokes a certificate.
func (c *crl) revokes(serial []byte) (entry crlEntry, ok bool) {
	entry, ok = c.entries.find(serial)
	return entry, ok && (!c.delta || entry.reason != reasonRemove)
}

// counts reports whether an entry means "revoked" at the time in question. It notes one that
// does later.
func (l *lookup) counts(e crlEntry) bool {
	if !l.past || !e.date().After(l.at) {
		return true
	}
	l.later = worseOf(l.later, &Revocation{Name: shownName(l.cert), Date: e.date(), reason: e.reason})
	return false
}

// since dates an entry back to an earlier one: a certificate that was on hold is revoked
// from the start of the hold.
func (e crlEntry) since(earlier listing) crlEntry {
	if earlier.revoked && earlier.date().Before(e.date()) {
		e.seconds = earlier.seconds
	}
	return e
}

// takes reports whether a delta of the same scope and signer is applicable to c.
func (c *crl) takes(delta *crl) bool { return c.precedes(delta) && c.compareAge(delta) <= 0 }

// precedes reports whether the delta is applicable to c by its numbers.
func (c *crl) precedes(delta *crl) bool {
	return c.number != nil && compareNumbers(c.number, delta.base) >= 0 && compareNumbers(c.number, delta.number) < 0
}

// CRLFetch is the place of a revocation list about a certificate.
type CRLFetch struct {
	URL     string              // http
	Signers []*x509.Certificate // for CRLStore.Add; first the certificate's issuer
	Delta   bool
	Lacking bool // no list at hand decides any more; of a delta: none is current
	// The dates of the list at hand, zero without one.
	ThisUpdate, NextUpdate time.Time

	cert *x509.Certificate
}

// Fits reports whether a list that was added from this place may clear the certificate: it is
// about it, and signed with its issuer's key.
func (f *CRLFetch) Fits(i CRLInfo) bool {
	_, err := i.list.verify(f.Signers[:1])
	return err == nil && i.list.point.covers(f.cert, certPoints(f.cert, oidDistributionPoints)) != 0
}

// hold notes the dates of a list at hand, unless those of a later one are noted.
func (f *CRLFetch) hold(d listDates) {
	if d.nextUpdate.After(f.NextUpdate) {
		f.ThisUpdate, f.NextUpdate = d.thisUpdate, d.nextUpdate
	}
}

// listDates are those of a list, which itself may be large: a status, and so a person, outlives it.
type listDates struct{ thisUpdate, nextUpdate time.Time }

// note remembers of the lists what Places needs.
func (s *CertificateStatus) note(scopes []*crlScope) {
	for _, scope := range scopes {
		if scope.mask == 0 {
			continue
		}
		for _, base := range scope.bases {
			s.bases = append(s.bases, listDates{base.thisUpdate, base.nextUpdate})
			s.freshest = append(s.freshest, base.freshest...)
			for _, d := range scope.deltas {
				if base.takes(d.crl) {
					s.deltas = append(s.deltas, listDates{d.thisUpdate, d.nextUpdate})
				}
			}
		}
	}
}

// Places returns the places of all lists about a path: complete ones, and deltas if the
// authority has them, since one may also lift a hold. It includes alternative addresses of
// one list.
func (r RevocationResult) Places(now time.Time) (places []CRLFetch) {
	for _, status := range r.Certificates {
		cert, signers := status.cert, status.signers
		deltaURLs := append(httpURLs(certPoints(cert, oidFreshestCRL)), status.freshest...)
		// An unknown status has no list: its NextUpdate is zero, long past.
		complete := CRLFetch{Signers: signers, Lacking: status.List.NextUpdate.Before(now), cert: cert}
		delta := CRLFetch{Signers: signers, Delta: true, Lacking: true, cert: cert}
		for _, base := range status.bases {
			complete.hold(base)
		}
		for _, d := range status.deltas {
			if !now.After(d.nextUpdate) {
				delta.hold(d)
				delta.Lacking = false
			}
		}
		for _, complete.URL = range httpURLs(status.points) {
			places = append(places, complete)
		}
		slices.Sort(deltaURLs)
		for _, delta.URL = range slices.Compact(deltaURLs) {
			places = append(places, delta)
		}
	}
	return places
}
