package history

import (
	"testing"
	"time"
)

// TestAccounts: what a person causes is counted, bytes of every line and each record once. The
// next start finds the same. A day later the day's share is gone, and the rest stays.
func TestAccounts(t *testing.T) {
	p := newPair(t)
	batch := newBatch(p, 3)
	before := p.b.h.writer.end.size
	p.Must(p.b.h.Received(p.Cb, batch.o))
	first := p.b.h.Account(p.Cb.Person.Identity)
	if first.Records != 3 || first.Bytes < p.b.h.writer.end.size-before-1 {
		t.Errorf("three records in %d bytes are counted as %+v", p.b.h.writer.end.size-before, first)
	}
	p.Must(p.b.h.Received(p.Cb, batch.o)) // as after a reconnect
	again := p.b.h.Account(p.Cb.Person.Identity)
	if again.Records != 3 || again.Bytes <= first.Bytes {
		t.Errorf("sent again they are counted as %+v, and before as %+v", again, first)
	}
	everybody := func([32]byte) bool { return true }
	nobody := func([32]byte) bool { return false }
	if all := p.b.h.Today(everybody); all.DayRecords != 3 || all.DayBytes < again.Bytes {
		t.Errorf("all of today is %+v, and of one person %+v", all, again)
	}
	if none := p.b.h.Today(nobody); none != (Account{}) {
		t.Errorf("of nobody it is %+v", none)
	}

	p.close(p.b)
	p.reopen(p.b)
	if a := p.b.h.Account(p.Cb.Person.Identity); a != again {
		t.Errorf("the next start counts %+v, want %+v", a, again)
	}

	p.Clock.Add(24 * time.Hour)
	if all := p.b.h.Today(everybody); all != (Account{}) {
		t.Errorf("a day later the day has %+v", all)
	}
	if later := p.b.h.Account(p.Cb.Person.Identity); later != again {
		t.Errorf("a day later %+v is counted, want %+v", later, again)
	}
}

// TestAccountsOfSender: a one-shot sender knows what people have caused in the end of its file, and
// adds what they cause from then on.
func TestAccountsOfSender(t *testing.T) {
	p := newPair(t)
	p.close(p.a)
	dir, bob := t.TempDir(), p.Ca.Person.Identity
	everybody := func([32]byte) bool { return true }
	var want Account
	for run := range 3 {
		h, _, err := Open(Config{Dir: dir, Now: p.Clock.Now})
		p.Must(err)
		if today := h.Today(everybody); today.DayBytes != want.DayBytes {
			t.Errorf("run %d: today has %+v, want that of %+v", run, today, want)
		}
		if got := h.Account(bob); got != want {
			t.Errorf("run %d: the account is %+v, want %+v", run, got, want)
		}
		ca, _ := p.Shake(p.A, p.B)
		p.Must(h.Begin(ca, p.a.Local.Bundle))
		if want = h.Account(bob); want.Bytes == 0 {
			t.Errorf("run %d: a conversation costs nothing", run)
		}
		p.Must(h.Close())
	}
}
