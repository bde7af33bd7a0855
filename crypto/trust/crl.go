package trust

import (
	"bytes"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// maxSerial bounds the number of a certificate or a list in bytes (RFC 5280, section
// 4.1.2.2).
const maxSerial = 20

// crl is one revocation list: its header, and its entries in a compact form. Only verdicts
// changes.
type crl struct {
	issuer     []byte // Name in DER
	folded     string // issuer as foldedName
	issuerName string // for people
	thisUpdate time.Time
	nextUpdate time.Time // zero: not given
	number     []byte    // CRLNumber without leading zeros; nil: none
	delta      bool
	base       []byte // BaseCRLNumber of a delta; nil: none
	authority  []byte // key identifier; nil: none
	scope      string // IssuingDistributionPoint in DER, "" without one
	point      issuingPoint
	freshest   []string // addresses of its deltas
	entries    crlEntries
	foreign    bool // while parsing: the entries are another authority's

	// A list that its authority has signed revokes the certificates on it, whatever its
	// form. An oddity is worth telling and changes nothing. A flaw keeps the list from
	// clearing anybody.
	oddities, flaws remarks

	algorithm signatureAlgorithm
	digest    []byte // of the signed bytes; for Ed25519 these themselves
	signature []byte

	verdicts atomic.Pointer[[]verdict] // spare second verifications
}

// remarks are sentences about a list, each once.
type remarks []string

func (r *remarks) add(text string) {
	if !slices.Contains(*r, text) {
		*r = append(*r, text)
	}
}

func (r remarks) String() string { return strings.Join(r, "; ") }

// refusedCRL is the refusal of a list whose issuer was read.
type refusedCRL struct {
	issuer string // as foldedName
	error
}

func (r *refusedCRL) Unwrap() error { return r.error }

// endOfTime is the date of a list whose own cannot be read. It may be the newest.
var endOfTime = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// parseCRL reads a CertificateList (RFC 5280, section 5.1) to the end of r. It refuses a list
// only if its signature or its entries cannot be found. All else is an oddity or a flaw.
func parseCRL(r io.Reader) (*crl, error) {
	c := new(crl)
	if err := c.parse(&crlStream{r: r}); err != nil {
		if c.issuer != nil {
			err = &refusedCRL{c.folded, err}
		}
		return nil, err
	}
	c.entries.finish()
	return c, nil
}

func (c *crl) parse(s *crlStream) error {
	end, err := s.open(MaxCRL)
	if err != nil {
		return err
	}
	sum, err := c.chooseAlgorithm(s)
	if err != nil {
		return err
	}
	s.startSum(sum)
	tbsEnd, err := s.open(end)
	if err != nil {
		return err
	}
	if err := c.parseSigned(s, tbsEnd); err != nil {
		return err
	}
	s.stopSum()
	if h, ok := sum.(hash.Hash); ok {
		c.digest = h.Sum(nil)
	} else {
		c.digest = sum.(*wholeMessage).Bytes()
		if len(c.digest) > maxSignedWhole {
			return fmt.Errorf("a list signed with Ed25519 may have %d bytes at most", maxSignedWhole)
		}
	}

	algorithm, err := s.next(end)
	if err != nil {
		return err
	}
	if outer, ok := parseAlgorithm(algorithm.raw); !ok || outer != c.algorithm {
		return errors.New("the revocation list gives two signature algorithms")
	}
	signature, err := s.next(end)
	if err != nil {
		return err
	}
	if signature.tag != derBitString || len(signature.body) < 2 || signature.body[0] != 0 || s.pos != end {
		return errCRLForm
	}
	c.signature = bytes.Clone(signature.body[1:])
	rest, err := s.peek(1)
	if len(rest) > 0 {
		c.flaws.add("there is something after it in its file")
	}
	return err
}

// parseSigned reads a TBSCertList after its header.
func (c *crl) parseSigned(s *crlStream, end int64) error {
	// Version and algorithm, which chooseAlgorithm has read.
	if _, _, err := s.optional(end, derInteger); err != nil {
		return err
	}
	if _, err := s.next(end); err != nil {
		return err
	}
	issuer, err := s.next(end)
	if err != nil {
		return err
	}
	if !c.setIssuer(issuer) {
		return errCRLForm
	}
	this, _, err := s.optional(end, derUTCTime, derGeneralizedTime)
	if err != nil {
		return err
	}
	if c.thisUpdate = c.readTime(this); c.thisUpdate.IsZero() {
		c.thisUpdate = endOfTime
		c.flaws.add("its date cannot be read")
	}
	next, _, err := s.optional(end, derUTCTime, derGeneralizedTime)
	if err != nil {
		return err
	}
	if c.nextUpdate = c.readTime(next); c.nextUpdate.IsZero() {
		c.flaws.add("it does not say when the next one is due")
	}
	found, err := s.isNext(end, derSequence)
	if err != nil {
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
		c.parseExtensions(extensions.body)
	}
	for s.pos < end {
		c.flaws.add("it has fields that are not known here")
		if _, err := s.next(end); err != nil {
			return err
		}
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
		c.entries.add(c.parseEntry(e))
	}
	return nil
}

// setIssuer notes the issuer, if it is a Name at all.
func (c *crl) setIssuer(e derElement) bool {
	if e.tag != derSequence || len(e.raw) > maxElement {
		return false
	}
	c.issuer, c.issuerName, c.folded = bytes.Clone(e.raw), shownText(nameText(e.raw)), foldedName(e.raw)
	return true
}

// readTime returns a Time of the list, zero if it cannot be read.
func (c *crl) readTime(e derElement) time.Time {
	t, ok := parseTime(e)
	if !ok {
		if t, ok = parseOddTime(e); ok {
			c.oddities.add("it writes a time in an unusual form")
		}
	}
	return t
}

// parseOddTime reads a Time without seconds, with a fraction or with another zone than UTC:
// ASN.1 has these forms, and RFC 5280 does not allow them.
func parseOddTime(e derElement) (t time.Time, ok bool) {
	text := string(e.body)
	if len(text) > 40 || len(text) < 10 {
		return t, false
	}
	switch e.tag {
	case derUTCTime:
		century := "20"
		if text[0] >= '5' {
			century = "19"
		}
		text = century + text
	case derGeneralizedTime:
	default:
		return t, false
	}
	for _, layout := range []string{"20060102150405Z0700", "200601021504Z0700"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), true
		}
	}
	return t, false
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
	if !ok {
		return time.Time{}, false
	}
	return t, true
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
