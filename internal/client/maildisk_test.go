package client

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"chatsecure/internal/fail"
	"chatsecure/testdata/lab/disk"
	"chatsecure/testdata/lab/people"
)

// TestRow29Mailboxes: clients that begin at once have one mailbox, and each of their letters to
// somebody has a number of its own.
func TestRow29Mailboxes(t *testing.T) {
	s := newOutScene(t)
	dir := t.TempDir()
	const n = 8
	var mu sync.Mutex
	var all sync.WaitGroup
	mailboxes, numbers := map[[32]byte]bool{}, map[uint64]bool{}
	for range n {
		all.Go(func() {
			m := openMail(dir)
			box, err := m.newest(people.Now)
			if err == nil {
				err = m.named(box.Hash, [32]byte{1})
			}
			if err != nil {
				t.Error(err)
				return
			}
			o := s.reserve(m)
			mu.Lock()
			defer mu.Unlock()
			mailboxes[box.Hash], numbers[o.h.N] = true, true
		})
	}
	all.Wait()
	if len(mailboxes) != 1 || len(numbers) != n || !numbers[1] || !numbers[n] {
		t.Errorf("mailboxes %v, numbers %v", mailboxes, numbers)
	}
}

// TestRow25Mailbox: a full disk makes no mailbox and keeps no letter, and says so. What was there
// stays, and with room again all goes on.
func TestRow25Mailbox(t *testing.T) {
	s := newOutScene(t)
	d := disk.Need(t, filepath.Join(t.TempDir(), "disk"))
	full := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, syscall.ENOSPC) || fail.AsError(err).Advice() == "" {
			t.Errorf("%s on a full disk: %v (%s)", what, err, fail.AsError(err).Advice())
		}
	}
	m := openMail(d.Dir)
	if err := m.make(); err != nil {
		t.Fatal(err)
	}
	d.Fill(0)
	_, err := m.newest(people.Now)
	full("a new mailbox", err)
	disk.NoStrays(t, m.dir)
	d.Clear()
	mailbox := newestOf(t, m, people.Now)
	for room := 0; ; room += os.Getpagesize() { // each letter takes some pages
		d.Fill(room)
		o, err := m.reserve([32]byte{}, mailbox, [32]byte{}, func() uint64 { return 0 }, s.seal)
		d.Clear()
		if err == nil {
			if room == 0 {
				t.Error("a letter is kept on a full disk")
			}
			if err := m.answered(o); err != nil {
				t.Error(err)
			}
			break
		}
		full("a letter", err)
		disk.NoStrays(t, filepath.Join(m.dir, outDir))
		if got := s.claims(m, 0); got != nil {
			t.Errorf("letters %v are there on a full disk", got)
		}
	}
	box, err := m.box(mailbox)
	if err != nil || !box.Named([32]byte{1}) {
		t.Errorf("the mailbox is %v, %v", box, err)
	}
}

// A backup that is put back brings erased keys with it. They are collected once more, and erased again.
func TestMailOfABackup(t *testing.T) {
	dir, backup := t.TempDir(), t.TempDir()
	m := openMail(dir)
	first := newestOf(t, m, mailNow)
	if err := os.CopyFS(backup, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	second := newestOf(t, m, mailNow.Add(8*day))
	late := mailNow.Add(15 * day)
	if err := m.emptied("relay", first, late, late); err != nil {
		t.Fatal(err)
	}
	for _, file := range files(t, backup) {
		data, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, mailDir, filepath.Base(file)), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := collectsOf(t, m, late); !slices.Equal(got, [][32]byte{second, first}) {
		t.Fatalf("collects %x", got)
	}
	if err := m.emptied("relay", first, late, late); err != nil {
		t.Fatal(err)
	}
	if box, err := m.box(first); box != nil || err != nil {
		t.Errorf("the old mailbox is %v, %v", box, err)
	}
}
