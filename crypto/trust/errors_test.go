package trust

import (
	"errors"
	"testing"
)

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

// TestShownCause: an OID and an address of crypto/x509 are no civil number. A stranger's text may
// hold one.
func TestShownCause(t *testing.T) {
	for in, want := range map[string]string{
		`x509: duplicate extension with OID "2.5.29.15"`: `duplicate extension with OID "2.5.29.15"`,
		`IP address "11.0.0.1" is not permitted`:         `IP address "11.0.0.1" is not permitted`,
		`IP address "2001:db8::12345" is not permitted`:  `IP address "2001:db8::12345" is not permitted`,
		`DNS name "12.345.678" is not permitted`:         `DNS name "**********" is not permitted`,
		`email 12345678@x, IP address "1.1.1.1"`:         `email ********@x, IP address "1.1.1.1"`,
	} {
		if got := shownCause(errors.New(in)); got != want {
			t.Errorf("%s is shown as %s, not %s", in, got, want)
		}
	}
}

// TestShownTextStaysInItsQuotes: the name in a certificate cannot end the quotes
// around it and go on as the sentence.
func TestShownTextStaysInItsQuotes(t *testing.T) {
	for in, want := range map[string]string{
		`ana" is trusted, not "rui`: `"ana\" is trusted, not \"rui"`,
		`ana\`:                      `"ana\\"`,
		"":                          "(without a name)",
	} {
		if got := shownText(in); got != want {
			t.Errorf("%q is shown as %s, not %s", in, got, want)
		}
	}
}
