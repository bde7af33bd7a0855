package history

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
)

// recordKey is a key of the table: a record's id, or a hash for anything else.
type recordKey [16]byte

func parseKey(id string) (key recordKey, ok bool) {
	if len(id) != 2*len(key) {
		return key, false
	}
	_, err := hex.Decode(key[:], []byte(id))
	return key, err == nil
}

// bundleKey finds the line of a bundle.
func bundleKey(hash [sha256.Size]byte) recordKey { return hashKey("bundle", hash[:]) }

// conversationKey finds the line of a conversation; of has our direction.
func conversationKey(of flow) recordKey {
	return hashKey("conversation", of.t3[:], []byte(of.direction))
}

// personKey finds the line of the bundle that a person has proved last.
func personKey(identity [sha256.Size]byte) recordKey { return hashKey("person", identity[:]) }

func hashKey(what string, of ...[]byte) recordKey {
	hash := sha256.Sum256(append([]byte(what), slices.Concat(of...)...))
	return recordKey(hash[:len(recordKey{})])
}

// entry is the value of a key.
type entry struct {
	offset int64 // of the line
	state  entryState
}

type entryState byte

const (
	stateNone   entryState = iota // of an empty slot
	stateStored                   // a record is stored; or a bundle, or a conversation
	stateSeen                     // a record has been shown, and its sender was not accepted
	stateShown                    // a record has been shown
	stateLatest                   // of a person: the highest offset counts
)

// merge returns the entry of a key that is there twice. Entries are idempotent, and their order
// does not matter: a crash in the middle of a flush costs nothing.
func (e entry) merge(other entry) entry {
	switch {
	case e.state == stateNone:
		return other
	case other.state == stateNone:
		return e
	case other.state == stateLatest:
		return entry{max(e.offset, other.offset), stateLatest}
	}
	return entry{min(e.offset, other.offset), max(e.state, other.state)}
}

// table is the file `ids`, a hash table with open addressing: a header, and slots of a key, an
// offset and a state. A slot's home is the first bits of a hash of its key under a random seed, so
// that nobody can choose ids that collide. Nothing is ever taken out.
type table struct {
	file  *os.File // is read
	store Store    // the same, is written
	seed  [tableSeed]byte
	bits  uint64 // there are 1<<bits slots
	count uint64 // of the used slots, or more after a crash

	page  []byte // slots from first on, as they were read
	first uint64
	dirty bool // and changed
}

const (
	tableMagic  = "chatsecure ids 2"
	tableSeed   = 16
	tableHeader = 64 // magic, seed, bits, count, zeros
	slotSize    = int64(len(recordKey{}) + 8 + 8)
	readSlots   = 8       // are read at once: a search ends soon
	writeSlots  = 1 << 10 // are written at once: keys come in the order of their homes
	minBits     = 10      // of the smallest table
	maxBits     = 40      // more cannot be meant
	maxSearch   = 1 << 13 // slots: with a quarter free, far fewer in a row are taken
)

var errTable = errors.New("the index of the history is damaged")

// makeTable makes an empty table in a file.
func makeTable(file *os.File, store Store, seed [tableSeed]byte, bits uint64) (*table, error) {
	t := &table{file: file, store: store, seed: seed, bits: bits}
	if err := store.Truncate(t.size()); err != nil {
		return nil, err
	}
	return t, t.writeHeader()
}

func newSeed() (seed [tableSeed]byte) {
	rand.Read(seed[:])
	return seed
}

// openTable reads the header of a table.
func openTable(file *os.File, store Store) (*table, error) {
	var b [tableHeader]byte
	if _, err := file.ReadAt(b[:], 0); err != nil {
		return nil, err
	}
	rest, isTable := bytes.CutPrefix(b[:], []byte(tableMagic))
	t := &table{
		file: file, store: store, seed: [tableSeed]byte(rest),
		bits:  binary.BigEndian.Uint64(rest[tableSeed:]),
		count: binary.BigEndian.Uint64(rest[tableSeed+8:]),
	}
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !isTable || t.bits < minBits || t.bits > maxBits || info.Size() != t.size() ||
		t.count > t.room() {
		return nil, errTable
	}
	return t, nil
}

// used is 0 for no table.
func (t *table) used() uint64 {
	if t == nil {
		return 0
	}
	return t.count
}

func (t *table) slots() uint64 { return 1 << t.bits }
func (t *table) room() uint64  { return t.slots() / 4 * 3 }
func (t *table) size() int64   { return tableHeader + int64(t.slots())*slotSize }

func (t *table) writeHeader() error {
	b := append(make([]byte, 0, tableHeader), tableMagic...)
	b = append(b, t.seed[:]...)
	b = binary.BigEndian.AppendUint64(b, t.bits)
	b = binary.BigEndian.AppendUint64(b, t.count)
	_, err := t.store.WriteAt(b[:tableHeader], 0)
	return err
}

// home is the slot where the search for a key begins.
func (t *table) home(key recordKey) uint64 {
	var b [tableSeed + len(key)]byte
	copy(b[:], t.seed[:])
	copy(b[tableSeed:], key[:])
	hash := sha256.Sum256(b[:])
	return binary.BigEndian.Uint64(hash[:]) >> (64 - t.bits)
}

func readSlot(b []byte) (key recordKey, e entry, err error) {
	key = recordKey(b)
	state := binary.BigEndian.Uint64(b[len(key)+8:])
	e = entry{int64(binary.BigEndian.Uint64(b[len(key):])), entryState(state)}
	if state > uint64(stateLatest) || e.offset < 0 {
		err = errTable
	}
	return key, e, err
}

func appendSlot(b []byte, key recordKey, e entry) []byte {
	b = binary.BigEndian.AppendUint64(append(b, key[:]...), uint64(e.offset))
	return binary.BigEndian.AppendUint64(b, uint64(e.state))
}

// at returns the bytes of a slot, out of a page of so many slots.
func (t *table) at(slot, slots uint64) ([]byte, error) {
	first := slot - slot%slots
	if len(t.page) != int(slots)*int(slotSize) || first != t.first {
		if err := t.writePage(); err != nil {
			return nil, err
		}
		t.page = slices.Grow(t.page[:0], int(slots)*int(slotSize))[:int(slots)*int(slotSize)]
		if _, err := t.file.ReadAt(t.page, tableHeader+int64(first)*slotSize); err != nil {
			t.page = nil
			return nil, fmt.Errorf("%w: %w", errTable, err)
		}
		t.first = first
	}
	return t.page[int64(slot-first)*slotSize:][:slotSize], nil
}

// writePage writes a page that has changed.
func (t *table) writePage() (err error) {
	if t.dirty {
		_, err = t.store.WriteAt(t.page, tableHeader+int64(t.first)*slotSize)
	}
	t.dirty = false
	return err
}

// get returns the entry of a key, as it is on the disk now.
func (t *table) get(key recordKey) (entry, error) {
	t.page = t.page[:0]
	_, e, err := t.find(key, readSlots)
	return e, err
}

// find returns the entry of a key and its slot. If the key has none, it is the slot where it
// belongs.
func (t *table) find(key recordKey, pageSlots uint64) (slot []byte, e entry, err error) {
	home := t.home(key)
	for i := range min(t.slots(), maxSearch) {
		slot, err = t.at((home+i)%t.slots(), pageSlots)
		if err != nil {
			return nil, entry{}, err
		}
		other, e, err := readSlot(slot)
		if err != nil || e.state == stateNone || other == key {
			return slot, e, err
		}
	}
	return nil, entry{}, errTable
}

// put merges an entry into the table. What it changes is on the disk after sync.
func (t *table) put(key recordKey, e entry) error {
	slot, before, err := t.find(key, writeSlots)
	if err != nil {
		return err
	}
	merged := e.merge(before)
	if merged == before {
		return nil
	}
	if before.state == stateNone {
		t.count++
	}
	appendSlot(slot[:0], key, merged)
	t.dirty = true
	return nil
}

// sync forces the table to the disk.
func (t *table) sync() error {
	err := t.writePage()
	if err == nil {
		err = t.writeHeader()
	}
	if err == nil {
		err = t.store.Sync()
	}
	return err
}

// bitsFor returns the bits of a table in which so many keys leave a quarter free.
func bitsFor(bits, keys uint64) uint64 {
	for keys > (1<<bits)/4*3 {
		bits++
	}
	return bits
}

// growInto copies the table into an empty larger one with the same seed. Both have their slots in
// the order of the hashes, so each page of the larger one is written once or twice.
func (t *table) growInto(to *table) error {
	for slot := range t.slots() {
		b, err := t.at(slot, writeSlots)
		if err != nil {
			return err
		}
		key, e, err := readSlot(b)
		if err == nil && e.state != stateNone {
			err = to.put(key, e)
		}
		if err != nil {
			return err
		}
	}
	return to.sync()
}

// close closes the file.
func (t *table) close() { t.file.Close() }
