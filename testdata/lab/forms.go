package lab

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"
	"strings"
	"time"
)

// ListForm is a form that an authority may give its list.
type ListForm struct {
	Name   string
	Clears bool // it says who is not revoked
	edit   func(*CRL)
	older  bool // an older list with a larger number, which names nobody, is at hand too
}

// Lists makes the lists of an authority in this form. They name those whom it has
// revoked and, as first, a certificate that was never issued.
func (f ListForm) Lists(ca *CA) (lists [][]byte, err error) {
	now := ca.now()
	stranger := x509.RevocationListEntry{SerialNumber: big.NewInt(0x7777), RevocationTime: now.Add(-crlAge), ReasonCode: 1}
	c := CRL{ThisUpdate: now.Add(-crlAge), Entries: append([]x509.RevocationListEntry{stranger}, ca.Entries()...)}
	if f.older {
		old, err := ca.MakeCRL(CRL{Number: big.NewInt(900), ThisUpdate: now.Add(-2 * crlAge), Entries: []x509.RevocationListEntry{}})
		if err != nil {
			return nil, err
		}
		lists = append(lists, old)
	}
	f.edit(&c)
	der, err := ca.MakeCRL(c)
	return append(lists, der), err
}

// The object identifiers of extensions of lists, in DER.
const (
	oidNumber  = "\x55\x1d\x14"
	oidReason  = "\x55\x1d\x15"
	oidInvalid = "\x55\x1d\x18"
	oidKeyID   = "\x55\x1d\x23"
)

// extensionDER is an extension of a list.
func extensionDER(oid string, critical bool, value []byte) *DER {
	e := &DER{Tag: 0x30, Parts: []*DER{{Tag: 6, Body: []byte(oid)}}}
	if critical {
		e.Parts = append(e.Parts, &DER{Tag: 1, Body: []byte{0xff}})
	}
	e.Parts = append(e.Parts, &DER{Tag: 4, Body: value})
	return e
}

// The parts of a list to be signed, as MakeCRL makes it.
func version(tbs *DER) *DER    { return tbs.Parts[0] }
func issuer(tbs *DER) *DER     { return tbs.Parts[2] }
func thisUpdate(tbs *DER) *DER { return tbs.Parts[3] }
func nextUpdate(tbs *DER) *DER { return tbs.Parts[4] }
func entries(tbs *DER) []*DER  { return tbs.Parts[5].Parts }
func extensions(tbs *DER) *DER { return tbs.Parts[6].Parts[0] }

// setExtension replaces the value of an extension of the list, or adds it.
func setExtension(oid string, value []byte) func(*CRL) {
	return damage(func(tbs *DER) {
		list := extensions(tbs)
		list.Parts = slices.DeleteFunc(list.Parts, func(e *DER) bool { return string(e.Parts[0].Body) == oid })
		if value != nil {
			list.Parts = append(list.Parts, extensionDER(oid, false, value))
		}
	})
}

// entryExtension gives every entry an extension, and others, in place of its reason.
func entryExtension(oid string, critical bool, value []byte, others ...*DER) func(*CRL) {
	return damage(func(tbs *DER) {
		for _, e := range entries(tbs) {
			list := &DER{Tag: 0x30, Parts: append([]*DER{extensionDER(oid, critical, value)}, others...)}
			e.Parts = append(e.Parts[:2], list)
		}
	})
}

func damage(f func(tbs *DER)) func(*CRL) { return func(c *CRL) { c.Damage = f } }

func extend(e pkix.Extension) func(*CRL) {
	return func(c *CRL) { c.Extensions = append(c.Extensions, e) }
}

func remove(tbs *DER, part *DER) {
	tbs.Parts = slices.DeleteFunc(tbs.Parts, func(d *DER) bool { return d == part })
}

// rewriteName gives a Name's strings another type, other cases and more spaces.
func rewriteName(name *DER) {
	if name.Tag == 0x13 || name.Tag == 0x0c {
		name.Tag = 0x0c
		name.Body = bytes.ReplaceAll([]byte(strings.ToUpper(string(name.Body))), []byte(" "), []byte("  "))
	}
	for _, part := range name.Parts {
		rewriteName(part)
	}
}

// ListForms are the forms by which an authority's lists were once passed over, and
// others of their kind.
var ListForms = []ListForm{
	{Name: "plain", Clears: true, edit: func(*CRL) {}},
	{Name: "version 1", Clears: true, edit: damage(func(tbs *DER) { tbs.Parts = tbs.Parts[1:6] })},
	{Name: "version 1 with extensions", Clears: true, edit: damage(func(tbs *DER) { tbs.Parts = tbs.Parts[1:] })},
	{Name: "number of 25 octets", Clears: true, edit: setExtension(oidNumber, append([]byte{2, 25}, bytes.Repeat([]byte{1}, 25)...))},
	{Name: "negative number", Clears: true, edit: setExtension(oidNumber, []byte{2, 1, 0x80})},
	{Name: "number in a string", Clears: true, edit: setExtension(oidNumber, []byte{4, 1, 5})},
	{Name: "no number", Clears: true, edit: setExtension(oidNumber, nil)},
	{Name: "smaller number", Clears: true, older: true, edit: func(c *CRL) { c.Number = big.NewInt(1) }},
	{Name: "number lost", Clears: true, older: true, edit: setExtension(oidNumber, nil)},
	{Name: "reason 7", Clears: true, edit: entryExtension(oidReason, false, []byte{10, 1, 7})},
	{Name: "reason 11", Clears: true, edit: entryExtension(oidReason, false, []byte{10, 1, 11})},
	{Name: "reason in a string", Clears: true, edit: entryExtension(oidReason, false, []byte{4, 1, 1})},
	{Name: "reason twice", Clears: true, edit: entryExtension(oidReason, false, []byte{10, 1, 1}, extensionDER(oidReason, false, []byte{10, 1, 8}))},
	{Name: "malformed invalidityDate", Clears: true, edit: entryExtension(oidInvalid, false, []byte{5, 0})},
	{Name: "entries with more", Clears: true, edit: damage(func(tbs *DER) {
		for _, e := range entries(tbs) {
			e.Parts = append(e.Parts[:2], &DER{Tag: 0x30, Parts: []*DER{extensionDER(oidReason, false, []byte{10, 1, 1})}}, &DER{Tag: 5})
		}
	})},
	{Name: "entries without seconds", Clears: true, edit: damage(func(tbs *DER) {
		for _, e := range entries(tbs) {
			e.Parts[1].Body = append(e.Parts[1].Body[:10], 'Z')
		}
	})},
	{Name: "entries without a date", Clears: true, edit: damage(func(tbs *DER) {
		for _, e := range entries(tbs) {
			e.Parts[1].Body = []byte("long ago")
		}
	})},
	{Name: "key identifier malformed", Clears: true, edit: setExtension(oidKeyID, []byte{4, 0})},
	{Name: "key identifier of another key", Clears: true, edit: setExtension(oidKeyID, []byte{0x30, 3, 0x80, 1, 9})},
	{Name: "extension twice", Clears: true, edit: damage(func(tbs *DER) {
		list := extensions(tbs)
		list.Parts = append(list.Parts, list.Parts[0])
	})},
	{Name: "issuer in other strings", Clears: true, edit: damage(func(tbs *DER) { rewriteName(issuer(tbs)) })},
	{Name: "times with an offset", Clears: true, edit: damage(func(tbs *DER) {
		for _, d := range []*DER{thisUpdate(tbs), nextUpdate(tbs)} {
			d.Body = append(d.Body[:len(d.Body)-1], "+0000"...)
		}
	})},
	{Name: "algorithm with NULL inside only", Clears: true, edit: damage(func(tbs *DER) {
		tbs.Parts[1].Parts = append(tbs.Parts[1].Parts[:1], &DER{Tag: 5})
	})},
	{Name: "algorithm with NULL outside only", Clears: true, edit: func(c *CRL) {
		c.Outer = func(algorithm *DER) { algorithm.Parts = append(algorithm.Parts[:1], &DER{Tag: 5}) }
	}},

	{Name: "version 3", edit: damage(func(tbs *DER) { version(tbs).Body = []byte{2} })},
	{Name: "of tomorrow", edit: func(c *CRL) { c.ThisUpdate = c.ThisUpdate.Add(24 * time.Hour) }},
	{Name: "date in words", edit: damage(func(tbs *DER) { thisUpdate(tbs).Body = []byte("today, at noon") })},
	{Name: "no nextUpdate", edit: damage(func(tbs *DER) { remove(tbs, nextUpdate(tbs)) })},
	{Name: "nextUpdate in words", edit: damage(func(tbs *DER) { nextUpdate(tbs).Body = []byte("soon") })},
	{Name: "more fields", edit: damage(func(tbs *DER) { tbs.Parts = append(tbs.Parts, &DER{Tag: 0xa1}) })},
	{Name: "unknown critical extension", edit: extend(pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}})},
	{Name: "unknown critical extension of entries", edit: entryExtension("\x2a\x03\x04", true, []byte{5, 0})},
	{Name: "malformed extension of entries", edit: damage(func(tbs *DER) {
		for _, e := range entries(tbs) {
			e.Parts = append(e.Parts[:2], &DER{Tag: 0x30, Parts: []*DER{{Tag: 5}}})
		}
	})},
	{Name: "long entries", edit: entryExtension(oidInvalid, false, make([]byte, 40<<10))},
	{Name: "long extensions", edit: setExtension(oidInvalid, make([]byte, 40<<10))},
	{Name: "an entry without a number", edit: damage(func(tbs *DER) { entries(tbs)[0].Parts[0].Body = nil })},
	{Name: "indirect", edit: extend(IDP{Indirect: true}.Extension())},
	{Name: "malformed scope", edit: extend(pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 3, 0x81, 1, 1}})},
	{Name: "relative place", edit: extend(pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 6, 0xa0, 4, 0xa1, 2, 0x31, 0}})},
	{Name: "another partition", edit: extend(IDP{URLs: []string{"http://127.0.0.1:1/other.crl"}}.Extension())},
	{Name: "about authorities", edit: extend(IDP{OnlyCA: true}.Extension())},
	{Name: "delta alone", edit: extend(DeltaIndicator(1))},
	{Name: "delta of nothing", edit: extend(pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Critical: true, Value: []byte{5, 0}})},
}
