package chatsecure

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
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
	// registryMaxFile bounds the file that is read at the start.
	registryMaxFile = 64 << 20
	// registrySpareLines is how many lines that are out of date the file may
	// have, beside as many as there are names, before it is written anew.
	registrySpareLines = 1000
)

// registry is whose a name is: the identity that first took it. Names are
// compared folded, and a new one that looks like somebody else's is refused.
//
// It is kept in a file of canonical JSON lines, one for each change, that is
// only appended to and now and then written anew. A change counts once it is on
// the disk; changes that come together share one wait for it.
type registry struct {
	path string

	mu       sync.Mutex // guards what follows
	file     *os.File
	size     int64 // of the file
	lines    int   // in the file
	names    map[string]registryEntry
	looks    map[string]registryLook // by skeleton
	held     map[[32]byte]int        // names per identity
	appended int64                   // lines ever
	broken   error                   // the file cannot be written any more

	syncMu sync.Mutex // held while waiting for the disk; taken before mu
	synced int64      // guarded by syncMu: up to here it is on the disk
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
	Name     string `json:"name"`               // folded
	Identity string `json:"identity,omitempty"` // hex; none when the name is given up
	Since    int64  `json:"since"`              // Unix seconds
}

func registryTaken(name string) error {
	return proto.Errorf(proto.NameTaken, "the name %s belongs to another identity", name)
}

// openRegistry reads the file at path, or begins one. A last line that a crash
// left incomplete is dropped: whoever it was for has not been told that it
// counts. Any other line that cannot be read is an error.
func openRegistry(path string) (*registry, error) {
	g := &registry{path: path}
	if err := g.load(); err != nil {
		return nil, fmt.Errorf("names: %w", err)
	}
	return g, nil
}

func (g *registry) load() error {
	g.names, g.looks, g.held = make(map[string]registryEntry), make(map[string]registryLook), make(map[[32]byte]int)
	data, err := readStateFile(g.path, registryMaxFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	torn := len(data) > 0 && data[len(data)-1] != '\n'
	for line := range bytes.Lines(data) {
		if line[len(line)-1] != '\n' {
			break
		}
		g.lines++
		var l registryLine
		if err := canon.Unmarshal(line[:len(line)-1], &l); err != nil {
			return fmt.Errorf("%s: line %d is damaged: %w", g.path, g.lines, err)
		}
		if err := g.apply(l); err != nil {
			return fmt.Errorf("%s: line %d is damaged: %w", g.path, g.lines, err)
		}
	}
	if torn || g.lines > 2*len(g.names)+registrySpareLines || len(data) == 0 {
		return g.rewrite()
	}
	return g.openFile()
}

// apply takes one line of the file into the tables.
func (g *registry) apply(l registryLine) error {
	if proto.CheckName(l.Name) != nil || proto.FoldName(l.Name) != l.Name {
		return errors.New("not a folded name")
	}
	if old, ok := g.names[l.Name]; ok {
		g.remove(l.Name, old.identity)
	}
	if l.Identity == "" {
		return nil
	}
	if !isHash(l.Identity) {
		return errors.New("not an identity")
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
	folded := proto.FoldName(name)
	g.mu.Lock()
	line, err := g.claimLocked(name, folded, id)
	g.mu.Unlock()
	if err != nil {
		return err
	}
	return g.sync(line)
}

// claimLocked returns the line up to which the disk must have the file.
func (g *registry) claimLocked(name, folded string, id [32]byte) (int64, error) {
	if owner, ok := g.names[folded]; ok {
		if owner.identity != id {
			return 0, registryTaken(name)
		}
		// It may have been taken a moment ago and not be on the disk yet.
		return g.appended, nil
	}
	if err := registryCheckScripts(name); err != nil {
		return 0, err
	}
	for _, skeleton := range registrySkeletons(folded) {
		if look, ok := g.looks[skeleton]; ok && look.identity != id {
			return 0, proto.Errorf(proto.NameTaken, "the name %s looks like one that belongs to another identity", name)
		}
	}
	if g.held[id] >= registryNamesPerIdentity {
		return 0, proto.Errorf(proto.NameTaken, "this identity has %d names, which is as many as one may have; give one up with release", registryNamesPerIdentity)
	}
	if len(g.names) >= registryMaxNames {
		return 0, proto.Errorf(proto.Busy, "the relay has %d names, which is as many as it keeps", registryMaxNames)
	}
	e := registryEntry{id, time.Now().Unix()}
	if err := g.append(registryLine{Name: folded, Identity: hex.EncodeToString(id[:]), Since: e.since}); err != nil {
		return 0, err
	}
	g.insert(folded, e)
	return g.appended, nil
}

// release gives a name up that is the identity's. To release one that is
// nobody's is no error.
func (g *registry) release(name string, id [32]byte) error {
	folded := proto.FoldName(name)
	g.mu.Lock()
	line, err := g.releaseLocked(name, folded, id)
	g.mu.Unlock()
	if err != nil {
		return err
	}
	return g.sync(line)
}

func (g *registry) releaseLocked(name, folded string, id [32]byte) (int64, error) {
	owner, ok := g.names[folded]
	if !ok {
		return g.appended, nil
	}
	if owner.identity != id {
		return 0, registryTaken(name)
	}
	if err := g.append(registryLine{Name: folded, Since: time.Now().Unix()}); err != nil {
		return 0, err
	}
	g.remove(folded, id)
	return g.appended, nil
}

// append adds a line to the file, whole or not at all.
func (g *registry) append(l registryLine) error {
	if g.broken != nil {
		return g.unwritable(g.broken)
	}
	if g.lines >= 2*len(g.names)+registrySpareLines {
		// What fails here, on a full disk, is tried again at the next change:
		// the file that is there has all names.
		if err := g.rewrite(); err != nil {
			return g.unwritable(err)
		}
	}
	line := append(canon.MustMarshal(l), '\n')
	n, err := g.file.Write(line)
	if err != nil {
		if n > 0 {
			if cut := g.file.Truncate(g.size); cut != nil {
				g.broken = cut
			}
		}
		return g.unwritable(err)
	}
	g.size += int64(n)
	g.lines++
	g.appended++
	return nil
}

// unwritable is what a client is told; the disk is the operator's business.
func (g *registry) unwritable(err error) error {
	return errors.Join(proto.Errorf(proto.Internal, "the relay cannot store the name"), err)
}

// sync waits until line and what came before it is on the disk. Whoever waits
// meanwhile is served by the same wait.
func (g *registry) sync(line int64) error {
	g.syncMu.Lock()
	defer g.syncMu.Unlock()
	if g.synced >= line {
		return nil
	}
	g.mu.Lock()
	appended, file, broken := g.appended, g.file, g.broken
	g.mu.Unlock()
	if broken != nil {
		return g.unwritable(broken)
	}
	err := syncFile(file)
	if err != nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		// A file that was written anew meanwhile is on the disk with all that
		// was appended to this one. Else nobody knows what is.
		if g.file == file {
			g.broken = err
			return g.unwritable(err)
		}
	}
	g.synced = appended
	return nil
}

// rewrite replaces the file by one with a line for each name.
func (g *registry) rewrite() error {
	var data []byte
	lines := make([]registryLine, 0, len(g.names))
	for name, e := range g.names {
		lines = append(lines, registryLine{Name: name, Identity: hex.EncodeToString(e.identity[:]), Since: e.since})
	}
	slices.SortFunc(lines, func(a, b registryLine) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	for _, l := range lines {
		data = append(append(data, canon.MustMarshal(l)...), '\n')
	}
	if err := replaceStateFile(g.path, data); err != nil {
		return err
	}
	// Until the new file is open, what is appended would go to one that has no
	// name any more: g.lines stays, and the next change comes here first.
	if err := g.openFile(); err != nil {
		return err
	}
	g.lines = len(lines)
	return nil
}

// openFile opens the file to append to it.
func (g *registry) openFile() error {
	f, err := os.OpenFile(g.path, os.O_WRONLY|os.O_APPEND, stateFileMode)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	if g.file != nil {
		g.file.Close()
	}
	g.file, g.size = f, info.Size()
	return nil
}

func (g *registry) close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.file == nil {
		return nil
	}
	err := g.file.Close()
	g.file = nil
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(g.path), err)
	}
	return nil
}
