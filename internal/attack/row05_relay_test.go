package attack

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/internal/state"
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

// TestAttack05PromptStays: a relay with another key takes the place of the known one. A prompt stays,
// says so once, and sends nothing but phase 1, which names nobody. It goes on when the known key is
// back, or the new one accepted. Its messages wait so long.
func TestAttack05PromptStays(t *testing.T) {
	town := newTown(t, "alice", "bob")
	tap := newWireTap(t, town.addr, nil)
	dials := make(chan bool, 1<<20)
	alice := town.client("alice", func(cfg *client.Config) {
		cfg.Persistent, cfg.Relay, cfg.Again = true, tap.addr, 10*time.Millisecond
		cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			dials <- true
			return new(net.Dialer).DialContext(ctx, network, addr)
		}
	})
	known := alice.Fingerprint()
	// replace stops the relay, puts its state away, and starts one with another, or a new, state.
	replace := func(away, with string) {
		t.Helper()
		town.stop()
		dir := filepath.Join(town.dir, "relay")
		if err := os.Rename(dir, dir+away); err != nil {
			t.Fatal(err)
		}
		if with != "" {
			if err := os.Rename(dir+with, dir); err != nil {
				t.Fatal(err)
			}
		}
		town.startRelay()
	}
	count := func(want func(client.Event) bool) (n int) {
		for _, ev := range alice.seen() {
			if want(ev) {
				n++
			}
		}
		return n
	}
	warned := func(ev client.Event) bool { return ev.Type == client.EventError }
	back := func(ev client.Event) bool { return ev.Type == client.EventBack }

	lines := func() [][]byte { // so far
		tap.mu.Lock()
		defer tap.mu.Unlock()
		return slices.Clone(tap.up)
	}
	said := len(lines())
	replace("-old", "")
	warning := alice.await("the warning", warned).Err
	id := alice.mustSend("while it is another", "bob")
	for len(dials) > 0 {
		<-dials
	}
	for range 4 {
		soon(t, "the next attempt", dials)
	}
	attempts := lines()[said:]
	if len(attempts) < 3 {
		t.Errorf("alice sent %d lines", len(attempts))
	}
	for _, line := range attempts {
		if !bytes.HasPrefix(line, []byte(`{"type":"connect","phase":1`)) || bytes.Contains(line, []byte("alice")) {
			t.Errorf("alice sent %.60q", line)
		}
	}
	bob := town.client("bob")
	now := bob.Fingerprint()
	bob.leave()
	if n := count(warned); n != 1 || warning.Code != proto.RelayChanged || !strings.Contains(warning.Message, "known is "+known+", it shows "+now) ||
		!strings.Contains(warning.Message, "sends nothing") || !strings.Contains(warning.Advice(), "client trust accept "+tap.addr+" "+now) {
		t.Errorf("warned %d times: %s %v, advice %q", n, warning.Code, warning, warning.Advice())
	}
	if got := count(back); got != 0 {
		t.Fatalf("alice is back %d times", got)
	}

	replace("-new", "-old")
	alice.await("the known relay", back)
	bob = town.clientIn("bob", "bob-at-old")
	bob.awaitText("while it is another")
	alice.awaitStatus(id, "bob", history.StatusRead)
	bob.leave()

	replace("-old", "-new")
	id = alice.mustSend("for the accepted one", "bob")
	alice.await("a second warning", func(client.Event) bool { return len(slices.DeleteFunc(slices.Clone(alice.events), not(warned))) == 2 })
	other, err := state.Open(alice.state.Dir(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.AcceptRelay(tap.addr, now); err != nil {
		t.Fatal(err)
	}
	alice.await("the accepted relay", func(client.Event) bool { return len(slices.DeleteFunc(slices.Clone(alice.events), not(back))) == 2 })
	if fp := alice.Fingerprint(); fp != now {
		t.Errorf("alice is at %s, want %s", fp, now)
	}
	bob = town.client("bob")
	bob.awaitText("for the accepted one")
	alice.awaitStatus(id, "bob", history.StatusRead)
}

func not(f func(client.Event) bool) func(client.Event) bool {
	return func(ev client.Event) bool { return !f(ev) }
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

// TestAttack05RelayRefuses: a relay that refuses the client is not remembered, whoever has said yes
// to its key. It may be another one than meant, which the hint says.
func TestAttack05RelayRefuses(t *testing.T) {
	town, other := newTown(t, "alice"), newTown(t, "witness")
	fingerprint := other.client("witness").Fingerprint()
	for what, change := range map[string]func(*client.Config){
		"a yes":       func(cfg *client.Config) { cfg.Asker = &relayAsker{asked: func() bool { return true }} },
		"-accept-new": func(cfg *client.Config) { cfg.AcceptNew = true },
		"a pin":       func(cfg *client.Config) { cfg.Fingerprint = fingerprint },
	} {
		cfg := town.config("alice", "state-alice")
		cfg.Relay, cfg.AcceptNew = other.addr, false
		change(&cfg)
		_, err := client.Dial(t.Context(), cfg)
		if e := fail.AsError(err); e == nil || e.Code != proto.CertificateUntrusted || !strings.Contains(e.Advice(), "another relay than you mean") {
			t.Errorf("%s: %+v", what, e)
		}
		if known := cfg.State.KnownRelays(); len(known) != 0 {
			t.Errorf("after %s, known is %+v", what, known)
		}
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
