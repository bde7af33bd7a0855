package history

import (
	"os"
	"testing"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/wire"
)

// user is one party with an open history in a directory of its own.
type user struct {
	*wire.User
	dir string
	h   *History
}

// pair is two users with a conversation between them, each with an open
// history that writes it down.
type pair struct {
	*wire.Pair
	a, b *user
}

func newPair(t testing.TB) *pair {
	t.Helper()
	return withHistories(wire.NewPair(t))
}

// newPairIn is newPair in a lab of the test's own.
func newPairIn(t testing.TB, pki *lab.PKI) *pair {
	t.Helper()
	return withHistories(wire.NewPairIn(t, pki))
}

func withHistories(talkers *wire.Pair) *pair {
	p := &pair{Pair: talkers}
	p.a, p.b = p.open(talkers.A), p.open(talkers.B)
	p.Connect()
	return p
}

// open gives a user a history.
func (p *pair) open(who *wire.User) *user {
	p.T.Helper()
	u := &user{User: who, dir: p.T.TempDir()}
	p.reopen(u)
	p.T.Cleanup(func() { p.close(u) })
	return u
}

// reopen opens a user's history as a receiver; there must be nothing to say.
func (p *pair) reopen(u *user) {
	p.T.Helper()
	h, notices, err := Open(p.config(u))
	p.Must(err)
	if len(notices) > 0 {
		p.T.Fatalf("notices on opening: %q", notices)
	}
	u.keep(h)
}

// config is a receiver's, on the user's directory.
func (p *pair) config(u *user) Config {
	return Config{
		Dir: u.dir, Receiving: true, Now: p.Clock.Now, Bundle: u.Local.Bundle, Key: u.Local.Key,
		Owner: Owner{u.End.Name, u.Local.Identity},
	}
}

// keep has h write down what the user says and hears.
func (u *user) keep(h *History) { u.h, u.Keeps = h, h }

func (p *pair) close(u *user) {
	p.T.Helper()
	if u.h == nil {
		return
	}
	if err := u.h.Close(); err != nil {
		p.T.Error(err)
	}
	u.h, u.Keeps = nil, nil
}

// to is the `to` list with these users.
func to(users ...*user) []crypto.Recipient {
	var list []crypto.Recipient
	for _, u := range users {
		list = append(list, wire.To(u.User)...)
	}
	return list
}

// record is a new record from a to these users.
func (p *pair) record(text string, to []crypto.Recipient) *crypto.Record {
	return crypto.NewRecord(p.a.Local.Identity, to, text, p.Clock.Now())
}

// public trusts the authorities that the programs come with, and so nobody of a
// lab.
func public(t testing.TB) *trust.Store {
	t.Helper()
	bundle, err := os.ReadFile("../../ca-bundle.pem")
	if err != nil {
		t.Fatal(err)
	}
	store, err := trust.NewStore(bundle)
	if err != nil {
		t.Fatal(err)
	}
	return store
}
