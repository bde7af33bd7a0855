package client

import (
	"context"
	"testing"

	"chatsecure/crypto/trust"
	"chatsecure/internal/state"
)

// yesAsker says yes to everything.
type yesAsker struct{ asked int }

func (a *yesAsker) ConfirmRelay(context.Context, string, string) (bool, error) { return true, nil }
func (a *yesAsker) ConfirmPeer(context.Context, string, *trust.Person) (bool, error) {
	return true, nil
}
func (a *yesAsker) ConfirmMet(context.Context, *state.KnownPeer) (bool, error) {
	a.asked++
	return true, nil
}

// TestAcceptOfEarlierRuns: about the sender of a message that an earlier run has stored there is a question, but not about
// another person under a known name, and none without a person to ask.
func TestAcceptOfEarlierRuns(t *testing.T) {
	for _, c := range []struct {
		name     string
		known    byte // identity under the name
		asker    bool
		asked    int
		accepted bool
	}{
		{"met", 1, true, 1, true},
		{"not met", 0, true, 1, true},
		{"another person", 2, true, 0, false},
		{"nobody to ask", 1, false, 0, false},
	} {
		st, err := state.Open(t.TempDir(), "ana")
		if err != nil {
			t.Fatal(err)
		}
		if c.known != 0 {
			if err := st.SetKnownPeer(state.KnownPeer{Name: "bob", Identity: [32]byte{c.known}}); err != nil {
				t.Fatal(err)
			}
		}
		asker := new(yesAsker)
		cfg := Config{State: st}
		if c.asker {
			cfg.Asker = asker
		}
		m := &Message{From: "bob", Identity: [32]byte{1}}
		err = (&Client{cfg: cfg}).Accept(t.Context(), m)
		if (err == nil) != c.accepted || cfg.knows("bob", m.Identity) != c.accepted || asker.asked != c.asked {
			t.Errorf("%s: %v, asked %d times", c.name, err, asker.asked)
		}
	}
}
