package attack

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/internal/state"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// atPrompt makes a client one of a person at a prompt.
func atPrompt(cfg *client.Config) { cfg.Persistent = true }

// questions is a person who answers when the test says so.
type questions struct {
	asked   chan string
	answers chan bool
}

// asksFor makes a client ask its person about everybody who is new.
func (town *localTown) asksFor(q *questions, fingerprint string) clientOption {
	return func(cfg *client.Config) {
		cfg.Persistent, cfg.AcceptNew, cfg.Fingerprint, cfg.Asker = true, false, fingerprint, q
	}
}

func newQuestions() *questions { return &questions{make(chan string, 8), make(chan bool)} }

func (q *questions) ConfirmRelay(context.Context, string, string) (bool, error) { return false, nil }

func (*questions) ConfirmMet(context.Context, *state.KnownPeer) (bool, error) { return false, nil }

func (q *questions) ConfirmPeer(ctx context.Context, name string, _ *trust.Person) (bool, error) {
	q.asked <- name
	select {
	case yes := <-q.answers:
		return yes, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// awaitStatus waits until a message has a status for a recipient.
func (tc *testClient) awaitStatus(id, to string, s history.Status) *client.ReceiptChange {
	tc.t.Helper()
	return tc.await(fmt.Sprintf("%s of %s for %s", s, id, to), func(ev client.Event) bool {
		return ev.Receipt != nil && ev.Receipt.ID == id && ev.Receipt.To == to && ev.Receipt.Status == s && (s != history.StatusPending || ev.Receipt.Reason != "")
	}).Receipt
}

// TestQuestionHoldsUpNobody: while the person at the prompt has not answered a question about one
// recipient, messages to others go and come, and requests are answered. A yes sends what waited, a
// no fails it.
func TestQuestionHoldsUpNobody(t *testing.T) {
	town := newTown(t, "alice", "bob", "carol", "dave")
	bob, carol, dave := town.client("bob"), town.client("carol"), town.client("dave")
	q := newQuestions()
	alice := town.client("alice", town.asksFor(q, bob.Fingerprint()))
	first := alice.mustSend("to all", "bob", "carol", "dave")
	who := soon(t, "a question", q.asked)
	q.answers <- true
	one := soon(t, "the next question", q.asked)
	carol.mustSend("from carol", "alice")
	alice.awaitText("from carol")
	if _, err := alice.List(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := alice.Whois(t.Context(), "dave"); err != nil {
		t.Error(err)
	}
	second := alice.mustSend("again", who)
	alice.awaitStatus(second, who, history.StatusRead)
	if len(q.asked) > 0 {
		t.Errorf("two questions at a time")
	}
	q.answers <- false
	failed := alice.awaitStatus(first, one, history.StatusFailed)
	if !strings.Contains(failed.Reason, one+" is new") {
		t.Errorf("the message to the one who was refused failed: %s", failed.Reason)
	}
	last := soon(t, "the last question", q.asked)
	third := alice.mustSend("waits", last)
	q.answers <- true
	alice.awaitStatus(third, last, history.StatusRead)
	want := map[string][]string{who: {"to all", "again"}, last: {"to all", "waits"}}
	for _, tc := range []*testClient{bob, carol, dave} {
		if got := tc.texts(); !slices.Equal(got, want[tc.Name()]) {
			t.Errorf("%s saw %q, want %q", tc.Name(), got, want[tc.Name()])
		}
	}
}

// TestLeavingBeforeTheAnswer: a client ends although its question has no answer. The message has
// failed.
func TestLeavingBeforeTheAnswer(t *testing.T) {
	town := newTown(t, "alice", "bob")
	bob := town.client("bob")
	q := newQuestions()
	alice := town.client("alice", town.asksFor(q, bob.Fingerprint()))
	id := alice.mustSend("never answered", "bob")
	soon(t, "the question", q.asked)
	alice.leave()
	alice.awaitStatus(id, "bob", history.StatusFailed)
	if got := bob.texts(); len(got) > 0 {
		t.Errorf("bob saw %q", got)
	}
}

// TestPendingAtThePrompt: a message to somebody who is not there is PENDING for as long as the client
// runs, is told once to be so, and arrives once when they come. For one who never comes it has
// failed at the client's end.
func TestPendingAtThePrompt(t *testing.T) {
	town := newTown(t, "alice", "bob", "carol")
	alice := town.client("alice", atPrompt)
	var ids []string
	for _, text := range []string{"one", "two", "three"} {
		ids = append(ids, alice.mustSend(text, "bob", "carol"))
	}
	for _, id := range ids {
		for _, name := range []string{"bob", "carol"} {
			if told := alice.awaitStatus(id, name, history.StatusPending); told.Reason != "nobody by the name of "+name+" is connected" {
				t.Errorf("%s waits: %q", name, told.Reason)
			}
		}
	}
	alice.Inside().Tick(time.Now().Add(24 * time.Hour))
	town.stop()
	alice.await("the loss", func(ev client.Event) bool { return ev.Type == client.EventLost })
	four := alice.mustSend("four", "bob")
	town.startRelay()
	alice.await("the relay back", func(ev client.Event) bool { return ev.Type == client.EventBack })
	alice.Inside().Tick(time.Now().Add(24 * time.Hour))
	bob := town.client("bob")
	alice.awaitStatus(four, "bob", history.StatusRead)
	if got := bob.texts(); !slices.Equal(got, []string{"one", "two", "three", "four"}) {
		t.Errorf("bob saw %q", got)
	}
	var over client.Outcome
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	over = alice.Wait(ended, history.StatusDelivered)
	if n := over.Names[1]; n.Name != "carol" || n.Open != 3 || over.Names[0].Reached != 4 {
		t.Errorf("the outcome is %+v", over)
	}
	alice.leave()
	listing, err := history.Read(alice.state.HistoryDir(), history.Query{})
	if err != nil {
		t.Fatal(err)
	}
	for _, ev := range alice.seen() {
		if r := ev.Receipt; r != nil && r.Status == history.StatusFailed && r.To != "carol" {
			t.Errorf("a message to %s failed: %s", r.To, r.Reason)
		}
	}
	for _, id := range ids {
		alice.awaitStatus(id, "carol", history.StatusFailed)
		told := 0
		for _, ev := range alice.seen() {
			if r := ev.Receipt; r != nil && r.ID == id && r.To == "carol" && r.Status == history.StatusPending && r.Reason != "" {
				told++
			}
		}
		if told != 1 {
			t.Errorf("it is told %d times that carol is not there", told)
		}
		if !slices.ContainsFunc(listing.Messages, func(m *history.Message) bool { return m.ID == id }) {
			t.Errorf("the history does not have %s", id)
		}
	}
}

// TestPromptIsBounded: what is PENDING is bounded, also for one of several recipients. One more is
// refused in words, and nothing that waits is lost.
func TestPromptIsBounded(t *testing.T) {
	town := newTown(t, "alice", "bob", "carol")
	alice, carol := town.client("alice", atPrompt), town.client("carol")
	text := strings.Repeat("x", 200<<10)
	taken := 0
	for ; taken < 100; taken++ {
		id, err := alice.Send(t.Context(), []string{"bob", "carol"}, fmt.Sprint(taken, text))
		if err != nil {
			if fail.AsError(err).Code != proto.NotDelivered || !strings.Contains(err.Error(), "PENDING already") {
				t.Errorf("the refusal is %v", err)
			}
			break
		}
		alice.awaitStatus(id, "carol", history.StatusRead)
	}
	if taken == 0 || taken == 100 {
		t.Fatalf("%d messages are taken", taken)
	}
	bob := town.client("bob")
	alice.mustSettle(history.StatusRead)
	for _, tc := range []*testClient{bob, carol} {
		got := tc.texts()
		for i := range got {
			if !strings.HasPrefix(got[i], fmt.Sprint(i, "x")) {
				t.Errorf("text %d of %s begins with %.8q", i, tc.Name(), got[i])
			}
		}
		if len(got) != taken {
			t.Errorf("%d of %d messages came to %s", len(got), taken, tc.Name())
		}
	}
	alice.mustSend("room again", "bob")
	bob.awaitText("room again")
}

// sleeper is a machine whose connection stays open and answers nothing: the relay keeps what comes
// for it.
type sleeper struct {
	relay *wire.EvilRelay
	held  []wire.EvilLine
}

// asleep sends tc's machine to sleep.
func asleep(relay *wire.EvilRelay, tc *testClient) *sleeper {
	s, id := &sleeper{relay: relay}, tc.Conn()
	relay.Do(func() {
		relay.Tamper = func(l wire.EvilLine) []wire.EvilLine {
			if l.To.ID != id {
				return honest(l)
			}
			s.held = append(s.held, l)
			return nil
		}
		relay.DropAck = func(h *proto.Header) bool { return h.DstID == id }
	})
	return s
}

// wake hands over what has come, or drops it with the connection.
func (s *sleeper) wake(dead *testClient) {
	s.relay.Do(func() {
		s.relay.Tamper, s.relay.DropAck = nil, nil
		for _, l := range s.held {
			if dead == nil {
				s.relay.Forward(l)
				s.relay.Ack(l)
			}
		}
	})
	if dead != nil {
		hangUp(s.relay, dead)
	}
}

// never checks that nothing of a client's has failed.
func (tc *testClient) never(s history.Status) {
	tc.t.Helper()
	for _, ev := range tc.seen() {
		if ev.Receipt != nil && ev.Receipt.Status == s {
			tc.t.Errorf("%s: a message is %s: %+v", tc.Name(), s, *ev.Receipt)
		}
	}
}

// TestSleepingMachine: somebody's machine sleeps with its connection open. Messages to others go. Those to the
// sleeper wait for any time, and arrive once and in order when the machine wakes or comes back.
func TestSleepingMachine(t *testing.T) {
	for _, c := range []struct {
		what  string
		comes bool // back over another connection
	}{{"it wakes", false}, {"it comes back", true}} {
		t.Run(c.what, func(t *testing.T) {
			town, relay := evilTown(t, "alice", "bob", "carol")
			soonAgain := func(cfg *client.Config) { cfg.Persistent, cfg.Again = true, 10*time.Millisecond }
			alice, bob, carol := town.client("alice", soonAgain), town.client("bob", soonAgain), town.client("carol")
			alice.mustSend("before", "bob")
			alice.mustSettle(history.StatusRead)
			sleeping, conn := asleep(relay, bob), bob.Conn()
			ids := []string{alice.mustSend("one", "bob"), alice.mustSend("two", "bob"), alice.mustSend("three", "bob", "carol")}
			alice.awaitStatus(ids[2], "carol", history.StatusRead)
			carol.awaitText("three")
			// The relay's ack does not come, and then no answer to the handshake.
			alice.Inside().Tick(time.Now().Add(proto.AckTimeout + time.Second))
			for tries := 0; tries < 3; {
				tries = alice.Inside().Tick(time.Now().Add(proto.PhaseTimeout + time.Second)).Conns[conn].Tries
			}
			ids = append(ids, alice.mustSend("four", "bob"))
			if told := alice.awaitStatus(ids[3], "bob", history.StatusPending); told.Reason != "bob is connected, but does not answer" {
				t.Errorf("it waits: %s", told.Reason)
			}
			if _, err := alice.List(t.Context()); err != nil {
				t.Error(err)
			}
			alice.Inside().Tick(time.Now().Add(24 * time.Hour))
			if c.comes {
				sleeping.wake(bob)
			} else {
				sleeping.wake(nil)
			}
			for _, id := range ids {
				alice.awaitStatus(id, "bob", history.StatusRead)
			}
			if got := bob.texts(); !slices.Equal(got, []string{"before", "one", "two", "three", "four"}) {
				t.Errorf("bob saw %q", got)
			}
			alice.never(history.StatusFailed)
		})
	}
}

// TestAcceptedInTheSession: another person takes a name, and is refused until the user of a running
// client accepts them. Nothing written to the former person goes to them.
func TestAcceptedInTheSession(t *testing.T) {
	town := newTown(t, "alice", "bob", "mallory")
	alice, bob := town.client("alice", atPrompt), town.client("bob")
	alice.mustSend("hello", "bob")
	alice.mustSettle(history.StatusRead)
	if err := bob.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	bob.leave()
	former := alice.mustSend("for bob", "bob")
	alice.awaitStatus(former, "bob", history.StatusPending)
	cfg := town.config("bob", "state-mallory")
	cfg.Credential = town.credentialAs("mallory", "bob", time.Now())
	next := town.dial(cfg)
	failed := alice.awaitStatus(former, "bob", history.StatusFailed)
	if !strings.Contains(failed.Reason, "another person") {
		t.Errorf("it failed: %s", failed.Reason)
	}
	other, err := state.Open(alice.state.Dir(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.AcceptPeer("bob", next.Inside().Identity()); err != nil {
		t.Fatal(err)
	}
	id := alice.mustSend("for the next", "bob")
	alice.awaitStatus(id, "bob", history.StatusRead)
	if got := next.texts(); !slices.Equal(got, []string{"for the next"}) {
		t.Errorf("the next one saw %q", got)
	}
}
