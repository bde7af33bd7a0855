package chatsecure

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

	"chatsecure/canon"
	"chatsecure/crypto"
)

// The cache of lists: HASH.crl is a list as it was fetched, .HASH.json what is
// known of it, where HASH is the SHA-256 of the address. The dot keeps the
// second from being read as a list. Both are checked when the cache is opened,
// and the list again by its signature whenever it is used.
const (
	fetchListSuffix = ".crl"
	fetchSideSuffix = ".json"
	fetchVersion    = 1
	// fetchMaxSide bounds .HASH.json in bytes: an address and a certificate.
	fetchMaxSide = 32 << 10
	// fetchMaxTag bounds an ETag and a Last-Modified in bytes; longer ones are
	// not kept.
	fetchMaxTag = 256
	// fetchStale is how old a file must be that a crash left half-written
	// before it is removed: it could be at work in another process.
	fetchStale = time.Hour
)

// fetchSidecar is .HASH.json, in canonical JSON.
type fetchSidecar struct {
	V            int    `json:"v"`
	URL          string `json:"url"`
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"last_modified,omitempty"`
	Fetched      int64  `json:"fetched"`     // Unix time when the server last said that this is its list
	ThisUpdate   int64  `json:"this_update"` // of the list, as NextUpdate
	NextUpdate   int64  `json:"next_update"`
	Delta        bool   `json:"delta,omitempty"`
	Size         int64  `json:"size"`   // of the list in bytes
	SHA256       string `json:"sha256"` // of the list, in hexadecimal
	Issuer       []byte `json:"issuer"` // DER of the certificate that the list was signed with
}

func (s *fetchSidecar) thisUpdate() time.Time { return time.Unix(s.ThisUpdate, 0) }
func (s *fetchSidecar) nextUpdate() time.Time { return time.Unix(s.NextUpdate, 0) }

// parseFetchSidecar reads .HASH.json and the certificate in it.
func parseFetchSidecar(data []byte) (*fetchSidecar, *x509.Certificate, error) {
	s := new(fetchSidecar)
	if err := canon.Unmarshal(data, s); err != nil {
		return nil, nil, err
	}
	if _, err := fetchParseURL(s.URL); err != nil {
		return nil, nil, err
	}
	sum, err := hex.DecodeString(s.SHA256)
	if err != nil || len(sum) != sha256.Size || hex.EncodeToString(sum) != s.SHA256 {
		return nil, nil, errors.New("its hash is none")
	}
	if s.V != fetchVersion || s.Size <= 0 || s.Size > crypto.MaxCRL || fetchTag(s.ETag) != s.ETag || fetchTag(s.LastModified) != s.LastModified {
		return nil, nil, errors.New("its values are out of bounds")
	}
	issuer, err := x509.ParseCertificate(s.Issuer)
	return s, issuer, err
}

// fetchTag returns a header's value if it can be sent back as it is, else "".
func fetchTag(value string) string {
	if len(value) > fetchMaxTag || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) || strings.TrimSpace(value) != value {
		return ""
	}
	return value
}

// fetchHash names the files of an address.
func fetchHash(address string) string {
	sum := sha256.Sum256([]byte(address))
	return hex.EncodeToString(sum[:])
}

func (f *Fetcher) listPath(address string) string {
	return filepath.Join(f.listDir(), fetchHash(address)+fetchListSuffix)
}

func (f *Fetcher) sidePath(address string) string {
	return filepath.Join(f.listDir(), "."+fetchHash(address)+fetchSideSuffix)
}

// ErrCacheDamaged stands behind what FetcherConfig.Notice is told of a file of
// the cache that was changed or cut short by something else.
var ErrCacheDamaged = errors.New("it was damaged, and is removed")

// openCache reads what is known of the lists on disk. Files of the cache that
// are not what they should be are removed, and told of.
func (f *Fetcher) openCache() error {
	entries, err := os.ReadDir(f.listDir())
	if err != nil {
		return err
	}
	known := make(map[string]bool)
	now := f.cfg.Now()
	for _, entry := range entries {
		hash, ok := strings.CutSuffix(strings.TrimPrefix(entry.Name(), "."), fetchSideSuffix)
		if !ok || !strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		l, err := f.openList(hash)
		if err != nil {
			err = fmt.Errorf("%w: %w", ErrCacheDamaged, err)
		} else if len(f.lists) >= fetchMaxLists {
			err = errors.New("it is removed: there are too many")
		}
		if err != nil {
			f.notice("the revocation list "+hash+" in the cache", err)
			if err := os.Remove(filepath.Join(f.listDir(), entry.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
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

// removeStrays removes lists that nothing is known of, and what crashes left.
func (f *Fetcher) removeStrays(entries []os.DirEntry, known map[string]bool) error {
	for _, entry := range entries {
		hash, isList := strings.CutSuffix(entry.Name(), fetchListSuffix)
		stray := isList && len(hash) == 2*sha256.Size && !known[hash]
		if info, err := entry.Info(); err == nil && strings.HasPrefix(entry.Name(), strings.TrimSuffix(stateTemp, "*")) {
			stray = f.cfg.Now().Sub(info.ModTime()) > fetchStale
		}
		if !stray {
			continue
		}
		if err := os.Remove(filepath.Join(f.listDir(), entry.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// openList reads one list's .HASH.json and checks its file against it.
func (f *Fetcher) openList(hash string) (*fetchList, error) {
	data, err := readStateFile(filepath.Join(f.listDir(), "."+hash+fetchSideSuffix), fetchMaxSide)
	if err != nil {
		return nil, err
	}
	side, issuer, err := parseFetchSidecar(data)
	if err != nil {
		return nil, err
	}
	if fetchHash(side.URL) != hash {
		return nil, errors.New("it is another address's")
	}
	if !f.isIntact(side) {
		return nil, errors.New("it is not what was fetched")
	}
	u, err := fetchParseURL(side.URL)
	if err != nil {
		return nil, err
	}
	return &fetchList{url: side.URL, host: u.Host, issuer: issuer, delta: side.Delta, cached: side}, nil
}

// isIntact reports whether the file of a list is what was fetched.
func (f *Fetcher) isIntact(side *fetchSidecar) bool {
	file, err := os.Open(f.listPath(side.URL))
	if err != nil {
		return false
	}
	defer file.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, io.LimitReader(file, side.Size+1))
	return err == nil && n == side.Size && hex.EncodeToString(sum.Sum(nil)) == side.SHA256
}

// place puts a list that has been fetched into the cache, in the place of the
// one before. A crash in between leaves a list with what was known of the one
// before, and openCache removes it.
func (f *Fetcher) place(temp *os.File, side *fetchSidecar) error {
	f.mu.Lock()
	f.makeRoomLocked(side)
	f.mu.Unlock()
	// Both are written before either takes its place: a full disk leaves the
	// older list as it was.
	return placeStateFile(f.sidePath(side.URL), canon.MustMarshal(side), func(from, to string) error {
		if err := os.Rename(temp.Name(), f.listPath(side.URL)); err != nil {
			return err
		}
		return os.Rename(from, to)
	})
}

// makeRoomLocked removes the lists that nobody has named for longest, until
// the cache has room for another.
func (f *Fetcher) makeRoomLocked(side *fetchSidecar) {
	total := side.Size
	var others []*fetchList
	for _, l := range f.lists {
		if l.cached != nil && l.url != side.URL {
			total += l.cached.Size
			others = append(others, l)
		}
	}
	slices.SortFunc(others, func(a, b *fetchList) int { return a.wanted.Compare(b.wanted) })
	for _, l := range others {
		if total <= fetchMaxBytes {
			return
		}
		total -= l.cached.Size
		f.dropFilesLocked(l)
	}
}

// dropLocked forgets a list, which is not being fetched.
func (f *Fetcher) dropLocked(l *fetchList) {
	f.dropFilesLocked(l)
	delete(f.lists, l.url)
}

func (f *Fetcher) dropFilesLocked(l *fetchList) {
	if l.cached == nil {
		return
	}
	l.cached, l.ahead = nil, time.Time{}
	os.Remove(f.sidePath(l.url)) // what stays is found and removed by openCache
	os.Remove(f.listPath(l.url))
}

// LoadFetched adds to lists the revocation lists that were fetched before into
// a state directory, and changes nothing there. It returns when the server of
// each last said that this is its list, by address.
func LoadFetched(state string, lists *crypto.CRLStore) (fetched map[string]time.Time, problems []error) {
	fetched = make(map[string]time.Time)
	f := &Fetcher{cfg: FetcherConfig{State: state}}
	entries, err := os.ReadDir(f.listDir())
	if err != nil {
		return fetched, nil // nothing has been fetched yet
	}
	for _, entry := range entries {
		hash, ok := strings.CutSuffix(entry.Name(), fetchListSuffix)
		if !ok {
			continue
		}
		l, err := f.openList(hash)
		if err == nil {
			err = addFile(lists, f.listPath(l.url), l)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", filepath.Join(f.listDir(), entry.Name()), err))
			continue
		}
		fetched[l.url] = time.Unix(l.cached.Fetched, 0)
	}
	return fetched, problems
}

func addFile(lists *crypto.CRLStore, path string, l *fetchList) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = lists.Add(file, l.url, l.issuer)
	return err
}
