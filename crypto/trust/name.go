package trust

import (
	"bytes"
	"encoding/binary"
	"slices"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// The universal tags of strings in names (X.520, DirectoryString; RFC 5280, section
// 4.1.2.4).
const (
	derUTF8String      = 0x0c
	derPrintableString = 0x13
	derTeletexString   = 0x14
	derIA5String       = 0x16
	derBMPString       = 0x1e
)

// sameName compares two Names in DER as RFC 5280, section 7.1, does: by their text,
// without regard to the type of string, case and spaces. Names that do not parse are
// compared by their bytes. Unicode is not normalized.
func sameName(a, b []byte) bool {
	return bytes.Equal(a, b) || foldedName(a) == foldedName(b)
}

// foldedName returns the text by which sameName compares a Name, for use as a key.
func foldedName(der []byte) string {
	rdns, ok := derOnly(der, derSequence)
	if !ok {
		return string(der)
	}
	folded, attributes := make([]byte, 0, len(der)), []string(nil)
	for len(rdns) > 0 {
		var set derElement
		if set, rdns, ok = derNext(rdns); !ok || set.tag != derSet {
			return string(der)
		}
		attributes = attributes[:0]
		for rest := set.body; len(rest) > 0; {
			var e derElement
			if e, rest, ok = derExpect(rest, derSequence); !ok {
				return string(der)
			}
			attributes = append(attributes, foldedAttribute(e.body))
		}
		slices.Sort(attributes) // the order in a SET has no meaning
		folded = binary.AppendUvarint(folded, uint64(len(attributes)))
		for _, attribute := range attributes {
			folded = append(binary.AppendUvarint(folded, uint64(len(attribute))), attribute...)
		}
	}
	return string(folded)
}

// foldedAttribute folds the value of an AttributeTypeAndValue if it is a string: small letters,
// one space between words.
func foldedAttribute(body []byte) string {
	oid, rest, ok := derExpect(body, derOID)
	if !ok {
		return string(body)
	}
	value, rest, ok := derNext(rest)
	text, isText := derText(value)
	if !ok || len(rest) != 0 || !isText {
		return string(body)
	}
	folded, space := append(make([]byte, 0, len(body)), oid.raw...), false
	for _, r := range text {
		if unicode.IsSpace(r) {
			space = len(folded) > len(oid.raw)
			continue
		}
		if space {
			folded, space = append(folded, ' '), false
		}
		folded = utf8.AppendRune(folded, unicode.ToLower(r))
	}
	return string(folded)
}

// derText returns the text of a string in a Name.
func derText(e derElement) (text string, ok bool) {
	if e.tag == derUTF8String || e.tag == derPrintableString || e.tag == derIA5String {
		return string(e.body), utf8.Valid(e.body)
	}
	// The bytes of a character. A TeletexString is in fact in Latin-1.
	size := map[byte]int{derTeletexString: 1, derBMPString: 2}[e.tag]
	if size == 0 || len(e.body)%size != 0 {
		return "", false
	}
	units := make([]uint16, len(e.body)/size)
	for i, c := range e.body {
		units[i/size] = units[i/size]<<8 | uint16(c)
	}
	return string(utf16.Decode(units)), true
}
