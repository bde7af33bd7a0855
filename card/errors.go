package card

import (
	"errors"
	"fmt"

	"chatsecure/proto"
)

// Kind distinguishes card errors: errors.Is(err, PINLocked).
type Kind string

// The kinds of error.
const (
	BadSpec       Kind = "bad-spec"            // the URI or path of the card is malformed
	NoModule      Kind = "no-module"           // no PKCS#11 module in any known place
	ModuleMissing Kind = "module-missing"      // the named module does not exist
	ModuleArch    Kind = "module-architecture" // the module is for another processor or system
	ModuleLoad    Kind = "module-not-loadable" // the module cannot be loaded or started
	NoCgo         Kind = "no-cgo"              // this program was built without PKCS#11
	NoCard        Kind = "no-card"             // no matching card in any reader
	NoCertificate Kind = "no-certificate"      // no authentication certificate on the card
	NoKey         Kind = "no-key"              // the certificate's private key is not on the card
	Ambiguous     Kind = "ambiguous"           // several cards, certificates or keys match
	Unsuitable    Kind = "unsuitable"          // the certificate or its key cannot authenticate
	PINNeeded     Kind = "pin-needed"          // a PIN is needed and none was given
	PINIncorrect  Kind = "pin-incorrect"       // the PIN is wrong
	PINLocked     Kind = "pin-locked"          // too many wrong PINs
	Cancelled     Kind = "cancelled"           // a person or the context ended it
	CardRemoved   Kind = "card-removed"        // the card is no longer in the reader
	CardChanged   Kind = "card-changed"        // another card is in its place
	BadSignature  Kind = "bad-signature"       // the card's signature does not fit its certificate
	Failed        Kind = "failed"              // anything else
)

// Error makes a Kind a target for errors.Is.
func (k Kind) Error() string { return string(k) }

// Error is the error of every function of this package.
type Error struct {
	Kind    Kind
	Message string // a sentence in lower case, without a full stop
	Hint    string // a remedy, or ""
	err     error  // the cause (a pkcs11.Error, an *fs.PathError, a context's error), or nil
}

// Error returns the sentence, without the hint.
func (e *Error) Error() string { return e.Message }

// Refusal returns the code for programs, and the message and hint for people.
func (e *Error) Refusal() (proto.Code, string, string) { return proto.Card, e.Message, e.Hint }

// Unwrap shows the kind and the cause to errors.Is and errors.As.
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

// because adds the cause of e and returns e.
func (e *Error) because(err error) *Error {
	e.err = err
	return e
}

// cancelled is the error after the context has ended.
func cancelled(err error) *Error {
	return fail(Cancelled, "", "the wait for the card was cut short").because(err)
}

// asError returns err as an *Error: no other error leaves this package.
func asError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return fail(Failed, "", "%v", err).because(err)
}
