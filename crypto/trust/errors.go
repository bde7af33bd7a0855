package trust

import (
	"cmp"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"chatsecure/proto"
)

// Error is the refusal of an identity.
type Error struct {
	Code   proto.Code // of the certificate and delegation families, bundle-malformed or name-mismatch
	Reason string     // a sentence for people, safe to print and without a civil number
	Hint   string     // a remedy on this machine; may be empty
	Other  string     // the sentence for the side that is refused, where Reason speaks of this machine; else ""
	// Places has the lists that may change a verdict on revocation: remembered with it, they
	// cost no second search for paths.
	Places []CRLFetch
}

// Error returns the reason.
func (e *Error) Error() string { return e.Reason }

// refuse returns an Error without a hint.
func refuse(code proto.Code, format string, args ...any) *Error {
	return &Error{Code: code, Reason: fmt.Sprintf(format, args...)}
}

// Told returns the sentence for the side that is refused. It names no file of this machine.
func (e *Error) Told() (proto.Code, string) { return e.Code, cmp.Or(e.Other, e.Reason) }

// Refusal returns code, sentence and hint.
func (e *Error) Refusal() (proto.Code, string, string) { return e.Code, e.Reason, e.Hint }

const (
	// maxShownName bounds the names of strangers in a sentence, in characters.
	maxShownName = 64
	// maxShownCause bounds an error of crypto/x509, in characters.
	maxShownCause = 240
)

// SubjectName returns the name of a certificate's owner for people, not made visible: the
// CN, or the whole subject in the form of RFC 2253 if it has none.
func SubjectName(cert *x509.Certificate) string {
	return shownOr(cert.Subject.CommonName, cert.RawSubject)
}

// IssuerName is SubjectName for the certificate's issuer.
func IssuerName(cert *x509.Certificate) string {
	return shownOr(cert.Issuer.CommonName, cert.RawIssuer)
}

// maxNameParts bounds the parts of a Name that is shown whole. Strangers choose their number.
const maxNameParts = 32

// shownOr returns a CN, or the whole Name where it is blank.
func shownOr(commonName string, der []byte) string {
	if strings.TrimSpace(commonName) != "" {
		return commonName
	}
	return nameText(der)
}

// nameText is SubjectName for a Name in DER.
func nameText(der []byte) string {
	commonName, whole := readName(der)
	return cmp.Or(strings.TrimSpace(commonName), whole)
}

// readName returns the CN of a Name in DER, and the whole Name in the form of RFC 2253.
func readName(der []byte) (commonName, whole string) {
	var rdns pkix.RDNSequence
	if rest, err := asn1.Unmarshal(der, &rdns); err != nil || len(rest) != 0 {
		return "", ""
	}
	var name pkix.Name
	name.FillFromRDNSequence(&rdns)
	return name.CommonName, rdns[:min(len(rdns), maxNameParts)].String()
}

// shownName names a certificate in a sentence: made visible, with digits that could be a
// civil number masked.
func shownName(cert *x509.Certificate) string {
	return shownText(SubjectName(cert))
}

// shownIssuer is shownName for the certificate's issuer.
func shownIssuer(cert *x509.Certificate) string {
	return shownText(IssuerName(cert))
}

// shownText quotes a stranger's text.
func shownText(s string) string {
	if s == "" {
		return "(without a name)"
	}
	return proto.Quote(maskDigits(cutShort(s, maxShownName)))
}

// shownCause shows an error of crypto/x509, which may name strangers. Its own OIDs and
// addresses are nobody's number.
func shownCause(err error) string {
	text := cutShort(strings.TrimPrefix(err.Error(), "x509: "), maxShownCause)
	shown, from := "", 0
	for _, own := range libraryNumber.FindAllStringIndex(text, -1) {
		shown += maskDigits(text[from:own[0]]) + text[own[0]:own[1]]
		from = own[1]
	}
	return proto.Visible(shown + maskDigits(text[from:]))
}

var libraryNumber = regexp.MustCompile(`(OID|IP address) "[0-9a-f.:]+"`)

// cutShort keeps the first characters of s.
func cutShort(s string, most int) string {
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most]) + "..."
}

// civilNumberRun is a run of digits, of any script, that may identify somebody: some countries
// put such a number into the CN. A single separator between two digits does not end it.
var civilNumberRun = regexp.MustCompile(`\p{Nd}([ ./-]?\p{Nd}){4,}`)

// maskDigits replaces each such run by stars.
func maskDigits(s string) string {
	if !strings.ContainsFunc(s, unicode.IsDigit) {
		return s
	}
	return civilNumberRun.ReplaceAllStringFunc(s, func(run string) string { return strings.Repeat("*", utf8.RuneCountInString(run)) })
}

// shownTime shows a time.
func shownTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") + " UTC" }
