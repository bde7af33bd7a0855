package client

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"chatsecure/card"
	"chatsecure/crypto/trust"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/disk"
	"chatsecure/testdata/lab/people"
)

// chainScene is a card whose authority's root is cross-signed.
type chainScene struct {
	t      *testing.T
	p      *lab.PKI
	old, x *lab.CA // the root above the card, and another
	sub    *lab.CA
	holder *lab.Holder
}

func newChainScene(t *testing.T) *chainScene {
	t.Helper()
	p, err := lab.New(lab.Options{CAKey: lab.P256, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	s := &chainScene{t: t, p: p}
	s.old, s.x = s.ca(nil, "Old Root"), s.ca(nil, "X")
	s.sub = s.ca(s.old, "Sub CA")
	if s.holder, err = p.Issue("yan", lab.By(s.sub)); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *chainScene) ca(parent *lab.CA, name string, opts ...lab.IssueOption) *lab.CA {
	s.t.Helper()
	ca, err := s.p.NewCA(parent, lab.DN("C", "PT", "O", "Lab", "CN", name), opts...)
	if err != nil {
		s.t.Fatal(err)
	}
	return ca
}

// cross is a certificate of the old root by another authority.
func (s *chainScene) cross(by *lab.CA, opts ...lab.IssueOption) *x509.Certificate {
	return s.ca(by, "Old Root", append(opts, lab.WithKey(s.old.Key))...).Cert
}

// bundle is what the card signs with these certificates beside its own.
func (s *chainScene) bundle(chain, extra []*x509.Certificate) *trust.Bundle {
	s.t.Helper()
	dir := filepath.Join(s.t.TempDir(), "card")
	holder := *s.holder
	holder.Chain = chain
	if err := holder.WriteCard(dir); err != nil {
		s.t.Fatal(err)
	}
	c, err := card.Open(context.Background(), dir, card.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	var ders [][]byte
	for _, cert := range extra {
		ders = append(ders, cert.Raw)
	}
	cred, err := NewCredential(context.Background(), c, Delegation{
		Name: "yan", Key: people.Key(s.t, trust.KeyEd25519), Lifetime: time.Hour, Intermediates: ders, Now: time.Now(),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return cred.Bundle
}

// accepted fails unless a verifier that trusts only root accepts the bundle.
func (s *chainScene) accepted(b *trust.Bundle, root *x509.Certificate) {
	s.t.Helper()
	store, err := trust.NewStore(nil, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw}))
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := trust.NewVerifier(trust.VerifierConfig{Trust: store, Policy: trust.PolicyOff}).Verify(b, "yan"); err != nil {
		s.t.Errorf("who trusts %s refuses: %v", root.Subject.CommonName, err)
	}
}

// One good path is enough for a peer, but nobody knows which one the peer has:
// the bundle has all paths, in any order of the given certificates.
func TestChainHasEveryWayUp(t *testing.T) {
	s := newChainScene(t)
	past := lab.Window(time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour))
	y := s.ca(nil, "Y")
	crossX, crossY, ended := s.cross(s.x), s.cross(y), s.cross(s.x, past)
	for _, chain := range [][]*x509.Certificate{
		{s.sub.Cert, s.old.Cert, crossX, crossY},
		{s.sub.Cert, crossX, s.old.Cert, crossY},
		{s.sub.Cert, ended, crossY, crossX},
		{crossY, crossX, ended, s.old.Cert, s.sub.Cert},
	} {
		for n := range len(chain) + 1 { // the rest comes from elsewhere
			b := s.bundle(chain[:n], chain[n:])
			s.accepted(b, s.x.Cert)
			s.accepted(b, y.Cert)
			s.accepted(b, s.old.Cert)
			if slices.ContainsFunc(b.Chain, func(der []byte) bool { return string(der) == string(s.old.Cert.Raw) }) {
				t.Error("a root that is not pinned is sent")
			}
		}
	}
}

// Without room for all paths, the bundle has one whole and valid path: that of
// the first given certificates.
func TestChainIsBounded(t *testing.T) {
	s := newChainScene(t)
	past := lab.Window(time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour))
	var chain []*x509.Certificate
	for i := range trust.MaxCertificates {
		chain = append(chain, s.cross(s.x, past), s.cross(s.ca(nil, fmt.Sprint("Other ", i))))
	}
	middle := s.ca(s.x, "Middle")
	b := s.bundle(append(chain, s.sub.Cert), []*x509.Certificate{s.cross(middle), middle.Cert})
	if len(b.Chain) != trust.MaxChainCertificates {
		t.Errorf("%d certificates are sent", len(b.Chain))
	}
	s.accepted(b, s.x.Cert)

	long := lab.Mutate(func(c *x509.Certificate) { c.OCSPServer = []string{"http://127.0.0.1/" + fmt.Sprintf("%08000d", 0)} })
	up := []*x509.Certificate{s.sub.Cert, s.cross(s.x), s.cross(s.x, long), s.cross(s.x, long), s.cross(s.x, long)}
	s.accepted(s.bundle(up, nil), s.x.Cert)
}

// mailCard is a card that signs as a test says.
type mailCard struct {
	*lab.Holder
	sign func(message []byte) ([]byte, error)
}

func (c *mailCard) Leaf() []byte     { return c.Holder.Leaf.Raw }
func (c *mailCard) Chain() [][]byte  { return c.ChainDER() }
func (c *mailCard) Describe() string { return "a card" }
func (c *mailCard) Close() error     { return nil }
func (c *mailCard) Sign(_ context.Context, message []byte) ([]byte, error) {
	return c.sign(message)
}

// The key of a mailbox is on the disk before the card signs its name, and the bundle before anybody
// sees it. What the card did not sign is named the next time.
func TestCardSignsAMailbox(t *testing.T) {
	dir := t.TempDir()
	c := &mailCard{Holder: people.Card(t, "alice")}
	order := func() (*trust.Bundle, error) {
		cred, err := NewCredential(context.Background(), c, Delegation{
			Name: "alice", Key: people.Key(t, trust.KeyEd25519), Lifetime: time.Hour, Mail: dir, Now: people.Now,
		})
		if err != nil {
			return nil, err
		}
		return cred.Bundle, nil
	}
	synced := map[string]bool{}
	disk.SyncWith(t, func(f *os.File) error {
		synced[f.Name()] = true
		return f.Sync()
	})
	wrong := errors.New("a wrong PIN")
	c.sign = func([]byte) ([]byte, error) {
		if !synced[filepath.Join(dir, mailDir)] || !synced[dir] || len(files(t, dir)) != 1 {
			t.Errorf("synced before the card signs: %v; files %v", synced, files(t, dir))
		}
		return nil, wrong
	}
	if _, err := order(); !errors.Is(err, wrong) {
		t.Fatal(err)
	}
	first := files(t, dir)
	clear(synced) // a crash may have come between the file and its directory
	c.sign = func(message []byte) ([]byte, error) {
		if !synced[filepath.Join(dir, mailDir)] || !synced[dir] {
			t.Errorf("synced before the card signs: %v", synced)
		}
		clear(synced)
		return c.Holder.Sign(message)
	}
	b, err := order()
	if err != nil {
		t.Fatal(err)
	}
	m := openMail(dir)
	box, err := m.box([32]byte(b.Mailbox))
	if err != nil || box == nil || m.path(box.Hash) != first[0] || !box.Named(b.Hash()) {
		t.Fatalf("the mailbox is %+v, %v; there was %v", box, err, first)
	}
	if !synced[m.logPath(box.Hash)] || !synced[m.dir] {
		t.Errorf("synced before the bundle is seen: %v", synced)
	}
	if want := people.Now.Add(trust.MaxMailbox - time.Minute); b.MailboxEnd != want.Unix() {
		t.Errorf("the mailbox ends %v, not %v", time.Unix(b.MailboxEnd, 0), want)
	}
	if _, err := people.Verifier(t, people.Now).Verify(b, "alice"); err != nil {
		t.Error(err)
	}
}

// A mailbox ends with its key, and no later than the card's certificate.
func TestMailboxEnd(t *testing.T) {
	within := lab.Window(people.Now.Add(-time.Hour), people.Now.Add(10*day))
	for name, c := range map[string]struct {
		card *lab.Holder
		ends time.Duration // from the first start on
	}{
		"of the key":         {people.Card(t, "alice"), trust.MaxMailbox},
		"of the certificate": {people.Card(t, "alice", within), 10 * day},
	} {
		dir := t.TempDir()
		for _, start := range []time.Duration{time.Hour, 6 * day} { // later than the key's begin by more than startsBefore
			newestOf(t, openMail(dir), people.Now)
			cred, err := NewCredential(context.Background(), &mailCard{c.card, c.card.Sign}, Delegation{
				Name: "alice", Key: people.Key(t, trust.KeyEd25519), Lifetime: time.Hour, Mail: dir, Now: people.Now.Add(start),
			})
			if err != nil {
				t.Fatal(err)
			}
			if want := people.Now.Add(c.ends); cred.Bundle.MailboxEnd != want.Unix() {
				t.Errorf("%s, after %v: %v, not %v", name, start, time.Unix(cred.Bundle.MailboxEnd, 0), want)
			}
		}
	}
}
