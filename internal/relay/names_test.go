package relay

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"chatsecure/proto"
	"chatsecure/testdata/lab/disk"
)

// code claims a name and returns the code of the refusal.
func code(g *registry, name string, id byte) proto.Code {
	err := g.claim(name, [32]byte{id})
	if err == nil {
		return ""
	}
	e, ok := errors.AsType[*proto.Error](err)
	if !ok {
		return "no code"
	}
	return e.Code
}

func openTestRegistry(t *testing.T, path string) *registry {
	t.Helper()
	g, err := openRegistry(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestRegistryKeepsNames(t *testing.T) {
	path := filepath.Join(t.TempDir(), "names")
	g := openTestRegistry(t, path)
	for _, step := range []struct {
		name    string
		id      byte
		release bool
		want    proto.Code
	}{
		{"Ana", 1, false, ""},
		{"ANA", 1, false, ""},
		{"ana", 2, false, proto.NameTaken},
		{"bruno", 2, false, ""},
		{"ana", 2, true, proto.NameTaken},
		{"ANA", 1, true, ""},
		{"ana", 1, true, ""}, // again: nobody has it
		{"aNa", 2, false, ""},
		{"ana", 1, false, proto.NameTaken},
		{"Жанна", 3, false, ""},
	} {
		var got proto.Code
		if step.release {
			if err := g.release(step.name, [32]byte{step.id}); err != nil {
				got = tellable(err).Code
			}
		} else {
			got = code(g, step.name, step.id)
		}
		if got != step.want {
			t.Errorf("%+v: %s", step, got)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	// Each change is on the disk by its answer.
	again := openTestRegistry(t, path)
	for name, owner := range map[string]byte{"ana": 2, "bruno": 2, "жанна": 3} {
		for id := byte(1); id <= 3; id++ {
			if got := code(again, name, id); (got == "") != (id == owner) {
				t.Errorf("after a restart %s for %d: %q", name, id, got)
			}
		}
	}
}

func TestRegistryDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "names")
	g := openTestRegistry(t, path)
	for i := range 3 {
		if err := g.claim(fmt.Sprintf("user%d", i), [32]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(whole), "\n")
	for why, c := range map[string]struct {
		text string
		line int
	}{
		"a line cut in the middle": {lines[0][:20] + "\n" + lines[1], 1},
		"the last line cut":        {string(whole[:len(whole)-7]), 3},
		"the last newline cut":     {string(whole[:len(whole)-1]), 3},
		"not canonical":            {strings.Replace(lines[0], ":", ": ", 1), 1},
		"not folded":               {lines[1] + strings.Replace(lines[0], "user0", "User0", 1), 2},
		"not a name":               {strings.Replace(lines[0], "user0", "a,b", 1), 1},
		"not an identity":          {strings.Replace(lines[0], `"identity":"00`, `"identity":"0`, 1), 1},
		"no identity":              {`{"name":"user0","since":1}` + "\n", 1},
		"a name that stands twice": {lines[0] + lines[1] + strings.Replace(lines[2], "user2", "user0", 1), 3},
		"an empty line":            {"\n" + lines[0], 1},
	} {
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := openRegistry(path, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%s: line %d is damaged: ", path, c.line)) {
			t.Errorf("%s: %v", why, err)
		}
		if now, err := os.ReadFile(path); err != nil || string(now) != c.text {
			t.Errorf("%s: the file was changed: %q, %v", why, now, err)
		}
	}
}

// TestRegistryFileStaysSmall: the file holds the current names and nothing of the
// past.
func TestRegistryFileStaysSmall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "names")
	g := openTestRegistry(t, path)
	for range 3 {
		for _, change := range []func(string, [32]byte) error{g.claim, g.release, g.claim} {
			if err := change("ana", [32]byte{1}); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := fmt.Sprintf(`{"name":"ana","identity":"01%062d","since":%d}`+"\n", 0, g.names["ana"].since)
	if data, err := os.ReadFile(path); err != nil || string(data) != want {
		t.Errorf("the file is %q, want %q, %v", data, want, err)
	}
	if err := g.release("ana", [32]byte{1}); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(path); err != nil || len(data) > 0 {
		t.Errorf("without a name the file is %q, %v", data, err)
	}
	if len(openTestRegistry(t, path).names) > 0 {
		t.Error("a name is there after a restart")
	}
}

func TestRegistryBounds(t *testing.T) {
	g := openTestRegistry(t, filepath.Join(t.TempDir(), "names"))
	for i := range NamesPerIdentity {
		if _, err := g.claimLocked("", fmt.Sprintf("user%d", i), [32]byte{1}); err != nil {
			t.Fatal(err)
		}
	}
	if got := code(g, "onemore", 1); got != proto.NameTaken {
		t.Errorf("one name too many: %q", got)
	}
	if got := code(g, "onemore", 2); got != "" {
		t.Errorf("another's: %q", got)
	}
	if err := g.release("user7", [32]byte{1}); err != nil {
		t.Fatal(err)
	}
	if got := code(g, "another", 1); got != "" {
		t.Errorf("after release: %q", got)
	}
	for i := len(g.names); i < maxNames; i++ {
		g.names[fmt.Sprint("filled-", i)] = owner{}
	}
	if got := code(g, "toomany", 3); got != proto.Busy {
		t.Errorf("beyond all names: %q", got)
	}
}

func TestRegistryDiskFails(t *testing.T) {
	dir := t.TempDir()
	g := openTestRegistry(t, filepath.Join(dir, "names"))
	var log strings.Builder
	g.log = slog.New(slog.NewTextHandler(&log, nil))
	if err := g.claim("ana", [32]byte{1}); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, dir+"-away"); err != nil { // every write fails from now on
		t.Fatal(err)
	}
	for range 2 {
		if got := code(g, "bruno", 2); got != proto.Internal {
			t.Errorf("a claim that cannot be stored: %q", got)
		}
	}
	if said := log.String(); strings.Count(said, "\n") != 1 || !strings.Contains(said, syscall.ENOENT.Error()) {
		t.Errorf("for two failed writes within a minute the log says %q", said)
	}
	if _, ok := g.names["bruno"]; ok || len(g.unstored) > 0 || len(g.looks) != len(proto.Shapes("ana")) || len(g.held) != 1 {
		t.Errorf("it counts all the same: %v, %v, %v, %v", g.names, g.unstored, g.looks, g.held)
	}
	if got := code(g, "ana", 1); got != "" {
		t.Errorf("a name that is stored: %q", got)
	}
	for range 2 {
		if err := g.release("ana", [32]byte{1}); err == nil {
			t.Error("a release that is not stored is called done")
		}
	}
	if err := os.Rename(dir+"-away", dir); err != nil {
		t.Fatal(err)
	}
	if err := g.release("ana", [32]byte{1}); err != nil {
		t.Errorf("a release when the disk can be written again: %v", err)
	}
	if again := openTestRegistry(t, filepath.Join(dir, "names")); len(again.names) > 0 {
		t.Errorf("after a restart: %v", again.names)
	}
}

// TestRegistryWaitsForNobody blocks one write, which then succeeds or fails. Claims of
// stored names, and refusals, do not wait for it. Other claims during the write wait
// for the next one, which serves all of them.
func TestRegistryWaitsForNobody(t *testing.T) {
	for _, outcome := range []error{nil, syscall.EIO} {
		path := filepath.Join(t.TempDir(), "names")
		g := openTestRegistry(t, path)
		if got := code(g, "ana", 1); got != "" {
			t.Fatal(got)
		}
		var files atomic.Int64
		reached, finish := make(chan struct{}), make(chan struct{})
		restore := disk.SyncWith(t, func(f *os.File) error {
			if strings.HasPrefix(filepath.Base(f.Name()), ".new-") && files.Add(1) == 1 {
				close(reached)
				<-finish
				return outcome
			}
			return f.Sync()
		})
		var wg sync.WaitGroup
		wg.Go(func() {
			if got := code(g, "bruno", 2); (got == "") != (outcome == nil) {
				t.Errorf("bruno is %q, and the disk says %v", got, outcome)
			}
		})
		<-reached
		if got := code(g, "ana", 1); got != "" {
			t.Errorf("a name that is stored: %q", got)
		}
		for _, name := range []string{"ana", "bruno"} {
			if got := code(g, name, 3); got != proto.NameTaken {
				t.Errorf("%s is %q", name, got)
			}
		}
		for i := range 5 {
			name, id := fmt.Sprintf("user%d", i), [32]byte{10 + byte(i)}
			for range 2 { // the second waits as well
				w, err := g.claimLocked(name, name, id)
				if w == nil || err != nil {
					t.Fatalf("%s does not wait, %v", name, err)
				}
				wg.Go(func() {
					if err := g.wait(w, nil); err != nil {
						t.Errorf("%s: %v", name, err)
					}
					if again, err := openRegistry(path, slog.New(slog.DiscardHandler)); err != nil || again.names[name].identity != id {
						t.Errorf("%s was answered before it was on the disk (%v)", name, err)
					}
				})
			}
		}
		close(finish)
		wg.Wait()
		restore()
		if n := files.Load(); n != 2 {
			t.Errorf("%d writes, want 2", n)
		}
		if again := openTestRegistry(t, path); !maps.Equal(again.names, g.names) || len(g.unstored) > 0 {
			t.Errorf("%v after a restart, %v before, of which are waited for: %v", again.names, g.names, g.unstored)
		}
	}
}

// TestRegistryManyAtOnce: one of several simultaneous claims of a name succeeds, also
// by the state after a restart and on a disk that fails now and then.
func TestRegistryManyAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "names")
	g := openTestRegistry(t, path)
	var wg sync.WaitGroup
	var syncs atomic.Int64
	restore := disk.SyncWith(t, func(f *os.File) error {
		if n := syncs.Add(1); n%7 == 0 || n%10 == 0 { // some of a file, some of a directory
			return syscall.EIO
		}
		return f.Sync()
	})
	won := make([]byte, 20)
	for id := byte(1); id <= 8; id++ {
		wg.Go(func() {
			for i := range won {
				got := proto.Internal
				for got == proto.Internal {
					got = code(g, fmt.Sprintf("name-%c", 'a'+i), id)
				}
				if got == "" {
					g.mu.Lock()
					if won[i] != 0 {
						t.Errorf("name %d has two owners", i)
					}
					won[i] = id
					g.mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	restore()
	again := openTestRegistry(t, path)
	for i, id := range won {
		if got := code(again, fmt.Sprintf("name-%c", 'a'+i), id); got != "" {
			t.Errorf("name %d after a restart: %q", i, got)
		}
	}
}

func TestRow24Lookalikes(t *testing.T) {
	for _, c := range []struct{ taken, name string }{{"alice", "aIice"}, {"сора", "copa"}, {"bob", "bọb"}, {"dora", "clora"}, {"HAKOH", "НАКОН"}} {
		g := openTestRegistry(t, filepath.Join(t.TempDir(), "names"))
		if got := code(g, c.taken, 1); got != "" {
			t.Errorf("%s: %q", c.taken, got)
		}
		if got := code(g, c.name, 2); got != proto.NameTaken {
			t.Errorf("%s beside %s: %q", c.name, c.taken, got)
		}
	}
	g := openTestRegistry(t, filepath.Join(t.TempDir(), "names"))
	// The names of one person may look alike. Similar names stay taken until the
	// last of them is released.
	for _, name := range []string{"carlo", "car1o"} {
		if got := code(g, name, 100); got != "" {
			t.Errorf("%s: %q", name, got)
		}
	}
	if err := g.release("carlo", [32]byte{100}); err != nil {
		t.Fatal(err)
	}
	if got := code(g, "carIo", 101); got != proto.NameTaken {
		t.Errorf("carIo: %q", got)
	}
	if err := g.release("car1o", [32]byte{100}); err != nil {
		t.Fatal(err)
	}
	if got := code(g, "carIo", 101); got != "" {
		t.Errorf("carIo at last: %q", got)
	}
}
