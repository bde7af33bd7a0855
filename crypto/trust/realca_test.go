package trust

import (
	"crypto/sha256"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"

	"chatsecure/proto"
)

// realCA reads the real CA certificates of the Cartão de Cidadão, which the project may not ship.
func realCA(t *testing.T) map[string]*x509.Certificate {
	dir := os.Getenv("CHATSECURE_REAL_CA")
	if dir == "" {
		t.Skip("SKIPPED: set CHATSECURE_REAL_CA to a folder with the real CA certificates (DER) to run this")
	}
	certs := make(map[string]*x509.Certificate)
	for _, name := range []string{"CC_Auc0019", "CartaodeCidadao008", "ECRaizEstado002", "ECRaizEstado_MC", "Multicert_Root_01"} {
		der, err := os.ReadFile(filepath.Join(dir, name+".der"))
		if err != nil {
			t.Fatal(err)
		}
		if certs[name], err = x509.ParseCertificate(der); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return certs
}

func mozillaPEM(t testing.TB) []byte {
	t.Helper()
	text, err := os.ReadFile("../../ca-bundle.pem")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// The real authorities lead to the pinned anchors, with the chain in any order. Without the anchor
// in it they lead nowhere.
func TestRealAuthorities(t *testing.T) {
	certs := realCA(t)
	trust, err := NewStore(mozillaPEM(t))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		name   string
		leaf   string
		chain  []string
		anchor string // "" if refused
		length int
	}{
		{"citizen", "CC_Auc0019", []string{"CartaodeCidadao008", "ECRaizEstado002"}, "ECRaizEstado002", 3},
		{"citizen, other order", "CC_Auc0019", []string{"ECRaizEstado002", "CartaodeCidadao008"}, "ECRaizEstado002", 3},
		{"citizen, with the rest", "CC_Auc0019", []string{"Multicert_Root_01", "ECRaizEstado_MC", "ECRaizEstado002", "CartaodeCidadao008"}, "ECRaizEstado002", 3},
		{"without the anchor", "CC_Auc0019", []string{"CartaodeCidadao008"}, "", 0},
		{"without the middle", "CC_Auc0019", []string{"ECRaizEstado002"}, "", 0},
		{"cross-signed", "ECRaizEstado_MC", []string{"Multicert_Root_01"}, "Multicert_Root_01", 2},
		{"wrong anchor", "ECRaizEstado_MC", []string{"ECRaizEstado002"}, "", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			var chain []*x509.Certificate
			for _, name := range test.chain {
				chain = append(chain, certs[name])
			}
			paths, err := trust.paths(certs[test.leaf], chain)
			if err == nil {
				paths, err = validAt(paths, at)
			}
			if test.anchor == "" {
				wantCode(t, err, proto.CertificateUntrusted)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			p := paths[0]
			if p.kind != anchorPinned || p.certs[len(p.certs)-1] != certs[test.anchor] || len(p.certs) != test.length {
				t.Errorf("path of %d to %v (kind %d), want %d to %s", len(p.certs), p.certs[len(p.certs)-1].Subject, p.kind, test.length, test.anchor)
			}
		})
	}
	// The root of a citizen's authority is the first of stateRoots.
	p := path{
		certs:      []*x509.Certificate{nil, certs["CC_Auc0019"], certs["CartaodeCidadao008"], certs["ECRaizEstado002"]},
		stateRoots: stateRoots[:1],
	}
	if !p.isCitizen() {
		t.Error("CC_Auc0019 under 008 under 002 is not taken for a citizen's authority")
	}
	p.certs[3] = certs["Multicert_Root_01"]
	if p.isCitizen() {
		t.Error("an authority directly under MULTICERT is taken for a citizen's")
	}
	if sum := sha256.Sum256(certs["ECRaizEstado_MC"].RawSubjectPublicKeyInfo); sum != stateRoots[1] {
		t.Errorf("the key of ECRaizEstado is %x, not that of the table", sum)
	}
}
