package chatsecure

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"slices"
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
// certificates to choose the chain from, before those on the card. The
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
		X509: c.Leaf(), Chain: chainFor(leaf, slices.Concat(intermediates, c.Chain()), now),
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

// chainFor picks from candidates the certificates that lead up from leaf: one
// way up to its end and then, while there is room, what the other ways have.
// Which of several that sign one authority a peer trusts is not known here. A
// root is left out unless it is a pinned anchor, which a peer only trusts when it
// is given.
func chainFor(leaf *x509.Certificate, candidates [][]byte, now time.Time) [][]byte {
	chain, size := [][]byte{}, len(leaf.Raw)
	certs := authorities(candidates)
	var climb func(at *x509.Certificate)
	climb = func(at *x509.Certificate) {
		for _, next := range issuersOf(at, certs, now) {
			selfSigned := signed(next, next)
			switch {
			case len(chain) == crypto.MaxChainCertificates, size+len(next.Raw) > crypto.MaxChainBytes,
				selfSigned && !crypto.IsPinnedAnchor(next.Raw),
				slices.ContainsFunc(chain, func(der []byte) bool { return bytes.Equal(der, next.Raw) }):
				continue
			}
			chain, size = append(chain, next.Raw), size+len(next.Raw)
			if !selfSigned {
				climb(next)
			}
		}
	}
	climb(leaf)
	return chain
}

// issuersOf returns those of certs that signed cert, the ones that are valid
// now first.
func issuersOf(cert *x509.Certificate, certs []*x509.Certificate, now time.Time) []*x509.Certificate {
	var valid, others []*x509.Certificate
	for _, c := range certs {
		switch {
		case !signed(cert, c):
		case isValid(c, now):
			valid = append(valid, c)
		default:
			others = append(others, c)
		}
	}
	return append(valid, others...)
}

// signed reports whether issuer is who signed cert.
func signed(cert, issuer *x509.Certificate) bool {
	return bytes.Equal(issuer.RawSubject, cert.RawIssuer) && cert.CheckSignatureFrom(issuer) == nil
}

func isValid(cert *x509.Certificate, now time.Time) bool {
	return !now.Before(cert.NotBefore) && !now.After(cert.NotAfter)
}

func issuerOf(cert *x509.Certificate, certs []*x509.Certificate) *x509.Certificate {
	i := slices.IndexFunc(certs, func(c *x509.Certificate) bool { return signed(cert, c) })
	if i < 0 {
		return nil
	}
	return certs[i]
}
