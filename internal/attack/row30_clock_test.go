package attack

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// Row 30: wrong clocks, and clocks that step.

// TestAttack30Clock sets one clock back to before its card's delegation: the error says which one,
// and nothing leaves until it is right.
func TestAttack30Clock(t *testing.T) {
	town, _ := evilTown(t, "alice", "bob")
	bob := town.client("bob")
	var off atomic.Int64
	clock := func() time.Time { return time.Now().Add(time.Duration(off.Load())) }
	alice := town.client("alice", func(cfg *client.Config) { cfg.Now = clock })
	alice.mustSend("in time", "bob")
	sees(t, alice, bob, "in time")
	off.Store(int64(-30 * time.Minute)) // and backwards
	alice.mustSend("late", "bob")
	ev := alice.await("that a clock is wrong", func(ev client.Event) bool { return ev.Err != nil })
	if !strings.Contains(ev.Err.Message, "this machine's clock") {
		t.Errorf("alice is told %q", ev.Err.Message)
	}
	if got := bob.texts(); !slices.Equal(got, []string{"in time"}) {
		t.Errorf("bob saw %q", got)
	}
	off.Store(0)
	ctx, cancel := context.WithTimeout(context.Background(), wire.Timeout)
	defer cancel()
	want := []string{"in time", "late", "in time again"}
	if out := alice.Wait(ctx, history.StatusRead); len(out.Failed) > 0 { // given up, with an error
		want = slices.Delete(want, 1, 2)
	}
	alice.mustSend("in time again", "bob")
	bob.awaitText("in time again")
	if got := bob.texts(); !slices.Equal(got, want) {
		t.Errorf("with the clock right again bob saw %q, want %q", got, want)
	}
}

// TestAttack30HourFast: the relay refuses a delegation that begins in an hour, and names the clock.
func TestAttack30HourFast(t *testing.T) {
	town := newTown(t, "alice")
	clock := new(testClock)
	clock.set(time.Hour)
	cfg := town.config("alice", "state-alice")
	town.by("alice", clock)(&cfg)
	_, err := client.Dial(context.Background(), cfg)
	if e := fail.AsError(err); e == nil || e.Code != proto.DelegationNotYet ||
		fail.ExitStatus(err) != 4 || !strings.Contains(e.Advice(), "clock") {
		t.Errorf("an hour ahead: %v", err)
	}
	clock.set(0)
	town.by("alice", clock)(&cfg)
	town.dial(cfg)
}

// TestAttack30HourWrong: a client whose clock is an hour late may connect. It accepts nothing and
// nothing of its own is accepted; both sides name the clock. With the clock right again the waiting
// messages arrive, once and in order.
func TestAttack30HourWrong(t *testing.T) {
	town := newTown(t, "alice", "bob")
	clock := new(testClock)
	clock.set(-time.Hour)
	longer := func(cfg *client.Config) { cfg.Timeout = time.Minute }
	alice, bob := town.client("alice", longer), town.client("bob", town.by("bob", clock), longer)
	byTheClock := func(tc *testClient) {
		t.Helper()
		tc.await("that a clock is wrong", func(ev client.Event) bool {
			return ev.Gap != nil && strings.Contains(ev.Gap.Reason, "clock") || ev.Peer != nil && strings.Contains(ev.Peer.Reason, "clock")
		})
	}
	send := func(from *testClient, to, text string) (waits bool) {
		t.Helper()
		_, err := from.Send(context.Background(), []string{to}, text)
		if e := fail.AsError(err); e != nil && (e.Code != proto.DelegationNotYet || !strings.Contains(e.Message, "clock")) {
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
	// Refused messages are tried again after a while.
	wire.Until(t, "alice and bob to agree", func() bool { return send(alice, "bob", "right again") })
	sees(t, alice, bob, "right again")
	bob.mustSend("and back", "alice")
	sees(t, bob, alice, "and back")
}

// TestAttack30StepsBack sets a clock back, within the tolerance, during a conversation: nothing is
// lost, shown twice or out of order, and both histories hold.
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
		if i := slices.IndexFunc(tc.events, func(ev client.Event) bool { return ev.Gap != nil || ev.Type == client.EventLost }); i >= 0 {
			t.Errorf("%s: %s", tc.Name(), describe(tc.events[i:i+1]))
		}
		tc.mu.Unlock()
		tc.leave()
		town.historyHolds(tc.state.HistoryDir())
	}
}
