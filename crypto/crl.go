package crypto

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"sync/atomic"
	"time"
)

// maxSerial bounds a serial number in bytes (RFC 5280, section 4.1.2.2), that
// of a certificate and that of a list.
const maxSerial = 20

// maxSignedWhole bounds a list whose signature is over the bytes and not over
// a hash of them (Ed25519): such a list is held in memory until checked.
const maxSignedWhole = 4 << 20

// crl is one revocation list: what its header says, and its entries in a
// compact form. It does not change, but for the memory of who signed it.
type crl struct {
	issuer     []byte // Name in DER
	issuerName string // for people
	thisUpdate time.Time
	nextUpdate time.Time
	number     []byte // CRLNumber without leading zeros; nil: none
	base       []byte // BaseCRLNumber of a delta; nil: a complete list
	authority  []byte // key identifier; nil: none
	scope      string // IssuingDistributionPoint in DER, "" without one
	point      issuingPoint
	freshest   []string // where its deltas are
	entries    crlEntries
	problem    string // why it must not be used, "" if it may be

	algorithm signatureAlgorithm
	digest    []byte // of what is signed, or that itself for Ed25519
	signature []byte

	// verifiedBy is the hash of the SPKI that the signature was found to be
	// by. A check costs a signature; the answer does not change.
	verifiedBy atomic.Pointer[[32]byte]
}

// signatureAlgorithm is one a list may be signed with.
type signatureAlgorithm struct {
	der  string // AlgorithmIdentifier
	hash crypto.Hash
	kind string // "rsa", "pss", "ecdsa", "ed25519"
}

// signatureAlgorithms are those that crypto/x509 takes as safe, in their only
// encodings: RFC 4055, sections 3.1 and 5, RFC 5758 and RFC 8410.
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

// pssIdentifier is the AlgorithmIdentifier of RSASSA-PSS with one of the SHA-2
// hashes (by the last number of its OID), MGF1 with the same, and a salt.
func pssIdentifier(sha2, salt byte) string {
	hash := "\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02" + string([]byte{sha2}) + "\x05\x00"
	return "\x30\x41\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a\x30\x34" +
		"\xa0\x0f" + hash +
		"\xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08" + hash +
		"\xa2\x03\x02\x01" + string([]byte{salt})
}

// wholeMessage is where the bytes of a list go that is not signed by its hash.
type wholeMessage struct{ bytes.Buffer }

func (w *wholeMessage) Write(b []byte) (int, error) {
	if w.Len()+len(b) <= maxSignedWhole+1 { // one more shows that it is too long
		w.Buffer.Write(b)
	} else {
		w.Buffer.Write(b[:maxSignedWhole+1-w.Len()])
	}
	return len(b), nil
}

// parseCRL reads a CertificateList (RFC 5280, section 5.1) to the end of r. It
// reads everything into the result and judges nothing but form; what must keep
// the list from being used is in problem.
func parseCRL(r io.Reader) (*crl, error) {
	s := &crlStream{r: r}
	end, err := s.open(MaxCRL)
	if err != nil {
		return nil, err
	}
	c := new(crl)
	c.point.reasons = allReasons
	sum, err := c.chooseAlgorithm(s)
	if err != nil {
		return nil, err
	}
	s.startSum(sum)
	tbsEnd, err := s.open(end)
	if err != nil {
		return nil, err
	}
	if err := c.parseSigned(s, tbsEnd); err != nil {
		return nil, err
	}
	s.stopSum()
	if h, ok := sum.(hash.Hash); ok {
		c.digest = h.Sum(nil)
	} else {
		c.digest = sum.(*wholeMessage).Bytes()
		if len(c.digest) > maxSignedWhole {
			return nil, fmt.Errorf("a list signed with Ed25519 may have %d bytes at most", maxSignedWhole)
		}
	}

	algorithm, err := s.next(end)
	if err != nil {
		return nil, err
	}
	if string(algorithm.raw) != c.algorithm.der {
		return nil, errors.New("the revocation list gives two signature algorithms")
	}
	signature, err := s.next(end)
	if err != nil {
		return nil, err
	}
	if signature.tag != derBitString || len(signature.body) < 2 || signature.body[0] != 0 || s.pos != end {
		return nil, errCRLForm
	}
	c.signature = bytes.Clone(signature.body[1:])
	if rest, err := s.peek(1); err != nil || len(rest) != 0 {
		return nil, errors.New("there is something after the revocation list")
	}
	c.entries.finish()
	return c, nil
}

// chooseAlgorithm looks ahead for the signature algorithm, which stands at the
// start of what is signed, and returns what to feed that to.
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

// parseSigned reads a TBSCertList behind its header.
func (c *crl) parseSigned(s *crlStream, end int64) error {
	for range 2 { // version and algorithm, looked at before
		if _, err := s.next(end); err != nil {
			return err
		}
	}
	issuer, err := s.next(end)
	if err != nil {
		return err
	}
	if c.issuerName, err = parseIssuer(issuer.raw); err != nil {
		return err
	}
	c.issuer = bytes.Clone(issuer.raw)

	this, err := s.next(end)
	if err != nil {
		return err
	}
	var ok bool
	if c.thisUpdate, ok = parseTime(this); !ok {
		return errCRLForm
	}
	if has, err := s.isNext(end, derUTCTime, derGeneralizedTime); err != nil {
		return err
	} else if has {
		next, err := s.next(end)
		if err != nil {
			return err
		}
		if c.nextUpdate, ok = parseTime(next); !ok {
			return errCRLForm
		}
	} else {
		c.problem = "it does not say when the next one is due"
	}
	if has, err := s.isNext(end, derSequence); err != nil {
		return err
	} else if has {
		if err := c.parseEntries(s, end); err != nil {
			return err
		}
	}
	if has, err := s.isNext(end, derContext(0, true)); err != nil {
		return err
	} else if has {
		extensions, err := s.next(end)
		if err != nil {
			return err
		}
		if err := c.parseExtensions(extensions.body); err != nil {
			return err
		}
	}
	if s.pos != end {
		return errCRLForm
	}
	return nil
}

func (c *crl) parseEntries(s *crlStream, limit int64) error {
	end, err := s.open(limit)
	if err != nil {
		return err
	}
	for s.pos < end {
		e, err := s.next(end)
		if err != nil {
			return err
		}
		entry, problem, ok := parseEntry(e)
		if !ok {
			return errors.New("the revocation list has a malformed entry")
		}
		if problem != "" {
			c.problem = problem
		}
		c.entries.add(entry)
	}
	return nil
}

// parseIssuer returns how to show a Name.
func parseIssuer(der []byte) (string, error) {
	var names pkix.RDNSequence
	if rest, err := asn1.Unmarshal(der, &names); err != nil || len(rest) != 0 {
		return "", errCRLForm
	}
	var name pkix.Name
	name.FillFromRDNSequence(&names)
	return shownText(name.CommonName), nil
}

// parseTime reads a Time as RFC 5280, sections 5.1.2.4 to 5.1.2.6, wants it:
// in UTC, with seconds.
func parseTime(e derElement) (time.Time, bool) {
	digits := e.body
	if len(digits) == 0 || digits[len(digits)-1] != 'Z' {
		return time.Time{}, false
	}
	digits = digits[:len(digits)-1]
	for _, c := range digits {
		if c < '0' || c > '9' {
			return time.Time{}, false
		}
	}
	two := func(i int) int { return int(digits[i]-'0')*10 + int(digits[i+1]-'0') }
	var year int
	switch {
	case e.tag == derUTCTime && len(digits) == 12:
		if year = 1900 + two(0); year < 1950 {
			year += 100
		}
		digits = digits[2:]
	case e.tag == derGeneralizedTime && len(digits) == 14:
		year = two(0)*100 + two(2)
		digits = digits[4:]
	default:
		return time.Time{}, false
	}
	month, day, hour, minute, second := two(0), two(2), two(4), two(6), two(8)
	t := time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
	// Date carries what is too large over into the next field.
	ok := t.Month() == time.Month(month) && t.Day() == day && hour < 24 && minute < 60 && second < 60
	return t, ok
}

// The ends of OIDs under id-ce (2.5.29), whose encoding is 55 1d and this.
const (
	idIssuerAltName     = 18
	idCRLNumber         = 20
	idReasonCode        = 21
	idDeltaCRLIndicator = 27
	idIssuingPoint      = 28
	idCertificateIssuer = 29
	idAuthorityKeyID    = 35
	idFreshestCRL       = 46
)

// parseExtension splits an Extension; id is the last byte of its OID if that
// is one under id-ce, else 0.
func parseExtension(e derElement) (id byte, critical bool, value []byte, ok bool) {
	oid, rest, ok := derExpect(e.body, derOID)
	if !ok || e.tag != derSequence {
		return 0, false, nil, false
	}
	if len(oid.body) == 3 && oid.body[0] == 0x55 && oid.body[1] == 0x1d {
		id = oid.body[2]
	}
	flag, rest, found, ok := derOptional(rest, derBoolean)
	if !ok || found && (len(flag.body) != 1 || flag.body[0] != 0 && flag.body[0] != 0xff) {
		return 0, false, nil, false
	}
	critical = found && flag.body[0] != 0
	value, ok = derOnly(rest, derOctetString)
	return id, critical, value, ok
}

func (c *crl) parseExtensions(body []byte) error {
	malformed := errors.New("the revocation list has a malformed extension")
	rest, ok := derOnly(body, derSequence)
	if !ok {
		return malformed
	}
	seen := make(map[byte]bool)
	for len(rest) > 0 {
		var e derElement
		if e, rest, ok = derNext(rest); !ok {
			return malformed
		}
		id, critical, value, ok := parseExtension(e)
		if !ok || id != 0 && seen[id] {
			return malformed
		}
		seen[id] = true
		switch id {
		case idCRLNumber:
			c.number, ok = parseNumber(value)
		case idDeltaCRLIndicator:
			c.base, ok = parseNumber(value)
		case idAuthorityKeyID:
			c.authority, ok = parseKeyID(value)
		case idFreshestCRL:
			points, err := parsePoints(value)
			c.freshest, ok = httpURLs(points), err == nil
		case idIssuingPoint:
			point, err := parseIssuingPoint(value)
			c.point, c.scope, ok = point, string(value), err == nil
		case idIssuerAltName:
		default:
			if critical {
				c.problem = "it has a critical extension that is not known here"
			}
		}
		if !ok {
			return malformed
		}
	}
	switch {
	case c.point.indirect:
		c.problem = "it speaks for other authorities than its own (an indirect list), which is not supported"
	case c.point.relative:
		c.problem = "its place is named relative to its authority, which is not supported"
	case c.base != nil && c.number == nil:
		c.problem = "it is a delta without a number"
	}
	return nil
}

// parseNumber reads a CRLNumber, which is not negative and has at most 20
// bytes: RFC 5280, section 5.2.3.
func parseNumber(value []byte) ([]byte, bool) {
	body, ok := derOnly(value, derInteger)
	if !ok || len(body) == 0 || body[0]&0x80 != 0 || len(body) > maxSerial+1 {
		return nil, false
	}
	return append([]byte{}, bytes.TrimLeft(body, "\x00")...), true
}

// parseKeyID reads the keyIdentifier of an AuthorityKeyIdentifier, nil if it
// has none.
func parseKeyID(value []byte) ([]byte, bool) {
	body, ok := derOnly(value, derSequence)
	if !ok {
		return nil, false
	}
	id, _, found, ok := derOptional(body, derContext(0, false))
	if !found || !ok {
		return nil, ok
	}
	return bytes.Clone(id.body), true
}

// compareNumbers orders CRL numbers; having none comes first.
func compareNumbers(a, b []byte) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return bytes.Compare(a, b)
}

// verify checks that the list is signed by the authority whose certificate
// this is: the same name, the same key, and a key that may sign lists. RFC
// 5280, section 6.3.3 (f) and (g).
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

func isKeyUsage(e pkix.Extension) bool { return e.Id.Equal(oidKeyUsage) }

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

// same reports whether two lists are copies of each other.
func (c *crl) same(other *crl) bool {
	return bytes.Equal(c.digest, other.digest) && bytes.Equal(c.signature, other.signature)
}

// kind is what sort of list it is, for people.
func (c *crl) kind() string {
	switch {
	case c.base != nil:
		return "delta"
	case c.scope != "":
		return "partition"
	}
	return "base"
}

// shownNumber is a CRL number for people: hexadecimal, as authorities give it.
func shownNumber(number []byte) string {
	if number == nil {
		return ""
	}
	if len(number) == 0 {
		return "00"
	}
	return hex.EncodeToString(number)
}
