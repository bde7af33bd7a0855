package crypto

import (
	"crypto/x509"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"chatsecure/proto"
)

// TrustError is why an identity is refused.
type TrustError struct {
	Code   proto.Code // of the certificate and delegation families, bundle-malformed or name-mismatch
	Reason string     // a sentence for people, safe to print; it has no civil number in it
	Hint   string     // what to do about it; may be empty
}

// Error returns the reason.
func (e *TrustError) Error() string { return e.Reason }

// Refusal returns what a person is told: code, sentence and hint.
func (e *TrustError) Refusal() (proto.Code, string, string) { return e.Code, e.Reason, e.Hint }

const (
	// maxShownName bounds the names of strangers in a sentence, in characters.
	maxShownName = 64
	// maxShownCause bounds an error from below, in characters.
	maxShownCause = 240
	// civilDigits is how many digits in a row are taken for a number that
	// identifies somebody. Some countries put it into the CN.
	civilDigits = 5
)

// shownName is how a sentence names a certificate: by its CN, made visible, and
// without what could be a civil number.
func shownName(cert *x509.Certificate) string {
	return shownText(cert.Subject.CommonName)
}

// shownIssuer is shownName for the issuer of a certificate.
func shownIssuer(cert *x509.Certificate) string {
	return shownText(cert.Issuer.CommonName)
}

func shownText(s string) string {
	if s == "" {
		return "(without a name)"
	}
	return `"` + Visible(maskDigits(cutShort(s, maxShownName))) + `"`
}

// shownCause is how a sentence gives an error of crypto/x509, which has names
// of strangers in it.
func shownCause(err error) string {
	return Visible(maskDigits(cutShort(strings.TrimPrefix(err.Error(), "x509: "), maxShownCause)))
}

func cutShort(s string, most int) string {
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most]) + "..."
}

// maskDigits replaces every run of civilDigits or more digits by stars. Digits
// may be of any script, and one separator between two of them does not end a
// run.
func maskDigits(s string) string {
	runes := []rune(s)
	for i := 0; i < len(runes); {
		if !unicode.IsDigit(runes[i]) {
			i++
			continue
		}
		end, digits := i, 0
		for j := i; j < len(runes); j++ {
			if unicode.IsDigit(runes[j]) {
				digits++
				end = j + 1
			} else if j > end || !strings.ContainsRune(" .-/", runes[j]) {
				break
			}
		}
		if digits >= civilDigits {
			for k := i; k < end; k++ {
				runes[k] = '*'
			}
		}
		i = end
	}
	return string(runes)
}

// shownTime is how a sentence gives a time.
func shownTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") + " UTC" }
