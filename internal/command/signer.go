package command

import (
	"context"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"time"

	"chatsecure/card"
	"chatsecure/crypto/trust"
	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/fetch"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// signer makes the credential that proves who the client is.
type signer struct {
	*app
	*trusted
	state   *state.State
	name    string
	fetcher *fetch.Fetcher

	failed error // why the PIN of -pin-file must not be given to the card again
}

// signer returns one that fetches into the directory of st. The caller closes its fetcher.
func (a *app) signer(st *state.State, name string) (*signer, error) {
	t, err := a.trust("")
	if err != nil {
		return nil, err
	}
	fetcher, err := a.fetcher(st.Dir(), t.cfg.CRLs)
	return &signer{app: a, trusted: t, state: st, name: name, fetcher: fetcher}, err
}

// credential returns the kept credential, or a new one signed by the card.
func (s *signer) credential(ctx context.Context) (*state.Credential, error) {
	kept, err := s.state.LoadKept(s.name, s.opt.card, s.Now())
	if err != nil {
		return nil, err
	}
	if kept != nil {
		if !s.opt.keyGiven || kept.Key.Kind() == s.opt.key {
			_, err := s.verifier.Certificate(kept.Bundle.X509, kept.Bundle.Chain)
			if s.opt.onlyCA != "" && isOfChain(err) {
				kept.Key.Erase()
				return nil, s.ownRefused(err)
			}
			s.out.detail("the key that was kept is used, until %s",
				dateTime(time.Unix(kept.Bundle.NotAfter, 0)))
			return kept, nil
		}
		kept.Key.Erase()
	}
	return s.sign(ctx)
}

// sign lets the card sign a delegation for a new key. It is called again before
// the delegation ends, by one goroutine at a time.
func (s *signer) sign(ctx context.Context) (*state.Credential, error) {
	if s.failed != nil {
		return nil, s.failed
	}
	type made struct {
		key *trust.Key
		err error
	}
	making := make(chan made, 1) // beside the look at the card, and questions
	go func() {
		key, err := trust.GenerateKey(s.opt.key)
		making <- made{key, err}
	}()
	c, err := s.openCard(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if _, err := s.ownLeaf(c.Leaf()); err != nil {
		return nil, err
	}
	issuers, err := s.issuers(ctx, c)
	if err != nil {
		return nil, s.ownRefused(err)
	}
	lifetime := trust.MaxDelegation
	if s.opt.keep > 0 {
		lifetime = s.opt.keep
	}
	k := <-making
	if k.err != nil {
		return nil, k.err
	}
	s.out.detail("%s signs", proto.Visible(c.Describe()))
	d := client.Delegation{
		Name: s.name, Key: k.key, Lifetime: lifetime, Intermediates: issuers, Now: s.Now(),
	}
	if s.opt.takesLetters() {
		d.Mail = s.state.Dir()
	}
	cred, err := client.NewCredential(ctx, c, d)
	if errors.Is(err, card.PINIncorrect) &&
		(s.opt.pinFile != "" || strings.Contains(s.opt.card, "pin-source=")) {
		err = &client.RenewalOver{Err: err}
		s.failed = err
	}
	if err != nil {
		return nil, err
	}
	if s.opt.keep > 0 {
		if err := s.state.Keep(cred, s.opt.card); err != nil {
			cred.Key.Erase()
			return nil, err
		}
	}
	return cred, nil
}

// ownLeaf parses the card's certificate, and refuses it outside its validity, as others
// would: before a PIN is asked for.
func (a *app) ownLeaf(der []byte) (*x509.Certificate, error) {
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fail.Errorf(proto.Card, "the card's certificate cannot be read")
	}
	now := a.Now()
	outside := func(code proto.Code, does string, at time.Time, remedy string) error {
		return fail.Errorf(code, "the card's certificate %s on %s UTC; the clock here says %s UTC",
			does, at.UTC().Format(time.DateTime), now.UTC().Format(time.DateTime)).
			With(remedy + "if the certificate should be valid, check this machine's clock")
	}
	switch {
	case now.Sub(leaf.NotAfter) > trust.ClockTolerance:
		return nil, outside(proto.CertificateExpired, "ended", leaf.NotAfter, "a renewed card is needed; ")
	case leaf.NotBefore.Sub(now) > trust.ClockTolerance:
		return nil, outside(proto.CertificateNotYet, "begins", leaf.NotBefore, "")
	}
	return leaf, nil
}

// openCard opens the card of the options.
func (a *app) openCard(ctx context.Context) (card.Card, error) {
	return a.cards(ctx, a.opt.card, a.cardOptions())
}

// cardOptions returns where a PIN comes from: a file, the person, or nowhere.
func (a *app) cardOptions() card.Options {
	opt := card.Options{Batch: a.opt.batch, Notice: func(s string) { a.out.notice("%s", s) }}
	if a.opt.pinFile != "" {
		opt.PIN = card.PINFile(a.opt.pinFile, opt.Notice)
	} else if t := a.person(); t != nil {
		opt.PIN = a.askPIN(t)
	}
	return opt
}

// ownCertificate returns the certificate of a kept key or of the named card,
// and the chain above it. It is nil if there is neither.
func (s *signer) ownCertificate(ctx context.Context) (leaf []byte, chain [][]byte, err error) {
	kept, err := s.state.LoadKept(s.name, s.opt.card, s.Now())
	if err != nil {
		return nil, nil, err
	}
	if kept != nil {
		kept.Key.Erase()
		return kept.Bundle.X509, kept.Bundle.Chain, nil
	}
	if s.opt.card == "" {
		return nil, nil, nil
	}
	c, err := s.openCard(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer c.Close()
	// An error does not matter: lists about a refused certificate may be fetched,
	// too.
	issuers, _ := s.issuers(ctx, c)
	return c.Leaf(), append(c.Chain(), issuers...), nil
}

// issuers returns certificates to build the card's chain from, beside those on
// the card: first the trusted path, then the user's own and, if these lead to
// no anchor, fetched ones. A card is refused here, before a PIN is asked for,
// unless only its revocation is unknown.
func (s *signer) issuers(ctx context.Context, c card.Card) ([][]byte, error) {
	extra := s.more
	person, err := s.verifier.Certificate(c.Leaf(), c.Chain())
	if !isOfChain(err) {
		return append(pathAbove(person), extra...), unlessUnknown(err)
	}
	have := slices.Concat(c.Chain(), extra)
	more, missing := s.fetcher.Issuers(ctx, c.Leaf(), have, false)
	person, err = s.verifier.Certificate(c.Leaf(), append(c.Chain(), more...))
	if isOfChain(err) && missing == nil {
		// A certificate from the cache may have been replaced at its source.
		more, missing = s.fetcher.Issuers(ctx, c.Leaf(), have, true)
		person, err = s.verifier.Certificate(c.Leaf(), append(c.Chain(), more...))
	}
	extra = slices.Concat(pathAbove(person), extra, more)
	if missing != nil && isOfChain(err) {
		e, why, noPlace := *fail.AsError(err), fail.AsError(missing), errors.Is(missing, fetch.ErrNoPlace)
		if !noPlace {
			e.Message += "; " + why.Message
		}
		if e.Code == proto.CertificateExpired || e.Hint != "" && !noPlace { // a file would help
			e.Hint = why.Hint
		}
		return extra, &e
	}
	return extra, unlessUnknown(err)
}

// isOfChain reports whether further CA certificates could mend an error.
func isOfChain(err error) bool {
	return fail.HasCode(err, proto.CertificateUntrusted) || fail.HasCode(err, proto.CertificateExpired)
}

// pathAbove returns the certificates above a person's, nil for nil.
func pathAbove(person *trust.Person) (ders [][]byte) {
	if person == nil {
		return nil
	}
	for _, cert := range person.Path[1:] {
		ders = append(ders, cert.Raw)
	}
	return ders
}

// unlessUnknown drops the error of an unknown revocation, which ends when a
// list is fetched.
func unlessUnknown(err error) error {
	if fail.HasCode(err, proto.RevocationUnknown) {
		return nil
	}
	return err
}
