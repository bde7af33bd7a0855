//go:build cgo

package card

import (
	"context"
	"errors"
	"slices"
	"unsafe"

	"github.com/miekg/pkcs11"
)

// wants are the demands of a token before a signature.
type wants struct {
	login  bool // C_Login before the search for the key
	always bool // C_Login for this one signature; known only of a visible key
	itself bool // the reader or the card's own software asks for the PIN
	flags  uint // of the token
}

// any reports whether a PIN may be asked for at all. A token that asks itself may
// do so at every signature without a login.
func (w wants) any() bool { return w.login || w.always || w.itself }

// session is one open session with the card, after the check that it is the same
// card.
type session struct {
	m     module
	h     pkcs11.SessionHandle
	token *token // at present
	wants wants
}

func (s *session) end() { s.m.CloseSession(s.h) } // an error has no remedy

// begin finds the card, in its first slot or in another, and opens a session with
// it. Token info and certificate identify it: a PIN must never be tried on
// another card.
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
	var gone error // from the card's first slot
	other := false // another card is in that slot
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
		return nil, c.errChanged()
	}
	return nil, fail(CardRemoved, "put it back and try again", "the card is no longer in the reader").because(gone)
}

// enter opens a session with a token that looks like the card and learns its
// demands. It fails with CardChanged if the certificate differs.
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

// examine checks that the token has the card's certificate, and sets s.wants.
func (c *tokenCard) examine(s *session) error {
	certs, err := readCerts(s.m, s.h, c.first.cert.id)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(certs, func(o certificate) bool { return c.first.cert.same(&o) }) {
		return fail(CardChanged, "", "the certificate is no longer on the card")
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

// logIn logs in if the token needs it. The returned function logs out, so that
// every use of the key needs a PIN.
func (c *tokenCard) logIn(ctx context.Context, s *session, pin []byte) (out func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, cancelled(err) // before a try is spent
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

// login gives the PIN to the token, or lets the token ask for it. The caller
// erases pin. The binding's copy in C is freed without being erased, which has no
// remedy here.
func (s *session) login(user uint, pin []byte) error {
	if s.wants.itself {
		return s.m.Login(s.h, user, "") // NULL in C
	}
	if len(pin) == 0 {
		return fail(PINNeeded, "try again", "the card needs a PIN now, which it did not a moment ago")
	}
	return s.m.Login(s.h, user, unsafe.String(unsafe.SliceData(pin), len(pin)))
}

// pinRequest reads a token's flags about its PIN.
func pinRequest(flags uint) PINRequest {
	return PINRequest{fewTries: flags&pkcs11.CKF_USER_PIN_COUNT_LOW != 0, finalTry: flags&pkcs11.CKF_USER_PIN_FINAL_TRY != 0}
}
