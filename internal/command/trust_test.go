package command

import (
	"bytes"
	"strings"
	"testing"

	"chatsecure/internal/fail"
	"chatsecure/internal/state"
)

// TestTrustQuotes: a common name cannot end its quotes, neither in the list of
// the known nor when it is accepted.
func TestTrustQuotes(t *testing.T) {
	st, err := state.Open(t.TempDir(), "ana")
	if err != nil {
		t.Fatal(err)
	}
	if err := st.SetKnownPeer(state.KnownPeer{Name: "bob", Identity: [32]byte{1}, CommonName: `BOB"  since 2001-01-01  "`, Accepted: true}); err != nil {
		t.Fatal(err)
	}
	sys, stdout, _ := fakeSystem("")
	a := &app{System: sys, out: newDisplay(sys, options{})}
	showTrust(a.out, st)
	said, _, err := changeTrust(func() (*state.State, error) { return st, nil }, []string{"accept", "BOB", strings.Repeat("02", 32)})
	if err != nil {
		t.Fatal(err)
	}
	a.out.flush()
	if want := `"BOB\"  since 2001-01-01  \""  since `; !strings.Contains(stdout.String(), want) {
		t.Errorf("the list does not hold %s: %s", want, stdout)
	}
	if want := `and is no longer "BOB\"  since 2001-01-01  \"" (identity 01`; !strings.Contains(said, want) {
		t.Errorf("accepting does not say %s: %s", want, said)
	}
}

// TestTrustChanges: each change says its result, and the list shows it.
func TestTrustChanges(t *testing.T) {
	st, err := state.Open(t.TempDir(), "ana")
	if err != nil {
		t.Fatal(err)
	}
	one, two, three := strings.Repeat("01", 32), strings.Repeat("02", 32), strings.Repeat("03", 32)
	// A relay on an interface that was unplugged, or in a spelling of an earlier program, is forgotten as it is listed.
	if err := st.SetKnownRelay("[fe80::1%gone]:80", one); err != nil {
		t.Fatal(err)
	}
	if err := st.SetKnownPeer(state.KnownPeer{Name: "bob", Identity: [32]byte(bytes.Repeat([]byte{1}, 32)), CommonName: "BOB"}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		line   string
		status int
		says   string // of the sentence, or of the error
		lists  string // of the list afterwards
	}{
		{"accept bob", 2, "known is peer bob  seen  " + one + `  "BOB"`, "peer bob  seen  " + one},
		{"accept bob 0101", 2, "64 hex digits", "peer bob  seen  " + one},
		{"accept bob " + one + "01", 2, "64 hex digits", "peer bob  seen  " + one},
		{"accept bob " + one, 0, `accepted with the identity ` + one + `: "BOB"`, "peer bob  accepted  " + one + `  "BOB"`},
		{"accept Bob " + two, 0, `is no longer "BOB" (identity ` + one[:16] + ")", "peer bob  accepted  " + two + "  not met yet"},
		{"block bob", 0, "bob is blocked under every name: identity " + two[:16] + ", who was accepted as bob; it is for this person only; " +
			"for another who uses the name: client trust block bob IDENTITY", "peer bob  blocked  " + two},
		{"block bob", 0, "bob is blocked under every name: identity " + two[:16] + "; it is", "peer bob  blocked  " + two},
		{"accept bob", 2, "known is peer bob  blocked  " + two, "peer bob  blocked  " + two},
		{"block nobody", 1, "nothing is known of nobody; client trust shows", ""},
		{"accept carol " + two, 4, "is blocked here, under the name bob; to take the block back: client trust unblock bob " + two, "peer bob  blocked  " + two},
		{"accept bob " + one, 0, one, "peer bob  accepted  " + one + "  not met yet"},
		// Another uses bob's name: he stays, and the other one is blocked.
		{"block Bob " + three, 0, "blocked under every name is identity " + three[:16] + "; Bob stays identity " + one[:16],
			"peer bob  accepted  " + one + "  not met yet"},
		{"unblock bob", 2, "2 people are blocked who used the name bob: identity " + two[:16] + "; identity " + three[:16] +
			"; client trust unblock bob " + two + ", or client trust unblock bob " + three, "peer bob  blocked  " + three},
		{"unblock bob " + two[:7], 2, "64 hex digits", "peer bob  blocked  " + two},
		{"unblock bob " + one, 1, "nobody is blocked whose identity is " + one, "peer bob  blocked  " + two},
		{"forget bob", 0, "identity " + three[:16] + " stays blocked; to take that back: client trust unblock bob " + three,
			"peer bob  blocked  " + two},
		{"unblock frank " + two[:8], 0, "not blocked any more, and not accepted: identity " + two[:16], "peer bob  blocked  " + three},
		{"unblock bob", 0, "bob is not blocked any more", ""},
		{"unblock bob", 1, "nobody is blocked who used the name bob", ""},
		{"block dan " + three, 0, "dan is blocked under every name: identity " + three[:16], "peer dan  blocked  " + three + "  not met yet"},
		{"unblock dan", 0, "dan is not blocked", "peer dan  seen  " + three},
		{"accept dan " + two, 0, "is no longer identity " + three[:16], "peer dan  accepted  " + two},
		{"accept bob " + one, 0, "accepted", ""},
		{"block localhost:80", 2, "not an address", ""},
		{"accept LOCALHOST:080 " + one, 0, "localhost:80 is known by the fingerprint " + one, "relay localhost:80  " + one},
		{"accept localhost:80", 2, "known is relay localhost:80  " + one, ""},
		{"accept localhost:80 " + two, 0, "no longer by " + one, "relay localhost:80  " + two},
		{"forget localhost.:80", 0, "forgotten", ""},
		{"forget localhost:80", 1, "nothing is known of localhost:80", ""},
		{"accept [fe80::1%gone]:80 " + two, 2, "interface", "relay [fe80::1%gone]:80  " + one},
		{"forget [fe80::1%gone]:80", 0, "forgotten", ""},
		{"forget [fe80::1%gone]:80", 2, "interface", ""},
		{"forget localhost:", 2, "HOST:PORT", ""},
		{"accept localhost:80", 2, "nothing is known yet", ""},
		{"accept carol", 2, "nothing is known yet", ""},
		{"accept bob", 2, "known is peer bob  accepted  " + one, ""},
		{"forget bob", 0, "forgotten", ""},
		{"forget b/b", 2, "neither a name nor HOST:PORT", ""},
		{"trust bob", 2, "not \"trust\"", ""},
		{"forget", 2, "needs NAME, or HOST:PORT", ""},
		{"accept bob 1 2", 2, "needs NAME IDENTITY", ""},
	} {
		said, next, err := changeTrust(func() (*state.State, error) { return st, nil }, strings.Fields(c.line))
		if said += "; " + next; err != nil {
			said = fail.AsError(err).Message + "; " + fail.AsError(err).Advice()
		}
		said = strings.ReplaceAll(said, fail.Mark, "")
		if fail.ExitStatus(err) != c.status || !strings.Contains(said, c.says) {
			t.Errorf("trust %s: exit status %d, %q; want %d, %q", c.line, fail.ExitStatus(err), said, c.status, c.says)
		}
		sys, stdout, _ := fakeSystem("")
		a := &app{System: sys, out: newDisplay(sys, options{})}
		showTrust(a.out, st)
		a.out.flush()
		if !strings.Contains(stdout.String(), c.lists) {
			t.Errorf("after trust %s the list is %q, without %q", c.line, stdout, c.lists)
		}
	}
}
