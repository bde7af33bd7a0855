package crypto

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"chatsecure/canon"
	"chatsecure/proto"
)

// Errors of Open that a caller tells apart. All of them end the conversation
// when the message came from the peer's own connection.
var (
	ErrGap    error = &refusal{code: proto.DecryptFailed, text: "messages are missing before this one"}
	ErrReplay error = &refusal{code: proto.DecryptFailed, text: "a message with an old number"}
	ErrClock  error = &refusal{code: proto.Unexpected, text: "the message's time is more than five minutes from this machine's clock", hint: "look at both clocks: one of them is wrong"}
)

// ErrOtherConversation is Open's answer to a message of another conversation.
// Nothing else about it has been looked at.
var ErrOtherConversation = errors.New("a message of another conversation")

type role int

const (
	initiatorRole role = iota // A
	responderRole             // B
)

// A Conversation is the state of one end-to-end session between two
// connections: PROTOCOL.md, "Messages" and "Ratchet". One goroutine owns it.
type Conversation struct {
	T3         [32]byte
	Me, Peer   End
	Person     *Person // who the peer proved to be
	PeerBundle *Bundle

	local            *Local
	suite            Suite
	role             role
	myHash, peerHash [32]byte

	send, recv *kdfChain
	ratchet

	sent         digestLog // records sent; trimmed to what is read
	received     digestLog // records received; trimmed to what we said is read
	lastN, lastM uint64    // delivered and read of the last receipt applied
	saidN        uint64    // delivered of the last receipt given
}

// newConversation derives the conversation's first keys. kc confirms p3. ss2
// and root0 are the caller's to clear.
func newConversation(local *Local, person *Person, suite Suite, t3 [32]byte, ss2, root0 []byte, role role) (c *Conversation, kc []byte) {
	prk := extract(ss2, root0)
	part := func(label string) []byte {
		return expand(prk, string(tuple("root", suite.Name(), t3, label)), secretSize)
	}
	c = &Conversation{
		T3: t3, Person: person, local: local, suite: suite, role: role,
		ratchet: ratchet{root: part("root")},
	}
	ab := newKDFChain(suite, part("AB"), t3, DirectionAB)
	ba := newKDFChain(suite, part("BA"), t3, DirectionBA)
	kc = part("confirm")
	clear(prk)
	if role == initiatorRole {
		c.send, c.recv = ab, ba
	} else {
		c.send, c.recv = ba, ab
	}
	c.sent = newDigestLog(FirstDigest(t3, c.SendDirection()))
	c.received = newDigestLog(FirstDigest(t3, c.recvDirection()))
	return c, kc
}

// Suite returns the name of the conversation's suite.
func (c *Conversation) Suite() string { return c.suite.Name() }

// Initiated tells whether this side began the conversation.
func (c *Conversation) Initiated() bool { return c.role == initiatorRole }

// SendDirection returns the direction of what this side sends.
func (c *Conversation) SendDirection() string {
	if c.role == initiatorRole {
		return DirectionAB
	}
	return DirectionBA
}

func (c *Conversation) recvDirection() string {
	if c.role == initiatorRole {
		return DirectionBA
	}
	return DirectionAB
}

// SentSeq and ReceivedSeq return the seq of the last record of each direction.
func (c *Conversation) SentSeq() uint64     { s, _ := c.sent.last(); return s }
func (c *Conversation) ReceivedSeq() uint64 { s, _ := c.received.last(); return s }

// Erase clears every key of the conversation, which seals and opens nothing
// afterwards.
func (c *Conversation) Erase() {
	c.send.erase()
	c.recv.erase()
	c.ratchet.erase()
}

// Sealed is a message ready to go, and what proves it afterwards.
type Sealed struct {
	Body       []byte // what the relay copies
	Header     []byte // exact header bytes
	Signature  []byte
	CipherHash [32]byte
	Before     [32]byte // text: the digest before its first record
}

// SealRecords seals records under one signature. It gives them their seq, and
// leaves their exact bytes in exact, which share one piece of memory.
func (c *Conversation) SealRecords(records []*Record, now time.Time) (s *Sealed, exact [][]byte, err error) {
	if len(records) == 0 || len(records) > maxBatch {
		return nil, nil, fmt.Errorf("a message of %d records, 1 to %d are allowed", len(records), maxBatch)
	}
	for _, r := range records {
		if err := r.check(); err != nil {
			return nil, nil, err // no receiver would take it, now or when sent again
		}
	}
	seq, before := c.sent.last()
	d := before
	digests := make([][32]byte, len(records))
	exact = make([][]byte, len(records))
	size := 0
	for _, r := range records {
		size += r.encodedSize() + 1
	}
	plaintext := make([]byte, 0, size)
	for i, r := range records {
		if i > 0 {
			plaintext = append(plaintext, '\n')
		}
		r.Seq = seq + 1 + uint64(i)
		start := len(plaintext)
		plaintext = r.appendTo(plaintext)
		exact[i] = plaintext[start:len(plaintext):len(plaintext)]
		d = NextDigest(d, sha256.Sum256(exact[i]))
		digests[i] = d
	}
	h := MessageHeader{Kind: KindText, Seq: seq + 1, Count: uint64(len(records)), Digest: d[:]}
	s, err = c.seal(&h, plaintext, now)
	if err != nil {
		return nil, nil, err
	}
	s.Before = before
	c.sent.append(digests...)
	return s, exact, nil
}

// SealReceipt seals a receipt for everything up to delivered and read, of the
// records received. Neither may be less than in the receipt before.
func (c *Conversation) SealReceipt(delivered, read uint64, now time.Time) (*Sealed, error) {
	dn, ok1 := c.received.at(delivered)
	dm, ok2 := c.received.at(read)
	if !ok1 || !ok2 || read > delivered || delivered < c.saidN {
		return nil, fmt.Errorf("a receipt for %d and %d, which were not received, or less than was said before", delivered, read)
	}
	r := Receipt{Delivered: delivered, DeliveredDigest: dn[:], Read: read, ReadDigest: dm[:], Time: now.UnixMilli(), Salt: newSalt()}
	d := r.Digest(c.T3, c.SendDirection())
	s, err := c.seal(&MessageHeader{Kind: KindReceipt, Digest: d[:]}, canon.MustMarshal(&r), now)
	if err != nil {
		return nil, err
	}
	c.received.trim(read)
	c.saidN = delivered
	return s, nil
}

// SealPipe seals a pipe chunk.
func (c *Conversation) SealPipe(chunk []byte, now time.Time) (*Sealed, error) {
	return c.seal(&MessageHeader{Kind: KindPipe}, chunk, now)
}

// SealEnd seals the end of this side's part of the conversation.
func (c *Conversation) SealEnd(now time.Time) (*Sealed, error) {
	seq, d := c.sent.last()
	return c.seal(&MessageHeader{Kind: KindEnd, Seq: seq, Digest: d[:]}, nil, now)
}

// newSalt returns 16 random bytes.
func newSalt() []byte {
	salt := make([]byte, saltSize)
	rand.Read(salt)
	return salt
}

// NewRecord fixes a record: its salt is drawn and its id computed, and neither
// changes when it is sent again. to is sorted in place.
func NewRecord(sender [32]byte, to []Recipient, text string, now time.Time) *Record {
	SortRecipients(to)
	r := &Record{Time: now.UnixMilli(), To: to, Text: text, Salt: newSalt()}
	r.ID = RecordID(sender, r)
	return r
}

// seal completes the header, takes a ratchet step where one is due, seals and
// signs. After an error the conversation is of no more use: its chain may have
// moved on without the peer's.
func (c *Conversation) seal(h *MessageHeader, plaintext []byte, now time.Time) (*Sealed, error) {
	if c.root == nil {
		return nil, errors.New("the conversation has ended")
	}
	if err := c.stepIfDue(c, h, now); err != nil {
		return nil, err
	}
	h.Conversation, h.Direction, h.N = c.T3[:], c.SendDirection(), c.send.n
	h.Random = make([]byte, secretSize)
	rand.Read(h.Random)
	h.SrcBundle, h.DstBundle, h.Time = c.myHash[:], c.peerHash[:], now.UnixMilli()
	s := &Sealed{Header: canon.MustMarshal(h)}

	// The body is built in one buffer: header, signature line, ciphertext. The
	// ciphertext is sealed at its place first, since the signature covers it.
	sigLen := base64.StdEncoding.EncodedLen(signatureSize(c.local.Key))
	start := len(s.Header) + 1 + sigLen + 1
	body := make([]byte, start, start+len(plaintext)+sealOverhead)
	body = c.send.seal(body, h.Random, s.Header, plaintext)
	s.CipherHash = sha256.Sum256(body[start:])
	s.Signature = c.local.Key.Sign(MessageSigns(s.Header, s.CipherHash))
	if len(s.Signature) != signatureSize(c.local.Key) {
		return nil, errors.New("the signing key has been erased")
	}
	copy(body, s.Header)
	body[len(s.Header)] = '\n'
	base64.StdEncoding.Encode(body[len(s.Header)+1:], s.Signature)
	body[start-1] = '\n'
	s.Body = body
	c.since++
	return s, nil
}

// signatureSize returns how many bytes K's signatures have.
func signatureSize(k *Key) int {
	if k.Kind() == KeyEd25519 {
		return ed25519.SignatureSize
	}
	return keyRSABits / 8
}

// Opened is a message that has been checked, and has changed nothing yet. The
// caller stores it and then calls Commit, or drops it with Discard.
type Opened struct {
	Header     *MessageHeader
	Exact      []byte // exact header bytes
	Signature  []byte
	CipherHash [32]byte
	Before     [32]byte // text: the digest before its first record

	Records      []*Record // text
	ExactRecords [][]byte
	Receipt      *Receipt // receipt
	ExactReceipt []byte
	Chunk        []byte // pipe

	digests [][32]byte
	step    *openedStep
}

// Open checks a message in the order of PROTOCOL.md, "Messages": header,
// signature, tentative step and opening, digest. It works in body's memory.
func (c *Conversation) Open(body []byte, now time.Time) (o *Opened, err error) {
	header, rest, ok1 := bytes.Cut(body, []byte("\n"))
	sigLine, sealed, ok2 := bytes.Cut(rest, []byte("\n"))
	if !ok1 || !ok2 {
		return nil, errors.New("message: malformed body")
	}
	h, err := ParseMessageHeader(header)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(h.Conversation, c.T3[:]) {
		return nil, ErrOtherConversation
	}
	if h.Direction != c.recvDirection() || !bytes.Equal(h.SrcBundle, c.peerHash[:]) || !bytes.Equal(h.DstBundle, c.myHash[:]) {
		return nil, ErrDecrypt
	}
	sig, err := decodeBase64(sigLine)
	if err != nil {
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
	if d := now.Sub(time.UnixMilli(h.Time)); d > ClockTolerance || d < -ClockTolerance {
		return nil, ErrClock
	}

	chain := c.recv
	if h.Step != nil {
		if o.step, err = c.tryStep(c, h.Step, now); err != nil {
			return nil, err
		}
		chain = o.step.chain
	}
	plaintext, err := chain.open(sealed[:0], h.Random, o.Exact, sealed)
	if err == nil {
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
		if len(plaintext) != 0 || h.Seq != seq || !bytes.Equal(h.Digest, d[:]) {
			return ErrDecrypt
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
	if h.Seq != seq+1 {
		return ErrDecrypt
	}
	lines, err := splitRecords(plaintext, h.Count)
	if err != nil {
		return err
	}
	o.Before = d
	me := hex.EncodeToString(c.local.Identity[:])
	parser := recordParser{sender: c.Person.Identity}
	o.digests = make([][32]byte, 0, len(lines))
	o.Records = make([]*Record, 0, len(lines))
	o.ExactRecords = lines
	for i, line := range lines {
		r, err := parser.parse(line)
		if err != nil {
			return err
		}
		if r.Seq != h.Seq+uint64(i) || r.Time > h.Time+ClockTolerance.Milliseconds() {
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
		return ErrDecrypt
	}
	return nil
}

// checkReceipt holds a receipt against what was sent: it never goes back, and
// never speaks of what was not sent.
func (c *Conversation) checkReceipt(h *MessageHeader, r *Receipt) error {
	want := r.Digest(c.T3, h.Direction)
	if !bytes.Equal(h.Digest, want[:]) {
		return ErrDecrypt
	}
	dn, ok1 := c.sent.at(r.Delivered)
	dm, ok2 := c.sent.at(r.Read)
	if !ok1 || !ok2 || r.Delivered < c.lastN || r.Read < c.lastM ||
		!bytes.Equal(dn[:], r.DeliveredDigest) || !bytes.Equal(dm[:], r.ReadDigest) {
		return errors.New("receipt: it goes back, or speaks of what was not sent")
	}
	return nil
}

// Commit makes what o brought part of the state, all at once. An o that is no
// longer the next message changes nothing.
func (c *Conversation) Commit(o *Opened) {
	if o.Header.N != c.recv.n {
		o.Discard()
		return
	}
	if o.step != nil {
		c.recv.erase()
		c.recv = o.step.chain
		c.commitStep(o.step)
		o.step = nil
	}
	c.recv.advance()
	c.since++
	c.received.append(o.digests...)
	if o.Receipt != nil {
		c.lastN, c.lastM = o.Receipt.Delivered, o.Receipt.Read
		c.sent.trim(c.lastM)
	}
}

// Discard clears what a message that is not committed derived.
func (o *Opened) Discard() {
	if o.step != nil {
		o.step.erase()
		o.step = nil
	}
}
