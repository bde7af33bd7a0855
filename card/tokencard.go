//go:build cgo

package card

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"slices"
	"sync"
	"unsafe"

	"github.com/miekg/pkcs11"
)

// tokenCard is a card behind a PKCS#11 module. It keeps no session: a card may
// be pulled and put back at any time, so that every signature opens one, makes
// sure that it is still the same card, and closes it.
type tokenCard struct {
	lib   *library
	uri   *uri
	opt   Options
	first choice // as it was when the card was opened; not changed afterwards
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
func (c *tokenCard) Leaf() []byte            { return bytes.Clone(c.first.cert.der) }
func (c *tokenCard) Chain() [][]byte         { return cloneAll(c.chain) }
func (c *tokenCard) Describe() string        { return c.first.token.name() }

// Close lets go of the module. What a cancelled Sign left running is waited
// for as long as closeWait.
func (c *tokenCard) Close() error {
	c.mu.Lock()
	closed := c.closed
	c.closed = true
	c.mu.Unlock()
	if closed || c.lib.leave(context.Background()) {
		return nil
	}
	return fail(Failed, "close its dialog, or take the card out", "the card's software is still busy with an earlier call and was left behind")
}

// Sign asks for a PIN if that is wanted, and signs.
func (c *tokenCard) Sign(ctx context.Context, message []byte) ([]byte, error) {
	message = bytes.Clone(message) // it may be used after this has returned
	return withPIN(ctx, c, func(m module, pin []byte) ([]byte, error) { return c.signOnce(ctx, m, pin, message) })
}

// keys lists the private keys that the token shows after a login.
func (c *tokenCard) keys(ctx context.Context) ([]KeyReport, error) {
	if flags := c.first.token.info.Flags; flags&pkcs11.CKF_LOGIN_REQUIRED == 0 || flags&pkcs11.CKF_PROTECTED_AUTHENTICATION_PATH != 0 {
		return keyReports(c.first.token.keys), nil // a PIN is no use
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

// withPIN looks at the card, asks for a PIN if that is wanted, and has do use
// it; between looking and using it a person may take minutes, so that do looks
// again.
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

// wants is what a token asks for before it signs.
type wants struct {
	login  bool // C_Login before the key is looked for
	always bool // C_Login for this one signature, if the key shows already
	itself bool // the reader or the card's own software asks for the PIN
	flags  uint // of the token
}

// session is one open session with the card, made sure to be the same card.
type session struct {
	m     module
	h     pkcs11.SessionHandle
	token *token // as it is now
	wants wants
}

func (s *session) end() { s.m.CloseSession(s.h) } // an error here has nobody to help

// begin finds the card, in the slot where it was or in another, and opens a
// session with it. Which card it is, is decided by the token's serial number
// and by the certificate: a PIN must never be tried on another card.
func (c *tokenCard) begin(m module) (*session, error) {
	slots := []uint{c.first.token.slot}
	present, err := m.GetSlotList(true)
	if err == nil {
		for _, slot := range present[:min(len(present), maxSlots)] {
			if slot != slots[0] {
				slots = append(slots, slot)
			}
		}
	}
	var gone error // why the slot where the card was gives nothing
	other := false // another card is in it
	for i, slot := range slots {
		info, err := m.GetTokenInfo(slot)
		if err != nil || !sameToken(trimmed(info), c.first.token.info) {
			if i == 0 {
				gone, other = err, err == nil && info.Flags&pkcs11.CKF_TOKEN_INITIALIZED != 0
			}
			continue
		}
		s, err := c.enter(m, &token{slot: slot, info: trimmed(info)})
		if !errors.Is(err, CardChanged) {
			return s, err
		}
		other = true
	}
	if other {
		return nil, fail(CardChanged, "put the first card back", "another card is in the reader: it is not %s any more", c.Describe())
	}
	return nil, fail(CardRemoved, "put it back and try again", "the card is not in the reader any more").because(gone)
}

// enter opens a session with a token that looks like the card and learns what
// it wants. CardChanged means that the certificate is another.
func (c *tokenCard) enter(m module, t *token) (*session, error) {
	h, err := m.OpenSession(t.slot, pkcs11.CKF_SERIAL_SESSION)
	if err != nil {
		return nil, c.explain(m, t.slot, "open the card", err)
	}
	s := &session{m: m, h: h, token: t}
	if err := c.examine(s); err != nil {
		s.end()
		return nil, c.explain(m, t.slot, "read the card", err)
	}
	return s, nil
}

func (c *tokenCard) examine(s *session) error {
	certs, err := readCerts(s.m, s.h, c.first.cert.id)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(certs, func(o certificate) bool { return c.first.cert.same(&o) }) {
		return fail(CardChanged, "", "the certificate is not on the card any more")
	}
	keys, err := readKeys(s.m, s.h, c.first.cert.id)
	if err != nil {
		return err
	}
	key, err := pickKey(s.token, keys, c.first)
	if err != nil {
		return err
	}
	flags := s.token.info.Flags
	s.wants = wants{
		login:  flags&pkcs11.CKF_LOGIN_REQUIRED != 0 && (key == nil || key.private),
		always: key != nil && key.always,
		itself: flags&pkcs11.CKF_PROTECTED_AUTHENTICATION_PATH != 0,
		flags:  flags,
	}
	if s.wants.any() && flags&pkcs11.CKF_USER_PIN_LOCKED != 0 {
		return errLocked()
	}
	return nil
}

// any reports whether a PIN comes into it at all. A token that asks by itself
// may do so at every signature without wanting a login.
func (w wants) any() bool { return w.login || w.always || w.itself }

// askPIN gets the PIN if this program has to give one. Whoever gets it erases it.
func (c *tokenCard) askPIN(ctx context.Context, w wants) ([]byte, error) {
	req := pinRequest(w.flags)
	req.Card = c.Describe()
	if !w.any() {
		return nil, nil
	}
	if w.itself {
		if c.opt.Batch {
			return nil, fail(PINNeeded, "run it without -batch, with someone at the card",
				"%s asks for the PIN by itself, and nobody may be asked", c.Describe())
		}
		if warning := req.Warning(); warning != "" {
			c.opt.notice(warning)
		}
		c.opt.notice("give the PIN on the card reader, or where the card's own software asks for it")
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
		return nil, fail(PINNeeded, "give it with -pin-file or with pin-source=file:PATH in the card's URI", "%s wants a PIN, and nobody may be asked", c.Describe())
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

// signOnce makes the one signature. Nothing in it is ever tried twice.
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

// logIn logs in where the token wants that. The function that it returns logs
// out again: every use of the key is asked for.
func (c *tokenCard) logIn(ctx context.Context, s *session, pin []byte) (out func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, cancelled(err) // nobody waits any more: no try is spent
	}
	if !s.wants.login {
		return func() {}, nil
	}
	switch err := s.login(pkcs11.CKU_USER, pin); {
	case err == nil:
		return func() { s.m.Logout(s.h) }, nil
	case errors.Is(err, pkcs11.Error(pkcs11.CKR_USER_ALREADY_LOGGED_IN)):
		return func() {}, nil
	default:
		return nil, c.explain(s.m, s.token.slot, "log in", err)
	}
}

// login gives the PIN to the token, or lets the token ask for it. pin stays
// the caller's to erase; the binding copies it to C once more and frees that
// copy without erasing it, which cannot be helped from here.
func (s *session) login(user uint, pin []byte) error {
	if s.wants.itself {
		return s.m.Login(s.h, user, "") // the binding makes it NULL
	}
	if len(pin) == 0 {
		return fail(PINNeeded, "try again", "the card wants a PIN now, and did not a moment ago")
	}
	return s.m.Login(s.h, user, unsafe.String(unsafe.SliceData(pin), len(pin)))
}
