package trust

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure/proto"
	"chatsecure/testdata/lab"
)

// meshOf are seven authorities of one name that all certify each other as far as seven
// certificates can, and a leaf under the first.
func meshOf(t testing.TB, p *lab.PKI, key lab.KeyType) *lab.Holder {
	t.Helper()
	var cas []*lab.CA
	for range MaxChainCertificates {
		cas = append(cas, newCA(t, p, nil, "Mesh", key))
	}
	h := issue(t, p, "Ana", lab.By(cas[0]), key)
	h.Chain = nil
	for i, ca := range cas {
		h.Chain = append(h.Chain, newCA(t, p, cas[(i+1)%len(cas)], "Mesh", lab.WithKey(ca.Key)).Cert)
	}
	return h
}

// falseOf is a holder whose chain has only certificates that name ca as their issuer, and that
// another key of its kind has signed.
func falseOf(t testing.TB, p *lab.PKI, ca *lab.CA, key lab.KeyType, edit ...lab.IssueOption) *lab.Holder {
	t.Helper()
	other, err := key.Generate()
	must(t, err)
	named := *ca.Cert
	named.PublicKey = other.Public()
	false := &lab.CA{Cert: &named, Key: other, File: "other"}
	h := issue(t, p, "Ana", append([]lab.IssueOption{lab.By(false)}, edit...)...)
	h.Chain = nil
	for range MaxChainCertificates - 1 {
		// Of the leaf's issuer's name, so that each may be above the leaf.
		twin, err := p.NewCA(false, lab.DN("C", "PT", "O", "Lab", "CN", ca.Cert.Subject.CommonName), edit...)
		must(t, err)
		h.Chain = append(h.Chain, twin.Cert)
	}
	return h
}

// noKeyID leaves the key identifiers out.
var noKeyID = lab.Mutate(func(c *x509.Certificate) { c.SubjectKeyId, c.AuthorityKeyId = nil, nil })

// TestStrangersBuyNoWork: without a signature of a trusted authority no signature is checked,
// and with the name of one only few.
func TestStrangersBuyNoWork(t *testing.T) {
	p := testLab(t)
	root := func(key lab.KeyType) *lab.CA { return newCA(t, p, nil, "Trusted", key) }
	small, large, huge := root(lab.P256), root(lab.P384), root(lab.P521)
	mesh := meshOf(t, p, lab.P521)
	for _, test := range []struct {
		name  string
		h     *lab.Holder
		trust *lab.CA
		most  int
	}{
		{"cross-signed strangers", mesh, small, 0},
		{"false ones of P-256", falseOf(t, p, small, lab.P256), small, maxFalse + 1},
		{"false ones of P-384", falseOf(t, p, large, lab.P384), large, 8},
		{"false ones of P-521", falseOf(t, p, huge, lab.P521), huge, 30},
	} {
		look := trustOf(t, test.trust.Cert).gather(test.h.Leaf, test.h.Chain)
		if len(look.candidates) < MaxChainCertificates {
			t.Errorf("%s: %d candidates", test.name, len(look.candidates))
		}
		err := look.reach()
		wantCode(t, err, proto.CertificateUntrusted)
		if look.wasted > test.most || test.most > 0 && look.wasted == 0 {
			t.Errorf("%s: work of %d, at most %d is allowed", test.name, look.wasted, test.most)
		}
	}
}

// TestRenewedKeyWithoutKeyIdentifiers: an honest chain may cost a signature that does not hold.
func TestRenewedKeyWithoutKeyIdentifiers(t *testing.T) {
	p := testLab(t)
	old, renewed := newCA(t, p, p.Root, "Renewed", noKeyID), newCA(t, p, p.Root, "Renewed", noKeyID)
	trust := trustOf(t, p.Root.Cert)
	for _, ca := range []*lab.CA{old, renewed} {
		h := issue(t, p, "Ana", lab.By(ca), noKeyID)
		for _, chain := range [][]*x509.Certificate{{old.Cert, renewed.Cert}, {renewed.Cert, old.Cert}} {
			if _, err := lookAt(trust, h.Leaf, chain); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestWrongKeyIdentifier: a key identifier helps to choose, and decides nothing.
func TestWrongKeyIdentifier(t *testing.T) {
	p := testLab(t)
	ca := newCA(t, p, p.Root, "Authority")
	named := *ca.Cert
	named.SubjectKeyId = []byte("another")
	middle := newCA(t, p, &lab.CA{Cert: &named, Key: ca.Key, File: "other"}, "Below")
	h := issue(t, p, "Ana", lab.By(middle))
	if _, err := lookAt(trustOf(t, p.Root.Cert), h.Leaf, []*x509.Certificate{middle.Cert, ca.Cert}); err != nil {
		t.Error(err)
	}
}

// asUTF8 is ca under the same name in UTF8String, upper case and with more spaces, as the
// certificates that it issues may write it.
func asUTF8(t testing.TB, ca *lab.CA) *lab.CA {
	t.Helper()
	var dn pkix.RDNSequence
	_, err := asn1.Unmarshal(ca.Cert.RawSubject, &dn)
	must(t, err)
	for _, rdn := range dn {
		for i := range rdn {
			text := " " + strings.ReplaceAll(strings.ToUpper(rdn[i].Value.(string)), " ", "  ")
			rdn[i].Value = asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte(text)}
		}
	}
	named := *ca.Cert
	named.RawSubject, err = asn1.Marshal(dn)
	must(t, err)
	return &lab.CA{Cert: &named, Key: ca.Key, Parent: ca.Parent, File: ca.File}
}

// TestNamesOfAuthorities: RFC 5280, section 7.1, for the names in a path.
func TestNamesOfAuthorities(t *testing.T) {
	p := testLab(t)
	ca := newCA(t, p, asUTF8(t, p.Root), "Other String Type")
	h := issue(t, p, "Ana", lab.By(asUTF8(t, ca)))
	if bytes.Equal(h.Leaf.RawIssuer, ca.Cert.RawSubject) {
		t.Fatal("the names are equal")
	}
	if _, err := lookAt(trustOf(t, p.Root.Cert), h.Leaf, []*x509.Certificate{ca.Cert}); err != nil {
		t.Error(err)
	}
	// Nor do constraints lose it, which crypto/x509 checks.
	strict := newCA(t, p, asUTF8(t, p.Root), "Constrained", constrainedTo("example.com"))
	for name, ok := range map[string]bool{"a.example.com": true, "a.example.org": false} {
		h := issue(t, p, "Ana", lab.By(asUTF8(t, strict)), dnsName(name))
		if _, err := lookAt(trustOf(t, p.Root.Cert), h.Leaf, []*x509.Certificate{strict.Cert}); (err == nil) != ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSelfIssuedPathLength: a certificate that only renews an authority's key does not count in
// a path length (RFC 5280, section 6.1.4 (l)).
func TestSelfIssuedPathLength(t *testing.T) {
	p := testLab(t)
	edit := lab.Mutate(func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 0, true })
	old := newCA(t, p, p.Root, "Self-issued", edit)
	renewed := newCA(t, p, old, "Self-issued")
	below := newCA(t, p, renewed, "Below")
	trust := trustOf(t, p.Root.Cert)
	h := issue(t, p, "Ana", lab.By(renewed))
	if _, err := lookAt(trust, h.Leaf, []*x509.Certificate{renewed.Cert, old.Cert}); err != nil {
		t.Error(err)
	}
	h = issue(t, p, "Ana", lab.By(below))
	_, err := lookAt(trust, h.Leaf, []*x509.Certificate{below.Cert, renewed.Cert, old.Cert})
	wantCode(t, err, proto.CertificateUntrusted)
}

// TestMailConstraints: RFC 5280, section 4.2.1.10.
func TestMailConstraints(t *testing.T) {
	p := testLab(t)
	authority := func(permitted, excluded []string) *lab.CA {
		return newCA(t, p, p.Root, "Mail", lab.Mutate(func(c *x509.Certificate) {
			c.PermittedDNSDomainsCritical, c.PermittedEmailAddresses, c.ExcludedEmailAddresses = true, permitted, excluded
		}))
	}
	alternative := func(address string) []lab.IssueOption {
		return opts(lab.Mutate(func(c *x509.Certificate) { c.EmailAddresses = []string{address} }))
	}
	subject := func(address string) []lab.IssueOption {
		return opts(lab.WithSubject(append(lab.DN("CN", "Ana"), pkix.RelativeDistinguishedNameSET{
			{Type: oidEmailAddress, Value: asn1.RawValue{Tag: asn1.TagIA5String, Bytes: []byte(address)}}})))
	}
	host, domain, box := authority([]string{"host.example"}, nil), authority([]string{".host.example"}, nil), authority([]string{"Ana@host.example"}, nil)
	no, all := authority(nil, []string{"host.example"}), authority(nil, []string{""})
	trust := trustOf(t, p.Root.Cert)
	for _, test := range []struct {
		ca      *lab.CA
		address string
		ok      bool
	}{
		{host, "a@host.example", true}, {host, "a@HOST.example", true}, {host, "a@sub.host.example", false}, {host, "a@other.example", false},
		{domain, "a@host.example", false}, {domain, "a@sub.host.example", true}, {domain, "a@a.sub.host.example", true}, {domain, "a@nohost.example", false},
		{box, "Ana@host.example", true}, {box, "Ana@HOST.EXAMPLE", true}, {box, "ana@host.example", false}, {box, "x@Ana@host.example", false},
		{all, "a@host.example", false}, {no, "a@host.example", false}, {no, "a@Host.Example.", false}, {no, "a@sub.host.example", true}, {no, "a@other.example", true},
	} {
		for form, options := range map[string][]lab.IssueOption{"alternative": alternative(test.address), "subject": subject(test.address)} {
			if form == "alternative" && strings.Count(test.address, "@")+strings.Count(test.address, "e.") > 1 {
				continue // no address in its form
			}
			h := issue(t, p, "Ana", append(options, lab.By(test.ca))...)
			_, err := lookAt(trust, h.Leaf, h.Chain)
			if (err == nil) != test.ok {
				t.Errorf("%s %s under %v %v: %v", form, test.address, test.ca.Cert.PermittedEmailAddresses, test.ca.Cert.ExcludedEmailAddresses, err)
			}
			if err != nil {
				wantCode(t, err, proto.CertificateUntrusted)
			}
		}
	}
	for _, bad := range []string{"nobody", "@host.example"} {
		h := issue(t, p, "Ana", append(subject(bad), lab.By(no))...)
		_, err := lookAt(trust, h.Leaf, h.Chain)
		wantCode(t, err, proto.CertificateUntrusted)
	}
}

// TestIssuerCurves: an issuer's curve is bounded as a leaf's.
func TestIssuerCurves(t *testing.T) {
	cert := *testLab(t).Auth.Cert
	for curve, ok := range map[elliptic.Curve]bool{elliptic.P224(): false, elliptic.P256(): true, elliptic.P384(): true, elliptic.P521(): true} {
		key := *ecdsaKey(t, &cert)
		key.Curve = curve
		cert.PublicKey = &key
		if fault := authorityFault(&cert, false); (fault == nil) != ok {
			t.Errorf("%s: %v", curve.Params().Name, fault)
		}
	}
}

// TestSignersOfLists: other certificates of an authority may sign its lists, if they lead to the
// path's anchor.
func TestSignersOfLists(t *testing.T) {
	p := testLab(t)
	ca := newCA(t, p, p.Root, "Authority")
	renewed := newCA(t, p, p.Root, "Authority")
	onlyLists := newCA(t, p, p.Root, "Authority", usage(x509.KeyUsageCRLSign), lab.Mutate(func(c *x509.Certificate) { c.IsCA, c.MaxPathLen = false, 0 }))
	noLists := newCA(t, p, p.Root, "Authority", usage(x509.KeyUsageCertSign))
	otherName := newCA(t, p, p.Root, "Another")
	otherRoot := newCA(t, p, nil, "Another root")
	stranger := newCA(t, p, otherRoot, "Authority")
	untrusted := newCA(t, p, newCA(t, p, nil, "Untrusted root"), "Authority")
	h := issue(t, p, "Ana", lab.By(ca))
	paths, err := trustOf(t, p.Root.Cert, otherRoot.Cert).paths(h.Leaf, []*x509.Certificate{
		noLists.Cert, stranger.Cert, onlyLists.Cert, untrusted.Cert, otherName.Cert, ca.Cert, renewed.Cert})
	must(t, err)
	if len(paths) != 1 || len(paths[0].certs) != 3 {
		t.Fatalf("%d paths", len(paths))
	}
	var got []string
	for _, cert := range paths[0].signers {
		i := slices.IndexFunc([]*lab.CA{renewed, onlyLists}, func(ca *lab.CA) bool { return ca.Cert.Equal(cert) })
		got = append(got, fmt.Sprint(i))
	}
	slices.Sort(got)
	if strings.Join(got, " ") != "0 1" {
		t.Errorf("signers are %v", got)
	}
}

// TestPathsAtAllTimes asks for one leaf's paths at moments around every beginning and end.
func TestPathsAtAllTimes(t *testing.T) {
	p := newLab(t)
	valid := func(from, to time.Duration) lab.IssueOption {
		return lab.Mutate(func(c *x509.Certificate) { c.NotBefore, c.NotAfter = labNow.Add(from), labNow.Add(to) })
	}
	// Two authorities of one name and key, valid one after the other.
	root := newCA(t, p, nil, "Root", valid(-10*time.Hour, 10*time.Hour))
	early := newCA(t, p, root, "Authority", valid(-4*time.Hour, time.Hour))
	leaf := issue(t, p, "Ana", lab.By(early), valid(-3*time.Hour, 3*time.Hour))
	late := newCA(t, p, root, "Authority", lab.WithKey(early.Key), valid(-2*time.Hour, 2*time.Hour))
	paths, err := trustOf(t, root.Cert).paths(leaf.Leaf, []*x509.Certificate{early.Cert, late.Cert})
	must(t, err)
	within := func(at, since, till time.Duration) bool {
		return at >= since-ClockTolerance && at <= till+ClockTolerance
	}
	counts := map[int]bool{}
	for _, edge := range []time.Duration{-10, -4, -3, -2, 1, 2, 3, 10} {
		for _, off := range []time.Duration{-ClockTolerance, 0, ClockTolerance} {
			for _, by := range []time.Duration{-time.Second, 0, time.Second} {
				at, want := edge*time.Hour+off+by, 0
				if within(at, -3*time.Hour, time.Hour) {
					want++
				}
				if within(at, -2*time.Hour, 2*time.Hour) {
					want++
				}
				got, err := validAt(paths, labNow.Add(at))
				if len(got) != want || (err == nil) != (want > 0) {
					t.Errorf("at %v: %d paths, want %d: %v", at, len(got), want, err)
				}
				counts[want] = true
			}
		}
	}
	if !counts[0] || !counts[1] || !counts[2] {
		t.Errorf("not all was seen: %v", counts)
	}
	// Of two that are never valid together, none is a path.
	gone := newCA(t, p, root, "Gone", valid(-4*time.Hour, -time.Hour))
	after := issue(t, p, "Ana", lab.By(gone), valid(-time.Hour+time.Minute, time.Hour))
	_, err = lookAt(trustOf(t, root.Cert), after.Leaf, after.Chain)
	wantCode(t, err, proto.CertificateExpired)
	paths, err = trustOf(t, root.Cert).paths(after.Leaf, after.Chain)
	must(t, err)
	_, err = validAt(paths, labNow.Add(-time.Hour))
	wantCode(t, err, proto.CertificateExpired)
}

// TestExpiredUnderRenewedAuthority: the leaf's own end is told, not a missing authority.
func TestExpiredUnderRenewedAuthority(t *testing.T) {
	p := testLab(t)
	old := newCA(t, p, p.Root, "Renewed", lab.Window(labNow.AddDate(-4, 0, 0), labNow.AddDate(-1, 0, 0)))
	renewed := newCA(t, p, p.Root, "Renewed", lab.WithKey(old.Key), lab.Window(labNow.AddDate(-1, 0, 0), labNow.AddDate(4, 0, 0)))
	h := issue(t, p, "Ana", lab.By(old), lab.Window(labNow.AddDate(-3, 0, 0), labNow.AddDate(-2, 0, 0)))
	_, err := lookAt(trustOf(t, p.Root.Cert), h.Leaf, []*x509.Certificate{renewed.Cert})
	wantCode(t, err, proto.CertificateExpired)
	if err != nil && !strings.Contains(err.Error(), "EXEMPLO") {
		t.Errorf("%q does not name the person", err)
	}
}

// TestRefusalsAreRemembered: for a while, and not at the expense of others.
func TestRefusalsAreRemembered(t *testing.T) {
	p := testLab(t)
	now := labNow
	v := NewVerifier(VerifierConfig{Trust: trustOf(t, p.Root.Cert), Now: func() time.Time { return now }})
	good := delegate(t, issue(t, p, "Ana"))
	if _, err := v.Verify(good, "Ana"); err != nil {
		t.Fatal(err)
	}
	bad := delegate(t, issue(t, p, "Ana", lab.Untrusted))
	_, first := v.Verify(bad, "Ana")
	_, again := v.Verify(bad, "Ana")
	if first == nil || first != again {
		t.Errorf("%v, then %v: not the same refusal", first, again)
	}
	now = now.Add(cacheFor)
	if _, later := v.Verify(bad, "Ana"); later == nil || later == first {
		t.Errorf("%v: it was not looked at again", later)
	}
	for i := range 2 * cacheSize {
		other := *bad
		other.NotAfter -= int64(i + 1)
		if _, err := v.Verify(&other, "Ana"); err == nil {
			t.Fatal("accepted")
		}
	}
	if len(v.refused) > cacheSize || len(v.known) != 1 {
		t.Errorf("%d refusals and %d people are remembered", len(v.refused), len(v.known))
	}
	// One who is refused no more is known, and the other way round.
	v.Reload(trustOf(t, p.Root.Cert), nil, PolicyTry)
	if len(v.refused)+len(v.known) != 0 {
		t.Error("results outlive what they rest on")
	}
}

func ecdsaKey(t testing.TB, cert *x509.Certificate) *ecdsa.PublicKey {
	t.Helper()
	key, ok := cert.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		t.Fatal("its key is not for ECDSA")
	}
	return key
}

// TestPathsAreLikeX509 makes authorities at random, that certify each other and have faults, and
// holds the answer against that of crypto/x509, which builds its paths from the leaf upward.
func TestPathsAreLikeX509(t *testing.T) {
	p := testLab(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	oneIn := func(n int) bool { return random.IntN(n) == 0 }
	edit := func(c *x509.Certificate) {
		if oneIn(8) {
			c.MaxPathLen, c.MaxPathLenZero = 0, true
		} else if oneIn(6) {
			c.MaxPathLen = 1
		}
		if oneIn(12) {
			c.IsCA, c.MaxPathLen, c.MaxPathLenZero = false, 0, false
		}
		if oneIn(12) {
			c.KeyUsage = x509.KeyUsageCRLSign
		}
		if oneIn(12) {
			c.NotAfter = labNow.Add(-time.Hour)
		}
		if oneIn(10) {
			c.PermittedDNSDomains = []string{"example.com"}
		}
		if oneIn(10) {
			c.SubjectKeyId, c.AuthorityKeyId = nil, nil
		}
	}
	accepted, refused := 0, 0
	for range 300 {
		var cas []*lab.CA
		var roots, others []*x509.Certificate
		for i := range 6 {
			var parent *lab.CA
			if len(cas) > 0 && !oneIn(4) {
				parent = cas[random.IntN(len(cas))]
			}
			ca := newCA(t, p, parent, fmt.Sprint("Authority ", i), lab.Mutate(edit))
			cas = append(cas, ca)
			if parent == nil && !oneIn(4) {
				roots = append(roots, ca.Cert)
			} else {
				others = append(others, ca.Cert)
			}
			if other := cas[random.IntN(len(cas))]; oneIn(3) && other != ca { // certified by a second one
				others = append(others, newCA(t, p, other, fmt.Sprint("Authority ", i), lab.WithKey(ca.Key), lab.Mutate(edit)).Cert)
			}
		}
		h := issue(t, p, "Ana", lab.By(cas[len(cas)-1-random.IntN(2)]), dnsName([]string{"a.example.com", "a.example.org"}[random.IntN(2)]))
		if len(roots) == 0 {
			continue
		}
		pool := func(certs []*x509.Certificate, isAnchor bool) *x509.CertPool {
			pool := x509.NewCertPool()
			for _, cert := range certs {
				if authorityFault(cert, isAnchor) == nil {
					pool.AddCert(cert)
				}
			}
			return pool
		}
		_, want := h.Leaf.Verify(x509.VerifyOptions{
			Roots: pool(roots, true), Intermediates: pool(others, false), CurrentTime: labNow, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		random.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
		_, got := lookAt(trustOf(t, roots...), h.Leaf, others)
		if (got == nil) != (want == nil) {
			t.Errorf("here %v, in crypto/x509 %v", got, want)
		}
		if got == nil {
			accepted++
		} else {
			refused++
		}
	}
	if accepted < 30 || refused < 30 {
		t.Errorf("%d accepted, %d refused: too few to tell", accepted, refused)
	}
}

// TestLeafRevokedOnOnePath: another path does not help a person who is revoked, only one whose
// authority is.
func TestLeafRevokedOnOnePath(t *testing.T) {
	p := newLab(t)
	ca := newCA(t, p, p.Root, "Cross")
	mute := newCA(t, p, p.Root, "Cross", lab.WithKey(ca.Key), usage(x509.KeyUsageCertSign)) // whose lists nobody believes
	h := issue(t, p, "Ana", lab.By(ca))
	ca.Revoke(h.Leaf, labNow.Add(-time.Hour), 1)
	der, err := ca.MakeCRL(lab.CRL{})
	must(t, err)
	store := NewCRLStore()
	addCRL(t, store, der, ca.Cert)
	c := check{trust: trustOf(t, p.Root.Cert), crls: store, policy: PolicyTry}
	for _, chain := range [][]*x509.Certificate{{ca.Cert}, {ca.Cert, mute.Cert}, {mute.Cert, ca.Cert}} {
		_, err := c.look(h.Leaf, chain)
		wantCode(t, err, proto.CertificateRevoked)
	}
}

// TestAuthoritiesOfAllPaths: the sender chooses no order in which one is left out.
func TestAuthoritiesOfAllPaths(t *testing.T) {
	p := testLab(t)
	other := newCA(t, p, nil, "Another root")
	ca := newCA(t, p, p.Root, "Cross")
	cross := newCA(t, p, other, "Cross", lab.WithKey(ca.Key))
	h := issue(t, p, "Ana", lab.By(ca))
	for _, chain := range [][]*x509.Certificate{{ca.Cert, cross.Cert}, {cross.Cert, ca.Cert}} {
		person, err := lookAt(trustOf(t, p.Root.Cert, other.Cert), h.Leaf, chain)
		must(t, err)
		for _, cert := range []*x509.Certificate{p.Root.Cert, other.Cert, ca.Cert, cross.Cert} {
			if !slices.ContainsFunc(person.Authorities, cert.Equal) {
				t.Errorf("%s is not among the authorities", cert.Subject)
			}
		}
		if slices.ContainsFunc(person.Authorities, h.Leaf.Equal) || len(person.Authorities) != 4 {
			t.Errorf("%d authorities", len(person.Authorities))
		}
	}
}

// TestCitizenUnderAnyAnchor: whoever has a Cartão de Cidadão is the same person, whichever root of
// its authorities is trusted for which reason.
func TestCitizenUnderAnyAnchor(t *testing.T) {
	p := testLab(t)
	h := issue(t, p, "Ana")
	pinned, err := lookAt(pinnedTo(t, p.Root.Cert), h.Leaf, append(h.Chain, p.Root.Cert))
	must(t, err)
	own := trustOf(t, p.Root.Cert)
	own.stateRoots = append(own.stateRoots, sha256.Sum256(p.Root.Cert.RawSubjectPublicKeyInfo))
	person, err := lookAt(own, h.Leaf, h.Chain)
	must(t, err)
	if person.Identity != pinned.Identity {
		t.Error("the user's bundle makes another person of a citizen")
	}
	mimic := newLab(t)
	other := issue(t, mimic, "Ana")
	person, err = lookAt(trustOf(t, mimic.Root.Cert), other.Leaf, other.Chain)
	must(t, err)
	if isCitizen(t, person) {
		t.Error("authorities with the state's names make citizens")
	}
}
