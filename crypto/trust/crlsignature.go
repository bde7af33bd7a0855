package trust

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"io"
	"slices"
)

// maxSignedWhole bounds a list signed with Ed25519 in bytes. The signature is over the bytes
// and not over a hash, so the list is held in memory.
const maxSignedWhole = 4 << 20

// signatureAlgorithm is an algorithm for signatures of lists.
type signatureAlgorithm struct {
	der  string // AlgorithmIdentifier
	hash crypto.Hash
	kind string // "rsa", "pss", "ecdsa", "ed25519"
}

// signatureAlgorithms are those that are safe to crypto/x509, in their only encodings (RFC
// 4055, sections 3.1 and 5, RFC 5758 and RFC 8410).
var signatureAlgorithms = []signatureAlgorithm{
	{"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00", crypto.SHA256, "rsa"},
	{"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c\x05\x00", crypto.SHA384, "rsa"},
	{"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d\x05\x00", crypto.SHA512, "rsa"},
	{"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02", crypto.SHA256, "ecdsa"},
	{"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03", crypto.SHA384, "ecdsa"},
	{"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x04", crypto.SHA512, "ecdsa"},
	{pssIdentifier(1, 32), crypto.SHA256, "pss"},
	{pssIdentifier(2, 48), crypto.SHA384, "pss"},
	{pssIdentifier(3, 64), crypto.SHA512, "pss"},
	{"\x30\x05\x06\x03\x2b\x65\x70", 0, "ed25519"},
}

// pssIdentifier is the AlgorithmIdentifier of RSASSA-PSS with a SHA-2 hash, given by the last
// number of its OID, MGF1 with the same hash, and a salt of that length.
func pssIdentifier(sha2, salt byte) string {
	hash := "\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02" + string([]byte{sha2}) + "\x05\x00"
	return "\x30\x41\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a\x30\x34" +
		"\xa0\x0f" + hash +
		"\xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08" + hash +
		"\xa2\x03\x02\x01" + string([]byte{salt})
}

// chooseAlgorithm looks ahead for the signature algorithm, at the start of the signed bytes,
// and returns the writer for these.
func (c *crl) chooseAlgorithm(s *crlStream) (io.Writer, error) {
	// Headers, version, and the longest identifier above: below 128 bytes.
	head, err := s.peek(128)
	if err != nil {
		return nil, err
	}
	header, _, _, ok := derHeader(head)
	if !ok || head[0] != derSequence {
		return nil, errCRLForm
	}
	version, rest, ok := derExpect(head[header:], derInteger)
	if !ok || !bytes.Equal(version.body, []byte{1}) {
		return nil, errors.New("the revocation list is not of version 2")
	}
	algorithm, _, ok := derExpect(rest, derSequence)
	if !ok {
		return nil, errCRLForm
	}
	i := slices.IndexFunc(signatureAlgorithms, func(a signatureAlgorithm) bool { return a.der == string(algorithm.raw) })
	if i < 0 {
		return nil, errors.New("the revocation list is signed with an algorithm that is unknown or not safe")
	}
	c.algorithm = signatureAlgorithms[i]
	switch c.algorithm.hash {
	case crypto.SHA256:
		return sha256.New(), nil
	case crypto.SHA384:
		return sha512.New384(), nil
	case crypto.SHA512:
		return sha512.New(), nil
	}
	return new(wholeMessage), nil
}

// wholeMessage takes the bytes of a list that is not signed by its hash.
type wholeMessage struct{ bytes.Buffer }

func (w *wholeMessage) Write(b []byte) (int, error) {
	if w.Len()+len(b) <= maxSignedWhole+1 { // one more shows that it is too long
		w.Buffer.Write(b)
	} else {
		w.Buffer.Write(b[:maxSignedWhole+1-w.Len()])
	}
	return len(b), nil
}

// verify checks that the list is signed by the authority with this certificate: the same
// name, the same key, and a key that may sign lists (RFC 5280, section 6.3.3 (f) and (g)).
func (c *crl) verify(issuer *x509.Certificate) error {
	if !bytes.Equal(c.issuer, issuer.RawSubject) {
		return errors.New("it is of another authority")
	}
	if slices.ContainsFunc(issuer.Extensions, isKeyUsage) && issuer.KeyUsage&x509.KeyUsageCRLSign == 0 {
		return errors.New("its authority may not sign revocation lists")
	}
	if len(c.authority) > 0 && len(issuer.SubjectKeyId) > 0 && !bytes.Equal(c.authority, issuer.SubjectKeyId) {
		return errors.New("it is signed with another key of its authority")
	}
	key := sha256.Sum256(issuer.RawSubjectPublicKeyInfo)
	if known := c.verifiedBy.Load(); known != nil && *known == key {
		return nil
	}
	if !c.signedBy(issuer.PublicKey) {
		return errors.New("its signature is not its authority's")
	}
	c.verifiedBy.Store(&key)
	return nil
}

// signedBy verifies the signature.
func (c *crl) signedBy(public any) bool {
	switch public := public.(type) {
	case *rsa.PublicKey:
		switch c.algorithm.kind {
		case "rsa":
			return rsa.VerifyPKCS1v15(public, c.algorithm.hash, c.digest, c.signature) == nil
		case "pss":
			options := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: c.algorithm.hash}
			return rsa.VerifyPSS(public, c.algorithm.hash, c.digest, c.signature, options) == nil
		}
	case *ecdsa.PublicKey:
		return c.algorithm.kind == "ecdsa" && ecdsa.VerifyASN1(public, c.digest, c.signature)
	case ed25519.PublicKey:
		return c.algorithm.kind == "ed25519" && ed25519.Verify(public, c.digest, c.signature)
	}
	return false
}
