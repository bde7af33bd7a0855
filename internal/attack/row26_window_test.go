package attack

import (
	"bytes"
	"chatsecure/testdata/lab/wire"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/client"
	"chatsecure/internal/history"
	"chatsecure/proto"
)

// Row 26: the windows of a conversation, against a peer that ignores them and a peer that never
// opens its own.

const (
	pastTheWindow = "more records than the window allows"
	maxOfMessage  = 1024 // records
)

// texts makes records for a name, all with this text.
func (p *evilPeer) texts(n int, name, text string) []*crypto.Record {
	records := make([]*crypto.Record, n)
	for i := range records {
		records[i] = crypto.NewRecord(p.local.Identity, []crypto.Recipient{{Name: name}}, text, time.Now())
	}
	return records
}

// answered waits until all that was sent is accepted or refused: a message of an unknown
// conversation, sent last, is refused. It returns the count of DELIVERED from the last receipt, and
// the conversation that was ended.
func (p *evilPeer) answered(to crypto.End) (delivered uint64, ended []byte) {
	p.T.Helper()
	var none [32]byte
	header := proto.MustMarshal(&crypto.MessageHeader{
		Conversation: none[:], Direction: crypto.DirectionAB, Kind: crypto.KindPipe, Random: none[:], SrcBundle: none[:], DstBundle: none[:],
	})
	p.Say(headerTo(proto.TypeClientCom, to), append(header, "\n\n"...))
	for m := p.Next(); !bytes.Equal(m.Body, none[:]); m = p.Next() {
		switch m.Type {
		case proto.TypeCommAck:
			delivered = p.take(m.Body).Receipt.Delivered
		case proto.TypeError:
			ended = m.Body
		}
	}
	return delivered, ended
}

// waiting returns the bytes that the client has received from a person and that are not READ.
func (tc *testClient) waiting(name string) (n int) {
	tc.Inside().Look(func(s client.Snapshot) { n = s.Users[name].Waiting })
	return n
}

// TestAttack26PastTheWindow: a peer sends on after DELIVERED stands still, to a client that shows
// nothing.
func TestAttack26PastTheWindow(t *testing.T) {
	town, _ := evilTown(t, "bob", "mallory")
	cfg := town.config("bob", "state-bob")
	c, err := client.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	bob := &testClient{Client: c, t: t, state: cfg.State} // nobody reads its events
	defer bob.leave()
	mallory := town.evilPeer(town.addr, "mallory", town.credential("mallory"))
	mallory.call(end(bob))
	large := strings.Repeat("x", proto.MaxText)
	for range client.MaxWaiting/len(large)/2 + 1 { // then Bob's queue is full
		mallory.records(end(bob), mallory.texts(2, "bob", large)...)
	}
	for range client.MaxUnackedRecords/maxOfMessage + 1 {
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
	var messages []*client.Message
	cost := 0
	for _, ev := range events {
		if ev.Message != nil {
			messages = append(messages, ev.Message)
			cost += client.MessageCost(ev.Message.Text, len(ev.Message.To))
		}
	}
	if n, most := uint64(len(messages)), delivered+client.MaxUnackedRecords; n > most || n <= most-maxOfMessage {
		t.Errorf("bob has taken %d records, %d of them DELIVERED", n, delivered)
	}
	if held != cost {
		t.Errorf("bob counts %d bytes for messages of %d", held, cost)
	}
	bob.Shown(messages...)
	wire.Until(t, "nothing to wait", func() bool { return bob.waiting("mallory") == 0 })
}

// TestAttack26NobodyLooks: a peer sends large texts that are never shown, although DELIVERED is
// withheld, and begins anew on a refusal.
func TestAttack26NobodyLooks(t *testing.T) {
	town, _ := evilTown(t, "bob", "mallory")
	bob := town.client("bob")
	bob.mu.Lock()
	bob.hold = true
	bob.mu.Unlock()
	mallory := town.evilPeer(town.addr, "mallory", town.credential("mallory"))
	mallory.call(end(bob))
	large := strings.Repeat("x", proto.MaxText)
	const message = 2 * (client.ArrivedCost + client.EventCost + client.EventNameCost + proto.MaxText) // of two records
	// Most of her allowance is used up beforehand, for speed.
	const before = client.MaxUnread - 6*message
	earlier := func(n int) { bob.Inside().Count("mallory", n) }
	earlier(before)
	// refused reports whether Bob refuses the message or accepts it. He says DELIVERED of nothing
	// while so much is unseen.
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
		if taken > client.MaxUnread+message {
			t.Fatalf("bob holds %d bytes that nobody has looked at", taken)
		}
	}
	bob.awaitGap(1, pastTheWindow)
	if taken <= client.MaxUnread {
		t.Errorf("refused at %d bytes", taken)
	}
	// Another conversation would be the same person's.
	mallory.offer(end(bob))
	mallory.wantRefusal("the next p1", proto.Busy)
	var messages []*client.Message
	for _, ev := range bob.seen() {
		if ev.Message != nil {
			messages = append(messages, ev.Message)
		}
	}
	bob.Shown(messages...)
	wire.Until(t, "nothing to wait", func() bool { return bob.waiting("mallory") == before })
	earlier(-before)
	mallory.call(end(bob))
	mallory.records(end(bob), mallory.texts(1, "bob", "at last")...)
	bob.awaitText("at last")
}

// TestUnreadIsBounded: a peer that says DELIVERED of all and never READ does not make the sender
// keep everything.
func TestUnreadIsBounded(t *testing.T) {
	town := newTown(t, "alice", "mallory")
	alice := town.client("alice")
	mallory := town.evilPeer(town.addr, "mallory", town.credential("mallory"))
	text := strings.Repeat("x", 2*client.BatchBytes) // one message each
	size := client.EncodedLen(text) + client.RecordOverhead + 100
	// Most of the window is used up beforehand, for speed; the rest until it is full, and the
	// waiting messages, are real.
	const window, more = 8, 4
	before := client.MaxUnread - window*size
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
	alice.Inside().CountSent(mallory.ID, before)
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
	// stands checks what Alice has sent once all of it is DELIVERED and only this window holds her
	// back.
	stands := func(unread, queued int) {
		t.Helper()
		var onWay, waits, bytes int
		wire.Until(t, "what is DELIVERED", func() (rests bool) {
			alice.Inside().Look(func(s client.Snapshot) {
				pc := s.Conns[mallory.ID]
				onWay, waits, bytes = pc.Unread, pc.Queued, pc.UnreadBytes
				rests = onWay > unread || pc.Delivered == took && len(pc.Lines) == 0
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
	alice.mustSettle(history.StatusRead)
	stands(0, 0)
}
