package command

import (
	"strings"
	"testing"
	"time"

	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// TestOneOfSeveralIsNamed: of several connections of a user, the right one is
// named, also when it leaves. A single connection is not.
func TestOneOfSeveralIsNamed(t *testing.T) {
	peer := func(conn, what, reason string) client.Event {
		return client.Event{Type: client.EventPeer, Peer: &client.PeerChange{Name: "bob", Conn: conn, What: what, Reason: reason}}
	}
	const one, two = "1f3a000000000000", "8b58000000000000"
	another := peer(two, whatRefused, "another person")
	another.Peer.Refused = &state.Refused{Target: "bob", Value: "0102"}
	for name, c := range map[string]struct {
		events []client.Event
		last   string
	}{
		"one of two leaves": {[]client.Event{peer(one, proto.Came, ""), peer(two, proto.Came, ""),
			peer(two, proto.Left, "")}, "[bob-8b58]: left"},
		"one of two is cut short": {[]client.Event{peer(one, proto.Came, ""), peer(two, proto.Came, ""),
			peer(two, proto.Left, "cut short")}, "[bob-8b58] has left, cut short"},
		"the only one leaves": {[]client.Event{peer(one, proto.Came, ""), peer(one, proto.Left, "")}, "[bob]: left"},
		"the last one leaves": {[]client.Event{peer(one, proto.Came, ""), peer(two, proto.Came, ""),
			peer(two, proto.Left, ""), peer(one, proto.Left, "")}, "[bob]: left"},
		"a new one after that":  {[]client.Event{peer(one, proto.Came, ""), peer(one, proto.Left, ""), peer(two, proto.Came, "")}, "[bob]: came"},
		"one unseen is refused": {[]client.Event{peer(one, proto.Came, ""), peer(two, whatRefused, "revoked")}, "[bob-8b58] is refused: revoked"},
		"one refuses":           {[]client.Event{peer(two, whatRefused, "bob refuses you: revoked")}, "bob refuses you: revoked"},
		"nobody else is there":  {[]client.Event{peer(two, whatRefused, "revoked")}, "[bob] is refused: revoked"},
		"another person": {[]client.Event{another},
			"[bob] is refused: another person; if it is the right one, by another way: client trust accept bob 0102; if not: client trust block bob 0102"},
		"the relay was lost": {[]client.Event{
			peer(one, proto.Came, ""), {Type: client.EventLost, Err: fail.Errorf(proto.Lost, "lost")}, peer(two, proto.Came, ""),
		}, "[bob]: came"},
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

// TestLetterAtThePrompt: a letter has the time at which it was left, and is of no connection.
func TestLetterAtThePrompt(t *testing.T) {
	now := time.Date(2026, 12, 1, 9, 58, 20, 0, time.Local)
	letter := func(left time.Time) *client.Message {
		return &client.Message{From: "bob", To: []string{"ana"}, Letter: true, Left: left, Text: "hi"}
	}
	sys, stdout, _ := fakeSystem("")
	p := presenter{out: newDisplay(sys, options{}), look: promptLook, c: newFakeTalker()}
	p.present([]client.Event{
		{Type: client.EventMessage, Time: now, Message: &client.Message{From: "bob", FromConn: "1f3a000000000000", To: []string{"ana"}, Text: "hi"}},
		{Type: client.EventMessage, Time: now, Message: letter(now.Add(-time.Hour))},
		{Type: client.EventMessage, Time: now, Message: letter(now.AddDate(0, 0, -1))},
		{Type: client.EventMessage, Time: now, Message: &client.Message{From: "bob", FromConn: "1f3a000000000000", To: []string{"ana"}, Text: "hi"}},
	})
	if got, want := stdout.String(), "[09:58:20] [bob]: hi\n[08:58:20] [bob]: hi\n[2026-11-30 09:58:20] [bob]: hi\n[09:58:20] [bob]: hi\n"; got != want {
		t.Errorf("shown is\n%swant\n%s", got, want)
	}
}

// TestQuietNotices: of accepted people coming, proving and leaving say nothing, but with -v. Of a
// flood of others the rest is counted, by itself and after a while.
func TestQuietNotices(t *testing.T) {
	peer := func(name, what, reason string) client.Event {
		return client.Event{Type: client.EventPeer, Peer: &client.PeerChange{Name: name, Conn: "1f3a000000000000", What: what, Reason: reason}}
	}
	sys, _, said := fakeSystem("")
	opt := options{}
	p := presenter{out: newDisplay(sys, opt), look: promptLook, people: true, quiet: func(name string) bool { return name == "bob" }}
	before := 0
	heard := func() string {
		text := said.String()[before:]
		before += len(text)
		return strings.ReplaceAll(text, "client: notice: ", "")
	}
	quiet := []client.Event{peer("bob", proto.Came, ""), peer("bob", whatProved, "with another key"), peer("bob", proto.Left, "")}
	p.present(quiet)
	if got := heard(); got != "" {
		t.Errorf("of an accepted person is said %q", got)
	}
	p.out.verbose = true
	p.present(quiet)
	if got, want := heard(), "[bob]: came\n[bob]: authenticated, with another key\n[bob]: left\n"; got != want {
		t.Errorf("-v says %q, want %q", got, want)
	}
	p.out.verbose = false
	p.present([]client.Event{peer("bob", proto.Left, "cut short"), peer("bob", whatRefused, "revoked"), peer("eve", proto.Came, "")})
	if got, want := heard(), "[bob] has left, cut short\n[bob] is refused: revoked\n[eve]: came\n"; got != want {
		t.Errorf("said is %q, want %q", got, want)
	}

	gap := func(name string) client.Event {
		return client.Event{Type: client.EventGap, Gap: &client.Gap{Name: name, Conn: "7f3a", Reason: "r"}}
	}
	p.present([]client.Event{gap("eve"), gap("bob")})
	if got, want := heard(), "messages of bob may be missing: r\n"; got != want {
		t.Errorf("of gaps is said %q, want %q", got, want)
	}

	for range 12 + floodBurst - 3 {
		p.present([]client.Event{peer("eve", proto.Came, "")})
	}
	p.present([]client.Event{peer("eve", proto.Left, "")})
	if got, want := heard(), strings.Repeat("[eve]: came\n", floodBurst-3); got != want {
		t.Errorf("a flood says %q, want %q", got, want)
	}
	due := p.flood.due()
	p.sumUp(due.Add(-1))
	if got := heard(); got != "" {
		t.Errorf("too early is said %q", got)
	}
	p.sumUp(due)
	if got, want := heard(), "12 others came, 1 other left\n"; got != want || !p.flood.due().IsZero() {
		t.Errorf("the sum is %q, want %q", got, want)
	}
}
