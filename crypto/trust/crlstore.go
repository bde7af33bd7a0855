package trust

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// maxAdded bounds the lists from Add, which drops the oldest: they were fetched for
// certificates of strangers.
const maxAdded = 256

// CRLStore holds revocation lists, from directories and fetched ones. A list counts once its
// signature is verified with its authority's certificate, when that first stands in a path.
// It is safe for concurrent use.
type CRLStore struct {
	changes atomic.Uint64

	refresh sync.Mutex // held by one Refresh or LoadDir at a time
	dirs    []string   // guarded by refresh
	files   map[string]crlFile

	mu      sync.RWMutex // guards the fields below
	held    []heldCRL
	index   map[string][]heldCRL // by issuer, as foldedName
	refused map[string]error     // the first about a list that is not held, by issuer
}

// heldCRL is a list with its source.
type heldCRL struct {
	*crl
	source string
	added  bool // by Add, not from a directory
	former bool // replaced in its file by one whose signature is not checked yet
}

// NewCRLStore returns an empty store.
func NewCRLStore() *CRLStore { return &CRLStore{files: make(map[string]crlFile)} }

// LoadDir adds a directory and reads every file in it, in DER or PEM, whose name does not
// begin with a dot. It returns the errors about unusable files, which do no harm.
func (s *CRLStore) LoadDir(dir string) []error {
	_, problems := s.readDirs(dir, false)
	return problems
}

// Refresh reads the files in the directories that are new or changed, by size and time, and
// drops those that are gone. It returns the errors about all files as they are now.
func (s *CRLStore) Refresh() (changed bool, problems []error) {
	return s.readDirs("", false)
}

// Reread reads every file in the directories again: a copy that keeps times may replace a
// list by one of the same size.
func (s *CRLStore) Reread() (problems []error) {
	_, problems = s.readDirs("", true)
	return problems
}

// readDirs reads the changed files of all directories, or every file again. A new directory is
// added to them, and then the errors are those about it.
func (s *CRLStore) readDirs(added string, again bool) (changed bool, problems []error) {
	s.refresh.Lock()
	defer s.refresh.Unlock()
	if added != "" && !slices.Contains(s.dirs, added) {
		s.dirs = append(s.dirs, added)
	}
	files := make(map[string]crlFile)
	changed = again
	for _, dir := range s.dirs {
		found, fresh, errs := s.readDir(dir, again)
		maps.Copy(files, found)
		changed = changed || fresh
		if added == "" || added == dir {
			problems = append(problems, errs...)
		}
	}
	if changed = changed || len(files) != len(s.files); changed {
		s.files = files
		s.holdFiles()
	}
	return changed, problems
}

// readDir looks at the files of a directory. Lists that cannot be read now, perhaps because
// their file is being written in place or the directory is not mounted, stay in force as long as
// they are valid: to forget them would admit the people whom they name.
func (s *CRLStore) readDir(dir string, again bool) (files map[string]crlFile, changed bool, problems []error) {
	files = make(map[string]crlFile)
	names, err := dirNames(dir)
	if err != nil {
		problems = append(problems, err)
	}
	if names == nil && err != nil {
		for path, file := range s.files {
			if filepath.Dir(path) == filepath.Clean(dir) {
				files[path] = file
			}
		}
	}
	for _, name := range names {
		if strings.HasPrefix(name, ".") {
			continue // being written, and renamed when it is whole
		}
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() {
			continue // gone meanwhile, or a directory
		}
		file, ok := s.files[path]
		if again || !ok || file.size != info.Size() || !file.modified.Equal(info.ModTime()) {
			changed = true
			file.read(path, info)
		}
		changed = file.prune() || changed
		problems = append(problems, file.problems[:min(1, len(file.problems))]...)
		files[path] = file
	}
	return files, changed, problems
}

// holdFiles replaces the lists from directories by those in s.files. A list that was fetched
// and then stored in a directory is held once, as the directory's.
func (s *CRLStore) holdFiles() {
	s.mu.Lock()
	defer s.mu.Unlock()
	held := slices.DeleteFunc(slices.Clone(s.held), func(h heldCRL) bool { return !h.added })
	s.refused = make(map[string]error)
	for _, path := range slices.Sorted(maps.Keys(s.files)) {
		file := s.files[path]
		for _, problem := range file.problems {
			if refused, ok := errors.AsType[*refusedCRL](problem); ok && s.refused[refused.issuer] == nil {
				s.refused[refused.issuer] = problem
			}
		}
		for i, list := range slices.Concat(file.lists, file.former) {
			held = slices.DeleteFunc(held, func(h heldCRL) bool { return h.same(list) })
			held = append(held, heldCRL{crl: list, source: path, former: i >= len(file.lists)})
		}
	}
	s.replaceLocked(held)
}

// Add reads one list, in DER or PEM, from r and verifies that it is signed by its authority:
// with one of the certificates signers, which are proved to lead to an anchor. It replaces
// older ones of the same scope that came by Add, but a list with a flaw or from the future
// never replaces one without. On an error nothing changes: the list is broken, of another
// authority, or older than one at hand.
func (s *CRLStore) Add(r io.Reader, source string, signers []*x509.Certificate, now time.Time) (CRLInfo, error) {
	lists, problems := readCRLs(r, 1)
	if len(problems) > 0 {
		return CRLInfo{}, problems[0]
	}
	list := heldCRL{crl: lists[0], source: source, added: true}
	key, err := list.verify(signers)
	if err != nil {
		return CRLInfo{}, fmt.Errorf("the revocation list of %s cannot be used: %w", list.issuerName, err)
	}
	list.entries.finish()
	sound := list.isSound(now)
	same := func(old heldCRL) bool {
		if !old.sameScope(list.crl) {
			return false
		}
		other, err := old.verify(signers)
		return err == nil && other == key
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	for _, old := range s.index[list.folded] {
		if old.outdates(list.crl) && (old.isSound(now) || !sound) && same(old) {
			return CRLInfo{}, errors.New("a newer revocation list is at hand")
		}
	}
	held := slices.DeleteFunc(slices.Clone(s.held), func(old heldCRL) bool {
		return old.same(list.crl) || old.added && list.outdates(old.crl) && (sound || !old.isSound(now)) && same(old)
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
	return list.addedInfo(key), nil
}

// isSound reports whether the list can clear somebody and take the place of another.
func (c *crl) isSound(now time.Time) bool {
	return len(c.flaws) == 0 && c.thisUpdate.Sub(now) <= ClockTolerance
}

// sameScope reports whether one list may replace the other, if one key signed both.
func (c *crl) sameScope(other *crl) bool {
	return c.folded == other.folded && c.scope == other.scope && c.delta == other.delta
}

// compareAge orders lists by their dates. The number comes second: an authority that begins to
// count again replaces its lists all the same.
func (c *crl) compareAge(other *crl) int {
	return cmp.Or(c.thisUpdate.Compare(other.thisUpdate), compareNumbers(c.number, other.number))
}

// outdates reports whether other is older than c. A delta that builds upon c by its number is
// not, whatever its date (RFC 5280, section 5.2.4).
func (c *crl) outdates(other *crl) bool {
	return c.compareAge(other) > 0 && !(other.delta && c.precedes(other))
}

// replaceLocked replaces the lists held. s.mu is held.
func (s *CRLStore) replaceLocked(held []heldCRL) {
	s.held = held
	s.index = make(map[string][]heldCRL)
	for _, h := range held {
		s.index[h.folded] = append(s.index[h.folded], h)
	}
	s.changes.Add(1)
}

// generation changes with every change of the lists held.
func (s *CRLStore) generation() uint64 { return s.changes.Load() }

// lists returns the lists held of an issuer, given in DER, and the error about one that could
// not be read.
func (s *CRLStore) lists(issuer []byte) ([]heldCRL, error) {
	folded := foldedName(issuer)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.index[folded], s.refused[folded]
}

// CheckSignatures verifies the signatures of the lists whose authority's certificate is among
// these, in DER. The certificates gain no trust by it: a list counts only for a path with
// such a certificate.
func (s *CRLStore) CheckSignatures(issuers [][]byte) {
	for _, der := range issuers {
		issuer, err := x509.ParseCertificate(der)
		if err != nil {
			continue
		}
		lists, _ := s.lists(issuer.RawSubject)
		for _, h := range lists {
			h.verify([]*x509.Certificate{issuer})
		}
	}
}
