//go:build cgo

package card

import (
	"errors"
	"fmt"
	"strings"

	"github.com/miekg/pkcs11"
)

// explain turns an error of a PKCS#11 call on the card into one for people. It
// looks at the token first: what a module answers when the card is pulled is
// anything, CKR_PIN_LOCKED included.
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
		return fail(CardChanged, "put the first card back", "another card is in the reader: it is not %s any more", c.Describe()).because(err)
	}
	switch code {
	case pkcs11.CKR_PIN_LOCKED:
		return errLocked().because(err)
	case pkcs11.CKR_PIN_LEN_RANGE, pkcs11.CKR_PIN_INVALID:
		return fail(PINIncorrect, "", "the PIN has a length or characters that the card does not take").because(err)
	case pkcs11.CKR_PIN_EXPIRED:
		return fail(Failed, "change it with the card's own software", "the PIN must be changed before the card can be used").because(err)
	case pkcs11.CKR_USER_PIN_NOT_INITIALIZED:
		return fail(Failed, "set it with the card's own software", "the card has no PIN yet").because(err)
	case pkcs11.CKR_FUNCTION_CANCELED, pkcs11.CKR_CANCEL, pkcs11.CKR_FUNCTION_REJECTED:
		return fail(Cancelled, "", "it was cancelled where the PIN was asked for").because(err)
	case pkcs11.CKR_DEVICE_REMOVED, pkcs11.CKR_TOKEN_NOT_PRESENT, pkcs11.CKR_SESSION_HANDLE_INVALID, pkcs11.CKR_SESSION_CLOSED:
		return fail(CardRemoved, "try again", "the card was taken out and put back in between").because(err)
	}
	return fail(Failed, "", "the card could not %s: %s", doing, words(err)).because(err)
}

// wrongPIN says what the token's flags say after a wrong PIN, and no number:
// PKCS#11 has none.
func wrongPIN(flags uint, known bool) *Error {
	switch {
	case known && flags&pkcs11.CKF_USER_PIN_LOCKED != 0:
		return fail(PINLocked, "unlock it with the PUK and the card's own software", "the PIN was wrong, and the card's PIN is locked now")
	case known && flags&pkcs11.CKF_USER_PIN_FINAL_TRY != 0:
		return fail(PINIncorrect, "make sure of the PIN: another wrong one locks the card", "the PIN was wrong, and there is one last try")
	}
	return fail(PINIncorrect, "too many wrong PINs lock the card", "the PIN was wrong")
}

func errLocked() *Error {
	return fail(PINLocked, "unlock it with the PUK and the card's own software", "the card's PIN is locked")
}

// words gives a PKCS#11 error as its name alone, CKR_DEVICE_ERROR, and any
// other as it is.
func words(err error) string {
	code, ok := errors.AsType[pkcs11.Error](err)
	if !ok {
		return err.Error()
	}
	// pkcs11: 0x30: CKR_DEVICE_ERROR; a vendor's own code has no name.
	if _, name, ok := strings.Cut(code.Error(), ": CKR_"); ok {
		return "CKR_" + name
	}
	return fmt.Sprintf("PKCS#11 error 0x%X", uint(code))
}
