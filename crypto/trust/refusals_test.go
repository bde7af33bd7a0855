package trust

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"chatsecure/testdata/lab"
)

var update = flag.Bool("update", false, "write the golden files anew")

// refusal is one case of the table of refusals.
type refusal struct {
	name string
	err  error
}

// TestRefusals holds the table of all refusals, with their sentences and hints, and holds that
// every sentence in the source is in it.
func TestRefusals(t *testing.T) {
	var table bytes.Buffer
	for _, r := range slices.Concat(refusedBundles(t), refusedDelegations(t), refusedCertificates(t), refusedPaths(t), refusedByLists(t)) {
		refused, ok := errors.AsType[*Error](r.err)
		if !ok {
			t.Errorf("%s: %v is no refusal", r.name, r.err)
			continue
		}
		wantSentence(t, refused.Reason)
		fmt.Fprintf(&table, "%s\n    %s: %s\n", r.name, refused.Code, refused.Reason)
		if refused.Hint != "" {
			wantSentence(t, refused.Hint)
			fmt.Fprintf(&table, "    hint: %s\n", refused.Hint)
		}
		if code, told := refused.Told(); code != refused.Code || told != refused.Reason {
			wantSentence(t, told)
			fmt.Fprintf(&table, "    told: %s\n", told)
		}
	}
	const golden = "testdata/refusals.golden"
	if *update {
		must(t, os.WriteFile(golden, table.Bytes(), 0o644))
	}
	want, err := os.ReadFile(golden)
	must(t, err)
	if !bytes.Equal(table.Bytes(), want) {
		t.Errorf("the table differs from %s (run with -update, and read what git diff says):\n%s", golden, table.Bytes())
	}
	for _, sentence := range sentences(t) {
		// These refuse nobody, or a fetched list, or one of megabytes.
		other := []string{"it is of another authority", "revocation is not looked at", "no revocation list names it",
			"a list signed with Ed25519 may have ", "the revocation list has more than "}
		if !slices.Contains(other, sentence) && !strings.Contains(table.String(), sentence) {
			t.Errorf("no refusal in the table says %q", sentence)
		}
	}
}

// sentences returns the longest literal piece of every sentence in the source of the files that
// refuse.
func sentences(t *testing.T) (found []string) {
	t.Helper()
	verb := regexp.MustCompile(`%[a-z]`)
	for _, name := range []string{"bundle.go", "certificate.go", "check.go", "delegation.go", "explain.go", "issuers.go", "path.go", "pathcheck.go", "person.go", "verifier.go",
		"lookup.go", "crl.go", "crlentries.go", "crlextensions.go", "crlsignature.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Clean(name), nil, 0)
		must(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			literal, ok := n.(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				return true
			}
			text, err := strconv.Unquote(literal.Value)
			must(t, err)
			longest := ""
			for _, piece := range verb.Split(text, -1) {
				if len(piece) > len(longest) {
					longest = piece
				}
			}
			if strings.Count(strings.TrimSpace(longest), " ") >= 2 {
				found = append(found, longest)
			}
			return true
		})
	}
	if len(found) < 60 {
		t.Fatalf("%d sentences in the source", len(found))
	}
	return found
}

// refusedBundles are refused by Bundle.Check and by what parses a bundle.
func refusedBundles(t *testing.T) (list []refusal) {
	p := testLab(t)
	h := issue(t, p, "Ana")
	v := verifierAt(trustOf(t, p.Root.Cert), nil, PolicyTry, labNow)
	for _, test := range []struct {
		name string
		edit func(*Bundle)
	}{
		{"bundle without a name", func(b *Bundle) { b.Name = "" }},
		{"bundle without K", func(b *Bundle) { b.PublicKey = nil }},
		{"bundle without a delegation", func(b *Bundle) { b.Signature = []byte{} }},
		{"bundle without a certificate", func(b *Bundle) { b.X509 = nil }},
		{"bundle with null for a chain", func(b *Bundle) { b.Chain = nil }},
		{"bundle with nine certificates", func(b *Bundle) { b.Chain = slices.Repeat([][]byte{{0}}, MaxCertificates) }},
		{"bundle with an empty certificate", func(b *Bundle) { b.Chain = [][]byte{{}} }},
		{"bundle over 20 KiB", func(b *Bundle) { b.X509, b.Chain = []byte{0}, [][]byte{make([]byte, MaxChainBytes)} }},
		{"bundle from before 1970", func(b *Bundle) { b.NotBefore = -1 }},
		{"bundle with a delegation that ends first", func(b *Bundle) { b.NotAfter = b.NotBefore - 1 }},
		{"bundle with a delegation of two days", func(b *Bundle) { b.NotAfter = b.NotBefore + 2*86400 }},
		{"bundle with null for a mailbox", func(b *Bundle) { b.Mailbox = nil }},
		{"bundle with half a mailbox", func(b *Bundle) { b.Mailbox, b.MailboxEnd = make([]byte, 16), b.NotAfter }},
		{"bundle with a mailbox without an end", func(b *Bundle) { b.Mailbox = make([]byte, 32) }},
		{"bundle with a mailbox for a month", func(b *Bundle) { b.Mailbox, b.MailboxEnd = make([]byte, 32), b.NotBefore+30*86400 }},
		{"bundle with a K of another kind", func(b *Bundle) { b.PublicKey = []byte("key") }},
		{"bundle with something for a certificate", func(b *Bundle) { b.X509 = []byte("certificate") }},
		{"bundle with something in its chain", func(b *Bundle) { b.Chain = [][]byte{[]byte("certificate")} }},
	} {
		_, err := v.Verify(delegate(t, h, func(b *Bundle) { b.Signature = []byte{1} }, test.edit), "Ana")
		if test.name == "bundle without a name" {
			_, err = v.Verify(delegate(t, h, func(b *Bundle) { b.Signature = []byte{1} }, test.edit), "")
		}
		list = append(list, refusal{test.name, err})
	}
	_, err := v.Verify(delegate(t, h), "Rui")
	return append(list, refusal{"bundle of another name", err})
}

func refusedDelegations(t *testing.T) (list []refusal) {
	p := testLab(t)
	trust := trustOf(t, p.Root.Cert)
	h := issue(t, p, "Ana")
	at := func(when time.Time, edit ...func(*Bundle)) error {
		_, err := verifierAt(trust, nil, PolicyTry, when).Verify(delegate(t, h, edit...), "Ana")
		return err
	}
	short := issue(t, p, "Ana", lab.Window(labNow.Add(-time.Hour), labNow.Add(time.Hour)))
	_, beyond := verifierAt(trust, nil, PolicyTry, labNow).Verify(delegate(t, short), "Ana")
	_, boxed := verifierAt(trust, nil, PolicyTry, labNow).Verify(delegate(t, short, func(b *Bundle) {
		b.NotAfter, b.Mailbox, b.MailboxEnd = labNow.Unix(), make([]byte, 32), labNow.Add(2*time.Hour).Unix()
	}), "Ana")
	_, future := verifierAt(trust, nil, PolicyTry, labNow).verifyAt(delegate(t, h), "Ana", labNow.Add(time.Hour))
	_, past := verifierAt(trust, nil, PolicyTry, labNow).verifyAt(delegate(t, h), "Ana", labNow.Add(-24*time.Hour))
	return []refusal{
		{"delegation that was to come", past},
		{"delegation by another card", at(labNow, func(b *Bundle) { b.Signature = []byte{1} })},
		{"delegation beyond the certificate", beyond},
		{"mailbox beyond the certificate", boxed},
		{"delegation that has ended", at(labNow.Add(24 * time.Hour))},
		{"delegation that is to come", at(labNow.Add(-24 * time.Hour))},
		{"bundle at a time that is to come", future},
	}
}

// refusedCertificates are the tables of TestRow20Certificates under the user's own root.
func refusedCertificates(t *testing.T) (list []refusal) {
	p := testLab(t)
	trust := trustOf(t, p.Root.Cert)
	for _, test := range slices.Concat(faultyChains(t, p), faultyAuthorities(t, p), faultyLeaves(t)) {
		h := issue(t, p, "Ana", test.opts...)
		if test.chain != nil {
			h.Chain = test.chain
		}
		_, err := lookAt(trust, h.Leaf, h.Chain)
		list = append(list, refusal{test.name, err})
	}
	unknown := *issue(t, p, "Ana").Leaf
	unknown.PublicKey, unknown.PublicKeyAlgorithm = nil, x509.UnknownPublicKeyAlgorithm
	negative := *issue(t, p, "Ana").Leaf
	negative.SerialNumber = big.NewInt(-1)
	return append(list, refusal{"key of an unknown kind", checkLeaf(&unknown)}, refusal{"negative serial number", checkLeaf(&negative)})
}

// refusedPaths are refused for the certificates above the leaf.
func refusedPaths(t *testing.T) (list []refusal) {
	p := testLab(t)
	trust := trustOf(t, p.Root.Cert)
	add := func(name string, trust *Store, h *lab.Holder, chain ...*x509.Certificate) {
		if chain == nil {
			chain = h.Chain
		}
		_, err := lookAt(trust, h.Leaf, chain)
		list = append(list, refusal{name, err})
	}
	add("authority with a false signature", trust, issue(t, p, "Ana", lab.By(newCA(t, p, p.Root, "Authority", lab.Forged))))
	small := newCA(t, p, nil, "Trusted")
	add("false signatures under a trusted root", trustOf(t, small.Cert), falseOf(t, p, small, lab.P256))
	large := newCA(t, p, nil, "Trusted", lab.P384)
	add("more false signatures than are checked", trustOf(t, large.Cert), falseOf(t, p, large, lab.P384))
	ca := newCA(t, p, p.Root, "Authority")
	odd := *ca.Cert
	odd.PublicKey = nil
	add("authority with a key of another kind", trust, issue(t, p, "Ana", lab.By(ca)), &odd)
	add("root that is not trusted", trust, issue(t, p, "Ana", lab.Untrusted), newCA(t, p, nil, "Other root").Cert)
	other := newCA(t, p, nil, "Other root")
	add("root at hand that is not trusted", trust, issue(t, p, "Ana", lab.By(other)), other.Cert)
	add("parameters that are not known", trust, holderOf(t, p, func(c *x509.Certificate) { c.SignatureAlgorithm = x509.UnknownSignatureAlgorithm }))
	add("mail constraint", trust, issue(t, p, "Ana", lab.By(newCA(t, p, p.Root, "Mail", lab.Mutate(func(c *x509.Certificate) {
		c.PermittedDNSDomainsCritical, c.PermittedEmailAddresses = true, []string{"host.example"}
	}))), lab.Mutate(func(c *x509.Certificate) { c.EmailAddresses = []string{"ana@sub.host.example"} })))
	add("URI constraint", trust, issue(t, p, "Ana", lab.By(newCA(t, p, p.Root, "URIs", lab.Mutate(func(c *x509.Certificate) {
		c.PermittedDNSDomainsCritical, c.PermittedURIDomains = true, []string{"host.example"}
	}))), lab.Mutate(func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "http", Host: "sub.host.example"}} })))
	add("policy that is required", trust, issue(t, p, "Ana", lab.By(newCA(t, p, p.Root, "Strict", lab.Mutate(func(c *x509.Certificate) {
		c.Policies = nil
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: oidPolicyConstraints, Critical: true, Value: []byte{0x30, 0x03, 0x80, 0x01, 0x00}})
	})))))
	add("any policy mapped", trust, issue(t, p, "Ana", lab.By(newCA(t, p, p.Root, "Mapping", lab.Mutate(func(c *x509.Certificate) {
		anyPolicy := der(derOID, []byte{0x55, 0x1d, 0x20, 0})
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{
			Id: asn1.ObjectIdentifier{2, 5, 29, 33}, Critical: true, Value: der(derSequence, der(derSequence, anyPolicy, anyPolicy))})
	})))))
	gone := newCA(t, p, p.Root, "Gone", lab.Window(labNow.Add(-4*time.Hour), labNow.Add(-2*time.Minute)))
	add("certificates that are never valid together", trust, issue(t, p, "Ana", lab.By(gone), lab.Window(labNow.Add(-time.Minute), labNow.Add(time.Hour))))
	mozilla, err := NewStore(pemOf(p.Root.Cert))
	must(t, err)
	add("usage for servers", mozilla, issue(t, p, "Ana", lab.Mutate(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })))
	add("citizen without a number", pinnedTo(t, p.Root.Cert), issue(t, p, "Ana", lab.WithSubject(lab.DN("C", "PT", "CN", "Ana"))), append(p.Auth.Path(), p.Root.Cert)...)
	// Three levels of three certificates each: 27 ways.
	var crossed []*x509.Certificate
	parent, top := p.Root, p.Root
	for level := range 3 {
		key := newCA(t, p, top, "Level").Key
		for range 3 {
			parent = newCA(t, p, top, fmt.Sprint("Level ", level), lab.WithKey(key))
			crossed = append(crossed, parent.Cert)
		}
		top = parent
	}
	add("more ways than are looked at", trust, issue(t, p, "Ana", lab.By(top)), crossed...)
	return list
}

// refusedByLists are refused for what is known of their revocation, or under -crl-policy
// require for what is not.
func refusedByLists(t *testing.T) (list []refusal) {
	var odd []refusal
	p := newLab(t)
	s := newFormScene(t, p, "List")
	trust := trustOf(t, p.Root.Cert)
	add := func(name string, b *Bundle, store *CRLStore) {
		_, err := verifierAt(trust, store, PolicyRequire, labNow).Verify(b, b.Name)
		list = append(list, refusal{name, err})
	}
	made := func(ca *lab.CA, c lab.CRL) []byte {
		der, err := ca.MakeCRL(c)
		must(t, err)
		return der
	}
	entries := s.ca.Entries()
	add("no list", s.good, s.holding(t))
	add("revoked", s.bad, s.holding(t, made(s.ca, lab.CRL{Entries: entries})))
	add("list that was due", s.good, s.holding(t, made(s.ca, lab.CRL{Entries: entries, ThisUpdate: labNow.Add(-48 * time.Hour), NextUpdate: labNow.Add(-time.Hour)})))
	add("list of tomorrow", s.good, s.holding(t, made(s.ca, lab.CRL{Entries: entries, ThisUpdate: labNow.Add(24 * time.Hour), NextUpdate: labNow.Add(48 * time.Hour)})))
	add("list for authorities", s.good, s.holding(t, made(s.ca, lab.CRL{Entries: entries, Extensions: []pkix.Extension{lab.IDP{OnlyCA: true}.Extension()}})))
	add("list of some reasons", s.good, s.holding(t, made(s.ca, lab.CRL{Entries: entries, Extensions: []pkix.Extension{lab.IDP{Reasons: []int{1}}.Extension()}})))
	key, err := lab.P256.Generate()
	must(t, err)
	add("list by another key", s.good, s.holding(t, made(s.ca, lab.CRL{Key: key})))
	renewed := newCA(t, p, p.CC, "EC List")
	with := *s.good
	with.Chain = append([][]byte{renewed.Cert.Raw}, s.good.Chain...)
	add("list by another key that leads to the root", &with, s.holding(t, made(renewed, lab.CRL{})))
	named := *s.ca.Cert
	named.SubjectKeyId = []byte("another")
	add("list that names another key", s.good, s.holding(t, made(s.ca.With(&named, s.ca.Key), lab.CRL{Key: key})))
	add("revoked at an unknown time", s.bad, s.holding(t, made(s.ca, lab.CRL{Entries: entries, Damage: func(tbs *lab.DER) {
		tbs.Parts[5].Parts[0].Parts[1].Body = []byte("long ago")
	}})))
	add("delta without a number", s.good, s.holding(t, made(s.ca, lab.CRL{Extensions: []pkix.Extension{lab.DeltaIndicator(1)}, Damage: func(tbs *lab.DER) {
		list := tbs.Parts[6].Parts[0]
		list.Parts = slices.DeleteFunc(list.Parts, func(e *lab.DER) bool { return string(e.Parts[0].Body) == "\x55\x1d\x14" })
	}})))
	add("list with more in its file", s.good, s.holding(t, append(made(s.ca, lab.CRL{}), 0)))
	for _, file := range []struct {
		name string
		der  []byte
	}{
		{"list with two algorithms", made(s.ca, lab.CRL{Outer: func(algorithm *lab.DER) { algorithm.Parts[0].Body[7] = 3 }})},
		{"list with an algorithm that is not known", bytes.ReplaceAll(made(s.ca, lab.CRL{}),
			[]byte("\x2a\x86\x48\xce\x3d\x04\x03\x02"), []byte("\x2a\x86\x48\xce\x3d\x04\x01\x02"))},
		{"list that is cut short", made(s.ca, lab.CRL{})[:200]},
	} {
		store, dir := s.holding(t), t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, "list.crl"), file.der, 0o600))
		if problems := store.LoadDir(dir); len(problems) != 1 {
			t.Errorf("%s: %v", file.name, problems)
		}
		_, err := verifierAt(trust, store, PolicyRequire, labNow).Verify(s.good, s.good.Name)
		refused, ok := errors.AsType[*Error](err)
		if !ok {
			t.Fatal(err)
		}
		refused.Reason = strings.ReplaceAll(refused.Reason, dir, "DIR")
		list = append(list, refusal{file.name, refused})
	}
	for name, e := range map[string]pkix.Extension{
		"deltas in an unusual form":      {Id: oidFreshestCRL, Value: []byte{5, 0}},
		"truth value in an unusual form": {Id: oidKeyUsage, Critical: true, Value: []byte{5, 0}},
	} {
		store := s.holding(t, made(s.ca, lab.CRL{Extensions: []pkix.Extension{e}, Damage: func(tbs *lab.DER) {
			for _, e := range tbs.Parts[6].Parts[0].Parts {
				if e.Parts[1].Tag == derBoolean {
					e.Parts[1].Body = []byte{1}
				}
			}
		}}))
		for _, info := range store.List() {
			if info.Oddity != "" {
				odd = append(odd, refusal{"odd list: " + name, &Error{Code: "accepted", Reason: info.Oddity}})
			}
		}
	}
	mute := newFormScene(t, p, "Mute", usage(x509.KeyUsageCertSign))
	allowed := *mute.ca.Cert
	allowed.KeyUsage |= x509.KeyUsageCRLSign
	add("list by an authority that may not sign lists", mute.good, mute.holding(t, made(mute.ca.With(&allowed, mute.ca.Key), lab.CRL{})))
	long := newCA(t, p, p.Root, "Long", lab.Mutate(func(c *x509.Certificate) { c.SerialNumber = new(big.Int).Lsh(big.NewInt(1), 160) }))
	add("authority whose number stands in no list", delegate(t, issue(t, p, "Ana", lab.By(long))), s.holding(t, made(long, lab.CRL{})))
	ended := delegate(t, issue(t, p, "Ana", lab.By(s.ca), lab.Window(labNow.Add(-3*time.Hour), labNow.Add(-time.Hour))),
		func(b *Bundle) {
			b.NotBefore, b.NotAfter = labNow.Add(-2*time.Hour).Unix(), labNow.Add(-time.Hour).Unix()
		})
	_, err = verifierAt(trust, s.holding(t, made(s.ca, lab.CRL{ThisUpdate: labNow})), PolicyRequire, labNow).verifyAt(ended, "Ana", labNow.Add(-90*time.Minute))
	list = append(list, refusal{"list from after the certificate's end", err})
	for _, form := range lab.ListForms {
		s := newFormScene(t, p, "Form")
		lists, err := form.Lists(s.ca)
		must(t, err)
		store := s.holding(t, lists...)
		if !form.Clears {
			add("list: "+form.Name, s.good, store)
			continue
		}
		for _, info := range store.List() {
			if info.Oddity != "" {
				odd = append(odd, refusal{"odd list: " + form.Name, &Error{Code: "accepted", Reason: info.Oddity}})
			}
		}
	}
	slices.SortFunc(odd, func(a, b refusal) int { return strings.Compare(a.name, b.name) })
	return append(list, odd...)
}

// holderOf is a holder whose parsed certificate is changed.
func holderOf(t *testing.T, p *lab.PKI, edit func(*x509.Certificate)) *lab.Holder {
	h := issue(t, p, "Ana")
	leaf := *h.Leaf
	edit(&leaf)
	h.Leaf = &leaf
	return h
}
