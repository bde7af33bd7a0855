package crypto

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"sync"
)

// anchorKind says why an anchor is trusted. The order is that of preference,
// where an identity has paths to several.
type anchorKind int

const (
	anchorPinned  anchorKind = iota // its hash is in the code
	anchorExtra                     // from the user's own CA bundle
	anchorMozilla                   // from Mozilla's CA bundle
)

// Trust is the set of roots, and of intermediates that help to reach them. It
// does not change and is safe for concurrent use.
type Trust struct {
	bySubject map[string][]*bundled // raw subject to certificates; extra ones first
	pinned    []anchor
	cache     pathCache
}

// bundled is one certificate of a CA bundle. It is parsed when a path first
// needs it: parsing all of Mozilla's costs more than a client's whole start.
type bundled struct {
	der  []byte
	kind anchorKind

	once   sync.Once
	cert   *x509.Certificate // nil if it does not parse
	anchor bool              // self-signed
}

// NewTrust makes a Trust of Mozilla's CA bundle and the user's own ones, all in
// PEM. Self-signed certificates of the user's are anchors, the others are
// intermediates for building paths. It fails for a bundle that has no
// certificate or a broken one; Mozilla's may have what Go does not parse.
func NewTrust(mozillaPEM []byte, extraPEM ...[]byte) (*Trust, error) {
	t := &Trust{bySubject: make(map[string][]*bundled), pinned: pinnedAnchors}
	for _, text := range extraPEM {
		n, err := t.addPEM(text, anchorExtra)
		if err != nil {
			return nil, fmt.Errorf("CA bundle: %w", err)
		}
		if n == 0 {
			return nil, errors.New("CA bundle: no certificate in PEM in it")
		}
	}
	if len(mozillaPEM) > 0 {
		n, err := t.addPEM(mozillaPEM, anchorMozilla)
		if err != nil {
			return nil, fmt.Errorf("the CA bundle of Mozilla: %w", err)
		}
		if n == 0 {
			return nil, errors.New("the CA bundle of Mozilla: no certificate in PEM in it")
		}
	}
	return t, nil
}

func (t *Trust) addPEM(text []byte, kind anchorKind) (n int, err error) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return n, nil
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		subject, ok := rawSubject(block.Bytes)
		if !ok {
			return n, fmt.Errorf("certificate %d is damaged", n+1)
		}
		c := &bundled{der: block.Bytes, kind: kind}
		if kind == anchorExtra {
			// There are few of the user's own: a broken one is told at once.
			if _, err := x509.ParseCertificate(block.Bytes); err != nil {
				return n, fmt.Errorf("certificate %d: %w", n+1, err)
			}
		}
		t.bySubject[string(subject)] = append(t.bySubject[string(subject)], c)
		n++
	}
}

// rawSubject finds the subject of a certificate without parsing the rest:
// RFC 5280, section 4.1.
func rawSubject(der []byte) (subject []byte, ok bool) {
	cert, ok := derOnly(der, derSequence)
	if !ok {
		return nil, false
	}
	tbs, _, ok := derExpect(cert, derSequence)
	if !ok {
		return nil, false
	}
	_, rest, _, ok := derOptional(tbs.body, derContext(0, true)) // version
	// serialNumber, signature, issuer, validity, subject
	var e derElement
	for range 5 {
		if !ok {
			return nil, false
		}
		e, rest, ok = derNext(rest)
	}
	return e.raw, ok && e.tag == derSequence
}

// load parses the certificate, once.
func (c *bundled) load() {
	c.once.Do(func() {
		cert, err := x509.ParseCertificate(c.der)
		if err != nil {
			return
		}
		c.cert, c.anchor = cert, c.kind == anchorMozilla || isSelfSigned(cert)
	})
}

// isSelfSigned reports whether a certificate is signed by its own key, which
// one that leads from an old key of an authority to its new one is not.
func isSelfSigned(cert *x509.Certificate) bool {
	if !bytes.Equal(cert.RawIssuer, cert.RawSubject) {
		return false
	}
	err := cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature)
	if _, insecure := errors.AsType[x509.InsecureAlgorithmError](err); insecure {
		// An old root may be signed with SHA-1. Nothing hangs on that
		// signature, but it cannot be checked either: go by the key's names.
		return len(cert.AuthorityKeyId) == 0 || bytes.Equal(cert.AuthorityKeyId, cert.SubjectKeyId)
	}
	return err == nil
}

func (t *Trust) pinnedAnchor(cert *x509.Certificate) *anchor {
	if !bytes.Equal(cert.RawIssuer, cert.RawSubject) {
		return nil
	}
	sum := sha256.Sum256(cert.Raw)
	for i := range t.pinned {
		if t.pinned[i].sha256 == sum {
			return &t.pinned[i]
		}
	}
	return nil
}
