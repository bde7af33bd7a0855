package trust

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"time"

	"chatsecure/proto"
)

// Proved is a bundle that is parsed, and once it is proved the paths of its leaf. Neither
// time nor revocation lists change these.
type Proved struct {
	bundle  *Bundle
	key     *PublicKey // K
	leaf    *x509.Certificate
	issuers []*x509.Certificate // as sent
	paths   []path              // best first; nil until prove
}

// readDelegated parses a bundle that Check has passed. Errors are *Error.
func readDelegated(b *Bundle) (d Proved, err error) {
	d.bundle = b
	if d.key, err = b.Key(); err == nil {
		d.leaf, err = parseLeaf(b.X509)
	}
	if err == nil {
		d.issuers, err = parseChain(b.Chain)
	}
	return d, err
}

// prove finds the paths of the leaf, and then checks that the leaf's key has signed the
// delegation of K. A stranger without a path chooses that key, and so the cost of its
// signature. Errors are *Error.
func (d *Proved) prove(trust *Store) error {
	if d.paths != nil {
		return nil
	}
	paths, err := trust.paths(d.leaf, d.issuers)
	if err == nil {
		err = checkDelegation(d.bundle, d.leaf)
	}
	if err == nil {
		d.paths = paths
	}
	return err
}

// DelegationMessage is the message that the card signs, once: K may act for it under the
// bundle's name until NotAfter, and letters may be sealed to the mailbox until MailboxEnd.
// It begins with a length that begins no message of TLS, CMS, X.509 or SSH, which an
// authentication key also signs. PROTOCOL.md, "Identity".
func (b *Bundle) DelegationMessage() []byte {
	return proto.Tuple("delegation", sha256.Sum256(b.X509), b.Name, b.PublicKey, uint64(b.NotBefore), uint64(b.NotAfter),
		b.Mailbox, uint64(b.MailboxEnd))
}

// checkDelegation checks that the card has signed the delegation, for times within the
// leaf's validity.
func checkDelegation(b *Bundle, leaf *x509.Certificate) error {
	begins, ends := time.Unix(b.NotBefore, 0), time.Unix(b.NotAfter, 0)
	if begins.Before(leaf.NotBefore) || ends.After(leaf.NotAfter) {
		return refuse(proto.DelegationInvalid, "the delegation reaches beyond the validity of the certificate of %s", shownName(leaf))
	}
	if time.Unix(b.MailboxEnd, 0).After(leaf.NotAfter) {
		return refuse(proto.DelegationInvalid, "the mailbox reaches beyond the validity of the certificate of %s", shownName(leaf))
	}
	if !verifyLeaf(leaf, b.DelegationMessage(), b.Signature) {
		return refuse(proto.DelegationInvalid, "the delegation is not signed by the certificate of %s", shownName(leaf))
	}
	return nil
}

// checkTimes checks the delegation's times. The leaf's come first: an expired leaf
// has an expired delegation too, which would hide the cause.
func (d *Proved) checkTimes(at time.Time) error {
	if err := checkValidity(d.leaf, at); err != nil {
		return err
	}
	begins, ends := time.Unix(d.bundle.NotBefore, 0), time.Unix(d.bundle.NotAfter, 0)
	if begins.Sub(at) > ClockTolerance {
		return refuse(proto.DelegationNotYet, "the delegation by %s begins on %s", shownName(d.leaf), shownTime(begins))
	}
	if at.Sub(ends) > ClockTolerance {
		return refuse(proto.DelegationExpired, "the delegation by %s ended on %s", shownName(d.leaf), shownTime(ends))
	}
	return nil
}

// verifyLeaf checks a signature of a card. The key alone decides the algorithm:
// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, section 8.2), or ECDSA (RFC 3279, section
// 2.2.3) with the hash of the curve's size.
func verifyLeaf(leaf *x509.Certificate, message, signature []byte) bool {
	algorithm := x509.SHA256WithRSA
	if public, ok := leaf.PublicKey.(*ecdsa.PublicKey); ok {
		algorithm = map[int]x509.SignatureAlgorithm{
			256: x509.ECDSAWithSHA256, 384: x509.ECDSAWithSHA384, 521: x509.ECDSAWithSHA512,
		}[public.Curve.Params().BitSize]
	}
	return leaf.CheckSignature(algorithm, message, signature) == nil
}
