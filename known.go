package chatsecure

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"chatsecure/crypto"
	"chatsecure/proto"
)

// KnownRelay is a relay whose key has been accepted.
type KnownRelay struct {
	Addr        string // HOST:PORT as it was given
	Fingerprint string // of its key, 64 hex digits
	Offered     string // another key that it showed and that was refused, or ""
	First       time.Time
}

// KnownPeer is what is remembered of a name that was met.
type KnownPeer struct {
	Name       string // folded
	Identity   [32]byte
	Accepted   bool // somebody said yes; false: a message has come from them, no more
	CommonName string
	Leaf       [32]byte // SHA-256 of the certificate last seen
	First      time.Time
	Offered    *OfferedPeer // another person who used the name and was refused, or nil
}

// OfferedPeer is a person who used a known name and was refused.
type OfferedPeer struct {
	Identity   [32]byte
	CommonName string
	Leaf       [32]byte
}

// OfferPerson is p as State.OfferPeer takes it.
func OfferPerson(p *crypto.Person) OfferedPeer {
	return OfferedPeer{Identity: p.Identity, CommonName: p.Leaf.Subject.CommonName, Leaf: sha256.Sum256(p.Leaf.Raw)}
}

// relayLine and peerLine are the lines of known_relays and known_peers:
// PROTOCOL.md, "Known files".
type relayLine struct {
	V           int    `json:"v"`
	Relay       string `json:"relay"`
	Fingerprint string `json:"fingerprint"`
	First       string `json:"first"` // RFC 3339, UTC, seconds
	Offered     string `json:"offered,omitempty"`
}

type peerLine struct {
	V          int        `json:"v"`
	Name       string     `json:"name"`
	Accepted   bool       `json:"accepted"`
	Identity   string     `json:"identity"`
	CommonName string     `json:"common_name"`
	Leaf       string     `json:"leaf"`
	First      string     `json:"first"`
	Offered    *offerLine `json:"offered,omitempty"`
}

type offerLine struct {
	Identity   string `json:"identity"`
	CommonName string `json:"common_name"`
	Leaf       string `json:"leaf"`
}

func (l relayLine) key() string { return l.Relay }
func (l peerLine) key() string  { return l.Name }

func (l relayLine) check() error {
	if l.V != knownVersion || l.Relay == "" || !isHash(l.Fingerprint) || l.Offered != "" && !isHash(l.Offered) || !isKnownTime(l.First) {
		return errKnownLine
	}
	return nil
}

func (l peerLine) check() error {
	if l.V != knownVersion || proto.CheckName(l.Name) != nil || proto.FoldName(l.Name) != l.Name ||
		!isHash(l.Identity) || !isHash(l.Leaf) || !isKnownTime(l.First) {
		return errKnownLine
	}
	if o := l.Offered; o != nil && (!isHash(o.Identity) || !isHash(o.Leaf)) {
		return errKnownLine
	}
	return nil
}

func isHash(s string) bool { return historyHex(s, 32) }

func isKnownTime(s string) bool {
	t, err := time.Parse(time.RFC3339, s)
	return err == nil && knownTime(t) == s
}

func knownTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func parseKnownTime(s string) time.Time {
	t, _ := time.Parse(time.RFC3339, s) // check has seen it
	return t.UTC()
}

func unhex32(s string) (out [32]byte) {
	hex.Decode(out[:], []byte(s)) // check has seen it
	return out
}

// KnownRelay returns the fingerprint that was accepted for addr.
func (s *State) KnownRelay(addr string) (fingerprint string, ok bool) {
	l, ok := s.relays.get(addr)
	return l.Fingerprint, ok
}

// SetKnownRelay writes down that the relay at addr, which was not known, has
// this key. One that another client has written meanwhile is not replaced.
func (s *State) SetKnownRelay(addr, fingerprint string) error {
	known := ""
	err := s.updateRelay(addr, func(l *relayLine, ok bool) bool {
		if ok {
			known = l.Fingerprint
			return false
		}
		*l = newRelayLine(addr, fingerprint)
		return true
	})
	if err == nil && known != "" && known != fingerprint {
		return errRelayChanged(addr, known, fingerprint)
	}
	return err
}

// PinRelay writes down that the relay at addr has this key, whatever was known
// before: somebody has compared it.
func (s *State) PinRelay(addr, fingerprint string) error {
	return s.updateRelay(addr, func(l *relayLine, _ bool) bool {
		*l = newRelayLine(addr, fingerprint)
		return true
	})
}

func newRelayLine(addr, fingerprint string) relayLine {
	return relayLine{V: knownVersion, Relay: addr, Fingerprint: normalFingerprint(fingerprint), First: knownTime(time.Now())}
}

// OfferRelay writes down that a known relay showed another key and was
// refused, so that AcceptRelay can find it. It changes nothing about trust.
func (s *State) OfferRelay(addr, fingerprint string) error {
	return s.updateRelay(addr, func(l *relayLine, ok bool) bool {
		if !ok || l.Fingerprint == fingerprint || l.Offered == fingerprint {
			return false
		}
		l.Offered = fingerprint
		return true
	})
}

// KnownPeer returns what is remembered of a folded name.
func (s *State) KnownPeer(folded string) (*KnownPeer, bool) {
	l, ok := s.peers.get(folded)
	if !ok {
		return nil, false
	}
	return l.peer(), true
}

func (l peerLine) peer() *KnownPeer {
	k := &KnownPeer{Name: l.Name, Identity: unhex32(l.Identity), Accepted: l.Accepted, CommonName: l.CommonName, Leaf: unhex32(l.Leaf), First: parseKnownTime(l.First)}
	if o := l.Offered; o != nil {
		k.Offered = &OfferedPeer{Identity: unhex32(o.Identity), CommonName: o.CommonName, Leaf: unhex32(o.Leaf)}
	}
	return k
}

// SetKnownPeer writes down who a name means. It is for who has been checked:
// an identity that another client has written meanwhile is not replaced, and
// neither is an acceptance taken back; AcceptPeer and ForgetPeer do that.
func (s *State) SetKnownPeer(k KnownPeer) error {
	var changed error
	err := s.updatePeer(proto.FoldName(k.Name), func(l *peerLine, ok bool) bool {
		next := peerLine{
			V: knownVersion, Name: proto.FoldName(k.Name), Accepted: k.Accepted, Identity: hex.EncodeToString(k.Identity[:]),
			CommonName: strings.ToValidUTF8(k.CommonName, "\ufffd"), Leaf: hex.EncodeToString(k.Leaf[:]), First: knownTime(k.First),
		}
		if ok {
			if l.Identity != next.Identity {
				changed = Errorf(proto.IdentityChanged, "the name %s has been given to another person by another client on this state directory", crypto.Visible(k.Name))
				return false
			}
			next.First, next.Accepted, next.Offered = l.First, l.Accepted || next.Accepted, l.Offered
			if *l == next {
				return false
			}
		}
		*l = next
		return true
	})
	return errors.Join(changed, err)
}

// maxSeen is how many people are remembered who have only been seen: whoever has
// a card can make itself seen, under one name after the other, and each takes
// writing the file once.
const maxSeen = 1024

// forgetSeen forgets those that were first seen longest ago, of those whom
// nobody accepted, down to maxSeen. Who was accepted stays.
func forgetSeen(lines []peerLine) []peerLine {
	var seen []string
	for _, l := range lines {
		if !l.Accepted {
			seen = append(seen, l.First+" "+l.Name)
		}
	}
	if len(seen) <= maxSeen {
		return lines
	}
	slices.Sort(seen) // times of one length and zone sort as text
	oldest := seen[len(seen)-maxSeen]
	return slices.DeleteFunc(slices.Clone(lines), func(l peerLine) bool { return !l.Accepted && l.First+" "+l.Name < oldest })
}

// OfferPeer writes down that another person used a known name and was refused,
// so that AcceptPeer can find them. It changes nothing about trust.
func (s *State) OfferPeer(name string, o OfferedPeer) error {
	return s.updatePeer(proto.FoldName(name), func(l *peerLine, ok bool) bool {
		next := offerLine{hex.EncodeToString(o.Identity[:]), strings.ToValidUTF8(o.CommonName, "\ufffd"), hex.EncodeToString(o.Leaf[:])}
		if !ok || l.Identity == next.Identity || l.Offered != nil && *l.Offered == next {
			return false
		}
		l.Offered = &next
		return true
	})
}

// KnownRelays and KnownPeers return everything known, sorted.
func (s *State) KnownRelays() []KnownRelay {
	var out []KnownRelay
	for _, l := range s.relays.all() {
		out = append(out, KnownRelay{l.Relay, l.Fingerprint, l.Offered, parseKnownTime(l.First)})
	}
	return out
}

// KnownPeers: see KnownRelays.
func (s *State) KnownPeers() []KnownPeer {
	var out []KnownPeer
	for _, l := range s.peers.all() {
		out = append(out, *l.peer())
	}
	return out
}

// AcceptRelay accepts the key that a known relay last showed and was refused
// for. It returns the fingerprint that is now known, and false if there was
// none to accept.
func (s *State) AcceptRelay(addr string) (fingerprint string, ok bool, err error) {
	err = s.updateRelay(addr, func(l *relayLine, known bool) bool {
		fingerprint, ok = l.Offered, known && l.Offered != ""
		if ok {
			l.Fingerprint, l.Offered = l.Offered, ""
		}
		return ok
	})
	return fingerprint, ok, err
}

// AcceptPeer accepts the person who last used a known name and was refused,
// or, where there was none, one who has only been seen. It returns who is
// accepted now, and false if there was nobody to accept.
func (s *State) AcceptPeer(name string) (now *KnownPeer, ok bool, err error) {
	err = s.updatePeer(proto.FoldName(name), func(l *peerLine, known bool) bool {
		if !known || l.Accepted && l.Offered == nil {
			return false
		}
		if o := l.Offered; o != nil {
			l.Identity, l.CommonName, l.Leaf, l.Offered = o.Identity, o.CommonName, o.Leaf, nil
			l.First = knownTime(time.Now())
		}
		l.Accepted = true
		now, ok = l.peer(), true
		return true
	})
	return now, ok, err
}

// ForgetRelay and ForgetPeer forget: the next meeting is a first one. They
// return false if nothing was known.
func (s *State) ForgetRelay(addr string) (bool, error) {
	return forget(s, &s.relays, addr)
}

// ForgetPeer: see ForgetRelay.
func (s *State) ForgetPeer(name string) (bool, error) {
	return forget(s, &s.peers, proto.FoldName(name))
}

func (s *State) updateRelay(addr string, f func(l *relayLine, ok bool) bool) error {
	return update(s, &s.relays, addr, f)
}

func (s *State) updatePeer(folded string, f func(l *peerLine, ok bool) bool) error {
	return update(s, &s.peers, folded, f)
}

func update[L knownLine](s *State, file *knownFile[L], key string, f func(l *L, ok bool) bool) error {
	return s.rewrite(func() error {
		return file.change(func(lines []L) ([]L, bool) {
			i := slices.IndexFunc(lines, func(l L) bool { return l.key() == key })
			if i < 0 {
				var fresh L
				if !f(&fresh, false) {
					return nil, false
				}
				return append(slices.Clone(lines), fresh), true
			}
			next := slices.Clone(lines)
			return next, f(&next[i], true)
		})
	})
}

func forget[L knownLine](s *State, file *knownFile[L], key string) (found bool, err error) {
	err = s.rewrite(func() error {
		return file.change(func(lines []L) ([]L, bool) {
			next := slices.DeleteFunc(slices.Clone(lines), func(l L) bool { return l.key() == key })
			found = len(next) < len(lines)
			return next, found
		})
	})
	return found, err
}

// rewrite runs f under the lock that keeps two clients on one directory from
// losing each other's entries.
func (s *State) rewrite(f func() error) error {
	if s.readOnly {
		return Errorf(proto.Internal, "the state directory is open for reading only")
	}
	// A link in the file's place is not followed.
	lock, err := os.OpenFile(filepath.Join(s.dir, stateLock), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, stateFileMode)
	if err != nil {
		return stateError(err)
	}
	defer lock.Close() // and with it the lock
	if err := flock(lock, syscall.LOCK_EX); err != nil {
		return stateError(err)
	}
	return f()
}

var errKnownLine = errors.New("malformed line")
