//go:build cgo

package card

import (
	"errors"
	"fmt"
	"strings"

	"github.com/miekg/pkcs11"
)

// explain turns the error of a PKCS#11 call into one for people. It looks at the
// token first: once the card is out, a module may answer anything, even
// CKR_PIN_LOCKED.
func (c *tokenCard) explain(m module, slot uint, doing string, err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	code, _ := errors.AsType[pkcs11.Error](err)
	info, gone := m.GetTokenInfo(slot)
	same := gone == nil && sameToken(trimmed(info), c.first.token.info)
	if code == pkcs11.CKR_PIN_INCORRECT {
		return wrongPIN(info.Flags, same).because(err)
	}
	switch {
	case gone != nil:
		return fail(CardRemoved, "put it back and try again", "the card was taken out").because(err)
	case !same:
		return c.errChanged().because(err)
	}
	switch code {
	case pkcs11.CKR_PIN_LOCKED:
		return errLocked().because(err)
	case pkcs11.CKR_PIN_LEN_RANGE, pkcs11.CKR_PIN_INVALID:
		return fail(PINIncorrect, "", "the card does not accept a PIN of this length or with these characters").because(err)
	case pkcs11.CKR_PIN_EXPIRED:
		return fail(Failed, "change it with the card's own software", "the PIN must be changed before the card can be used").because(err)
	case pkcs11.CKR_USER_PIN_NOT_INITIALIZED:
		return fail(Failed, "set it with the card's own software", "the card has no PIN yet").because(err)
	case pkcs11.CKR_FUNCTION_CANCELED, pkcs11.CKR_CANCEL, pkcs11.CKR_FUNCTION_REJECTED:
		return fail(Cancelled, "", "the entry of the PIN was cancelled").because(err)
	case pkcs11.CKR_DEVICE_REMOVED, pkcs11.CKR_TOKEN_NOT_PRESENT, pkcs11.CKR_SESSION_HANDLE_INVALID, pkcs11.CKR_SESSION_CLOSED:
		return fail(CardRemoved, "try again", "the card was taken out and put back meanwhile").because(err)
	}
	return fail(Failed, "", "the card could not %s: %s", doing, words(err)).because(err)
}

// wrongPIN reports a wrong PIN with the token's flags; known says whether they
// are of this card. There is no count of tries in PKCS#11.
func wrongPIN(flags uint, known bool) *Error {
	switch {
	case known && flags&pkcs11.CKF_USER_PIN_LOCKED != 0:
		return fail(PINLocked, "unlock it with the PUK and the card's own software", "the PIN was wrong, and the card's PIN is locked now")
	case known && flags&pkcs11.CKF_USER_PIN_FINAL_TRY != 0:
		return fail(PINIncorrect, "make sure of the PIN: another wrong one locks the card", "the PIN was wrong, and there is one last try")
	}
	return fail(PINIncorrect, "too many wrong PINs lock the card", "the PIN was wrong")
}

func (c *tokenCard) errChanged() *Error {
	return fail(CardChanged, "put the first card back", "another card is in the reader instead of %s", c.Describe())
}

func errLocked() *Error {
	return fail(PINLocked, "unlock it with the PUK and the card's own software", "the card's PIN is locked")
}

// words returns the name of a PKCS#11 error, such as CKR_DEVICE_ERROR, and the
// text of any other error.
func words(err error) string {
	code, ok := errors.AsType[pkcs11.Error](err)
	if !ok {
		return err.Error()
	}
	// The text is "pkcs11: 0x30: CKR_DEVICE_ERROR"; a vendor's code has no name.
	if _, name, ok := strings.Cut(code.Error(), ": CKR_"); ok {
		return "CKR_" + name
	}
	return fmt.Sprintf("PKCS#11 error 0x%X", uint(code))
}
