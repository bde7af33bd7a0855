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
func (r *Refused) Accept() string { return r.command("accept") }

// Block is the command that blocks the person who was refused, and not the one whose name it is.
func (r *Refused) Block() string { return r.command("block") }

// Unblock is the command that takes the block of a person back.
func (r *Refused) Unblock() string { return r.command("unblock") }

func (r *Refused) command(verb string) string {
	return fail.Command("client trust " + verb + " " + fail.ShellWord(r.Target) + " " + r.Value)
}

// refuse returns what stands behind a refusal, which fail.Errorf takes by %w.
func refuse(target, value, format string, args ...any) *Refused {
	return &Refused{target, value, fmt.Sprintf(format, args...)}
}

// RelayChanged refuses a relay whose key is not the known one.
func (s *State) RelayChanged(addr, known, now string) *fail.Error {
	refused := refuse(addr, now,
		"the relay at %s does not have the key that is known for it: known is %s, it shows %s%s",
		addr, known, now, s.elsewhere(addr, now))
	return fail.Errorf(proto.RelayChanged, "%w", refused).With(
		"either the relay was set up anew, or its state directory was lost; " +
			"or somebody stands between you and it, and would learn who talks with whom. " +
			"Ask the relay's operator, by another way, what relay -fingerprint prints there. " +
			"Only if it is the new fingerprint: " + refused.Accept())
}

// RelayNotGiven refuses a relay whose key is not the one given at a place, as -fingerprint. There
// is nothing to accept, as the known key plays no part.
func RelayNotGiven(addr, place, given, now string) *fail.Error {
	return fail.Errorf(proto.RelayChanged,
		"the relay at %s does not have the key that was given (%s): given is %s, it shows %s",
		addr, place, given, now).
		With("compare the given one with what relay -fingerprint prints there; if the two agree, " +
			"somebody stands between you and the relay, or another relay has its address")
}

// RelayUnknown refuses a relay that nobody has accepted.
func (s *State) RelayUnknown(addr, fingerprint string) *fail.Error {
	refused := refuse(addr, fingerprint, "the relay at %s is not known: its fingerprint is %s%s",
		addr, fingerprint, s.elsewhere(addr, fingerprint))
	return fail.Errorf(proto.UnknownRelay, "%w", refused).With(
		"compare it with what relay -fingerprint prints there; in a lab, -accept-new takes it unseen. " +
			"If the two agree: " + refused.Accept())
}

// elsewhere is the end of a sentence about a key.
func (s *State) elsewhere(addr, fingerprint string) string {
	if other := s.Elsewhere(addr, fingerprint); other != "" {
		return ", the key that is known for " + other
	}
	return ""
}

// shownAs is a person who has just proved to be one.
func shownAs(p *trust.Person) *KnownPeer {
	return &KnownPeer{CommonName: trust.SubjectName(p.Leaf), Identity: p.Identity}
}

// PeerChanged refuses another person under a known name.
func PeerChanged(name string, known *KnownPeer, p *trust.Person) *fail.Error {
	return peerChanged(name, known, shownAs(p))
}

func peerChanged(name string, known, now *KnownPeer) *fail.Error {
	blocked := ""
	if known.Blocked {
		blocked = ", who is blocked here"
	}
	refused := refuse(name, proto.FormatHash(now.Identity),
		"%s is another person than before: known is %s%s; now it is %s",
		proto.Visible(name), known.Shown(), blocked, now.Shown())
	return fail.Errorf(proto.IdentityChanged, "%w", refused).With(
		"either the name was given up and somebody else has taken it, " +
			"or the same person uses another card (a renewed Cartão de Cidadão would pass); " +
			"or the relay, or somebody who has its state, lets another person speak under the name. " +
			"Ask the person, by another way, what identity client card shows there. " +
			"Only if it is the new one: " + refused.Accept() +
			"; to refuse this other person under every name: " + refused.Block())
}

// nameLooksLike refuses a person under a name that looks like an accepted person's.
func nameLooksLike(name string, known *KnownPeer, p *trust.Person) *fail.Error {
	refused := refuse(name, proto.FormatHash(p.Identity), "the name %s looks like %s, "+
		"and its owner is another person: %[2]s is known as %[3]s, and this is %[4]s",
		proto.Visible(name), proto.Visible(known.Name), known.Shown(), shownAs(p).Shown())
	return fail.Errorf(proto.IdentityChanged, "%w", refused).With(
		"an honest relay gives out one such name only. " +
			"If you know the person by another way: " + refused.Accept())
}

// PeerUnknown refuses to send to a person whom nobody has accepted.
func PeerUnknown(name string, p *trust.Person) *fail.Error {
	refused := refuse(name, proto.FormatHash(p.Identity),
		"%s is new, and nobody has accepted that it is %s", proto.Visible(name), shownAs(p).Shown())
	return fail.Errorf(proto.UnknownPeer, "%w", refused).With(
		"client whois " + name + " shows the certificate; " +
			"client card shows its owner the identity there; " +
			"in a lab, -accept-new takes anybody. If it is the right person: " + refused.Accept())
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
func NormalFingerprint(s string) string { return strings.ToLower(strings.ReplaceAll(s, ":", "")) }
