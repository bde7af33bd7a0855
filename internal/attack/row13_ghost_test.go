package attack

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// Row 13: the relay adds connections under Bob's name that prove too little.

// TestAttack13Ghost adds connections of others under Bob's name.
func TestAttack13Ghost(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob", "mallory")
	alice, bob := town.client("alice"), town.client("bob")
	alice.mustSend("first", "bob")
	sees(t, alice, bob, "first")
	relay.Do(func() { relay.Alias = map[string]string{"mallory": "bob"} })
	mallory := town.client("mallory")
	alice.await("that the ghost is refused", func(ev client.Event) bool {
		return ev.Peer != nil && ev.Peer.What == "refused" && ev.Peer.Conn == mallory.Conn()
	})
	alice.mustSend("second", "bob")
	sees(t, alice, bob, "first", "second")
	if got := mallory.texts(); len(got) != 0 {
		t.Errorf("the ghost was shown %q", got)
	}
}

// ghosts are the credentials that an evil relay could let in under Bob's name, with the code of
// Alice's refusal of each.
func ghosts(town *localTown) map[proto.Code]*state.Credential {
	now := time.Now()
	bare := town.credential("bob")
	bare.Bundle.Signature = []byte{}
	own := town.credential("bob")
	b := own.Bundle
	b.Signature = own.Key.Sign(b.DelegationMessage())
	stretched := town.credentialAs("bob", "bob", now.Add(-3*time.Hour))
	stretched.Bundle.NotAfter += (4 * time.Hour).Nanoseconds() / 1e9
	return map[proto.Code]*state.Credential{
		proto.BundleMalformed:   bare,
		proto.DelegationInvalid: own,
		"stretched":             stretched,
		proto.DelegationExpired: town.credentialAs("bob", "bob", now.Add(-3*time.Hour)),
		proto.DelegationNotYet:  town.credentialAs("bob", "bob", now.Add(3*time.Hour)),
		proto.IdentityChanged:   town.credentialAs("mallory", "bob", now),
		proto.NameMismatch:      town.credentialAs("bob", "bobby", now),
	}
}

// haunt lets a ghost answer the p1 that Alice sends to it, then call her itself until she says why
// she refuses.
func (p *evilPeer) haunt(alice *testClient) *proto.Header {
	p.T.Helper()
	answer := func(offer *crypto.Offer) {
		p2, _, _, err := offer.Answer(p.local, nil, trusts)
		if err != nil {
			p.T.Fatal(err)
		}
		p.phase(end(alice), 2, p2)
	}
	answer(p.nextOffer(end(alice)))
	alice.await("that the ghost is refused", func(ev client.Event) bool {
		return ev.Peer != nil && ev.Peer.What == "refused" && ev.Peer.Conn == p.ID
	})
	p.offer(end(alice))
	for {
		m := p.Next()
		switch {
		case m.Type == proto.TypeError:
			return m.Header
		case m.Type == proto.TypeClientConnect && crypto.PeekPhase(m.Body) == "p1": // the two have crossed
			offer, err := crypto.ReadOffer(m.Body, p.me(), end(alice))
			if err != nil {
				p.T.Fatal(err)
			}
			answer(offer)
			p.offer(end(alice))
		}
	}
}

func TestAttack13GhostBundles(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob", "mallory")
	relay.Do(func() { relay.Alias = map[string]string{"bobby": "bob"} })
	alice, bob := town.client("alice"), town.client("bob")
	alice.mustSend("first", "bob")
	sees(t, alice, bob, "first")
	other, err := town.verifier().Verify(ghosts(town)[proto.IdentityChanged].Bundle, "bob")
	if err != nil {
		t.Fatal(err)
	}
	mallory := proto.FormatHash(other.Identity)
	want := []string{"first"}
	for code, cred := range ghosts(town) {
		ghost := town.evilPeer(town.addr, "bob", cred)
		ghost.Name = "bob" // as the relay says it
		h := ghost.haunt(alice)
		if code == "stretched" {
			code = proto.DelegationInvalid
		}
		if h.Code != code {
			t.Errorf("the ghost is refused with %s %q, want %s", h.Code, h.Message, code)
		}
		if code == proto.IdentityChanged && strings.Contains(h.Message, "BOB") {
			t.Errorf("the ghost is told whom Alice knows: %q", h.Message)
		}
		var refused *state.Refused
		for _, ev := range alice.seen() {
			if ev.Peer != nil && ev.Peer.What == "refused" && ev.Peer.Conn == ghost.ID {
				refused = ev.Peer.Refused
			}
		}
		if code != proto.IdentityChanged && refused != nil || code == proto.IdentityChanged && (refused == nil || refused.Value != mallory) {
			t.Errorf("refused with %s, Alice could accept %+v", code, refused)
		}
		text := "with a ghost: " + string(code)
		alice.mustSend(text, "bob")
		want = append(want, text)
		bob.awaitText(text)
		alice.mustSettle(history.StatusRead)
		if got := alice.met("bob"); !slices.Equal(got, []string{bob.Conn()}) {
			t.Errorf("%s: alice took %v for Bob, who is %s", code, got, bob.Conn())
		}
		// Only offers go to it.
		ghost.Conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		for {
			m, err := ghost.Read()
			if err != nil {
				break
			}
			if m.Type == proto.TypeClientCom {
				t.Errorf("%s: the ghost is sent %q", code, m.Body)
			}
		}
		ghost.Close()
	}
	if got := bob.texts(); !slices.Equal(got, want) {
		t.Errorf("bob saw %q, want %q", got, want)
	}
	if got := alice.gaps(); len(got) != 0 {
		t.Errorf("gaps: %q", got)
	}
}

// ghostAsker accepts everybody, after something has happened.
type ghostAsker struct{ before func() }

func (a *ghostAsker) ConfirmRelay(context.Context, string, string) (bool, error) { return true, nil }

func (*ghostAsker) ConfirmMet(context.Context, *state.KnownPeer) (bool, error) { return false, nil }

func (a *ghostAsker) ConfirmPeer(context.Context, string, *trust.Person) (bool, error) {
	a.before()
	return true, nil
}

// TestAttack13GhostWhileAsked: the ghost comes, and is refused, while Alice looks at Bob's
// certificate. The refusal is the ghost's, not Bob's.
func TestAttack13GhostWhileAsked(t *testing.T) {
	town, _ := evilTown(t, "alice", "bob", "mallory")
	bob := town.client("bob")
	asker := &ghostAsker{}
	alice := town.client("alice", func(cfg *client.Config) { cfg.AcceptNew, cfg.Asker = false, asker })
	asker.before = func() {
		ghost := town.evilPeer(town.addr, "bob", ghosts(town)[proto.DelegationExpired])
		if h := ghost.haunt(alice); h.Code != proto.DelegationExpired {
			t.Errorf("the ghost is refused with %s %q", h.Code, h.Message)
		}
	}
	id := alice.mustSend("for Bob", "bob")
	sees(t, alice, bob, "for Bob")
	alice.await("READ", func(ev client.Event) bool {
		return ev.Receipt != nil && ev.Receipt.ID == id && ev.Receipt.Status == history.StatusRead
	})
	if got := strings.Join(alice.met("bob"), ","); got != bob.Conn() {
		t.Errorf("alice took %s for Bob, who is %s", got, bob.Conn())
	}
}

// TestQueuedForAnotherPerson: a message that waits for Bob is not sent to another person who takes
// his name meanwhile. That holds also when the user has accepted that person since, or has
// forgotten Bob. No such file spares anybody a question.
func TestQueuedForAnotherPerson(t *testing.T) {
	for _, c := range []struct {
		name      string
		meanwhile func(s *state.State, other [32]byte) error
		accepted  bool
	}{
		{"the other is accepted", func(s *state.State, other [32]byte) error {
			_, err := s.AcceptPeer("bob", other)
			return err
		}, true},
		{"Bob is forgotten", func(s *state.State, _ [32]byte) error {
			_, err := s.ForgetPeer("bob")
			return err
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			town := newTown(t, "alice", "bob", "carol", "mallory")
			alice, bob, carol := town.client("alice"), town.client("bob"), town.client("carol")
			alice.mustSend("first", "bob", "carol")
			alice.mustSettle(history.StatusRead)
			alice.leave()
			if err := bob.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
			bob.leave()
			alice = town.client("alice", func(cfg *client.Config) { cfg.AcceptNew, cfg.WaitPeer = false, time.Minute })
			id := alice.mustSend("for Bob", "bob", "carol")
			carol.awaitText("for Bob")

			cfg := town.config("bob", "state-mallory")
			cfg.Credential = town.credentialAs("mallory", "bob", time.Now())
			other, err := town.verifier().Verify(cfg.Credential.Bundle, "bob")
			if err != nil {
				t.Fatal(err)
			}
			if err := c.meanwhile(alice.state, other.Identity); err != nil {
				t.Fatal(err)
			}
			mallory := town.dial(cfg)
			change := alice.await("what becomes of the message", func(ev client.Event) bool {
				return ev.Receipt != nil && ev.Receipt.ID == id && ev.Receipt.To == "bob" && ev.Receipt.Status != history.StatusPending
			}).Receipt
			if change.Status != history.StatusFailed || !strings.Contains(change.Reason, "another person than the one this was written to") {
				t.Errorf("what was for Bob is %s: %q", change.Status, change.Reason)
			}
			want := []string(nil)
			if c.accepted {
				want = append(want, "for who has the name now")
				alice.mustSend(want[0], "bob")
				mallory.awaitText(want[0])
			} else if _, err := alice.Send(t.Context(), []string{"bob"}, "for whoever it is"); err == nil ||
				fail.AsError(err).Code != proto.UnknownPeer {
				t.Errorf("sending to whom nobody has accepted: %v", err)
			}
			if got := mallory.texts(); !slices.Equal(got, want) {
				t.Errorf("the other saw %q, want %q", got, want)
			}
		})
	}
}
