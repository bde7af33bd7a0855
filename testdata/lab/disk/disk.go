// Package disk makes disks that fail: small file systems that fill up or take
// no writes, files that find no room, and a sync that does not succeed.
package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"chatsecure/internal/state"
)

// Small is a file system in memory with little room.
type Small struct {
	t   testing.TB
	Dir string
}

// Mount mounts a file system with so many KiB of room at dir, which is made. It
// is there until the test ends. Only root may mount one, and only on Linux:
// Mount returns nil elsewhere, and says loudly that a part of the test is left
// out.
func Mount(t testing.TB, dir string, kib int) *Small {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := mount(dir, kib); err != nil {
		fmt.Fprintf(os.Stderr, "*** %s: NOT TESTED on a disk that is full or read-only, since none can be mounted here (%s): %v ***\n", t.Name(), runtime.GOOS, err)
		return nil
	}
	t.Cleanup(func() {
		if err := unmount(dir); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return &Small{t, dir}
}

// Need is Mount of 64 pages, for a test that is skipped without it.
func Need(t testing.TB, dir string) *Small {
	t.Helper()
	d := Mount(t, dir, 64*os.Getpagesize()>>10)
	if d == nil {
		t.Skip("no small file system") // and Mount has said so loudly
	}
	return d
}

func (d *Small) filler() string { return filepath.Join(d.Dir, "filler") }

// Fill leaves so many bytes free. A file's last page may have room besides.
func (d *Small) Fill(free int) {
	d.t.Helper()
	f, err := os.Create(d.filler())
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	page := make([]byte, os.Getpagesize())
	var size int64
	for err == nil {
		var n int
		n, err = f.Write(page)
		size += int64(n)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		d.t.Fatalf("filling the disk: %v", err)
	}
	if err := f.Truncate(size - int64(free)); err != nil {
		d.t.Fatal(err)
	}
}

// Clear makes room again.
func (d *Small) Clear() {
	d.t.Helper()
	if err := os.Remove(d.filler()); err != nil {
		d.t.Fatal(err)
	}
}

// ReadOnly makes the file system refuse every write from now on.
func (d *Small) ReadOnly() {
	d.t.Helper()
	if err := remountReadOnly(d.Dir); err != nil {
		d.t.Fatal(err)
	}
}

// NoStrays fails the test if a half-written file was left in dir.
func NoStrays(t testing.TB, dir string) {
	t.Helper()
	strays, err := filepath.Glob(filepath.Join(dir, strings.TrimSuffix(state.Temp, "*")+"*"))
	if err != nil || len(strays) > 0 {
		t.Errorf("left behind: %v, %v", strays, err)
	}
}

// SyncWith replaces the call that forces a file to the disk, until restore or
// the end of the test. Tests that use it do not run in parallel.
func SyncWith(t testing.TB, sync func(*os.File) error) (restore func()) {
	old := state.SyncFile
	restore = func() { state.SyncFile = old }
	state.SyncFile = sync
	t.Cleanup(restore)
	return restore
}
