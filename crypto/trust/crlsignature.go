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
	"strings"
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

// The OIDs of algorithms that are safe to crypto/x509.
const (
	oidPSS  = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a"
	oidMGF1 = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08"
	oidSHA2 = "\x60\x86\x48\x01\x65\x03\x04\x02" // and the last number
)

var signatureOIDs = map[string]signatureAlgorithm{
	"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b": {"rsa", crypto.SHA256, 0},
	"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c": {"rsa", crypto.SHA384, 0},
	"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d": {"rsa", crypto.SHA512, 0},
	"\x2a\x86\x48\xce\x3d\x04\x03\x02":     {"ecdsa", crypto.SHA256, 0},
	"\x2a\x86\x48\xce\x3d\x04\x03\x03":     {"ecdsa", crypto.SHA384, 0},
	"\x2a\x86\x48\xce\x3d\x04\x03\x04":     {"ecdsa", crypto.SHA512, 0},
	"\x2b\x65\x70":                         {"ed25519", 0, 0},
}

// parseAlgorithm reads an AlgorithmIdentifier. Parameters say something for PSS only: as
// crypto/x509 does with certificates, others are passed over (RFC 4055, sections 2.1 and 5:
// both NULL and none must be accepted).
func parseAlgorithm(der []byte) (a signatureAlgorithm, ok bool) {
	oid, parameters, ok := splitAlgorithm(der)
	if !ok {
		return a, false
	}
	if oid == oidPSS {
		return parsePSS(parameters)
	}
	a, ok = signatureOIDs[oid]
	return a, ok && (a.kind != "ed25519" || len(parameters) == 0)
}

// splitAlgorithm splits an AlgorithmIdentifier into the OID and what follows it.
func splitAlgorithm(der []byte) (oid string, parameters []byte, ok bool) {
	body, ok := derOnly(der, derSequence)
	if !ok {
		return "", nil, false
	}
	id, parameters, ok := derExpect(body, derOID)
	return string(id.body), parameters, ok
}

// parsePSS reads RSASSA-PSS-params (RFC 4055, section 3.1) with a hash of SHA-2 and MGF1 with the
// same.
func parsePSS(der []byte) (a signatureAlgorithm, ok bool) {
	rest, ok := derOnly(der, derSequence)
	if !ok {
		return a, false
	}
	var fields [4][]byte // hash, mask, salt, trailer
	for i := range fields {
		var e derElement
		var found bool
		if e, rest, found, ok = derOptional(rest, derContext(byte(i), true)); !ok {
			return a, false
		}
		if found {
			fields[i] = e.body
		}
	}
	hash, ok := parseHash(fields[0])
	mask, maskHash, isMask := splitAlgorithm(fields[1])
	if of, same := parseHash(maskHash); !ok || !isMask || mask != oidMGF1 || !same || of != hash || len(rest) != 0 {
		return a, false
	}
	salt := 20 // the default
	if fields[2] != nil {
		body, ok := derOnly(fields[2], derInteger)
		if !ok || len(body) == 0 || len(body) > 2 || body[0]&0x80 != 0 {
			return a, false
		}
		salt = 0
		for _, c := range body {
			salt = salt<<8 | int(c)
		}
	}
	if trailer, ok := derOnly(fields[3], derInteger); fields[3] != nil && (!ok || string(trailer) != "\x01") {
		return a, false
	}
	return signatureAlgorithm{"pss", hash, salt}, true
}

// parseHash reads the identifier of a hash of SHA-2, without parameters or with NULL.
func parseHash(der []byte) (crypto.Hash, bool) {
	oid, parameters, ok := splitAlgorithm(der)
	number, isSHA2 := strings.CutPrefix(oid, oidSHA2)
	if !ok || !isSHA2 || len(parameters) > 0 && string(parameters) != "\x05\x00" {
		return 0, false
	}
	hash, ok := map[string]crypto.Hash{"\x01": crypto.SHA256, "\x02": crypto.SHA384, "\x03": crypto.SHA512}[number]
	return hash, ok
}

// maxHead bounds in bytes the start of a list in which version, algorithm and issuer are looked
// for ahead.
const maxHead = 4096

// chooseAlgorithm looks ahead for the signature algorithm, at the start of the signed bytes,
// and returns the writer for these.
func (c *crl) chooseAlgorithm(s *crlStream) (io.Writer, error) {
	head, err := s.peek(maxHead)
	if err != nil {
		return nil, err
	}
	header, _, _, ok := derHeader(head)
	if !ok || head[0] != derSequence {
		return nil, errCRLForm
	}
	version, rest, found, ok := derOptional(head[header:], derInteger)
	switch {
	case !ok:
		return nil, errCRLForm
	case !found || bytes.Equal(version.body, []byte{0}):
		c.oddities.add("it is of version 1")
	case !bytes.Equal(version.body, []byte{1}):
		c.flaws.add("it is of a version that is not known here")
	}
	algorithm, rest, ok := derExpect(rest, derSequence)
	if !ok {
		return nil, errCRLForm
	}
	if c.algorithm, ok = parseAlgorithm(algorithm.raw); !ok {
		if issuer, _, ok := derNext(rest); ok {
			c.setIssuer(issuer)
		}
		return nil, errors.New("the revocation list is signed with an algorithm that is unknown or not safe")
	}
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

// verdict is the result of verifying a list's signature with a key.
type verdict struct {
	key   [32]byte // hash of the SPKI
	holds bool
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
		if slices.ContainsFunc(signer.Extensions, isKeyUsage) && signer.KeyUsage&x509.KeyUsageCRLSign == 0 {
			err = errors.New("its authority may not sign revocation lists")
			continue
		}
		key := sha256.Sum256(signer.RawSubjectPublicKeyInfo)
		if c.holdsUnder(key, signer.PublicKey) {
			return key, nil
		}
		err = errors.New("its signature is not its authority's")
		if len(c.authority) > 0 && len(signer.SubjectKeyId) > 0 && !bytes.Equal(c.authority, signer.SubjectKeyId) {
			err = errors.New("it is signed with another key of its authority")
		}
	}
	return key, err
}

// holdsUnder verifies the signature, and remembers the result.
func (c *crl) holdsUnder(key [32]byte, public any) bool {
	var known []verdict
	if p := c.verdicts.Load(); p != nil {
		known = *p
	}
	for _, v := range known {
		if v.key == key {
			return v.holds
		}
	}
	holds := c.signedBy(public)
	known = append(slices.Clone(known[max(0, len(known)-maxVerdicts+1):]), verdict{key, holds})
	c.verdicts.Store(&known)
	return holds
}

// isVerified reports whether the signature held under a key that it was verified with.
func (c *crl) isVerified() bool {
	known := c.verdicts.Load()
	return known != nil && slices.ContainsFunc(*known, func(v verdict) bool { return v.holds })
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
