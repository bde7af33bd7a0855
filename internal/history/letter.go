package history

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/proto"
)

// A letter is a conversation of one message: its id stands in the place of T3, and its direction is
// AB from its sender. One line has all of it. PROTOCOL.md, "Letters" and "History".

// letterSize bounds the line of a letter with its head, in bytes.
const letterSize = proto.MaxLetter + 4<<10

// letterFlow finds a letter by its id, in our direction.
func letterFlow(id [32]byte, ours bool) flow {
	if ours {
		return flow{id, crypto.DirectionAB}
	}
	return flow{id, crypto.DirectionBA}
}

// OwnBundle writes down a bundle of the owner's, unless the history has it. A client does that
// with each that names a mailbox, before anybody can seal a letter to it: what the letter proves
// rests on the bundle, and the client that opens it may be another.
func (h *History) OwnBundle(b *trust.Bundle) error {
	return h.locked(func() error { return h.bundle(b, cause{}) })
}

// Bundle returns the bundle with this hash, or nil if the history does not have it. Nothing about
// it is verified.
func (h *History) Bundle(hash [32]byte) *trust.Bundle {
	e := h.known.bundle(hash)
	if e.state == stateNone && h.RefreshKnown() == nil { // another client may have written it
		e = h.known.bundle(hash)
	}
	if e.state == stateNone {
		return nil
	}
	l, err := parseLine(h.known.lineAt(e.offset))
	if err != nil || l.Type != lineBundle || l.Bundle.Hash() != hash {
		return nil
	}
	return l.Bundle
}

// LetterSent writes down a letter that the relay keeps until then. to is the person who has
// proved theirs, the bundle that the letter names. l has the header with its exact bytes and
// signature, the bundle of its sender, and the exact records.
func (h *History) LetterSent(l *crypto.Letter, to Owner, theirs *trust.Bundle, until time.Time) error {
	return h.letter(lineLetterSent, l, to, theirs, cause{}, func(b []byte) []byte {
		return appendLineTime(b, "until", until)
	})
}

// LetterReceived writes down a letter of from's whose records are checked. mine is the bundle that
// it names, and left is when the relay got it. Its id and BA, our direction, are the arguments of
// Shown. Nothing is acknowledged before Synced.
func (h *History) LetterReceived(l *crypto.Letter, from Owner, mine *trust.Bundle, left time.Time) error {
	return h.letter(lineLetterReceived, l, from, mine, cause{by: from.Identity}, func(b []byte) []byte {
		b = appendLineJSON(b, "run", quoteJSON(h.run.id))
		return appendLineTime(b, "left", left)
	})
}

// LetterReceipt writes down a letter of from's with receipts; else as LetterReceived.
func (h *History) LetterReceipt(l *crypto.Letter, from Owner, mine *trust.Bundle, left time.Time) error {
	return h.letter(lineLetterReceipt, l, from, mine, cause{by: from.Identity}, func(b []byte) []byte {
		return appendLineTime(b, "left", left)
	})
}

// letter writes down a letter, unless the history has it: the relay may hand it out again, or
// answer for it again. named is the bundle that the header calls dst-bundle.
func (h *History) letter(
	typ string, l *crypto.Letter, other Owner, named *trust.Bundle, from cause, times func(b []byte) []byte,
) error {
	return h.locked(func() error {
		if h.known.conv(letterFlow(l.ID, typ == lineLetterSent)) != nil {
			return nil
		}
		mine, theirs := l.Bundle, named
		if typ != lineLetterSent {
			mine, theirs = named, l.Bundle
		}
		if err := h.bundle(mine, cause{}); err != nil {
			return err
		}
		before := from
		if from != (cause{}) { // a bundle without its letter would be on nobody's account
			before.more = letterSize
		}
		if err := h.bundle(theirs, before); err != nil {
			return err
		}
		if typ == lineLetterReceived {
			from.records = h.known.unknown(l.Records)
		}
		return h.line(typ, from, func(b []byte) []byte {
			b = slices.Grow(b, linesSize(l.ExactRecords)+len(l.ExactReceipts)+len(l.Exact)+len(l.Signature)*2)
			b = appendLineJSON(b, "name", quoteJSON(other.Name))
			b = appendLineJSON(b, "identity", quoteJSON(proto.FormatHash(other.Identity)))
			b = times(b)
			b = appendLineJSON(b, "header", l.Exact)
			b = appendLineBytes(b, "signature", l.Signature)
			if typ == lineLetterReceipt {
				return appendLineJSON(b, "receipts", l.ExactReceipts)
			}
			return appendLineArray(b, "records", l.ExactRecords)
		})
	})
}

// StoredLetter returns the records of a letter that was received, or none. Known tells how far each
// has got.
func (h *History) StoredLetter(id [32]byte) []Stored {
	_ = h.RefreshKnown() // another client may have received it
	of := letterFlow(id, false)
	e := h.known.look(conversationKey(of), func(line []byte) bool {
		l, ok := peekLetter(line)
		return ok && l.flow() == of
	})
	c := h.known.conv(of)
	if c == nil || e.state == stateNone {
		return nil
	}
	records, err := h.readStored(c, e.offset)
	if err != nil {
		return nil
	}
	return records
}

// Given are receipts in a letter.
type Given struct {
	By       Owner
	Receipts crypto.LetterReceipts
}

// OthersReceipts returns the letters with receipts that other clients of this state directory have
// stored since the last call, or since the start: the relay hands each to one of them. The latest
// come, if they are very many.
func (h *History) OthersReceipts() (given []Given, err error) {
	err = h.RefreshKnown()
	for _, offset := range h.known.receipts {
		l, err := parseLine(h.known.lineAt(offset))
		if err != nil || l.Type != lineLetterReceipt {
			continue // verification tells of it
		}
		if receipts, err := crypto.ParseLetterReceipts(l.Receipts); err == nil {
			given = append(given, Given{Owner{l.Name, proto.MustHash(l.Identity)}, receipts})
		}
	}
	h.known.receipts = nil
	return given, err
}

func appendLineTime(b []byte, field string, at time.Time) []byte {
	return strconv.AppendInt(appendLineField(b, field), at.UnixMilli(), 10)
}

// OwnRecord returns the record of the owner's whose FullRecordID this is, whatever client has
// sent it or waits to send it. Of a conversation's records it finds those that were not READ
// there.
func (h *History) OwnRecord(id [32]byte) (r *crypto.Record, ok bool) {
	key := recordKey(id[:])
	e := h.known.ownRecord(key)
	if e.state == stateNone && h.RefreshKnown() == nil {
		e = h.known.ownRecord(key)
	}
	if e.state == stateNone {
		return nil, false
	}
	// The line may have hundreds of records, which a letter of receipts asks for one by one.
	_, rest, _ := bytes.Cut(h.known.lineAt(e.offset), hex.AppendEncode([]byte(recordStart), key[:]))
	var exact json.RawMessage
	record := io.MultiReader(strings.NewReader(recordStart+hex.EncodeToString(key[:])), bytes.NewReader(rest))
	r = new(crypto.Record)
	if json.NewDecoder(record).Decode(&exact) == nil && proto.Unmarshal(exact, r) == nil &&
		crypto.FullRecordID(h.cfg.Owner.Identity, r) == id {
		return r, true
	}
	return nil, false
}

// LastLetterTo returns the number of the last letter with records to an identity, from a mailbox
// of one's own to theirs, as far as the relay has answered; 0: there is none.
func (h *History) LastLetterTo(to, ours, theirs [32]byte) uint64 {
	_ = h.RefreshKnown() // a number that is too low harms nothing
	return h.known.lastLetter(lineLetterSent, to, ours, theirs)
}

// LastLetterFrom returns the highest number of a letter with records that has come from an
// identity, from a mailbox to one of one's own; 0: there is none.
func (h *History) LastLetterFrom(from, theirs, ours [32]byte) uint64 {
	_ = h.RefreshKnown()
	return h.known.lastLetter(lineLetterReceived, from, theirs, ours)
}

// Synced calls done, in any goroutine, once all lines that the history has now are on the disk,
// also those of other clients, or with the error. done may take locks.
func (h *History) Synced(done func(error)) { h.writer.synced(done) }
