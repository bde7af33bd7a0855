package state

import (
	"fmt"
	"strings"

	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// Refused stands behind the refusal of a relay or person, for trust accept.
type Refused struct {
	Target, Value string // HOST:PORT and fingerprint, or name and identity
	text          string
}

// Error returns the refusal, without advice.
func (r *Refused) Error() string { return r.text }

// Accept is the command that accepts what was refused.
func (r *Refused) Accept() string {
	return fail.Command("client trust accept " + fail.ShellWord(r.Target) + " " + r.Value)
}

// Block is the command that blocks the person who was refused, and not the one whose name it is.
func (r *Refused) Block() string {
	return fail.Command("client trust block " + r.Target + " " + r.Value)
}

// Unblock is the command that takes the block of a person back.
func (r *Refused) Unblock() string {
	return fail.Command("client trust unblock " + r.Target + " " + r.Value)
}

// RelayChanged refuses a relay whose key is not the known one.
func (s *State) RelayChanged(addr, known, now string) *fail.Error {
	refused := &Refused{addr, now, fmt.Sprintf("the relay at %s does not have the key that is known for it: known is %s, it shows %s%s",
		addr, known, now, s.elsewhere(addr, now))}
	return &fail.Error{
		Code:    proto.RelayChanged,
		Message: refused.text,
		Hint: "either the relay was set up anew, or its state directory was lost; or somebody stands between you and it, " +
			"and would learn who talks with whom. Ask the relay's operator, by another way, what relay -fingerprint prints there. " +
			"Only if it is the new fingerprint: " + refused.Accept(),
		Err: refused,
	}
}

// RelayNotGiven refuses a relay whose key is not the one given at a place, as -fingerprint. There
// is nothing to accept, as the known key plays no part.
func RelayNotGiven(addr, place, given, now string) *fail.Error {
	return &fail.Error{
		Code: proto.RelayChanged,
		Message: fmt.Sprintf("the relay at %s does not have the key that was given (%s): given is %s, it shows %s",
			addr, place, given, now),
		Hint: "compare the given one with what relay -fingerprint prints there; if the two agree, " +
			"somebody stands between you and the relay, or another relay has its address",
	}
}

// RelayUnknown refuses a relay that nobody has accepted.
func (s *State) RelayUnknown(addr, fingerprint string) *fail.Error {
	refused := &Refused{addr, fingerprint, fmt.Sprintf("the relay at %s is not known: its fingerprint is %s%s",
		addr, fingerprint, s.elsewhere(addr, fingerprint))}
	return &fail.Error{
		Code:    proto.UnknownRelay,
		Message: refused.text,
		Hint: "compare it with what relay -fingerprint prints there; in a lab, -accept-new takes it unseen. " +
			"If the two agree: " + refused.Accept(),
		Err: refused,
	}
}

// elsewhere is the end of a sentence about a key.
func (s *State) elsewhere(addr, fingerprint string) string {
	if other := s.Elsewhere(addr, fingerprint); other != "" {
		return ", the key that is known for " + other
	}
	return ""
}

// PeerChanged refuses another person under a known name.
func PeerChanged(name string, known *KnownPeer, p *trust.Person) *fail.Error {
	return peerChanged(name, known, &KnownPeer{CommonName: trust.SubjectName(p.Leaf), Identity: p.Identity})
}

func peerChanged(name string, known, now *KnownPeer) *fail.Error {
	blocked := ""
	if known.Blocked {
		blocked = ", who is blocked here"
	}
	refused := &Refused{name, proto.FormatHash(now.Identity), fmt.Sprintf("%s is another person than before: known is %s%s; now it is %s",
		proto.Visible(name), known.Shown(), blocked, now.Shown())}
	return &fail.Error{
		Code:    proto.IdentityChanged,
		Message: refused.text,
		Hint: "either the name was given up and somebody else has taken it, or the same person uses another card " +
			"(a renewed Cartão de Cidadão would pass); or the relay, or somebody who has its state, lets another person speak under the name. " +
			"Ask the person, by another way, what identity client card shows there. " +
			"Only if it is the new one: " + refused.Accept() + "; to refuse this other person under every name: " + refused.Block(),
		Err: refused,
	}
}

// nameLooksLike refuses a person under a name that looks like an accepted person's.
func nameLooksLike(name string, known *KnownPeer, p *trust.Person) *fail.Error {
	now := &KnownPeer{CommonName: trust.SubjectName(p.Leaf), Identity: p.Identity}
	refused := &Refused{name, proto.FormatHash(p.Identity), fmt.Sprintf(
		"the name %s looks like %s, and its owner is another person: %s is known as %s, and this is %s",
		proto.Visible(name), proto.Visible(known.Name), proto.Visible(known.Name), known.Shown(), now.Shown())}
	return &fail.Error{
		Code:    proto.IdentityChanged,
		Message: refused.text,
		Hint:    "an honest relay gives out one such name only. If you know the person by another way: " + refused.Accept(),
		Err:     refused,
	}
}

// PeerUnknown refuses to send to a person whom nobody has accepted.
func PeerUnknown(name string, p *trust.Person) *fail.Error {
	now := &KnownPeer{CommonName: trust.SubjectName(p.Leaf), Identity: p.Identity}
	refused := &Refused{name, proto.FormatHash(p.Identity), fmt.Sprintf("%s is new, and nobody has accepted that it is %s",
		proto.Visible(name), now.Shown())}
	return &fail.Error{
		Code:    proto.UnknownPeer,
		Message: refused.text,
		Hint: "client whois " + name + " shows the certificate; client card shows its owner the identity there; " +
			"in a lab, -accept-new takes anybody. If it is the right person: " + refused.Accept(),
		Err: refused,
	}
}

// Shown names a person in a sentence. The common name alone could be anybody's.
func (k *KnownPeer) Shown() string {
	if k.CommonName == "" {
		return "identity " + ShortIdentity(k.Identity)
	}
	return fmt.Sprintf("%s (identity %s)", proto.Quote(k.CommonName), ShortIdentity(k.Identity))
}

// ShortIdentity is the part of an identity that people compare at a glance. They need the whole
// for certainty.
func ShortIdentity(identity [32]byte) string { return proto.FormatHash(identity)[:16] }

// NormalFingerprint returns a fingerprint in the form that is compared. People may
// write one with colons, and in either case.
func NormalFingerprint(s string) string {
	return strings.ToLower(strings.ReplaceAll(s, ":", ""))
}
