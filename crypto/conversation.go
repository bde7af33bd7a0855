package crypto

import (
	"chatsecure/crypto/trust"
	"chatsecure/proto"
)

type role int

const (
	initiatorRole role = iota // A
	responderRole             // B
)

// A Conversation is the state of an end-to-end session between two connections.
// One goroutine owns it. PROTOCOL.md, "Messages" and "Ratchet".
type Conversation struct {
	T3         [32]byte
	Me, Peer   End
	Person     *trust.Person // the peer
	PeerBundle *trust.Bundle
	PeerTakes  string // the kind of message that the peer's connection takes, as the peer has signed
	PeerLetter uint64 // the number of the peer's last letter to our mailbox, as the peer has signed

	local            *Local
	suite            Suite
	role             role
	myHash, peerHash [32]byte

	send, recv *kdfChain
	ratchet

	sent         digestLog // records sent, from the last one that the peer called read
	received     digestLog // records received, from the last one that we called read
	lastN, lastM uint64    // delivered and read of the last receipt that came
	saidN        uint64    // delivered of the last receipt that we sealed

	sentTo  []Recipient  // the last `to` that was checked for sending
	records RecordParser // of records received; most messages have the `to` of the one before
}

// begin derives the first keys of a conversation whose handshake has set T3, both ends,
// their bundles, suite and role. kc is the confirmation key of p3. The caller clears kc, ss2
// and root0.
func (c *Conversation) begin(ss2, root0 []byte) (kc []byte) {
	prk := extract(ss2, root0)
	defer clear(prk)
	part := func(label string) []byte {
		return expand(prk, proto.Tuple("root", c.suite.Name(), c.T3, label), secretSize)
	}
	c.ratchet.root = part("root")
	c.send = newKDFChain(c.suite, part(c.SendDirection()), c.T3, c.SendDirection())
	c.recv = newKDFChain(c.suite, part(c.recvDirection()), c.T3, c.recvDirection())
	c.myHash, c.peerHash = c.local.Bundle.Hash(), c.PeerBundle.Hash()
	c.sent = newDigestLog(FirstDigest(c.T3, c.SendDirection()))
	c.received = newDigestLog(FirstDigest(c.T3, c.recvDirection()))
	return part("confirm")
}

// Suite returns the name of the conversation's suite.
func (c *Conversation) Suite() string { return c.suite.Name() }

// Initiated reports whether this side began the conversation.
func (c *Conversation) Initiated() bool { return c.role == initiatorRole }

// SendDirection returns the direction of this side's messages.
func (c *Conversation) SendDirection() string {
	if c.role == initiatorRole {
		return DirectionAB
	}
	return DirectionBA
}

// recvDirection returns the direction of the peer's messages.
func (c *Conversation) recvDirection() string {
	if c.role == initiatorRole {
		return DirectionBA
	}
	return DirectionAB
}

// SentSeq returns the seq of the last record sent, 0 if there is none.
func (c *Conversation) SentSeq() uint64 { s, _ := c.sent.last(); return s }

// ReceivedSeq returns the seq of the last record received, 0 if there is none.
func (c *Conversation) ReceivedSeq() uint64 { s, _ := c.received.last(); return s }

// MyIdentity returns the identity that this side's bundle proves.
func (c *Conversation) MyIdentity() [32]byte { return c.local.Identity }

// MyBundle returns the hash of this side's bundle.
func (c *Conversation) MyBundle() [32]byte { return c.myHash }

// TheirBundle returns the hash of the peer's bundle.
func (c *Conversation) TheirBundle() [32]byte { return c.peerHash }

// Erase clears every key. The conversation seals and opens nothing afterwards.
func (c *Conversation) Erase() {
	c.send.erase()
	c.recv.erase()
	c.ratchet.erase()
}
