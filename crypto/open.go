package crypto

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"slices"
	"time"
	"unicode/utf8"

	"chatsecure/crypto/trust"
	"chatsecure/proto"
)

// Opened is a checked message that has changed nothing yet. The caller stores it
// and then calls Commit, or drops it with Discard.
type Opened struct {
	Header     *MessageHeader
	Exact      []byte // exact bytes of the header
	Signature  []byte
	CipherHash [32]byte
	Before     [32]byte // of a text: the digest before its first record

	Records      []*Record // of a text
	ExactRecords [][]byte
	Receipt      *Receipt // of a receipt
	ExactReceipt []byte
	Chunk        []byte // of a pipe
	Refusal      string // of an end: why the peer takes nothing more, "" if it only leaves

	digests [][32]byte
	step    *openedStep
	next    []byte // the chain key after this message; nil once taken or cleared
}

// Open checks a message in the order of PROTOCOL.md, "Messages": header, signature,
// number, time, tentative step and seal, content and digest. It decrypts in body's
// memory, and what it returns may share that.
func (c *Conversation) Open(body []byte, now time.Time) (o *Opened, err error) {
	if !bytes.Equal(PeekConversation(body), c.T3[:]) {
		return nil, ErrOtherConversation
	}
	header, rest, ok1 := bytes.Cut(body, []byte("\n"))
	sigLine, sealed, ok2 := bytes.Cut(rest, []byte("\n"))
	if !ok1 || !ok2 {
		return nil, errors.New("message: malformed body")
	}
	h, err := ParseMessageHeader(header)
	if err != nil {
		return nil, err
	}
	if h.Direction != c.recvDirection() || !bytes.Equal(h.SrcBundle, c.peerHash[:]) || !bytes.Equal(h.DstBundle, c.myHash[:]) {
		return nil, ErrDecrypt
	}
	sig, ok := proto.DecodeBase64(nil, sigLine)
	if !ok {
		return nil, ErrDecrypt
	}
	o = &Opened{Header: h, Exact: slices.Clone(header), Signature: sig, CipherHash: sha256.Sum256(sealed)}
	if !c.Person.Key.Verify(MessageSigns(o.Exact, o.CipherHash), sig) {
		return nil, ErrDecrypt
	}
	switch n := c.recv.n; {
	case h.N > n:
		return nil, ErrGap
	case h.N < n:
		return nil, ErrReplay
	}
	if d := now.Sub(time.UnixMilli(h.Time)); d > trust.ClockTolerance || d < -trust.ClockTolerance {
		return nil, ErrClock
	}

	chain := c.recv
	if h.Step != nil {
		if o.step, err = c.tryStep(c, h.Step, now); err != nil {
			return nil, err
		}
		chain = o.step.chain
	}
	var plaintext []byte
	if plaintext, o.next, err = chain.open(sealed[:0], h.Random, o.Exact, sealed); err == nil {
		err = c.interpret(o, plaintext, now)
	}
	if err != nil {
		o.Discard()
		return nil, err
	}
	return o, nil
}

// interpret decodes the plaintext by its kind and checks the digest.
func (c *Conversation) interpret(o *Opened, plaintext []byte, now time.Time) error {
	h := o.Header
	seq, d := c.received.last()
	switch h.Kind {
	case KindPipe:
		o.Chunk = plaintext
		return nil
	case KindEnd:
		if len(plaintext) > proto.MaxMessage || !utf8.Valid(plaintext) {
			return ErrDecrypt
		}
		o.Refusal = string(plaintext)
		if h.Seq != seq || !bytes.Equal(h.Digest, d[:]) {
			return ErrDigest
		}
		return nil
	case KindReceipt:
		r, err := ParseReceipt(plaintext)
		if err != nil {
			return err
		}
		o.Receipt, o.ExactReceipt = r, slices.Clone(plaintext)
		return c.checkReceipt(h, r)
	}
	return c.readRecords(o, plaintext)
}

// readRecords decodes and checks the records of a text.
func (c *Conversation) readRecords(o *Opened, plaintext []byte) error {
	h := o.Header
	seq, d := c.received.last()
	if h.Seq != seq+1 {
		return ErrDigest
	}
	lines, err := splitRecords(plaintext, h.Count)
	if err != nil {
		return err
	}
	o.Before = d
	me := proto.FormatHash(c.local.Identity)
	defer c.records.forgetLong()
	c.records.Sender, c.records.salts = c.Person.Identity, make([]byte, 0, len(lines)*saltSize)
	records := make([]Record, len(lines))
	o.digests = make([][32]byte, 0, len(lines))
	o.Records = make([]*Record, 0, len(lines))
	o.ExactRecords = lines
	for i, line := range lines {
		r := &records[i]
		if err := c.records.parse(line, r); err != nil {
			return err
		}
		if r.Seq != h.Seq+uint64(i) || r.Time > h.Time+trust.ClockTolerance.Milliseconds() {
			return errors.New("record: seq or time does not agree with its message")
		}
		if !r.Names(c.local.FoldedName, me) {
			return errors.New("record: it is not for this receiver")
		}
		d = NextDigest(d, sha256.Sum256(line))
		o.digests = append(o.digests, d)
		o.Records = append(o.Records, r)
	}
	if !bytes.Equal(h.Digest, d[:]) {
		return ErrDigest
	}
	return nil
}

// checkReceipt compares a receipt with the records sent. It may not go back, nor
// name a record that was not sent.
func (c *Conversation) checkReceipt(h *MessageHeader, r *Receipt) error {
	want := r.Digest(c.T3, h.Direction)
	if !bytes.Equal(h.Digest, want[:]) {
		return ErrDigest
	}
	dn, ok1 := c.sent.at(r.Delivered)
	dm, ok2 := c.sent.at(r.Read)
	if !ok1 || !ok2 || r.Delivered < c.lastN || r.Read < c.lastM ||
		!bytes.Equal(dn[:], r.DeliveredDigest) || !bytes.Equal(dm[:], r.ReadDigest) {
		return errors.New("receipt: it goes back, or speaks of records that were never sent")
	}
	return nil
}

// Commit takes the whole message into the state. An o that is no longer the next
// message changes nothing, nor does one that was committed or discarded, or whose
// conversation was erased since.
func (c *Conversation) Commit(o *Opened) {
	if o.next == nil || c.recv.ck == nil || o.Header.N != c.recv.n {
		o.Discard()
		return
	}
	if o.step != nil {
		c.recv.erase()
		c.recv = o.step.chain
		c.commitStep(o.step)
		o.step = nil
	}
	c.recv.advance(o.next)
	o.next = nil
	c.since++
	c.received.append(o.digests...)
	if o.Receipt != nil {
		c.lastN, c.lastM = o.Receipt.Delivered, o.Receipt.Read
		c.sent.trim(c.lastM)
	}
}

// Discard clears the secrets of a message that is not committed.
func (o *Opened) Discard() {
	clear(o.next)
	o.next = nil
	if o.step != nil {
		o.step.erase()
		o.step = nil
	}
}

// PeekConversation returns the conversation (T3) that a message body names, or nil.
// Nothing else of it has been checked.
func PeekConversation(body []byte) []byte {
	const size = 44 // of 32 bytes in base64
	rest, ok := bytes.CutPrefix(body, []byte(`{"conversation":"`))
	if !ok || len(rest) <= size || rest[size] != '"' {
		return nil
	}
	t3, ok := proto.DecodeBase64(nil, rest[:size])
	if !ok || len(t3) != sha256.Size {
		return nil
	}
	return t3
}
