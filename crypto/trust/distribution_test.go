package trust

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"testing"

	"chatsecure/testdata/corpus"
	"chatsecure/testdata/lab"
)

// uri is a GeneralName in DER.
func uri(s string) []byte { return der(0x86, []byte(s)) }

func TestParseIssuingPoint(t *testing.T) {
	for _, idp := range []lab.IDP{
		{},
		{URLs: []string{"http://a/1.crl"}},
		{URLs: []string{"http://a/1.crl", "ldap://b"}, OnlyUser: true},
		{OnlyCA: true}, {OnlyAttr: true}, {Indirect: true},
		{Reasons: []int{1}}, {Reasons: []int{1, 2, 8}}, {URLs: []string{"x"}, OnlyUser: true, Reasons: []int{6}, Indirect: true},
	} {
		p, err := parseDER[issuingPoint](idp.Extension().Value)
		if err != nil {
			t.Errorf("%+v: %v", idp, err)
			continue
		}
		reasons := allReasons
		if idp.Reasons != nil {
			reasons = 0
			for _, r := range idp.Reasons {
				reasons |= 0x8000 >> r
			}
		}
		var names [][]byte
		for _, url := range idp.URLs {
			names = append(names, uri(url))
		}
		same := func(name asn1.RawValue, der []byte) bool { return bytes.Equal(name.FullBytes, der) }
		if p.UserCerts != idp.OnlyUser || p.CACerts != idp.OnlyCA || p.AttrCerts != idp.OnlyAttr || p.Indirect != idp.Indirect ||
			reasonsOf(p.Reasons) != reasons || p.Name.Relative.FullBytes != nil || !slices.EqualFunc(p.Name.Full, names, same) {
			t.Errorf("%+v is read as %+v", idp, p)
		}
	}
	yes := []byte{0xff}
	cert := &x509.Certificate{Extensions: []pkix.Extension{lab.CDP(lab.Point{URLs: []string{"x"}})}}
	for name, value := range map[string][]byte{
		"nothing":           nil,
		"no sequence":       der(0xa0),
		"trailing":          append(der(derSequence), 0),
		"cut short":         der(derSequence, der(0x81, yes))[:4],
		"boolean of 1":      der(derSequence, der(0x81, []byte{1})),
		"boolean of 2":      der(derSequence, der(0x81, []byte{0xff, 0xff})),
		"empty boolean":     der(derSequence, der(0x81)),
		"constructed":       der(derSequence, der(0xa1, yes)),
		"universal":         der(derSequence, der(derBoolean, yes)),
		"twice":             der(derSequence, der(0x81, yes), der(0x81, yes)),
		"out of order":      der(derSequence, der(0x85, yes), der(0x81, yes)),
		"unknown":           der(derSequence, der(0x86, yes)),
		"no names":          der(derSequence, der(0xa0, der(0xa0))),
		"primitive name":    der(derSequence, der(0x80, uri("x"))),
		"two choices":       der(derSequence, der(0xa0, der(0xa0, uri("x")), der(0xa0, uri("x")))),
		"third choice":      der(derSequence, der(0xa0, der(0xa2, uri("x")))),
		"name is universal": der(derSequence, der(0xa0, der(0xa0, der(derSequence)))),
		"empty reasons":     der(derSequence, der(0x83)),
		"no reason bytes":   der(derSequence, der(0x83, []byte{0})),
		"boolean of 0":      der(derSequence, der(0x81, []byte{0})),
		"unused of 8":       der(derSequence, der(0x83, []byte{8, 1})),
	} {
		// Where it is read, it is a scope in which there is no certificate.
		if p, err := parseDER[issuingPoint](value); err == nil && p.covers(cert, certPoints(cert, oidDistributionPoints)) != 0 {
			t.Errorf("%s is accepted as %+v", name, p)
		}
	}
}

// crlURLs returns the addresses of the lists about a certificate, complete ones and deltas.
func crlURLs(cert *x509.Certificate) (complete, deltas []string) {
	return httpURLs(certPoints(cert, oidDistributionPoints)), httpURLs(certPoints(cert, oidFreshestCRL))
}

func TestCRLURLs(t *testing.T) {
	directory := der(0xa4, der(derSequence))
	value := der(derSequence,
		der(derSequence, der(0xa0, der(0xa0, uri("http://a/1.crl"), uri("ldap://a"), directory, uri("HTTP://b/1.crl"), uri("https://c")))),
		der(derSequence, der(0xa0, der(0xa0, uri("http://a/2.crl"))), der(0x81, []byte{1, 0x60})),
		der(derSequence, der(0xa0, der(0xa0, uri("http://other/1.crl"))), der(0xa2, directory)),
		der(derSequence, der(0xa0, der(0xa1, der(derSequence)))),
		der(derSequence),
	)
	cert := &x509.Certificate{Extensions: []pkix.Extension{
		{Id: oidDistributionPoints, Value: value},
		{Id: oidFreshestCRL, Value: der(derSequence, der(derSequence, der(0xa0, der(0xa0, uri("http://a/d.crl")))))},
	}}
	complete, deltas := crlURLs(cert)
	if want := []string{"http://a/1.crl", "HTTP://b/1.crl", "http://a/2.crl"}; !slices.Equal(complete, want) {
		t.Errorf("complete lists are at %q, want %q", complete, want)
	}
	if want := []string{"http://a/d.crl"}; !slices.Equal(deltas, want) {
		t.Errorf("deltas are at %q, want %q", deltas, want)
	}
	for name, bad := range map[string][]byte{
		"nothing": nil, "trailing": append(bytes.Clone(value), 0), "no points": der(derSequence, der(derInteger, []byte{1})),
		"unknown field": der(derSequence, der(derSequence, der(0xa3))), "reasons": der(derSequence, der(derSequence, der(0x81))),
		"name": der(derSequence, der(derSequence, der(0xa0, uri("x")))),
	} {
		cert.Extensions[0].Value = bad
		if complete, _ := crlURLs(cert); complete != nil {
			t.Errorf("%s: %q", name, complete)
		}
	}
	if complete, deltas := crlURLs(&x509.Certificate{}); complete != nil || deltas != nil {
		t.Errorf("a certificate without points: %q, %q", complete, deltas)
	}
}

// FuzzDistributionPoints: the two extensions may hold anything in a stranger's certificate.
// Addresses that crypto/x509 finds in CRLDistributionPoints are found here too.
func FuzzDistributionPoints(f *testing.F) {
	point := func(parts ...[]byte) []byte { return der(derSequence, parts...) }
	corpus.Add(f, func(value []byte) bool {
		_, err := parseDER[issuingPoint](value)
		_, err2 := parseDER[[]distributionPoint](value)
		return err == nil || err2 == nil
	}, [][]byte{
		lab.IDP{}.Extension().Value,
		lab.IDP{URLs: []string{"http://a", "ldap://b"}, OnlyUser: true, OnlyCA: true, Reasons: []int{1, 8}, Indirect: true, OnlyAttr: true}.Extension().Value,
		lab.CDP(lab.Point{URLs: []string{"http://a/1", "http://b"}}, lab.Point{URLs: []string{"http://c"}, Reasons: []int{1, 2}}).Value,
		lab.CDP(lab.Point{URLs: []string{"http://c"}, Issuer: lab.DN("CN", "Other")}).Value,
		lab.FreshestCRL("http://a/d").Value,
	}, point(point(der(0xa0, der(0xa1, der(derSequence))))), nil)
	f.Fuzz(func(t *testing.T, value []byte) {
		p, err := parseDER[issuingPoint](value)
		if err == nil {
			p.covers(&x509.Certificate{}, nil)
			if reasonsOf(p.Reasons)&^allReasons != 0 {
				t.Errorf("read as %+v", p)
			}
		}
		points, err := parseDER[[]distributionPoint](value)
		if err != nil {
			return
		}
		for _, url := range httpURLs(points) {
			if !bytes.Contains(value, []byte(url)) {
				t.Errorf("%q is not in the extension", url)
			}
		}
	})
}
