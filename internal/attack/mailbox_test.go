package attack

import (
	"bytes"
	"context"
	"os"
	"path/filepath"

	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/client"
	"chatsecure/internal/state"
	"chatsecure/proto"
	"chatsecure/testdata/lab/people"
	"chatsecure/testdata/lab/wire"
)

// withMailbox is a credential of name's that names a mailbox in the state directory.
func (town *localTown) withMailbox(name string, st *state.State) *state.Credential {
	town.t.Helper()
	return town.credentialOf(name, client.Delegation{
		Name: name, Key: people.Key(town.t, trust.KeyEd25519), Lifetime: time.Hour, Mail: st.Dir(), Now: time.Now(),
	})
}

// helloOf is what a client has told the relay.
func helloOf(r *wire.EvilRelay, c *testClient) (h crypto.Hello) {
	r.Do(func() { h = r.ByID(c.Conn()).Hello })
	return h
}

// TestMailboxIsTold: a client tells the relay the key of its mailbox, and collects its letters, after
// a renewal as before. A pipe does not, nor does a client without letters, nor one on a copy of the
// state directory that lacks the key.
func TestMailboxIsTold(t *testing.T) {
	town, relay := evilTown(t, "alice")
	var kept *state.Credential // as with -keep
	lists := func(c *testClient, want int) {
		t.Helper()
		h := helloOf(relay, c)
		named := len(h.Mailbox) > 0 && bytes.Equal(h.Bundle.Mailbox, hashOf(h.Mailbox))
		if named != (want > 0) || len(h.Collects) != want {
			t.Errorf("the relay is told a key %v and collects %x", named, h.Collects)
		}
		if want > 0 && string(h.Collects[0]) != string(h.Bundle.Mailbox) {
			t.Errorf("the mailbox is %x, and the first to be collected %x", h.Bundle.Mailbox, h.Collects[0])
		}
	}
	first := town.client("alice", func(cfg *client.Config) {
		cfg.Credential = town.withMailbox("alice", cfg.State)
		cfg.Renew = func(context.Context) (*state.Credential, error) { return town.withMailbox("alice", cfg.State), nil }
		kept = cfg.Credential
	})
	lists(first, 1)
	before := helloOf(relay, first).Bundle.Mailbox
	first.delegationEnds(time.Minute)
	first.await("the relay back", func(ev client.Event) bool { return ev.Type == client.EventBack })
	lists(first, 1)
	if after := helloOf(relay, first); string(after.Bundle.Mailbox) != string(before) || after.Bundle.Hash() == kept.Bundle.Hash() {
		t.Errorf("the mailbox %x became %x", before, after.Bundle.Mailbox)
	}
	first.leave()
	for _, change := range []clientOption{
		func(cfg *client.Config) { cfg.Takes = proto.TakesPipe },
		func(cfg *client.Config) { cfg.NoLetters = true },
	} {
		c := town.client("alice", func(cfg *client.Config) { cfg.Credential = town.withMailbox("alice", cfg.State); change(cfg) })
		lists(c, 0)
		c.leave()
	}
	c := town.client("alice", func(cfg *client.Config) {
		cfg.Credential = town.withMailbox("alice", cfg.State)
		if err := os.RemoveAll(filepath.Join(cfg.State.Dir(), "mailbox")); err != nil {
			t.Fatal(err)
		}
	})
	lists(c, 0)
}

func hashOf(key []byte) []byte {
	h := crypto.MailboxHash(key)
	return h[:]
}
