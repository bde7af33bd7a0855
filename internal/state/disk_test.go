package state_test

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/state"
	"chatsecure/testdata/lab/disk"
)

// These tests put the files that a client replaces on a disk that is full or does not
// sync: an error says so, the earlier file stays, and with room again all goes on.

// diskFile is one kind of file. write stores version v of it, and read returns the
// version that a fresh start finds, 0 for none.
type diskFile struct {
	write func(v byte) error
	read  func() (byte, error)
}

// diskFiles returns the files below dir that a client replaces as a whole. The code for
// known relays is that for known peers.
func diskFiles(t *testing.T, dir string) map[string]diskFile {
	now := time.Now()
	st := func() (*state.State, error) { return state.Open(dir, "alice") }
	with := func(f func(*state.State) error) error {
		s, err := st()
		if err == nil {
			err = f(s)
		}
		return err
	}
	creds := map[byte]*state.Credential{}
	for v := range byte(2) {
		creds[v+1] = state.Keepable(t, "alice", trust.KeyEd25519, now.Add(time.Duration(v+1)*time.Hour))
	}
	return map[string]diskFile{
		"known peers": {
			func(v byte) error {
				return with(func(s *state.State) error {
					bob := state.KnownBob()
					bob.Leaf = [32]byte{v}
					return s.SetKnownPeer(bob)
				})
			},
			func() (v byte, err error) {
				err = with(func(s *state.State) error {
					if p, ok := s.KnownPeer("bob"); ok {
						v = p.Leaf[0]
					}
					return nil
				})
				return v, err
			},
		},
		"kept key": {
			func(v byte) error { return with(func(s *state.State) error { return s.Keep(creds[v], "card") }) },
			func() (v byte, err error) {
				err = with(func(s *state.State) error {
					c, err := s.LoadKept("alice", "card", now)
					for n, cred := range creds {
						if c != nil && c.Bundle.NotAfter == cred.Bundle.NotAfter {
							v = n
						}
					}
					return err
				})
				return v, err
			},
		},
	}
}

// TestDiskFull replaces each file while there is no room for the new one.
func TestDiskFull(t *testing.T) {
	for _, name := range []string{"known peers", "kept key"} {
		t.Run(name, func(t *testing.T) {
			full := disk.Need(t, filepath.Join(t.TempDir(), "state"))
			file := diskFiles(t, full.Dir)[name]
			if err := file.write(1); err != nil {
				t.Fatal(err)
			}
			full.Fill(0)
			err := file.write(2)
			if !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("on a full disk: %v", err)
			}
			if e := fail.AsError(err); e.Hint != "make room on the disk" {
				t.Errorf("the hint is %q", e.Hint)
			}
			disk.NoStrays(t, full.Dir)
			full.Clear()
			if v, err := file.read(); v != 1 || err != nil {
				t.Errorf("what is there is version %d, %v", v, err)
			}
			if err := file.write(2); err != nil {
				t.Errorf("with room again: %v", err)
			}
			if v, err := file.read(); v != 2 || err != nil {
				t.Errorf("then it is version %d, %v", v, err)
			}
		})
	}
}

// TestDiskDoesNotSync fails each sync of a replacement in turn: an error says so, and
// either the old version or the new one is there.
func TestDiskDoesNotSync(t *testing.T) {
	for name := range diskFiles(t, t.TempDir()) {
		t.Run(name, func(t *testing.T) {
			file := diskFiles(t, t.TempDir())[name]
			if err := file.write(1); err != nil {
				t.Fatal(err)
			}
			failures := 0
			for at := int64(1); ; at++ {
				var n atomic.Int64
				restore := disk.SyncWith(t, func(f *os.File) error {
					if n.Add(1) == at {
						return syscall.EIO
					}
					return f.Sync()
				})
				err := file.write(2)
				restore()
				if n.Load() < at {
					if err != nil {
						t.Errorf("without a failure: %v", err)
					}
					break
				}
				failures++
				if !errors.Is(err, syscall.EIO) {
					t.Errorf("sync %d failed, and the error is %v", at, err)
				}
				if v, err := file.read(); v == 0 || err != nil {
					t.Errorf("sync %d failed, and what is there is version %d, %v", at, v, err)
				}
				if err := file.write(1); err != nil { // so that writing 2 is a change again
					t.Errorf("after the failure of sync %d: %v", at, err)
				}
			}
			if failures < 2 { // the file and its directory
				t.Errorf("only %d syncs failed", failures)
			}
		})
	}
}
