package crypto

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"chatsecure/proto"
)

// ClockTolerance is how far the clocks of honest machines may be apart. A
// live check passes if it holds at one moment within it.
const ClockTolerance = 5 * time.Minute

const (
	// minRSABits is the shortest RSA key anywhere in a path; shorter ones are
	// within reach of factoring.
	minRSABits = 2048
	// maxRSABits is the longest of an issuer, because the time for a check
	// grows with the square of it and strangers choose it.
	maxRSABits = 8192
	// maxLeafRSABits is the longest of a leaf; cards have up to 4096.
	maxLeafRSABits = 4096
)

// explain turns a failure to find a path into a TrustError that names the
// certificate at fault.
func (c *candidates) explain(at time.Time, err error) error {
	leaf := shownName(c.leaf)
	all := append([]*x509.Certificate{c.leaf}, c.certs...)
	for _, cert := range all {
		if len(cert.UnhandledCriticalExtensions) > 0 {
			return &TrustError{
				Code:   proto.CertificateUntrusted,
				Reason: fmt.Sprintf("the certificate of %s has a critical extension that is not known here (%v)", shownName(cert), cert.UnhandledCriticalExtensions[0]),
			}
		}
	}
	if slices.ContainsFunc(all, func(cert *x509.Certificate) bool { return checkValidity(cert, at) != nil }) {
		if err := c.outOfTime(at, err); err != nil {
			return err
		}
	}
	for _, cert := range all {
		switch cert.SignatureAlgorithm {
		case x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.MD5WithRSA, x509.DSAWithSHA1:
			if !bytes.Equal(cert.RawIssuer, cert.RawSubject) {
				return &TrustError{
					Code:   proto.CertificateUntrusted,
					Reason: fmt.Sprintf("the certificate of %s is signed with %v, which is not safe", shownName(cert), cert.SignatureAlgorithm),
				}
			}
		}
		if err := checkIssuerKey(cert); err != nil && cert != c.leaf {
			return &TrustError{Code: proto.CertificateUntrusted, Reason: "the certificate of " + shownName(cert) + " has " + err.Error()}
		}
	}
	untrusted := &TrustError{
		Code:   proto.CertificateUntrusted,
		Reason: fmt.Sprintf("the certificate of %s, issued by %s, does not lead to a trusted authority", leaf, shownIssuer(c.leaf)),
		Hint:   "if that authority is to be trusted, name a file with its root certificate with -ca-bundle",
	}
	if bytes.Equal(c.leaf.RawIssuer, c.leaf.RawSubject) {
		untrusted.Reason = "the certificate of " + leaf + " vouches for itself"
	} else if len(c.kinds) > 0 {
		// An anchor was there, and what stands between is not in order.
		untrusted.Reason += ": " + shownCause(err)
	}
	return untrusted
}

// outOfTime returns the error of the certificate whose time makes all paths
// fail, nil if it is not that.
func (c *candidates) outOfTime(at time.Time, failure error) error {
	// When the newest of them began, all were valid if they ever were at once.
	newest := c.leaf.NotBefore
	for _, cert := range c.certs {
		if cert.NotBefore.After(newest) && cert.NotBefore.Before(c.leaf.NotAfter) {
			newest = cert.NotBefore
		}
	}
	for _, other := range []time.Time{newest, c.leaf.NotBefore} {
		if chains, err := c.verify(other); err == nil {
			for _, cert := range chains[0] {
				if err := checkValidity(cert, at); err != nil {
					return err
				}
			}
		}
	}
	// They never were. The standard library says whether time is the matter,
	// and keeps to itself of which certificate.
	if strings.Contains(failure.Error(), "expired or is not yet valid") {
		for _, cert := range c.certs {
			if err := checkValidity(cert, at); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkValidity refuses a certificate that at, give or take the tolerance, is
// outside its validity.
func checkValidity(cert *x509.Certificate, at time.Time) error {
	if cert.NotBefore.Sub(at) > ClockTolerance {
		return &TrustError{
			Code:   proto.CertificateNotYet,
			Reason: fmt.Sprintf("the certificate of %s begins on %s, and the time is %s", shownName(cert), shownTime(cert.NotBefore), shownTime(at)),
		}
	}
	if at.Sub(cert.NotAfter) > ClockTolerance {
		return &TrustError{
			Code:   proto.CertificateExpired,
			Reason: fmt.Sprintf("the certificate of %s ended on %s, and the time is %s", shownName(cert), shownTime(cert.NotAfter), shownTime(at)),
		}
	}
	return nil
}

// checkIssuerKey refuses keys of authorities that are weak, or so large that
// checking them is a way to keep this machine busy.
func checkIssuerKey(cert *x509.Certificate) error {
	if public, ok := cert.PublicKey.(*rsa.PublicKey); ok {
		if bits := public.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return fmt.Errorf("an RSA key of %d bits; %d to %d are allowed", bits, minRSABits, maxRSABits)
		}
	}
	return nil
}

// checkLeaf refuses certificates that are not a person's to sign with,
// whatever their authority.
func checkLeaf(leaf *x509.Certificate) error {
	unsuitable := func(format string, args ...any) error {
		return &TrustError{
			Code:   proto.CertificateUnsuitable,
			Reason: "the certificate of " + shownName(leaf) + " " + fmt.Sprintf(format, args...),
			Hint:   "use a card's authentication certificate",
		}
	}
	switch public := leaf.PublicKey.(type) {
	case *rsa.PublicKey:
		bits := public.N.BitLen()
		if bits < minRSABits || bits > maxLeafRSABits {
			return unsuitable("has an RSA key of %d bits; %d to %d are allowed", bits, minRSABits, maxLeafRSABits)
		}
		if public.E < 3 || public.E%2 == 0 || public.N.Bit(0) == 0 {
			return unsuitable("has an RSA key that is none: its exponent or modulus is even or too small")
		}
	case *ecdsa.PublicKey:
		if public.Curve != elliptic.P256() && public.Curve != elliptic.P384() && public.Curve != elliptic.P521() {
			return unsuitable("has a key on the curve %s; P-256, P-384 and P-521 are allowed", public.Curve.Params().Name)
		}
	default:
		if leaf.PublicKeyAlgorithm == x509.UnknownPublicKeyAlgorithm {
			return unsuitable("has a key of an unknown kind; RSA and ECDSA are allowed")
		}
		return unsuitable("has a key for %v; RSA and ECDSA are allowed", leaf.PublicKeyAlgorithm)
	}
	if leaf.BasicConstraintsValid && leaf.IsCA {
		return unsuitable("is that of an authority, not of a person")
	}
	hasKeyUsage := slices.ContainsFunc(leaf.Extensions, isKeyUsage)
	if hasKeyUsage && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return unsuitable("may not be used for digital signatures")
	}
	if leaf.SerialNumber.Sign() <= 0 || len(leaf.SerialNumber.Bytes()) > maxSerial {
		return unsuitable("has a serial number that is not positive or longer than %d bytes", maxSerial)
	}
	if subject, ok := derOnly(leaf.RawSubject, derSequence); !ok || len(subject) == 0 {
		return unsuitable("names nobody: its subject is empty")
	}
	return nil
}
