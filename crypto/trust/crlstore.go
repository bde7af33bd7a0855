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

const (
	// maxAdded bounds the lists from Add, which drops the oldest: they were fetched for
	// certificates of strangers.
	maxAdded = 256
	// maxFormer bounds the former lists of one scope of a file: those whose signature holds, and as
	// many others.
	maxFormer = 4
)

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
	source   string
	added    bool // by Add, not from a directory
	former   bool // it was in its file
	replaced bool // by one of its file, which may be false: it clears nobody
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
	files, changed := make(map[string]crlFile), again
	for _, dir := range s.dirs {
		fresh, errs := s.readDir(dir, again, files)
		changed = changed || fresh
		if added == "" || added == dir {
			problems = append(problems, errs...)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	held := s.held
	if changed = changed || len(files) != len(s.files); changed {
		s.files = files
		held = s.withFiles()
	}
	if held = settled(held); changed || len(held) < len(s.held) {
		changed = true
		s.replaceLocked(held)
	}
	return changed, problems
}

// readDir looks at the files of a directory, and adds them to files. Lists that cannot be read
// now, perhaps because their file is being written in place or the directory is not mounted,
// stay in force as long as they are valid: to forget them would admit the people whom they name.
func (s *CRLStore) readDir(dir string, again bool, files map[string]crlFile) (changed bool, problems []error) {
	names, err := dirNames(dir)
	if err != nil {
		problems = append(problems, err)
		for path, file := range s.files {
			if names == nil && filepath.Dir(path) == filepath.Clean(dir) {
				files[path] = file
			}
		}
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if strings.HasPrefix(name, ".") || err != nil || !info.Mode().IsRegular() {
			continue // being written, and renamed when it is whole; gone meanwhile, or a directory
		}
		file, ok := s.files[path]
		if again || !ok || file.size != info.Size() || !file.modified.Equal(info.ModTime()) {
			changed = true
			file = crlFile{size: info.Size(), modified: info.ModTime()}
			file.lists, file.problems = readCRLFile(path, info)
		}
		problems = append(problems, file.problems[:min(1, len(file.problems))]...)
		files[path] = file
	}
	return changed, problems
}

// withFiles returns the lists to hold once s.files has changed. What a file says counts at once. A
// list of it that is false, or has a flaw, must not forget the people whom a former one names.
// A list that was fetched and then stored in a directory is held once, as the directory's.
func (s *CRLStore) withFiles() (held []heldCRL) {
	s.refused = make(map[string]error)
	listed := make(map[[32]byte]bool)
	for _, path := range slices.Backward(slices.Sorted(maps.Keys(s.files))) {
		for _, list := range s.files[path].lists {
			if !listed[list.id] {
				held = append(held, heldCRL{crl: list, source: path})
			}
			listed[list.id] = true
		}
		for _, problem := range slices.Backward(s.files[path].problems) {
			if refused, ok := errors.AsType[*refusedCRL](problem); ok {
				s.refused[refused.issuer] = problem // at last the first
			}
		}
	}
	for _, h := range s.held {
		file := s.files[h.source]
		isOf := func(c *crl) bool { return c.folded == h.folded }
		replaces := func(c *crl) bool { return c.sound && c.sameScope(h.crl) }
		h.former, h.replaced = !h.added, h.replaced || slices.ContainsFunc(file.lists, replaces)
		if !listed[h.id] && (h.added || len(file.problems) > 0 || slices.ContainsFunc(file.lists, isOf)) {
			held = append(held, h)
		}
	}
	return held
}

// settled returns those of the lists that count, the last ones first: former ones and those from
// Add are dropped when another list supersedes them, and beyond their bounds.
func settled(lists []heldCRL) (held []heldCRL) {
	type group struct {
		source, folded, scope string
		delta, signed         bool
	}
	count := make(map[group]int)
	for _, h := range lists {
		of, most := group{}, maxAdded
		if h.former {
			of, most = group{h.source, h.folded, h.scope, h.delta, h.isSigned()}, maxFormer
		}
		if h.former || h.added {
			if count[of] == most || h.isOutdated(lists) {
				continue
			}
			count[of]++
		}
		held = append(held, h)
	}
	return held
}

// isOutdated reports whether one of these lists leaves h nothing to say: one that is now in the
// same file, or from Add too. A former list whose signature does not hold is false where that
// of another in its file does.
func (h heldCRL) isOutdated(lists []heldCRL) bool {
	return slices.ContainsFunc(lists, func(c heldCRL) bool {
		isNear := !c.former && c.added == h.added && (c.added || c.source == h.source) && c.sameScope(h.crl)
		return isNear && (c.supersedes(h.crl) || h.former && !h.isSigned() && c.isSigned())
	})
}

// Add reads one list, in DER or PEM, from r and verifies that it is signed by its authority:
// with one of the certificates signers, which are proved to lead to an anchor. It takes the place
// of those from Add that it supersedes. On an error nothing changes: the list is broken, of
// another authority, or superseded by one at hand.
func (s *CRLStore) Add(r io.Reader, source string, signers []*x509.Certificate, now time.Time) (info CRLInfo, err error) {
	lists, problems := readCRLs(r, 1)
	if len(problems) > 0 {
		return info, problems[0]
	}
	list := heldCRL{crl: lists[0], source: source, added: true}
	if _, err := list.verify(signers); err != nil {
		return info, fmt.Errorf("the revocation list of %s cannot be used: %w", list.issuerName, err)
	}
	list.came(now)
	s.verify(signers)
	info = list.info()

	s.mu.Lock()
	defer s.mu.Unlock()
	for _, old := range s.index[list.folded] {
		if old.supersedes(list.crl) {
			return info, errors.New("a newer revocation list is at hand")
		}
		if !old.former && list.supersedes(old.crl) {
			info.Outdated = append(info.Outdated, old.source)
		}
	}
	others := slices.DeleteFunc(slices.Clone(s.held), func(old heldCRL) bool { return old.id == list.id })
	s.replaceLocked(settled(slices.Concat([]heldCRL{list}, others)))
	return info, nil
}

// came makes a list that came at that time ready for use.
func (c *crl) came(at time.Time) {
	c.entries.finish()
	c.sound = c.isSound(at)
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

// supersedes reports whether c leaves old nothing to say: it is the newer one by the same key
// about the same scope. One that could clear nobody when it came, for a flaw or since it is of
// the future, supersedes only one with a flaw.
func (c *crl) supersedes(old *crl) bool {
	if !c.sameScope(old) || !c.outdates(old) || !c.sound && len(old.flaws) == 0 {
		return false
	}
	key, signed, _ := c.signer()
	other, alsoSigned, _ := old.signer()
	return signed && alsoSigned && key == other
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
		if issuer, err := x509.ParseCertificate(der); err == nil {
			s.verify([]*x509.Certificate{issuer})
		}
	}
}

// verify verifies the signatures of the lists of the authority of signers.
func (s *CRLStore) verify(signers []*x509.Certificate) {
	lists, _ := s.lists(signers[0].RawSubject)
	for _, h := range lists {
		h.verify(signers)
	}
}
