package trust

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"strings"

	"chatsecure/proto"
)

// pemCertificate is a certificate of a file in PEM.
type pemCertificate struct {
	der     []byte
	subject []byte // Name in DER
	line    int    // where its block begins
}

// PEMCertificates returns the certificates in a file in PEM, in DER. It refuses a file with a
// damaged block.
func PEMCertificates(text []byte) (ders [][]byte, err error) {
	certs, _, err := readCertificates(text)
	for _, c := range certs {
		ders = append(ders, c.der)
	}
	return ders, err
}

// readCertificates reads a file of certificates in PEM. A damaged block is an error with its
// line. One that is no certificate is left out and noticed.
func readCertificates(text []byte) (certs []pemCertificate, notices []string, err error) {
	if err := notPEM(text); err != nil {
		return nil, nil, err
	}
	blocks := proto.NewPEM(bytes.NewReader(text))
	var block bytes.Buffer
	for {
		if err := blocks.Next(); err == io.EOF {
			return certs, notices, nil
		} else if err != nil {
			return nil, nil, err
		}
		refuse := func(why string) ([]pemCertificate, []string, error) {
			return nil, nil, fmt.Errorf("line %d: %s", blocks.Line, why)
		}
		switch label := blocks.Type; {
		case label == "CERTIFICATE" || label == "X509 CERTIFICATE":
		case label == "TRUSTED CERTIFICATE":
			return refuse("a certificate in a form of OpenSSL's own; " +
				"openssl x509 -in FILE -out FILE.pem converts it, the first of several only")
		case label == "PKCS7" || label == "CMS":
			return refuse("a PKCS#7 file; openssl pkcs7 -print_certs -in FILE -out FILE.pem takes the certificates out")
		case strings.HasSuffix(label, "PRIVATE KEY"):
			notices = append(notices, fmt.Sprintf("line %d: a private key is left out; "+
				"it belongs to its owner alone, so take it out of this file",
				blocks.Line))
			continue
		default:
			notices = append(notices, fmt.Sprintf("line %d: %s is left out, because it is no certificate", blocks.Line, shownText(label)))
			continue
		}
		block.Reset()
		if _, err := block.ReadFrom(blocks); err != nil {
			return nil, nil, err
		}
		der := bytes.Clone(block.Bytes())
		subject, ok := rawSubject(der)
		if !ok {
			return refuse("the certificate is damaged")
		}
		certs = append(certs, pemCertificate{der, subject, blocks.Line})
	}
}

// notPEM names the form of a file in DER, and the command that converts it.
func notPEM(data []byte) error {
	if IsCertificate(data) {
		return errors.New("it is in DER, not in PEM; openssl x509 -inform DER -in FILE -out FILE.pem converts it")
	}
	if bytes.Contains(data[:min(len(data), 32)], oidSignedData) {
		return errors.New("it is a PKCS#7 file; openssl pkcs7 -inform DER -print_certs -in FILE -out FILE.pem takes the certificates out")
	}
	if _, ok := derOnly(data, derSequence); ok {
		return errors.New("it is in DER, not in PEM, and no certificate")
	}
	return nil
}

// oidSignedData is 1.2.840.113549.1.7.2 in DER: RFC 5652, section 5.1.
var oidSignedData = []byte{0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02}

// IsCertificate reports whether data has the form of one certificate in DER.
func IsCertificate(data []byte) bool {
	_, ok := rawSubject(data)
	return ok
}

// unusable returns a sentence about a certificate of the user's if it cannot serve as it was
// meant, and whether it is to be left out.
func (c pemCertificate) unusable() (notice []string, leftOut bool) {
	name := shownText(nameText(c.subject))
	cert, err := x509.ParseCertificate(c.der)
	switch {
	case err != nil:
		return []string{fmt.Sprintf("line %d: the certificate of %s is left out, because it is not supported: %s",
			c.line, name, shownCause(err))}, true
	case sameName(cert.RawIssuer, cert.RawSubject) && !isSelfSigned(cert) &&
		(len(cert.AuthorityKeyId) == 0 || bytes.Equal(cert.AuthorityKeyId, cert.SubjectKeyId)):
		return []string{fmt.Sprintf("line %d: the certificate of %s is no root, "+
			"because its signature is not by its own key: it may be damaged", c.line, name)}, false
	}
	return nil, false
}
