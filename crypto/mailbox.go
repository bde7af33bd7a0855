package crypto

import (
	"bytes"
	"crypto/hpke"

	"chatsecure/proto"
)

// Mailbox is the key pair of a device to which letters are sealed. Unlike every other
// key of a suite it is stored, and serves for many letters. PROTOCOL.md, "Letters".
type Mailbox struct {
	key  *hpkeKey
	hash [32]byte
}

// NewMailbox makes a key pair of the default suite.
func NewMailbox() (*Mailbox, error) {
	key, err := mlkemSuite{}.GenerateKey()
	if err != nil {
		return nil, err
	}
	return newMailbox(key.(*hpkeKey)), nil
}

// ParseMailbox reads what Secret has returned.
func ParseMailbox(secret []byte) (*Mailbox, error) {
	private, err := hpke.MLKEM768X25519().NewPrivateKey(secret)
	if err != nil {
		return nil, err
	}
	return newMailbox(&hpkeKey{private, private.PublicKey().Bytes()}), nil
}

func newMailbox(key *hpkeKey) *Mailbox { return &Mailbox{key, MailboxHash(key.public)} }

// Secret returns the private half, to be stored. The caller clears it. It is nil after
// Erase.
func (m *Mailbox) Secret() []byte {
	if m.key.private == nil {
		return nil
	}
	secret, err := m.key.private.Bytes()
	if err != nil {
		panic("crypto: " + err.Error()) // only a key without bytes has an error
	}
	return bytes.Clone(secret) // package hpke returns its own memory
}

// Public returns the public half.
func (m *Mailbox) Public() []byte { return m.key.public }

// Hash returns the mailbox hash, which the delegation names.
func (m *Mailbox) Hash() [32]byte { return m.hash }

// Erase drops the private half. No letter opens any more.
func (m *Mailbox) Erase() { m.key.Erase() }

// MailboxHash returns the hash of a mailbox's public half.
func MailboxHash(public []byte) [32]byte { return proto.HashTuple("mailbox", SuiteMLKEM, public) }

// CheckMailboxKey refuses bytes that are no public half of a mailbox.
func CheckMailboxKey(public []byte) error { return mlkemSuite{}.CheckKey(public) }
