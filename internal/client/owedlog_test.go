package client

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/history"
	"chatsecure/testdata/lab/wire"
)

// copied is the visitor as a client that is killed now leaves it.
func (v *visitor) copied() *visitor {
	v.o.t.Helper()
	dir := filepath.Join(v.o.t.TempDir(), "copy")
	if out, err := exec.Command("cp", "-a", v.dir, dir).CombinedOutput(); err != nil {
		v.o.t.Fatalf("%v: %s", err, out)
	}
	return &visitor{o: v.o, holder: v.holder, user: v.user, dir: dir}
}

// TestReceiptsOutliveAKill: a client is killed between `stored` and DELIVERED, and between showing and
// READ. The next one says both, each once.
func TestReceiptsOutliveAKill(t *testing.T) {
	o := newOffice(t)
	alice, bob := o.comer("alice").come(nil), o.comer("bob")
	id := alice.write("hello", "bob")
	alice.receipt(history.StatusKept)
	bob = bob.come(nil)
	m := bob.message("hello")
	o.acked("stored")
	bob.forget()
	bob.e.do(t.Context(), func() { bob.e.lost(nil) })
	stored := bob.copied()
	bob.Shown(m)
	bob.e.do(t.Context(), bob.e.takeMarks)
	shown := bob.copied()
	bob.goAway()

	stored = stored.come(nil)
	if r := alice.receipt(history.StatusDelivered); r.ID != id {
		t.Errorf("%+v", r)
	}
	stored.message("hello")
	stored.goAway()
	if next := stored.come(nil); len(next.e.letters.ways) != 0 {
		t.Error("DELIVERED is owed again")
	} else {
		next.goAway()
	}

	shown = shown.come(nil)
	if r := alice.receipt(history.StatusRead); r.ID != id {
		t.Errorf("%+v", r)
	}
	shown.goAway()
	if open, err := shown.e.mail.owed(); len(open) > 0 || err != nil {
		t.Errorf("owed still: %v, %v", open, err)
	}
}

// TestNothingIsOwed: a letter whose sender has no mailbox, or none any more, and one that the history does
// not have, are owed nothing.
func TestNothingIsOwed(t *testing.T) {
	o := newOffice(t)
	away := o.comer("bob")
	if err := openMail(away.dir).noteOwed(owedLine(owedLetterLine, [32]byte{1})); err != nil {
		t.Fatal(err)
	}
	bob := away.come(nil)
	bob.goAway()
	if open, err := bob.e.mail.owed(); len(open) > 0 || err != nil {
		t.Errorf("owed: %v, %v", open, err)
	}
}

// TestOwedLog: what a log says, in any order, and after a crash in the middle of a line; and its bounds.
func TestOwedLog(t *testing.T) {
	a, b := [32]byte{1}, [32]byte{2}
	line := owedLine
	for _, c := range []struct {
		lines []string
		want  []owed
	}{
		{},
		{[]string{line("letter", a), line("letter", b)}, []owed{{a, false}, {b, false}}},
		{[]string{line("letter", a), line("delivered", a), line("letter", b), line("done", b)}, []owed{{a, true}}},
		{[]string{line("done", a), line("letter", a)}, []owed{{a, false}}},
		{[]string{line("letter", a), line("delivered", a), line("letter", a)}, []owed{{a, false}}},
		{[]string{line("letter", a), line("done", a), line("delivered", a)}, nil},
		{[]string{line("letter", a), line("done", a), line("letter", b), line("letter", a)}, []owed{{b, false}, {a, false}}},
		{[]string{line("letter", a), line("letter", b)[:40]}, []owed{{a, false}}},
		{[]string{line("letter", a), "nonsense\n", line("letter", b)}, []owed{{a, false}, {b, false}}},
	} {
		m := openMail(t.TempDir())
		if err := m.make(); err != nil {
			t.Fatal(err)
		}
		for _, l := range c.lines {
			if err := m.noteOwed(l); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 { // the second time it is short
			if got, err := m.owed(); !slices.Equal(got, c.want) || err != nil {
				t.Errorf("%q: %v, %v", c.lines, got, err)
			}
		}
	}
	m := openMail(t.TempDir())
	if err := m.make(); err != nil {
		t.Fatal(err)
	}
	const all = 15000
	var letter [32]byte
	for i := 0; i < all; {
		var lines []string
		for range 500 {
			binary.BigEndian.PutUint64(letter[:], uint64(i))
			lines = append(lines, line("letter", letter), line("delivered", letter))
			i++
		}
		if err := m.noteOwed(lines...); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(filepath.Join(m.dir, owedLog)); err != nil || info.Size() > maxLog {
			t.Fatalf("it has %d bytes: %v", info.Size(), err)
		}
	}
	open, err := m.owed()
	if err != nil || len(open) != maxOwed || open[len(open)-1] != (owed{letter, true}) {
		t.Errorf("%d letters are there, %v", len(open), err)
	}
	if log, err := os.ReadFile(filepath.Join(m.dir, owedLog)); err != nil || bytes.Count(log, []byte("\n")) != 2*maxOwed {
		t.Errorf("%d lines: %v", bytes.Count(log, []byte("\n")), err)
	}
}

// TestFailedNoteIsNoAck: a letter of which nobody can note that it is owed receipts stays with the relay.
func TestFailedNoteIsNoAck(t *testing.T) {
	o := newOffice(t)
	alice, away := o.comer("alice"), o.comer("bob")
	o.kept = []*keptLetter{o.forge(alice, away, 1, o.pair.Clock.Now(), func(d *crypto.LetterDraft) {
		d.Records[0] = o.record(alice, away, "hello")
	})}
	if err := os.Mkdir(filepath.Join(away.dir, mailDir, owedLog), 0o700); err != nil {
		t.Fatal(err)
	}
	bob := away.come(nil)
	bob.message("hello")
	for end := time.Now().Add(wire.Timeout); ; time.Sleep(time.Millisecond) {
		if acks := o.letters()[0].acks; len(acks) > 0 {
			if !slices.Equal(acks, []string{"later"}) {
				t.Errorf("acked %q", acks)
			}
			return
		}
		select {
		case <-bob.e.ended:
			return
		default:
		}
		if time.Now().After(end) {
			t.Fatal("neither an answer nor an end")
		}
	}
}
