package state

import (
	"bytes"
	"errors"
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
	knownVersion = 1        // the v of every line
	maxKnownFile = 16 << 20 // bytes, some 50,000 peers: it is read as a whole
)

// knownLine is a line of a file of known relays or peers. Its zero value is no line.
type knownLine interface {
	comparable
	key() string // no two lines have the same
	isSound() bool
}

// hash is 32 bytes, in a file as proto.FormatHash writes them.
type hash [32]byte

// MarshalText writes a hash.
func (h hash) MarshalText() ([]byte, error) { return []byte(proto.FormatHash(h)), nil }

// UnmarshalText reads a hash.
func (h *hash) UnmarshalText(text []byte) error {
	if !proto.IsHex(string(text), len(h)) {
		return errors.New("no hash")
	}
	*h = proto.MustHash(string(text))
	return nil
}

// fileTime is a time as it stands in a file.
func fileTime(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

// knownFile is a file of canonical JSON lines that people can read, and its
// content at the last look. Another client on the same directory may write it, so
// it is read again once it has changed.
type knownFile[L knownLine] struct {
	path     string
	readOnly bool
	limit    func(lines []L) []L // drops lines that may be forgotten; nil: none

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
	byKey := func(a, b L) int { return strings.Compare(a.key(), b.key()) }
	return slices.SortedFunc(slices.Values(k.current()), byKey)
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
	case k.info != nil && os.SameFile(info, k.info) && info.ModTime().Equal(k.info.ModTime()) &&
		info.Size() == k.info.Size():
		return nil
	case info.Mode().Perm()&0o022 != 0:
		return fail.Errorf(proto.Internal, "%s can be written by others, so it cannot be relied on",
			k.path).With("look at it, then " + fail.Command("chmod 600 "+fail.ShellWord(k.path)))
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

// change writes the lines that f makes of those there are. The directory is locked
// meanwhile, so that two clients do not lose each other's lines.
func (k *knownFile[L]) change(f func(lines []L) []L) error {
	if k.readOnly {
		return fail.Errorf(proto.Internal, "the state directory is open for reading only")
	}
	path := filepath.Join(filepath.Dir(k.path), lockFile)
	lock, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, FileMode)
	if err != nil {
		return Failure(err)
	}
	defer lock.Close() // and with it the lock
	if err := Flock(lock, syscall.LOCK_EX); err != nil {
		return Failure(err)
	}
	if err := k.load(); err != nil {
		return err
	}
	lines := k.current()
	next := f(slices.Clone(lines))
	if slices.Equal(next, lines) {
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
		return fail.Errorf(proto.TooLong, "%s would have more than %d bytes, the most that is read again",
			k.path, maxKnownFile).With("client trust forget NAME, or HOST:PORT, " +
			"removes people and relays that are no longer needed")
	}
	if err := ReplaceFile(k.path, out.Bytes()); err != nil {
		return Failure(err)
	}
	return k.load()
}

// update has f change the line with a key, the zero value if there is none.
func (k *knownFile[L]) update(key string, f func(l *L)) error {
	return k.change(func(lines []L) []L {
		i := slices.IndexFunc(lines, func(l L) bool { return l.key() == key })
		if i < 0 {
			i, lines = len(lines), append(lines, *new(L))
		}
		if f(&lines[i]); lines[i] == *new(L) {
			lines = slices.Delete(lines, i, i+1)
		}
		return lines
	})
}

// forget removes the line with a key.
func (k *knownFile[L]) forget(key string) (found bool, err error) {
	var none L
	err = k.update(key, func(l *L) { found, *l = *l != none, none })
	return found, err
}

// parseKnown reads the lines of a file, and refuses the file at the first damaged
// one: to drop that line would make a stranger of somebody who is known.
func parseKnown[L knownLine](path string, data []byte) ([]L, error) {
	bad := func(n int, why string) error {
		return fail.Errorf(proto.Internal, "%s, line %d: %s", path, n, why).
			With("put the file back from a backup, or remove the line, " +
				"which makes its relay or person unknown again")
	}
	var lines []L
	seen := make(map[string]bool)
	n := 0
	for text := range bytes.Lines(data) {
		n++
		text, ended := bytes.CutSuffix(text, []byte("\n"))
		if !ended {
			return nil, bad(n, "the line has no end")
		}
		var l L
		if err := proto.Unmarshal(text, &l); err != nil {
			return nil, bad(n, "this program has not written it: "+err.Error())
		}
		if !l.isSound() {
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
