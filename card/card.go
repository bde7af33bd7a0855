// Package card is one small interface to whoever can sign one delegation: a
// PKCS#11 token (an eID card in a reader) or a software card (a directory of
// PEM files). It finds the authentication certificate, pairs it with its
// private key, signs once, and says in sentences what went wrong.
//
// It knows nothing of delegations, chains, trust or revocation: what is signed
// and who believes it is decided elsewhere. It follows PKCS#11 v2.40 and RFC
// 7512 (PKCS#11 URIs). PIN bytes handed to it are erased after use.
package card

import (
	"context"
	"strings"
)

// Card is an opened token or software card with one authentication
// certificate chosen. Its methods may be called from several goroutines.
//
// A card that is taken out and put back, in the same reader or another, works
// on. A reader that was plugged in after Open is seen only by the next Open
// after Close: PKCS#11 lists readers once.
type Card interface {
	// Leaf returns the DER of the authentication certificate.
	Leaf() []byte

	// Chain returns the DER of the CA certificates found beside it: in no
	// order, a root may be among them, others may not belong to the leaf's
	// chain at all, and it may be empty.
	Chain() [][]byte

	// Sign signs message with the authentication key. RSA: PKCS#1 v1.5 over
	// SHA-256. EC: ECDSA over SHA-256 (P-256), SHA-384 (P-384) or SHA-512
	// (P-521), in ASN.1 DER. The card is asked for exactly one signature, and
	// it is verified against the leaf before it is returned.
	//
	// It may ask for a PIN, by Options.PIN or by the reader itself, and may
	// take minutes. When ctx ends it returns at once; a signature that the
	// card makes afterwards is dropped. Every error is an *Error.
	Sign(ctx context.Context, message []byte) ([]byte, error)

	// Describe names the card for people, with what comes from the token
	// quoted: token "alice" (SoftHSM v2) in slot 3.
	Describe() string

	// Close lets go of the card. It waits a bounded time for a call that the
	// card's software has not finished.
	Close() error
}

// Options say how a card is opened and whom it may ask. The zero value asks
// nobody.
type Options struct {
	// PIN asks for the PIN. It is called from the goroutine that called Sign,
	// at most once a Sign, only when the token wants a PIN from this program.
	// It must return when ctx ends. What it returns is erased after use. If it
	// is nil and the URI has no pin-source, such a token is refused with
	// PINNeeded. An *Error that it returns is passed on as it is.
	PIN func(ctx context.Context, req PINRequest) ([]byte, error)

	// Notice tells a person something that is not an error, in a sentence
	// without a full stop. It is called from the goroutine that called Open,
	// Survey or Sign. It may be nil.
	Notice func(sentence string)

	// Batch says that nobody is there: a reader with a keypad, or a card whose
	// own software asks for the PIN, is refused with PINNeeded before it asks.
	Batch bool
}

// PINRequest is what a person should know before typing a PIN. PKCS#11 has no
// count of the tries left, only two flags, so there is no number here. A token
// whose PIN is locked is never asked about.
type PINRequest struct {
	Card     string // the card as Describe has it
	fewTries bool   // a wrong PIN was given since the last right one
	finalTry bool   // the next wrong PIN locks the card
}

// Warning returns what the flags say, as a sentence, or "" if they say nothing.
func (r PINRequest) Warning() string {
	switch {
	case r.finalTry:
		return "this is the last try: another wrong PIN locks the card"
	case r.fewTries:
		return "a wrong PIN was given before: fewer tries are left"
	}
	return ""
}

// Open opens the card that spec names: "" for the first known PKCS#11 module
// with a usable card in it, a PKCS#11 URI (RFC 7512) beginning with "pkcs11:",
// or a directory with a software card (cert.pem with the leaf first, then its
// chain; key.pem, PKCS#8). It needs no PIN. Every error is an *Error.
func Open(ctx context.Context, spec string, opt Options) (Card, error) {
	if err := ctx.Err(); err != nil {
		return nil, cancelled(err)
	}
	if spec != "" && !isURI(spec) {
		return openSoftware(spec, opt)
	}
	u, err := parseURI(spec)
	if err != nil {
		return nil, err
	}
	return openToken(ctx, u, opt)
}

// Survey looks at everything that spec reaches and reports it, without PIN or
// login: what could be used, and what stands in the way. The error is an
// *Error, for a spec that cannot be looked at; trouble with one module or
// token stands in the report.
func Survey(ctx context.Context, spec string, opt Options) (*Report, error) {
	if err := ctx.Err(); err != nil {
		return nil, cancelled(err)
	}
	if spec != "" && !isURI(spec) {
		return surveySoftware(spec, opt), nil
	}
	u, err := parseURI(spec)
	if err != nil {
		return nil, err
	}
	return surveyTokens(ctx, u)
}

// Keys opens the card that Open would and lists the private keys that it shows
// after a login, for which Options.PIN is asked as for a signature, once. A card
// that takes no PIN from this program is not logged in to. The error is an
// *Error.
func Keys(ctx context.Context, spec string, opt Options) ([]KeyReport, error) {
	c, err := Open(ctx, spec, opt)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	token, ok := c.(interface {
		keys(context.Context) ([]KeyReport, error)
	})
	if !ok {
		return nil, nil
	}
	return token.keys(ctx)
}

// isURI reports whether spec is meant as a PKCS#11 URI; a URI's scheme has no
// case (RFC 3986, section 3.1).
func isURI(spec string) bool {
	return len(spec) >= len(uriScheme) && strings.EqualFold(spec[:len(uriScheme)], uriScheme)
}

func (o Options) notice(sentence string) {
	if o.Notice != nil {
		o.Notice(sentence)
	}
}
