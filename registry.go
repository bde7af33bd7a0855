package chatsecure

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"chatsecure/canon"
	"chatsecure/proto"
)

const (
	// registryMaxNames bounds the names that are kept, some 20 MB of memory: a
	// relay is for an organisation, not for a country.
	registryMaxNames = 100_000
	// registryNamesPerIdentity is how many names one person may hold: enough
	// for roles and machines, too few to take a dictionary.
	registryNamesPerIdentity = 64
	// registryMaxFile bounds the file that is read at the start, in bytes: no
	// line of it is longer than 256.
	registryMaxFile = registryMaxNames * 256
)

// registry is the owner of each name: the identity that first took it. Names
// are compared folded. A new one that looks like another person's is refused.
//
// They are kept in a file of canonical JSON lines, one for each name. A change
// replaces the file, and counts once the new file is on the disk. Changes that
// come during one write share the next. A name that is on the disk already is
// never waited for.
type registry struct {
	path string

	writing sync.Mutex // held while the file is replaced; taken before mu

	mu       sync.Mutex // guards the fields below; not held while the disk works
	names    map[string]registryEntry
	looks    map[string]registryLook   // by skeleton
	held     map[[32]byte]int          // names per identity
	unstored map[string]*registryWrite // the claims and releases that are not on the disk, by name
	next     *registryWrite            // for the changes since the last write began; nil: there are none
	doubtful bool                      // the last write failed, so a release may be missing on the disk
}

// registryWrite is one replacement of the file. Its fields are guarded by
// writing.
type registryWrite struct {
	done bool
	err  error
}

type registryEntry struct {
	identity [32]byte
	since    int64
}

// registryLook is who has names that look alike: always one identity.
type registryLook struct {
	identity [32]byte
	names    int
}

// registryLine is a line of the file.
type registryLine struct {
	Name     string `json:"name"`     // folded
	Identity string `json:"identity"` // hex
	Since    int64  `json:"since"`    // Unix seconds
}

func registryTaken(name string) error {
	return proto.Errorf(proto.NameTaken, "the name %s belongs to another identity", name)
}

// openRegistry reads the file at path, where there is one. A line that this
// program has not written is an error.
func openRegistry(path string) (*registry, error) {
	g := &registry{
		path: path, names: make(map[string]registryEntry), looks: make(map[string]registryLook),
		held: make(map[[32]byte]int), unstored: make(map[string]*registryWrite),
	}
	if err := g.load(); err != nil {
		return nil, fmt.Errorf("names: %w", err)
	}
	return g, nil
}

func (g *registry) load() error {
	data, err := readStateFile(g.path, registryMaxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	n := 0
	for line := range bytes.Lines(data) {
		n++
		if err := g.read(line); err != nil {
			return fmt.Errorf("%s: line %d is damaged: %w", g.path, n, err)
		}
	}
	// A crash may have come after the file's last replacement and before the
	// directory was on the disk.
	return syncStateDir(filepath.Dir(g.path))
}

// read takes one line of the file into the tables.
func (g *registry) read(line []byte) error {
	text, ok := bytes.CutSuffix(line, []byte("\n"))
	if !ok {
		return errors.New("it has no end")
	}
	var l registryLine
	if err := canon.Unmarshal(text, &l); err != nil {
		return err
	}
	if proto.CheckName(l.Name) != nil || proto.FoldName(l.Name) != l.Name {
		return errors.New("not a folded name")
	}
	if !isHash(l.Identity) {
		return errors.New("not an identity")
	}
	if _, ok := g.names[l.Name]; ok {
		return errors.New("the name has a line already")
	}
	g.insert(l.Name, registryEntry{unhex32(l.Identity), l.Since})
	return nil
}

func (g *registry) insert(folded string, e registryEntry) {
	g.names[folded] = e
	g.held[e.identity]++
	for _, skeleton := range registrySkeletons(folded) {
		g.looks[skeleton] = registryLook{e.identity, g.looks[skeleton].names + 1}
	}
}

func (g *registry) remove(folded string, id [32]byte) {
	delete(g.names, folded)
	if g.held[id]--; g.held[id] == 0 {
		delete(g.held, id)
	}
	for _, skeleton := range registrySkeletons(folded) {
		look := g.looks[skeleton]
		if look.names--; look.names == 0 {
			delete(g.looks, skeleton)
		} else {
			g.looks[skeleton] = look
		}
	}
}

// claim makes sure that name is the identity's, and takes it if it is nobody's.
// When it returns nil that is on the disk.
func (g *registry) claim(name string, id [32]byte) error {
	g.mu.Lock()
	w, err := g.claimLocked(name, proto.FoldName(name), id)
	g.mu.Unlock()
	return g.wait(w, err)
}

// claimLocked returns the write to wait for, nil for none.
func (g *registry) claimLocked(name, folded string, id [32]byte) (*registryWrite, error) {
	if owner, ok := g.names[folded]; ok {
		if owner.identity != id {
			return nil, registryTaken(name)
		}
		return g.unstored[folded], nil
	}
	if err := registryCheckScripts(name); err != nil {
		return nil, err
	}
	for _, skeleton := range registrySkeletons(folded) {
		if look, ok := g.looks[skeleton]; ok && look.identity != id {
			return nil, proto.Errorf(proto.NameTaken, "the name %s looks like one that belongs to another identity", name)
		}
	}
	if g.held[id] >= registryNamesPerIdentity {
		return nil, proto.Errorf(proto.NameTaken, "this identity has %d names, which is as many as one may have; give one up with release", registryNamesPerIdentity)
	}
	if len(g.names) >= registryMaxNames {
		return nil, proto.Errorf(proto.Busy, "the relay has %d names, which is as many as it keeps", registryMaxNames)
	}
	g.insert(folded, registryEntry{id, time.Now().Unix()})
	return g.changed(folded), nil
}

// release gives a name up that is the identity's. To release one that is
// nobody's is no error. After another error the name is nobody's until a
// restart, which may find it the identity's again.
func (g *registry) release(name string, id [32]byte) error {
	g.mu.Lock()
	w, err := g.releaseLocked(name, proto.FoldName(name), id)
	g.mu.Unlock()
	return g.wait(w, err)
}

func (g *registry) releaseLocked(name, folded string, id [32]byte) (*registryWrite, error) {
	owner, ok := g.names[folded]
	switch {
	case ok && owner.identity != id:
		return nil, registryTaken(name)
	case ok:
		g.remove(folded, id)
	case !g.doubtful:
		return g.unstored[folded], nil
	}
	return g.changed(folded), nil
}

// changed returns the write that brings a change of now to the disk.
func (g *registry) changed(folded string) *registryWrite {
	if g.next == nil {
		g.next = new(registryWrite)
	}
	g.unstored[folded] = g.next
	return g.next
}

// wait waits until w is done, unless there is an error or nothing to wait for.
// The first that waits for a write carries it out for all.
func (g *registry) wait(w *registryWrite, err error) error {
	if err != nil || w == nil {
		return err
	}
	g.writing.Lock()
	defer g.writing.Unlock()
	if !w.done { // then it is the next
		g.write()
	}
	if w.err != nil {
		// The client is told no more than this; the disk is the operator's business.
		return errors.Join(proto.Errorf(proto.Internal, "the relay cannot store the name"), w.err)
	}
	return nil
}

// write replaces the file by one with the names of now. If that fails, the
// names that were claimed for it are nobody's.
func (g *registry) write() {
	g.mu.Lock()
	w, names := g.next, maps.Clone(g.names)
	g.next = nil
	g.mu.Unlock()
	w.done, w.err = true, replaceStateFile(g.path, registryFile(names))
	g.mu.Lock()
	defer g.mu.Unlock()
	g.doubtful = w.err != nil
	for folded, by := range g.unstored {
		if by != w {
			continue // it has changed since
		}
		delete(g.unstored, folded)
		if e, ok := g.names[folded]; ok && w.err != nil {
			g.remove(folded, e.identity)
		}
	}
}

// registryFile returns the content of a file with these names.
func registryFile(names map[string]registryEntry) []byte {
	var data []byte
	for _, name := range slices.Sorted(maps.Keys(names)) {
		e := names[name]
		l := registryLine{Name: name, Identity: hex.EncodeToString(e.identity[:]), Since: e.since}
		data = append(append(data, canon.MustMarshal(l)...), '\n')
	}
	return data
}
