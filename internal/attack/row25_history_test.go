package attack

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"chatsecure/testdata/lab/town"
)

// TestAttack25History damages a history in every way: history -verify ends with 8 and says where,
// or says how far a head covers it.
func TestAttack25History(t *testing.T) {
	w := town.New(t, town.People("alice", "bob"))
	bob := w.Receive("bob")
	w.Must("one\ntwo\nthree\n", "alice", "send", "-wait", "read", "bob")
	bob.Cmd.Process.Signal(syscall.SIGTERM)
	bob.End()
	file := w.Path("state-bob", "history", "lines.jsonl")
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := func() [][]byte { return bytes.SplitAfter(bytes.Clone(good), []byte("\n")) }
	n := len(lines()) - 1 // the last is empty
	// Of what follows the last head that is left nothing says that it was there, but for the report.
	unseen := map[string]string{
		"cut after a line": "1 line follows; more may have followed and be gone",
		"emptied":          "history: 0 lines",
	}
	for what, damaged := range map[string][]byte{
		"edited":           bytes.Replace(good, []byte(`"two"`), []byte(`"2wo"`), 1),
		"truncated":        good[:len(good)-20],
		"cut after a line": bytes.Join(lines()[:n-1], nil),
		"emptied":          {},
		"a row removed":    bytes.Join(slices.Delete(lines(), n-3, n-2), nil),
		"rows swapped": func() []byte {
			l := lines()
			l[n-3], l[n-2] = l[n-2], l[n-3]
			return bytes.Join(l, nil)
		}(),
		"a row twice": bytes.Join(slices.Insert(lines(), n-2, lines()[n-2]), nil),
		"a NUL":       bytes.Replace(good, []byte(`"two"`), []byte("\"t\x00o\""), 1),
	} {
		if bytes.Equal(damaged, good) {
			t.Fatalf("%s: nothing was changed", what)
		}
		if err := os.WriteFile(file, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		r := w.Run("", "bob", "history", "-verify")
		if left, unseen := unseen[what]; unseen {
			if r.Status != 0 || !strings.Contains(r.Stdout, left) {
				t.Errorf("%s: %+v", what, r)
			}
		} else if r.Status != 8 || !strings.Contains(r.Stderr, "does not verify") || strings.Contains(r.Stdout, "all of it holds") ||
			!strings.Contains(r.Stdout, "It is whole up to the head that bob signed") {
			t.Errorf("%s: %+v", what, r)
		}
		if after, err := os.ReadFile(file); err != nil || !bytes.Equal(after, damaged) {
			t.Errorf("%s: the verification changed it, or %v", what, err)
		}
	}
	if err := os.WriteFile(file, good, 0o600); err != nil {
		t.Fatal(err)
	}
	verified(t, w.Run("", "bob", "history", "-verify"))
}
