package trust

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chatsecure/proto"
	"chatsecure/testdata/lab"
)

// labNow is the time in these tests, for the lab and the verifiers.
var labNow = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// sharedLab is one lab for the tests that only add holders to it.
var sharedLab = sync.OnceValues(func() (*lab.PKI, error) {
	return lab.New(lab.Options{CAKey: lab.P256, Now: func() time.Time { return labNow }})
})

func testLab(t testing.TB) *lab.PKI {
	t.Helper()
	p, err := sharedLab()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// newLab is a lab of the test's own, for tests that revoke.
func newLab(t testing.TB) *lab.PKI {
	t.Helper()
	p, err := lab.New(lab.Options{CAKey: lab.P256, Now: func() time.Time { return labNow }})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func issue(t testing.TB, p *lab.PKI, name string, opts ...lab.IssueOption) *lab.Holder {
	t.Helper()
	h, err := p.Issue(name, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func newCA(t testing.TB, p *lab.PKI, parent *lab.CA, name string, opts ...lab.IssueOption) *lab.CA {
	t.Helper()
	ca, err := p.NewCA(parent, lab.DN("C", "PT", "O", "Lab", "CN", name), opts...)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func pemOf(certs ...*x509.Certificate) []byte {
	var text []byte
	for _, cert := range certs {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	return text
}

// trustOf trusts roots as -ca-bundle does.
func trustOf(t testing.TB, certs ...*x509.Certificate) *Store {
	t.Helper()
	trust, err := NewStore(nil, pemOf(certs...))
	if err != nil {
		t.Fatal(err)
	}
	return trust
}

// pinnedTo trusts roots as the pinned anchors.
func pinnedTo(t testing.TB, roots ...*x509.Certificate) *Store {
	t.Helper()
	trust, err := NewStore(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, root := range roots {
		trust = trust.withAnchorsOf(&Store{
			pinned: [][32]byte{sha256.Sum256(root.Raw)}, stateRoots: [][32]byte{sha256.Sum256(root.RawSubjectPublicKeyInfo)},
		})
	}
	return trust
}

// withAnchorsOf returns a Store that also has the pinned anchors of another.
func (s *Store) withAnchorsOf(other *Store) *Store {
	return &Store{
		bySubject: s.bySubject, pinned: slices.Concat(s.pinned, other.pinned), stateRoots: slices.Concat(s.stateRoots, other.stateRoots),
	}
}

func cardSign(t testing.TB, h *lab.Holder, message []byte) []byte {
	t.Helper()
	signature, err := h.Sign(message)
	must(t, err)
	return signature
}

// delegate makes a bundle of 8 hours around labNow, which edit changes before the card signs.
// Package people, which has the same for other tests, imports this package.
func delegate(t testing.TB, h *lab.Holder, edit ...func(*Bundle)) *Bundle {
	t.Helper()
	b := &Bundle{
		Name:      h.Name,
		PublicKey: sharedKey(t).Public().SPKI(),
		NotBefore: labNow.Add(-time.Hour).Unix(),
		NotAfter:  labNow.Add(7 * time.Hour).Unix(),
		Mailbox:   []byte{},
		X509:      h.Leaf.Raw,
		Chain:     h.ChainDER(),
	}
	for _, f := range edit {
		f(b)
	}
	if b.Signature == nil {
		b.Signature = cardSign(t, h, b.DelegationMessage())
	}
	return b
}

var onceKey = sync.OnceValues(func() (*Key, error) { return GenerateKey(KeyEd25519) })

// sharedKey is one K for the tests that need any.
func sharedKey(t testing.TB) *Key {
	t.Helper()
	k, err := onceKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// verifierAt is a verifier with a clock that stands still.
func verifierAt(trust *Store, crls *CRLStore, policy Policy, now time.Time) *Verifier {
	return NewVerifier(VerifierConfig{Trust: trust, CRLs: crls, Policy: policy, Now: func() time.Time { return now }})
}

// wantCode fails unless err is an *Error with this code and with sentences that can be shown.
func wantCode(t *testing.T, err error, code proto.Code) {
	t.Helper()
	refused, ok := errors.AsType[*Error](err)
	if !ok || refused.Code != code {
		t.Errorf("error is %v, want an *Error with the code %s", err, code)
		return
	}
	wantSentence(t, refused.Reason)
	if refused.Hint != "" {
		wantSentence(t, refused.Hint)
	}
}

// civilNumbers matches the lab's civil numbers.
var civilNumbers = regexp.MustCompile(`BI[0-9]{5}`)

// wantSentence fails unless s can be shown to people: printable, in lower case, without a full stop
// and without a civil number.
func wantSentence(t *testing.T, s string) {
	t.Helper()
	switch {
	case s == "" || s != proto.Visible(s):
		t.Errorf("%q cannot be shown", s)
	case strings.HasSuffix(s, "."), strings.ToLower(s[:1]) != s[:1]:
		t.Errorf("%q is not lower case without a full stop", s)
	case civilNumbers.MatchString(s):
		t.Errorf("%q has a civil number in it", s)
	}
}

// addCRL adds a list as a fetched one.
func addCRL(t testing.TB, s *CRLStore, der []byte, issuer *x509.Certificate) CRLInfo {
	t.Helper()
	info, err := s.Add(bytes.NewReader(der), "test", []*x509.Certificate{issuer}, labNow)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// look is a check of a certificate at labNow, without the delegation.
func (c check) look(leaf *x509.Certificate, chain []*x509.Certificate) (*Person, error) {
	paths, err := c.trust.paths(leaf, chain)
	if err != nil {
		return nil, err
	}
	for _, p := range paths {
		if err := p.checkByX509(); err != nil {
			return nil, fmt.Errorf("accepted here, and crypto/x509 says: %w", err)
		}
	}
	return c.holder(paths, labNow)
}

// verifyAt checks a bundle at a time in the past, as a history's verification does.
func (v *Verifier) verifyAt(b *Bundle, name string, at time.Time) (*Person, error) {
	d, err := v.Prove(b, name)
	if err != nil {
		return nil, err
	}
	return v.At(d, at)
}

// today is what a live look says of the certificate of a bundle that was good in the past.
func (v *Verifier) today(b *Bundle) error {
	_, err := v.Certificate(b.X509, b.Chain)
	return err
}
