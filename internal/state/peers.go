package state

import (
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

// key is the name, or for a blocked person the identity: the name is then free for others.
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
		Name: l.Name, Identity: proto.MustHash(l.Identity), Accepted: l.Accepted, CommonName: l.CommonName,
		Leaf: proto.MustHash(l.Leaf), First: parseKnownTime(l.First),
	}
}

// KnownPeer returns the person behind a folded name.
func (s *State) KnownPeer(folded string) (*KnownPeer, bool) {
	l, ok := s.peers.get(folded)
	if !ok {
		return nil, false
	}
	return l.peer(), true
}

// PeerBlocked refuses a blocked person.
func PeerBlocked(name string) *fail.Error {
	return &fail.Error{
		Code: proto.NotAccepted, Message: "the person who uses the name " + proto.Visible(name) + " is blocked here",
		Hint: "client trust shows the blocked people; client trust unblock NAME takes a block back",
	}
}

// KnownPeers returns all known people who are not blocked, sorted by name.
func (s *State) KnownPeers() []KnownPeer { return s.peersThat(false) }

// BlockedPeers returns all blocked people, sorted by identity.
func (s *State) BlockedPeers() []KnownPeer { return s.peersThat(true) }

func (s *State) peersThat(blocked bool) []KnownPeer {
	var out []KnownPeer
	for _, l := range s.peers.all() {
		if l.Blocked == blocked {
			out = append(out, *l.peer())
		}
	}
	return out
}

// PeersRead counts the readings of the file: as long as the number stays, nobody was accepted or
// blocked. It costs a stat of the file.
func (s *State) PeersRead() uint64 {
	s.peers.load()
	s.peers.mu.Lock()
	defer s.peers.mu.Unlock()
	return s.peers.reads
}

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

// Block blocks the person who is known by a name: that identity under every name. The name is
// unknown then. It returns the person, or false if the name is unknown.
func (s *State) Block(name string) (blocked *KnownPeer, ok bool, err error) {
	folded := proto.FoldName(name)
	err = s.changePeers(func(lines []PeerLine) ([]PeerLine, bool) {
		i := slices.IndexFunc(lines, func(l PeerLine) bool { return l.key() == folded })
		if i < 0 {
			return nil, false
		}
		line := lines[i]
		line.Accepted, line.Blocked = false, true
		blocked, ok = line.peer(), true
		others := slices.DeleteFunc(slices.Clone(lines), func(l PeerLine) bool { return l.Identity == line.Identity })
		return append(others, line), true
	})
	return blocked, ok, err
}

// Unblock takes the blocks of a name back. Those people are unknown then. It returns false if
// there is none.
func (s *State) Unblock(name string) (ok bool, err error) {
	folded := proto.FoldName(name)
	err = s.changePeers(func(lines []PeerLine) ([]PeerLine, bool) {
		left := slices.DeleteFunc(slices.Clone(lines), func(l PeerLine) bool { return l.Blocked && l.Name == folded })
		ok = len(left) < len(lines)
		return left, ok
	})
	return ok, err
}

// SetKnownPeer remembers the person behind a name, who must have been verified.
// It never replaces an identity that another client has written meanwhile, and
// never takes an acceptance back: AcceptPeer and ForgetPeer do that.
func (s *State) SetKnownPeer(k KnownPeer) error {
	var changed error
	err := s.updatePeer(k.Name, func(l *PeerLine, known bool) bool {
		next := newPeerLine(&k)
		if s.Blocked(k.Identity) { // maybe since the caller looked, by another client
			changed = PeerBlocked(k.Name)
			return false
		}
		if known {
			if l.Identity != next.Identity {
				changed = peerChanged(k.Name, l.peer(), &k)
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
// maxSeenNames of each person and maxSeen in all are left.
func forgetSeen(lines []PeerLine) []PeerLine {
	var seen []PeerLine
	for _, l := range lines {
		if !l.Accepted && !l.Blocked {
			seen = append(seen, l)
		}
	}
	// Times of one length and zone sort as text.
	slices.SortFunc(seen, func(a, b PeerLine) int { return -strings.Compare(a.First+" "+a.Name, b.First+" "+b.Name) })
	names, kept, gone := map[string]int{}, 0, map[string]bool{}
	for _, l := range seen {
		if names[l.Identity]++; names[l.Identity] > maxSeenNames || kept == maxSeen {
			gone[l.Name] = true
		} else {
			kept++
		}
	}
	return slices.DeleteFunc(slices.Clone(lines), func(l PeerLine) bool { return !l.Accepted && !l.Blocked && gone[l.Name] })
}

// AcceptPeer accepts an identity under a name, in place of any other: somebody has compared it.
// The rest is filled in when they meet. It returns the person who was known before, or nil.
func (s *State) AcceptPeer(name string, identity [32]byte) (before *KnownPeer, err error) {
	var refused error
	err = s.updatePeer(name, func(l *PeerLine, known bool) bool {
		if s.Blocked(identity) {
			refused = PeerBlocked(name)
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
