package fetch

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// cache is the directory of fetched lists. HASH.crl is a list as it was fetched, and
// .HASH.json its sidecar, where HASH is the SHA-256 of the address. The dot keeps the
// sidecar from being read as a list. Both are checked when the cache is opened, and the
// list's signature whenever it is used.
type cache string

func cacheIn(stateDir string) cache { return cache(filepath.Join(stateDir, state.CRLs)) }

const (
	listSuffix = ".crl"
	sideSuffix = ".json"
	version    = 1
	// maxSide bounds .HASH.json in bytes: an address and a certificate.
	maxSide = 32 << 10
	// maxTag bounds an ETag and a Last-Modified in bytes. Longer ones are not kept.
	maxTag = 256
	// stale is the age at which a half-written file is taken for the trace of a crash
	// and removed. A younger one may be another process's.
	stale = time.Hour
)

// sidecar is .HASH.json, in canonical JSON.
type sidecar struct {
	V            int    `json:"v"`
	URL          string `json:"url"`
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"last_modified,omitempty"`
	Fetched      int64  `json:"fetched"`     // Unix time at which the server last confirmed the list
	ThisUpdate   int64  `json:"this_update"` // of the list, as NextUpdate
	NextUpdate   int64  `json:"next_update"`
	Delta        bool   `json:"delta,omitempty"`
	Size         int64  `json:"size"`   // of the list in bytes
	SHA256       string `json:"sha256"` // of the list, in hexadecimal
	Issuer       []byte `json:"issuer"` // DER of the signers' certificates
}

func (s *sidecar) thisUpdate() time.Time { return time.Unix(s.ThisUpdate, 0) }

func (s *sidecar) nextUpdate() time.Time { return time.Unix(s.NextUpdate, 0) }

// parseSidecar reads .HASH.json and the certificate in it.
func parseSidecar(data []byte) (*sidecar, []*x509.Certificate, error) {
	s := new(sidecar)
	if err := proto.Unmarshal(data, s); err != nil {
		return nil, nil, err
	}
	if _, err := parseURL(s.URL); err != nil {
		return nil, nil, err
	}
	if !proto.IsHex(s.SHA256, sha256.Size) {
		return nil, nil, errors.New("its hash is none")
	}
	if s.V != version || s.Size <= 0 || s.Size > trust.MaxCRL || tag(s.ETag) != s.ETag || tag(s.LastModified) != s.LastModified {
		return nil, nil, errors.New("its values are out of bounds")
	}
	signers, err := x509.ParseCertificates(s.Issuer)
	if err == nil && len(signers) == 0 {
		err = errors.New("it names no signer")
	}
	return s, signers, err
}

// tag returns a header's value if it can be sent back as it is, else "".
func tag(value string) string {
	unprintable := func(r rune) bool { return r < ' ' || r > '~' }
	if len(value) > maxTag || strings.ContainsFunc(value, unprintable) || strings.TrimSpace(value) != value {
		return ""
	}
	return value
}

// fileHash names the files of an address.
func fileHash(address string) string {
	return proto.FormatHash(sha256.Sum256([]byte(address)))
}

func (c cache) file(name string) string { return filepath.Join(string(c), name) }

// list returns the path of an address's list, side that of its sidecar.
func (c cache) list(address string) string { return c.file(fileHash(address) + listSuffix) }

func (c cache) side(address string) string { return c.file("." + fileHash(address) + sideSuffix) }

// open reads one list's .HASH.json and checks the list's file against it.
func (c cache) open(hash string) (*list, error) {
	data, err := state.ReadFile(c.file("."+hash+sideSuffix), maxSide)
	if err != nil {
		return nil, err
	}
	side, signers, err := parseSidecar(data)
	if err != nil {
		return nil, err
	}
	if fileHash(side.URL) != hash {
		return nil, errors.New("it is another address's")
	}
	if !c.isIntact(side) {
		return nil, errors.New("it differs from the fetched file")
	}
	u, err := parseURL(side.URL)
	if err != nil {
		return nil, err
	}
	return &list{url: side.URL, host: u.Host, signers: signers, delta: side.Delta, cached: side}, nil
}

// isIntact reports whether the list's file is still as it was fetched.
func (c cache) isIntact(side *sidecar) bool {
	file, err := os.Open(c.list(side.URL))
	if err != nil {
		return false
	}
	defer file.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, io.LimitReader(file, side.Size+1))
	return err == nil && n == side.Size && hex.EncodeToString(sum.Sum(nil)) == side.SHA256
}

// ErrCacheDamaged stands behind the notice of a file in the cache that something else
// has changed or cut short.
var ErrCacheDamaged = errors.New("it was damaged, and is removed")

// openCache reads the sidecars of the lists on disk. It removes damaged files of the
// cache, and tells of them.
func (f *Fetcher) openCache() error {
	entries, err := os.ReadDir(string(f.cache))
	if err != nil {
		return err
	}
	known := make(map[string]bool)
	now := f.cfg.Now()
	for _, entry := range entries {
		hash, ok := strings.CutSuffix(strings.TrimPrefix(entry.Name(), "."), sideSuffix)
		if !ok || !strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		l, err := f.cache.open(hash)
		if err != nil {
			err = fmt.Errorf("%w: %w", ErrCacheDamaged, err)
		} else if len(f.lists) >= maxLists {
			err = errors.New("it is removed: there are too many")
		}
		if err != nil {
			f.notice("the revocation list "+hash+" in the cache", err)
			if err := f.cache.remove(entry.Name()); err != nil {
				return err
			}
			continue
		}
		known[hash] = true
		if l.wanted = now; now.Before(l.cached.nextUpdate()) {
			l.ahead = l.cached.aheadOfTime(now)
		}
		f.lists[l.url] = l
	}
	return f.removeStrays(entries, known)
}

// removeStrays removes lists without a sidecar, and the traces of crashes.
func (f *Fetcher) removeStrays(entries []os.DirEntry, known map[string]bool) error {
	for _, entry := range entries {
		hash, isList := strings.CutSuffix(entry.Name(), listSuffix)
		stray := isList && len(hash) == 2*sha256.Size && !known[hash]
		if info, err := entry.Info(); err == nil && state.IsTemp(entry.Name()) {
			stray = f.cfg.Now().Sub(info.ModTime()) > stale
		}
		if !stray {
			continue
		}
		if err := f.cache.remove(entry.Name()); err != nil {
			return err
		}
	}
	return nil
}

// remove removes a file, unless another process was faster.
func (c cache) remove(name string) error {
	if err := os.Remove(c.file(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// place puts a fetched list into the cache in place of the one before. A crash in
// between leaves a list with the sidecar of the one before, and openCache removes both.
func (f *Fetcher) place(temp *os.File, side *sidecar) error {
	f.mu.Lock()
	f.makeRoomLocked(side)
	f.mu.Unlock()
	// Both are written before either takes its place: a full disk leaves the older list
	// as it was.
	return state.PlaceFile(f.cache.side(side.URL), proto.MustMarshal(side), func(from, to string) error {
		if err := os.Rename(temp.Name(), f.cache.list(side.URL)); err != nil {
			return err
		}
		return os.Rename(from, to)
	})
}

// makeRoomLocked removes the lists that nobody has named for longest, until the cache
// has room for another.
func (f *Fetcher) makeRoomLocked(side *sidecar) {
	total := side.Size
	var others []*list
	for _, l := range f.lists {
		if l.cached != nil && l.url != side.URL {
			total += l.cached.Size
			others = append(others, l)
		}
	}
	slices.SortFunc(others, func(a, b *list) int { return a.wanted.Compare(b.wanted) })
	for _, l := range others {
		if total <= maxBytes {
			return
		}
		total -= l.cached.Size
		f.dropFilesLocked(l)
	}
}

func (f *Fetcher) dropFilesLocked(l *list) {
	if l.cached == nil {
		return
	}
	l.cached, l.ahead = nil, time.Time{}
	os.Remove(f.cache.side(l.url)) // the next openCache removes a file that stays
	os.Remove(f.cache.list(l.url))
}

// LoadCached adds to lists the revocation lists in the cache of a state directory, and
// changes nothing there. fetched tells, by address, when the server last confirmed each.
func LoadCached(stateDir string, lists *trust.CRLStore) (fetched map[string]time.Time, problems []error) {
	fetched = make(map[string]time.Time)
	c := cacheIn(stateDir)
	entries, err := os.ReadDir(string(c))
	if err != nil {
		return fetched, nil // nothing has been fetched yet
	}
	for _, entry := range entries {
		hash, ok := strings.CutSuffix(entry.Name(), listSuffix)
		if !ok {
			continue
		}
		l, err := c.open(hash)
		if err == nil {
			err = addFile(lists, c.list(l.url), l)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", c.file(entry.Name()), err))
			continue
		}
		fetched[l.url] = time.Unix(l.cached.Fetched, 0)
	}
	return fetched, problems
}

func addFile(lists *trust.CRLStore, path string, l *list) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = lists.Add(file, l.url, l.signers, time.Now())
	return err
}
