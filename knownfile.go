package chatsecure

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"chatsecure/canon"
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
	key() string // each stands once
	check() error
}

// knownFile is a readable file of canonical JSON lines, and what it held when
// it was last looked at. It is read again when it has changed, because another
// client on the same directory may have written it.
type knownFile[L knownLine] struct {
	path  string
	limit func(lines []L) []L // what may be forgotten goes before the file is written; nil: nothing

	mu    sync.Mutex // guards what follows
	info  os.FileInfo
	lines []L // never changed in place
	index map[string]int
}

func (k *knownFile[L]) init(path string) { k.path = path }

// get returns the line with a key. If the file cannot be read any more, what
// it held last goes on to count: a damaged file must not make a known peer a
// new one.
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

// all returns every line, by key.
func (k *knownFile[L]) all() []L {
	k.load()
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.SortedFunc(slices.Values(k.lines), func(a, b L) int { return strings.Compare(a.key(), b.key()) })
}

// load reads the file if it is not the one that was read last.
func (k *knownFile[L]) load() error {
	info, err := os.Lstat(k.path)
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// A rewrite never takes the file away, so somebody else did, on purpose.
		k.replace(nil, nil)
		return nil
	case err != nil:
		return stateError(err)
	case k.info != nil && os.SameFile(info, k.info) && info.ModTime().Equal(k.info.ModTime()) && info.Size() == k.info.Size():
		return nil
	case info.Mode().Perm()&0o022 != 0:
		return &Error{
			Code:    proto.Internal,
			Message: k.path + " can be written by others, so what it says cannot be relied on",
			Hint:    "look at it, then chmod 600 " + k.path,
		}
	}
	data, err := readStateFile(k.path, maxKnownFile)
	if err != nil {
		return stateError(err)
	}
	lines, err := parseKnown[L](k.path, data)
	if err != nil {
		return err
	}
	k.replace(info, lines)
	return nil
}

// replace takes lines into use. The lock is held.
func (k *knownFile[L]) replace(info os.FileInfo, lines []L) {
	k.info, k.lines = info, lines
	k.index = make(map[string]int, len(lines))
	for i, l := range lines {
		k.index[l.key()] = i
	}
}

// change rewrites the file as f says, unless f returns false. The directory's
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
		out.Write(canon.MustMarshal(l))
		out.WriteByte('\n')
	}
	if out.Len() > maxKnownFile {
		return &Error{
			Code:    proto.TooLong,
			Message: fmt.Sprintf("%s would have more than %d bytes, which is as many as are read again", k.path, maxKnownFile),
			Hint:    "client trust forget takes out whoever is not needed any more",
		}
	}
	if err := replaceStateFile(k.path, out.Bytes()); err != nil {
		return stateError(err)
	}
	return k.load()
}

// parseKnown reads the lines of a file. One that is damaged is refused with
// its number: to drop it would make a stranger of somebody who is known.
func parseKnown[L knownLine](path string, data []byte) ([]L, error) {
	bad := func(n int, why string) error {
		return &Error{
			Code:    proto.Internal,
			Message: fmt.Sprintf("%s, line %d: %s", path, n, why),
			Hint:    "put the file back from a backup, or take the line out, which makes whoever it was about unknown again",
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
		if err := canon.Unmarshal(text, &l); err != nil {
			return nil, bad(n, "it is not one that this program has written: "+err.Error())
		}
		if l.check() != nil {
			return nil, bad(n, "it is not one that this program has written")
		}
		if seen[l.key()] {
			return nil, bad(n, "it is the second line about the same one")
		}
		seen[l.key()] = true
		lines = append(lines, l)
	}
	return lines, nil
}
