package trust

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"chatsecure/proto"
	"chatsecure/testdata/corpus"
	"chatsecure/testdata/lab"
)

// FuzzCertificate has the lab's authority sign any input. So all checks after the chain's
// signatures see it, and the texts that describe a certificate to people.
func FuzzCertificate(f *testing.F) {
	p := testLab(f)
	v := verifierAt(trustOf(f, p.Root.Cert), nil, PolicyTry, labNow)
	chain := [][]byte{p.Auth.Cert.Raw, p.CC.Cert.Raw}
	// The bytes after the signed part in a certificate of this authority.
	_, rest, ok := derNext(mustInner(f, issue(f, p, "Ana").Leaf.Raw))
	algorithm, _, ok2 := derNext(rest)
	if !ok || !ok2 {
		f.Fatal("the lab's certificates are malformed")
	}
	signed := func(tbs []byte) []byte {
		digest := sha256.Sum256(tbs)
		signature, err := p.Auth.Key.Sign(rand.Reader, digest[:], crypto.SHA256)
		if err != nil {
			f.Fatal(err)
		}
		return der(derSequence, tbs, algorithm.raw, der(derBitString, append([]byte{0}, signature...)))
	}
	var odd [][]byte
	for _, option := range []lab.IssueOption{
		lab.Expired, lab.NotYetValid, lab.RSA2048, lab.WithSubject(lab.DN()), lab.WithSubject(lab.DN("CN", "\x1b[2J\u202e", "O", "O\n")),
		lab.Mutate(func(t *x509.Certificate) { t.IsCA = true }), lab.Mutate(func(t *x509.Certificate) { t.KeyUsage = x509.KeyUsageCRLSign }),
	} {
		odd = append(odd, issue(f, p, "odd", option).Leaf.RawTBSCertificate)
	}
	corpus.Add(f, func(tbs []byte) bool { _, err := v.Certificate(signed(tbs), chain); return err == nil },
		[][]byte{issue(f, p, "Ana").Leaf.RawTBSCertificate, issue(f, p, "Bruno", lab.P384).Leaf.RawTBSCertificate}, odd...)
	f.Fuzz(func(t *testing.T, tbs []byte) {
		raw := signed(tbs)
		if cert, err := x509.ParseCertificate(raw); err == nil {
			text := CertificateText(cert)
			if proto.Visible(strings.ReplaceAll(text, "\n", "")) != strings.ReplaceAll(text, "\n", "") || strings.Count(text, "\n") != 7 {
				t.Fatalf("it is shown as %q", text)
			}
		}
		person, err := v.Certificate(raw, chain)
		if err != nil {
			refused, ok := errors.AsType[*Error](err)
			if !ok || refused.Code == "" {
				t.Fatalf("refused with %T %v", err, err)
			}
			if s := refused.Error(); s == "" || s != proto.Visible(s) {
				t.Fatalf("refused with %q", s)
			}
			return
		}
		leaf := person.Leaf
		roots, issuers := x509.NewCertPool(), x509.NewCertPool()
		roots.AddCert(p.Root.Cert)
		issuers.AddCert(p.Auth.Cert)
		issuers.AddCert(p.CC.Cert)
		_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: issuers, CurrentTime: labNow, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		within := labNow.Add(ClockTolerance).After(leaf.NotBefore) && labNow.Add(-ClockTolerance).Before(leaf.NotAfter.Add(time.Second))
		if err != nil && !strings.Contains(err.Error(), "expired or is not yet valid") || !within || leaf.IsCA {
			t.Fatalf("taken, and crypto/x509 says %v", err)
		}
		if again, err := v.Certificate(raw, chain[:1]); err == nil && again.Identity != person.Identity {
			t.Fatal("with a shorter chain it is another person")
		}
	})
}

// mustInner returns the contents of a SEQUENCE.
func mustInner(t testing.TB, raw []byte) []byte {
	t.Helper()
	inner, ok := derOnly(raw, derSequence)
	if !ok {
		t.Fatal("not one SEQUENCE")
	}
	return inner
}
