package trust

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strconv"
	"strings"
	"testing"

	"chatsecure/testdata/lab"
)

// TestBundleForms: a block of a bundle is a certificate that is used, or the user hears of it,
// with its line.
func TestBundleForms(t *testing.T) {
	p := testLab(t)
	h := issue(t, p, "Ana")
	good := string(pemOf(p.Root.Cert))
	lines := strings.Count(good, "\n")
	other := string(pemOf(p.CC.Cert))
	replace := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	as := func(label string) string { return strings.ReplaceAll(other, "CERTIFICATE", label) }
	odd := func(old, new []byte) string {
		i := bytes.Index(p.CC.Cert.Raw, old)
		if i < 0 || len(old) != len(new) {
			t.Fatalf("%x is not in the certificate", old)
		}
		der := bytes.Clone(p.CC.Cert.Raw)
		copy(der[i:], new)
		return string(pemOf(&x509.Certificate{Raw: der}))
	}
	serial := p.CC.Cert.SerialNumber.Bytes()
	negative := append([]byte{serial[0] | 0x80}, serial[1:]...)
	curve := []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07} // P-256; the next is none that Go knows
	brainpool := append(bytes.Clone(curve[:9]), 0x08)
	damagedRoot := bytes.Clone(p.Root.Cert.Raw)
	damagedRoot[len(damagedRoot)-1] ^= 1

	for name, c := range map[string]struct {
		text    string
		notices []string // of an accepted bundle, in order
		refused string   // of a refused one
	}{
		"good":                     {good + other, nil, ""},
		"a byte order mark":        {"\ufeff" + good, nil, ""},
		"CRLF":                     {strings.ReplaceAll(good, "\n", "\r\n"), nil, ""},
		"joined without a newline": {strings.TrimSpace(other) + good, nil, ""},
		"indented":                 {"    " + strings.ReplaceAll(good, "\n", "\n    "), nil, ""},
		"openssl's text":           {"Certificate:\n    Data:\n        Version: 3 (0x2)\n" + good, nil, ""},
		"an old name of the block": {strings.ReplaceAll(good, "CERTIFICATE", "X509 CERTIFICATE"), nil, ""},
		"a list":                   {as("X509 CRL") + good, []string{`line 1: "X509 CRL" is left out, because it is no certificate`}, ""},
		"a request":                {as("CERTIFICATE REQUEST") + good, []string{`line 1: "CERTIFICATE REQUEST" is left out`}, ""},
		"a private key":            {good + as("EC PRIVATE KEY"), []string{"private key is left out"}, ""},
		"an encrypted key": {good + "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n",
			[]string{"private key is left out"}, ""},
		"a negative serial number": {odd(append([]byte{2, byte(len(serial))}, serial...), append([]byte{2, byte(len(serial))}, negative...)) + good,
			[]string{`line 1: the certificate of "Cartão de Cidadão 001" is left out, because it is not supported: negative serial number`}, ""},
		"an unknown curve": {odd(curve, brainpool) + good,
			[]string{`line 1: the certificate of "Cartão de Cidadão 001" is left out, because it is not supported: unsupported elliptic curve`}, ""},
		"a root with a damaged signature": {string(pemOf(&x509.Certificate{Raw: damagedRoot})) + good, []string{`"Lab Raiz do Estado 001" is no root`}, ""},

		"nothing":              {"", nil, "no certificate in PEM in it"},
		"only a list":          {as("X509 CRL"), nil, `no certificate in it can be used: line 1: "X509 CRL" is left out`},
		"only an unknown one":  {odd(curve, brainpool), nil, "no certificate in it can be used: line 1: "},
		"a spoilt letter":      {good + strings.Replace(other, "MII", "M*I", 1), nil, "damaged: this is not base64"},
		"a lost letter":        {replace("MII", "MI"), nil, "its base64 is cut short"},
		"cut short":            {good + other[:len(other)/2], nil, "does not end"},
		"a quoted block":       {good + "> " + strings.ReplaceAll(other, "\n", "\n> "), nil, "does not begin or end as it must"},
		"BEGIN lacks a dash":   {good + other[1:], nil, "does not begin or end as it must"},
		"damaged DER":          {good + string(pemOf(&x509.Certificate{Raw: p.CC.Cert.Raw[:200]})), nil, "the certificate is damaged"},
		"DER":                  {string(p.Root.Cert.Raw), nil, "it is in DER, not in PEM; openssl x509 -inform DER -in FILE -out FILE.pem converts it"},
		"DER behind":           {good + string(p.CC.Cert.Raw), nil, "this is no text but bytes"},
		"another file in DER":  {string(p.CC.Cert.RawSubject), nil, "it is in DER, not in PEM, and no certificate"},
		"UTF-16":               {"\xff\xfe" + strings.Join(strings.Split(good, ""), "\x00") + "\x00", nil, "line 1: this is no text but bytes"},
		"a trusted one":        {good + as("TRUSTED CERTIFICATE"), nil, "openssl x509 -in FILE -out FILE.pem converts it"},
		"PKCS#7":               {good + as("PKCS7"), nil, "openssl pkcs7 -print_certs -in FILE"},
		"PKCS#7 in DER":        {"\x30\x82\x10\x00" + string(oidSignedData), nil, "openssl pkcs7 -inform DER -print_certs -in FILE"},
		"a key without an end": {strings.Replace(as("PRIVATE KEY"), "-----END PRIVATE KEY-----\n", "", 1) + good, nil, "does not end as it must"},
	} {
		store, err := NewStore(nil, []byte(c.text))
		if c.refused != "" {
			if err == nil || !strings.Contains(err.Error(), c.refused) {
				t.Errorf("%s: %v, want %q", name, err, c.refused)
			} else {
				wantSentence(t, err.Error())
			}
			if strings.HasPrefix(c.text, good) && len(c.text) > len(good) && (err == nil || !strings.HasPrefix(err.Error(), "line ")) {
				t.Errorf("%s: %v does not name the line", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if notices := store.Notices(); !slices.EqualFunc(notices, c.notices, strings.Contains) {
			t.Errorf("%s: notices %q, want %q", name, notices, c.notices)
		}
		for _, notice := range store.Notices() {
			wantSentence(t, notice)
			if strings.HasPrefix(c.text, good) && !strings.HasPrefix(notice, "line "+strconv.Itoa(lines+1)+": ") {
				t.Errorf("%s: %q does not name line %d", name, notice, lines+1)
			}
		}
		if _, err := lookAt(store, h.Leaf, h.Chain); err != nil {
			t.Errorf("%s: the root in it is not trusted: %v", name, err)
		}
	}
}

// TestListForms: the same holds for a file of lists, of which those before the damage count.
func TestListForms(t *testing.T) {
	p := testLab(t)
	list, err := p.Auth.MakeCRL(lab.CRL{})
	must(t, err)
	one := string(crlText(list))
	lines := strings.Count(one, "\n")
	at := func(behind int, says string) string { return "line " + strconv.Itoa(lines+behind) + ": " + says }
	for name, c := range map[string]struct {
		text    string
		lists   int
		refused string
	}{
		"two":                      {one + one, 2, ""},
		"DER":                      {string(list), 1, ""},
		"a byte order mark":        {"\ufeff" + one, 1, ""},
		"CRLF":                     {strings.ReplaceAll(one, "\n", "\r\n"), 1, ""},
		"joined without a newline": {strings.TrimSpace(one) + one, 2, ""},
		"indented":                 {"  " + strings.ReplaceAll(one, "\n", "\n  "), 1, ""},
		"openssl's text":           {"Certificate Revocation List (CRL):\n        Version 2 (0x1)\n" + one, 1, ""},
		"a quoted block":           {one + "> " + one, 1, at(1, "a block in PEM does not begin or end")},
		"END lacks a dash":         {strings.Replace(one, "-----END", "----END", 1) + one, 0, at(0, "the block that begins in line 1 does not end")},
		"a spoilt letter":          {one + strings.Replace(one, "MII", "M*I", 1), 1, at(2, "the block that begins in line "+strconv.Itoa(lines+1)+" is damaged")},
		"cut short":                {one + one[:100], 1, at(3, "the block that begins in line "+strconv.Itoa(lines+1)+" does not end")},
		"a certificate":            {one + string(pemOf(p.Root.Cert)), 1, at(1, `it holds "CERTIFICATE", not a revocation list`)},
		"damaged DER":              {one + string(crlText(list[:100])), 1, at(1, "it is cut short")},
	} {
		lists, err := readList(strings.NewReader(c.text))
		if len(lists) != c.lists || (err == nil) != (c.refused == "") || err != nil && !strings.HasPrefix(err.Error(), c.refused) {
			t.Errorf("%s: %d lists, %v, want %d, %q", name, len(lists), err, c.lists, c.refused)
		}
	}
}

// crlText is a list in PEM.
func crlText(der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}) }
