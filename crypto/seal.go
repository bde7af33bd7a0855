package crypto

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"chatsecure/proto"
)

// Sealed is a message ready to be sent, with the parts that prove it later.
type Sealed struct {
	Body       []byte // for the relay to copy
	Start      int    // of the sealed bytes in Body, which of a pipe cross as text
	Header     []byte // exact bytes
	Signature  []byte
	CipherHash [32]byte
	Before     [32]byte // of a text: the digest before its first record
}

// SealRecords seals records under one signature. It sets their seq and returns
// their exact bytes, which share one buffer.
func (c *Conversation) SealRecords(records []*Record, now time.Time) (s *Sealed, exact [][]byte, err error) {
	if len(records) == 0 || len(records) > maxBatch {
		return nil, nil, fmt.Errorf("a message of %d records, 1 to %d are allowed", len(records), maxBatch)
	}
	for _, r := range records { // no receiver would ever take a bad one
		if !slices.Equal(r.To, c.sentTo) || len(r.To) == 0 {
			if err := checkRecipients(r.To); err != nil {
				return nil, nil, err
			}
			c.sentTo = slices.Clone(r.To)
		}
		if err := r.checkOwn(); err != nil {
			return nil, nil, err
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

// SealReceipt seals a receipt for the received records up to seq delivered and seq
// read. Neither may be less than in the receipt before.
func (c *Conversation) SealReceipt(delivered, read uint64, now time.Time) (*Sealed, error) {
	dn, ok1 := c.received.at(delivered)
	dm, ok2 := c.received.at(read)
	if !ok1 || !ok2 || read > delivered || delivered < c.saidN {
		return nil, fmt.Errorf("a receipt for %d and %d, which were not received, or less than was said before", delivered, read)
	}
	r := Receipt{Delivered: delivered, DeliveredDigest: dn[:], Read: read, ReadDigest: dm[:], Time: now.UnixMilli(), Salt: newSalt()}
	d := r.Digest(c.T3, c.SendDirection())
	s, err := c.seal(&MessageHeader{Kind: KindReceipt, Digest: d[:]}, r.encode(), now)
	if err != nil {
		return nil, err
	}
	c.received.trim(read)
	c.saidN = delivered
	return s, nil
}

// A Lender returns an empty slice with room for n bytes, whose content does not
// matter.
type Lender func(n int) []byte

// NewMemory is the Lender of what nobody takes back.
func NewMemory(n int) []byte { return make([]byte, 0, n) }

// SealPipe seals a pipe chunk. Body is made in memory that lend returns.
func (c *Conversation) SealPipe(chunk []byte, now time.Time, lend Lender) (*Sealed, error) {
	return c.sealIn(lend, &MessageHeader{Kind: KindPipe}, chunk, now)
}

// SealEnd seals the end of this side's part of the conversation.
func (c *Conversation) SealEnd(now time.Time) (*Sealed, error) { return c.SealRefusal("", now) }

// SealRefusal seals an end that says why nothing more of the peer is taken. The last
// receipt before it tells what was.
func (c *Conversation) SealRefusal(why string, now time.Time) (*Sealed, error) {
	seq, d := c.sent.last()
	return c.seal(&MessageHeader{Kind: KindEnd, Seq: seq, Digest: d[:]}, []byte(why), now)
}

// seal completes the header, takes a ratchet step if one is due, seals and signs.
// After an error the conversation is unusable: its chain may have advanced without
// the peer's.
func (c *Conversation) seal(h *MessageHeader, plaintext []byte, now time.Time) (*Sealed, error) {
	return c.sealIn(NewMemory, h, plaintext, now)
}

func (c *Conversation) sealIn(lend Lender, h *MessageHeader, plaintext []byte, now time.Time) (*Sealed, error) {
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
	s := &Sealed{Header: h.encode()}

	// One buffer takes header, signature line and ciphertext. The ciphertext comes
	// first, at its place, because the signature covers it.
	sigLen := proto.Base64Len(c.local.Key.SignatureSize())
	start := len(s.Header) + 1 + sigLen + 1
	body := lend(start + len(plaintext) + sealOverhead)[:start]
	body = c.send.seal(body, h.Random, s.Header, plaintext)
	s.CipherHash = sha256.Sum256(body[start:])
	s.Signature = c.local.Key.Sign(MessageSigns(s.Header, s.CipherHash))
	if len(s.Signature) != c.local.Key.SignatureSize() {
		return nil, errors.New("the signing key has been erased")
	}
	head := proto.AppendBase64(append(append(body[:0], s.Header...), '\n'), s.Signature)
	body[len(head)] = '\n'
	s.Body, s.Start = body, start
	c.since++
	return s, nil
}
