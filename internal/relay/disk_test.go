package relay

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	"chatsecure/proto"
	"chatsecure/testdata/lab/disk"
)

// TestDiskFullRegistry takes names until the disk is full. Those taken are on the
// disk, the others are nobody's.
func TestDiskFullRegistry(t *testing.T) {
	full := disk.Need(t, filepath.Join(t.TempDir(), "relay"))
	path := filepath.Join(full.Dir, "names")
	g := openTestRegistry(t, path)
	if got := code(g, "user0", 0); got != "" {
		t.Fatal(got)
	}
	full.Fill(os.Getpagesize()) // the new file takes room beside the old one
	last := 1
	for ; code(g, fmt.Sprintf("user%d", last), byte(last)) == ""; last++ {
	}
	refused := fmt.Sprintf("user%d", last)
	if last == 1 {
		t.Fatal("no name found room")
	}
	disk.NoStrays(t, full.Dir)
	if got := code(g, refused, byte(last)); got != proto.Internal {
		t.Errorf("again on a full disk: %q", got)
	}
	if got := code(g, "user0", 0); got != "" {
		t.Errorf("a name that is stored: %q", got)
	}
	check := func() {
		t.Helper()
		again := openTestRegistry(t, path)
		if !maps.Equal(again.names, g.names) {
			t.Errorf("%v after a restart, %v before", again.names, g.names)
		}
	}
	check()
	full.Clear()
	if got := code(g, refused, 99); got != "" { // another identity, the first to come now
		t.Errorf("with room again: %q", got)
	}
	check()
}

// TestDiskDoesNotSyncNames fails each sync of a claim in turn. The name does not
// count, stored names do, and a restart finds the old file or the new one. Once the
// disk syncs again, the first to come has the name.
func TestDiskDoesNotSyncNames(t *testing.T) {
	for at := int64(1); ; at++ {
		path := filepath.Join(t.TempDir(), "names")
		g := openTestRegistry(t, path)
		if got := code(g, "ana", 1); got != "" {
			t.Fatal(got)
		}
		var n atomic.Int64
		restore := disk.SyncWith(t, func(f *os.File) error {
			if n.Add(1) == at {
				return syscall.EIO
			}
			return f.Sync()
		})
		got := code(g, "bruno", 2)
		restore()
		if n.Load() < at {
			if got != "" {
				t.Errorf("without a failure: %q", got)
			}
			if at != 3 { // the file and its directory
				t.Errorf("%d syncs failed, want 2", at-1)
			}
			break
		}
		if got != proto.Internal {
			t.Errorf("sync %d failed, and the name is %q", at, got)
		}
		again := openTestRegistry(t, path)
		if _, ok := again.names["bruno"]; len(again.names) != 1 && !(ok && len(again.names) == 2) || again.names["ana"] != g.names["ana"] {
			t.Errorf("sync %d failed, and a restart finds %v", at, again.names)
		}
		for _, claim := range []struct {
			name string
			id   byte
		}{{"ana", 1}, {"bruno", 3}} {
			if got := code(g, claim.name, claim.id); got != "" {
				t.Errorf("%s after sync %d had failed: %q", claim.name, at, got)
			}
			if got := code(openTestRegistry(t, path), claim.name, claim.id); got != "" {
				t.Errorf("%s after a restart: %q", claim.name, got)
			}
		}
	}
	// An existing file may have been renamed into place without a sync.
	path := filepath.Join(t.TempDir(), "names")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	restore := disk.SyncWith(t, func(*os.File) error { return syscall.EIO })
	_, err := openRegistry(path, slog.New(slog.DiscardHandler))
	restore()
	if !errors.Is(err, syscall.EIO) {
		t.Errorf("a file that may not be on the disk is taken: %v", err)
	}
}
