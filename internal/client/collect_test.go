package client

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/history"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// forge seals a letter to bob, as a draft was changed.
func (o *office) forge(from, to *visitor, n uint64, at time.Time, change func(*crypto.LetterDraft)) *keptLetter {
	o.t.Helper()
	u, box := from.user, o.boxes[to.user.Local.FoldedName][0]
	d := crypto.LetterDraft{
		Key: u.Local.Key, Bundle: u.Local.Bundle, MailboxKey: o.boxes[u.Local.FoldedName][0].Key,
		To: box.Bundle.Hash(), ToKey: box.Key, N: n, Time: at,
		Records: []*crypto.Record{o.record(from, to, "a letter")},
	}
	if change != nil {
		change(&d)
	}
	l, err := crypto.SealLetter(d)
	if err != nil {
		o.t.Fatal(err)
	}
	return &keptLetter{
		kind: l.Header.Kind, identity: proto.FormatHash(u.Local.Identity), mailbox: l.Mailbox, id: l.ID,
		to:   proto.FormatHash(to.user.Local.Identity),
		left: o.pair.Clock.Now(), body: l.Body,
	}
}

func (o *office) record(from, to *visitor, text string) *crypto.Record {
	rc := crypto.Recipient{Name: to.user.Local.FoldedName, Identity: proto.FormatHash(to.user.Local.Identity)}
	return crypto.NewRecord(from.user.Local.Identity, []crypto.Recipient{rc}, text, o.pair.Clock.Now())
}

// TestLettersThatAreRefused: the relay's and the sender's lies, each refused for its own reason, and
// the honest letter behind it is shown.
func TestLettersThatAreRefused(t *testing.T) {
	type scene struct {
		o               *office
		alice, bob, eve *visitor
	}
	entry := func(r *crypto.Record, sender [32]byte) crypto.LetterReceipts {
		id := crypto.FullRecordID(sender, r)
		return crypto.LetterReceipts{{ID: id[:], Level: crypto.LevelRead, Time: wire.Epoch.UnixMilli()}}
	}
	plain := func(s *scene) *keptLetter { return s.o.forge(s.alice, s.bob, 1, s.o.pair.Clock.Now(), nil) }
	for _, c := range []struct {
		what, answer, said string
		letter             func(s *scene) *keptLetter
	}{
		{"another's stamp", proto.Refused, "from another person", func(s *scene) *keptLetter {
			k := plain(s)
			k.identity = proto.FormatHash(s.eve.user.Local.Identity)
			return k
		}},
		{"another kind", proto.Refused, "not what the relay calls it", func(s *scene) *keptLetter {
			k := plain(s)
			k.kind = crypto.LetterReceipt
			return k
		}},
		{"a byte changed", proto.Refused, "a letter is refused", func(s *scene) *keptLetter {
			k := plain(s)
			k.body = bytes.Clone(k.body)
			k.body[len(k.body)-1] ^= 1
			return k
		}},
		{"to a mailbox that is nobody's here", proto.Refused, "not here any more", func(s *scene) *keptLetter {
			return s.o.forge(s.alice, s.eve, 1, s.o.pair.Clock.Now(), func(d *crypto.LetterDraft) { d.Records[0] = s.o.record(s.alice, s.bob, "x") })
		}},
		{"to a bundle that has not named the mailbox", proto.Refused, "not named its mailbox", func(s *scene) *keptLetter {
			return s.o.forge(s.alice, s.bob, 1, s.o.pair.Clock.Now(), func(d *crypto.LetterDraft) { d.To = [32]byte{1} })
		}},
		{"back-dated", proto.Refused, errLetterTime.Error(), func(s *scene) *keptLetter {
			return s.o.forge(s.alice, s.bob, 1, s.o.pair.Clock.Now().Add(-5*time.Minute-time.Second), nil)
		}},
		{"back-dated with the relay, to before the last collection", proto.Refused, errOldLetter.Error(), func(s *scene) *keptLetter {
			k := s.o.forge(s.alice, s.bob, 1, s.o.pair.Clock.Now().Add(-5*time.Minute-time.Second), nil)
			k.left = k.left.Add(-5 * time.Minute)
			return k
		}},
		{"of tomorrow, by both clocks", proto.Later, errClock.Error(), func(s *scene) *keptLetter {
			k := s.o.forge(s.alice, s.bob, 1, s.o.pair.Clock.Now().Add(6*time.Minute), nil)
			k.left = k.left.Add(6 * time.Minute)
			return k
		}},
		{"after the sender's delegation", proto.Refused, "delegation", func(s *scene) *keptLetter {
			s.o.pair.Clock.Add(8 * time.Hour)
			return plain(s)
		}},
		{"with a record for another", proto.Refused, "for others", func(s *scene) *keptLetter {
			return s.o.forge(s.alice, s.bob, 1, s.o.pair.Clock.Now(), func(d *crypto.LetterDraft) {
				d.Records = append(d.Records, s.o.record(s.alice, s.eve, "not for bob"))
			})
		}},
		{"with another's record", proto.Refused, "letter", func(s *scene) *keptLetter {
			return s.o.forge(s.alice, s.bob, 1, s.o.pair.Clock.Now(), func(d *crypto.LetterDraft) {
				d.Records[0] = s.o.record(s.eve, s.bob, "of eve's")
			})
		}},
		{"a receipt for a record that nobody wrote", proto.Refused, "no message of yours", func(s *scene) *keptLetter {
			return s.o.forge(s.alice, s.bob, 1, s.o.pair.Clock.Now(), func(d *crypto.LetterDraft) {
				d.Receipts, d.Records = entry(d.Records[0], s.alice.user.Local.Identity), nil
			})
		}},
		{"of a name that is another's", proto.Refused, "", func(s *scene) *keptLetter {
			other := s.o.comer("alice")
			s.o.boxes["alice"] = s.o.boxes["alice"][:1]
			return s.o.forge(other, s.bob, 1, s.o.pair.Clock.Now(), nil)
		}},
		{"of a name that is none", proto.Refused, "a name", func(s *scene) *keptLetter {
			other := *s.eve
			other.user = s.o.pair.Delegate(s.eve.holder, "eve\nalice", s.eve.user.End.Conn)
			s.o.boxes[other.user.Local.FoldedName] = s.o.boxes["eve"]
			return s.o.forge(&other, s.bob, 1, s.o.pair.Clock.Now(), func(d *crypto.LetterDraft) { d.MailboxKey = nil })
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			o := newOffice(t)
			s := &scene{o, o.comer("alice"), o.comer("bob"), o.comer("eve")}
			bob := s.bob.come(nil)
			bob.emptied()
			bob.goAway()
			o.kept = []*keptLetter{o.forge(s.alice, s.bob, 1, o.pair.Clock.Now(), func(d *crypto.LetterDraft) {
				d.Records[0].Text = "first"
				d.Records[0] = o.record(s.alice, s.bob, "first")
			})}
			bob = s.bob.come(nil)
			bob.message("first")
			o.acked("stored")
			bob.goAway()
			bad := c.letter(s)
			good := o.forge(s.eve, s.bob, 1, o.pair.Clock.Now(), nil)
			bad.mailbox, bad.to = good.mailbox, good.to // the relay hands it out to bob
			if strings.Contains(c.what, "delegation") && strings.Contains(c.what, "after") {
				s.eve.delegate("eve")
				s.bob.delegate("bob")
				good = o.forge(s.eve, s.bob, 1, o.pair.Clock.Now(), nil)
			}
			o.kept = []*keptLetter{bad, good}
			bob = s.bob.come(nil)
			said := func(ev Event) bool {
				refused := ev.Peer != nil && ev.Peer.What == "refused" && c.said == ""
				return refused || ev.Err != nil && c.said != "" && strings.Contains(ev.Err.Message, c.said)
			}
			bob.await("the reason", said)
			if m := bob.message("a letter"); m.From != "eve" {
				t.Errorf("shown: %+v", m)
			}
			o.acked(c.answer, "stored")
		})
	}
}

// emptied waits until the relay's word is stored that nothing is left.
func (v *visitor) emptied() {
	v.o.t.Helper()
	for end := time.Now().Add(wire.Timeout); !v.isEmptied(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			v.o.t.Fatal("the mailbox is not called empty")
		}
	}
}

func (v *visitor) isEmptied() bool {
	box, err := openMail(v.dir).box([32]byte(v.user.Local.Bundle.Mailbox))
	if err != nil || box == nil {
		v.o.t.Fatal(box, err)
	}
	return !box.Empty("the office").IsZero()
}

// TestLaterIsNotEmpty: a mailbox with a letter that was put off is not called empty, and the next
// connection gets the letter.
func TestLaterIsNotEmpty(t *testing.T) {
	o := newOffice(t)
	alice, away := o.comer("alice"), o.comer("bob")
	k := o.forge(alice, away, 1, o.pair.Clock.Now().Add(6*time.Minute), nil)
	k.left = k.left.Add(6 * time.Minute)
	o.kept = []*keptLetter{k}
	bob := away.come(nil)
	bob.problem("stays at the relay")
	o.acked("later")
	bob.e.do(t.Context(), func() {})
	if bob.isEmptied() {
		t.Error("the mailbox is called empty")
	}
	bob.goAway()
	o.pair.Clock.Add(6 * time.Minute)
	bob = away.come(nil)
	bob.message("a letter")
	o.acked("later stored")
	bob.emptied()
}

// TestLetterTwice: what the relay hands out again, and what a sender leaves again, is acked, shown
// once, and answered by the present level.
func TestLetterTwice(t *testing.T) {
	o := newOffice(t)
	alice, away := o.comer("alice"), o.comer("bob")
	r := o.record(alice, away, "once")
	again := func(n uint64) *keptLetter {
		return o.forge(alice, away, n, o.pair.Clock.Now(), func(d *crypto.LetterDraft) { d.Records[0] = r })
	}
	first := again(1)
	o.kept = []*keptLetter{first, again(1)}
	o.change = func(k *keptLetter) []*keptLetter { return []*keptLetter{k, k} }
	bob := away.come(nil)
	m := bob.message("once")
	o.acked("stored stored", "stored stored")
	bob.Shown(m)
	o.awaitReceipt(alice, r, crypto.LevelRead)
	bob.goAway()
	o.kept = []*keptLetter{again(2)}
	bob = away.come(nil)
	o.awaitReceipt(alice, r, crypto.LevelRead)
	events, _ := bob.events0()
	for _, ev := range events {
		if ev.Message != nil {
			t.Errorf("shown again: %+v", ev.Message)
		}
	}
}

func (v *visitor) events0() ([]Event, error) { return v.e.events.take() }

// awaitReceipt waits for a letter with a receipt for a record.
func (o *office) awaitReceipt(to *visitor, r *crypto.Record, level string) {
	o.t.Helper()
	id := crypto.FullRecordID(to.user.Local.Identity, r)
	for end := time.Now().Add(wire.Timeout); ; time.Sleep(time.Millisecond) {
		o.mu.Lock()
		kept := append([]*keptLetter{}, o.kept...)
		o.mu.Unlock()
		for _, k := range kept {
			if k.kind != crypto.LetterReceipt {
				continue
			}
			l := letterIn(o.t, to, k.body)
			if err := l.ReadRecords([32]byte{}); err != nil {
				o.t.Fatal(err)
			}
			for _, entry := range l.Receipts {
				if bytes.Equal(entry.ID, id[:]) && entry.Level == level {
					return
				}
			}
		}
		if time.Now().After(end) {
			o.t.Fatalf("no receipt says %s", level)
		}
	}
}

// TestMissingLetters: a gap in the numbers is shown, stops nothing, and is told once. So is what the
// other side says in a handshake.
func TestMissingLetters(t *testing.T) {
	o := newOffice(t)
	alice, away := o.comer("alice"), o.comer("bob")
	for _, n := range []uint64{1, 4, 2, 5} {
		o.kept = append(o.kept, o.forge(alice, away, n, o.pair.Clock.Now(), nil))
	}
	bob := away.come(nil)
	gap := bob.await("a gap", func(ev Event) bool { return ev.Gap != nil }).Gap
	if gap.Name != "alice" || gap.Reason != "letters of alice's are missing: numbers 2 to 3" {
		t.Errorf("%+v", gap)
	}
	o.acked("stored", "stored", "stored", "stored")
	pc := &peerConn{id: "00000000000000a0", name: "alice", conv: &crypto.Conversation{PeerBundle: alice.user.Local.Bundle, PeerLetter: 6}}
	bob.e.do(t.Context(), func() {
		own := bob.e.local.Bundle
		o.pair.A, o.pair.B = alice.user, bob.user
		o.pair.Connect()
		pc.conv = o.pair.Cb
		pc.conv.PeerLetter = 6
		if pc.conv.MyBundle() != own.Hash() {
			t.Error("the conversation is of another bundle")
		}
		for range 2 {
			bob.e.collect.check = append(bob.e.collect.check, pc)
			bob.e.checkMissing()
		}
	})
	var told []string
	events, _ := bob.events0()
	for _, ev := range append(bob.events, events...) {
		if ev.Gap != nil {
			told = append(told, ev.Gap.Reason)
		}
	}
	if len(told) != 1 || told[0] != "a letter of alice's is missing: number 6" {
		t.Errorf("told: %q", told)
	}
}

// TestOffersWaitForLetters: a p1 is answered after the letters that were left before it, or after some
// seconds.
func TestOffersWaitForLetters(t *testing.T) {
	o := newOffice(t)
	o.noEnd = true
	alice, away := o.comer("alice"), o.comer("bob")
	bob := away.come(nil)
	end := crypto.End{Name: "alice", Conn: "00000000000000a0"}
	var p1 []byte
	offer := func() (held int) {
		_, p1, _ = crypto.Initiate(alice.user.Local, end, bob.e.myEnd())
		bob.e.onInbound(Inbound{&proto.Header{Type: proto.TypeClientConnect, Phase: 1, Src: "alice", SrcID: end.Conn}, p1}, true)
		return len(bob.e.conns[end.Conn].held.lines)
	}
	bob.e.do(t.Context(), func() {
		if held := offer(); held != 1 {
			t.Errorf("%d lines wait", held)
		}
		bob.e.collect.until = time.Now()
		bob.e.releaseHeld()
		if pc := bob.e.conns[end.Conn]; len(pc.held.lines) != 0 || pc.shake.step == nil {
			t.Error("it waits after the time")
		}
		bob.e.dropConn(end.Conn, "a test")
		bob.e.collect.until = time.Now().Add(time.Hour)
		if held := offer(); held != 1 {
			t.Errorf("%d lines wait", held)
		}
	})
	mailbox := proto.FormatHash([32]byte(bob.e.local.Bundle.Mailbox))
	bob.tell(bob.sess, &proto.Header{Type: proto.TypeLetterEnd, Mailbox: mailbox, Left: o.pair.Clock.Now().UnixMilli()}, nil)
	for end0 := time.Now().Add(wire.Timeout); ; time.Sleep(time.Millisecond) {
		waits := true
		bob.e.do(t.Context(), func() { waits = len(bob.e.conns[end.Conn].held.lines) > 0 })
		if !waits {
			return
		}
		if time.Now().After(end0) {
			t.Fatal("it waits after letter-end")
		}
	}
}

// TestReceiptsBeforeGoodbye: a client that takes no messages, as a short command's, leaves after it
// has the receipts that wait for it.
func TestReceiptsBeforeGoodbye(t *testing.T) {
	o := newOffice(t)
	o.noEnd = true
	short := o.comer("alice").come(func(cfg *Config) { cfg.Takes = proto.TakesNone })
	said := false
	short.e.do(t.Context(), func() {
		short.e.leave()
		short.e.flush()
		said = short.e.goodbye
	})
	if said {
		t.Error("it leaves before letter-end")
	}
	mailbox := proto.FormatHash([32]byte(short.e.local.Bundle.Mailbox))
	short.tell(short.sess, &proto.Header{Type: proto.TypeLetterEnd, Mailbox: mailbox, Left: o.pair.Clock.Now().UnixMilli()}, nil)
	for end := time.Now().Add(wire.Timeout); !said; time.Sleep(time.Millisecond) {
		short.e.do(t.Context(), func() { said = short.e.goodbye })
		if time.Now().After(end) {
			t.Fatal("it stays after letter-end")
		}
	}
}

// brokenSync is a history's file whose Sync fails while it is told to.
type brokenSync struct {
	*os.File
	broken *bool
}

func (b brokenSync) Sync() error {
	if *b.broken {
		return errors.New("the disk is gone")
	}
	return b.File.Sync()
}

// TestAckFollowsTheDisk: a letter that the disk has not is not acked as stored.
func TestAckFollowsTheDisk(t *testing.T) {
	o := newOffice(t)
	alice, away := o.comer("alice"), o.comer("bob")
	broken := true
	o.kept = []*keptLetter{o.forge(alice, away, 1, o.pair.Clock.Now(), nil)}
	bob := away.come(func(cfg *Config) {
		cfg.Through = func(f *os.File) history.Store { return brokenSync{f, &broken} }
	})
	<-bob.e.ended
	for _, k := range o.letters() {
		if len(k.acks) > 0 && k.acks[0] == proto.Stored {
			t.Errorf("acked %q", k.acks)
		}
	}
}

// TestBlockedLetter: nothing of a blocked person is stored or shown, and nobody is told.
func TestBlockedLetter(t *testing.T) {
	o := newOffice(t)
	alice, eve, away := o.comer("alice"), o.comer("eve"), o.comer("bob")
	bob := away.come(nil)
	if _, _, err := bob.e.cfg.State.Block("eve", eve.user.Local.Identity); err != nil {
		t.Fatal(err)
	}
	bob.goAway()
	o.kept = []*keptLetter{o.forge(eve, away, 1, o.pair.Clock.Now(), nil), o.forge(alice, away, 1, o.pair.Clock.Now(), nil)}
	bob = away.come(nil)
	m := bob.await("the letter", func(ev Event) bool {
		if ev.Err != nil || ev.Peer != nil && ev.Peer.What == "refused" {
			t.Errorf("told: %+v", ev)
		}
		return ev.Message != nil
	}).Message
	if m.From != "alice" {
		t.Errorf("%+v", m)
	}
	o.acked("refused", "stored")
	keys, err := os.ReadDir(filepath.Join(away.dir, mailDir, fromDir))
	if err != nil || len(keys) != 1 {
		t.Errorf("mailbox keys are kept of %v, %v; want alice's alone", keys, err)
	}
}

// TestInventedNamesAreForgotten: letters that are refused leave no user behind, whatever their names.
func TestInventedNamesAreForgotten(t *testing.T) {
	o := newOffice(t)
	eve, away := o.comer("eve"), o.comer("bob")
	for _, name := range []string{"eva", "evo", "evi"} {
		other := *eve
		other.user = o.pair.Delegate(eve.holder, name, eve.user.End.Conn)
		o.boxes[name] = o.boxes["eve"]
		o.kept = append(o.kept, o.forge(&other, away, 1, o.pair.Clock.Now(), func(d *crypto.LetterDraft) {
			id := crypto.FullRecordID(eve.user.Local.Identity, d.Records[0])
			d.MailboxKey, d.Records = nil, nil
			d.Receipts = crypto.LetterReceipts{{ID: id[:], Level: crypto.LevelRead, Time: 1}}
		}))
	}
	bob := away.come(nil)
	for range o.kept {
		bob.problem("no message of yours")
	}
	o.acked("refused", "refused", "refused")
	bob.e.do(t.Context(), func() {
		if len(bob.e.users) > 0 {
			t.Errorf("users: %v", bob.e.users)
		}
	})
}

// TestEndsWithoutEndAreTooMany: a relay that hands out ends without end fills no memory.
func TestEndsWithoutEndAreTooMany(t *testing.T) {
	o := newOffice(t)
	bob := o.comer("bob").come(nil)
	bob.emptied()
	bob.e.do(t.Context(), func() {
		bob.e.collect.busy = true
		for range maxCollecting/EventCost + 1 {
			bob.e.onCollected(Inbound{&proto.Header{Type: proto.TypeLetterEnd, Mailbox: strings.Repeat("0", 64), Left: 1}, nil})
		}
		if reason := bob.sess.Reason(); reason == nil || !strings.Contains(reason.Error(), "more letters") {
			t.Errorf("the session ends for %v", reason)
		}
	})
}
