package trust

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"slices"

	"chatsecure/proto"
)

// The bounds on the work for one chain, which strangers send.
const (
	// maxCandidates bounds the certificates to build paths of: the peer's, and their
	// issuers from the CA bundles.
	maxCandidates = 64
	// maxPath bounds the certificates of a path, leaf and anchor included.
	maxPath = 10
	// maxPaths bounds the paths of one leaf. Cross-signed authorities make a few. More
	// are refused, not ignored: the identity must not depend on their order.
	maxPaths = 16
	// maxFalse bounds the work for signatures that do not hold, in verifications with
	// P-256. Where authorities have key identifiers, as they must, an honest chain has
	// none.
	maxFalse = 7
	// maxSigners bounds the other certificates of a path's authorities.
	maxSigners = 4
)

// path is one way from a leaf to an anchor. It holds at the times of checkTime.
type path struct {
	certs []*x509.Certificate // leaf first, anchor last
	kind  anchorKind
	// stateRoots are the Store's.
	stateRoots [][32]byte
	// signers are other certificates of its authorities that lead to the same anchor
	// and may sign revocation lists (RFC 5280, section 6.3.3 (f)).
	signers []*x509.Certificate
}

// candidate is one certificate of a search.
type candidate struct {
	cert            *x509.Certificate
	subject, issuer string     // foldedName
	isAnchor        bool       // the leaf is none
	kind            anchorKind // of an anchor
	fault           error      // reason not to take its signatures, or nil

	// reached tells that an anchor is above it, by signatures that hold.
	reached bool
	key     []byte   // SPKI that verifies its signature, once known
	others  [][]byte // those that do not
	parents []*candidate
}

// search looks for the paths of a leaf. It finds candidates by their names, and checks
// signatures from the anchors downward: the first one costs its sender the signature of
// a trusted authority. All others are bounded by maxFalse.
type search struct {
	leaf       *candidate
	candidates []*candidate // leaf first
	wasted     int          // work for signatures that do not hold, as maxFalse
}

// paths returns every path from leaf to an anchor, best first, whatever the time. Errors
// are *Error.
func (s *Store) paths(leaf *x509.Certificate, chain []*x509.Certificate) ([]path, error) {
	look := s.gather(leaf, chain)
	if err := look.reach(); err != nil {
		return nil, err
	}
	ways, err := look.ways(look.leaf)
	if err != nil {
		return nil, err
	}
	var found []path
	for _, way := range ways {
		p, refusal := way.check()
		if refusal == nil {
			found = append(found, p)
		} else if err == nil {
			err = refusal
		}
	}
	if len(found) == 0 {
		return nil, err
	}
	slices.SortStableFunc(found, func(a, b path) int { return cmp.Or(cmp.Compare(a.kind, b.kind), len(a.certs)-len(b.certs)) })
	for i := range found {
		found[i].signers, found[i].stateRoots = look.signers(found[i]), s.stateRoots
	}
	return found, nil
}

// gather collects the certificates whose names lead up from leaf, from the CA bundles and
// from the peer's chain, in any order.
func (s *Store) gather(leaf *x509.Certificate, chain []*x509.Certificate) *search {
	look := &search{leaf: newCandidate(leaf)}
	look.candidates = []*candidate{look.leaf}
	offered := make([]*candidate, len(chain))
	for i, cert := range chain {
		offered[i] = s.candidate(cert, &bundled{})
	}
	for i := 0; i < len(look.candidates); i++ {
		name := look.candidates[i].issuer
		for _, b := range s.bySubject[name] {
			if b.load(); b.cert != nil {
				look.add(s.candidate(b.cert, b))
			}
		}
		for _, c := range offered {
			if c.subject == name {
				look.add(c)
			}
		}
	}
	// An authority that has renewed its key signs with the one it had last. So that is tried
	// first where there is no key identifier.
	slices.SortStableFunc(look.candidates[1:], func(a, b *candidate) int {
		later := func(c *candidate) int {
			if c.cert.NotBefore.After(leaf.NotBefore) {
				return 1
			}
			return 0
		}
		return cmp.Or(later(a)-later(b), b.cert.NotBefore.Compare(a.cert.NotBefore))
	})
	for _, c := range look.candidates[1:] {
		c.fault, c.reached = authorityFault(c.cert, c.isAnchor), c.isAnchor
	}
	return look
}

// candidate is newCandidate for a certificate above the leaf, as it stands in a CA bundle, or
// is an empty one.
func (s *Store) candidate(cert *x509.Certificate, in *bundled) *candidate {
	c := newCandidate(cert)
	if c.isAnchor, c.kind = in.anchor, in.kind; isAmong(s.pinned, cert.Raw) {
		c.isAnchor, c.kind = true, anchorPinned
	}
	return c
}

func newCandidate(cert *x509.Certificate) *candidate {
	return &candidate{cert: cert, subject: foldedName(cert.RawSubject), issuer: foldedName(cert.RawIssuer)}
}

func (s *search) add(c *candidate) {
	same := func(other *candidate) bool { return bytes.Equal(other.cert.Raw, c.cert.Raw) }
	if len(s.candidates) < maxCandidates && !slices.ContainsFunc(s.candidates, same) {
		s.candidates = append(s.candidates, c)
	}
}

// reach finds the candidates below the anchors. It fails if the leaf is not among them.
func (s *search) reach() error {
	// Key identifiers tell an authority's keys apart: another than the named one is tried
	// last (RFC 5280, section 4.2.1.1).
	for _, mismatched := range []bool{false, true} {
		queue := slices.DeleteFunc(slices.Clone(s.candidates), func(c *candidate) bool { return !c.reached })
		for ; len(queue) > 0; queue = queue[1:] {
			for _, child := range s.candidates {
				before := child.reached
				if err := s.adopt(child, queue[0], mismatched); err != nil {
					return err
				}
				if child.reached && !before {
					queue = append(queue, child)
				}
			}
		}
	}
	if s.leaf.reached {
		return nil
	}
	found := s.above(s.leaf, make(map[*candidate]bool))
	err := untrusted(s.leaf.cert, found.reason)
	err.Hint = found.hint
	return err
}

// adopt makes child one that is reached, if parent, which is, has signed it. The error ends
// the search.
func (s *search) adopt(child, parent *candidate, mismatched bool) error {
	switch {
	case child == parent, parent == s.leaf, child.isAnchor, child.issuer != parent.subject,
		slices.Contains(child.parents, parent), parent.fault != nil, signatureFault(child.cert) != nil,
		keysDiffer(child.cert, parent.cert) && !mismatched:
		return nil
	}
	spki := parent.cert.RawSubjectPublicKeyInfo
	is := func(key []byte) bool { return bytes.Equal(key, spki) }
	switch {
	case child.key != nil && !is(child.key), slices.ContainsFunc(child.others, is):
		return nil
	case child.key == nil && checkSignature(child.cert, parent.cert) != nil:
		child.others = append(child.others, spki)
		if s.wasted += signatureCost(parent.cert.PublicKey); s.wasted > maxFalse {
			return untrusted(s.leaf.cert, "too many signatures among its certificates do not hold, as that on the certificate of "+
				shownName(child.cert)+" by "+shownName(parent.cert))
		}
		return nil
	}
	child.key, child.reached = spki, true
	child.parents = append(child.parents, parent)
	return nil
}

// keysDiffer reports whether a certificate names another key of its issuer's name.
func keysDiffer(child, parent *x509.Certificate) bool {
	return len(child.AuthorityKeyId) > 0 && len(parent.SubjectKeyId) > 0 && !bytes.Equal(child.AuthorityKeyId, parent.SubjectKeyId)
}

// signatureCost is the time of one verification with a key, in those with P-256.
func signatureCost(public any) int {
	switch public := public.(type) {
	case *rsa.PublicKey:
		return 1 + public.N.BitLen()/2048*public.N.BitLen()/2048
	case *ecdsa.PublicKey:
		return map[int]int{256: 1, 384: 8, 521: 30}[public.Curve.Params().BitSize]
	}
	return 1
}

// way is a path of candidates, leaf first and anchor last.
type way []*candidate

// ways returns the ways from a candidate, which is reached, to the anchors.
func (s *search) ways(from *candidate) (found []way, err error) {
	var climb func(way)
	climb = func(w way) {
		last := w[len(w)-1]
		switch {
		case last.isAnchor:
			found = append(found, slices.Clone(w))
		case len(w) < maxPath:
			for _, parent := range last.parents {
				if len(found) <= maxPaths && !slices.Contains(w, parent) {
					climb(append(w, parent))
				}
			}
		}
	}
	climb(way{from})
	switch {
	case len(found) > maxPaths:
		return nil, untrusted(from.cert, fmt.Sprintf("its authorities have certified each other in more than %d ways", maxPaths))
	case len(found) == 0:
		return nil, untrusted(from.cert, fmt.Sprintf("its chain is too long: it has more than %d certificates", maxPath))
	}
	return found, nil
}

// signers returns the other certificates of p's authorities that may sign revocation lists:
// those that the authority itself has issued, or one above it on p. Any other authority
// under the anchor could give a certificate the same name, and so clear or revoke people
// who are none of its.
func (s *search) signers(p path) (signers []*x509.Certificate) {
	anchor := p.certs[len(p.certs)-1]
	for _, c := range s.candidates[1:] {
		if !c.reached || c.isAnchor || c.cert.KeyUsage&x509.KeyUsageCRLSign == 0 || len(signers) == maxSigners ||
			slices.Contains(p.certs, c.cert) {
			continue
		}
		below := -1 // the last certificate that the authority has issued
		for i, cert := range p.certs[:len(p.certs)-1] {
			if foldedName(cert.RawIssuer) == c.subject {
				below = i
			}
		}
		if below < 0 {
			continue
		}
		ways, _ := s.ways(c)
		for _, w := range ways {
			if w[len(w)-1].cert != anchor || !slices.Contains(p.certs[below+1:], w[1].cert) {
				continue
			}
			if _, err := w.check(); err == nil {
				signers = append(signers, c.cert)
				break
			}
		}
	}
	return signers
}

// untrusted is the refusal of a certificate for want of a path.
func untrusted(leaf *x509.Certificate, why string) *Error {
	return refuse(proto.CertificateUntrusted, "the certificate of %s, issued by %s, does not lead to a trusted authority: %s",
		shownName(leaf), shownIssuer(leaf), why)
}
