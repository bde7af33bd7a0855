package crypto

import (
	"errors"

	"chatsecure/proto"
)

// ErrDecrypt is the one error of opening, decapsulation and confirmation. It does
// not tell an attacker which step failed.
var ErrDecrypt error = &refusal{code: proto.DecryptFailed, text: "decryption or authentication failed"}

// ErrSignature means that K's signature under a phase of the handshake does not hold.
var ErrSignature error = &refusal{code: proto.SignatureInvalid, text: "the signature does not hold: it was changed on the way, or is not theirs"}

// refusal is an error with a code.
type refusal struct {
	code       proto.Code
	text, hint string
}

// Error returns the sentence.
func (e *refusal) Error() string { return e.text }

// Refusal returns the code and the hint. It leaves the sentence to the error that
// wraps this one.
func (e *refusal) Refusal() (proto.Code, string, string) { return e.code, "", e.hint }

// ErrHandshake is in the chain of every error about a handshake message that is
// malformed or belongs to another handshake.
var ErrHandshake error = &refusal{code: proto.Malformed, text: "client-connect handshake"}

func handshakeError(what string) error { return &handshakeFailure{what} }

type handshakeFailure struct{ what string }

func (e *handshakeFailure) Error() string { return "client-connect: " + e.what }

func (e *handshakeFailure) Unwrap() error { return ErrHandshake }

// errNoCommonSuite means that A offers no suite that B allows.
var errNoCommonSuite error = &refusal{code: proto.NoCommonSuite, text: "there is no cipher suite in common"}

// The errors of Conversation.Open that a caller tells apart. Each ends the
// conversation if the message came from the peer's own connection.
var (
	ErrGap    error = &refusal{code: proto.DecryptFailed, text: "messages are missing before this one"}
	ErrReplay error = &refusal{code: proto.DecryptFailed, text: "a message with an old number"}
	ErrDigest error = &refusal{code: proto.DecryptFailed, text: "the digest of all messages so far is not the sender's"}
	ErrClock  error = &refusal{
		code: proto.Unexpected,
		text: "the message's time is more than five minutes from this machine's clock",
		hint: "look at both clocks: one of them is wrong",
	}
)

// errStepKey means that the peer's key for our next step of the ratchet is none that
// can be encapsulated to.
var errStepKey error = &refusal{code: proto.Malformed, text: "the peer's key for the next step of the ratchet cannot be used"}

// ErrOtherConversation is Conversation.Open's error for a message of another
// conversation or of none, of which nothing else has been checked.
var ErrOtherConversation = errors.New("a message of another conversation")
