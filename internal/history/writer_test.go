package history

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"chatsecure/crypto"
	"chatsecure/internal/fail"
	"chatsecure/proto"
	"chatsecure/testdata/lab/disk"
	"chatsecure/testdata/spoil"
)

// openOn opens u's history on a disk that may fill up.
func (p *pair) openOn(full *disk.Full, u *user) {
	p.T.Helper()
	h, notices, err := Open(Config{Dir: u.dir, Receiving: true, Now: p.Clock.Now, Through: func(f *os.File) Store { return full.Through(f) }})
	p.Must(err)
	if len(notices) > 0 {
		p.T.Fatalf("notices: %q", notices)
	}
	u.keep(h)
}

// TestRow25FullDisk: row 25. The disk fills up in the middle of a write, at every place.
func TestRow25FullDisk(t *testing.T) {
	p := newPair(t)
	p.close(p.b)
	full := disk.NewFull(1 << 30)
	p.openOn(full, p.b)
	p.Must(p.b.h.Begin(p.Cb, p.b.Local.Bundle))
	record := p.record("text", to(p.b))
	s, _, err := p.Ca.SealRecords([]*crypto.Record{record}, p.Clock.Now())
	p.Must(err)
	o, err := p.Cb.Open(s.Body, p.Clock.Now())
	p.Must(err)

	path := filepath.Join(p.b.dir, "0.jsonl")
	before, err := os.ReadFile(path)
	p.Must(err)
	failures, stride := 0, 41
	if spoil.Whole() {
		stride = 1
	}
	for room := 0; ; room += stride {
		full.Set(room, false)
		err := p.b.h.Received(p.Cb, o)
		if err == nil {
			break
		}
		failures++
		e, ok := errors.AsType[*fail.Error](err)
		if !ok || e.Code != proto.History || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(e.Hint, "make room") {
			t.Fatalf("with room for %d bytes: %#v", room, err)
		}
		if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
			t.Fatalf("with room for %d bytes: the file changed, or %v", room, err)
		}
		if p.b.h.Known(record.ID) != KnownNot {
			t.Fatalf("with room for %d bytes: what was not stored is known", room)
		}
	}
	if failures < 10 {
		t.Errorf("only %d writes failed", failures)
	}
	if p.b.h.Known(record.ID) != KnownStored {
		t.Error("what was stored in the end is not known")
	}
	p.close(p.b)
	p.reopen(p.b)
	if r := verified(t, p.b.dir, p.Verifier); r.Messages != 1 || len(r.Findings) != 1 {
		// The conversation was written twice, by this test.
		t.Errorf("the report is %+v", r)
	}
}

// TestHistoryBrokenDisk: a line that can neither be written nor taken back ends the
// writing.
func TestHistoryBrokenDisk(t *testing.T) {
	p := newPair(t)
	p.close(p.b)
	full := disk.NewFull(1 << 30)
	p.openOn(full, p.b)
	full.Set(10, true)
	if err := p.b.h.Shown(p.Cb.T3, 1); err == nil {
		t.Fatal("a short write is no error")
	}
	full.Set(1<<30, false)
	if err := p.b.h.Shown(p.Cb.T3, 1); err == nil {
		t.Error("it takes more after a line that could not be taken back")
	}
	p.Must(p.b.h.Close())
	// The next client finds a torn line, cuts it off, and says so.
	h, notices, err := Open(Config{Dir: p.b.dir, Receiving: true, Now: p.Clock.Now})
	p.Must(err)
	p.b.keep(h)
	if len(notices) != 1 || !strings.Contains(notices[0], "cut off") {
		t.Errorf("notices are %q", notices)
	}
	if r := verified(t, p.b.dir, p.Verifier); !r.OK() {
		t.Errorf("after the repair: %v", r.Findings)
	}
}

// TestHistoryDevFull uses a device that is always full.
func TestHistoryDevFull(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		fmt.Fprintf(os.Stderr, "*** %s is SKIPPED: %v; full disks are tested with stand-ins only ***\n", t.Name(), err)
		t.Skip("no /dev/full")
	}
	defer full.Close()
	_, _, err = Open(Config{Dir: t.TempDir(), Receiving: true, Through: func(f *os.File) Store {
		if strings.HasSuffix(f.Name(), headExt) {
			return f
		}
		f.Close()
		return full
	}})
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("opening on a full device: %v", err)
	}
}

// TestHistorySyncFails: a failed sync in the background ends the writing, as later lines
// could not be relied on.
func TestHistorySyncFails(t *testing.T) {
	synced := make(chan struct{})
	h, _, err := Open(Config{Dir: t.TempDir(), Receiving: true, Through: func(f *os.File) Store { return &unsyncable{File: f, synced: synced} }})
	if err != nil {
		t.Fatal(err)
	}
	<-synced // the line that Open has written
	<-h.writer.done
	if err := h.Gap([32]byte{1}, "reason"); !errors.Is(err, syscall.EIO) {
		t.Errorf("after a failed sync: %v", err)
	}
	if err := h.Close(); !errors.Is(err, syscall.EIO) {
		t.Errorf("closing: %v", err)
	}
}

type unsyncable struct {
	*os.File
	synced chan struct{}
	once   sync.Once
}

func (u *unsyncable) Sync() error {
	if strings.HasSuffix(u.Name(), Ext) {
		u.once.Do(func() { close(u.synced) })
	}
	return syscall.EIO
}

// TestEndEarly: a sender's run that ends before Close is on the disk without it, and Close forces
// nothing again. What is written in between ends and is forced to the disk as well.
func TestEndEarly(t *testing.T) {
	for _, late := range []bool{false, true} {
		dir, synced := t.TempDir(), make(chan string, 8)
		h, _, err := Open(Config{Dir: dir, Through: func(f *os.File) Store { return &watchedFile{f, synced} }})
		if err == nil {
			err = h.Gap([32]byte{1}, "reason")
		}
		if err != nil {
			t.Fatal(err)
		}
		h.EndEarly()
		if first, second := <-synced, <-synced; first != "s0"+Ext || second != "s0"+headExt {
			t.Errorf("%s and then %s was forced to the disk", first, second)
		}
		want := 1
		if late {
			want++
			if err := h.Gap([32]byte{1}, "another"); err != nil {
				t.Error(err)
			}
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		if again := len(synced) > 0; again != late {
			t.Errorf("late %t: Close forces it to the disk: %t", late, again)
		}
		text, err := os.ReadFile(filepath.Join(dir, "s0"+Ext))
		if n := strings.Count(string(text), runEnded); err != nil || n != want || !strings.Contains(lastLine(text), runEnded) {
			t.Errorf("late %t: the run has ended %d times: %s %v", late, n, text, err)
		}
	}
}

func lastLine(text []byte) string {
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	return lines[len(lines)-1]
}

// watchedFile tells of each Sync.
type watchedFile struct {
	*os.File
	synced chan string
}

func (s *watchedFile) Sync() error {
	s.synced <- filepath.Base(s.Name())
	return s.File.Sync()
}
