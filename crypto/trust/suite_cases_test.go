package trust_test

import (
	"bytes"
	"crypto"
	"slices"
	"time"

	"chatsecure/proto"
)

const (
	untrustedCode = proto.CertificateUntrusted
	revokedCode   = proto.CertificateRevoked
	unknownCode   = proto.RevocationUnknown
)

// Reasons that several cases share.
const (
	anchorToo     = "an anchor is checked as the authorities below it are, as OpenSSL does; section 6.1 takes only its name and key"
	personOnly    = "the certificate must be a person's, with a name and for signatures"
	noOthersLists = "lists of other authorities (indirect ones) are not supported, so the status is unknown"
	noRelative    = "places relative to an authority are not supported, so the status is unknown"
	noParse       = "crypto/x509 does not parse a certificate with such a place"
	noDirectory   = "constraints on directory names are not supported, so what has them is refused"
	onlyDelta     = "only a delta may remove an entry (section 5.3.1), so this one revokes"
	ownAuthority  = "an authority that signs its own lists must not be named there (section 4.2.1.13)"
	laxTimes      = "crypto/x509 reads the time, which is exact, though it must be in UTC and with seconds"
	strictTimes   = "it reads times in UTC with seconds only"
	opensslSkips  = "OpenSSL refuses the list for its form and does not look whom it names"
)

// Lists that have nobody on them, for the authorities above the one that a case is about.
func (s *pkiCase) clean(all ...*holding) {
	for _, h := range all {
		s.list(h)
	}
}

// person makes a root's authority and a person below it.
func (s *pkiCase) person(edits ...edit) (ca, ee *holding) {
	ca = s.ca(s.root, "CA", edits...)
	return ca, s.ee(ca)
}

// chainOf makes authorities one below the other, with these edits each, and a person.
func (s *pkiCase) chainOf(each ...[]edit) {
	by := s.root
	for i, edits := range each[:len(each)-1] {
		by = s.ca(by, "CA "+string(rune('A'+i)), edits...)
	}
	s.ee(by, each[len(each)-1]...)
}

func edits(e ...edit) []edit { return e }

// chained is a case with such a chain.
func chained(each ...[]edit) func(*pkiCase) { return func(s *pkiCase) { s.chainOf(each...) } }

var suiteCases = slices.Concat(
	suiteSignatures, suiteValidity, suiteNames, withLists(suiteRevocation), suiteSelfIssued, suiteBasic, suiteUsage,
	suitePolicies, suiteConstraints, withLists(suitePlaces), withLists(suiteDeltas), suiteExtensions)

// 4.1 Signature verification.
var suiteSignatures = []suiteCase{
	{name: "4.1 valid signatures", rfc: true, make: chained(nil, nil)},
	{name: "4.1 spoilt signature of an authority", ours: untrustedCode, make: chained(edits(spoilt), nil)},
	{name: "4.1 spoilt signature of the person's", ours: untrustedCode, make: chained(nil, edits(spoilt))},
	{name: "4.1 two algorithms", ours: proto.BundleMalformed, make: chained(nil, edits(raw(func(d *draft) { d.outer = ecdsaSHA1 })))},
	{name: "4.1 SHA-1", rfc: true, ours: untrustedCode, why: "SHA-1 is not safe", openssl: "without a security level it takes SHA-1",
		make: chained(nil, edits(raw(func(d *draft) { d.hash, d.algorithm, d.outer = crypto.SHA1, ecdsaSHA1, ecdsaSHA1 })))},
}

// 4.2 Validity periods.
var suiteValidity = []suiteCase{
	{name: "4.2 authority not yet valid", ours: proto.CertificateNotYet, make: chained(edits(from(suiteNow.AddDate(0, 0, 1))), nil)},
	{name: "4.2 person not yet valid", ours: proto.CertificateNotYet, make: chained(nil, edits(from(suiteNow.AddDate(0, 0, 1))))},
	{name: "4.2 from 1950 on", rfc: true, make: chained(nil, edits(raw(func(d *draft) { d.from = der(derUTCTime, []byte("500101120100Z")) })))},
	{name: "4.2 from a GeneralizedTime before 2050", rfc: true,
		make: chained(nil, edits(raw(func(d *draft) { d.from = der(derGeneralizedTime, []byte("20020101120100Z")) })))},
	{name: "4.2 authority ended", ours: proto.CertificateExpired, make: chained(edits(till(suiteNow.AddDate(0, 0, -1))), nil)},
	{name: "4.2 person ended", ours: proto.CertificateExpired, make: chained(nil, edits(till(suiteNow.AddDate(0, 0, -1))))},
	{name: "4.2 ended in 1999", ours: proto.CertificateExpired, make: chained(nil, edits(
		raw(func(d *draft) {
			d.from, d.till = der(derUTCTime, []byte("980101120100Z")), der(derUTCTime, []byte("990101120100Z"))
		})))},
	{name: "4.2 ends before it begins", ours: proto.CertificateNotYet, make: chained(nil, edits(from(suiteNow.AddDate(0, 1, 0)), till(suiteNow.AddDate(0, -1, 0))))},
	{name: "4.2 no seconds", why: laxTimes, openssl: strictTimes,
		make: chained(nil, edits(raw(func(d *draft) { d.till = der(derUTCTime, []byte("2712311200Z")) })))},
	{name: "4.2 another zone", why: laxTimes, openssl: strictTimes,
		make: chained(nil, edits(raw(func(d *draft) { d.till = der(derUTCTime, []byte("271231120000+0100")) })))},
	{name: "4.2 until 2050", rfc: true, make: chained(nil, edits(till(time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC))))},
	{name: "4.2 until the year 9999", rfc: true, make: chained(nil, edits(till(time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC))))},
	{name: "4.2 ended four minutes ago", why: "clocks may differ by five minutes", openssl: "it has no tolerance",
		make: chained(nil, edits(till(suiteNow.Add(-4*time.Minute))))},
	{name: "4.2 begins in four minutes", why: "clocks may differ by five minutes", openssl: "it has no tolerance",
		make: chained(nil, edits(from(suiteNow.Add(4*time.Minute))))},
	{name: "4.2 ended six minutes ago", ours: proto.CertificateExpired, make: chained(nil, edits(till(suiteNow.Add(-6*time.Minute))))},
	{name: "4.2 root ended", rfc: true, ours: proto.CertificateExpired, why: anchorToo, root: edits(till(suiteNow.AddDate(0, 0, -1))), make: chained(nil, nil)},
}

// issuedAs is a case of a person whose issuer's name is written otherwise.
func issuedAs(authority, written []byte) func(*pkiCase) {
	return func(s *pkiCase) { s.ee(s.caNamed(s.root, authority), issuer(written)) }
}

// 4.3 Name chaining.
var suiteNames = []suiteCase{
	{name: "4.3 another issuer", ours: untrustedCode, make: issuedAs(dn("CA"), dn("Other"))},
	{name: "4.3 attributes in another order", ours: untrustedCode,
		make: issuedAs(dn("CA"), der(derSequence, rdn(10, derPrintableString, "Suite"), rdn(6, derPrintableString, "PT"), rdn(3, derPrintableString, "CA")))},
	{name: "4.3 an attribute less", ours: untrustedCode,
		make: issuedAs(dn("CA"), der(derSequence, rdn(6, derPrintableString, "PT"), rdn(3, derPrintableString, "CA")))},
	{name: "4.3 spaces inside", rfc: true, make: issuedAs(dn("My good CA"), dn("My   good  CA"))},
	{name: "4.3 spaces around", rfc: true, make: issuedAs(dn("My good CA"), dn("  My good CA "))},
	{name: "4.3 no space inside", ours: untrustedCode, make: issuedAs(dn("My good CA"), dn("My goodCA"))},
	{name: "4.3 capitals", rfc: true, make: issuedAs(dn("My good CA"), dn("mY GOOD ca"))},
	{name: "4.3 PrintableString and UTF8String", rfc: true, make: issuedAs(dn("CA"), dnOf(derUTF8String, "CA"))},
	{name: "4.3 UTF8String and BMPString", rfc: true, make: issuedAs(dnOf(derUTF8String, "CA"), der(derSequence, rdn(6, derPrintableString, "PT"),
		rdn(10, derBMPString, "\x00S\x00u\x00i\x00t\x00e"), rdn(3, derBMPString, "\x00C\x00A")))},
	{name: "4.3 UTF8String in capitals", rfc: true, make: issuedAs(dnOf(derUTF8String, "Cartão de Cidadão"), dnOf(derUTF8String, "CARTÃO DE CIDADÃO")),
		openssl: "it folds the case of ASCII only"},
	{name: "4.3 UTF8String composed and decomposed", rfc: true, ours: untrustedCode, make: issuedAs(dnOf(derUTF8String, "Cartão"), dnOf(derUTF8String, "Carta\u0303o")),
		why: "Unicode is not normalized: the standard library has no tables for it"},
	{name: "4.3 TeletexString in Latin-1", rfc: true, make: issuedAs(dnOf(derUTF8String, "Cidadão"), dnOf(derTeletexString, "Cidad\xe3o"))},
	{name: "4.3 key identifier of another key", rfc: true, make: chained(nil, edits(ext(35, false, der(derSequence, implicit(0, []byte("another")))))),
		openssl: "it takes only the issuer that the key identifier names; section 6.1 leaves it out of the validation"},
	{name: "4.3 two authorities of a name", rfc: true, make: func(s *pkiCase) {
		s.ca(s.root, "CA")
		s.ee(s.ca(s.root, "CA"))
		s.ca(s.root, "CA")
	}},
	{name: "4.3 person without a name", rfc: true, ours: proto.CertificateUnsuitable, why: personOnly, openssl: personOnly, make: func(s *pkiCase) {
		s.eeNamed(s.ca(s.root, "CA"), der(derSequence), ext(17, true, der(derSequence, gnMail("a@example.com"))))
	}},
	{name: "4.3 an RDN of two attributes in another order", rfc: true, make: issuedAs(
		der(derSequence, der(derSet, rdn(10, derPrintableString, "Suite")[2:], rdn(3, derPrintableString, "CA")[2:])),
		der(derSequence, der(derSet, rdn(3, derPrintableString, "CA")[2:], rdn(10, derPrintableString, "Suite")[2:])))},
	{name: "4.3 eleven certificates", rfc: true, ours: untrustedCode, why: "a path has ten certificates at most", openssl: "it allows a hundred",
		make: chained(nil, nil, nil, nil, nil, nil, nil, nil, nil, nil)},
	{name: "4.3 ten certificates", rfc: true, make: chained(nil, nil, nil, nil, nil, nil, nil, nil, nil)},
	{name: "4.3 the chain in another order", rfc: true, make: func(s *pkiCase) { s.chainOf(nil, nil, nil, nil); slices.Reverse(s.chain) }},
}

// unknownEntry is a critical extension of an entry that nobody knows.
var unknownEntry = der(derSequence, der(derOID, []byte("\x2b\x06\x01\x04\x01\x86\x8d\x1f\x63")), der(derBoolean, []byte{0xff}), der(derOctetString, []byte{5, 0}))

// listed is a case of the lists of one authority: ee is the person below it.
func listed(each func(s *pkiCase, ca, ee *holding)) func(*pkiCase) {
	return func(s *pkiCase) {
		ca, ee := s.person()
		s.clean(s.root)
		each(s, ca, ee)
	}
}

// 4.4 Basic revocation.
var suiteRevocation = []suiteCase{
	{name: "4.4 good", rfc: true, make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, revoked(s.root, 1)) })},
	{name: "4.4 no list", ours: unknownCode, make: listed(func(s *pkiCase, ca, ee *holding) {})},
	{name: "4.4 no list of the root", ours: unknownCode, make: func(s *pkiCase) { ca, _ := s.person(); s.clean(ca) }},
	{name: "4.4 authority revoked", ours: revokedCode, make: func(s *pkiCase) { ca, _ := s.person(); s.list(s.root, revoked(ca, 2)); s.clean(ca) }},
	{name: "4.4 person revoked", ours: revokedCode, make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, revoked(ee, 1)) })},
	{name: "4.4 revoked without a reason", ours: revokedCode, make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, revoked(ee, -1)) })},
	{name: "4.4 on hold", ours: revokedCode, make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, revoked(ee, 6)) })},
	{name: "4.4 spoilt signature", ours: unknownCode, make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, spoilt) })},
	{name: "4.4 revoked with a spoilt signature", ours: unknownCode, make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, spoilt, revoked(ee, 1)) })},
	{name: "4.4 list of another name", ours: unknownCode, make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, issuer(dn("Other"))) })},
	{name: "4.4 list of another authority", ours: unknownCode, make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, issuer(s.root.name), signedBy(s.root)) })},
	{name: "4.4 two lists, one of another authority", rfc: true,
		make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, issuer(dn("Other"))); s.list(ca) })},
	{name: "4.4 name in another string type", rfc: true, make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, issuer(dnOf(derUTF8String, "CA"))) })},
	{name: "4.4 revoked under a name in another string type", ours: revokedCode,
		make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, issuer(dnOf(derUTF8String, "ca")), revoked(ee, 1)) })},
	{name: "4.4 unknown critical extension of another's entry", ours: unknownCode,
		make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, revoked(s.root, 1, unknownEntry)) })},
	{name: "4.4 unknown critical extension of the list", ours: unknownCode,
		make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, extOID(policy1, true, []byte{5, 0})) })},
	{name: "4.4 unknown extension of the list, not critical", rfc: true,
		make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, extOID(policy1, false, []byte{5, 0})) })},
	{name: "4.4 revoked, unknown critical extension of the list", ours: revokedCode, openssl: opensslSkips,
		make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, extOID(policy1, true, []byte{5, 0}), revoked(ee, 1)) })},
	{name: "4.4 revoked, unknown critical extension of the entry", ours: revokedCode, openssl: opensslSkips,
		make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, revoked(ee, 1, unknownEntry)) })},
	{name: "4.4 due a week ago", ours: unknownCode, make: listed(func(s *pkiCase, ca, ee *holding) {
		s.list(ca, from(suiteNow.AddDate(0, 0, -20)), till(suiteNow.AddDate(0, 0, -7)))
	})},
	{name: "4.4 revoked, due a week ago", ours: revokedCode, make: listed(func(s *pkiCase, ca, ee *holding) {
		s.list(ca, from(suiteNow.AddDate(0, 0, -20)), till(suiteNow.AddDate(0, 0, -7)), revoked(ee, 1))
	})},
	{name: "4.4 due in 1999", ours: unknownCode, make: listed(func(s *pkiCase, ca, ee *holding) {
		s.list(ca, raw(func(d *draft) {
			d.from, d.till = der(derUTCTime, []byte("980101120100Z")), der(derUTCTime, []byte("990101120100Z"))
		}))
	})},
	{name: "4.4 due in 2050", rfc: true, make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, till(time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC))) })},
	{name: "4.4 of tomorrow", ours: unknownCode, make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, from(suiteNow.AddDate(0, 0, 1))) })},
	{name: "4.4 revoked, of tomorrow", ours: revokedCode, make: listed(func(s *pkiCase, ca, ee *holding) {
		s.list(ca, from(suiteNow.AddDate(0, 0, 1)), revoked(ee, 1))
	})},
	{name: "4.4 due four minutes ago", why: "clocks may differ by five minutes", openssl: "it has no tolerance", make: listed(func(s *pkiCase, ca, ee *holding) {
		s.list(ca, till(suiteNow.Add(-4*time.Minute)))
	})},
	{name: "4.4 without nextUpdate", ours: unknownCode, why: "", openssl: "it takes a list without an end for current",
		make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, raw(func(d *draft) { d.till = nil })) })},
	{name: "4.4 revoked, without nextUpdate", ours: revokedCode,
		make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, raw(func(d *draft) { d.till = nil }), revoked(ee, 1)) })},
	{name: "4.4 revoked in a list of version 1", ours: revokedCode, make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, version1, revoked(ee, -1)) })},
	{name: "4.4 revoked, the number of the list has 25 bytes", ours: revokedCode, make: listed(func(s *pkiCase, ca, ee *holding) {
		s.list(ca, ext(20, false, der(derInteger, bytes.Repeat([]byte{1}, 25))), revoked(ee, 1))
	})},
	{name: "4.4 revoked, the number of the list is negative", ours: revokedCode, make: listed(func(s *pkiCase, ca, ee *holding) {
		s.list(ca, ext(20, false, der(derInteger, []byte{0xff})), revoked(ee, 1))
	})},
	{name: "4.4 revoked, the number of the list is no number", ours: revokedCode, make: listed(func(s *pkiCase, ca, ee *holding) {
		s.list(ca, ext(20, false, der(derOctetString, []byte{1})), revoked(ee, 1))
	})},
	{name: "4.4 revoked, another's entry has the reason 7", ours: revokedCode,
		make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, revoked(s.root, 7), revoked(ee, 1)) })},
	{name: "4.4 revoked for the reason 11", ours: revokedCode, make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, revoked(ee, 11)) })},
	{name: "4.4 removed in a list that is complete", rfc: true, ours: revokedCode, why: onlyDelta, openssl: onlyDelta, make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, revoked(ee, 8)) })},
	{name: "4.4 revoked in a newer list of a smaller number", ours: revokedCode, make: listed(func(s *pkiCase, ca, ee *holding) {
		s.list(ca, numbered(9), from(suiteNow.AddDate(0, 0, -2)))
		s.list(ca, numbered(3), from(suiteNow.AddDate(0, 0, -1)), revoked(ee, 1))
	})},
	{name: "4.4 revoked in one of two lists of one time and number", ours: revokedCode, openssl: "it takes the first of two", make: listed(func(s *pkiCase, ca, ee *holding) {
		s.list(ca)
		s.list(ca, revoked(ee, 1))
		s.list(ca, revoked(s.root, 1))
	})},
	{name: "4.4 revoked in an older list", rfc: true, make: listed(func(s *pkiCase, ca, ee *holding) {
		s.list(ca, numbered(3), from(suiteNow.AddDate(0, 0, -2)), revoked(ee, 6))
		s.list(ca, numbered(4), from(suiteNow.AddDate(0, 0, -1)))
	})},
	{name: "4.4 serial number of 21 bytes", rfc: true, ours: proto.CertificateUnsuitable, why: "a serial number has 20 bytes at most (section 4.1.2.2)",
		openssl: "it takes longer serial numbers", make: listed(func(s *pkiCase, ca, ee *holding) {
			s.ee(ca, serialNumber(bytes.Repeat([]byte{0x7f}, 21)...))
			s.list(ca)
		})},
	{name: "4.4 serial number 0", rfc: true, ours: proto.CertificateUnsuitable, why: "a serial number is positive (section 4.1.2.2)",
		openssl: "it takes the serial number 0", make: listed(func(s *pkiCase, ca, ee *holding) { s.ee(ca, serialNumber(0)); s.list(ca) })},
	{name: "4.4 negative serial number of the person's", ours: proto.BundleMalformed, why: "", openssl: "it takes negative serial numbers",
		make: listed(func(s *pkiCase, ca, ee *holding) { s.ee(ca, serialNumber(0xff)); s.list(ca) })},
	{name: "4.4 negative serial number on the list", rfc: true, make: listed(func(s *pkiCase, ca, ee *holding) {
		s.ee(ca, serialNumber(0x00, 0xff))
		s.list(ca, revoked(&holding{serial: []byte{0xff}}, 1))
	})},
	{name: "4.4 serial number of 20 bytes", rfc: true, make: listed(func(s *pkiCase, ca, ee *holding) {
		s.ee(ca, serialNumber(bytes.Repeat([]byte{0x7f}, 20)...))
		s.list(ca, revoked(&holding{serial: bytes.Repeat([]byte{0x7f}, 19)}, 1))
	})},
	{name: "4.4 serial number of 20 bytes, revoked", ours: revokedCode, make: listed(func(s *pkiCase, ca, ee *holding) {
		s.list(ca, revoked(s.ee(ca, serialNumber(bytes.Repeat([]byte{0x7f}, 20)...)), 1))
	})},
	{name: "4.4 the authority may not sign lists", ours: unknownCode, make: func(s *pkiCase) {
		ca, _ := s.person(usage(5))
		s.clean(s.root, ca)
	}},
	{name: "4.4 keys for certificates and lists", rfc: true, ours: unknownCode,
		why: "a list by another key revokes, and clears nobody", openssl: "another key of the authority clears there", make: func(s *pkiCase) {
			ca, _ := s.person(usage(5))
			s.clean(s.root, s.caNamed(s.root, ca.name, usage(6)))
		}},
	{name: "4.4 keys for certificates and lists, revoked", ours: revokedCode, make: func(s *pkiCase) {
		ca, ee := s.person(usage(5))
		s.clean(s.root)
		s.list(s.caNamed(s.root, ca.name, usage(6)), revoked(ee, 1))
	}},
	{name: "4.4 key for lists of another anchor", ours: unknownCode, make: func(s *pkiCase) {
		ca, _ := s.person(usage(5))
		other := s.newRoot("Other root")
		s.clean(s.root, other, s.caNamed(other, ca.name, usage(6)))
	}},
	{name: "4.4 key for lists revoked", ours: unknownCode, openssl: "it says revoked of the key for lists", make: func(s *pkiCase) {
		ca, _ := s.person(usage(5))
		signer := s.caNamed(s.root, ca.name, usage(6))
		s.list(s.root, revoked(signer, 1))
		s.clean(signer)
	}},
}

// 4.5 Self-issued certificates: an authority changes its key.
var suiteSelfIssued = []suiteCase{
	{name: "4.5 old key signed by the new", rfc: true, make: func(s *pkiCase) {
		now := s.ca(s.root, "CA")
		s.ee(s.caNamed(now, now.name))
	}},
	{name: "4.5 old key signed by the new, person revoked by the new", ours: revokedCode, lists: true, make: func(s *pkiCase) {
		now := s.ca(s.root, "CA")
		old := s.caNamed(now, now.name)
		ee := s.ee(old)
		s.clean(s.root)
		s.list(now, revoked(ee, 1))
	}},
	{name: "4.5 new key signed by the old", rfc: true, make: func(s *pkiCase) {
		old := s.ca(s.root, "CA")
		s.ee(s.caNamed(old, old.name))
	}},
	{name: "4.5 new key signed by the old, cleared by both", rfc: true, lists: true, make: func(s *pkiCase) {
		old := s.ca(s.root, "CA")
		now := s.caNamed(old, old.name)
		s.ee(now)
		s.clean(s.root, old, now)
	}},
	{name: "4.5 new key signed by the old, cleared by itself only", ours: unknownCode, lists: true, make: func(s *pkiCase) {
		old := s.ca(s.root, "CA")
		now := s.caNamed(old, old.name)
		s.ee(now)
		s.clean(s.root, now)
	}},
	{name: "4.5 new key signed by the old, and revoked by the old", ours: revokedCode, lists: true, make: func(s *pkiCase) {
		old := s.ca(s.root, "CA")
		now := s.caNamed(old, old.name)
		s.ee(now)
		s.clean(s.root, now)
		s.list(old, revoked(now, 1))
	}},
	{name: "4.5 two steps", rfc: true, make: func(s *pkiCase) {
		first := s.ca(s.root, "CA")
		second := s.caNamed(first, first.name)
		s.ee(s.caNamed(second, first.name))
	}},
	{name: "4.5 new root signed by the old", rfc: true, make: func(s *pkiCase) {
		next := s.caNamed(s.root, s.root.name)
		s.ee(s.ca(next, "CA"))
	}},
}

// 4.6 Basic constraints and path length.
var suiteBasic = []suiteCase{
	{name: "4.6 none", ours: untrustedCode, make: chained(edits(without(19)), nil)},
	{name: "4.6 no authority", ours: untrustedCode, make: chained(edits(basic(false, -1)), nil)},
	{name: "4.6 no authority, not critical", ours: untrustedCode, make: chained(edits(ext(19, false, der(derSequence))), nil)},
	{name: "4.6 an authority, not critical", rfc: true, make: chained(edits(ext(19, false, der(derSequence, der(derBoolean, []byte{0xff})))), nil)},
	{name: "4.6 version 1", ours: untrustedCode, make: chained(edits(version1), nil)},
	{name: "4.6 the person as an authority", ours: untrustedCode, make: func(s *pkiCase) {
		ee := s.ee(s.ca(s.root, "CA"))
		s.chain = append(s.chain, ee.der)
		s.eeNamed(ee, dn("Other person"))
	}},
	{name: "4.6 length 0, one below", ours: untrustedCode, make: chained(edits(basic(true, 0)), nil, nil)},
	{name: "4.6 length 0", rfc: true, make: chained(edits(basic(true, 0)), nil)},
	{name: "4.6 length 1, one below", rfc: true, make: chained(edits(basic(true, 1)), nil, nil)},
	{name: "4.6 length 1, two below", ours: untrustedCode, make: chained(edits(basic(true, 1)), nil, nil, nil)},
	{name: "4.6 lengths 6, 4 and 1, two below", ours: untrustedCode,
		make: chained(edits(basic(true, 6)), edits(basic(true, 4)), edits(basic(true, 1)), nil, nil, nil)},
	{name: "4.6 lengths 6, 4 and 1, one below", rfc: true, make: chained(edits(basic(true, 6)), edits(basic(true, 4)), edits(basic(true, 1)), nil, nil)},
	{name: "4.6 negative length", ours: proto.BundleMalformed,
		make: chained(edits(ext(19, true, der(derSequence, der(derBoolean, []byte{0xff}), der(derInteger, []byte{0xff})))), nil)},
	{name: "4.6 length 0, then a longer one", ours: untrustedCode, make: chained(edits(basic(true, 0)), edits(basic(true, 4)), nil)},
	{name: "4.6 length 0 of the root", rfc: true, ours: untrustedCode, why: anchorToo, root: edits(basic(true, 0)), make: chained(nil, nil)},
	{name: "4.6 length 0, one self-issued below", rfc: true, make: func(s *pkiCase) {
		ca := s.ca(s.root, "CA", basic(true, 0))
		s.ee(s.caNamed(ca, ca.name, basic(true, 0)))
	}},
	{name: "4.6 length 0, one self-issued and one other below", ours: untrustedCode, make: func(s *pkiCase) {
		ca := s.ca(s.root, "CA", basic(true, 0))
		s.ee(s.ca(s.caNamed(ca, ca.name, basic(true, 0)), "Other"))
	}},
	{name: "4.6 length 1, self-issued between", rfc: true, make: func(s *pkiCase) {
		ca := s.ca(s.root, "CA", basic(true, 1))
		sub := s.ca(s.caNamed(ca, ca.name, basic(true, 1)), "Sub", basic(true, 0))
		s.ee(s.caNamed(sub, sub.name, basic(true, 0)))
	}},
}

// 4.7 Key usage.
var suiteUsage = []suiteCase{
	{name: "4.7 no keyCertSign", ours: untrustedCode, make: chained(edits(usage(6)), nil)},
	{name: "4.7 no keyCertSign, not critical", ours: untrustedCode, make: chained(edits(ext(15, false, bitString(0, 6))), nil)},
	{name: "4.7 keyCertSign, not critical", rfc: true, make: chained(edits(ext(15, false, bitString(5))), nil)},
	{name: "4.7 without key usage", rfc: true, make: chained(edits(without(15)), edits(without(15)))},
	{name: "4.7 no bit set", ours: untrustedCode, make: chained(edits(usage()), nil)},
	{name: "4.7 no bit set in the root", rfc: true, ours: untrustedCode, why: anchorToo, root: edits(usage()), make: chained(nil, nil)},
	{name: "4.7 no keyCertSign in the root", rfc: true, ours: untrustedCode, why: anchorToo, root: edits(usage(6)), make: chained(nil, nil)},
	{name: "4.7 person only for encryption", rfc: true, ours: proto.CertificateUnsuitable, why: personOnly, openssl: personOnly,
		make: chained(nil, edits(usage(2)))},
	{name: "4.7 person without any use", rfc: true, ours: proto.CertificateUnsuitable, why: personOnly, make: chained(nil, edits(usage()))},
	{name: "4.7 no cRLSign", ours: unknownCode, lists: true, make: func(s *pkiCase) { ca, _ := s.person(usage(5)); s.clean(s.root, ca) }},
	{name: "4.7 no cRLSign, not critical", ours: unknownCode, lists: true,
		make: func(s *pkiCase) { ca, _ := s.person(ext(15, false, bitString(0, 5))); s.clean(s.root, ca) }},
	{name: "4.7 no cRLSign in the root", ours: unknownCode, lists: true, root: edits(usage(5)), make: func(s *pkiCase) { ca, _ := s.person(); s.clean(s.root, ca) }},
}

// 4.8 to 4.12 Certificate policies. No policy is asked for here, so they matter only where an
// authority requires one.
var suitePolicies = []suiteCase{
	{name: "4.8 one policy", rfc: true, make: chained(edits(hasPolicies(policy1)), edits(hasPolicies(policy1)))},
	{name: "4.8 different policies", rfc: true, make: chained(edits(hasPolicies(policy1)), edits(hasPolicies(policy2)))},
	{name: "4.8 one policy, required", rfc: true, make: chained(edits(hasPolicies(policy1), constrains(0, -1)), edits(hasPolicies(policy1)))},
	{name: "4.8 different policies, required", ours: untrustedCode, make: chained(edits(hasPolicies(policy1), constrains(0, -1)), edits(hasPolicies(policy2)))},
	{name: "4.8 any policy above, required", rfc: true, make: chained(edits(hasPolicies(anyPolicyOID), constrains(0, -1)), edits(hasPolicies(policy2)))},
	{name: "4.8 any policy below, required", rfc: true, make: chained(edits(hasPolicies(policy1), constrains(0, -1)), edits(hasPolicies(anyPolicyOID)))},
	{name: "4.8 several policies, required", rfc: true,
		make: chained(edits(hasPolicies(policy1, policy2), constrains(0, -1)), edits(hasPolicies(policy1)), edits(hasPolicies(policy2, policy1)))},
	{name: "4.8 an authority without, required", ours: untrustedCode,
		make: chained(edits(hasPolicies(policy1), constrains(0, -1)), nil, edits(hasPolicies(policy1)))},
	{name: "4.9 none, required", ours: untrustedCode, make: chained(edits(constrains(0, -1)), nil)},
	{name: "4.9 required after more certificates than there are", rfc: true, make: chained(edits(constrains(10, -1)), nil)},
	{name: "4.9 required after two, and there are two", rfc: true, make: chained(edits(constrains(2, -1)), nil)},
	{name: "4.9 required after two, and there are three", ours: untrustedCode, make: chained(edits(constrains(2, -1)), nil, nil, nil)},
	{name: "4.9 required by the last authority", ours: untrustedCode, make: chained(edits(constrains(7, -1)), edits(constrains(0, -1)), nil)},
	{name: "4.9 required by the person's own", ours: untrustedCode, make: chained(nil, edits(constrains(0, -1)))},
	{name: "4.9 required after one, self-issued", rfc: true, make: func(s *pkiCase) {
		ca := s.ca(s.root, "CA", constrains(2, -1))
		s.ee(s.caNamed(ca, ca.name))
	}},
	{name: "4.10 mapped, required", rfc: true, make: chained(edits(hasPolicies(policy1), maps(policy1, policy2), constrains(0, -1)), edits(hasPolicies(policy2)))},
	{name: "4.10 mapped otherwise, required", ours: untrustedCode,
		make: chained(edits(hasPolicies(policy1), maps(policy1, policy2), constrains(0, -1)), edits(hasPolicies(policy1)))},
	{name: "4.10 mapped from any, required", ours: untrustedCode,
		make: chained(edits(hasPolicies(policy1), maps(anyPolicyOID, policy2), constrains(0, -1)), edits(hasPolicies(policy2)))},
	{name: "4.10 mapped to any, required", ours: untrustedCode,
		make: chained(edits(hasPolicies(policy1), maps(policy1, anyPolicyOID), constrains(0, -1)), edits(hasPolicies(policy1)))},
	{name: "4.10 mapped from any, without policies above", ours: untrustedCode,
		make: chained(nil, edits(hasPolicies(anyPolicyOID), maps(anyPolicyOID, policy2)), nil)},
	{name: "4.10 mapped to any", ours: untrustedCode, make: chained(edits(hasPolicies(policy1), maps(policy1, anyPolicyOID)), edits(hasPolicies(policy1)))},
	{name: "4.11 mapping inhibited, required", ours: untrustedCode,
		make: chained(edits(hasPolicies(policy1), constrains(0, 0)), edits(hasPolicies(policy1), maps(policy1, policy2)), edits(hasPolicies(policy2)))},
	{name: "4.11 mapping inhibited after one, required", rfc: true,
		make: chained(edits(hasPolicies(policy1), constrains(0, 1)), edits(hasPolicies(policy1), maps(policy1, policy2)), edits(hasPolicies(policy2)))},
	{name: "4.12 any policy inhibited, required", ours: untrustedCode,
		make: chained(edits(hasPolicies(policy1), constrains(0, -1), inhibitsAny(0)), edits(hasPolicies(anyPolicyOID)))},
	{name: "4.12 any policy inhibited after one, required", rfc: true,
		make: chained(edits(hasPolicies(policy1), constrains(0, -1), inhibitsAny(1)), edits(hasPolicies(anyPolicyOID)), edits(hasPolicies(policy1)))},
	{name: "4.12 any policy inhibited, self-issued, required", rfc: true, make: func(s *pkiCase) {
		ca := s.ca(s.root, "CA", hasPolicies(policy1), constrains(0, -1), inhibitsAny(0))
		s.ee(s.caNamed(ca, ca.name, hasPolicies(anyPolicyOID)), hasPolicies(policy1))
	}},
}

// mailed is a case of a permitted and an excluded subtree and a person's alternative name.
func within(permitted, excluded []byte, names ...[]byte) func(*pkiCase) {
	return chained(edits(vouchesFor(permitted, excluded)), edits(alsoNamed(names...)))
}

// emailSubject has an emailAddress in the subject.
func emailSubject(address string, permitted, excluded []byte, more ...edit) func(*pkiCase) {
	email := der(derSet, der(derSequence, der(derOID, []byte("\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01")), der(derIA5String, []byte(address))))
	return func(s *pkiCase) {
		s.eeNamed(s.ca(s.root, "CA", vouchesFor(permitted, excluded)), der(derSequence, rdn(3, derPrintableString, "Person"), email), more...)
	}
}

// 4.13 Name constraints.
var suiteConstraints = []suiteCase{
	{name: "4.13 directory name permitted", rfc: true, ours: untrustedCode, why: noDirectory, openssl: noDirectory,
		make: chained(edits(vouchesFor(gnDir(der(derSequence, rdn(6, derPrintableString, "PT"))), nil)), nil)},
	{name: "4.13 directory name not permitted", ours: untrustedCode,
		make: chained(edits(vouchesFor(gnDir(der(derSequence, rdn(6, derPrintableString, "ES"))), nil)), nil)},
	{name: "4.13 directory name excluded", ours: untrustedCode,
		make: chained(edits(vouchesFor(nil, gnDir(der(derSequence, rdn(6, derPrintableString, "PT"))))), nil)},
	{name: "4.13 directory name of others excluded", rfc: true, ours: untrustedCode, why: noDirectory, openssl: noDirectory,
		make: chained(edits(vouchesFor(nil, gnDir(der(derSequence, rdn(6, derPrintableString, "ES"))))), nil)},
	{name: "4.13 mail of a domain", rfc: true, make: within(gnMail(".example.com"), nil, gnMail("a@host.example.com"))},
	{name: "4.13 mail of a domain, the domain itself", ours: untrustedCode, make: within(gnMail(".example.com"), nil, gnMail("a@example.com"))},
	{name: "4.13 mail of another domain", ours: untrustedCode, make: within(gnMail(".example.com"), nil, gnMail("a@host.example.org"))},
	{name: "4.13 mail of a host", rfc: true, make: within(gnMail("host.example"), nil, gnMail("a@host.example"))},
	{name: "4.13 mail of a host below it", ours: untrustedCode, make: within(gnMail("host.example"), nil, gnMail("a@sub.host.example"))},
	{name: "4.13 mail of a host in capitals", rfc: true, make: within(gnMail("host.example"), nil, gnMail("a@HOST.example"))},
	{name: "4.13 mail of a box", rfc: true, make: within(gnMail("a@host.example"), nil, gnMail("a@host.example"))},
	{name: "4.13 mail of another box", ours: untrustedCode, make: within(gnMail("a@host.example"), nil, gnMail("b@host.example"))},
	{name: "4.13 mail excluded", ours: untrustedCode, make: within(nil, gnMail("host.example"), gnMail("a@host.example"))},
	{name: "4.13 mail of a host below an excluded one", rfc: true, make: within(nil, gnMail("host.example"), gnMail("a@sub.host.example"))},
	{name: "4.13 mail, one of two not permitted", ours: untrustedCode, make: within(gnMail("host.example"), nil, gnMail("a@host.example"), gnMail("a@other.example"))},
	{name: "4.13 mail permitted, none there", rfc: true, make: chained(edits(vouchesFor(gnMail("host.example"), nil)), nil)},
	{name: "4.13 mail in the subject permitted", rfc: true, make: emailSubject("a@host.example", gnMail("host.example"), nil)},
	{name: "4.13 mail in the subject not permitted", ours: untrustedCode, make: emailSubject("a@other.example", gnMail("host.example"), nil)},
	{name: "4.13 mail in the subject excluded", ours: untrustedCode, make: emailSubject("a@host.example", nil, gnMail("host.example"))},
	{name: "4.13 mail in the subject beside alternative names", rfc: true, make: emailSubject("a@other.example", gnMail("host.example"), nil, alsoNamed(gnDNS("dns.example"))),
		openssl: "it looks at the subject even where there are alternative names; section 4.2.1.10 asks for it without them"},
	{name: "4.13 mail, constraint of the root", rfc: true, ours: untrustedCode, why: anchorToo, root: edits(vouchesFor(gnMail("host.example"), nil)),
		make: chained(nil, edits(alsoNamed(gnMail("a@other.example"))))},
	{name: "4.13 mail, constraints of two", ours: untrustedCode,
		make: chained(edits(vouchesFor(gnMail(".example"), nil)), edits(vouchesFor(gnMail("host.example"), nil)), edits(alsoNamed(gnMail("a@sub.example"))))},
	{name: "4.13 DNS permitted", rfc: true, make: within(gnDNS("example.com"), nil, gnDNS("host.example.com"))},
	{name: "4.13 DNS permitted, itself", rfc: true, make: within(gnDNS("example.com"), nil, gnDNS("example.com"))},
	{name: "4.13 DNS not permitted", ours: untrustedCode, make: within(gnDNS("example.com"), nil, gnDNS("host.example.org"))},
	{name: "4.13 DNS that only ends so", ours: untrustedCode, make: within(gnDNS("example.com"), nil, gnDNS("badexample.com"))},
	{name: "4.13 DNS excluded", ours: untrustedCode, make: within(nil, gnDNS("example.com"), gnDNS("host.example.com"))},
	{name: "4.13 DNS of others excluded", rfc: true, make: within(nil, gnDNS("example.com"), gnDNS("host.example.org"))},
	{name: "4.13 DNS in capitals", rfc: true, make: within(gnDNS("EXAMPLE.com"), nil, gnDNS("host.example.COM"))},
	{name: "4.13 DNS of the hosts of a domain", rfc: true, make: within(gnDNS(".example.com"), nil, gnDNS("host.example.com"))},
	{name: "4.13 DNS, a common name that is one", rfc: true, make: func(s *pkiCase) {
		s.eeNamed(s.ca(s.root, "CA", vouchesFor(gnDNS("example.com"), nil)), dn("host.example.org"))
	}, openssl: "it takes a common name that looks like a host for one"},
	{name: "4.13 IPv6 not permitted", ours: untrustedCode, make: within(
		gnIP(append([]byte("\x20\x01\x0d\xb8"), append(make([]byte, 12), append([]byte{255, 255, 255, 255}, make([]byte, 12)...)...)...)...), nil,
		gnIP(append([]byte("\x20\x01\x0d\xb9"), make([]byte, 12)...)...))},
	{name: "4.13 URI of an address", ours: untrustedCode, make: within(gnURI("host.example.com"), nil, gnURI("http://192.0.2.1/"))},
	{name: "4.13 one of two kinds not permitted", ours: untrustedCode,
		make: within(gnMail("host.example"), gnDNS("example.com"), gnMail("a@host.example"), gnDNS("x.example.com"))},
	{name: "4.13 mail, a minimum", ours: untrustedCode, make: chained(
		edits(ext(30, true, der(derSequence, explicit(0, der(derSequence, gnMail("host.example"), implicit(0, []byte{1})))))), edits(alsoNamed(gnMail("a@host.example"))))},
	{name: "4.13 a registered identifier permitted", rfc: true, ours: untrustedCode, why: "constraints on other kinds of name are refused",
		openssl: "it takes a constraint on a kind of name that nobody has", make: chained(edits(vouchesFor(implicit(8, policy1[2:]), nil)), nil)},
	{name: "4.13 URI permitted", rfc: true, make: within(gnURI(".example.com"), nil, gnURI("http://host.example.com/x"))},
	{name: "4.13 URI of a host", rfc: true, openssl: "it takes the user in a URI for a part of the host", make: within(gnURI("host.example.com"), nil, gnURI("http://a@HOST.example.com:80/x"))},
	{name: "4.13 URI of a host below it", ours: untrustedCode, make: within(gnURI("example.com"), nil, gnURI("http://host.example.com/x"))},
	{name: "4.13 URI of a host below an excluded one", rfc: true, make: within(nil, gnURI("example.com"), gnURI("http://host.example.com/x"))},
	{name: "4.13 URI without a host", ours: untrustedCode, make: within(nil, gnURI("example.com"), gnURI("urn:x"))},
	{name: "4.13 URI not permitted", ours: untrustedCode, make: within(gnURI(".example.com"), nil, gnURI("http://example.org/x"))},
	{name: "4.13 URI excluded", ours: untrustedCode, make: within(nil, gnURI("host.example.com"), gnURI("http://host.example.com/x"))},
	{name: "4.13 IP permitted", rfc: true, make: within(gnIP(192, 0, 2, 0, 255, 255, 255, 0), nil, gnIP(192, 0, 2, 7))},
	{name: "4.13 IP not permitted", ours: untrustedCode, make: within(gnIP(192, 0, 2, 0, 255, 255, 255, 0), nil, gnIP(192, 0, 3, 7))},
	{name: "4.13 mail of a self-issued authority", rfc: true, make: func(s *pkiCase) {
		ca := s.ca(s.root, "CA", vouchesFor(gnMail("host.example"), nil))
		s.ee(s.caNamed(ca, ca.name, alsoNamed(gnMail("a@other.example"))))
	}},
	{name: "4.13 mail of an authority between", ours: untrustedCode,
		make: chained(edits(vouchesFor(gnMail("host.example"), nil)), edits(alsoNamed(gnMail("a@other.example"))), nil)},
}

// The places of lists.
var (
	placeA = gnURI("http://lists.example/a.crl")
	placeB = gnURI("http://lists.example/b.crl")
	// relativeName is the whole of a name relative to the authority CA.
	relativeName = der(derSequence, rdn(6, derPrintableString, "PT"), rdn(10, derPrintableString, "Suite"), rdn(3, derPrintableString, "CA"),
		rdn(11, derPrintableString, "Point"))
)

// placed is a case of a person whose lists are at points.
func placed(at edit, each func(s *pkiCase, ca, ee *holding)) func(*pkiCase) {
	return func(s *pkiCase) {
		ca := s.ca(s.root, "CA")
		ee := s.ee(ca, at)
		s.clean(s.root)
		each(s, ca, ee)
	}
}

// 4.14 Distribution points.
var suitePlaces = []suiteCase{
	{name: "4.14 the same place", rfc: true, make: placed(points(place(placeA)), func(s *pkiCase, ca, ee *holding) { s.list(ca, covers(place(placeA))) })},
	{name: "4.14 the same place, revoked", ours: revokedCode,
		make: placed(points(place(placeA)), func(s *pkiCase, ca, ee *holding) { s.list(ca, covers(place(placeA)), revoked(ee, 1)) })},
	{name: "4.14 one of two places", rfc: true,
		make: placed(points(place(placeA, placeB)), func(s *pkiCase, ca, ee *holding) { s.list(ca, covers(place(placeB))) })},
	{name: "4.14 another place", ours: unknownCode, make: placed(points(place(placeA)), func(s *pkiCase, ca, ee *holding) { s.list(ca, covers(place(placeB))) })},
	{name: "4.14 a place, and none in the certificate", ours: unknownCode, make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, covers(place(placeA))) })},
	{name: "4.14 a list for all, and a place in the certificate", rfc: true, make: placed(points(place(placeA)), func(s *pkiCase, ca, ee *holding) { s.list(ca) })},
	{name: "4.14 a directory name as the place", rfc: true,
		make: placed(points(place(gnDir(dn("Point")))), func(s *pkiCase, ca, ee *holding) { s.list(ca, covers(place(gnDir(dn("Point"))))) })},
	{name: "4.14 a directory name in another string type as the place", rfc: true,
		make: placed(points(place(gnDir(dn("Point")))), func(s *pkiCase, ca, ee *holding) { s.list(ca, covers(place(gnDir(dnOf(derUTF8String, "point"))))) })},
	{name: "4.14 two places, each with a list for it", rfc: true, make: placed(points(
		slices.Concat(place(placeA), someReasons(1, 1, 2)), slices.Concat(place(placeB), someReasons(1, 3, 4, 5, 6, 7, 8))), func(s *pkiCase, ca, ee *holding) {
		s.list(ca, covers(place(placeA), someReasons(3, 1, 2)))
		s.list(ca, covers(place(placeB), someReasons(3, 3, 4, 5, 6, 7, 8)))
	})},
	{name: "4.14 revoked at another place", ours: revokedCode, openssl: opensslSkips,
		make: placed(points(place(placeA)), func(s *pkiCase, ca, ee *holding) { s.list(ca, covers(place(placeB)), revoked(ee, 1)) })},
	{name: "4.14 the certificate names its own authority for its list", rfc: true, ours: unknownCode, why: ownAuthority, openssl: ownAuthority,
		make: placed(points(slices.Concat(place(placeA), explicit(2, gnDir(dn("CA"))))), func(s *pkiCase, ca, ee *holding) { s.list(ca, covers(place(placeA))) })},
	{name: "4.14 a relative place", rfc: true, ours: unknownCode, why: noRelative, openssl: noRelative,
		make: placed(points(place(gnDir(relativeName))), func(s *pkiCase, ca, ee *holding) {
			s.list(ca, covers(placeRelative(11, derPrintableString, "Point")))
		})},
	{name: "4.14 a relative place in the certificate", rfc: true, ours: proto.BundleMalformed, why: noParse, openssl: noParse,
		make: placed(points(placeRelative(11, derPrintableString, "Point")), func(s *pkiCase, ca, ee *holding) {
			s.list(ca, covers(place(gnDir(relativeName))))
		})},
	{name: "4.14 for persons only", rfc: true, make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, covers(flag(1))) })},
	{name: "4.14 for persons only, the root's", ours: unknownCode, make: func(s *pkiCase) { ca, _ := s.person(); s.list(s.root, covers(flag(1))); s.list(ca) }},
	{name: "4.14 for authorities only", ours: unknownCode, make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, covers(flag(2))) })},
	{name: "4.14 for authorities only, the root's", rfc: true, make: func(s *pkiCase) { ca, _ := s.person(); s.list(s.root, covers(flag(2))); s.list(ca) }},
	{name: "4.14 for persons and for authorities", rfc: true,
		make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, covers(flag(1))); s.list(ca, covers(flag(2))) })},
	{name: "4.14 for attribute certificates only", ours: unknownCode, make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, covers(flag(5))) })},
	{name: "4.14 some reasons", ours: unknownCode, make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, covers(someReasons(3, 1, 2))) })},
	{name: "4.14 some reasons, revoked", ours: revokedCode, make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, covers(someReasons(3, 1, 2)), revoked(ee, 1)) })},
	{name: "4.14 all reasons in two lists", rfc: true, make: listed(func(s *pkiCase, ca, ee *holding) {
		s.list(ca, covers(someReasons(3, 1, 2)))
		s.list(ca, covers(someReasons(3, 3, 4, 5, 6, 7, 8)))
	})},
	{name: "4.14 all reasons in two lists, revoked in the second", ours: revokedCode, make: listed(func(s *pkiCase, ca, ee *holding) {
		s.list(ca, covers(someReasons(3, 1, 2)))
		s.list(ca, covers(someReasons(3, 3, 4, 5, 6, 7, 8)), revoked(ee, 4))
	})},
	{name: "4.14 some reasons of a place", ours: unknownCode, make: placed(points(slices.Concat(place(placeA), someReasons(1, 1, 2))), func(s *pkiCase, ca, ee *holding) {
		s.list(ca, covers(place(placeA)))
	})},
	{name: "4.14 list of another authority named by the certificate", rfc: true, ours: unknownCode, why: noOthersLists, openssl: noOthersLists, make: func(s *pkiCase) {
		other := s.ca(s.root, "Lists")
		ca := s.ca(s.root, "CA")
		s.ee(ca, points(slices.Concat(place(placeA), explicit(2, gnDir(other.name)))))
		s.clean(s.root)
		s.list(other, covers(place(placeA), flag(4)))
	}},
	{name: "4.14 an indirect list names another authority's", rfc: true, ours: unknownCode, why: noOthersLists, openssl: noOthersLists,
		make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, covers(flag(4)), revoked(ee, 1, entryOf(dn("Other")))) })},
	{name: "4.14 an indirect list names its own after another authority's", ours: revokedCode, make: listed(func(s *pkiCase, ca, ee *holding) {
		s.list(ca, covers(flag(4)), revoked(s.root, 1, entryOf(dn("Other"))), revoked(ee, 1, entryOf(ca.name)))
	})},
	{name: "4.14 an indirect list of the authority itself", rfc: true, ours: unknownCode, why: noOthersLists, openssl: noOthersLists,
		make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, covers(flag(4))) })},
}

// entryOf is the extension certificateIssuer of an entry.
func entryOf(name []byte) []byte {
	return der(derSequence, ceOID(29), der(derBoolean, []byte{0xff}), der(derOctetString, der(derSequence, gnDir(name))))
}

// base numbers a list that has deltas.
func base(n int) edit {
	return func(d *draft) { numbered(n)(d); ext(46, false, der(derSequence, der(derSequence, place(placeB))))(d) }
}

// 4.15 Delta lists.
var suiteDeltas = []suiteCase{
	{name: "4.15 base and delta", rfc: true, make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, base(1)); s.list(ca, delta(2, 1)) })},
	{name: "4.15 a delta alone", ours: unknownCode, make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, delta(2, 1)) })},
	{name: "4.15 revoked in a delta alone", ours: revokedCode, openssl: opensslSkips,
		make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, delta(2, 1), revoked(ee, 1)) })},
	{name: "4.15 revoked in the delta", ours: revokedCode,
		make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, base(1)); s.list(ca, delta(2, 1), revoked(ee, 1)) })},
	{name: "4.15 revoked in the base", ours: revokedCode,
		make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, base(1), revoked(ee, 1)); s.list(ca, delta(2, 1)) })},
	{name: "4.15 on hold in the base, removed by the delta", rfc: true,
		make: listed(func(s *pkiCase, ca, ee *holding) {
			s.list(ca, base(1), revoked(ee, 6))
			s.list(ca, delta(2, 1), revoked(ee, 8))
		})},
	{name: "4.15 on hold in the base, revoked by the delta", ours: revokedCode,
		make: listed(func(s *pkiCase, ca, ee *holding) {
			s.list(ca, base(1), revoked(ee, 6))
			s.list(ca, delta(2, 1), revoked(ee, 1))
		})},
	{name: "4.15 revoked in the base, removed by the delta", ours: revokedCode,
		openssl: "it takes any removal; section 5.3.1 allows that of a hold only",
		make: listed(func(s *pkiCase, ca, ee *holding) {
			s.list(ca, base(1), revoked(ee, 1))
			s.list(ca, delta(2, 1), revoked(ee, 8))
		})},
	{name: "4.15 a delta to a later base", rfc: true, make: listed(func(s *pkiCase, ca, ee *holding) { s.list(ca, base(1)); s.list(ca, delta(6, 5)) })},
	{name: "4.15 on hold, removed by a delta to a later base", ours: revokedCode,
		make: listed(func(s *pkiCase, ca, ee *holding) {
			s.list(ca, base(1), revoked(ee, 6))
			s.list(ca, delta(6, 5), revoked(ee, 8))
		})},
	{name: "4.15 an older delta that removes", ours: revokedCode,
		make: listed(func(s *pkiCase, ca, ee *holding) {
			s.list(ca, base(5), revoked(ee, 6))
			s.list(ca, delta(4, 1), revoked(ee, 8))
		})},
	{name: "4.15 a delta of another scope", ours: revokedCode,
		make: listed(func(s *pkiCase, ca, ee *holding) {
			s.list(ca, base(1), revoked(ee, 6))
			s.list(ca, delta(2, 1), covers(flag(1)), revoked(ee, 8))
		})},
}

// 4.16 Private certificate extensions.
var suiteExtensions = []suiteCase{
	{name: "4.16 unknown", rfc: true, make: chained(edits(extOID(policy1, false, []byte{5, 0})), edits(extOID(policy1, false, []byte{5, 0})))},
	{name: "4.16 one extension twice", ours: proto.BundleMalformed, make: chained(nil, edits(raw(func(d *draft) {
		d.extensions = append(d.extensions, d.extensions[len(d.extensions)-1])
	})))},
	{name: "4.16 version 1", rfc: true, make: chained(nil, edits(version1))},
	{name: "4.16 extensions in version 1", why: "in a version without extensions they are not read", make: chained(nil, edits(raw(func(d *draft) { d.version = nil })))},
	{name: "4.16 unknown and critical in the person's", ours: untrustedCode, make: chained(nil, edits(extOID(policy1, true, []byte{5, 0})))},
	{name: "4.16 unknown and critical in an authority's", ours: untrustedCode, make: chained(edits(extOID(policy1, true, []byte{5, 0})), nil)},
	{name: "4.16 unknown and critical in the root", rfc: true, ours: untrustedCode, why: anchorToo, root: edits(extOID(policy1, true, []byte{5, 0})), make: chained(nil, nil)},
}

// withLists: in a section about revocation all cases look at lists.
func withLists(cases []suiteCase) []suiteCase {
	for i := range cases {
		cases[i].lists = true
	}
	return cases
}
