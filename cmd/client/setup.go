package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"strings"
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
	state   *chatsecure.State
	cred    *chatsecure.Credential
	fetcher *chatsecure.Fetcher
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
	c.fetcher.Close()
	c.cred.Key.Erase()
	return err
}

// connect goes online as the options say: name, state, card, trust, relay, in
// the order in which they are cheap to refuse.
func (a *app) connect(ctx context.Context, takes string, change func(*chatsecure.ClientConfig)) (*connection, error) {
	if err := a.opt.checkRelay(); err != nil {
		return nil, err
	}
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
	s := signer{app: a, state: state, name: name}
	if s.bundle, err = a.readCABundle(); err == nil {
		err = a.trust(&cfg, s.bundle)
	}
	if err == nil {
		s.verifier, s.fetcher = cfg.Verifier, cfg.Fetcher
		cfg.Renew = s.sign
		cfg.Credential, err = s.credential(ctx)
	}
	if err == nil {
		var client *chatsecure.Client
		if client, err = chatsecure.Dial(ctx, cfg); err == nil {
			a.out.connected(client)
			if known, ok := state.KnownRelay(a.opt.relay); ok && known != client.Fingerprint() {
				a.out.notice("the relay has the key given with -fingerprint, and another is known for %s: %s; to change that: client -fingerprint %s trust accept %s",
					crypto.Visible(a.opt.relay), known, client.Fingerprint(), crypto.Visible(a.opt.relay))
			}
			return &connection{client, state, cfg.Credential, cfg.Fetcher}, nil
		}
		cfg.Credential.Key.Erase()
	}
	a.offer(state, err)
	cfg.Fetcher.Close()
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

// trust sets up who is believed, and what is fetched to know more.
func (a *app) trust(cfg *chatsecure.ClientConfig, caBundle []byte) error {
	verifier, lists, err := a.verifier("", caBundle)
	if err != nil {
		return err
	}
	if lists != nil {
		cfg.Refresh = lists.Refresh
	}
	cfg.Verifier = verifier
	cfg.Fetcher, err = a.fetcher(cfg.State.Dir(), lists)
	return err
}

// verifier decides who somebody is, by Mozilla's roots, the pinned anchors and
// the -ca-bundle file, with the revocation lists at hand, nil if nobody looks.
// fetched may be empty.
func (a *app) verifier(fetched string, caBundle []byte) (v *crypto.Verifier, lists *crypto.CRLStore, err error) {
	var extra [][]byte
	if caBundle != nil {
		extra = append(extra, caBundle)
	}
	trust, err := crypto.NewTrust(a.roots, extra...)
	if err != nil {
		return nil, nil, &chatsecure.Error{Code: proto.Usage, Message: "-ca-bundle: " + err.Error(), Hint: "give a PEM file with certificates", Err: err}
	}
	lists, err = a.revocationLists(fetched)
	if err != nil {
		return nil, nil, err
	}
	return crypto.NewVerifier(crypto.VerifierConfig{Trust: trust, CRLs: lists, Policy: a.opt.policy, Now: a.now}), lists, nil
}

// revocationLists reads those in the -crl directory and those fetched before.
// A -crl directory that is not there is an error; a broken list is told of.
func (a *app) revocationLists(fetched string) (*crypto.CRLStore, error) {
	if a.opt.policy == crypto.PolicyOff {
		return nil, nil
	}
	crls := crypto.NewCRLStore()
	if err := a.loadLists(crls); err != nil {
		return nil, err
	}
	if fetched != "" {
		if _, err := os.Lstat(fetched); !errors.Is(err, fs.ErrNotExist) {
			a.tellProblems(crls.LoadDir(fetched))
		}
	}
	return crls, nil
}

// loadLists reads those in the -crl directory.
func (a *app) loadLists(crls *crypto.CRLStore) error {
	if a.opt.crlDir == "" {
		return nil
	}
	if _, err := os.ReadDir(a.opt.crlDir); err != nil {
		return &chatsecure.Error{Code: proto.Usage, Message: "-crl: " + err.Error(), Hint: "give a directory with revocation lists", Err: err}
	}
	a.tellProblems(crls.LoadDir(a.opt.crlDir))
	return nil
}

func (a *app) tellProblems(problems []error) {
	for _, p := range problems {
		a.out.notice("a revocation list is not used: %s", crypto.Visible(p.Error()))
	}
}

// signer gets what the client proves itself with.
type signer struct {
	*app
	state    *chatsecure.State
	name     string
	bundle   []byte // -ca-bundle
	verifier *crypto.Verifier
	fetcher  *chatsecure.Fetcher

	failed error // why the PIN in the file must not be given to the card again
}

// credential is one that was kept, or a new one that the card signs.
func (s *signer) credential(ctx context.Context) (*chatsecure.Credential, error) {
	kept, err := s.state.LoadKept(s.name, s.opt.card, s.now())
	if err != nil {
		return nil, err
	}
	if kept != nil {
		if !s.opt.keyGiven || kept.Key.Kind() == s.opt.key {
			s.out.detail("the key that was kept is used, until %s", time.Unix(kept.Bundle.NotAfter, 0).Local().Format(time.DateTime))
			return kept, nil
		}
		kept.Key.Erase()
	}
	return s.sign(ctx)
}

// sign has the card sign a delegation for a new key. It is called again before
// that ends, by one goroutine at a time.
func (s *signer) sign(ctx context.Context) (*chatsecure.Credential, error) {
	if s.failed != nil {
		return nil, s.failed
	}
	c, err := s.openCard(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := s.checkValidity(c); err != nil {
		return nil, err
	}
	issuers, err := s.issuers(ctx, c, s.fetcher, s.verifier, s.bundle)
	if err != nil {
		return nil, err
	}
	lifetime := crypto.MaxDelegation
	if s.opt.keep > 0 {
		lifetime = s.opt.keep
	}
	s.out.detail("%s signs", crypto.Visible(c.Describe()))
	cred, err := chatsecure.NewCredential(ctx, c, s.name, s.opt.key, lifetime, issuers, s.now())
	if errors.Is(err, card.PINIncorrect) && (s.opt.pinFile != "" || strings.Contains(s.opt.card, "pin-source=")) {
		err = &chatsecure.RenewalOver{Err: err}
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
	return a.cards(ctx, a.opt.card, a.cardOptions())
}

// cardOptions say whom the card may ask: a file, the person, or nobody.
func (a *app) cardOptions() card.Options {
	opt := card.Options{Batch: a.opt.batch, Notice: func(s string) { a.out.notice("%s", s) }}
	if a.opt.pinFile != "" {
		opt.PIN = card.PINFile(a.opt.pinFile, opt.Notice)
	} else if t := a.person(); t != nil {
		opt.PIN = askPIN(t)
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
