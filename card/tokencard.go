//go:build cgo

package card

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"sync"

	"github.com/miekg/pkcs11"
)

// tokenCard is a card behind a PKCS#11 module. A card may be pulled and put back
// at any time. So each signature opens a session, checks that it is still the
// same card, and closes the session.
type tokenCard struct {
	lib   *library
	uri   *uri
	opt   Options
	first choice // at Open; never changed
	chain [][]byte

	mu     sync.Mutex
	closed bool // guarded by mu
}

func newTokenCard(lib *library, ch choice, u *uri, opt Options) *tokenCard {
	c := &tokenCard{lib: lib, uri: u, opt: opt, first: ch}
	for _, o := range ch.token.certs {
		if o.parsed != nil && isCA(o.parsed) {
			c.chain = append(c.chain, o.der)
		}
	}
	return c
}

func (c *tokenCard) leaf() *x509.Certificate { return c.first.cert.parsed }

func (c *tokenCard) Leaf() []byte { return bytes.Clone(c.first.cert.der) }

func (c *tokenCard) Chain() [][]byte { return cloneAll(c.chain) }

func (c *tokenCard) Describe() string { return c.first.token.name() }

// Close releases the module. It waits up to closeWait for the call of a cancelled
// Sign.
func (c *tokenCard) Close() error {
	c.mu.Lock()
	closed := c.closed
	c.closed = true
	c.mu.Unlock()
	if closed || c.lib.leave(context.Background()) {
		return nil
	}
	return fail(Failed, "close its dialog, or take the card out",
		"the card's software is still busy with an earlier call and was not waited for")
}

// Sign asks for a PIN if the card needs one, and signs.
func (c *tokenCard) Sign(ctx context.Context, message []byte) ([]byte, error) {
	message = bytes.Clone(message) // it may be used after Sign has returned
	return withPIN(ctx, c, func(m module, pin []byte) ([]byte, error) { return c.signOnce(ctx, m, pin, message) })
}

// keys lists the private keys visible after a login.
func (c *tokenCard) keys(ctx context.Context) ([]KeyReport, error) {
	if flags := c.first.token.info.Flags; flags&pkcs11.CKF_LOGIN_REQUIRED == 0 || flags&pkcs11.CKF_PROTECTED_AUTHENTICATION_PATH != 0 {
		return keyReports(c.first.token.keys), nil // no login with a PIN from here
	}
	return withPIN(ctx, c, func(m module, pin []byte) ([]KeyReport, error) {
		s, err := c.begin(m)
		if err != nil {
			return nil, err
		}
		defer s.end()
		out, err := c.logIn(ctx, s, pin)
		if err != nil {
			return nil, err
		}
		defer out()
		keys, err := readKeys(m, s.h, nil)
		if err != nil {
			return nil, c.explain(m, s.token.slot, "list its keys", err)
		}
		return keyReports(keys), nil
	})
}

// withPIN looks at the card, asks for a PIN if the card needs one, and passes it
// to do. A person may take minutes in between, so that do looks again.
func withPIN[T any](ctx context.Context, c *tokenCard, do func(m module, pin []byte) (T, error)) (result T, err error) {
	c.mu.Lock()
	closed := c.closed
	if !closed {
		c.lib.hold()
	}
	c.mu.Unlock()
	if closed {
		return result, errClosed()
	}
	defer c.lib.release()

	w, _, err := call(ctx, c.lib, func(m module) (wants, error) {
		s, err := c.begin(m)
		if err != nil {
			return wants{}, err
		}
		defer s.end()
		return s.wants, nil
	})
	if err != nil {
		return result, err
	}
	pin, err := c.askPIN(ctx, w)
	if err != nil {
		return result, err
	}
	result, started, err := call(ctx, c.lib, func(m module) (T, error) {
		defer clear(pin)
		return do(m, pin)
	})
	if !started {
		clear(pin)
	}
	return result, err
}

// askPIN gets the PIN if this program must give one. The caller erases it.
func (c *tokenCard) askPIN(ctx context.Context, w wants) ([]byte, error) {
	req := pinRequest(w.flags)
	req.Card = c.Describe()
	if !w.any() {
		return nil, nil
	}
	if w.itself {
		if c.opt.Batch {
			return nil, fail(PINNeeded, "run it without -batch, with someone at the card",
				"%s asks for the PIN itself, which needs a person", c.Describe())
		}
		if warning := req.Warning(); warning != "" {
			c.opt.notice(warning)
		}
		c.opt.notice("enter the PIN on the card reader, or in the window of the card's own software")
		return nil, nil
	}
	ask := c.opt.PIN
	if c.uri.pinSource != "" {
		path, err := pinSourcePath(c.uri.pinSource)
		if err != nil {
			return nil, err
		}
		ask = PINFile(path, c.opt.Notice)
	}
	if ask == nil {
		return nil, fail(PINNeeded, "give it with -pin-file or with pin-source=file:PATH in the card's URI",
			"%s needs a PIN, and no person may be asked for it", c.Describe())
	}
	pin, err := ask(ctx, req)
	if err == nil {
		err = checkPIN(pin)
	}
	if err == nil {
		return pin, nil
	}
	clear(pin)
	if ctx.Err() != nil {
		return nil, cancelled(ctx.Err())
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return nil, e
	}
	return nil, fail(PINNeeded, "", "no PIN was given: %v", err).because(err)
}

// signOnce makes one signature. It tries nothing twice.
func (c *tokenCard) signOnce(ctx context.Context, m module, pin, message []byte) ([]byte, error) {
	s, err := c.begin(m)
	if err != nil {
		return nil, err
	}
	defer s.end()
	slot := s.token.slot
	mech, input, err := mechanism(m, slot, c.leaf().PublicKey, message)
	if err != nil {
		return nil, c.explain(m, slot, "sign", err)
	}
	out, err := c.logIn(ctx, s, pin)
	if err != nil {
		return nil, err
	}
	defer out()
	keys, err := readKeys(m, s.h, c.first.cert.id)
	if err != nil {
		return nil, c.explain(m, slot, "find the key", err)
	}
	key, err := pickKey(s.token, keys, c.first)
	if err != nil {
		return nil, err
	}
	if key == nil {
		return nil, errNoKey(s.token, c.first.cert)
	}
	if err := m.SignInit(s.h, []*pkcs11.Mechanism{mech}, key.handle); err != nil {
		return nil, c.explain(m, slot, "sign", err)
	}
	if key.always {
		if err := s.login(pkcs11.CKU_CONTEXT_SPECIFIC, pin); err != nil {
			return nil, c.explain(m, slot, "log in", err)
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, cancelled(err)
	}
	raw, err := m.Sign(s.h, input)
	if err != nil {
		return nil, c.explain(m, slot, "sign", err)
	}
	return finish(c.leaf(), message, raw)
}
