package history

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"chatsecure/crypto"
)

// Stored is a record that was received before this start and is not marked shown.
type Stored struct {
	Conversation [32]byte // with Seq the arguments of Shown
	Seq          uint64
	From         crypto.End
	Identity     [32]byte  // of the sender, as proved when the conversation began
	Sent         time.Time // the record's own time
	Record       *crypto.Record
	Seen         bool // shown, while its sender was not accepted
	Again        bool // seen, or perhaps shown by a client that was killed
}

// Unshown returns the records that were received before this start and are not
// marked shown, oldest first: those of this slot's file, and of those that no process
// holds. Shown marks them, in this slot's file. The second call returns nothing.
func (h *History) Unshown() []Stored {
	found := h.unshown
	h.unshown = nil
	return found
}

// findUnshown reads the records that Unshown returns. A line that cannot be read
// means a changed file: notices tell of it, and nobody sees its records.
func (h *History) findUnshown() (found []Stored, notices []string, err error) {
	// A running client may have shown records that another has left behind.
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
				key, ok := parseKey(s.Record.ID)
				s.Seen, s.Again = s.Seq <= c.seen, ok && h.Again(s.Record.ID)
				if ok && s.Seq > c.shown && !seen[key] && h.known.level(key) == KnownStored {
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
	slots, err := h.otherReceivers()
	if err != nil {
		return err
	}
	other := newIndex()
	for _, slot := range slots {
		err := other.readSlot(h.dir, slot, func(slot string, line []byte, offset int64) {
			if typ, _, ok := peekType(line); ok && (string(typ) == lineShown || string(typ) == lineSeen) {
				other.line(slot, line, offset)
			}
		})
		if err != nil {
			return err
		}
	}
	for _, c := range other.convs {
		if _, ok := h.known.flows[c.flow]; ok {
			h.known.mark(lineShown, c.flow, c.shown)
			h.known.mark(lineSeen, c.flow, c.seen)
		}
	}
	return nil
}

// readStored reads one received line again.
func (h *History) readStored(c *indexedConv, at storedLine) ([]Stored, error) {
	f, err := openFile(filepath.Join(h.dir, at.slot+Ext), os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, MaxLine+1)
	n, _ := f.ReadAt(b, at.offset) // the end of the file gives a short read
	end := bytes.IndexByte(b[:n], '\n')
	if end < 0 {
		return nil, fmt.Errorf("%s changed while it was read", f.Name())
	}
	l, err := parseLine(b[:end])
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
