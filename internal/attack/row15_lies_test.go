package attack

import (
	"context"
	"testing"

	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// TestAttack15ListAndWhoisLies: the relay gives Mallory's identity for Bob. It never shows his
// certificate beside hers, and only Bob's proof end to end counts. A question about him is told to
// nobody.
func TestAttack15ListAndWhoisLies(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob", "mallory")
	alice, bob, mallory := town.client("alice"), town.client("bob"), town.client("mallory")
	bobs, mallorys := bob.Inside().Identity(), mallory.Inside().Identity()
	says := func(identity [32]byte) {
		relay.Do(func() { relay.Identity = func(*wire.EvilConn) [32]byte { return identity } })
	}
	whois := func(by *testClient) client.WhoisConn {
		t.Helper()
		w, err := by.Whois(context.Background(), "bob")
		if err != nil {
			t.Fatal(err)
		}
		if len(w.Conns) != 1 {
			t.Fatalf("whois: %+v", w.Conns)
		}
		return w.Conns[0]
	}

	told := 0
	relay.Do(func() {
		relay.Tamper = func(l wire.EvilLine) []wire.EvilLine { told++; return []wire.EvilLine{l} }
	})
	for _, identity := range [][32]byte{bobs, mallorys} {
		says(identity)
		c := whois(alice)
		if c.Err != nil || c.Level != 0 || c.Bundle != nil || c.Person != nil || c.Identity != proto.FormatHash(identity) {
			t.Errorf("whois of who has proved nothing yet: %+v; want the relay's word, as level 0", c)
		}
	}
	relay.Do(func() {
		if relay.Tamper = nil; told > 0 {
			t.Errorf("%d lines went to people who were only asked about", told)
		}
	})
	alice.mustSend("to the real one", "bob")
	sees(t, alice, bob, "to the real one")
	if len(mallory.texts()) != 0 {
		t.Error("mallory was shown what was for bob")
	}
	if c := whois(alice); !fail.HasCode(c.Err, proto.IdentityChanged) || c.Person != nil {
		t.Errorf("whois with another's identity, after he has proved himself: %+v", c)
	}

	list, err := alice.List(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	proved := map[string]string{"alice": proto.FormatHash(alice.Inside().Identity()), "bob": proto.FormatHash(bobs), "mallory": ""}
	for _, o := range list {
		want, ok := proved[o.Name]
		delete(proved, o.Name)
		if !ok || (o.Level == 1) != (want != "") || want != "" && o.Identity != want {
			t.Errorf("the list shows %s with level %d and the identity %s; who proved one has %q", o.Name, o.Level, o.Identity, want)
		}
	}
	if len(proved) != 0 {
		t.Errorf("the list lacks %v", proved)
	}

	// A later run has the certificate, which stays with its identity.
	alice.leave()
	alice = town.client("alice")
	if c := whois(alice); c.Err != nil || c.Level != 0 || c.Person != nil {
		t.Errorf("a later whois with another's identity: %+v", c)
	}
	says(bobs)
	if c := whois(alice); c.Err != nil || c.Level != 0 || c.Person == nil || c.Person.Identity != bobs {
		t.Errorf("a later whois: %+v", c)
	}
	alice.mustSend("again", "bob")
	bob.awaitText("again")
	if c := whois(alice); c.Err != nil || c.Level != 1 || c.Person == nil || c.Person.Identity != bobs {
		t.Errorf("whois without a lie: %+v", c)
	}
}
