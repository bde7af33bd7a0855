package client

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"chatsecure/internal/fail"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// TestFinal: a signed refusal ends a running client, and the same one that nobody has signed does not.
func TestFinal(t *testing.T) {
	for _, code := range []proto.Code{proto.CertificateRevoked, proto.NotAllowed, proto.NameTaken, proto.RelayChanged} {
		unsigned := &proto.ClearError{Type: proto.TypeError, Code: code}
		for _, err := range []error{unsigned, fmt.Errorf("phase 2: %w", unsigned), fail.AsError(unsigned)} {
			if final(err) {
				t.Errorf("%s: %v is final", code, err)
			}
		}
		if !final(refusedByRelay(proto.Errorf(code, ""))) {
			t.Errorf("%s of the relay is not final", code)
		}
	}
	if final(nil) || final(proto.Errorf(proto.Busy, "")) {
		t.Error("what passes is final")
	}
}

// TestBackoff: the waits for a relay that was lost double from a second up to
// half a minute, each is drawn between half and all of that, and they begin
// anew once the relay was there.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the clock stands still
		for range 100 {
			l := newLink(backoffMin)
			drawn := make(map[time.Duration]bool)
			for i, most := range []time.Duration{1, 2, 4, 8, 16, 30, 30, 30} {
				most *= time.Second
				l.scheduleRetry()
				wait := time.Until(l.retryAt)
				if wait < most/2 || wait > most {
					t.Fatalf("wait %d is %v, want %v to %v", i+1, wait, most/2, most)
				}
				drawn[wait] = true
			}
			if len(drawn) < 2 {
				t.Fatalf("nothing is left to chance: %v", drawn)
			}
			l.begin(&Session{})
			if l.backoff != backoffMin || !l.retryAt.IsZero() {
				t.Fatalf("with the relay back the next wait is %v", l.backoff)
			}
		}
	})
}

// TestRetryOnceTheRelayIsAccepted: another program accepts the relay's new key, and the next attempt waits no longer.
func TestRetryOnceTheRelayIsAccepted(t *testing.T) {
	dir := t.TempDir()
	st, err := state.Open(dir, "ana")
	if err != nil {
		t.Fatal(err)
	}
	if err := st.SetKnownRelay("localhost:80", strings.Repeat("01", 32)); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	e := &engine{cfg: &Config{State: st}}
	e.link.retryAt, e.link.relays = now.Add(time.Hour), st.RelaysRead()
	if e.retryNow(now) {
		t.Error("nothing has changed, and it tries again")
	}
	other, err := state.Open(dir, "ana")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.AcceptRelay("localhost:80", strings.Repeat("02", 32)); err != nil {
		t.Fatal(err)
	}
	if !e.retryNow(now) {
		t.Error("the relay's key is accepted, and it waits")
	}
}
