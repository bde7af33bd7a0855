package chatsecure

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"

	"chatsecure/proto"
	"chatsecure/testdata/lab"
)

// TestAttack20RenewedCard: Bob comes with a renewed card, another key and
// another certificate of the same person: Alice's conversation with him goes on
// under the old acceptance, and she is told. Who has his name and not his civil
// number is somebody else, for the relay, and for Alice where the relay lets
// them in.
func TestAttack20RenewedCard(t *testing.T) {
	town := newTown(t, "alice", "bob")
	bobs := town.pki.Holders()[1]
	town.issue("renewed", lab.RenewalOf(bobs))
	town.issue("namesake", subject(bobs.Leaf.Subject.CommonName, "99999999"))
	namesakes := town.credentialAs("namesake", "bob", time.Now())
	another := func(cfg *ClientConfig) { cfg.Credential = namesakes }
	strict := func(cfg *ClientConfig) { cfg.AcceptNew = false } // from the second contact on
	alice, bob := town.client("alice"), town.client("bob")
	alice.mustSend("to the old card", "bob")
	sees(t, alice, bob, "to the old card")
	person := bob.engine.self
	alice.leave()
	bob.leave()

	newer := town.credentialAs("renewed", "bob", time.Now())
	alice, bob = town.client("alice", strict), town.client("bob", func(cfg *ClientConfig) { cfg.Credential = newer })
	alice.mustSend("to the new card", "bob")
	alice.mustSettle(StatusRead)
	told := alice.await("that the card is another", func(ev Event) bool { return ev.Peer != nil && ev.Peer.What == "renewed" }).Peer
	if bob.engine.self != person || told.Person.Identity != person || !bytes.Equal(told.Person.Leaf.Raw, newer.Bundle.X509) {
		t.Errorf("alice is told of %v, bob is %v", told.Person, person)
	}
	bob.mustSend("from the new card", "alice")
	bob.mustSettle(StatusRead)
	if got := alice.texts(); !slices.Equal(got, []string{"from the new card"}) {
		t.Errorf("alice saw %q", got)
	}
	bob.leave()

	cfg := town.config("bob", "state-namesake")
	another(&cfg)
	if _, err := Dial(context.Background(), cfg); AsError(err) == nil || AsError(err).Code != proto.NameTaken {
		t.Errorf("a namesake of bob at the relay: %v", err)
	}
	alice.leave()
	town.stop()
	relay := newEvilRelay(t) // which lets everybody in
	town.addr = relay.ln.Addr().String()
	namesake := town.clientIn("bob", "state-namesake", another)
	alice = town.client("alice")
	_, err := alice.Send(context.Background(), []string{"bob"}, "for bob")
	if e := AsError(err); e == nil || e.Code != proto.IdentityChanged || ExitStatus(err) != 4 {
		t.Errorf("a namesake of bob with alice: %v", err)
	}
	if got := namesake.texts(); len(got) != 0 {
		t.Errorf("the namesake was shown %q", got)
	}
}
