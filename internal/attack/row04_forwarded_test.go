package attack

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// Row 4: the connect handshake at another relay than the one it was for.

// wireTap stands before a relay, keeps the lines of every connection and changes them through edit,
// if set.
type wireTap struct {
	t    testing.TB
	addr string
	edit func(up bool, n int, line []byte) []byte // n counts from 1 in each direction

	mu    sync.Mutex
	cond  *sync.Cond
	up    [][]byte // the clients' lines, without newlines
	open  int      // clients that are still connected
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

// lines waits until all clients have left and returns their lines.
func (tap *wireTap) lines() [][]byte {
	tap.mu.Lock()
	defer tap.mu.Unlock()
	for tap.open > 0 {
		tap.cond.Wait()
	}
	return tap.up
}

// listedAt returns the names on a relay's list, as a newcomer sees it.
func listedAt(t *testing.T, town *localTown, addr string) string {
	t.Helper()
	witness := town.evilPeer(addr, "witness", town.credential("witness"))
	defer witness.Close()
	list := witness.List("")
	witness.Say(&proto.Header{Type: proto.TypeDisconnect}, nil)
	witness.WantClosed() // the next list does not have it
	return list
}

// refusedDial dials and checks the error's code and exit status.
func refusedDial(t *testing.T, what string, cfg client.Config, code proto.Code, exit int) {
	t.Helper()
	c, err := client.Dial(context.Background(), cfg)
	for err != nil && fail.AsError(err).Code == proto.Busy { // RSA keys are made in the background
		c, err = client.Dial(context.Background(), cfg)
	}
	if err == nil {
		c.Close(context.Background())
		t.Fatalf("%s: it connects", what)
	}
	if e := fail.AsError(err); e.Code != code || fail.ExitStatus(err) != exit || e.Advice() == "" {
		t.Errorf("%s: %s %v, exit status %d, advice %q; want %s and %d", what, e.Code, e, fail.ExitStatus(err), e.Advice(), code, exit)
	}
}

// TestAttack04Forwarded: an evil relay, which Alice trusts, tries to be Alice at an honest one.
func TestAttack04Forwarded(t *testing.T) {
	town := newTown(t, "alice", "witness")
	evil, err := trust.GenerateKey(trust.KeyEd25519)
	if err != nil {
		t.Fatal(err)
	}
	spki := evil.Public().SPKI()

	// It presents the honest relay's KEM key as its own, and passes on the sealed part.
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
			return proto.MustMarshal(&p2)
		}
		return line
	})
	cfg := town.config("alice", "state-alice")
	cfg.Relay, cfg.Fingerprint = tap.addr, trust.Fingerprint(spki)
	refusedDial(t, "phase 3 for another relay's key", cfg, proto.DecryptFailed, 8)
	if n := len(tap.lines()); n != 2 {
		t.Errorf("alice sent %d lines, want 2", n)
	}

	// It opens the part sealed to itself and seals that anew for the honest one.
	relay := wire.NewEvilRelay(t)
	cfg.Relay, cfg.Fingerprint = relay.Ln.Addr().String(), ""
	alice := town.dial(cfg)
	var stolen crypto.Hello
	relay.Do(func() { stolen = relay.Named("alice").Hello })
	plan := &wire.HandshakePlan{Cred: &wire.Cred{Key: town.credential("alice").Key, Bundle: stolen.Bundle},
		Takes: stolen.Takes, Hello: func(h *crypto.Hello) { *h = stolen }}
	conn, err := net.Dial("tcp", town.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := wire.Handshake(t, conn, plan); err == nil || fail.AsError(err).Code != proto.SignatureInvalid {
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

// TestAttack04Replayed replays Alice's own lines, to their relay and to another one.
func TestAttack04Replayed(t *testing.T) {
	town, other := newTown(t, "alice", "witness"), newTown(t, "witness")
	tap := newWireTap(t, town.addr, nil)
	alice := town.client("alice", func(cfg *client.Config) { cfg.Relay = tap.addr })
	if _, err := alice.List(context.Background()); err != nil {
		t.Fatal(err)
	}
	alice.leave()
	recorded := tap.lines()
	if len(recorded) < 4 {
		t.Fatalf("alice sent %d lines", len(recorded))
	}
	for name, at := range map[string]*localTown{"at the same relay": town, "at another relay": other} {
		conn, err := net.Dial("tcp", at.addr)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(wire.Timeout))
		conn.Write(append(bytes.Join(recorded, []byte("\n")), '\n'))
		answer := bufio.NewReader(conn)
		if line2, err := answer.ReadBytes('\n'); err != nil || !bytes.Contains(line2, []byte(`"phase":2`)) {
			t.Errorf("%s: phase 1 again gives %.100q, %v", name, line2, err)
		}
		var told proto.Error
		line, err := answer.ReadBytes('\n')
		if perr := proto.ReadConnect(bytes.TrimSuffix(line, []byte("\n")), 4, &told); err != nil ||
			fail.AsError(perr).Code != proto.DecryptFailed {
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
