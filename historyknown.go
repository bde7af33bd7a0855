package chatsecure

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"chatsecure/crypto"
)

// KnownLevel is how far a record that comes again has got here before.
type KnownLevel int

const (
	KnownNot    KnownLevel = iota // it was never stored
	KnownStored                   // stored: DELIVERED
	KnownShown                    // and shown: READ
)

// Stored is a record that was received before this start and is not marked
// shown. It may have been shown, if the client was killed between the two.
type Stored struct {
	Conversation [32]byte // with Seq what Shown takes
	Seq          uint64
	From         crypto.End
	Identity     [32]byte  // of the sender, as it was proved when the conversation began
	Sent         time.Time // the record's own time
	Record       *crypto.Record
}

// recordKey is a record's id.
type recordKey [16]byte

// place is where a record was received.
type place struct {
	conv uint32 // index into historyIndex.convs
	seq  uint64
}

// indexedConv is one conversation of the index, as it was received.
type indexedConv struct {
	flow    flow        // of what was received
	peer    *historyEnd // nil until its line has been read
	shown   uint64      // records up to here
	waiting []storedLine
}

// storedLine is where a received line stands that may have records which are
// not marked shown.
type storedLine struct {
	slot   string
	offset int64
	last   uint64 // seq of its last record
}

// historyIndex knows every record that was received, in this slot's file and
// in those that no process holds: 16 bytes of id and a place each. The History
// owns it.
type historyIndex struct {
	convs []indexedConv
	flows map[flow]uint32     // to convs
	from  map[[32]byte]string // conversation to the direction that Shown means
	ids   map[recordKey]place
	more  map[recordKey][]place   // of records that were received again
	tails map[string]*historyTail // of the other slots: read up to here

	since  int64              // milliseconds: see Connected; 0: not yet
	theirs map[recordKey]bool // received since in other slots, and not in this one
}

func newHistoryIndex() *historyIndex {
	return &historyIndex{
		flows: make(map[flow]uint32),
		from:  make(map[[32]byte]string),
		ids:   make(map[recordKey]place),
		more:  make(map[recordKey][]place),
		tails: make(map[string]*historyTail),

		theirs: make(map[recordKey]bool),
	}
}

func (x *historyIndex) conv(of flow) uint32 {
	i, ok := x.flows[of]
	if !ok {
		i = uint32(len(x.convs))
		x.convs = append(x.convs, indexedConv{flow: of})
		x.flows[of] = i
	}
	return i
}

func (x *historyIndex) began(of flow, peer historyEnd) {
	x.convs[x.conv(of)].peer = &peer
	if _, ok := x.from[of.t3]; !ok {
		x.from[of.t3] = of.direction // the own file is read first
	}
}

func (x *historyIndex) shown(of flow, seq uint64) {
	c := &x.convs[x.conv(of)]
	c.shown = max(c.shown, seq)
	c.waiting = slices.DeleteFunc(c.waiting, func(l storedLine) bool { return l.last <= c.shown })
}

func (x *historyIndex) stored(id string, of flow, seq uint64, theirs bool) {
	var key recordKey
	if len(id) != 2*len(key) {
		return
	}
	if _, err := hex.Decode(key[:], []byte(id)); err != nil {
		return
	}
	p := place{x.conv(of), seq}
	before, ok := x.ids[key]
	switch {
	case !theirs:
		delete(x.theirs, key)
	case !ok:
		x.theirs[key] = true
	}
	if !ok {
		x.ids[key] = p
	} else if before != p && !slices.Contains(x.more[key], p) {
		x.more[key] = append(x.more[key], p)
	}
}

func (x *historyIndex) level(key recordKey) KnownLevel {
	p, ok := x.ids[key]
	if !ok || x.theirs[key] {
		return KnownNot
	}
	if p.seq <= x.convs[p.conv].shown {
		return KnownShown
	}
	for _, p := range x.more[key] {
		if p.seq <= x.convs[p.conv].shown {
			return KnownShown
		}
	}
	return KnownStored
}

// Connected tells since when the client has its connection to the relay, by
// the clock of the lines. A message goes to every connection that takes
// messages: what another slot received from then on is sent to this one for
// itself, and is known once this one has it. What was received there before may
// only come here because it is sent again.
func (h *History) Connected(since time.Time) {
	if h.known != nil {
		h.known.since = since.UnixMilli()
		clear(h.known.theirs)
	}
}

// Known tells how far a record with this id has got: in this slot's history,
// or, before Connected, in one that no process held when RefreshKnown last
// looked. A one-shot sender knows none.
func (h *History) Known(id string) KnownLevel {
	var key recordKey
	if h.known == nil || len(id) != 2*len(key) {
		return KnownNot
	}
	if _, err := hex.Decode(key[:], []byte(id)); err != nil {
		return KnownNot
	}
	return h.known.level(key)
}

// RefreshKnown reads what other slots' files have more than before, of those
// that no process holds: their records may be sent again to this client. It is
// called at each new conversation, and when a record older than it comes.
func (h *History) RefreshKnown() error {
	if h.known == nil {
		return nil
	}
	slots, err := historySlots(h.dir)
	if err != nil {
		return plainHistoryError(h.dir, err)
	}
	slots = slices.DeleteFunc(slots, func(slot string) bool { return slot == h.slot || slot[0] == 's' })
	held, err := heldSlots(h.dir, slots)
	if err != nil {
		return plainHistoryError(h.dir, err)
	}
	for _, slot := range slots {
		if held[slot] {
			continue
		}
		if err := h.known.readSlot(h.dir, slot, h.known.line); err != nil {
			return plainHistoryError(h.dir, err)
		}
	}
	return nil
}

// readSlot reads what is new in another slot's file, as far as it is lines at
// all: also after a damage, what was received is known.
func (x *historyIndex) readSlot(dir, slot string, index indexFunc) error {
	f, err := openHistoryPath(filepath.Join(dir, slot+historyExt), os.O_RDONLY)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	tail := x.tails[slot]
	if tail == nil {
		tail = new(historyTail)
		x.tails[slot] = tail
	}
	_, err = tail.scan(f, func(*historyDamage) {}, func(line []byte, offset int64) error { return index(slot, line, offset) })
	if _, ok := errors.AsType[*historyDamage](err); ok {
		return nil
	}
	return err
}

// line takes in one line. Only what the index needs of it is looked at, by the
// one form in which lines are written: a start must not decode years of talk.
// Bytes such as `{"id":"` cannot stand inside a JSON string, whose quotes are
// escaped.
func (x *historyIndex) line(slot string, line []byte, offset int64) error {
	typ, rest, ok := peekType(line)
	if !ok {
		return nil
	}
	switch string(typ) {
	case lineConversation:
		if l, err := parseHistoryLine(line); err == nil {
			x.began(flow{[32]byte(l.Conversation), reverse(l.Direction)}, *l.Peer)
		}
	case lineShown:
		of, rest, ok := peekFlow(rest, `,"conversation":"`)
		if !ok {
			return nil
		}
		digits, ok := bytes.CutPrefix(rest, []byte(`,"seq":`))
		if seq, err := strconv.ParseUint(string(bytes.TrimSuffix(digits, []byte("}"))), 10, 64); ok && err == nil {
			x.shown(of, seq)
		}
	case lineReceived:
		if of, rest, ok := peekFlow(rest, `,"header":{"conversation":"`); ok {
			x.receivedLine(slot, offset, of, rest, x.since != 0 && peekTime(line) >= x.since)
		}
	}
	return nil
}

// receivedLine takes in the records of a received line; theirs if this client
// gets them for itself.
func (x *historyIndex) receivedLine(slot string, offset int64, of flow, rest []byte, theirs bool) {
	const recordStart, idLen = `{"id":"`, 2 * len(recordKey{})
	var last uint64
	for {
		i := bytes.Index(rest, []byte(recordStart))
		if i < 0 || len(rest) < i+len(recordStart)+idLen {
			break
		}
		rest = rest[i+len(recordStart):]
		id := string(rest[:idLen])
		digits, ok := bytes.CutPrefix(rest[idLen:], []byte(`","seq":`))
		if !ok {
			continue
		}
		n := 0
		for n < len(digits) && '0' <= digits[n] && digits[n] <= '9' {
			n++
		}
		seq, err := strconv.ParseUint(string(digits[:n]), 10, 64)
		if err != nil {
			continue
		}
		x.stored(id, of, seq, theirs)
		last = seq
	}
	if c := &x.convs[x.conv(of)]; last > c.shown {
		c.waiting = append(c.waiting, storedLine{slot, offset, last})
	}
}

// Unshown returns the records that were received before this start and are not
// marked shown, oldest first: those of this slot's file, and of those that no
// process holds. Shown marks them, in this slot's file. The second call
// returns nothing.
func (h *History) Unshown() []Stored {
	found := h.unshown
	h.unshown = nil
	return found
}

// findUnshown reads what Unshown returns. A line that cannot be read stands in
// a file that was changed; it is said, and shown to nobody.
func (h *History) findUnshown() (found []Stored, notices []string, err error) {
	// A client that still runs may have shown what another left behind.
	if err := h.readShown(); err != nil {
		return nil, nil, err
	}
	seen := make(map[recordKey]bool)
	for i := range h.known.convs {
		c := &h.known.convs[i]
		if c.peer == nil {
			continue
		}
		for _, at := range c.waiting {
			records, err := h.readStored(c, at)
			if err != nil {
				notices = append(notices, fmt.Sprintf("messages in the history that were not shown yet cannot be read: %v", err))
			}
			for _, s := range records {
				var key recordKey
				hex.Decode(key[:], []byte(s.Record.ID))
				if s.Seq > c.shown && !seen[key] && h.known.level(key) == KnownStored {
					seen[key] = true
					h.known.from[c.flow.t3] = c.flow.direction
					found = append(found, s)
				}
			}
		}
		c.waiting = nil
	}
	slices.SortStableFunc(found, func(a, b Stored) int { return cmp.Compare(a.Sent.UnixMilli(), b.Sent.UnixMilli()) })
	return found, notices, nil
}

// readShown takes in the shown lines of every other receiver's file.
func (h *History) readShown() error {
	slots, err := historySlots(h.dir)
	if err != nil {
		return err
	}
	other := newHistoryIndex()
	for _, slot := range slots {
		if slot == h.slot || slot[0] == 's' {
			continue
		}
		err := other.readSlot(h.dir, slot, func(slot string, line []byte, offset int64) error {
			if typ, _, ok := peekType(line); ok && string(typ) == lineShown {
				return other.line(slot, line, offset)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, c := range other.convs {
		if _, ok := h.known.flows[c.flow]; ok {
			h.known.shown(c.flow, c.shown)
		}
	}
	return nil
}

// readStored reads one received line again.
func (h *History) readStored(c *indexedConv, at storedLine) ([]Stored, error) {
	f, err := openHistoryPath(filepath.Join(h.dir, at.slot+historyExt), os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, maxHistoryLine+1)
	n, _ := f.ReadAt(b, at.offset) // a short read is what the end of the file gives
	end := bytes.IndexByte(b[:n], '\n')
	if end < 0 {
		return nil, fmt.Errorf("%s changed while it was read", f.Name())
	}
	l, err := parseHistoryLine(b[:end])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	var found []Stored
	for _, exact := range l.Records {
		r, err := crypto.ParseRecord(exact, c.peer.identity())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
		found = append(found, Stored{
			Conversation: c.flow.t3, Seq: r.Seq, From: crypto.End{Name: c.peer.Name, Conn: c.peer.Conn},
			Identity: c.peer.identity(), Sent: time.UnixMilli(r.Time), Record: r,
		})
	}
	return found, nil
}

// peekTime returns when a line was written, in milliseconds.
func peekTime(line []byte) int64 {
	const skip = len(historyPrevStart) + 2*sha256.Size + len(`","time":`)
	if len(line) < skip {
		return 0
	}
	digits, _, _ := bytes.Cut(line[skip:], []byte(","))
	ms, _ := strconv.ParseInt(string(digits), 10, 64)
	return ms
}

// peekType returns a line's type, and what follows it.
func peekType(line []byte) (typ, rest []byte, ok bool) {
	const skip = len(historyPrevStart) + 2*sha256.Size
	if len(line) < skip {
		return nil, nil, false
	}
	_, rest, ok = bytes.Cut(line[skip:], []byte(`,"type":"`))
	if !ok {
		return nil, nil, false
	}
	return cutQuote(rest)
}

func cutQuote(b []byte) (value, rest []byte, ok bool) { return bytes.Cut(b, []byte(`"`)) }

// peekFlow reads a conversation and the direction after it.
func peekFlow(b []byte, start string) (of flow, rest []byte, ok bool) {
	b, ok = bytes.CutPrefix(b, []byte(start))
	if !ok {
		return flow{}, nil, false
	}
	of.t3, b, ok = peekHash(b)
	if !ok {
		return flow{}, nil, false
	}
	b, ok = bytes.CutPrefix(b, []byte(`,"direction":"`))
	if !ok {
		return flow{}, nil, false
	}
	direction, rest, ok := cutQuote(b)
	of.direction = string(direction)
	return of, rest, ok && (of.direction == crypto.DirectionAB || of.direction == crypto.DirectionBA)
}

// peekHash decodes 32 bytes of base64 before a quote.
func peekHash(b []byte) (hash [sha256.Size]byte, rest []byte, ok bool) {
	value, rest, ok := cutQuote(b)
	var out [sha256.Size + 1]byte // base64 is decoded in threes
	if !ok || len(value) != base64.StdEncoding.EncodedLen(sha256.Size) {
		return hash, nil, false
	}
	n, err := base64.StdEncoding.Strict().Decode(out[:], value)
	return [sha256.Size]byte(out[:sha256.Size]), rest, err == nil && n == sha256.Size
}

// peekBundle returns the hash of a bundle line.
func peekBundle(line []byte) (hash [sha256.Size]byte, ok bool) {
	typ, rest, ok := peekType(line)
	if !ok || string(typ) != lineBundle {
		return hash, false
	}
	rest, ok = bytes.CutPrefix(rest, []byte(`,"hash":"`))
	if !ok {
		return hash, false
	}
	hash, _, ok = peekHash(rest)
	return hash, ok
}
