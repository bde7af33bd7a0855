package attack

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/internal/relay"
	"chatsecure/internal/state"
	"chatsecure/proto"
	"chatsecure/testdata/lab/disk"
	"chatsecure/testdata/lab/town"
)

// Row 25: the disk is full under a file of the relay's or the client's. An error says so, earlier
// content remains, nothing counts that is not stored, and with room again all goes on.

// TestDiskFullAtTheStart begins with no room for anything.
func TestDiskFullAtTheStart(t *testing.T) {
	full := disk.Need(t, filepath.Join(t.TempDir(), "disk"))
	st, r := filepath.Join(full.Dir, "state"), filepath.Join(full.Dir, "relay")
	start := func() error {
		s, err := state.Open(st, "alice")
		if err == nil {
			err = s.Claim("alice")
		}
		_, relayErr := relay.Fingerprint(r)
		h, _, historyErr := history.Open(history.Config{
			Dir: filepath.Join(full.Dir, "history"), Receiving: true, Owner: history.Owner{Name: "alice"},
		})
		if historyErr == nil {
			historyErr = h.Close()
		} else if fail.AsError(historyErr).Code != proto.History || fail.ExitStatus(historyErr) != 1 {
			t.Errorf("the history: %v", historyErr)
		}
		for _, err := range []error{err, relayErr, historyErr} {
			if err != nil && !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("on a full disk: %v", err)
			}
		}
		if (err == nil) != (relayErr == nil) || (err == nil) != (historyErr == nil) {
			t.Errorf("only some can begin: %v, %v, %v", err, relayErr, historyErr)
		}
		return err
	}
	full.Fill(0)
	if start() == nil {
		t.Error("it begins on a full disk")
	}
	disk.NoStrays(t, st)
	disk.NoStrays(t, r)
	full.Clear()
	if err := start(); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

// onceFull is a disk that refuses one write to a file of lines, once it is armed.
type onceFull struct{ armed, happened atomic.Bool }

func (d *onceFull) through(f *os.File) history.Store { return &onceFullFile{f, d} }

type onceFullFile struct {
	*os.File
	disk *onceFull
}

func (f *onceFullFile) WriteAt(b []byte, at int64) (int, error) {
	if strings.HasSuffix(f.Name(), "lines.jsonl") && f.disk.armed.CompareAndSwap(true, false) {
		f.disk.happened.Store(true)
		n, err := f.File.WriteAt(b[:len(b)/2], at)
		return n, errors.Join(err, syscall.ENOSPC)
	}
	return f.File.WriteAt(b, at)
}

// onDisk puts a client's history on a disk of the test's.
func onDisk(through func(*os.File) history.Store) clientOption {
	return func(cfg *client.Config) { cfg.Through = through }
}

func onFull(d *disk.Full) clientOption {
	return onDisk(func(f *os.File) history.Store { return d.Through(f) })
}

func isHistoryError(ev client.Event) bool {
	return ev.Type == client.EventError && ev.Err.Code == proto.History
}

// TestReceiverDiskFullOnce: one message finds no room. It is not acknowledged, an error says so,
// and it comes again by itself.
func TestReceiverDiskFullOnce(t *testing.T) {
	town := newTown(t, "alice", "bob")
	disk := new(onceFull)
	alice, bob := town.client("alice"), town.client("bob", onDisk(disk.through))
	alice.mustSend("before", "bob")
	alice.mustSettle(history.StatusRead)
	disk.armed.Store(true)
	id := alice.mustSend("on the full disk", "bob")
	bob.await("that the history cannot be written", isHistoryError)
	sees(t, alice, bob, "before", "on the full disk")
	told := false // of the end of the conversation
	for _, ev := range alice.seen() {
		told = told || ev.Gap != nil
		if r := ev.Receipt; !told && r != nil && r.ID == id && r.Status.AtLeast(history.StatusDelivered) {
			t.Errorf("it was called %s, and had not found room", r.Status)
		}
	}
	alice.leave()
	bob.leave()
	town.historiesHold("alice", "bob")
}

// TestHistoryHeld: another client, stopped while it writes, holds the history of a receiver. The
// receiver leaves the relay and says so, calls nothing DELIVERED, and goes on when it is free.
func TestHistoryHeld(t *testing.T) {
	town := newTown(t, "alice", "bob")
	soonAgain := func(cfg *client.Config) { cfg.Again = 10 * time.Millisecond }
	short := func(cfg *client.Config) { cfg.Timeout = 500 * time.Millisecond }
	alice := town.client("alice", func(cfg *client.Config) { cfg.WaitPeer = time.Hour })
	bob := town.client("bob", soonAgain, short)
	alice.mustSend("before", "bob")
	alice.mustSettle(history.StatusRead)
	holder, err := os.Open(filepath.Join(town.dir, "state-bob", "history", "lines.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	if err := state.Flock(holder, syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	id := alice.mustSend("while it is held", "bob")
	bob.await("that the history is held", func(ev client.Event) bool {
		return isHistoryError(ev) && strings.Contains(ev.Err.Message, "has been locked for more than")
	})
	bob.await("that he has left", func(ev client.Event) bool { return ev.Type == client.EventLost })
	for range 3 {
		bob.Inside().Tick(time.Now().Add(time.Minute)) // it tries again, beyond its patience with a relay
	}
	alice.undelivered("while it is held", id)
	if err := state.Flock(holder, syscall.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	sees(t, alice, bob, "before", "while it is held")
	alice.leave()
	bob.leave()
	town.historiesHold("alice", "bob")
}

// TestReceiverDiskFull: the receiver has no room, so its client ends and says why. Only stored
// messages were DELIVERED; the others come at the next start, with room.
func TestReceiverDiskFull(t *testing.T) {
	town := newTown(t, "alice", "bob")
	full := disk.NewFull(1 << 30)
	alice, bob := town.client("alice"), town.client("bob", onFull(full))
	alice.mustSend("before", "bob")
	alice.mustSettle(history.StatusRead)
	full.Set(100, false)
	id, conn := alice.mustSend("on the full disk", "bob"), bob.Conn()
	if err := bob.awaitEnd(); err.Code != proto.History || fail.ExitStatus(err) != 1 {
		t.Errorf("bob's client ended with %v", err)
	}
	if slices.ContainsFunc(bob.texts(), func(s string) bool { return s != "before" }) {
		t.Errorf("bob saw %q", bob.texts())
	}
	// Nothing of Bob's comes after this.
	alice.await("that bob is gone", func(ev client.Event) bool {
		return ev.Peer != nil && ev.Peer.Conn == conn && ev.Peer.What == proto.Left
	})
	alice.undelivered("on the full disk", id)
	bob.leave()
	again := town.client("bob")
	sees(t, alice, again, "on the full disk")
	alice.leave()
	again.leave()
	town.historiesHold("alice", "bob")
}

// TestSenderDiskFull: the sender has no room, and sends nothing that it cannot write down.
func TestSenderDiskFull(t *testing.T) {
	town := newTown(t, "alice", "bob")
	full := disk.NewFull(1 << 30)
	alice, bob := town.client("alice", onFull(full)), town.client("bob")
	alice.mustSend("before", "bob")
	alice.mustSettle(history.StatusRead)
	full.Set(100, false)
	id := alice.mustSend("on the full disk", "bob")
	if err := alice.awaitEnd(); err.Code != proto.History || fail.ExitStatus(err) != 1 {
		t.Errorf("alice's client ended with %v", err)
	}
	out := alice.settle(history.StatusRead)
	if !slices.ContainsFunc(out.Failed, func(e *fail.Error) bool { return e.Code == proto.History }) || out.ExitStatus() == 0 {
		t.Errorf("the wait ended with %v, exit status %d", out, out.ExitStatus())
	}
	for _, ev := range alice.seen() {
		if ev.Receipt != nil && ev.Receipt.ID == id && ev.Receipt.Status.AtLeast(history.StatusSent) {
			t.Errorf("it was called %s", ev.Receipt.Status)
		}
	}
	alice.leave()
	again := town.client("alice")
	again.mustSend("with room", "bob")
	sees(t, again, bob, "before", "with room")
	again.leave()
	bob.leave()
	town.historiesHold("alice", "bob")
}

// TestPromptDiskFull: a prompt without room, as the sender and as the receiver, says so once and
// leaves the relay. With room again it goes on: what waited goes, and comes once. A disk that is broken
// ends it.
func TestPromptDiskFull(t *testing.T) {
	town := newTown(t, "alice", "bob")
	full := disk.NewFull(1 << 30)
	soonAgain := func(cfg *client.Config) { cfg.Persistent, cfg.Again = true, 10*time.Millisecond }
	alice, bob := town.client("alice", soonAgain, onFull(full)), town.client("bob", soonAgain)
	alice.mustSend("before", "bob")
	alice.mustSettle(history.StatusRead)
	count := func(typ client.EventType) (n int) {
		for _, ev := range alice.events {
			if ev.Type == typ {
				n++
			}
		}
		return n
	}
	want := []string{"before"}
	for n, from := range []*testClient{alice, bob} {
		to := []*testClient{bob, alice}[n]
		full.Set(0, false)
		id := from.mustSend("without room", to.Name())
		alice.await("that she has left", func(client.Event) bool { return count(client.EventLost) == n+1 })
		for range 3 {
			alice.Inside().Tick(time.Now().Add(time.Minute)) // it tries again
		}
		alice.seen()
		alice.mu.Lock()
		if said := count(client.EventError); said != n+1 {
			t.Errorf("it is said %d times, want %d: %s", said, n+1, describe(alice.events))
		}
		alice.mu.Unlock()
		from.undelivered("without room", id)
		full.Set(1<<30, false)
		alice.await("that she is back", func(client.Event) bool { return count(client.EventBack) == n+1 })
		from.awaitStatus(id, to.Name(), history.StatusRead)
		from.never(history.StatusFailed)
		if from == alice {
			want = append(want, "without room")
		}
	}
	if got := bob.texts(); !slices.Equal(got, want) {
		t.Errorf("bob saw %q", got)
	}
	if got := alice.texts(); !slices.Equal(got, []string{"without room"}) {
		t.Errorf("alice saw %q", got)
	}
	full.Set(0, true)
	alice.mustSend("into nothing", "bob")
	if err := alice.awaitEnd(); err.Code != proto.History {
		t.Errorf("on a broken disk it ended with %v", err)
	}
}

// TestAttack25FullDisk fills the disk during a write, at the receiver and at the sender. All that
// is DELIVERED or written out is in the receiver's history, and with room again all goes on.
func TestAttack25FullDisk(t *testing.T) {
	w := town.New(t, town.People("alice", "bob"))
	his, hers := disk.Mount(t, w.Path("disk-bob"), 512), disk.Mount(t, w.Path("disk-alice"), 4096)
	if his == nil || hers == nil {
		t.Skip("no small file system") // and Mount has said so loudly
	}
	onDisk := func(name string) []string { return []string{"-state", w.Path("disk-"+name, "state"), "-timeout", "5s"} }
	holds := func(name string) (text string) {
		verified(t, w.Run("", name, append(onDisk(name), "history", "-verify")...))
		return w.Must("", name, append(onDisk(name), "-json", "history", "-n", "0")...)
	}

	// The receiver's disk.
	bob := w.Start("bob", append(onDisk("bob"), "-json", "recv")...)
	bob.Object("connected")
	rest := drain(bob)
	w.Must("first\n", "alice", append(onDisk("alice"), "send", "-wait", "read", "bob")...)
	// There is room for a message and its conversation, and for one more conversation.
	his.Fill(80 << 10)
	var delivered []string
	for {
		r := w.Run("", "alice", append(onDisk("alice"), "send", "-wait", "delivered", "bob", strings.Repeat("x", 40<<10))...)
		if r.Status != 0 {
			break
		}
		if delivered = append(delivered, strings.TrimSpace(r.Stdout)); len(delivered) > 100 {
			t.Fatal("the disk is not full")
		}
	}
	if len(delivered) == 0 {
		t.Error("nothing was delivered while there was room")
	}
	bob.Cmd.Process.Signal(syscall.SIGTERM)
	written := rest()
	if stderr := bob.Stderr.String(); !strings.Contains(stderr, "no space left") || !strings.Contains(stderr, "make room") {
		t.Errorf("bob ended with %v and said %q", bob.Cmd.ProcessState, stderr)
	}
	stored := holds("bob")
	for line := range strings.Lines(written) {
		var o struct{ Type, ID string }
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatal(err)
		}
		if o.Type == "message" && !strings.Contains(stored, o.ID) {
			t.Errorf("%s was written out, and is not in the history", o.ID)
		}
	}
	for _, id := range delivered {
		if !strings.Contains(stored, id) {
			t.Errorf("%s was delivered, and is not in bob's history", id)
		}
	}
	holds("alice")
	his.Clear()
	bob = w.Start("bob", append(onDisk("bob"), "-json", "recv")...)
	bob.Object("connected")
	w.Must("", "alice", append(onDisk("alice"), "send", "-wait", "read", "bob", "with room again")...)
	for bob.Object("message")["text"] != "with room again" { // earlier ones were stored and not written out
	}
	bob.Cmd.Process.Signal(syscall.SIGTERM)
	bob.End()
	holds("bob")

	// The sender's disk.
	bob = w.Receive("bob")
	hers.Fill(40 << 10)
	r := w.Run(strings.Repeat(strings.Repeat("x", 500)+"\n", 300), "alice", append(onDisk("alice"), "send", "-wait", "read", "bob")...)
	if r.Status == 0 || !strings.Contains(r.Stderr, "no space left") || !strings.Contains(r.Stderr, "make room") {
		t.Errorf("alice ended with %d and said %q", r.Status, r.Stderr)
	}
	hers.Clear()
	sent := holds("alice")
	w.Must("", "alice", append(onDisk("alice"), "send", "-wait", "read", "bob", "the last")...)
	for {
		o := bob.Object("message")
		if o["text"] == "the last" {
			break
		}
		if !strings.Contains(sent, o["id"].(string)) {
			t.Errorf("bob has %v, and alice's history has not", o["id"])
		}
	}
	bob.Cmd.Process.Signal(syscall.SIGTERM)
	bob.End()
}
