package state

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"chatsecure/internal/fail"
	"chatsecure/proto"
)

const (
	// knownVersion is the v of every line.
	knownVersion = 1
	// maxKnownFile bounds a file of known relays or peers in bytes: some
	// 50,000 peers. It is read as a whole.
	maxKnownFile = 16 << 20
)

// knownLine is a line of a file of known relays or peers.
type knownLine interface {
	comparable
	key() string // no two lines have the same
	check() error
}

var errKnownLine = errors.New("malformed line")

func knownTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func isKnownTime(s string) bool {
	t, err := time.Parse(time.RFC3339, s)
	return err == nil && knownTime(t) == s
}

func parseKnownTime(s string) time.Time {
	t, _ := time.Parse(time.RFC3339, s) // check has seen it
	return t.UTC()
}

// knownFile is a file of canonical JSON lines that people can read, and its
// content at the last look. Another client on the same directory may write it, so
// it is read again once it has changed.
type knownFile[L knownLine] struct {
	path  string
	limit func(lines []L) []L // drops lines that may be forgotten before the file is written; nil: none

	mu    sync.Mutex // guards the fields below
	info  os.FileInfo
	lines []L    // never changed in place
	reads uint64 // how often the content was taken in
	index map[string]int
}

// get returns the line with a key. The last readable content counts while the file
// cannot be read: a damaged file must not make a stranger of a known peer.
func (k *knownFile[L]) get(key string) (line L, ok bool) {
	k.load()
	k.mu.Lock()
	defer k.mu.Unlock()
	i, ok := k.index[key]
	if ok {
		line = k.lines[i]
	}
	return line, ok
}

// current returns every line, as the file has them.
func (k *knownFile[L]) current() []L {
	k.load()
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.lines
}

// read looks at the file, and counts how often its content was taken in.
func (k *knownFile[L]) read() uint64 {
	k.load()
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.reads
}

// all returns every line, sorted by key.
func (k *knownFile[L]) all() []L {
	return slices.SortedFunc(slices.Values(k.current()), func(a, b L) int { return strings.Compare(a.key(), b.key()) })
}

// load reads the file if it has changed since the last look.
func (k *knownFile[L]) load() error {
	info, err := os.Lstat(k.path)
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// A rewrite never removes the file, so somebody did on purpose.
		if k.info != nil {
			k.use(nil, nil)
		}
		return nil
	case err != nil:
		return Failure(err)
	case k.info != nil && os.SameFile(info, k.info) && info.ModTime().Equal(k.info.ModTime()) && info.Size() == k.info.Size():
		return nil
	case info.Mode().Perm()&0o022 != 0:
		return &fail.Error{
			Code:    proto.Internal,
			Message: k.path + " can be written by others, so it cannot be relied on",
			Hint:    "look at it, then " + fail.Command("chmod 600 "+fail.ShellWord(k.path)),
		}
	}
	data, err := ReadFile(k.path, maxKnownFile)
	if err != nil {
		return Failure(err)
	}
	lines, err := parseKnown[L](k.path, data)
	if err != nil {
		return err
	}
	k.use(info, lines)
	return nil
}

// use takes lines into use. mu is held.
func (k *knownFile[L]) use(info os.FileInfo, lines []L) {
	k.info, k.lines = info, lines
	k.reads++
	k.index = make(map[string]int, len(lines))
	for i, l := range lines {
		k.index[l.key()] = i
	}
}

// change writes the lines that f returns, unless f returns false. The directory's
// lock is held.
func (k *knownFile[L]) change(f func(lines []L) ([]L, bool)) error {
	if err := k.load(); err != nil {
		return err
	}
	k.mu.Lock()
	lines := k.lines
	k.mu.Unlock()
	next, changed := f(lines)
	if !changed {
		return nil
	}
	if k.limit != nil {
		next = k.limit(next)
	}
	var out bytes.Buffer
	for _, l := range next {
		out.Write(proto.MustMarshal(l))
		out.WriteByte('\n')
	}
	if out.Len() > maxKnownFile {
		return &fail.Error{
			Code:    proto.TooLong,
			Message: fmt.Sprintf("%s would have more than %d bytes, the most that is read again", k.path, maxKnownFile),
			Hint:    "client trust forget NAME, or HOST:PORT, removes people and relays that are no longer needed",
		}
	}
	if err := ReplaceFile(k.path, out.Bytes()); err != nil {
		return Failure(err)
	}
	return k.load()
}

// update has f change the line with a key, which is an empty one if known is
// false. Nothing is written if f returns false.
func update[L knownLine](s *State, file *knownFile[L], key string, f func(l *L, known bool) bool) error {
	return s.locked(func() error {
		return file.change(func(lines []L) ([]L, bool) {
			next := slices.Clone(lines)
			i := slices.IndexFunc(next, func(l L) bool { return l.key() == key })
			known := i >= 0
			if !known {
				i = len(next)
				next = append(next, *new(L))
			}
			return next, f(&next[i], known)
		})
	})
}

// forget removes the line with a key.
func forget[L knownLine](s *State, file *knownFile[L], key string) (found bool, err error) {
	err = s.locked(func() error {
		return file.change(func(lines []L) ([]L, bool) {
			next := slices.DeleteFunc(slices.Clone(lines), func(l L) bool { return l.key() == key })
			found = len(next) < len(lines)
			return next, found
		})
	})
	return found, err
}

// locked runs f under the directory's lock, so that two clients do not lose each
// other's lines.
func (s *State) locked(f func() error) error {
	if s.readOnly {
		return fail.Errorf(proto.Internal, "the state directory is open for reading only")
	}
	lock, err := os.OpenFile(filepath.Join(s.dir, lockFile), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, FileMode)
	if err != nil {
		return Failure(err)
	}
	defer lock.Close() // and with it the lock
	if err := Flock(lock, syscall.LOCK_EX); err != nil {
		return Failure(err)
	}
	return f()
}

// parseKnown reads the lines of a file, and refuses the file at the first damaged
// one: to drop that line would make a stranger of somebody who is known.
func parseKnown[L knownLine](path string, data []byte) ([]L, error) {
	bad := func(n int, why string) error {
		return &fail.Error{
			Code:    proto.Internal,
			Message: fmt.Sprintf("%s, line %d: %s", path, n, why),
			Hint:    "put the file back from a backup, or remove the line, which makes its relay or person unknown again",
		}
	}
	var lines []L
	seen := make(map[string]bool)
	for n := 1; len(data) > 0; n++ {
		text, rest, ok := bytes.Cut(data, []byte("\n"))
		if !ok {
			return nil, bad(n, "the line has no end")
		}
		data = rest
		var l L
		if err := proto.Unmarshal(text, &l); err != nil {
			return nil, bad(n, "this program has not written it: "+err.Error())
		}
		if l.check() != nil {
			return nil, bad(n, "this program has not written it")
		}
		if seen[l.key()] {
			return nil, bad(n, "an earlier line is about the same relay or person")
		}
		seen[l.key()] = true
		lines = append(lines, l)
	}
	return lines, nil
}
