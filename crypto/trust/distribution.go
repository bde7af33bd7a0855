package trust

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"strings"
)

// The extensions of certificates that are read here (RFC 5280, section 4.2.1), and the
// errors of those about revocation.
var (
	oidKeyUsage            = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidAlternativeNames    = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidNameConstraints     = asn1.ObjectIdentifier{2, 5, 29, 30}
	oidAnyPolicy           = asn1.ObjectIdentifier{2, 5, 29, 32, 0}
	oidPolicyConstraints   = asn1.ObjectIdentifier{2, 5, 29, 36}
	oidDistributionPoints  = asn1.ObjectIdentifier{2, 5, 29, 31}
	oidFreshestCRL         = asn1.ObjectIdentifier{2, 5, 29, 46}
	oidEmailAddress        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1} // of a Name: PKCS #9
	errDistributionPoints  = errors.New("distribution points are malformed")
	errIssuingDistribution = errors.New("issuing distribution point is malformed")
)

// reasonMask is a set of revocation reasons: ReasonFlags, its bit 0 the most significant
// one (RFC 5280, section 4.2.1.13).
type reasonMask uint16

// allReasons is every reason. The bit "unused" is not one.
const allReasons reasonMask = 0x7f80

// parseReasons reads the body of a BIT STRING of ReasonFlags.
func parseReasons(body []byte) (reasonMask, bool) {
	if len(body) < 2 || len(body) > 3 || body[0] > 7 {
		return 0, false
	}
	mask := reasonMask(body[1]) << 8
	if len(body) == 3 {
		mask |= reasonMask(body[2])
	}
	return mask & allReasons, true
}

// issuingPoint is an IssuingDistributionPoint, the scope of a list (RFC 5280, section
// 5.2.5).
type issuingPoint struct {
	names     [][]byte // the GeneralNames of fullName, in DER
	relative  bool     // named relative to the issuer, which is not supported
	userCerts bool
	caCerts   bool
	attrCerts bool
	indirect  bool
	reasons   reasonMask // allReasons unless limited
}

// parseIssuingPoint reads the extension's value.
func parseIssuingPoint(value []byte) (p issuingPoint, err error) {
	rest, ok := derOnly(value, derSequence)
	if !ok {
		return p, errIssuingDistribution
	}
	p.reasons = allReasons
	last := -1
	for len(rest) > 0 {
		var e derElement
		if e, rest, ok = derNext(rest); !ok {
			return p, errIssuingDistribution
		}
		field := int(e.tag & 0x1f)
		if e.tag&0xc0 != 0x80 || (e.tag&0x20 != 0) != (field == 0) || field <= last {
			return p, errIssuingDistribution
		}
		last = field
		switch field {
		case 0:
			if p.names, p.relative, ok = parsePointName(e.body); !ok {
				return p, errIssuingDistribution
			}
		case 3:
			if p.reasons, ok = parseReasons(e.body); !ok {
				return p, errIssuingDistribution
			}
		case 1, 2, 4, 5:
			if len(e.body) != 1 || e.body[0] != 0 && e.body[0] != 0xff {
				return p, errIssuingDistribution
			}
			*[]*bool{1: &p.userCerts, 2: &p.caCerts, 4: &p.indirect, 5: &p.attrCerts}[field] = e.body[0] != 0
		default:
			return p, errIssuingDistribution
		}
	}
	return p, nil
}

// parsePointName reads a DistributionPointName: full names, or one relative to the issuer
// of the list.
func parsePointName(body []byte) (names [][]byte, relative, ok bool) {
	choice, rest, ok := derNext(body)
	if !ok || len(rest) != 0 {
		return nil, false, false
	}
	switch choice.tag {
	case derContext(0, true):
		names, ok = splitNames(choice.body)
		return names, false, ok && len(names) > 0
	case derContext(1, true):
		return nil, true, true
	}
	return nil, false, false
}

// splitNames splits GeneralNames.
func splitNames(body []byte) (names [][]byte, ok bool) {
	for len(body) > 0 {
		var e derElement
		if e, body, ok = derNext(body); !ok || e.tag&0xc0 != 0x80 {
			return nil, false
		}
		names = append(names, e.raw)
	}
	return names, true
}

// distributionPoint is the place of a list about a certificate (RFC 5280, section
// 4.2.1.13).
type distributionPoint struct {
	names    [][]byte   // GeneralNames in DER
	reasons  reasonMask // allReasons unless limited
	indirect bool       // the list is another authority's
}

// parsePoints reads the value of CRLDistributionPoints or FreshestCRL.
func parsePoints(value []byte) (points []distributionPoint, err error) {
	rest, ok := derOnly(value, derSequence)
	if !ok {
		return nil, errDistributionPoints
	}
	for len(rest) > 0 {
		var e derElement
		if e, rest, ok = derExpect(rest, derSequence); !ok {
			return nil, errDistributionPoints
		}
		p := distributionPoint{reasons: allReasons}
		name, fields, found, ok := derOptional(e.body, derContext(0, true))
		if found && ok {
			p.names, _, ok = parsePointName(name.body)
		}
		if !ok {
			return nil, errDistributionPoints
		}
		reasons, fields, found, ok := derOptional(fields, derContext(1, false))
		if found && ok {
			p.reasons, ok = parseReasons(reasons.body)
		}
		if !ok {
			return nil, errDistributionPoints
		}
		_, fields, p.indirect, ok = derOptional(fields, derContext(2, true))
		if !ok || len(fields) != 0 {
			return nil, errDistributionPoints
		}
		points = append(points, p)
	}
	return points, nil
}

// certPoints returns the points in an extension of a certificate. A malformed extension has
// none.
func certPoints(cert *x509.Certificate, oid asn1.ObjectIdentifier) []distributionPoint {
	for _, ext := range cert.Extensions {
		if ext.Id.Equal(oid) {
			points, err := parsePoints(ext.Value)
			if err != nil {
				return nil
			}
			return points
		}
	}
	return nil
}

// httpURLs returns the http addresses among the names of points. Nothing else is fetched: a
// list is signed and needs no TLS, whose certificate would need a list in turn.
func httpURLs(points []distributionPoint) (urls []string) {
	for _, p := range points {
		if p.indirect {
			continue
		}
		for _, name := range p.names {
			uri, _, ok := derNext(name)
			if ok && uri.tag == derContext(6, false) && len(uri.body) > 7 && strings.EqualFold(string(uri.body[:7]), "http://") {
				urls = append(urls, string(uri.body))
			}
		}
	}
	return urls
}

// covers returns the reasons for which a list with this point covers the certificate, none
// if the certificate is outside its scope (RFC 5280, section 6.3.3 (b) and (d)).
func (p issuingPoint) covers(cert *x509.Certificate) reasonMask {
	isCA := cert.BasicConstraintsValid && cert.IsCA
	if p.attrCerts || p.userCerts && isCA || p.caCerts && !isCA {
		return 0
	}
	if len(p.names) == 0 {
		return p.reasons
	}
	var mask reasonMask
	for _, point := range certPoints(cert, oidDistributionPoints) {
		if !point.indirect && shareName(point.names, p.names) {
			mask |= point.reasons & p.reasons
		}
	}
	return mask
}

// shareName reports whether a and b have a name in common.
func shareName(a, b [][]byte) bool {
	for _, x := range a {
		for _, y := range b {
			if bytes.Equal(x, y) {
				return true
			}
			xName, xOK := directoryName(x)
			yName, yOK := directoryName(y)
			if xOK && yOK && sameName(xName, yName) {
				return true
			}
		}
	}
	return false
}

// directoryName returns the Name in a GeneralName, if it has that form.
func directoryName(general []byte) (name []byte, ok bool) {
	return derOnly(general, derContext(4, true))
}
