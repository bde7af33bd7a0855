package chatsecure

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/proto"
)

// A disk that is full, and one that does not sync, under each file that relay
// and client keep: an error says so, what was there before is there, nothing
// counts that is not stored, and with room again all goes on.

// tinyDisk is a file system of a few pages.
type tinyDisk struct {
	t   testing.TB
	dir string
}

// newTinyDisk mounts one at dir, which is made.
func newTinyDisk(t testing.TB, dir string) *tinyDisk {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	d := &tinyDisk{t, dir}
	d.mount()
	return d
}

func (d *tinyDisk) fillerPath() string { return filepath.Join(d.dir, "filler") }

// fill leaves so many pages free; a file's last page may have room besides.
func (d *tinyDisk) fill(pages int) {
	d.t.Helper()
	f, err := os.Create(d.fillerPath())
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
	if err := f.Truncate(size - int64(pages*len(page))); err != nil {
		d.t.Fatal(err)
	}
}

func (d *tinyDisk) free() {
	d.t.Helper()
	if err := os.Remove(d.fillerPath()); err != nil {
		d.t.Fatal(err)
	}
}

// noStrays checks that no half-written file was left.
func (d *tinyDisk) noStrays(dir string) {
	d.t.Helper()
	strays, err := filepath.Glob(filepath.Join(dir, strings.TrimSuffix(stateTemp, "*")+"*"))
	if err != nil || len(strays) > 0 {
		d.t.Errorf("left behind: %v, %v", strays, err)
	}
}

// setSyncFile has files forced to the disk in another way. Tests that do are
// not parallel.
func setSyncFile(t *testing.T, f func(*os.File) error) (restore func()) {
	old := syncFile
	restore = func() { syncFile = old }
	syncFile = f
	t.Cleanup(restore)
	return restore
}

// diskFile is one kind of file: write stores version v of it, and read tells
// which version a fresh start finds, 0 for none.
type diskFile struct {
	write func(v byte) error
	read  func() (byte, error)
}

// diskFiles is the files that a client replaces as a whole, below dir. Known
// relays are written as known peers are.
func diskFiles(t *testing.T, dir string) map[string]diskFile {
	now := time.Now()
	state := func() (*State, error) { return OpenState(dir, "alice") }
	with := func(f func(*State) error) error {
		s, err := state()
		if err == nil {
			err = f(s)
		}
		return err
	}
	creds := map[byte]*Credential{1: keepable(t, "alice", crypto.KeyEd25519, now.Add(time.Hour)), 2: keepable(t, "alice", crypto.KeyEd25519, now.Add(2*time.Hour))}
	return map[string]diskFile{
		"known peers": {
			func(v byte) error {
				return with(func(s *State) error {
					bob := knownBob()
					bob.Leaf = [32]byte{v}
					return s.SetKnownPeer(bob)
				})
			},
			func() (v byte, err error) {
				err = with(func(s *State) error {
					if p, ok := s.KnownPeer("bob"); ok {
						v = p.Leaf[0]
					}
					return nil
				})
				return v, err
			},
		},
		"kept key": {
			func(v byte) error { return with(func(s *State) error { return s.Keep(creds[v], "card") }) },
			func() (v byte, err error) {
				err = with(func(s *State) error {
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
			disk := newTinyDisk(t, filepath.Join(t.TempDir(), "state"))
			file := diskFiles(t, disk.dir)[name]
			if err := file.write(1); err != nil {
				t.Fatal(err)
			}
			disk.fill(0)
			err := file.write(2)
			if !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("on a full disk: %v", err)
			}
			if e := AsError(err); e.Hint != "make room on the disk" {
				t.Errorf("the hint is %q", e.Hint)
			}
			disk.noStrays(disk.dir)
			disk.free()
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

// TestDiskDoesNotSync fails each sync of a replacement in turn: an error says
// so, and what is there is the old version or the new one.
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
				restore := setSyncFile(t, func(f *os.File) error {
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
				if err := file.write(1); err != nil { // to write 2 is a change again
					t.Errorf("after the failure of sync %d: %v", at, err)
				}
			}
			if failures < 2 { // the file and its directory
				t.Errorf("only %d syncs failed", failures)
			}
		})
	}
}

// TestDiskFullAtTheStart begins with no room for anything.
func TestDiskFullAtTheStart(t *testing.T) {
	disk := newTinyDisk(t, filepath.Join(t.TempDir(), "disk"))
	state, relay := filepath.Join(disk.dir, "state"), filepath.Join(disk.dir, "relay")
	start := func() error {
		_, err := OpenState(state, "alice")
		_, relayErr := RelayFingerprint(relay)
		h, _, historyErr := OpenHistory(filepath.Join(disk.dir, "history"), true, nil)
		if historyErr == nil {
			historyErr = h.Close()
		} else if AsError(historyErr).Code != proto.History || ExitStatus(historyErr) != 1 {
			t.Errorf("the history: %v", historyErr)
		}
		for _, err := range []error{err, relayErr, historyErr} {
			if err != nil && !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("on a full disk: %v", err)
			}
		}
		if (err == nil) != (relayErr == nil) || (err == nil) != (historyErr == nil) {
			t.Errorf("only some can begin: %v, %v, %v", err, relayErr, historyErr)
		}
		return err
	}
	disk.fill(0)
	if start() == nil {
		t.Error("it begins on a full disk")
	}
	disk.noStrays(state)
	disk.noStrays(relay)
	disk.free()
	if err := start(); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

// TestDiskFullRegistry takes names until there is no room: those that count
// are on the disk, the others are nobody's.
func TestDiskFullRegistry(t *testing.T) {
	disk := newTinyDisk(t, filepath.Join(t.TempDir(), "relay"))
	path := filepath.Join(disk.dir, "names")
	g := openTestRegistry(t, path)
	if got := registryCode(g, "user0", 0); got != "" {
		t.Fatal(got)
	}
	disk.fill(1) // the new file takes room beside the old one
	last := 1
	for ; registryCode(g, fmt.Sprintf("user%d", last), byte(last)) == ""; last++ {
	}
	refused := fmt.Sprintf("user%d", last)
	if last == 1 {
		t.Fatal("no name found room")
	}
	disk.noStrays(disk.dir)
	if got := registryCode(g, refused, byte(last)); got != proto.Internal {
		t.Errorf("again on a full disk: %q", got)
	}
	if got := registryCode(g, "user0", 0); got != "" {
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
	disk.free()
	if got := registryCode(g, refused, 99); got != "" { // whoever comes first now
		t.Errorf("with room again: %q", got)
	}
	check()
}

// TestDiskDoesNotSyncNames fails each sync of a claim in turn: the name does
// not count, names that are stored do, and a restart finds the old file or the
// new one. Once the disk syncs again, whoever comes first has the name.
func TestDiskDoesNotSyncNames(t *testing.T) {
	for at := int64(1); ; at++ {
		path := filepath.Join(t.TempDir(), "names")
		g := openTestRegistry(t, path)
		if got := registryCode(g, "ana", 1); got != "" {
			t.Fatal(got)
		}
		var n atomic.Int64
		restore := setSyncFile(t, func(f *os.File) error {
			if n.Add(1) == at {
				return syscall.EIO
			}
			return f.Sync()
		})
		got := registryCode(g, "bruno", 2)
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
			if got := registryCode(g, claim.name, claim.id); got != "" {
				t.Errorf("%s after sync %d had failed: %q", claim.name, at, got)
			}
			if got := registryCode(openTestRegistry(t, path), claim.name, claim.id); got != "" {
				t.Errorf("%s after a restart: %q", claim.name, got)
			}
		}
	}
	// The file that is found may have been renamed into place without a sync.
	path := filepath.Join(t.TempDir(), "names")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	restore := setSyncFile(t, func(*os.File) error { return syscall.EIO })
	_, err := openRegistry(path)
	restore()
	if !errors.Is(err, syscall.EIO) {
		t.Errorf("a file that may not be on the disk is taken: %v", err)
	}
}

// newList has a scene's server offer newer lists.
func (s *fetchScene) newList(revoked string) {
	s.t.Helper()
	other, err := s.pki.Issue(revoked)
	if err != nil {
		s.t.Fatal(err)
	}
	s.pki.Revoke(other, time.Now(), 1)
	s.publish()
}

// staysGood fetches lists, which must fail and be told with these words, and
// checks that a restart without the server finds those that were there.
func (side *fetchSide) staysGood(words string) {
	t := side.scene.t
	t.Helper()
	side.Refresh(t.Context(), nil)
	side.settle()
	side.mu.Lock()
	notices := side.notices
	side.notices = nil
	side.mu.Unlock()
	if !slices.ContainsFunc(notices, func(n string) bool { return strings.Contains(n, words) }) {
		t.Errorf("told %q, want %q", notices, words)
	}
	again := side.scene.open(crypto.PolicyRequire, func(cfg *FetcherConfig) { cfg.Off = true })
	again.wantStatus(crypto.RevocationGood)
	if len(again.notices) > 0 {
		t.Errorf("after a restart: %q", again.notices)
	}
	again.Close()
}

func TestDiskFullFetching(t *testing.T) {
	s := newFetchScene(t)
	disk := newTinyDisk(t, filepath.Join(s.dir, "state"))
	side := s.open(crypto.PolicyRequire)
	if _, err := side.verifyWait(); err != nil {
		t.Fatal(err)
	}
	s.newList("other")
	disk.fill(0)
	side.staysGood("no space left")
	disk.noStrays(side.listDir())
	disk.free()
}

// TestDiskDoesNotSyncFetching fails each sync in turn while one list is
// replaced.
func TestDiskDoesNotSyncFetching(t *testing.T) {
	s := newFetchScene(t)
	side := s.open(crypto.PolicyRequire)
	if _, err := side.verifyWait(); err != nil {
		t.Fatal(err)
	}
	var n, at atomic.Int64
	setSyncFile(t, func(f *os.File) error {
		if n.Add(1) == at.Load() {
			return syscall.EIO
		}
		return f.Sync()
	})
	s.newList("other")
	side.Refresh(t.Context(), nil)
	side.settle()
	all := n.Load()
	for i := range all {
		s.newList(fmt.Sprint("other", i))
		n.Store(0)
		at.Store(i + 1)
		side.staysGood(syscall.EIO.Error())
	}
	if all < 3 { // the list, what is known of it, and their directory
		t.Errorf("only %d syncs failed", all)
	}
}

// cannot skips a test that needs a tiny disk, and says so.
func (d *tinyDisk) cannot(err error) {
	fmt.Fprintf(os.Stderr, "*** %s is SKIPPED: no small file system can be mounted here (%s, %v); it takes Linux and root. Full disks are tested with stand-ins only. ***\n", d.t.Name(), runtime.GOOS, err)
	d.t.Skip("no small file system")
}

// onceFull is a disk on which one write to a file of lines finds no room, when
// it is armed.
type onceFull struct{ armed, happened atomic.Bool }

func (d *onceFull) through(f *os.File) historyStore { return &onceFullFile{f, d} }

type onceFullFile struct {
	*os.File
	disk *onceFull
}

func (f *onceFullFile) WriteAt(b []byte, at int64) (int, error) {
	if strings.HasSuffix(f.Name(), historyExt) && f.disk.armed.CompareAndSwap(true, false) {
		f.disk.happened.Store(true)
		n, err := f.File.WriteAt(b[:len(b)/2], at)
		return n, errors.Join(err, syscall.ENOSPC)
	}
	return f.File.WriteAt(b, at)
}

// onDisk gives a client a history on a disk of the test's.
func onDisk(through func(*os.File) historyStore) clientOption {
	return func(cfg *ClientConfig) { cfg.through = through }
}

func isHistoryError(ev Event) bool { return ev.Type == EventError && ev.Err.Code == proto.History }

// TestReceiverDiskFullOnce lets one message find no room: it is not
// acknowledged, that is said, and it comes again by itself.
func TestReceiverDiskFullOnce(t *testing.T) {
	town := newTown(t, "alice", "bob")
	disk := new(onceFull)
	alice, bob := town.client("alice"), town.client("bob", onDisk(disk.through))
	alice.mustSend("before", "bob")
	alice.mustSettle(StatusRead)
	disk.armed.Store(true)
	id := alice.mustSend("on the full disk", "bob")
	bob.await("that the history cannot be written", isHistoryError)
	sees(t, alice, bob, "before", "on the full disk")
	told := false // that the conversation with what did not find room has ended
	for _, ev := range alice.seen() {
		told = told || ev.Gap != nil
		if r := ev.Receipt; !told && r != nil && r.ID == id && r.Status.AtLeast(StatusDelivered) {
			t.Errorf("it was called %s, and had not found room", r.Status)
		}
	}
	alice.leave()
	bob.leave()
	town.historiesHold("alice", "bob")
}

// TestReceiverDiskFull leaves the receiver without room: its client ends and
// says why. What it had not stored was not called delivered, and comes when it
// starts again with room.
func TestReceiverDiskFull(t *testing.T) {
	town := newTown(t, "alice", "bob")
	disk := &fullDisk{room: 1 << 30}
	alice, bob := town.client("alice"), town.client("bob", onDisk(disk.through))
	alice.mustSend("before", "bob")
	alice.mustSettle(StatusRead)
	disk.set(100, false)
	id, conn := alice.mustSend("on the full disk", "bob"), bob.Conn()
	if err := bob.awaitEnd(); err.Code != proto.History || ExitStatus(err) != 1 {
		t.Errorf("bob's client ended with %v", err)
	}
	if slices.ContainsFunc(bob.texts(), func(s string) bool { return s != "before" }) {
		t.Errorf("bob saw %q", bob.texts())
	}
	// After that nothing of his comes any more.
	alice.await("that bob is gone", func(ev Event) bool {
		return ev.Peer != nil && ev.Peer.Conn == conn && ev.Peer.What == proto.Left
	})
	alice.undelivered("on the full disk", id)
	bob.leave()
	again := town.client("bob")
	sees(t, alice, again, "on the full disk")
	alice.leave()
	again.leave()
	town.historiesHold("alice", "bob")
}

// TestSenderDiskFull leaves the sender without room: what it cannot write down
// it does not send.
func TestSenderDiskFull(t *testing.T) {
	town := newTown(t, "alice", "bob")
	disk := &fullDisk{room: 1 << 30}
	alice, bob := town.client("alice", onDisk(disk.through)), town.client("bob")
	alice.mustSend("before", "bob")
	alice.mustSettle(StatusRead)
	disk.set(100, false)
	id := alice.mustSend("on the full disk", "bob")
	if err := alice.awaitEnd(); err.Code != proto.History || ExitStatus(err) != 1 {
		t.Errorf("alice's client ended with %v", err)
	}
	out := alice.settle(StatusRead)
	if !slices.ContainsFunc(out.Failed, func(e *Error) bool { return e.Code == proto.History }) || out.ExitStatus() == 0 {
		t.Errorf("the wait ended with %v, exit status %d", out, out.ExitStatus())
	}
	for _, ev := range alice.seen() {
		if ev.Receipt != nil && ev.Receipt.ID == id && ev.Receipt.Status.AtLeast(StatusSent) {
			t.Errorf("it was called %s", ev.Receipt.Status)
		}
	}
	alice.leave()
	again := town.client("alice")
	again.mustSend("with room", "bob")
	sees(t, again, bob, "before", "with room")
	again.leave()
	bob.leave()
	town.historiesHold("alice", "bob")
}
