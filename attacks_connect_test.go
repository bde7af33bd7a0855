package chatsecure

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"chatsecure/canon"
	"chatsecure/crypto"
	"chatsecure/proto"
)

// Rows 4, 5 and 6 between client and relay: the connect handshake at another
// relay than the one it was for, a relay that has another key than before, and
// suites that were changed on the way.

// wireTap stands before a relay and keeps the lines of every connection
// through it; edit, if set, changes them.
type wireTap struct {
	t    testing.TB
	addr string
	edit func(up bool, n int, line []byte) []byte // n counts from 1, in each direction

	mu    sync.Mutex
	cond  *sync.Cond
	up    [][]byte // from clients, without their newlines
	open  int      // clients that may send more
	conns []net.Conn
}

func newWireTap(t testing.TB, relay string, edit func(up bool, n int, line []byte) []byte) *wireTap {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tap := &wireTap{t: t, addr: ln.Addr().String(), edit: edit}
	tap.cond = sync.NewCond(&tap.mu)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", relay)
			if err != nil {
				client.Close()
				continue
			}
			tap.mu.Lock()
			tap.conns = append(tap.conns, client, server)
			tap.open++
			tap.mu.Unlock()
			wg.Go(func() {
				tap.pass(true, client, server)
				tap.mu.Lock()
				tap.open--
				tap.mu.Unlock()
				tap.cond.Broadcast()
			})
			wg.Go(func() { tap.pass(false, server, client) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		tap.mu.Lock()
		for _, c := range tap.conns {
			c.Close()
		}
		tap.mu.Unlock()
		wg.Wait()
	})
	return tap
}

func (tap *wireTap) pass(up bool, from, to net.Conn) {
	defer to.(*net.TCPConn).CloseWrite()
	lines := bufio.NewReader(from)
	for n := 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			io.Copy(to, bytes.NewReader(line))
			return
		}
		line = bytes.TrimSuffix(line, []byte("\n"))
		tap.mu.Lock()
		if up {
			tap.up = append(tap.up, line)
		}
		if tap.edit != nil {
			line = tap.edit(up, n, line)
		}
		tap.mu.Unlock()
		if _, err := to.Write(append(bytes.Clone(line), '\n')); err != nil {
			return
		}
	}
}

// lines returns what clients have sent, all of whom have left: what they sent
// last is among it.
func (tap *wireTap) lines() [][]byte {
	tap.mu.Lock()
	defer tap.mu.Unlock()
	for tap.open > 0 {
		tap.cond.Wait()
	}
	return tap.up
}

// listedAt returns who is connected to a relay, seen by somebody who has just
// come.
func listedAt(t *testing.T, town *testTown, addr string) string {
	t.Helper()
	witness := town.evilPeer(addr, "witness", town.credential("witness"))
	defer witness.close()
	list := witness.list("")
	witness.say(&proto.Header{Type: proto.TypeDisconnect}, nil)
	witness.wantClosed() // it is not on the next list
	return list
}

// refusedDial dials and checks why it fails, and with which exit status.
func refusedDial(t *testing.T, what string, cfg ClientConfig, code proto.Code, exit int) {
	t.Helper()
	c, err := Dial(context.Background(), cfg)
	for err != nil && AsError(err).Code == proto.Busy { // RSA keys are made in the background
		c, err = Dial(context.Background(), cfg)
	}
	if err == nil {
		c.Close(context.Background())
		t.Fatalf("%s: it connects", what)
	}
	if e := AsError(err); e.Code != code || ExitStatus(err) != exit || e.Advice() == "" {
		t.Errorf("%s: %s %v, exit status %d, advice %q; want %s and %d", what, e.Code, e, ExitStatus(err), e.Advice(), code, exit)
	}
}

// TestAttack04Forwarded has an evil relay, which Alice trusts, try to be Alice
// at an honest one.
func TestAttack04Forwarded(t *testing.T) {
	town := newTown(t, "alice", "witness")
	evil, err := crypto.GenerateKey(crypto.KeyEd25519)
	if err != nil {
		t.Fatal(err)
	}
	spki := evil.Public().SPKI()

	// It shows the honest relay's KEM key as its own, and passes on what Alice
	// seals to that.
	var transcript *crypto.Connect
	tap := newWireTap(t, town.addr, func(up bool, n int, line []byte) []byte {
		switch {
		case up && n == 1:
			transcript = crypto.NewConnect(line)
		case !up && n == 1:
			var p2 proto.Connect2
			if err := proto.ReadConnect(line, 2, &p2); err != nil {
				t.Error(err)
			}
			p2.PublicKey, p2.Signature = spki, evil.Sign(transcript.RelaySigns(p2.Cipher, p2.Data, spki))
			return canon.MustMarshal(&p2)
		}
		return line
	})
	cfg := town.config("alice", "state-alice")
	cfg.Relay, cfg.Fingerprint = tap.addr, crypto.Fingerprint(spki)
	refusedDial(t, "phase 3 for another relay's key", cfg, proto.DecryptFailed, 8)
	if n := len(tap.lines()); n != 2 {
		t.Errorf("alice sent %d lines, want 2", n)
	}

	// It opens what is for itself, and seals that anew to the honest one.
	relay := newEvilRelay(t)
	cfg.Relay, cfg.Fingerprint = relay.ln.Addr().String(), ""
	alice := town.dial(cfg)
	var stolen hello
	relay.do(func() { stolen = relay.named("alice").hello })
	plan := &relayTestHandshakePlan{cred: &relayTestCred{town.credential("alice").Key, stolen.Bundle}, takes: stolen.Takes, hello: func(h *hello) { *h = stolen }}
	conn, err := net.Dial("tcp", town.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := relayTestHandshake(t, conn, plan); err == nil || AsError(err).Code != proto.SignatureInvalid {
		t.Errorf("Alice's hello from another relay: %v", err)
	}
	if got := listedAt(t, town, town.addr); got != "witness messages" {
		t.Errorf("the honest relay lists %q", got)
	}
	alice.leave()
	town.client("alice")
	if got := listedAt(t, town, town.addr); got != "alice messages,witness messages" {
		t.Errorf("with Alice herself the honest relay lists %q", got)
	}
}

// TestAttack04Replayed plays Alice's own lines again, at the relay that they
// were for and at another one.
func TestAttack04Replayed(t *testing.T) {
	town, other := newTown(t, "alice", "witness"), newTown(t, "witness")
	tap := newWireTap(t, town.addr, nil)
	alice := town.client("alice", func(cfg *ClientConfig) { cfg.Relay = tap.addr })
	if _, err := alice.List(context.Background()); err != nil {
		t.Fatal(err)
	}
	alice.leave()
	recorded := tap.lines()
	if len(recorded) < 4 {
		t.Fatalf("alice sent %d lines", len(recorded))
	}
	for name, at := range map[string]*testTown{"at the same relay": town, "at another relay": other} {
		conn, err := net.Dial("tcp", at.addr)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(relayTestTimeout))
		conn.Write(append(bytes.Join(recorded, []byte("\n")), '\n'))
		answer := bufio.NewReader(conn)
		if line2, err := answer.ReadBytes('\n'); err != nil || !bytes.Contains(line2, []byte(`"phase":2`)) {
			t.Errorf("%s: phase 1 again gives %.100q, %v", name, line2, err)
		}
		var told proto.Error
		line, err := answer.ReadBytes('\n')
		if perr := proto.ReadConnect(bytes.TrimSuffix(line, []byte("\n")), 4, &told); err != nil || AsError(perr).Code != proto.DecryptFailed {
			t.Errorf("%s: phase 3 again gives %.100q, %v", name, line, err)
		}
		if rest, err := answer.ReadBytes('\n'); err == nil {
			t.Errorf("%s: and then comes %.100q", name, rest)
		}
		conn.Close()
		if got := listedAt(t, at, at.addr); got != "witness messages" {
			t.Errorf("%s: it lists %q", name, got)
		}
	}
}

// TestAttack05RelayChanged puts another relay in the place of the known one: a
// client that comes back to it ends, a new one does not begin, and neither
// tells it who it is.
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
	alice.await("the loss", func(ev Event) bool { return ev.Type == EventLost })
	id := alice.mustSend("while it is away", "bob")
	town.startRelay()
	for _, tc := range []*testClient{alice, bob} {
		if e := tc.awaitEnd(); e.Code != proto.RelayChanged || ExitStatus(e) != 4 || !strings.Contains(e.Advice(), "client trust accept "+town.addr) {
			t.Errorf("%s ends with %s %v, exit status %d, advice %q", tc.Name(), e.Code, e, ExitStatus(e), e.Advice())
		}
		if fp, ok := tc.state.KnownRelay(town.addr); !ok || fp != known {
			t.Errorf("%s now knows the relay as %s", tc.Name(), fp)
		}
	}
	if out := alice.settle(StatusDelivered); out.ExitStatus() != 4 {
		t.Errorf("what was not sent: %v, exit status %d", out.Names, out.ExitStatus())
	}
	if s := alice.await("the failure", func(ev Event) bool {
		return ev.Receipt != nil && ev.Receipt.ID == id && ev.Receipt.Status == StatusFailed
	}); s.Receipt.Reason == "" {
		t.Error("a message failed without a reason")
	}
	if got := listedAt(t, town, town.addr); got != "witness messages" {
		t.Errorf("the new relay lists %q", got)
	}

	// -accept-new is for an unknown one. A pinned one is the same; and all that
	// leaves is phase 1, which names nobody.
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
	for _, r := range cfg.State.KnownRelays() {
		if r.Addr == town.addr && (r.Fingerprint != known || r.Offered == "" || r.Offered == known) {
			t.Errorf("known is %+v", r)
		}
	}

	// The real one is back.
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

// TestAttack05RelayUnknown dials a relay that nobody has accepted, without
// anybody to ask and with somebody who says no: all that leaves is phase 1,
// which names nobody, and nothing is remembered.
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

// relayAsker answers about a relay as asked says.
type relayAsker struct {
	testAsker
	asked func() bool
}

func (a *relayAsker) ConfirmRelay(context.Context, string, string) (bool, error) {
	a.times++
	return a.asked(), nil
}

// awaitEnd waits until the client has ended by itself and returns why.
func (tc *testClient) awaitEnd() *Error {
	tc.t.Helper()
	select {
	case <-tc.engine.ended:
	case <-time.After(relayTestTimeout):
		tc.t.Fatalf("%s does not end", tc.Name())
	}
	tc.mu.Lock()
	defer tc.mu.Unlock()
	for tc.end == nil {
		tc.cond.Wait()
	}
	return AsError(tc.end)
}

// TestAttack06Connect changes the suites between client and relay.
func TestAttack06Connect(t *testing.T) {
	best, worst := crypto.SuiteMLKEM, crypto.SuiteRSA128
	town := newTown(t, "alice")
	all := strings.Join(crypto.SuiteNames(), `","`)
	for _, c := range []struct {
		name     string
		up       bool
		old, new string
		code     proto.Code
		exit     int
	}{
		{"stripped", true, `["` + all + `"]`, `["` + worst + `"]`, proto.SignatureInvalid, 8},
		{"reordered", true, `["` + all + `"]`, `["` + worst + `","` + best + `"]`, proto.SignatureInvalid, 8},
		{"one less", true, `["` + all + `"]`, `["` + best + `","` + worst + `"]`, proto.SignatureInvalid, 8},
		{"none that is known", true, `["` + all + `"]`, `["NULL"]`, proto.NoCommonSuite, 4},
		{"none", true, `["` + all + `"]`, `[]`, proto.Malformed, 1},
		{"another answered", false, `"` + best + `"`, `"` + worst + `"`, proto.SignatureInvalid, 8},
		{"an unknown one answered", false, `"` + best + `"`, `"NULL"`, proto.NoCommonSuite, 4},
	} {
		tap := newWireTap(t, town.addr, func(up bool, n int, line []byte) []byte {
			if up == c.up && n == 1 {
				return swapped(t, line, []byte(c.old), []byte(c.new))
			}
			return line
		})
		cfg := town.config("alice", "state-alice")
		cfg.Relay = tap.addr
		refusedDial(t, "suites "+c.name, cfg, c.code, c.exit)
		for _, line := range tap.lines() {
			if !bytes.HasPrefix(line, []byte(`{"type":"connect","phase":1`)) {
				t.Errorf("suites %s: alice sent %.60q", c.name, line)
			}
		}
		if _, ok := cfg.State.KnownRelay(tap.addr); ok {
			t.Errorf("suites %s: the relay is known now", c.name)
		}
	}
	// A relay cannot choose what is not allowed here, be it a good suite.
	relay := newEvilRelay(t)
	tap := newWireTap(t, relay.ln.Addr().String(), func(up bool, n int, line []byte) []byte {
		if up && n == 1 {
			return swapped(t, line, []byte(`["`+best+`"]`), []byte(`["`+worst+`"]`))
		}
		return line
	})
	cfg := town.config("alice", "state-alice")
	cfg.Relay, cfg.Ciphers = tap.addr, []string{best}
	refusedDial(t, "a suite that was not offered", cfg, proto.NoCommonSuite, 4)
	if got := town.client("alice").Suite(); got != best {
		t.Errorf("alice is connected under %s", got)
	}
}
