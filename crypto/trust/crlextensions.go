package trust

import (
	"bytes"
	"encoding/asn1"
	"slices"
)

// The last numbers of OIDs under id-ce (2.5.29), which is encoded as 55 1d.
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

// Flaws that are found in several places.
const (
	flawExtensions      = "it has extensions that cannot be read"
	flawMore            = "there is something after it in its file"
	flawEntryExtensions = "an entry of it has extensions that cannot be read"
	flawIndirect        = "it speaks for other authorities than its own (an indirect list), which is not supported"
)

// parseExtensions reads crlExtensions (RFC 5280, section 5.2).
func (c *crl) parseExtensions(body []byte) {
	list, ok := derOnly(body, derSequence)
	if !ok {
		c.flaws.add(flawExtensions)
	}
	seen := make(map[byte]bool)
	c.eachExtension(list, flawExtensions, func(id byte, critical bool, value []byte) {
		again := id != 0 && seen[id]
		seen[id] = true
		if again {
			c.oddities.add("it has an extension twice")
		}
		switch id {
		case idCRLNumber:
			if c.number, ok = parseNumber(value); !ok || again {
				c.number = nil
				c.oddities.add("its number cannot be read")
			}
		case idDeltaCRLIndicator:
			c.delta = true
			if c.base, ok = parseNumber(value); !ok || again {
				c.flaws.add("it is a delta and does not say of which list")
			}
		case idAuthorityKeyID:
			var id struct {
				Key []byte `asn1:"optional,tag:0"` // what follows is not looked at
			}
			if rest, err := asn1.Unmarshal(value, &id); err != nil || len(rest) > 0 {
				c.oddities.add("it names its key in an unusual form")
			}
			c.authority = id.Key
		case idFreshestCRL:
			points, err := parseDER[[]distributionPoint](value)
			if c.freshest = httpURLs(points); err != nil {
				c.oddities.add("it names its deltas in an unusual form")
			}
		case idIssuingPoint:
			c.scope += string(value)
			var err error
			if c.point, err = parseDER[issuingPoint](value); err != nil || again {
				c.point = issuingPoint{}
				c.flaws.add("its scope cannot be read")
			}
		case idIssuerAltName:
		default:
			if critical {
				c.flaws.add("it has a critical extension that is not known here")
			}
		}
	})
	if c.point.Indirect {
		c.flaws.add(flawIndirect)
	}
	if c.point.Name.Relative.FullBytes != nil {
		c.flaws.add("its place is named relative to its authority, which is not supported")
	}
	if c.delta && c.number == nil {
		c.flaws.add("it is a delta without a number")
	}
}

// eachExtension reads the contents of Extensions, and adds the flaw if one cannot be read.
func (c *crl) eachExtension(list []byte, flaw string, use func(id byte, critical bool, value []byte)) {
	for len(list) > 0 {
		e, rest, _ := derNext(list) // nothing if it cannot be read
		list = rest
		if id, critical, value, ok := c.parseExtension(e); ok {
			use(id, critical, value)
		} else {
			c.flaws.add(flaw)
		}
	}
}

// parseExtension splits an Extension. id is the last number of an OID under id-ce, else 0.
func (c *crl) parseExtension(e derElement) (id byte, critical bool, value []byte, ok bool) {
	oid, rest, ok := derExpect(e.body, derOID)
	if !ok || e.tag != derSequence {
		return 0, false, nil, false
	}
	if len(oid.body) == 3 && oid.body[0] == 0x55 && oid.body[1] == 0x1d {
		id = oid.body[2]
	}
	if flag, after, found := derExpect(rest, derBoolean); found && len(flag.body) == 1 {
		rest, critical = after, flag.body[0] != 0
		if critical && flag.body[0] != 0xff {
			c.oddities.add("it writes a truth value in an unusual form")
		}
	}
	value, ok = derOnly(rest, derOctetString)
	return id, critical, value, ok
}

// namesAnother reports whether the value of a CertificateIssuer names only other authorities
// than the issuer of the list.
func namesAnother(value, issuer []byte) bool {
	names, err := parseDER[[]asn1.RawValue](value)
	isIssuer := func(name asn1.RawValue) bool { return isDirectory(name) && sameName(name.Bytes, issuer) }
	return err == nil && len(names) > 0 && !slices.ContainsFunc(names, isIssuer)
}

// parseNumber reads a CRLNumber: not negative, of at most 20 bytes (RFC 5280, section 5.2.3).
func parseNumber(value []byte) ([]byte, bool) {
	body, ok := derOnly(value, derInteger)
	if !ok || len(body) == 0 || body[0]&0x80 != 0 || len(body) > maxSerial+1 {
		return nil, false
	}
	return bytes.Clone(withoutZeros(body)), true
}
