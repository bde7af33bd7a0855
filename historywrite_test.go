package chatsecure

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	cs "chatsecure/crypto"
	"chatsecure/proto"
	"chatsecure/testdata/spoil"
)

// fullDisk passes writes on until so many bytes have been written, through
// all files together; then a part of a write fits and the rest does not.
type fullDisk struct {
	mu     sync.Mutex
	room   int
	broken bool // nothing can be taken back either
}

func (d *fullDisk) through(f *os.File) historyStore { return &fullFile{f, d} }

func (d *fullDisk) set(room int, broken bool) {
	d.mu.Lock()
	d.room, d.broken = room, broken
	d.mu.Unlock()
}

type fullFile struct {
	*os.File
	disk *fullDisk
}

func (f *fullFile) WriteAt(b []byte, at int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	n := min(len(b), f.disk.room)
	f.disk.room -= n
	n, err := f.File.WriteAt(b[:n], at)
	if err == nil && n < len(b) {
		// What a head overwrites takes no room, as in a file system.
		if strings.HasSuffix(f.Name(), historyHeadExt) && !f.disk.broken {
			return f.File.WriteAt(b, at)
		}
		err = &fs.PathError{Op: "write", Path: f.Name(), Err: syscall.ENOSPC}
	}
	return n, err
}

func (f *fullFile) Truncate(size int64) error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.broken {
		return syscall.EIO
	}
	return f.File.Truncate(size)
}

// open opens u's history on a disk with so much room.
func (d *fullDisk) open(p *historyPair, u *historyUser) {
	p.t.Helper()
	h, notices, err := openHistory(u.dir, true, time.Time{}, p.clock.Now, d.through)
	p.must(err)
	if len(notices) > 0 {
		p.t.Fatalf("notices: %q", notices)
	}
	u.h = h
}

// Row 25: a full disk in the middle of a write, at every place.
func TestRow25FullDisk(t *testing.T) {
	p := newHistoryPair(t)
	p.close(p.b)
	disk := &fullDisk{room: 1 << 30}
	disk.open(p, p.b)
	p.must(p.b.h.Begin(p.cb, p.b.local.Bundle))
	record := cs.NewRecord(p.a.local.Identity, p.to(p.b), "text", p.clock.Now())
	s, _, err := p.ca.SealRecords([]*cs.Record{record}, p.clock.Now())
	p.must(err)
	o, err := p.cb.Open(s.Body, p.clock.Now())
	p.must(err)

	path := filepath.Join(p.b.dir, "0.jsonl")
	before, err := os.ReadFile(path)
	p.must(err)
	failures, stride := 0, 41
	if spoil.Whole() {
		stride = 1
	}
	for room := 0; ; room += stride {
		disk.set(room, false)
		err := p.b.h.Received(p.cb, o)
		if err == nil {
			break
		}
		failures++
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Code != proto.History || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(e.Hint, "make room") {
			t.Fatalf("with room for %d bytes: %#v", room, err)
		}
		if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
			t.Fatalf("with room for %d bytes: the file changed, or %v", room, err)
		}
		if p.b.h.Known(record.ID) != KnownNot {
			t.Fatalf("with room for %d bytes: what was not stored is known", room)
		}
	}
	if failures < 10 {
		t.Errorf("only %d writes failed", failures)
	}
	if p.b.h.Known(record.ID) != KnownStored {
		t.Error("what was stored in the end is not known")
	}
	p.close(p.b)
	p.open(p.b)
	if r := verified(t, p.b.dir, p.verifier); r.Messages != 1 || len(r.Findings) != 1 {
		// The conversation was written twice, by this test.
		t.Errorf("the report is %+v", r)
	}
}

// What can neither be written nor taken back ends the history's use.
func TestHistoryBrokenDisk(t *testing.T) {
	p := newHistoryPair(t)
	p.close(p.b)
	disk := &fullDisk{room: 1 << 30}
	disk.open(p, p.b)
	disk.set(10, true)
	if err := p.b.h.Shown(p.cb.T3, 1); err == nil {
		t.Fatal("a short write is no error")
	}
	disk.set(1<<30, false)
	if err := p.b.h.Shown(p.cb.T3, 1); err == nil {
		t.Error("it takes more after a line that could not be taken back")
	}
	p.must(p.b.h.Close())
	// The next client finds a torn line, cuts it off, and says so.
	h, notices, err := OpenHistory(p.b.dir, true, p.clock.Now)
	p.must(err)
	p.b.h = h
	if len(notices) != 1 || !strings.Contains(notices[0], "cut off") {
		t.Errorf("notices are %q", notices)
	}
	if r := verified(t, p.b.dir, p.verifier); !r.OK() {
		t.Errorf("after the repair: %v", r.Findings)
	}
}

// The real thing: a device that is always full.
func TestHistoryDevFull(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		fmt.Fprintf(os.Stderr, "*** %s is SKIPPED: %v; full disks are tested with stand-ins only ***\n", t.Name(), err)
		t.Skip("no /dev/full")
	}
	defer full.Close()
	_, _, err = openHistory(t.TempDir(), true, time.Time{}, time.Now, func(f *os.File) historyStore {
		if strings.HasSuffix(f.Name(), historyHeadExt) {
			return f
		}
		f.Close()
		return full
	})
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("opening on a full device: %v", err)
	}
}

// A client that is killed leaves a torn line, or a head that lags.
func TestHistoryRepairs(t *testing.T) {
	p := newHistoryPair(t)
	ids := told(p)
	good := historyFiles(t, p.b.dir)
	lines := historyLines(good["0.jsonl"])
	head := func(n int) []byte {
		files := make(map[string][]byte)
		rechain(files, "0", lines[:n])
		return files["0.head"]
	}
	for name, test := range map[string]struct {
		edit   func(files map[string][]byte)
		notice string
	}{
		"torn":            {func(f map[string][]byte) { f["0.jsonl"] = append(f["0.jsonl"], `{"v":1`...) }, "(6 bytes), as a killed client leaves it; that has been cut off"},
		"torn by one":     {func(f map[string][]byte) { f["0.jsonl"] = append(f["0.jsonl"], '{') }, "(1 bytes)"},
		"torn with zeros": {func(f map[string][]byte) { f["0.jsonl"] = append(f["0.jsonl"], make([]byte, 70000)...) }, "70000 bytes"},
		"head lags":       {func(f map[string][]byte) { f["0.head"] = head(len(lines) - 1) }, "behind by 1"},
		"head at nothing": {func(f map[string][]byte) { f["0.head"] = head(0) }, "behind by "},
		"both": {func(f map[string][]byte) {
			f["0.head"] = head(len(lines) - 2)
			f["0.jsonl"] = append(f["0.jsonl"], `{"v"`...)
		}, "cut off"},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string][]byte{"0.jsonl": bytes.Clone(good["0.jsonl"]), "0.head": good["0.head"], "lock": {}}
			test.edit(files)
			dir := historyPut(t, files)
			h, notices, err := OpenHistory(dir, true, p.clock.Now)
			p.must(err)
			if !strings.Contains(strings.Join(notices, "\n"), test.notice) {
				t.Errorf("notices are %q, want %q", notices, test.notice)
			}
			if h.Slot() != "0" || h.Known(ids[0]) != KnownShown {
				t.Errorf("slot %s, first record known as %d", h.Slot(), h.Known(ids[0]))
			}
			p.must(h.Gap(p.cb.T3, "written after the repair"))
			p.must(h.Close())
			if r := verified(t, dir, p.verifier); !r.OK() || strings.Contains(strings.Join(r.Notes, "\n"), "behind") {
				t.Errorf("after the repair: %v, %q", r.Findings, r.Notes)
			}
			h, notices, err = OpenHistory(dir, true, p.clock.Now)
			p.must(err)
			if len(notices) > 0 {
				t.Errorf("opened again: %q", notices)
			}
			p.must(h.Close())
		})
	}
}

// A one-shot sender reads only the end, repairs as others do, and writes each
// bundle once.
func TestHistoryOneShot(t *testing.T) {
	p := newHistoryPair(t)
	p.close(p.a)
	var dir = t.TempDir()
	for i := range 4 {
		h, notices, err := OpenHistory(dir, false, p.clock.Now)
		p.must(err)
		if h.Slot() != "s0" || h.Known(strings.Repeat("0", 32)) != KnownNot || len(h.Unshown()) != 0 {
			t.Errorf("slot %s", h.Slot())
		}
		if torn := i == 2; torn != (len(notices) > 0) {
			t.Errorf("run %d: notices are %q", i, notices)
		}
		ca, _ := p.shake(p.a, p.b)
		p.must(h.Begin(ca, p.a.local.Bundle))
		s, exact, err := ca.SealRecords([]*cs.Record{cs.NewRecord(p.a.local.Identity, p.to(p.b), "text", p.clock.Now())}, p.clock.Now())
		p.must(err)
		p.must(h.Sent(ca, s, exact))
		p.must(h.Close())
		if i == 1 {
			f, err := os.OpenFile(filepath.Join(dir, "s0.jsonl"), os.O_WRONLY|os.O_APPEND, 0)
			p.must(err)
			_, err = f.WriteString(`{"v":1,"prev`)
			p.must(errors.Join(err, f.Close()))
		}
	}
	r := verified(t, dir, p.verifier)
	if !r.OK() || r.Messages != 4 || r.Bundles != 2 {
		t.Errorf("the report is %+v", r)
	}
}

// A one-shot sender's file that is damaged within its reach is left as it is,
// and another is written; verification finds the rest.
func TestHistoryOneShotDamaged(t *testing.T) {
	gap := func(h *History, reason string) error { return h.Gap([32]byte{1}, reason) }
	long := strings.Repeat("long ", 100_000)
	for name, test := range map[string]struct {
		spoil func(lines []string) []string
		slot  string // that is written then
		says  string // of verification
	}{
		"as it was":               {func(lines []string) []string { return lines }, "s0", ""},
		"a line edited":           {func(lines []string) []string { lines[8] = strings.Replace(lines[8], "long", "Long", 1); return lines }, "s1", "does not follow"},
		"a line gone":             {func(lines []string) []string { return slices.Delete(lines, 8, 9) }, "s1", "does not follow"},
		"two lines swapped":       {func(lines []string) []string { lines[7], lines[8] = lines[8], lines[7]; return lines }, "s1", "does not follow"},
		"another file's first":    {func(lines []string) []string { lines[0] = strings.Replace(lines[0], "s0.", "s1.", 1); return lines }, "s1", "this is the file"},
		"edited far from the end": {func(lines []string) []string { lines[2] = strings.Replace(lines[2], "long", "Long", 1); return lines }, "s0", "does not follow"},
		"the end is cut off":      {func(lines []string) []string { return lines[:8] }, "s1", "cut off"},
	} {
		dir := t.TempDir()
		open := func() (*History, []string) {
			t.Helper()
			h, said, err := OpenHistory(dir, false, time.Now)
			if err != nil {
				t.Fatal(err)
			}
			return h, said
		}
		h, _ := open()
		for range 9 {
			if err := gap(h, long); err != nil {
				t.Fatal(err)
			}
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "s0.jsonl")
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		spoiled := []byte(strings.Join(test.spoil(strings.SplitAfter(string(data), "\n")), ""))
		if err := os.WriteFile(path, spoiled, 0o600); err != nil {
			t.Fatal(err)
		}
		h, said := open()
		if h.Slot() != test.slot || (len(said) > 0) != (test.slot == "s1") {
			t.Errorf("%s: the file %s is written; notices are %q", name, h.Slot(), said)
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		if after, err := os.ReadFile(path); err != nil || test.slot == "s1" && !bytes.Equal(after, spoiled) {
			t.Errorf("%s: the damaged file has been changed: %v", name, err)
		}
		// Whatever else it finds: that the gaps are of no conversation.
		report := verified(t, dir, cs.NewVerifier(cs.VerifierConfig{})).String()
		if found := test.says != "" && strings.Contains(report, test.says); found == (name == "as it was") {
			t.Errorf("%s: verification says %s", name, report)
		}
	}
}

func TestHistorySlots(t *testing.T) {
	dir := t.TempDir()
	take := func(receiving bool, want string) *History {
		t.Helper()
		h, notices, err := OpenHistory(dir, receiving, time.Now)
		if err != nil || len(notices) > 0 {
			t.Fatal(err, notices)
		}
		if h.Slot() != want {
			t.Errorf("slot %s, want %s", h.Slot(), want)
		}
		return h
	}
	h0, h1, h2, s0 := take(true, "0"), take(true, "1"), take(true, "2"), take(false, "s0")
	if err := h1.Close(); err != nil {
		t.Fatal(err)
	}
	h1 = take(true, "1")
	s1 := take(false, "s1")
	for _, h := range []*History{h0, h1, h2, s0, s1} {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"0.jsonl", "0.head", "s1.jsonl", "lock"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

// A directory or file that somebody else could have put there is refused, and
// a hint says what to do.
func TestHistoryRefusesOthers(t *testing.T) {
	fresh := func(t *testing.T) string {
		dir := filepath.Join(t.TempDir(), "history")
		h, _, err := OpenHistory(dir, true, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("the new directory is %v, %v", info.Mode(), err)
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	link := func(t *testing.T, path string) {
		if err := errors.Join(os.Rename(path, path+".real"), os.Symlink(path+".real", path)); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		edit func(t *testing.T, dir string)
		want string
	}{
		"directory a link":     {func(t *testing.T, dir string) { link(t, dir) }, "symbolic link"},
		"file a link":          {func(t *testing.T, dir string) { link(t, filepath.Join(dir, "0.jsonl")) }, "symbolic link"},
		"head a link":          {func(t *testing.T, dir string) { link(t, filepath.Join(dir, "0.head")) }, "symbolic link"},
		"gate a link":          {func(t *testing.T, dir string) { link(t, filepath.Join(dir, "lock")) }, "symbolic link"},
		"directory for others": {func(t *testing.T, dir string) { os.Chmod(dir, 0o770) }, "written by others"},
		"file for others":      {func(t *testing.T, dir string) { os.Chmod(filepath.Join(dir, "0.jsonl"), 0o606) }, "written by others"},
		"file a directory": {func(t *testing.T, dir string) {
			path := filepath.Join(dir, "0.jsonl")
			if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
				t.Fatal(err)
			}
		}, "directory"},
		"file a pipe": {func(t *testing.T, dir string) {
			path := filepath.Join(dir, "0.jsonl")
			if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)); err != nil {
				t.Fatal(err)
			}
		}, "not a file"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := fresh(t)
			test.edit(t, dir)
			_, _, err := OpenHistory(dir, true, time.Now)
			e, ok := errors.AsType[*Error](err)
			if !ok || !strings.Contains(e.Message, test.want) || e.Hint == "" {
				t.Errorf("opening: %#v, want %q and a hint", err, test.want)
			}
			if name == "gate a link" {
				return // a reader does without
			}
			if _, err := VerifyHistory(dir, cs.NewVerifier(cs.VerifierConfig{})); err == nil {
				t.Error("it is verified all the same")
			}
		})
	}
	if _, _, err := OpenHistory("/proc/nobody/history", true, time.Now); err == nil || AsError(err).Hint == "" {
		t.Errorf("where nothing can be made: %v", err)
	}
	if os.Geteuid() != 0 {
		dir := fresh(t)
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
		if _, _, err := OpenHistory(filepath.Join(dir, "sub"), true, time.Now); err == nil {
			t.Error("a read-only directory is no error")
		}
	}
	// Somebody else's, as far as this user can make that up.
	info, err := os.Stat(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	sys := *info.Sys().(*syscall.Stat_t)
	sys.Uid++
	if err := historyOwned("dir", foreignInfo{info, &sys}, true); err == nil || !strings.Contains(err.Error(), "another user") {
		t.Errorf("a directory of another user: %v", err)
	}
}

type foreignInfo struct {
	fs.FileInfo
	sys *syscall.Stat_t
}

func (f foreignInfo) Sys() any { return f.sys }

// The child of a test is this test binary again, with this set to a directory.
const historyChild = "CHATSECURE_TEST_HISTORY_CHILD"

// Two processes never have one slot, also when both begin at once; a killed
// one leaves its slot.
func TestRow29HistorySlots(t *testing.T) {
	if dir := os.Getenv(historyChild); dir != "" {
		h, _, err := OpenHistory(dir, true, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("slot %s\n", h.Slot())
		bufio.NewReader(os.Stdin).ReadString('\n') // until the parent has seen enough
		return
	}
	dir := t.TempDir()
	const n = 6
	seen := make(map[string]bool)
	var children []*exec.Cmd
	var outs []*bufio.Reader
	for range n {
		cmd := exec.Command(os.Args[0], "-test.run=^TestRow29HistorySlots$")
		cmd.Env = append(os.Environ(), historyChild+"="+dir, "TMPDIR="+t.TempDir()) // what it makes there stays
		cmd.Stderr = os.Stderr
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		children, outs = append(children, cmd), append(outs, bufio.NewReader(out))
	}
	for i := range children {
		line, err := outs[i].ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "slot ") {
			t.Fatalf("child %d: %q, %v", i, line, err)
		}
		if seen[line] {
			t.Errorf("two processes have %s", line)
		}
		seen[line] = true
	}
	slots, err := historySlots(dir)
	if err != nil || len(slots) != n {
		t.Errorf("slots are %v, %v", slots, err)
	}
	held, err := heldSlots(dir, slots)
	for _, slot := range slots {
		if err != nil || !held[slot] {
			t.Errorf("slot %s is not held, %v", slot, err)
		}
	}
	for _, cmd := range children {
		cmd.Process.Kill()
		cmd.Wait()
	}
	h, _, err := OpenHistory(dir, true, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if h.Slot() != "0" {
		t.Errorf("after all were killed, the slot is %s", h.Slot())
	}
}

// Row 28: a client killed at any moment has in its history all
// that it acknowledged, and nothing half.
func TestAttack28HistoryKilled(t *testing.T) {
	if dir := os.Getenv(historyChild); dir != "" {
		historyKilledChild(t, dir)
		return
	}
	for round, after := range []int{1, 2, 50, 333} {
		dir := t.TempDir()
		cmd := exec.Command(os.Args[0], "-test.run=^TestAttack28HistoryKilled$")
		cmd.Env = append(os.Environ(), historyChild+"="+dir, "TMPDIR="+t.TempDir()) // what it makes there stays
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var ids []string
		for in := bufio.NewScanner(out); in.Scan(); {
			if ids = append(ids, in.Text()); len(ids) == after {
				cmd.Process.Kill()
			}
		}
		cmd.Wait()
		if len(ids) < after {
			t.Fatalf("round %d: the child ended after %d records", round, len(ids))
		}
		if last := ids[len(ids)-1]; len(last) != 32 {
			ids = ids[:len(ids)-1] // its line of output was cut, which says nothing
		}
		root, err := os.ReadFile(filepath.Join(dir, "root.pem"))
		if err != nil {
			t.Fatal(err)
		}
		trust, err := cs.NewTrust(nil, root)
		if err != nil {
			t.Fatal(err)
		}
		h, _, err := OpenHistory(filepath.Join(dir, "history"), true, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		if h.Slot() != "0" {
			t.Errorf("round %d: slot %s", round, h.Slot())
		}
		for i, id := range ids {
			if h.Known(id) != KnownStored {
				t.Errorf("round %d: acknowledged record %d of %d is not in the history", round, i, len(ids))
			}
		}
		if unshown := h.Unshown(); len(unshown) < len(ids) {
			t.Errorf("round %d: %d records are there to be shown, of %d", round, len(unshown), len(ids))
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		clock := newHistoryClock()
		r := verified(t, filepath.Join(dir, "history"), cs.NewVerifier(cs.VerifierConfig{Trust: trust, Now: clock.Now}))
		if !r.OK() {
			t.Errorf("round %d: %v", round, r.Findings)
		}
	}
}

// historyKilledChild receives records until it is killed, and prints the id of
// each once it is stored.
func historyKilledChild(t *testing.T, dir string) {
	p := newHistoryPair(t)
	p.must(os.WriteFile(filepath.Join(dir, "root.pem"), rootPEM(p.pki), 0o600))
	h, _, err := OpenHistory(filepath.Join(dir, "history"), true, p.clock.Now)
	p.must(err)
	p.must(h.Begin(p.cb, p.b.local.Bundle))
	for range 100_000 {
		var records []*cs.Record
		for range 7 {
			records = append(records, cs.NewRecord(p.a.local.Identity, p.to(p.b), strings.Repeat("text ", 20), p.clock.Now()))
		}
		s, _, err := p.ca.SealRecords(records, p.clock.Now())
		p.must(err)
		o, err := p.cb.Open(s.Body, p.clock.Now())
		p.must(err)
		p.must(h.Received(p.cb, o))
		p.cb.Commit(o)
		for _, r := range records {
			fmt.Println(r.ID)
		}
	}
	t.Fatal("nobody killed this process")
}

// A sync that fails in the background ends the writing: what comes after it
// could not be relied on.
func TestHistorySyncFails(t *testing.T) {
	synced := make(chan struct{})
	h, _, err := openHistory(t.TempDir(), true, time.Time{}, time.Now, func(f *os.File) historyStore { return &unsyncable{File: f, synced: synced} })
	if err != nil {
		t.Fatal(err)
	}
	<-synced // the line that opening wrote
	<-h.writer.done
	if err := h.Gap([32]byte{1}, "reason"); !errors.Is(err, syscall.EIO) {
		t.Errorf("after a failed sync: %v", err)
	}
	if err := h.Close(); !errors.Is(err, syscall.EIO) {
		t.Errorf("closing: %v", err)
	}
}

type unsyncable struct {
	*os.File
	synced chan struct{}
	once   sync.Once
}

func (u *unsyncable) Sync() error {
	if strings.HasSuffix(u.Name(), historyExt) {
		u.once.Do(func() { close(u.synced) })
	}
	return syscall.EIO
}

// A one-shot sender's file that is longer than its end, and one whose head
// lags.
func TestHistoryOneShotLong(t *testing.T) {
	dir := t.TempDir()
	open := func(notices int) *History {
		t.Helper()
		h, said, err := OpenHistory(dir, false, time.Now)
		if err != nil || len(said) != notices || h.Slot() != "s0" {
			t.Fatalf("%v, notices %q", err, said)
		}
		return h
	}
	h := open(0)
	long := strings.Repeat("long ", 100_000)
	for range 8 {
		if err := h.Gap([32]byte{1}, long); err != nil {
			t.Fatal(err)
		}
	}
	lagging, err := os.ReadFile(filepath.Join(dir, "s0.head"))
	if err != nil {
		t.Fatal(err)
	}
	count := h.writer.tail.count
	if err := errors.Join(h.Gap([32]byte{1}, "last"), h.Close()); err != nil {
		t.Fatal(err)
	}
	if h = open(0); h.writer.tail.count != count+1 {
		t.Errorf("it counts %d lines, want %d", h.writer.tail.count, count+1)
	}
	if err := h.Gap([32]byte{1}, strings.Repeat("x", maxHistoryLine)); err == nil {
		t.Error("a line longer than any can be is written")
	}
	if err := errors.Join(h.Close(), os.WriteFile(filepath.Join(dir, "s0.head"), lagging, 0o600)); err != nil {
		t.Fatal(err)
	}
	h = open(1)
	if err := errors.Join(h.Gap([32]byte{1}, "after the repair"), h.Close()); err != nil {
		t.Fatal(err)
	}
	// Its conversation is in no history, which is what these lines lack; they
	// do chain.
	r := verified(t, dir, cs.NewVerifier(cs.VerifierConfig{}))
	if r.Lines != 11 || len(r.Findings) != 10 || strings.Contains(r.String(), "follow") {
		t.Errorf("%+v", r)
	}
}
