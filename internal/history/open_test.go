package history

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/state"
	"chatsecure/proto"
	"chatsecure/testdata/lab/wire"
)

// chained returns the lines of a history, and holds their form against the writer's rules: an owner
// first and nowhere else, each line on the one before, bundles and conversations once and before what
// names them, and heads by K over all before them. Verify is not asked.
func chained(t testing.TB, dir string) (all []*Line) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, linesName))
	if err != nil {
		t.Fatal(err)
	}
	if len(data) > 0 && data[len(data)-1] != '\n' {
		t.Errorf("it ends in the middle of a line")
	}
	var prev [sha256.Size]byte
	bundles := map[[sha256.Size]byte]*trust.Bundle{}
	convs := map[flow]bool{}
	for i, line := range bytes.Split(bytes.TrimSuffix(data, []byte("\n")), []byte("\n")) {
		l, err := parseLine(line)
		if err != nil {
			t.Fatalf("line %d: %v: %.300q", i+1, err, line)
		}
		wrong := ""
		switch {
		case l.Prev != proto.FormatHash(prev):
			wrong = "it does not follow the line before it"
		case (l.Type == lineOwner) != (i == 0):
			wrong = "an owner is where none must be, or none where one must be"
		case l.Type == lineBundle && bundles[[sha256.Size]byte(l.Hash)] != nil:
			wrong = "the bundle is there twice"
		case l.Type == lineHead:
			b := bundles[[sha256.Size]byte(l.Hash)]
			if b == nil {
				wrong = "its bundle is not there before it"
			} else if key, err := trust.ParsePublicKey(b.PublicKey); err != nil ||
				!key.Verify(headSigns(prev, l.Time, b.Hash()), l.Signature) {
				wrong = "its signature does not hold"
			}
		case l.Type == lineConversation:
			of := flow{[32]byte(l.Conversation), l.Direction}
			if convs[of] || bundles[[sha256.Size]byte(l.Me.Bundle)] == nil || bundles[[sha256.Size]byte(l.Peer.Bundle)] == nil {
				wrong = "it is there twice, or before its bundles"
			}
			convs[of] = true
		case l.Type == lineTaken && !convs[flow{[32]byte(l.Conversation), l.Direction}],
			(l.Type == lineShown || l.Type == lineSeen || l.Type == lineGap) && !convs[flow{[32]byte(l.Conversation), reverse(l.Direction)}]:
			wrong = "its conversation is not there before it"
		}
		if wrong != "" {
			t.Fatalf("line %d: %s: %.300q", i+1, wrong, line)
		}
		if l.Type == lineBundle {
			bundles[l.Bundle.Hash()] = l.Bundle
		}
		prev = sha256.Sum256(line)
		all = append(all, l)
	}
	return all
}

// writeFiles makes a directory with these files.
func writeFiles(t testing.TB, files map[string][]byte) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// ofType returns the lines of a type.
func ofType(all []*Line, typ string) (some []*Line) {
	return slices.DeleteFunc(slices.Clone(all), func(l *Line) bool { return l.Type != typ })
}

// TestHistoryRepairs: a killed client leaves a torn line. The next client cuts it off, at its start
// or before its next line, and says so.
func TestHistoryRepairs(t *testing.T) {
	p := newPair(t)
	ids := told(p)
	good := readFiles(t, p.b.dir)
	for name, test := range map[string]struct{ more, notice string }{
		"torn":            {`{"v":2`, "(6 bytes), as a killed client leaves it; that has been cut off"},
		"torn by one":     {"{", "(1 bytes)"},
		"torn with zeros": {strings.Repeat("\x00", 70000), "70000 bytes"},
		"torn beyond any": {strings.Repeat("x", 3*MaxLine), fmt.Sprint(3*MaxLine, " bytes")},
	} {
		for _, running := range []bool{false, true} {
			t.Run(fmt.Sprint(name, running), func(t *testing.T) {
				u := &user{User: p.B, dir: writeFiles(t, good)}
				tear := func() {
					f, err := os.OpenFile(filepath.Join(u.dir, linesName), os.O_WRONLY|os.O_APPEND, 0)
					p.Must(err)
					_, err = f.WriteString(test.more)
					p.Must(errors.Join(err, f.Close()))
				}
				if !running {
					tear()
				}
				h, notices, err := Open(p.config(u))
				p.Must(err)
				h.Tell = func(notice string) { notices = append(notices, notice) }
				if running {
					tear()
				}
				if h.Known(ids[0]) != KnownShown {
					t.Errorf("first record known as %d", h.Known(ids[0]))
				}
				p.Must(h.Failed(ids[0], "nobody", "written after the repair"))
				if len(notices) != 1 || !strings.Contains(notices[0], test.notice) {
					t.Errorf("notices are %q, want %q", notices, test.notice)
				}
				p.Must(h.Close())
				if r := verified(t, u.dir, p.Verifier); !r.OK() {
					t.Errorf("after the repair: %v", r.Findings)
				}
				p.reopen(u)
				p.close(u)
			})
		}
	}
}

// TestHistoryOneShot: a one-shot sender writes each bundle once, repairs a torn line, and leaves a
// head as the last line.
func TestHistoryOneShot(t *testing.T) {
	p := newPair(t)
	p.close(p.a)
	u := &user{User: p.A, dir: t.TempDir()}
	cfg := p.config(u)
	cfg.Receiving = false
	for i := range 4 {
		h, notices, err := Open(cfg)
		p.Must(err)
		if h.Known(strings.Repeat("0", 32)) != KnownNot || len(h.Unshown()) != 0 {
			t.Error("a one-shot sender knows of records")
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
		if all := chained(t, u.dir); all[len(all)-1].Type != lineHead || all[len(all)-2].Reason != runEnded {
			t.Errorf("run %d ends with a %s line", i, all[len(all)-1].Type)
		}
		if i == 1 {
			f, err := os.OpenFile(filepath.Join(u.dir, linesName), os.O_WRONLY|os.O_APPEND, 0)
			p.Must(err)
			_, err = f.WriteString(`{"v":2,"prev`)
			p.Must(errors.Join(err, f.Close()))
		}
	}
	r := verified(t, u.dir, p.Verifier)
	if all := chained(t, u.dir); !r.OK() || len(ofType(all, lineBundle)) != 2 || len(ofType(all, lineSent)) != 4 {
		t.Errorf("the report is %+v", r)
	}
	// One that writes nothing leaves nothing.
	before := readFiles(t, u.dir)
	h, _, err := Open(cfg)
	p.Must(err)
	p.Must(h.Close())
	if after := readFiles(t, u.dir); !maps.EqualFunc(before, after, bytes.Equal) {
		t.Errorf("it has changed %d files to %d", len(before), len(after))
	}
}

// TestDamageKeepsNobodyFromWriting: the next line follows the bytes of the last one, whatever they
// are. Damage before it stays where it is.
func TestDamageKeepsNobodyFromWriting(t *testing.T) {
	p := newPair(t)
	told(p)
	good := readFiles(t, p.b.dir)
	for name, spoil := range map[string]func(lines [][]byte) [][]byte{
		"a line edited":      func(l [][]byte) [][]byte { l[6] = bytes.ReplaceAll(l[6], []byte("t"), []byte("T")); return l },
		"a line gone":        func(l [][]byte) [][]byte { return slices.Delete(l, 5, 6) },
		"two lines swapped":  func(l [][]byte) [][]byte { l[5], l[6] = l[6], l[5]; return l },
		"the last edited":    func(l [][]byte) [][]byte { l[len(l)-1] = []byte("not a line"); return l },
		"the last is empty":  func(l [][]byte) [][]byte { return append(l, nil) },
		"the last too long":  func(l [][]byte) [][]byte { return append(l, bytes.Repeat([]byte("x"), 2*MaxLine)) },
		"one too long":       func(l [][]byte) [][]byte { return slices.Insert(l, 4, bytes.Repeat([]byte("x"), 2*MaxLine)) },
		"the first line":     func(l [][]byte) [][]byte { l[0] = []byte("no owner"); return l },
		"all but the first":  func(l [][]byte) [][]byte { return l[:1] },
		"garbage everywhere": func(l [][]byte) [][]byte { return [][]byte{{1}, {2}, {0}} },
	} {
		for _, receiving := range []bool{true, false} {
			u := &user{User: p.B, dir: writeFiles(t, good)}
			path := filepath.Join(u.dir, linesName)
			bad := append(bytes.Join(spoil(lines(bytes.Clone(good[linesName]))), []byte("\n")), '\n')
			p.Must(os.WriteFile(path, bad, 0o600))
			cfg := p.config(u)
			cfg.Receiving = receiving
			h, notices, err := Open(cfg)
			if err != nil || len(notices) > 0 {
				t.Errorf("%s: %v, %q", name, err, notices)
				continue
			}
			_, cb := p.Shake(p.A, p.B)
			p.Must(h.Begin(cb, p.b.Local.Bundle))
			p.Must(h.Close())
			after, err := os.ReadFile(path)
			p.Must(err)
			more, ok := bytes.CutPrefix(after, bad)
			last := bad[bytes.LastIndexByte(bad[:len(bad)-1], '\n')+1 : len(bad)-1]
			prev := sha256.Sum256(last)
			if next, _ := peekPrev(more); !ok || next != prev {
				t.Errorf("%s: what was there has changed, or %.100q follows %.100q", name, more, last)
			}
		}
	}
}

// TestHistoryOfSomebodyElse is refused, whether the name or the person is another, and stays as it is.
func TestHistoryOfSomebodyElse(t *testing.T) {
	p := newPair(t)
	p.close(p.a)
	before := readFiles(t, p.a.dir)
	for _, owner := range []Owner{{"Bruno", p.A.Local.Identity}, {"Ana", p.B.Local.Identity}} {
		for _, receiving := range []bool{true, false} {
			cfg := p.config(p.a)
			cfg.Owner, cfg.Receiving = owner, receiving
			_, _, err := Open(cfg)
			if e := fail.AsError(err); err == nil || fail.ExitStatus(err) != 2 ||
				!strings.Contains(e.Message, "is of Ana") || !strings.Contains(e.Hint, "-state") {
				t.Errorf("%+v", err)
			}
		}
	}
	if after := readFiles(t, p.a.dir); !maps.EqualFunc(before, after, bytes.Equal) {
		t.Error("it has changed")
	}
	cfg := p.config(p.a)
	cfg.Owner.Name = "ANA" // one name
	h, _, err := Open(cfg)
	p.Must(err)
	p.Must(h.Close())
}

// TestHistoryTakenAway: a history that is removed, replaced or cut short while a client uses it is
// an error before the next line, and that is not written anywhere.
func TestHistoryTakenAway(t *testing.T) {
	for name, take := range map[string]func(path string) error{
		"removed": os.Remove,
		"moved":   func(path string) error { return os.Rename(path, path+"2") },
		"replaced, and a link to it is left": func(path string) error {
			return errors.Join(os.Link(path, path+"2"), os.WriteFile(path+"3", nil, 0o600), os.Rename(path+"3", path))
		},
		"replaced": func(path string) error {
			return errors.Join(os.WriteFile(path+"2", nil, 0o600), os.Rename(path+"2", path))
		},
		"cut short": func(path string) error { return os.Truncate(path, 100) },
	} {
		p := newPair(t)
		path := filepath.Join(p.b.dir, linesName)
		p.Must(take(path))
		before, _ := os.ReadFile(path)
		err := p.b.h.Shown(p.Cb.T3, p.Cb.SendDirection(), 1)
		if err == nil || fail.AsError(err).Code != proto.History || !strings.Contains(err.Error(), "while this client was using it") || !p.b.h.Broken() {
			t.Errorf("%s: %v", name, err)
		}
		if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
			t.Errorf("%s: something is written all the same", name)
		}
		p.b.h.Close()
		p.b.h = nil
	}
}

// TestHistoryLockHasABound: a client that holds the lock for ever keeps others from writing, and not
// from saying so.
func TestHistoryLockHasABound(t *testing.T) {
	defer func(before time.Duration) { lockWait = before }(lockWait)
	lockWait = 0
	p := newPair(t)
	f, err := os.Open(filepath.Join(p.b.dir, linesName))
	p.Must(err)
	defer f.Close()
	p.Must(state.Flock(f, syscall.LOCK_EX))
	err = p.b.h.Shown(p.Cb.T3, p.Cb.SendDirection(), 1)
	if err == nil || !strings.Contains(err.Error(), "another client holds the history") || fail.AsError(err).Hint == "" || p.b.h.Broken() {
		t.Errorf("%v", err)
	}
	p.Must(state.Flock(f, syscall.LOCK_UN))
	p.Must(p.b.h.Shown(p.Cb.T3, p.Cb.SendDirection(), 1))
}

// TestHistoryRefusesOthers: a directory or file that somebody else could have put there
// is refused, with a hint.
func TestHistoryRefusesOthers(t *testing.T) {
	fresh := func(t *testing.T) string {
		dir := filepath.Join(t.TempDir(), "history")
		h, _, err := Open(Config{Dir: dir, Receiving: true, Owner: somebody})
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
		"file a link":          {func(t *testing.T, dir string) { link(t, filepath.Join(dir, linesName)) }, "symbolic link"},
		"directory for others": {func(t *testing.T, dir string) { os.Chmod(dir, 0o770) }, "written by others"},
		"file for others":      {func(t *testing.T, dir string) { os.Chmod(filepath.Join(dir, linesName), 0o606) }, "written by others"},
		"file a directory": {func(t *testing.T, dir string) {
			path := filepath.Join(dir, linesName)
			if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
				t.Fatal(err)
			}
		}, "directory"},
		"file a pipe": {func(t *testing.T, dir string) {
			path := filepath.Join(dir, linesName)
			if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)); err != nil {
				t.Fatal(err)
			}
		}, "not a file"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := fresh(t)
			test.edit(t, dir)
			_, _, err := Open(Config{Dir: dir, Receiving: true, Owner: somebody})
			e, ok := errors.AsType[*fail.Error](err)
			if !ok || !strings.Contains(e.Message, test.want) || e.Hint == "" {
				t.Errorf("opening: %#v, want %q and a hint", err, test.want)
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

// somebody is an owner of a history in which nobody talks.
var somebody = Owner{Name: "somebody"}

type foreignInfo struct {
	fs.FileInfo
	sys *syscall.Stat_t
}

func (f foreignInfo) Sys() any { return f.sys }

// child is the variable that makes this test binary the child of a test, with the
// directory as its value.
const child = "CHATSECURE_TEST_HISTORY_CHILD"

// children starts n processes of this test, which print a line each once they have begun.
func children(t *testing.T, test, dir string, n int) (cmds []*exec.Cmd, said []*bufio.Reader) {
	t.Helper()
	for range n {
		cmd := exec.Command(os.Args[0], "-test.run=^"+test+"$")
		cmd.Env = append(os.Environ(), child+"="+dir, "TMPDIR="+t.TempDir()) // a killed child leaves its files there
		cmd.Stderr = os.Stderr
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { in.Close(); cmd.Process.Kill(); cmd.Wait() })
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cmds, said = append(cmds, cmd), append(said, bufio.NewReader(out))
	}
	return cmds, said
}

// TestRow29HistoryRuns: processes that begin at once each have a run of their own, and know of each
// other. The next one settles those that were killed, and no other one.
func TestRow29HistoryRuns(t *testing.T) {
	if dir := os.Getenv(child); dir != "" {
		h, _, err := Open(Config{Dir: dir, Receiving: true, Owner: somebody})
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Failed(strings.Repeat("0", 32), h.run.id, "written"); err != nil {
			t.Fatal(err)
		}
		fmt.Printf("run %s\n", h.run.id)
		bufio.NewReader(os.Stdin).ReadString('\n') // until the parent has seen enough
		return
	}
	dir := t.TempDir()
	const n = 6
	cmds, outs := children(t, t.Name(), dir, n)
	seen := make(map[string]bool)
	for i := range cmds {
		line, err := outs[i].ReadString('\n')
		id, ok := strings.CutPrefix(strings.TrimSpace(line), "run ")
		if err != nil || !ok || seen[id] {
			t.Fatalf("child %d: %q, %v", i, line, err)
		}
		seen[id] = true
	}
	open := func(runs, killed int) {
		t.Helper()
		h, notices, err := Open(Config{Dir: dir, Receiving: true, Owner: somebody})
		if err != nil || len(notices) > 0 {
			t.Fatal(err, notices)
		}
		running, dead, err := h.readRuns()
		if err != nil || len(running) != runs+1 || len(dead) != 0 { // and its own
			t.Errorf("%d run, %d do not, %v", len(running), len(dead), err)
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		ended := ofType(chained(t, dir), lineRun)
		if len(ended) != killed {
			t.Errorf("%d runs have ended, want %d", len(ended), killed)
		}
		for _, l := range ended {
			if !seen[l.Run] || l.Reason != runKilled {
				t.Errorf("%s: %s", l.Run, l.Reason)
			}
		}
	}
	open(n, 0)
	for i, cmd := range cmds {
		if i < n/2 {
			cmd.Process.Kill()
			cmd.Wait()
		}
	}
	open(n-n/2, n/2)
	for _, cmd := range cmds {
		cmd.Process.Kill()
		cmd.Wait()
	}
	open(0, n)
	if all := chained(t, dir); len(ofType(all, lineFailed)) != n {
		t.Errorf("the lines of %d clients are there", len(ofType(all, lineFailed)))
	}
	for _, name := range []string{linesName} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, runPrefix+"*")); err != nil || len(left) > 0 {
		t.Errorf("runs that are over have left %q", left)
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
		cmds, outs := children(t, t.Name(), dir, 1)
		cmd := cmds[0]
		var ids []string
		for in := bufio.NewScanner(outs[0]); in.Scan(); {
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
		h, _, err := Open(killedConfig(t, dir))
		if err != nil {
			t.Fatal(err)
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

// killedConfig is that of the child, and of the one after it.
func killedConfig(t *testing.T, dir string) Config {
	t.Helper()
	identity, err := os.ReadFile(filepath.Join(dir, "identity"))
	if err != nil {
		t.Fatal(err)
	}
	return Config{
		Dir: filepath.Join(dir, "history"), Receiving: true, Now: wire.NewClock().Now,
		Owner: Owner{"Bruno", proto.MustHash(string(identity))},
	}
}

// killedChild receives records until it is killed, and prints the id of each stored one.
func killedChild(t *testing.T, dir string) {
	p := newPair(t)
	p.Must(os.WriteFile(filepath.Join(dir, "root.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.PKI.Root.Cert.Raw}), 0o600))
	p.Must(os.WriteFile(filepath.Join(dir, "identity"), []byte(proto.FormatHash(p.B.Local.Identity)), 0o600))
	h, _, err := Open(killedConfig(t, dir))
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
