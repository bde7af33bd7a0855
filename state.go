package chatsecure

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"chatsecure/crypto"
	"chatsecure/proto"
)

// State is a client's state directory: whose it is, the relays and peers that
// are known, a credential that was kept, and the history. Several clients of
// one user may have it open at once. Its methods may be called from any
// goroutine.
type State struct {
	dir      string
	name     string // whose directory it is; empty if nobody has claimed it
	readOnly bool

	relays knownFile[relayLine]
	peers  knownFile[peerLine]
}

// The files of a state directory that are not the history's.
const (
	stateName   = "name"         // the name that the directory belongs to, and a newline
	stateRelays = "known_relays" // lines of relayLine
	statePeers  = "known_peers"  // lines of peerLine
	stateLock   = "known.lock"   // locked while one of those two is rewritten
	stateKept   = "kept"         // what -keep has stored
	stateCRLs   = "crls"         // revocation lists that were fetched
	stateTalks  = "history"
)

// maxStateName bounds the name file: a name of 32 letters and its newline.
const maxStateName = 256

// OpenState opens the state directory of the user name, and makes it if it is
// not there. A directory belongs to one name: another one's is refused. With
// an empty name it opens whoever's it is, which must be there.
func OpenState(dir, name string) (*State, error) {
	dir = filepath.Clean(dir) // a final slash would follow a link
	if name == "" {
		return openState(dir, false)
	}
	if err := makeStateDir(dir); err != nil {
		return nil, stateError(err)
	}
	path := filepath.Join(dir, stateName)
	err := createStateFile(path, []byte(name+"\n"))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, stateError(err)
	}
	s, err := openState(dir, false)
	if err != nil {
		return nil, err
	}
	if !proto.SameName(s.name, name) {
		return nil, &Error{
			Code:    proto.Usage,
			Message: "the state directory " + dir + " belongs to the name " + crypto.Visible(s.name) + ", not to " + crypto.Visible(name),
			Hint:    "give another directory with -state, or the name " + crypto.Visible(s.name) + " with -name",
		}
	}
	return s, nil
}

// OpenStateRead opens a state directory for commands that only look: it makes
// nothing and changes nothing.
func OpenStateRead(dir string) (*State, error) { return openState(dir, true) }

func openState(dir string, readOnly bool) (*State, error) {
	dir = filepath.Clean(dir)
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, &Error{
			Code:    proto.Internal,
			Message: "there is no state directory at " + dir,
			Hint:    "name it with -state; the first client that connects makes it",
			Err:     err,
		}
	}
	// It is there, so this only checks whose it is.
	if err := makeStateDir(dir); err != nil {
		return nil, stateError(err)
	}
	s := newState(dir, "")
	s.readOnly = readOnly
	name, err := readStateFile(filepath.Join(dir, stateName), maxStateName)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, stateError(err)
	}
	if err == nil {
		s.name = strings.TrimSuffix(string(name), "\n")
		if proto.CheckName(s.name) != nil {
			return nil, &Error{
				Code:    proto.Internal,
				Message: "the file " + filepath.Join(dir, stateName) + " does not hold a name",
				Hint:    "write the name that the directory belongs to into it, or use another directory with -state",
			}
		}
	}
	if err := errors.Join(s.relays.load(), s.peers.load()); err != nil {
		return nil, err
	}
	return s, nil
}

// newState returns a State of which nothing has been read.
func newState(dir, name string) *State {
	s := &State{dir: dir, name: name}
	s.relays.init(filepath.Join(dir, stateRelays))
	s.peers.init(filepath.Join(dir, statePeers))
	s.peers.limit = forgetSeen
	return s
}

// Dir returns the directory, Name whose it is ("" if nobody has claimed it).
func (s *State) Dir() string  { return s.dir }
func (s *State) Name() string { return s.name }

// HistoryDir is where the history lies, CRLDir where fetched revocation lists
// do. Neither need be there.
func (s *State) HistoryDir() string { return filepath.Join(s.dir, stateTalks) }
func (s *State) CRLDir() string     { return filepath.Join(s.dir, stateCRLs) }

// stateError is an error of the file system, or a refusal, about the directory.
func stateError(err error) *Error {
	e := AsError(err)
	if e.Hint == "" && e.Code == proto.Internal {
		e.Hint = "give another state directory with -state"
	}
	return e
}
