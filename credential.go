package chatsecure

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	"chatsecure/card"
	"chatsecure/crypto"
)

// A Credential is a K with the delegation that a card signed for it: what a
// client proves itself with until the delegation ends.
type Credential struct {
	Key    *crypto.Key
	Bundle *crypto.Bundle
}

// startsBefore is how long before now a delegation begins, so that a peer
// whose clock is a little behind takes it at once.
const startsBefore = time.Minute

// NewCredential makes a new K of the given kind and has the card sign its
// delegation: the one C_Sign of a session. intermediates are further CA
// certificates to choose the chain from, besides those on the card. The
// delegation ends after lifetime, at most crypto.MaxDelegation, and never
// after the certificate.
func NewCredential(ctx context.Context, c card.Card, name, kind string, lifetime time.Duration, intermediates [][]byte, now time.Time) (*Credential, error) {
	leaf, err := x509.ParseCertificate(c.Leaf())
	if err != nil {
		return nil, fmt.Errorf("the card's certificate cannot be read: %w", err)
	}
	key, err := crypto.GenerateKey(kind)
	if err != nil {
		return nil, err
	}
	begin := now.Add(-startsBefore)
	if begin.Before(leaf.NotBefore) {
		begin = leaf.NotBefore
	}
	end := begin.Add(min(lifetime+startsBefore, crypto.MaxDelegation))
	if end.After(leaf.NotAfter) {
		end = leaf.NotAfter
	}
	b := &crypto.Bundle{
		Name: name, PublicKey: key.Public().SPKI(), NotBefore: begin.Unix(), NotAfter: end.Unix(),
		X509: c.Leaf(), Chain: chainFor(leaf, append(c.Chain(), intermediates...)),
	}
	b.Signature, err = c.Sign(ctx, crypto.DelegationMessage(b.X509, name, b.PublicKey, b.NotBefore, b.NotAfter))
	if err != nil {
		key.Erase()
		return nil, err
	}
	if err := b.Check(); err != nil {
		key.Erase()
		return nil, err
	}
	return &Credential{Key: key, Bundle: b}, nil
}

// chainFor picks from candidates the certificates that lead up from leaf, the
// root left out unless it is a pinned anchor, which a peer only trusts when it
// is given.
func chainFor(leaf *x509.Certificate, candidates [][]byte) [][]byte {
	chain := [][]byte{}
	var certs []*x509.Certificate
	for _, der := range candidates {
		if cert, err := x509.ParseCertificate(der); err == nil && cert.IsCA {
			certs = append(certs, cert)
		}
	}
	for at := leaf; len(chain) < crypto.MaxCertificates-1; {
		next := issuerOf(at, certs)
		if next == nil {
			break
		}
		selfSigned := issuerOf(next, []*x509.Certificate{next}) != nil
		if selfSigned && !crypto.IsPinnedAnchor(next.Raw) {
			break
		}
		chain = append(chain, next.Raw)
		if selfSigned {
			break
		}
		at = next
	}
	return chain
}

func issuerOf(cert *x509.Certificate, certs []*x509.Certificate) *x509.Certificate {
	for _, c := range certs {
		if string(c.RawSubject) == string(cert.RawIssuer) && cert.CheckSignatureFrom(c) == nil {
			return c
		}
	}
	return nil
}
