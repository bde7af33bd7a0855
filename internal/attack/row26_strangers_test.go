package attack

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// Row 26: what people who are not accepted, or are blocked, may leave and take.

const (
	smallInbox = "before you are accepted there"
	tomorrow   = "try again tomorrow"
	notTaken   = "no messages are taken from you there"
)

// onDisk returns the bytes of a client's history.
func (tc *testClient) onDisk() int64 {
	tc.t.Helper()
	info, err := os.Stat(filepath.Join(tc.state.HistoryDir(), "lines.jsonl"))
	if err != nil {
		tc.t.Fatal(err)
	}
	return info.Size()
}

// allWaiting returns the bytes that a client has received and that are not READ.
func (tc *testClient) allWaiting() (n int) {
	tc.Inside().Look(func(s client.Snapshot) { n = s.Waiting })
	return n
}

// notices counts the notices with these words.
func (tc *testClient) notices(words string) (n int) {
	for _, ev := range tc.seen() {
		if strings.Contains(ev.Notice, words) {
			n++
		}
	}
	return n
}

// refusals counts how often the user is told that a person has filled the small inbox.
func (tc *testClient) refusals(name string) (n int) {
	for _, ev := range tc.seen() {
		if p := ev.Peer; p != nil && p.Name == name && p.What == "refused" && p.Refused != nil && strings.Contains(p.Reason, "who is not accepted") {
			n++
		}
	}
	return n
}

// tries sends a text and returns its status once it is DELIVERED or FAILED, with the reason.
func (tc *testClient) tries(text, to string) (history.Status, string) {
	tc.t.Helper()
	id, err := tc.Send(tc.t.Context(), []string{to}, text)
	if err != nil {
		return history.StatusFailed, err.Error()
	}
	ev := tc.await("an answer to "+text, func(ev client.Event) bool {
		r := ev.Receipt
		return r != nil && r.ID == id && (r.Status == history.StatusFailed || r.Status.AtLeast(history.StatusDelivered))
	})
	return ev.Receipt.Status, ev.Receipt.Reason
}

// TestAttack26StrangerFloods: a stranger sends without end, and begins anew at every refusal. Disk
// and memory hold the small inbox, a friend is heard, and a later start counts what was left.
func TestAttack26StrangerFloods(t *testing.T) {
	lines, large := 20_000, 16
	if os.Getenv("CHATSECURE_ATTACK") != "" {
		lines, large = 3_000_000, 800 // an hour of a fast one
	}
	town := newTown(t, "bob", "carol", "mallory")
	carol := town.client("carol")
	bob := town.client("bob", strict(carol), manyOffers)
	bob.accept(carol)
	before := bob.onDisk()
	mallory := town.evilPeer(town.addr, "mallory", town.credential("mallory"))
	refusals := 0
	// begins reports whether Bob takes another conversation.
	begins := func() bool {
		i := mallory.offer(end(bob))
		for {
			switch m := mallory.Next(); {
			case m.Type == proto.TypeError && m.Code == proto.NotAccepted:
				refusals++
				return false
			case m.Type == proto.TypeClientConnect && m.Phase == 2:
				p3, conv, err := i.Phase2(m.Body, mallory.trusts("bob"))
				if err != nil {
					t.Fatal(err)
				}
				mallory.conv = conv
				mallory.phase(end(bob), 3, p3)
				for m = mallory.Next(); m.Type != proto.TypeCommAck; m = mallory.Next() {
					if mallory.isEnded(m) {
						refusals++
						return false
					}
				}
				mallory.take(m.Body)
				return true
			}
		}
	}
	say := func(records []*crypto.Record, of int) {
		for range of {
			line, ended := mallory.Send.Seq(), []byte(nil)
			mallory.records(end(bob), records...)
			for m := mallory.Next(); m.Type != proto.TypeAck || *m.Answers < line; m = mallory.Next() {
				switch m.Type {
				case proto.TypeCommAck:
					mallory.take(m.Body)
				case proto.TypeError, proto.TypeDisconnect:
					ended = m.Body
				}
			}
			if _, later := mallory.answered(end(bob)); ended != nil || later != nil {
				begins()
			}
		}
	}
	if !begins() {
		t.Fatal("a stranger is refused from the start")
	}
	say(mallory.texts(1, "bob", "one"), 1)
	bob.awaitText("one")
	say(mallory.texts(maxOfMessage/2, "bob", "x"), 2*lines/maxOfMessage+1)
	const beside = 64 << 10 // what of a handshake may still be on the way when a text goes
	say(mallory.texts(1, "bob", strings.Repeat("x", proto.MaxText-beside)), large)
	for i := range 2 * client.StrangerRecords {
		say(mallory.texts(1, "bob", fmt.Sprint("small ", i)), 1)
	}
	for range 2 * client.StrangerBytes >> 10 { // a conversation costs more than this
		begins()
	}
	if begins() || refusals < client.StrangerRecords {
		t.Errorf("she is taken in, and was refused %d times", refusals)
	}
	if got := len(bob.texts()); got > client.StrangerRecords {
		t.Errorf("bob saw %d messages of a stranger", got)
	}
	const bundles = 2 * 28 << 10 // Bob's own, and hers in the line that is the last
	if grown := bob.onDisk() - before; grown > client.StrangerBytes+bundles {
		t.Errorf("a stranger left %d bytes on the disk", grown)
	}
	if n := bob.allWaiting(); n > client.StrangerRecords*(client.ArrivedCost+client.MessageCost("", 1))+client.StrangerBytes {
		t.Errorf("a stranger holds %d bytes of memory", n)
	}
	if n := bob.refusals("mallory"); n != 1 {
		t.Errorf("bob is told %d times", n)
	}
	if n := len(bob.gaps()); n != 0 {
		t.Errorf("bob is told of %d gaps", n)
	}
	carol.mustSend("a friend", "bob")
	bob.awaitText("a friend")
	carol.mustSettle(history.StatusRead)

	leaves(t, carol, bob)
	town.historyHolds(bob.state.HistoryDir())
	bob = town.client("bob", strict(carol), manyOffers)
	before = bob.onDisk()
	if begins() || bob.onDisk() != before {
		t.Error("the next start begins to count anew")
	}
}

// TestAttack26StrangerIsTold: whoever writes more than is kept of a stranger is told of the reason.
// What was DELIVERED stays so, and becomes READ once the person is accepted. More is taken then.
func TestAttack26StrangerIsTold(t *testing.T) {
	town := newTown(t, "alice", "bob")
	alice := town.client("alice")
	bob := town.client("bob", strict(alice))
	for i := range client.StrangerRecords {
		if s, reason := alice.tries(fmt.Sprint(i), "bob"); s != history.StatusDelivered {
			t.Fatalf("text %d is %s: %s", i, s, reason)
		}
	}
	for range 2 {
		if s, reason := alice.tries("too much", "bob"); s != history.StatusFailed || !strings.Contains(reason, smallInbox) {
			t.Errorf("beyond, a text is %s: %s", s, reason)
		}
	}
	bob.accept(alice)
	if s, reason := alice.tries("welcome", "bob"); s == history.StatusFailed {
		t.Errorf("from somebody who is accepted, a text is %s: %s", s, reason)
	}
	bob.awaitText("welcome")
	if got := len(bob.texts()); got != client.StrangerRecords+1 {
		t.Errorf("bob saw %d texts", got)
	}
	wire.Until(t, "all READ", func() bool { return bob.allWaiting() == 0 })
	if n := bob.refusals("alice"); n != 1 {
		t.Errorf("bob is told %d times", n)
	}
}

// TestAttack26StrangerBurst: of a burst beyond the small inbox each text is FAILED if, and only if, the
// receiver has not got it. None waits for ever, and nothing says that messages are missing.
func TestAttack26StrangerBurst(t *testing.T) {
	for name, prompt := range map[string]bool{"prompt": true, "script": false} {
		for _, size := range []int{1, 3000} { // of one message, and of several
			t.Run(fmt.Sprint(name, " ", size), func(t *testing.T) {
				t.Parallel()
				town := newTown(t, "alice", "bob")
				alice := town.client("alice", func(cfg *client.Config) { cfg.Persistent = prompt })
				bob := town.client("bob", strict(alice))
				const texts = 2 * client.StrangerRecords
				ids := map[string]bool{}
				say := func(n int) {
					for range n {
						if id, err := alice.Send(t.Context(), []string{"bob"}, strings.Repeat("x", size)); err == nil {
							ids[id] = true
						} else if prompt || !strings.Contains(err.Error(), smallInbox) {
							t.Fatal(err)
						}
					}
				}
				say(texts)
				alice.awaitEnds(ids)
				say(texts) // the inbox is full, or nearly so
				ends := alice.awaitEnds(ids)
				if n := len(alice.gaps()) + len(bob.gaps()); n != 0 {
					t.Errorf("%d gaps are told", n)
				}
				leaves(t, alice, bob)
				town.historiesHold("alice", "bob")
				got := town.inHistory("bob")
				if len(got) > client.StrangerRecords || size > 1 && len(got) == 0 {
					t.Errorf("bob has %d texts", len(got))
				}
				sent := town.inHistory("alice")
				for id := range ids {
					_, taken := got[id]
					if failed := ends[id] == history.StatusFailed; failed == taken || sent[id] != ends[id] {
						t.Errorf("a text is told to be %s, and %s in the history; bob has it: %v", ends[id], sent[id], taken)
					}
				}
			})
		}
	}
}

// awaitEnds waits until each of these messages is at least DELIVERED, or has FAILED, and returns
// which.
func (tc *testClient) awaitEnds(ids map[string]bool) map[string]history.Status {
	tc.t.Helper()
	ends := map[string]history.Status{}
	wire.Until(tc.t, "an end of every message", func() bool {
		for _, ev := range tc.seen() {
			if r := ev.Receipt; r != nil && ids[r.ID] && (r.Status == history.StatusFailed || r.Status.AtLeast(history.StatusDelivered)) {
				ends[r.ID] = r.Status
			}
		}
		return len(ends) == len(ids)
	})
	return ends
}

// inHistory has the statuses of the messages in a history, by id.
func (town *localTown) inHistory(name string) map[string]history.Status {
	town.t.Helper()
	listing, err := history.Read(filepath.Join(town.dir, "state-"+name, "history"), history.Query{})
	if err != nil {
		town.t.Fatal(err)
	}
	of := map[string]history.Status{}
	for _, m := range listing.Messages {
		of[m.ID] = m.Status()
	}
	return of
}

// TestAttack26NamesOfOneCard: eight names of one card leave no more than one, and hold no more of a
// friend's room.
func TestAttack26NamesOfOneCard(t *testing.T) {
	town := newTown(t, "bob", "mallory", "mallorya", "malloryb", "malloryc", "malloryd", "mallorye", "malloryf", "malloryg", "malloryh")
	var names []*testClient
	for i := range 8 {
		name := fmt.Sprintf("mallory%c", 'a'+i)
		cfg := town.config(name, "state-"+name)
		cfg.Credential = town.credentialAs("mallory", name, time.Now())
		names = append(names, town.dial(cfg))
	}
	bob := town.client("bob", strict(names[0]))
	taken := 0
	for i := range 2 * client.StrangerRecords {
		s, reason := names[i%8].tries(fmt.Sprint(i), "bob")
		if s != history.StatusFailed {
			taken++
		} else if !strings.Contains(reason, smallInbox) {
			t.Errorf("text %d failed: %s", i, reason)
		}
	}
	if got := len(bob.texts()); taken != client.StrangerRecords || got != taken {
		t.Errorf("of a stranger with eight names %d messages are taken, and %d shown", taken, got)
	}
}

// TestAttack26ManyStrangers: all strangers together leave no more than is kept of them in a day. Nothing
// gives way, and there is room again once one of them is accepted.
func TestAttack26ManyStrangers(t *testing.T) {
	town := newTown(t, "bob", "alice", "carol", "mallory")
	here := func(cfg *client.Config) { cfg.Strangers = 8 }
	alice, carol, mallory := town.client("alice"), town.client("carol"), town.client("mallory")
	bob := town.client("bob", strict(alice), here)
	for i := range 7 {
		if s, reason := mallory.tries(fmt.Sprint(i), "bob"); s != history.StatusDelivered {
			t.Fatalf("a text is %s: %s", s, reason)
		}
	}
	if s, reason := carol.tries("there is room for one", "bob"); s != history.StatusDelivered {
		t.Errorf("the text is %s: %s", s, reason)
	}
	for _, tc := range []*testClient{alice, carol, mallory} {
		if s, reason := tc.tries("too much", "bob"); s != history.StatusFailed || !strings.Contains(reason, tomorrow) {
			t.Errorf("the text is %s: %s", s, reason)
		}
	}
	if n := bob.notices("people who are not accepted have left"); n != 1 {
		t.Errorf("bob is told %d times", n)
	}
	bob.accept(mallory) // what she has left does not count any more
	if s, reason := alice.tries("at last", "bob"); s != history.StatusDelivered {
		t.Errorf("the text is %s: %s", s, reason)
	}
}

// TestAttack26AllUnread: one bound for all that is received and not READ. Whoever has more than what
// is left of it is refused, under every name; whoever has little is heard.
func TestAttack26AllUnread(t *testing.T) {
	town := newTown(t, "bob", "carol", "dave", "mallory", "zoe")
	cfg := town.config("zoe", "state-zoe")
	cfg.Credential = town.credentialAs("mallory", "zoe", time.Now())
	carol, dave, mallory, zoe := town.client("carol"), town.client("dave"), town.client("mallory"), town.dial(cfg)
	bob := town.client("bob")
	for _, tc := range []*testClient{carol, dave, mallory, zoe} {
		tc.mustSend("hello", "bob")
		tc.mustSettle(history.StatusRead)
	}
	bob.Inside().Count("carol", client.MaxUnread)
	bob.Inside().Count("mallory", client.MaxUnread/2+1) // more than what is left beside both
	before := bob.onDisk()
	for _, tc := range []*testClient{mallory, zoe} {
		tc.mustSend("too much", "bob")
		bob.await("a refusal", func(ev client.Event) bool {
			return ev.Gap != nil && ev.Gap.Name == tc.Name() && strings.Contains(ev.Gap.Reason, pastTheWindow)
		})
	}
	dave.mustSend("a word", "bob")
	dave.mustSettle(history.StatusRead)
	bob.Inside().Count("mallory", -client.MaxUnread/2-1)
	for _, tc := range []*testClient{mallory, zoe} {
		tc.mustSettle(history.StatusRead)
	}
	if grown := bob.onDisk() - before; grown > 64<<10 {
		t.Errorf("the history has grown by %d bytes", grown)
	}
}

// TestAttack26Blocked: a blocked person is refused under every name, before anything is stored, and
// the user hears nothing of it. What waited is not shown any more.
func TestAttack26Blocked(t *testing.T) {
	town := newTown(t, "bob", "mallory", "zoe")
	mallory := town.client("mallory")
	bob := town.client("bob")
	mallory.mustSend("shown", "bob")
	bob.awaitText("shown")
	mallory.mustSettle(history.StatusRead)
	bob.mustSend("an answer", "mallory")
	bob.mustSettle(history.StatusRead)
	bob.mu.Lock()
	bob.hold = true
	bob.mu.Unlock()
	mallory.mustSend("waits to be shown", "bob")
	mallory.mustSettle(history.StatusDelivered)
	known, ok := bob.state.KnownPeer("mallory")
	if !ok {
		t.Fatal("mallory is not known")
	}
	if _, accepted, err := bob.state.Block("mallory", known.Identity); len(accepted) != 1 || err != nil {
		t.Fatal(accepted, err)
	}
	wire.Until(t, "the end of the conversation", func() (ended bool) {
		bob.Inside().Look(func(s client.Snapshot) { ended = s.Conns[mallory.Conn()].Conversation == nil && s.Waiting == 0 })
		return ended
	})
	mallory.await("the refusal", func(ev client.Event) bool {
		return ev.Peer != nil && ev.Peer.What == "refused" && strings.Contains(ev.Peer.Reason, notTaken)
	})
	if n := len(mallory.gaps()); n != 0 {
		t.Errorf("mallory is told of %d gaps", n)
	}
	disk, events := bob.onDisk(), len(bob.seen())
	cfg := town.config("zoe", "state-zoe")
	cfg.Credential = town.credentialAs("mallory", "zoe", time.Now())
	for _, tc := range []*testClient{mallory, town.dial(cfg)} {
		if s, reason := tc.tries("more", "bob"); s != history.StatusFailed || !strings.Contains(reason, notTaken) {
			t.Errorf("%s: the text is %s: %s", tc.Name(), s, reason)
		}
	}
	if now := bob.onDisk(); now != disk {
		t.Errorf("the history has grown by %d bytes", now-disk)
	}
	if now := bob.seen(); len(now) != events {
		t.Errorf("bob hears of it: %s", describe(now[events:]))
	}
	if _, err := bob.Send(t.Context(), []string{"zoe"}, "to nobody"); !fail.HasCode(err, proto.NotAccepted) {
		t.Errorf("a message to a blocked person: %v", err)
	}
	bob.leave()
	bob = town.client("bob")
	if got := bob.texts(); len(got) != 0 {
		t.Errorf("at the next start bob saw %q", got)
	}
	if ok, err := bob.state.Unblock(known.Identity); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if s, reason := mallory.tries("again", "bob"); s == history.StatusFailed {
		t.Errorf("after the block the text is %s: %s", s, reason)
	}
	bob.awaitText("again")
	if got := bob.texts(); slices.Contains(got, "more") {
		t.Errorf("bob saw %q", got)
	}
}

// TestBlockEndsTheQuestion: a block by another program ends the open question about the person. After
// the block there is another.
func TestBlockEndsTheQuestion(t *testing.T) {
	town := newTown(t, "alice", "bob")
	bob := town.client("bob")
	q := newQuestions()
	alice := town.client("alice", town.asksFor(q, bob.Fingerprint()))
	id, other := alice.mustSend("who are you", "bob"), bob.Inside().Identity()
	soon(t, "the question", q.asked)
	if _, _, err := alice.state.Block("bob", other); err != nil {
		t.Fatal(err)
	}
	if r := alice.awaitStatus(id, "bob", history.StatusFailed); !strings.Contains(r.Reason, "blocked here") {
		t.Errorf("the message failed: %s", r.Reason)
	}
	if ok, err := alice.state.Unblock(other); !ok || err != nil {
		t.Fatal(ok, err)
	}
	id = alice.mustSend("once more", "bob")
	soon(t, "another question", q.asked)
	q.answers <- true
	alice.awaitStatus(id, "bob", history.StatusRead)
}

// TestUnblockedAtOnce: a handshake that this side gives up, as it finds a blocked person at the other end,
// does not hold up the other's messages after the block.
func TestUnblockedAtOnce(t *testing.T) {
	town := newTown(t, "alice", "bob")
	alice, bob := town.client("alice", atPrompt), town.client("bob", atPrompt)
	alice.mustSend("hello", "bob")
	bob.awaitText("hello")
	self := alice.Inside().Identity()
	if _, _, err := bob.state.Block("alice", self); err != nil {
		t.Fatal(err)
	}
	alice.await("the refusal", func(ev client.Event) bool { return ev.Peer != nil && ev.Peer.What == "refused" })
	bob.awaitStatus(bob.mustSend("to nobody", "alice"), "alice", history.StatusFailed)
	alice.Inside().HoldHandshakes()
	if ok, err := bob.state.Unblock(self); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if s, reason := alice.tries("again", "bob"); s == history.StatusFailed {
		t.Errorf("after the block the text is %s: %s", s, reason)
	}
}

// TestAttack24NameOfTheBlocked: a client that accepts new people takes nobody under the name of somebody who is blocked, and
// a block of whoever uses a friend's name leaves the friend's name to the friend.
func TestAttack24NameOfTheBlocked(t *testing.T) {
	town := newTown(t, "bob", "carl", "dora")
	bob := town.client("bob")
	friend := [32]byte{5}
	for _, name := range []string{"carl", "dora"} {
		if _, err := bob.state.AcceptPeer(name, friend); err != nil {
			t.Fatal(err)
		}
	}
	carl, dora := town.client("carl"), town.client("dora")
	for _, who := range []*testClient{carl, dora} {
		if s, reason := who.tries("as your friend", "bob"); s != history.StatusFailed {
			t.Errorf("the text of another %s is %s: %s", who.Name(), s, reason)
		}
	}
	if _, _, err := bob.state.Block("carl", carl.Inside().Identity()); err != nil {
		t.Fatal(err)
	}
	if !bob.state.Accepted(friend) {
		t.Error("the friend is blocked")
	}
	if _, _, err := bob.state.Block("dora", friend); err != nil {
		t.Fatal(err)
	}
	for _, who := range []*testClient{carl, dora} {
		if s, reason := who.tries("now that the name is free", "bob"); s != history.StatusFailed {
			t.Errorf("after the block the text of another %s is %s: %s", who.Name(), s, reason)
		}
	}
	if got := bob.texts(); len(got) != 0 {
		t.Errorf("bob saw %q", got)
	}
	// The newcomer is not taken for the blocked person, and is accepted by the whole identity.
	bob.leave()
	bob = town.client("bob")
	if _, err := bob.Send(t.Context(), []string{"dora"}, "who are you"); !fail.HasCode(err, proto.IdentityChanged) {
		t.Errorf("a message to the newcomer: %v", err)
	}
	if _, err := bob.state.AcceptPeer("dora", dora.Inside().Identity()); err != nil {
		t.Fatal(err)
	}
	bob.mustSend("welcome", "dora")
	dora.awaitText("welcome")
}

// TestAttack26StrangerLines: whatever line of the history a stranger causes, over a connection of
// either kind, the disk holds the small inbox. Nothing is begun from here after a no, nor while the
// question is open, and messages after the end of a conversation are not taken.
func TestAttack26StrangerLines(t *testing.T) {
	const at, bundles = 200, 2 * 28 << 10
	sealed := func(m *evilPeer, bob *testClient, typ string, seal func() (*crypto.Sealed, error)) {
		for range at {
			s, err := seal()
			if err != nil {
				t.Fatal(err)
			}
			m.Say(headerTo(typ, end(bob)), s.Body)
		}
	}
	ways := map[string]func(m *evilPeer, bob *testClient){
		"ends": func(m *evilPeer, bob *testClient) {
			sealed(m, bob, proto.TypeDisconnect, func() (*crypto.Sealed, error) { return m.conv.SealEnd(time.Now()) })
		},
		"receipts": func(m *evilPeer, bob *testClient) {
			sealed(m, bob, proto.TypeCommAck, func() (*crypto.Sealed, error) { return m.conv.SealReceipt(0, 0, time.Now()) })
		},
		"broken messages": func(m *evilPeer, bob *testClient) {
			s, err := m.conv.SealEnd(time.Now())
			if err != nil {
				t.Fatal(err)
			}
			s.Body[len(s.Body)-1] ^= 1
			m.Say(headerTo(proto.TypeDisconnect, end(bob)), s.Body)
		},
		"unknown conversations": func(m *evilPeer, bob *testClient) {
			h := headerTo(proto.TypeError, end(bob))
			h.Code, h.Message = proto.NoConversation, "x"
			m.Say(h, m.conv.T3[:])
		},
	}
	for _, takes := range []string{proto.TakesMessages, proto.TakesPipe} {
		for _, answer := range []string{"no", "open", "unasked"} {
			for way, act := range ways {
				if answer != "unasked" && (takes == proto.TakesPipe || way != "unknown conversations") {
					continue // a pipe asks before it begins
				}
				t.Run(takes+" "+answer+" "+way, func(t *testing.T) {
					t.Parallel()
					town := newTown(t, "bob", "carol", "mallory")
					carol := town.client("carol")
					q := newQuestions()
					bob := town.client("bob", town.asksFor(q, carol.Fingerprint()), manyOffers, func(cfg *client.Config) {
						cfg.Takes, cfg.Again = takes, time.Millisecond
					})
					m := town.evilPeerTaking(takes, town.addr, "mallory", town.credential("mallory"))
					before := bob.onDisk()
					if answer != "unasked" {
						bob.mustSend("hello?", "mallory")
						m.answer(end(bob))
						<-q.asked
						if answer == "no" {
							q.answers <- false
							bob.await("the no", func(ev client.Event) bool {
								return ev.Receipt != nil && ev.Receipt.Status == history.StatusFailed
							})
						}
						act(m, bob)
					}
					for refused := false; !refused; {
						grown := bob.onDisk() - before
						if grown > client.StrangerBytes+bundles {
							t.Fatalf("a stranger left %d bytes on the disk", grown)
						}
						i := m.offer(end(bob))
						for over := false; !over; {
							switch x := m.Next(); {
							case x.Type == proto.TypeError && x.Code == proto.NotAccepted, m.isEnded(x):
								refused, over = true, true
							case x.Type == proto.TypeClientConnect && x.Phase == 1:
								t.Fatal("a conversation with somebody who is not accepted is begun anew")
							case x.Type == proto.TypeClientConnect && x.Phase == 2:
								p3, conv, err := i.Phase2(x.Body, m.trusts("bob"))
								if err != nil {
									t.Fatal(err)
								}
								m.conv = conv
								m.phase(end(bob), 3, p3)
								act(m, bob)
								over = true
							}
						}
					}
					if n := bob.refusals("mallory"); n != 1 {
						t.Errorf("bob is told %d times", n)
					}
					leaves(t, bob)
					town.historyHolds(bob.state.HistoryDir())
				})
			}
		}
	}
}

// TestAttack26ReadDoesNotCount: messages that were READ leave the small inbox of somebody who is
// accepted no more, also after a restart.
func TestAttack26ReadDoesNotCount(t *testing.T) {
	town := newTown(t, "alice", "bob", "carol")
	alice, carol := town.client("alice"), town.client("carol")
	bob := town.client("bob", strict(carol))
	bob.accept(alice)
	for i := range client.StrangerRecords {
		alice.mustSend(fmt.Sprint(i), "bob")
		alice.mustSettle(history.StatusRead)
	}
	if ok, err := bob.state.ForgetPeer("alice"); !ok || err != nil {
		t.Fatal(ok, err)
	}
	for _, text := range []string{"a word", "another"} {
		if s, reason := alice.tries(text, "bob"); s != history.StatusDelivered {
			t.Errorf("nothing is kept, and a text is %s: %s", s, reason)
		}
		leaves(t, bob)
		bob = town.client("bob", strict(carol))
	}
}
