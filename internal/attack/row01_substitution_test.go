package attack

import (
	"context"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/state"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

func TestAttack01KeySubstitution(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob", "mallory")
	alice, bob := town.client("alice"), town.client("bob")
	alice.mustSend("first", "bob")
	sees(t, alice, bob, "first")
	alice.leave()

	// The relay answers as Bob with another person's card, which certifies Bob's name.
	cred := town.credentialAs("mallory", "bob", time.Now())
	answersAs(relay, "bob", cred)
	alice = town.client("alice")
	_, err := alice.Send(context.Background(), []string{"bob"}, "for bob only")
	if fail.AsError(err) == nil || fail.AsError(err).Code != proto.IdentityChanged || fail.ExitStatus(err) != 4 {
		t.Errorf("another person under a known name: %v", err)
	}
}

// answersAs lets the relay answer each p1 for a name, with the given credential.
func answersAs(r *wire.EvilRelay, name string, cred *state.Credential) {
	local := &crypto.Local{Key: cred.Key, Bundle: cred.Bundle, FoldedName: name, Suites: crypto.SuiteNames(), Takes: proto.TakesMessages, Keys: &r.Keys}
	r.Tampering(func(l wire.EvilLine) []wire.EvilLine {
		if crypto.PeekPhase(l.Body) != "p1" || l.To.Hello.Name != name {
			return honest(l)
		}
		offer, err := crypto.ReadOffer(l.Body, crypto.End{Name: name, Conn: l.To.ID}, crypto.End{Name: l.From.Hello.Name, Conn: l.From.ID})
		if err != nil {
			r.T.Error(err)
			return nil
		}
		body, _, _, err := offer.Answer(local, nil, trusts)
		if err != nil {
			r.T.Error(err)
			return nil
		}
		answer := wire.EvilLine{From: l.To, To: l.From, Header: proto.Header{Type: proto.TypeClientConnect, Phase: 2}, Body: body}
		return []wire.EvilLine{answer}
	})
}

// TestAttack01OwnKeyInHisBundle: the relay puts its own K into Bob's bundle at the first contact,
// when every person would be accepted.
func TestAttack01OwnKeyInHisBundle(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	bob := town.client("bob")
	var bundle trust.Bundle
	relay.Do(func() { bundle = *relay.Named("bob").Hello.Bundle })
	bundle.PublicKey = relay.Key.Public().SPKI()
	answersAs(relay, "bob", &state.Credential{Key: relay.Key, Bundle: &bundle})
	alice := town.client("alice")
	_, err := alice.Send(context.Background(), []string{"bob"}, "for bob only")
	if fail.AsError(err) == nil || fail.AsError(err).Code != proto.DelegationInvalid || fail.ExitStatus(err) != 4 {
		t.Errorf("the relay's key in Bob's bundle: %v", err)
	}
	if known, ok := alice.state.KnownPeer("bob"); ok || len(alice.met("bob")) != 0 {
		t.Errorf("alice knows Bob now as %+v", known)
	}
	relay.Tampering(honest)
	alice.mustSend("and now", "bob")
	sees(t, alice, bob, "and now")
}
