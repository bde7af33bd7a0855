package trust

import (
	"bytes"
	"crypto/x509"
	"slices"
	"time"

	"chatsecure/proto"
)

// The bounds on the work for one chain. crypto/x509 adds its own: it checks at most 100
// signatures to build paths.
const (
	// maxCandidates bounds the certificates to build paths of: the peer's, and their
	// issuers from the CA bundles.
	maxCandidates = 64
	// maxPath bounds the certificates of a path, leaf and anchor included.
	maxPath = 10
)

// path is one way from a leaf to an anchor.
type path struct {
	certs  []*x509.Certificate // leaf first, anchor last
	kind   anchorKind
	anchor *anchor // nil unless pinned
}

// candidates are the certificates to build the paths of one leaf of.
type candidates struct {
	leaf    *x509.Certificate
	roots   *x509.CertPool
	others  *x509.CertPool
	certs   []*x509.Certificate // all but the leaf
	kinds   map[*x509.Certificate]anchorKind
	anchors map[*x509.Certificate]*anchor
}

// gather collects the candidates for leaf from the peer's chain, in any order, and the
// CA bundles.
func (s *Store) gather(leaf *x509.Certificate, chain []*x509.Certificate) *candidates {
	c := &candidates{
		leaf:    leaf,
		roots:   x509.NewCertPool(),
		others:  x509.NewCertPool(),
		kinds:   make(map[*x509.Certificate]anchorKind),
		anchors: make(map[*x509.Certificate]*anchor),
	}
	for i, cert := range chain {
		if slices.ContainsFunc(chain[:i], func(earlier *x509.Certificate) bool { return isDecoy(cert, earlier) }) {
			continue
		}
		if pinned := s.pinnedAnchor(cert); pinned != nil {
			c.addRoot(cert, anchorPinned, pinned)
		} else {
			c.addOther(cert)
		}
	}
	looked := make(map[string]bool)
	for i := -1; i < len(c.certs) && len(c.certs) < maxCandidates; i++ {
		issuer := leaf.RawIssuer
		if i >= 0 {
			issuer = c.certs[i].RawIssuer
		}
		if looked[string(issuer)] {
			continue
		}
		looked[string(issuer)] = true
		for _, b := range s.bySubject[string(issuer)] {
			b.load()
			if b.cert == nil || len(c.certs) >= maxCandidates {
				continue
			}
			pinned := s.pinnedAnchor(b.cert)
			switch {
			case pinned != nil:
				c.addRoot(b.cert, anchorPinned, pinned)
			case b.anchor:
				c.addRoot(b.cert, b.kind, nil)
			default:
				c.addOther(b.cert)
			}
		}
	}
	return c
}

// isDecoy reports whether two certificates of one authority and key differ in their
// alternative names. crypto/x509 enters an authority once on a path, but takes such a
// pair for two authorities, and a chain of pairs for a maze.
func isDecoy(a, b *x509.Certificate) bool {
	return bytes.Equal(a.RawSubject, b.RawSubject) && bytes.Equal(a.RawSubjectPublicKeyInfo, b.RawSubjectPublicKeyInfo) &&
		!bytes.Equal(alternativeNames(a), alternativeNames(b))
}

func alternativeNames(cert *x509.Certificate) []byte {
	for _, ext := range cert.Extensions {
		if ext.Id.Equal(oidAlternativeNames) {
			return ext.Value
		}
	}
	return nil
}

// addRoot adds an anchor. Of equal certificates the pool keeps the first, with its
// kind.
func (c *candidates) addRoot(cert *x509.Certificate, kind anchorKind, anchor *anchor) {
	if checkIssuer(cert) != nil {
		return
	}
	c.roots.AddCert(cert)
	c.certs = append(c.certs, cert)
	c.kinds[cert], c.anchors[cert] = kind, anchor
}

// addOther adds a certificate that is no anchor.
func (c *candidates) addOther(cert *x509.Certificate) {
	c.certs = append(c.certs, cert)
	if checkIssuer(cert) == nil {
		c.others.AddCert(cert)
	}
}

// paths returns every path that holds at the time, best first. Errors are *Error.
func (c *candidates) paths(at time.Time) ([]path, error) {
	chains, err := c.verify(at)
	if err != nil {
		// Certificates of one path may begin or end within the tolerance of each other.
		// One moment at which all hold is enough.
		for _, other := range c.boundaries(at) {
			if chains, err = c.verify(other); err == nil {
				break
			}
		}
	}
	if err != nil {
		return nil, c.explain(at, err)
	}
	var found []path
	for _, certs := range chains {
		if len(certs) < 2 || len(certs) > maxPath {
			continue
		}
		root := certs[len(certs)-1]
		found = append(found, path{certs, c.kinds[root], c.anchors[root]})
	}
	if len(found) == 0 {
		return nil, &Error{
			Code:   proto.CertificateUntrusted,
			Reason: "the certificate of " + shownName(c.leaf) + " vouches for itself, or its chain is too long",
		}
	}
	found = slices.DeleteFunc(found, path.isConstrained)
	if len(found) == 0 {
		return nil, &Error{
			Code: proto.CertificateUntrusted,
			Reason: "an authority above the certificate of " + shownName(c.leaf) +
				" may only name certain subjects, in a way that is not known here",
		}
	}
	found = slices.DeleteFunc(found, func(p path) bool { return p.kind == anchorMozilla && !p.forPeople() })
	if len(found) == 0 {
		return nil, &Error{
			Code: proto.CertificateUnsuitable,
			Reason: "the certificate of " + shownName(c.leaf) +
				" is not for client authentication or e-mail, as the authorities of Mozilla's bundle must say",
			Hint: "use a card's authentication certificate, or name its authority with -ca-bundle",
		}
	}
	slices.SortStableFunc(found, func(a, b path) int {
		if a.kind != b.kind {
			return int(a.kind) - int(b.kind)
		}
		return len(a.certs) - len(b.certs)
	})
	return found, nil
}

// verify has crypto/x509 build the paths at a time.
func (c *candidates) verify(at time.Time) ([][]*x509.Certificate, error) {
	return c.leaf.Verify(x509.VerifyOptions{
		Roots:         c.roots,
		Intermediates: c.others,
		CurrentTime:   at,
		// The usages required depend on the anchor: see forPeople.
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
}

// boundaries returns the moments within the tolerance of at when a certificate begins or
// ends.
func (c *candidates) boundaries(at time.Time) (moments []time.Time) {
	for _, cert := range append([]*x509.Certificate{c.leaf}, c.certs...) {
		if cert.NotBefore.After(at) && cert.NotBefore.Sub(at) <= ClockTolerance {
			moments = append(moments, cert.NotBefore)
		}
		if cert.NotAfter.Before(at) && at.Sub(cert.NotAfter) <= ClockTolerance {
			moments = append(moments, cert.NotAfter)
		}
	}
	slices.SortFunc(moments, time.Time.Compare)
	moments = slices.CompactFunc(moments, time.Time.Equal)
	if len(moments) > 2 { // the earliest and the latest cover every honest case
		moments = []time.Time{moments[0], moments[len(moments)-1]}
	}
	return moments
}

// forPeople reports whether all certificates below the anchor allow client
// authentication, or all allow e-mail. A certificate without the extension allows
// everything (RFC 5280, section 4.2.1.12).
func (p path) forPeople() bool {
	allows := func(usage x509.ExtKeyUsage) bool {
		for _, cert := range p.certs[:len(p.certs)-1] {
			none := len(cert.ExtKeyUsage) == 0 && len(cert.UnknownExtKeyUsage) == 0
			if !none && !slices.Contains(cert.ExtKeyUsage, usage) && !slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageAny) {
				return false
			}
		}
		return true
	}
	return allows(x509.ExtKeyUsageClientAuth) || allows(x509.ExtKeyUsageEmailProtection)
}

// isConstrained reports whether an authority is limited to names of a kind that
// crypto/x509 does not check, such as directory names. crypto/x509 refuses those limits
// only if they are marked critical, as they should be (RFC 5280, section 4.2.1.10).
func (p path) isConstrained() bool {
	for _, cert := range p.certs[1:] {
		for _, ext := range cert.Extensions {
			if ext.Id.Equal(oidNameConstraints) && !isCheckedConstraint(ext.Value) {
				return true
			}
		}
	}
	return false
}

// isCheckedConstraint reports whether crypto/x509 checks all of these NameConstraints.
func isCheckedConstraint(value []byte) bool {
	lists, ok := derOnly(value, derSequence)
	for ok && len(lists) > 0 {
		var list, subtree, base derElement
		if list, lists, ok = derNext(lists); !ok {
			break
		}
		for trees := list.body; ok && len(trees) > 0; {
			if subtree, trees, ok = derExpect(trees, derSequence); !ok {
				break
			}
			base, _, ok = derNext(subtree.body)
			switch base.tag {
			case derContext(1, false), derContext(2, false), derContext(6, false), derContext(7, false): // mail, DNS, URI, IP
			default:
				ok = false
			}
		}
	}
	return ok
}
