package command

import (
	"context"
	"errors"
	"time"

	"chatsecure/card"
	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/fetch"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// connection is an online client with everything to close after it.
type connection struct {
	*client.Client
	state   *state.State
	cred    *state.Credential
	fetcher *fetch.Fetcher
}

// closeWait bounds the wait of a leaving client for the relay to take its last
// messages.
const closeWait = 5 * time.Second

// leave closes the client, which leaves the relay's list. It waits no longer
// than patience, mostly closeWait.
func (c *connection) leave(patience time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := c.Close(ctx)
	c.fetcher.Close()
	c.cred.Key.Erase()
	return err
}

// accepts tells whether somebody is accepted under a name.
func (c *connection) accepts(name string) bool {
	k, ok := c.state.KnownPeer(proto.FoldName(name))
	return ok && k.Accepted
}

// connect goes online as the options say: name, state, card, trust and relay, in
// the order of the cost of a refusal. change may be nil.
func (a *app) connect(ctx context.Context, takes string, change func(*client.Config)) (
	*connection, error) {
	if err := a.opt.checkRelay(); err != nil {
		return nil, err
	}
	dir, err := a.stateDir()
	if err != nil {
		return nil, err
	}
	name, err := a.name(ctx, dir)
	if err != nil {
		return nil, err
	}
	st, err := state.Open(dir, name)
	if err != nil {
		return nil, err
	}
	cfg := client.Config{
		Relay: a.opt.relay, Name: name, Takes: takes, State: st, Ciphers: a.opt.ciphers,
		Fingerprint: a.opt.fingerprint, FingerprintFrom: a.opt.places.of("fingerprint"),
		AcceptNew: a.opt.acceptNew, Timeout: a.opt.timeout, Busy: a.tellBusy,
		Receipts: a.opt.json || a.opt.verbose, Now: a.Now, NoLetters: !a.opt.takesLetters(),
	}
	if !a.opt.batch {
		cfg.Asker = asker{a, st}
	}
	if change != nil {
		change(&cfg)
	}
	// A token may want a PIN, and is slow to sign: the relay would wait in vain, and charge the address
	// for that.
	if a.opt.card != "" && !card.IsURI(a.opt.card) || st.HasKept() {
		defer cfg.GreetEarly(ctx)()
	}
	c, err := a.dial(ctx, cfg)
	if err != nil {
		return nil, err
	}
	a.out.connected(c.Client)
	if known, ok := st.KnownRelay(a.opt.relay); ok && known != c.Fingerprint() {
		refused := &state.Refused{Target: a.opt.relay, Value: c.Fingerprint()}
		a.out.notice("the relay has the key given with %s, and another is known for %s: %s; "+
			"to change that: %s", a.opt.places.of("fingerprint"), a.opt.relay, known,
			a.opt.advice(refused.Accept()))
	}
	return c, nil
}

// dial adds trust and credential to cfg, and connects.
func (a *app) dial(ctx context.Context, cfg client.Config) (*connection, error) {
	s, err := a.signer(cfg.State, cfg.Name)
	if err != nil {
		return nil, err
	}
	if s.cfg.CRLs != nil {
		cfg.Refresh = s.cfg.CRLs.Refresh
	}
	cfg.Verifier, cfg.Fetcher, cfg.Renew = s.verifier, s.fetcher, s.sign
	if cfg.Credential, err = s.credential(ctx); err != nil {
		cfg.Fetcher.Close()
		return nil, err
	}
	c, err := client.Dial(ctx, cfg)
	if err != nil {
		cfg.Fetcher.Close()
		cfg.Credential.Key.Erase()
		return nil, err
	}
	return &connection{c, cfg.State, cfg.Credential, cfg.Fetcher}, nil
}

// tellBusy says that a relay is waited for.
func (a *app) tellBusy(why *fail.Error) {
	a.out.notice("%s; trying again", proto.Visible(why.Message))
}

// oneShot connects, asks the relay one question, and leaves. ask has -timeout.
func (a *app) oneShot(ctx context.Context, ask func(context.Context, *connection) error) error {
	c, err := a.connect(ctx, proto.TakesNone, nil)
	if err != nil {
		return err
	}
	_, followed := a.presenter(c, takeNone).followAside(ctx)
	asking, cancel := context.WithTimeout(ctx, a.opt.timeout)
	err = ask(asking, c)
	cancel()
	err = errors.Join(err, c.leave(closeWait))
	<-followed
	return err
}
