package attack

import (
	"fmt"
	"strings"
	"testing"

	"chatsecure/testdata/lab/disk"
	"chatsecure/testdata/lab/town"
)

// TestAttack25LettersFullDisk fills the disks of the relay, of the receiver and of the sender. Nothing is
// KEPT that is not stored, conversations go on, and what waits comes once there is room.
func TestAttack25LettersFullDisk(t *testing.T) {
	w := town.New(t, town.People("alice", "bob", "carol"))
	w.Stop()
	w.Addr = "127.0.0.1:0" // nobody knows the old one
	relay := disk.Mount(t, w.Path("full-relay"), 1024)
	if relay == nil {
		t.Skip("no small file system") // and Mount has said so loudly
	}
	t.Cleanup(func() { w.Stop() }) // before its disk goes
	his, hers := disk.Mount(t, w.Path("full-bob"), 4096), disk.Mount(t, w.Path("full-alice"), 4096)
	w.StartRelay("full-relay")
	bob := func(args ...string) []string { return append([]string{"-state", w.Path("full-bob", "state")}, args...) }
	alice := []string{"-state", w.Path("full-alice", "state"), "-timeout", "5s"}
	w.Must("", "bob", bob("recv", "-for", "1ms")...)
	w.Must("", "alice", append(alice, "recv", "-for", "1ms")...)
	comeBy(w, "carol")

	relay.Fill(0)
	carol := w.Receive("carol", "-n", "1")
	r := w.Run("", "alice", append(alice, "send", "bob", "no room there")...)
	if r.Status != 6 || !strings.Contains(r.Stderr, "cannot store letters just now") {
		t.Errorf("the relay's disk is full: %+v", r)
	}
	w.Must("", "alice", append(alice, "send", "-wait", "read", "carol", "a conversation")...)
	if r := carol.End(); r.Status != 0 || !strings.Contains(r.Stdout, "a conversation") {
		t.Errorf("carol: %+v", r)
	}
	relay.Clear()
	// What was to be left is not lost: the next client leaves it, unless it was called FAILED.
	waits := !strings.Contains(w.Must("", "alice", append(alice, "history")...), "FAILED")
	keptAt(w, "alice", "room there", alice...)

	his.Fill(0)
	r = w.Run("", "bob", bob("-timeout", "3s", "recv", "-for", "2s")...)
	if strings.Contains(r.Stdout, "room there") || !strings.Contains(r.Stderr, "no space left") {
		t.Errorf("the receiver's disk is full: %+v", r)
	}
	his.Clear()
	want := "alice: room there\n"
	if waits {
		want = "alice: no room there\n" + want
	}
	if got := w.Must("", "bob", bob("recv", "-n", fmt.Sprint(strings.Count(want, "\n")))...); got != want {
		t.Errorf("with room again bob shows %q, want %q", got, want)
	}

	hers.Fill(0)
	r = w.Run("", "alice", append(alice, "send", "bob", "no room here")...)
	if r.Status == 0 || r.Status == 9 || !strings.Contains(r.Stderr, "no space left") {
		t.Errorf("the sender's disk is full: %+v", r)
	}
	hers.Clear()
	keptAt(w, "alice", "room here", alice...)
	if got := w.Must("", "bob", bob("recv", "-n", "1")...); got != "alice: room here\n" {
		t.Errorf("bob shows %q", got)
	}
	for _, c := range [][]string{append([]string{"bob"}, bob()...), append([]string{"alice"}, alice...)} {
		verified(t, w.Run("", c[0], append(c[1:], "history", "-verify")...))
	}
}
