package client

import (
	"context"
	"errors"
	"net"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// errAskRelay says that a person must look at the relay's fingerprint first.
type errAskRelay struct{ fingerprint string }

func (e *errAskRelay) Error() string { return "the relay's key is not known: " + e.fingerprint }

// connectFirst dials for the first time. After a question about the fingerprint it dials again:
// a handshake does not wait for a person.
func (e *engine) connectFirst(ctx context.Context) (*Session, error) {
	dial := func() (sess *Session, err error) {
		err = whileBusy(ctx, &e.link, time.Now().Add(e.cfg.Timeout), e.cfg.Busy, func() (err error) {
			sess, err = e.dial(ctx, e.cfg.Credential)
			return err
		})
		return sess, err
	}
	sess, err := dial()
	var ask *errAskRelay
	if !errors.As(err, &ask) {
		return sess, err
	}
	unknown := e.cfg.State.RelayUnknown(e.cfg.Relay, ask.fingerprint)
	if e.cfg.Asker == nil {
		return nil, unknown
	}
	yes, err := e.cfg.Asker.ConfirmRelay(ctx, e.cfg.Relay, ask.fingerprint)
	if err != nil {
		return nil, err
	}
	if !yes {
		return nil, unknown
	}
	e.confirmed = ask.fingerprint
	sess, err = dial()
	if errors.As(err, &ask) {
		return nil, e.cfg.State.RelayUnknown(e.cfg.Relay, ask.fingerprint)
	}
	return sess, err
}

// whileBusy dials, and again while the relay is busy and until has not come: a relay that was just
// started makes keys of the RSA suites one after the other. told is called before the first wait; it
// may be nil.
func whileBusy(ctx context.Context, l *link, until time.Time, told func(*fail.Error), dial func() error) error {
	for {
		err := dial()
		if !fail.HasCode(err, proto.Busy) {
			return err
		}
		if l.scheduleRetry(); l.retryAt.After(until) {
			return err
		}
		if told != nil {
			told(fail.AsError(err))
			told = nil
		}
		select {
		case <-time.After(time.Until(l.retryAt)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// checkRelay decides whether the relay's key is trusted: by Config.Fingerprint, by
// the known relays, by a person's yes, or by AcceptNew.
func (e *engine) checkRelay(fingerprint string) error {
	cfg := e.cfg
	trusted, err := cfg.State.CheckRelay(cfg.Relay, cfg.Fingerprint, cfg.FingerprintFrom, fingerprint)
	if err != nil || trusted != "" || cfg.AcceptNew || e.confirmed == fingerprint {
		return err
	}
	return &errAskRelay{fingerprint}
}

// rememberRelay keeps the key of a relay that checkRelay has taken, and that has let us in. Until then it
// may be another relay than meant.
func (e *engine) rememberRelay(fingerprint string) error {
	if _, known := e.cfg.State.KnownRelay(e.cfg.Relay); known {
		return nil
	}
	return e.cfg.State.SetKnownRelay(e.cfg.Relay, fingerprint)
}

// ProbeRelay asks the relay at addr (HOST:PORT) who it is, checks its signature
// and hangs up: phases 1 and 2 of PROTOCOL.md, "Connect", before anything that
// names a person. ciphers are the suites to offer, none means all. Whether the
// fingerprint is the right one is the caller's to say. The errors are Dial's. A
// busy relay is tried again until the deadline of ctx, see Config.Busy.
func ProbeRelay(ctx context.Context, addr string, ciphers []string, busy func(*fail.Error)) (
	fingerprint string, err error) {
	if len(ciphers) == 0 {
		ciphers = crypto.SuiteNames()
	}
	r := Relay{Addr: addr, Dial: new(net.Dialer).DialContext, Ciphers: ciphers}
	l := newLink(backoffMin)
	until, _ := ctx.Deadline()
	var g *Greeting
	err = whileBusy(ctx, &l, until, busy, func() (err error) {
		g, err = r.Greet(ctx)
		return err
	})
	if err != nil {
		return "", fail.AsError(err)
	}
	g.Close()
	return g.Fingerprint, nil
}
