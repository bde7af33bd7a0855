package history

import (
	"bytes"
	"encoding/hex"

	"chatsecure/crypto"
	"chatsecure/proto"
)

// ownKey finds a line with a record of the owner's: the one that was sent to oneself is also
// received, under its id.
func ownKey(key recordKey) recordKey {
	for i := range key {
		key[i] ^= 0xff
	}
	return key
}

// letterKey finds the line of the letter with the highest number between two mailboxes, to or from
// one identity: another may name the same mailbox.
func letterKey(typ string, other, from, to [32]byte) recordKey {
	return hashKey(typ, other[:], from[:], to[:])
}

// peekedLetter is the line of a letter without its records, which need not be decoded.
type peekedLetter struct {
	typ, name string
	identity  [32]byte
	run       string // of one that was received
	header    *crypto.LetterHeader
	rest      []byte // after the header
}

// flow is that of the letter in our direction.
func (l *peekedLetter) flow() flow {
	return letterFlow([32]byte(l.header.Letter), l.typ == lineLetterSent)
}

// peekLetter reads the line of a letter.
func peekLetter(line []byte) (l *peekedLetter, ok bool) {
	typ, rest, _ := peekType(line)
	switch string(typ) {
	case lineLetterSent, lineLetterReceived, lineLetterReceipt:
	default:
		return nil, false
	}
	l = &peekedLetter{typ: string(typ)}
	rest, _ = bytes.CutPrefix(rest, []byte(`,"name":`))
	name, rest, _ := bytes.Cut(rest, []byte(`,"identity":"`))
	identity, rest, _ := cutQuote(rest)
	if after, has := bytes.CutPrefix(rest, []byte(`,"run":"`)); has {
		run, _, _ := cutQuote(after)
		l.run = string(run)
	}
	_, rest, _ = bytes.Cut(rest, []byte(`,"header":`))
	header, rest, _ := bytes.Cut(rest, []byte(`,"signature":"`))
	var err error
	if l.header, err = crypto.ParseLetterHeader(header); err != nil ||
		proto.Unmarshal(name, &l.name) != nil || !proto.IsHex(string(identity), len(l.identity)) {
		return nil, false
	}
	l.identity, l.rest = proto.MustHash(string(identity)), rest
	return l, true
}

// conv is the letter as a conversation.
func (l *peekedLetter) conv() *indexedConv {
	bundle := l.header.SrcBundle
	if l.typ == lineLetterSent {
		bundle = l.header.DstBundle
	}
	return &indexedConv{
		run: l.run, peer: End{Name: l.name, Identity: proto.FormatHash(l.identity), Bundle: bundle},
	}
}

// letter takes in the line of a letter, and returns it as a conversation and the number of its new
// records.
func (x *index) letter(line []byte, offset int64, ours bool) (c *indexedConv, added int) {
	l, ok := peekLetter(line)
	if !ok {
		return nil, 0
	}
	of := l.flow()
	if c := x.conv(of); c != nil {
		return c, 0 // it is there twice, which only verification needs to know
	}
	x.put(conversationKey(of), entry{offset, stateStored})
	c = l.conv()
	switch l.typ {
	case lineLetterSent:
		x.accounts.answered(l.identity)
		x.mine(l.rest, offset)
	case lineLetterReceived:
		if x.light {
			break
		}
		x.convs[of] = c
		added = x.received(c, offset, l.rest, ours, false)
	}
	b := x.bundle([32]byte(l.header.SrcBundle))
	if b.state == stateNone {
		return c, added
	}
	if l.typ != lineLetterSent {
		x.put(personKey(l.identity), entry{b.offset, stateLatest})
	}
	if l.typ != lineLetterReceipt {
		if from, ok := x.mailbox(b.offset); ok {
			key := letterKey(l.typ, l.identity, from, [32]byte(l.header.Mailbox))
			if x.letterN(x.lastOf(key)) < l.header.N {
				x.entries[key] = entry{offset, stateLatest}
			}
		}
	}
	return c, added
}

// lastOf returns the entry of the letter with the highest number between two mailboxes.
func (x *index) lastOf(key recordKey) entry {
	return x.look(key, func(line []byte) bool {
		l, ok := peekLetter(line)
		return ok && l.typ != lineLetterReceipt
	})
}

// lastLetter returns the highest number of the letters of a type, to or from an identity, between
// two mailboxes.
func (x *index) lastLetter(typ string, other, from, to [32]byte) uint64 {
	return x.letterN(x.lastOf(letterKey(typ, other, from, to)))
}

// letterN reads the number of a letter again.
func (x *index) letterN(e entry) uint64 {
	if e.state == stateNone {
		return 0
	}
	l, ok := peekLetter(x.lineAt(e.offset))
	if !ok {
		return 0
	}
	return l.header.N
}

// mailbox returns the mailbox that a bundle's line names.
func (x *index) mailbox(offset int64) (mailbox [32]byte, ok bool) {
	_, rest, _ := bytes.Cut(x.lineAt(offset), []byte(`,"mailbox":"`))
	mailbox, _, ok = peekHash(rest)
	return mailbox, ok
}

// mine takes in records of the owner's.
func (x *index) mine(rest []byte, offset int64) {
	for id := range peekRecords(rest) {
		if key, ok := parseKey(id); ok {
			x.put(ownKey(key), entry{offset, stateStored})
		}
	}
}

// sentLine is a line of one's own records that the peer has not read. Of what was read no receipt
// comes any more, so the index need not find it: most is read within the run.
type sentLine struct {
	offset int64
	last   uint64 // seq
}

// sent takes in the rest of a sent line after its flow.
func (c *indexedConv) sent(offset int64, rest []byte) {
	_, rest, _ = bytes.Cut(rest, []byte(`,"seq":`))
	first, rest, _ := peekNumber(rest)
	rest, ok := bytes.CutPrefix(rest, []byte(`,"count":`))
	if count, _, isNumber := peekNumber(rest); ok && isNumber {
		c.unread = append(c.unread, sentLine{offset, first + count - 1})
	}
}

// read takes in the rest of a receipt's line after its flow.
func (c *indexedConv) read(rest []byte) {
	_, rest, ok := bytes.Cut(rest, []byte(`,"read":`))
	if seq, _, isNumber := peekNumber(rest); ok && isNumber && c != nil {
		i := 0
		for i < len(c.unread) && c.unread[i].last <= seq {
			i++
		}
		c.unread = c.unread[i:]
	}
}

// mineUnread takes in the records that are not read.
func (x *index) mineUnread() {
	if !x.unread {
		return
	}
	for _, c := range x.convs {
		for _, sent := range c.unread {
			x.mine(x.lineAt(sent.offset), sent.offset)
		}
		c.unread = nil
	}
	x.unread = false
}

// ownRecord returns the entry of a record of the owner's.
func (x *index) ownRecord(key recordKey) entry {
	x.mineUnread()
	return x.look(ownKey(key), func(line []byte) bool {
		typ, rest, _ := peekType(line)
		switch string(typ) {
		case linePending, lineSent, lineLetterSent:
			return bytes.Contains(rest, hex.AppendEncode([]byte(recordStart), key[:]))
		}
		return false
	})
}

// unknown counts the records that no line has.
func (x *index) unknown(records []*crypto.Record) (n int) {
	for _, r := range records {
		if key, ok := parseKey(r.ID); ok && x.record(key).state == stateNone {
			n++
		}
	}
	return n
}
