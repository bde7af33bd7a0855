package state

import (
	"time"

	"chatsecure/proto"
)

// KnownRelay is a relay whose key has been accepted.
type KnownRelay struct {
	Addr        string // HOST:PORT as it was given
	Fingerprint string // of its key, 64 hex digits
	Offered     string // another key that it showed and that was refused, or ""
	First       time.Time
}

// RelayLine is a line of known_relays: PROTOCOL.md, "Known files".
type RelayLine struct {
	V           int    `json:"v"`
	Relay       string `json:"relay"`
	Fingerprint string `json:"fingerprint"`
	First       string `json:"first"` // RFC 3339, UTC, seconds
	Offered     string `json:"offered,omitempty"`
}

func newRelayLine(addr, fingerprint string) RelayLine {
	return RelayLine{V: knownVersion, Relay: addr, Fingerprint: NormalFingerprint(fingerprint), First: knownTime(time.Now())}
}

func (l RelayLine) key() string { return l.Relay }

func (l RelayLine) check() error {
	if l.V != knownVersion || l.Relay == "" || !proto.IsHex(l.Fingerprint, 32) ||
		l.Offered != "" && !proto.IsHex(l.Offered, 32) || !isKnownTime(l.First) {
		return errKnownLine
	}
	return nil
}

// KnownRelay returns the fingerprint that was accepted for addr.
func (s *State) KnownRelay(addr string) (fingerprint string, ok bool) {
	l, ok := s.relays.get(addr)
	return l.Fingerprint, ok
}

// KnownRelays returns all known relays, sorted.
func (s *State) KnownRelays() []KnownRelay {
	var out []KnownRelay
	for _, l := range s.relays.all() {
		out = append(out, KnownRelay{l.Relay, l.Fingerprint, l.Offered, parseKnownTime(l.First)})
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
		return s.RefuseRelay(addr, known, fingerprint)
	}
	return err
}

// PinRelay remembers a relay's key in place of any other: somebody has compared
// it.
func (s *State) PinRelay(addr, fingerprint string) error {
	return s.updateRelay(addr, func(l *RelayLine, _ bool) bool {
		*l = newRelayLine(addr, fingerprint)
		return true
	})
}

// offerRelay remembers another key that a known relay showed and that was
// refused, for AcceptRelay. It changes nothing about trust.
func (s *State) offerRelay(addr, fingerprint string) error {
	return s.updateRelay(addr, func(l *RelayLine, ok bool) bool {
		if !ok || l.Fingerprint == fingerprint || l.Offered == fingerprint {
			return false
		}
		l.Offered = fingerprint
		return true
	})
}

// AcceptRelay accepts the key that offerRelay remembered last. It returns that
// key's fingerprint, or false if there is none to accept.
func (s *State) AcceptRelay(addr string) (fingerprint string, ok bool, err error) {
	err = s.updateRelay(addr, func(l *RelayLine, known bool) bool {
		fingerprint, ok = l.Offered, known && l.Offered != ""
		if ok {
			l.Fingerprint, l.Offered = l.Offered, ""
		}
		return ok
	})
	return fingerprint, ok, err
}

// ForgetRelay makes a relay unknown again. It returns false if it was unknown.
func (s *State) ForgetRelay(addr string) (bool, error) {
	return forget(s, &s.relays, addr)
}

func (s *State) updateRelay(addr string, f func(l *RelayLine, known bool) bool) error {
	return update(s, &s.relays, addr, f)
}
