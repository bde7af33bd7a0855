package main

import (
	"bytes"
	"crypto/x509"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"chatsecure/testdata/lab"
)

// pki runs the command and wants this exit status, and silence on standard
// error if that is 0.
func pki(t *testing.T, status int, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	if got := run(args, &out, &errs); got != status {
		t.Fatalf("pki %s: exit status %d, want %d\n%s", strings.Join(args, " "), got, status, errs.String())
	}
	if status == 0 && errs.Len() > 0 {
		t.Errorf("pki %s: %s", strings.Join(args, " "), errs.String())
	}
	return out.String(), errs.String()
}

// revoked reads the sub CA's list and returns the serial numbers on it.
func revoked(t *testing.T, dir string) map[string]bool {
	t.Helper()
	der, err := os.ReadFile(filepath.Join(dir, "crl", "auth.crl"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		t.Fatal(err)
	}
	serials := make(map[string]bool)
	for _, e := range list.RevokedCertificateEntries {
		serials[e.SerialNumber.String()] = true
	}
	return serials
}

// card loads the lab and returns the leaf of a holder.
func card(t *testing.T, dir, name string) *x509.Certificate {
	t.Helper()
	p, err := lab.Load(dir, lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	h := holder(p, name)
	if h == nil {
		t.Fatalf("%s is not in the lab", name)
	}
	return h.Leaf
}

func TestMakesALabThatCanBeUsedAndGoneOnWith(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "the lab")
	out, _ := pki(t, 0, "-out", dir, "alice", "bruno", "carla:p384,noca", "mallory:ec,revoked")
	paths := regexp.MustCompile(`'[^']*/the lab/[^']*'`).FindAllString(out, -1)
	if len(paths) < 4 {
		t.Errorf("%d paths in the printed commands:\n%s", len(paths), out)
	}
	for _, path := range paths {
		path = strings.Trim(path, "'")
		if _, err := os.Stat(path); err != nil && !strings.Contains(path, "/state/") {
			t.Errorf("a printed command names what is not there: %v", err)
		}
	}
	if n := strings.Count(out, "bin/client "); n != 4 {
		t.Errorf("%d client commands, want 4:\n%s", n, out)
	}
	alice, bruno := card(t, dir, "alice"), card(t, dir, "bruno")
	if alice.PublicKeyAlgorithm != x509.ECDSA || bruno.PublicKeyAlgorithm != x509.RSA {
		t.Errorf("keys %v and %v, want ECDSA and RSA", alice.PublicKeyAlgorithm, bruno.PublicKeyAlgorithm)
	}
	mallory := card(t, dir, "mallory").SerialNumber.String()
	if r := revoked(t, dir); len(r) != 1 || !r[mallory] {
		t.Errorf("revoked %v, want mallory's %s", r, mallory)
	}

	pki(t, 0, "-out", dir, "-append", "-revoke", "alice,bruno", "bruno:renew", "david")
	renewed := card(t, dir, "bruno")
	if renewed.Subject.String() != bruno.Subject.String() || renewed.Equal(bruno) {
		t.Error("bruno's new card is not a renewed one")
	}
	r := revoked(t, dir)
	if len(r) != 3 || !r[mallory] || !r[alice.SerialNumber.String()] || !r[bruno.SerialNumber.String()] {
		t.Errorf("revoked %v, want mallory, alice and bruno's old card", r)
	}
	if !card(t, dir, "alice").Equal(alice) {
		t.Error("-append changed alice's card")
	}
	if out, _ := pki(t, 0, "-out", dir, "-append"); strings.Contains(out, "bin/client") {
		t.Errorf("new lists, and somebody's command:\n%s", out)
	}
	if len(revoked(t, dir)) != 3 {
		t.Error("the new lists have lost somebody")
	}
}

func TestRefusals(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lab")
	pki(t, 0, "-out", dir, "alice", "trudy:untrusted")
	before, err := os.ReadFile(filepath.Join(dir, "alice", "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	taken := t.TempDir()
	if err := os.WriteFile(filepath.Join(taken, "ca-bundle.pem"), []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		status int
		args   []string
		says   string
	}{
		{1, []string{"-out", dir, "bob"}, "has a lab already"},
		{1, []string{"-out", dir, "-append", "alice"}, "has a card in this lab already"},
		{1, []string{"-out", dir, "-append", "bob:renew"}, "no card to renew"},
		{1, []string{"-out", dir, "-append", "-revoke", "bob"}, "bob has no card"},
		{1, []string{"-out", dir, "-append", "-revoke", "trudy"}, "trudy has no card of this lab"},
		{1, []string{"-out", filepath.Join(dir, "none"), "-append", "bob"}, "no lab to append to"},
		{1, []string{"-out", taken, "bob"}, "is no lab's"},
		{2, []string{"bob"}, "no -out"},
		{2, []string{"-out", dir}, "no NAME"},
		{2, []string{"-out", taken, "bob", "bob:rsa"}, "named twice"},
		{2, []string{"-out", taken, "bob:dsa"}, `no option "dsa"`},
		{2, []string{"-out", taken, "../bob"}, "cannot be the name"},
		{2, []string{"-out", taken, "crl"}, "cannot be the name"},
		{2, []string{"-out", taken, "-revoke", "bob", "bob"}, "-revoke without -append"},
		{2, []string{"-out", dir, "-append", "-softhsm"}, "-softhsm without a NAME"},
		{2, []string{"-out", dir, "-append", "-base-url", "http://x"}, "-base-url with -append"},
		{2, []string{"-wrong"}, "-wrong"},
	} {
		out, errs := pki(t, c.status, c.args...)
		if !strings.Contains(errs, c.says) || !strings.Contains(errs, "error: ") || out != "" {
			t.Errorf("pki %s: standard output %q, standard error %q, want %q", strings.Join(c.args, " "), out, errs, c.says)
		}
	}
	if after, err := os.ReadFile(filepath.Join(dir, "alice", "key.pem")); err != nil || !bytes.Equal(before, after) {
		t.Errorf("a refusal changed alice's key (%v)", err)
	}
	if mine, err := os.ReadFile(filepath.Join(taken, "ca-bundle.pem")); err != nil || string(mine) != "mine" {
		t.Errorf("a refusal changed another's file (%v)", err)
	}
}

func TestTokensAndServedLab(t *testing.T) {
	lab.NeedSoftHSM(t)
	dir := filepath.Join(t.TempDir(), "lab")
	out, _ := pki(t, 0, "-out", dir, "-softhsm", "-base-url", "http://127.0.0.1:9999/", "alice")
	for _, want := range []string{"export SOFTHSM2_CONF=" + filepath.Join(dir, "softhsm2.conf"), "pkcs11:token=alice?module-path=/",
		"-pin-file " + filepath.Join(dir, "alice", "pin"), "-fetch-private"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if got := card(t, dir, "alice").IssuingCertificateURL[0]; got != "http://127.0.0.1:9999/aia/auth.crt" {
		t.Errorf("AIA %s", got)
	}
	info, err := os.Stat(filepath.Join(dir, "alice", "pin"))
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("pin: %v, %v", info, err)
	}
	pki(t, 0, "-out", dir, "-append", "-softhsm", "bruno")
	tokens, err := os.ReadDir(filepath.Join(dir, "tokens"))
	if err != nil || len(tokens) != 2 {
		t.Errorf("%d tokens after -append, want 2 (%v)", len(tokens), err)
	}
}

func TestHelpGoesToStandardOutput(t *testing.T) {
	for _, flag := range []string{"-h", "-help"} {
		if out, _ := pki(t, 0, flag); !strings.Contains(out, "usage: ") || !strings.Contains(out, "-base-url") {
			t.Errorf("%s: %q", flag, out)
		}
	}
}

func TestQuote(t *testing.T) {
	for s, want := range map[string]string{"a/b.pem": "a/b.pem", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$x": "'$x'"} {
		if got := quote(s); got != want {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
	}
}
