package command

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chatsecure/internal/fail"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/town"
)

// TestOnlyCA: with -only-ca the roots of that file are trusted and no others, not even those
// of Mozilla's list. One's own certificate under another root is named in words.
func TestOnlyCA(t *testing.T) {
	dir := t.TempDir()
	labs := map[string]*lab.PKI{}
	for _, name := range []string{"ours", "mozilla"} {
		pki, err := lab.New(lab.Options{CAKey: lab.P256})
		if err == nil {
			_, err = pki.Issue("alice")
		}
		if err == nil {
			err = pki.Write(filepath.Join(dir, name))
		}
		if err != nil {
			t.Fatal(err)
		}
		labs[name] = pki
	}
	file := func(parts ...string) string { return filepath.Join(append([]string{dir}, parts...)...) }
	system := func() (System, func() string) {
		sys, stdout, stderr := fakeSystem("")
		roots, err := os.ReadFile(file("mozilla", "ca-bundle.pem"))
		if err != nil {
			t.Fatal(err)
		}
		sys.Roots, sys.OpenTTY = roots, noTTY
		return sys, func() string { return stdout.String() + stderr.String() }
	}
	for _, c := range []struct {
		args    string
		trusted map[string]bool
	}{
		{"", map[string]bool{"mozilla": true}},
		{"-ca-bundle " + file("ours", "ca-bundle.pem"), map[string]bool{"mozilla": true, "ours": true}},
		{"-only-ca " + file("ours", "ca-bundle.pem"), map[string]bool{"ours": true}},
	} {
		sys, _ := system()
		s := signerOf(t, sys, append(strings.Fields(c.args), "-crl-policy", "off")...)
		for name, pki := range labs {
			alice := pki.Holders()[0]
			_, err := s.verifier.Certificate(alice.Leaf.Raw, alice.ChainDER())
			if (err == nil) != c.trusted[name] || err != nil && !fail.HasCode(err, proto.CertificateUntrusted) {
				t.Errorf("%q: somebody under the root of %s: %v", c.args, name, err)
			}
		}
	}

	for _, c := range []struct {
		what, roots string
		status      int
		says        []string
	}{
		{"no root", file("ours", "intermediates.pem"), 2, []string{"-only-ca", "no root in it"}},
		{"another's root", file("ours", "ca-bundle.pem"), 4, []string{"your own certificate", "ALICE", "-only-ca", file("ours", "ca-bundle.pem")}},
	} {
		for _, command := range []string{"list", "doctor"} {
			sys, said := system()
			args := []string{
				"-batch", "-only-ca", c.roots, "-crl-policy", "off", "-fetch=false", "-relay", "127.0.0.1:1",
				"-name", "alice", "-card", file("mozilla", "alice"), "-state", file("state-" + command + c.what), command,
			}
			if status := Run(args, sys); status != c.status {
				t.Errorf("%s, %s: exit status %d, said %q", c.what, command, status, said())
			}
			for _, word := range c.says {
				if !strings.Contains(strings.ToUpper(said()), strings.ToUpper(word)) {
					t.Errorf("%s, %s: said %q, want %q in it", c.what, command, said(), word)
				}
			}
			if strings.Contains(said(), "-ca-bundle") {
				t.Errorf("%s, %s: the hint names an option that -only-ca excludes: %q", c.what, command, said())
			}
		}
	}
}

// TestOwnFaultyCertificate: a fault of one's own certificate is told once, and a hint about the
// root comes only where the root is what is missing. doctor says what connecting says.
func TestOwnFaultyCertificate(t *testing.T) {
	dir := t.TempDir()
	pki, err := lab.New(lab.Options{CAKey: lab.P256})
	if err != nil {
		t.Fatal(err)
	}
	authority := func(name string, opts ...lab.IssueOption) *lab.CA {
		ca, err := pki.NewCA(pki.Root, lab.DN("C", "PT", "CN", name), opts...)
		if err != nil {
			t.Fatal(err)
		}
		return ca
	}
	unknown := pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}
	roots := filepath.Join(dir, "roots.pem")
	for name, c := range map[string]struct {
		by    *lab.CA
		chain bool
		says  string
		hint  string // none: ""
	}{
		"extension": {authority("Critical", lab.Mutate(func(c *x509.Certificate) { c.ExtraExtensions = append(c.ExtraExtensions, unknown) })), true, "critical extension", ""},
		"none":      {authority("No CA", lab.Mutate(func(c *x509.Certificate) { c.IsCA = false })), true, "is none", ""},
		"missing":   {authority("Missing"), false, "is not at hand", "name "},
	} {
		holder, err := pki.Issue(name, lab.By(c.by))
		if err != nil {
			t.Fatal(err)
		}
		if !c.chain {
			holder.Chain = nil
		}
		card := filepath.Join(dir, name)
		if err := holder.WriteCard(card); err != nil {
			t.Fatal(err)
		}
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pki.Root.Cert.Raw})
		if err := os.WriteFile(roots, text, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, option := range []string{"-ca-bundle", "-only-ca"} {
			for _, command := range []string{"list", "doctor"} {
				sys, stdout, stderr := fakeSystem("")
				sys.OpenTTY = noTTY
				args := []string{
					"-batch", option, roots, "-crl-policy", "off", "-fetch=false", "-relay", "127.0.0.1:1",
					"-name", "alice", "-card", card, "-state", filepath.Join(dir, "state"), command,
				}
				status := Run(args, sys)
				said := stderr.String()
				if command == "doctor" {
					_, said, _ = strings.Cut(stdout.String(), "\nfailed  chain ")
					said, _, _ = strings.Cut(said, "\n")
				}
				hinted := strings.Contains(said, "hint: ")
				if status != 4 || strings.Count(said, c.says) != 1 || hinted != (c.hint != "") || !strings.Contains(said, c.hint) ||
					c.hint != "" && !strings.Contains(said, "with "+option) || strings.Contains(said, " or -only-ca") {
					t.Errorf("%s, %s %s: exit status %d, said %q", name, option, command, status, said)
				}
			}
		}
	}
}

// TestUnsupportedInBundle: a certificate in -ca-bundle that cannot be used is left out, by doctor
// as by connecting.
func TestUnsupportedInBundle(t *testing.T) {
	w := town.New(t, town.People("alice"))
	root, err := os.ReadFile(w.Path("lab", "ca-bundle.pem"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(root)
	// A serial number below zero.
	i := bytes.Index(block.Bytes, []byte{0xa0, 3, 2, 1, 2, 2})
	block.Bytes[i+7] |= 0x80
	both := w.Path("both.pem")
	if err := os.WriteFile(both, append(pem.EncodeToMemory(block), root...), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"list", "doctor"} {
		if r := w.Run("", "alice", "-ca-bundle", both, command); r.Status != 0 {
			t.Errorf("%s: %+v", command, r)
		}
	}
}

// TestOwnClockTolerance: clocks may differ, so a card passes a few minutes before and after its
// time, as everybody else's does.
func TestOwnClockTolerance(t *testing.T) {
	now := time.Now()
	window := func(from, to time.Duration) []lab.IssueOption {
		return []lab.IssueOption{lab.Window(now.Add(from), now.Add(to))}
	}
	const day = 24 * time.Hour
	w := town.New(t, map[string][]lab.IssueOption{
		"early": window(4*time.Minute, day), "late": window(-day, -3*time.Minute),
		"tooearly": window(10*time.Minute, day), "toolate": window(-day, -6*time.Minute),
	})
	for name, status := range map[string]int{"early": 0, "late": 0, "tooearly": 4, "toolate": 4} {
		if r := w.Run("", name, "list"); r.Status != status || status != 0 && strings.Count(r.Stderr, "the clock here says") != 1 {
			t.Errorf("%s: %+v", name, r)
		}
	}
}
