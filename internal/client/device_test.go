package client

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/history"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// devicesEngine is a prompt whose user has n connections, each with a key of its own.
func devicesEngine(t *testing.T, n int) (e *engine, u *user, c *Client, pair *wire.Pair) {
	e, pair, _ = stepEngine(t)
	e.cfg.Persistent = true
	for k := range n {
		pc := e.connFor(fmt.Sprintf("%016x", 0xb0+k), pair.B.End.Name)
		pc.takes, pc.bundle = proto.TakesMessages, [32]byte{1, byte(k)}
	}
	u = e.userFor(pair.B.End.Name)
	u.accepted = true
	return e, u, &Client{cfg: *e.cfg, events: e.events, engine: e}, pair
}

// TestAwayIsBounded: a user has few awaited devices. What others have got and one waits for is
// bounded, and room for new messages does not depend on it.
func TestAwayIsBounded(t *testing.T) {
	e, u, c, _ := devicesEngine(t, maxAway+5)
	for id := range e.conns {
		e.dropConn(id, "a test")
	}
	if len(u.away) != maxAway {
		t.Errorf("%d devices are awaited, want %d", len(u.away), maxAway)
	}
	u.away = u.away[:1]
	here := e.connFor("00000000000000a0", u.name)
	here.takes = proto.TakesMessages
	text := strings.Repeat("x", maxQueuedBytes/16)
	for most := 0; ; most++ {
		if most > 100 {
			t.Fatal("the device is awaited for ever")
		}
		if _, err := c.Send(t.Context(), []string{u.name}, text); err != nil {
			t.Fatal(err)
		}
		e.takeOutbox()
		for _, d := range here.out.move(len(here.out.queue)) { // as sendBatch does
			d.r.sent = true
			e.releaseIfDone(d.r.out)
		}
		if len(u.away) == 0 {
			break
		}
	}
	e.expire(u, time.Now())
	if len(u.orphans) != 0 || e.outbox.bytes != 0 {
		t.Errorf("%d messages wait, and %d bytes are PENDING", len(u.orphans), e.outbox.bytes)
	}
}

// TestAnotherPersonsDevices: when another person is accepted under a name, nothing waits for a
// device of the former one.
func TestAnotherPersonsDevices(t *testing.T) {
	e, u, _, pair := devicesEngine(t, 1)
	u.identity = [32]byte{1}
	r := newOutRecord(crypto.NewRecord(e.self, []crypto.Recipient{{Name: u.name}}, "not for the next", e.now()), []*user{u}).to[0]
	e.enqueue(r)
	e.reached(r, history.StatusRead, "")
	for id := range e.conns {
		e.dropConn(id, "a test")
	}
	if len(u.orphans) != 1 {
		t.Fatalf("%d messages wait for the former person's device", len(u.orphans))
	}
	pair.Connect()
	if err := e.history.Begin(pair.Ca, pair.A.Local.Bundle); err != nil {
		t.Fatal(err)
	}
	next := e.connFor(pair.B.End.Conn, pair.B.End.Name)
	next.takes = proto.TakesMessages
	e.converse(next, pair.Ca)
	if next.conv == nil || len(next.out.queue) != 0 || len(u.orphans) != 0 {
		t.Errorf("%d messages go to the next person, and %d wait", len(next.out.queue), len(u.orphans))
	}
}
