package client

import (
	"bytes"
	"context"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/proto"
	"chatsecure/testdata/lab/people"
	"chatsecure/testdata/lab/wire"
)

// TestLetterGoesAndComes: a text for somebody who is not there is KEPT, is shown when they come, and
// is READ then.
func TestLetterGoesAndComes(t *testing.T) {
	o := newOffice(t)
	alice, bob := o.comer("alice").come(nil), o.comer("bob")
	id := alice.write("hello", "bob")
	out := alice.Wait(t.Context(), history.StatusDelivered)
	if out.ExitStatus() != fail.ExitKept || len(out.Names) != 1 || out.Names[0].Kept != 1 || out.Names[0].Boxed != 1 {
		t.Fatalf("status %d: %+v", out.ExitStatus(), out)
	}
	if r := alice.receipt(history.StatusKept); r.ID != id || r.To != "bob" || !r.Until.Equal(out.Names[0].Until) || r.Until.IsZero() {
		t.Errorf("%+v", r)
	}
	bob = bob.come(nil)
	m := bob.message("hello")
	if m.ID != id || m.From != "alice" || !m.Letter || m.Left.IsZero() || !m.First || m.Identity != alice.e.self {
		t.Errorf("%+v", m)
	}
	o.acked("stored")
	bob.Shown(m)
	if r := alice.receipt(history.StatusRead); r.ID != id || r.To != "bob" || r.No != 1 {
		t.Errorf("%+v", r)
	}
	o.acked("stored", "stored")
	if out := alice.Wait(t.Context(), history.StatusRead); out.ExitStatus() != 0 {
		t.Errorf("status %d: %+v", out.ExitStatus(), out)
	}
}

// quiet ends a wait that is not fulfilled.
func quiet(t *testing.T, v *visitor, level history.Status) Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wire.Timeout)
	defer cancel()
	return v.Wait(ctx, level)
}

// TestLiveLeavesNoLetter: nobody is asked for mailboxes, and the text for somebody absent is refused.
func TestLiveLeavesNoLetter(t *testing.T) {
	o := newOffice(t)
	o.comer("bob")
	alice := o.comer("alice").come(func(cfg *Config) { cfg.Live = true })
	_, err := alice.Send(t.Context(), []string{"bob"}, "hello")
	if !fail.HasCode(err, proto.NoSuchName) || o.asked > 0 || len(o.letters()) > 0 {
		t.Errorf("%v; the office was asked %d times, and has %d letters", err, o.asked, len(o.letters()))
	}
}

// TestOneMailboxOfTwoPeople: somebody else's bundle names bob's mailbox. Letters, and receipts for
// letters, go to each of the two under their own identity, whoever is written to first.
func TestOneMailboxOfTwoPeople(t *testing.T) {
	for _, first := range []string{"bob", "mallory"} {
		o := newOffice(t)
		bob, mallory, away := o.comer("bob"), o.comer("mallory"), o.comer("alice")
		box, b := o.boxes["bob"][0], mallory.user.Local.Bundle
		people.NameMailbox(t, mallory.holder, b, [32]byte(box.Bundle.Mailbox), time.Unix(b.NotBefore, 0).Add(13*24*time.Hour))
		o.boxes["mallory"] = []crypto.LetterBox{{Key: box.Key, Bundle: b}}
		for _, from := range []*visitor{bob, mallory} {
			o.kept = append(o.kept, o.forge(from, away, 1, o.pair.Clock.Now(), func(d *crypto.LetterDraft) {
				d.Records[0] = o.record(from, away, "from "+from.user.End.Name)
			}))
		}
		alice := away.come(nil)
		for _, m := range []*Message{alice.message("from bob"), alice.message("from mallory")} {
			alice.Shown(m)
		}
		if first == "bob" {
			alice.write("to bob", "bob")
			alice.receipt(history.StatusKept)
		}
		alice.write("to mallory", "mallory")
		alice.receipt(history.StatusKept)
		alice.write("to both", "mallory", "bob")
		alice.receipt(history.StatusKept)
		alice.receipt(history.StatusKept)
		got := map[string]map[string]bool{crypto.LetterText: {}, crypto.LetterReceipt: {}}
		for end := time.Now().Add(wire.Timeout); len(got[crypto.LetterReceipt]) < 2 && time.Now().Before(end); time.Sleep(time.Millisecond) {
			o.mu.Lock()
			for _, k := range o.kept[2:] {
				got[k.kind][k.to] = true
			}
			o.mu.Unlock()
		}
		for kind, to := range got {
			if len(to) != 2 || !to[proto.FormatHash(bob.user.Local.Identity)] || !to[proto.FormatHash(mallory.user.Local.Identity)] {
				t.Errorf("%s first: letters of kind %s went to %v", first, kind, to)
			}
		}
		bob = bob.come(nil)
		if first == "bob" {
			bob.message("to bob")
		}
		if m := bob.await("a message or a gap", func(ev Event) bool { return ev.Message != nil || ev.Gap != nil }); m.Message == nil || m.Message.Text != "to both" {
			t.Errorf("%s first: bob got %+v", first, m)
		}
	}
}

// yes answers each question about a person.
type yes struct {
	Asker
	answer bool
	asked  int
}

func (y *yes) ConfirmPeer(context.Context, string, *trust.Person) (bool, error) {
	y.asked++
	return y.answer, nil
}

// TestFirstLetterAsks: before the first letter to a new person somebody is asked, or it is refused.
func TestFirstLetterAsks(t *testing.T) {
	for _, prompt := range []bool{false, true} {
		for _, answer := range []bool{false, true} {
			o := newOffice(t)
			o.comer("bob")
			y := &yes{answer: answer}
			alice := o.comer("alice").come(func(cfg *Config) { cfg.AcceptNew, cfg.Asker, cfg.Persistent = false, y, prompt })
			_, err := alice.Send(t.Context(), []string{"bob"}, "hello")
			switch {
			case prompt && answer:
				alice.receipt(history.StatusKept)
			case prompt:
				alice.receipt(history.StatusFailed)
			case answer:
				if out := quiet(t, alice, history.StatusRead); err != nil || out.ExitStatus() != fail.ExitKept {
					t.Errorf("yes: %v, %+v", err, out)
				}
			case !fail.HasCode(err, proto.UnknownPeer):
				t.Errorf("no: %v", err)
			}
			if y.asked != 1 || answer != (len(o.letters()) == 1) {
				t.Errorf("prompt %v, %v: asked %d times, and %d letters left", prompt, answer, y.asked, len(o.letters()))
			}
		}
	}
}

// TestBoxesThatDoNotHold: no letter is left in a mailbox whose bundle does not hold.
func TestBoxesThatDoNotHold(t *testing.T) {
	for what, c := range map[string]struct {
		change func(o *office, bob *visitor)
		code   proto.Code
	}{
		"it ends in less than five minutes": {func(o *office, bob *visitor) { o.pair.Clock.Add(13*24*time.Hour - time.Hour - 4*time.Minute) }, proto.NoSuchName},
		"it begins later":                   {func(o *office, bob *visitor) { o.pair.Clock.Add(-2 * time.Hour) }, proto.DelegationNotYet},
		"it is for another name": {func(o *office, bob *visitor) {
			o.boxes["bob"] = o.boxes["eve"]
		}, proto.NoSuchName},
		"it is another's under this name": {func(o *office, bob *visitor) {
			o.boxes["bob"] = nil
			o.comer("bob")
		}, proto.IdentityChanged},
		"its signature is another's": {func(o *office, bob *visitor) {
			bad := *o.boxes["bob"][0].Bundle
			bad.MailboxEnd--
			o.boxes["bob"][0].Bundle = &bad
		}, proto.DelegationInvalid},
	} {
		t.Run(what, func(t *testing.T) {
			o := newOffice(t)
			alice, bob := o.comer("alice"), o.comer("bob")
			o.comer("eve")
			alice = alice.come(nil)
			alice.write("first", "bob")
			alice.receipt(history.StatusKept)
			alice.goAway()
			c.change(o, bob)
			if what == "it ends in less than five minutes" {
				alice.delegate("alice")
			}
			alice = alice.come(nil)
			_, err := alice.Send(t.Context(), []string{"bob"}, "second")
			if !fail.HasCode(err, c.code) || len(o.letters()) != 1 {
				t.Errorf("%v, and %d letters", err, len(o.letters()))
			}
		})
	}
}

// TestEachDeviceGetsALetter: one that has no room fails nothing if another has.
func TestEachDeviceGetsALetter(t *testing.T) {
	full := &proto.Error{Code: proto.MailboxFull, Message: "that mailbox is full"}
	for _, refused := range []int{0, 1, 2} {
		o := newOffice(t)
		alice := o.comer("alice").come(nil)
		bob := o.comer("bob")
		second := &visitor{o: o, holder: bob.holder, dir: t.TempDir()}
		second.delegate("bob")
		left := refused
		o.answer = func(string, []byte) *proto.Error {
			o.mu.Lock()
			defer o.mu.Unlock()
			if left--; left >= 0 {
				return full
			}
			return nil
		}
		id := alice.write("hello", "bob")
		out := quiet(t, alice, history.StatusDelivered)
		want := fail.ExitKept
		if refused == 2 {
			want = fail.ExitUndone
			if r := alice.receipt(history.StatusFailed); !strings.Contains(r.Reason, "that mailbox is full") {
				t.Errorf("%+v", r)
			}
		}
		if out.ExitStatus() != want || len(o.letters()) != 2-refused {
			t.Errorf("%d refused: status %d, %d letters: %+v", refused, out.ExitStatus(), len(o.letters()), out)
		}
		if refused > 0 {
			continue
		}
		for _, device := range []*visitor{bob.come(nil), second.come(nil)} {
			if m := device.message("hello"); m.ID != id {
				t.Errorf("%+v", m)
			}
		}
	}
}

// TestMailboxIsGone: the relay is asked again, and the letter goes to the mailbox that the device has
// now; without one the text waits, or fails.
func TestMailboxIsGone(t *testing.T) {
	for _, another := range []bool{true, false} {
		o := newOffice(t)
		alice, bob := o.comer("alice").come(nil), o.comer("bob")
		next := &visitor{o: o, holder: bob.holder, dir: t.TempDir()}
		var gone bool
		o.answer = func(_ string, body []byte) *proto.Error {
			if gone {
				return nil
			}
			gone = true
			o.mu.Lock()
			o.boxes["bob"] = nil
			o.mu.Unlock()
			if another {
				next.delegate("bob")
			}
			return &proto.Error{Code: proto.NoMailbox, Message: "no such mailbox"}
		}
		alice.write("hello", "bob")
		if out := quiet(t, alice, history.StatusDelivered); another {
			if out.ExitStatus() != fail.ExitKept || o.letters()[0].mailbox != [32]byte(next.user.Local.Bundle.Mailbox) {
				t.Errorf("status %d: %+v", out.ExitStatus(), out)
			}
		} else if out.ExitStatus() != fail.ExitUndone || len(o.letters()) > 0 {
			t.Errorf("status %d: %+v", out.ExitStatus(), out)
		}
		nothingOnItsWay(alice)
	}
}

// TestTooLongForALetter: it fails with a sentence that says so, and the next one goes.
func TestTooLongForALetter(t *testing.T) {
	o := newOffice(t)
	alice := o.comer("alice").come(nil)
	o.comer("bob")
	alice.write(strings.Repeat("a", 70<<10), "bob")
	if r := alice.receipt(history.StatusFailed); r.Err.Code != proto.TooLong || !strings.Contains(r.Reason, "letter") {
		t.Errorf("%+v", r)
	}
	alice.write("short", "bob")
	alice.receipt(history.StatusKept)
	if out := quiet(t, alice, history.StatusDelivered); out.ExitStatus() != fail.ExitUndone && out.ExitStatus() != fail.ExitFailure {
		t.Errorf("status %d: %+v", out.ExitStatus(), out)
	}
}

// TestBusyOffice: a letter that the relay is too busy for goes again, the same, until patience is over.
func TestBusyOffice(t *testing.T) {
	o := newOffice(t)
	alice := o.comer("alice").come(func(cfg *Config) { cfg.Again = 10 * time.Millisecond })
	o.comer("bob")
	var bodies [][]byte
	o.answer = func(_ string, body []byte) *proto.Error {
		if bodies = append(bodies, body); len(bodies) < 4 {
			return &proto.Error{Code: proto.Busy, Message: "not now"}
		}
		return nil
	}
	alice.write("hello", "bob")
	alice.receipt(history.StatusKept)
	for _, body := range bodies {
		if !bytes.Equal(body, bodies[0]) {
			t.Error("another letter goes")
		}
	}
	patient := o.comer("carol").come(func(cfg *Config) { cfg.Again, cfg.Timeout = 10*time.Millisecond, 500*time.Millisecond })
	o.decide(func(string, []byte) *proto.Error { return &proto.Error{Code: proto.Busy, Message: "not now"} })
	patient.write("hello", "bob")
	if out := quiet(t, patient, history.StatusSent); out.ExitStatus() != fail.ExitUndone {
		t.Errorf("status %d: %+v", out.ExitStatus(), out)
	}
	nothingOnItsWay(patient)
	if d := inHistory(t, patient.e.cfg.State.HistoryDir(), "hello"); d.Status != history.StatusFailed || !strings.Contains(d.Reason, "not now") {
		t.Errorf("in the end: %+v", d)
	}
	if names, err := patient.e.mail.outNames(); len(names) > 0 || err != nil {
		t.Errorf("on their way are still %q, %v", names, err)
	}
}

// letterIn opens a letter with the key of the mailbox.
func letterIn(t *testing.T, v *visitor, body []byte) *crypto.Letter {
	t.Helper()
	outside, _, _, err := crypto.SplitLetter(body)
	if err != nil {
		t.Fatal(err)
	}
	box, err := openMail(v.dir).box([32]byte(outside.Mailbox))
	if err != nil || box == nil {
		t.Fatal(box, err)
	}
	l, err := crypto.OpenLetter(box.Key, body)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestUnansweredLetterGoesAgain: over the next session, byte for byte; after four minutes sealed anew,
// under the same number. So does one that a killed client has left, which fails nothing.
func TestUnansweredLetterGoesAgain(t *testing.T) {
	for _, killed := range []bool{false, true} {
		for _, late := range []bool{false, true} {
			o := newOffice(t)
			alice, bob := o.comer("alice").come(func(cfg *Config) { cfg.Persistent = true }), o.comer("bob")
			got := make(chan []byte, 8)
			o.silent = true
			o.decide(func(_ string, body []byte) *proto.Error { got <- body; return nil })
			id := alice.write("hello", "bob")
			first := <-got
			if late {
				o.pair.Clock.Add(4*time.Minute + time.Second)
			}
			o.mu.Lock()
			o.silent = false
			o.mu.Unlock()
			if killed {
				alice.goAway()
				if d := inHistory(t, alice.e.cfg.State.HistoryDir(), "hello"); d.Status != history.StatusPending {
					t.Errorf("of a killed client: %+v", d)
				}
				alice = alice.come(nil)
			} else {
				alice.forget()
				alice.e.do(t.Context(), func() { alice.e.lost(nil); alice.enter() })
			}
			if r := alice.receipt(history.StatusKept); r.ID != id || r.To != "bob" || killed != (r.No == 0) {
				t.Errorf("%+v", r)
			}
			second := <-got
			a, b := letterIn(t, bob, first), letterIn(t, bob, second)
			if late == bytes.Equal(first, second) || a.Header.N != 1 || b.Header.N != 1 || late == (a.ID == b.ID) {
				t.Errorf("killed %v, late %v: numbers %d and %d", killed, late, a.Header.N, b.Header.N)
			}
			if d := inHistory(t, alice.e.cfg.State.HistoryDir(), "hello"); d.Status != history.StatusKept {
				t.Errorf("in the end: %+v", d)
			}
			bob = bob.come(nil)
			if m := bob.message("hello"); m.ID != id {
				t.Errorf("%+v", m)
			}
			bob.Shown()
			o.pair.Clock.Add(time.Second)
			if late {
				o.acked("stored", "stored")
			} else {
				o.acked("stored")
			}
		}
	}
}

// TestRelayLostBeforeItTellsOfMailboxes: who is sought while the relay is away has a mailbox still.
func TestRelayLostBeforeItTellsOfMailboxes(t *testing.T) {
	o := newOffice(t)
	o.comer("bob")
	alice := o.comer("alice").come(nil)
	alice.forget()
	alice.e.do(t.Context(), func() { alice.e.lost(nil) })
	sent := make(chan error, 1)
	go func() {
		_, err := alice.Send(t.Context(), []string{"bob"}, "hello")
		sent <- err
	}()
	for sought := false; !sought; time.Sleep(time.Millisecond) {
		alice.e.do(t.Context(), func() { sought = alice.e.userFor("bob").watching })
	}
	alice.e.do(t.Context(), alice.enter)
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	alice.receipt(history.StatusKept)
}

// slowDisk holds up the syncs of a history once it is armed.
type slowDisk struct {
	*os.File
	armed *atomic.Bool
	goOn  chan struct{}
}

func (d slowDisk) Sync() error {
	if d.armed.Load() {
		<-d.goOn
	}
	return d.File.Sync()
}

// TestRelayLostBeforeTheDisk: the relay is lost while the disk takes a letter. It comes again over the
// next session, is answered there, and is shown once.
func TestRelayLostBeforeTheDisk(t *testing.T) {
	o := newOffice(t)
	var armed atomic.Bool
	goOn := make(chan struct{})
	alice, bob := o.comer("alice").come(nil), o.comer("bob").come(func(cfg *Config) {
		cfg.Persistent = true
		cfg.Through = func(f *os.File) history.Store { return slowDisk{f, &armed, goOn} }
	})
	armed.Store(true)
	alice.write("hello", "bob")
	bob.message("hello")
	bob.forget()
	bob.e.do(t.Context(), func() { bob.e.lost(nil) })
	close(goOn)
	synced := make(chan error, 1)
	bob.e.do(t.Context(), func() { bob.e.onceSynced(func(err error) { synced <- err }) })
	if err := <-synced; err != nil { // and what came back before has been taken
		t.Error(err)
	}
	o.acked("")
	bob.e.do(t.Context(), bob.enter)
	o.acked("stored")
	for _, ev := range bob.events {
		if ev.Message != nil {
			t.Errorf("it is shown again: %+v", ev.Message)
		}
	}
}

// TestOverdueMailboxWhileSealing: the engine does not wait for the lock of the mailboxes, whose holder
// waits for the engine.
func TestOverdueMailboxWhileSealing(t *testing.T) {
	o := newOffice(t)
	e := o.comer("alice").come(nil).e
	ctx, cancel := context.WithTimeout(t.Context(), wire.Timeout)
	defer cancel()
	err := e.mail.locked(func() error {
		e.mail.mu.Lock()
		e.mail.due[[32]byte{1}] = time.Now().Add(-time.Second)
		e.mail.mu.Unlock()
		for due := 1; due > 0 && ctx.Err() == nil; time.Sleep(time.Millisecond) { // until the engine has come to it
			e.mail.mu.Lock()
			due = len(e.mail.due)
			e.mail.mu.Unlock()
		}
		return e.do(ctx, func() {})
	})
	if err != nil {
		t.Errorf("the engine stands still: %v", err)
	}
}

// nothingOnItsWay waits until every letter of a client's is answered.
func nothingOnItsWay(v *visitor) {
	v.o.t.Helper()
	for end := time.Now().Add(wire.Timeout); ; time.Sleep(time.Millisecond) {
		names, err := v.e.mail.outNames()
		if err == nil && len(names) == 0 {
			return
		}
		if time.Now().After(end) {
			v.o.t.Fatalf("on their way: %q, %v", names, err)
		}
	}
}

// TestLettersAreNumberedOn: the next client goes on with the numbers of the history.
func TestLettersAreNumberedOn(t *testing.T) {
	o := newOffice(t)
	away, bob := o.comer("alice"), o.comer("bob")
	for n := range uint64(3) {
		alice := away.come(nil)
		alice.write("hello", "bob")
		alice.receipt(history.StatusKept)
		nothingOnItsWay(alice)
		alice.goAway()
		if l := letterIn(t, bob, o.letters()[n].body); l.Header.N != n+1 {
			t.Errorf("letter %d has the number %d", n, l.Header.N)
		}
	}
}

// TestEarlierLetterIsRefused: what a killed client wrote is FAILED once the relay takes it never.
func TestEarlierLetterIsRefused(t *testing.T) {
	o := newOffice(t)
	away := o.comer("alice")
	o.comer("bob")
	got := make(chan bool, 2)
	o.silent = true
	o.decide(func(string, []byte) *proto.Error { got <- true; return nil })
	alice := away.come(nil)
	id := alice.write("hello", "bob")
	<-got
	alice.goAway()
	o.decide(func(string, []byte) *proto.Error { return &proto.Error{Code: proto.MailboxFull, Message: "it is full"} })
	alice = away.come(nil)
	if r := alice.receipt(history.StatusFailed); r.ID != id || r.To != "bob" || r.No != 0 || !strings.Contains(r.Reason, "it is full") {
		t.Errorf("%+v", r)
	}
	nothingOnItsWay(alice)
	if d := inHistory(t, alice.e.cfg.State.HistoryDir(), "hello"); d.Status != history.StatusFailed {
		t.Errorf("%+v", d)
	}
}

// TestEarlierLetterMoves: what a killed client had for a mailbox that is not there any more goes to the one
// that the device has now; without another one it is FAILED. It does not matter whether the present
// client writes to the same person.
func TestEarlierLetterMoves(t *testing.T) {
	for _, another := range []bool{true, false} {
		for _, writes := range []bool{true, false} {
			o := newOffice(t)
			away, bob := o.comer("alice"), o.comer("bob")
			got := make(chan bool, 8)
			o.silent = true
			o.decide(func(string, []byte) *proto.Error { got <- true; return nil })
			alice := away.come(nil)
			id := alice.write("hello", "bob")
			<-got
			alice.goAway()
			gone := o.letters()[0].mailbox
			next := &visitor{o: o, holder: bob.holder, dir: t.TempDir()}
			if another {
				next.delegate("bob")
			}
			o.mu.Lock()
			o.silent, o.kept = false, nil
			o.boxes["bob"] = slices.DeleteFunc(o.boxes["bob"], func(b crypto.LetterBox) bool { return bytes.Equal(b.Bundle.Mailbox, gone[:]) })
			o.mu.Unlock()
			o.decide(func(_ string, body []byte) *proto.Error {
				if outside, _, _, err := crypto.SplitLetter(body); err != nil || bytes.Equal(outside.Mailbox, gone[:]) {
					return &proto.Error{Code: proto.NoMailbox, Message: "there is no such mailbox"}
				}
				return nil
			})
			alice = away.come(func(cfg *Config) { cfg.Persistent = true })
			if writes {
				alice.write("again", "bob")
			}
			want := history.StatusFailed
			if another {
				want = history.StatusKept
			}
			change := alice.await("what became of it", func(ev Event) bool { return ev.Receipt != nil && ev.Receipt.ID == id }).Receipt
			if change.Status != want || change.No != 0 || !another && !strings.Contains(change.Reason, "no such mailbox") {
				t.Errorf("another %v, writes %v: %+v", another, writes, change)
			}
			if d := inHistory(t, alice.e.cfg.State.HistoryDir(), "hello"); d.Status != want {
				t.Errorf("another %v, writes %v: %+v", another, writes, d)
			}
			if another {
				next.come(nil).message("hello")
				nothingOnItsWay(alice)
			}
		}
	}
}

// TestTwoClientsNumberLetters: two clients of one state directory that write at once give no number twice.
func TestTwoClientsNumberLetters(t *testing.T) {
	o := newOffice(t)
	away, bob := o.comer("alice"), o.comer("bob")
	const each = 20
	done := make(chan bool)
	for range 2 {
		alice := away.come(nil)
		go func() {
			for range each {
				if _, err := alice.Send(t.Context(), []string{"bob"}, "hello"); err != nil {
					t.Error(err)
				}
				alice.Wait(t.Context(), history.StatusSent) // a letter each
			}
			done <- true
		}()
	}
	<-done
	<-done
	seen := map[uint64]bool{}
	for _, k := range o.letters() {
		n := letterIn(t, bob, k.body).Header.N
		if seen[n] || n == 0 || n > 2*each {
			t.Errorf("the number %d", n)
		}
		seen[n] = true
	}
	if len(seen) < each {
		t.Errorf("%d letters", len(seen))
	}
}

// TestClientThatEndsNumbersNothing: without the history's word no letter is stored, under a number that
// was given before.
func TestClientThatEndsNumbersNothing(t *testing.T) {
	o := newOffice(t)
	alice := o.comer("alice").come(nil)
	o.comer("bob")
	box := o.boxes["bob"][0]
	records := []*crypto.Record{crypto.NewRecord(alice.e.self, []crypto.Recipient{{Name: "bob"}}, "hello", o.pair.Clock.Now())}
	s := alice.e.sealingOf(&way{bundle: box.Bundle, key: box.Key}, &flight{records: records})
	alice.goAway()
	err := s.store()
	if names, _ := alice.e.mail.outNames(); err == nil || len(names) > 0 {
		t.Errorf("%q is stored, %v", names, err)
	}
}
