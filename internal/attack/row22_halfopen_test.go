package attack

import (
	"fmt"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/client"
	"chatsecure/internal/history"
	"chatsecure/internal/relay"
	"chatsecure/proto"
)

// TestAttack22HalfOpenPeers: a person begins conversations over many connections and ends none.
// Nobody else is kept out.
func TestAttack22HalfOpenPeers(t *testing.T) {
	town := newTown(t, "alice", "bob", "mallory")
	bob := town.client("bob")
	cred := town.credential("mallory")
	for range client.MaxHalfOpen + 1 {
		m := town.evilPeer(town.addr, "mallory", cred)
		m.offer(end(bob))
		m.skipTo(proto.TypeClientConnect)
	}
	halfOpen := 0
	bob.Inside().Look(func(s client.Snapshot) {
		for _, pc := range s.Conns {
			if pc.HalfOpen {
				halfOpen++
			}
		}
	})
	if halfOpen == 0 || halfOpen > client.MaxHalfOpen {
		t.Errorf("%d half-open conversations", halfOpen)
	}
	alice := town.client("alice", oneTry)
	alice.mustSend("hello", "bob")
	alice.mustSettle(history.StatusRead)
}

// TestAttack22HalfOpenNames: nor does that person keep others out under all names that one may
// have. The person with most is found by the proved identity.
func TestAttack22HalfOpenNames(t *testing.T) {
	town := newTown(t, "alice", "bob", "mallory")
	bob := town.client("bob", func(cfg *client.Config) { cfg.Ciphers = []string{crypto.SuiteMLKEM} })
	halfOpen := func() (n int) {
		bob.Inside().HoldHandshakes() // however slow the machine is
		bob.Inside().Look(func(s client.Snapshot) {
			for _, pc := range s.Conns {
				if pc.HalfOpen {
					n++
				}
			}
		})
		return n
	}
	alice := town.evilPeer(town.addr, "alice", town.credential("alice"))
	i := alice.offer(end(bob))
	p2 := alice.skipTo(proto.TypeClientConnect).Body
	for n := range relay.NamesPerIdentity {
		halfOpen()
		name := fmt.Sprintf("mallory%d", n)
		m := town.evilPeer(town.addr, name, town.credentialAs("mallory", name, time.Now()))
		m.offer(end(bob))
		m.skipTo(proto.TypeClientConnect)
	}
	if n := halfOpen(); n != client.MaxHalfOpen {
		t.Errorf("%d half-open conversations, want %d", n, client.MaxHalfOpen)
	}
	// An attempt answered with a retry is not half-open and takes nobody's place.
	last := town.evilPeer(town.addr, "mallory0", town.credentialAs("mallory", "mallory0", time.Now()))
	last.local.Suites = []string{crypto.SuiteMLKEM, crypto.SuiteRSA256}
	_, p1, err := crypto.Initiate(last.local, last.me(), end(bob))
	if err != nil {
		t.Fatal(err)
	}
	p1, _ = phaseParts(t, p1)
	p1 = swapped(t, p1, fmt.Appendf(nil, `["%s","%s"],"cipher":"%[1]s"`, crypto.SuiteMLKEM, crypto.SuiteRSA256),
		fmt.Appendf(nil, `["%s","%s"],"cipher":"%[1]s"`, crypto.SuiteRSA256, crypto.SuiteMLKEM))
	last.phase(end(bob), 1, phaseBody(p1, last.local.Key.Sign(proto.Tuple("cc-1", p1))))
	if typ := crypto.PeekPhase(last.skipTo(proto.TypeClientConnect).Body); typ != "retry" {
		t.Errorf("a p1 for another suite is answered with %q", typ)
	}
	if n := halfOpen(); n != client.MaxHalfOpen {
		t.Errorf("%d half-open conversations after a retry, want %d", n, client.MaxHalfOpen)
	}
	bob.Inside().Look(func(s client.Snapshot) {
		if !s.Conns[alice.ID].HalfOpen {
			t.Error("Alice's has given way")
		}
	})
	if t.Failed() {
		return
	}
	alice.Conn.SetDeadline(time.Now().Add(time.Minute))
	p3, conv, err := i.Phase2(p2, alice.trusts("bob"))
	if err != nil {
		t.Fatal(err)
	}
	alice.conv = conv
	alice.phase(end(bob), 3, p3)
	alice.take(alice.skipTo(proto.TypeCommAck).Body)
}
