package attack

import (
	"context"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/client"
	"chatsecure/internal/history"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// Row 26 against a client: a peer wants to make it answer, keep memory, or shut others out.

// TestAttack26MadeToAnswer: a peer that reads nothing asks for one answer after the other. The
// relay ends a connection that exceeds its window; that must not be the answering client's.
func TestAttack26MadeToAnswer(t *testing.T) {
	for _, c := range []struct {
		name   string
		asks   int
		answer func(p *evilPeer, to crypto.End) (typ string, phase int, body []byte)
	}{
		{"phases 1 that are none", 3 * proto.RelayMessages, func(*evilPeer, crypto.End) (string, int, []byte) {
			return proto.TypeClientConnect, 1, []byte(`{"type":"p1"`)
		}},
		{"phases 1 as they should be", 200, func(p *evilPeer, to crypto.End) (string, int, []byte) {
			_, p1, err := crypto.Initiate(p.local, p.me(), to)
			if err != nil {
				t.Fatal(err)
			}
			return proto.TypeClientConnect, 1, p1
		}},
		{"messages of no conversation", 3 * proto.RelayMessages, func(*evilPeer, crypto.End) (string, int, []byte) {
			var none [32]byte
			header := proto.MustMarshal(&crypto.MessageHeader{
				Conversation: none[:], Direction: crypto.DirectionAB, Kind: crypto.KindPipe,
				Random: none[:], SrcBundle: none[:], DstBundle: none[:],
			})
			return proto.TypeClientCom, 0, append(header, "\n\n"...)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			town, relay := evilTown(t, "alice", "bob", "mallory")
			bob := town.client("bob")
			mallory := town.evilPeer(town.addr, "mallory", town.credential("mallory"))
			said, bytes := 0, 0
			relay.Do(func() {
				relay.DropAck = func(h *proto.Header) bool { return h.DstID == mallory.ID }
				relay.Tamper = func(l wire.EvilLine) []wire.EvilLine {
					if l.To.ID != mallory.ID {
						return []wire.EvilLine{l}
					}
					said++
					bytes += len(l.Body)
					return nil
				}
			})
			for range c.asks {
				typ, phase, body := c.answer(mallory, end(bob))
				relay.Do(func() {
					h := &proto.Header{Type: typ, Phase: phase, Src: "mallory", SrcID: mallory.ID, Dst: "bob", DstID: bob.Conn()}
					relay.Write(relay.Named("bob"), h, body)
				})
			}
			if _, err := bob.List(context.Background()); err != nil { // he has seen them all
				t.Fatal(err)
			}
			relay.Do(func() {
				if said == 0 || said > proto.RelayMessages || bytes > proto.RelayWindow {
					t.Errorf("%d times asked, bob has said %d messages of %d bytes that nobody took", c.asks, said, bytes)
				}
			})
			alice := town.client("alice")
			alice.mustSend("and others reach him", "bob")
			alice.mustSettle(history.StatusRead)
			n := 0
			for _, ev := range bob.seen() {
				if ev.Peer != nil && ev.Peer.What == "refused" {
					n++
				}
			}
			if n > client.RefusalBurst+20 {
				t.Errorf("bob is told of %d refusals", n)
			}
		})
	}
}

// TestAttack26SmallTexts: the memory that a client keeps for an idle user is bounded in bytes, even
// for empty texts.
func TestAttack26SmallTexts(t *testing.T) {
	town := newTown(t, "alice", "bob")
	alice := town.client("alice")
	cfg := town.config("bob", "state-bob")
	bob, err := client.Dial(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer bob.Close(context.Background())
	const lines = 2*client.MaxUnackedRecords + 2*client.MaxWaiting/client.EventCost
	go func() { // it ends up waiting for the window
		for range lines {
			if _, err := alice.Send(t.Context(), []string{"bob"}, ""); err != nil {
				return
			}
		}
	}()
	full := func() (is bool) {
		bob.Inside().Look(func(s client.Snapshot) { is = s.EventsFull })
		return is
	}
	// Bob has received all that he takes unseen once his receipts stand still and Alice's window is
	// full.
	delivered := func() (n, open int) {
		alice.Inside().Look(func(s client.Snapshot) {
			for _, u := range s.Users {
				n, open = u.Delivered, u.Total-u.Delivered
			}
		})
		return n, open
	}
	deadline := time.Now().Add(time.Minute)
	for {
		n, open := delivered()
		if n > client.MaxWaiting/client.EventCost+client.MaxUnackedRecords {
			t.Fatalf("%d messages count as delivered to a person who looks at nothing", n)
		}
		if full() && open > client.MaxUnackedRecords {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d are delivered, %d are not, and bob's queue is full: %v", n, open, full())
		}
		time.Sleep(5 * time.Millisecond)
	}
	if n, _ := delivered(); n == 0 {
		t.Error("nothing was delivered")
	}
}

// TestUnshownIsHeldBack: a client that shows nothing says DELIVERED of a bounded amount, and the
// sender waits at its window. Nothing is refused, however much there is to send, and showing lets
// it go on.
func TestUnshownIsHeldBack(t *testing.T) {
	town := newTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	bob.mu.Lock()
	bob.hold = true
	bob.mu.Unlock()
	text := strings.Repeat("x", 32<<10)
	const texts = client.MaxUnread/(32<<10) + 200
	sent := make(chan error, 1)
	go func() { // it waits for the window
		for range texts {
			if _, err := alice.Send(context.Background(), []string{"bob"}, text); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	noGap := func() {
		t.Helper()
		for _, tc := range []*testClient{alice, bob} {
			for _, ev := range tc.seen() {
				if ev.Gap != nil {
					t.Fatalf("%s was told %+v", tc.Name(), *ev.Gap)
				}
			}
		}
	}
	// standsStill: Bob has all that Alice's window lets through, owes no receipt, and has not said
	// DELIVERED of all.
	standsStill := func() (still bool) {
		full := false
		alice.Inside().Look(func(s client.Snapshot) {
			for _, pc := range s.Conns {
				full = pc.UnackBytes >= client.MaxUnackedBytes && len(pc.Lines) == 0
			}
		})
		bob.Inside().Look(func(s client.Snapshot) {
			for _, pc := range s.Conns {
				still = full && pc.Conversation != nil && !s.OwesReceipts && pc.Conversation.ReceivedSeq() > pc.SaidDelivered
			}
		})
		return still
	}
	for deadline := time.Now().Add(time.Minute); !standsStill(); time.Sleep(20 * time.Millisecond) {
		if noGap(); time.Now().After(deadline) {
			t.Fatal("the sender does not come to wait")
		}
	}
	bob.mu.Lock()
	bob.hold = false
	for _, ev := range bob.events {
		if ev.Message != nil {
			bob.Shown(ev.Message)
		}
	}
	bob.mu.Unlock()
	select {
	case err := <-sent:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(time.Minute):
		t.Fatalf("only %d of %d texts came", len(bob.texts()), texts)
	}
	alice.mustSettle(history.StatusRead)
	noGap()
	if got := len(bob.texts()); got != texts {
		t.Errorf("%d of %d texts came", got, texts)
	}
}

// TestUnshownUsersAreForgotten: of a stranger only the message is left after the last of their
// connections has gone, and nothing once it is READ.
func TestUnshownUsersAreForgotten(t *testing.T) {
	town := newTown(t, "alice", "bob")
	alice := town.client("alice")
	bob := town.client("bob", func(cfg *client.Config) { cfg.AcceptNew, cfg.Fingerprint = false, alice.Fingerprint() })
	alice.mustSend("hello", "bob")
	bob.awaitText("hello")
	look := func() (s client.Snapshot) {
		bob.Inside().Look(func(now client.Snapshot) { s = now })
		return s
	}
	bob.Inside().Meet(client.MaxUsers)
	alice.leave()
	bob.await("that she has left", func(ev client.Event) bool { return ev.Peer != nil && ev.Peer.What == proto.Left })
	s := look()
	if _, ok := s.Users["alice"]; ok {
		t.Error("she is remembered")
	}
	if s.Waiting == 0 {
		t.Error("the message of somebody who is not accepted is READ")
	}
	bob.accept(alice)
	wire.Until(t, "her message READ", func() bool { return look().Waiting == 0 })
}

// TestOldAcksSayNothing: the relay's ack of an earlier conversation's line makes no message of the
// present one SENT.
func TestOldAcksSayNothing(t *testing.T) {
	town, r := evilTown(t, "alice", "bob")
	alice, bob := town.client("alice", func(cfg *client.Config) { cfg.Again = time.Millisecond }), town.client("bob")
	r.Do(func() { r.DropAck = func(h *proto.Header) bool { return h.DstID == bob.Conn() } })
	alice.mustSend("first", "bob")
	alice.mustSettle(history.StatusRead)
	var line uint64
	t3 := alice.conversation("bob").T3
	alice.Inside().Look(func(s client.Snapshot) {
		for _, f := range s.Conns[bob.Conn()].Lines {
			if f.LastRecord == 1 {
				line = f.Number
			}
		}
	})
	if line == 0 {
		t.Fatal("the first message is not on its way")
	}
	r.Do(func() {
		r.Write(r.Named("alice"), &proto.Header{Type: proto.TypeError, Src: "bob", SrcID: bob.Conn(),
			Dst: "alice", DstID: alice.Conn(), Code: proto.NoConversation, Message: "x"}, t3[:])
	})
	alice.awaitGap(1, `the other side says: "x"`)
	r.Tampering(func(l wire.EvilLine) []wire.EvilLine {
		if l.Header.Type == proto.TypeClientCom {
			return nil
		}
		return []wire.EvilLine{l}
	})
	id := alice.mustSend("second", "bob")
	wire.Until(t, "another conversation", func() (sent bool) {
		alice.Inside().Look(func(s client.Snapshot) {
			pc := s.Conns[bob.Conn()]
			sent = pc.Conversation != nil && pc.Conversation.T3 != t3 && pc.Unread == 1
		})
		return sent
	})
	r.Do(func() {
		r.Write(r.Named("alice"), &proto.Header{Type: proto.TypeAck, DstID: bob.Conn(), Answers: &line}, nil)
	})
	if _, err := alice.List(context.Background()); err != nil { // she has seen it
		t.Fatal(err)
	}
	if s := alice.status(id); s != history.StatusPending {
		t.Errorf("what the relay has not acked is %s", s)
	}
}

// TestSentIsTheRelaysAck: a message is SENT once the relay acks it, and not before.
func TestSentIsTheRelaysAck(t *testing.T) {
	town, r := evilTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	alice.mustSend("first", "bob")
	sees(t, alice, bob, "first")
	var held []wire.EvilLine
	r.Do(func() {
		r.DropAck = func(h *proto.Header) bool { return h.DstID == bob.Conn() }
		r.Tamper = func(l wire.EvilLine) []wire.EvilLine {
			if l.Header.Type != proto.TypeClientCom {
				return honest(l)
			}
			held = append(held, l)
			return nil
		}
	})
	id := alice.mustSend("second", "bob")
	wire.Until(t, "the message at the relay", func() (came bool) {
		r.Do(func() { came = len(held) == 1 })
		return came
	})
	if _, err := alice.List(context.Background()); err != nil { // she has read all lines of the relay
		t.Fatal(err)
	}
	if got := alice.statuses(id); len(got) != 0 {
		t.Errorf("what the relay has not acked was told as %s", got)
	}
	var line uint64
	alice.Inside().Look(func(s client.Snapshot) {
		for _, f := range s.Conns[bob.Conn()].Lines {
			line = max(line, f.Number)
		}
	})
	r.Do(func() {
		r.Write(r.Named("alice"), &proto.Header{Type: proto.TypeAck, DstID: bob.Conn(), Answers: &line}, nil)
	})
	alice.await("SENT", func(ev client.Event) bool {
		return ev.Receipt != nil && ev.Receipt.ID == id && ev.Receipt.Status == history.StatusSent
	})
	r.Do(func() {
		r.Tamper = nil
		r.Forward(held[0])
	})
	sees(t, alice, bob, "first", "second")
	if got := alice.statuses(id); got[0] != history.StatusSent || got[len(got)-1] != history.StatusRead {
		t.Errorf("the message was told as %s", got)
	}
}
