package relay

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"chatsecure/internal/fail"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

const (
	// maxNames bounds the names, and so their memory to some 20 MB: a relay is for
	// an organisation, not for a country.
	maxNames = 100_000
	// NamesPerIdentity bounds the names of one person: enough for roles and
	// machines, too few to take a dictionary.
	NamesPerIdentity = 64
	// maxNamesFile bounds the file in bytes: no line of it is longer than 256.
	maxNamesFile = maxNames * 256
	// failuresEvery paces failed writes in the log, which may lie on the same disk.
	failuresEvery = time.Minute
)

// registry holds the owner of each name: the first identity to take it. Names are
// compared folded. A new name that looks like another person's is refused.
//
// The registry is a file of canonical JSON lines, one for each name. A change
// replaces the file, and counts once the new file is on the disk. Changes during
// one write share the next. A claim of a stored name never waits.
type registry struct {
	path string
	log  *slog.Logger

	writing sync.Mutex // held while the file is replaced; taken before mu
	logged  time.Time  // the last failed write in the log; guarded by writing

	mu       sync.Mutex // guards the fields below; not held while the disk works
	names    map[string]owner
	looks    map[string]look   // by shape
	held     map[[32]byte]int  // names per identity
	unstored map[string]*write // the write of each name whose change is not on the disk
	next     *write            // of the changes since the last write began; nil for none
	doubtful bool              // the last write failed, so the disk may lack a release
}

// write is one replacement of the file. Its fields are guarded by writing.
type write struct {
	done bool
	err  error
}

type owner struct {
	identity [32]byte
	since    int64
}

// look is the owner of the names with one shape, and their number.
type look struct {
	identity [32]byte
	names    int
}

// record is one line of the file.
type record struct {
	Name     string `json:"name"`     // folded
	Identity string `json:"identity"` // hex
	Since    int64  `json:"since"`    // Unix seconds
}

func taken(name string) error {
	return proto.Errorf(proto.NameTaken, "the name %s belongs to another identity", name)
}

// namesFile is the registry's file in a state directory.
const namesFile = "names"

// openRegistry reads the file at path, if it exists. A line that this program
// cannot have written is an error. A failed write is logged.
func openRegistry(path string, log *slog.Logger) (*registry, error) {
	g := &registry{
		path: path, log: log, names: make(map[string]owner), looks: make(map[string]look),
		held: make(map[[32]byte]int), unstored: make(map[string]*write),
	}
	if err := g.load(); err != nil {
		return nil, fmt.Errorf("names: %w", err)
	}
	return g, nil
}

func (g *registry) load() error {
	data, err := state.ReadFile(g.path, maxNamesFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	n := 0
	for line := range bytes.Lines(data) {
		n++
		if err := g.readLine(line); err != nil {
			return &fail.Error{
				Code: proto.Internal, Message: proto.Visible(fmt.Sprintf("%s: line %d is damaged: %v", g.path, n, err)), Err: err,
				Hint: "put the file back from a backup; without it every name goes to the first person to ask",
			}
		}
	}
	// Before a crash, the file may have been replaced without its directory being
	// forced to the disk.
	return state.SyncDir(filepath.Dir(g.path))
}

// readLine takes one line of the file into the tables.
func (g *registry) readLine(line []byte) error {
	text, ok := bytes.CutSuffix(line, []byte("\n"))
	if !ok {
		return errors.New("it has no end")
	}
	var l record
	if err := proto.Unmarshal(text, &l); err != nil {
		return err
	}
	if proto.CheckName(l.Name) != nil || proto.FoldName(l.Name) != l.Name {
		return errors.New("not a folded name")
	}
	if !proto.IsHex(l.Identity, 32) {
		return errors.New("not an identity")
	}
	if _, ok := g.names[l.Name]; ok {
		return errors.New("the name has a line already")
	}
	g.insert(l.Name, owner{proto.MustHash(l.Identity), l.Since})
	return nil
}

func (g *registry) insert(folded string, o owner) {
	g.names[folded] = o
	g.held[o.identity]++
	for _, shape := range proto.Shapes(folded) {
		g.looks[shape] = look{o.identity, g.looks[shape].names + 1}
	}
}

func (g *registry) remove(folded string, id [32]byte) {
	delete(g.names, folded)
	if g.held[id]--; g.held[id] == 0 {
		delete(g.held, id)
	}
	for _, shape := range proto.Shapes(folded) {
		look := g.looks[shape]
		if look.names--; look.names == 0 {
			delete(g.looks, shape)
		} else {
			g.looks[shape] = look
		}
	}
}

// claim succeeds if the name is the identity's, or takes it if it is nobody's. On
// success the name is on the disk.
func (g *registry) claim(name string, id [32]byte) error {
	g.mu.Lock()
	w, err := g.claimLocked(name, proto.FoldName(name), id)
	g.mu.Unlock()
	return g.wait(w, err)
}

// claimLocked returns the write that stores the claim, nil if it is stored already.
func (g *registry) claimLocked(name, folded string, id [32]byte) (*write, error) {
	if o, ok := g.names[folded]; ok {
		if o.identity != id {
			return nil, taken(name)
		}
		return g.unstored[folded], nil
	}
	for _, shape := range proto.Shapes(folded) {
		if look, ok := g.looks[shape]; ok && look.identity != id {
			return nil, proto.Errorf(proto.NameTaken, "the name %s looks like one that belongs to another identity", name)
		}
	}
	if g.held[id] >= NamesPerIdentity {
		return nil, proto.Errorf(proto.NameTaken,
			"this identity has %d names, which is as many as one may have; give one up with release", NamesPerIdentity)
	}
	if len(g.names) >= maxNames {
		return nil, proto.Errorf(proto.Busy, "the relay has %d names, which is as many as it keeps", maxNames)
	}
	g.insert(folded, owner{id, time.Now().Unix()})
	return g.changed(folded), nil
}

// release gives up a name of the identity's. The release of nobody's name is no
// error. After a failed write the name is nobody's, but a restart may find it the
// identity's again.
func (g *registry) release(name string, id [32]byte) error {
	g.mu.Lock()
	w, err := g.releaseLocked(name, proto.FoldName(name), id)
	g.mu.Unlock()
	return g.wait(w, err)
}

func (g *registry) releaseLocked(name, folded string, id [32]byte) (*write, error) {
	o, ok := g.names[folded]
	switch {
	case ok && o.identity != id:
		return nil, taken(name)
	case ok:
		g.remove(folded, id)
	case !g.doubtful:
		return g.unstored[folded], nil
	}
	return g.changed(folded), nil
}

// owner returns the identity that has a name.
func (g *registry) owner(folded string) (identity [32]byte, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	o, ok := g.names[folded]
	return o.identity, ok
}

// size returns the number of names.
func (g *registry) size() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.names)
}

// changed returns the write that will store the change just made.
func (g *registry) changed(folded string) *write {
	if g.next == nil {
		g.next = new(write)
	}
	g.unstored[folded] = g.next
	return g.next
}

// wait waits until w is done, unless there is an error or no write. The first
// waiter carries the write out for all.
func (g *registry) wait(w *write, err error) error {
	if err != nil || w == nil {
		return err
	}
	g.writing.Lock()
	defer g.writing.Unlock()
	if !w.done { // then it is the next
		g.write()
	}
	if w.err != nil { // which the log tells the operator
		return proto.Errorf(proto.Internal, "the relay cannot store the name")
	}
	return nil
}

// write replaces the file by one with the current names. If that fails, the names
// claimed for it become nobody's.
func (g *registry) write() {
	g.mu.Lock()
	w, names := g.next, maps.Clone(g.names)
	g.next = nil
	g.mu.Unlock()
	w.done, w.err = true, state.ReplaceFile(g.path, encode(names))
	if w.err != nil && time.Since(g.logged) > failuresEvery {
		g.logged = time.Now()
		g.log.Error("the names cannot be stored", "error", w.err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.doubtful = w.err != nil
	for folded, by := range g.unstored {
		if by != w {
			continue // a later change is not stored yet
		}
		delete(g.unstored, folded)
		if o, ok := g.names[folded]; ok && w.err != nil {
			g.remove(folded, o.identity)
		}
	}
}

// encode returns the content of a file with these names. A new name has the lines of all
// written, so they are put together by hand: JSON escapes no character of a name.
func encode(names map[string]owner) []byte {
	data := make([]byte, 0, 160*len(names))
	for _, name := range slices.Sorted(maps.Keys(names)) {
		o := names[name]
		data = append(append(append(data, `{"name":"`...), name...), `","identity":"`...)
		data = append(hex.AppendEncode(data, o.identity[:]), `","since":`...)
		data = append(strconv.AppendInt(data, o.since, 10), "}\n"...)
	}
	return data
}
