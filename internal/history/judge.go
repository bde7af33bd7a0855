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

	key      *trust.PublicKey // of a verification
	refusal  error            // of the bundle at all times
	person   *trust.Person    // at from and to, and so between them
	from, to int64            // Unix seconds

	other   *Party   // see lenient
	waiting []uint64 // lines in doubt, for which a head may still come
	beyond  int      // more of them
	doubted bool     // a head has been called doubtful
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

// doubt returns the later revocation that makes doubtful what the party has signed, or nil.
// PROTOCOL.md, "Who is judged when".
func (p *Party) doubt() *trust.Revocation {
	if p.person == nil || !p.person.Revocation.Later.Doubts() {
		return nil
	}
	return p.person.Revocation.Later
}

// attests reports whether p, who has signed something at a time in Unix milliseconds, shows that
// what other has signed was there before the revocation of other's certificate.
func (p *Party) attests(other *Party, at int64) bool {
	return p.person != nil && other.person != nil && p.doubt() == nil &&
		p.person.Identity != other.person.Identity && at < other.doubt().Date.UnixMilli()
}

// doubt is a sent message that is in doubt until its receiver has attested its last record.
type doubt struct{ line, seq uint64 }

// doubtUntilHead notes a line that is in doubt until a head attests it.
func (p *Party) doubtUntilHead(number uint64) {
	if len(p.waiting) < maxFindings {
		p.waiting = append(p.waiting, number)
	} else {
		p.beyond++
	}
}

// lenient returns the same party for a verifier that accepts an unknown revocation.
func (p *Party) lenient() *Party {
	if p.other == nil {
		p.other = &Party{Verifier: p.Verifier.Lenient(), Bundle: p.Bundle, Identity: p.Identity}
	}
	return p.other
}

// note says that a party which held then is invalid now, or that its revocation is unknown. It
// is "" for any other.
func (p *Party) note() string {
	_, now := p.Verifier.Certificate(p.Bundle.X509, p.Bundle.Chain)
	switch {
	case now != nil:
		note := fmt.Sprintf("%s: valid then, not now: %v", proto.Visible(p.Bundle.Name), now)
		if p.doubt() != nil {
			note += "; signatures from before count only where another person attests them, " +
				"and whoever has the keys of both can date both"
		}
		return note
	case p.person.Revocation.Status == trust.RevocationUnknown:
		return proto.Visible(p.Bundle.Name) + ": " + p.person.Revocation.Reason
	}
	return ""
}
