package client

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// talks gives a client a connection of somebody's, with a conversation if conv is set.
func (v *visitor) talks(with *visitor, conv bool) *peerConn {
	pair := v.o.pair
	pair.A, pair.B = v.user, with.user
	v.e.connCame(with.user.End.Conn, with.user.End.Name, proto.TakesMessages)
	pc := v.e.conns[with.user.End.Conn]
	pc.shake.again = time.Now().Add(time.Hour) // nobody answers
	if conv {
		pair.Connect()
		v.e.converse(pc, pair.Ca)
		pc.confirmed = true
	}
	return pc
}

// texts returns the texts in the letters that the office has, for one mailbox.
func (o *office) texts(of *visitor) (texts []string) {
	o.t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, k := range o.kept {
		if k.kind != crypto.LetterText || k.mailbox != [32]byte(of.user.Local.Bundle.Mailbox) {
			continue
		}
		l := letterIn(o.t, of, k.body)
		if err := l.ReadRecords(o.sender); err != nil {
			o.t.Fatal(err)
		}
		for _, r := range l.Records {
			texts = append(texts, r.Text)
		}
	}
	return texts
}

// TestDeviceThatIsThere: a text goes over its conversation, and as a letter to the other device of the
// same person. What it has not called DELIVERED in ten seconds goes as a letter, too; what it has does
// not.
func TestDeviceThatIsThere(t *testing.T) {
	o := newOffice(t)
	alice, here := o.comer("alice").come(func(cfg *Config) { cfg.Persistent = true }), o.comer("bob")
	o.sender = alice.e.self
	away := &visitor{o: o, holder: here.holder, dir: t.TempDir()}
	away.delegate("bob")
	away.user.End.Conn = "00000000000000b1"
	var pc *peerConn
	alice.e.do(t.Context(), func() { pc = alice.talks(here, true) })
	alice.write("one", "bob")
	alice.write("two", "bob")
	alice.receipt(history.StatusKept)
	alice.receipt(history.StatusKept)
	if got := o.texts(here); len(got) > 0 {
		t.Errorf("letters to the device that is there: %q", got)
	}
	alice.e.do(t.Context(), func() {
		if pc.out.last() != 2 {
			t.Errorf("%d texts have left over the conversation", pc.out.last())
		}
		alice.e.onReceipt(pc, 1, 0)
		alice.e.leaveSilent(pc, time.Now().Add(9*time.Second))
		if w := alice.e.letters.ways[wayOf(pc.conv.PeerBundle)]; len(w.texts) > 0 {
			t.Error("too early")
		}
		alice.e.leaveSilent(pc, time.Now().Add(11*time.Second))
		alice.e.flushLetters()
	})
	for end := time.Now().Add(wire.Timeout); len(o.texts(here)) == 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
	}
	if got := fmt.Sprint(o.texts(here), o.texts(away)); got != "[two] [one two]" {
		t.Errorf("letters: %s", got)
	}
}

// TestConversationComesFirst: what waits for a device goes over its conversation if that comes up
// before the letter was sealed, and not twice.
func TestConversationComesFirst(t *testing.T) {
	o := newOffice(t)
	alice, bob := o.comer("alice").come(func(cfg *Config) { cfg.Persistent = true }), o.comer("bob")
	o.sender = alice.e.self
	alice.write("kept", "bob")
	alice.receipt(history.StatusKept)
	alice.e.do(t.Context(), func() {
		alice.e.letters.ways[wayOf(bob.user.Local.Bundle)].again = time.Now().Add(time.Hour)
	})
	alice.write("over the conversation", "bob")
	var pc *peerConn
	alice.e.do(t.Context(), func() { pc = alice.talks(bob, true) })
	alice.e.do(t.Context(), func() {
		var sent []string
		for _, d := range slices.Concat(pc.out.sent, pc.out.queue) {
			sent = append(sent, d.r.out.record.Text)
		}
		if fmt.Sprint(sent) != "[over the conversation]" {
			t.Errorf("over the conversation go %q", sent)
		}
		if w := alice.e.letters.ways[wayOf(pc.conv.PeerBundle)]; len(w.texts) > 0 {
			t.Error("it waits as a letter as well")
		}
		alice.e.letters.ways[wayOf(pc.conv.PeerBundle)].again = time.Time{}
		alice.e.flushLetters()
	})
	nothingOnItsWay(alice)
	if got := o.texts(bob); fmt.Sprint(got) != "[kept]" {
		t.Errorf("letters: %q", got)
	}
}

// TestUndecidedConnection: while a connection has yet to prove whose device it is, a text waits for it,
// no longer than ten seconds.
func TestUndecidedConnection(t *testing.T) {
	o := newOffice(t)
	alice, bob := o.comer("alice").come(func(cfg *Config) { cfg.Persistent = true }), o.comer("bob")
	o.sender = alice.e.self
	var pc *peerConn
	alice.e.do(t.Context(), func() { pc = alice.talks(bob, false) })
	alice.write("hello", "bob")
	alice.receipt(history.StatusPending)
	for asked := 0; asked == 0; time.Sleep(time.Millisecond) { // the answer has come, and its look is over
		alice.e.do(t.Context(), func() { asked = len(alice.e.userFor("bob").boxes.ways) })
	}
	if got := o.texts(bob); len(got) > 0 {
		t.Errorf("letters: %q", got)
	}
	for end := time.Now().Add(time.Minute); len(o.texts(bob)) == 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
		alice.e.do(t.Context(), func() { alice.e.leaveSilent(pc, time.Now().Add(11*time.Second)) })
	}
	if got := o.texts(bob); fmt.Sprint(got) != "[hello]" {
		t.Errorf("letters: %q", got)
	}
	alice.receipt(history.StatusKept)
	if out := alice.outcome(); out.ExitStatus() == fail.ExitKept {
		t.Errorf("kept, although a connection is there: %+v", out)
	}
}

func (v *visitor) outcome() (out Outcome) {
	v.e.do(v.o.t.Context(), func() { out = v.e.outcome(history.StatusDelivered) })
	return out
}

// TestLetterBatches: many texts go in few letters, one after the other, in their order.
func TestLetterBatches(t *testing.T) {
	o := newOffice(t)
	alice, bob := o.comer("alice").come(nil), o.comer("bob")
	o.sender = alice.e.self
	const n = 700
	var want []string
	for i := range n {
		want = append(want, fmt.Sprint("text ", i))
		alice.write(want[i], "bob")
	}
	if out := quiet(t, alice, history.StatusDelivered); out.ExitStatus() != fail.ExitKept || out.Names[0].Boxed != n {
		t.Errorf("%+v", out)
	}
	if got := o.texts(bob); !slices.Equal(got, want) {
		t.Errorf("%d texts, not in their order", len(got))
	}
	for i, k := range o.letters() {
		if l := letterIn(t, bob, k.body); l.Header.N != uint64(i)+1 || l.Header.Count > letterRecords {
			t.Errorf("letter %d has the number %d and %d texts", i, l.Header.N, l.Header.Count)
		}
	}
	if len(o.letters()) > 20 {
		t.Errorf("%d letters", len(o.letters()))
	}
	bob = bob.come(nil)
	for _, text := range want {
		bob.message(text)
	}
}

// TestReceiptsOfLetters: a person who is not accepted gets DELIVERED alone; READ follows a later
// acceptance, also by another client, and an earlier run's message is told once by its sender.
func TestReceiptsOfLetters(t *testing.T) {
	o := newOffice(t)
	stranger := func(cfg *Config) { cfg.AcceptNew = false }
	sender, away := o.comer("alice"), o.comer("bob")
	alice := sender.come(nil)
	id := alice.write("hello", "bob")
	alice.receipt(history.StatusKept)
	alice.goAway()
	bob := away.come(stranger)
	m := bob.message("hello")
	bob.Shown(m)
	o.acked("stored")
	alice = sender.come(nil)
	if r := alice.receipt(history.StatusDelivered); r.ID != id || r.No != 0 || r.To != "bob" {
		t.Errorf("%+v", r)
	}
	if d := inHistory(t, alice.e.cfg.State.HistoryDir(), "hello"); d.Status != history.StatusDelivered {
		t.Errorf("%+v", d)
	}
	bob.goAway()
	if _, err := bob.e.cfg.State.AcceptPeer("alice", sender.user.Local.Identity); err != nil {
		t.Fatal(err)
	}
	away.come(stranger)
	if r := alice.receipt(history.StatusRead); r.ID != id {
		t.Errorf("%+v", r)
	}
	if d := inHistory(t, alice.e.cfg.State.HistoryDir(), "hello"); d.Status != history.StatusRead {
		t.Errorf("%+v", d)
	}
}

// TestReceiptsOfAnotherClient: the relay hands receipts to the oldest client of a state directory. The
// one that has written the message sees them, too.
func TestReceiptsOfAnotherClient(t *testing.T) {
	o := newOffice(t)
	sender, bob := o.comer("alice"), o.comer("bob")
	prompt := sender.come(func(cfg *Config) { cfg.Persistent = true })
	once := sender.come(func(cfg *Config) { cfg.Takes = proto.TakesNone })
	id := once.write("hello", "bob")
	once.receipt(history.StatusKept)
	bob = bob.come(nil)
	bob.Shown(bob.message("hello"))
	if r := once.receipt(history.StatusRead); r.ID != id || r.To != "bob" || r.No != 1 {
		t.Errorf("%+v", r)
	}
	if out := quiet(t, once, history.StatusRead); out.ExitStatus() != 0 {
		t.Errorf("status %d: %+v", out.ExitStatus(), out)
	}
	prompt.receipt(history.StatusRead)
	if acks := o.letters()[1].acks; !slices.Equal(acks, []string{"stored"}) {
		t.Errorf("the receipt is answered %q", acks)
	}
}

// TestLetterToAnotherClientsBundle: the oldest client of a state directory takes letters to the bundle of
// one that came after it.
func TestLetterToAnotherClientsBundle(t *testing.T) {
	o := newOffice(t)
	sender, away := o.comer("alice"), o.comer("bob")
	bob := away.come(nil)
	away.delegate("bob")
	away.come(nil)
	alice := sender.come(nil)
	alice.write("hello", "bob")
	alice.receipt(history.StatusKept)
	bob.message("hello")
	o.acked("stored")
}

// TestReceiptBeforeKept: a receipt that overtakes the relay's answer counts.
func TestReceiptBeforeKept(t *testing.T) {
	o := newOffice(t)
	alice, bob := o.comer("alice").come(nil), o.comer("bob").come(nil)
	o.mu.Lock()
	o.silent = true
	o.mu.Unlock()
	id := alice.write("hello", "bob")
	bob.Shown(bob.message("hello"))
	if r := alice.receipt(history.StatusRead); r.ID != id || r.No != 1 {
		t.Errorf("%+v", r)
	}
}

// TestLetterStandsInTheHistoryFirst: also a message that has waited for nothing, so that a receipt that
// another client of the state directory gets is for a message that it finds.
func TestLetterStandsInTheHistoryFirst(t *testing.T) {
	o := newOffice(t)
	sender, bob := o.comer("alice"), o.comer("bob")
	other := sender.come(nil)
	alice := sender.come(nil)
	alice.write("first", "bob")
	alice.receipt(history.StatusKept)
	bob = bob.come(nil)
	bob.message("first")
	o.mu.Lock()
	o.silent = true
	o.mu.Unlock()
	e := alice.e
	e.do(t.Context(), func() {
		u := e.userFor("bob")
		to := []crypto.Recipient{{Name: u.name, Identity: proto.FormatHash(u.identity)}}
		out := newOutRecord(crypto.NewRecord(e.self, to, "second", e.now()), []*user{u})
		u.counts.total++
		e.put(u.boxes.ways[0], out.to[0], nil)
	})
	m := bob.message("second")
	bob.Shown(m)
	other.await("READ of the second", func(ev Event) bool {
		if ev.Err != nil {
			t.Fatal(ev.Err)
		}
		return ev.Receipt != nil && ev.Receipt.ID == m.ID && ev.Receipt.Status == history.StatusRead
	})
}

// TestReceiptsOutliveTheRelay: what a client owes when it ends without the relay goes by the next one.
func TestReceiptsOutliveTheRelay(t *testing.T) {
	o := newOffice(t)
	alice, away := o.comer("alice").come(nil), o.comer("bob")
	alice.write("hello", "bob")
	alice.receipt(history.StatusKept)
	bob := away.come(nil)
	m := bob.message("hello")
	o.acked("stored")
	bob.forget()
	bob.e.do(t.Context(), func() {
		bob.e.lost(nil)
		bob.e.marks.put([]*shownMark{m.mark})
		bob.e.end(nil)
	})
	bob.e.abort()
	bob.e.wg.Wait()
	away.come(nil)
	alice.receipt(history.StatusRead)
}

// TestStrangersLetters: of a person who is not accepted a few messages are kept, and the rest refused.
func TestStrangersLetters(t *testing.T) {
	o := newOffice(t)
	eve, away := o.comer("eve"), o.comer("bob")
	var want []string
	for i := range StrangerRecords + 2 {
		o.kept = append(o.kept, o.forge(eve, away, uint64(i)+1, o.pair.Clock.Now(), func(d *crypto.LetterDraft) {
			d.Records[0] = o.record(eve, away, fmt.Sprint(i))
		}))
		want = append(want, proto.Stored)
	}
	want[StrangerRecords], want[StrangerRecords+1] = proto.Refused, proto.Refused
	bob := away.come(func(cfg *Config) { cfg.AcceptNew = false })
	bob.await("a refusal", func(ev Event) bool { return ev.Peer != nil && ev.Peer.What == "refused" })
	o.acked(want...)
}

// TestKeptWaits: with -wait-peer a wait goes on after KEPT.
func TestKeptWaits(t *testing.T) {
	o := newOffice(t)
	o.comer("bob")
	alice := o.comer("alice").come(func(cfg *Config) { cfg.WaitPeer = time.Hour })
	alice.write("hello", "bob")
	alice.receipt(history.StatusKept)
	alice.e.do(t.Context(), func() {
		if alice.e.settled(history.StatusDelivered) || !alice.e.settled(history.StatusSent) {
			t.Error("KEPT reaches SENT, and with -wait-peer ends no wait for more")
		}
		alice.e.userFor("bob").counts.keptAt = time.Now().Add(-2 * time.Hour)
		if !alice.e.settled(history.StatusDelivered) {
			t.Error("it waits for longer than -wait-peer says")
		}
	})
}

// TestDeviceReturns: what is written for a device that was lost without a word waits ten seconds for its
// return, and then goes as a letter. One that has said that it goes is not awaited.
func TestDeviceReturns(t *testing.T) {
	for _, ended := range []bool{false, true} {
		o := newOffice(t)
		alice, bob := o.comer("alice").come(func(cfg *Config) { cfg.Persistent = true }), o.comer("bob")
		o.sender = alice.e.self
		alice.e.do(t.Context(), func() {
			pc := alice.talks(bob, true)
			pc.ending = ended
			alice.e.connGone(pc.id, "a test")
		})
		alice.write("hello", "bob")
		alice.receipt(history.StatusPending)
		if !ended {
			for ready := false; !ready; time.Sleep(time.Millisecond) {
				alice.e.do(t.Context(), func() { ready = alice.e.hasBox(alice.e.userFor("bob")) })
			}
			alice.e.do(t.Context(), func() {
				u := alice.e.userFor("bob")
				if alice.e.expire(u, time.Now()); len(u.orphans) != 1 {
					t.Errorf("%d records wait for the device", len(u.orphans))
				}
				u.away[0].since = time.Now().Add(-11 * time.Second)
			})
		}
		alice.receipt(history.StatusKept)
		nothingOnItsWay(alice)
		if got := o.texts(bob); fmt.Sprint(got) != "[hello]" {
			t.Errorf("letters: %q", got)
		}
	}
}
