package chatsecure

import (
	"testing"

	cs "chatsecure/crypto"
)

func TestHistoryKnown(t *testing.T) {
	p := newHistoryPair(t)
	ids := p.send("one", "two")
	ids = append(ids, p.send("three")...)
	expect := func(when string, want ...KnownLevel) {
		t.Helper()
		for i, id := range ids {
			if got := p.b.h.Known(id); got != want[i] {
				t.Errorf("%s: record %d is known as %d, want %d", when, i+1, got, want[i])
			}
		}
	}
	expect("received", KnownStored, KnownStored, KnownStored)
	p.must(p.b.h.Shown(p.cb.T3, 2))
	expect("shown", KnownShown, KnownShown, KnownStored)
	p.close(p.b)
	p.open(p.b)
	expect("opened again", KnownShown, KnownShown, KnownStored)
	left := p.b.h.Unshown()
	if len(left) != 1 || left[0].Record.Text != "three" || left[0].From != (cs.End{Name: "Ana", Conn: "conn-a"}) || left[0].Identity != p.a.local.Identity {
		t.Fatalf("unshown is %+v", left)
	}
	p.must(p.b.h.Shown(left[0].Conversation, left[0].Seq))
	p.close(p.b)
	p.open(p.b)
	expect("shown after a restart", KnownShown, KnownShown, KnownShown)
	if left := p.b.h.Unshown(); len(left) != 0 {
		t.Errorf("unshown is %+v, want nothing", left)
	}
	if p.a.h.Known(ids[0]) != KnownNot {
		t.Error("what was sent is known as received")
	}
}
