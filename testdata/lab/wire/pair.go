package wire

import (
	"sync"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/people"
)

// Epoch is where the clock of a pair begins.
var Epoch = people.Now

// Clock is a clock that a test moves.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock returns a clock that stands at Epoch.
func NewClock() *Clock { return &Clock{now: Epoch} }

// Now returns the time to which the test has moved the clock.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Add moves the clock.
func (c *Clock) Add(d time.Duration) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	c.mu.Unlock()
}

// Keeper writes down one user's side of a conversation, as a history does.
type Keeper interface {
	Begin(c *crypto.Conversation, mine *trust.Bundle) error
	Sent(c *crypto.Conversation, s *crypto.Sealed, exact [][]byte) error
	Received(c *crypto.Conversation, o *crypto.Opened) error
	Receipt(c *crypto.Conversation, o *crypto.Opened) error
}

// User is one party of a pair.
type User struct {
	Local *crypto.Local
	End   crypto.End
	Keeps Keeper // nil: nothing is written down
}

// Pair is two users who talk without a relay between them: what one seals the
// other opens at once, and both write it down.
type Pair struct {
	T        testing.TB
	Clock    *Clock
	PKI      *lab.PKI
	Verifier *trust.Verifier // trusts the lab's root, without revocation lists
	A, B     *User
	Ca, Cb   *crypto.Conversation // of A and of B, nil before Connect

	keys *crypto.KeySource
}

// NewPair returns Ana and Bruno, who have no conversation yet.
func NewPair(t testing.TB) *Pair {
	t.Helper()
	return NewPairIn(t, people.Lab(t))
}

// NewPairIn is NewPair in a lab of the test's own.
func NewPairIn(t testing.TB, pki *lab.PKI) *Pair {
	t.Helper()
	p := EmptyPair(t, pki)
	p.A, p.B = p.User("Ana", "conn-a"), p.User("Bruno", "conn-b")
	return p
}

// EmptyPair is a pair without its users.
func EmptyPair(t testing.TB, pki *lab.PKI) *Pair {
	t.Helper()
	clock := NewClock()
	p := &Pair{
		T: t, Clock: clock, PKI: pki, keys: new(crypto.KeySource),
		Verifier: trust.NewVerifier(trust.VerifierConfig{Trust: people.Trust(t, pki), Now: clock.Now}),
	}
	t.Cleanup(p.keys.Close)
	return p
}

// User issues a card and delegates to a new K.
func (p *Pair) User(name, conn string) *User {
	p.T.Helper()
	holder, err := p.PKI.Issue(name)
	p.Must(err)
	return p.Delegate(holder, name, conn)
}

// Delegate has a card say that a new K is name's.
func (p *Pair) Delegate(holder *lab.Holder, name, conn string) *User {
	p.T.Helper()
	now := p.Clock.Now()
	cred := DelegateAt(p.T, holder, name, now.Add(-time.Hour), now.Add(7*time.Hour))
	person, err := p.Verifier.Verify(cred.Bundle, name)
	p.Must(err)
	return &User{
		Local: &crypto.Local{
			Key: cred.Key, Bundle: cred.Bundle, Identity: person.Identity, FoldedName: proto.FoldName(name),
			Suites: crypto.SuiteNames(), Takes: proto.TakesMessages, Keys: p.keys,
		},
		End: crypto.End{Name: name, Conn: conn},
	}
}

// Connect begins a new conversation.
func (p *Pair) Connect() {
	p.T.Helper()
	p.Ca, p.Cb = p.Shake(p.A, p.B)
	p.keep(p.A, func(k Keeper) error { return k.Begin(p.Ca, p.A.Local.Bundle) })
	p.keep(p.B, func(k Keeper) error { return k.Begin(p.Cb, p.B.Local.Bundle) })
}

func (p *Pair) keep(u *User, write func(Keeper) error) {
	p.T.Helper()
	if u.Keeps != nil {
		p.Must(write(u.Keeps))
	}
}

// Shake runs the handshake between two users. Nothing is written down.
func (p *Pair) Shake(a, b *User) (ca, cb *crypto.Conversation) {
	p.T.Helper()
	i, p1, err := crypto.Initiate(a.Local, a.End, b.End)
	p.Must(err)
	offer, err := crypto.ReadOffer(p1, b.End, a.End)
	p.Must(err)
	p2, r, _, err := offer.Answer(b.Local, nil, p.Verifier.Verify)
	p.Must(err)
	p3, ca, err := i.Phase2(p2, p.Verifier.Verify)
	p.Must(err)
	cb, err = r.Phase3(p3)
	p.Must(err)
	return ca, cb
}

// Must fails the test on an error.
func (p *Pair) Must(err error) {
	p.T.Helper()
	if err != nil {
		p.T.Fatal(err)
	}
}

// To is the `to` list with these users.
func To(users ...*User) []crypto.Recipient {
	var to []crypto.Recipient
	for _, u := range users {
		to = append(to, crypto.Recipient{Name: u.Local.FoldedName, Identity: proto.FormatHash(u.Local.Identity)})
	}
	return to
}

// Send sends texts from A to B in one message, and returns the records' ids.
func (p *Pair) Send(texts ...string) (ids []string) {
	p.T.Helper()
	var records []*crypto.Record
	for _, text := range texts {
		records = append(records, crypto.NewRecord(p.A.Local.Identity, To(p.B), text, p.Clock.Now()))
	}
	p.SendRecords(records...)
	for _, r := range records {
		ids = append(ids, r.ID)
	}
	return ids
}

// SendRecords sends records from A to B in one message.
func (p *Pair) SendRecords(records ...*crypto.Record) {
	p.T.Helper()
	p.Clock.Add(time.Second)
	s, exact, err := p.Ca.SealRecords(records, p.Clock.Now())
	p.Must(err)
	p.keep(p.A, func(k Keeper) error { return k.Sent(p.Ca, s, exact) })
	o, err := p.Cb.Open(s.Body, p.Clock.Now())
	p.Must(err)
	p.keep(p.B, func(k Keeper) error { return k.Received(p.Cb, o) })
	p.Cb.Commit(o)
}

// Receipt sends a receipt from B to A: delivered and read up to these numbers.
func (p *Pair) Receipt(delivered, read uint64) {
	p.T.Helper()
	p.Clock.Add(time.Second)
	s, err := p.Cb.SealReceipt(delivered, read, p.Clock.Now())
	p.Must(err)
	o, err := p.Ca.Open(s.Body, p.Clock.Now())
	p.Must(err)
	p.keep(p.A, func(k Keeper) error { return k.Receipt(p.Ca, o) })
	p.Ca.Commit(o)
}
