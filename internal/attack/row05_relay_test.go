package attack

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/proto"
)

// Row 5: a relay that has another key than before.

// TestAttack05RelayChanged: another relay takes the place of the known one. A client that
// reconnects ends, a new client does not begin, and neither says who it is.
func TestAttack05RelayChanged(t *testing.T) {
	town := newTown(t, "alice", "bob", "witness")
	alice, bob := town.client("alice"), town.client("bob")
	alice.mustSend("one", "bob")
	sees(t, alice, bob, "one")
	known := alice.Fingerprint()

	state := func(suffix string) string { return filepath.Join(town.dir, "relay"+suffix) }
	town.stop()
	if err := os.Rename(state(""), state("-old")); err != nil {
		t.Fatal(err)
	}
	alice.await("the loss", func(ev client.Event) bool { return ev.Type == client.EventLost })
	id := alice.mustSend("while it is away", "bob")
	town.startRelay()
	for _, tc := range []*testClient{alice, bob} {
		if e := tc.awaitEnd(); e.Code != proto.RelayChanged || fail.ExitStatus(e) != 4 ||
			!strings.Contains(e.Advice(), "client trust accept "+town.addr) {
			t.Errorf("%s ends with %s %v, exit status %d, advice %q", tc.Name(), e.Code, e, fail.ExitStatus(e), e.Advice())
		}
		if fp, ok := tc.state.KnownRelay(town.addr); !ok || fp != known {
			t.Errorf("%s now knows the relay as %s", tc.Name(), fp)
		}
	}
	if out := alice.settle(history.StatusDelivered); out.ExitStatus() != 4 {
		t.Errorf("what was not sent: %v, exit status %d", out.Names, out.ExitStatus())
	}
	if s := alice.await("the failure", func(ev client.Event) bool {
		return ev.Receipt != nil && ev.Receipt.ID == id && ev.Receipt.Status == history.StatusFailed
	}); s.Receipt.Reason == "" {
		t.Error("a message failed without a reason")
	}
	if got := listedAt(t, town, town.addr); got != "witness messages" {
		t.Errorf("the new relay lists %q", got)
	}

	// -accept-new accepts unknown relays only, and a pinned relay is no different. Only phase 1
	// leaves, which names nobody.
	alice.leave()
	bob.leave()
	cfg := town.config("alice", "state-alice")
	refusedDial(t, "a changed relay", cfg, proto.RelayChanged, 4)
	refusedDial(t, "a changed relay again", cfg, proto.RelayChanged, 4)
	tap := newWireTap(t, town.addr, nil)
	cfg.Relay, cfg.Fingerprint = tap.addr, known
	refusedDial(t, "another relay than the pinned one", cfg, proto.RelayChanged, 4)
	if lines := tap.lines(); len(lines) != 1 || bytes.Contains(lines[0], []byte("alice")) {
		t.Errorf("alice sent %d lines", len(lines))
	}
	if fp, _ := cfg.State.KnownRelay(town.addr); fp != known {
		t.Errorf("known is %s", fp)
	}

	// The known relay is back.
	town.stop()
	if err := os.RemoveAll(state("")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(state("-old"), state("")); err != nil {
		t.Fatal(err)
	}
	town.startRelay()
	alice, bob = town.client("alice"), town.client("bob")
	alice.mustSend("two", "bob")
	sees(t, alice, bob, "two")
}

// TestAttack05RelayUnknown dials an unknown relay, with nobody to ask and with somebody who says
// no. Only phase 1 leaves, which names nobody, and nothing is remembered.
func TestAttack05RelayUnknown(t *testing.T) {
	town := newTown(t, "alice", "witness")
	tap := newWireTap(t, town.addr, nil)
	cfg := town.config("alice", "state-alice")
	cfg.Relay, cfg.AcceptNew = tap.addr, false
	onlyPhase1 := func(what string, times int) {
		t.Helper()
		lines := tap.lines()
		if len(lines) != times {
			t.Errorf("%s: alice has sent %d lines, want %d", what, len(lines), times)
		}
		for _, line := range lines {
			if !bytes.HasPrefix(line, []byte(`{"type":"connect","phase":1`)) || bytes.Contains(line, []byte("alice")) {
				t.Errorf("%s: alice sent %.60q", what, line)
			}
		}
		if known := cfg.State.KnownRelays(); len(known) != 0 {
			t.Errorf("%s: known is %+v", what, known)
		}
	}
	refusedDial(t, "nobody to ask", cfg, proto.UnknownRelay, 4)
	onlyPhase1("nobody to ask", 1)
	asker := new(relayAsker)
	cfg.Asker = asker
	asker.asked = func() bool { onlyPhase1("while alice is asked", 2); return false }
	refusedDial(t, "alice says no", cfg, proto.UnknownRelay, 4)
	onlyPhase1("alice says no", 2)
	if got := listedAt(t, town, town.addr); got != "witness messages" {
		t.Errorf("the relay lists %q", got)
	}
	asker.asked = func() bool { onlyPhase1("before alice says yes", 3); return true }
	alice := town.dial(cfg)
	if fp, ok := alice.state.KnownRelay(tap.addr); !ok || fp != alice.Fingerprint() {
		t.Errorf("after a yes, known is %q", fp)
	}
	alice.leave()
	if lines := tap.lines(); asker.times != 2 || len(lines) < 5 {
		t.Errorf("alice was asked %d times, and has sent %d lines", asker.times, len(lines))
	}
}

// relayAsker answers questions about a relay through asked.
type relayAsker struct {
	testAsker
	asked func() bool
}

func (a *relayAsker) ConfirmRelay(context.Context, string, string) (bool, error) {
	a.times++
	return a.asked(), nil
}
