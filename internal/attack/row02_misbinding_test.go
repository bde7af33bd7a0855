package attack

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"chatsecure/card"
	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// Row 2: a handshake between two others than it names.

// bundleOver returns a delegation for a key whose private half the card's owner does not have.
func (town *localTown) bundleOver(name string, spki []byte, now time.Time) *trust.Bundle {
	town.t.Helper()
	c, err := card.Open(context.Background(), filepath.Join(town.dir, "lab", name), card.Options{})
	if err != nil {
		town.t.Fatal(err)
	}
	defer c.Close()
	b := *town.credential(name).Bundle
	b.PublicKey, b.NotBefore, b.NotAfter = spki, now.Add(-time.Minute).Unix(), now.Add(time.Hour).Unix()
	if b.Signature, err = c.Sign(context.Background(), b.DelegationMessage()); err != nil {
		town.t.Fatal(err)
	}
	return &b
}

// TestAttack02BobsKUnderHerCertificate: Mallory's card delegates to Bob's K. The bundle is valid,
// but she does not have the key.
func TestAttack02BobsKUnderHerCertificate(t *testing.T) {
	t.Parallel() // it mostly waits
	town := newTown(t, "alice", "bob", "mallory")
	alice, bob := town.client("alice", oneTry), town.client("bob")
	alice.mustSend("first", "bob")
	sees(t, alice, bob, "first")
	fraud := town.bundleOver("mallory", alice.conversation("bob").PeerBundle.PublicKey, time.Now())
	if _, err := town.verifier().Verify(fraud, "mallory"); err != nil {
		t.Fatal(err) // only the handshake shows the fraud
	}

	// To the relay.
	own := town.credential("mallory")
	_, err := wire.Dial(t, town.addr, &wire.Cred{Key: own.Key, Bundle: fraud}, proto.TakesMessages)
	if told := fail.AsError(err); told == nil || told.Code != proto.SignatureInvalid {
		t.Errorf("the relay says %v", err)
	}

	// To Alice, whom Mallory calls.
	mallory := town.evilPeer(town.addr, "mallory", own)
	mallory.local.Bundle = fraud
	mallory.offer(end(alice))
	mallory.wantRefusal("Bob's K in p1", proto.SignatureInvalid)
	refused := func(ev client.Event) bool {
		return ev.Peer != nil && ev.Peer.What == "refused" && ev.Peer.Conn == mallory.ID
	}
	alice.await("that Mallory is refused", refused)

	// To Alice, whom she answers.
	ended := alice.sending("for whoever that is", "mallory")
	p2, _, _, err := mallory.nextOffer(end(alice)).Answer(mallory.local, nil, trusts)
	if err != nil {
		t.Fatal(err)
	}
	mallory.phase(end(alice), 2, p2)
	mallory.wantRefusal("her p2", proto.SignatureInvalid)
	if err := <-ended; fail.ExitStatus(err) != 8 || fail.AsError(err).Code != proto.SignatureInvalid {
		t.Errorf("sending to Mallory gives %v, exit status %d", err, fail.ExitStatus(err))
	}
	if got := alice.met("mallory"); len(got) != 0 {
		t.Errorf("alice took %v for Mallory", got)
	}
	// With her own K she is Mallory, and Bob is still Bob.
	mallory.local.Bundle = own.Bundle
	mallory.call(end(alice))
	alice.mustSend("second", "bob")
	sees(t, alice, bob, "first", "second")
}

// TestAttack02BobsHandshakeAsHers: Mallory and the relay work together. They pass Bob's handshake
// with Alice off as Mallory's, unchanged and under her own bundle and signature.
func TestAttack02BobsHandshakeAsHers(t *testing.T) {
	for _, test := range []struct {
		name         string
		bundle, sign bool
	}{
		{"as it is", false, false},
		{"with her bundle", true, false},
		{"with her bundle and signature", true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel() // it mostly waits
			town, relay := evilTown(t, "alice", "bob", "mallory")
			alice, bob := town.client("alice", oneTry), town.client("bob")
			mallory := town.evilPeer(town.addr, "mallory", town.credential("mallory"))
			var bobs []byte
			relay.Tampering(func(l wire.EvilLine) []wire.EvilLine {
				if crypto.PeekPhase(l.Body) == "p2" && l.From.Hello.Name == "bob" {
					bobs = l.Body
				}
				if crypto.PeekPhase(l.Body) == "p1" && l.To.Hello.Name == "mallory" {
					toBob := l // Bob is to answer Alice's offer to Mallory
					toBob.To = relay.Named("bob")
					return []wire.EvilLine{l, toBob}
				}
				return honest(l)
			})
			alice.mustSend("first", "bob")
			sees(t, alice, bob, "first")
			hisBundle := proto.MustMarshal(alice.conversation("bob").PeerBundle)
			herBundle := proto.MustMarshal(mallory.local.Bundle)

			ended := alice.sending("for Mallory", "mallory")
			mallory.nextOffer(end(alice))
			p1, sig := phaseParts(t, mallory.first)
			p2, with := phaseParts(t, bobs)
			if test.bundle {
				p2 = swapped(t, p2, hisBundle, herBundle)
			}
			if test.sign {
				with[0] = mallory.local.Key.Sign(proto.Tuple("cc-2", evilHash("cc-T2", evilHash("cc-T1", p1, sig[0]), p2)))
			}
			mallory.phase(end(alice), 2, phaseBody(p2, with...))
			code := proto.SignatureInvalid
			if test.sign {
				code = proto.DecryptFailed // the confirmation
			}
			if err := <-ended; fail.ExitStatus(err) != 8 || fail.AsError(err).Code != code {
				t.Errorf("sending to Mallory gives %v, exit status %d", err, fail.ExitStatus(err))
			}
			bob.await("that an offer to Mallory is refused", func(ev client.Event) bool { return ev.Peer != nil && ev.Peer.What == "refused" })
			if got := alice.met("mallory"); len(got) != 0 {
				t.Errorf("alice took %v for Mallory", got)
			}
			alice.mustSend("second", "bob")
			sees(t, alice, bob, "first", "second")
		})
	}
}
