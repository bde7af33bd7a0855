package chatsecure

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure/canon"
	"chatsecure/crypto"
	"chatsecure/proto"
)

// Row 26: the windows of a conversation, against a peer that keeps to none of
// them, and against one that never opens its own.

const (
	pastTheWindow = "more records than the window allows"
	maxOfMessage  = 1024 // records
)

// texts makes records to a name, all with this text.
func (p *evilPeer) texts(n int, name, text string) []*crypto.Record {
	records := make([]*crypto.Record, n)
	for i := range records {
		records[i] = crypto.NewRecord(p.local.Identity, []crypto.Recipient{{Name: name}}, text, time.Now())
	}
	return records
}

// answered waits until everything that was sent has been taken or refused: until
// a message of no conversation is answered. It returns how much is DELIVERED by
// the last receipt that came meanwhile, and which conversation was ended.
func (p *evilPeer) answered(to crypto.End) (delivered uint64, ended []byte) {
	p.t.Helper()
	var none [32]byte
	header := canon.MustMarshal(&crypto.MessageHeader{
		Conversation: none[:], Direction: crypto.DirectionAB, Kind: crypto.KindPipe, Random: none[:], SrcBundle: none[:], DstBundle: none[:],
	})
	p.say(headerTo(proto.TypeClientCom, to), append(header, "\n\n"...))
	for m := p.next(); !bytes.Equal(m.body, none[:]); m = p.next() {
		switch m.Type {
		case proto.TypeCommAck:
			delivered = p.take(m.body).Receipt.Delivered
		case proto.TypeError:
			ended = m.body
		}
	}
	return delivered, ended
}

// waiting is what a client counts for a person whose messages are not READ.
func (tc *testClient) waiting(name string) (n int) {
	tc.engine.do(context.Background(), func() { n = tc.engine.users[name].waiting })
	return n
}

// TestAttack26PastTheWindow has a peer send on after nothing is DELIVERED any
// more, to a client that shows nothing.
func TestAttack26PastTheWindow(t *testing.T) {
	town, _ := evilTown(t, "bob", "mallory")
	cfg := town.config("bob", "state-bob")
	c, err := Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	bob := &testClient{Client: c, t: t, state: cfg.State} // nobody takes its events
	defer bob.leave()
	mallory := town.evilPeer(town.addr, "mallory", town.credential("mallory"))
	mallory.call(end(bob))
	large := strings.Repeat("x", proto.MaxText)
	for range maxWaiting/len(large)/2 + 1 { // bob's queue is full then
		mallory.records(end(bob), mallory.texts(2, "bob", large)...)
	}
	for range maxUnackedRecords/maxOfMessage + 1 {
		mallory.records(end(bob), mallory.texts(maxOfMessage, "bob", "")...)
	}
	delivered, ended := mallory.answered(end(bob))
	if !bytes.Equal(ended, mallory.conv.T3[:]) {
		t.Errorf("bob says that %x has ended, want %x", ended, mallory.conv.T3)
	}

	held := bob.waiting("mallory")
	events, err := bob.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := gapsIn(events); len(got) != 1 || !strings.Contains(got[0], pastTheWindow) {
		t.Errorf("bob is told of the gaps %q", got)
	}
	var messages []*Message
	cost := 0
	for _, ev := range events {
		if ev.Message != nil {
			messages = append(messages, ev.Message)
			cost += messageCost(ev.Message.Text, len(ev.Message.To))
		}
	}
	if n, most := uint64(len(messages)), delivered+maxUnackedRecords; n > most || n <= most-maxOfMessage {
		t.Errorf("bob has taken %d records, %d of them DELIVERED", n, delivered)
	}
	if held != cost {
		t.Errorf("bob counts %d bytes for messages of %d", held, cost)
	}
	bob.Shown(messages...)
	relayTestUntil(t, "nothing to wait", func() bool { return bob.waiting("mallory") == 0 })
}

// TestAttack26NobodyLooks has a peer send large texts that are never shown,
// although DELIVERED is withheld, and begin anew when that is refused.
func TestAttack26NobodyLooks(t *testing.T) {
	town, _ := evilTown(t, "bob", "mallory")
	bob := town.client("bob")
	bob.mu.Lock()
	bob.hold = true
	bob.mu.Unlock()
	mallory := town.evilPeer(town.addr, "mallory", town.credential("mallory"))
	mallory.call(end(bob))
	large := strings.Repeat("x", proto.MaxText)
	const message = 2 * (arrivedCost + eventCost + eventNameCost + proto.MaxText) // of two records
	// Most of what she may have waiting has come before, so that this is quick.
	const before = maxUnread - 6*message
	earlier := func(n int) {
		bob.engine.do(context.Background(), func() { bob.engine.users["mallory"].waiting += n })
	}
	earlier(before)
	// refused tells whether bob refuses what was sent, or takes it. He says
	// DELIVERED of nothing, with so much that nobody has looked at.
	refused := func() bool {
		delivered, ended := mallory.answered(end(bob))
		if delivered > 0 {
			t.Fatalf("bob calls %d records DELIVERED", delivered)
		}
		if ended != nil && !bytes.Equal(ended, mallory.conv.T3[:]) {
			t.Fatalf("bob ends %x, want %x", ended, mallory.conv.T3)
		}
		return ended != nil
	}
	taken := before
	for {
		mallory.records(end(bob), mallory.texts(2, "bob", large)...)
		if refused() {
			break
		}
		taken += message
		if held := bob.waiting("mallory"); held != taken {
			t.Fatalf("bob counts %d bytes, want %d", held, taken)
		}
		if taken > maxUnread+message {
			t.Fatalf("bob holds %d bytes that nobody has looked at", taken)
		}
	}
	bob.awaitGap(1, pastTheWindow)
	if taken <= maxUnread {
		t.Errorf("refused at %d bytes", taken)
	}
	// Another conversation is no other person.
	mallory.call(end(bob))
	mallory.records(end(bob), mallory.texts(1, "bob", "and more")...)
	if !refused() {
		t.Error("the next conversation holds more")
	}
	bob.awaitGap(2, pastTheWindow)
	var messages []*Message
	for _, ev := range bob.seen() {
		if ev.Message != nil {
			messages = append(messages, ev.Message)
		}
	}
	bob.Shown(messages...)
	relayTestUntil(t, "nothing to wait", func() bool { return bob.waiting("mallory") == before })
	earlier(-before)
	mallory.call(end(bob))
	mallory.records(end(bob), mallory.texts(1, "bob", "at last")...)
	bob.awaitText("at last")
}

// TestUnreadIsBounded: a peer that says DELIVERED of all and never READ does not
// make a sender keep all that it ever sends.
func TestUnreadIsBounded(t *testing.T) {
	town := newTown(t, "alice", "mallory")
	alice := town.client("alice")
	mallory := town.evilPeer(town.addr, "mallory", town.credential("mallory"))
	text := strings.Repeat("x", 2*batchBytes) // each goes by itself
	size := encodedLen(text) + recordOverhead + 100
	// What is sent before the window is full, when most of it has been sent
	// before, so that this is quick; and what waits then.
	const window, more = 8, 4
	before := maxUnread - window*size
	sent := make(chan error, 1)
	go func() {
		for range window + more {
			if _, err := alice.Send(t.Context(), []string{"mallory"}, text); err != nil {
				sent <- err
				return
			}
		}
		sent <- alice.Written(t.Context())
	}()
	mallory.answer(end(alice))
	alice.engine.do(context.Background(), func() { alice.engine.conns[mallory.id].unreadBytes += before })
	took := uint64(0)
	deliver := func(n int) {
		t.Helper()
		for range n {
			o := mallory.takeText()
			took += uint64(len(o.Records))
			mallory.receipt(end(alice), took, 0)
		}
	}
	deliver(window)
	if err := soon(t, "the last Send", sent); err != nil {
		t.Fatal(err)
	}
	// stands checks what alice has sent when all of it is DELIVERED and nothing
	// else keeps her from sending on.
	stands := func(unread, queued int) {
		t.Helper()
		var onWay, waits, bytes int
		relayTestUntil(t, "what is DELIVERED", func() (rests bool) {
			alice.engine.do(context.Background(), func() {
				pc := alice.engine.conns[mallory.id]
				onWay, waits, bytes = len(pc.sent), len(pc.queue), pc.unreadBytes
				rests = onWay > unread || pc.delivered == took && len(pc.inflight) == 0
			})
			return rests
		})
		if onWay != unread || waits != queued || bytes != before+unread*size {
			t.Fatalf("alice has %d unread of %d bytes and %d to send, want %d, %d and %d", onWay, bytes, waits, unread, before+unread*size, queued)
		}
	}
	stands(window, more)
	mallory.receipt(end(alice), took, 1)
	took++
	mallory.takeText()
	mallory.receipt(end(alice), took, 1)
	stands(window, more-1)
	mallory.receipt(end(alice), took, took)
	for range more - 1 {
		took++
		mallory.takeText()
	}
	mallory.receipt(end(alice), took, took)
	alice.mustSettle(StatusRead)
	stands(0, 0)
}

// TestGivenUpTakesNoRoom: what is given up in the moment of sending, because it
// was written to another person, is not counted as sent for ever after.
func TestGivenUpTakesNoRoom(t *testing.T) {
	town := newTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	alice.mustSend("first", "bob")
	sees(t, alice, bob, "first")
	e, conn := alice.engine, bob.Conn()
	e.do(context.Background(), func() {
		pc := e.conns[conn]
		for _, identity := range [][32]byte{{1}, pc.conv.Person.Identity} {
			to := []crypto.Recipient{{Name: "bob", Identity: hexIdentity(identity)}}
			out := &outgoing{record: crypto.NewRecord(e.self, to, "second", e.now()), size: 1000}
			r := &recipient{out: out, user: pc.user, status: StatusPending, active: 1}
			out.to = []*recipient{r}
			pc.user.counts.total++
			pc.queue = append(pc.queue, &delivery{r: r})
		}
	})
	alice.await("that one is given up", func(ev Event) bool { return ev.Receipt != nil && ev.Receipt.Status == StatusFailed })
	if out := alice.settle(StatusRead); len(out.Failed) != 1 || out.Failed[0].Code != proto.IdentityChanged {
		t.Errorf("%v: %v", out.Names, out.Failed)
	}
	e.do(context.Background(), func() {
		if pc := e.conns[conn]; pc.unackBytes != 0 || pc.unreadBytes != 0 {
			t.Errorf("%d bytes count as not DELIVERED and %d as not READ", pc.unackBytes, pc.unreadBytes)
		}
	})
	if got := bob.texts(); !slices.Equal(got, []string{"first", "second"}) {
		t.Errorf("bob saw %q", got)
	}
}
