package chatsecure

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"

	"chatsecure/crypto"
	"chatsecure/proto"
)

// Error is what the functions of this package fail with: a code for programs,
// and for people what failed and what to do about it.
type Error struct {
	Code    proto.Code
	Message string // what failed: a sentence, lower case, no full stop, safe to show
	Hint    string // what to do; "" stands for the code's own hint, see Advice
	Err     error  // what is behind it, or nil
}

// Error returns the sentence, without the hint.
func (e *Error) Error() string { return e.Message }

// Unwrap returns what is behind the error.
func (e *Error) Unwrap() error { return e.Err }

// Advice returns what to do about the error, or "" if there is nothing to say.
func (e *Error) Advice() string {
	if e.Hint != "" {
		return e.Hint
	}
	return codes[e.Code].hint
}

// Errorf makes an Error with the code's own hint.
func Errorf(code proto.Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// The exit statuses of the commands.
const (
	exitFailure   = 1 // anything else
	exitUsage     = 2 // the command line
	exitRelay     = 3 // the relay cannot be reached, or was lost
	exitRefused   = 4 // relay, identity, certificate, revocation, suite or name refused
	exitCard      = 5 // the card, its PIN or its key
	exitUndone    = 6 // not delivered in time, or nobody by that name
	exitSome      = 7 // delivered to some only
	exitIntegrity = 8 // a signature, decryption or verification failed
)

// codes is the one table of what each code means to whoever runs a command:
// its exit status, and what to do where the error itself does not say.
// PROTOCOL.md, "Error codes", lists the same codes.
var codes = map[proto.Code]struct {
	exit int
	hint string
}{
	proto.Malformed:        {exitFailure, "the other side may be of another version, or not a ChatSecure program at all"},
	proto.TooLong:          {exitFailure, "divide it into shorter messages"},
	proto.Unexpected:       {exitFailure, "the other side may be of another version"},
	proto.Busy:             {exitRelay, "try again in a moment"},
	proto.Timeout:          {exitUndone, "try again, or allow more time with -timeout"},
	proto.NoCommonSuite:    {exitRefused, "allow more cipher suites with -ciphers, here or there"},
	proto.NameInvalid:      {exitUsage, "choose another name"},
	proto.NameTaken:        {exitRefused, "choose another name with -name; whoever has this one can give it up with client release"},
	proto.SignatureInvalid: {exitIntegrity, "do not trust what came; tell whoever runs the relay if it comes again"},
	proto.DecryptFailed:    {exitIntegrity, "do not trust what came; tell whoever runs the relay if it comes again"},
	proto.NoSuchName:       {exitUndone, "client list shows who is connected; -wait-peer waits for somebody to come"},
	proto.Gone:             {exitUndone, "client list shows who is connected; -wait-peer waits for somebody to come"},
	proto.Slow:             {exitRelay, "try again over a faster connection"},
	proto.Flood:            {exitRelay, "send less at once"},
	proto.Shutdown:         {exitRelay, "try again when the relay is back"},
	proto.NoConversation:   {exitUndone, "try again"},
	proto.NotTaking:        {exitUndone, "the other side must run recv, or be at the prompt"},
	proto.IdentityChanged:  {exitRefused, "make sure of who it is by another way, then client trust accept NAME"},
	proto.UnknownPeer:      {exitRefused, "make sure of who it is, then accept with -accept-new, or at a terminal without -batch"},
	proto.UnknownRelay:     {exitRefused, "compare it with what relay -fingerprint prints, then give it with -fingerprint, or -accept-new"},
	proto.RelayChanged:     {exitRefused, "make sure of its fingerprint by another way, then client trust accept HOST:PORT"},
	proto.NotDelivered:     {exitUndone, "what was not delivered is in the history; allow more time with -timeout, or send it again"},
	proto.Card:             {exitCard, "client card shows what is in the reader"},
	proto.Lost:             {exitRelay, "is the relay running, and is its HOST:PORT right (-relay)?"},
	proto.History:          {exitFailure, "client history -verify tells more"},
	proto.Internal:         {exitFailure, ""},
	proto.Usage:            {exitUsage, "client -h shows how it is used"},

	proto.CertificateUntrusted:  {exitRefused, "if its authority is to be trusted, add the root with -ca-bundle FILE"},
	proto.CertificateExpired:    {exitRefused, "a renewed card is needed; if the certificate should be valid, look at this machine's clock"},
	proto.CertificateNotYet:     {exitRefused, "look at this machine's clock"},
	proto.CertificateRevoked:    {exitRefused, "the card was reported lost, or replaced: do not rely on it"},
	proto.CertificateUnsuitable: {exitRefused, "use the card's authentication certificate"},
	proto.RevocationUnknown:     {exitRefused, "give its revocation list with -crl DIR, or use -crl-policy try"},
	proto.DelegationInvalid:     {exitRefused, "the other side must connect anew"},
	proto.DelegationExpired:     {exitRefused, "connect anew, with the card; if it should be valid, look at both clocks"},
	proto.DelegationNotYet:      {exitRefused, "look at both clocks: one of them is wrong"},
	proto.NameMismatch:          {exitRefused, "the relay may be at fault: compare the certificates"},
	proto.BundleMalformed:       {exitRefused, "the other side may be of another version"},
}

// refusal is an error of another package that knows its code and what to do.
// An empty message stands for the text of the whole error that wraps it.
type refusal interface {
	error
	Refusal() (code proto.Code, message, hint string)
}

// exiter is an error with an exit status of its own, whatever its code says.
type exiter interface {
	error
	ExitStatus() int
}

// AsError returns err as an *Error, whatever package it comes from, and nil
// for nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[*proto.Error](err); ok {
		// It may have crossed the wire, where anybody can put anything.
		return &Error{Code: e.Code, Message: crypto.Visible(e.Message), Err: err}
	}
	e := &Error{Err: err}
	if r, ok := errors.AsType[refusal](err); ok {
		e.Code, e.Message, e.Hint = r.Refusal()
	} else {
		e.Code, e.Hint = plainCode(err)
	}
	if e.Message == "" {
		e.Message = crypto.Visible(err.Error())
	}
	switch err {
	case context.Canceled:
		e.Message = "it was interrupted"
	case context.DeadlineExceeded:
		e.Message = "the time allowed is over"
	}
	return e
}

// HasCode reports whether err is a refusal with this code.
func HasCode(err error, code proto.Code) bool { return err != nil && AsError(err).Code == code }

// plainCode is the code, and a hint where the cause suggests one, of an error
// that has none.
func plainCode(err error) (code proto.Code, hint string) {
	// Not net.Error, which every errno of a file is too.
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

// ExitStatus returns the exit status of a command that ends with err: 0 for
// nil. A code from the wire that is not in the table counts as another failure.
func ExitStatus(err error) int {
	e := AsError(err)
	if e == nil {
		return 0
	}
	if own, ok := errors.AsType[exiter](e.Err); ok {
		return own.ExitStatus()
	}
	if entry, ok := codes[e.Code]; ok {
		return entry.exit
	}
	return exitFailure
}

// severityOrder is which exit status counts where several apply at once.
var severityOrder = []int{exitIntegrity, exitCard, exitRefused, exitRelay, exitSome, exitUndone, exitUsage, exitFailure}

// severity orders exit statuses: less is more severe.
func severity(exit int) int {
	for i, s := range severityOrder {
		if s == exit {
			return i
		}
	}
	return len(severityOrder)
}

// MostSevere returns the exit status that counts of several, 0 for none.
func MostSevere(exits ...int) int {
	worst := 0
	for _, exit := range exits {
		if severity(exit) < severity(worst) {
			worst = exit
		}
	}
	return worst
}

// ExitStatus returns the exit status of a command that waited: 0 if everything
// reached the level for every recipient, 7 for some recipients, 6 for none, or
// that of a more severe reason.
func (o Outcome) ExitStatus() int {
	done := 0
	for _, n := range o.Names {
		if n.Open == 0 && n.Failed == 0 {
			done++
		}
	}
	if done == len(o.Names) && (done > 0 || len(o.Failed) == 0) {
		return 0
	}
	worst := exitUndone
	if done > 0 {
		worst = exitSome
	}
	for _, reason := range o.Failed {
		worst = MostSevere(worst, ExitStatus(reason))
	}
	return worst
}

// RelayChange stands behind a RelayChanged error: what has to be compared.
type RelayChange struct {
	Addr       string // HOST:PORT
	Known, Now string // fingerprints
}

// Error returns what changed, without advice.
func (c *RelayChange) Error() string {
	return fmt.Sprintf("the relay at %s does not have the key that is known for it: known is %s, it shows %s", c.Addr, c.Known, c.Now)
}

// errRelayChanged refuses a relay whose key is not the one that is known.
func errRelayChanged(addr, known, now string) *Error {
	change := &RelayChange{addr, known, now}
	return &Error{
		Code:    proto.RelayChanged,
		Message: change.Error(),
		Hint: "either the relay was set up anew, or its state directory was lost; or somebody stands between you and it, " +
			"who would learn who talks with whom. Ask whoever runs it, by another way, what relay -fingerprint prints there. " +
			"Only if it is the new fingerprint: client trust accept " + addr + ", or give it with -fingerprint",
		Err: change,
	}
}

// RelayNotGiven is the refusal of a relay whose key is not the one that was given for
// this run. There is nothing to accept: what is known plays no part.
func RelayNotGiven(addr, given, now string) *Error {
	return &Error{
		Code:    proto.RelayChanged,
		Message: fmt.Sprintf("the relay at %s does not have the key that was given with -fingerprint: given is %s, it shows %s", addr, given, now),
		Hint: "compare the one given with what relay -fingerprint prints there; if that is what was given, " +
			"somebody stands between you and the relay, or another relay has its address",
	}
}

// errRelayUnknown refuses a relay that nobody has accepted.
func errRelayUnknown(addr, fingerprint string) *Error {
	return &Error{
		Code:    proto.UnknownRelay,
		Message: fmt.Sprintf("the relay at %s is not known: its fingerprint is %s", addr, fingerprint),
		Hint:    "compare it with what relay -fingerprint prints there; then give -fingerprint " + fingerprint + ", or -accept-new",
	}
}

// IdentityChange stands behind an IdentityChanged error: who the name meant,
// and whom it means now.
type IdentityChange struct {
	Name   string
	Known  KnownPeer
	Person *crypto.Person
}

// Error returns what changed, without advice.
func (c *IdentityChange) Error() string {
	return fmt.Sprintf("%s is another person than before: known is %s, now it is %s",
		crypto.Visible(c.Name), shownPerson(c.Known.CommonName, c.Known.Identity), shownPerson(c.Person.Leaf.Subject.CommonName, c.Person.Identity))
}

// errIdentityChanged refuses another person under a known name.
func errIdentityChanged(name string, known *KnownPeer, person *crypto.Person) *Error {
	change := &IdentityChange{name, *known, person}
	return &Error{
		Code:    proto.IdentityChanged,
		Message: change.Error(),
		Hint: "either the name was given up and somebody else has taken it, or the same person uses another card " +
			"(a renewed Cartão de Cidadão would pass); or the relay, or somebody who has its state, lets another person speak under the name. " +
			"Ask the person, by another way, what identity client card shows there. Only if it is the new one: client trust accept " + crypto.Visible(name),
		Err: change,
	}
}

// errPeerUnknown refuses to send to a person whom nobody has accepted.
func errPeerUnknown(name string, p *crypto.Person) *Error {
	name = crypto.Visible(name)
	return &Error{
		Code:    proto.UnknownPeer,
		Message: fmt.Sprintf("%s is new, and nobody has accepted that it is %s", name, shownPerson(p.Leaf.Subject.CommonName, p.Identity)),
		Hint:    "client whois " + name + " shows the certificate; if it is the right person, send with -accept-new, or at a terminal without -batch",
	}
}

// shownPerson names a person in a sentence. The CN alone could be anybody's.
func shownPerson(commonName string, identity [32]byte) string {
	return fmt.Sprintf("\"%s\" (identity %x)", crypto.Visible(commonName), identity[:16])
}

// normalFingerprint returns a fingerprint as people may write it, with colons
// and in either case, as it is compared.
func normalFingerprint(s string) string {
	return strings.ToLower(strings.ReplaceAll(s, ":", ""))
}
