package trust

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
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
		err := refuse(proto.CertificateUnsuitable, "the certificate of %s %s", shownName(leaf), fmt.Sprintf(format, args...))
		err.Hint = "use a card's authentication certificate"
		return err
	}
	switch public := leaf.PublicKey.(type) {
	case *rsa.PublicKey:
		if public.E < 3 || public.E%2 == 0 || public.N.Bit(0) == 0 {
			return unsuitable("has an RSA key that is none: its exponent or modulus is even or too small")
		}
	case *ecdsa.PublicKey:
	default:
		if leaf.PublicKeyAlgorithm == x509.UnknownPublicKeyAlgorithm {
			return unsuitable("has a key of an unknown kind; RSA and ECDSA are allowed")
		}
		return unsuitable("has a key for %v; RSA and ECDSA are allowed", leaf.PublicKeyAlgorithm)
	}
	if err := keyFault(leaf.PublicKey, maxLeafRSABits); err != nil {
		return unsuitable("%s", err)
	}
	if leaf.BasicConstraintsValid && leaf.IsCA {
		return unsuitable("is that of an authority, not of a person")
	}
	if hasExtension(leaf, oidKeyUsage) && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
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
	if hasExtension(cert, oidKeyUsage) && cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		return errors.New("may not sign certificates (keyUsage)")
	}
	return keyFault(cert.PublicKey, maxRSABits)
}

// keyFault refuses a key that is weak, too costly or of an unknown kind.
func keyFault(public any, maxBits int) error {
	switch public := public.(type) {
	case *rsa.PublicKey:
		if bits := public.N.BitLen(); bits < minRSABits || bits > maxBits {
			return fmt.Errorf("has an RSA key of %d bits; %d to %d are allowed", bits, minRSABits, maxBits)
		}
	case *ecdsa.PublicKey:
		if !slices.Contains([]elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()}, public.Curve) {
			return fmt.Errorf("has a key on the curve %s; P-256, P-384 and P-521 are allowed", public.Curve.Params().Name)
		}
	case ed25519.PublicKey:
	default:
		return errors.New("has a key of a kind that is not known here")
	}
	return nil
}

// checkValidity refuses a certificate whose validity is further from at than the
// tolerance.
func checkValidity(cert *x509.Certificate, at time.Time) error {
	if cert.NotBefore.Sub(at) > ClockTolerance {
		return refuse(proto.CertificateNotYet, "the certificate of %s begins on %s", shownName(cert), shownTime(cert.NotBefore))
	}
	if at.Sub(cert.NotAfter) > ClockTolerance {
		return refuse(proto.CertificateExpired, "the certificate of %s ended on %s", shownName(cert), shownTime(cert.NotAfter))
	}
	return nil
}
