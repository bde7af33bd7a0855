package history

import (
	"bufio"
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/testdata/lab/wire"
)

// TestHistoryRepairs: a killed client leaves a torn line, or a head that lags.
func TestHistoryRepairs(t *testing.T) {
	p := newPair(t)
	ids := told(p)
	good := readFiles(t, p.b.dir)
	lines := lines(good["0.jsonl"])
	head := func(n int) []byte {
		files := make(map[string][]byte)
		rechain(files, "0", lines[:n])
		return files["0.head"]
	}
	tear := func(more string) func(files map[string][]byte) {
		return func(f map[string][]byte) { f["0.jsonl"] = append(f["0.jsonl"], more...) }
	}
	for name, test := range map[string]struct {
		edit   func(files map[string][]byte)
		notice string
	}{
		"torn":            {tear(`{"v":1`), "(6 bytes), as a killed client leaves it; that has been cut off"},
		"torn by one":     {tear("{"), "(1 bytes)"},
		"torn with zeros": {tear(strings.Repeat("\x00", 70000)), "70000 bytes"},
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
			dir := writeFiles(t, files)
			h, notices, err := Open(Config{Dir: dir, Receiving: true, Now: p.Clock.Now})
			p.Must(err)
			if !strings.Contains(strings.Join(notices, "\n"), test.notice) {
				t.Errorf("notices are %q, want %q", notices, test.notice)
			}
			if h.Slot() != "0" || h.Known(ids[0]) != KnownShown {
				t.Errorf("slot %s, first record known as %d", h.Slot(), h.Known(ids[0]))
			}
			p.Must(h.Gap(p.Cb.T3, "written after the repair"))
			p.Must(h.Close())
			if r := verified(t, dir, p.Verifier); !r.OK() || strings.Contains(strings.Join(r.Notes, "\n"), "behind") {
				t.Errorf("after the repair: %v, %q", r.Findings, r.Notes)
			}
			h, notices, err = Open(Config{Dir: dir, Receiving: true, Now: p.Clock.Now})
			p.Must(err)
			if len(notices) > 0 {
				t.Errorf("opened again: %q", notices)
			}
			p.Must(h.Close())
		})
	}
}

// TestHistoryOneShot: a one-shot sender reads only the end, repairs it, and writes each
// bundle once.
func TestHistoryOneShot(t *testing.T) {
	p := newPair(t)
	p.close(p.a)
	var dir = t.TempDir()
	for i := range 4 {
		h, notices, err := Open(Config{Dir: dir, Now: p.Clock.Now})
		p.Must(err)
		if h.Slot() != "s0" || h.Known(strings.Repeat("0", 32)) != KnownNot || len(h.Unshown()) != 0 {
			t.Errorf("slot %s", h.Slot())
		}
		if torn := i == 2; torn != (len(notices) > 0) {
			t.Errorf("run %d: notices are %q", i, notices)
		}
		ca, _ := p.Shake(p.A, p.B)
		p.Must(h.Begin(ca, p.a.Local.Bundle))
		s, exact, err := ca.SealRecords([]*crypto.Record{p.record("text", to(p.b))}, p.Clock.Now())
		p.Must(err)
		p.Must(h.Sent(ca, s, exact))
		p.Must(h.Close())
		if i == 1 {
			f, err := os.OpenFile(filepath.Join(dir, "s0.jsonl"), os.O_WRONLY|os.O_APPEND, 0)
			p.Must(err)
			_, err = f.WriteString(`{"v":1,"prev`)
			p.Must(errors.Join(err, f.Close()))
		}
	}
	r := verified(t, dir, p.Verifier)
	if !r.OK() || r.Messages != 4 || r.Bundles != 2 {
		t.Errorf("the report is %+v", r)
	}
}

// TestHistoryOneShotDamaged: a one-shot sender leaves a file as it is that is damaged
// near its end, and writes another. Verification finds damage further up.
func TestHistoryOneShotDamaged(t *testing.T) {
	gap := func(h *History, reason string) error { return h.Gap([32]byte{1}, reason) }
	long := strings.Repeat("long ", 100_000)
	edited := func(n int, old, new string) func(lines []string) []string {
		return func(lines []string) []string { lines[n] = strings.Replace(lines[n], old, new, 1); return lines }
	}
	for name, test := range map[string]struct {
		spoil func(lines []string) []string
		slot  string // that is written then
		says  string // of verification
	}{
		"as it was":               {func(lines []string) []string { return lines }, "s0", ""},
		"a line edited":           {edited(8, "long", "Long"), "s1", "does not follow"},
		"a line gone":             {func(lines []string) []string { return slices.Delete(lines, 8, 9) }, "s1", "does not follow"},
		"two lines swapped":       {func(lines []string) []string { lines[7], lines[8] = lines[8], lines[7]; return lines }, "s1", "does not follow"},
		"another file's first":    {edited(0, "s0.", "s1."), "s1", "this is the file"},
		"edited far from the end": {edited(2, "long", "Long"), "s0", "does not follow"},
		"the end is cut off":      {func(lines []string) []string { return lines[:8] }, "s1", "cut off"},
	} {
		dir := t.TempDir()
		open := func() (*History, []string) {
			t.Helper()
			h, said, err := Open(Config{Dir: dir})
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
		// It also finds that the gaps are of no conversation.
		report := fmt.Sprint(verified(t, dir, trust.NewVerifier(trust.VerifierConfig{})).Findings)
		if found := test.says != "" && strings.Contains(report, test.says); found == (name == "as it was") {
			t.Errorf("%s: verification says %s", name, report)
		}
	}
}

// TestHistoryOneShotLong: a one-shot sender's file that is longer than its end, and one
// whose head lags.
func TestHistoryOneShotLong(t *testing.T) {
	dir := t.TempDir()
	open := func(notices int) *History {
		t.Helper()
		h, said, err := Open(Config{Dir: dir})
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
	count := h.writer.end.count
	if err := errors.Join(h.Gap([32]byte{1}, "last"), h.Close()); err != nil {
		t.Fatal(err)
	}
	if h = open(0); h.writer.end.count != count+2 {
		t.Errorf("it counts %d lines, want %d", h.writer.end.count, count+2)
	}
	if err := h.Gap([32]byte{1}, strings.Repeat("x", MaxLine)); err == nil {
		t.Error("a line longer than any can be is written")
	}
	if err := errors.Join(h.Close(), os.WriteFile(filepath.Join(dir, "s0.head"), lagging, 0o600)); err != nil {
		t.Fatal(err)
	}
	h = open(1)
	if err := errors.Join(h.Gap([32]byte{1}, "after the repair"), h.Close()); err != nil {
		t.Fatal(err)
	}
	// The lines chain. Only their conversation is missing.
	r := verified(t, dir, trust.NewVerifier(trust.VerifierConfig{}))
	if r.Lines != 13 || len(r.Findings) != 10 || strings.Contains(fmt.Sprint(r.Findings), "follow") {
		t.Errorf("%+v", r)
	}
}

func TestHistorySlots(t *testing.T) {
	dir := t.TempDir()
	take := func(receiving bool, want string) *History {
		t.Helper()
		h, notices, err := Open(Config{Dir: dir, Receiving: receiving})
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

// TestHistoryRefusesOthers: a directory or file that somebody else could have put there
// is refused, with a hint.
func TestHistoryRefusesOthers(t *testing.T) {
	fresh := func(t *testing.T) string {
		dir := filepath.Join(t.TempDir(), "history")
		h, _, err := Open(Config{Dir: dir, Receiving: true})
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
			_, _, err := Open(Config{Dir: dir, Receiving: true})
			e, ok := errors.AsType[*fail.Error](err)
			if !ok || !strings.Contains(e.Message, test.want) || e.Hint == "" {
				t.Errorf("opening: %#v, want %q and a hint", err, test.want)
			}
			if name == "gate a link" {
				return // a reader does not need it
			}
			if _, err := Verify(dir, trust.NewVerifier(trust.VerifierConfig{})); err == nil {
				t.Error("it is verified all the same")
			}
		})
	}
	if _, _, err := Open(Config{Dir: "/proc/nobody/history", Receiving: true}); err == nil || fail.AsError(err).Hint == "" {
		t.Errorf("where nothing can be made: %v", err)
	}
	if os.Geteuid() != 0 {
		dir := fresh(t)
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Open(Config{Dir: filepath.Join(dir, "sub"), Receiving: true}); err == nil {
			t.Error("a read-only directory is no error")
		}
	}
	// Another user's, as far as this user can feign one.
	info, err := os.Stat(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	sys := *info.Sys().(*syscall.Stat_t)
	sys.Uid++
	if err := checkOwned("dir", foreignInfo{info, &sys}, true); err == nil || !strings.Contains(err.Error(), "another user") {
		t.Errorf("a directory of another user: %v", err)
	}
}

type foreignInfo struct {
	fs.FileInfo
	sys *syscall.Stat_t
}

func (f foreignInfo) Sys() any { return f.sys }

// child is the variable that makes this test binary the child of a test, with the
// directory as its value.
const child = "CHATSECURE_TEST_HISTORY_CHILD"

// TestRow29HistorySlots: two processes never have one slot, even if both begin at once,
// and a killed one releases its slot.
func TestRow29HistorySlots(t *testing.T) {
	if dir := os.Getenv(child); dir != "" {
		h, _, err := Open(Config{Dir: dir, Receiving: true})
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
		cmd.Env = append(os.Environ(), child+"="+dir, "TMPDIR="+t.TempDir()) // a killed child leaves its files there
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
	slots, err := listSlots(dir)
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
	h, _, err := Open(Config{Dir: dir, Receiving: true})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if h.Slot() != "0" {
		t.Errorf("after all were killed, the slot is %s", h.Slot())
	}
}

// TestAttack28HistoryKilled: row 28. A client that is killed at any moment has every
// acknowledged message in its history, and nothing half-written.
func TestAttack28HistoryKilled(t *testing.T) {
	if dir := os.Getenv(child); dir != "" {
		killedChild(t, dir)
		return
	}
	for round, after := range []int{1, 2, 50, 333} {
		dir := t.TempDir()
		cmd := exec.Command(os.Args[0], "-test.run=^TestAttack28HistoryKilled$")
		cmd.Env = append(os.Environ(), child+"="+dir, "TMPDIR="+t.TempDir()) // a killed child leaves its files there
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
			ids = ids[:len(ids)-1] // the end of the output was cut off
		}
		root, err := os.ReadFile(filepath.Join(dir, "root.pem"))
		if err != nil {
			t.Fatal(err)
		}
		store, err := trust.NewStore(nil, root)
		if err != nil {
			t.Fatal(err)
		}
		h, _, err := Open(Config{Dir: filepath.Join(dir, "history"), Receiving: true})
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
		clock := wire.NewClock()
		r := verified(t, filepath.Join(dir, "history"), trust.NewVerifier(trust.VerifierConfig{Trust: store, Now: clock.Now}))
		if !r.OK() {
			t.Errorf("round %d: %v", round, r.Findings)
		}
	}
}

// killedChild receives records until it is killed, and prints the id of each stored one.
func killedChild(t *testing.T, dir string) {
	p := newPair(t)
	p.Must(os.WriteFile(filepath.Join(dir, "root.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.PKI.Root.Cert.Raw}), 0o600))
	h, _, err := Open(Config{Dir: filepath.Join(dir, "history"), Receiving: true, Now: p.Clock.Now})
	p.Must(err)
	p.Must(h.Begin(p.Cb, p.b.Local.Bundle))
	for range 100_000 {
		var records []*crypto.Record
		for range 7 {
			records = append(records, p.record(strings.Repeat("text ", 20), to(p.b)))
		}
		s, _, err := p.Ca.SealRecords(records, p.Clock.Now())
		p.Must(err)
		o, err := p.Cb.Open(s.Body, p.Clock.Now())
		p.Must(err)
		p.Must(h.Received(p.Cb, o))
		p.Cb.Commit(o)
		for _, r := range records {
			fmt.Println(r.ID)
		}
	}
	t.Fatal("nobody killed this process")
}
