package state

import (
	"strings"
	"time"

	"chatsecure/proto"
)

// KnownRelay is a relay whose key has been accepted.
type KnownRelay struct {
	Addr        string // as RelayAddr
	Fingerprint string // of its key, 64 hex digits
	First       time.Time
}

// RelayLine is a line of known_relays: PROTOCOL.md, "Known files".
type RelayLine struct {
	V           int    `json:"v"`
	Relay       string `json:"relay"`
	Fingerprint string `json:"fingerprint"`
	First       string `json:"first"` // RFC 3339, UTC, seconds
}

func newRelayLine(addr, fingerprint string) RelayLine {
	return RelayLine{V: knownVersion, Relay: sameAddr(addr), Fingerprint: NormalFingerprint(fingerprint), First: knownTime(time.Now())}
}

// key is the address in its one form, whatever form an earlier program has written.
func (l RelayLine) key() string { return sameAddr(l.Relay) }

func (l RelayLine) check() error {
	if l.V != knownVersion || l.Relay == "" || !proto.IsHex(l.Fingerprint, 32) || !isKnownTime(l.First) {
		return errKnownLine
	}
	return nil
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
	var out []KnownRelay
	for _, l := range s.relays.all() {
		out = append(out, KnownRelay{l.key(), l.Fingerprint, parseKnownTime(l.First)})
	}
	return out
}

// SetKnownRelay remembers the key of a relay that was unknown. A key that another
// client has written meanwhile stays: RelayChanged tells if it is another one.
func (s *State) SetKnownRelay(addr, fingerprint string) error {
	known := ""
	err := s.updateRelay(addr, func(l *RelayLine, ok bool) bool {
		if ok {
			known = l.Fingerprint
			return false
		}
		*l = newRelayLine(addr, fingerprint)
		return true
	})
	if err == nil && known != "" && known != fingerprint {
		return s.RelayChanged(addr, known, fingerprint)
	}
	return err
}

// AcceptRelay remembers a relay's key in place of any other: somebody has compared it. It
// returns the fingerprint that was known before, or "".
func (s *State) AcceptRelay(addr, fingerprint string) (before string, err error) {
	err = s.updateRelay(addr, func(l *RelayLine, _ bool) bool {
		before = l.Fingerprint
		*l = newRelayLine(addr, fingerprint)
		return true
	})
	return before, err
}

// ForgetRelay makes a relay unknown again. It returns false if it was unknown.
func (s *State) ForgetRelay(addr string) (bool, error) {
	return forget(s, &s.relays, sameAddr(addr))
}

func (s *State) updateRelay(addr string, f func(l *RelayLine, known bool) bool) error {
	return update(s, &s.relays, sameAddr(addr), f)
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
