package history

import (
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// Party is one of the two that a signed message names. It remembers for which times its bundle
// holds, so a second look costs nothing.
type Party struct {
	Verifier *trust.Verifier
	Bundle   *trust.Bundle
	Proved   *trust.Proved // of Bundle; nil: Judge proves it
	Identity [32]byte      // as the conversation says; zeros in a proof, which does not say it

	refusal  error         // of the bundle at all times
	person   *trust.Person // at from and to, and so between them
	from, to int64         // Unix seconds
}

// Judge judges both that a signed message names, at the time in its header in Unix milliseconds:
// PROTOCOL.md, "Who is judged when". A client asks it before it stores a message, and both
// verifications ask it again, so what was stored verifies. It returns the one that does not hold.
func Judge(from, to *Party, at int64) (wrong *Party, err error) {
	at /= 1000
	if err := from.judge(at); err != nil {
		return from, err
	}
	// The sender names its receiver, and knows that delegation from the handshake.
	if err := to.judge(max(to.Bundle.NotBefore, min(at, to.Bundle.NotAfter))); err != nil {
		return to, err
	}
	return nil, nil
}

func (p *Party) judge(at int64) error {
	if p.person != nil && p.from <= at && at <= p.to {
		return nil
	}
	if p.Proved == nil && p.refusal == nil {
		p.Proved, p.refusal = p.Verifier.Prove(p.Bundle, p.Bundle.Name)
	}
	if p.refusal != nil {
		return p.refusal
	}
	person, err := p.Verifier.At(p.Proved, time.Unix(at, 0))
	if err != nil {
		return err
	}
	if p.Identity != [32]byte{} && person.Identity != p.Identity {
		return fail.Errorf(proto.IdentityChanged,
			"at that time %s was another person than the one in the conversation", proto.Visible(p.Bundle.Name))
	}
	if p.person == nil || !samePath(p.person, person) {
		p.person, p.from, p.to = person, at, at
	}
	p.from, p.to = min(p.from, at), max(p.to, at)
	p.reach(at)
	return nil
}

// samePath reports whether two answers rest on one path. Then the person is the same at all times
// between theirs: a path is valid for one stretch of time, and a certificate is revoked once.
func samePath(a, b *trust.Person) bool {
	return slices.EqualFunc(a.Path, b.Path, (*x509.Certificate).Equal)
}

// reach looks ahead, for a history is read forward: to the end of the delegation, or less far.
func (p *Party) reach(at int64) {
	for _, ahead := range [...]time.Duration{trust.MaxDelegation, time.Hour, time.Minute} {
		to := min(at+int64(ahead/time.Second), p.Bundle.NotAfter)
		if to <= p.to {
			return
		}
		later, err := p.Verifier.At(p.Proved, time.Unix(to, 0))
		if err == nil && samePath(p.person, later) {
			p.to = to
			return
		}
	}
}

// note says that a party which held then is invalid now, or that its revocation is unknown. It
// is "" for any other.
func (p *Party) note() string {
	_, now := p.Verifier.Certificate(p.Bundle.X509, p.Bundle.Chain)
	switch {
	case now != nil:
		return fmt.Sprintf("%s: valid then, not now: %v", proto.Visible(p.Bundle.Name), now)
	case p.person.Revocation.Status == trust.RevocationUnknown:
		return proto.Visible(p.Bundle.Name) + ": " + p.person.Revocation.Reason
	}
	return ""
}
