package client

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"chatsecure/card"
	"chatsecure/crypto/trust"
	"chatsecure/internal/state"
)

// startsBefore is the time before now at which a delegation begins: a peer whose
// clock is a little behind accepts it at once.
const startsBefore = time.Minute

// Delegation is the order for a new credential.
type Delegation struct {
	Name          string
	Key           *trust.Key    // K, which is the credential's from then on, or erased after an error
	Lifetime      time.Duration // at most trust.MaxDelegation, and never beyond the certificate's end
	Intermediates [][]byte      // further CA certificates for the chain, tried before those on the card
	Mail          string        // the state directory whose newest mailbox is named; "" names none
	Now           time.Time
}

// NewCredential has the card sign the delegation of a new K: the one C_Sign of a
// session.
func NewCredential(ctx context.Context, c card.Card, d Delegation) (cred *state.Credential, err error) {
	defer func() {
		if err != nil {
			d.Key.Erase()
		}
	}()
	leaf, err := x509.ParseCertificate(c.Leaf())
	if err != nil {
		return nil, fmt.Errorf("the card's certificate cannot be read: %w", err)
	}
	begin := d.Now.Add(-startsBefore)
	if begin.Before(leaf.NotBefore) {
		begin = leaf.NotBefore
	}
	end := begin.Add(min(d.Lifetime+startsBefore, trust.MaxDelegation))
	if end.After(leaf.NotAfter) {
		end = leaf.NotAfter
	}
	if !begin.Before(end) { // the certificate has just ended, and others still take it
		begin = end.Add(-startsBefore)
	}
	b := &trust.Bundle{
		Name: d.Name, PublicKey: d.Key.Public().SPKI(), NotBefore: begin.Unix(), NotAfter: end.Unix(),
		Mailbox: []byte{},
		X509:    c.Leaf(), Chain: trust.ChainFor(leaf, slices.Concat(d.Intermediates, c.Chain()), d.Now),
	}
	sign := func() (err error) {
		if b.Signature, err = c.Sign(ctx, b.DelegationMessage()); err == nil {
			err = b.Check()
		}
		return err
	}
	if d.Mail != "" {
		err = nameMailbox(b, d, leaf, sign)
	} else {
		err = sign()
	}
	if err != nil {
		return nil, err
	}
	return &state.Credential{Key: d.Key, Bundle: b}, nil
}

// nameMailbox has sign sign a bundle that names the newest mailbox. The key is on the disk
// before that, and that the bundle names it before anybody sees the bundle.
func nameMailbox(b *trust.Bundle, d Delegation, leaf *x509.Certificate, sign func() error) error {
	m := openMail(d.Mail)
	box, err := m.newest(d.Now)
	if err != nil {
		return err
	}
	most := b.NotBefore + int64(trust.MaxMailbox/time.Second)
	b.Mailbox, b.MailboxEnd = box.Hash[:], min(most, box.Ends.Unix(), leaf.NotAfter.Unix())
	if err := sign(); err != nil {
		return err
	}
	return m.named(box.Hash, b.Hash())
}
