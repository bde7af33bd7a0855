// Package state keeps a client's state directory: the name that owns it, the
// relays and people it has met, and a kept credential. It also has the safe
// files and locks under every file that relay and client keep.
//
// It neither writes the history nor fetches anything: both only have a place in
// the directory. PROTOCOL.md, "Known files".
package state

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// State is an open state directory. Several clients of one user may have it open
// at once, and any goroutine may call its methods.
type State struct {
	dir      string
	name     string // the owner's; empty if nobody has claimed the directory
	readOnly bool

	relays knownFile[RelayLine]
	peers  knownFile[PeerLine]
}

// The files of a state directory.
const (
	nameFile   = "name"         // the name that owns the directory, and a newline
	relaysFile = "known_relays" // RelayLines
	PeersFile  = "known_peers"  // PeerLines
	lockFile   = "known.lock"   // locked while one of those two is rewritten
	keptName   = "kept"         // the credential that -keep has stored
	CRLs       = "crls"         // fetched revocation lists
	historyDir = "history"
)

// maxName bounds the name file in bytes: a name of 32 letters and its newline.
const maxName = 256

// Open opens the state directory of the user called name, and makes it if it is
// missing. A directory that belongs to another name is refused. With an empty
// name Open takes any owner, and the directory must exist.
func Open(dir, name string) (*State, error) {
	dir = filepath.Clean(dir) // a final slash would follow a link
	if name == "" {
		return open(dir, false)
	}
	if err := MakeDir(dir); err != nil {
		return nil, Failure(err)
	}
	path := filepath.Join(dir, nameFile)
	err := CreateFile(path, []byte(name+"\n"))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, Failure(err)
	}
	s, err := open(dir, false)
	if err != nil {
		return nil, err
	}
	if !proto.SameName(s.name, name) {
		return nil, &fail.Error{
			Code:    proto.Usage,
			Message: "the state directory " + dir + " belongs to the name " + proto.Visible(s.name) + ", not to " + proto.Visible(name),
			Hint:    "give another directory with -state, or the name " + proto.Visible(s.name) + " with -name",
		}
	}
	return s, nil
}

// OpenReadOnly opens a state directory for commands that only look: it makes
// nothing and changes nothing.
func OpenReadOnly(dir string) (*State, error) { return open(dir, true) }

func open(dir string, readOnly bool) (*State, error) {
	dir = filepath.Clean(dir)
	err := checkDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &fail.Error{
			Code:    proto.Internal,
			Message: "there is no state directory at " + dir,
			Hint:    "name it with -state; the first client that connects makes it",
			Err:     err,
		}
	}
	if err != nil {
		return nil, Failure(err)
	}
	s := New(dir, "")
	s.readOnly = readOnly
	if err := s.readName(); err != nil {
		return nil, err
	}
	if err := errors.Join(s.relays.load(), s.peers.load()); err != nil {
		return nil, err
	}
	return s, nil
}

// readName reads the owner's name, if the directory has one.
func (s *State) readName() error {
	path := filepath.Join(s.dir, nameFile)
	text, err := ReadFile(path, maxName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return Failure(err)
	}
	s.name = strings.TrimSuffix(string(text), "\n")
	if proto.CheckName(s.name) != nil {
		return &fail.Error{
			Code:    proto.Internal,
			Message: "the file " + path + " does not hold a name",
			Hint:    "write the name that the directory belongs to into it, or use another directory with -state",
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
func (s *State) Name() string { return s.name }

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
