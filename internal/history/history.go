// Package history writes a client's history down, reads it, and proves it: one
// append-only file of JSON lines for all clients of a state directory, chained by hashes, with
// every signed message in its exact bytes, and heads that the owner's K signs.
//
// It holds no message key and opens no ciphertext: conversations hand it what they
// have sealed and opened. It does not decide on receipts, resending or display.
// PROTOCOL.md, "History" and "Proofs".
package history

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/proto"
)

// History is one running client's access to the history. A client writes down every message
// before it acknowledges anything.
//
// A method that returns nil has given its line to the operating system: a killed
// process loses nothing. Lines are forced to the disk about once a second and by
// Close, so a power cut may lose the last second. A line whose method returned an
// error is not in the file, and its message must not be acknowledged.
//
// One goroutine owns a History. Other clients, in this process or another, may write
// meanwhile.
type History struct {
	cfg    Config
	now    func() time.Time
	writer *writer
	known  *index
	buf    []byte // scratch, for lines

	run    run
	ending string    // the reason of the run line that Close writes
	wrote  bool      // this run has
	signed time.Time // of this run's last head, or its begin
	at     time.Time // of the line that is being written

	// Admit is asked before each line that another person causes; nil: all are written. Its error
	// is the method's, and the line is not written.
	Admit func(identity [32]byte, records, bytes int) error

	// Holds tells whether the owner's bundle holds at a time; nil: it does. A head that
	// verification would refuse is not written.
	Holds func(at time.Time) bool

	// Tell is told, in a sentence for people, of what has been repaired after Open.
	Tell func(notice string)

	unshown []Stored // from before this start, until Unshown is called
}

// Owner is the person whose history it is.
type Owner struct {
	Name     string
	Identity [32]byte
}

// Config says which history Open opens.
type Config struct {
	Dir       string // made if missing
	Owner     Owner
	Bundle    *trust.Bundle    // the owner's; its K signs the heads
	Key       *trust.Key       // K, not used after Close
	Receiving bool             // the client takes messages; false: a one-shot sender
	Since     time.Time        // for Connected; zero: the client is not connected yet
	Now       func() time.Time // tests own the clock; default time.Now

	// Waiting tells whether a letter with this record waits to be left for somebody. The record of a
	// client that was killed is not FAILED for them then. nil: no letter waits.
	Waiting func(recordID, name string) bool

	// Through wraps the file of lines and the table of the index as they are written; default: the
	// files themselves.
	Through func(*os.File) Store
}

// NewOn returns an empty History of a receiver that writes to a store and never reads from it.
// It signs no heads.
func NewOn(now func() time.Time, lines Store) *History {
	h := newHistory(Config{Receiving: true, Now: now})
	h.writer, h.known = newWriter(lines, nil, ""), newIndex("", nil, nil)
	return h
}

func newHistory(cfg Config) *History {
	return &History{cfg: cfg, now: cfg.Now, ending: runEnded, signed: cfg.Now()}
}

// SignAs has another K of the owner's sign the heads from now on, or nobody.
func (h *History) SignAs(bundle *trust.Bundle, key *trust.Key) {
	h.cfg.Bundle, h.cfg.Key = bundle, key
}

// Close ends the run with a head, forces the history to the disk and closes it.
func (h *History) Close() error {
	if h.end() && h.writer.lock() == nil { // so nobody is looking for runs
		h.run.remove()
		h.unlock()
	}
	h.SignAs(nil, nil)
	h.flushTail()
	h.run.close()
	h.known.close()
	return h.writer.close()
}

// EndEarly ends the run before Close, and begins to force it to the disk, unless there may be more
// to say of the messages that were shown. What is written after it ends once more.
func (h *History) EndEarly() {
	if !h.cfg.Receiving {
		h.end()
		poke(h.writer.hurry)
	}
}

// end ends the run, if it has written anything, and reports whether its end stands in the lines:
// otherwise the next start takes this client for a killed one, and has more to say.
func (h *History) end() bool {
	if h.wrote || h.ending != runEnded {
		h.wrote = h.locked(func() error { return h.ran(h.run.id, h.ending) }) != nil
	}
	return !h.wrote
}

// Unsure tells that messages may have been shown, or will be, without a mark.
func (h *History) Unsure() { h.ending = runUnsure }

// Probe tells whether a line can be written now.
func (h *History) Probe() error {
	return h.locked(func() error { return h.writer.probe(h.known.end) })
}

// Broken tells whether no line can be written any more, whatever becomes of the disk.
func (h *History) Broken() bool { return h.writer.broken != nil }

// locked runs f while no other client writes, and after what they have written.
func (h *History) locked(f func() error) error {
	if err := h.writer.ready(); err != nil {
		return err
	}
	if err := h.writer.lock(); err != nil {
		return err
	}
	defer h.unlock()
	h.known.locked = true
	if err := h.catchUp(); err != nil {
		return err
	}
	return f()
}

func (h *History) unlock() {
	h.known.locked = false
	h.writer.unlock()
}

// catchUp takes in the lines of other clients, and cuts off what a killed one has left: a rest
// without a newline.
func (h *History) catchUp() error {
	size, err := h.writer.size(h.known.end)
	if err != nil || size == h.known.end {
		return err
	}
	if err := h.known.catchUp(); err != nil {
		h.writer.broken = failure(err, "see to the disk",
			"the history cannot be read: %s: %v", h.writer.path, err)
		return h.writer.broken
	}
	torn := size - h.known.end
	if torn <= 0 {
		return nil
	}
	if err := h.writer.lines.Truncate(h.known.end); err != nil {
		return h.writer.undo(err, h.known.end)
	}
	h.tell(fmt.Sprintf("the history %s ended in the middle of a line (%d bytes), "+
		"as a killed client leaves it; that has been cut off", h.writer.path, torn))
	return nil
}

func (h *History) tell(notice string) {
	if h.Tell != nil {
		h.Tell(notice)
	}
}

// append writes one line; see line.
func (h *History) append(typ string, from cause, fields func(b []byte) []byte) error {
	return h.locked(func() error { return h.line(typ, from, fields) })
}

// line writes a line; fields appends the fields that follow its type. A line that another
// person causes is asked about first. The file is locked.
func (h *History) line(typ string, from cause, fields func(b []byte) []byte) error {
	x := h.known
	h.at = h.now()
	b := appendLineStart(h.buf[:0], &x.hash, h.at.UnixMilli(), typ)
	b = fields(b)
	b = append(b, '}', '\n')
	h.buf = b // kept at any size: a client has one History, and a line a bound
	signs := needsHead[typ] || h.at.Sub(h.signed) >= headEvery
	if from != (cause{}) && h.Admit != nil {
		size := len(b) + from.more
		if signs && h.cfg.Key != nil {
			size += headSize + h.cfg.Key.SignatureSize()*4/3
		}
		if err := h.Admit(from.by, from.records, size); err != nil {
			return err
		}
	}
	if err := h.writer.write(b, x.end); err != nil {
		return err
	}
	x.wrote(b[:len(b)-1])
	h.wrote = true
	if signs {
		h.head()
	}
	return nil
}

func quoteJSON(s string) []byte { return proto.MustMarshal(s) }

// conversationSize bounds the line of a conversation with its head, in bytes.
const conversationSize = 3 << 10

// Begin writes down a conversation, and both bundles if they are new to the file. It
// comes before everything else about the conversation.
func (h *History) Begin(c *crypto.Conversation, mine *trust.Bundle) error {
	from := cause{by: c.Person.Identity}
	myBundle, theirBundle := c.MyBundle(), c.TheirBundle()
	me := End{c.Me.Name, c.Me.Conn, proto.FormatHash(c.MyIdentity()), myBundle[:]}
	peer := End{c.Peer.Name, c.Peer.Conn, proto.FormatHash(c.Person.Identity), theirBundle[:]}
	return h.locked(func() error {
		if err := h.run.connected(me.Conn); err != nil {
			return err
		}
		if err := h.bundle(mine, cause{}); err != nil {
			return err
		}
		// A bundle without its conversation would be on nobody's account.
		if err := h.bundle(c.PeerBundle, cause{by: from.by, more: conversationSize}); err != nil {
			return err
		}
		return h.line(lineConversation, from, func(b []byte) []byte {
			b = appendLineBytes(b, "conversation", c.T3[:])
			b = appendLineJSON(b, "suite", quoteJSON(c.Suite()))
			b = appendLineJSON(b, "direction", quoteJSON(c.SendDirection()))
			b = appendLineJSON(b, "me", proto.MustMarshal(me))
			return appendLineJSON(b, "peer", proto.MustMarshal(peer))
		})
	})
}

// bundle writes a bundle down, unless the file has it. The file is locked.
func (h *History) bundle(b *trust.Bundle, from cause) error {
	hash := b.Hash()
	if h.known.bundle(hash).state != stateNone {
		return nil
	}
	return h.line(lineBundle, from, func(line []byte) []byte {
		line = appendLineBytes(line, "hash", hash[:])
		return appendLineJSON(line, "bundle", proto.MustMarshal(b))
	})
}

// Pending writes down a record that is fixed and waits to be sent to names. It is
// not signed yet, and so proves nothing.
func (h *History) Pending(r *crypto.Record, names []string) error {
	waits := *r
	waits.Seq = 0 // it may have been numbered for a message that could not be written
	return h.append(linePending, cause{}, func(b []byte) []byte {
		b = appendLineJSON(b, "run", quoteJSON(h.run.id))
		b = appendLineJSON(b, "names", proto.MustMarshal(names))
		return appendLineJSON(b, "record", waits.Encode())
	})
}

// Sent writes down a text message before it leaves. s and exact are the results of
// SealRecords.
func (h *History) Sent(c *crypto.Conversation, s *crypto.Sealed, exact [][]byte) error {
	return h.append(lineSent, cause{}, func(b []byte) []byte {
		b = slices.Grow(b, linesSize(exact)+len(s.Header)+len(s.Signature)*2)
		b = appendLineSigned(b, s.Header, &s.CipherHash, s.Signature)
		return appendLineRecords(b, &s.Before, exact)
	})
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
// seq: they are SENT. The direction is ours.
func (h *History) Taken(t3 [32]byte, direction string, seq uint64) error {
	return h.upTo(lineTaken, flow{t3, direction}, seq)
}

// Shown writes down that the records received in a conversation up to seq have been
// shown to a person, or flushed to standard output. The direction is ours, as in Taken.
func (h *History) Shown(t3 [32]byte, direction string, seq uint64) error {
	return h.mark(lineShown, flow{t3, direction}, seq)
}

// Seen writes down the same of a person who is not accepted: the records are not READ.
func (h *History) Seen(t3 [32]byte, direction string, seq uint64) error {
	return h.mark(lineSeen, flow{t3, direction}, seq)
}

func (h *History) mark(typ string, of flow, seq uint64) error {
	if !h.cfg.Receiving || h.known.conv(of) == nil {
		return failure(nil, "",
			"records of a conversation that is not in the history have been shown")
	}
	return h.upTo(typ, flow{of.t3, reverse(of.direction)}, seq)
}

func (h *History) upTo(typ string, of flow, seq uint64) error {
	if seq == 0 {
		return nil // sequence numbers begin at 1
	}
	return h.append(typ, cause{}, func(b []byte) []byte {
		b = appendLineBytes(b, "conversation", of.t3[:])
		b = appendLineJSON(b, "direction", quoteJSON(of.direction))
		return strconv.AppendUint(appendLineField(b, "seq"), seq, 10)
	})
}

// Received writes down a text message that the conversation has opened, before it is
// committed and before anything of it is acknowledged.
func (h *History) Received(c *crypto.Conversation, o *crypto.Opened) error {
	return h.locked(func() error {
		from := cause{by: c.Person.Identity, records: h.known.unknown(o.Records)}
		return h.line(lineReceived, from, func(b []byte) []byte {
			b = slices.Grow(b, linesSize(o.ExactRecords)+len(o.Exact)+len(o.Signature)*2)
			b = appendLineSigned(b, o.Exact, &o.CipherHash, o.Signature)
			return appendLineRecords(b, &o.Before, o.ExactRecords)
		})
	})
}

// Receipt writes down a receipt of the peer's that the conversation has opened. A
// receipt that brings nothing new is written too: without it the next message's
// number would show a gap.
func (h *History) Receipt(c *crypto.Conversation, o *crypto.Opened) error {
	return h.append(lineReceipt, cause{by: c.Person.Identity}, func(b []byte) []byte {
		b = appendLineSigned(b, o.Exact, &o.CipherHash, o.Signature)
		return appendLineJSON(b, "receipt", o.ExactReceipt)
	})
}

// Failed writes down that a record is given up for a name.
func (h *History) Failed(id, name, reason string) error {
	return h.locked(func() error { return h.failed(id, name, reason) })
}

// failed is Failed, and the file is locked.
func (h *History) failed(id, name, reason string) error {
	if reason == "" {
		reason = "no reason is known"
	}
	return h.line(lineFailed, cause{}, func(b []byte) []byte {
		b = appendLineJSON(b, "id", quoteJSON(id))
		b = appendLineJSON(b, "name", quoteJSON(name))
		return appendLineJSON(b, "reason", quoteJSON(reason))
	})
}

// Ended writes down the peer's sealed end of a conversation, which the conversation
// has opened.
func (h *History) Ended(c *crypto.Conversation, o *crypto.Opened) error {
	return h.append(lineEnd, cause{by: c.Person.Identity}, func(b []byte) []byte {
		return appendLineSigned(b, o.Exact, &o.CipherHash, o.Signature)
	})
}

// Gap writes down that messages of the peer's are missing in a conversation, or that
// it was cut short, with the reason to think so. The direction is ours.
func (h *History) Gap(t3 [32]byte, direction, reason string) error {
	if reason == "" {
		reason = "messages are missing"
	}
	c := h.known.conv(flow{t3, direction})
	if c == nil {
		return failure(nil, "", "messages of a conversation that is not in the history are missing")
	}
	return h.append(lineGap, cause{by: c.peer.identity()}, func(b []byte) []byte {
		b = appendLineBytes(b, "conversation", t3[:])
		b = appendLineJSON(b, "direction", quoteJSON(reverse(direction)))
		return appendLineJSON(b, "reason", quoteJSON(reason))
	})
}

// RefreshKnown takes in what other clients of this state directory have written. A client calls it
// at each new conversation, and when a record arrives that is older than the conversation.
func (h *History) RefreshKnown() error { return h.locked(func() error { return nil }) }
