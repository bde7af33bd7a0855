package chatsecure

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// testClient is a client whose events a goroutine collects. It marks messages
// as shown unless told not to.
type testClient struct {
	*Client
	t      testing.TB
	state  *State
	mu     sync.Mutex
	cond   *sync.Cond
	events []Event
	end    error
	hold   bool // nothing is shown

	marks, passed int // that seen has put among the events, and that were collected
}

// oneTry is a client that begins a handshake which failed only when it is asked
// to, and not by itself while a test lasts.
func oneTry(cfg *ClientConfig) { cfg.Timeout, cfg.again = 10*time.Second, time.Minute }

// soon receives from ch, and ends the test if nothing comes.
func soon[T any](t testing.TB, what string, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(relayTestTimeout):
		t.Fatalf("waited in vain for %s", what)
	}
	return v
}

// watch collects a client's events, and closes it when the test ends.
func (town *testTown) watch(c *Client, cfg ClientConfig) *testClient {
	tc := &testClient{Client: c, t: town.t, state: cfg.State}
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
			} else {
				tc.events = append(tc.events, ev)
			}
		}
		tc.end = err
		var shown []*Message
		for _, ev := range events {
			if ev.Message != nil && !tc.hold {
				shown = append(shown, ev.Message)
			}
		}
		tc.Shown(shown...) // what a test has seen is marked
		tc.mu.Unlock()
		tc.cond.Broadcast()
		if err != nil {
			return
		}
	}
}

func (tc *testClient) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), relayTestTimeout)
	defer cancel()
	tc.Close(ctx)
}

// await waits until an event satisfies want, and returns it.
func (tc *testClient) await(what string, want func(Event) bool) Event {
	tc.t.Helper()
	ev, ok := tc.until(want)
	if !ok {
		tc.mu.Lock()
		defer tc.mu.Unlock()
		tc.t.Fatalf("%s: waiting for %s: %v; events: %s", tc.Name(), what, tc.end, describe(tc.events))
	}
	return ev
}

// until waits until an event satisfies want, or the client has ended, or it has
// taken relayTestTimeout.
func (tc *testClient) until(want func(Event) bool) (ev Event, ok bool) {
	timer := time.AfterFunc(relayTestTimeout, func() { tc.mu.Lock(); tc.end = errors.New("timed out"); tc.mu.Unlock(); tc.cond.Broadcast() })
	defer timer.Stop()
	tc.mu.Lock()
	defer tc.mu.Unlock()
	for {
		if i := slices.IndexFunc(tc.events, want); i >= 0 {
			return tc.events[i], true
		}
		if tc.end != nil {
			return Event{}, false
		}
		tc.cond.Wait()
	}
}

func describe(events []Event) string {
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

func (tc *testClient) awaitText(text string) *Message {
	tc.t.Helper()
	return tc.await("the text "+text, func(ev Event) bool { return ev.Message != nil && ev.Message.Text == text }).Message
}

// awaitConn waits until this client has a conversation with another one, and
// sends to it what it sends to the user.
func (tc *testClient) awaitConn(other *testClient) {
	tc.t.Helper()
	conn := other.Conn()
	tc.await("the connection "+conn, func(ev Event) bool {
		return ev.Peer != nil && ev.Peer.Conn == conn && ev.Peer.What == "authenticated"
	})
}

// cutOff closes the client's connection to the relay under it.
func (tc *testClient) cutOff() {
	tc.engine.do(context.Background(), func() { tc.engine.sess.conn.Close() })
}

// eventMark is no event of a client's: see seen.
const eventMark EventType = "mark"

// seen returns the events that there have been. What the engine has told when
// seen is called is among them, even if the collector is behind.
func (tc *testClient) seen() []Event {
	tc.mu.Lock()
	defer tc.mu.Unlock()
	tc.marks++
	tc.engine.events.add(Event{Type: eventMark})
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

// settle waits until all that was sent has reached level.
func (tc *testClient) settle(level Status) Outcome {
	tc.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), relayTestTimeout)
	defer cancel()
	return tc.Wait(ctx, level)
}

func (tc *testClient) mustSettle(level Status) {
	tc.t.Helper()
	out := tc.settle(level)
	if len(out.Failed) > 0 {
		tc.t.Fatalf("%s: %v: %v", tc.Name(), out.Names, out.Failed)
	}
}

// gaps returns the reasons of all gaps so far.
func (tc *testClient) gaps() []string {
	return gapsIn(tc.seen())
}

func gapsIn(events []Event) (reasons []string) {
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
	tc.await("a gap: "+reason, func(Event) bool { return len(gapsIn(tc.events)) >= n })
	if got := tc.gaps()[n-1]; !strings.Contains(got, reason) {
		tc.t.Errorf("%s: gap %d is %q, want %q", tc.Name(), n, got, reason)
	}
}

// status returns the furthest status that a message was reported with.
func (tc *testClient) status(id string) (s Status) {
	for _, ev := range tc.seen() {
		if ev.Receipt != nil && ev.Receipt.ID == id && (s == "" || ev.Receipt.Status.AtLeast(s)) {
			s = ev.Receipt.Status
		}
	}
	return s
}

// statuses returns what a message was reported as, in order.
func (tc *testClient) statuses(id string) (all []Status) {
	for _, ev := range tc.seen() {
		if ev.Receipt != nil && ev.Receipt.ID == id {
			all = append(all, ev.Receipt.Status)
		}
	}
	return all
}

// met returns the connections that a client took as proved, by name.
func (tc *testClient) met(name string) (conns []string) {
	for _, ev := range tc.seen() {
		if ev.Peer != nil && ev.Peer.Name == name && ev.Peer.Person != nil {
			conns = append(conns, ev.Peer.Conn)
		}
	}
	return conns
}
