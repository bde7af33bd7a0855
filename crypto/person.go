package crypto

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"strings"
	"time"

	"chatsecure/proto"
)

// Person is who a bundle was found to belong to. It is shared, and nobody
// changes it.
type Person struct {
	Name       string              // the name in the bundle
	Identity   [32]byte            // who it is: PROTOCOL.md, "Identity of a person"
	Leaf       *x509.Certificate   // the card's authentication certificate
	Path       []*x509.Certificate // leaf first, anchor last
	Key        *PublicKey          // K
	Expires    time.Time           // end of the delegation
	Revocation RevocationResult

	// Now is nil if the certificate would be accepted at this moment too, else
	// why not (a TrustError). It is set by VerifyAt; the end of the delegation,
	// which is always near, does not count.
	Now error
}

// The Portuguese citizen card: its authorities' names, each followed by a
// number, and its domain.
const (
	citizenDomain = "PT-CC"
	citizenIssuer = "EC de Autenticação do Cartão de Cidadão"
	citizenParent = "Cartão de Cidadão"
)

var oidSerialNumber = asn1.ObjectIdentifier{2, 5, 4, 5}

// identify computes the identity of the leaf of a path: PROTOCOL.md, "Identity
// of a person".
func identify(p path) (identity [32]byte, err error) {
	leaf, issuer := p.certs[0], p.certs[1]
	if p.isCitizen() {
		// The card is renewed under a new certificate, often by a newer
		// authority; the civil number stays.
		number, err := civilNumber(leaf)
		if err != nil {
			return identity, err
		}
		return hashTuple("identity", citizenDomain, number), nil
	}
	key := sha256.Sum256(issuer.RawSubjectPublicKeyInfo)
	return hashTuple("identity", key, list{leaf.RawIssuer, leaf.RawSubject}), nil
}

// isCitizen reports whether a path is that of a Cartão de Cidadão.
func (p path) isCitizen() bool {
	if p.kind != anchorPinned || len(p.certs) < 4 ||
		!isNumbered(p.certs[1].Subject.CommonName, citizenIssuer) ||
		!isNumbered(p.certs[2].Subject.CommonName, citizenParent) {
		return false
	}
	return p.anchor.stateRoot == sha256.Sum256(p.certs[3].RawSubjectPublicKeyInfo)
}

// isNumbered reports whether name is base, a space and a number.
func isNumbered(name, base string) bool {
	number, ok := strings.CutPrefix(name, base+" ")
	return ok && number != "" && strings.Trim(number, "0123456789") == ""
}

// civilNumber returns the one non-empty serialNumber of a subject.
func civilNumber(leaf *x509.Certificate) (string, error) {
	var found []string
	for _, attribute := range leaf.Subject.Names {
		if attribute.Type.Equal(oidSerialNumber) {
			value, _ := attribute.Value.(string)
			found = append(found, value)
		}
	}
	if len(found) != 1 || found[0] == "" {
		return "", &TrustError{
			Code:   proto.CertificateUnsuitable,
			Reason: "the certificate of " + shownName(leaf) + " has no serialNumber, or several, and so names no one citizen",
		}
	}
	return found[0], nil
}
