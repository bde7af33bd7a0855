package trust

import (
	"bytes"
	"crypto/x509"
	"slices"
	"time"
)

// ChainFor picks the chain of a bundle from candidates in DER: one path up from leaf
// to its end and then, while there is room, the certificates of the other paths. Which
// path a peer trusts is unknown here. A root is left out unless it is a pinned anchor,
// of which a peer needs the certificate.
func ChainFor(leaf *x509.Certificate, candidates [][]byte, now time.Time) [][]byte {
	chain, size := [][]byte{}, len(leaf.Raw)
	certs := Authorities(candidates)
	var climb func(at *x509.Certificate)
	climb = func(at *x509.Certificate) {
		for _, next := range IssuersOf(at, certs, now) {
			selfSigned := signed(next, next)
			switch {
			case len(chain) == MaxChainCertificates, size+len(next.Raw) > MaxChainBytes,
				selfSigned && !isPinnedAnchor(next.Raw),
				slices.ContainsFunc(chain, func(der []byte) bool { return bytes.Equal(der, next.Raw) }):
				continue
			}
			chain, size = append(chain, next.Raw), size+len(next.Raw)
			if !selfSigned {
				climb(next)
			}
		}
	}
	climb(leaf)
	return chain
}

// IssuersOf returns the certificates among certs whose key signed cert, the ones that
// are valid now first.
func IssuersOf(cert *x509.Certificate, certs []*x509.Certificate, now time.Time) []*x509.Certificate {
	var valid, others []*x509.Certificate
	for _, c := range certs {
		switch {
		case !signed(cert, c):
		case IsValid(c, now):
			valid = append(valid, c)
		default:
			others = append(others, c)
		}
	}
	return append(valid, others...)
}

// signed reports whether issuer's key signed cert.
func signed(cert, issuer *x509.Certificate) bool {
	return bytes.Equal(issuer.RawSubject, cert.RawIssuer) && cert.CheckSignatureFrom(issuer) == nil
}

// IsValid reports whether now lies in the certificate's validity.
func IsValid(cert *x509.Certificate, now time.Time) bool {
	return !now.Before(cert.NotBefore) && !now.After(cert.NotAfter)
}

// IssuerOf returns the first of certs whose key signed cert, or nil.
func IssuerOf(cert *x509.Certificate, certs []*x509.Certificate) *x509.Certificate {
	i := slices.IndexFunc(certs, func(c *x509.Certificate) bool { return signed(cert, c) })
	if i < 0 {
		return nil
	}
	return certs[i]
}

// Authorities parses the CA certificates among those in DER, and leaves the others out.
func Authorities(ders [][]byte) (certs []*x509.Certificate) {
	for _, der := range ders {
		if cert, err := x509.ParseCertificate(der); err == nil && cert.IsCA {
			certs = append(certs, cert)
		}
	}
	return certs
}
