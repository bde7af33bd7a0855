package attack

import (
	"context"
	"strings"
	"testing"

	"chatsecure/internal/fail"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// TestAttack23LongCertificateFields: long names in a certificate make a long refusal. However it is
// cut to its limit, the relay does not close the connection of the client that refuses.
func TestAttack23LongCertificateFields(t *testing.T) {
	town := newTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	conn := alice.Conn()
	for i, prefix := range []string{"", "a", "aa"} { // the limit falls between two characters once in three
		name := "eva" + prefix
		town.issue(name, subject(prefix+strings.Repeat("€", 700), "10000000"+string(rune('0'+i))))
		if err := alice.state.SetKnownPeer(state.KnownPeer{Name: name, Identity: [32]byte{1}, Accepted: true}); err != nil {
			t.Fatal(err)
		}
		eva := town.client(name)
		_, err := eva.Send(context.Background(), []string{"alice"}, "hello")
		if e := fail.AsError(err); e == nil || e.Code != proto.IdentityChanged || strings.Contains(e.Message, `\x`) {
			t.Errorf("%s: the stranger is told %v", name, err)
		}
		eva.leave()
	}
	alice.mustSend("still here", "bob")
	sees(t, alice, bob, "still here")
	if now := alice.Conn(); now != conn {
		t.Errorf("alice had to connect again: %s", describe(alice.seen()))
	}
}
