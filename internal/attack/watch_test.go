package attack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/internal/state"
	"chatsecure/testdata/lab/wire"
)

// testClient is a client whose events are collected by a goroutine. It marks messages as shown,
// unless hold is set.
type testClient struct {
	*client.Client
	t      testing.TB
	state  *state.State
	mu     sync.Mutex
	cond   *sync.Cond
	events []client.Event
	end    error
	hold   bool // show nothing
	forget bool // keep no message, as recv keeps none

	marks, passed int // marks put among the events, and marks collected
}

// oneTry lets a client begin a failed handshake anew on request only, not by itself during a test.
func oneTry(cfg *client.Config) { cfg.Timeout, cfg.Again = 10*time.Second, time.Minute }

// manyOffers lets a test begin handshakes as fast as it likes.
func manyOffers(cfg *client.Config) { cfg.Offers, cfg.Callers = 1<<20, 1<<20 }

// soon receives from ch. It ends the test if nothing comes.
func soon[T any](t testing.TB, what string, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(wire.Timeout):
		t.Fatalf("waited in vain for %s", what)
	}
	return v
}

// watch collects a client's events and closes the client at the end of the test.
func (town *localTown) watch(c *client.Client, cfg client.Config) *testClient {
	tc := &testClient{Client: c, t: town.t, state: cfg.State, hold: town.hold, forget: town.forget}
	tc.cond = sync.NewCond(&tc.mu)
	go tc.collect()
	town.t.Cleanup(func() { tc.leave() })
	return tc
}

func (tc *testClient) collect() {
	for {
		events, err := tc.Next(context.Background())
		tc.mu.Lock()
		for _, ev := range events {
			if ev.Type == eventMark {
				tc.passed++
			} else if ev.Message == nil || !tc.forget {
				tc.events = append(tc.events, ev)
			}
		}
		tc.end = err
		var shown []*client.Message
		for _, ev := range events {
			if ev.Message != nil && !tc.hold {
				shown = append(shown, ev.Message)
			}
		}
		tc.Shown(shown...) // the test has seen them
		tc.mu.Unlock()
		tc.cond.Broadcast()
		if err != nil {
			return
		}
	}
}

func (tc *testClient) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), wire.Timeout)
	defer cancel()
	tc.Close(ctx)
}

// await returns the first event that satisfies want, and waits for it.
func (tc *testClient) await(what string, want func(client.Event) bool) client.Event {
	tc.t.Helper()
	ev, ok := tc.until(want)
	if !ok {
		tc.mu.Lock()
		defer tc.mu.Unlock()
		tc.t.Fatalf("%s: waiting for %s: %v; events: %s", tc.Name(), what, tc.end, describe(tc.events))
	}
	return ev
}

// until waits for an event that satisfies want, for the client's end, or for wire.Timeout.
func (tc *testClient) until(want func(client.Event) bool) (ev client.Event, ok bool) {
	timer := time.AfterFunc(wire.Timeout, func() { tc.mu.Lock(); tc.end = errors.New("timed out"); tc.mu.Unlock(); tc.cond.Broadcast() })
	defer timer.Stop()
	tc.mu.Lock()
	defer tc.mu.Unlock()
	for {
		if i := slices.IndexFunc(tc.events, want); i >= 0 {
			return tc.events[i], true
		}
		if tc.end != nil {
			return client.Event{}, false
		}
		tc.cond.Wait()
	}
}

func describe(events []client.Event) string {
	var b strings.Builder
	for _, ev := range events {
		switch {
		case ev.Message != nil:
			fmt.Fprintf(&b, "\n  message %+v", *ev.Message)
		case ev.Receipt != nil:
			fmt.Fprintf(&b, "\n  receipt %+v", *ev.Receipt)
		case ev.Peer != nil:
			fmt.Fprintf(&b, "\n  peer %s %s %s %s", ev.Peer.Name, ev.Peer.Conn, ev.Peer.What, ev.Peer.Reason)
		case ev.Gap != nil:
			fmt.Fprintf(&b, "\n  gap %+v", *ev.Gap)
		case ev.Err != nil:
			fmt.Fprintf(&b, "\n  %s %v", ev.Type, ev.Err)
		default:
			fmt.Fprintf(&b, "\n  %s %s", ev.Type, ev.Notice)
		}
	}
	return b.String()
}

func (tc *testClient) awaitText(text string) *client.Message {
	tc.t.Helper()
	return tc.await("the text "+text, func(ev client.Event) bool { return ev.Message != nil && ev.Message.Text == text }).Message
}

// awaitConn waits until this client has a conversation with another one's connection. From then on
// its messages go there too.
func (tc *testClient) awaitConn(other *testClient) {
	tc.t.Helper()
	conn := other.Conn()
	tc.await("the connection "+conn, func(ev client.Event) bool {
		return ev.Peer != nil && ev.Peer.Conn == conn && ev.Peer.What == "authenticated"
	})
}

// cutOff closes the client's connection to the relay.
func (tc *testClient) cutOff() {
	tc.Inside().CutOff()
}

// eventMark is not one of a client's own types: see seen.
const eventMark client.EventType = "mark"

// seen returns all events that the engine has told before the call, even if the collector is
// behind.
func (tc *testClient) seen() []client.Event {
	tc.mu.Lock()
	defer tc.mu.Unlock()
	tc.marks++
	tc.Inside().Tell(client.Event{Type: eventMark})
	for mark := tc.marks; tc.passed < mark && tc.end == nil; {
		tc.cond.Wait()
	}
	return slices.Clone(tc.events)
}

func (tc *testClient) texts() []string {
	var out []string
	for _, ev := range tc.seen() {
		if ev.Message != nil {
			out = append(out, ev.Message.Text)
		}
	}
	return out
}

func (tc *testClient) mustSend(text string, names ...string) string {
	tc.t.Helper()
	id, err := tc.Send(context.Background(), names, text)
	if err != nil {
		tc.t.Fatalf("%s: send to %v: %v", tc.Name(), names, err)
	}
	return id
}

// settle waits until all sent messages have reached level.
func (tc *testClient) settle(level history.Status) client.Outcome {
	tc.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wire.Timeout)
	defer cancel()
	return tc.Wait(ctx, level)
}

func (tc *testClient) mustSettle(level history.Status) {
	tc.t.Helper()
	out := tc.settle(level)
	kept := func(n client.NameOutcome) bool { return n.Kept > 0 }
	for deadline := time.Now().Add(wire.Timeout); slices.ContainsFunc(out.Names, kept) && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond) // a wait is over while the relay keeps a letter for somebody away
		out = tc.settle(level)
	}
	if len(out.Failed) > 0 || slices.ContainsFunc(out.Names, kept) {
		tc.t.Fatalf("%s: %v: %v", tc.Name(), out.Names, out.Failed)
	}
}

// gaps returns the reasons of all gaps.
func (tc *testClient) gaps() []string {
	return gapsIn(tc.seen())
}

func gapsIn(events []client.Event) (reasons []string) {
	for _, ev := range events {
		if ev.Gap != nil {
			reasons = append(reasons, ev.Gap.Reason)
		}
	}
	return reasons
}

// awaitGap waits for the n-th gap and checks why it is one.
func (tc *testClient) awaitGap(n int, reason string) {
	tc.t.Helper()
	tc.await("a gap: "+reason, func(client.Event) bool { return len(gapsIn(tc.events)) >= n })
	if got := tc.gaps()[n-1]; !strings.Contains(got, reason) {
		tc.t.Errorf("%s: gap %d is %q, want %q", tc.Name(), n, got, reason)
	}
}

// status returns the furthest status reported for a message.
func (tc *testClient) status(id string) (s history.Status) {
	for _, ev := range tc.seen() {
		if ev.Receipt != nil && ev.Receipt.ID == id && (s == "" || ev.Receipt.Status.AtLeast(s)) {
			s = ev.Receipt.Status
		}
	}
	return s
}

// statuses returns all statuses reported for a message, in order.
func (tc *testClient) statuses(id string) (all []history.Status) {
	for _, ev := range tc.seen() {
		if ev.Receipt != nil && ev.Receipt.ID == id {
			all = append(all, ev.Receipt.Status)
		}
	}
	return all
}

// met returns the connections of that name that have proved themselves.
func (tc *testClient) met(name string) (conns []string) {
	for _, ev := range tc.seen() {
		if ev.Peer != nil && ev.Peer.Name == name && ev.Peer.Person != nil {
			conns = append(conns, ev.Peer.Conn)
		}
	}
	return conns
}

// quietly fails the test if the client was told of a refusal or an error.
func (tc *testClient) quietly() {
	tc.t.Helper()
	for _, ev := range tc.seen() {
		if ev.Peer != nil && ev.Peer.What == "refused" || ev.Err != nil {
			tc.t.Errorf("%s is told: %s", tc.Name(), describe([]client.Event{ev}))
		}
	}
}

// sees waits until all that from has sent is READ, and checks that to has seen exactly these texts,
// in order.
func sees(t *testing.T, from, to *testClient, want ...string) {
	t.Helper()
	from.mustSettle(history.StatusRead)
	if got := to.texts(); !slices.Equal(got, want) {
		t.Errorf("%s saw %q, want %q", to.Name(), got, want)
	}
}

// sending sends in the background, while a test plays the receiver.
func (tc *testClient) sending(text, name string) <-chan error {
	ended := make(chan error, 1)
	go func() {
		_, err := tc.Send(context.Background(), []string{name}, text)
		ended <- err
	}()
	return ended
}

// awaitEnd waits until the client has ended by itself, and returns its error.
func (tc *testClient) awaitEnd() *fail.Error {
	tc.t.Helper()
	select {
	case <-tc.Inside().Ended():
	case <-time.After(wire.Timeout):
		tc.t.Fatalf("%s does not end", tc.Name())
	}
	tc.mu.Lock()
	defer tc.mu.Unlock()
	for tc.end == nil {
		tc.cond.Wait()
	}
	return fail.AsError(tc.end)
}

// undelivered checks that a message does not count as delivered, neither in its status nor in Wait.
func (tc *testClient) undelivered(what, id string) {
	tc.t.Helper()
	if s := tc.status(id); s.AtLeast(history.StatusDelivered) {
		tc.t.Errorf("%s: the message counts as %s", what, s)
	}
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if out := tc.Wait(over, history.StatusDelivered); out.ExitStatus() != 6 {
		tc.t.Errorf("%s: Wait says %v, exit status %d", what, out.Names, out.ExitStatus())
	}
}

// conversation returns the present conversation with a name that has one connection.
func (tc *testClient) conversation(name string) (c *crypto.Conversation) {
	tc.t.Helper()
	tc.Inside().Look(func(s client.Snapshot) {
		for _, pc := range s.Conns {
			if pc.Name == name && pc.Conversation != nil {
				c = pc.Conversation
			}
		}
	})
	if c == nil {
		tc.t.Fatalf("%s has no conversation with %s", tc.Name(), name)
	}
	return c
}
