package command

import (
	"strings"
	"testing"

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
	if err := st.OfferPeer("bob", state.OfferedPeer{Identity: [32]byte{2}, CommonName: `EVE" now, identity 00`}); err != nil {
		t.Fatal(err)
	}
	sys, stdout, stderr := fakeSystem("")
	a := &app{System: sys, out: newDisplay(sys, options{})}
	showTrust(a.out, st)
	if err := a.acceptPeer(st, "bob"); err != nil {
		t.Fatal(err)
	}
	a.out.flush()
	for _, want := range []string{`"BOB\"  since 2001-01-01  \""  since `, `"EVE\" now, identity 00"` + "\n"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("the list does not hold %s: %s", want, stdout)
		}
	}
	if want := `bob is "EVE\" now, identity 00" now, identity 02`; !strings.Contains(stderr.String(), want) {
		t.Errorf("accepting does not say %s: %s", want, stderr)
	}
}
