package attack

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/town"
)

// TestRow20ListsByPrograms runs the built programs: whatever the form of the list that names a person,
// the relay and the person's own client refuse them with the exit status 4, under try and under
// require. A good person of the same authority gets in, under require unless the form clears nobody.
// Each form has an authority of its own, and all lists lie in one directory.
func TestRow20ListsByPrograms(t *testing.T) {
	bin, err := town.Binaries()
	if err != nil {
		t.Fatal(err)
	}
	pki, err := lab.New(lab.Options{CAKey: lab.P256})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := pki.Write(dir); err != nil {
		t.Fatal(err)
	}
	crl := filepath.Join(dir, "crl")
	for i, form := range lab.ListForms {
		ca, err := pki.NewCA(pki.CC, lab.DN("C", "PT", "O", "Lab", "CN", "EC "+form.Name))
		if err != nil {
			t.Fatal(err)
		}
		for _, who := range []string{"bad", "good"} {
			h, err := pki.Issue(fmt.Sprint(who, i), lab.By(ca))
			if err != nil {
				t.Fatal(err)
			}
			if err := h.WriteCard(filepath.Join(dir, h.Name)); err != nil {
				t.Fatal(err)
			}
			if who == "bad" {
				ca.Revoke(h.Leaf, time.Now().Add(-time.Minute), 1)
			}
		}
		lists, err := form.Lists(ca)
		if err != nil {
			t.Fatal(err)
		}
		for k, der := range lists {
			if err := os.WriteFile(filepath.Join(crl, fmt.Sprintf("form%d-%d.crl", i, k)), der, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	all := &trustPrograms{t: t, bin: bin, dir: t.TempDir(), ca: filepath.Join(dir, "ca-bundle.pem")}
	blind, _, _ := all.relay("-crl-policy", "off", "-fetch=false")
	judges := make(map[string]string)
	for _, policy := range []string{"try", "require"} {
		judges[policy], _, _ = all.relay("-crl", crl, "-crl-policy", policy, "-fetch=false")
	}
	for _, test := range []struct{ command, says string }{
		{"crl", "unusual: it is of version 1\n"},
		{"crl", "clears nobody: it does not say when the next one is due\n"},
		{"-json crl", `"oddity":"it is of version 1"`},
		{"-json crl", `"flaw":"it does not say when the next one is due"`},
		{"doctor", "form1-0.crl of \"EC version 1\": unusual: it is of version 1\n"},
	} {
		args := append([]string{"-fetch=false", "-crl", crl}, strings.Fields(test.command)...)
		r := town.RunCommand(t, all.client("good1", filepath.Join(dir, "good1"), blind, args...), "")
		if !strings.Contains(r.Stdout, test.says) {
			t.Errorf("%s does not say %q: %+v", test.command, test.says, r)
		}
		if strings.Contains(r.Stdout, "another") && test.command == "doctor" {
			t.Errorf("doctor tells of other lists: %s", r.Stdout)
		}
	}
	for i, form := range lab.ListForms {
		t.Run(form.Name, func(t *testing.T) {
			t.Parallel()
			p := &trustPrograms{t: t, bin: bin, dir: all.dir, ca: all.ca}
			run := func(who, addr string, args ...string) town.Result {
				name := fmt.Sprint(who, i)
				return town.RunCommand(t, p.client(name, filepath.Join(dir, name), addr, append(args, "-fetch=false", "list")...), "")
			}
			for policy, relay := range judges {
				own := []string{"-crl", crl, "-crl-policy", policy}
				p.wantRefused("the revoked one, by the relay under "+policy, run("bad", relay, "-crl-policy", "off"), "was revoked")
				p.wantRefused("the revoked one, by the own client under "+policy, run("bad", blind, own...), "was revoked")
				byRelay, byClient := run("good", relay, "-crl-policy", "off"), run("good", blind, own...)
				switch {
				case policy == "require" && !form.Clears:
					p.wantRefused("the good one, by the relay under require", byRelay, "is not known: ")
					p.wantRefused("the good one, by the own client under require", byClient, "is not known: ")
					if said := byRelay.Stderr + byClient.Stderr; strings.Contains(said, "is at hand, ") || strings.Contains(said, "no revocation list") {
						t.Errorf("the list is told to be absent: %s", said)
					}
				case byRelay.Status != 0 || byClient.Status != 0:
					t.Errorf("the good one under %s: by the relay %+v, by the own client %+v", policy, byRelay, byClient)
				case form.Clears:
					p.wantOK("the good one, by the relay under "+policy, byRelay)
					p.wantOK("the good one, by the own client under "+policy, byClient)
				}
			}
		})
	}
}
