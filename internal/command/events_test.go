package command

import (
	"testing"

	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// TestOneOfSeveralIsNamed: of several connections of a user, the right one is
// named, also when it leaves. A single connection is not.
func TestOneOfSeveralIsNamed(t *testing.T) {
	peer := func(conn, what, reason string) client.Event {
		return client.Event{Type: client.EventPeer, Peer: &client.PeerChange{Name: "bob", Conn: conn, What: what, Reason: reason}}
	}
	const one, two = "1f3a000000000000", "8b58000000000000"
	for name, c := range map[string]struct {
		events []client.Event
		last   string
	}{
		"one of two leaves": {[]client.Event{peer(one, proto.Came, ""), peer(two, proto.Came, ""),
			peer(two, proto.Left, "")}, "bob-8b58: left"},
		"one of two is cut short": {[]client.Event{peer(one, proto.Came, ""), peer(two, proto.Came, ""),
			peer(two, proto.Left, "cut short")}, "bob-8b58 has left, cut short"},
		"the only one leaves": {[]client.Event{peer(one, proto.Came, ""), peer(one, proto.Left, "")}, "bob: left"},
		"the last one leaves": {[]client.Event{peer(one, proto.Came, ""), peer(two, proto.Came, ""),
			peer(two, proto.Left, ""), peer(one, proto.Left, "")}, "bob: left"},
		"a new one after that":  {[]client.Event{peer(one, proto.Came, ""), peer(one, proto.Left, ""), peer(two, proto.Came, "")}, "bob: came"},
		"one unseen is refused": {[]client.Event{peer(one, proto.Came, ""), peer(two, whatRefused, "revoked")}, "bob-8b58 is refused: revoked"},
		"one refuses":           {[]client.Event{peer(two, whatRefused, "bob refuses you: revoked")}, "bob refuses you: revoked"},
		"nobody else is there":  {[]client.Event{peer(two, whatRefused, "revoked")}, "bob is refused: revoked"},
		"the relay was lost": {[]client.Event{
			peer(one, proto.Came, ""), {Type: client.EventLost, Err: fail.Errorf(proto.Lost, "lost")}, peer(two, proto.Came, ""),
		}, "bob: came"},
	} {
		sys, _, stderr := fakeSystem("")
		p := presenter{out: newDisplay(sys, options{}), look: promptLook, people: true}
		p.present(c.events[:len(c.events)-1])
		before := len(stderr.String())
		p.present(c.events[len(c.events)-1:])
		if said := stderr.String()[before:]; said != "client: notice: "+c.last+"\n" {
			t.Errorf("%s: %q is said, want %q", name, said, c.last)
		}
	}
}
