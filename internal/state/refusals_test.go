package state

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"strings"
	"testing"

	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// TestChangesAreExplained: row 5. The refusal tells both possible reasons, and how to go on.
func TestChangesAreExplained(t *testing.T) {
	s := mustState(t)
	if err := s.SetKnownRelay("10.0.0.5:8080", fingerprintB); err != nil {
		t.Fatal(err)
	}
	person := &trust.Person{Identity: [32]byte{9}, Leaf: &x509.Certificate{Subject: pkix.Name{CommonName: "BOB"}}}
	bob := KnownBob()
	identity := proto.FormatHash(person.Identity)
	for _, c := range []struct {
		err           *fail.Error
		code          proto.Code
		says, advises []string
		accept        string
	}{
		{
			s.RelayChanged("[::1]:8080", fingerprintA, fingerprintB), proto.RelayChanged,
			[]string{"[::1]:8080", fingerprintA, fingerprintB, "the key that is known for 10.0.0.5:8080"},
			[]string{"anew", "between you and it", "relay -fingerprint"}, "client trust accept '[::1]:8080' " + fingerprintB,
		},
		{
			s.RelayUnknown("relay.example:8080", fingerprintA), proto.UnknownRelay,
			[]string{"relay.example:8080", fingerprintA}, []string{"relay -fingerprint"}, "client trust accept relay.example:8080 " + fingerprintA,
		},
		{
			PeerChanged("bob", &bob, person), proto.IdentityChanged,
			[]string{bob.Shown(), `"BOB" (identity ` + identity[:16] + ")"}, []string{"client card"}, "client trust accept bob " + identity,
		},
		{
			PeerUnknown("bob", person), proto.UnknownPeer,
			[]string{`"BOB" (identity ` + identity[:16] + ")"}, []string{"client whois bob", "client card"}, "client trust accept bob " + identity,
		},
	} {
		if c.err.Code != c.code {
			t.Errorf("%s instead of %s", c.err.Code, c.code)
		}
		for _, want := range c.says {
			if !strings.Contains(c.err.Message, want) {
				t.Errorf("%q does not say %s", c.err.Message, want)
			}
		}
		for _, want := range append(c.advises, fail.Command(c.accept)) {
			if !strings.Contains(c.err.Advice(), want) {
				t.Errorf("%q does not say %s", c.err.Advice(), want)
			}
		}
		if refused, ok := errors.AsType[*Refused](c.err); !ok || refused.Accept() != fail.Command(c.accept) || refused.Error() != c.err.Message {
			t.Errorf("a program cannot tell what was refused: %+v", refused)
		}
	}
	if e := s.RelayUnknown("relay.example:8080", fingerprintA); strings.Contains(e.Message, "known for") {
		t.Errorf("the key is known nowhere: %q", e.Message)
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
	k := KnownPeer{CommonName: `ANA" (identity 00`, Identity: [32]byte{1}}
	if shown, want := k.Shown(), `"ANA\" (identity 00" (identity 01`; !strings.HasPrefix(shown, want) {
		t.Errorf("a person is shown as %s, not %s...", shown, want)
	}
}
