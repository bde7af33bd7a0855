package history

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"chatsecure/crypto"
)

// Stored is a record that was received before this start and is not marked shown.
type Stored struct {
	Conversation [32]byte // or the letter; with Direction and Seq the arguments of Shown
	Direction    string
	Seq          uint64
	From         crypto.End
	Identity     [32]byte // of the sender, as proved when the conversation began
	Letter       bool
	Left         time.Time // of a letter: when the relay got it, by its clock
	Bundle       [32]byte  // its sender's
	Sent         time.Time // the record's own time
	Record       *crypto.Record
	Seen         bool // shown, while its sender was not accepted
	Again        bool // seen, or perhaps shown by a client that was killed
}

// Unshown returns the records that were received before this start and are not
// marked shown, oldest first, and that no running client shows. Shown marks them.
// The second call returns nothing.
func (h *History) Unshown() []Stored {
	found := h.unshown
	h.unshown = nil
	return found
}

// findUnshown reads the records that Unshown returns. running are other clients. A line that cannot
// be read means a changed file: a notice tells of it, and nobody sees its records.
func (h *History) findUnshown(running []*otherRun) {
	unread := func(err error) {
		h.tell(fmt.Sprintf(
			"messages in the history that were not shown yet cannot be read: %v", err))
	}
	type place struct {
		of flow
		waitingLine
	}
	var places []place
	for of, c := range h.known.convs {
		for _, w := range c.waiting {
			held := func(r *otherRun) bool { return r.holds(c, w.offset) }
			if !slices.ContainsFunc(running, held) {
				places = append(places, place{of, w})
			}
		}
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Compare(a.offset, b.offset) })
	seen := make(map[recordKey]bool)
	for _, at := range places {
		records, err := h.readStored(h.known.convs[at.of], at.offset)
		if err != nil {
			unread(err)
			continue
		}
		for i, s := range records {
			key := at.ids[i]
			if seen[key] || h.known.level(key) != KnownStored {
				continue
			}
			seen[key] = true
			s.Conversation, s.Direction = at.of.t3, at.of.direction
			s.Seen = h.known.record(key).state == stateSeen
			s.Again = h.Again(s.Record.ID)
			h.unshown = append(h.unshown, s)
		}
	}
	slices.SortStableFunc(h.unshown, func(a, b Stored) int {
		return cmp.Compare(a.Sent.UnixMilli(), b.Sent.UnixMilli())
	})
}

// readStored reads one received line again.
func (h *History) readStored(c *indexedConv, offset int64) ([]Stored, error) {
	line, err := readLine(h.known.lines, offset)
	if err != nil {
		return nil, err
	}
	l, err := parseLine(line)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", h.writer.path, err)
	}
	var found []Stored
	for _, exact := range l.Records {
		r, err := crypto.ParseRecord(exact, c.peer.identity())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", h.writer.path, err)
		}
		s := Stored{
			Seq: r.Seq, From: crypto.End{Name: c.peer.Name, Conn: c.peer.Conn},
			Identity: c.peer.identity(), Sent: time.UnixMilli(r.Time), Record: r,
		}
		if s.Letter = l.Left != 0; s.Letter {
			s.Left = time.UnixMilli(l.Left)
			s.Bundle = [32]byte(c.peer.Bundle)
		}
		found = append(found, s)
	}
	return found, nil
}

// Again tells whether a record that is only stored has been seen, or may have been shown.
func (h *History) Again(id string) bool {
	key, ok := parseKey(id)
	e := h.known.record(key)
	return ok && (e.state == stateSeen || e.state == stateStored && e.offset < h.known.doubt)
}

// Connected says since when the client has its connection to the relay, by the clock
// of the lines. The relay sends a message to every connection that takes messages.
// So a message that another client of this state directory receives from then on comes here for
// itself, and is known only once this client has it. One that another received earlier can only
// come here because it is sent again.
func (h *History) Connected(since time.Time) {
	if h.cfg.Receiving {
		h.known.since = since.UnixMilli()
		clear(h.known.theirs)
	}
}

// Known returns the progress of the record with this id. A one-shot sender knows no record.
func (h *History) Known(id string) KnownLevel {
	key, ok := parseKey(id)
	if !h.cfg.Receiving || !ok {
		return KnownNot
	}
	return h.known.level(key)
}
