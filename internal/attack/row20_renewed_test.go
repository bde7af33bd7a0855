package attack

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"

	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/wire"
)

// TestAttack20RenewedCard: Bob returns with a renewed card, that is another key and certificate of
// the same person. Alice's conversation goes on without a new acceptance, and she is told. Another
// civil number under his name is another person, to the relay and, if the relay lets them in, to
// Alice.
func TestAttack20RenewedCard(t *testing.T) {
	town := newTown(t, "alice", "bob")
	bobs := town.pki.Holders()[1]
	town.issue("renewed", lab.RenewalOf(bobs))
	town.issue("namesake", subject(bobs.Leaf.Subject.CommonName, "99999999"))
	namesakes := town.credentialAs("namesake", "bob", time.Now())
	another := func(cfg *client.Config) { cfg.Credential = namesakes }
	strict := func(cfg *client.Config) { cfg.AcceptNew = false } // from the second contact on
	alice, bob := town.client("alice"), town.client("bob")
	alice.mustSend("to the old card", "bob")
	sees(t, alice, bob, "to the old card")
	person := bob.Inside().Identity()
	alice.leave()
	bob.leave()

	newer := town.credentialAs("renewed", "bob", time.Now())
	alice, bob = town.client("alice", strict), town.client("bob", func(cfg *client.Config) { cfg.Credential = newer })
	alice.mustSend("to the new card", "bob")
	alice.mustSettle(history.StatusRead)
	told := alice.await("that the card is another", func(ev client.Event) bool { return ev.Peer != nil && ev.Peer.What == "renewed" }).Peer
	if bob.Inside().Identity() != person || told.Person.Identity != person || !bytes.Equal(told.Person.Leaf.Raw, newer.Bundle.X509) {
		t.Errorf("alice is told of %v, bob is %v", told.Person, person)
	}
	bob.mustSend("from the new card", "alice")
	bob.mustSettle(history.StatusRead)
	if got := alice.texts(); !slices.Equal(got, []string{"from the new card"}) {
		t.Errorf("alice saw %q", got)
	}
	bob.leave()

	cfg := town.config("bob", "state-namesake")
	another(&cfg)
	if _, err := client.Dial(context.Background(), cfg); fail.AsError(err) == nil || fail.AsError(err).Code != proto.NameTaken {
		t.Errorf("a namesake of bob at the relay: %v", err)
	}
	alice.leave()
	town.stop()
	relay := wire.NewEvilRelay(t) // lets everybody in
	town.addr = relay.Ln.Addr().String()
	namesake := town.clientIn("bob", "state-namesake", another)
	alice = town.client("alice")
	_, err := alice.Send(context.Background(), []string{"bob"}, "for bob")
	if e := fail.AsError(err); e == nil || e.Code != proto.IdentityChanged || fail.ExitStatus(err) != 4 {
		t.Errorf("a namesake of bob with alice: %v", err)
	}
	if got := namesake.texts(); len(got) != 0 {
		t.Errorf("the namesake was shown %q", got)
	}
}
