package trust

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"slices"
	"time"

	"chatsecure/proto"
)

// ClockTolerance bounds the difference between the clocks of honest machines. A check
// passes if it holds at some moment within it.
const ClockTolerance = 5 * time.Minute

const (
	// minRSABits bounds every RSA key of a path from below. Shorter ones may be
	// factored.
	minRSABits = 2048
	// maxRSABits bounds an issuer's RSA key. Strangers choose it, and the time of a
	// check grows with its square.
	maxRSABits = 8192
	// maxLeafRSABits bounds a leaf's RSA key. Cards have up to 4096.
	maxLeafRSABits = 4096
)

// parseLeaf parses a card's certificate and refuses one that cannot be a card's.
func parseLeaf(der []byte) (*x509.Certificate, error) {
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, malformed("its certificate does not parse: %s", shownCause(err))
	}
	return leaf, checkLeaf(leaf)
}

// parseChain parses the certificates above a leaf, and checks nothing about them.
func parseChain(chain [][]byte) ([]*x509.Certificate, error) {
	certs := make([]*x509.Certificate, len(chain))
	for i, der := range chain {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, malformed("certificate %d of its chain does not parse: %s", i+1, shownCause(err))
		}
		certs[i] = cert
	}
	return certs, nil
}

// checkLeaf refuses a certificate that is not for a person's signatures, whatever its
// authority.
func checkLeaf(leaf *x509.Certificate) error {
	unsuitable := func(format string, args ...any) error {
		return &Error{
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
		if !isAllowedCurve(public.Curve) {
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

// authorityFault returns the reason not to take an authority's signatures: it is none, its
// key may not sign certificates, or the key is weak, or so large that checking its
// signatures keeps this machine busy (RFC 5280, section 6.1.4 (k) and (n)). crypto/x509
// takes a keyUsage without any bit for none.
func authorityFault(cert *x509.Certificate, isAnchor bool) error {
	old := isAnchor && cert.Version < 3 && !cert.BasicConstraintsValid // before there were extensions
	if !old && !(cert.BasicConstraintsValid && cert.IsCA) {
		return errors.New("is none: its certificate may not issue others (basicConstraints)")
	}
	if slices.ContainsFunc(cert.Extensions, isKeyUsage) && cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		return errors.New("may not sign certificates (keyUsage)")
	}
	switch public := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		if bits := public.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return fmt.Errorf("has an RSA key of %d bits; %d to %d are allowed", bits, minRSABits, maxRSABits)
		}
	case *ecdsa.PublicKey:
		if !isAllowedCurve(public.Curve) {
			return fmt.Errorf("has a key on the curve %s; P-256, P-384 and P-521 are allowed", public.Curve.Params().Name)
		}
	case ed25519.PublicKey:
	default:
		return errors.New("has a key of a kind that is not known here")
	}
	return nil
}

func isAllowedCurve(curve elliptic.Curve) bool {
	return curve == elliptic.P256() || curve == elliptic.P384() || curve == elliptic.P521()
}

// checkValidity refuses a certificate whose validity is further from at than the
// tolerance.
func checkValidity(cert *x509.Certificate, at time.Time) error {
	if cert.NotBefore.Sub(at) > ClockTolerance {
		return &Error{
			Code:   proto.CertificateNotYet,
			Reason: fmt.Sprintf("the certificate of %s begins on %s, and the time is %s", shownName(cert), shownTime(cert.NotBefore), shownTime(at)),
		}
	}
	if at.Sub(cert.NotAfter) > ClockTolerance {
		return &Error{
			Code:   proto.CertificateExpired,
			Reason: fmt.Sprintf("the certificate of %s ended on %s, and the time is %s", shownName(cert), shownTime(cert.NotAfter), shownTime(at)),
		}
	}
	return nil
}

func isKeyUsage(e pkix.Extension) bool { return e.Id.Equal(oidKeyUsage) }
