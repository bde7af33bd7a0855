package trust

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync/atomic"
	"time"
)

// maxSerial bounds the number of a certificate or a list in bytes (RFC 5280, section
// 4.1.2.2).
const maxSerial = 20

// crl is one revocation list: its header, and its entries in a compact form. Only
// verifiedBy changes.
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
	freshest   []string // addresses of its deltas
	entries    crlEntries
	problem    string // reason not to use it, or ""

	algorithm signatureAlgorithm
	digest    []byte // of the signed bytes; for Ed25519 these themselves
	signature []byte

	// verifiedBy is the hash of the SPKI under which the signature held. It spares a
	// second verification.
	verifiedBy atomic.Pointer[[32]byte]
}

// parseCRL reads a CertificateList (RFC 5280, section 5.1) to the end of r. It refuses a bad
// form only. Other reasons not to use the list stand in problem.
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
	rest, err := s.peek(1)
	if err != nil {
		return nil, err
	}
	if len(rest) != 0 {
		return nil, errors.New("there is something after the revocation list")
	}
	c.entries.finish()
	return c, nil
}

// parseSigned reads a TBSCertList after its header.
func (c *crl) parseSigned(s *crlStream, end int64) error {
	for range 2 { // version and algorithm, which chooseAlgorithm has read
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
	next, found, err := s.optional(end, derUTCTime, derGeneralizedTime)
	if err != nil {
		return err
	}
	if !found {
		c.problem = "it does not say when the next one is due"
	} else if c.nextUpdate, ok = parseTime(next); !ok {
		return errCRLForm
	}
	if found, err = s.isNext(end, derSequence); err != nil {
		return err
	}
	if found {
		if err := c.parseEntries(s, end); err != nil {
			return err
		}
	}
	extensions, found, err := s.optional(end, derContext(0, true))
	if err != nil {
		return err
	}
	if found {
		if err := c.parseExtensions(extensions.body); err != nil {
			return err
		}
	}
	if s.pos != end {
		return errCRLForm
	}
	return nil
}

// parseEntries reads revokedCertificates.
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

// parseIssuer returns a Name for people.
func parseIssuer(der []byte) (string, error) {
	var names pkix.RDNSequence
	if rest, err := asn1.Unmarshal(der, &names); err != nil || len(rest) != 0 {
		return "", errCRLForm
	}
	return shownText(nameText(der)), nil
}

// parseTime reads a Time in UTC with seconds (RFC 5280, sections 5.1.2.4 to 5.1.2.6).
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
	// Date carries an excess over into the next field.
	ok := t.Month() == time.Month(month) && t.Day() == day && hour < 24 && minute < 60 && second < 60
	return t, ok
}

// compareNumbers orders CRL numbers, a missing one first.
func compareNumbers(a, b []byte) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return bytes.Compare(a, b)
}

// same reports whether two lists are copies of each other.
func (c *crl) same(other *crl) bool {
	return bytes.Equal(c.digest, other.digest) && bytes.Equal(c.signature, other.signature)
}
