package card

import (
	"errors"
	"fmt"

	"chatsecure/proto"
)

// Kind tells card errors apart: errors.Is(err, card.PINLocked).
type Kind string

// The kinds of error.
const (
	BadSpec       Kind = "bad-spec"            // what names the card is not of its form
	NoModule      Kind = "no-module"           // no PKCS#11 module is installed where one is known to be
	ModuleMissing Kind = "module-missing"      // the module named is not there
	ModuleArch    Kind = "module-architecture" // the module is made for another processor or system
	ModuleLoad    Kind = "module-not-loadable" // the module cannot be loaded or started
	NoCgo         Kind = "no-cgo"              // this program was built without PKCS#11
	NoCard        Kind = "no-card"             // nothing in any reader that fits
	NoCertificate Kind = "no-certificate"      // no authentication certificate on the card
	NoKey         Kind = "no-key"              // the certificate's private key is not on the card
	Ambiguous     Kind = "ambiguous"           // several cards, certificates or keys fit
	Unsuitable    Kind = "unsuitable"          // the certificate or its key is not for this
	PINNeeded     Kind = "pin-needed"          // a PIN is wanted and nobody gives one
	PINIncorrect  Kind = "pin-incorrect"       // the PIN is wrong
	PINLocked     Kind = "pin-locked"          // too many wrong PINs
	Cancelled     Kind = "cancelled"           // a person, or the context, ended it
	CardRemoved   Kind = "card-removed"        // the card is no longer in the reader
	CardChanged   Kind = "card-changed"        // another card is in its place
	BadSignature  Kind = "bad-signature"       // what the card returned is not its certificate's signature
	Failed        Kind = "failed"              // anything else
)

// Error returns the kind's word, so that a Kind can stand in errors.Is.
func (k Kind) Error() string { return string(k) }

// Error is what every function of this package fails with.
type Error struct {
	Kind    Kind
	Message string // what failed: a sentence, lower case, no full stop
	Hint    string // what to do about it, or ""
	err     error  // what is behind it (a pkcs11.Error, an *fs.PathError, a context's error), or nil
}

// Error returns the sentence, without the hint.
func (e *Error) Error() string { return e.Message }

// Refusal returns the code for programs, and what a person is told.
func (e *Error) Refusal() (proto.Code, string, string) { return proto.Card, e.Message, e.Hint }

// Unwrap makes both the kind and what is behind the error visible to errors.Is
// and errors.As.
func (e *Error) Unwrap() []error {
	if e.err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.err}
}

// fail makes an Error with a hint.
func fail(kind Kind, hint, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...), Hint: hint}
}

// because adds the error behind e and returns e.
func (e *Error) because(err error) *Error {
	e.err = err
	return e
}

// cancelled is the error for a context that ended.
func cancelled(err error) *Error {
	return fail(Cancelled, "", "the card was not waited for any longer").because(err)
}

// asError returns err as an *Error, as which every error leaves this package.
func asError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return fail(Failed, "", "%v", err).because(err)
}
