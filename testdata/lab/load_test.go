package lab

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestLoadGoesOnWithTheSameLab(t *testing.T) {
	dir := t.TempDir()
	p := newLab(t, Options{BaseURL: "http://lab.test/x"})
	alice := issue(t, p, "alice")
	issue(t, p, "bruno", NoCA)
	issue(t, p, "mallory", Revoked)
	issue(t, p, "trudy", Untrusted)
	if Exists(dir) {
		t.Error("an empty directory is a lab")
	}
	if err := p.Write(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "crl", "auth.crl")); err != nil { // someone tries things
		t.Fatal(err)
	}
	if !Exists(dir) {
		t.Error("a lab is none")
	}

	q, err := Load(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(q.Holders()); n != 4 {
		t.Fatalf("%d holders, want 4", n)
	}
	for i, h := range q.Holders() {
		was := p.Holders()[i]
		if h.Name != was.Name || !h.Leaf.Equal(was.Leaf) || len(h.Chain) != len(was.Chain) {
			t.Errorf("%s: not what was written", was.Name)
		}
		if (h.Issuer == nil) != (h.Name == "trudy") {
			t.Errorf("%s: issuer %v", h.Name, h.Issuer)
		}
	}
	carla := issue(t, q, "carla")
	if err := verify(p, carla, time.Now()); err != nil {
		t.Errorf("issued after loading: %v", err)
	}
	if got := carla.Leaf.CRLDistributionPoints[0]; got != "http://lab.test/x/crl/auth.crl" {
		t.Errorf("base URL: %s", got)
	}
	q.Revoke(q.Holders()[0], time.Now(), 1)
	if err := q.Write(dir); err != nil {
		t.Fatal(err)
	}
	der, err := os.ReadFile(filepath.Join(dir, "crl", "auth.crl"))
	if err != nil {
		t.Fatal(err)
	}
	list := parseCRL(t, p.Auth, der)
	if list.Number.Int64() != 2 || len(list.RevokedCertificateEntries) != 2 ||
		list.RevokedCertificateEntries[1].SerialNumber.Cmp(alice.Leaf.SerialNumber) != 0 {
		t.Errorf("list %v after loading: %+v", list.Number, list.RevokedCertificateEntries)
	}
}

func TestNamesThatWouldHurtTheLab(t *testing.T) {
	for _, name := range []string{"", ".", "..", "../x", "a/b", "ca", "crl", "tokens", ".hidden", "/etc"} {
		p := newLab(t, Options{CAKey: P256})
		issue(t, p, name)
		if err := p.Write(t.TempDir()); err == nil {
			t.Errorf("%q was written", name)
		}
	}
}
