package crypto

import (
	"crypto/x509"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// CertificateText is a certificate as it is shown to people: seven lines, each
// with a newline, in the original's words and layout. A field that the subject
// lacks is left empty. Times are UTC.
func CertificateText(leaf *x509.Certificate) string {
	first := func(values []string) string {
		if len(values) == 0 {
			return ""
		}
		return values[0]
	}
	subject := leaf.Subject
	var b strings.Builder
	for _, field := range []struct{ label, value string }{
		{"Nome           ", subject.CommonName},
		{"Organização    ", first(subject.Organization)},
		{"Identificação  ", subject.SerialNumber},
		{"Instituicao    ", first(subject.OrganizationalUnit)},
		{"País           ", first(subject.Country)},
		{"Válido até     ", leaf.NotAfter.UTC().Format(time.DateTime)},
		{"Válido de      ", leaf.NotBefore.UTC().Format(time.DateTime)},
	} {
		fmt.Fprintf(&b, "%s: %s\n", field.label, Visible(field.value))
	}
	return b.String()
}

// Visible makes s safe to show on a terminal and honest to read: control
// characters (newlines too), bidirectional controls, zero-width and other
// invisible characters become \x.., \u.... or \U........, and so do bytes that
// are not UTF-8. Everything else stays as it is.
func Visible(s string) string {
	if isPlain(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case !isInvisible(r):
			b.WriteString(s[i : i+size])
		case r < utf8.RuneSelf:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
		i += size
	}
	return b.String()
}

// isPlain reports whether s is printable ASCII, which most text is.
func isPlain(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// isInvisible reports whether a character acts on the text around it, or shows
// nothing. The two variation selectors that pick between a text and an emoji
// form (U+FE0E, U+FE0F) do neither and stay.
func isInvisible(r rune) bool {
	if r == 0xfe0e || r == 0xfe0f {
		return false
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp,
		unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point)
}
