package trust

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
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
	wholeName  string // for CRLInfo
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
	sound           bool // it could clear somebody when it came

	algorithm signatureAlgorithm
	digest    []byte // of the signed bytes; for Ed25519 these themselves
	signature []byte
	id        [32]byte // of the two: copies have one

	mu       sync.Mutex        // guards verdicts
	verdicts map[[32]byte]bool // by the hash of an SPKI: spare second verifications
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
	return c, nil
}

func (c *crl) parse(s *crlStream) error {
	end := s.open(MaxCRL)
	s.flush() // the outer header is not signed
	from := s.pos
	tbsEnd := s.open(end)
	c.parseAlgorithms(s, tbsEnd)
	if s.pos-from > maxHead {
		s.fail(errCRLForm)
	}
	digest := c.startDigest(s, tbsEnd-from)
	c.parseSigned(s, tbsEnd)
	s.flush()
	s.sum, c.digest = nil, digest()

	outer, ok := parseAlgorithm(s.next(end).raw)
	signature := s.next(end)
	c.signature = bytes.Clone(signature.body)
	atEnd := s.pos == end
	if len(s.peek(1)) > 0 {
		c.flaws.add(flawMore)
	}
	switch {
	case s.err != nil:
		return s.err
	case !ok || outer != c.algorithm:
		return errors.New("it gives two signature algorithms")
	case signature.tag != derBitString || len(c.signature) < 2 || c.signature[0] != 0 || !atEnd:
		return errCRLForm
	}
	c.signature = c.signature[1:]
	c.id = sha256.Sum256(slices.Concat(c.digest, c.signature)) // DER ends itself, so no other list has these bytes
	return nil
}

// parseAlgorithms reads version, signature algorithm and issuer.
func (c *crl) parseAlgorithms(s *crlStream, end int64) {
	version, found := s.optional(end, derInteger)
	switch {
	case !found || bytes.Equal(version.body, []byte{0}):
		c.oddities.add("it is of version 1")
	case !bytes.Equal(version.body, []byte{1}):
		c.flaws.add("it is of a version that is not known here")
	}
	algorithm := s.next(end)
	if algorithm.tag != derSequence {
		s.fail(errCRLForm)
	}
	known := false
	c.algorithm, known = parseAlgorithm(algorithm.raw)
	if issuer := s.next(end); issuer.tag == derSequence && len(issuer.raw) <= maxElement {
		c.issuer, c.issuerName, c.folded = bytes.Clone(issuer.raw), shownText(nameText(issuer.raw)), foldedName(issuer.raw)
		_, c.wholeName = readName(issuer.raw)
	} else {
		s.fail(errCRLForm)
	}
	if !known {
		s.fail(errors.New("it is signed with an algorithm that is unknown or not safe"))
	}
}

// parseSigned reads a TBSCertList after its issuer.
func (c *crl) parseSigned(s *crlStream, end int64) {
	this, _ := s.optional(end, derUTCTime, derGeneralizedTime)
	if c.thisUpdate = c.readTime(this); c.thisUpdate.IsZero() {
		c.thisUpdate = endOfTime
		c.flaws.add("its date cannot be read")
	}
	next, _ := s.optional(end, derUTCTime, derGeneralizedTime)
	if c.nextUpdate = c.readTime(next); c.nextUpdate.IsZero() {
		c.flaws.add("it does not say when the next one is due")
	}
	if s.isNext(end, derSequence) {
		for entriesEnd := s.open(end); s.more(entriesEnd); {
			if c.entries.add(c.parseEntry(s.next(entriesEnd))); c.entries.stored > maxEntries {
				s.fail(fmt.Errorf("the revocation list has more than %d entries", maxEntries))
			}
		}
	}
	if extensions, found := s.optional(end, derContext0); found {
		c.parseExtensions(extensions.body)
	}
	for s.more(end) {
		c.flaws.add("it has fields that are not known here")
		s.next(end)
	}
}

// readTime returns a Time of the list, zero if it cannot be read. ASN.1 has forms without
// seconds, with a fraction or with another zone than UTC: RFC 5280, sections 5.1.2.4 to
// 5.1.2.6, does not allow them.
func (c *crl) readTime(e derElement) time.Time {
	var text string
	switch {
	case len(e.body) > 40 || len(e.body) < 10:
		return time.Time{}
	case e.tag == derUTCTime && e.body[0] >= '5':
		text = "19" + string(e.body)
	case e.tag == derUTCTime:
		text = "20" + string(e.body)
	case e.tag == derGeneralizedTime:
		text = string(e.body)
	}
	for _, layout := range []string{"20060102150405Z0700", "200601021504Z0700"} {
		if t, err := time.Parse(layout, text); err == nil {
			if len(text) != len("20060102150405Z") || !strings.HasSuffix(text, "Z") {
				c.oddities.add("it writes a time in an unusual form")
			}
			return t.UTC()
		}
	}
	return time.Time{}
}

// withoutZeros returns an INTEGER that is not negative in its shortest form: 0 is one byte.
func withoutZeros(integer []byte) []byte {
	for len(integer) > 1 && integer[0] == 0 {
		integer = integer[1:]
	}
	return integer
}

// compareNumbers orders CRL numbers, a missing one first.
func compareNumbers(a, b []byte) int {
	return cmp.Or(len(a)-len(b), bytes.Compare(a, b))
}
