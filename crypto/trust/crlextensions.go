package trust

import (
	"bytes"
	"errors"
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

// parseExtensions reads crlExtensions (RFC 5280, section 5.2).
func (c *crl) parseExtensions(body []byte) error {
	malformed := errors.New("the revocation list has a malformed extension")
	rest, ok := derOnly(body, derSequence)
	if !ok {
		return malformed
	}
	seen := make(map[byte]bool)
	for len(rest) > 0 {
		var e derElement
		if e, rest, ok = derNext(rest); !ok {
			return malformed
		}
		id, critical, value, ok := parseExtension(e)
		if !ok || id != 0 && seen[id] {
			return malformed
		}
		seen[id] = true
		switch id {
		case idCRLNumber:
			c.number, ok = parseNumber(value)
		case idDeltaCRLIndicator:
			c.base, ok = parseNumber(value)
		case idAuthorityKeyID:
			c.authority, ok = parseKeyID(value)
		case idFreshestCRL:
			points, err := parsePoints(value)
			c.freshest, ok = httpURLs(points), err == nil
		case idIssuingPoint:
			point, err := parseIssuingPoint(value)
			c.point, c.scope, ok = point, string(value), err == nil
		case idIssuerAltName:
		default:
			if critical {
				c.problem = "it has a critical extension that is not known here"
			}
		}
		if !ok {
			return malformed
		}
	}
	switch {
	case c.point.indirect:
		c.problem = "it speaks for other authorities than its own (an indirect list), which is not supported"
	case c.point.relative:
		c.problem = "its place is named relative to its authority, which is not supported"
	case c.base != nil && c.number == nil:
		c.problem = "it is a delta without a number"
	}
	return nil
}

// parseExtension splits an Extension. id is the last number of an OID under id-ce, else 0.
func parseExtension(e derElement) (id byte, critical bool, value []byte, ok bool) {
	oid, rest, ok := derExpect(e.body, derOID)
	if !ok || e.tag != derSequence {
		return 0, false, nil, false
	}
	if len(oid.body) == 3 && oid.body[0] == 0x55 && oid.body[1] == 0x1d {
		id = oid.body[2]
	}
	flag, rest, found, ok := derOptional(rest, derBoolean)
	if !ok || found && (len(flag.body) != 1 || flag.body[0] != 0 && flag.body[0] != 0xff) {
		return 0, false, nil, false
	}
	critical = found && flag.body[0] != 0
	value, ok = derOnly(rest, derOctetString)
	return id, critical, value, ok
}

// parseNumber reads a CRLNumber: not negative, of at most 20 bytes (RFC 5280, section 5.2.3).
func parseNumber(value []byte) ([]byte, bool) {
	body, ok := derOnly(value, derInteger)
	if !ok || len(body) == 0 || body[0]&0x80 != 0 || len(body) > maxSerial+1 {
		return nil, false
	}
	return append([]byte{}, bytes.TrimLeft(body, "\x00")...), true
}

// parseKeyID reads the keyIdentifier of an AuthorityKeyIdentifier, nil if it has none.
func parseKeyID(value []byte) ([]byte, bool) {
	body, ok := derOnly(value, derSequence)
	if !ok {
		return nil, false
	}
	id, _, found, ok := derOptional(body, derContext(0, false))
	if !found || !ok {
		return nil, ok
	}
	return bytes.Clone(id.body), true
}
