package state

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"chatsecure/internal/fail"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
)

// mustState opens a fresh state directory that belongs to alice.
func mustState(t *testing.T) *State {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "state"), "alice")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Claim("alice"); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStateBelongsToOneName(t *testing.T) {
	s := mustState(t)
	if info, err := os.Stat(s.Dir()); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v %v", info.Mode(), err)
	}
	again, err := Open(s.Dir(), "ALICE")
	if err != nil || again.Name() != "alice" {
		t.Errorf("the same name in capitals: %v", err)
	}
	_, err = Open(s.Dir(), "bob")
	if e := fail.AsError(err); err == nil || fail.ExitStatus(err) != 2 ||
		!strings.Contains(e.Message, "alice") || !strings.Contains(e.Advice(), "-state") {
		t.Errorf("another name: %v", err)
	}
	unclaimed := filepath.Join(t.TempDir(), "unclaimed")
	first, err := Open(unclaimed, "alice")
	if err != nil {
		t.Fatal(err)
	}
	second, err := Open(unclaimed, "bob") // alice was not let in yet
	if err != nil || second.Name() != "" {
		t.Errorf("opening is no claim: %v", err)
	}
	if err := first.Claim("alice"); err != nil || first.Name() != "alice" {
		t.Errorf("claimed: %q %v", first.Name(), err)
	}
	if err := second.Claim("bob"); fail.ExitStatus(err) != 2 || !strings.Contains(err.Error(), "alice") {
		t.Errorf("claimed after alice: %v", err)
	}
	if anybody, err := Open(s.Dir(), ""); err != nil || anybody.Name() != "alice" {
		t.Errorf("without a name: %v", err)
	}
}

// TestRelayAndClientKeepApart: neither uses the other's state directory.
func TestRelayAndClientKeepApart(t *testing.T) {
	relays := t.TempDir()
	if err := RefuseClients(relays); err != nil {
		t.Errorf("an empty directory: %v", err)
	}
	if err := os.WriteFile(filepath.Join(relays, RelayKey), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"alice", ""} {
		if _, err := Open(relays, name); fail.ExitStatus(err) != 2 || !strings.Contains(err.Error(), "is a relay's") {
			t.Errorf("a relay's directory, opened by %q: %v", name, err)
		}
	}
	for _, file := range []string{nameFile, relaysFile, PeersFile, configFile} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := RefuseClients(dir); err == nil || !strings.Contains(err.Error(), "is a client's") {
			t.Errorf("a client's directory with %s: %v", file, err)
		}
	}
}

func TestStateForReadingMakesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	for _, open := range []func() (*State, error){
		func() (*State, error) { return OpenReadOnly(dir) },
		func() (*State, error) { return Open(dir, "") },
	} {
		if _, err := open(); err == nil || !errors.Is(err, fs.ErrNotExist) || fail.AsError(err).Advice() == "" {
			t.Errorf("a directory that is not there: %v", err)
		}
	}
	if _, err := os.Lstat(dir); err == nil {
		t.Error("it was made")
	}
	s := mustState(t)
	before := lab.Listing(t, s.Dir())
	r, err := OpenReadOnly(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.SetKnownRelay("a:1", strings.Repeat("00", 32)); err == nil {
		t.Error("a state for reading was written")
	}
	if after := lab.Listing(t, s.Dir()); after != before {
		t.Errorf("reading left %s, not %s", after, before)
	}
}

// TestRow25StateDirectory: row 25, directories that somebody else could change.
func TestRow25StateDirectory(t *testing.T) {
	base := t.TempDir()
	real := filepath.Join(base, "real")
	if err := os.Mkdir(real, 0o700); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(base, "link")
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(base, "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(base, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ dir, says string }{
		"symbolic link":          {link, "symbolic link"},
		"symbolic link, slash":   {link + "/", "symbolic link"},
		"others may write to it": {open, "written by others"},
		"a file":                 {file, "not a directory"},
	} {
		for _, who := range []string{"alice", ""} {
			_, err := Open(c.dir, who)
			if err == nil || fail.ExitStatus(err) != 1 || !strings.Contains(err.Error(), c.says) || fail.AsError(err).Advice() == "" {
				t.Errorf("%s, opened by %q: %v", name, who, err)
			}
		}
	}
	if os.Geteuid() == 0 {
		theirs := filepath.Join(base, "theirs")
		if err := os.Mkdir(theirs, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(theirs, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(theirs, "alice"); err == nil || !strings.Contains(err.Error(), "another user") {
			t.Errorf("another user's: %v", err)
		}
	}
}

func TestStateNameFileDamaged(t *testing.T) {
	for name, content := range map[string]string{
		"empty": "", "no name": "a b\n", "two": "alice\nbob\n", "a link's worth": strings.Repeat("a", 300), "terminal": "\x1b[2J\n",
	} {
		s := mustState(t)
		if err := os.WriteFile(filepath.Join(s.Dir(), nameFile), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(s.Dir(), "alice")
		if err == nil || strings.Contains(err.Error(), "\x1b") || fail.AsError(err).Advice() == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := mustState(t)
	path := filepath.Join(s.Dir(), nameFile)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/hostname", path); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(s.Dir(), "alice"); err == nil {
		t.Error("a link in the place of the name was followed")
	}
}

func TestStateErrorCodes(t *testing.T) {
	e := Failure(&fs.PathError{Op: "open", Path: "x", Err: fs.ErrInvalid})
	if e.Code != proto.Internal || !strings.Contains(e.Advice(), "-state") {
		t.Errorf("%s %q", e.Code, e.Advice())
	}
}

// TestStateDirectoryCannotBeWritten: the error names the directory, and not the temporary
// file.
func TestStateDirectoryCannotBeWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	err := ReplaceFile(filepath.Join(dir, nameFile), nil)
	if e := fail.AsError(err); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(e.Message, dir+" cannot be written") ||
		strings.Contains(e.Message, ".new-") || !strings.Contains(e.Advice(), "-state") {
		t.Errorf("%v; hint %q", err, e.Advice())
	}
}

// TestClaimFromManyGoroutines: clients of one process share a State, and each claims the directory
// once its relay has let it in. The race detector is the judge.
func TestClaimFromManyGoroutines(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "state"), "alice")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if err := s.Claim("alice"); err != nil || s.Name() != "alice" {
				t.Errorf("%v; the directory belongs to %q", err, s.Name())
			}
		})
	}
	all.Wait()
}
