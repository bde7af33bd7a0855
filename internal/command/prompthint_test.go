package command

import (
	"cmp"
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
	for notice, want := range map[string]string{ // the facts stay
		"a client was killed, and of its messages are FAILED, because they never left: 1 to dave":                                              "",
		"a client was killed, and of its messages are FAILED, because they never left: 1 to a; PENDING, because they may have arrived: 1 to b": "",
		"the head was behind by 1, as a killed client leaves it; it has been set right":                                                        "",
		"the file N is damaged; it is left as it is, or not; `client history -verify` tells more":                                              "the file N is damaged; it is left as it is, or not",
		"more is refused until tomorrow; client trust shows them":                                                                              "more is refused until tomorrow; /trust shows them",
	} {
		if got := promptNotice(notice); got != cmp.Or(want, notice) {
			t.Errorf("%q is %q, want %q", notice, got, cmp.Or(want, notice))
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
			if notHere().MatchString(clause) && !strings.Contains(clause, " there") {
				t.Errorf("%s: the hint %q has words of the shell", e.Code, hint)
			}
		}
		accepts := slices.Contains([]proto.Code{proto.RelayChanged, proto.UnknownRelay, proto.IdentityChanged, proto.UnknownPeer}, e.Code)
		if _, ok := e.Err.(*state.Refused); ok && accepts && !strings.Contains(hint, ": /trust accept ") {
			t.Errorf("%s: the hint %q does not help", e.Code, hint)
		}
	}
}
