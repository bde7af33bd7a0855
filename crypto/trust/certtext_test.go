package trust

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"strings"
	"testing"
	"time"

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

// Missing fields are empty, times are in UTC, and no field brings a control to the terminal.
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
	whole := issue(t, testLab(t), "nobody", lab.WithSubject(lab.DN("C", "PT", "O", "Lab", "CN", " ", "serialNumber", "BI123\n456"))).Leaf
	if got, want := CertificateText(whole), `Nome           : SERIALNUMBER=BI123\x0a456,CN=\ ,O=Lab,C=PT`+"\nOrganização    : Lab\n"; !strings.HasPrefix(got, want) {
		t.Errorf("without a CN: got\n%s\nwant\n%s", got, want)
	}
	evil := "A\x1b[2J\nNome           : B\u202e\u200b"
	cert.Subject = pkix.Name{
		CommonName: evil, SerialNumber: evil, Organization: []string{evil},
		OrganizationalUnit: []string{evil, "second"}, Country: []string{evil},
	}
	var err error
	cert.RawSubject, err = asn1.Marshal(cert.Subject.ToRDNSequence())
	must(t, err)
	got := CertificateText(cert)
	if lines := strings.Count(got, "\n"); lines != 7 {
		t.Errorf("%d lines, want 7", lines)
	}
	if shown := `A\x1b[2J\x0aNome           : B\u202e\u200b`; strings.Count(got, shown) != 5 {
		t.Errorf("want %s five times in\n%s", shown, got)
	}
}
