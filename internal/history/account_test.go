package history

import (
	"errors"
	"testing"
	"time"
)

// TestAccounts: what a person causes is counted, bytes of every line and each record once. The
// next start finds the same. A day later the day's share is gone, and the rest stays.
func TestAccounts(t *testing.T) {
	p := newPair(t)
	batch := newBatch(p, 3)
	before := p.b.h.known.end
	p.Must(p.b.h.Received(p.Cb, batch.o))
	first := p.b.h.Account(p.Cb.Person.Identity)
	if first.Records != 3 || first.Bytes < p.b.h.known.end-before-1 {
		t.Errorf("three records in %d bytes are counted as %+v", p.b.h.known.end-before, first)
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

// TestNoBundleWithoutItsConversation: what is refused to a person leaves nothing. A bundle alone would
// be charged to nobody, and each K has another.
func TestNoBundleWithoutItsConversation(t *testing.T) {
	p := newPair(t)
	before, whole := p.b.h.known.end, 0
	for room := 0; whole == 0; room += 100 {
		p.b.h.Admit = func(_ [32]byte, _, bytes int) error {
			if p.b.h.known.end+int64(bytes) > before+int64(room) {
				return errors.New("no room")
			}
			return nil
		}
		stranger := p.User("Stranger", "conn-s")
		_, cb := p.Shake(stranger, p.B)
		err := p.b.h.Begin(cb, p.B.Local.Bundle)
		switch grown := p.b.h.known.end - before; {
		case err != nil && grown > 0:
			t.Fatalf("with room for %d bytes %d are left by nobody", room, grown)
		case err == nil:
			whole = room
			if a := p.b.h.Account(cb.Person.Identity); a.Bytes < grown-10 || grown > int64(room) {
				t.Errorf("with room for %d bytes %d are left, and charged are %+v", room, grown, a)
			}
		}
	}
}
