package attack

import (
	"slices"
	"testing"

	"chatsecure/crypto"
	"chatsecure/internal/history"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// TestAttack09Reflection sends Alice's own lines, of each type, back to her as Bob's.
func TestAttack09Reflection(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	reflected := map[string]int{}
	relay.Tampering(func(l wire.EvilLine) []wire.EvilLine {
		what := l.Header.Type + crypto.PeekPhase(l.Body)
		if l.From.Hello.Name != "alice" || reflected[what] >= 2 {
			return honest(l)
		}
		reflected[what]++
		back := l
		back.From, back.To = l.To, l.From
		return []wire.EvilLine{back, l}
	})
	alice.mustSend("mine", "bob")
	bob.awaitText("mine")
	bob.mustSend("his", "alice")
	alice.awaitText("his")
	bob.mustSettle(history.StatusRead) // so that Alice acknowledges it
	relay.Tampering(honest)
	alice.mustSend("more", "bob")
	bob.awaitText("more")
	alice.mustSettle(history.StatusRead)
	if got := alice.texts(); !slices.Equal(got, []string{"his"}) {
		t.Errorf("alice, who was sent %q, was shown %q", "his", got)
	}
	if got := bob.texts(); !slices.Equal(got, []string{"mine", "more"}) {
		t.Errorf("bob saw %q", got)
	}
	relay.Do(func() {
		for _, what := range []string{proto.TypeClientConnect + "p1", proto.TypeClientConnect + "p3", proto.TypeClientCom, proto.TypeCommAck} {
			if reflected[what] == 0 {
				t.Errorf("no %s was reflected, but %v", what, reflected)
			}
		}
	})
}
