package attack

import (
	"context"
	"slices"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// Row 18: the thief of a K.

// TestAttack18NobodyIsBobToAlice: Mallory has Alice's K and the relay. No bundle makes her Bob to
// Alice.
func TestAttack18NobodyIsBobToAlice(t *testing.T) {
	t.Parallel() // it mostly waits
	town, relay := evilTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	alice.mustSend("first", "bob")
	sees(t, alice, bob, "first")
	stolen := alice.Inside().Credential()
	bundles := map[string]*trust.Bundle{"hers": stolen.Bundle}
	renamed := *stolen.Bundle
	renamed.Name = "bob"
	bundles["hers under his name"] = &renamed
	bundles["his"] = bob.Inside().Credential().Bundle
	rekeyed := *bundles["his"]
	rekeyed.PublicKey = stolen.Bundle.PublicKey
	bundles["his with her K"] = &rekeyed
	alice.leave()

	for what, bundle := range bundles {
		tried := 0
		relay.Tampering(func(l wire.EvilLine) []wire.EvilLine {
			if crypto.PeekPhase(l.Body) != "p1" || l.From.Hello.Name != "alice" {
				return nil // nothing of Bob's gets through
			}
			tried++
			mallory := &crypto.Local{Key: stolen.Key, Bundle: bundle, FoldedName: "bob", Suites: crypto.SuiteNames(), Takes: proto.TakesMessages, Keys: &relay.Keys}
			offer, err := crypto.ReadOffer(l.Body, crypto.End{Name: "bob", Conn: l.To.ID}, crypto.End{Name: l.From.Hello.Name, Conn: l.From.ID})
			if err != nil {
				t.Error(err)
				return nil
			}
			body, _, _, err := offer.Answer(mallory, nil, func(*trust.Bundle, string) (*trust.Person, error) { return &trust.Person{}, nil })
			if err != nil {
				t.Error(err)
				return nil
			}
			return []wire.EvilLine{{From: l.To, To: l.From, Header: proto.Header{Type: proto.TypeClientConnect, Phase: 2}, Body: body}}
		})
		alice = town.client("alice", oneTry)
		_, err := alice.Send(context.Background(), []string{"bob"}, "for bob only")
		if exit := fail.ExitStatus(err); exit != 4 && exit != 8 {
			t.Errorf("%s: %v", what, err)
		}
		for _, ev := range alice.seen() {
			if ev.Peer != nil && ev.Peer.What == "authenticated" {
				t.Errorf("%s: it was taken for bob's", what)
			}
		}
		relay.Do(func() {
			if tried == 0 {
				t.Errorf("%s: nothing was tried", what)
			}
		})
		alice.leave()
	}
	relay.Tampering(honest)
	alice = town.client("alice")
	alice.mustSend("second", "bob")
	sees(t, alice, bob, "first", "second")
}

// TestAttack18EndsWithTheDelegation: after the delegation Alice's K makes nobody Alice, neither at
// the relay nor, with the relay's help, to Bob.
func TestAttack18EndsWithTheDelegation(t *testing.T) {
	town := newTown(t, "alice", "bob")
	begin := time.Now().Add(-2 * time.Hour)
	stolen := town.credentialAt("alice", begin, time.Hour)
	cfg := town.config("alice", "state-mallory")
	cfg.Credential = stolen
	// A thief's clock says whatever the thief wants.
	cfg.Now = func() time.Time { return begin.Add(time.Minute) }
	cfg.Verifier = town.verifierBy(trust.PolicyOff, cfg.Now)
	if _, err := client.Dial(context.Background(), cfg); fail.AsError(err) == nil ||
		fail.AsError(err).Code != proto.DelegationExpired || fail.ExitStatus(err) != 4 {
		t.Errorf("at the relay: %v", err)
	}
	town.stop()

	relay := wire.NewEvilRelay(t) // it lets everybody in
	town.addr = relay.Ln.Addr().String()
	bob := town.client("bob")
	cfg = town.config("alice", "state-mallory")
	cfg.Credential = stolen
	cfg.Again = time.Minute // so that Bob begins
	cfg.Now = func() time.Time { return begin.Add(time.Minute) }
	cfg.Verifier = town.verifierBy(trust.PolicyOff, cfg.Now)
	mallory := town.dial(cfg)
	_, err := mallory.Send(context.Background(), []string{"bob"}, "it is me, alice")
	if e := fail.AsError(err); e == nil || e.Code != proto.DelegationExpired {
		t.Errorf("with bob: %v", err)
	}
	// By her clock Bob's delegation has not begun, and her refusal may come first.
	if _, err = bob.Send(context.Background(), []string{"alice"}, "for alice"); fail.ExitStatus(err) != 4 {
		t.Errorf("from bob: %v", err)
	}
	if got := slices.Concat(bob.texts(), mallory.texts()); len(got) != 0 {
		t.Errorf("shown: %q", got)
	}
	mallory.leave()
	// Alice herself is welcome with a new delegation.
	alice := town.client("alice")
	alice.mustSend("it is really me", "bob")
	sees(t, alice, bob, "it is really me")
}
