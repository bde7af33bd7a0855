package chatsecure

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"chatsecure/canon"
	"chatsecure/crypto"
	"chatsecure/proto"
)

// Rows 22 and 26 against a client: what a peer can make it say, hold and keep
// others from.

// TestAttack26MadeToAnswer has a peer that takes nothing ask for one answer
// after the other. The relay would end the connection of whoever says more than
// its window takes: that must not be the one who is asked.
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
			header := canon.MustMarshal(&crypto.MessageHeader{
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
			relay.do(func() {
				relay.dropAck = func(h *proto.Header) bool { return h.DstID == mallory.id }
				relay.tamper = func(l evilLine) []evilLine {
					if l.to.id != mallory.id {
						return []evilLine{l}
					}
					said++
					bytes += len(l.body)
					return nil
				}
			})
			for range c.asks {
				typ, phase, body := c.answer(mallory, end(bob))
				relay.do(func() {
					h := &proto.Header{Type: typ, Phase: phase, Src: "mallory", SrcID: mallory.id, Dst: "bob", DstID: bob.Conn()}
					relay.write(relay.named("bob"), h, body)
				})
			}
			if _, err := bob.List(context.Background()); err != nil { // he has seen them all
				t.Fatal(err)
			}
			relay.do(func() {
				if said == 0 || said > proto.RelayMessages || bytes > proto.RelayWindow {
					t.Errorf("%d times asked, bob has said %d messages of %d bytes that nobody took", c.asks, said, bytes)
				}
			})
			alice := town.client("alice")
			alice.mustSend("and others reach him", "bob")
			alice.mustSettle(StatusRead)
			n := 0
			for _, ev := range bob.seen() {
				if ev.Peer != nil && ev.Peer.What == "refused" {
					n++
				}
			}
			if n > refusalBurst+20 {
				t.Errorf("bob is told of %d refusals", n)
			}
		})
	}
}

// TestAttack22HalfOpenPeers: one person who begins conversations over many
// connections and ends none keeps nobody else from it.
func TestAttack22HalfOpenPeers(t *testing.T) {
	town := newTown(t, "alice", "bob", "mallory")
	bob := town.client("bob")
	cred := town.credential("mallory")
	for range maxHalfOpen + 1 {
		m := town.evilPeer(town.addr, "mallory", cred)
		m.offer(end(bob))
		m.skipTo(proto.TypeClientConnect)
	}
	halfOpen := 0
	bob.engine.do(context.Background(), func() {
		for _, pc := range bob.engine.conns {
			if pc.resp != nil {
				halfOpen++
			}
		}
	})
	if halfOpen == 0 || halfOpen > maxHalfOpen {
		t.Errorf("%d half-open conversations", halfOpen)
	}
	alice := town.client("alice", oneTry)
	alice.mustSend("hello", "bob")
	alice.mustSettle(StatusRead)
}

// TestAttack22HalfOpenNames: nor does one person who does so under all the names
// that one may have. Who has most is told by the identity that was proved.
func TestAttack22HalfOpenNames(t *testing.T) {
	town := newTown(t, "alice", "bob", "mallory")
	bob := town.client("bob", func(cfg *ClientConfig) { cfg.Ciphers = []string{crypto.SuiteMLKEM} })
	halfOpen := func() (n int) {
		bob.engine.do(context.Background(), func() {
			for _, pc := range bob.engine.conns {
				if pc.resp != nil {
					pc.deadline = time.Now().Add(time.Hour) // however slow the machine is
					n++
				}
			}
		})
		return n
	}
	alice := town.evilPeer(town.addr, "alice", town.credential("alice"))
	i := alice.offer(end(bob))
	p2 := alice.skipTo(proto.TypeClientConnect).body
	for n := range registryNamesPerIdentity {
		halfOpen()
		name := fmt.Sprintf("mallory%d", n)
		m := town.evilPeer(town.addr, name, town.credentialAs("mallory", name, time.Now()))
		m.offer(end(bob))
		m.skipTo(proto.TypeClientConnect)
	}
	if n := halfOpen(); n != maxHalfOpen {
		t.Errorf("%d half-open conversations, want %d", n, maxHalfOpen)
	}
	// What is answered with a retry is not half-open, and takes nobody's place.
	last := town.evilPeer(town.addr, "mallory0", town.credentialAs("mallory", "mallory0", time.Now()))
	last.local.Suites = []string{crypto.SuiteMLKEM, crypto.SuiteRSA256}
	_, p1, err := crypto.Initiate(last.local, last.me(), end(bob))
	if err != nil {
		t.Fatal(err)
	}
	p1, _ = phaseParts(t, p1)
	p1 = swapped(t, p1, fmt.Appendf(nil, `["%s","%s"],"cipher":"%[1]s"`, crypto.SuiteMLKEM, crypto.SuiteRSA256),
		fmt.Appendf(nil, `["%s","%s"],"cipher":"%[1]s"`, crypto.SuiteRSA256, crypto.SuiteMLKEM))
	last.phase(end(bob), 1, phaseBody(p1, last.local.Key.Sign(evilTuple("cc-1", p1))))
	if typ := crypto.PeekPhase(last.skipTo(proto.TypeClientConnect).body); typ != "retry" {
		t.Errorf("a p1 for another suite is answered with %q", typ)
	}
	if n := halfOpen(); n != maxHalfOpen {
		t.Errorf("%d half-open conversations after a retry, want %d", n, maxHalfOpen)
	}
	bob.engine.do(context.Background(), func() {
		if pc := bob.engine.conns[alice.id]; pc == nil || pc.resp == nil {
			t.Error("Alice's has given way")
		}
	})
	if t.Failed() {
		return
	}
	alice.conn.SetDeadline(time.Now().Add(time.Minute))
	p3, conv, err := i.Phase2(p2, alice.trusts("bob"))
	if err != nil {
		t.Fatal(err)
	}
	alice.conv = conv
	alice.phase(end(bob), 3, p3)
	alice.take(alice.skipTo(proto.TypeCommAck).body)
}

// TestAttack26SmallTexts: what a client holds for a person who looks at nothing
// is bounded in bytes of memory, also where the texts have none.
func TestAttack26SmallTexts(t *testing.T) {
	town := newTown(t, "alice", "bob")
	alice := town.client("alice")
	cfg := town.config("bob", "state-bob")
	bob, err := Dial(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer bob.Close(context.Background())
	const lines = 2*maxUnackedRecords + 2*maxWaiting/eventCost
	go func() { // it waits for the window in the end
		for range lines {
			if _, err := alice.Send(t.Context(), []string{"bob"}, ""); err != nil {
				return
			}
		}
	}()
	// Everything that bob takes without a look he has taken when his receipts
	// stand still while Alice's window is full.
	delivered := func() (n, open int) {
		alice.engine.do(context.Background(), func() {
			for _, u := range alice.engine.users {
				n, open = u.counts.delivered, u.counts.total-u.counts.delivered
			}
		})
		return n, open
	}
	deadline := time.Now().Add(time.Minute)
	for {
		n, open := delivered()
		if n > maxWaiting/eventCost+maxUnackedRecords {
			t.Fatalf("%d messages count as delivered to a person who looks at nothing", n)
		}
		if bob.events.full() && open > maxUnackedRecords {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d are delivered, %d are not, and bob's queue is full: %v", n, open, bob.events.full())
		}
		time.Sleep(5 * time.Millisecond)
	}
	if n, _ := delivered(); n == 0 {
		t.Error("nothing was delivered")
	}
}

// TestUnshownIsHeldBack: who takes messages and shows none says DELIVERED of so
// many, and the sender waits at its window. However much there is to send,
// nothing is refused, and it goes on when they are shown.
func TestUnshownIsHeldBack(t *testing.T) {
	town := newTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	bob.mu.Lock()
	bob.hold = true
	bob.mu.Unlock()
	text := strings.Repeat("x", 32<<10)
	const texts = maxUnread/(32<<10) + 200
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
	// standsStill: Bob has all that Alice's window lets through, owes no receipt
	// and has not said DELIVERED of all of it.
	standsStill := func() (still bool) {
		full := false
		alice.engine.do(context.Background(), func() {
			for _, pc := range alice.engine.conns {
				full = pc.unackBytes >= maxUnackedBytes && len(pc.inflight) == 0
			}
		})
		bob.engine.do(context.Background(), func() {
			for _, pc := range bob.engine.conns {
				still = full && pc.conv != nil && bob.engine.receiptAt.IsZero() && pc.conv.ReceivedSeq() > pc.saidN
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
	alice.mustSettle(StatusRead)
	noGap()
	if got := len(bob.texts()); got != texts {
		t.Errorf("%d of %d texts came", got, texts)
	}
}

// TestEventsAreBounded: refusals and the like that nobody takes are counted.
func TestEventsAreBounded(t *testing.T) {
	q := newEventQueue()
	const n = 2 * maxEvents / eventCost
	for i := range n {
		q.add(Event{Type: EventPeer, Peer: &PeerChange{Name: "mallory", What: "refused", Reason: fmt.Sprint(i)}})
	}
	q.add(Event{Type: EventMessage, Message: &Message{Text: "hello"}})
	events, err := q.next(context.Background())
	if err != nil || len(events) > maxEvents/eventCost+3 {
		t.Fatalf("%d of %d events are kept: %v", len(events), n, err)
	}
	kept := len(events) - 2 // but for the message and what is said of the others
	last := events[len(events)-1]
	if want := fmt.Sprintf("%d more reports", n-kept); !strings.HasPrefix(last.Notice, want) {
		t.Errorf("the last event is %+v, want one that says %s", last, want)
	}
	if !strings.Contains(last.Notice, "gaps") { // which are among them
		t.Errorf("the last event says nothing of gaps: %s", last.Notice)
	}
	if events[kept].Message == nil {
		t.Error("the message is lost")
	}
	if q.full() {
		t.Error("the queue is still full")
	}
}

// TestUnshownUsersAreForgotten: a stranger whose message is shown when the last
// connection is gone leaves nothing behind.
func TestUnshownUsersAreForgotten(t *testing.T) {
	town := newTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	bob.mu.Lock()
	bob.hold = true
	bob.mu.Unlock()
	alice.mustSend("hello", "bob")
	m := bob.awaitText("hello")
	alice.leave()
	bob.await("that she has left", func(ev Event) bool { return ev.Peer != nil && ev.Peer.What == proto.Left })
	known := func() (u *user) {
		bob.engine.do(context.Background(), func() { u = bob.engine.users["alice"] })
		return u
	}
	bob.engine.do(context.Background(), func() {
		for i := range maxUsers {
			name := fmt.Sprintf("user%d", i)
			bob.engine.users[name] = &user{name: name}
		}
	})
	if known() == nil {
		t.Fatal("she is forgotten before her message is shown")
	}
	bob.Shown(m)
	bob.engine.do(context.Background(), bob.engine.takeMarks)
	if u := known(); u != nil {
		t.Errorf("she is remembered, with %d bytes waiting", u.waiting)
	}
}

// TestPipeSmallFrames: frames that hardly carry anything do not keep the lines
// that they came in, and those that carry nothing are refused.
func TestPipeSmallFrames(t *testing.T) {
	p := &pipe{e: &engine{cfg: &ClientConfig{}}, user: &user{shown: "bob"}, out: io.Discard}
	p.cond = sync.NewCond(&p.mu)
	if err := p.onStream(frameData, nil); err == nil || err.Code != proto.Malformed {
		t.Errorf("an empty frame: %v", err)
	}
	var want []byte
	for i := range 100_000 {
		body := make([]byte, 700) // a line of one byte
		body[600] = byte(i)
		if i%1000 == 999 {
			body = bytes.Repeat([]byte{byte(i)}, pipeSmall+600)
		}
		frame := body[600:601]
		if len(body) > 700 {
			frame = body[600:]
		}
		want = append(want, frame...)
		if err := p.onStream(frameData, frame); err != nil {
			t.Fatal(err)
		}
	}
	held := 0
	for _, b := range p.queue {
		held += cap(b)
	}
	if held > 2*len(want)+100*2*pipeSmall {
		t.Errorf("%d bytes are held for %d", held, len(want))
	}
	if got := bytes.Join(p.queue, nil); !bytes.Equal(got, want) {
		t.Error("other bytes are written than came")
	}
}

// TestOldAcksSayNothing: the relay's ack of a line of an earlier conversation
// does not make messages of the present one SENT.
func TestOldAcksSayNothing(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	alice, bob := town.client("alice", func(cfg *ClientConfig) { cfg.again = time.Millisecond }), town.client("bob")
	relay.do(func() { relay.dropAck = func(h *proto.Header) bool { return h.DstID == bob.Conn() } })
	alice.mustSend("first", "bob")
	alice.mustSettle(StatusRead)
	var line uint64
	t3 := alice.conversation("bob").T3
	alice.engine.do(context.Background(), func() {
		for _, f := range alice.engine.conns[bob.Conn()].inflight {
			if f.seq == 1 {
				line = f.line
			}
		}
	})
	if line == 0 {
		t.Fatal("the first message is not on its way")
	}
	relay.do(func() {
		relay.write(relay.named("alice"), &proto.Header{Type: proto.TypeError, Src: "bob", SrcID: bob.Conn(), Dst: "alice", DstID: alice.Conn(), Code: proto.NoConversation, Message: "x"}, t3[:])
	})
	alice.awaitGap(1, "does not know the conversation")
	relay.tampering(func(l evilLine) []evilLine {
		if l.header.Type == proto.TypeClientCom {
			return nil
		}
		return []evilLine{l}
	})
	id := alice.mustSend("second", "bob")
	relayTestUntil(t, "another conversation", func() (sent bool) {
		alice.engine.do(context.Background(), func() {
			pc := alice.engine.conns[bob.Conn()]
			sent = pc != nil && pc.conv != nil && pc.conv.T3 != t3 && len(pc.sent) == 1
		})
		return sent
	})
	relay.do(func() {
		relay.write(relay.named("alice"), &proto.Header{Type: proto.TypeAck, DstID: bob.Conn(), Answers: &line}, nil)
	})
	if _, err := alice.List(context.Background()); err != nil { // she has seen it
		t.Fatal(err)
	}
	if s := alice.status(id); s != StatusPending {
		t.Errorf("what the relay has not acked is %s", s)
	}
}

// TestSentIsTheRelaysAck: a message that has left counts as SENT when the relay
// says that it took it, and not before.
func TestSentIsTheRelaysAck(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	alice.mustSend("first", "bob")
	sees(t, alice, bob, "first")
	var held []evilLine
	relay.do(func() {
		relay.dropAck = func(h *proto.Header) bool { return h.DstID == bob.Conn() }
		relay.tamper = func(l evilLine) []evilLine {
			if l.header.Type != proto.TypeClientCom {
				return honest(l)
			}
			held = append(held, l)
			return nil
		}
	})
	id := alice.mustSend("second", "bob")
	relayTestUntil(t, "the message at the relay", func() (came bool) {
		relay.do(func() { came = len(held) == 1 })
		return came
	})
	if _, err := alice.List(context.Background()); err != nil { // she has seen all that the relay has said
		t.Fatal(err)
	}
	if got := alice.statuses(id); len(got) != 0 {
		t.Errorf("what the relay has not acked was told as %s", got)
	}
	var line uint64
	alice.engine.do(context.Background(), func() {
		for _, f := range alice.engine.conns[bob.Conn()].inflight {
			line = max(line, f.line)
		}
	})
	relay.do(func() {
		relay.write(relay.named("alice"), &proto.Header{Type: proto.TypeAck, DstID: bob.Conn(), Answers: &line}, nil)
	})
	alice.await("SENT", func(ev Event) bool {
		return ev.Receipt != nil && ev.Receipt.ID == id && ev.Receipt.Status == StatusSent
	})
	relay.do(func() {
		relay.tamper = nil
		relay.forward(held[0])
	})
	sees(t, alice, bob, "first", "second")
	if got := alice.statuses(id); got[0] != StatusSent || got[len(got)-1] != StatusRead {
		t.Errorf("the message was told as %s", got)
	}
}
