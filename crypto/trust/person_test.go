package trust

import (
	"crypto/sha256"
	"crypto/x509"
	"slices"
	"testing"

	"chatsecure/proto"
	"chatsecure/testdata/lab"
)

// identityOf is the person of a holder whose chain includes the root.
func identityOf(t *testing.T, trust *Store, h *lab.Holder, root *x509.Certificate) *Person {
	t.Helper()
	person, err := lookAt(trust, h.Leaf, append(slices.Clone(h.Chain), root))
	if err != nil {
		t.Fatal(err)
	}
	return person
}

// isCitizen reports whether an identity is that of a Portuguese citizen.
func isCitizen(t *testing.T, person *Person) bool {
	t.Helper()
	number, err := civilNumber(person.Leaf)
	must(t, err)
	citizen := person.Identity == proto.HashTuple("identity-citizen", citizenDomain, number)
	if person.Citizen != citizen {
		t.Errorf("the person is a citizen: %v, and has a citizen's identity: %v", person.Citizen, citizen)
	}
	return citizen
}

// The identity, written out byte by byte, for both domains.
func TestIdentityBytes(t *testing.T) {
	p := testLab(t)
	h := issue(t, p, "Ana", lab.WithCivilNumber("BI100000011"))
	item := func(s string) string { return string([]byte{0, 0, byte(len(s) >> 8), byte(len(s))}) + s }

	want := sha256.Sum256([]byte(item("chatsecure/2 identity-citizen") + item("PT-CC") + item("BI100000011")))
	if person := identityOf(t, pinnedTo(t, p.Root.Cert), h, p.Root.Cert); person.Identity != want || !person.Citizen || person.Anchor != AnchorPinned {
		t.Errorf("a citizen's identity is %x, want %x: %+v", person.Identity, want, person)
	}
	key := sha256.Sum256(p.Auth.Cert.RawSubjectPublicKeyInfo)
	want = sha256.Sum256([]byte(item("chatsecure/2 identity-subject") + item(string(key[:])) +
		item(item(string(h.Leaf.RawIssuer))+item(string(h.Leaf.RawSubject)))))
	if person := identityOf(t, trustOf(t, p.Root.Cert), h, p.Root.Cert); person.Identity != want || person.Citizen || person.Anchor != AnchorGiven {
		t.Errorf("another's identity is %x, want %x: %+v", person.Identity, want, person)
	}
}

// Row 20: a renewed card is the same person. The same name alone, or the same subject under another
// authority, is not.
func TestRow20WhoIsWho(t *testing.T) {
	p := testLab(t)
	ana := issue(t, p, "Ana")
	renewed := issue(t, p, "Ana", lab.RenewalOf(ana))
	namesake := issue(t, p, "Ana")
	// A later generation of authorities. Real ones come every few years.
	cc2 := mustCA(t, p, p.Root, "Cartão de Cidadão 002")
	auth2 := mustCA(t, p, cc2, "EC de Autenticação do Cartão de Cidadão 0002")
	newer := issue(t, p, "Ana", lab.RenewalOf(ana), lab.By(auth2))
	// Authorities of others than citizens.
	wrong := mustCA(t, p, cc2, "EC de Assinatura do Cartão de Cidadão 0002")
	elsewhere := issue(t, p, "Ana", lab.RenewalOf(ana), lab.By(wrong))
	direct := mustCA(t, p, p.Root, "EC de Autenticação do Cartão de Cidadão 0003")
	tooHigh := issue(t, p, "Ana", lab.RenewalOf(ana), lab.By(direct))

	pinned, own := pinnedTo(t, p.Root.Cert), trustOf(t, p.Root.Cert)
	id := func(trust *Store, h *lab.Holder) [32]byte { return identityOf(t, trust, h, p.Root.Cert).Identity }
	for _, test := range []struct {
		name  string
		trust *Store
		other *lab.Holder
		same  bool
	}{
		{"renewed", pinned, renewed, true},
		{"renewed by a newer authority", pinned, newer, true},
		{"same name", pinned, namesake, false},
		{"another kind of authority", pinned, elsewhere, false},
		{"authority in another place", pinned, tooHigh, false},
		{"own root: renewed", own, renewed, true},
		{"own root: renewed by a newer authority", own, newer, false},
		{"own root: same name", own, namesake, false},
	} {
		if same := id(test.trust, ana) == id(test.trust, test.other); same != test.same {
			t.Errorf("%s: same person is %v, want %v", test.name, same, test.same)
		}
	}
	if id(pinned, ana) == id(own, ana) {
		t.Error("the domain is not part of the identity")
	}
}

func mustCA(t *testing.T, p *lab.PKI, parent *lab.CA, cn string) *lab.CA {
	t.Helper()
	ca, err := p.NewCA(parent, lab.DN("C", "PT", "CN", cn))
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// The same subject under an authority of the same name and another key is another person. One key
// under two roots is one authority.
func TestIdentityFollowsTheKey(t *testing.T) {
	p, q := testLab(t), newLab(t)
	a := newCA(t, p, p.Root, "Authority")
	b := newCA(t, q, q.Root, "Authority")
	cross := newCA(t, q, q.Root, "Authority", lab.WithKey(a.Key))
	subject := lab.WithSubject(lab.DN("CN", "Ana"))
	atA, atB := issue(t, p, "Ana", subject, lab.By(a)), issue(t, q, "Ana", subject, lab.By(b))
	atP, atQ := trustOf(t, p.Root.Cert), trustOf(t, q.Root.Cert)

	first, err := lookAt(atP, atA.Leaf, []*x509.Certificate{a.Cert})
	if err != nil {
		t.Fatal(err)
	}
	viaQ, err := lookAt(atQ, atA.Leaf, []*x509.Certificate{cross.Cert})
	if err != nil {
		t.Fatal(err)
	}
	second, err := lookAt(atQ, atB.Leaf, []*x509.Certificate{b.Cert})
	if err != nil {
		t.Fatal(err)
	}
	if first.Identity != viaQ.Identity {
		t.Error("another path to one authority makes another person")
	}
	if first.Identity == second.Identity {
		t.Error("another authority of the same name makes the same person")
	}
}

// If an identity has paths to a pinned root and to others, the pinned one decides. So all verifiers
// agree, with any lists.
func TestCitizenPathIsPreferred(t *testing.T) {
	p := testLab(t)
	h := issue(t, p, "Ana")
	other := newCA(t, p, nil, "Another root")
	cross := newCA(t, p, other, "unused", lab.WithKey(p.CC.Key), lab.WithSubject(lab.DN("C", "PT",
		"O", "SCEE - Sistema de Certificação Electrónica do Estado", "OU", "ECEstado", "CN", "Cartão de Cidadão 001")))
	trust := trustOf(t, other.Cert).withAnchorsOf(pinnedTo(t, p.Root.Cert))
	person, err := lookAt(trust, h.Leaf, []*x509.Certificate{cross.Cert, p.Auth.Cert, p.CC.Cert, p.Root.Cert})
	if err != nil {
		t.Fatal(err)
	}
	if !isCitizen(t, person) {
		t.Error("the identity is not a citizen's")
	}
	// The other path has all lists. The citizen's lacks that of the pinned root.
	store := NewCRLStore()
	for _, ca := range []*lab.CA{p.Auth, p.CC, other} {
		list, err := ca.MakeCRL(lab.CRL{})
		if err != nil {
			t.Fatal(err)
		}
		addCRL(t, store, list, ca.Cert)
	}
	c := check{trust: trust, crls: store, policy: PolicyTry}
	person, err = c.look(h.Leaf, []*x509.Certificate{cross.Cert, p.Auth.Cert, p.CC.Cert, p.Root.Cert})
	if err != nil {
		t.Fatal(err)
	}
	if !isCitizen(t, person) || person.Revocation.Status != RevocationUnknown {
		t.Errorf("citizen is %v with the status %s", isCitizen(t, person), person.Revocation.Status)
	}
	// Without the pinned root the other path holds, for another identity.
	person, err = lookAt(trust, h.Leaf, []*x509.Certificate{cross.Cert, p.Auth.Cert})
	if err != nil {
		t.Fatal(err)
	}
	if isCitizen(t, person) {
		t.Error("a citizen under a root that is not pinned")
	}
}

func TestStateRoot(t *testing.T) {
	p := testLab(t)
	root := mustCA(t, p, nil, "Commercial root")
	state := mustCA(t, p, root, "ECRaizEstado")
	good := mustCA(t, p, mustCA(t, p, state, "Cartão de Cidadão 005"), "EC de Autenticação do Cartão de Cidadão 0016")
	bad := mustCA(t, p, mustCA(t, p, mustCA(t, p, root, "Somebody"), "Cartão de Cidadão 005"), "EC de Autenticação do Cartão de Cidadão 0016")
	short := mustCA(t, p, mustCA(t, p, root, "Cartão de Cidadão 005"), "EC de Autenticação do Cartão de Cidadão 0016")
	trust := pinnedTo(t).withAnchorsOf(&Store{
		pinned:     [][32]byte{sha256.Sum256(root.Cert.Raw)},
		stateRoots: [][32]byte{sha256.Sum256(state.Cert.RawSubjectPublicKeyInfo)},
	})
	for _, test := range []struct {
		name    string
		ca      *lab.CA
		citizen bool
	}{{"under the state's root", good, true}, {"under somebody else", bad, false}, {"directly under the anchor", short, false}} {
		h := issue(t, p, "Ana", lab.By(test.ca))
		if got := isCitizen(t, identityOf(t, trust, h, root.Cert)); got != test.citizen {
			t.Errorf("%s: citizen is %v, want %v", test.name, got, test.citizen)
		}
	}
}

func TestCitizenNeedsOneNumber(t *testing.T) {
	p := testLab(t)
	trust := pinnedTo(t, p.Root.Cert)
	for name, subject := range map[string]lab.IssueOption{
		"none":  lab.WithSubject(lab.DN("C", "PT", "CN", "Ana")),
		"empty": lab.WithSubject(lab.DN("C", "PT", "serialNumber", "", "CN", "Ana")),
		"two":   lab.WithSubject(lab.DN("C", "PT", "serialNumber", "BI100000011", "serialNumber", "BI100000011", "CN", "Ana")),
	} {
		t.Run(name, func(t *testing.T) {
			h := issue(t, p, "Ana", subject)
			_, err := lookAt(trust, h.Leaf, append(slices.Clone(h.Chain), p.Root.Cert))
			wantCode(t, err, proto.CertificateUnsuitable)
		})
	}
}

func TestIsNumbered(t *testing.T) {
	for name, want := range map[string]bool{
		"Cartão de Cidadão 008":                       true,
		"Cartão de Cidadão 1":                         true,
		"Cartão de Cidadão":                           false,
		"Cartão de Cidadão ":                          false,
		"Cartão de Cidadão 008 ":                      false,
		"Cartão de Cidadão  008":                      false,
		"Cartão de Cidadão 008a":                      false,
		"Cartão de Cidadão -8":                        false,
		"Cartão de Cidadão \u0661":                    false,
		"cartão de cidadão 008":                       false,
		"XCartão de Cidadão 008":                      false,
		"Cart\u0061\u0303o de Cidad\u0061\u0303o 008": false,
	} {
		if got := isNumbered(name, citizenParent); got != want {
			t.Errorf("isNumbered(%q) = %v, want %v", name, got, want)
		}
	}
}
