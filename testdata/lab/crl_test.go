package lab

// x509.RevocationList makes no lists that break rules.
//
//lint:file-ignore SA1019 pkix.TBSCertificateList is the one type that does

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"math/big"
	"slices"
	"testing"
	"time"
)

// parseCRL parses a list and checks that ca signed it.
func parseCRL(t *testing.T, ca *CA, der []byte) *x509.RevocationList {
	t.Helper()
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		t.Fatal(err)
	}
	if err := list.CheckSignatureFrom(ca.Cert); err != nil {
		t.Fatal(err)
	}
	return list
}

// makeCRL is MakeCRL for a test.
func makeCRL(t *testing.T, ca *CA, c CRL) []byte {
	t.Helper()
	der, err := ca.MakeCRL(c)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestCompleteListOfEveryCA(t *testing.T) {
	for _, kind := range []KeyType{P256, P384, P521, RSA2048} {
		p := newLab(t, Options{CAKey: kind})
		h := issue(t, p, "mallory", Revoked)
		p.CC.Revoke(p.Auth.Cert, time.Now(), 5)
		lists, err := p.CRLs()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			ca      *CA
			revoked []*x509.Certificate
		}{{p.Root, nil}, {p.CC, []*x509.Certificate{p.Auth.Cert}}, {p.Auth, []*x509.Certificate{h.Leaf}}} {
			list := parseCRL(t, c.ca, lists[c.ca.File])
			if n := len(list.RevokedCertificateEntries); n != len(c.revoked) {
				t.Errorf("%s: %d entries, want %d", c.ca.File, n, len(c.revoked))
				continue
			}
			for i, cert := range c.revoked {
				if list.RevokedCertificateEntries[i].SerialNumber.Cmp(cert.SerialNumber) != 0 {
					t.Errorf("%s: another serial number is revoked", c.ca.File)
				}
			}
			if left := time.Until(list.NextUpdate); left < 29*24*time.Hour {
				t.Errorf("%s: the list is good for %v only", c.ca.File, left)
			}
		}
	}
}

func TestRevokeReplacesAndReleaseRemoves(t *testing.T) {
	p := newLab(t, Options{})
	h := issue(t, p, "alice")
	at := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	p.Revoke(h, at, 6)
	p.Revoke(h, at, 1)
	first := parseCRL(t, p.Auth, makeCRL(t, p.Auth, CRL{}))
	if e := first.RevokedCertificateEntries; len(e) != 1 || e[0].ReasonCode != 1 || !e[0].RevocationTime.Equal(at) {
		t.Errorf("entries %+v, want one of reason 1 at %v", e, at)
	}
	p.Auth.Release(h.Leaf)
	second := parseCRL(t, p.Auth, makeCRL(t, p.Auth, CRL{}))
	if len(second.RevokedCertificateEntries) != 0 {
		t.Error("still revoked after its release")
	}
	if second.Number.Cmp(first.Number) <= 0 {
		t.Errorf("CRL number %v after %v", second.Number, first.Number)
	}
}

func TestOddLists(t *testing.T) {
	p := newLab(t, Options{})
	h := issue(t, p, "alice")
	delta := parseCRL(t, p.Auth, makeCRL(t, p.Auth, CRL{
		Number:     big.NewInt(7),
		Entries:    []x509.RevocationListEntry{{SerialNumber: h.Leaf.SerialNumber, RevocationTime: time.Now(), ReasonCode: 8}},
		Extensions: []pkix.Extension{DeltaIndicator(5), IDP{URLs: []string{"http://x/1"}, OnlyUser: true}.Extension()},
	}))
	if delta.Number.Int64() != 7 || delta.RevokedCertificateEntries[0].ReasonCode != 8 {
		t.Errorf("delta %+v", delta)
	}
	for _, id := range []asn1.ObjectIdentifier{{2, 5, 29, 27}, {2, 5, 29, 28}} {
		if !slices.ContainsFunc(delta.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(id) && e.Critical }) {
			t.Errorf("the delta is without critical %v", id)
		}
	}

	bare := parseCRL(t, p.Auth, makeCRL(t, p.Auth, CRL{Edit: func(l *pkix.TBSCertificateList) {
		l.NextUpdate, l.Extensions = time.Time{}, nil
	}}))
	if !bare.NextUpdate.IsZero() || len(bare.Extensions) != 0 {
		t.Errorf("edited list: nextUpdate %v, %d extensions", bare.NextUpdate, len(bare.Extensions))
	}

	stranger, err := P384.Generate()
	if err != nil {
		t.Fatal(err)
	}
	forged, err := x509.ParseRevocationList(makeCRL(t, p.Auth, CRL{Key: stranger}))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(forged.RawIssuer, p.Auth.Cert.RawSubject) || forged.CheckSignatureFrom(p.Auth.Cert) == nil {
		t.Error("a stranger's list passes for the CA's, or has not its name")
	}
}

// The values are what OpenSSL 3 writes for the same, but for the type of the
// CN's string (PrintableString here).
func TestExtensionEncodings(t *testing.T) {
	for _, c := range []struct {
		name string
		ext  pkix.Extension
		want string
	}{
		{"delta", DeltaIndicator(5), "020105"},
		{"IDP", IDP{URLs: []string{"http://x/1"}, OnlyUser: true, Indirect: true, Reasons: []int{1, 6}}.Extension(),
			"301aa00ea00c860a687474703a2f2f782f318101ff830201428401ff"},
		{"CDP", CDP(Point{URLs: []string{"http://x/1"}, Issuer: DN("CN", "x")}),
			"30243022a00ea00c860a687474703a2f2f782f31a210a40e300c310a30080603550403130178"},
		{"freshest", FreshestCRL("http://x/1"), "30123010a00ea00c860a687474703a2f2f782f31"},
		{"issuer", CertificateIssuer(DN("CN", "x")), "3010a40e300c310a30080603550403130178"},
	} {
		if got := hex.EncodeToString(c.ext.Value); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
