package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"time"

	"chatsecure"
	"chatsecure/card"
	"chatsecure/crypto"
	"chatsecure/proto"
)

// maxCABundle bounds a -ca-bundle file in bytes: Mozilla's own has a quarter
// of a megabyte.
const maxCABundle = 8 << 20

// connection is a client that is online, and what must be closed after it.
type connection struct {
	*chatsecure.Client
	state *chatsecure.State
	cred  *chatsecure.Credential
}

// closeWait bounds how long a client that leaves waits for the relay to take
// what is on its way, where nothing else bounds it.
const closeWait = 5 * time.Second

// leave closes the client: it leaves the relay's list. A client that is told
// to stop by a signal waits no longer than closeWait.
func (c *connection) leave() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	return c.leaveWithin(ctx)
}

func (c *connection) leaveWithin(ctx context.Context) error {
	err := c.Close(ctx)
	c.cred.Key.Erase()
	return errors.Join(err, c.state.Close())
}

// connect goes online as the options say: name, state, card, trust, relay, in
// the order in which they are cheap to refuse.
func (a *app) connect(ctx context.Context, takes string, change func(*chatsecure.ClientConfig)) (*connection, error) {
	name, err := a.name(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := a.stateDir()
	if err != nil {
		return nil, err
	}
	state, err := chatsecure.OpenState(dir, name)
	if err != nil {
		return nil, err
	}
	cfg := chatsecure.ClientConfig{
		Relay: a.opt.relay, Name: name, Takes: takes, State: state,
		Ciphers: a.opt.ciphers, Fingerprint: a.opt.fingerprint, AcceptNew: a.opt.acceptNew,
		Timeout: a.opt.timeout, Receipts: a.opt.json || a.opt.verbose, Now: a.now,
	}
	if !a.opt.batch {
		cfg.Asker = asker{a}
	}
	if change != nil {
		change(&cfg)
	}
	bundle, err := a.readCABundle()
	if err == nil {
		cfg.Verifier, cfg.Refresh, err = a.verifier(state.CRLDir(), bundle)
	}
	if err == nil {
		cfg.Credential, err = a.credential(ctx, state, name, bundle)
		cfg.Renew = func(ctx context.Context) (*chatsecure.Credential, error) { return a.sign(ctx, state, name, bundle) }
	}
	if err == nil {
		var client *chatsecure.Client
		if client, err = chatsecure.Dial(ctx, cfg); err == nil {
			return &connection{client, state, cfg.Credential}, nil
		}
		cfg.Credential.Key.Erase()
	}
	a.offer(state, err)
	state.Close()
	return nil, err
}

// name is the user's name: from the options, or asked for.
func (a *app) name(ctx context.Context) (string, error) {
	if a.opt.name != "" {
		return a.opt.name, nil
	}
	t := a.person()
	if t == nil {
		return "", &chatsecure.Error{Code: proto.Usage, Message: "what goes online needs a name", Hint: "give it with -name NAME, or in CHATSECURE_NAME"}
	}
	name, err := t.question(ctx, fixed("Name: "))
	if err != nil {
		return "", err
	}
	if err := proto.CheckName(name); err != nil {
		return "", err
	}
	a.opt.name = name
	return name, nil
}

// readCABundle returns the -ca-bundle file, or nothing.
func (a *app) readCABundle() ([]byte, error) {
	if a.opt.caBundle == "" {
		return nil, nil
	}
	data, err := readSmallFile(a.opt.caBundle, maxCABundle)
	if err != nil {
		return nil, &chatsecure.Error{Code: proto.Usage, Message: "-ca-bundle cannot be read: " + err.Error(), Hint: "give a PEM file with certificates", Err: err}
	}
	return data, nil
}

// verifier decides who somebody is, by Mozilla's roots, the pinned anchors and
// the -ca-bundle file, with the revocation lists at hand; refresh looks at
// these again. fetched may be empty.
func (a *app) verifier(fetched string, caBundle []byte) (v *crypto.Verifier, refresh func() (bool, []error), err error) {
	var extra [][]byte
	if caBundle != nil {
		extra = append(extra, caBundle)
	}
	trust, err := crypto.NewTrust(chatsecure.CABundle, extra...)
	if err != nil {
		return nil, nil, &chatsecure.Error{Code: proto.Usage, Message: "-ca-bundle: " + err.Error(), Hint: "give a PEM file with certificates", Err: err}
	}
	crls, err := a.revocationLists(fetched)
	if err != nil {
		return nil, nil, err
	}
	if crls != nil {
		refresh = crls.Refresh
	}
	return crypto.NewVerifier(crypto.VerifierConfig{Trust: trust, CRLs: crls, Policy: a.opt.policy, Now: a.now}), refresh, nil
}

// revocationLists reads those in the -crl directory and those fetched before.
// A -crl directory that is not there is an error; a broken list is told of.
func (a *app) revocationLists(fetched string) (*crypto.CRLStore, error) {
	if a.opt.policy == crypto.PolicyOff {
		return nil, nil
	}
	crls := crypto.NewCRLStore()
	if a.opt.crlDir != "" {
		if _, err := os.ReadDir(a.opt.crlDir); err != nil {
			return nil, &chatsecure.Error{Code: proto.Usage, Message: "-crl: " + err.Error(), Hint: "give a directory with revocation lists", Err: err}
		}
		a.tellProblems(crls.LoadDir(a.opt.crlDir))
	}
	if fetched != "" {
		if _, err := os.Lstat(fetched); !errors.Is(err, fs.ErrNotExist) {
			a.tellProblems(crls.LoadDir(fetched))
		}
	}
	return crls, nil
}

func (a *app) tellProblems(problems []error) {
	for _, p := range problems {
		a.out.notice("a revocation list is not used: %s", crypto.Visible(p.Error()))
	}
}

// credential is what the client proves itself with: one that was kept, or a
// new one that the card signs.
func (a *app) credential(ctx context.Context, state *chatsecure.State, name string, caBundle []byte) (*chatsecure.Credential, error) {
	kept, err := state.LoadKept(name, a.opt.card, a.now())
	if err != nil {
		return nil, err
	}
	if kept != nil {
		if !a.opt.keyGiven || kept.Key.Kind() == a.opt.key {
			a.out.detail("the key that was kept is used, until %s", time.Unix(kept.Bundle.NotAfter, 0).Local().Format(time.DateTime))
			return kept, nil
		}
		kept.Key.Erase()
	}
	return a.sign(ctx, state, name, caBundle)
}

// sign has the card sign a delegation for a new key.
func (a *app) sign(ctx context.Context, state *chatsecure.State, name string, caBundle []byte) (*chatsecure.Credential, error) {
	c, err := a.openCard(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := a.checkValidity(c); err != nil {
		return nil, err
	}
	lifetime := crypto.MaxDelegation
	if a.opt.keep > 0 {
		lifetime = a.opt.keep
	}
	a.out.detail("%s signs", crypto.Visible(c.Describe()))
	cred, err := chatsecure.NewCredential(ctx, c, name, a.opt.key, lifetime, certificates(caBundle), a.now())
	if err != nil {
		return nil, err
	}
	if a.opt.keep > 0 {
		if err := state.Keep(cred, a.opt.card); err != nil {
			cred.Key.Erase()
			return nil, err
		}
	}
	return cred, nil
}

// checkValidity refuses a card that is out of its time before a PIN is asked
// for.
func (a *app) checkValidity(c card.Card) error {
	leaf, err := x509.ParseCertificate(c.Leaf())
	if err != nil {
		return &chatsecure.Error{Code: proto.Card, Message: "the card's certificate cannot be read", Err: err}
	}
	return a.timely(leaf)
}

// timely refuses a certificate that is out of its time.
func (a *app) timely(leaf *x509.Certificate) error {
	now := a.now()
	switch {
	case now.After(leaf.NotAfter):
		return chatsecure.Errorf(proto.CertificateExpired, "the card's certificate expired on %s UTC", leaf.NotAfter.UTC().Format(time.DateTime))
	case now.Before(leaf.NotBefore):
		return chatsecure.Errorf(proto.CertificateNotYet, "the card's certificate begins on %s UTC", leaf.NotBefore.UTC().Format(time.DateTime))
	}
	return nil
}

// openCard opens the card that the options mean.
func (a *app) openCard(ctx context.Context) (card.Card, error) {
	return card.Open(ctx, a.opt.card, a.cardOptions())
}

// cardOptions say whom the card may ask: a file, the person, or nobody.
func (a *app) cardOptions() card.Options {
	opt := card.Options{Batch: a.opt.batch, Notice: func(s string) { a.out.notice("%s", s) }}
	if a.opt.pinFile != "" {
		opt.PIN = card.PINFile(a.opt.pinFile, opt.Notice)
	} else if t := a.person(); t != nil {
		opt.PIN = t.askPIN
	}
	return opt
}

// certificates returns what a PEM file holds, as candidates for the card's
// chain: a card since 2024 has no CA certificates on it.
func certificates(text []byte) (ders [][]byte) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			ders = append(ders, block.Bytes)
		}
	}
	return ders
}

// offer remembers a relay or a person that was refused because it changed, so
// that trust accept can find it.
func (a *app) offer(state *chatsecure.State, err error) {
	var failed error
	if c, ok := errors.AsType[*chatsecure.RelayChange](err); ok {
		failed = state.OfferRelay(c.Addr, c.Now)
	}
	if c, ok := errors.AsType[*chatsecure.IdentityChange](err); ok {
		failed = state.OfferPeer(c.Name, chatsecure.OfferPerson(c.Person))
	}
	if failed != nil {
		a.out.fail(failed)
	}
}
