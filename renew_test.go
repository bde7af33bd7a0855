package chatsecure

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
	"chatsecure/crypto"
	"chatsecure/proto"
)

// delegationEnds moves the client's delegation in time, so that what is left of
// its life is what a test says: one that is signed so short may end before the
// test is there.
func (tc *testClient) delegationEnds(left time.Duration) {
	tc.engine.do(context.Background(), func() {
		b := tc.engine.local.Bundle
		b.NotBefore = time.Now().Add(-time.Hour).Unix()
		b.NotAfter = time.Now().Add(left).Unix()
	})
}

// TestDelegationIsRenewed gives Alice a delegation that is nearly over, or over
// since her machine slept: the card is asked again, and the conversation goes on.
func TestDelegationIsRenewed(t *testing.T) {
	for name, left := range map[string]time.Duration{"before its end": time.Minute, "after its end": -time.Minute} {
		t.Run(name, func(t *testing.T) {
			town := newTown(t, "alice", "bob")
			bob := town.client("bob")
			first := town.credential("alice")
			alice := town.client("alice", func(cfg *ClientConfig) {
				cfg.Credential = first
				cfg.Renew = func(context.Context) (*Credential, error) { return town.credential("alice"), nil }
			})
			alice.mustSend("under the first", "bob")
			bob.awaitText("under the first")
			alice.delegationEnds(left)
			alice.await("the relay back", func(ev Event) bool { return ev.Type == EventBack })
			alice.mustSend("under the second", "bob")
			bob.awaitText("under the second")
			alice.mustSettle(StatusRead)
			if first.Key.Sign([]byte("x")) != nil {
				t.Error("the old K still signs")
			}
		})
	}
}

// TestAsleep: the machine slept, the relay is lost and the delegation over, and
// the card's PIN is being asked for. Nobody dials meanwhile: the relay would
// refuse what has ended, and that for good.
func TestAsleep(t *testing.T) {
	town := newTown(t, "alice")
	asked, typed := make(chan struct{}), make(chan struct{})
	alice := town.client("alice", func(cfg *ClientConfig) {
		cfg.Renew = func(context.Context) (*Credential, error) {
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
	alice.await("that the relay is lost", func(ev Event) bool { return ev.Type == EventLost })
	alice.engine.do(context.Background(), func() {
		alice.engine.onTick(time.Now().Add(time.Minute))
		if alice.engine.dialing {
			t.Error("it dials under a delegation that has ended")
		}
	})
	letGo()
	alice.await("the relay back", func(ev Event) bool { return ev.Type == EventBack })
}

// TestDelegationIsNotRenewed has a card that does not sign again: the client
// goes on until the end of the delegation that it has, and no longer.
func TestDelegationIsNotRenewed(t *testing.T) {
	town := newTown(t, "alice", "bob")
	bob := town.client("bob")
	alice := town.client("alice", func(cfg *ClientConfig) {
		cfg.Renew = func(context.Context) (*Credential, error) { return nil, errors.New("no card") }
	})
	alice.mustSend("hello", "bob")
	bob.awaitText("hello")
	alice.delegationEnds(time.Minute)
	alice.await("that it could not be made anew", func(ev Event) bool { return ev.Err != nil && strings.Contains(ev.Err.Error(), "no card") })
	alice.mustSend("under the first", "bob")
	bob.awaitText("under the first")
	alice.delegationEnds(-time.Minute)
	if e := alice.awaitEnd(); ExitStatus(e) != 5 {
		t.Errorf("with a card that does not sign the client ended with %v", e)
	}
}

// TestRenewalIsOver: after an error that stays the card is not asked again, and
// after another it is.
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
		{"a wrong PIN in a file", &RenewalOver{wrong}, true},
		{"a wrong PIN that was typed", wrong, false},
		{"no card", &card.Error{Kind: card.NoCard, Message: "there is no card"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			asked := make(chan struct{}, 2)
			alice := town.clientIn("alice", c.name, func(cfg *ClientConfig) {
				cfg.Renew = func(context.Context) (*Credential, error) {
					asked <- struct{}{}
					return nil, c.err
				}
			})
			alice.delegationEnds(time.Minute)
			soon(t, "a question for the PIN", asked)
			told := alice.await("why not", func(ev Event) bool { return ev.Err != nil })
			if told.Err.Code != proto.Card || !errors.Is(told.Err, c.err) {
				t.Errorf("it is told %+v", told.Err)
			}
			alice.engine.do(context.Background(), func() {
				alice.engine.renewNext = time.Time{} // the minute is over
				alice.engine.renewIfDue(time.Now())
				if again := alice.engine.renewing; again == c.over {
					t.Errorf("the card is asked again: %v", again)
				}
			})
		})
	}
}

func TestDelegationEnds(t *testing.T) {
	town := newTown(t, "alice")
	alice := town.client("alice")
	alice.delegationEnds(-time.Second)
	if e := alice.awaitEnd(); ExitStatus(e) != 5 {
		t.Errorf("with nobody to ask the client ended with %v", e)
	}
}

// TestRevokedWhileTalking revokes Bob: within one reload of the lists the
// conversation ends, and both are told.
func TestRevokedWhileTalking(t *testing.T) {
	town := newTown(t, "alice", "bob")
	crls := crypto.NewCRLStore()
	dir := filepath.Join(town.dir, "lab", "crl")
	if problems := crls.LoadDir(dir); len(problems) > 0 {
		t.Fatal(problems)
	}
	root, err := os.ReadFile(filepath.Join(town.dir, "lab", "ca-bundle.pem"))
	if err != nil {
		t.Fatal(err)
	}
	trust, err := crypto.NewTrust(nil, root)
	if err != nil {
		t.Fatal(err)
	}
	alice := town.client("alice", func(cfg *ClientConfig) {
		cfg.Verifier = crypto.NewVerifier(crypto.VerifierConfig{Trust: trust, CRLs: crls, Policy: crypto.PolicyRequire})
		cfg.Refresh = crls.Refresh
		cfg.Timeout = 10 * time.Second // the last message waits so long
	})
	bob := town.client("bob")
	alice.mustSend("before", "bob")
	bob.awaitText("before")
	alice.mustSettle(StatusRead)

	for _, h := range town.pki.Holders() {
		if h.Name == "bob" {
			town.pki.Revoke(h, time.Now().Add(-time.Minute), 1)
		}
	}
	if err := town.pki.WriteCRLs(filepath.Dir(dir)); err != nil {
		t.Fatal(err)
	}
	alice.await("that bob is revoked", func(ev Event) bool {
		return ev.Peer != nil && ev.Peer.Name == "bob" && ev.Peer.What == "refused" && strings.Contains(ev.Peer.Reason, "revoked")
	})
	// Bob hears it from Alice or from the relay, whichever reads the lists first.
	if _, told := bob.until(func(ev Event) bool { return ev.Gap != nil || ev.Err != nil }); !told {
		soon(t, "word to bob", bob.engine.ended)
	}
	if _, err := alice.Send(context.Background(), []string{"bob"}, "after"); err == nil {
		alice.settle(StatusDelivered)
	}
	for _, text := range bob.texts() {
		if text == "after" {
			t.Error("a message went to one who is revoked")
		}
	}
}
