package attack

import (
	"regexp"
	"slices"
	"testing"

	"chatsecure/internal/client"
	"chatsecure/internal/history"
	"chatsecure/testdata/lab/town"
	"chatsecure/testdata/lab/wire"
)

// Row 11: READ tells a stranger nothing of this user.

// strict has a client of this town ask nobody and accept nobody. The relay is that of another.
func strict(other *testClient) clientOption {
	return func(cfg *client.Config) { cfg.AcceptNew, cfg.Fingerprint = false, other.Fingerprint() }
}

// accept accepts another client's person, as another program on the state directory does.
func (tc *testClient) accept(other *testClient) {
	tc.t.Helper()
	if _, err := tc.state.AcceptPeer(other.Name(), other.Inside().Identity()); err != nil {
		tc.t.Fatal(err)
	}
}

// TestSeenIsNotShownAgain: what a stranger wrote is shown in one run, although it is not READ. That
// comes with the acceptance, in whichever run.
func TestSeenIsNotShownAgain(t *testing.T) {
	town := newTown(t, "alice", "bob")
	alice := town.client("alice")
	bob := town.client("bob", strict(alice))
	alice.mustSend("first", "bob")
	bob.awaitText("first")
	alice.mustSettle(history.StatusDelivered)
	bob.seen() // and all of it was marked as shown
	bob.leave()
	bob = town.client("bob", strict(alice))
	alice.mustSend("second", "bob")
	if m := bob.awaitText("second"); m.Again {
		t.Error("a new message is told as an old one")
	}
	if got := bob.texts(); !slices.Equal(got, []string{"second"}) {
		t.Errorf("the second run shows %q", got)
	}
	bob.accept(alice)
	alice.mustSettle(history.StatusRead)
}

// TestReadNeedsAcceptance: a stranger's message is shown once in a run, although it comes again, and
// is READ only once the person is accepted.
func TestReadNeedsAcceptance(t *testing.T) {
	town := newTown(t, "alice", "bob")
	alice := town.client("alice")
	bob := town.client("bob", strict(alice))
	first := alice.mustSend("first", "bob")
	if m := bob.awaitText("first"); m.Known {
		t.Error("she is taken for somebody who is accepted")
	}
	bob.seen() // and all of it was marked as shown
	alice.cutOff()
	alice.await("the relay back", func(ev client.Event) bool { return ev.Type == client.EventBack })
	second := alice.mustSend("second", "bob")
	bob.awaitText("second")
	alice.mustSettle(history.StatusDelivered)
	for _, id := range []string{first, second} {
		if s := alice.status(id); s != history.StatusDelivered {
			t.Errorf("before she is accepted, the message is %s", s)
		}
	}
	bob.accept(alice)
	alice.mustSettle(history.StatusRead)
	bob.await("that she is accepted", func(ev client.Event) bool { return ev.Type == client.EventAccepted })
	alice.mustSend("third", "bob")
	if m := bob.awaitText("third"); !m.Known {
		t.Error("she is accepted, and taken for a stranger")
	}
	if got := bob.texts(); !slices.Equal(got, []string{"first", "second", "third"}) {
		t.Errorf("bob saw %q", got)
	}
	bob.leave()
	bob = town.client("bob")
	alice.mustSend("fourth", "bob")
	bob.awaitText("fourth")
	if got := bob.texts(); !slices.Equal(got, []string{"fourth"}) {
		t.Errorf("at the next start bob saw %q", got)
	}
}

// TestAcceptStored: with AcceptNew the sender of a message from an earlier run is accepted too, but
// never in the place of another person.
func TestAcceptStored(t *testing.T) {
	town := newTown(t, "alice", "bob")
	town.hold = true // a message that was shown does not come again
	alice := town.client("alice")
	bob := town.client("bob", strict(alice))
	alice.mustSend("hello", "bob")
	bob.awaitText("hello")
	bob.leave()
	bob = town.client("bob", strict(alice))
	m := bob.awaitText("hello")
	if err := bob.Accept(t.Context(), m); err == nil || bob.Knows(m) {
		t.Errorf("nobody could be asked, and the answer is yes: %v", err)
	}
	bob.leave()
	bob = town.client("bob")
	m = bob.awaitText("hello")
	other := *m
	other.Identity = [32]byte{1}
	if err := bob.Accept(t.Context(), &other); err == nil || bob.Knows(&other) {
		t.Errorf("another person is accepted in her place: %v", err)
	}
	if err := bob.Accept(t.Context(), m); err != nil || !bob.Knows(m) {
		t.Errorf("she is not accepted: %v", err)
	}
	alice.mustSettle(history.StatusDelivered)
}

// TestRecvBatchOfStrangers: under -batch a stranger's message is not printed and not READ. Once
// another program accepts the person, it comes out of the same recv.
func TestRecvBatchOfStrangers(t *testing.T) {
	w := town.New(t, town.People("alice", "bob"))
	w.Must("", "bob", "list") // the relay is known from here on
	bob := w.Start("bob", "-accept-new=false", "-q=false", "-json", "recv", "-from", "alice", "-n", "1")
	bob.Object("connected")
	alice := w.Start("alice", "send", "-wait", "read", "bob", "hello")
	var identity []string
	wire.Until(t, "the notice of a stranger", func() bool {
		identity = regexp.MustCompile("alice is not accepted, .* trust accept alice ([0-9a-f]{64})\n").FindStringSubmatch(bob.Stderr.String())
		return identity != nil
	})
	w.Must("", "bob", "trust", "accept", "alice", identity[1])
	if m := bob.Object("message"); m["text"] != "hello" || m["known"] != true {
		t.Errorf("it came as %v", m)
	}
	if r := bob.End(); r.Status != 0 {
		t.Errorf("bob's recv ended with %+v", r)
	}
	if r := alice.End(); r.Status != 0 {
		t.Errorf("alice's send ended with %+v", r)
	}
}
