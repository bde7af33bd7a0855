package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// cache is a directory of fetched files. Their names are the escaped addresses, their
// modification times those of the fetches. A list is read there as in any directory of
// lists, and believed for its signature alone.
type cache struct {
	dir  string
	room int // for so many files
}

func crlsIn(stateDir string) cache { return cache{filepath.Join(stateDir, state.CRLs), maxLists} }

// stale is the age at which a half-written file is taken for the trace of a crash and
// removed. A younger one may be another process's.
const stale = time.Hour

// outdated is the modification time of a file that is to be fetched anew.
var outdated = time.Unix(0, 0)

// ErrCacheDamaged stands behind the notice of a file in the cache that cannot be used.
var ErrCacheDamaged = errors.New("it is damaged, and is fetched again when somebody's certificate names it")

// before stands behind the name of the last list that clears, where one followed that does
// not. No escaped address has it.
const before = "#"

// path returns the path of an address's file.
func (c cache) path(address string) string { return filepath.Join(c.dir, url.PathEscape(address)) }

// open makes the directory and removes the traces of crashes.
func (c cache) open(now time.Time) error {
	if err := state.MakeDir(c.dir); err != nil {
		return err
	}
	entries, err := os.ReadDir(c.dir)
	for _, entry := range entries {
		if !state.IsTemp(entry.Name()) {
			continue
		}
		if info, err := entry.Info(); err == nil && now.Sub(info.ModTime()) > stale {
			os.Remove(filepath.Join(c.dir, entry.Name())) // another process may be faster
		}
	}
	return err
}

// fetched returns the time at which an address was fetched, zero if its file is not there.
func (c cache) fetched(address string) (t time.Time) {
	if info, err := os.Lstat(c.path(address)); err == nil {
		t = info.ModTime()
	}
	return t
}

// Cached is a file in a cache.
type Cached struct {
	URL     string
	Fetched time.Time // zero: it is to be fetched anew
	size    int64
}

// files returns the files in the cache by path.
func (c cache) files() map[string]Cached {
	found := make(map[string]Cached)
	entries, _ := os.ReadDir(c.dir) // without it there are none
	for _, entry := range entries {
		address, _ := url.PathUnescape(entry.Name())
		path := filepath.Join(c.dir, entry.Name())
		_, err := parseURL(address)
		info, gone := entry.Info()
		if err != nil || gone != nil || c.path(address) != path {
			continue // not of this cache
		}
		file := Cached{URL: address, size: info.Size()}
		if t := info.ModTime(); !t.Equal(outdated) {
			file.Fetched = t
		}
		found[path] = file
	}
	return found
}

// LoadCached adds to lists the revocation lists in the cache of a state directory. It
// changes nothing there. cached are those that were fetched, by path.
func LoadCached(stateDir string, lists *trust.CRLStore) (cached map[string]Cached, problems []error) {
	c := crlsIn(stateDir)
	if cached = c.files(); len(cached) > 0 {
		problems = lists.LoadDir(c.dir)
	}
	return cached, problems
}

// ask asks for an address and has the answer read while it comes. A good one goes into the
// cache in place of the one before; that stays beside one that read calls no replacement.
// If it cannot be kept, it counts all the same, and the one before stays as it was.
func (f *Fetcher) ask(
	ctx context.Context, c cache, address string, max int64, read func(io.Reader) (replaces bool, err error),
) error {
	body, err := f.get(ctx, address, max)
	if err != nil {
		return failed(address, err)
	}
	defer body.Close()
	file := &spill{err: c.open(f.cfg.Now())}
	if file.err == nil {
		file.File, file.err = os.CreateTemp(c.dir, state.Temp) // 0600
	}
	if file.err == nil {
		defer os.Remove(file.Name()) // after the rename there is nothing to remove
		defer file.Close()
	}
	replaces, err := read(io.TeeReader(body, file))
	if err != nil {
		return failed(address, err)
	}
	if err := f.place(c, address, file, replaces); err != nil {
		f.cfg.Notice(proto.Visible(address), fmt.Errorf("it counts, but cannot be kept: %w", err))
	}
	return nil
}

// spill is a file that is written until this fails. Its writer does not notice.
type spill struct {
	*os.File
	err error
}

func (s *spill) Write(b []byte) (int, error) {
	if s.err == nil {
		_, s.err = s.File.Write(b)
	}
	return len(b), nil
}

// place moves a written file to its place in the cache.
func (f *Fetcher) place(c cache, address string, file *spill, replaces bool) error {
	if file.err != nil {
		return file.err
	}
	now := f.cfg.Now()
	if err := os.Chtimes(file.Name(), now, now); err != nil {
		return err
	}
	if err := state.SyncFile(file.File); err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	f.makeRoom(c, address, info.Size())
	path := c.path(address)
	if replaces {
		defer os.Remove(path + before) // there is seldom one
	} else if _, err := os.Lstat(path + before); err != nil {
		os.Rename(path, path+before) // the first has none
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return err
	}
	return state.SyncDir(c.dir)
}

// makeRoom removes the files named or fetched longest ago, until a cache has room for one
// of this size.
func (f *Fetcher) makeRoom(c cache, address string, size int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	files := c.files()
	delete(files, c.path(address))
	for _, l := range f.lists {
		if file, ok := files[c.path(l.URL)]; ok && l.named.After(file.Fetched) {
			file.Fetched = l.named
			files[c.path(l.URL)] = file
		}
	}
	newest := slices.SortedFunc(maps.Keys(files), func(a, b string) int { return files[b].Fetched.Compare(files[a].Fetched) })
	for i, path := range newest {
		if size += files[path].size; size <= maxBytes && i+1 < c.room {
			continue
		}
		os.Remove(path) // or else the next time
		os.Remove(path + before)
		for _, l := range f.lists {
			if c.path(l.URL) == path {
				l.fetched = time.Time{}
			}
		}
	}
}
