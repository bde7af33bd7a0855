package client

import (
	"context"
	"errors"
	"maps"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/proto"
)

// runningEngine is an engine at work, with a relay that answers when the test does.
func runningEngine(t *testing.T, change func(*Config)) (*Client, *engine) {
	e, _, _ := stepEngine(t)
	e.cfg.Timeout, e.cfg.Receipts, e.cfg.Again = 30*time.Second, true, backoffMin
	e.cfg.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("nobody is there") }
	e.link.first = backoffMin
	change(e.cfg)
	go e.run()
	t.Cleanup(func() { e.do(context.Background(), func() { e.end(nil) }); e.abort(); e.wg.Wait() })
	return &Client{cfg: *e.cfg, events: e.events, engine: e}, e
}

// nobodyIsThere answers all requests: nobody is connected by any name.
func nobodyIsThere(t *testing.T, e *engine) {
	t.Helper()
	synctest.Wait()
	e.do(t.Context(), func() {
		answers := maps.Clone(e.link.answers)
		if len(answers) == 0 {
			t.Error("nobody was asked for")
		}
		for line := range answers {
			e.link.answered(Inbound{&proto.Header{Type: proto.TypeList, Done: "ok", Answers: &line}, []byte("[]")})
		}
	})
}

// after returns the receipts that come within a time.
func after(c *Client, d time.Duration) (receipts []*ReceiptChange) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	for {
		events, err := c.Next(ctx)
		for _, ev := range events {
			if ev.Receipt != nil {
				receipts = append(receipts, ev.Receipt)
			}
		}
		if err != nil {
			return receipts
		}
	}
}

// TestPatience: a script's message waits for WaitPeer for somebody who is absent, no shorter and no
// longer, and the time without a relay does not count.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, e := runningEngine(t, func(cfg *Config) { cfg.WaitPeer, cfg.AcceptNew = 20*time.Second, true })
		sent := make(chan error, 1)
		go func() { _, err := c.Send(t.Context(), []string{"nobody"}, "hello"); sent <- err }()
		nobodyIsThere(t, e)
		begin := time.Now()
		if err := <-sent; err != nil || time.Since(begin) > 0 {
			t.Fatalf("Send took %v: %v", time.Since(begin), err)
		}
		e.do(t.Context(), func() { e.lost(nil) })
		if got := after(c, 25*time.Second); len(got) != 1 || got[0].Status != history.StatusPending || !strings.Contains(got[0].Reason, "nobody") {
			t.Fatalf("without a relay: %+v", got)
		}
		e.do(t.Context(), func() { e.begin(newSession(noConn{}, "00000000000000c0", new(crypto.Hop), nil)) })
		nobodyIsThere(t, e)
		if got := after(c, 19*time.Second); len(got) != 0 {
			t.Errorf("too early: %+v", got[0])
		}
		if got := after(c, 2*time.Second); len(got) != 1 || got[0].Status != history.StatusFailed {
			t.Errorf("in the end: %+v", got)
		}
	})
}

// TestPromptIsPatient: a prompt's message waits without end, and it is told once that nobody is there.
func TestPromptIsPatient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, e := runningEngine(t, func(cfg *Config) { cfg.Persistent = true })
		if _, err := c.Send(t.Context(), []string{"nobody"}, "hello"); err != nil {
			t.Fatal(err)
		}
		nobodyIsThere(t, e)
		got := after(c, 24*time.Hour)
		if len(got) != 2 || got[0].Status != history.StatusPending || got[0].Reason != "" || got[1].Status != history.StatusPending ||
			got[1].Reason != "nobody by the name of nobody is connected" {
			t.Errorf("%+v", got)
		}
	})
}

// TestRefusedByTheRelay: every refusal by the relay, and of it, ends a command. A prompt stays and
// tells each once, except where nobody can help.
func TestRefusedByTheRelay(t *testing.T) {
	for code, is := range fail.Codes {
		if is.Exit != fail.ExitRefused {
			continue
		}
		for _, persistent := range []bool{false, true} {
			e, _, _ := stepEngine(t)
			e.cfg.Persistent = persistent
			e.lost(nil)
			refusal := fail.Errorf(code, "no")
			for range 2 {
				e.retried(nil, e.cfg.Credential, refusal)
			}
			ended := code == proto.CertificateRevoked || code == proto.CertificateExpired || !persistent
			told := 0
			events, _ := e.events.take()
			for _, ev := range events {
				if ev.Type == EventError && ev.Err.Code == code && strings.Contains(ev.Err.Message, "no; this client sends nothing meanwhile") {
					told++
				}
			}
			if (e.fatal != nil) != ended || !ended && (told != 1 || e.link.retryAt.IsZero()) {
				t.Errorf("%s, prompt %v: it ended with %v, and told %d times", code, persistent, e.fatal, told)
			}
		}
	}
}

// TestStateDirectoryGone ends a prompt that has lost its relay.
func TestStateDirectoryGone(t *testing.T) {
	e, _, _ := stepEngine(t)
	e.cfg.Persistent = true
	e.cfg.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("nobody is there") }
	attempt := func() {
		e.retry()
		(<-e.cmds)()
	}
	e.lost(nil)
	attempt()
	if e.fatal != nil {
		t.Fatal(e.fatal)
	}
	if err := os.RemoveAll(e.cfg.State.Dir()); err != nil {
		t.Fatal(err)
	}
	attempt()
	if fail.AsError(e.fatal).Code != proto.History {
		t.Errorf("it ended with %v", e.fatal)
	}
}

// TestRefusalThatMayPass: a prompt keeps the messages to somebody whose certificates cannot be relied on
// for the moment. A refusal that stays, and any refusal for a script, fails them at once.
func TestRefusalThatMayPass(t *testing.T) {
	for _, c := range []struct {
		code       proto.Code
		persistent bool
		want       history.Status
	}{
		{proto.RevocationUnknown, true, history.StatusPending},
		{proto.DelegationExpired, true, history.StatusPending},
		{proto.Busy, true, history.StatusPending},
		{proto.Timeout, true, history.StatusPending},
		{proto.CertificateRevoked, true, history.StatusFailed},
		{proto.IdentityChanged, true, history.StatusFailed},
		{proto.RevocationUnknown, false, history.StatusFailed},
	} {
		e, pair, _ := stepEngine(t)
		e.cfg.Persistent, e.cfg.Receipts = c.persistent, true
		pc := e.connFor("00000000000000b0", pair.B.End.Name)
		pc.takes = proto.TakesMessages
		client := &Client{cfg: *e.cfg, events: e.events, engine: e}
		if c.persistent {
			if _, err := client.Send(t.Context(), []string{pc.name}, "hello"); err != nil {
				t.Fatal(err)
			}
			e.takeOutbox()
		} else {
			record := crypto.NewRecord(e.self, []crypto.Recipient{{Name: pc.user.name}}, "hello", e.now())
			if err := e.outbox.add(t.Context(), newOutRecord(record, []*user{pc.user}), true); err != nil {
				t.Fatal(err)
			}
			e.takeOutbox()
		}
		refusal := fail.Errorf(c.code, "no")
		for range 3 {
			e.attemptFailed(pc, refusal)
		}
		events, _ := e.events.take()
		refused := 0
		var last history.Status
		for _, ev := range events {
			if ev.Peer != nil && ev.Peer.What == "refused" {
				refused++
			}
			if ev.Receipt != nil {
				last = ev.Receipt.Status
			}
		}
		if last != c.want || refused > 1 {
			t.Errorf("%s, prompt %v: the message is %s, want %s; the refusal is told %d times", c.code, c.persistent, last, c.want, refused)
		}
	}
}

// TestWhatComesBackCounts: records of a lost connection that nobody has got are PENDING again, and
// leave so much less room for new ones.
func TestWhatComesBackCounts(t *testing.T) {
	e, pair, _ := stepEngine(t)
	e.cfg.Persistent = true
	client := &Client{cfg: *e.cfg, events: e.events, engine: e}
	pc := e.connFor("00000000000000b0", pair.B.End.Name)
	pc.takes = proto.TakesMessages
	text := strings.Repeat("x", maxQueuedBytes/16)
	fill := func() (n int) {
		for ; n < 100; n++ {
			if _, err := client.Send(t.Context(), []string{pc.name}, text); err != nil {
				return n
			}
		}
		return n
	}
	first := fill()
	e.takeOutbox()
	for _, d := range pc.out.move(len(pc.out.queue)) { // as sendBatch does
		d.r.out.held = false
		e.outbox.released(1, d.r.out.size)
		e.reached(d.r, history.StatusSent, pc.id)
	}
	if first == 0 || first == 100 || e.outbox.bytes != 0 {
		t.Fatalf("%d messages fill it, and %d bytes are left", first, e.outbox.bytes)
	}
	pc.out.restart()
	e.dropConn(pc.id, "a test")
	if more := fill(); more != 0 {
		t.Errorf("%d more messages are taken", more)
	}
	e.failUser(pc.user, fail.Errorf(proto.CertificateRevoked, "no"))
	if again := fill(); again != first {
		t.Errorf("with all given up, %d messages are taken, want %d", again, first)
	}
}
