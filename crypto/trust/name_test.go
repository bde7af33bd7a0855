package trust

import (
	"encoding/asn1"
	"testing"
)

// testName is a Name with one RDN for each value, all of one attribute type.
func testName(t *testing.T, values ...asn1.RawValue) []byte {
	t.Helper()
	type attribute struct {
		Type  asn1.ObjectIdentifier
		Value asn1.RawValue
	}
	type rdnSET []attribute
	var name []rdnSET
	for _, v := range values {
		name = append(name, rdnSET{{asn1.ObjectIdentifier{2, 5, 4, 3}, v}})
	}
	der, err := asn1.Marshal(name)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// TestSameName: RFC 5280, section 7.1.
func TestSameName(t *testing.T) {
	text := func(tag int, s string) asn1.RawValue { return asn1.RawValue{Tag: tag, Bytes: []byte(s)} }
	printable := testName(t, text(asn1.TagPrintableString, "Lab CA"))
	for _, c := range []struct {
		what  string
		other []byte
		same  bool
	}{
		{"the same bytes", printable, true},
		{"another type of string", testName(t, text(asn1.TagUTF8String, "Lab CA")), true},
		{"another case", testName(t, text(asn1.TagUTF8String, "lab ca")), true},
		{"more spaces", testName(t, text(asn1.TagPrintableString, "  Lab   CA ")), true},
		{"16-bit characters", testName(t, text(asn1.TagBMPString, "\x00L\x00a\x00b\x00 \x00C\x00A")), true},
		{"Latin-1", testName(t, text(asn1.TagT61String, "Lab CA")), true},
		{"another text", testName(t, text(asn1.TagUTF8String, "Lab CB")), false},
		{"no space", testName(t, text(asn1.TagUTF8String, "LabCA")), false},
		{"one part more", testName(t, text(asn1.TagUTF8String, "Lab CA"), text(asn1.TagUTF8String, "Lab CA")), false},
		{"no name", []byte{0x30, 0x03, 0x31, 0x05, 0x00}, false},
		{"nothing", nil, false},
	} {
		if got := sameName(printable, c.other); got != c.same {
			t.Errorf("%s: %v", c.what, got)
		}
		if got := sameName(c.other, printable); got != c.same {
			t.Errorf("%s, the other way round: %v", c.what, got)
		}
	}
	latin, utf := testName(t, text(asn1.TagT61String, "Jos\xe9")), testName(t, text(asn1.TagUTF8String, "JOSÉ"))
	if !sameName(latin, utf) {
		t.Error("Latin-1 and UTF-8 of one text differ")
	}
}
