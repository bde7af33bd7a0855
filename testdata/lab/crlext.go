package lab

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
)

// IDP is an issuing distribution point (RFC 5280, section 5.2.5): the part of a
// CA's certificates covered by a list.
type IDP struct {
	URLs                       []string
	OnlyUser, OnlyCA, OnlyAttr bool
	Reasons                    []int // reason flags; nil is all
	Indirect                   bool
}

// Point is one entry of CRLDistributionPoints (RFC 5280, section 4.2.1.13).
// Issuer is set if another CA than the certificate's issuer signs the list.
type Point struct {
	URLs    []string
	Reasons []int
	Issuer  pkix.RDNSequence
}

// Forms without an encoder in the standard library.
type (
	distributionPointName struct {
		FullName []asn1.RawValue `asn1:"optional,tag:0"`
	}
	idpValue struct {
		Name     distributionPointName `asn1:"optional,tag:0"`
		OnlyUser bool                  `asn1:"optional,tag:1"`
		OnlyCA   bool                  `asn1:"optional,tag:2"`
		Reasons  asn1.BitString        `asn1:"optional,tag:3"`
		Indirect bool                  `asn1:"optional,tag:4"`
		OnlyAttr bool                  `asn1:"optional,tag:5"`
	}
	pointValue struct {
		Name    distributionPointName `asn1:"optional,tag:0"`
		Reasons asn1.BitString        `asn1:"optional,tag:1"`
		Issuer  []asn1.RawValue       `asn1:"optional,tag:2"`
	}
)

// DeltaIndicator marks a list as a delta to the base of this number (RFC 5280,
// section 5.2.4). It is critical.
func DeltaIndicator(base int64) pkix.Extension {
	return Extension(asn1.ObjectIdentifier{2, 5, 29, 27}, true, base)
}

// Extension returns the issuing distribution point as a critical extension.
func (d IDP) Extension() pkix.Extension {
	return Extension(asn1.ObjectIdentifier{2, 5, 29, 28}, true, idpValue{Name: fullName(d.URLs),
		OnlyUser: d.OnlyUser, OnlyCA: d.OnlyCA, Reasons: reasonFlags(d.Reasons), Indirect: d.Indirect, OnlyAttr: d.OnlyAttr})
}

// CDP is a CRLDistributionPoints extension with more than URLs. In a certificate
// it goes to ExtraExtensions, with the template's CRLDistributionPoints nil.
func CDP(points ...Point) pkix.Extension {
	return Extension(asn1.ObjectIdentifier{2, 5, 29, 31}, false, pointValues(points))
}

// FreshestCRL names the places of the delta (RFC 5280, sections 4.2.1.15 and
// 5.2.6), in a certificate or a base list.
func FreshestCRL(urls ...string) pkix.Extension {
	return Extension(asn1.ObjectIdentifier{2, 5, 29, 46}, false, pointValues([]Point{{URLs: urls}}))
}

// CertificateIssuer is for an entry of an indirect list: this entry and those
// after it are about certificates of that issuer (RFC 5280, section 5.3.3). It
// is critical.
func CertificateIssuer(dn pkix.RDNSequence) pkix.Extension {
	return Extension(asn1.ObjectIdentifier{2, 5, 29, 29}, true, []asn1.RawValue{directoryName(dn)})
}

// Extension encodes any value as an extension, for example an unknown critical
// one. It panics if the value has no encoding, which is a mistake in a test.
func Extension(id asn1.ObjectIdentifier, critical bool, value any) pkix.Extension {
	return pkix.Extension{Id: id, Critical: critical, Value: mustMarshal(value)}
}

func pointValues(points []Point) []pointValue {
	var list []pointValue
	for _, p := range points {
		v := pointValue{Name: fullName(p.URLs), Reasons: reasonFlags(p.Reasons)}
		if p.Issuer != nil {
			v.Issuer = []asn1.RawValue{directoryName(p.Issuer)}
		}
		list = append(list, v)
	}
	return list
}

// fullName is the choice fullName of a DistributionPointName.
func fullName(urls []string) distributionPointName {
	var n distributionPointName
	for _, u := range urls {
		n.FullName = append(n.FullName, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(u)})
	}
	return n
}

// directoryName is a GeneralName [4]. It is explicit because Name is a CHOICE.
func directoryName(dn pkix.RDNSequence) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: mustMarshal(dn)}
}

// reasonFlags sets the bit of each reason. DER has no trailing zero bits in a
// named bit list.
func reasonFlags(reasons []int) asn1.BitString {
	var b asn1.BitString
	for _, r := range reasons {
		if b.BitLength <= r {
			b.BitLength = r + 1
		}
		for len(b.Bytes) <= r/8 {
			b.Bytes = append(b.Bytes, 0)
		}
		b.Bytes[r/8] |= 0x80 >> (r % 8)
	}
	return b
}

func mustMarshal(v any) []byte {
	der, err := asn1.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("lab: %T: %v", v, err))
	}
	return der
}
