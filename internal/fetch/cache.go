package fetch

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// cache is a directory of fetched files. The name of a file begins with its address, and goes on
// with its list's place among others. Its modification time is that of the fetch. A list is read
// there as in any directory of lists, and believed for its signature alone.
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

// nameOf returns the beginning of the names of an address's files. File systems take 255 bytes: a
// long address is cut, and its hash follows.
func nameOf(address string) string {
	name := url.PathEscape(address)
	if len(name) > maxName {
		sum := sha256.Sum256([]byte(address))
		name = fmt.Sprintf("%s~%x", url.PathEscape(address[:maxName/5]), sum[:16])
	}
	return name
}

// open makes the directory and removes the traces of crashes.
func (c cache) open(now time.Time) error {
	if err := state.MakeDir(c.dir); err != nil {
		return err
	}
	entries, err := os.ReadDir(c.dir)
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && state.IsTemp(entry.Name()) && now.Sub(info.ModTime()) > stale {
			os.Remove(filepath.Join(c.dir, entry.Name())) // another process may be faster
		}
	}
	return err
}

func later(a, b time.Time) time.Time { return slices.MaxFunc([]time.Time{a, b}, time.Time.Compare) }

// fetched returns the time at which an address was fetched, zero if it has no file.
func (c cache) fetched(address string) (t time.Time) {
	for _, file := range c.files() {
		if file.name == nameOf(address) {
			t = later(later(t, outdated), file.Fetched)
		}
	}
	return t
}

// Cached is a file in a cache.
type Cached struct {
	URL     string    // a long one is cut
	Fetched time.Time // zero: it is to be fetched anew
	size    int64

	name string // of its address
	fits string // "true" of a list: see Fetcher.fetch
}

// files returns the files in the cache by path.
func (c cache) files() map[string]Cached {
	found := make(map[string]Cached)
	entries, _ := os.ReadDir(c.dir) // without it there are none
	for _, entry := range entries {
		name, list, _ := strings.Cut(entry.Name(), "#") // no escaped address has it
		address, err := url.PathUnescape(name)
		info, gone := entry.Info()
		if err != nil || gone != nil || len(address) < 7 || !strings.EqualFold(address[:7], "http://") {
			continue // not of this cache
		}
		fits, _, _ := strings.Cut(list, "-")
		file := Cached{URL: address, size: info.Size(), name: name, fits: fits}
		if t := info.ModTime(); !t.Equal(outdated) {
			file.Fetched = t
		}
		found[filepath.Join(c.dir, entry.Name())] = file
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
// cache, under the address and the rest of a name that read returns, and takes the place of old
// files there. If it cannot be kept, it counts all the same.
func (f *Fetcher) ask(
	ctx context.Context, c cache, address string, max int64, read func(io.Reader) (rest string, old []string, err error),
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
	rest, old, err := read(io.TeeReader(body, file))
	if err != nil {
		return failed(address, err)
	}
	if err := f.place(c, filepath.Join(c.dir, nameOf(address)+rest), file, old); err != nil {
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

// place moves a written file to its place in the cache, instead of old ones.
func (f *Fetcher) place(c cache, path string, file *spill, old []string) error {
	if file.err != nil {
		return file.err
	}
	now := f.cfg.Now()
	err := errors.Join(os.Chtimes(file.Name(), now, now), state.SyncFile(file.File))
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err == nil {
		err = state.SyncDir(c.dir)
	}
	if err == nil {
		f.makeRoom(c, slices.DeleteFunc(old, func(other string) bool { return other == path }))
	}
	return err
}

// makeRoom removes old files, and those beyond the bounds of a cache: first lists that do not fit
// their address, then files named or fetched longest ago.
func (f *Fetcher) makeRoom(c cache, old []string) {
	named := make(map[string]time.Time)
	f.mu.Lock()
	for _, l := range f.lists {
		named[nameOf(l.URL)] = later(named[nameOf(l.URL)], l.named)
	}
	f.mu.Unlock()
	files := c.files()
	used := func(path string) time.Time { return later(named[files[path].name], files[path].Fetched) }
	best := slices.SortedFunc(maps.Keys(files), func(a, b string) int {
		x, y := files[a], files[b]
		return cmp.Or(strings.Compare(y.fits, x.fits), used(b).Compare(used(a)), y.Fetched.Compare(x.Fetched))
	})
	left, size, of := 0, int64(0), make(map[string]int) // by address
	for _, path := range best {
		file := files[path]
		if slices.Contains(old, path) || left == c.room || of[file.name] == maxOfAddress || size+file.size > maxBytes {
			os.Remove(path) // or else the next time
			continue
		}
		left, size = left+1, size+file.size
		of[file.name]++
	}
}
