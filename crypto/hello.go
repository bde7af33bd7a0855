package crypto

import (
	"bytes"
	"crypto/sha256"

	"chatsecure/crypto/trust"
	"chatsecure/proto"
)

// Hello is the payload of connect phase 3: the client's identity, the kind of message
// that it takes, and its letters. It is not in package proto because a bundle is in it.
type Hello struct {
	Name      string        `json:"name"`
	Takes     string        `json:"takes"`
	Bundle    *trust.Bundle `json:"bundle"`
	Mailbox   []byte        `json:"mailbox"`        // key of the mailbox that the bundle names, or empty, never null
	Collects  [][]byte      `json:"collects"`       // hashes of own mailboxes, newest first; [] if none, never null
	Signature []byte        `json:"data_signature"` // K over Connect.ClientSigns
}

// ReadHello decodes the opened payload of connect phase 3 and checks the form of the bundle
// and of the mailboxes. Neither the identity nor the signature has been verified. Errors
// are a *proto.Error or a *trust.Error.
func ReadHello(opened []byte) (*Hello, error) {
	var hi Hello
	if err := proto.Unmarshal(opened, &hi); err != nil || hi.Bundle == nil || !proto.ValidTakes(hi.Takes) || !hi.collectsOK() {
		return nil, proto.Errorf(proto.Malformed, "the sealed part of connect phase 3 is malformed")
	}
	if err := hi.Bundle.Check(); err != nil {
		return nil, err
	}
	return &hi, checkOwnMailbox(hi.Bundle, hi.Mailbox)
}

// collectsOK reports whether the mailboxes to collect are few, and each stands once. A pipe
// leaves letters for who reads them.
func (h *Hello) collectsOK() bool {
	if len(h.Collects) > proto.MaxCollects || h.Takes == proto.TakesPipe && len(h.Collects) > 0 {
		return false
	}
	for i, hash := range h.Collects {
		if len(hash) != sha256.Size || i > 0 && bytes.Equal(hash, h.Collects[i-1]) {
			return false
		}
	}
	return true
}

// checkOwnMailbox refuses a mailbox key that is not the one that its owner's bundle names.
// None is fine.
func checkOwnMailbox(b *trust.Bundle, key []byte) error {
	if len(key) == 0 {
		return nil
	}
	if hash := MailboxHash(key); !bytes.Equal(hash[:], b.Mailbox) {
		return proto.Errorf(proto.Malformed, "a mailbox key that the bundle does not name")
	}
	if CheckMailboxKey(key) != nil {
		return proto.Errorf(proto.Malformed, "a mailbox key that cannot be used")
	}
	return nil
}

// LetterBox is one element of the body of a letter-to answer: a mailbox, and the bundle
// that names it.
type LetterBox struct {
	Key    []byte        `json:"key"`
	Bundle *trust.Bundle `json:"bundle"`
}

// ReadLetterBoxes decodes the body of a letter-to answer and checks its forms. No identity
// has been verified.
func ReadLetterBoxes(body []byte) ([]LetterBox, error) {
	var boxes []LetterBox
	if err := proto.Unmarshal(body, &boxes); err != nil || len(boxes) > proto.MaxMailboxesTo {
		return nil, proto.Errorf(proto.Malformed, "a list of mailboxes that is malformed")
	}
	for _, box := range boxes {
		if len(box.Key) == 0 {
			return nil, proto.Errorf(proto.Malformed, "a list of mailboxes that is malformed")
		}
		if err := box.Bundle.Check(); err != nil {
			return nil, err
		}
		if err := proto.CheckName(box.Bundle.Name); err != nil {
			return nil, err
		}
		if err := checkOwnMailbox(box.Bundle, box.Key); err != nil {
			return nil, err
		}
	}
	return boxes, nil
}
