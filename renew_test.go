package chatsecure

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chatsecure/card"
	"chatsecure/crypto"
)

// shortCredential is one whose delegation ends after d.
func (town *testTown) shortCredential(name string, d time.Duration) *Credential {
	town.t.Helper()
	c, err := card.Open(context.Background(), filepath.Join(town.dir, "lab", name), card.Options{})
	if err != nil {
		town.t.Fatal(err)
	}
	defer c.Close()
	cred, err := NewCredential(context.Background(), c, name, crypto.KeyEd25519, d, nil, time.Now())
	if err != nil {
		town.t.Fatal(err)
	}
	return cred
}

// TestDelegationIsRenewed gives Alice a delegation that is nearly over: the
// card is asked again, and the conversation goes on.
func TestDelegationIsRenewed(t *testing.T) {
	town := newTown(t, "alice", "bob")
	bob := town.client("bob")
	asked := make(chan struct{}, 1)
	first := town.shortCredential("alice", 10*time.Second)
	alice := town.client("alice", func(cfg *ClientConfig) {
		cfg.Credential = first
		cfg.Renew = func(context.Context) (*Credential, error) {
			asked <- struct{}{}
			return town.credential("alice"), nil
		}
	})
	alice.mustSend("under the first", "bob")
	bob.awaitText("under the first")
	alice.engine.do(context.Background(), func() {
		// Its end comes near.
		alice.engine.local.Bundle.NotAfter = time.Now().Add(time.Second).Unix()
	})
	<-asked
	alice.await("the relay back", func(ev Event) bool { return ev.Type == EventBack })
	alice.mustSend("under the second", "bob")
	bob.awaitText("under the second")
	alice.mustSettle(StatusRead)
	if first.Key.Sign([]byte("x")) != nil {
		t.Error("the old K still signs")
	}
}

func TestDelegationEnds(t *testing.T) {
	town := newTown(t, "alice")
	alice := town.client("alice")
	alice.engine.do(context.Background(), func() {
		alice.engine.local.Bundle.NotAfter = time.Now().Add(-time.Second).Unix()
	})
	alice.mu.Lock()
	defer alice.mu.Unlock()
	for alice.end == nil {
		alice.cond.Wait()
	}
	if ExitStatus(alice.end) != 5 {
		t.Errorf("with nobody to ask the client ended with %v", alice.end)
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
	bob.mu.Lock()
	for bob.end == nil && !hasGap(bob.events) {
		bob.cond.Wait()
	}
	bob.mu.Unlock()
	if _, err := alice.Send(context.Background(), []string{"bob"}, "after"); err == nil {
		alice.settle(StatusDelivered)
	}
	for _, text := range bob.texts() {
		if text == "after" {
			t.Error("a message went to one who is revoked")
		}
	}
}

func hasGap(events []Event) bool {
	for _, ev := range events {
		if ev.Gap != nil || ev.Err != nil {
			return true
		}
	}
	return false
}
