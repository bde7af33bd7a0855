package fetch

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/wire"
)

// issuers fetches the issuers of Alice's certificate.
func (side *program) issuers(have ...[]byte) ([][]byte, error) {
	return side.Issuers(context.Background(), side.scene.Alice.Leaf.Raw, have, false)
}

func (side *program) issuersDir() string { return issuersIn(side.cfg.State).dir }

// keepIssuers puts certificates into the cache, as if they had been fetched long ago.
func (side *program) keepIssuers(name string, ders ...[]byte) {
	t := side.scene.T
	t.Helper()
	c := issuersIn(side.cfg.State)
	err := c.open(side.scene.now())
	for i, der := range ders {
		address := side.scene.Web.URL + name
		if i > 0 {
			address += fmt.Sprint(i)
		}
		path := filepath.Join(c.dir, nameOf(address))
		long := side.scene.now().Add(-time.Hour)
		err = errors.Join(err, os.WriteFile(path, der, 0o600), os.Chtimes(path, long, long))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (s *scene) wantIssuers(got [][]byte, want ...*lab.CA) {
	s.T.Helper()
	var names, wanted []string
	for _, der := range got {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			s.T.Fatal(err)
		}
		names = append(names, cert.Subject.CommonName)
	}
	for _, ca := range want {
		wanted = append(wanted, ca.Cert.Subject.CommonName)
	}
	if !slices.Equal(names, wanted) {
		s.T.Errorf("the issuers are %q, not %q", names, wanted)
	}
}

func TestFetchIssuers(t *testing.T) {
	s := newScene(t, lab.NoCA)
	side := s.open(trust.PolicyTry)
	got, err := side.issuers()
	if err != nil {
		t.Fatal(err)
	}
	s.wantIssuers(got, s.PKI.Auth, s.PKI.CC, s.PKI.Root)
	s.WantRequests("200 /aia/auth.crt", "200 /aia/cc.crt", "200 /aia/root.crt")
	person, err := side.verifier.Certificate(s.Alice.Leaf.Raw, got[:2])
	if err != nil || person.Leaf.Subject.CommonName != s.Alice.Leaf.Subject.CommonName {
		t.Errorf("%v, %v", person, err)
	}

	// Again, with the server gone: from the cache.
	side.Close()
	s.Web.Close()
	again := s.open(trust.PolicyTry, func(cfg *Config) { cfg.Off = true })
	got, err = again.issuers()
	if err != nil {
		t.Fatal(err)
	}
	s.wantIssuers(got, s.PKI.Auth, s.PKI.CC, s.PKI.Root)
	for _, entry := range readDir(t, again.issuersDir()) {
		if info, err := entry.Info(); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s has the mode %v (%v)", entry.Name(), info.Mode(), err)
		}
	}
}

// TestFetchIssuersAtHand: a certificate at hand is not asked for.
func TestFetchIssuersAtHand(t *testing.T) {
	s := newScene(t, lab.NoCA)
	side := s.open(trust.PolicyTry)
	got, err := side.issuers(s.PKI.Auth.Cert.Raw, s.PKI.Root.Cert.Raw)
	if err != nil {
		t.Fatal(err)
	}
	s.wantIssuers(got, s.PKI.Auth, s.PKI.CC, s.PKI.Root)
	s.WantRequests("200 /aia/cc.crt")
}

// TestFetchIssuersEnded: an expired certificate in the cache is fetched again, and serves
// if there is no other.
func TestFetchIssuersEnded(t *testing.T) {
	s := newScene(t, lab.NoCA)
	side := s.open(trust.PolicyTry)
	ended := s.authority(s.PKI.CC, lab.Window(s.now().Add(-48*time.Hour), s.now().Add(-24*time.Hour)))
	side.keepIssuers("/aia/auth.crt", ended)
	above := [][]byte{s.PKI.CC.Cert.Raw, s.PKI.Root.Cert.Raw}
	s.Serve("/aia/auth.crt", http.NotFound)
	got, err := side.issuers(above...)
	wire.WantCode(t, err, proto.CertificateUntrusted, "was fetched: ", "/aia/auth.crt")
	s.wantIssuers(got, s.PKI.Auth, s.PKI.CC, s.PKI.Root)
	if !bytes.Equal(got[0], ended) {
		t.Error("another than the one at hand was found")
	}
	s.WantRequests("404 /aia/auth.crt")
	s.Serve("/aia/auth.crt", func(w http.ResponseWriter, _ *http.Request) { w.Write(ended) })
	_, err = side.issuers(above...)
	wire.WantCode(t, err, proto.CertificateUntrusted, "the fetched certificate ended on", "/aia/auth.crt")
	s.WantRequests("200 /aia/auth.crt")
	s.Serve("/aia/auth.crt", nil)
	for range 2 {
		got, err := side.issuers(above...)
		if err != nil {
			t.Fatal(err)
		}
		s.wantIssuers(got[:3], s.PKI.Auth, s.PKI.CC, s.PKI.Root)
		if !bytes.Equal(got[0], s.PKI.Auth.Cert.Raw) {
			t.Error("the one that has ended was found again")
		}
	}
	s.WantRequests("200 /aia/auth.crt")
}

// authority returns a certificate of the lab's sub CA, signed by another CA.
func (s *scene) authority(by *lab.CA, opts ...lab.IssueOption) []byte {
	s.T.Helper()
	var name pkix.RDNSequence
	if _, err := asn1.Unmarshal(s.PKI.Auth.Cert.RawSubject, &name); err != nil {
		s.T.Fatal(err)
	}
	ca, err := s.PKI.NewCA(by, name, append(opts, lab.WithKey(s.PKI.Auth.Key))...)
	if err != nil {
		s.T.Fatal(err)
	}
	return ca.Cert.Raw
}

// TestFetchIssuersAgain: cached certificates that lead nowhere are fetched again on
// demand, but never the user's own.
func TestFetchIssuersAgain(t *testing.T) {
	s := newScene(t, lab.NoCA)
	side := s.open(trust.PolicyTry)
	other, err := s.PKI.NewCA(nil, lab.DN("CN", "Nobody"))
	if err != nil {
		t.Fatal(err)
	}
	side.keepIssuers("/aia/auth.crt", s.authority(other), other.Cert.Raw)
	find := func(side *program, again bool) error {
		t.Helper()
		got, err := side.Issuers(context.Background(), s.Alice.Leaf.Raw, [][]byte{s.PKI.CC.Cert.Raw, s.PKI.Root.Cert.Raw}, again)
		if err != nil {
			t.Fatal(err)
		}
		_, err = side.verifier.Certificate(s.Alice.Leaf.Raw, append(got, s.PKI.CC.Cert.Raw))
		return err
	}
	wire.WantCode(t, find(side, false), proto.CertificateUntrusted, "does not lead to a trusted authority")
	s.WantRequests()
	for range 2 { // the second time it was asked a moment ago
		if err := find(side, true); err != nil {
			t.Error(err)
		}
	}
	s.WantRequests("200 /aia/auth.crt")
	// It has taken the place of the other in the cache.
	if err := find(s.open(trust.PolicyTry), false); err != nil {
		t.Error(err)
	}
	s.WantRequests()
}

// TestFetchIssuersRoom: a full cache gives up the certificate fetched longest ago.
func TestFetchIssuersRoom(t *testing.T) {
	s := newScene(t, lab.NoCA)
	side := s.open(trust.PolicyTry)
	side.keepIssuers("/other.crt", slices.Repeat([][]byte{s.PKI.Root.Cert.Raw}, maxIssuers)...)
	if _, err := side.issuers(s.PKI.CC.Cert.Raw, s.PKI.Root.Cert.Raw); err != nil {
		t.Fatal(err)
	}
	if n := len(readDir(t, side.issuersDir())); n != maxIssuers {
		t.Errorf("%d certificates are in the cache", n)
	}
	if !slices.ContainsFunc(CachedIssuers(side.cfg.State), func(der []byte) bool { return bytes.Equal(der, s.PKI.Auth.Cert.Raw) }) {
		t.Error("the last one is not in the cache")
	}
}

func TestFetchIssuersFailures(t *testing.T) {
	other, err := lab.New(lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	write := func(data []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.Write(data) }
	}
	pkcs7 := []byte("\x30\x82\x10\x00\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02")
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		why    string
	}{
		{"missing", http.NotFound, "404"},
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/aia/root.crt", http.StatusMovedPermanently)
		}, "not followed"},
		{"empty", write(nil), "there is no authority's certificate in it"},
		{"garbage", write([]byte("hello")), "there is no authority's certificate in it"},
		{"PKCS#7", write(pkcs7), "a PKCS#7 file; openssl pkcs7 "},
		{"PKCS#7 in PEM", write(pemOf("PKCS7", pkcs7)), "a PKCS#7 file; openssl pkcs7 "},
		{"PEM without one", write(pemOf("PRIVATE KEY", []byte{1})), "there is no authority's certificate in it"},
		{"another CA of that name", write(other.Auth.Cert.Raw), "of another authority"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t, lab.NoCA)
			s.Serve("/aia/cc.crt", c.answer)
			side := s.open(trust.PolicyTry)
			got, err := side.issuers()
			wire.WantCode(t, err, proto.CertificateUntrusted, c.why, "Cartão de Cidadão 001", s.Web.URL+"/aia/cc.crt")
			s.wantIssuers(got, s.PKI.Auth)
			if n := len(readDir(t, side.issuersDir())); n != 1 {
				t.Errorf("%d certificates were kept", n)
			}
		})
	}
}

func TestFetchIssuersPEM(t *testing.T) {
	s := newScene(t, lab.NoCA)
	bag := slices.Concat([]byte("# all\n"), pemOf("CERTIFICATE", s.PKI.CC.Cert.Raw), pemOf("CERTIFICATE", s.PKI.Auth.Cert.Raw))
	s.ServeFile("/aia/auth.crt", bag)
	got, err := s.open(trust.PolicyTry).issuers()
	if err != nil {
		t.Fatal(err)
	}
	s.wantIssuers(got, s.PKI.Auth, s.PKI.CC, s.PKI.Root)
}

// TestFetchIssuersUnkept: a certificate that cannot be kept counts all the same.
func TestFetchIssuersUnkept(t *testing.T) {
	s := newScene(t, lab.NoCA)
	side := s.open(trust.PolicyTry)
	if err := os.WriteFile(side.issuersDir(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := side.issuers()
	if err != nil {
		t.Fatal(err)
	}
	s.wantIssuers(got, s.PKI.Auth, s.PKI.CC, s.PKI.Root)
	if told := strings.Join(side.notices, "\n"); strings.Count(told, "it counts, but cannot be kept") != 3 {
		t.Errorf("told: %q", told)
	}
}

func TestFetchIssuersNoPlace(t *testing.T) {
	s := newScene(t, lab.NoCA, lab.Mutate(func(c *x509.Certificate) {
		c.IssuingCertificateURL = []string{"ldap://directory/x", "https://elsewhere/x"}
	}))
	_, err := s.open(trust.PolicyTry).issuers()
	wire.WantCode(t, err, proto.CertificateUntrusted, "its place is not named")
	s.WantRequests()
}

func TestFetchIssuersPoisoned(t *testing.T) {
	s := newScene(t, lab.NoCA)
	side := s.open(trust.PolicyTry)
	if _, err := side.issuers(); err != nil {
		t.Fatal(err)
	}
	s.Requests()
	for _, entry := range readDir(t, side.issuersDir()) {
		if err := flipByte(filepath.Join(side.issuersDir(), entry.Name()), 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(side.issuersDir(), "README"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := side.issuers(); err != nil {
		t.Fatal(err)
	}
	s.WantRequests("200 /aia/auth.crt", "200 /aia/cc.crt", "200 /aia/root.crt")
	if n := len(readDir(t, side.issuersDir())); n != 4 {
		t.Errorf("%d files are there", n)
	}
}

// TestIssuerStaysInItsQuotes: the name of an authority cannot go on as the sentence.
func TestIssuerStaysInItsQuotes(t *testing.T) {
	issuer := pkix.Name{CommonName: `Raiz" is at hand, not "Outra`}
	err := noIssuer(&x509.Certificate{Issuer: issuer}, "it is not asked")
	if want := `the authority "Raiz\" is at hand, not \"Outra" was fetched: `; !strings.Contains(err.Error(), want) {
		t.Errorf("%q does not hold %s", err, want)
	}
}
