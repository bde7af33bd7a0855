package trust

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"chatsecure/proto"
)

// CertificateText shows a certificate to people: seven lines, each with its newline, in
// the original's words and layout. A field that the subject lacks is empty, but a subject
// without a CN stands whole in the first line. Times are UTC.
func CertificateText(leaf *x509.Certificate) string {
	first := func(values []string) string { return slices.Concat(values, []string{""})[0] }
	subject := leaf.Subject
	var b strings.Builder
	for _, field := range []struct{ label, value string }{
		{"Nome           ", SubjectName(leaf)},
		{"Organização    ", first(subject.Organization)},
		{"Identificação  ", subject.SerialNumber},
		{"Instituicao    ", first(subject.OrganizationalUnit)},
		{"País           ", first(subject.Country)},
		{"Válido até     ", leaf.NotAfter.UTC().Format(time.DateTime)},
		{"Válido de      ", leaf.NotBefore.UTC().Format(time.DateTime)},
	} {
		fmt.Fprintf(&b, "%s: %s\n", field.label, proto.Visible(field.value))
	}
	return b.String()
}
