package state

import (
	"strings"
	"time"

	"chatsecure/proto"
)

// KnownRelay is a relay whose key has been accepted, and a line of known_relays:
// doc/state.md.
type KnownRelay struct {
	V           int       `json:"v"`
	Addr        string    `json:"relay"`       // as RelayAddr
	Fingerprint string    `json:"fingerprint"` // of its key, 64 hex digits
	First       time.Time `json:"first"`       // as fileTime
}

func newKnownRelay(addr, fingerprint string) KnownRelay {
	first := fileTime(time.Now())
	return KnownRelay{knownVersion, sameAddr(addr), NormalFingerprint(fingerprint), first}
}

// key is the address in its one form, whatever form an earlier program has written.
func (r KnownRelay) key() string { return sameAddr(r.Addr) }

func (r KnownRelay) isSound() bool {
	return r.V == knownVersion && r.Addr != "" && proto.IsHex(r.Fingerprint, 32) &&
		r.First == fileTime(r.First)
}

// KnownRelay returns the fingerprint that was accepted for addr.
func (s *State) KnownRelay(addr string) (fingerprint string, ok bool) {
	l, ok := s.relays.get(sameAddr(addr))
	return l.Fingerprint, ok
}

// RelaysRead counts the readings of the file: as long as the number stays, no relay was accepted or
// forgotten. It costs a stat of the file.
func (s *State) RelaysRead() uint64 { return s.relays.read() }

// KnownRelays returns all known relays, sorted.
func (s *State) KnownRelays() []KnownRelay {
	relays := s.relays.all()
	for i, r := range relays {
		relays[i].Addr = r.key()
	}
	return relays
}

// SetKnownRelay remembers the key of a relay that was unknown. A key that another
// client has written meanwhile stays: RelayChanged tells if it is another one.
func (s *State) SetKnownRelay(addr, fingerprint string) error {
	var known string
	err := s.relays.update(sameAddr(addr), func(r *KnownRelay) {
		if known = r.Fingerprint; known == "" {
			*r = newKnownRelay(addr, fingerprint)
		}
	})
	if err == nil && known != "" && known != fingerprint {
		return s.RelayChanged(addr, known, fingerprint)
	}
	return err
}

// AcceptRelay remembers a relay's key in place of any other: somebody has compared it. It
// returns the fingerprint that was known before, or "".
func (s *State) AcceptRelay(addr, fingerprint string) (before string, err error) {
	err = s.relays.update(sameAddr(addr), func(r *KnownRelay) {
		before, *r = r.Fingerprint, newKnownRelay(addr, fingerprint)
	})
	return before, err
}

// ForgetRelay makes a relay unknown again. It returns false if it was unknown.
func (s *State) ForgetRelay(addr string) (bool, error) { return s.relays.forget(sameAddr(addr)) }

// CheckRelay compares the key that a relay shows with the one given at a place, as -fingerprint, or
// else with the known one. trusted says which of the two it is, "" if there is neither. A given
// one counts for this run, whatever key is known.
func (s *State) CheckRelay(addr, given, place, shows string) (trusted string, err error) {
	known, ok := s.KnownRelay(addr)
	switch given = NormalFingerprint(given); {
	case given == shows:
		return "given with " + place, nil
	case given != "":
		return "", RelayNotGiven(addr, place, given, shows)
	case ok && known != shows:
		return "", s.RelayChanged(addr, known, shows)
	case ok:
		return "known from before", nil
	}
	return "", nil
}

// Elsewhere names the other addresses that a key is known for, or returns "". One key is one
// relay: its address may be new only because the relay has two.
func (s *State) Elsewhere(addr, fingerprint string) string {
	var found []string
	for _, r := range s.KnownRelays() {
		if r.Fingerprint == fingerprint && r.Addr != sameAddr(addr) {
			found = append(found, r.Addr)
		}
	}
	return strings.Join(found, ", ")
}
