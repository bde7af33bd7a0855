// Package card signs one message with a card: a PKCS#11 token (an eID card in a
// reader) or a software card (a directory of PEM files). It finds the
// authentication certificate and its private key, asks for the PIN, and
// explains every failure in a sentence. PINs are erased after use.
//
// It knows nothing of delegations, chains, trust or revocation. It follows
// PKCS#11 v2.40 and RFC 7512 (PKCS#11 URIs).
package card

import (
	"context"
	"strings"
)

// Card is an opened token or software card with one authentication
// certificate chosen. Its methods may be called from several goroutines.
//
// A card that is taken out and put back still works, in the same reader or in
// another. A reader plugged in after Open is found only by the next Open after
// Close: PKCS#11 lists readers once.
type Card interface {
	// Leaf returns the DER of the authentication certificate.
	Leaf() []byte

	// Chain returns the DER of the CA certificates beside the leaf, in no
	// order. It may be empty, and it may hold roots and CAs of other chains.
	Chain() [][]byte

	// Sign signs message with the authentication key. RSA: PKCS#1 v1.5 over
	// SHA-256. EC: ECDSA over SHA-256 (P-256), SHA-384 (P-384) or SHA-512
	// (P-521), in ASN.1 DER. The card makes exactly one signature, which is
	// verified against the leaf before it is returned.
	//
	// A PIN may be asked for, through Options.PIN or by the reader itself, so
	// that Sign may take minutes. It returns as soon as ctx ends, and drops a
	// signature made later. Every error is an *Error.
	Sign(ctx context.Context, message []byte) ([]byte, error)

	// Describe names the card for people: token "alice" (SoftHSM v2) in slot 3.
	// Text from the token is quoted.
	Describe() string

	// Close releases the card. It waits a bounded time for an unfinished call
	// of the card's software.
	Close() error
}

// Options control questions and notices to the user. The zero value asks
// nothing and says nothing.
type Options struct {
	// PIN asks for the PIN. It is called from the goroutine that called Sign,
	// at most once a Sign, and only if the token needs a PIN from this program.
	// It must return when ctx ends. Its result is erased after use, and an
	// *Error from it is passed on unchanged. If it is nil and the URI has no
	// pin-source, such a token fails with PINNeeded.
	PIN func(ctx context.Context, req PINRequest) ([]byte, error)

	// Notice shows a sentence, without a full stop, that is not an error. It is
	// called from the goroutine that called Open, Survey or Sign. It may be nil.
	Notice func(sentence string)

	// Batch means that no person is present: a reader or card software that asks
	// for the PIN itself fails with PINNeeded before it asks.
	Batch bool
}

// PINRequest describes the token to a person about to type its PIN. PKCS#11 has
// two flags and no count of the tries left. No PIN is requested for a locked
// token.
type PINRequest struct {
	Card     string // as returned by Describe
	fewTries bool   // a wrong PIN was given since the last right one
	finalTry bool   // the next wrong PIN locks the card
}

// Warning returns a sentence about earlier wrong PINs, or "" if there were none.
func (r PINRequest) Warning() string {
	switch {
	case r.finalTry:
		return "this is the last try: another wrong PIN locks the card"
	case r.fewTries:
		return "a wrong PIN was given before: fewer tries are left"
	}
	return ""
}

// Open opens the card named by spec, which is "" for the first known PKCS#11
// module with a usable card, a PKCS#11 URI (RFC 7512), or the directory of a
// software card (cert.pem with the leaf first, then its chain; key.pem, PKCS#8).
// It needs no PIN. Every error is an *Error.
func Open(ctx context.Context, spec string, opt Options) (Card, error) {
	if err := ctx.Err(); err != nil {
		return nil, cancelled(err)
	}
	if spec != "" && !IsURI(spec) {
		return openSoftware(spec, opt)
	}
	u, err := parseURI(spec)
	if err != nil {
		return nil, err
	}
	return openToken(ctx, u, opt)
}

// Survey reports all modules, tokens and certificates within spec, without PIN
// or login, and the obstacles to their use. Trouble with one module or token
// stands in the report. The error is an *Error for a spec that is malformed or
// leads to no module.
func Survey(ctx context.Context, spec string, opt Options) (*Report, error) {
	if err := ctx.Err(); err != nil {
		return nil, cancelled(err)
	}
	if spec != "" && !IsURI(spec) {
		return surveySoftware(spec, opt), nil
	}
	u, err := parseURI(spec)
	if err != nil {
		return nil, err
	}
	return surveyTokens(ctx, u)
}

// Keys opens the card named by spec, as Open does, and lists its private keys
// after one login, for which Options.PIN is asked once. There is no login to a
// card that takes no PIN from this program. The error is an *Error.
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

// IsURI reports whether spec is meant as a PKCS#11 URI. The case of a scheme
// does not matter (RFC 3986, section 3.1).
func IsURI(spec string) bool {
	return len(spec) >= len(uriScheme) && strings.EqualFold(spec[:len(uriScheme)], uriScheme)
}

func (o Options) notice(sentence string) {
	if o.Notice != nil {
		o.Notice(sentence)
	}
}
