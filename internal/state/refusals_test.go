package state

import (
	"crypto/x509"
	"errors"
	"strings"
	"testing"

	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// TestChangesAreExplained: row 5. The refusal tells both possible reasons, and how to go
// on.
func TestChangesAreExplained(t *testing.T) {
	old, now := strings.Repeat("0a", 32), strings.Repeat("0b", 32)
	e := RelayChanged("relay.example:8080", old, now)
	for _, want := range []string{"relay.example:8080", old, now} {
		if !strings.Contains(e.Message, want) {
			t.Errorf("%q does not say %s", e.Message, want)
		}
	}
	for _, want := range []string{"anew", "between you and it", "relay -fingerprint", "client trust accept relay.example:8080"} {
		if !strings.Contains(e.Advice(), want) {
			t.Errorf("%q does not say %s", e.Advice(), want)
		}
	}
	var change *RelayChange
	if !errors.As(e, &change) || change.Now != now {
		t.Error("a program cannot tell what changed")
	}
	if e := RelayUnknown("relay.example:8080", now); !strings.Contains(e.Message, now) || !strings.Contains(e.Advice(), "-fingerprint "+now) {
		t.Errorf("an unknown relay: %q %q", e.Message, e.Advice())
	}
}

func TestNormalFingerprint(t *testing.T) {
	plain := strings.Repeat("ab", 32)
	colons := strings.TrimSuffix(strings.Repeat("AB:", 32), ":")
	if got := NormalFingerprint(colons); got != plain {
		t.Errorf("%s became %s", colons, got)
	}
}

// TestRefusedNamesStayInTheirQuotes: a common name cannot end its quotes and give an
// identity of its own.
func TestRefusedNamesStayInTheirQuotes(t *testing.T) {
	if shown, want := shownPerson(`ANA" (identity 00`, [32]byte{1}), `"ANA\" (identity 00" (identity 01`; !strings.HasPrefix(shown, want) {
		t.Errorf("a person is shown as %s, not %s...", shown, want)
	}
}

// TestRefusalTellsThatItIsNotKept: a key or person that cannot be kept for trust accept
// is still refused, and the refusal says so.
func TestRefusalTellsThatItIsNotKept(t *testing.T) {
	s := mustState(t)
	if err := errors.Join(s.SetKnownRelay("relay:1", fingerprintA), s.SetKnownPeer(KnownBob())); err != nil {
		t.Fatal(err)
	}
	person := &trust.Person{Identity: [32]byte{9}, Leaf: new(x509.Certificate)}
	bob := KnownBob()
	for _, kept := range []bool{true, false} {
		s.readOnly = !kept
		for code, e := range map[proto.Code]*fail.Error{
			proto.RelayChanged:    s.RefuseRelay("relay:1", fingerprintA, fingerprintB),
			proto.IdentityChanged: s.RefusePeer("bob", &bob, person),
		} {
			if e.Code != code || strings.Contains(e.Message, "not kept for trust accept: ") == kept {
				t.Errorf("kept %v: %s: %s", kept, e.Code, e.Message)
			}
		}
	}
}
