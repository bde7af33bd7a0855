package trust

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512" // for crypto.SHA384 and crypto.SHA512
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
)

// maxSignedWhole bounds a list signed with Ed25519 in bytes. The signature is over the bytes
// and not over a hash, so the list is held in memory.
const maxSignedWhole = 4 << 20

// signatureAlgorithm is an algorithm for signatures of lists.
type signatureAlgorithm struct {
	kind string // "rsa", "pss", "ecdsa", "ed25519"
	hash crypto.Hash
	salt int // of PSS, in bytes
}

// The algorithms that are safe to crypto/x509.
var (
	oidPSS  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}
	oidMGF1 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 8}

	signatureOIDs = map[string]signatureAlgorithm{
		"1.2.840.113549.1.1.11": {"rsa", crypto.SHA256, 0},
		"1.2.840.113549.1.1.12": {"rsa", crypto.SHA384, 0},
		"1.2.840.113549.1.1.13": {"rsa", crypto.SHA512, 0},
		"1.2.840.10045.4.3.2":   {"ecdsa", crypto.SHA256, 0},
		"1.2.840.10045.4.3.3":   {"ecdsa", crypto.SHA384, 0},
		"1.2.840.10045.4.3.4":   {"ecdsa", crypto.SHA512, 0},
		"1.3.101.112":           {"ed25519", 0, 0},
	}
	hashOIDs = map[string]crypto.Hash{
		"2.16.840.1.101.3.4.2.1": crypto.SHA256,
		"2.16.840.1.101.3.4.2.2": crypto.SHA384,
		"2.16.840.1.101.3.4.2.3": crypto.SHA512,
	}
)

// parseAlgorithm reads an AlgorithmIdentifier. Parameters say something for PSS only: as
// crypto/x509 does with certificates, others are passed over (RFC 4055, sections 2.1 and 5:
// both NULL and none must be accepted).
func parseAlgorithm(der []byte) (a signatureAlgorithm, ok bool) {
	var id pkix.AlgorithmIdentifier
	if _, err := asn1.Unmarshal(der, &id); err != nil {
		return a, false
	}
	if id.Algorithm.Equal(oidPSS) {
		return parsePSS(id.Parameters.FullBytes)
	}
	a, ok = signatureOIDs[id.Algorithm.String()]
	return a, ok && (a.kind != "ed25519" || len(id.Parameters.FullBytes) == 0)
}

// parsePSS reads RSASSA-PSS-params (RFC 4055, section 3.1) with a hash of SHA-2 and MGF1 with the
// same.
func parsePSS(der []byte) (a signatureAlgorithm, ok bool) {
	var p struct {
		Hash    pkix.AlgorithmIdentifier `asn1:"explicit,tag:0"`
		Mask    pkix.AlgorithmIdentifier `asn1:"explicit,tag:1"`
		Salt    int                      `asn1:"optional,explicit,tag:2,default:20"`
		Trailer int                      `asn1:"optional,explicit,tag:3,default:1"`
	}
	var mask pkix.AlgorithmIdentifier
	_, err := asn1.Unmarshal(der, &p)
	_, maskErr := asn1.Unmarshal(p.Mask.Parameters.FullBytes, &mask)
	hash, ok := hashOIDs[p.Hash.Algorithm.String()]
	return signatureAlgorithm{"pss", hash, p.Salt}, ok && err == nil && maskErr == nil && p.Mask.Algorithm.Equal(oidMGF1) &&
		hashOIDs[mask.Algorithm.String()] == hash && p.Salt >= 0 && p.Trailer == 1
}

// maxHead bounds in bytes the version, the algorithm and the issuer of a list. The window of
// the stream keeps them until the hash is known.
const maxHead = maxElement

// startDigest has the signed bytes, of which there are size, hashed as they are taken. digest
// returns the hash.
func (c *crl) startDigest(s *crlStream, size int64) (digest func() []byte) {
	if c.algorithm.hash != 0 {
		sum := c.algorithm.hash.New()
		s.sum = sum
		return func() []byte { return sum.Sum(nil) }
	}
	if size > maxSignedWhole {
		s.fail(fmt.Errorf("a list signed with Ed25519 may have %d bytes at most", maxSignedWhole))
	}
	whole := new(bytes.Buffer)
	s.sum = whole
	return whole.Bytes
}

// maxVerdicts bounds the results remembered of one list.
const maxVerdicts = 8

// verify looks for the signer of the list among certificates: one with the name of its issuer
// and a key that may sign lists (RFC 5280, section 6.3.3 (f) and (g)). It returns the hash of
// the signer's SPKI. The key identifier in the list is a hint and decides nothing.
func (c *crl) verify(signers []*x509.Certificate) (key [32]byte, err error) {
	err = errors.New("it is of another authority")
	for _, signer := range signers {
		if !sameName(c.issuer, signer.RawSubject) {
			continue
		}
		if hasExtension(signer, oidKeyUsage) && signer.KeyUsage&x509.KeyUsageCRLSign == 0 {
			err = errors.New("its authority may not sign revocation lists")
			continue
		}
		key := sha256.Sum256(signer.RawSubjectPublicKeyInfo)
		if c.holdsUnder(key, signer.PublicKey) {
			return key, nil
		}
		err = fmt.Errorf("it is not signed by any key of %s that is at hand", c.issuerName)
		if len(c.authority) > 0 && len(signer.SubjectKeyId) > 0 && !bytes.Equal(c.authority, signer.SubjectKeyId) {
			err = errors.New("it is signed with another key of its authority")
		}
	}
	return key, err
}

// signer returns the hash of the SPKI under which the signature is known to hold. It does under
// one alone. refuted tells that there is none, and was looked for.
func (c *crl) signer() (key [32]byte, holds, refuted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, holds := range c.verdicts {
		if holds {
			return key, true, false
		}
	}
	return key, false, len(c.verdicts) > 0
}

// isSigned reports whether the signature is known to hold.
func (c *crl) isSigned() bool {
	_, holds, _ := c.signer()
	return holds
}

// holdsUnder verifies the signature, and remembers the result.
func (c *crl) holdsUnder(key [32]byte, public any) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if holds, known := c.verdicts[key]; known {
		return holds
	}
	if c.verdicts == nil || len(c.verdicts) == maxVerdicts {
		c.verdicts = make(map[[32]byte]bool)
	}
	c.verdicts[key] = c.signedBy(public)
	return c.verdicts[key]
}

// signedBy verifies the signature.
func (c *crl) signedBy(public any) bool {
	switch public := public.(type) {
	case *rsa.PublicKey:
		switch c.algorithm.kind {
		case "rsa":
			return rsa.VerifyPKCS1v15(public, c.algorithm.hash, c.digest, c.signature) == nil
		case "pss":
			// A length of 0 is any to crypto/rsa.
			options := &rsa.PSSOptions{SaltLength: c.algorithm.salt, Hash: c.algorithm.hash}
			return rsa.VerifyPSS(public, c.algorithm.hash, c.digest, c.signature, options) == nil
		}
	case *ecdsa.PublicKey:
		return c.algorithm.kind == "ecdsa" && ecdsa.VerifyASN1(public, c.digest, c.signature)
	case ed25519.PublicKey:
		return c.algorithm.kind == "ed25519" && ed25519.Verify(public, c.digest, c.signature)
	}
	return false
}
