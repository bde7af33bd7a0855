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
	cfg := p.config(u)
	cfg.Through = func(f *os.File) Store { return full.Through(f) }
	h, notices, err := Open(cfg)
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
	// It has begun in the History before.
	p.b.h.known.convs[flow{p.Cb.T3, p.Cb.SendDirection()}] = &indexedConv{
		peer: End{Identity: proto.FormatHash(p.a.Local.Identity)},
	}
	record := p.record("text", to(p.b))
	s, _, err := p.Ca.SealRecords([]*crypto.Record{record}, p.Clock.Now())
	p.Must(err)
	o, err := p.Cb.Open(s.Body, p.Clock.Now())
	p.Must(err)

	path := filepath.Join(p.b.dir, linesName)
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
	r := verified(t, p.b.dir, p.Verifier)
	if all := chained(t, p.b.dir); !r.OK() || len(ofType(all, lineReceived)) != 1 {
		t.Errorf("the report is %+v", r)
	}
}

// TestHistoryBrokenDisk: a line that can neither be written nor taken back ends the
// writing. Another client cuts it off.
func TestHistoryBrokenDisk(t *testing.T) {
	p := newPair(t)
	p.close(p.b)
	full := disk.NewFull(1 << 30)
	p.openOn(full, p.b)
	p.Connect()
	full.Set(10, true)
	if err := p.b.h.Shown(p.Cb.T3, p.Cb.SendDirection(), 1); err == nil {
		t.Fatal("a short write is no error")
	}
	full.Set(1<<30, false)
	if err := p.b.h.Shown(p.Cb.T3, p.Cb.SendDirection(), 1); err == nil {
		t.Error("it takes more after a line that could not be taken back")
	}
	p.Must(p.b.h.Close())
	h, notices, err := Open(p.config(p.b))
	p.Must(err)
	p.b.keep(h)
	if len(notices) != 1 || !strings.Contains(notices[0], "cut off") {
		t.Errorf("notices are %q", notices)
	}
	p.close(p.b)
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
	_, _, err = Open(Config{Dir: t.TempDir(), Receiving: true, Owner: somebody, Through: func(f *os.File) Store {
		t.Cleanup(func() { f.Close() })
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
	h, _, err := Open(Config{Dir: t.TempDir(), Receiving: true, Owner: somebody, Through: func(f *os.File) Store { return &unsyncable{File: f, synced: synced} }})
	if err != nil {
		t.Fatal(err)
	}
	<-synced // the line that Open has written
	<-h.writer.done
	if err := h.Failed("id", "name", "reason"); !errors.Is(err, syscall.EIO) {
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
	u.once.Do(func() { close(u.synced) })
	return syscall.EIO
}

// TestFullDiskAtTheStart: room is what is missing where a start finds none for its run.
func TestFullDiskAtTheStart(t *testing.T) {
	for err, want := range map[error]string{syscall.ENOSPC: hintRoom, syscall.EROFS: hintWritable} {
		if e := fail.AsError(openFailure("dir", fmt.Errorf("run: %w", err))); e.Hint != want {
			t.Errorf("%v: %q", err, e.Hint)
		}
	}
}
