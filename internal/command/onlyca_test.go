package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"chatsecure/internal/fail"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
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
		sys, _, stderr := fakeSystem("")
		roots, err := os.ReadFile(file("mozilla", "ca-bundle.pem"))
		if err != nil {
			t.Fatal(err)
		}
		sys.Roots, sys.OpenTTY = roots, noTTY
		return sys, stderr.String
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
