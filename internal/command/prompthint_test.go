package command

import (
	"slices"
	"strings"
	"testing"

	"chatsecure/internal/fail"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// TestPromptAdvice: a hint at the prompt has what can be typed there, and nothing else of this machine.
func TestPromptAdvice(t *testing.T) {
	digits := strings.Repeat("0123abcd", 8)
	for hint, want := range map[string]string{
		"":                               "",
		"client -h shows how it is used": "/help shows what can be typed",
		"client list shows who is connected; -wait-peer waits for somebody to come":         "/list shows who is connected",
		"try again, or allow more time with -timeout":                                       "try again",
		"is the relay running, and is its HOST:PORT right (-relay)?":                        "",
		"client history -verify tells more":                                                 "",
		"choose another name with -name; its owner can give this one up":                    "its owner can give this one up",
		"ask the person what client card shows there; then client trust accept b " + digits: "ask the person what client card shows there; then /trust accept b 0123abcd",
		"start client pipe there as well; -wait-peer lets either side start first":          "start client pipe there as well",
	} {
		if got := promptAdvice(hint); got != want {
			t.Errorf("%q is %q, want %q", hint, got, want)
		}
	}
	// The prompt knows no quotes of a shell.
	refusedAt := state.Refused{Target: "[::1]:80", Value: digits}
	if got := promptAdvice("If the two agree: " + refusedAt.Accept()); got != "If the two agree: /trust accept [::1]:80 0123abcd" {
		t.Errorf("at the prompt an address is accepted by %s", got)
	}
	st := state.New(t.TempDir(), "")
	person := fakePerson("bob", 1)
	refused := []*fail.Error{
		st.RelayChanged("relay:1", digits, digits), st.RelayUnknown("relay:1", digits),
		state.PeerChanged("bob", &state.KnownPeer{}, person), state.PeerUnknown("bob", person), state.RelayNotGiven("relay:1", "-fingerprint", digits, digits),
	}
	for code := range fail.Codes {
		refused = append(refused, fail.Errorf(code, ""))
	}
	for _, e := range refused {
		hint := promptAdvice(e.Advice())
		for clause := range strings.SplitSeq(hint, "; ") {
			if notHere.MatchString(clause) && !strings.Contains(clause, " there") {
				t.Errorf("%s: the hint %q has words of the shell", e.Code, hint)
			}
		}
		accepts := slices.Contains([]proto.Code{proto.RelayChanged, proto.UnknownRelay, proto.IdentityChanged, proto.UnknownPeer}, e.Code)
		if _, ok := e.Err.(*state.Refused); ok && accepts && !strings.Contains(hint, ": /trust accept ") {
			t.Errorf("%s: the hint %q does not help", e.Code, hint)
		}
	}
}
