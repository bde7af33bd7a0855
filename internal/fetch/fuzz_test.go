package fetch

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"net/url"
	"strings"
	"testing"

	"chatsecure/proto"
	"chatsecure/testdata/corpus"
	"chatsecure/testdata/lab/wire"
)

// FuzzIssuers: of an answer for an issuer only authorities' certificates in DER or PEM
// are taken, as crypto/x509 and encoding/pem read them.
func FuzzIssuers(f *testing.F) {
	pki := wire.Lab()
	block := func(typ string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der}) }
	leaf := wire.Person(f, "leaf").Leaf.Raw
	corpus.Add(f, func(b []byte) bool { _, err := parseIssuers(b); return err == nil },
		[][]byte{
			pki.Auth.Cert.Raw, append(block("CERTIFICATE", leaf), block("CERTIFICATE", pki.CC.Cert.Raw)...),
			append(block("X", nil), block("CERTIFICATE", pki.Root.Cert.Raw)...),
		},
		nil, leaf, pki.Auth.Cert.Raw[:200], []byte("\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02"), block("PKCS7", nil), append(pki.Auth.Cert.Raw, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		certs, err := parseIssuers(b)
		if err != nil {
			if certs != nil || err.Error() != proto.Visible(err.Error()) {
				t.Fatalf("%d certificates, and %q", len(certs), err)
			}
			return
		}
		for _, cert := range certs {
			again, err := x509.ParseCertificate(cert.Raw)
			if err != nil || !again.IsCA || len(cert.Raw) > maxIssuer {
				t.Fatalf("taken: %d bytes, %v", len(cert.Raw), err)
			}
		}
		if len(certs) == 0 || len(certs) > 1 && bytes.Count(b, []byte("-----BEGIN ")) < len(certs) {
			t.Fatalf("%d certificates", len(certs))
		}
	})
}

// FuzzFetchURL: an address that is asked names one host over HTTP, and nothing of it
// breaks out of the request, or out of the cache.
func FuzzFetchURL(f *testing.F) {
	corpus.Add(f, func(s string) bool { _, err := parseURL(s); return err == nil },
		[]string{"http://crls.example/a.crl", "HTTP://[::1]:8080/a%20b?c=d", "http://example"},
		"", "https://a/", "http:///a", "http://user@a/", "http://a/#b", "http:a",
		"file:///etc/passwd", "http://a/\r\nHost: b", "http://a b/", "ldap://a/b")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := parseURL(s)
		if err != nil {
			if err.Error() != proto.Visible(err.Error()) {
				t.Fatalf("%q", err)
			}
			return
		}
		line := u.Host + u.RequestURI()
		breaks := strings.ContainsFunc(line, func(r rune) bool { return r <= ' ' || r == 0x7f })
		if u.Scheme != "http" || u.Hostname() == "" || len(s) > maxURL || breaks {
			t.Fatalf("%q is asked as %q of %q", s, u.RequestURI(), u.Host)
		}
		name := nameOf(s)
		back, err := url.PathUnescape(name)
		if err != nil || back != s && len(name) < maxName/5+33 || len(name) > maxName || strings.ContainsAny(name, "/#") || name[0] == '.' {
			t.Fatalf("%q is kept as %q", s, name)
		}
		again, err := url.Parse(u.String())
		if err != nil || again.Host != u.Host || again.RequestURI() != u.RequestURI() {
			t.Fatalf("%q is %q, %v", s, again, err)
		}
	})
}
