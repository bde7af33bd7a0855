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

// KnownPeer is the person behind a name that this client has met, and a line of known_peers:
// doc/state.md. A line with Blocked is the block of the identity.
type KnownPeer struct {
	V          int       `json:"v"`
	Name       string    `json:"name"`              // folded
	Accepted   bool      `json:"accepted"`          // false: a message has come from them, no more
	Blocked    bool      `json:"blocked,omitempty"` // under every name
	Identity   hash      `json:"identity"`
	CommonName string    `json:"common_name"`
	Leaf       hash      `json:"leaf"`  // SHA-256 of the certificate last seen; zeros before the first
	First      time.Time `json:"first"` // as fileTime
}

// newPeer is a line about a person.
func newPeer(k KnownPeer) KnownPeer {
	k.V, k.Name, k.Blocked, k.First = knownVersion, proto.FoldName(k.Name), false, fileTime(k.First)
	k.CommonName = strings.ToValidUTF8(k.CommonName, "\ufffd")
	return k
}

// key is the name, or for a block the identity. The names of a blocked person have lines of their
// own, so that nobody else has them without being accepted.
func (k KnownPeer) key() string {
	if k.Blocked {
		return blockedKey(k.Identity)
	}
	return k.Name
}

// blockedKey cannot be a name, which has no space.
func blockedKey(identity [32]byte) string { return "blocked " + string(identity[:]) }

func (k KnownPeer) isSound() bool {
	return k.V == knownVersion && proto.CheckName(k.Name) == nil && proto.FoldName(k.Name) == k.Name &&
		k.First == fileTime(k.First) && !(k.Blocked && k.Accepted)
}

// KnownPeer returns the person behind a folded name.
func (s *State) KnownPeer(folded string) (*KnownPeer, bool) {
	k, ok := s.peers.get(folded)
	if !ok {
		return nil, false
	}
	return s.named(k), true
}

// named returns the person of a name.
func (s *State) named(k KnownPeer) *KnownPeer {
	k.Blocked = !k.Accepted && s.Blocked(k.Identity)
	return &k
}

// PeerBlocked refuses a blocked person, who may use another name than the one of the block.
func (s *State) PeerBlocked(name string, identity [32]byte) *fail.Error {
	l, _ := s.peers.get(blockedKey(identity))
	under, as := cmp.Or(l.Name, proto.FoldName(name)), ""
	if !proto.SameName(under, name) {
		as = ", under the name " + proto.Visible(under)
	}
	back := Refused{Target: under, Value: proto.FormatHash(identity)}
	return fail.Errorf(proto.NotAccepted, "the person who uses the name %s is blocked here%s",
		proto.Visible(name), as).With("to take the block back: " + back.Unblock())
}

// KnownPeers returns all people who are known by a name, sorted by it.
func (s *State) KnownPeers() []KnownPeer {
	return s.peersThat(func(l KnownPeer) bool { return !l.Blocked })
}

// BlockedPeers returns all blocked people, sorted by identity.
func (s *State) BlockedPeers() []KnownPeer {
	return s.peersThat(func(l KnownPeer) bool { return l.Blocked })
}

// BlockedAs returns the blocked people who are known by a name, sorted by identity.
func (s *State) BlockedAs(name string) []KnownPeer {
	named, _ := s.peers.get(proto.FoldName(name))
	return s.peersThat(func(l KnownPeer) bool {
		return l.Blocked && (l.Name == proto.FoldName(name) || l.Identity == named.Identity)
	})
}

func (s *State) peersThat(are func(KnownPeer) bool) []KnownPeer {
	lines := s.peers.all()
	blocked := blockedIn(lines)
	lines = slices.DeleteFunc(lines, func(l KnownPeer) bool { return !are(l) })
	for i, l := range lines {
		lines[i].Blocked = blocked[l.Identity]
	}
	return lines
}

// blockedIn has the blocked identities.
func blockedIn(lines []KnownPeer) map[hash]bool {
	blocked := map[hash]bool{}
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
	_, ok := s.peers.get(blockedKey(identity))
	return ok
}

// Accepted reports whether a person is accepted under any name.
func (s *State) Accepted(identity [32]byte) bool {
	return slices.ContainsFunc(s.peers.current(), func(l KnownPeer) bool {
		return l.Accepted && l.Identity == identity
	})
}

// CheckLooks refuses a person whose name looks like that of an accepted one: doc/names.md. A relay
// compares the names it knows, but a malicious one does not.
func (s *State) CheckLooks(name string, person *trust.Person) error {
	folded := proto.FoldName(name)
	for _, l := range s.peers.current() {
		if l.Accepted && l.Identity != person.Identity && l.Name != folded &&
			proto.LookAlike(l.Name, folded) {
			return nameLooksLike(name, &l, person)
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
			k.CommonName != "" &&
				proto.LookAlike(undotted(k.CommonName), undotted(trust.SubjectName(p.Leaf)))
		if k.Accepted && same && k.Name != proto.FoldName(name) {
			alike = append(alike, k)
		}
	}
	return alike
}

// Block blocks an identity under every name. It stays the one of its names, and of this one if
// nobody has that, but is accepted no more. Block returns the person, and the names that they were
// accepted under.
func (s *State) Block(name string, identity [32]byte) (
	who *KnownPeer, accepted []string, err error) {
	line := newPeer(KnownPeer{Name: name, Identity: identity, First: time.Now()})
	err = s.peers.change(func(lines []KnownPeer) []KnownPeer {
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
		return lines
	})
	return &line, accepted, err
}

// Unblock takes the block of an identity back. It returns false if there is none.
func (s *State) Unblock(identity [32]byte) (bool, error) {
	return s.peers.forget(blockedKey(identity))
}

// SetKnownPeer remembers the person behind a name, who must have been verified.
// It never replaces an identity that another client has written meanwhile, and
// never takes an acceptance back: AcceptPeer and ForgetPeer do that.
func (s *State) SetKnownPeer(k KnownPeer) error {
	var refused error
	next := newPeer(k)
	err := s.peers.update(next.Name, func(l *KnownPeer) {
		known := l.V > 0
		switch {
		case s.Blocked(k.Identity): // maybe since the caller looked, by another client
			refused = s.PeerBlocked(k.Name, k.Identity)
			return
		case known && l.Identity != k.Identity:
			refused = peerChanged(k.Name, s.named(*l), &k)
			return
		case known:
			next.First, next.Accepted = l.First, l.Accepted || next.Accepted
		}
		*l = next
	})
	return errors.Join(refused, err)
}

// Bounds of the names that are remembered without being accepted: of one person, and of all.
// Anybody with a card can be seen under one name after the other, and each time the file is
// written anew.
const (
	maxSeenNames = 8
	maxSeen      = 1024
)

// forgetSeen forgets the names that were never accepted and first seen longest ago, until
// maxSeenNames of each person and maxSeen in all are left. The names of blocked people stay.
func forgetSeen(lines []KnownPeer) []KnownPeer {
	blocked := blockedIn(lines)
	var seen []KnownPeer
	for _, l := range lines {
		if !l.Accepted && !blocked[l.Identity] {
			seen = append(seen, l)
		}
	}
	slices.SortFunc(seen, func(a, b KnownPeer) int {
		return cmp.Or(b.First.Compare(a.First), strings.Compare(b.Name, a.Name))
	})
	names, kept, gone := map[hash]int{}, 0, map[string]bool{}
	for _, l := range seen {
		if names[l.Identity]++; names[l.Identity] > maxSeenNames || kept == maxSeen {
			gone[l.key()] = true
		} else {
			kept++
		}
	}
	return slices.DeleteFunc(lines, func(l KnownPeer) bool { return gone[l.key()] })
}

// AcceptPeer accepts an identity under a name, in place of any other: somebody has compared it.
// The rest is filled in when they meet. It returns the person who was known before, or nil.
func (s *State) AcceptPeer(name string, identity [32]byte) (before *KnownPeer, err error) {
	var refused error
	err = s.peers.update(proto.FoldName(name), func(l *KnownPeer) {
		if s.Blocked(identity) {
			refused = s.PeerBlocked(name, identity)
			return
		}
		if l.V > 0 {
			before = new(*l)
		}
		if before == nil || before.Identity != identity {
			*l = newPeer(KnownPeer{Name: name, Identity: identity, First: time.Now()})
		}
		l.Accepted = true
	})
	return before, errors.Join(refused, err)
}

// ForgetPeer makes a name unknown again: the next meeting is a first one. It
// returns false if it was unknown.
func (s *State) ForgetPeer(name string) (bool, error) {
	return s.peers.forget(proto.FoldName(name))
}
