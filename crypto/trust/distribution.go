package trust

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"slices"
	"strings"
)

// The extensions of certificates that are read here (RFC 5280, section 4.2.1).
var (
	oidKeyUsage           = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidAlternativeNames   = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidNameConstraints    = asn1.ObjectIdentifier{2, 5, 29, 30}
	oidAnyPolicy          = asn1.ObjectIdentifier{2, 5, 29, 32, 0}
	oidPolicyConstraints  = asn1.ObjectIdentifier{2, 5, 29, 36}
	oidDistributionPoints = asn1.ObjectIdentifier{2, 5, 29, 31}
	oidFreshestCRL        = asn1.ObjectIdentifier{2, 5, 29, 46}
	oidEmailAddress       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1} // of a Name: PKCS #9
)

// reasonMask is a set of revocation reasons: ReasonFlags, its bit 0 the most significant
// one (RFC 5280, section 4.2.1.13).
type reasonMask uint16

// allReasons is every reason. The bit "unused" is not one.
const allReasons reasonMask = 0x7f80

// reasonsOf reads ReasonFlags. Without any, all reasons are meant.
func reasonsOf(flags asn1.BitString) reasonMask {
	if flags.Bytes == nil {
		return allReasons
	}
	var mask reasonMask
	for i := range 9 {
		mask |= reasonMask(flags.At(i)) << (15 - i)
	}
	return mask & allReasons
}

// pointName is a DistributionPointName: GeneralNames, or a name relative to the issuer of the
// list, which is not supported.
type pointName struct {
	Full     []asn1.RawValue `asn1:"optional,tag:0"`
	Relative asn1.RawValue   `asn1:"optional,tag:1"`
}

// issuingPoint is an IssuingDistributionPoint, the scope of a list (RFC 5280, section
// 5.2.5).
type issuingPoint struct {
	Name      pointName      `asn1:"optional,tag:0"`
	UserCerts bool           `asn1:"optional,tag:1"`
	CACerts   bool           `asn1:"optional,tag:2"`
	Reasons   asn1.BitString `asn1:"optional,tag:3"`
	Indirect  bool           `asn1:"optional,tag:4"`
	AttrCerts bool           `asn1:"optional,tag:5"`
}

// distributionPoint is the place of a list about a certificate (RFC 5280, section
// 4.2.1.13).
type distributionPoint struct {
	Name    pointName       `asn1:"optional,tag:0"`
	Reasons asn1.BitString  `asn1:"optional,tag:1"`
	Issuer  []asn1.RawValue `asn1:"optional,tag:2"` // another authority's list
}

// parseDER reads a value in DER. encoding/asn1 passes over fields at the end of a structure that
// it does not know, and over those out of order: neither may change the meaning of the others.
func parseDER[T any](value []byte) (parsed T, err error) {
	if _, err = asn1.Unmarshal(value, &parsed); err != nil {
		return parsed, err
	}
	again, err := asn1.Marshal(parsed)
	if err == nil && !bytes.Equal(again, value) {
		err = errors.New("it is not in DER")
	}
	return parsed, err
}

// extension returns the value of an extension. No parsed certificate has one twice.
func extension(cert *x509.Certificate, oid asn1.ObjectIdentifier) (value []byte, found bool) {
	for _, e := range cert.Extensions {
		if e.Id.Equal(oid) {
			return e.Value, true
		}
	}
	return nil, false
}

// hasExtension reports whether a certificate has one of these extensions.
func hasExtension(cert *x509.Certificate, oids ...asn1.ObjectIdentifier) bool {
	return slices.ContainsFunc(oids, func(oid asn1.ObjectIdentifier) bool { _, found := extension(cert, oid); return found })
}

// certPoints returns the points in an extension of a certificate. A malformed extension has
// none.
func certPoints(cert *x509.Certificate, oid asn1.ObjectIdentifier) []distributionPoint {
	value, _ := extension(cert, oid)
	points, err := parseDER[[]distributionPoint](value)
	if err != nil {
		return nil
	}
	return points
}

// httpURLs returns the http addresses among the names of points. Nothing else is fetched: a
// list is signed and needs no TLS, whose certificate would need a list in turn.
func httpURLs(points []distributionPoint) (urls []string) {
	for _, p := range points {
		for _, name := range p.Name.Full {
			uri := string(name.Bytes)
			if p.Issuer == nil && name.Class == asn1.ClassContextSpecific && name.Tag == 6 &&
				len(uri) > 7 && strings.EqualFold(uri[:7], "http://") {
				urls = append(urls, uri)
			}
		}
	}
	return urls
}

// covers returns the reasons for which a list with this point covers the certificate with those
// distribution points, none if the certificate is outside its scope (RFC 5280, section 6.3.3 (b)
// and (d)).
func (p issuingPoint) covers(cert *x509.Certificate, points []distributionPoint) reasonMask {
	isCA := cert.BasicConstraintsValid && cert.IsCA
	if p.AttrCerts || p.UserCerts && isCA || p.CACerts && !isCA {
		return 0
	}
	if p.Name.Full == nil {
		return reasonsOf(p.Reasons)
	}
	var mask reasonMask
	for _, point := range points {
		if point.Issuer == nil && shareName(point.Name.Full, p.Name.Full) {
			mask |= reasonsOf(point.Reasons) & reasonsOf(p.Reasons)
		}
	}
	return mask
}

// shareName reports whether a and b have a name in common.
func shareName(a, b []asn1.RawValue) bool {
	return slices.ContainsFunc(a, func(x asn1.RawValue) bool {
		return slices.ContainsFunc(b, func(y asn1.RawValue) bool {
			return bytes.Equal(x.FullBytes, y.FullBytes) || isDirectory(x) && isDirectory(y) && sameName(x.Bytes, y.Bytes)
		})
	})
}

// isDirectory reports whether a GeneralName has a Name in it.
func isDirectory(name asn1.RawValue) bool {
	return name.Class == asn1.ClassContextSpecific && name.Tag == 4 && name.IsCompound
}
