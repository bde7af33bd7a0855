package proto

import "fmt"

// Code is the stable, machine-readable half of an error. It crosses the wire,
// stands in -json output and decides the exit status. PROTOCOL.md, "Error
// codes".
type Code string

// The codes.
const (
	Malformed        Code = "malformed"         // not in the form PROTOCOL.md gives
	TooLong          Code = "too-long"          // a line or text over its limit
	Unexpected       Code = "unexpected"        // well-formed, but not now
	Busy             Code = "busy"              // a limit on work at once is reached; try again
	Timeout          Code = "timeout"           // the other side took too long
	NoCommonSuite    Code = "no-common-suite"   // no cipher suite in common
	NameInvalid      Code = "name-invalid"      // not a name by the rules
	NameTaken        Code = "name-taken"        // the name belongs to another identity, or looks like one that does
	SignatureInvalid Code = "signature-invalid" // a signature does not hold
	DecryptFailed    Code = "decrypt-failed"    // a seal or confirmation does not hold
	NoSuchName       Code = "no-such-name"      // nobody by that name is connected
	Gone             Code = "gone"              // the connection addressed is not there (any more)
	Slow             Code = "slow"              // the connection did not take what was sent to it
	Flood            Code = "flood"             // more sent than the windows allow
	Shutdown         Code = "shutdown"          // the relay is stopping
	NoConversation   Code = "no-conversation"   // the conversation named is not known here
	NotTaking        Code = "not-taking"        // that connection takes no messages
	NotAccepted      Code = "not-accepted"      // the person has not accepted this one, and takes no more
	NotAllowed       Code = "not-allowed"       // the relay does not serve this person
	IdentityChanged  Code = "identity-changed"  // another person under a known name
	UnknownPeer      Code = "unknown-peer"      // nobody has accepted this person yet
	UnknownRelay     Code = "unknown-relay"     // nobody has accepted this relay key yet
	RelayChanged     Code = "relay-changed"     // another key under a known relay address
	NoMailbox        Code = "no-mailbox"        // the mailbox is not there any more
	MailboxFull      Code = "mailbox-full"      // the mailbox takes no more letters, or none of this person
	NotDelivered     Code = "not-delivered"     // given up within the time allowed
	Card             Code = "card"              // the card, its PIN or its key
	Lost             Code = "lost"              // the relay cannot be reached, or was lost
	History          Code = "history"           // the history cannot be written or does not verify
	Internal         Code = "internal"          // anything else
	Usage            Code = "usage"             // the command line

	CertificateUntrusted  Code = "certificate-untrusted"
	CertificateExpired    Code = "certificate-expired"
	CertificateNotYet     Code = "certificate-not-yet-valid"
	CertificateRevoked    Code = "certificate-revoked"
	CertificateUnsuitable Code = "certificate-unsuitable"
	RevocationUnknown     Code = "revocation-unknown"
	DelegationInvalid     Code = "delegation-invalid"
	DelegationExpired     Code = "delegation-expired"
	DelegationNotYet      Code = "delegation-not-yet-valid"
	NameMismatch          Code = "name-mismatch"
	BundleMalformed       Code = "bundle-malformed"
)

// Error is a refusal as it crosses the wire: a code, and a sentence in lower
// case without a full stop.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
}

// Error returns the sentence.
func (e *Error) Error() string { return e.Message }

// inBounds reports whether a received error may be shown.
func inBounds(code Code, message string) bool {
	return code != "" && len(code) <= MaxCode && len(message) <= MaxMessage
}

// Errorf makes an Error.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// The bounds on an error that a peer sends, in bytes.
const (
	MaxMessage = 1 << 10 // the sentence
	MaxCode    = 64
)
