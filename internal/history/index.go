package history

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// KnownLevel is the progress of a record that comes again.
type KnownLevel int

const (
	KnownNot    KnownLevel = iota // never stored
	KnownStored                   // stored: DELIVERED
	KnownShown                    // and shown: READ
)

// recordKey is a record's id.
type recordKey [16]byte

func parseKey(id string) (key recordKey, ok bool) {
	if len(id) != 2*len(key) {
		return key, false
	}
	_, err := hex.Decode(key[:], []byte(id))
	return key, err == nil
}

// place is where a record was received.
type place struct {
	conv uint32 // index into index.convs
	seq  uint64
}

// indexedConv is the received part of one conversation.
type indexedConv struct {
	flow    flow   // of the received part
	peer    *End   // nil until its line has been read
	began   int64  // Unix milliseconds
	shown   uint64 // records up to here
	seen    uint64
	waiting []storedLine
}

// storedLine is a received line that may have records which are not marked shown.
type storedLine struct {
	slot   string
	offset int64
	last   uint64 // seq of its last record
}

// index knows every received record of this slot's file and of those that no process
// holds: 16 bytes of id and a place each. The History owns it.
type index struct {
	convs []indexedConv
	flows map[flow]uint32     // to convs
	from  map[[32]byte]string // by conversation: the direction that Shown means
	ids   map[recordKey]place
	more  map[recordKey][]place // of records that were received again
	ends  map[string]*position  // of the other slots: read up to here
	doubt int64                 // records until this time may have been shown without a mark
	open  map[string]int64      // the same of slots whose last run has not ended

	since  int64              // Unix milliseconds, see Connected; 0: not connected yet
	theirs map[recordKey]bool // received since then in other slots, and not in this one

	accounts accounts
}

func newIndex() *index {
	return &index{
		flows:  make(map[flow]uint32),
		from:   make(map[[32]byte]string),
		ids:    make(map[recordKey]place),
		more:   make(map[recordKey][]place),
		ends:   make(map[string]*position),
		open:   make(map[string]int64),
		theirs: make(map[recordKey]bool),

		accounts: newAccounts(),
	}
}

func (x *index) conv(of flow) uint32 {
	i, ok := x.flows[of]
	if !ok {
		i = uint32(len(x.convs))
		x.convs = append(x.convs, indexedConv{flow: of})
		x.flows[of] = i
	}
	return i
}

func (x *index) began(of flow, peer End, at int64) {
	c := &x.convs[x.conv(of)]
	c.peer, c.began = &peer, at
	if _, ok := x.from[of.t3]; !ok {
		x.from[of.t3] = of.direction // the own file is read first
	}
}

// mark takes in that records up to seq are shown, or only seen.
func (x *index) mark(typ string, of flow, seq uint64) {
	c := &x.convs[x.conv(of)]
	if typ == lineSeen {
		c.seen = max(c.seen, seq)
		return
	}
	if seq > c.shown && c.peer != nil {
		x.accounts.read(c.peer.identity())
	}
	c.shown = max(c.shown, seq)
	c.waiting = slices.DeleteFunc(c.waiting, func(l storedLine) bool { return l.last <= c.shown })
}

func (x *index) stored(id string, of flow, seq uint64, theirs bool) {
	key, ok := parseKey(id)
	if !ok {
		return
	}
	p := place{x.conv(of), seq}
	before, known := x.ids[key]
	switch {
	case !theirs:
		delete(x.theirs, key)
	case !known:
		x.theirs[key] = true
	}
	if !known {
		x.ids[key] = p
	} else if before != p && !slices.Contains(x.more[key], p) {
		x.more[key] = append(x.more[key], p)
	}
}

// peer returns the other side of a conversation, or nil if it is not known.
func (x *index) peer(of flow) *End {
	if i, ok := x.flows[of]; ok {
		return x.convs[i].peer
	}
	return nil
}

func (x *index) has(key recordKey) bool { _, ok := x.ids[key]; return ok }

func (x *index) level(key recordKey) KnownLevel {
	p, ok := x.ids[key]
	if !ok || x.theirs[key] {
		return KnownNot
	}
	shown := func(p place) bool { return p.seq <= x.convs[p.conv].shown }
	if shown(p) || slices.ContainsFunc(x.more[key], shown) {
		return KnownShown
	}
	return KnownStored
}

// doubtful tells whether records of a conversation may have been shown without a mark.
func (x *index) doubtful(c *indexedConv) bool {
	for _, at := range x.open {
		if c.began <= at {
			return true
		}
	}
	return c.began <= x.doubt
}

// Again tells whether a record that is only stored has been seen, or may have been shown.
func (h *History) Again(id string) bool {
	key, _ := parseKey(id)
	again := func(p place) bool {
		c := &h.known.convs[p.conv]
		return p.seq <= c.seen || h.known.doubtful(c)
	}
	p, ok := h.known.ids[key]
	return ok && (again(p) || slices.ContainsFunc(h.known.more[key], again))
}

// Connected says since when the client has its connection to the relay, by the clock
// of the lines. The relay sends a message to every connection that takes messages.
// So a message that another slot receives from then on comes here for itself, and is
// known only once this slot has it. One that another slot received earlier can only
// come here because it is sent again.
func (h *History) Connected(since time.Time) {
	if h.receiving {
		h.known.since = since.UnixMilli()
		clear(h.known.theirs)
	}
}

// Known returns the progress of the record with this id: in this slot's history, or,
// if it came before Connected, in one that no process held at the last RefreshKnown.
// A one-shot sender knows no record.
func (h *History) Known(id string) KnownLevel {
	key, ok := parseKey(id)
	if !h.receiving || !ok {
		return KnownNot
	}
	return h.known.level(key)
}

// RefreshKnown reads the new lines of other slots that no process holds: their
// records may be sent again to this client. A client calls it at each new
// conversation, and when a record arrives that is older than the conversation.
func (h *History) RefreshKnown() error {
	if !h.receiving {
		return nil
	}
	slots, err := h.otherReceivers()
	if err != nil {
		return openFailure(h.dir, err)
	}
	held, err := heldSlots(h.dir, slots)
	if err != nil {
		return openFailure(h.dir, err)
	}
	for _, slot := range slots {
		if held[slot] {
			continue
		}
		if err := h.known.readSlot(h.dir, slot, h.known.line); err != nil {
			return openFailure(h.dir, err)
		}
	}
	return nil
}

// otherReceivers returns the other slots of clients that take messages.
func (h *History) otherReceivers() ([]string, error) {
	slots, err := listSlots(h.dir)
	return slices.DeleteFunc(slots, func(slot string) bool { return slot == h.slot || slot[0] == 's' }), err
}

// lineFunc takes in a line of a slot's file, without its newline. The line is only
// valid in the call.
type lineFunc func(slot string, line []byte, offset int64)

// readSlot reads the new lines of another slot's file. It reads on after a damage: a
// received record is known all the same.
func (x *index) readSlot(dir, slot string, each lineFunc) error {
	f, err := openFile(filepath.Join(dir, slot+Ext), os.O_RDONLY)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	end := x.ends[slot]
	if end == nil {
		end = new(position)
		x.ends[slot] = end
	}
	_, err = end.scan(f, func(*damageError) {}, func(line []byte, offset int64) error {
		each(slot, line, offset)
		return nil
	})
	if _, ok := errors.AsType[*damageError](err); ok {
		return nil
	}
	return err
}

// line takes in one line. It looks only at the parts that the index needs.
func (x *index) line(slot string, line []byte, offset int64) {
	typ, rest, ok := peekType(line)
	if !ok {
		return
	}
	x.open[slot] = peekTime(line)
	var of flow
	records, size := len(x.ids), int64(len(line))
	switch string(typ) {
	case lineBundle:
		if hash, ok := peekBundle(line); ok {
			x.accounts.bundles[hash] = size
		}
		return
	case lineConversation:
		if l, err := parseLine(line); err == nil {
			of = flow{[32]byte(l.Conversation), reverse(l.Direction)}
			x.began(of, *l.Peer, l.Time)
			hash := [sha256.Size]byte(l.Peer.Bundle)
			size += x.accounts.bundles[hash]
			delete(x.accounts.bundles, hash)
		}
	case lineRun:
		if reason := peekReason(rest); reason != runBegins {
			delete(x.open, slot)
			if reason != runEnded {
				x.doubt = max(x.doubt, peekTime(line))
			}
		}
		return
	case lineShown, lineSeen:
		if of, rest, ok := peekFlow(rest, `,"conversation":"`); ok {
			x.shownLine(string(typ), of, rest)
		}
		return
	case lineSent:
		if of, _, ok := peekFlow(rest, `,"header":{"conversation":"`); ok {
			if peer := x.peer(flow{of.t3, reverse(of.direction)}); peer != nil {
				x.accounts.answered(peer.identity())
			}
		}
		return
	case lineReceived:
		if of, rest, ok = peekFlow(rest, `,"header":{"conversation":"`); ok {
			x.receivedLine(slot, offset, of, rest, x.since != 0 && peekTime(line) >= x.since)
		}
	case lineGap:
		rest, _ = bytes.CutPrefix(rest, []byte(`,"conversation":"`))
		t3, _, _ := peekHash(rest)
		of = flow{t3, x.from[t3]}
	default:
		of, _, _ = peekFlow(rest, `,"header":{"conversation":"`)
	}
	if peer := x.peer(of); peer != nil {
		x.accounts.charge(cause{peer.identity(), len(x.ids) - records}, peekTime(line), size)
	}
}

// shownLine takes in the number of a shown line.
func (x *index) shownLine(typ string, of flow, rest []byte) {
	digits, ok := bytes.CutPrefix(rest, []byte(`,"seq":`))
	if seq, err := strconv.ParseUint(string(bytes.TrimSuffix(digits, []byte("}"))), 10, 64); ok && err == nil {
		x.mark(typ, of, seq)
	}
}

// receivedLine takes in the records of a received line. They are theirs if this
// client gets them for itself.
func (x *index) receivedLine(slot string, offset int64, of flow, rest []byte, theirs bool) {
	var last uint64
	for id, seq := range peekRecords(rest) {
		x.stored(id, of, seq, theirs)
		last = seq
	}
	if c := &x.convs[x.conv(of)]; last > c.shown {
		c.waiting = append(c.waiting, storedLine{slot, offset, last})
	}
}
