// Package state keeps a client's state directory: the name that owns it, the
// relays and people it has met, and a kept credential. It also has the safe
// files and locks under every file that relay and client keep.
//
// It neither writes the history nor fetches anything: both only have a place in
// the directory. doc/state.md has the forms.
package state

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// State is an open state directory. Several clients of one user may have it open
// at once, and any goroutine may call its methods.
type State struct {
	dir    string
	mu     sync.Mutex // guards name
	name   string     // the owner's; empty if nobody has claimed the directory
	relays knownFile[KnownRelay]
	peers  knownFile[KnownPeer]
}

// The files of a state directory.
const (
	nameFile   = "name"         // the name that owns the directory, and a newline
	relaysFile = "known_relays" // KnownRelays
	PeersFile  = "known_peers"  // KnownPeers
	lockFile   = "known.lock"   // locked while one of those two is rewritten
	keptName   = "kept"         // the credential that -keep has stored
	CRLs       = "crls"         // fetched revocation lists
	historyDir = "history"
	configFile = "config"    // options: see Config
	RelayKey   = "relay.key" // of a relay's directory
)

// maxName bounds the name file in bytes: a name of 32 letters and its newline.
const maxName = 256

// Open opens the state directory of the user called name, and makes it if it is
// missing. A directory that belongs to another name is refused; one that belongs to nobody
// is this user's only after Claim. With an empty name Open takes any owner, and the directory
// must exist.
func Open(dir, name string) (*State, error) {
	dir = filepath.Clean(dir) // a final slash would follow a link
	if name != "" {
		if err := MakeDir(dir); err != nil {
			return nil, Failure(err)
		}
	}
	s, err := open(dir, false)
	if err != nil {
		return nil, err
	}
	if err := s.RefuseName(name); err != nil {
		return nil, err
	}
	return s, nil
}

// Claim makes the directory name's for good. A client does so once a relay has let it in under the
// name: a name that is refused must not hold the directory.
func (s *State) Claim(name string) error {
	if s.Name() != "" {
		return nil // Open has compared it
	}
	err := CreateFile(filepath.Join(s.dir, nameFile), []byte(name+"\n"))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return Failure(err)
	}
	owner, err := Owner(s.dir)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.name = owner
	s.mu.Unlock()
	return s.RefuseName(name) // another client may have been first
}

// RefuseName refuses a name if the directory belongs to another one. "" stands for any name.
func (s *State) RefuseName(name string) error {
	owner := s.Name()
	if name == "" || owner == "" || proto.SameName(owner, name) {
		return nil
	}
	return fail.Errorf(proto.Usage, "the state directory %s belongs to the name %s, not to %s",
		s.dir, proto.Visible(owner), proto.Visible(name)).
		With("give another directory with -state, or leave -name out")
}

// OpenReadOnly opens a state directory for commands that only look: it makes
// nothing and changes nothing.
func OpenReadOnly(dir string) (*State, error) { return open(dir, true) }

func open(dir string, readOnly bool) (*State, error) {
	dir = filepath.Clean(dir)
	err := checkDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		e := fail.Errorf(proto.Internal, "there is no state directory at %s", dir)
		e.Err = err
		return nil, e.With("name it with -state; client init makes it, and so does a first connection")
	}
	if err != nil {
		return nil, Failure(err)
	}
	s := New(dir, "")
	s.relays.readOnly, s.peers.readOnly = readOnly, readOnly
	if s.name, err = Owner(dir); err != nil {
		return nil, err
	}
	if err := errors.Join(s.relays.load(), s.peers.load()); err != nil {
		return nil, err
	}
	return s, nil
}

// Owner returns the name that a state directory belongs to, or "". It refuses a relay's.
func Owner(dir string) (string, error) {
	if _, err := os.Lstat(filepath.Join(dir, RelayKey)); err == nil {
		return "", fail.Errorf(proto.Usage, "the state directory %s is a relay's: it has the file %s",
			dir, RelayKey).With("give another directory with -state")
	}
	path := filepath.Join(dir, nameFile)
	text, err := ReadFile(path, maxName)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return "", nil
	}
	if err != nil {
		return "", Failure(err)
	}
	name := strings.TrimSuffix(string(text), "\n")
	if proto.CheckName(name) != nil {
		return "", fail.Errorf(proto.Internal, "the file %s does not hold a name", path).
			With("write the name that the directory belongs to into it, " +
				"or use another directory with -state")
	}
	return name, nil
}

// RefuseClients refuses a client's state directory, for a relay, which keeps its own.
func RefuseClients(dir string) error {
	for _, file := range []string{nameFile, relaysFile, PeersFile, configFile} {
		if _, err := os.Lstat(filepath.Join(dir, file)); err == nil {
			return fail.Errorf(proto.Usage, "the state directory %s is a client's: it has the file %s",
				proto.Visible(dir), file).With("give the relay a directory of its own with -state")
		}
	}
	return nil
}

// New returns a State that has read nothing yet.
func New(dir, name string) *State {
	s := &State{dir: dir, name: name}
	s.relays.path = filepath.Join(dir, relaysFile)
	s.peers.path = filepath.Join(dir, PeersFile)
	s.peers.limit = forgetSeen
	return s
}

// Dir returns the directory's path.
func (s *State) Dir() string { return s.dir }

// Name returns the owner's name, or "" if nobody has claimed the directory.
func (s *State) Name() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.name
}

// HistoryDir returns the path of the history, which need not exist.
func (s *State) HistoryDir() string { return filepath.Join(s.dir, historyDir) }

// CRLDir returns the path of fetched revocation lists, which need not exist.
func (s *State) CRLDir() string { return filepath.Join(s.dir, CRLs) }

// Failure returns err as a failure of the state directory. Where nothing better
// is known, its hint is to name another directory.
func Failure(err error) *fail.Error {
	e := fail.AsError(err)
	if e.Hint == "" && e.Code == proto.Internal {
		e.Hint = "give another state directory with -state"
	}
	return e
}
