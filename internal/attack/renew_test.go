package attack

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"chatsecure/card"
	"chatsecure/crypto/trust"
	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// delegationEnds moves the client's delegation in time, so that this much of its life is left. A
// delegation signed for so short a time could end before the test begins.
func (tc *testClient) delegationEnds(left time.Duration) {
	b := tc.Inside().Credential().Bundle
	tc.Inside().Look(func(client.Snapshot) {
		b.NotBefore = time.Now().Add(-time.Hour).Unix()
		b.NotAfter = time.Now().Add(left).Unix()
	})
}

// TestDelegationIsRenewed: Alice's delegation is nearly over, or has ended while her machine slept.
// The card signs again, and the conversation goes on.
func TestDelegationIsRenewed(t *testing.T) {
	for name, left := range map[string]time.Duration{"before its end": time.Minute, "after its end": -time.Minute} {
		t.Run(name, func(t *testing.T) {
			town := newTown(t, "alice", "bob")
			bob := town.client("bob")
			first := town.credential("alice")
			alice := town.client("alice", func(cfg *client.Config) {
				cfg.Credential = first
				cfg.Renew = func(context.Context) (*state.Credential, error) { return town.credential("alice"), nil }
			})
			alice.mustSend("under the first", "bob")
			bob.awaitText("under the first")
			alice.delegationEnds(left)
			alice.await("the relay back", func(ev client.Event) bool { return ev.Type == client.EventBack })
			alice.mustSend("under the second", "bob")
			bob.awaitText("under the second")
			alice.mustSettle(history.StatusRead)
			if first.Key.Sign([]byte("x")) != nil {
				t.Error("the old K still signs")
			}
		})
	}
}

// TestAsleep: after the machine's sleep the relay is lost, the delegation is over, and the user is
// being asked for the PIN. Nobody dials meanwhile: the relay would refuse the old delegation for
// good.
func TestAsleep(t *testing.T) {
	town := newTown(t, "alice")
	asked, typed := make(chan struct{}), make(chan struct{})
	alice := town.client("alice", atPrompt, func(cfg *client.Config) {
		cfg.Renew = func(context.Context) (*state.Credential, error) {
			close(asked)
			<-typed
			return town.credential("alice"), nil
		}
	})
	letGo := sync.OnceFunc(func() { close(typed) })
	t.Cleanup(letGo)
	alice.delegationEnds(-time.Minute)
	soon(t, "a question for the PIN", asked)
	alice.cutOff()
	alice.await("that the relay is lost", func(ev client.Event) bool { return ev.Type == client.EventLost })
	if alice.Inside().Tick(time.Now().Add(time.Minute)).Dialing {
		t.Error("it dials under a delegation that has ended")
	}
	letGo()
	alice.await("the relay back", func(ev client.Event) bool { return ev.Type == client.EventBack })
}

// TestDelegationIsNotRenewed: the card does not sign again. The client goes on until its delegation
// ends, and no longer.
func TestDelegationIsNotRenewed(t *testing.T) {
	town := newTown(t, "alice", "bob")
	bob := town.client("bob")
	alice := town.client("alice", func(cfg *client.Config) {
		cfg.Renew = func(context.Context) (*state.Credential, error) { return nil, errors.New("no card") }
	})
	alice.mustSend("hello", "bob")
	bob.awaitText("hello")
	alice.delegationEnds(time.Minute)
	alice.await("that it could not be made anew", func(ev client.Event) bool {
		return ev.Err != nil && strings.Contains(ev.Err.Error(), "no card")
	})
	alice.mustSend("under the first", "bob")
	bob.awaitText("under the first")
	alice.delegationEnds(-time.Minute)
	if e := alice.awaitEnd(); fail.ExitStatus(e) != 5 {
		t.Errorf("with a card that does not sign the client ended with %v", e)
	}
}

// TestRenewalIsOver: the card is not asked again after a permanent error, and is after any other.
func TestRenewalIsOver(t *testing.T) {
	town := newTown(t, "alice")
	wrong := &card.Error{Kind: card.PINIncorrect, Message: "the PIN was wrong"}
	for _, c := range []struct {
		name string
		err  error
		over bool
	}{
		{"no PIN", &card.Error{Kind: card.PINNeeded, Message: "nobody is there"}, true},
		{"a locked PIN", &card.Error{Kind: card.PINLocked, Message: "the PIN is locked"}, true},
		{"a wrong PIN in a file", &client.RenewalOver{Err: wrong}, true},
		{"a wrong PIN that was typed", wrong, false},
		{"no card", &card.Error{Kind: card.NoCard, Message: "there is no card"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			asked := make(chan struct{}, 2)
			alice := town.clientIn("alice", c.name, func(cfg *client.Config) {
				cfg.Renew = func(context.Context) (*state.Credential, error) {
					asked <- struct{}{}
					return nil, c.err
				}
			})
			alice.delegationEnds(time.Minute)
			soon(t, "a question for the PIN", asked)
			told := alice.await("why not", func(ev client.Event) bool { return ev.Err != nil })
			if told.Err.Code != proto.Card || !errors.Is(told.Err, c.err) {
				t.Errorf("it is told %+v", told.Err)
			}
			if again := alice.Inside().Renew(); again == c.over { // the minute is over
				t.Errorf("the card is asked again: %v", again)
			}
		})
	}
}

func TestDelegationEnds(t *testing.T) {
	town := newTown(t, "alice")
	alice := town.client("alice")
	alice.delegationEnds(-time.Second)
	if e := alice.awaitEnd(); fail.ExitStatus(e) != 5 {
		t.Errorf("with nobody to ask the client ended with %v", e)
	}
}

// TestRevokedWhileTalking: Bob is revoked. At the next reload of the lists the conversation ends,
// and both are told.
func TestRevokedWhileTalking(t *testing.T) {
	t.Parallel() // it mostly waits
	town := newTown(t, "alice", "bob")
	crls := trust.NewCRLStore()
	dir := filepath.Join(town.dir, "lab", "crl")
	if problems := crls.LoadDir(dir); len(problems) > 0 {
		t.Fatal(problems)
	}
	root, err := os.ReadFile(filepath.Join(town.dir, "lab", "ca-bundle.pem"))
	if err != nil {
		t.Fatal(err)
	}
	store, err := trust.NewStore(nil, root)
	if err != nil {
		t.Fatal(err)
	}
	alice := town.client("alice", func(cfg *client.Config) {
		cfg.Verifier = trust.NewVerifier(trust.VerifierConfig{Trust: store, CRLs: crls, Policy: trust.PolicyRequire})
		cfg.Refresh = crls.Refresh
		cfg.Timeout = 10 * time.Second // the wait of the last message
	})
	bob := town.client("bob")
	alice.mustSend("before", "bob")
	bob.awaitText("before")
	alice.mustSettle(history.StatusRead)

	for _, h := range town.pki.Holders() {
		if h.Name == "bob" {
			town.pki.Revoke(h, time.Now().Add(-time.Minute), 1)
		}
	}
	if err := town.pki.WriteCRLs(filepath.Dir(dir)); err != nil {
		t.Fatal(err)
	}
	alice.await("that bob is revoked", func(ev client.Event) bool {
		return ev.Peer != nil && ev.Peer.Name == "bob" && ev.Peer.What == "refused" && strings.Contains(ev.Peer.Reason, "revoked")
	})
	// Alice or the relay tells Bob: whichever reads the lists first.
	if _, told := bob.until(func(ev client.Event) bool { return ev.Gap != nil || ev.Err != nil }); !told {
		soon(t, "word to bob", bob.Inside().Ended())
	}
	if _, err := alice.Send(context.Background(), []string{"bob"}, "after"); err == nil {
		alice.settle(history.StatusDelivered)
	}
	for _, text := range bob.texts() {
		if text == "after" {
			t.Error("a message went to one who is revoked")
		}
	}
}
