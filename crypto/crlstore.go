package crypto

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxCRLFiles bounds the files read from one directory. Portugal's citizen
	// authorities have some hundred lists.
	maxCRLFiles = 4096
	// maxAdded bounds the lists that Add holds, by dropping the oldest: they
	// were fetched because of certificates that strangers showed.
	maxAdded = 256
)

// CRLStore holds revocation lists, from directories and as they are fetched. A
// list counts once its signature has been checked against the certificate of
// its authority, which happens when that first stands in a path. It is safe for
// concurrent use.
type CRLStore struct {
	changes atomic.Uint64

	refresh sync.Mutex // held by one Refresh or LoadDir at a time
	dirs    []string   // guarded by refresh
	files   map[string]crlFile

	mu    sync.RWMutex // guards what follows
	held  []heldCRL
	index map[string][]heldCRL // by issuer in DER
}

// heldCRL is a list and where it came from.
type heldCRL struct {
	*crl
	source string
	added  bool // by Add, not from a directory
}

// crlFile is a file as it was last looked at.
type crlFile struct {
	size     int64
	modified time.Time
	lists    []*crl // what it held when it was last read whole
	problem  error  // why it was not read this time; nil: it was
}

// NewCRLStore returns an empty store.
func NewCRLStore() *CRLStore { return &CRLStore{files: make(map[string]crlFile)} }

// LoadDir adds a directory and reads every file in it, in DER or PEM, whatever
// its name, unless that begins with a dot. Files of it that cannot be used are
// reported and do no harm. Refresh reads again what has changed, Reread all.
func (s *CRLStore) LoadDir(dir string) []error {
	s.refresh.Lock()
	defer s.refresh.Unlock()
	if !slices.Contains(s.dirs, dir) {
		s.dirs = append(s.dirs, dir)
	}
	_, problems := s.readDirs(false, dir)
	return problems
}

// Refresh looks whether files in the directories have come, gone or changed
// (by size and time) and reads those that have. Problems are those of all files
// as they now are.
func (s *CRLStore) Refresh() (changed bool, problems []error) {
	s.refresh.Lock()
	defer s.refresh.Unlock()
	return s.readDirs(false, s.dirs...)
}

// Reread reads every file in the directories again, also one whose size and
// time are as they were: a copy that keeps times can replace a list so.
func (s *CRLStore) Reread() (problems []error) {
	s.refresh.Lock()
	defer s.refresh.Unlock()
	_, problems = s.readDirs(true, s.dirs...)
	return problems
}

// readDirs reads what has changed in all directories, or all of it; the
// problems are those of the directories to report. A file that cannot be read,
// perhaps because it is being written in place, leaves in force what was read
// from it before, for as long as that says: to forget it would let in whoever it
// names.
func (s *CRLStore) readDirs(again bool, report ...string) (changed bool, problems []error) {
	files := make(map[string]crlFile)
	changed = again
	for _, dir := range s.dirs {
		tell := slices.Contains(report, dir)
		names, err := dirNames(dir)
		if err != nil && tell {
			problems = append(problems, err)
		}
		if names == nil && err != nil && !errors.Is(err, fs.ErrNotExist) {
			for path, file := range s.files {
				if filepath.Dir(path) == filepath.Clean(dir) {
					files[path] = file
				}
			}
		}
		for _, name := range names {
			if strings.HasPrefix(name, ".") {
				continue // being written, to be renamed when it is whole
			}
			path := filepath.Join(dir, name)
			info, err := os.Stat(path)
			if err != nil || !info.Mode().IsRegular() {
				continue // gone meanwhile, or a directory
			}
			file, ok := s.files[path]
			if again || !ok || file.size != info.Size() || !file.modified.Equal(info.ModTime()) {
				changed = true
				file.size, file.modified = info.Size(), info.ModTime()
				lists, err := readCRLFile(path, info.Size())
				if file.problem = err; err == nil {
					file.lists = lists
				}
			}
			if file.problem != nil && tell {
				problems = append(problems, file.problem)
			}
			files[path] = file
		}
	}
	changed = changed || len(files) != len(s.files)
	if !changed {
		return false, problems
	}
	s.files = files
	s.mu.Lock()
	defer s.mu.Unlock()
	held := slices.DeleteFunc(slices.Clone(s.held), func(h heldCRL) bool { return !h.added })
	for path, file := range files {
		for _, list := range file.lists {
			// A list that was fetched and then stored in a directory is held
			// once, as that of the directory.
			held = slices.DeleteFunc(held, func(h heldCRL) bool { return h.same(list) })
			held = append(held, heldCRL{list, path, false})
		}
	}
	s.replaceLocked(held)
	return true, problems
}

// dirNames lists a directory in order, at most maxCRLFiles of it.
func dirNames(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("revocation lists: %w", err)
	}
	defer d.Close()
	names, err := d.Readdirnames(maxCRLFiles + 1)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("revocation lists: %w", err)
	}
	slices.Sort(names)
	if len(names) > maxCRLFiles {
		return names[:maxCRLFiles], fmt.Errorf("revocation lists: %s has more than %d files; the rest is not read", dir, maxCRLFiles)
	}
	return names, nil
}

func readCRLFile(path string, size int64) ([]*crl, error) {
	// PEM takes 4/3 of DER and its lines; text may stand around it.
	if size > 2*MaxCRL {
		return nil, fmt.Errorf("%s: a file of %d bytes is too large for a revocation list", path, size)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lists, err := readCRLs(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return lists, nil
}

// Add reads one list, in DER or PEM, from r and checks that it is signed by
// the authority whose certificate is issuer (already part of a verified path).
// It replaces older ones of the same scope that came this way. An error means
// that nothing changed: the list is broken, somebody else's, or older than what
// is held.
func (s *CRLStore) Add(r io.Reader, source string, issuer *x509.Certificate) (CRLInfo, error) {
	lists, err := readCRLs(r)
	if err != nil {
		return CRLInfo{}, err
	}
	if len(lists) != 1 {
		return CRLInfo{}, fmt.Errorf("there are %d revocation lists in it, not one", len(lists))
	}
	list := heldCRL{lists[0], source, true}
	if err := list.verify(issuer); err != nil {
		return CRLInfo{}, fmt.Errorf("the revocation list of %s cannot be used: %w", list.issuerName, err)
	}
	if list.problem != "" {
		return CRLInfo{}, fmt.Errorf("the revocation list of %s cannot be used: %s", list.issuerName, list.problem)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	held := slices.Clone(s.held)
	for _, old := range s.index[string(list.issuer)] {
		if old.sameScope(list.crl) && old.verify(issuer) == nil && old.newer(list.crl) {
			return CRLInfo{}, errors.New("a newer revocation list is at hand")
		}
	}
	held = slices.DeleteFunc(held, func(old heldCRL) bool {
		return old.same(list.crl) || old.added && old.sameScope(list.crl) && old.verify(issuer) == nil
	})
	var added int
	for i := len(held) - 1; i >= 0; i-- {
		if held[i].added {
			if added++; added >= maxAdded {
				held = slices.Delete(held, i, i+1)
			}
		}
	}
	s.replaceLocked(append(held, list))
	return list.info(), nil
}

// sameScope reports whether one list can stand in for the other.
func (c *crl) sameScope(other *crl) bool {
	return bytes.Equal(c.issuer, other.issuer) && c.scope == other.scope && (c.base == nil) == (other.base == nil)
}

// newer reports whether c was issued after other.
func (c *crl) newer(other *crl) bool {
	if d := compareNumbers(c.number, other.number); d != 0 {
		return d > 0
	}
	return c.thisUpdate.After(other.thisUpdate)
}

func (s *CRLStore) replaceLocked(held []heldCRL) {
	s.held = held
	s.index = make(map[string][]heldCRL)
	for _, h := range held {
		s.index[string(h.issuer)] = append(s.index[string(h.issuer)], h)
	}
	s.changes.Add(1)
}

// generation changes with what is held. A nil store is empty.
func (s *CRLStore) generation() uint64 {
	if s == nil {
		return 0
	}
	return s.changes.Load()
}

// lists returns what is held of an issuer.
func (s *CRLStore) lists(issuer []byte) []heldCRL {
	if s == nil {
		return nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.index[string(issuer)]
}

// CRLInfo describes a list that is held.
type CRLInfo struct {
	Issuer     string    // the authority's CN, made visible
	Name       string    // the authority's whole name as it is, in the form of RFC 2253
	Kind       string    // base, partition or delta
	Number     string    // hexadecimal, "" if it has none
	Base       string    // the number that a delta builds upon
	Entries    int       // certificates on it
	ThisUpdate time.Time // when it was issued
	NextUpdate time.Time // when the next one is due; zero if it does not say
	Source     string    // a file or an address
	Verified   bool      // its signature has been checked
	Problem    string    // why it is not used, "" if it is
}

func (h heldCRL) info() CRLInfo {
	return CRLInfo{
		Issuer:     h.issuerName,
		Name:       exactName(h.issuer),
		Kind:       h.kind(),
		Number:     shownNumber(h.number),
		Base:       shownNumber(h.base),
		Entries:    h.entries.count,
		ThisUpdate: h.thisUpdate,
		NextUpdate: h.nextUpdate,
		Source:     h.source,
		Verified:   h.verifiedBy.Load() != nil,
		Problem:    h.problem,
	}
}

// exactName is a Name in DER, which parses, in the form of RFC 2253.
func exactName(der []byte) string {
	var name pkix.RDNSequence
	if _, err := asn1.Unmarshal(der, &name); err != nil {
		return ""
	}
	return name.String()
}

// CheckSignatures checks the signatures of lists whose authorities' certificates
// are among these. Nothing else is thought of those certificates: a list counts
// for a path that has one, not for this.
func (s *CRLStore) CheckSignatures(issuers [][]byte) {
	for _, der := range issuers {
		issuer, err := x509.ParseCertificate(der)
		if err != nil {
			continue
		}
		for _, h := range s.lists(issuer.RawSubject) {
			h.verify(issuer)
		}
	}
}

// List describes what is held, ordered by issuer and age.
func (s *CRLStore) List() []CRLInfo {
	s.mu.RLock()
	defer s.mu.RUnlock()
	infos := make([]CRLInfo, len(s.held))
	for i, h := range s.held {
		infos[i] = h.info()
	}
	slices.SortFunc(infos, func(a, b CRLInfo) int {
		if d := strings.Compare(a.Issuer, b.Issuer); d != 0 {
			return d
		}
		if d := a.ThisUpdate.Compare(b.ThisUpdate); d != 0 {
			return d
		}
		return strings.Compare(a.Source, b.Source)
	})
	return infos
}
