package trust

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"slices"
	"strings"
	"time"

	"chatsecure/proto"
)

// Person is the proved owner of a bundle. It is shared and does not change.
type Person struct {
	Name        string              // the name in the bundle
	Identity    [32]byte            // PROTOCOL.md, "Identity"
	Leaf        *x509.Certificate   // the card's authentication certificate
	Path        []*x509.Certificate // leaf first, anchor last
	Anchor      string              // AnchorPinned, AnchorGiven or AnchorMozilla
	Citizen     bool                // the certificate is a Cartão de Cidadão's
	Authorities []*x509.Certificate // of all paths, in any order
	Signers     []*x509.Certificate // others that lead to the anchor, and may sign its authorities' lists
	Key         *PublicKey          // K
	Expires     time.Time           // end of the delegation
	Revocation  RevocationResult
	Proved      *Proved // for At
}

// The domain of the Portuguese citizen card, and the names of its authorities, which
// have a number after them.
const (
	citizenDomain = "PT-CC"
	citizenIssuer = "EC de Autenticação do Cartão de Cidadão"
	citizenParent = "Cartão de Cidadão"
)

var oidSerialNumber = asn1.ObjectIdentifier{2, 5, 4, 5}

// identify computes the identity of the leaf of a path. PROTOCOL.md, "Identity".
func identify(p path) (identity [32]byte, err error) {
	leaf, issuer := p.certs[0], p.certs[1]
	if p.isCitizen() {
		// A renewed card has a new certificate, often by a newer authority. The civil
		// number stays.
		number, err := civilNumber(leaf)
		if err != nil {
			return identity, err
		}
		return proto.HashTuple("identity-citizen", citizenDomain, number), nil
	}
	key := sha256.Sum256(issuer.RawSubjectPublicKeyInfo)
	return proto.HashTuple("identity-subject", key, proto.List{leaf.RawIssuer, leaf.RawSubject}), nil
}

// isCitizen reports whether this is the path of a Cartão de Cidadão, under any anchor.
func (p path) isCitizen() bool {
	return len(p.certs) >= 4 &&
		isNumbered(p.certs[1].Subject.CommonName, citizenIssuer) &&
		isNumbered(p.certs[2].Subject.CommonName, citizenParent) &&
		slices.Contains(p.stateRoots, sha256.Sum256(p.certs[3].RawSubjectPublicKeyInfo))
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
		return "", refuse(proto.CertificateUnsuitable,
			"the certificate of %s has no serialNumber, or several, and so names no one citizen", shownName(leaf))
	}
	return found[0], nil
}
