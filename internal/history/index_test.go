package history

import (
	"errors"
	"slices"
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
	p.Must(p.b.h.Shown(p.Cb.T3, p.Cb.SendDirection(), 2))
	expect("shown", KnownShown, KnownShown, KnownStored)
	p.close(p.b)
	p.reopen(p.b)
	expect("opened again", KnownShown, KnownShown, KnownStored)
	left := p.b.h.Unshown()
	from := crypto.End{Name: "Ana", Conn: "conn-a"}
	if len(left) != 1 || left[0].Record.Text != "three" || left[0].From != from || left[0].Identity != p.a.Local.Identity {
		t.Fatalf("unshown is %+v", left)
	}
	p.Must(p.b.h.Shown(left[0].Conversation, left[0].Direction, left[0].Seq))
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

// another opens a second history of the user's.
func (p *pair) another(u *user, since time.Time) *History {
	p.T.Helper()
	cfg := p.config(u)
	cfg.Since = since
	h, notices, err := Open(cfg)
	p.Must(err)
	if len(notices) > 0 {
		p.T.Errorf("notices on opening: %q", notices)
	}
	return h
}

// known holds what a history knows of records against what it should.
func (p *pair) known(when string, h *History, ids []string, want ...KnownLevel) {
	p.T.Helper()
	p.Must(h.RefreshKnown())
	for i, id := range ids {
		if got := h.Known(id); got != want[i] {
			p.T.Errorf("%s: record %d is known as %d, want %d", when, i+1, got, want[i])
		}
	}
}

// texts are those of records that wait to be shown.
func texts(left []Stored) (all []string) {
	for _, s := range left {
		all = append(all, s.Record.Text)
	}
	return all
}

// TestHistoryOtherClients: what a running client has received or shows is not shown by another. A
// record that one has shown is not shown again.
func TestHistoryOtherClients(t *testing.T) {
	p := newPair(t)
	ids := p.Send("one", "two")
	second := p.another(p.b, time.Time{})
	if left := second.Unshown(); len(left) != 0 {
		t.Errorf("what a running client has received is shown by another: %q", texts(left))
	}
	p.close(p.b)
	p.known("of one that has ended", second, ids, KnownStored, KnownStored)
	p.Must(second.Close())

	third := p.another(p.b, time.Time{})
	left := third.Unshown()
	if got := texts(left); !slices.Equal(got, []string{"one", "two"}) {
		t.Fatalf("unshown is %q", got)
	}
	if len(third.Unshown()) != 0 {
		t.Error("unshown comes twice")
	}
	fourth := p.another(p.b, time.Time{})
	if left := fourth.Unshown(); len(left) != 0 {
		t.Errorf("what a running client shows is shown by another: %q", texts(left))
	}
	// The record comes once more, as a new connection of the sender's resends it.
	p.Must(third.Shown(left[0].Conversation, left[0].Direction, 2))
	p.known("shown by another", fourth, ids, KnownShown, KnownShown)
	p.Must(errors.Join(third.Close(), fourth.Close()))
	fifth := p.another(p.b, time.Time{})
	if left := fifth.Unshown(); len(left) != 0 {
		t.Errorf("what was shown is shown again: %q", texts(left))
	}
	p.Must(fifth.Close())
	chained(t, p.b.dir)
}

// TestHistoryOneOfTwoEnds: what a client had in its hands when it ended or was killed is shown by the
// next one, while a third one runs.
func TestHistoryOneOfTwoEnds(t *testing.T) {
	for _, killed := range []bool{true, false} {
		p := newPair(t)
		p.Send("waits from before")
		p.close(p.b)
		p.reopen(p.b) // shows that
		p.b.h.Unshown()
		bystander := p.another(p.b, p.Clock.Now())
		p.Clock.Add(time.Second)
		p.Connect()
		p.Send("received meanwhile")
		// The bystander's own, which it goes on to hold.
		ca, cb := p.Shake(p.A, p.B)
		cb.Me.Conn = "another"
		p.Must(bystander.Begin(cb, p.b.Local.Bundle))
		s, _, err := ca.SealRecords([]*crypto.Record{p.record("the bystander's", to(p.b))}, p.Clock.Now())
		p.Must(err)
		o, err := cb.Open(s.Body, p.Clock.Now())
		p.Must(err)
		p.Must(bystander.Received(cb, o))
		if killed {
			p.b.h.run.close() // as a killed process does
			p.b.h.writer.file.Close()
			p.b.h = nil
		} else {
			p.close(p.b)
		}
		p.Clock.Add(time.Second)
		next := p.another(p.b, p.Clock.Now())
		left := next.Unshown()
		if got := texts(left); !slices.Equal(got, []string{"waits from before", "received meanwhile"}) {
			t.Errorf("killed %t: the next client shows %q", killed, got)
		}
		for _, s := range left {
			if s.Again != killed {
				t.Errorf("killed %t: %q is told as shown before: %t", killed, s.Record.Text, s.Again)
			}
			p.Must(next.Shown(s.Conversation, s.Direction, s.Seq))
		}
		p.Must(errors.Join(next.Close(), bystander.Close()))
		p.reopen(p.b)
		if got := texts(p.b.h.Unshown()); !slices.Equal(got, []string{"the bystander's"}) {
			t.Errorf("killed %t: the last client shows %q", killed, got)
		}
	}
}

// TestHistoryConnected: a message that another client receives after this one has
// connected is sent to this client too, and is known once it has come.
func TestHistoryConnected(t *testing.T) {
	p := newPair(t)
	first := p.b.h
	ids := p.Send("before")
	p.Must(first.Shown(p.Cb.T3, p.Cb.SendDirection(), 1))
	p.Clock.Add(time.Millisecond)
	second := p.another(p.b, time.Time{})
	second.Connected(p.Clock.Now())
	record := p.record("to both", to(p.b))
	ids = append(ids, record.ID)
	p.SendRecords(record)
	p.known("stored by the other", second, ids, KnownShown, KnownNot)
	p.Must(first.Shown(p.Cb.T3, p.Cb.SendDirection(), 2))
	p.known("shown by the other", second, ids, KnownShown, KnownNot)
	p.close(p.b)
	p.known("the other has ended", second, ids, KnownShown, KnownNot)
	ca, cb := p.Shake(p.A, p.B)
	p.Must(second.Begin(cb, p.b.Local.Bundle))
	s, _, err := ca.SealRecords([]*crypto.Record{record}, p.Clock.Now())
	p.Must(err)
	o, err := cb.Open(s.Body, p.Clock.Now())
	p.Must(err)
	p.Must(second.Received(cb, o))
	p.known("received", second, ids, KnownShown, KnownShown)
	p.Must(second.Close())

	// Both are known to a client that connects after that.
	third := p.another(p.b, p.Clock.Now().Add(time.Millisecond))
	p.known("connected after", third, ids, KnownShown, KnownShown)
	p.Must(third.Close())
}

// TestHistoryReconnected: a message that another client received before the connection
// was lost can afterwards only come because it is sent again.
func TestHistoryReconnected(t *testing.T) {
	p := newPair(t)
	second := p.another(p.b, time.Time{})
	second.Connected(p.Clock.Now())
	ids := p.Send("text")
	p.known("in the connection", second, ids, KnownNot)
	p.Clock.Add(time.Second)
	second.Connected(p.Clock.Now())
	p.known("connected again", second, ids, KnownStored)
	p.Must(second.Close())
}

// TestHistoryMarksOfNothing: a conversation that is not in the history has no marks.
func TestHistoryMarksOfNothing(t *testing.T) {
	p := newPair(t)
	before := p.b.h.known.end
	if p.b.h.Shown([32]byte{1}, crypto.DirectionAB, 1) == nil || p.b.h.Seen([32]byte{1}, crypto.DirectionAB, 1) == nil || p.b.h.Gap([32]byte{1}, crypto.DirectionAB, "reason") == nil {
		t.Error("records of no conversation are marked")
	}
	if p.b.h.known.end != before {
		t.Error("something is written")
	}
}

// TestShownIsNotWaitedFor: a record that comes over and over takes no memory once it is shown.
func TestShownIsNotWaitedFor(t *testing.T) {
	small(t, 1<<20, 1)
	p := newPair(t)
	first, r := p.Cb, p.record("again and again", to(p.b))
	waiting := func() (n int) {
		for _, c := range p.b.h.known.convs {
			n += len(c.waiting)
		}
		return n
	}
	p.SendRecords(r)
	for range 5 {
		p.Connect()
		p.SendRecords(r)
	}
	p.Must(p.b.h.Shown(first.T3, first.SendDirection(), 1))
	p.Must(p.b.h.locked(p.b.h.known.flush))
	if n := waiting(); n != 0 {
		t.Errorf("%d lines wait, and their record is shown", n)
	}
	for range 5 {
		p.Connect()
		p.SendRecords(r)
	}
	if n := waiting(); n != 0 {
		t.Errorf("%d more lines wait", n)
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
	p.Must(p.b.h.Shown(p.Cb.T3, p.Cb.SendDirection(), 1))
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
		listing, err := Read(u.dir, Query{})
		p.Must(err)
		if len(listing.Messages) != 1 {
			t.Errorf("%s: %d messages, want the one that was resent", u.End.Name, len(listing.Messages))
		}
	}
}
