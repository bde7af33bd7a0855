// Package fail is the error of the two programs: a code for scripts, a sentence and
// advice for people, and the exit status that follows. It turns errors of every other
// package into that form.
//
// It prints nothing, and the wire has an error of its own, proto.Error. PROTOCOL.md,
// "Error codes".
package fail

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strings"
	"syscall"
	"unicode"

	"chatsecure/proto"
)

// Error is a failure with a code for programs, and with a sentence and a hint for
// people.
type Error struct {
	Code    proto.Code
	Message string // the failure: a sentence, lower case, no full stop, safe to show
	Hint    string // the remedy; "" stands for the code's own hint, see Advice
	Err     error  // the cause, or nil
}

// Error returns the sentence, without the hint.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Advice returns the remedy, or "" if there is none.
func (e *Error) Advice() string {
	if _, unproved := errors.AsType[*proto.ClearError](e.Err); unproved && !slices.Contains(inClear, e.Code) {
		return ""
	}
	if _, far := errors.AsType[*proto.Error](e.Err); e.Hint == "" && !(far && slices.Contains(here, e.Code)) {
		return Codes[e.Code].hint
	}
	return e.Hint
}

// Mark stands around each command in a hint that is to be copied: see Command.
const Mark = "\f"

// Command is a command in a hint, to be typed as it stands: a terminal shows it on a row of its own.
// Its names and addresses have no blanks, or are quoted for a shell.
func Command(line string) string { return Mark + line + Mark }

// Errorf makes an Error with the code's own hint. The operand of %w is its cause.
func Errorf(code proto.Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), Err: errors.Unwrap(err)}
}

// With gives an Error that Errorf has made a remedy of its own.
func (e *Error) With(hint string) *Error {
	e.Hint = hint
	return e
}

// The exit statuses of the commands.
const (
	ExitFailure   = 1 // anything else
	exitUsage     = 2 // the command line
	ExitRelay     = 3 // the relay cannot be reached, or was lost
	ExitRefused   = 4 // relay, identity, certificate, revocation, suite or name refused
	exitCard      = 5 // the card, its PIN or its key
	ExitUndone    = 6 // not delivered in time, or nobody by that name
	ExitSome      = 7 // delivered to some only
	ExitIntegrity = 8 // a signature, decryption or verification failed
	ExitKept      = 9 // the relay keeps it for somebody who is not there
)

// Codes has the exit status of each code, and the hint for errors without one of their
// own. A certificate is refused for many reasons with one code, so its hint comes with the
// refusal. PROTOCOL.md, "Error codes", has the same table.
var Codes = map[proto.Code]struct {
	Exit int
	hint string
}{
	proto.Malformed:     {ExitFailure, "the other side may be of another version, or not a ChatSecure program at all"},
	proto.TooLong:       {ExitFailure, "divide it into shorter messages"},
	proto.Unexpected:    {ExitFailure, "the other side may be of another version"},
	proto.Busy:          {ExitRelay, "try again in a moment"},
	proto.Timeout:       {ExitUndone, "try again, or allow more time with -timeout"},
	proto.NoCommonSuite: {ExitRefused, "allow more cipher suites with -ciphers, here or there"},
	proto.NameInvalid:   {exitUsage, "choose another name"},
	proto.NameTaken: {ExitRefused, "choose another name with -name, and with -state DIR if this directory belongs to a name; " +
		"its owner can give this one up with client release, and the relay's operator can free it"},
	proto.SignatureInvalid: {ExitIntegrity, "do not trust the message; tell the relay's operator if it happens again"},
	proto.DecryptFailed:    {ExitIntegrity, "do not trust the message; tell the relay's operator if it happens again"},
	proto.NoSuchName:       {ExitUndone, "client list shows who is connected; -wait-peer of send and pipe waits for somebody to come"},
	proto.Gone:             {ExitUndone, "client list shows who is connected; -wait-peer of send and pipe waits for somebody to come"},
	proto.Slow:             {ExitRelay, "try again over a faster connection"},
	proto.Flood:            {ExitRelay, "send less at once"},
	proto.Shutdown:         {ExitRelay, "try again when the relay is back"},
	proto.NoConversation:   {ExitUndone, "try again"},
	proto.NotTaking:        {ExitUndone, "the other side must run recv, or be at the prompt"},
	proto.NotAllowed:       {ExitRefused, "ask the relay's operator to let you in; client card shows your identity"},
	proto.NotAccepted:      {ExitRefused, "ask them by another way to accept you; client card shows your identity"},
	proto.IdentityChanged:  {ExitRefused, "ask the person, by another way, what identity client card shows there"},
	proto.UnknownPeer:      {ExitRefused, "check the person's identity, then accept with -accept-new, or at a terminal without -batch"},
	proto.UnknownRelay:     {ExitRefused, "compare it with what relay -fingerprint prints, then give it with -fingerprint, or -accept-new"},
	proto.RelayChanged:     {ExitRefused, "compare its key with what relay -fingerprint prints on its machine"},
	proto.NoMailbox:        {ExitUndone, "try again"},
	proto.MailboxFull:      {ExitUndone, "try again when the other side has collected its letters; -wait-peer waits for it to come"},
	proto.NotDelivered:     {ExitUndone, "the history has the undelivered message; allow more time with -timeout, or send it again"},
	proto.Card:             {exitCard, "client card shows the tokens in the reader"},
	proto.Lost:             {ExitRelay, "is the relay running, and is its HOST:PORT right (-relay)?"},
	proto.History:          {ExitFailure, "client history -verify tells more"},
	proto.Internal:         {ExitFailure, ""},
	proto.Usage:            {exitUsage, "client -h shows how it is used"},

	proto.CertificateUntrusted:  {ExitRefused, ""},
	proto.CertificateExpired:    {ExitRefused, ""},
	proto.CertificateNotYet:     {ExitRefused, ""},
	proto.CertificateRevoked:    {ExitRefused, ""},
	proto.CertificateUnsuitable: {ExitRefused, ""},
	proto.RevocationUnknown:     {ExitRefused, ""},
	proto.DelegationInvalid:     {ExitRefused, "the other side must connect anew"},
	proto.DelegationExpired:     {ExitRefused, "compare the clocks of both machines"},
	proto.DelegationNotYet:      {ExitRefused, "compare the clocks of both machines"},
	proto.NameMismatch:          {ExitRefused, "the relay may be at fault: compare the certificates"},
	proto.BundleMalformed:       {ExitRefused, "the other side may be of another version"},
}

// here has the codes whose hint fits a refusal by this machine only.
var here = []proto.Code{
	proto.Timeout, proto.IdentityChanged, proto.UnknownPeer, proto.UnknownRelay, proto.RelayChanged, proto.Card, proto.History,
	proto.DelegationInvalid, proto.NameMismatch,
}

// inClear has the codes of refusals that a relay tells before there is a key. Anybody can tell
// them: their hints bring nobody to accept something.
var inClear = []proto.Code{proto.Malformed, proto.Unexpected, proto.Busy, proto.NoCommonSuite, proto.DecryptFailed, proto.Shutdown}

// maxUnproved bounds the shown sentence of somebody who has proved nothing, in characters.
const maxUnproved = 120

// unproved is an error that nobody has signed: its code, and a short quotation.
func unproved(c *proto.ClearError) *Error {
	code := string(c.Code)
	if _, known := Codes[c.Code]; !known {
		code = proto.Quote(code)
	}
	return &Error{
		Code: c.Code, Err: c,
		Message: fmt.Sprintf("the other end, which has proved nothing yet, says %s: %s", code, proto.QuoteShort(c.Message, maxUnproved)),
	}
}

// refusal is an error of another package that knows its code and its remedy. An empty
// message stands for the text of the whole error that wraps it.
type refusal interface {
	error
	Refusal() (code proto.Code, message, hint string)
}

// exiter is an error whose exit status is not its code's.
type exiter interface {
	error
	ExitStatus() int
}

// AsError returns an error of any package as an *Error, and nil for nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if c, ok := errors.AsType[*proto.ClearError](err); ok {
		return unproved(c)
	}
	if e, ok := errors.AsType[*proto.Error](err); ok {
		// It may have crossed the wire, where anybody can write anything.
		return &Error{Code: e.Code, Message: proto.Visible(e.Message), Err: err}
	}
	e := &Error{Err: err}
	if r, ok := errors.AsType[refusal](err); ok {
		e.Code, e.Message, e.Hint = r.Refusal()
	} else {
		e.Code, e.Hint = plainCode(err)
	}
	if e.Message == "" {
		e.Message = proto.Visible(err.Error())
	}
	switch err {
	case context.Canceled:
		e.Message = "it was interrupted"
	case context.DeadlineExceeded:
		e.Message = "the time allowed is over"
	}
	return e
}

// Told returns the part of an error that the other side may know, nil where there is none. It
// names no file of this machine, and no remedy on it.
func Told(err error) *proto.Error {
	if e, ok := errors.AsType[*proto.Error](err); ok {
		return e
	}
	told := new(proto.Error)
	if e, ok := errors.AsType[interface {
		error
		Told() (proto.Code, string)
	}](err); ok {
		told.Code, told.Message = e.Told()
	} else if e, ok := errors.AsType[*Error](err); ok {
		told.Code, told.Message = e.Code, e.Message
		if slices.Contains([]proto.Code{proto.Internal, proto.History, proto.Card}, e.Code) {
			told.Message = "the other side has a fault of its own"
		}
	} else {
		return nil
	}
	told.Message = proto.Clip(told.Message, proto.MaxMessage)
	return told
}

// ShellWord makes a path or an address one word of a shell, for a command in a hint.
func ShellWord(s string) string {
	special := func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("/._-+@%:,", r)
	}
	if s != "" && !strings.ContainsFunc(s, special) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// Text returns the whole text of an error, safe to show.
func Text(err error) string { return proto.Visible(err.Error()) }

// HasCode reports whether err is a refusal with this code.
func HasCode(err error, code proto.Code) bool { return err != nil && AsError(err).Code == code }

// plainCode returns the code for an error that has none, and a hint if the cause
// suggests one.
func plainCode(err error) (code proto.Code, hint string) {
	// Every errno of a file is a net.Error too.
	_, isNet := errors.AsType[*net.OpError](err)
	switch {
	case errors.Is(err, context.Canceled):
		return proto.Internal, ""
	case errors.Is(err, context.DeadlineExceeded):
		return proto.Timeout, ""
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return proto.Internal, "make room on the disk"
	case errors.Is(err, fs.ErrPermission):
		return proto.Internal, "look at who owns the file, and who may use it"
	case isNet:
		return proto.Lost, ""
	}
	return proto.Internal, ""
}

// ExitStatus returns the exit status of a command that ends with err: 0 for nil. An
// unknown code from the wire counts as another failure.
func ExitStatus(err error) int {
	e := AsError(err)
	if e == nil {
		return 0
	}
	if own, ok := errors.AsType[exiter](e.Err); ok {
		return own.ExitStatus()
	}
	if entry, ok := Codes[e.Code]; ok {
		return entry.Exit
	}
	return ExitFailure
}

// severity has the exit statuses, the most severe first.
var severity = []int{ExitIntegrity, exitCard, ExitRefused, ExitRelay, ExitSome, ExitUndone, ExitKept, exitUsage, ExitFailure}

// Severity orders exit statuses: less is more severe, and 0 the least severe.
func Severity(exit int) int {
	if i := slices.Index(severity, exit); i >= 0 {
		return i
	}
	return len(severity)
}

// MostSevere returns the most severe of several exit statuses, and 0 for none.
func MostSevere(exits ...int) int {
	worst := 0
	for _, exit := range exits {
		if Severity(exit) < Severity(worst) {
			worst = exit
		}
	}
	return worst
}
