package state

import (
	"fmt"
	"strings"

	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// RelayChange stands behind a RelayChanged error, for a comparison of the two keys.
type RelayChange struct {
	Addr       string // HOST:PORT
	Known, Now string // fingerprints
}

// Error returns the change, without advice.
func (c *RelayChange) Error() string {
	return fmt.Sprintf("the relay at %s does not have the key that is known for it: known is %s, it shows %s", c.Addr, c.Known, c.Now)
}

// RelayChanged refuses a relay whose key is not the known one.
func RelayChanged(addr, known, now string) *fail.Error {
	change := &RelayChange{addr, known, now}
	return &fail.Error{
		Code:    proto.RelayChanged,
		Message: change.Error(),
		Hint: "either the relay was set up anew, or its state directory was lost; or somebody stands between you and it, " +
			"and would learn who talks with whom. Ask the relay's operator, by another way, what relay -fingerprint prints there. " +
			"Only if it is the new fingerprint: client trust accept " + addr + ", or give it with -fingerprint",
		Err: change,
	}
}

// RefuseRelay is RelayChanged, and keeps the key for AcceptRelay.
func (s *State) RefuseRelay(addr, known, now string) *fail.Error {
	return whileKeeping(RelayChanged(addr, known, now), s.offerRelay(addr, now))
}

// whileKeeping adds to a refusal that its key or person could not be kept.
func whileKeeping(refusal *fail.Error, failure error) *fail.Error {
	if failure != nil {
		refusal.Message += "; and it is not kept for trust accept: " + fail.Text(failure)
	}
	return refusal
}

// RelayNotGiven refuses a relay whose key is not the one given for this run. There
// is nothing to accept, as the known key plays no part.
func RelayNotGiven(addr, given, now string) *fail.Error {
	return &fail.Error{
		Code: proto.RelayChanged,
		Message: fmt.Sprintf("the relay at %s does not have the key that was given with -fingerprint: given is %s, it shows %s",
			addr, given, now),
		Hint: "compare the given one with what relay -fingerprint prints there; if the two agree, " +
			"somebody stands between you and the relay, or another relay has its address",
	}
}

// RelayUnknown refuses a relay that nobody has accepted.
func RelayUnknown(addr, fingerprint string) *fail.Error {
	return &fail.Error{
		Code:    proto.UnknownRelay,
		Message: fmt.Sprintf("the relay at %s is not known: its fingerprint is %s", addr, fingerprint),
		Hint:    "compare it with what relay -fingerprint prints there; then give -fingerprint " + fingerprint + ", or -accept-new",
	}
}

// IdentityChange stands behind an IdentityChanged error, with both persons.
type IdentityChange struct {
	Name   string
	Known  KnownPeer
	Person *trust.Person
}

// Error returns the change, without advice.
func (c *IdentityChange) Error() string {
	return fmt.Sprintf("%s is another person than before: known is %s, now it is %s",
		proto.Visible(c.Name), shownPerson(c.Known.CommonName, c.Known.Identity),
		shownPerson(trust.SubjectName(c.Person.Leaf), c.Person.Identity))
}

// identityChanged refuses another person under a known name.
func identityChanged(name string, known *KnownPeer, person *trust.Person) *fail.Error {
	change := &IdentityChange{name, *known, person}
	return &fail.Error{
		Code:    proto.IdentityChanged,
		Message: change.Error(),
		Hint: "either the name was given up and somebody else has taken it, or the same person uses another card " +
			"(a renewed Cartão de Cidadão would pass); or the relay, or somebody who has its state, lets another person speak under the name. " +
			"Ask the person, by another way, what identity client card shows there. " +
			"Only if it is the new one: client trust accept " + proto.Visible(name),
		Err: change,
	}
}

// RefusePeer is identityChanged, and keeps the person for AcceptPeer.
func (s *State) RefusePeer(name string, known *KnownPeer, person *trust.Person) *fail.Error {
	return whileKeeping(identityChanged(name, known, person), s.OfferPeer(name, OfferPerson(person)))
}

// nameLooksLike refuses a person under a name that looks like an accepted person's.
func nameLooksLike(name string, known *KnownPeer, person *trust.Person) *fail.Error {
	name = proto.Visible(name)
	return &fail.Error{
		Code: proto.IdentityChanged,
		Message: fmt.Sprintf("the name %s looks like %s, and its owner is another person: %s is known as %s, and this is %s",
			name, proto.Visible(known.Name), proto.Visible(known.Name), shownPerson(known.CommonName, known.Identity),
			shownPerson(trust.SubjectName(person.Leaf), person.Identity)),
		Hint: fmt.Sprintf("an honest relay gives out one such name only. If you know the person by another way: client trust accept %s %x",
			name, person.Identity),
	}
}

// PeerUnknown refuses to send to a person whom nobody has accepted.
func PeerUnknown(name string, p *trust.Person) *fail.Error {
	name = proto.Visible(name)
	return &fail.Error{
		Code:    proto.UnknownPeer,
		Message: fmt.Sprintf("%s is new, and nobody has accepted that it is %s", name, shownPerson(trust.SubjectName(p.Leaf), p.Identity)),
		Hint: "client whois " + name + " shows the certificate; if it is the right person, " +
			"send with -accept-new, or at a terminal without -batch",
	}
}

// shownPerson names a person in a sentence. The common name alone could be
// anybody's.
func shownPerson(commonName string, identity [32]byte) string {
	return fmt.Sprintf("%s (identity %x)", proto.Quote(commonName), identity[:16])
}

// NormalFingerprint returns a fingerprint in the form that is compared. People may
// write one with colons, and in either case.
func NormalFingerprint(s string) string {
	return strings.ToLower(strings.ReplaceAll(s, ":", ""))
}
