package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// Rows 24, 25, 28 and 29 with the programs as they are shipped: names, state
// directories, clients that are killed, and two of them on one directory.

// TestAttack24Names: what is no name is refused wherever one is given, and
// makes no file.
func TestAttack24Names(t *testing.T) {
	w := newTown(t, people("alice", "mallory"))
	w.must("", "alice", "list")
	before := listing(t, w.dir)
	for _, name := range []string{
		"", " ", "a b", "a:b", "a/b", "/etc", "..", ".", "../state-alice", "a\nb", "a\x1b[2Jb", "a\u202eb", "a\u200bb", "e\u0301", "\xff", "a\\b",
		"all", "ALL", "list", "whois", "history", "-a", "a.", strings.Repeat("a", 33), strings.Repeat("a", 10_000), "a,", ",a", ",",
	} {
		state := []string{"-state", w.path("state-none")}
		for _, args := range [][]string{
			{"-name", name, "list"},
			{"whois", "--", name},
			{"send", "--", name, "hello"},
			{"pipe", "--", name},
		} {
			if name == "" && args[0] == "-name" {
				continue // as good as none: TestEveryExitStatus
			}
			r := w.run("", "mallory", append(state, args...)...)
			checkFails(t, r, 2)
			if strings.ContainsAny(strings.ReplaceAll(r.stderr, "\n", ""), "\x1b\u202e\u200b") {
				t.Errorf("%.40q reaches the terminal: %q", name, r.stderr)
			}
		}
		if name != "" && !strings.Contains(name, ",") && !strings.HasPrefix(name, "-") {
			checkFails(t, w.run("", "", append(state, "-card", w.path("lab", "mallory"), "-name", "a,"+name, "list")...), 2)
		}
	}
	if after := listing(t, w.dir); after != before {
		t.Errorf("there were %s, now there are %s", before, after)
	}
	// Those that look like Alice's are refused by the relay.
	for _, name := range []string{"ALICE", "Alice", "аlice", "ａｌｉｃｅ", "al1ce", "alіce"} {
		r := w.run("", "mallory", "-name", name, "-state", w.path("state-like"), "list")
		if r.status != 4 && r.status != 2 || r.stdout != "" {
			t.Errorf("%s: %+v", name, r)
		}
		os.RemoveAll(w.path("state-like"))
	}
	w.must("", "mallory", "-name", "malice", "list") // like enough for people who read badly only
}

func listing(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// mountSmall mounts a file system with so many KiB of room. Only root may;
// others are told loudly what was not tested.
func mountSmall(t *testing.T, dir string, kib int) bool {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := mountTmpfs(dir, kib); err != nil {
		fmt.Fprintf(os.Stderr, "*** %s: NOT TESTED on a disk that is full or read-only, since none can be mounted here: %v ***\n", t.Name(), err)
		return false
	}
	t.Cleanup(func() {
		if err := unmount(dir); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return true
}

// TestAttack25StateDirectory: one that somebody else could change, or that
// cannot be written, is refused before the card signs or the relay hears of it.
func TestAttack25StateDirectory(t *testing.T) {
	w := newTown(t, people("alice", "bob"))
	w.must("", "alice", "list")
	mkdir := func(name string, mode os.FileMode) string {
		dir := w.path(name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	link := w.path("link")
	if err := os.Symlink(w.path("state-alice"), link); err != nil {
		t.Fatal(err)
	}
	w.fails(1, "alice", []string{"-state", link, "list"}, "symbolic link")
	w.fails(1, "alice", []string{"-state", link + "/", "list"}, "symbolic link")
	w.fails(1, "alice", []string{"-state", link, "history"}, "symbolic link")
	w.fails(1, "alice", []string{"-state", link, "history", "-verify"}, "symbolic link")
	w.fails(1, "alice", []string{"-state", mkdir("open", 0o777), "list"}, "written by others")
	w.fails(1, "alice", []string{"-state", mkdir("group", 0o770), "list"}, "written by others")
	w.fails(1, "alice", []string{"-state", filepath.Join("/dev/null", "state"), "list"}, "/dev/null")
	inside := mkdir("inside", 0o700)
	if err := os.Symlink(w.path("state-alice", "history"), filepath.Join(inside, "history")); err != nil {
		t.Fatal(err)
	}
	r := w.run("", "alice", "-state", inside, "send", "bob", "hello")
	if r.status != 1 || !strings.Contains(r.stderr, "client: hint: ") {
		t.Errorf("a history that is a link: %+v", r)
	}
	if os.Geteuid() == 0 {
		theirs := mkdir("theirs", 0o700)
		if err := os.Chown(theirs, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		w.fails(1, "alice", []string{"-state", theirs, "list"}, "belongs to another user")
	} else {
		fmt.Fprintf(os.Stderr, "*** %s: NOT TESTED with a directory of another user's, since only root can make one ***\n", t.Name())
		w.fails(1, "alice", []string{"-state", mkdir("closed", 0o500), "list"}, "permission denied")
	}
	readOnly := w.path("read-only")
	if mountSmall(t, readOnly, 256) {
		if err := remountReadOnly(readOnly); err != nil {
			t.Fatal(err)
		}
		w.fails(1, "alice", []string{"-state", readOnly, "list"}, "read-only")
	}
	w.must("", "alice", "list")
}

// fill leaves so many bytes free in a file system, and returns what makes
// room again.
func fill(t *testing.T, dir string, free int) (clear func()) {
	t.Helper()
	path := filepath.Join(dir, "filler")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size := int64(0)
	for block := make([]byte, 4096); ; {
		n, err := f.Write(block)
		size += int64(n)
		if err != nil {
			break
		}
	}
	if err := f.Truncate(size - int64(free)); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAttack25FullDisk fills the disk in the middle of writing, at the
// receiver's and at the sender's: nothing is called DELIVERED that is not in
// the receiver's history, nothing is written out that is not in it, and with
// room again all goes on.
func TestAttack25FullDisk(t *testing.T) {
	w := newTown(t, people("alice", "bob"))
	if !mountSmall(t, w.path("disk-bob"), 512) || !mountSmall(t, w.path("disk-alice"), 4096) {
		t.Skip("no small file system") // and mountSmall has said so loudly
	}
	onDisk := func(name string) []string { return []string{"-state", w.path("disk-"+name, "state"), "-timeout", "5s"} }
	holds := func(name string) (text string) {
		w.run("", name, append(onDisk(name), "history", "-verify")...).verified(t)
		return w.must("", name, append(onDisk(name), "history")...)
	}

	// The receiver's.
	bob := w.start("bob", append(onDisk("bob"), "-json", "recv")...)
	bob.object("connected")
	rest := bob.drain()
	w.must("first\n", "alice", append(onDisk("alice"), "send", "-wait", "read", "bob")...)
	// There is room for a message and its conversation, and for another
	// conversation.
	room := fill(t, w.path("disk-bob"), 80<<10)
	var delivered []string
	for {
		r := w.run("", "alice", append(onDisk("alice"), "send", "-wait", "delivered", "bob", strings.Repeat("x", 40<<10))...)
		if r.status != 0 {
			break
		}
		if delivered = append(delivered, strings.TrimSpace(r.stdout)); len(delivered) > 100 {
			t.Fatal("the disk is not full")
		}
	}
	if len(delivered) == 0 {
		t.Error("nothing was delivered while there was room")
	}
	bob.cmd.Process.Signal(syscall.SIGTERM)
	written := rest()
	if stderr := bob.stderr.String(); !strings.Contains(stderr, "no space left") || !strings.Contains(stderr, "make room") {
		t.Errorf("bob ended with %v and said %q", bob.cmd.ProcessState, stderr)
	}
	his := holds("bob")
	for line := range strings.Lines(written) {
		var o struct{ Type, ID string }
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatal(err)
		}
		if o.Type == "message" && !strings.Contains(his, o.ID) {
			t.Errorf("%s was written out, and is not in the history", o.ID)
		}
	}
	for _, id := range delivered {
		if !strings.Contains(his, id) {
			t.Errorf("%s was delivered, and is not in bob's history", id)
		}
	}
	holds("alice")
	room()
	bob = w.start("bob", append(onDisk("bob"), "-json", "recv")...)
	bob.object("connected")
	w.must("", "alice", append(onDisk("alice"), "send", "-wait", "read", "bob", "with room again")...)
	for bob.object("message")["text"] != "with room again" { // first what was stored and not written out
	}
	bob.cmd.Process.Signal(syscall.SIGTERM)
	bob.end()
	holds("bob")

	// The sender's.
	bob = w.receive("bob")
	room = fill(t, w.path("disk-alice"), 40<<10)
	r := w.run(strings.Repeat(strings.Repeat("x", 500)+"\n", 300), "alice", append(onDisk("alice"), "send", "-wait", "read", "bob")...)
	if r.status == 0 || !strings.Contains(r.stderr, "no space left") || !strings.Contains(r.stderr, "make room") {
		t.Errorf("alice ended with %d and said %q", r.status, r.stderr)
	}
	room()
	hers := holds("alice")
	w.must("", "alice", append(onDisk("alice"), "send", "-wait", "read", "bob", "the last")...)
	for {
		o := bob.object("message")
		if o["text"] == "the last" {
			break
		}
		if !strings.Contains(hers, o["id"].(string)) {
			t.Errorf("bob has %v, and alice's history has not", o["id"])
		}
	}
	bob.cmd.Process.Signal(syscall.SIGTERM)
	bob.end()
}

// TestAttack25History damages a history in each way: history -verify ends
// with 8, and says where.
func TestAttack25History(t *testing.T) {
	w := newTown(t, people("alice", "bob"))
	bob := w.receive("bob")
	w.must("one\ntwo\nthree\n", "alice", "send", "-wait", "read", "bob")
	bob.cmd.Process.Signal(syscall.SIGTERM)
	bob.end()
	file := w.path("state-bob", "history", "0.jsonl")
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := func() [][]byte { return bytes.SplitAfter(bytes.Clone(good), []byte("\n")) }
	n := len(lines()) - 1 // the last is empty
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
		r := w.run("", "bob", "history", "-verify")
		if r.status != 8 || !strings.Contains(r.stdout, "0.jsonl") || !strings.Contains(r.stderr, "does not verify") || strings.Contains(r.stdout, "all of it holds") {
			t.Errorf("%s: %+v", what, r)
		}
		if after, err := os.ReadFile(file); err != nil || !bytes.Equal(after, damaged) {
			t.Errorf("%s: the verification changed it, or %v", what, err)
		}
	}
	if err := os.WriteFile(file, good, 0o600); err != nil {
		t.Fatal(err)
	}
	w.run("", "bob", "history", "-verify").verified(t)
}

// TestAttack28SenderKilled kills a sender again and again: every message that
// has come from it is in its history, whole, and the next one goes on.
func TestAttack28SenderKilled(t *testing.T) {
	w := newTown(t, people("alice", "bob"))
	bob := w.receive("bob").collect()
	n := 0
	for round := range 4 {
		alice := w.start("alice", "send", "-wait", "read", "bob")
		rest := alice.drain()
		for i := range 500 << round {
			if _, err := fmt.Fprintf(alice.stdin, "round %d line %d\n", round, i); err != nil {
				t.Fatal(err)
			}
		}
		n = bob.more(n) // some have come
		alice.cmd.Process.Kill()
		rest() // the next one finds what is torn, and cuts it off
	}
	w.must("", "alice", "send", "-wait", "read", "bob", "the last")
	bob.cmd.Process.Signal(syscall.SIGTERM)
	texts := bob.rest()
	if !slices.Contains(texts, "the last") {
		t.Errorf("the last is not among bob's %d texts", len(texts))
	}
	hers := make(map[string]bool)
	for line := range strings.Lines(w.must("", "alice", "-json", "history")) {
		var o struct{ Text string }
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatal(err)
		}
		hers[o.Text] = true
	}
	seen := make(map[string]bool)
	for _, text := range texts {
		if seen[text] {
			t.Errorf("%q came twice", text)
		}
		seen[text] = true
		if !hers[text] {
			t.Errorf("bob has %q, and alice's history has not", text)
		}
	}
	for _, name := range []string{"alice", "bob"} {
		w.run("", name, "history", "-verify").verified(t)
	}
}

// TestAttack29TwoClients has four clients of Alice's on one state directory
// send and receive at once: no message is lost, doubled or torn, and no
// conversation, number, random or id is there twice.
func TestAttack29TwoClients(t *testing.T) {
	w := newTown(t, people("alice", "bob"))
	w.must("", "alice", "list")
	bob := w.receive("bob").collect()
	receivers := []*collector{w.receive("alice").collect(), w.receive("alice").collect()}
	const lines = 500
	send := func(name, to, what string, args ...string) *running {
		p := w.start(name, append(args, "send", "-wait", "read", to)...)
		fmt.Fprintf(p.stdin, "%s 0\n", what)
		return p
	}
	senders := []*running{
		send("alice", "bob", "one", "-keep", "1h"), send("alice", "bob", "two", "-keep", "1h"),
		send("bob", "alice", "back", "-state", w.path("state-bob-2")),
	}
	what := []string{"one", "two", "back"}
	var ids []string
	for _, p := range senders {
		ids = append(ids, strings.TrimSpace(p.line())) // all are there now, at once
	}
	var rests []func() string
	var fed sync.WaitGroup
	for i, p := range senders {
		rests = append(rests, p.drain())
		fed.Go(func() {
			for line := range lines - 1 {
				fmt.Fprintf(p.stdin, "%s %d\n", what[i], line+1)
			}
		})
	}
	fed.Wait()
	for i, p := range senders {
		ids = append(ids, strings.Fields(rests[i]())...)
		if p.cmd.ProcessState.ExitCode() != 0 || p.stderr.Len() != 0 {
			t.Errorf("send %s ended with %v: %s", what[i], p.cmd.ProcessState, p.stderr.String())
		}
	}
	want := len(ids)
	if slices.Sort(ids); want != 3*lines || len(slices.Compact(ids)) != want {
		t.Errorf("%d ids, %d of them different", want, len(slices.Compact(ids)))
	}
	// A send ends when one receiver has read and the other has been sent it.
	for _, c := range receivers {
		c.await(fmt.Sprint("back ", lines-1))
	}
	for _, c := range append(receivers, bob) {
		c.cmd.Process.Signal(syscall.SIGTERM)
	}
	texts := bob.rest()
	next := map[string]int{}
	for _, text := range texts {
		from, number, _ := strings.Cut(text, " ")
		if number != fmt.Sprint(next[from]) {
			t.Fatalf("%q came, when %d was next of %q", text, next[from], from)
		}
		next[from]++
	}
	if len(texts) != 2*lines {
		t.Errorf("bob saw %d lines", len(texts))
	}
	for i, c := range receivers {
		got := c.rest()
		if len(got) != lines {
			t.Errorf("receiver %d of alice's saw %d lines of %d", i, len(got), lines)
		}
		for n, text := range got {
			if text != fmt.Sprintf("back %d", n) {
				t.Fatalf("receiver %d saw %q as line %d", i, text, n)
			}
		}
	}
	for _, name := range []string{"alice", "bob"} {
		w.run("", name, "history", "-verify").verified(t)
	}
	usedOnce(t, w.path("state-alice", "history"))
}

// usedOnce checks that in all files of a history no conversation, and no number
// or random of a message that was sent, stands twice.
func usedOnce(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil || len(files) < 4 {
		t.Fatalf("the slots are %v, %v", files, err)
	}
	used, kinds := map[string]string{}, map[string]int{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(data) {
			var o struct {
				Type, Conversation string
				Header             struct {
					Conversation, Direction, Random string
					N                               uint64
				}
			}
			if err := json.Unmarshal(line, &o); err != nil {
				t.Fatalf("%s: %v in %s", file, err, line)
			}
			h := o.Header
			var keys []string
			switch o.Type {
			case "conversation":
				keys = []string{"conversation " + o.Conversation}
			case "sent":
				keys = []string{fmt.Sprint("number ", h.Conversation, h.Direction, h.N), "random " + h.Random}
			}
			for _, key := range keys {
				kinds[o.Type]++
				if before, twice := used[key]; twice {
					t.Errorf("%s stands in %s and in %s", key, before, file)
				}
				used[key] = file
			}
		}
	}
	if kinds["conversation"] < 4 || kinds["sent"] < 4 {
		t.Errorf("of %v only", kinds)
	}
}
