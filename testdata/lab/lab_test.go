package lab

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// newLab makes a lab for a test.
func newLab(t *testing.T, opts Options) *PKI {
	t.Helper()
	p, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// issue makes a holder for a test.
func issue(t *testing.T, p *PKI, name string, opts ...IssueOption) *Holder {
	t.Helper()
	h, err := p.Issue(name, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// verify builds the chain from what h carries to the lab's root.
func verify(p *PKI, h *Holder, at time.Time) error {
	pool := x509.NewCertPool()
	for _, c := range h.Chain {
		pool.AddCert(c)
	}
	_, err := h.Leaf.Verify(x509.VerifyOptions{Roots: p.Roots(), Intermediates: pool, CurrentTime: at,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err
}

func TestEveryKeyTypeChains(t *testing.T) {
	for _, ca := range []KeyType{P256, P384, P521, RSA2048} {
		p := newLab(t, Options{CAKey: ca})
		for _, k := range []KeyType{RSA2048, P256, P384} {
			h := issue(t, p, "alice", k)
			if err := verify(p, h, time.Now()); err != nil {
				t.Errorf("%s under %s: %v", k, ca, err)
			}
			if len(h.Chain) != 2 || h.Chain[0] != p.Auth.Cert || h.Chain[1] != p.CC.Cert {
				t.Errorf("%s under %s: the chain is not sub CA, CA", k, ca)
			}
		}
	}
}

func TestSubjectIsThatOfACard(t *testing.T) {
	h := issue(t, newLab(t, Options{}), "alice", WithCivilNumber(CivilNumber("12345678")))
	var dn pkix.RDNSequence
	if _, err := asn1.Unmarshal(h.Leaf.RawSubject, &dn); err != nil {
		t.Fatal(err)
	}
	want := DN("C", "PT", "O", "Cartão de Cidadão", "OU", "Cidadão Português", "OU", "Autenticação do Cidadão",
		"SN", "EXEMPLO", "GN", "ALICE MARIA", "serialNumber", "BI123456789", "CN", "ALICE MARIA EXEMPLO")
	if !reflect.DeepEqual(dn, want) {
		t.Errorf("subject %v, want %v", dn, want)
	}
	if h.Leaf.Issuer.CommonName != "EC de Autenticação do Cartão de Cidadão 0001" {
		t.Errorf("issuer %q", h.Leaf.Issuer.CommonName)
	}
}

func TestWriteMakesABundleCRLsAndCards(t *testing.T) {
	p := newLab(t, Options{})
	issue(t, p, "alice")
	dir := filepath.Join(t.TempDir(), "lab")
	if err := p.Write(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ca-bundle.pem", "intermediates.pem", "crl/root.crl", "crl/cc.crl", "crl/auth.crl", "alice/cert.pem"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	info, err := os.Stat(filepath.Join(dir, "alice/key.pem"))
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("key.pem: %v, %v", info, err)
	}
	pem, _ := os.ReadFile(filepath.Join(dir, "alice/cert.pem"))
	if n := strings.Count(string(pem), "BEGIN CERTIFICATE"); n != 3 {
		t.Errorf("cert.pem has %d certificates, want leaf, sub CA, CA", n)
	}
}

func TestServedStandsWhereTheCertificatesSay(t *testing.T) {
	const base = "http://lab.test/x"
	p := newLab(t, Options{BaseURL: base})
	files, err := p.Served()
	if err != nil {
		t.Fatal(err)
	}
	h := issue(t, p, "alice")
	for _, cert := range append([]*x509.Certificate{h.Leaf}, h.Chain...) {
		issuer, err := x509.ParseCertificate(files[strings.TrimPrefix(cert.IssuingCertificateURL[0], base)])
		if err != nil {
			t.Fatalf("%s: %v", cert.IssuingCertificateURL[0], err)
		}
		if err := cert.CheckSignatureFrom(issuer); err != nil {
			t.Errorf("%s: %v", cert.IssuingCertificateURL[0], err)
		}
		list, err := x509.ParseRevocationList(files[strings.TrimPrefix(cert.CRLDistributionPoints[0], base)])
		if err != nil {
			t.Fatalf("%s: %v", cert.CRLDistributionPoints[0], err)
		}
		if err := list.CheckSignatureFrom(issuer); err != nil {
			t.Errorf("%s: %v", cert.CRLDistributionPoints[0], err)
		}
	}
}
