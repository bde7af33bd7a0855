package state

import (
	"errors"
	"strings"
	"testing"
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
