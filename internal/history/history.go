// Package history writes a client's history down, reads it, and proves it: one
// append-only file of JSON lines for each client that runs, chained by hashes, with
// every signed message in its exact bytes.
//
// It holds no message key and opens no ciphertext: conversations hand it what they
// have sealed and opened. It does not decide on receipts, resending or display.
// PROTOCOL.md, "History" and "Proofs".
package history

import (
	"crypto/sha256"
	"os"
	"slices"
	"strconv"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/proto"
)

// History is the file of one running client, which holds the lock of its slot. A
// client writes down every message before it acknowledges anything.
//
// A method that returns nil has given its line to the operating system: a killed
// process loses nothing. Lines are forced to the disk about once a second and by
// Close, so a power cut may lose the last second. A line whose method returned an
// error is not in the file, and its message must not be acknowledged.
//
// One goroutine owns a History.
type History struct {
	dir    string
	slot   string
	now    func() time.Time
	writer *writer
	known  *index
	buf    []byte // scratch, for lines
	ending string // the reason of the run line that Close writes
	ended  bool   // nothing but its first line is in the file since a run has ended

	// Admit is asked before each line that another person causes; nil: all are written. Its error
	// is the method's, and the line is not written.
	Admit func(identity [32]byte, records, bytes int) error

	receiving bool // and not a one-shot sender

	unread  []byte                     // lines of a one-shot sender's file that known has not been told
	unshown []Stored                   // from before this start, until Unshown is called
	bundles map[[sha256.Size]byte]bool // in the file
}

// Config says which history Open opens.
type Config struct {
	Dir       string           // made if missing
	Receiving bool             // the client takes messages; false: a one-shot sender
	Since     time.Time        // for Connected; zero: the client is not connected yet
	Now       func() time.Time // tests own the clock; default time.Now

	// Through wraps the file of lines and the head as they are written; default: the
	// files themselves.
	Through func(*os.File) Store
}

// Open takes the lowest free slot. It repairs the traces of a killed client, and
// leaves a damaged file alone. notices tell people of both, in sentences. The caller
// closes the History.
func Open(cfg Config) (h *History, notices []string, err error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Through == nil {
		cfg.Through = func(f *os.File) Store { return f }
	}
	s, notices, err := openSlot(cfg.Dir, cfg.Receiving)
	if err != nil {
		return nil, nil, err
	}
	h = &History{
		dir: cfg.Dir, slot: s.slot, now: cfg.Now, bundles: s.bundles, known: s.known, unread: s.unread, receiving: cfg.Receiving, ended: true, ending: runEnded,
		writer: newWriter(cfg.Through(s.lines), cfg.Through(s.head), s.lines.Name(), s.end),
	}
	killed, err := h.settleKilled(&s.last)
	if killed != "" {
		notices = append(notices, killed)
	}
	var unread []string
	if err == nil {
		unread, err = h.begin(cfg.Since)
	}
	if err != nil {
		h.Close()
		return nil, nil, err
	}
	return h, append(notices, unread...), nil
}

// begin writes the first line of a new file, and reads what a receiver must know of
// other slots. notices tell of messages that cannot be read.
func (h *History) begin(since time.Time) (notices []string, err error) {
	if h.writer.end.count == 0 {
		err := h.appendLine(lineFile, cause{}, func(b []byte) []byte {
			return appendLineJSON(b, "file", quoteJSON(h.slot+Ext))
		})
		if err != nil {
			return nil, err
		}
	}
	if !h.receiving {
		return nil, nil
	}
	if !since.IsZero() {
		h.Connected(since)
	}
	if err := h.RefreshKnown(); err != nil {
		return nil, err
	}
	h.unshown, notices, err = h.findUnshown()
	if err != nil {
		return nil, openFailure(h.dir, err)
	}
	if len(h.unshown) > 0 {
		err = h.run(runBegins)
	}
	return notices, err
}

// NewOn returns an empty History of a receiver that writes to these stores and never
// reads from them. dir is the place of other slots.
func NewOn(dir string, now func() time.Time, lines, head Store) *History {
	return &History{
		dir: dir, slot: "0", now: now, known: newIndex(), receiving: true, bundles: make(map[[sha256.Size]byte]bool),
		ended: true, ending: runEnded, writer: newWriter(lines, head, dir, position{}),
	}
}

// Slot returns the slot's name: "0" for the first client that takes messages, "s0"
// for the first one-shot sender.
func (h *History) Slot() string { return h.slot }

// Close ends the run, forces the history to the disk and releases the slot.
func (h *History) Close() error {
	h.end()
	return h.writer.close()
}

// EndEarly ends the run before Close, and begins to force it to the disk, unless there may be more
// to say of the messages that were shown. What is written after it ends once more.
func (h *History) EndEarly() {
	if !h.receiving {
		h.end()
		poke(h.writer.hurry)
	}
}

func (h *History) end() {
	if !h.ended {
		// Without it the next start takes this client for a killed one, and has more to say.
		h.ended = h.run(h.ending) == nil
	}
}

// Unsure tells that messages may have been shown, or will be, without a mark.
func (h *History) Unsure() { h.ending = runUnsure }

// Probe tells whether a line can be written now.
func (h *History) Probe() error { return h.writer.probe() }

// Broken tells whether no line can be written any more, whatever becomes of the disk.
func (h *History) Broken() bool { return h.writer.broken != nil }

// appendLine writes one line; fields appends the fields that follow its type. A line that another
// person causes is asked about first, and charged.
func (h *History) appendLine(typ string, from cause, fields func(b []byte) []byte) error {
	at := h.now().UnixMilli()
	b := appendLineStart(h.buf[:0], &h.writer.end.last, at, typ)
	b = fields(b)
	b = append(b, '}', '\n')
	h.buf = b // kept at any size: a client has one History, and a line a bound
	if from != (cause{}) && h.Admit != nil {
		if err := h.Admit(from.by, from.records, len(b)); err != nil {
			return err
		}
	}
	if err := h.writer.append(b); err != nil {
		return err
	}
	h.ended = h.ended && typ == lineFile
	h.known.accounts.charge(from, at, int64(len(b)-1))
	return nil
}

func quoteJSON(s string) []byte { return proto.MustMarshal(s) }

// Begin writes down a conversation, and both bundles if they are new to the file. It
// comes before everything else about the conversation.
func (h *History) Begin(c *crypto.Conversation, mine *trust.Bundle) error {
	from := cause{by: c.Person.Identity}
	if err := h.bundle(mine, cause{}); err != nil {
		return err
	}
	if err := h.bundle(c.PeerBundle, from); err != nil {
		return err
	}
	myBundle, theirBundle := c.MyBundle(), c.TheirBundle()
	me := End{Name: c.Me.Name, Conn: c.Me.Conn, Identity: proto.FormatHash(c.MyIdentity()), Bundle: myBundle[:]}
	peer := End{Name: c.Peer.Name, Conn: c.Peer.Conn, Identity: proto.FormatHash(c.Person.Identity), Bundle: theirBundle[:]}
	err := h.appendLine(lineConversation, from, func(b []byte) []byte {
		b = appendLineBytes(b, "conversation", c.T3[:])
		b = appendLineJSON(b, "suite", quoteJSON(c.Suite()))
		b = appendLineJSON(b, "direction", quoteJSON(c.SendDirection()))
		b = appendLineJSON(b, "me", proto.MustMarshal(me))
		return appendLineJSON(b, "peer", proto.MustMarshal(peer))
	})
	if err == nil {
		h.known.began(flow{c.T3, reverse(c.SendDirection())}, peer, h.now().UnixMilli())
	}
	return err
}

// bundle writes a bundle down, unless the file has it.
func (h *History) bundle(b *trust.Bundle, from cause) error {
	hash := b.Hash()
	if h.bundles[hash] {
		return nil
	}
	err := h.appendLine(lineBundle, from, func(line []byte) []byte {
		line = appendLineBytes(line, "hash", hash[:])
		return appendLineJSON(line, "bundle", proto.MustMarshal(b))
	})
	if err == nil {
		h.bundles[hash] = true
	}
	return err
}

// Pending writes down a record that is fixed and waits to be sent to names. It is
// not signed yet, and so proves nothing.
func (h *History) Pending(r *crypto.Record, names []string) error {
	return h.appendLine(linePending, cause{}, func(b []byte) []byte {
		b = appendLineJSON(b, "names", proto.MustMarshal(names))
		return appendLineJSON(b, "record", r.Encode())
	})
}

// Sent writes down a text message before it leaves. s and exact are the results of
// SealRecords.
func (h *History) Sent(c *crypto.Conversation, s *crypto.Sealed, exact [][]byte) error {
	err := h.appendLine(lineSent, cause{}, func(b []byte) []byte {
		b = slices.Grow(b, linesSize(exact)+len(s.Header)+len(s.Signature)*2)
		b = appendLineSigned(b, s.Header, &s.CipherHash, s.Signature)
		return appendLineRecords(b, &s.Before, exact)
	})
	if err == nil {
		h.known.accounts.answered(c.Person.Identity)
	}
	return err
}

// linesSize estimates the length of a line with these records.
func linesSize(records [][]byte) int {
	n := 512
	for _, r := range records {
		n += len(r) + 1
	}
	return n
}

// Taken writes down that the relay has taken our records of a conversation up to
// seq: they are SENT.
func (h *History) Taken(t3 [32]byte, seq uint64) error {
	if seq == 0 {
		return nil // sequence numbers begin at 1
	}
	return h.appendLine(lineTaken, cause{}, func(b []byte) []byte {
		b = appendLineBytes(b, "conversation", t3[:])
		return strconv.AppendUint(appendLineField(b, "seq"), seq, 10)
	})
}

// Shown writes down that the records received in a conversation up to seq have been
// shown to a person, or flushed to standard output. The conversation is one that
// began in this History, or one of a record from Unshown.
func (h *History) Shown(t3 [32]byte, seq uint64) error { return h.mark(lineShown, t3, seq) }

// Seen writes down the same of a person who is not accepted: the records are not READ.
func (h *History) Seen(t3 [32]byte, seq uint64) error { return h.mark(lineSeen, t3, seq) }

func (h *History) mark(typ string, t3 [32]byte, seq uint64) error {
	if seq == 0 {
		return nil
	}
	if !h.receiving {
		return failure(nil, "", "a client that takes no messages has shown none")
	}
	direction, ok := h.known.from[t3]
	if !ok {
		return failure(nil, "", "records of a conversation that is not in the history have been shown")
	}
	err := h.appendLine(typ, cause{}, func(b []byte) []byte {
		b = appendLineBytes(b, "conversation", t3[:])
		b = appendLineJSON(b, "direction", quoteJSON(direction))
		return strconv.AppendUint(appendLineField(b, "seq"), seq, 10)
	})
	if err == nil {
		h.known.mark(typ, flow{t3, direction}, seq)
	}
	return err
}

// Received writes down a text message that the conversation has opened, before it is
// committed and before anything of it is acknowledged.
func (h *History) Received(c *crypto.Conversation, o *crypto.Opened) error {
	from := cause{by: c.Person.Identity}
	for _, r := range o.Records {
		if key, ok := parseKey(r.ID); ok && !h.known.has(key) {
			from.records++
		}
	}
	err := h.appendLine(lineReceived, from, func(b []byte) []byte {
		b = slices.Grow(b, linesSize(o.ExactRecords)+len(o.Exact)+len(o.Signature)*2)
		b = appendLineSigned(b, o.Exact, &o.CipherHash, o.Signature)
		return appendLineRecords(b, &o.Before, o.ExactRecords)
	})
	if err == nil {
		for _, r := range o.Records {
			h.known.stored(r.ID, flow{c.T3, o.Header.Direction}, r.Seq, false)
		}
	}
	return err
}

// Receipt writes down a receipt of the peer's that the conversation has opened. A
// receipt that brings nothing new is written too: without it the next message's
// number would show a gap.
func (h *History) Receipt(c *crypto.Conversation, o *crypto.Opened) error {
	return h.appendLine(lineReceipt, cause{by: c.Person.Identity}, func(b []byte) []byte {
		b = appendLineSigned(b, o.Exact, &o.CipherHash, o.Signature)
		return appendLineJSON(b, "receipt", o.ExactReceipt)
	})
}

// Failed writes down that a record is given up for a name.
func (h *History) Failed(id, name, reason string) error {
	if reason == "" {
		reason = "no reason is known"
	}
	return h.appendLine(lineFailed, cause{}, func(b []byte) []byte {
		b = appendLineJSON(b, "id", quoteJSON(id))
		b = appendLineJSON(b, "name", quoteJSON(name))
		return appendLineJSON(b, "reason", quoteJSON(reason))
	})
}

// Ended writes down the peer's sealed end of a conversation, which the conversation
// has opened.
func (h *History) Ended(c *crypto.Conversation, o *crypto.Opened) error {
	return h.appendLine(lineEnd, cause{by: c.Person.Identity}, func(b []byte) []byte {
		return appendLineSigned(b, o.Exact, &o.CipherHash, o.Signature)
	})
}

// Gap writes down that messages of the peer's are missing in a conversation, or that
// it was cut short, with the reason to think so.
func (h *History) Gap(t3 [32]byte, reason string) error {
	if reason == "" {
		reason = "messages are missing"
	}
	var from cause
	if peer := h.known.peer(flow{t3, h.known.from[t3]}); peer != nil {
		from.by = peer.identity()
	}
	return h.appendLine(lineGap, from, func(b []byte) []byte {
		b = appendLineBytes(b, "conversation", t3[:])
		return appendLineJSON(b, "reason", quoteJSON(reason))
	})
}
