package trust

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure/proto"
	"chatsecure/testdata/lab"
)

// publicOnly is a key with only its public half.
type publicOnly struct{ public crypto.PublicKey }

func (p publicOnly) Public() crypto.PublicKey { return p.public }

func (p publicOnly) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, io.ErrUnexpectedEOF
}

// rsaWith is a public key of so many bits. Nobody has the private half.
func rsaWith(bits uint, exponent int) lab.IssueOption {
	n := new(big.Int).Lsh(big.NewInt(1), bits-1)
	return lab.WithKey(publicOnly{&rsa.PublicKey{N: n.Add(n, big.NewInt(0x10001)), E: exponent}})
}

func rsaOf(bits uint) lab.IssueOption { return rsaWith(bits, 65537) }

// unknownCritical is an extension that nobody knows.
var unknownCritical = lab.Extension(asn1.ObjectIdentifier{1, 2, 3, 4}, true, 1)

func withExtension(c *x509.Certificate) {
	c.ExtraExtensions = append(c.ExtraExtensions, unknownCritical)
}

// certCase is a certificate and the expected result.
type certCase struct {
	name  string
	opts  []lab.IssueOption
	chain []*x509.Certificate // instead of the holder's
	code  proto.Code          // "" if accepted
	says  string              // in the reason
}

// Row 20, the certificate: each fault is refused with its code, under a pinned root and under the
// user's own. Revocation is in revocation_test.go.
func TestRow20Certificates(t *testing.T) {
	p := testLab(t)
	for _, test := range slices.Concat(goodCertificates(t, p), faultyChains(t, p), faultyAuthorities(t, p), faultyLeaves(t)) {
		t.Run(test.name, func(t *testing.T) {
			h := issue(t, p, "Ana", test.opts...)
			chain := h.Chain
			if test.chain != nil {
				chain = test.chain
			}
			for kind, trust := range map[string]*Store{"pinned": pinnedTo(t, p.Root.Cert), "own": trustOf(t, p.Root.Cert)} {
				with := chain
				if kind == "pinned" {
					with = append(slices.Clone(chain), p.Root.Cert)
				}
				_, err := lookAt(trust, h.Leaf, with)
				if test.code == "" {
					if err != nil {
						t.Errorf("%s: %v", kind, err)
					}
					continue
				}
				wantCode(t, err, test.code)
				if err != nil && !strings.Contains(err.Error(), test.says) {
					t.Errorf("%s: %q does not say %q", kind, err, test.says)
				}
			}
		})
	}
}

func opts(list ...lab.IssueOption) []lab.IssueOption { return list }

func usage(u x509.KeyUsage) lab.IssueOption {
	return lab.Mutate(func(c *x509.Certificate) { c.KeyUsage = u })
}

func dnsName(name string) lab.IssueOption {
	return lab.Mutate(func(c *x509.Certificate) { c.DNSNames = []string{name} })
}

// chainOf is authorities, each under the one before. It returns the last.
func chainOf(t *testing.T, p *lab.PKI, parent *lab.CA, n int) *lab.CA {
	for i := range n {
		parent = newCA(t, p, parent, fmt.Sprintf("Chain %d", i))
	}
	return parent
}

// constrainedTo is an authority for these DNS names only.
func constrainedTo(name string) lab.IssueOption {
	return lab.Mutate(func(c *x509.Certificate) {
		c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{name}
	})
}

func goodCertificates(t *testing.T, p *lab.PKI) []certCase {
	names := newCA(t, p, p.Root, "Constrained", constrainedTo("example.com"))
	loose := newCA(t, p, p.Root, "Constrained loosely", lab.Mutate(func(c *x509.Certificate) {
		c.PermittedDNSDomains, c.ExcludedEmailAddresses = []string{"example.com"}, []string{"example.org"}
	}))
	stranger := newCA(t, p, newCA(t, p, nil, "Strange root"), "Stranger")
	return []certCase{
		{name: "P-256", opts: opts(lab.P256)},
		{name: "P-384", opts: opts(lab.P384)},
		{name: "P-521", opts: opts(lab.P521)},
		{name: "RSA-2048", opts: opts(rsaOf(2048))},
		{name: "RSA-4096", opts: opts(rsaOf(4096))},
		{name: "RSA exponent 3", opts: opts(rsaWith(2048, 3))},
		{name: "no keyUsage", opts: opts(usage(0))},
		{name: "seven authorities", opts: opts(lab.By(chainOf(t, p, p.Root, 7)))},
		{name: "longest path", opts: opts(lab.By(chainOf(t, p, p.Root, maxPath-2)))},
		{name: "permitted name", opts: opts(lab.By(names), dnsName("a.example.com"))},
		{name: "permitted name, constraint not critical", opts: opts(lab.By(loose), dnsName("a.example.com"))},
		{name: "chain with strangers in it", chain: []*x509.Certificate{stranger.Cert, p.CC.Cert, stranger.Parent.Cert, p.Auth.Cert}},
		{name: "chain with duplicates", chain: []*x509.Certificate{p.Auth.Cert, p.CC.Cert, p.Auth.Cert, p.CC.Cert}},
	}
}

func faultyChains(t *testing.T, p *lab.PKI) []certCase {
	loopA := newCA(t, p, nil, "Loop A")
	loopB := newCA(t, p, loopA, "Loop B")
	loopA2 := newCA(t, p, loopB, "Loop A", lab.WithKey(loopA.Key))
	return []certCase{
		{name: "expired", opts: opts(lab.Expired), code: proto.CertificateExpired, says: "ended on"},
		{name: "not yet valid", opts: opts(lab.NotYetValid), code: proto.CertificateNotYet, says: "begins on"},
		{name: "untrusted", opts: opts(lab.Untrusted), code: proto.CertificateUntrusted, says: "trusted authority"},
		{name: "self-signed", opts: opts(lab.SelfSigned), code: proto.CertificateUntrusted, says: "vouches for itself"},
		{name: "forged", opts: opts(lab.Forged), code: proto.CertificateUntrusted},
		{name: "no chain", opts: opts(lab.NoCA), code: proto.CertificateUntrusted},
		{name: "gap in the chain", chain: []*x509.Certificate{p.Auth.Cert}, code: proto.CertificateUntrusted},
		{name: "loop", opts: opts(lab.By(loopB)), chain: []*x509.Certificate{loopB.Cert, loopA2.Cert, loopA.Cert}, code: proto.CertificateUntrusted},
		{name: "path too long for its constraint", opts: opts(lab.By(chainOf(t, p, p.CC, 2))), code: proto.CertificateUntrusted, says: "on a path is 2, and may be 1 at most"},
		{name: "path too long", opts: opts(lab.By(chainOf(t, p, p.Root, maxPath-1))), code: proto.CertificateUntrusted, says: "too long"},
	}
}

func faultyAuthorities(t *testing.T, p *lab.PKI) []certCase {
	ca := func(name string, opts ...lab.IssueOption) lab.IssueOption {
		return lab.By(newCA(t, p, p.Root, name, opts...))
	}
	edit := lab.Mutate
	directories := func(critical bool) lab.IssueOption {
		// Permitted: a directory name, after a DNS name.
		value := der(derSequence, der(0xa0, der(derSequence, der(0x82, []byte("example.com"))), der(derSequence, der(0xa4, der(derSequence)))))
		return edit(func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: oidNameConstraints, Critical: critical, Value: value})
		})
	}
	untrusted := func(name string, says string, opts ...lab.IssueOption) certCase {
		return certCase{name: name, opts: opts, code: proto.CertificateUntrusted, says: says}
	}
	return []certCase{
		{name: "expired issuer", opts: opts(ca("Expired CA", lab.Window(labNow.AddDate(-3, 0, 0), labNow.AddDate(0, 0, -2)))),
			code: proto.CertificateExpired, says: `"Expired CA"`},
		{name: "issuer not yet valid", opts: opts(ca("Future CA", lab.Window(labNow.AddDate(0, 0, 2), labNow.AddDate(5, 0, 0)))),
			code: proto.CertificateNotYet, says: `"Future CA"`},
		untrusted("issuer is no authority", "", ca("No authority", edit(func(c *x509.Certificate) { c.IsCA, c.MaxPathLen = false, 0 }))),
		untrusted("issuer without basicConstraints", "", ca("No constraints", edit(func(c *x509.Certificate) { c.BasicConstraintsValid = false }))),
		untrusted("issuer may not sign certificates", "may not sign", ca("No signing", usage(x509.KeyUsageCRLSign))),
		untrusted("issuer may do nothing", "may not sign", ca("No usage", edit(func(c *x509.Certificate) {
			c.KeyUsage, c.ExtraExtensions = 0, []pkix.Extension{{Id: oidKeyUsage, Critical: true, Value: []byte{3, 1, 0}}}
		}))),
		untrusted("name constraint", "name constraints", ca("Constrained", constrainedTo("example.com")), dnsName("a.example.org")),
		untrusted("constraint on directories", "may only vouch for certain names", ca("Critical directories", directories(true))),
		untrusted("constraint on directories, not critical", "name constraints", ca("Directories", directories(false))),
		untrusted("critical extension", "1.2.3.4", edit(withExtension)),
		untrusted("issuer's critical extension", `"Critical"`, ca("Critical", edit(withExtension))),
		untrusted("SHA-1", "SHA1-RSA", ca("SHA-1", lab.RSA2048), edit(func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA1WithRSA })),
		untrusted("weak issuer", "1024 bits", ca("Small RSA", lab.RSA1024)),
	}
}

func faultyLeaves(t *testing.T) []certCase {
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	unsuitable := func(name, says string, opts ...lab.IssueOption) certCase {
		return certCase{name: name, opts: opts, code: proto.CertificateUnsuitable, says: says}
	}
	even := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2047), E: 65537}
	return []certCase{
		unsuitable("an authority", "authority", lab.Mutate(func(c *x509.Certificate) { c.IsCA = true })),
		unsuitable("qualified signature only", "digital signatures", usage(x509.KeyUsageContentCommitment)),
		unsuitable("encryption only", "digital signatures", usage(x509.KeyUsageKeyEncipherment)),
		unsuitable("RSA-512", "512 bits", rsaOf(512)),
		unsuitable("RSA-1024", "1024 bits", rsaOf(1024)),
		unsuitable("RSA-2047", "2047 bits", rsaOf(2047)),
		unsuitable("RSA-4097", "4097 bits", rsaOf(4097)),
		unsuitable("RSA even modulus", "even", lab.WithKey(publicOnly{even})),
		unsuitable("RSA exponent 1", "too small", rsaWith(2048, 1)),
		unsuitable("RSA exponent 2", "too small", rsaWith(2048, 2)),
		unsuitable("RSA exponent 65538", "even", rsaWith(2048, 65538)),
		unsuitable("Ed25519", "Ed25519", lab.WithKey(ed25519.NewKeyFromSeed(make([]byte, 32)))),
		unsuitable("P-224", "P-224", lab.WithKey(p224)),
		unsuitable("no subject", "subject is empty", lab.WithSubject(pkix.RDNSequence{})),
	}
}

// Serial numbers that cannot stand in a revocation list.
func TestLeafSerial(t *testing.T) {
	leaf := *issue(t, testLab(t), "Ana").Leaf
	longest := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 8*maxSerial), big.NewInt(1))
	for _, good := range []*big.Int{big.NewInt(1), longest} {
		leaf.SerialNumber = good
		if err := checkLeaf(&leaf); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []*big.Int{big.NewInt(0), big.NewInt(-1), new(big.Int).Add(longest, big.NewInt(1))} {
		leaf.SerialNumber = bad
		wantCode(t, checkLeaf(&leaf), proto.CertificateUnsuitable)
	}
}

// An issuer's key that is too large is left out, whatever it has signed.
func TestLargeIssuerKey(t *testing.T) {
	p := testLab(t)
	for bits, ok := range map[uint]bool{2047: false, 2048: true, 8192: true, 8193: false} {
		ca := newCA(t, p, p.Root, "Large", rsaOf(bits))
		if fault := authorityFault(ca.Cert, false); (fault == nil) != ok {
			t.Errorf("%d bits: %v", bits, fault)
		}
	}
}

// lookAt is a Verifier's check of a certificate, without the delegation.
func lookAt(trust *Store, leaf *x509.Certificate, chain []*x509.Certificate) (*Person, error) {
	if err := checkLeaf(leaf); err != nil {
		return nil, err
	}
	return check{trust: trust, policy: PolicyOff}.look(leaf, chain)
}

// Anchors, by their source.
func TestAnchors(t *testing.T) {
	p := testLab(t)
	h := issue(t, p, "Ana")
	root := p.Root.Cert
	with := append(slices.Clone(h.Chain), root)
	other := newLab(t)
	mozilla := func(certs ...*x509.Certificate) *Store {
		trust, err := NewStore(pemOf(certs...))
		if err != nil {
			t.Fatal(err)
		}
		return trust
	}
	for _, test := range []struct {
		name  string
		trust *Store
		chain []*x509.Certificate
		ok    bool
		kind  anchorKind
	}{
		{"nothing trusted", pinnedTo(t), with, false, 0},
		{"pinned, given", pinnedTo(t, root), with, true, anchorPinned},
		{"pinned, given first", pinnedTo(t, root), []*x509.Certificate{root, p.CC.Cert, p.Auth.Cert}, true, anchorPinned},
		{"pinned, not given", pinnedTo(t, root), h.Chain, false, 0},
		{"pinned, from the own bundle", trustOf(t, root).withAnchorsOf(pinnedTo(t, root)), h.Chain, true, anchorPinned},
		{"another pinned", pinnedTo(t, other.Root.Cert), with, false, 0},
		{"several pinned", pinnedTo(t, other.Root.Cert, root), with, true, anchorPinned},
		{"own", trustOf(t, root), h.Chain, true, anchorExtra},
		{"own, among others", trustOf(t, other.Root.Cert, root, other.CC.Cert), h.Chain, true, anchorExtra},
		{"own, with the intermediates", trustOf(t, p.Auth.Cert, root, p.CC.Cert), nil, true, anchorExtra},
		{"own intermediates without the root", trustOf(t, p.Auth.Cert, p.CC.Cert), with, false, 0},
		{"own intermediates, pinned root given", trustOf(t, p.Auth.Cert, p.CC.Cert).withAnchorsOf(pinnedTo(t, root)), []*x509.Certificate{root}, true, anchorPinned},
		{"Mozilla's", mozilla(root), h.Chain, true, anchorMozilla},
		{"Mozilla's and own", func() *Store {
			trust, err := NewStore(pemOf(root), pemOf(root))
			if err != nil {
				t.Fatal(err)
			}
			return trust
		}(), h.Chain, true, anchorExtra},
		{"own leaf", trustOf(t, h.Leaf), h.Chain, false, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			paths, err := test.trust.paths(h.Leaf, test.chain)
			if !test.ok {
				wantCode(t, err, proto.CertificateUntrusted)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if test.kind == anchorMozilla && paths[0].kind.String() != AnchorMozilla {
				t.Errorf("the anchor of %v is %s", test.kind, paths[0].kind)
			}
			if paths[0].kind != test.kind {
				t.Errorf("anchor is of kind %d, want %d", paths[0].kind, test.kind)
			}
		})
	}
	t.Run("self-signed leaf in the own bundle", func(t *testing.T) {
		self := issue(t, p, "Ana", lab.SelfSigned)
		_, err := lookAt(trustOf(t, self.Leaf), self.Leaf, nil)
		wantCode(t, err, proto.CertificateUntrusted)
	})
	t.Run("old root signed with SHA-1 in the own bundle", func(t *testing.T) {
		sha1 := lab.Mutate(func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA1WithRSA })
		old := newCA(t, p, nil, "Old root", lab.RSA2048, sha1)
		leaf := issue(t, p, "Ana", lab.By(old))
		if _, err := lookAt(trustOf(t, old.Cert), leaf.Leaf, nil); err != nil {
			t.Error(err)
		}
	})
	t.Run("rollover certificate in the own bundle is no anchor", func(t *testing.T) {
		// A new key signed with the old one, both under one name.
		dn := lab.DN("C", "PT", "CN", "Rollover")
		old, err := p.NewCA(nil, dn)
		if err != nil {
			t.Fatal(err)
		}
		link, err := p.NewCA(old, dn)
		if err != nil {
			t.Fatal(err)
		}
		leaf := issue(t, p, "Ana", lab.By(link))
		_, err = lookAt(trustOf(t, link.Cert), leaf.Leaf, nil)
		wantCode(t, err, proto.CertificateUntrusted)
		if _, err := lookAt(trustOf(t, link.Cert, old.Cert), leaf.Leaf, nil); err != nil {
			t.Errorf("with the old root: %v", err)
		}
	})
}

// Extended key usage: anchors of Mozilla's bundle also serve web servers, so the leaf must be for a
// person. Under the user's own and the pinned ones it need not say so.
func TestExtendedKeyUsage(t *testing.T) {
	p := testLab(t)
	mozilla, err := NewStore(pemOf(p.Root.Cert))
	if err != nil {
		t.Fatal(err)
	}
	ekus := func(usages ...x509.ExtKeyUsage) lab.IssueOption {
		return lab.Mutate(func(c *x509.Certificate) { c.ExtKeyUsage = usages })
	}
	serverCA := newCA(t, p, p.Root, "Servers only", ekus(x509.ExtKeyUsageServerAuth))
	clientCA := newCA(t, p, p.Root, "Clients only", ekus(x509.ExtKeyUsageClientAuth))
	mailCA := newCA(t, p, p.Root, "Mail only", ekus(x509.ExtKeyUsageEmailProtection))
	for _, test := range []struct {
		name    string
		opts    []lab.IssueOption
		mozilla bool
	}{
		{"absent", nil, true},
		{"client", []lab.IssueOption{ekus(x509.ExtKeyUsageClientAuth)}, true},
		{"mail", []lab.IssueOption{ekus(x509.ExtKeyUsageEmailProtection)}, true},
		{"any", []lab.IssueOption{ekus(x509.ExtKeyUsageAny)}, true},
		{"server and client", []lab.IssueOption{ekus(x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)}, true},
		{"server", []lab.IssueOption{ekus(x509.ExtKeyUsageServerAuth)}, false},
		{"code signing", []lab.IssueOption{ekus(x509.ExtKeyUsageCodeSigning)}, false},
		{"unknown", []lab.IssueOption{lab.Mutate(func(c *x509.Certificate) {
			c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 2, 3}}
		})}, false},
		{"absent under a CA for servers", []lab.IssueOption{lab.By(serverCA)}, false},
		{"client under a CA for servers", []lab.IssueOption{lab.By(serverCA), ekus(x509.ExtKeyUsageClientAuth)}, false},
		{"client under a CA for clients", []lab.IssueOption{lab.By(clientCA), ekus(x509.ExtKeyUsageClientAuth)}, true},
		{"client under a CA for mail", []lab.IssueOption{lab.By(mailCA), ekus(x509.ExtKeyUsageClientAuth)}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := issue(t, p, "Ana", test.opts...)
			_, err := lookAt(mozilla, h.Leaf, h.Chain)
			if test.mozilla && err != nil {
				t.Errorf("under Mozilla's: %v", err)
			}
			if !test.mozilla {
				wantCode(t, err, proto.CertificateUnsuitable)
			}
			for kind, trust := range map[string]*Store{"own": trustOf(t, p.Root.Cert), "pinned": pinnedTo(t, p.Root.Cert)} {
				if _, err := lookAt(trust, h.Leaf, append(slices.Clone(h.Chain), p.Root.Cert)); err != nil {
					t.Errorf("under the %s anchor: %v", kind, err)
				}
			}
		})
	}
}

// One good path is enough: an authority that an untrusted, an expired and a trusted root have
// signed is trusted, in any order.
func TestCrossSigned(t *testing.T) {
	p := testLab(t)
	stranger := newCA(t, p, nil, "Stranger root")
	cross := newCA(t, p, stranger, "Cross")
	dn := lab.WithKey(cross.Key)
	expired := newCA(t, p, p.Root, "Cross", dn, lab.Window(labNow.AddDate(-3, 0, 0), labNow.AddDate(0, 0, -2)))
	good := newCA(t, p, p.Root, "Cross", dn)
	h := issue(t, p, "Ana", lab.By(cross))
	trust := trustOf(t, p.Root.Cert)
	all := []*x509.Certificate{cross.Cert, expired.Cert, good.Cert, stranger.Cert}
	for range len(all) {
		all = append(all[1:], all[0])
		person, err := lookAt(trust, h.Leaf, all)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(person.Path[1].Raw, good.Cert.Raw) {
			t.Error("not the path to the trusted root")
		}
	}
	_, err := lookAt(trust, h.Leaf, []*x509.Certificate{cross.Cert, expired.Cert})
	wantCode(t, err, proto.CertificateExpired)
}

// Seven authorities of one name that all certify each other, and seven certificates of one key with
// different alternative names, so that a path might pass them in any order. Few signatures are
// checked, and the answer is no.
func TestRow20Maze(t *testing.T) {
	p := testLab(t)
	var ring, decoys []*x509.Certificate
	var cas []*lab.CA
	for range MaxChainCertificates {
		cas = append(cas, newCA(t, p, nil, "Maze"))
	}
	for i, ca := range cas {
		next := cas[(i+1)%len(cas)]
		ring = append(ring, newCA(t, p, next, "Maze", lab.WithKey(ca.Key)).Cert)
		decoys = append(decoys, newCA(t, p, cas[0], "Maze", lab.WithKey(cas[0].Key), dnsName(fmt.Sprint("a", i))).Cert)
	}
	h := issue(t, p, "Ana", lab.By(cas[0]))
	trust := trustOf(t, p.Root.Cert)
	for _, certs := range [][]*x509.Certificate{ring, decoys} {
		_, err := lookAt(trust, h.Leaf, certs)
		wantCode(t, err, proto.CertificateUntrusted)
	}
}

// A bundle full of certificates of one name does not make the candidates unbounded.
func TestCandidatesAreBounded(t *testing.T) {
	p := testLab(t)
	var certs []*x509.Certificate
	for range 2 * maxCandidates {
		certs = append(certs, newCA(t, p, nil, "Twin").Cert)
	}
	twin := newCA(t, p, nil, "Twin")
	h := issue(t, p, "Ana", lab.By(twin))
	c := trustOf(t, certs...).gather(h.Leaf, nil)
	if len(c.candidates) > maxCandidates {
		t.Errorf("%d candidates, at most %d are allowed", len(c.candidates), maxCandidates)
	}
	if err := c.reach(); err == nil {
		t.Error("accepted")
	}
}

func TestNewTrustRefuses(t *testing.T) {
	p := testLab(t)
	good := pemOf(p.Root.Cert)
	broken := pemOf(&x509.Certificate{Raw: p.Root.Cert.Raw[:100]})
	later := bytes.Clone(p.Root.Cert.Raw)
	later[len(later)-1] ^= 1 // a root's signature does not matter
	notParsed := bytes.Clone(p.Root.Cert.Raw)
	copy(notParsed[bytes.Index(notParsed, []byte{0x17, 0x0d})+2:], "999999") // a month of 99
	for _, test := range []struct {
		name           string
		mozilla, extra []byte
		ok             bool
	}{
		{"nothing", nil, nil, true},
		{"good", good, good, true},
		{"text around", good, slices.Concat([]byte("Lab\n"), good, []byte("end\n")), true},
		{"empty own bundle", good, []byte{}, false},
		{"no certificate", good, []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), false},
		{"DER", good, p.Root.Cert.Raw, false},
		{"cut short", good, broken, false},
		{"one broken among good", good, slices.Concat(good, broken), false},
		{"does not parse", good, pemOf(&x509.Certificate{Raw: notParsed}), false},
		{"Mozilla's damaged", []byte("nothing here"), good, false},
		{"Mozilla's broken", broken, good, false},
		{"Mozilla's has what does not parse", pemOf(&x509.Certificate{Raw: notParsed}, p.Root.Cert), nil, true},
	} {
		var extra [][]byte
		if test.extra != nil {
			extra = append(extra, test.extra)
		}
		if _, err := NewStore(test.mozilla, extra...); (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	trust, err := NewStore(pemOf(&x509.Certificate{Raw: later}))
	if err != nil {
		t.Fatal(err)
	}
	h := issue(t, p, "Ana")
	if _, err := lookAt(trust, h.Leaf, h.Chain); err != nil {
		t.Errorf("a root whose own signature is damaged: %v", err)
	}
}

// Mozilla's bundle is well-formed: every certificate of it is found by its subject. The former root
// above the Portuguese ones is refused as expired.
func TestMozillaBundle(t *testing.T) {
	text := mozillaPEM(t)
	trust, err := NewStore(text)
	if err != nil {
		t.Fatal(err)
	}
	certs, notices, err := readCertificates(text)
	if err != nil || notices != nil {
		t.Fatal(notices, err)
	}
	n, ders := 0, make(map[string]bool)
	for _, c := range certs {
		ders[string(c.der)] = true
	}
	var baltimore *x509.Certificate
	for subject, list := range trust.bySubject {
		for _, b := range list {
			n++
			b.load()
			if b.cert == nil || !ders[string(b.der)] {
				t.Errorf("a certificate of Mozilla's is not read as it stands: %x", b.der)
				continue
			}
			if foldedName(b.cert.RawSubject) != subject {
				t.Errorf("%s is under another subject", b.cert.Subject)
			}
			if strings.Contains(b.cert.Subject.CommonName, "Baltimore CyberTrust Root") {
				baltimore = b.cert
			}
		}
	}
	if want := bytes.Count(text, []byte("BEGIN CERTIFICATE")); n != want || n < 100 {
		t.Errorf("%d certificates, want %d", n, want)
	}
	if baltimore == nil {
		t.Fatal("Baltimore CyberTrust Root is not in the bundle")
	}
	at := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	below := *issue(t, testLab(t), "Ana").Leaf
	_, err = validAt([]path{{certs: []*x509.Certificate{&below, baltimore}}}, at)
	wantCode(t, err, proto.CertificateExpired)
	if err != nil && !strings.Contains(err.Error(), "2025-05-12") {
		t.Errorf("%q does not say when it ended", err)
	}
}

// An expired root is reported as such, as Baltimore is with a chain under it.
func TestExpiredRoot(t *testing.T) {
	p := testLab(t)
	root := newCA(t, p, nil, "Old root", lab.Window(labNow.AddDate(-20, 0, 0), labNow.AddDate(-1, 0, 0)))
	ca := newCA(t, p, root, "Old CA")
	h := issue(t, p, "Ana", lab.By(ca), lab.Window(labNow.AddDate(-2, 0, 0), labNow.AddDate(1, 0, 0)))
	for _, trust := range []*Store{trustOf(t, root.Cert), pinnedTo(t, root.Cert)} {
		_, err := lookAt(trust, h.Leaf, []*x509.Certificate{ca.Cert, root.Cert})
		wantCode(t, err, proto.CertificateExpired)
		if err != nil && !strings.Contains(err.Error(), `"Old root"`) {
			t.Errorf("%q does not name the root", err)
		}
	}
}
