package state

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// KnownPeer is the person behind a name that this client has met.
type KnownPeer struct {
	Name       string // folded
	Identity   [32]byte
	Accepted   bool // somebody said yes; false: a message has come from them, no more
	Blocked    bool // under every name
	CommonName string
	Leaf       [32]byte // SHA-256 of the certificate last seen; zeros before the first
	First      time.Time
}

// PeerLine is a line of known_peers: PROTOCOL.md, "Known files".
type PeerLine struct {
	V          int    `json:"v"`
	Name       string `json:"name"`
	Accepted   bool   `json:"accepted"`
	Blocked    bool   `json:"blocked,omitempty"`
	Identity   string `json:"identity"`
	CommonName string `json:"common_name"`
	Leaf       string `json:"leaf"`
	First      string `json:"first"`
}

func newPeerLine(k *KnownPeer) PeerLine {
	return PeerLine{
		V: knownVersion, Name: proto.FoldName(k.Name), Accepted: k.Accepted, Identity: proto.FormatHash(k.Identity),
		CommonName: strings.ToValidUTF8(k.CommonName, "\ufffd"), Leaf: proto.FormatHash(k.Leaf), First: knownTime(k.First),
	}
}

// key is the name, or for a block the identity. The names of a blocked person have lines of their
// own, so that nobody else has them without being accepted.
func (l PeerLine) key() string {
	if l.Blocked {
		return blockedKey(l.Identity)
	}
	return l.Name
}

// blockedKey cannot be a name, which has no space.
func blockedKey(identity string) string { return "blocked " + identity }

func (l PeerLine) check() error {
	if l.V != knownVersion || proto.CheckName(l.Name) != nil || proto.FoldName(l.Name) != l.Name ||
		!proto.IsHex(l.Identity, 32) || !proto.IsHex(l.Leaf, 32) || !isKnownTime(l.First) {
		return errKnownLine
	}
	if l.Blocked && l.Accepted {
		return errKnownLine
	}
	return nil
}

func (l PeerLine) peer() *KnownPeer {
	return &KnownPeer{
		Name: l.Name, Identity: proto.MustHash(l.Identity), Accepted: l.Accepted, Blocked: l.Blocked, CommonName: l.CommonName,
		Leaf: proto.MustHash(l.Leaf), First: parseKnownTime(l.First),
	}
}

// KnownPeer returns the person behind a folded name.
func (s *State) KnownPeer(folded string) (*KnownPeer, bool) {
	l, ok := s.peers.get(folded)
	if !ok {
		return nil, false
	}
	return s.named(l), true
}

// named returns the person of a name.
func (s *State) named(l PeerLine) *KnownPeer {
	k := l.peer()
	k.Blocked = !k.Accepted && s.Blocked(k.Identity)
	return k
}

// PeerBlocked refuses a blocked person, who may use another name than the one of the block.
func (s *State) PeerBlocked(name string, identity [32]byte) *fail.Error {
	l, _ := s.peers.get(blockedKey(proto.FormatHash(identity)))
	under := cmp.Or(l.Name, proto.FoldName(name))
	back := Refused{Target: under, Value: proto.FormatHash(identity)}
	e := &fail.Error{
		Code: proto.NotAccepted, Message: "the person who uses the name " + proto.Visible(name) + " is blocked here",
		Hint: "to take the block back: " + back.Unblock(),
	}
	if !proto.SameName(under, name) {
		e.Message += ", under the name " + proto.Visible(under)
	}
	return e
}

// KnownPeers returns all people who are known by a name, sorted by it.
func (s *State) KnownPeers() []KnownPeer {
	return s.peersThat(func(l PeerLine) bool { return !l.Blocked })
}

// BlockedPeers returns all blocked people, sorted by identity.
func (s *State) BlockedPeers() []KnownPeer {
	return s.peersThat(func(l PeerLine) bool { return l.Blocked })
}

// BlockedAs returns the blocked people who are known by a name, sorted by identity.
func (s *State) BlockedAs(name string) []KnownPeer {
	folded := proto.FoldName(name)
	named, _ := s.peers.get(folded)
	return s.peersThat(func(l PeerLine) bool { return l.Blocked && (l.Name == folded || l.Identity == named.Identity) })
}

func (s *State) peersThat(are func(PeerLine) bool) []KnownPeer {
	var out []KnownPeer
	lines := s.peers.all()
	blocked := blockedIn(lines)
	for _, l := range lines {
		if are(l) {
			k := l.peer()
			k.Blocked = blocked[l.Identity]
			out = append(out, *k)
		}
	}
	return out
}

// blockedIn has the blocked identities.
func blockedIn(lines []PeerLine) map[string]bool {
	blocked := map[string]bool{}
	for _, l := range lines {
		if l.Blocked {
			blocked[l.Identity] = true
		}
	}
	return blocked
}

// PeersRead counts the readings of the file: as long as the number stays, nobody was accepted or
// blocked. It costs a stat of the file.
func (s *State) PeersRead() uint64 { return s.peers.read() }

// Blocked reports whether a person is blocked, whatever name they use. It costs a stat of
// the file.
func (s *State) Blocked(identity [32]byte) bool {
	_, ok := s.peers.get(blockedKey(proto.FormatHash(identity)))
	return ok
}

// Accepted reports whether a person is accepted under any name.
func (s *State) Accepted(identity [32]byte) bool {
	hash := proto.FormatHash(identity)
	return slices.ContainsFunc(s.peers.current(), func(l PeerLine) bool { return l.Accepted && l.Identity == hash })
}

// CheckLooks refuses a person whose name looks like that of an accepted one: PROTOCOL.md, "Names
// that look alike". A relay compares the names it knows, but a malicious one does not.
func (s *State) CheckLooks(name string, person *trust.Person) error {
	folded, hash := proto.FoldName(name), proto.FormatHash(person.Identity)
	for _, l := range s.peers.current() {
		if l.Accepted && l.Identity != hash && l.Name != folded && proto.LookAlike(l.Name, folded) {
			return nameLooksLike(name, l.peer(), person)
		}
	}
	return nil
}

// Alike returns the accepted people with whom a person could be confused, or who are that person
// under another name: of the same identity, or with a name or common name that looks the same.
func (s *State) Alike(name string, p *trust.Person) (alike []KnownPeer) {
	undotted := func(commonName string) string { return strings.ReplaceAll(commonName, ".", "") }
	for _, k := range s.KnownPeers() {
		same := k.Identity == p.Identity || proto.LookAlike(k.Name, proto.FoldName(name)) ||
			k.CommonName != "" && proto.LookAlike(undotted(k.CommonName), undotted(trust.SubjectName(p.Leaf)))
		if k.Accepted && same && k.Name != proto.FoldName(name) {
			alike = append(alike, k)
		}
	}
	return alike
}

// Block blocks an identity under every name. It stays the one of its names, and of this one if
// nobody has that, but is accepted no more. Block returns the person, and the names that they were
// accepted under.
func (s *State) Block(name string, identity [32]byte) (who *KnownPeer, accepted []string, err error) {
	line := newPeerLine(&KnownPeer{Name: name, Identity: identity, First: time.Now()})
	err = s.changePeers(func(lines []PeerLine) ([]PeerLine, bool) {
		lines = slices.Clone(lines)
		taken, blocked := false, false
		for i, l := range lines {
			taken = taken || l.key() == line.Name
			if l.Identity != line.Identity {
				continue
			}
			if l.Accepted {
				accepted = append(accepted, l.Name)
			}
			if lines[i].Accepted = false; l.CommonName != "" {
				line.CommonName, line.Leaf, line.First = l.CommonName, l.Leaf, l.First
			}
			blocked = blocked || l.Blocked
		}
		if !taken {
			lines = append(lines, line)
		}
		if line.Blocked = true; !blocked {
			lines = append(lines, line)
		}
		return lines, true
	})
	return line.peer(), accepted, err
}

// Unblock takes the block of an identity back. It returns false if there is none.
func (s *State) Unblock(identity [32]byte) (bool, error) {
	return forget(s, &s.peers, blockedKey(proto.FormatHash(identity)))
}

// SetKnownPeer remembers the person behind a name, who must have been verified.
// It never replaces an identity that another client has written meanwhile, and
// never takes an acceptance back: AcceptPeer and ForgetPeer do that.
func (s *State) SetKnownPeer(k KnownPeer) error {
	var changed error
	err := s.updatePeer(k.Name, func(l *PeerLine, known bool) bool {
		next := newPeerLine(&k)
		if s.Blocked(k.Identity) { // maybe since the caller looked, by another client
			changed = s.PeerBlocked(k.Name, k.Identity)
			return false
		}
		if known {
			if l.Identity != next.Identity {
				changed = peerChanged(k.Name, s.named(*l), &k)
				return false
			}
			next.First, next.Accepted = l.First, l.Accepted || next.Accepted
			if *l == next {
				return false
			}
		}
		*l = next
		return true
	})
	return errors.Join(changed, err)
}

// Bounds of the names that are remembered without being accepted: of one person, and of all. Anybody
// with a card can be seen under one name after the other, and each time the file is written anew.
const (
	maxSeenNames = 8
	maxSeen      = 1024
)

// forgetSeen forgets the names that were never accepted and first seen longest ago, until
// maxSeenNames of each person and maxSeen in all are left. The names of blocked people stay.
func forgetSeen(lines []PeerLine) []PeerLine {
	blocked := blockedIn(lines)
	var seen []PeerLine
	for _, l := range lines {
		if !l.Accepted && !blocked[l.Identity] {
			seen = append(seen, l)
		}
	}
	// Times of one length and zone sort as text.
	slices.SortFunc(seen, func(a, b PeerLine) int { return -strings.Compare(a.First+" "+a.Name, b.First+" "+b.Name) })
	names, kept, gone := map[string]int{}, 0, map[string]bool{}
	for _, l := range seen {
		if names[l.Identity]++; names[l.Identity] > maxSeenNames || kept == maxSeen {
			gone[l.key()] = true
		} else {
			kept++
		}
	}
	return slices.DeleteFunc(slices.Clone(lines), func(l PeerLine) bool { return gone[l.key()] })
}

// AcceptPeer accepts an identity under a name, in place of any other: somebody has compared it.
// The rest is filled in when they meet. It returns the person who was known before, or nil.
func (s *State) AcceptPeer(name string, identity [32]byte) (before *KnownPeer, err error) {
	var refused error
	err = s.updatePeer(name, func(l *PeerLine, known bool) bool {
		if s.Blocked(identity) {
			refused = s.PeerBlocked(name, identity)
			return false
		}
		if known {
			before = l.peer()
		}
		if !known || before.Identity != identity {
			*l = newPeerLine(&KnownPeer{Name: name, Identity: identity, First: time.Now()})
		}
		l.Accepted = true
		return true
	})
	return before, errors.Join(refused, err)
}

// ForgetPeer makes a name unknown again: the next meeting is a first one. It
// returns false if it was unknown.
func (s *State) ForgetPeer(name string) (bool, error) {
	return forget(s, &s.peers, proto.FoldName(name))
}

// changePeers writes the lines that f returns, unless f returns false.
func (s *State) changePeers(f func(lines []PeerLine) ([]PeerLine, bool)) error {
	return s.locked(func() error { return s.peers.change(f) })
}

func (s *State) updatePeer(name string, f func(l *PeerLine, known bool) bool) error {
	return update(s, &s.peers, proto.FoldName(name), f)
}
