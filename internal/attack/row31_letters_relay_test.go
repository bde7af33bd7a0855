package attack

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/proto"
	"chatsecure/testdata/lab/people"
	"chatsecure/testdata/lab/wire"
)

// Row 31: a relay that lies about letters.

// TestAttack31Reordered: the relay hands letters out in another order. Each is shown once, a letter
// that comes after a missing one with a gap. In the right order there is none.
func TestAttack31Reordered(t *testing.T) {
	for _, c := range []struct {
		order []int
		gaps  []string
	}{
		{[]int{0, 1, 2}, nil},
		{[]int{2, 0, 1}, []string{"letters of alice's are missing: numbers 1 to 2"}},
		{[]int{0, 2, 1}, []string{"a letter of alice's is missing: number 2"}},
	} {
		t.Run(fmt.Sprint(c.order), func(t *testing.T) {
			town, relay := letterTown(t, "alice", "bob")
			town.wasHere("bob")
			alice := town.client("alice", town.byLetter("alice"))
			ids := alice.leaveLetters("bob", "sell", "wait", "cancel")
			relay.handsOut("bob", func(waiting []*keptLetter) (out []*keptLetter) {
				for _, i := range c.order {
					out = append(out, waiting[i])
				}
				return out
			})
			bob := town.client("bob", town.byLetter("bob"))
			var want []string
			for _, i := range c.order {
				want = append(want, []string{"sell", "wait", "cancel"}[i])
			}
			for _, id := range ids {
				alice.awaitStatus(id, "bob", history.StatusRead)
			}
			bob.saw(want, c.gaps...)
			leaves(t, alice, bob)
			town.historiesHold("alice", "bob")
		})
	}
}

// TestAttack31Replayed: the relay hands a letter out again: at once, with another time, over a later
// connection, and after a restart of the receiver. It is shown once.
func TestAttack31Replayed(t *testing.T) {
	town, relay := letterTown(t, "alice", "bob")
	town.wasHere("bob")
	alice := town.client("alice", town.byLetter("alice"))
	id := alice.leaveLetters("bob", "pay")[0]
	letter := relay.texts()[0]
	relay.handsOut("bob", func([]*keptLetter) []*keptLetter {
		return []*keptLetter{letter, letter, letter.as(func(k *keptLetter) { k.left = k.left.Add(time.Minute) })}
	})
	const stored = proto.Stored
	bob := town.client("bob", town.byLetter("bob"))
	relay.answered("bob", stored, stored, stored)
	alice.awaitStatus(id, "bob", history.StatusRead)
	bob.saw([]string{"pay"})
	bob.cutOff()
	relay.answered("bob", stored, stored, stored, stored, stored, stored)
	bob.saw([]string{"pay"})
	bob.leave()
	relay.lie(func() {})
	bob = town.client("bob", town.byLetter("bob"))
	relay.answered("bob", stored, stored, stored)
	bob.saw(nil)
	bob.quietly()
	relay.isHonest()
	alice.mustSend("another", "bob")
	bob.awaitText("another")
	bob.saw([]string{"another"})
	if got := alice.statuses(id); !slices.Equal(got, []history.Status{history.StatusPending, history.StatusKept, history.StatusRead}) {
		t.Errorf("alice is told %v", got)
	}
	leaves(t, alice, bob)
	town.historiesHold("alice", "bob")
}

// TestAttack31Dropped: the relay drops a letter that it has called kept. The next letter shows it, and
// of the last one the next conversation, whoever begins it. It is never READ. With all there, no gap.
func TestAttack31Dropped(t *testing.T) {
	const missing = "a letter of alice's is missing: number "
	for _, c := range []struct {
		what   string
		drop   int // by number, from 0
		begins string
		gap    string
	}{
		{"none", -1, "alice", ""},
		{"the one in the middle", 1, "alice", missing + "2"},
		{"the last, by p3", 2, "alice", missing + "3"},
		{"the last, by p2", 2, "bob", missing + "3"},
	} {
		t.Run(c.what, func(t *testing.T) {
			town, relay := letterTown(t, "alice", "bob")
			town.wasHere("bob")
			alice := town.client("alice", town.byLetter("alice"))
			came := 0
			relay.lie(func() {
				relay.keep = func(k *keptLetter) (time.Time, bool) {
					kept := k.kind != proto.LetterText || came != c.drop
					if k.kind == proto.LetterText {
						came++
					}
					return k.left.Add(24 * time.Hour), kept
				}
			})
			ids := alice.leaveLetters("bob", "one", "two", "three")
			var want []string
			for i, text := range []string{"one", "two", "three"} {
				if i != c.drop {
					want = append(want, text)
				}
			}
			bob := town.client("bob", town.byLetter("bob"))
			bob.awaitText(want[1])
			for i, id := range ids {
				if i != c.drop {
					alice.awaitStatus(id, "bob", history.StatusRead)
				}
			}
			if c.begins == "alice" {
				alice.mustSend("live", "bob")
				bob.awaitText("live")
				want = append(want, "live")
			} else {
				bob.mustSend("live", "alice")
				alice.awaitText("live")
			}
			if c.gap == "" {
				bob.saw(want)
			} else {
				bob.awaitGap(1, c.gap)
				bob.saw(want, c.gap)
			}
			for i, id := range ids {
				if s := alice.status(id); s.AtLeast(history.StatusDelivered) != (i != c.drop) {
					t.Errorf("letter %d is %s", i, s)
				}
			}
			leaves(t, alice, bob)
			town.historiesHold("alice", "bob")
		})
	}
}

// TestAttack31Swapped: the relay hands out a letter to another's mailbox, one whose outside was
// changed, and one under another kind. Each is refused, told, and not shown.
func TestAttack31Swapped(t *testing.T) {
	town, relay := letterTown(t, "alice", "bob", "carol")
	town.wasHere("bob")
	town.wasHere("carol")
	alice := town.client("alice", town.byLetter("alice"))
	alice.leaveLetters("carol", "for carol")
	alice.leaveLetters("bob", "for bob")
	kept := relay.texts()
	carols, bobs := kept[0], kept[1]
	relay.handsOut("bob", func([]*keptLetter) []*keptLetter {
		return []*keptLetter{
			carols,
			carols.as(func(k *keptLetter) { // AAD
				k.body = bytes.Replace(k.body, base64Of(carols.mailbox), base64Of(bobs.mailbox), 1)
			}),
			bobs.as(func(k *keptLetter) { k.body = bytes.Replace(k.body, base64Of(bobs.id), base64Of(carols.id), 1) }),
			bobs.as(func(k *keptLetter) { k.kind = proto.LetterReceipt }),
			bobs,
		}
	})
	bob := town.client("bob", town.byLetter("bob"))
	no := proto.Refused
	relay.answered("bob", no, no, no, no, proto.Stored)
	bob.saw([]string{"for bob"})
	if n := bob.errors("letter"); n == 0 {
		t.Errorf("bob is told nothing: %s", describe(bob.seen()))
	}
}

// base64Of is a hash as it stands in JSON.
func base64Of(hash [32]byte) []byte { return proto.AppendBase64(nil, hash[:]) }

// TestAttack31Boxes: the relay's answer to letter-to has mailboxes that are not Bob's, or not any more.
// Nothing is sealed to one, and Bob's own beside it is used all the same.
func TestAttack31Boxes(t *testing.T) {
	town, relay := letterTown(t, "alice", "bob", "carol", "mallory")
	town.issue("bob2", subject("BOB OTHER", "99999999"))
	town.wasHere("bob")
	town.wasHere("carol")
	var bobs, carols crypto.LetterBox
	relay.Do(func() { bobs, carols = relay.boxes["bob"][0], relay.boxes["carol"][0] })
	// box is a mailbox that holder's card names as name's.
	box := func(holder, name string, begin, end time.Time, change func(*trust.Bundle)) crypto.LetterBox {
		m, err := crypto.NewMailbox()
		if err != nil {
			t.Fatal(err)
		}
		h := town.holder(holder)
		b := people.Delegate(t, h, name, people.Key(t, trust.KeyEd25519), begin, begin.Add(time.Hour/2))
		people.NameMailbox(t, h, b, m.Hash(), end)
		if change != nil {
			change(b)
		}
		return crypto.LetterBox{Key: m.Public(), Bundle: b}
	}
	now := time.Now().Add(-time.Minute)
	nextWeek, hour := now.Add(7*24*time.Hour), time.Hour
	persons := map[string]bool{"another person's with his name": true, "Mallory's card under his name": true}
	renamed := *carols.Bundle
	renamed.Name = "bob"
	for what, evil := range map[string]crypto.LetterBox{
		"another's":                        carols,
		"another's under his name":         {Key: carols.Key, Bundle: &renamed},
		"another person's with his name":   box("bob2", "bob", now, nextWeek, nil),
		"Mallory's card under his name":    box("mallory", "bob", now, nextWeek, nil),
		"an old one, which has ended":      box("bob", "bob", now.Add(-hour), now.Add(-hour/4), nil),
		"one that ends in four minutes":    box("bob", "bob", now.Add(-hour), now.Add(5*time.Minute), nil),
		"one that has not begun":           box("bob", "bob", now.Add(hour/3), nextWeek, nil),
		"a mailbox that no card has named": box("bob", "bob", now, nextWeek, func(b *trust.Bundle) { b.MailboxEnd-- }),
	} {
		t.Run(what, func(t *testing.T) {
			only := false
			relay.lie(func() {
				relay.told = func(name string, boxes []crypto.LetterBox) []crypto.LetterBox {
					if name != "bob" {
						return boxes
					}
					if only {
						return []crypto.LetterBox{evil}
					}
					return []crypto.LetterBox{evil, bobs}
				}
			})
			mailboxes := func(since int) (to [][]byte) {
				for _, k := range relay.texts()[since:] {
					to = append(to, slices.Clone(k.mailbox[:]))
				}
				return to
			}
			// Somebody who knows Bob, and beside his own the evil one.
			alice := town.clientIn("alice", "state-"+what, town.byLetter("alice"), oneTry)
			told := relay.told
			relay.Do(func() { relay.told = nil })
			alice.leaveLetters("bob", "before")
			alice.leave()
			relay.Do(func() { relay.told = told })
			alice = town.clientIn("alice", "state-"+what, town.byLetter("alice"), oneTry)
			before := len(relay.texts())
			alice.leaveLetters("bob", "first")
			if got := mailboxes(before); len(got) != 1 || !bytes.Equal(got[0], bobs.Bundle.Mailbox) {
				t.Errorf("sealed to %x", got)
			}
			alice.leave()
			relay.Do(func() { only = true })
			for _, dir := range []string{"state-" + what, "state-" + what + "-new"} {
				if persons[what] && dir != "state-"+what {
					continue // to a stranger she may be a Bob, with a question about the certificate
				}
				before = len(relay.texts())
				alice = town.clientIn("alice", dir, town.byLetter("alice"), oneTry)
				_, err := alice.Send(t.Context(), []string{"bob"}, "second")
				if out := alice.settle(history.StatusKept); err == nil && out.ExitStatus() == 0 {
					t.Errorf("%s: it is sent: %+v", dir, out)
				}
				if got := mailboxes(before); len(got) != 0 {
					t.Errorf("%s: sealed to %x", dir, got)
				}
				alice.leave()
			}
		})
	}
}

// TestAttack31Stamp: the relay gives a letter another sender, or another time. It is refused and not
// shown. Within the slack between two clocks it is taken.
func TestAttack31Stamp(t *testing.T) {
	for _, c := range []struct {
		what   string
		change func(k *keptLetter)
		answer string
		says   string
	}{
		{"as it came", func(*keptLetter) {}, proto.Stored, ""},
		{"within the slack", func(k *keptLetter) { k.left = k.left.Add(-4 * time.Minute) }, proto.Stored, ""},
		{"of another sender", func(k *keptLetter) { k.identity = strings.Repeat("ab", 32) }, proto.Refused, "another person"},
		{"left before it was written", func(k *keptLetter) { k.left = k.left.Add(-time.Hour) }, proto.Refused, "the time in it"},
		{"left in the future", func(k *keptLetter) { k.left = k.left.Add(time.Hour) }, proto.Refused, "the time in it"},
	} {
		t.Run(c.what, func(t *testing.T) {
			town, relay := letterTown(t, "alice", "bob")
			town.wasHere("bob")
			alice := town.client("alice", town.byLetter("alice"))
			id := alice.leaveLetters("bob", "hi")[0]
			relay.handsOut("bob", func(w []*keptLetter) []*keptLetter { return []*keptLetter{w[0].as(c.change)} })
			bob := town.client("bob", town.byLetter("bob"))
			relay.answered("bob", c.answer)
			if c.answer == proto.Stored {
				alice.awaitStatus(id, "bob", history.StatusRead)
				bob.saw([]string{"hi"})
				return
			}
			bob.saw(nil)
			if bob.errors(c.says) != 1 {
				t.Errorf("bob is told %s", describe(bob.seen()))
			}
			if s := alice.status(id); s != history.StatusKept {
				t.Errorf("it is %s", s)
			}
		})
	}
}

// TestAttack31CalledEmpty: the relay calls a mailbox empty and keeps a letter back. Later on it is
// refused, and said so, and its sender's next one shows the gap. Without that word it is taken.
func TestAttack31CalledEmpty(t *testing.T) {
	for _, lies := range []bool{false, true} {
		t.Run(fmt.Sprint(lies), func(t *testing.T) {
			town, relay := letterTown(t, "alice", "bob")
			clock := new(testClock)
			relay.now = clock.Now
			bob := town.client("bob", town.byLetterAt("bob", clock))
			bob.awaitEmptied(1)
			bob.leave()
			alice := town.client("alice", town.byLetterAt("alice", clock))
			id := alice.leaveLetters("bob", "sell")[0]
			alice.leave()
			clock.set(10 * time.Minute)
			relay.handsOut("bob", func([]*keptLetter) []*keptLetter { return nil })
			relay.Do(func() {
				relay.end = func(_ *wire.EvilConn, _ []byte, now time.Time) (time.Time, bool) { return now, lies }
			})
			bob = town.client("bob", town.byLetterAt("bob", clock))
			if lies {
				bob.awaitEmptied(2)
			}
			bob.leave()
			relay.isHonest()
			bob = town.client("bob", town.byLetterAt("bob", clock))
			if lies {
				relay.answered("bob", proto.Refused)
				if bob.errors("older than the last collection") != 1 {
					t.Errorf("bob is told %s", describe(bob.seen()))
				}
			} else {
				relay.answered("bob", proto.Stored)
			}
			alice = town.client("alice", town.byLetterAt("alice", clock))
			alice.mustSend("cancel", "bob")
			bob.awaitText("cancel")
			if lies {
				bob.awaitGap(1, "number 1")
				bob.saw([]string{"cancel"}, "a letter of alice's is missing: number 1")
			} else {
				bob.saw([]string{"sell", "cancel"})
			}
			if s := alice.status(id); lies && s.AtLeast(history.StatusDelivered) {
				t.Errorf("it is %s", s)
			}
		})
	}
}

// TestAttack31EmptyInTheFuture: the relay calls a mailbox empty at a time that has not come. The key
// lives on, and a letter that is written after that is taken.
func TestAttack31EmptyInTheFuture(t *testing.T) {
	town, relay := letterTown(t, "alice", "bob")
	town.wasHere("bob")
	relay.lie(func() {
		relay.end = func(_ *wire.EvilConn, _ []byte, now time.Time) (time.Time, bool) {
			return now.Add(100 * 365 * 24 * time.Hour), true
		}
	})
	bob := town.client("bob", town.byLetter("bob"))
	bob.awaitEmptied(1)
	bob.leave()
	relay.isHonest()
	alice := town.client("alice", town.byLetter("alice"))
	id := alice.leaveLetters("bob", "hi")[0]
	bob = town.client("bob", town.byLetter("bob"))
	bob.awaitText("hi")
	alice.awaitStatus(id, "bob", history.StatusRead)
	bob.quietly()
}

// TestAttack31NoEnd: the relay says no end of a mailbox. Conversations begin all the same.
func TestAttack31NoEnd(t *testing.T) {
	t.Parallel() // it mostly waits
	town, relay := letterTown(t, "alice", "bob")
	town.wasHere("bob")
	relay.lie(func() {
		relay.end = func(to *wire.EvilConn, _ []byte, now time.Time) (time.Time, bool) { return now, to.Hello.Name != "bob" }
	})
	alice := town.client("alice", town.byLetter("alice"))
	alice.leaveLetters("bob", "a letter")
	bob := town.client("bob", town.byLetter("bob"))
	alice.mustSend("live", "bob")
	alice.mustSettle(history.StatusRead)
	bob.saw([]string{"a letter", "live"})
}

// TestAttack31Revoked: a revoked person gets no letter, and a letter of somebody who was revoked while
// it waited is refused.
func TestAttack31Revoked(t *testing.T) {
	for _, revoked := range []string{"nobody", "bob", "alice, before", "alice, after"} {
		t.Run(revoked, func(t *testing.T) {
			town, relay := letterTown(t, "alice", "bob")
			revoke := func() {
				name, _, _ := strings.Cut(revoked, ",")
				town.pki.Revoke(town.holder(name), time.Now().Add(-time.Minute), 1)
				if err := town.pki.Write(filepath.Join(town.dir, "lab")); err != nil {
					t.Fatal(err)
				}
			}
			town.wasHere("bob")
			if revoked == "bob" {
				revoke()
			}
			alice := town.client("alice", town.byLetter("alice"), oneTry)
			if revoked == "bob" {
				_, err := alice.Send(t.Context(), []string{"bob"}, "hi")
				if out := alice.settle(history.StatusKept); err == nil && (len(out.Failed) != 1 || out.Failed[0].Code != proto.CertificateRevoked) {
					t.Errorf("it is sent: %+v", out)
				} else if err != nil && fail.AsError(err).Code != proto.CertificateRevoked {
					t.Errorf("it fails with %v", err)
				}
				if n := len(relay.texts()); n != 0 {
					t.Errorf("%d letters have left", n)
				}
				return
			}
			id := alice.leaveLetters("bob", "hi")[0]
			if revoked == "nobody" {
				bob := town.client("bob", town.byLetter("bob"))
				relay.answered("bob", proto.Stored)
				bob.saw([]string{"hi"})
				return
			}
			if revoked == "alice, after" { // the date in the list is later than the letter
				time.Sleep(time.Second)
				town.pki.Revoke(town.holder("alice"), time.Now(), 1)
				if err := town.pki.Write(filepath.Join(town.dir, "lab")); err != nil {
					t.Fatal(err)
				}
			} else {
				revoke()
			}
			bob := town.client("bob", town.byLetter("bob"))
			relay.answered("bob", proto.Refused)
			bob.saw(nil)
			if bob.errors("revoked") != 1 {
				t.Errorf("bob is told %s", describe(bob.seen()))
			}
			if s := alice.status(id); s != history.StatusKept {
				t.Errorf("it is %s", s)
			}
		})
	}
}

// TestAttack31BackDated: a thief has a K of Alice's whose delegation has ended, and the relay. Letters of
// hers are taken if they are dated in that delegation, and Bob has not collected since; no others.
func TestAttack31BackDated(t *testing.T) {
	town, relay := letterTown(t, "alice", "bob")
	clock := new(testClock)
	relay.now = clock.Now
	at := func(off time.Duration) time.Time { return time.Now().Add(off) }
	clock.set(-90 * time.Minute)
	relay.Do(func() {
		relay.end = func(_ *wire.EvilConn, _ []byte, now time.Time) (time.Time, bool) { return now, false }
	})
	bob := town.client("bob", town.byLetterAt("bob", clock))
	bob.leave()
	relay.isHonest()
	var box crypto.LetterBox
	relay.Do(func() { box = relay.boxes["bob"][0] })
	alice := town.client("alice", town.byLetterAt("alice", clock))
	alice.leave()
	stolen := town.credentialAt("alice", at(-2*time.Hour), time.Hour)
	identity := alice.Inside().Identity()
	to := []crypto.Recipient{{Name: "bob", Identity: proto.FormatHash(bob.Inside().Identity())}}
	minted := func(text string, when, left time.Time) *keptLetter {
		l, err := crypto.SealLetter(crypto.LetterDraft{
			Key: stolen.Key, Bundle: stolen.Bundle, To: box.Bundle.Hash(), ToKey: box.Key, N: 1, Time: when,
			Records: []*crypto.Record{crypto.NewRecord(identity, to, text, when)},
		})
		if err != nil {
			t.Fatal(err)
		}
		return &keptLetter{kind: proto.LetterText, identity: proto.FormatHash(identity), left: left, mailbox: l.Mailbox, id: l.ID, body: l.Body}
	}
	clock.set(0)
	relay.handsOut("bob", func([]*keptLetter) []*keptLetter {
		return []*keptLetter{
			minted("by an honest relay's clock", at(-70*time.Minute), at(0)),
			minted("after the delegation", at(-30*time.Minute), at(-30*time.Minute)),
			minted("before the delegation", at(-150*time.Minute), at(-150*time.Minute)),
			minted("before the mailbox had a name", at(-110*time.Minute), at(-110*time.Minute)),
			minted("in the delegation", at(-70*time.Minute), at(-70*time.Minute)),
		}
	})
	bob = town.client("bob", town.byLetterAt("bob", clock))
	no := proto.Refused
	relay.answered("bob", no, no, no, no, proto.Stored)
	bob.saw([]string{"in the delegation"})
	bob.awaitEmptied(1)
	bob.leave()
	relay.handsOut("bob", func([]*keptLetter) []*keptLetter {
		return []*keptLetter{minted("since he has collected", at(-70*time.Minute), at(-70*time.Minute))}
	})
	bob = town.client("bob", town.byLetterAt("bob", clock))
	relay.answered("bob", no)
	bob.saw(nil)
	leaves(t, bob)
	town.historyHolds(bob.state.HistoryDir())
}

// TestAttack31KeptUntil: the relay says that it keeps a letter for ever, or no longer than to now. What is
// told is no later than the end of the mailbox, and what was KEPT is never FAILED.
func TestAttack31KeptUntil(t *testing.T) {
	town, relay := letterTown(t, "alice", "bob")
	town.wasHere("bob")
	alice := town.client("alice", town.byLetter("alice"))
	var end, until time.Time
	relay.lie(func() {
		end = time.Unix(relay.boxes["bob"][0].Bundle.MailboxEnd, 0)
		relay.keep = func(*keptLetter) (time.Time, bool) { return until, false }
	})
	for what, says := range map[string]time.Time{
		"honest": time.Now().Add(24 * time.Hour).Truncate(time.Millisecond), "for ever": time.UnixMilli(1<<53 - 1),
		"no longer": time.UnixMilli(1), "after the mailbox": end.Add(time.Hour),
	} {
		relay.Do(func() { until = says })
		id := alice.leaveLetters("bob", what)[0]
		want := says
		if want.After(end) {
			want = end
		}
		if got := alice.awaitStatus(id, "bob", history.StatusKept).Until; !got.Equal(want) {
			t.Errorf("%s: it is kept until %v, want %v", what, got, want)
		}
	}
	alice.never(history.StatusFailed)
	leaves(t, alice)
	town.historyHolds(alice.state.HistoryDir())
	listing, err := history.Read(alice.state.HistoryDir(), history.Query{})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range listing.Messages {
		if m.Status() != history.StatusKept || m.Deliveries[0].Until.After(end) {
			t.Errorf("the history has %q as %+v", m.Text, m.Deliveries)
		}
	}
}

// TestAttack31Garbage: the relay hands out letters that do not open, as many as it likes. Each is
// refused, the user is told once, and an honest one behind them is shown.
func TestAttack31Garbage(t *testing.T) {
	town, relay := letterTown(t, "alice", "bob")
	town.wasHere("bob")
	alice := town.client("alice", town.byLetter("alice"))
	alice.leaveLetters("bob", "hi")
	const garbage = 100 // in the window
	var want []string
	for range garbage {
		want = append(want, proto.Refused)
	}
	relay.handsOut("bob", func(waiting []*keptLetter) (out []*keptLetter) {
		for i := range min(garbage, garbage*len(waiting)) {
			out = append(out, waiting[0].as(func(k *keptLetter) {
				k.body = bytes.Clone(k.body[:len(k.body)-1-i%1000])
				k.body[len(k.body)-1] ^= 1
			}))
		}
		return append(out, waiting...)
	})
	bob := town.client("bob", town.byLetter("bob"))
	relay.answered("bob", append(want, proto.Stored)...)
	bob.saw([]string{"hi"})
	if n := bob.errors(""); n != 1 {
		t.Errorf("bob is told %d times", n)
	}
}

// TestAttack31PastTheWindow: the relay hands out more letters at once than the window allows. The
// connection ends, and what came is answered over the next one.
func TestAttack31PastTheWindow(t *testing.T) {
	town, relay := letterTown(t, "alice", "bob")
	letters := 2_000
	if os.Getenv("CHATSECURE_ATTACK") != "" {
		letters = 100_000
	}
	town.wasHere("bob")
	alice := town.client("alice", town.byLetter("alice"))
	alice.leaveLetters("bob", strings.Repeat("x", 40<<10))
	relay.handsOut("bob", func(waiting []*keptLetter) []*keptLetter {
		relay.hand = nil // from the next connection on
		return slices.Repeat(waiting, letters)
	})
	bob := town.client("bob", town.byLetter("bob"))
	bob.await("the loss", func(ev client.Event) bool {
		return ev.Type == client.EventLost && strings.Contains(ev.Err.Error(), "more letters than the window allows")
	})
	bob.await("the relay back", func(ev client.Event) bool { return ev.Type == client.EventBack })
	bob.await("the letter", func(ev client.Event) bool { return ev.Message != nil })
	alice.mustSettle(history.StatusRead)
	if n := len(bob.texts()); n != 1 {
		t.Errorf("bob saw %d letters", n)
	}
}

// TestAttack31NotCollected: the relay hands out a letter to a connection that takes none of its kind. It
// is neither shown nor stored, the connection ends, and the next client that takes it has it.
func TestAttack31NotCollected(t *testing.T) {
	for _, takes := range []string{proto.TakesPipe, proto.TakesNone} {
		t.Run(takes, func(t *testing.T) {
			town, relay := letterTown(t, "alice", "bob")
			town.wasHere("bob")
			alice := town.client("alice", town.byLetter("alice"))
			alice.leaveLetters("bob", "hi")
			all := relay.texts()
			relay.handsOut("bob", func([]*keptLetter) []*keptLetter {
				relay.hand = nil
				return all
			})
			bob := town.client("bob", town.byLetter("bob"), func(cfg *client.Config) { cfg.Takes = takes })
			const says = "a letter that this connection does not collect"
			if takes == proto.TakesPipe { // it goes with its connection
				if end := bob.awaitEnd(); !strings.Contains(end.Message, says) {
					t.Errorf("it ends with %v", end)
				}
			} else {
				bob.await("the loss", func(ev client.Event) bool {
					return ev.Type == client.EventLost && strings.Contains(ev.Err.Error(), says)
				})
			}
			bob.saw(nil)
			bob.leave()
			relay.Do(func() {
				if n := len(relay.answers["bob"]); n != 0 {
					t.Errorf("%d letters are answered", n)
				}
			})
			if got := town.inHistory("bob"); len(got) != 0 {
				t.Errorf("stored: %v", got)
			}
			bob = town.client("bob", town.byLetter("bob"))
			bob.awaitText("hi")
			alice.mustSettle(history.StatusRead)
		})
	}
}

// TestAttack31StolenDisk: whoever steals the relay's disk finds in its boxes nothing of a letter but
// identities, times and sizes: no text, no certificate and no name of its sender's. The owner of a box
// shows, as it must to those who leave letters.
func TestAttack31StolenDisk(t *testing.T) {
	for _, own := range []bool{false, true} { // whether the sender has a box, too
		t.Run(fmt.Sprint(own), func(t *testing.T) {
			town := newTown(t, "bob")
			town.issue("alice", subject("ALICE THE SENDER", "77665544"))
			town.wasHere("bob")
			alice := town.client("alice", func(cfg *client.Config) {
				if own {
					town.byLetter("alice")(cfg)
				}
			})
			const text = "a text that nobody else reads"
			alice.leaveLetters("bob", text, text+" twice")
			alice.leave()
			id, b := alice.Inside().Identity(), alice.Inside().Credential().Bundle
			disk, letters := readBoxes(t, filepath.Join(town.dir, "relay", "letters"), proto.FormatHash(id))
			if letters != 2 {
				t.Errorf("%d letters", letters)
			}
			hash := b.Hash()
			for what, secret := range map[string][]byte{
				"the text": []byte(text), "the sender's name": []byte("alice"),
				"the sender in the certificate": []byte("THE SENDER"), "the civil number": []byte("77665544"),
				"the certificate": b.X509, "the sender's key": b.PublicKey, "the delegation": b.Signature,
				"the bundle's hash": hash[:], "the sender's mailbox": b.Mailbox,
			} {
				if len(secret) > 0 && isOn(disk, secret) {
					t.Errorf("%s stands in the boxes", what)
				}
			}
			for what, known := range map[string][]byte{
				"the owner's certificate": town.holder("bob").Leaf.Raw, "the owner in it": []byte("BOB"), "the sender's identity": id[:],
			} {
				if !isOn(disk, known) {
					t.Errorf("%s is not found: the search finds nothing", what)
				}
			}
		})
	}
}

// readBoxes returns all bytes of a relay's boxes and their names, without those that one person owns, and
// the number of letters in them.
func readBoxes(t *testing.T, dir, without string) (all []byte, letters int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			if err == nil && e.Name() == without {
				return fs.SkipDir
			}
			return err
		}
		if e.Name() != "box" {
			letters++
		}
		data, err := os.ReadFile(path)
		all = append(append(append(all, path...), '\n'), data...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all, letters
}

// isOn reports whether bytes stand on a disk: as they are, in hex, or in base64 at any of its three offsets.
func isOn(disk, b []byte) bool {
	for skip := range 3 {
		// Without the ends, which depend on the neighbours.
		if part := proto.AppendBase64(nil, b[min(skip, len(b)):]); len(part) > 8 && bytes.Contains(disk, part[:len(part)-4]) {
			return true
		}
	}
	return bytes.Contains(bytes.ToLower(disk), bytes.ToLower(b)) || bytes.Contains(disk, fmt.Appendf(nil, "%x", b))
}
