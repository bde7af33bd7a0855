package card

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"math/big"
)

// Bounds of RSA keys in bits. Shorter keys are only on cards that expired long
// ago. No card has a longer one, and every verifier would pay for it.
const (
	minRSABits = 2048
	maxRSABits = 4096
)

// maxRawECDSA is the length in bytes of r and s on P-521, the largest curve
// accepted.
const maxRawECDSA = 2 * 66

// hashFor returns the hash for signatures by a key. It accepts RSA of 2,048 to
// 4,096 bits and EC on P-256, P-384 and P-521.
func hashFor(pub crypto.PublicKey) (crypto.Hash, error) {
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		if bits := pub.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return 0, fail(Unsuitable, "", "the certificate has an RSA key of %d bits; %d to %d are accepted", bits, minRSABits, maxRSABits)
		}
		return crypto.SHA256, nil
	case *ecdsa.PublicKey:
		switch pub.Curve {
		case elliptic.P256():
			return crypto.SHA256, nil
		case elliptic.P384():
			return crypto.SHA384, nil
		case elliptic.P521():
			return crypto.SHA512, nil
		}
		return 0, fail(Unsuitable, "", "the certificate has a key on the curve %s; P-256, P-384 and P-521 are accepted", pub.Curve.Params().Name)
	}
	return 0, fail(Unsuitable, "", "the certificate has a key that is neither RSA nor EC on a NIST curve")
}

// digest returns the hash of message.
func digest(h crypto.Hash, message []byte) []byte {
	d := h.New()
	d.Write(message)
	return d.Sum(nil)
}

// verify checks a signature of message in the form returned by Sign.
func verify(leaf *x509.Certificate, message, sig []byte) error {
	h, err := hashFor(leaf.PublicKey)
	if err != nil {
		return err
	}
	switch pub := leaf.PublicKey.(type) {
	case *rsa.PublicKey:
		err = rsa.VerifyPKCS1v15(pub, h, digest(h, message), sig)
	case *ecdsa.PublicKey:
		if !ecdsa.VerifyASN1(pub, digest(h, message), sig) {
			err = errors.New("ecdsa: verification error")
		}
	}
	if err != nil {
		return fail(BadSignature, "the key and the certificate on the card do not belong together; name another with object= or id=",
			"the card's signature does not fit its certificate").because(err)
	}
	return nil
}

// fromRaw turns the ECDSA signature of PKCS#11, which is r and s (v2.40, section
// 2.3.1), into ASN.1 DER.
func fromRaw(raw []byte) ([]byte, error) {
	if len(raw) == 0 || len(raw)%2 != 0 || len(raw) > maxRawECDSA {
		return nil, fail(BadSignature, "", "the card's signature has an impossible length of %d bytes", len(raw))
	}
	half := len(raw) / 2
	return asn1.Marshal(struct{ R, S *big.Int }{
		new(big.Int).SetBytes(raw[:half]),
		new(big.Int).SetBytes(raw[half:]),
	})
}

// maySign reports whether a certificate's keyUsage, if present, allows signatures
// that authenticate. A certificate for qualified signatures alone has
// nonRepudiation without digitalSignature.
func maySign(c *x509.Certificate) bool {
	return c.KeyUsage == 0 || c.KeyUsage&x509.KeyUsageDigitalSignature != 0
}

// isCA reports whether a certificate is an issuer's.
func isCA(c *x509.Certificate) bool {
	return c.IsCA || c.KeyUsage&x509.KeyUsageCertSign != 0
}
