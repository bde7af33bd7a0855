package chatsecure

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"sync"
	"testing"
	"time"

	cs "chatsecure/crypto"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
)

// historyTime is where the clock of these tests begins.
var historyTime = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// historyClock is a clock that a test moves.
type historyClock struct {
	mu  sync.Mutex
	now time.Time
}

func newHistoryClock() *historyClock { return &historyClock{now: historyTime} }

func (c *historyClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *historyClock) Add(d time.Duration) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	c.mu.Unlock()
}

var historyLab = sync.OnceValues(func() (*lab.PKI, error) {
	return lab.New(lab.Options{CAKey: lab.P256, Now: func() time.Time { return historyTime }})
})

// historyVerifier trusts the lab's root and knows its lists.
func historyVerifier(t testing.TB, p *lab.PKI, clock *historyClock) *cs.Verifier {
	t.Helper()
	trust, err := cs.NewTrust(nil, rootPEM(p))
	if err != nil {
		t.Fatal(err)
	}
	return cs.NewVerifier(cs.VerifierConfig{Trust: trust, Now: clock.Now})
}

func rootPEM(p *lab.PKI) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Root.Cert.Raw})
}

// historyUser is one party: who it is, and where its history is.
type historyUser struct {
	local *cs.Local
	end   cs.End
	dir   string
	h     *History
}

// historyPair is two users with a conversation between them, each with an
// open history.
type historyPair struct {
	t        testing.TB
	clock    *historyClock
	pki      *lab.PKI
	verifier *cs.Verifier
	keys     *cs.KeySource
	a, b     *historyUser
	ca, cb   *cs.Conversation // of a and of b
}

func newHistoryPair(t testing.TB) *historyPair {
	t.Helper()
	pki, err := historyLab()
	if err != nil {
		t.Fatal(err)
	}
	return newHistoryPairIn(t, pki)
}

// newHistoryPairIn is newHistoryPair in a lab of the test's own.
func newHistoryPairIn(t testing.TB, pki *lab.PKI) *historyPair {
	t.Helper()
	p := newHistoryLab(t, pki)
	p.a, p.b = p.user("Ana", "conn-a"), p.user("Bruno", "conn-b")
	p.open(p.a)
	p.open(p.b)
	p.connect()
	return p
}

// newHistoryLab is a pair without its users.
func newHistoryLab(t testing.TB, pki *lab.PKI) *historyPair {
	clock := newHistoryClock()
	p := &historyPair{t: t, clock: clock, pki: pki, verifier: historyVerifier(t, pki, clock), keys: new(cs.KeySource)}
	t.Cleanup(p.keys.Close)
	return p
}

// user issues a card and delegates to a new K.
func (p *historyPair) user(name, conn string) *historyUser {
	p.t.Helper()
	holder, err := p.pki.Issue(name)
	if err != nil {
		p.t.Fatal(err)
	}
	return p.delegate(holder, name, conn)
}

// delegate has a card say that a new K is name's.
func (p *historyPair) delegate(holder *lab.Holder, name, conn string) *historyUser {
	p.t.Helper()
	key, err := cs.GenerateKey(cs.KeyEd25519)
	if err != nil {
		p.t.Fatal(err)
	}
	b := &cs.Bundle{
		Name: name, PublicKey: key.Public().SPKI(), X509: holder.Leaf.Raw, Chain: [][]byte{},
		NotBefore: p.clock.Now().Add(-time.Hour).Unix(), NotAfter: p.clock.Now().Add(7 * time.Hour).Unix(),
	}
	for _, ca := range holder.Chain {
		b.Chain = append(b.Chain, ca.Raw)
	}
	digest := sha256.Sum256(cs.DelegationMessage(b.X509, name, b.PublicKey, b.NotBefore, b.NotAfter))
	if b.Signature, err = holder.Key.Sign(rand.Reader, digest[:], crypto.SHA256); err != nil {
		p.t.Fatal(err)
	}
	person, err := p.verifier.Verify(b, name)
	if err != nil {
		p.t.Fatal(err)
	}
	return &historyUser{
		local: &cs.Local{
			Key: key, Bundle: b, Identity: person.Identity, FoldedName: proto.FoldName(name),
			Suites: cs.SuiteNames(), Keys: p.keys,
		},
		end: cs.End{Name: name, Conn: conn},
		dir: p.t.TempDir(),
	}
}

// open opens a user's history as a receiver; there must be nothing to say.
func (p *historyPair) open(u *historyUser) {
	p.t.Helper()
	h, notices, err := OpenHistory(u.dir, true, p.clock.Now)
	if err != nil {
		p.t.Fatal(err)
	}
	if len(notices) > 0 {
		p.t.Fatalf("notices on opening: %q", notices)
	}
	u.h = h
	p.t.Cleanup(func() { p.close(u) })
}

func (p *historyPair) close(u *historyUser) {
	p.t.Helper()
	if u.h == nil {
		return
	}
	if err := u.h.Close(); err != nil {
		p.t.Error(err)
	}
	u.h = nil
}

// connect begins a new conversation and writes it into both histories.
func (p *historyPair) connect() {
	p.t.Helper()
	p.ca, p.cb = p.shake(p.a, p.b)
	p.must(p.a.h.Begin(p.ca, p.a.local.Bundle))
	p.must(p.b.h.Begin(p.cb, p.b.local.Bundle))
}

// shake runs the handshake between two users.
func (p *historyPair) shake(a, b *historyUser) (ca, cb *cs.Conversation) {
	p.t.Helper()
	i, p1, err := cs.Initiate(a.local, a.end, b.end)
	p.must(err)
	offer, err := cs.ReadOffer(p1, b.end, a.end)
	p.must(err)
	p2, r, _, err := offer.Answer(b.local, nil, p.verifier.Verify)
	p.must(err)
	p3, ca, err := i.Phase2(p2, p.verifier.Verify)
	p.must(err)
	cb, err = r.Phase3(p3)
	p.must(err)
	return ca, cb
}

func (p *historyPair) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// to is the `to` list with these users.
func (p *historyPair) to(users ...*historyUser) []cs.Recipient {
	var to []cs.Recipient
	for _, u := range users {
		to = append(to, cs.Recipient{Name: u.local.FoldedName, Identity: hex.EncodeToString(u.local.Identity[:])})
	}
	return to
}

// send sends texts from a to b in one message and stores it on both sides. It
// returns the ids.
func (p *historyPair) send(texts ...string) (ids []string) {
	p.t.Helper()
	var records []*cs.Record
	for _, text := range texts {
		records = append(records, cs.NewRecord(p.a.local.Identity, p.to(p.b), text, p.clock.Now()))
	}
	p.sendRecords(records)
	for _, r := range records {
		ids = append(ids, r.ID)
	}
	return ids
}

func (p *historyPair) sendRecords(records []*cs.Record) {
	p.t.Helper()
	p.clock.Add(time.Second)
	s, exact, err := p.ca.SealRecords(records, p.clock.Now())
	p.must(err)
	p.must(p.a.h.Sent(p.ca, s, exact))
	o, err := p.cb.Open(s.Body, p.clock.Now())
	p.must(err)
	p.must(p.b.h.Received(p.cb, o))
	p.cb.Commit(o)
}

// receipt sends a receipt from b to a; a stores it.
func (p *historyPair) receipt(delivered, read uint64) {
	p.t.Helper()
	p.clock.Add(time.Second)
	s, err := p.cb.SealReceipt(delivered, read, p.clock.Now())
	p.must(err)
	o, err := p.ca.Open(s.Body, p.clock.Now())
	p.must(err)
	p.must(p.a.h.Receipt(p.ca, o))
	p.ca.Commit(o)
}
