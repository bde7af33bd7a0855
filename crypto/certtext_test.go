package crypto

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"strings"
	"testing"
	"time"
	"unicode"

	"chatsecure/testdata/corpus"
	"chatsecure/testdata/lab"
)

func TestCertificateText(t *testing.T) {
	h := issue(t, testLab(t), "Bruno",
		lab.WithSubject(lab.DN("C", "PT", "O", "Cartão de Cidadão", "OU", "Cidadão Português",
			"OU", "Autenticação do Cidadão", "SN", "EXEMPLO", "GN", "BRUNO MIGUEL",
			"serialNumber", "BI100000011", "CN", "BRUNO MIGUEL EXEMPLO")),
		lab.Window(time.Date(2016, 1, 4, 16, 59, 29, 0, time.UTC), time.Date(2021, 1, 3, 23, 59, 59, 0, time.UTC)))
	want := `Nome           : BRUNO MIGUEL EXEMPLO
Organização    : Cartão de Cidadão
Identificação  : BI100000011
Instituicao    : Cidadão Português
País           : PT
Válido até     : 2021-01-03 23:59:59
Válido de      : 2016-01-04 16:59:29
`
	if got := CertificateText(h.Leaf); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Fields that are missing are empty, times are in UTC, and nothing in a field
// reaches the terminal as a control.
func TestCertificateTextOddities(t *testing.T) {
	zone := time.FixedZone("", 3600)
	cert := &x509.Certificate{
		NotBefore: time.Date(2026, 1, 1, 0, 30, 0, 0, zone),
		NotAfter:  time.Date(2027, 1, 1, 0, 30, 0, 0, zone),
	}
	want := "Nome           : \nOrganização    : \nIdentificação  : \nInstituicao    : \nPaís           : \n" +
		"Válido até     : 2026-12-31 23:30:00\nVálido de      : 2025-12-31 23:30:00\n"
	if got := CertificateText(cert); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	evil := "A\x1b[2J\nNome           : B\u202e\u200b"
	cert.Subject = pkix.Name{
		CommonName: evil, SerialNumber: evil, Organization: []string{evil},
		OrganizationalUnit: []string{evil, "second"}, Country: []string{evil},
	}
	got := CertificateText(cert)
	if lines := strings.Count(got, "\n"); lines != 7 {
		t.Errorf("%d lines, want 7", lines)
	}
	if shown := `A\x1b[2J\x0aNome           : B\u202e\u200b`; strings.Count(got, shown) != 5 {
		t.Errorf("want %s five times in\n%s", shown, got)
	}
}

// Row 23: what a terminal would act on, or a reader not see, is shown.
func TestRow23Visible(t *testing.T) {
	for in, want := range map[string]string{
		"":                           "",
		"plain ASCII ~":              "plain ASCII ~",
		"João, Ação, €, 日本語, 😀":      "João, Ação, €, 日本語, 😀",
		"❤\ufe0f":                    "❤\ufe0f",
		"back\\slash":                "back\\slash",
		"a\nb\r\n":                   `a\x0ab\x0d\x0a`,
		"\x00\x07\b\t\x1b\x7f":       `\x00\x07\x08\x09\x1b\x7f`,
		"\x1b]52;c;AAAA\a":           `\x1b]52;c;AAAA\x07`,
		"\u0085\u009b":               `\u0085\u009b`,
		"\x80\xff":                   `\x80\xff`,
		"caf\xe9":                    `caf\xe9`,
		"\xed\xa0\x80":               `\xed\xa0\x80`,
		"\xc0\x8a":                   `\xc0\x8a`,
		"\xe2\x80":                   `\xe2\x80`,
		"\ufffd":                     "\ufffd",
		"\u202a\u202e\u2066\u2069":   `\u202a\u202e\u2066\u2069`,
		"\u200e\u200f\u061c":         `\u200e\u200f\u061c`,
		"a\u200b\u200c\u200d\ufeffb": `a\u200b\u200c\u200d\ufeffb`,
		"\u2028\u2029":               `\u2028\u2029`,
		"\u00ad\u2060\u180e":         `\u00ad\u2060\u180e`,
		"\u3164\uffa0\u115f\u034f":   `\u3164\uffa0\u115f\u034f`,
		"\ufe00\U000e0100":           `\ufe00\U000e0100`,
		"\U000e0041\U000e007f":       `\U000e0041\U000e007f`,
		"\U0001d173":                 `\U0001d173`,
	} {
		if got := Visible(in); got != want {
			t.Errorf("Visible(%+q) = %+q, want %+q", in, got, want)
		}
	}
}

func TestMaskDigits(t *testing.T) {
	for in, want := range map[string]string{
		"":                               "",
		"Cartão de Cidadão 008":          "Cartão de Cidadão 008",
		"EC de Autenticação 0019":        "EC de Autenticação 0019",
		"TAMM,MARI,38001085718":          "TAMM,MARI,***********",
		"PROVA ANA - 12345678Z":          "PROVA ANA - ********Z",
		"BI100000011":                    "BI*********",
		"1-2-3-4":                        "1-2-3-4",
		"123.456.789-01":                 "**************",
		"12 34 56":                       "********",
		"12345 and 12345":                "***** and *****",
		"\u0661\u0662\u0663\u0664\u0665": "*****",
		"Abc 1234, 5678":                 "Abc 1234, 5678",
		"CN 2001-2-3 to 2002":            "CN ******** to 2002",
	} {
		if got := maskDigits(in); got != want {
			t.Errorf("maskDigits(%q) = %q, want %q", in, got, want)
		}
	}
}

// FuzzVisible: what is shown acts on nothing, and stands for one text.
func FuzzVisible(f *testing.F) {
	corpus.Add(f, func(s string) bool { return Visible(s) == s }, []string{"João, 日本語, ❤\ufe0f"},
		"\x1b]52;c;AAAA\a", "\u202e\u200b\u00ad\U000e0041", "\xff\xc3", "a\r\nb", "e\u0301", "\u2028")
	f.Fuzz(func(t *testing.T, s string) {
		shown := Visible(s)
		if again := Visible(shown); again != shown {
			t.Fatalf("%q is shown as %q, and that as %q", s, shown, again)
		}
		if len(shown) > 4*len(s) {
			t.Fatalf("%d bytes are shown in %d", len(s), len(shown))
		}
		for _, r := range shown {
			if r < ' ' || r == 0x7f || !unicode.IsGraphic(r) && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) || unicode.Is(unicode.Bidi_Control, r) {
				t.Fatalf("%q is shown as %q, with %U", s, shown, r)
			}
		}
	})
}
