package attack

import (
	"context"
	"testing"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// TestAttack15ListAndWhoisLies: whois shows Mallory's bundle for Bob, under her own name and under
// his. Only Bob's proof end to end counts.
func TestAttack15ListAndWhoisLies(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob", "mallory")
	alice, bob, mallory := town.client("alice"), town.client("bob"), town.client("mallory")
	lie := func(bundle *trust.Bundle) {
		relay.Do(func() {
			relay.Listed = func(conns []*wire.EvilConn) []*wire.EvilConn {
				for i, c := range conns {
					if c.Hello.Name == "bob" {
						fake := *c
						fake.Hello.Bundle = bundle
						conns[i] = &fake
					}
				}
				return conns
			}
		})
	}
	whois := func() client.WhoisConn {
		t.Helper()
		w, err := alice.Whois(context.Background(), "bob")
		if err != nil {
			t.Fatal(err)
		}
		if len(w.Conns) != 1 {
			t.Fatalf("whois: %+v", w.Conns)
		}
		return w.Conns[0]
	}
	own, asBob := town.credentialAs("mallory", "mallory", time.Now()).Bundle, town.credentialAs("mallory", "bob", time.Now()).Bundle
	refused := func(what string, code proto.Code) {
		t.Helper()
		c := whois()
		if c.Err == nil || fail.AsError(c.Err).Code != code || c.Person != nil {
			t.Errorf("whois with another's bundle, %s: %v (%v), want %s", what, c.Person, c.Err, code)
		}
	}

	lie(own)
	refused("her own name", proto.NameMismatch)
	lie(asBob)
	if c := whois(); c.Err != nil || c.Level != 0 {
		t.Errorf("whois of who has proved nothing yet: level %d, %v; want the relay's word, as level 0", c.Level, c.Err)
	}
	alice.mustSend("to the real one", "bob")
	sees(t, alice, bob, "to the real one")
	if len(mallory.texts()) != 0 {
		t.Error("mallory was shown what was for bob")
	}
	refused("his name, after he has proved himself", proto.IdentityChanged)
	lie(own)
	refused("her own name, after he has proved himself", proto.NameMismatch)

	list, err := alice.List(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	proved := map[string]string{"alice": proto.FormatHash(alice.Inside().Identity()), "bob": proto.FormatHash(bob.Inside().Identity()), "mallory": ""}
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
	relay.Do(func() { relay.Listed = nil })
	if c := whois(); c.Err != nil || c.Level != 1 || c.Person.Identity != bob.Inside().Identity() {
		t.Errorf("whois without a lie: %+v", c)
	}
}
