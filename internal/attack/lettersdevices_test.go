package attack

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"chatsecure/testdata/lab/town"
)

// comeBy has people be there for a moment, so that the relay knows their mailboxes.
func comeBy(w *town.Town, names ...string) {
	w.T.Helper()
	for _, name := range names {
		w.Must("", name, "recv", "-for", "1ms")
	}
}

// keptAt checks that a message is KEPT for bob, and returns its id.
func keptAt(w *town.Town, name, text string, args ...string) (id string) {
	w.T.Helper()
	r := w.Run("", name, append(args, "send", "bob", text)...)
	if r.Status != 9 || !strings.Contains(r.Stderr, "bob is not here; the relay keeps ") {
		w.T.Fatalf("%q: %+v", text, r)
	}
	return strings.TrimSpace(r.Stdout)
}

// TestLettersTwoDevices: Bob is away with both of his devices. Each shows the message when it comes,
// READ comes once, and a proof of the letter with its receipt holds on another machine.
func TestLettersTwoDevices(t *testing.T) {
	w := town.New(t, town.People("alice", "bob", "carol"))
	second := []string{"-state", w.Path("state-bob-2")}
	comeBy(w, "alice", "bob")
	w.Must("", "bob", append(second, "recv", "-for", "1ms")...)
	id := keptAt(w, "alice", "to both")
	for _, device := range [][]string{nil, second} {
		if got := w.Must("", "bob", append(device, "recv", "-n", "1")...); got != "alice: to both\n" {
			t.Errorf("device %q shows %q", device, got)
		}
		if got := w.Must("", "bob", append(device, "recv", "-for", "300ms")...); got != "" {
			t.Errorf("device %q shows again %q", device, got)
		}
	}
	reads := 0
	for range 20 {
		for line := range strings.Lines(w.Must("", "alice", "-json", "recv", "-for", "300ms")) {
			var o struct{ Type, ID, Status string }
			if err := json.Unmarshal([]byte(line), &o); err != nil {
				t.Fatal(err)
			}
			if o.Type == "receipt" && o.ID == id && o.Status == "READ" {
				reads++
			}
		}
		if reads > 0 {
			break
		}
	}
	if reads != 1 {
		t.Errorf("READ comes %d times", reads)
	}
	for _, at := range [][]string{{"alice"}, {"bob"}, append([]string{"bob"}, second...)} {
		args := at[1:]
		verified(t, w.Run("", at[0], append(args, "history", "-verify")...))
		proof := w.Path("proof.json")
		if err := os.WriteFile(proof, []byte(w.Must("", at[0], append(args, "history", "-export", id)...)), 0o600); err != nil {
			t.Fatal(err)
		}
		r := w.Run("", "carol", "verify", proof)
		if r.Status != 0 || !strings.Contains(r.Stdout, "\nText     : to both\n") || at[0] == "alice" && !strings.Contains(r.Stdout, "\nReceipt  : READ: bob signed on ") {
			t.Errorf("the proof of %q: %+v", at, r)
		}
	}
}
