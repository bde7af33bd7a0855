package fetch

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/proto"
	"chatsecure/testdata/lab/disk"
	"chatsecure/testdata/lab/wire"
)

// newList has the server offer newer lists.
func (s *scene) newList(revoked string) {
	s.T.Helper()
	other, err := s.PKI.Issue(revoked)
	if err != nil {
		s.T.Fatal(err)
	}
	s.PKI.Revoke(other, time.Now(), 1)
	s.Publish()
}

// staysGood fetches lists, which must fail with a notice of these words. It checks that
// a restart without the server finds the earlier lists.
func (side *program) staysGood(words string) {
	t := side.scene.T
	t.Helper()
	side.refresh()
	side.mu.Lock()
	notices := side.notices
	side.notices = nil
	side.mu.Unlock()
	if !slices.ContainsFunc(notices, func(n string) bool { return strings.Contains(n, words) }) {
		t.Errorf("told %q, want %q", notices, words)
	}
	again := side.scene.open(trust.PolicyRequire, func(cfg *Config) { cfg.Off = true })
	again.wantStatus(trust.RevocationGood)
	if len(again.notices) > 0 {
		t.Errorf("after a restart: %q", again.notices)
	}
	again.Close()
}

func TestDiskFullFetching(t *testing.T) {
	s := newScene(t)
	full := disk.Need(t, filepath.Join(s.Dir, "state"))
	side := s.open(trust.PolicyRequire)
	if _, err := side.verifyWait(); err != nil {
		t.Fatal(err)
	}
	s.newList("other")
	full.Fill(0)
	side.staysGood("no space left")
	disk.NoStrays(t, side.crls.dir)

	// A list that cannot be kept counts all the same.
	s.PKI.Revoke(s.Alice, time.Now(), 1)
	s.Publish()
	side.refresh()
	_, err := side.verify()
	wire.WantCode(t, err, proto.CertificateRevoked)
	full.Clear()
}

// TestDiskDoesNotSyncFetching fails each sync in turn while one list is
// replaced.
func TestDiskDoesNotSyncFetching(t *testing.T) {
	s := newScene(t)
	side := s.open(trust.PolicyRequire)
	if _, err := side.verifyWait(); err != nil {
		t.Fatal(err)
	}
	var n, at atomic.Int64
	disk.SyncWith(t, func(f *os.File) error {
		if n.Add(1) == at.Load() {
			return syscall.EIO
		}
		return f.Sync()
	})
	s.newList("other")
	side.refresh()
	all := n.Load()
	for i := range all {
		s.newList(fmt.Sprint("other", i))
		n.Store(0)
		at.Store(i + 1)
		side.staysGood(syscall.EIO.Error())
	}
	if all < 2*3 { // three lists, and each time their directory
		t.Errorf("only %d syncs failed", all)
	}
}
