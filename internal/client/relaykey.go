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
	sess, err := e.dialBusy(ctx)
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
	sess, err = e.dialBusy(ctx)
	if errors.As(err, &ask) {
		return nil, e.cfg.State.RelayUnknown(e.cfg.Relay, ask.fingerprint)
	}
	return sess, err
}

// dialBusy dials, and again while the relay is busy and Timeout is not over: a relay that was just
// started makes keys of the RSA suites one after the other.
func (e *engine) dialBusy(ctx context.Context) (*Session, error) {
	until := time.Now().Add(e.cfg.Timeout)
	for {
		sess, err := e.dial(ctx, e.cfg.Credential)
		if !fail.HasCode(err, proto.Busy) {
			return sess, err
		}
		e.link.scheduleRetry()
		if e.link.retryAt.After(until) {
			return nil, err
		}
		select {
		case <-time.After(time.Until(e.link.retryAt)):
		case <-ctx.Done():
			return nil, ctx.Err()
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
// fingerprint is the right one is the caller's to say. The errors are Dial's.
func ProbeRelay(ctx context.Context, addr string, ciphers []string) (fingerprint string, err error) {
	if len(ciphers) == 0 {
		ciphers = crypto.SuiteNames()
	}
	r := Relay{Addr: addr, Dial: new(net.Dialer).DialContext, Ciphers: ciphers}
	g, err := r.Greet(ctx)
	if err != nil {
		return "", fail.AsError(err)
	}
	g.Close()
	return g.Fingerprint, nil
}
