package chatsecure

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"slices"
	"strconv"
	"time"

	"chatsecure/canon"
	"chatsecure/crypto"
)

// History is what a client writes down, before it acknowledges anything: one
// append-only file of JSON lines that it holds the lock of. PROTOCOL.md,
// "History".
//
// A method that returns nil has given its line to the operating system: a
// killed process loses nothing. Lines are forced to the disk about once a
// second and by Close, not one by one, so that a power cut may lose the last
// second. What an error is returned for is not in the file, and must not be
// acknowledged.
//
// It never holds a message key. One goroutine owns a History.
type History struct {
	dir    string
	slot   string
	now    func() time.Time
	writer *historyWriter
	known  *historyIndex // nil for a one-shot sender
	buf    []byte        // scratch, for lines

	unshown []Stored                   // from before this start, until Unshown is called
	bundles map[[sha256.Size]byte]bool // that stand in the file
}

// OpenHistory opens the history in dir, which it makes if need be, for a
// client that takes messages (receiving) or for a one-shot sender, and takes
// the lowest free slot. What a killed client has left half-written is repaired
// and stands in notices, sentences for people; so does a damaged file, which
// is left alone. The caller closes the History.
func OpenHistory(dir string, receiving bool, now func() time.Time) (h *History, notices []string, err error) {
	return openHistory(dir, receiving, time.Time{}, now, func(f *os.File) historyStore { return f })
}

// openHistory is OpenHistory with what Connected is told, unless it is zero,
// and with what the file of lines and the head are written through.
func openHistory(dir string, receiving bool, since time.Time, now func() time.Time, through func(*os.File) historyStore) (h *History, notices []string, err error) {
	if now == nil {
		now = time.Now
	}
	h = &History{dir: dir, now: now}
	var slot string
	index := newHistoryIndex()
	o, err := openHistorySlot(dir, receiving, func(of string, line []byte, offset int64) error {
		if of != slot {
			// The next slot, after a damaged one.
			slot, index = of, newHistoryIndex()
			h.bundles = nil
		}
		if hash, ok := peekBundle(line); ok {
			h.addBundle(hash)
		}
		if !receiving {
			return nil
		}
		return index.line(of, line, offset)
	})
	if err != nil {
		return nil, nil, err
	}
	h.slot = o.slot
	if o.tail.count == 0 {
		index, h.bundles = newHistoryIndex(), nil
	}
	h.writer = newHistoryWriter(through(o.lines), through(o.head), o.lines.Name(), o.tail)
	if o.tail.count == 0 {
		err = h.appendLine(lineFile, func(b []byte) []byte {
			return appendLineJSON(b, "file", quoteJSON(o.slot+historyExt))
		})
	}
	if err == nil && receiving {
		h.known = index
		if !since.IsZero() {
			h.Connected(since)
		}
		err = h.RefreshKnown()
	}
	notices = o.notices
	if err == nil && receiving {
		var unread []string
		if h.unshown, unread, err = h.findUnshown(); err != nil {
			err = plainHistoryError(dir, err)
		}
		notices = append(notices, unread...)
	}
	if err != nil {
		h.Close()
		return nil, nil, err
	}
	return h, notices, nil
}

// newHistoryOn returns an empty History of a receiver that is written to these
// stores, where nothing of it is read again. dir is the place of other slots.
func newHistoryOn(dir string, now func() time.Time, lines, head historyStore) *History {
	return &History{dir: dir, slot: "0", now: now, known: newHistoryIndex(), writer: newHistoryWriter(lines, head, dir, historyTail{})}
}

func (h *History) addBundle(hash [sha256.Size]byte) {
	if h.bundles == nil {
		h.bundles = make(map[[sha256.Size]byte]bool)
	}
	h.bundles[hash] = true
}

// Slot returns the slot's name: "0" for the first client that takes messages,
// "s0" for the first one-shot sender.
func (h *History) Slot() string { return h.slot }

// Close forces the history to the disk and lets the slot go.
func (h *History) Close() error { return h.writer.close() }

// appendLine writes one line; fields appends what follows its type.
func (h *History) appendLine(typ string, fields func(b []byte) []byte) error {
	b := appendLineStart(h.buf[:0], &h.writer.tail.last, h.now().UnixMilli(), typ)
	b = fields(b)
	b = append(b, '}', '\n')
	h.buf = b // kept at any size: a client has one History, and a line a bound
	return h.writer.append(b)
}

func quoteJSON(s string) []byte { return canon.MustMarshal(s) }

// Begin writes down a conversation, and both bundles where they are new to the
// file. It comes before everything else about the conversation.
func (h *History) Begin(c *crypto.Conversation, mine *crypto.Bundle) error {
	for _, b := range [...]*crypto.Bundle{mine, c.PeerBundle} {
		hash := b.Hash()
		if h.bundles[hash] {
			continue
		}
		err := h.appendLine(lineBundle, func(line []byte) []byte {
			line = appendLineBytes(line, "hash", hash[:])
			return appendLineJSON(line, "bundle", canon.MustMarshal(b))
		})
		if err != nil {
			return err
		}
		h.addBundle(hash)
	}
	myIdentity, myBundle, theirBundle := c.MyIdentity(), c.MyBundle(), c.TheirBundle()
	me := historyEnd{Name: c.Me.Name, Conn: c.Me.Conn, Identity: hex.EncodeToString(myIdentity[:]), Bundle: myBundle[:]}
	peer := historyEnd{Name: c.Peer.Name, Conn: c.Peer.Conn, Identity: hex.EncodeToString(c.Person.Identity[:]), Bundle: theirBundle[:]}
	err := h.appendLine(lineConversation, func(b []byte) []byte {
		b = appendLineBytes(b, "conversation", c.T3[:])
		b = appendLineJSON(b, "suite", quoteJSON(c.Suite()))
		b = appendLineJSON(b, "direction", quoteJSON(c.SendDirection()))
		b = appendLineJSON(b, "me", canon.MustMarshal(me))
		return appendLineJSON(b, "peer", canon.MustMarshal(peer))
	})
	if err == nil && h.known != nil {
		h.known.began(flow{c.T3, reverse(c.SendDirection())}, peer)
	}
	return err
}

// Pending writes down a record that is fixed and waits to be sent to names. It
// is not signed yet, and so proves nothing.
func (h *History) Pending(r *crypto.Record, names []string) error {
	return h.appendLine(linePending, func(b []byte) []byte {
		b = appendLineJSON(b, "names", canon.MustMarshal(names))
		return appendLineJSON(b, "record", r.Encode())
	})
}

// Sent writes down a text message that was sealed with SealRecords, before it
// leaves: s and exact are what that returned.
func (h *History) Sent(c *crypto.Conversation, s *crypto.Sealed, exact [][]byte) error {
	return h.appendLine(lineSent, func(b []byte) []byte {
		b = slices.Grow(b, linesSize(exact)+len(s.Header)+len(s.Signature)*2)
		b = appendLineSigned(b, s.Header, &s.CipherHash, s.Signature)
		return appendLineRecords(b, &s.Before, exact)
	})
}

// linesSize is about how long a line with these records gets.
func linesSize(records [][]byte) int {
	n := 512
	for _, r := range records {
		n += len(r) + 1
	}
	return n
}

// Taken writes down that the relay has taken our records of a conversation up
// to seq: they are SENT.
func (h *History) Taken(t3 [32]byte, seq uint64) error {
	if seq == 0 {
		return nil // sequence numbers begin at 1
	}
	return h.appendLine(lineTaken, func(b []byte) []byte {
		b = appendLineBytes(b, "conversation", t3[:])
		return strconv.AppendUint(appendLineField(b, "seq"), seq, 10)
	})
}

// Shown writes down that the records received in a conversation up to seq have
// been shown to a person, or flushed to standard output. The conversation is
// one that has begun in this History, or that Unshown returned.
func (h *History) Shown(t3 [32]byte, seq uint64) error {
	if seq == 0 {
		return nil
	}
	if h.known == nil {
		return historyError(nil, "", "a client that takes no messages has shown none")
	}
	direction, ok := h.known.from[t3]
	if !ok {
		return historyError(nil, "", "records of a conversation that is not in the history have been shown")
	}
	err := h.appendLine(lineShown, func(b []byte) []byte {
		b = appendLineBytes(b, "conversation", t3[:])
		b = appendLineJSON(b, "direction", quoteJSON(direction))
		return strconv.AppendUint(appendLineField(b, "seq"), seq, 10)
	})
	if err == nil {
		h.known.shown(flow{t3, direction}, seq)
	}
	return err
}

// Received writes down a text message that Open returned, before it is
// committed and before anything of it is acknowledged.
func (h *History) Received(c *crypto.Conversation, o *crypto.Opened) error {
	err := h.appendLine(lineReceived, func(b []byte) []byte {
		b = slices.Grow(b, linesSize(o.ExactRecords)+len(o.Exact)+len(o.Signature)*2)
		b = appendLineSigned(b, o.Exact, &o.CipherHash, o.Signature)
		return appendLineRecords(b, &o.Before, o.ExactRecords)
	})
	if err == nil && h.known != nil {
		for _, r := range o.Records {
			h.known.stored(r.ID, flow{c.T3, o.Header.Direction}, r.Seq, false)
		}
	}
	return err
}

// Receipt writes down a receipt of the peer's that Open returned. All are
// written, also those that bring nothing new: without one the next message's
// number shows a gap.
func (h *History) Receipt(c *crypto.Conversation, o *crypto.Opened) error {
	return h.appendLine(lineReceipt, func(b []byte) []byte {
		b = appendLineSigned(b, o.Exact, &o.CipherHash, o.Signature)
		return appendLineJSON(b, "receipt", o.ExactReceipt)
	})
}

// Failed writes down that a record is given up for a name.
func (h *History) Failed(id, name, reason string) error {
	if reason == "" {
		reason = "no reason is known"
	}
	return h.appendLine(lineFailed, func(b []byte) []byte {
		b = appendLineJSON(b, "id", quoteJSON(id))
		b = appendLineJSON(b, "name", quoteJSON(name))
		return appendLineJSON(b, "reason", quoteJSON(reason))
	})
}

// Ended writes down the peer's sealed end of a conversation, which Open
// returned.
func (h *History) Ended(c *crypto.Conversation, o *crypto.Opened) error {
	return h.appendLine(lineEnd, func(b []byte) []byte {
		return appendLineSigned(b, o.Exact, &o.CipherHash, o.Signature)
	})
}

// Gap writes down that messages of the peer's are missing in a conversation,
// or that it was cut short, and why that is thought.
func (h *History) Gap(t3 [32]byte, reason string) error {
	if reason == "" {
		reason = "messages are missing"
	}
	return h.appendLine(lineGap, func(b []byte) []byte {
		b = appendLineBytes(b, "conversation", t3[:])
		return appendLineJSON(b, "reason", quoteJSON(reason))
	})
}
