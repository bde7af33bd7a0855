package trust

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
)

// anchorKind is the reason to trust an anchor, in the order of preference between
// several paths.
type anchorKind int

const (
	anchorPinned  anchorKind = iota // its hash is in the code
	anchorExtra                     // from the user's own CA bundle
	anchorMozilla                   // from Mozilla's CA bundle
)

// The names of the reasons, for Person.Anchor.
const (
	AnchorPinned  = "pinned"
	AnchorGiven   = "given"
	AnchorMozilla = "mozilla"
)

func (k anchorKind) String() string { return [...]string{AnchorPinned, AnchorGiven, AnchorMozilla}[k] }

// Store is a trust store: roots, and intermediates that lead to them. It does not change
// and is safe for concurrent use.
type Store struct {
	bySubject map[string][]*bundled // by foldedName; the user's own ones first
	pinned    [][32]byte            // as pinnedAnchors
	// stateRoots are the keys of the roots above every Cartão de Cidadão.
	stateRoots [][32]byte
	notices    []string // about the user's own bundles
}

// bundled is one certificate of a CA bundle. It is parsed when a path first needs it:
// to parse all of Mozilla's takes longer than the rest of a client's start.
type bundled struct {
	base64 []byte // of Mozilla's, which is decoded then as well
	der    []byte
	kind   anchorKind

	once   sync.Once
	cert   *x509.Certificate // nil if it does not parse
	anchor bool              // self-signed
}

// NewStore makes a Store of Mozilla's CA bundle and the user's own ones, all in PEM.
// Self-signed certificates of the user's are anchors, the others intermediates. It
// refuses a bundle without a certificate or with a damaged block; see Notices for what else
// cannot be used.
func NewStore(mozillaPEM []byte, extraPEM ...[]byte) (*Store, error) {
	s := &Store{bySubject: make(map[string][]*bundled), pinned: pinnedAnchors, stateRoots: stateRoots}
	for _, text := range extraPEM {
		if err := s.addPEM(text); err != nil {
			return nil, err
		}
	}
	if len(mozillaPEM) > 0 {
		if err := s.addMozilla(mozillaPEM); err != nil {
			return nil, fmt.Errorf("the CA bundle of Mozilla: %w", err)
		}
	}
	return s, nil
}

// NewOnlyStore makes a Store of the roots in a bundle in PEM and no others: neither
// Mozilla's nor the pinned ones, unless they are in it. Its other certificates are
// intermediates. It refuses a bundle without a root.
func NewOnlyStore(text []byte) (*Store, error) {
	s, err := NewStore(nil, text)
	if err != nil {
		return nil, err
	}
	roots, _ := s.Given()
	if len(roots) == 0 {
		return nil, errors.New("no root in it, that is no certificate that is signed by its own key")
	}
	s.pinned = nil
	for _, der := range roots {
		if isAmong(pinnedAnchors, der) {
			s.pinned = append(s.pinned, sha256.Sum256(der))
		}
	}
	return s, nil
}

// addPEM adds the certificates of a bundle of the user's. They are few, so what cannot be used of
// them is noticed at once.
func (s *Store) addPEM(text []byte) error {
	certs, notices, err := readCertificates(text)
	if err != nil {
		return err
	}
	n := 0
	for _, c := range certs {
		notice, leftOut := c.unusable()
		if notices = append(notices, notice...); leftOut {
			continue
		}
		s.add(c.subject, &bundled{der: c.der, kind: anchorExtra})
		n++
	}
	if n == 0 && len(notices) > 0 {
		return errors.New("no certificate in it can be used: " + notices[0])
	}
	if n == 0 {
		return errors.New("no certificate in PEM in it")
	}
	s.notices = append(s.notices, notices...)
	return nil
}

// subjectWithin is the size in base64 of the beginning of a certificate that most subjects stand in.
const subjectWithin = 1024

// addMozilla adds the bundle that is built in, of whose form no more is checked than is needed. It
// decodes the beginning of each certificate, as far as the subject.
func (s *Store) addMozilla(text []byte) error {
	var der []byte
	for n := 0; ; n++ {
		_, block, more := bytes.Cut(text, []byte("-----BEGIN CERTIFICATE-----"))
		if !more && n == 0 {
			return errors.New("no certificate in PEM in it")
		}
		if !more {
			return nil
		}
		block, text, _ = bytes.Cut(block, []byte("-----END CERTIFICATE-----"))
		der, _ = base64.StdEncoding.AppendDecode(der[:0], block[:min(len(block), subjectWithin)])
		subject, ok := subjectIn(der)
		if !ok {
			der, _ = base64.StdEncoding.AppendDecode(der[:0], block)
			subject, ok = subjectIn(der)
		}
		if !ok {
			return errors.New("a certificate in it is damaged")
		}
		s.add(subject, &bundled{base64: block, kind: anchorMozilla})
	}
}

func (s *Store) add(subject []byte, c *bundled) {
	name := foldedName(subject)
	s.bySubject[name] = append(s.bySubject[name], c)
}

// Notices returns sentences about what was found in the user's own bundles and cannot be
// used, each with its line.
func (s *Store) Notices() []string { return s.notices }

// Given returns the certificates of the user's own bundles in DER: the roots, and the others.
func (s *Store) Given() (roots, others [][]byte) {
	for _, certs := range s.bySubject {
		for _, c := range certs {
			if c.kind != anchorExtra {
				continue
			}
			if c.load(); c.anchor {
				roots = append(roots, c.der)
			} else {
				others = append(others, c.der)
			}
		}
	}
	return roots, others
}

// rawSubject finds the subject of a certificate without parsing the rest (RFC 5280,
// section 4.1).
func rawSubject(der []byte) (subject []byte, ok bool) {
	_, whole := derOnly(der, derSequence)
	subject, ok = subjectIn(der)
	return subject, ok && whole
}

// subjectIn is rawSubject for the beginning of a certificate.
func subjectIn(der []byte) (subject []byte, ok bool) {
	for range 2 { // Certificate, TBSCertificate
		header, _, ok := derHeader(der)
		if !ok || der[0] != derSequence {
			return nil, false
		}
		der = der[header:]
	}
	if _, rest, ok := derExpect(der, derContext0); ok { // a version
		der = rest
	}
	for range 4 { // serialNumber, signature, issuer, validity
		if _, der, ok = derNext(der); !ok {
			return nil, false
		}
	}
	e, _, ok := derExpect(der, derSequence)
	return e.raw, ok
}

// load parses the certificate, once.
func (c *bundled) load() {
	c.once.Do(func() {
		if c.base64 != nil {
			c.der, _ = base64.StdEncoding.AppendDecode(nil, c.base64)
		}
		if cert, err := x509.ParseCertificate(c.der); err == nil {
			c.cert, c.anchor = cert, c.kind == anchorMozilla || isSelfSigned(cert)
		}
	})
}

// isSelfSigned reports whether a certificate is signed by its own key. One that links an
// authority's old key to its new one has equal names, but is not.
func isSelfSigned(cert *x509.Certificate) bool {
	if !sameName(cert.RawIssuer, cert.RawSubject) {
		return false
	}
	err := checkSignature(cert, cert)
	if _, insecure := errors.AsType[x509.InsecureAlgorithmError](err); insecure {
		// An old root may be signed with SHA-1. Nothing depends on that signature, and
		// Go does not check it: the key identifiers decide.
		return len(cert.AuthorityKeyId) == 0 || bytes.Equal(cert.AuthorityKeyId, cert.SubjectKeyId)
	}
	return err == nil
}
