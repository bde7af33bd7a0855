package chatsecure

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/proto"
)

// Row 30: clocks that are wrong, and such that step.

// testClock is the right time, and how far it is off.
type testClock struct{ off atomic.Int64 }

func (c *testClock) Now() time.Time        { return time.Now().Add(time.Duration(c.off.Load())) }
func (c *testClock) set(off time.Duration) { c.off.Store(int64(off)) }

// by makes a client go by the clock in all it does.
func (town *testTown) by(name string, clock *testClock) clientOption {
	return func(cfg *ClientConfig) {
		cfg.Now = clock.Now
		cfg.Verifier = town.verifierBy(crypto.PolicyOff, clock.Now)
		cfg.Credential = town.credentialAt(name, clock.Now(), 8*time.Hour)
	}
}

// TestAttack30HourFast: a delegation that begins in an hour is refused by the
// relay, and the clock is named.
func TestAttack30HourFast(t *testing.T) {
	town := newTown(t, "alice")
	clock := new(testClock)
	clock.set(time.Hour)
	cfg := town.config("alice", "state-alice")
	town.by("alice", clock)(&cfg)
	_, err := Dial(context.Background(), cfg)
	if e := AsError(err); e == nil || e.Code != proto.DelegationNotYet || ExitStatus(err) != 4 || !strings.Contains(e.Advice(), "clock") {
		t.Errorf("an hour ahead: %v", err)
	}
	clock.set(0)
	town.by("alice", clock)(&cfg)
	town.dial(cfg)
}

// TestAttack30HourWrong: a client whose clock is an hour late may connect. It
// takes nothing and nothing of it is taken; both sides say that it is the
// clock; with the clock right again what waits arrives, once and in order.
func TestAttack30HourWrong(t *testing.T) {
	town := newTown(t, "alice", "bob")
	clock := new(testClock)
	clock.set(-time.Hour)
	longer := func(cfg *ClientConfig) { cfg.Timeout = time.Minute }
	alice, bob := town.client("alice", longer), town.client("bob", town.by("bob", clock), longer)
	byTheClock := func(tc *testClient) {
		t.Helper()
		tc.await("that a clock is wrong", func(ev Event) bool {
			return ev.Gap != nil && strings.Contains(ev.Gap.Reason, "clock") || ev.Peer != nil && strings.Contains(ev.Peer.Reason, "clock")
		})
	}
	send := func(from *testClient, to, text string) (waits bool) {
		t.Helper()
		_, err := from.Send(context.Background(), []string{to}, text)
		if e := AsError(err); e != nil && (e.Code != proto.DelegationNotYet || !strings.Contains(e.Message, "clock")) {
			t.Errorf("%s to %s: %v", from.Name(), to, err)
		}
		return err == nil
	}
	to, from := send(alice, "bob", "to bob"), send(bob, "alice", "from bob")
	byTheClock(bob)
	if to || from {
		t.Errorf("sent, though the delegations begin in an hour by one of the clocks: %v, %v", to, from)
	}
	if got := slices.Concat(alice.texts(), bob.texts()); len(got) != 0 {
		t.Errorf("shown: %q", got)
	}
	clock.set(0)
	// What was refused is tried again after a while.
	relayTestUntil(t, "alice and bob to agree", func() bool { return send(alice, "bob", "right again") })
	sees(t, alice, bob, "right again")
	bob.mustSend("and back", "alice")
	sees(t, bob, alice, "and back")
}

// TestAttack30StepsBack sets a clock back while two talk: by what clocks may
// be apart, and nothing is lost, shown twice or out of order, and both
// histories hold.
func TestAttack30StepsBack(t *testing.T) {
	town := newTown(t, "alice", "bob")
	clock := new(testClock)
	clock.set(2 * time.Minute)
	alice, bob := town.client("alice", town.by("alice", clock)), town.client("bob")
	var want []string
	for _, off := range []time.Duration{2 * time.Minute, -2 * time.Minute, time.Minute, -4 * time.Minute} {
		clock.set(off)
		text := "at " + off.String()
		want = append(want, text)
		alice.mustSend(text, "bob")
		sees(t, alice, bob, want...)
		bob.mustSend(text, "alice")
		sees(t, bob, alice, want...)
	}
	for _, tc := range []*testClient{alice, bob} {
		tc.mu.Lock()
		if i := slices.IndexFunc(tc.events, func(ev Event) bool { return ev.Gap != nil || ev.Type == EventLost }); i >= 0 {
			t.Errorf("%s: %s", tc.Name(), describe(tc.events[i:i+1]))
		}
		tc.mu.Unlock()
		tc.leave()
		if r := verified(t, tc.state.HistoryDir(), town.verifier()); !r.OK() {
			t.Errorf("%s's history: %v", tc.Name(), r.Findings)
		}
	}
}
