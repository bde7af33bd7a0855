package history

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/people"
	"chatsecure/testdata/lab/wire"
)

// device is a user with a mailbox.
type device struct {
	*user
	holder *lab.Holder
	box    *crypto.Mailbox
	n      map[*device]uint64 // of the last letter to another
}

// post is users with mailboxes and open histories, who leave letters.
type post struct {
	*pair
	ana, bruno *device
}

const lettersKept = 7 * 24 * time.Hour

func newPost(t testing.TB) *post { return newPostIn(t, people.Lab(t)) }

func newPostIn(t testing.TB, pki *lab.PKI) *post {
	t.Helper()
	p := &post{pair: &pair{Pair: wire.EmptyPair(t, pki)}}
	p.ana, p.bruno = p.device("Ana", "conn-a"), p.device("Bruno", "conn-b")
	p.A, p.B, p.a, p.b = p.ana.User, p.bruno.User, p.ana.user, p.bruno.user
	return p
}

// device issues a card, and delegates with a mailbox.
func (p *post) device(name, conn string) *device {
	p.T.Helper()
	holder, err := p.PKI.Issue(name)
	p.Must(err)
	d := p.boxed(holder, p.Delegate(holder, name, conn))
	d.user = p.open(d.User)
	return d
}

// boxed gives a user a mailbox of 13 days.
func (p *post) boxed(holder *lab.Holder, u *wire.User) *device {
	p.T.Helper()
	box, err := crypto.NewMailbox()
	p.Must(err)
	people.NameMailbox(p.T, holder, u.Local.Bundle, box.Hash(), p.Clock.Now().Add(13*24*time.Hour))
	return &device{user: &user{User: u}, holder: holder, box: box, n: make(map[*device]uint64)}
}

func (d *device) owner() Owner { return Owner{d.End.Name, d.Local.Identity} }

// seal seals a letter from one device to another, with records or with receipts.
func (p *post) seal(from, to *device, records []*crypto.Record, receipts crypto.LetterReceipts) *crypto.Letter {
	p.T.Helper()
	from.n[to]++
	l, err := crypto.SealLetter(crypto.LetterDraft{
		Key: from.Local.Key, Bundle: from.Local.Bundle, MailboxKey: from.box.Public(),
		To: to.Local.Bundle.Hash(), ToKey: to.box.Public(),
		N: from.n[to], Time: p.Clock.Now(), Records: records, Receipts: receipts,
	})
	p.Must(err)
	return l
}

// collect opens a letter and reads it.
func (p *post) collect(from, to *device, l *crypto.Letter) *crypto.Letter {
	p.T.Helper()
	opened, err := crypto.OpenLetter(to.box, l.Body)
	p.Must(err)
	p.Must(opened.ReadRecords(from.Local.Identity))
	return opened
}

// texts are new records.
func (p *post) texts(from *device, to []crypto.Recipient, texts ...string) (records []*crypto.Record) {
	for _, text := range texts {
		records = append(records, crypto.NewRecord(from.Local.Identity, to, text, p.Clock.Now()))
	}
	return records
}

// leave has a letter kept, and its sender write that down.
func (p *post) leave(from, to *device, records ...*crypto.Record) *crypto.Letter {
	p.T.Helper()
	p.Clock.Add(time.Second)
	l := p.seal(from, to, records, nil)
	p.Must(from.h.LetterSent(l, to.owner(), to.Local.Bundle, p.Clock.Now().Add(lettersKept)))
	return l
}

// receive collects a letter, and has its receiver write it down.
func (p *post) receive(from, to *device, l *crypto.Letter) {
	p.T.Helper()
	p.Clock.Add(time.Second)
	p.Must(to.h.LetterReceived(p.collect(from, to, l), from.owner(), to.Local.Bundle, time.UnixMilli(l.Header.Time)))
}

// receipt leaves receipts of one level for records of to's, who collects and writes them down.
func (p *post) receipt(from, to *device, level string, records ...*crypto.Record) {
	p.T.Helper()
	p.Clock.Add(time.Second)
	var receipts crypto.LetterReceipts
	for _, r := range records {
		id := crypto.FullRecordID(to.Local.Identity, r)
		receipts = append(receipts, crypto.LetterReceiptEntry{ID: id[:], Level: level, Time: p.Clock.Now().UnixMilli()})
	}
	l := p.collect(from, to, p.seal(from, to, nil, receipts))
	p.Must(to.h.LetterReceipt(l, from.owner(), to.Local.Bundle, p.Clock.Now()))
}

// stored has the lines of a user's file.
func (p *pair) stored(u *user) [][]byte {
	p.T.Helper()
	data, err := os.ReadFile(filepath.Join(u.dir, linesName))
	p.Must(err)
	return lines(data)
}

// toldLetters is a post whose histories have letters and one of everything else, and are closed.
// It returns the records that Ana left.
func toldLetters(p *post) (records []*crypto.Record) {
	p.T.Helper()
	records = p.texts(p.ana, to(p.b), "a letter", "its second \u2028 <&> \x00 \"quoted\" {\"id\":\"\n record")
	l := p.leave(p.ana, p.bruno, records...)
	p.receive(p.ana, p.bruno, l)
	p.receipt(p.bruno, p.ana, crypto.LevelDelivered, records...)
	p.Must(p.b.h.Shown(l.ID, crypto.DirectionBA, 1))
	p.receipt(p.bruno, p.ana, crypto.LevelRead, records[0])
	p.Must(p.b.h.Seen(l.ID, crypto.DirectionBA, 2))
	p.Connect()
	told(p.pair)
	return records
}

// TestLetterTwice: a letter that the relay answers or hands out again has one line.
func TestLetterTwice(t *testing.T) {
	p := newPost(t)
	records := p.texts(p.ana, to(p.b), "one", "two")
	l := p.leave(p.ana, p.bruno, records...)
	p.receive(p.ana, p.bruno, l)
	p.receipt(p.bruno, p.ana, crypto.LevelRead, records...)
	wantA, wantB := len(p.stored(p.a)), len(p.stored(p.b))
	p.Must(p.a.h.LetterSent(l, p.bruno.owner(), p.B.Local.Bundle, p.Clock.Now()))
	p.receive(p.ana, p.bruno, l)
	p.close(p.a)
	p.close(p.b)
	p.reopen(p.a) // which knows of the letter by the index
	p.Must(p.a.h.LetterSent(l, p.bruno.owner(), p.B.Local.Bundle, p.Clock.Now()))
	p.restart(p.b)
	p.receive(p.ana, p.bruno, l)
	if a, b := len(p.stored(p.a)), len(p.stored(p.b)); a != wantA+2 || b != wantB+2 { // the ends of two runs
		t.Errorf("the histories grew from %d and %d lines to %d and %d", wantA, wantB, a, b)
	}
}

// TestOwnRecordAmongMany: a letter of receipts asks for each record of a line, which is not read as a
// whole each time.
func TestOwnRecordAmongMany(t *testing.T) {
	p := newPost(t)
	p.Connect()
	allocations := func(n int) float64 {
		records := p.texts(p.ana, to(p.b), slices.Repeat([]string{"hello"}, n)...)
		p.SendRecords(records...)
		id := crypto.FullRecordID(p.A.Local.Identity, records[n-1])
		return testing.AllocsPerRun(10, func() {
			if _, ok := p.a.h.OwnRecord(id); !ok {
				t.Error("it is not there")
			}
		})
	}
	if one, many := allocations(1), allocations(500); many > 2*one {
		t.Errorf("one record alone takes %v allocations, and among 500 %v", one, many)
	}
}

// TestLettersKnown: what a client must know of letters, it knows of each client and of each run,
// whether an index has it or only the lines do.
func TestLettersKnown(t *testing.T) {
	for name, restart := range map[string]func(p *post){
		"same run": func(*post) {},
		"next run": func(p *post) {
			p.close(p.a)
			p.close(p.b)
			p.reopen(p.a)
			p.restart(p.b)
		},
		"killed": func(p *post) { p.kill(p.a); p.kill(p.b); p.restart(p.a); p.restart(p.b) },
		"without an index": func(p *post) {
			p.close(p.a)
			p.close(p.b)
			os.Remove(filepath.Join(p.a.dir, indexName))
			os.Remove(filepath.Join(p.b.dir, indexName))
			p.restart(p.a)
			p.restart(p.b)
		},
		"one-shot sender": func(p *post) {
			p.close(p.a)
			p.oneShot(p.a)
		},
		"one-shot sender without an index": func(p *post) {
			p.kill(p.a)
			p.oneShot(p.a)
		},
		"one-shot sender that ran before": func(p *post) {
			other := &user{User: p.A, dir: p.a.dir}
			lines, err := os.ReadFile(filepath.Join(p.a.dir, linesName))
			p.Must(err)
			_, rest, _ := bytes.Cut(lines, []byte("\n"))
			p.close(p.a)
			first := lines[:len(lines)-len(rest)]
			path := filepath.Join(p.a.dir, linesName)
			p.Must(os.WriteFile(path, first, 0o600))
			os.Remove(filepath.Join(p.a.dir, indexName))
			p.oneShot(other)
			file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
			p.Must(err)
			_, err = file.Write(rest)
			p.Must(errors.Join(err, file.Close()))
			p.a.keep(other.h)
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer func(before int64) { flushBytes = before }(flushBytes)
			flushBytes = 0
			p := newPost(t)
			a, b := p.ana.box.Hash(), p.bruno.box.Hash()
			ana, bruno := p.A.Local.Identity, p.B.Local.Identity
			records := p.texts(p.ana, to(p.b), "one", "two", "three")
			pending := p.texts(p.ana, to(p.b), "waits")[0]
			p.Must(p.a.h.Pending(pending, []string{"Bruno"}))
			first := p.leave(p.ana, p.bruno, records[0])
			second := p.leave(p.ana, p.bruno, records[1:]...)
			p.receive(p.ana, p.bruno, second)
			p.receive(p.ana, p.bruno, first)
			p.Connect()
			conversed := p.record("said", to(p.b))
			p.SendRecords(conversed)
			p.Must(p.b.h.Shown(second.ID, crypto.DirectionBA, 1))
			p.Must(p.b.h.Seen(second.ID, crypto.DirectionBA, 2))
			restart(p)
			if got := p.a.h.LastLetterTo(bruno, a, b); got != 2 {
				t.Errorf("the last letter has the number %d", got)
			}
			if got := p.b.h.LastLetterFrom(ana, a, b); got != 2 {
				t.Errorf("the last letter that came has the number %d", got)
			}
			if got := p.a.h.LastLetterTo(bruno, b, a) + p.a.h.LastLetterFrom(bruno, a, b) + p.b.h.LastLetterTo(ana, b, a) +
				p.a.h.LastLetterTo(ana, a, b) + p.b.h.LastLetterFrom(bruno, a, b); got != 0 {
				t.Errorf("letters that nobody left have the number %d", got)
			}
			for _, r := range append(records, pending, conversed) {
				id := crypto.FullRecordID(p.A.Local.Identity, r)
				if got, ok := p.a.h.OwnRecord(id); !ok || got.ID != r.ID || got.Text != r.Text {
					t.Errorf("the record %q is %v, %t", r.Text, got, ok)
				}
				id[31]++
				if got, ok := p.a.h.OwnRecord(id); ok {
					t.Errorf("another hash than that of %q has the record %v", r.Text, got)
				}
				if _, ok := p.b.h.OwnRecord(crypto.FullRecordID(p.A.Local.Identity, r)); ok {
					t.Errorf("the record %q is its receiver's own", r.Text)
				}
			}
			for i, want := range []KnownLevel{KnownStored, KnownShown, KnownStored} {
				if got := p.b.h.Known(records[i].ID); got != want {
					t.Errorf("the record %q is known as %d, want %d", records[i].Text, got, want)
				}
			}
			for d, hash := range map[*user][32]byte{p.a: p.B.Local.Bundle.Hash(), p.b: p.A.Local.Bundle.Hash()} {
				if b := d.h.Bundle(hash); b == nil || b.Hash() != hash {
					t.Errorf("%s's history has the bundle %v", d.End.Name, b)
				}
			}
			if b := p.a.h.Bundle([32]byte{1}); b != nil {
				t.Error("a bundle that nobody has is in the history")
			}
		})
	}
}

// oneShot opens a user's history as a one-shot sender.
func (p *pair) oneShot(u *user) {
	p.T.Helper()
	cfg := p.config(u)
	cfg.Receiving = false
	h, _, err := Open(cfg)
	p.Must(err)
	u.keep(h)
}

// TestLetterUnshown: what a letter brought and nobody has seen comes up at the next start, unless
// the client runs that has received it.
func TestLetterUnshown(t *testing.T) {
	p := newPost(t)
	records := p.texts(p.ana, to(p.b), "shown", "seen", "neither")
	l := p.leave(p.ana, p.bruno, records...)
	p.receive(p.ana, p.bruno, l)
	p.Must(p.b.h.Shown(l.ID, crypto.DirectionBA, 1))
	p.Must(p.b.h.Seen(l.ID, crypto.DirectionBA, 2))
	other, _, err := Open(p.config(p.b))
	p.Must(err)
	if got := other.Unshown(); len(got) > 0 {
		t.Errorf("another client shows %v", got)
	}
	p.Must(other.Close())
	p.close(p.b)
	p.restart(p.b)
	got := p.b.h.Unshown()
	if len(got) != 2 {
		t.Fatalf("%d records come up, want 2", len(got))
	}
	for i, s := range got {
		want := Stored{
			Conversation: l.ID, Direction: crypto.DirectionBA, Seq: uint64(i) + 2, From: crypto.End{Name: "Ana"}, Identity: p.A.Local.Identity,
			Letter: true, Left: time.UnixMilli(l.Header.Time), Sent: time.UnixMilli(records[1+i].Time),
			Record: s.Record, Seen: i == 0, Again: i == 0, Bundle: [32]byte(l.Header.SrcBundle),
		}
		if s != want || s.Record.Text != records[1+i].Text {
			t.Errorf("comes up %+v, want %+v", s, want)
		}
	}
	p.Must(p.b.h.Shown(l.ID, crypto.DirectionBA, 3))
	p.close(p.b)
	p.restart(p.b)
	if got := p.b.h.Unshown(); len(got) > 0 {
		t.Errorf("what was shown comes up: %v", got)
	}
}

// TestLetterAdmitted: a letter is on the account of its sender, with the bundle that comes with it,
// and what Admit refuses leaves nothing.
func TestLetterAdmitted(t *testing.T) {
	p := newPost(t)
	p.Must(p.b.h.OwnBundle(p.B.Local.Bundle))
	l := p.collect(p.ana, p.bruno, p.seal(p.ana, p.bruno, p.texts(p.ana, to(p.b), "one", "two"), nil))
	before := len(p.stored(p.b))
	refusal := errors.New("no room")
	p.b.h.Admit = func(identity [32]byte, records, bytes int) error {
		if identity != p.A.Local.Identity || bytes < letterSize {
			t.Errorf("asked about %d bytes of %x", bytes, identity)
		}
		return refusal
	}
	keep := func() error {
		return p.b.h.LetterReceived(l, p.ana.owner(), p.B.Local.Bundle, p.Clock.Now())
	}
	if err := keep(); !errors.Is(err, refusal) || len(p.stored(p.b)) != before {
		t.Errorf("a letter that is not admitted: %v, and %d more lines", err, len(p.stored(p.b))-before)
	}
	p.b.h.Admit = nil
	p.Must(keep())
	account := p.b.h.Account(p.A.Local.Identity)
	grown := 0
	for _, line := range p.stored(p.b)[before:] {
		grown += len(line)
	}
	if account.Records != 2 || account.Bytes != int64(grown) {
		t.Errorf("the account has %+v, and the lines have %d bytes", account, grown)
	}
	p.close(p.b)
	p.restart(p.b)
	if got := p.b.h.Account(p.A.Local.Identity); got != account {
		t.Errorf("after a restart the account has %+v, want %+v", got, account)
	}
	p.leave(p.bruno, p.ana, p.texts(p.bruno, to(p.a), "answer")...)
	if got := p.b.h.Account(p.A.Local.Identity); got != (Account{}) {
		t.Errorf("after an answer the account has %+v", got)
	}
}

// TestLetterWaiting: the record of a killed client is not FAILED while a letter with it waits for the
// recipient, nor once the letter is kept. A letter for somebody else does not count.
func TestLetterWaiting(t *testing.T) {
	p := newPost(t)
	records := p.texts(p.ana, to(p.b), "waits", "kept", "lost")
	for _, r := range records {
		p.Must(p.a.h.Pending(r, []string{"Bruno"}))
	}
	p.leave(p.ana, p.bruno, records[1])
	p.kill(p.a)
	cfg := p.config(p.a)
	cfg.Waiting = func(id, name string) bool {
		return id == records[0].ID && proto.SameName(name, "bruno") || id == records[2].ID && proto.SameName(name, "caio")
	}
	h, notices, err := Open(cfg)
	p.Must(err)
	p.a.keep(h)
	want := "a client was killed, and of its messages are FAILED, because they did not leave from here: 1 to bruno"
	if len(notices) != 1 || notices[0] != want {
		t.Errorf("the next start says %q, want %q", notices, want)
	}
}

// TestSynced: done is called after a sync that began after the lines were written, for each once,
// also at the end, and with the error of a disk that fails.
func TestSynced(t *testing.T) {
	p := newPost(t)
	var mu sync.Mutex
	var calls []error
	called := make(chan struct{}, 100)
	done := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, err)
		called <- struct{}{}
	}
	for range 3 {
		p.a.h.Synced(done) // though there is no line of this run
		<-called
	}
	for range 20 {
		p.Must(p.a.h.Pending(p.texts(p.ana, to(p.b), "text")[0], []string{"Bruno"}))
		p.a.h.Synced(done)
	}
	p.close(p.a)
	for range 20 {
		<-called
	}
	if len(calls) != 23 || errors.Join(calls...) != nil {
		t.Errorf("%d calls for 23: %v", len(calls), errors.Join(calls...))
	}
	broken := errors.New("broken disk")
	h := NewOn(p.Clock.Now, unsynced{broken})
	defer h.Close()
	for range 2 {
		h.Synced(done)
		<-called
	}
	mu.Lock()
	defer mu.Unlock()
	if !errors.Is(calls[23], broken) || !errors.Is(calls[24], broken) {
		t.Errorf("a disk that fails: %v", calls[23:])
	}
}

// unsynced is a file that is never on the disk.
type unsynced struct{ err error }

func (unsynced) WriteAt(b []byte, _ int64) (int, error) { return len(b), nil }
func (unsynced) Truncate(int64) error                   { return nil }
func (u unsynced) Sync() error                          { return u.err }
func (unsynced) Close() error                           { return nil }

// TestLetterStatuses: what the listing says of letters, of receipts in letters, and of both together
// with conversations. The furthest word about each recipient counts, and nobody's about another.
func TestLetterStatuses(t *testing.T) {
	p := newPost(t)
	carla := p.device("Carla", "conn-c")
	both := to(p.b, carla.user)
	read := p.texts(p.ana, to(p.b), "read")[0]
	kept := p.texts(p.ana, to(p.b), "kept")[0]
	old := p.texts(p.ana, to(p.b), "old")[0]
	shared := p.texts(p.ana, both, "shared")[0]
	twice := p.texts(p.ana, to(p.b), "twice")[0]
	failed := p.texts(p.ana, to(p.b), "failed")[0]
	forged := p.texts(p.ana, to(carla.user), "forged")[0]
	p.Must(p.a.h.Pending(kept, []string{"Bruno"}))
	l := p.leave(p.ana, p.bruno, read, shared)
	p.receive(p.ana, p.bruno, l)
	p.Must(p.b.h.Shown(l.ID, crypto.DirectionBA, 1))
	p.receipt(p.bruno, p.ana, crypto.LevelRead, read)
	p.receipt(p.bruno, p.ana, crypto.LevelDelivered, read, shared) // nothing goes back
	p.leave(p.ana, carla, shared)
	p.leave(p.ana, p.bruno, kept)
	p.Must(p.a.h.Failed(failed.ID, "Bruno", "no"))
	p.leave(p.ana, p.bruno, failed) // to another device
	p.Must(p.a.h.LetterSent(p.seal(p.ana, p.bruno, []*crypto.Record{old}, nil), p.bruno.owner(), p.B.Local.Bundle, p.Clock.Now()))
	p.leave(p.ana, carla, forged)
	p.receipt(p.bruno, p.ana, crypto.LevelRead, forged) // Bruno says that Carla has read it
	p.Connect()
	p.SendRecords(twice)
	p.Receipt(1, 0)
	p.leave(p.ana, p.bruno, twice)
	p.receipt(p.bruno, p.ana, crypto.LevelRead, twice)
	p.Clock.Add(time.Hour)
	for _, restarted := range []bool{false, true} {
		if restarted {
			p.close(p.a)
			p.close(p.b)
		}
		for dir, want := range map[string]map[string]string{
			p.a.dir: {
				"read": "READ", "kept": "KEPT", "old": "KEPT (not fetched in time)",
				"shared": "bruno DELIVERED, carla KEPT", "twice": "READ", "failed": "KEPT", "forged": "KEPT",
			},
			p.b.dir: {"read": "READ", "shared": "DELIVERED", "twice": "DELIVERED"},
		} {
			listing, err := Read(dir, Query{Now: p.Clock.Now()})
			p.Must(err)
			got := make(map[string]string)
			for _, m := range listing.Messages {
				got[m.Text] = said(m)
				if !m.Letter && m.Text != "twice" {
					t.Errorf("%q came by no letter", m.Text)
				}
				if m.Identity != proto.FormatHash(p.A.Local.Identity) || m.From.Name != "Ana" {
					t.Errorf("%q is from %s %s", m.Text, m.From.Name, m.Identity)
				}
			}
			if !maps.Equal(got, want) {
				t.Errorf("restarted %t: the listing says %v, want %v", restarted, got, want)
			}
		}
	}
}

// said is what a listing says of a message.
func said(m *Message) string {
	var parts []string
	for _, d := range m.Deliveries {
		status := string(d.Status)
		if d.Reason != "" {
			status += " (" + d.Reason + ")"
		}
		if len(m.Deliveries) > 1 {
			status = proto.FoldName(d.Name) + " " + status
		}
		parts = append(parts, status)
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// TestLetterReadPart: the end of a long history of letters is read alone, and reads as it does in the
// whole. Marks and receipts are about letters long before.
func TestLetterReadPart(t *testing.T) {
	p := newPost(t)
	fill := strings.Repeat("0123456789", 1000)
	first := p.texts(p.ana, to(p.b), "the first, shown at last")[0]
	l := p.leave(p.ana, p.bruno, first)
	p.receive(p.ana, p.bruno, l)
	for i := range 100 {
		records := p.texts(p.ana, to(p.b), fmt.Sprint("shown ", i, fill), fmt.Sprint("stored ", i))
		l := p.leave(p.ana, p.bruno, records...)
		p.receive(p.ana, p.bruno, l)
		p.Must(p.b.h.Shown(l.ID, crypto.DirectionBA, 1))
		if i%10 == 0 {
			p.receipt(p.bruno, p.ana, crypto.LevelRead, records[0])
		}
	}
	p.Must(p.b.h.Shown(l.ID, crypto.DirectionBA, 1))
	p.receipt(p.bruno, p.ana, crypto.LevelRead, first)
	p.close(p.a)
	p.close(p.b)
	for _, u := range []*user{p.a, p.b} {
		whole, err := Read(u.dir, Query{Now: p.Clock.Now()})
		p.Must(err)
		for _, n := range []int{1, 15, 150, 201, 300} {
			l, err := Read(u.dir, Query{N: n, Now: p.Clock.Now()})
			p.Must(err)
			want := whole.Messages[max(0, 201-n):]
			if l.More != (n < 201) || len(l.Problems) > 0 || !reflect.DeepEqual(l.Messages, want) {
				t.Errorf("%s, the last %d: %d messages, more: %t, %v", u.End.Name, n, len(l.Messages), l.More, l.Problems)
			}
		}
		lines := p.stored(u)
		lines[5][0] = '#' // what stands before the end is not read
		p.Must(os.WriteFile(filepath.Join(u.dir, linesName), append(bytes.Join(lines, []byte("\n")), '\n'), 0o600))
		if l, err := Read(u.dir, Query{N: 1, Now: p.Clock.Now()}); err != nil || len(l.Problems) > 0 {
			t.Errorf("%s: a letter from long before needs the whole file: %v, %v", u.End.Name, l, err)
		}
	}
}

// flaky fails one write, and every one before it is whole.
type flaky struct {
	*os.File
	left *int
}

func (f flaky) WriteAt(b []byte, at int64) (int, error) {
	*f.left--
	if *f.left == 0 {
		n, _ := f.File.WriteAt(b[:len(b)/2], at)
		return n, errors.New("the disk is full")
	}
	return f.File.WriteAt(b, at)
}

// TestLetterDiskFull: whatever write fails, a letter that could not be stored is stored when it comes
// again, once, and the history holds.
func TestLetterDiskFull(t *testing.T) {
	failed := 0
	for at := 1; at <= 6; at++ {
		p := newPost(t)
		p.close(p.b)
		left := -1
		cfg := p.config(p.b)
		cfg.Through = func(f *os.File) Store { return flaky{f, &left} }
		h, _, err := Open(cfg)
		p.Must(err)
		p.b.keep(h)
		records := p.texts(p.ana, to(p.b), "one", "two")
		l := p.collect(p.ana, p.bruno, p.leave(p.ana, p.bruno, records...))
		store := func() error {
			return h.LetterReceived(l, p.ana.owner(), p.B.Local.Bundle, p.Clock.Now())
		}
		left = at
		if store() != nil {
			failed++
			if got := h.Known(records[0].ID); got != KnownNot {
				t.Errorf("write %d fails, and the record is known as %d", at, got)
			}
		}
		left = -1
		p.Must(store())
		p.Must(store())
		p.close(p.b)
		letters := 0
		for _, line := range p.stored(p.b) {
			if _, ok := peekLetter(line); ok {
				letters++
			}
		}
		if r := verified(t, p.b.dir, p.Verifier); letters != 1 || !r.OK() || r.Letters != 1 || r.Bundles != 2 {
			t.Errorf("write %d fails: %d letters, %d bundles, %v", at, letters, r.Bundles, r.Findings)
		}
	}
	if failed < 3 {
		t.Errorf("%d writes of a letter failed", failed)
	}
}
