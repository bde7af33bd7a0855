package attack

import (
	"crypto/rand"
	"crypto/sha256"
	"slices"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/history"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// Row 11: false receipts, and messages that are not what they claim, over an honest relay.

// TestAttack11ForgedReceipts: a receiver gives receipts that no honest one gives. The sender's
// conversation with it ends, nothing counts as delivered, and all is sent again.
func TestAttack11ForgedReceipts(t *testing.T) {
	town := newTown(t, "alice", "mallory")
	alice := town.client("alice")
	mallory := town.evilPeer(town.addr, "mallory", town.credential("mallory"))
	ended := alice.sending("hello", "mallory")
	mallory.answer(end(alice))
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	mallory.takeText()
	mallory.receipt(end(alice), 1, 1)
	alice.mustSettle(history.StatusRead)
	const spoiled, digest, back, replayed = "does not hold", "by its digest", "goes back, or speaks of records that were never sent", "an old message was repeated"
	for i, c := range []struct {
		name, reason string
		edit         func(r *crypto.Receipt)
		header       func(h *crypto.MessageHeader)
	}{
		{"more than was sent", back, func(r *crypto.Receipt) { r.Delivered++; r.Read++ }, nil},
		{"the largest number", back, func(r *crypto.Receipt) { r.Delivered = 1<<63 - 1 }, nil},
		{"more read than delivered", "malformed", func(r *crypto.Receipt) { r.Read++ }, nil},
		{"of a record that never was", back, func(r *crypto.Receipt) { r.DeliveredDigest = evilHash("record", r.DeliveredDigest) }, nil},
		{"read of a record that never was", back, func(r *crypto.Receipt) { r.ReadDigest = evilHash("record", r.ReadDigest) }, nil},
		{"of another conversation", digest, nil, func(h *crypto.MessageHeader) { h.Digest = evilHash("receipt") }},
		{"not signed over", spoiled, nil, func(h *crypto.MessageHeader) { h.SrcBundle = h.DstBundle }},
		{"of the other direction", spoiled, nil, func(h *crypto.MessageHeader) { h.Direction = otherDirection(h.Direction) }},
		{"ahead of its turn", "messages are missing", nil, func(h *crypto.MessageHeader) { h.N++ }},
		{"of yesterday", "clock", nil, func(h *crypto.MessageHeader) { h.Time -= (24 * time.Hour).Milliseconds() }},
	} {
		text := "with a receipt " + c.name
		id := alice.mustSend(text, "mallory")
		o := mallory.takeText()
		seq := o.Records[0].Seq
		good := &crypto.Receipt{Delivered: seq, DeliveredDigest: o.Header.Digest, Read: seq,
			ReadDigest: o.Header.Digest, Time: time.Now().UnixMilli(), Salt: make([]byte, 16)}
		if c.edit != nil {
			c.edit(good)
		}
		mallory.Say(headerTo(proto.TypeCommAck, end(alice)), mallory.forgeReceipt(good, c.header))
		mallory.wantRefusal(c.name, proto.NoConversation)
		alice.awaitGap(i+1, c.reason)
		alice.undelivered(c.name, id)

		// The same record comes again, now with an honest receipt.
		mallory.call(end(alice))
		again := mallory.takeText()
		if again.Records[0].ID != id || again.Records[0].Text != text {
			t.Errorf("%s: sent again is %+v", c.name, again.Records[0])
		}
		mallory.receipt(end(alice), 1, 1)
		alice.mustSettle(history.StatusRead)
	}
	// The last receipt again, and one that takes it back.
	gaps := len(alice.gaps())
	body := mallory.receipt(end(alice), 1, 1)
	mallory.Say(headerTo(proto.TypeCommAck, end(alice)), body)
	mallory.wantRefusal("a receipt again", proto.NoConversation)
	alice.awaitGap(gaps+1, replayed)
	mallory.call(end(alice))
	id := alice.mustSend("taken back", "mallory")
	none := mallory.takeText().Before
	mallory.receipt(end(alice), 1, 1)
	alice.mustSettle(history.StatusRead)
	mallory.Say(headerTo(proto.TypeCommAck, end(alice)), mallory.forgeReceipt(&crypto.Receipt{DeliveredDigest: none[:],
		ReadDigest: none[:], Time: time.Now().UnixMilli(), Salt: make([]byte, 16)}, nil))
	mallory.wantRefusal("a receipt that takes back", proto.NoConversation)
	alice.awaitGap(gaps+2, back)
	if s := alice.status(id); s != history.StatusRead {
		t.Errorf("what was READ is %s", s)
	}
}

// TestAttack11ForgedRefusal: the relay holds back that Bob has taken a text, and says in his name that
// he takes no more. He has not signed that, so the text is not called FAILED.
func TestAttack11ForgedRefusal(t *testing.T) {
	town, relay := evilTown(t, "alice", "bob")
	alice, bob := town.client("alice"), town.client("bob")
	alice.mustSend("one", "bob")
	sees(t, alice, bob, "one")
	relay.Tampering(func(l wire.EvilLine) []wire.EvilLine {
		if l.Header.Type == proto.TypeCommAck {
			return nil
		}
		return honest(l)
	})
	id := alice.mustSend("two", "bob")
	bob.awaitText("two")
	for _, code := range []proto.Code{proto.NotAccepted, proto.IdentityChanged, proto.CertificateRevoked} {
		t3 := alice.conversation("bob").T3
		relay.Do(func() {
			h := &proto.Header{
				Type: proto.TypeError, Src: "bob", SrcID: bob.Conn(), Dst: "alice", DstID: alice.Conn(), Code: code, Message: "no",
			}
			relay.Write(relay.Named("alice"), h, t3[:])
		})
		if _, err := alice.List(t.Context()); err != nil { // she has seen it
			t.Fatal(err)
		}
		if got := alice.statuses(id); slices.Contains(got, history.StatusFailed) {
			t.Fatalf("after a forged %s, what Bob has read is %s", code, got)
		}
	}
	relay.Tampering(honest)
	alice.mustSend("three", "bob")
	sees(t, alice, bob, "one", "two", "three")
}

func otherDirection(d string) string {
	if d == crypto.DirectionAB {
		return crypto.DirectionBA
	}
	return crypto.DirectionAB
}

// TestAttack11ReceiptOfAThird: a third person gives receipts for Alice's messages to Bob, over her
// own conversation with Alice and in Bob's name.
func TestAttack11ReceiptOfAThird(t *testing.T) {
	town := newTown(t, "alice", "bob", "mallory")
	alice, bob := town.client("alice"), town.client("bob")
	bob.mu.Lock()
	bob.hold = true
	bob.mu.Unlock()
	mallory := town.evilPeer(town.addr, "mallory", town.credential("mallory"))
	mallory.call(end(alice))
	id := alice.mustSend("for bob", "bob")
	m := bob.awaitText("for bob")
	alice.mustSettle(history.StatusDelivered)

	t3 := alice.conversation("bob").T3
	digest := evilHash("record", t3[:]) // she cannot know the right one
	r := &crypto.Receipt{Delivered: 1, DeliveredDigest: digest, Read: 1,
		ReadDigest: digest, Time: time.Now().UnixMilli(), Salt: make([]byte, 16)}
	mallory.Say(headerTo(proto.TypeCommAck, end(alice)), mallory.forgeReceipt(r, func(h *crypto.MessageHeader) { h.Conversation = t3[:] }))
	if m := mallory.wantRefusal("a receipt in Bob's name", proto.NoConversation); string(m.Body) != string(t3[:]) {
		t.Errorf("refused with the conversation %x", m.Body)
	}
	mallory.Say(headerTo(proto.TypeCommAck, end(alice)), mallory.forgeReceipt(r, nil))
	mallory.wantRefusal("a receipt for what was sent to Bob", proto.NoConversation)
	alice.awaitGap(1, "speaks of records that were never sent")
	if s := alice.status(id); s != history.StatusDelivered {
		t.Errorf("what Bob has not read is %s", s)
	}
	bob.Shown(m)
	alice.mustSettle(history.StatusRead)
	if n := len(alice.gaps()); n != 1 || len(bob.gaps()) != 0 {
		t.Errorf("%d gaps at Alice's, %d at Bob's: only the one with Mallory ends", n, len(bob.gaps()))
	}
}

// TestAttack11Records: a sender's records are for somebody else, or do not match their id. Nothing
// of the message is shown or stored.
func TestAttack11Records(t *testing.T) {
	town := newTown(t, "alice", "carol", "mallory")
	alice, carol := town.client("alice"), town.client("carol")
	mallory := town.evilPeer(town.addr, "mallory", town.credential("mallory"))
	self := func(tc *testClient) crypto.Recipient {
		return crypto.Recipient{Name: tc.Name(), Identity: proto.FormatHash(tc.Inside().Identity())}
	}
	const notFor = "not for this receiver"
	cases := []struct {
		name, reason string
		to           []crypto.Recipient
		edit         func(r *crypto.Record)
	}{
		{"for another", notFor, []crypto.Recipient{self(carol)}, nil},
		{"for another under this name", notFor, []crypto.Recipient{{Name: "alice", Identity: self(carol).Identity}}, nil},
		{"for this person under another name", notFor, []crypto.Recipient{{Name: "carol", Identity: self(alice).Identity}}, nil},
		{"another text under the id", "id", nil, func(r *crypto.Record) { r.Text = "another" }},
		{"another list under the id", "id", nil, func(r *crypto.Record) { r.To = []crypto.Recipient{self(alice), self(carol)} }},
		{"another sender's id", "id", nil, func(r *crypto.Record) { r.ID = crypto.RecordID(carol.Inside().Identity(), r) }},
		{"of tomorrow", "time", nil, func(r *crypto.Record) {
			r.Time += (24 * time.Hour).Milliseconds()
			r.ID = crypto.RecordID(mallory.local.Identity, r)
		}},
	}
	for i, c := range cases {
		mallory.call(end(alice))
		to := c.to
		if to == nil {
			to = []crypto.Recipient{self(alice)}
		}
		good := crypto.NewRecord(mallory.local.Identity, []crypto.Recipient{self(alice)}, "goes with it", time.Now())
		bad := crypto.NewRecord(mallory.local.Identity, to, "must not be shown", time.Now())
		if c.edit != nil {
			c.edit(bad)
		}
		mallory.records(end(alice), good, bad)
		mallory.wantRefusal(c.name, proto.NoConversation)
		alice.awaitGap(i+1, c.reason)
	}
	// A record sent twice, in one message and in the next conversation, counts once.
	mallory.call(end(alice))
	r := crypto.NewRecord(mallory.local.Identity, []crypto.Recipient{self(alice)}, "honest", time.Now())
	mallory.records(end(alice), r)
	mallory.call(end(alice))
	mallory.records(end(alice), r)
	mallory.records(end(alice), crypto.NewRecord(mallory.local.Identity, []crypto.Recipient{self(alice)}, "the end", time.Now()))
	alice.awaitText("the end")
	if got := alice.texts(); !slices.Equal(got, []string{"honest", "the end"}) {
		t.Errorf("alice saw %q", got)
	}
	alice.leave()
	town.mustVerify(t, "state-alice", r.ID)
}

// TestAttack11Garbage sends bodies with the form of a message.
func TestAttack11Garbage(t *testing.T) {
	town := newTown(t, "alice", "mallory")
	alice := town.client("alice")
	mallory := town.evilPeer(town.addr, "mallory", town.credential("mallory"))
	noise := make([]byte, 64)
	rand.Read(noise)
	for i, c := range []struct {
		name, reason, typ string
		body              func() []byte
	}{
		{"a text that is no record", "is refused", proto.TypeClientCom, func() []byte {
			return mallory.forge(crypto.KindText, noise, func(h *crypto.MessageHeader) {
				d := sha256.Sum256(noise)
				h.Seq, h.Count, h.Digest = 1, 1, d[:]
			})
		}},
		{"a receipt that is none", "is refused", proto.TypeCommAck, func() []byte {
			return mallory.forge(crypto.KindReceipt, []byte("{}"), func(h *crypto.MessageHeader) { h.Digest = evilHash("receipt") })
		}},
		{"a pipe's chunk", "takes none", proto.TypeClientCom, func() []byte { return mallory.forge(crypto.KindPipe, noise, nil) }},
		{"a receipt sent as a text", "does not hold", proto.TypeClientCom, func() []byte {
			s, err := mallory.conv.SealReceipt(0, 0, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			return s.Body
		}},
		{"an end that leaves records out", "by its digest", proto.TypeDisconnect, func() []byte {
			return mallory.forge(crypto.KindEnd, nil, func(h *crypto.MessageHeader) { h.Seq, h.Digest = 7, evilHash("record") })
		}},
	} {
		mallory.call(end(alice))
		mallory.Say(headerTo(c.typ, end(alice)), c.body())
		mallory.wantRefusal(c.name, proto.NoConversation)
		alice.awaitGap(i+1, c.reason)
	}
	if got := alice.texts(); len(got) != 0 {
		t.Errorf("alice saw %q", got)
	}
	mallory.call(end(alice))
	mallory.records(end(alice), crypto.NewRecord(mallory.local.Identity, []crypto.Recipient{{Name: "alice"}}, "honest", time.Now()))
	alice.awaitText("honest")
}
