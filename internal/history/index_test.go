package history

import (
	"errors"
	"testing"
	"time"

	"chatsecure/crypto"
)

func TestHistoryKnown(t *testing.T) {
	p := newPair(t)
	ids := p.Send("one", "two")
	ids = append(ids, p.Send("three")...)
	expect := func(when string, want ...KnownLevel) {
		t.Helper()
		for i, id := range ids {
			if got := p.b.h.Known(id); got != want[i] {
				t.Errorf("%s: record %d is known as %d, want %d", when, i+1, got, want[i])
			}
		}
	}
	expect("received", KnownStored, KnownStored, KnownStored)
	p.Must(p.b.h.Shown(p.Cb.T3, 2))
	expect("shown", KnownShown, KnownShown, KnownStored)
	p.close(p.b)
	p.reopen(p.b)
	expect("opened again", KnownShown, KnownShown, KnownStored)
	left := p.b.h.Unshown()
	from := crypto.End{Name: "Ana", Conn: "conn-a"}
	if len(left) != 1 || left[0].Record.Text != "three" || left[0].From != from || left[0].Identity != p.a.Local.Identity {
		t.Fatalf("unshown is %+v", left)
	}
	p.Must(p.b.h.Shown(left[0].Conversation, left[0].Seq))
	p.close(p.b)
	p.reopen(p.b)
	expect("shown after a restart", KnownShown, KnownShown, KnownShown)
	if left := p.b.h.Unshown(); len(left) != 0 {
		t.Errorf("unshown is %+v, want nothing", left)
	}
	if p.a.h.Known(ids[0]) != KnownNot {
		t.Error("what was sent is known as received")
	}
}

// TestHistoryOtherSlots: another slot's records are known once no process holds it,
// and a record that another client has shown is not shown again.
func TestHistoryOtherSlots(t *testing.T) {
	p := newPair(t)
	first := p.b.h
	second, _, err := Open(Config{Dir: p.b.dir, Receiving: true, Now: p.Clock.Now})
	p.Must(err)
	ids := p.Send("one", "two")
	refreshed := func(h *History, want KnownLevel) {
		t.Helper()
		p.Must(h.RefreshKnown())
		if got := h.Known(ids[0]); got != want {
			t.Errorf("slot %s: known as %d, want %d", h.Slot(), got, want)
		}
	}
	refreshed(second, KnownNot) // slot 0 is held
	p.Must(first.Close())
	refreshed(second, KnownStored)
	p.Must(second.Close())

	// The next client takes slot 0, and the one after it slot 1. Only the first shows
	// the records of slot 0.
	third, _, err := Open(Config{Dir: p.b.dir, Receiving: true, Now: p.Clock.Now})
	p.Must(err)
	left := third.Unshown()
	if len(left) != 2 || left[0].Record.Text != "one" || left[1].Record.Text != "two" {
		t.Fatalf("unshown is %+v", left)
	}
	if len(third.Unshown()) != 0 {
		t.Error("unshown comes twice")
	}
	fourth, _, err := Open(Config{Dir: p.b.dir, Receiving: true, Now: p.Clock.Now})
	p.Must(err)
	if left := fourth.Unshown(); len(left) != 0 {
		t.Errorf("what a running client holds is shown by another: %+v", left)
	}
	// Slot 1 receives the message again, as a new connection of the sender's resends it.
	p.Must(fourth.Begin(p.Cb, p.b.Local.Bundle))
	p.Must(third.Shown(left[0].Conversation, 2))
	p.Must(third.Close())
	refreshed(fourth, KnownShown)
	p.Must(fourth.Close())
	p.b.h = nil
	fifth, _, err := Open(Config{Dir: p.b.dir, Receiving: true, Now: p.Clock.Now})
	p.Must(err)
	if left := fifth.Unshown(); len(left) != 0 {
		t.Errorf("what was shown is shown again: %+v", left)
	}
	p.Must(fifth.Close())
}

// TestHistoryConnected: a message that another slot receives after this client has
// connected is sent to this client too, and is known once it has come.
func TestHistoryConnected(t *testing.T) {
	p := newPair(t)
	first := p.b.h
	ids := p.Send("before")
	p.Must(first.Shown(p.Cb.T3, 1))
	p.Clock.Add(time.Millisecond)
	second, _, err := Open(Config{Dir: p.b.dir, Receiving: true, Now: p.Clock.Now})
	p.Must(err)
	second.Connected(p.Clock.Now())
	record := p.record("to both", to(p.b))
	ids = append(ids, record.ID)
	p.SendRecords(record)
	p.Must(first.Shown(p.Cb.T3, 2))
	p.close(p.b)
	expect := func(when string, want ...KnownLevel) {
		t.Helper()
		p.Must(second.RefreshKnown())
		for i, id := range ids {
			if got := second.Known(id); got != want[i] {
				t.Errorf("%s: record %d is known as %d, want %d", when, i+1, got, want[i])
			}
		}
	}
	expect("connected before", KnownShown, KnownNot)
	ca, cb := p.Shake(p.A, p.B)
	p.Must(second.Begin(cb, p.b.Local.Bundle))
	s, _, err := ca.SealRecords([]*crypto.Record{record}, p.Clock.Now())
	p.Must(err)
	o, err := cb.Open(s.Body, p.Clock.Now())
	p.Must(err)
	p.Must(second.Received(cb, o))
	expect("received", KnownShown, KnownShown)
	p.Must(second.Close())

	// Both are known to a client that connects after that.
	third, _, err := Open(Config{Dir: p.b.dir, Receiving: true, Since: p.Clock.Now().Add(time.Millisecond), Now: p.Clock.Now})
	p.Must(err)
	second = third
	expect("connected after", KnownShown, KnownShown)
	p.Must(third.Close())
}

// TestHistoryReconnected: a message that another slot received before the connection
// was lost can afterwards only come because it is sent again.
func TestHistoryReconnected(t *testing.T) {
	p := newPair(t)
	second, _, err := Open(Config{Dir: p.b.dir, Receiving: true, Now: p.Clock.Now})
	p.Must(err)
	second.Connected(p.Clock.Now())
	id := p.Send("text")[0]
	p.close(p.b)
	p.Must(second.RefreshKnown())
	if got := second.Known(id); got != KnownNot {
		t.Errorf("in the connection: known as %d", got)
	}
	p.Clock.Add(time.Second)
	second.Connected(p.Clock.Now())
	if got := second.Known(id); got != KnownStored {
		t.Errorf("connected again: known as %d", got)
	}
	p.Must(second.Close())
}

// TestHistoryShownElsewhere: a third client does not show a record again that one slot
// received and a second client, which still runs, has shown.
func TestHistoryShownElsewhere(t *testing.T) {
	p := newPair(t)
	p.close(p.b)
	low, _, err := Open(Config{Dir: p.b.dir, Receiving: true, Now: p.Clock.Now}) // slot 0
	p.Must(err)
	high, _, err := Open(Config{Dir: p.b.dir, Receiving: true, Now: p.Clock.Now}) // slot 1
	p.Must(err)
	ca, cb := p.Shake(p.A, p.B)
	p.Must(high.Begin(cb, p.b.Local.Bundle))
	s, _, err := ca.SealRecords([]*crypto.Record{p.record("text", to(p.b))}, p.Clock.Now())
	p.Must(err)
	o, err := cb.Open(s.Body, p.Clock.Now())
	p.Must(err)
	p.Must(high.Received(cb, o))
	p.Must(errors.Join(high.Close(), low.Close()))

	low, _, err = Open(Config{Dir: p.b.dir, Receiving: true, Now: p.Clock.Now})
	p.Must(err)
	left := low.Unshown()
	if len(left) != 1 {
		t.Fatalf("unshown is %+v", left)
	}
	p.Must(low.Shown(left[0].Conversation, left[0].Seq)) // a line in slot 0
	high, _, err = Open(Config{Dir: p.b.dir, Receiving: true, Now: p.Clock.Now})
	p.Must(err)
	if again := high.Unshown(); len(again) != 0 || high.Known(left[0].Record.ID) != KnownShown {
		t.Errorf("unshown is %+v", again)
	}
	if err := high.Shown([32]byte{1}, 1); err == nil {
		t.Error("records of no conversation are marked shown")
	}
	p.Must(errors.Join(high.Close(), low.Close()))
	if r := verified(t, p.b.dir, p.Verifier); !r.OK() {
		t.Errorf("findings: %v", r.Findings)
	}
}

// TestHistoryResent: a record that comes again in another conversation is READ as soon
// as it was shown in either.
func TestHistoryResent(t *testing.T) {
	p := newPair(t)
	record := p.record("text", to(p.b))
	p.SendRecords(record)
	p.Connect()
	p.SendRecords(record)
	if got := p.b.h.Known(record.ID); got != KnownStored {
		t.Errorf("known as %d", got)
	}
	p.Must(p.b.h.Shown(p.Cb.T3, 1))
	if got := p.b.h.Known(record.ID); got != KnownShown {
		t.Errorf("after the second was shown, known as %d", got)
	}
	p.close(p.b)
	p.reopen(p.b)
	if got := p.b.h.Known(record.ID); got != KnownShown || len(p.b.h.Unshown()) != 0 {
		t.Errorf("opened again, known as %d", got)
	}
	for _, u := range []*user{p.a, p.b} {
		if r := verified(t, u.dir, p.Verifier); !r.OK() || r.Records != 2 {
			t.Errorf("%s: %+v", u.End.Name, r)
		}
		messages, _, err := Read(u.dir)
		p.Must(err)
		if len(messages) != 1 {
			t.Errorf("%s: %d messages, want the one that was resent", u.End.Name, len(messages))
		}
	}
}
