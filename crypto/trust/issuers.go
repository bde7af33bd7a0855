package trust

import (
	"bytes"
	"crypto/x509"
	"errors"
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
		issuers, _ := IssuersOf(at, certs, now)
		for _, next := range issuers {
			selfSigned := isSelfSigned(next)
			switch {
			case len(chain) == MaxChainCertificates, size+len(next.Raw) > MaxChainBytes,
				selfSigned && !isAmong(pinnedAnchors, next.Raw),
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
// are valid now first. refused is the reason why one of the issuer's name did not: it is
// told where none is left, since the issuer is then not absent.
func IssuersOf(cert *x509.Certificate, certs []*x509.Certificate, now time.Time) (issuers []*x509.Certificate, refused error) {
	var ended []*x509.Certificate
	for _, c := range certs {
		if !sameName(c.RawSubject, cert.RawIssuer) {
			continue
		}
		switch err := issuedBy(cert, c); {
		case err != nil:
			refused = err
		case IsValid(c, now):
			issuers = append(issuers, c)
		default:
			ended = append(ended, c)
		}
	}
	return append(issuers, ended...), refused
}

// issuedBy returns the reason why the key of issuer, whose name is right, did not sign cert, or
// nil.
func issuedBy(cert, issuer *x509.Certificate) error {
	if err := authorityFault(issuer, sameName(issuer.RawSubject, issuer.RawIssuer)); err != nil {
		return errors.New("the authority " + shownName(issuer) + " " + err.Error())
	}
	if err := signatureFault(cert); err != nil {
		return errors.New("the certificate of " + shownName(cert) + " " + err.Error())
	}
	if checkSignature(cert, issuer) != nil {
		return errors.New(notSigned(cert, issuer))
	}
	return nil
}

func notSigned(cert, issuer *x509.Certificate) string {
	return "the certificate of " + shownName(cert) + " is not signed by any key of " + shownName(issuer) + " that is at hand"
}

// IsValid reports whether now lies in the certificate's validity, within the tolerance.
func IsValid(cert *x509.Certificate, now time.Time) bool { return checkValidity(cert, now) == nil }

// HasIssuer reports whether the key of one of certs signed cert.
func HasIssuer(cert *x509.Certificate, certs []*x509.Certificate) bool {
	issuers, _ := IssuersOf(cert, certs, time.Time{})
	return len(issuers) > 0
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
