package chatsecure

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"chatsecure/proto"
)

// registryCode claims a name and returns the code of the refusal.
func registryCode(g *registry, name string, id byte) proto.Code {
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
	g, err := openRegistry(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.close() })
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
				got = relayError(err).Code
			}
		} else {
			got = registryCode(g, step.name, step.id)
		}
		if got != step.want {
			t.Errorf("%+v: %s", step, got)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	// Without close: what was answered is on the disk.
	again := openTestRegistry(t, path)
	for name, owner := range map[string]byte{"ana": 2, "bruno": 2, "жанна": 3} {
		for id := byte(1); id <= 3; id++ {
			if got := registryCode(again, name, id); (got == "") != (id == owner) {
				t.Errorf("after a restart %s for %d: %q", name, id, got)
			}
		}
	}
}

func TestRegistryTornAndDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "names")
	g := openTestRegistry(t, path)
	for i := range 3 {
		if err := g.claim(fmt.Sprintf("user%d", i), [32]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	g.close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(whole), "\n")
	last := len(whole) - len(lines[2])
	// A crash while the last line was written: that claim was not answered.
	for cut := last; cut < len(whole); cut += 7 {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		g := openTestRegistry(t, path)
		if got := registryCode(g, "user1", 9); got != proto.NameTaken {
			t.Errorf("cut at %d: user1 is %q", cut, got)
		}
		if got := registryCode(g, "user2", 9); got != "" {
			t.Errorf("cut at %d: user2 is %q", cut, got)
		}
		g.close()
	}
	for why, text := range map[string]string{
		"a line cut in the middle": lines[0][:20] + "\n" + lines[1],
		"not canonical":            strings.Replace(lines[0], ":", ": ", 1),
		"not folded":               strings.Replace(lines[0], "user0", "User0", 1),
		"not a name":               strings.Replace(lines[0], "user0", "a,b", 1),
		"not an identity":          strings.Replace(lines[0], `"identity":"00`, `"identity":"0`, 1),
		"an empty line":            "\n" + lines[0],
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if g, err := openRegistry(path); err == nil {
			g.close()
			t.Errorf("%s was read", why)
		}
	}
}

func TestRegistryFileStaysSmall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "names")
	g := openTestRegistry(t, path)
	if err := g.claim("ana", [32]byte{1}); err != nil {
		t.Fatal(err)
	}
	// As many changes as it takes, without waiting for the disk at each.
	for range registrySpareLines {
		for _, change := range []func(string, string, [32]byte) (int64, error){g.claimLocked, g.releaseLocked} {
			if _, err := change("come-and-go", "come-and-go", [32]byte{2}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if g.lines > registrySpareLines+4 {
		t.Errorf("%d lines for one name", g.lines)
	}
	again := openTestRegistry(t, path)
	if got := registryCode(again, "ana", 2); got != proto.NameTaken {
		t.Errorf("ana is %q", got)
	}
}

func TestRegistryBounds(t *testing.T) {
	g := openTestRegistry(t, filepath.Join(t.TempDir(), "names"))
	for i := range registryNamesPerIdentity {
		if _, err := g.claimLocked("", fmt.Sprintf("user%d", i), [32]byte{1}); err != nil {
			t.Fatal(err)
		}
	}
	if got := registryCode(g, "onemore", 1); got != proto.NameTaken {
		t.Errorf("one name too many: %q", got)
	}
	if got := registryCode(g, "onemore", 2); got != "" {
		t.Errorf("another's: %q", got)
	}
	if err := g.release("user7", [32]byte{1}); err != nil {
		t.Fatal(err)
	}
	if got := registryCode(g, "another", 1); got != "" {
		t.Errorf("after release: %q", got)
	}
	for i := len(g.names); i < registryMaxNames; i++ {
		g.names[fmt.Sprint("filled-", i)] = registryEntry{}
	}
	if got := registryCode(g, "toomany", 3); got != proto.Busy {
		t.Errorf("beyond all names: %q", got)
	}
}

func TestRegistryDiskFails(t *testing.T) {
	g := openTestRegistry(t, filepath.Join(t.TempDir(), "names"))
	if err := g.claim("ana", [32]byte{1}); err != nil {
		t.Fatal(err)
	}
	g.file.Close() // every write fails from now on
	if got := registryCode(g, "bruno", 2); got != proto.Internal {
		t.Errorf("a claim that cannot be stored: %q", got)
	}
	if _, ok := g.names["bruno"]; ok {
		t.Error("it counts all the same")
	}
	if got := registryCode(g, "ana", 1); got != "" {
		t.Errorf("a name that is stored: %q", got)
	}
}

func TestRegistryManyAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "names")
	g := openTestRegistry(t, path)
	var wg sync.WaitGroup
	won := make([]byte, 20)
	for id := byte(1); id <= 8; id++ {
		wg.Go(func() {
			for i := range won {
				if err := g.claim(fmt.Sprintf("name-%c", 'a'+i), [32]byte{id}); err == nil {
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
	again := openTestRegistry(t, path)
	for i, id := range won {
		if got := registryCode(again, fmt.Sprintf("name-%c", 'a'+i), id); got != "" {
			t.Errorf("name %d after a restart: %q", i, got)
		}
	}
}

func TestRow24Lookalikes(t *testing.T) {
	for _, c := range []struct{ taken, name string }{
		{"alice", "aIice"}, {"AIice", "alice"}, {"alice", "a1ice"}, {"alice", "ALICE"}, {"alice", "alıce"},
		{"bob", "b0b"}, {"bob", "BOB"}, {"bob", "ｂｏｂ"}, {"bob", "ＢＯＢ"}, {"bob", "ʙᴏʙ"}, {"bob", "ьоь"},
		{"copa", "сора"}, {"сора", "copa"}, {"cora", "СОRА"}, {"HAKOH", "НАКОН"}, {"OXI", "ΟΧΙ"}, {"oxi", "οχι"},
		{"modern", "rnodern"}, {"arnold", "amold"}, {"wind", "vvind"}, {"user1", "user١"}, {"user1", "user१"},
		{"finn", "ﬁnn"}, {"paypal", "раураӏ"}, {"straße", "STRAẞE"}, {"kelvin", "\u212aelvin"}, {"lasse", "laſſe"},
		{"ёж", "ëж"},
	} {
		g := openTestRegistry(t, filepath.Join(t.TempDir(), "names"))
		if got := registryCode(g, c.taken, 1); got != "" {
			t.Errorf("%s: %q", c.taken, got)
		}
		if got := registryCode(g, c.name, 2); got != proto.NameTaken && got != proto.NameInvalid {
			t.Errorf("%s beside %s: %q", c.name, c.taken, got)
		}
	}
	g := openTestRegistry(t, filepath.Join(t.TempDir(), "names"))
	for i, name := range []string{
		"ana", "anna", "hanna", "João", "joao", "Joana", "joe", "jo", "jo.e", "jo-e", "user1", "user2", "user10", "user11",
		"Жанна", "Ελένη", "דוד", "علي", "王小明", "たなかタナカ田中", "コーヒー", "김철수", "김哲洙", "Åsa", "Asa", "Müller", "Muller", "x", "y",
	} {
		if got := registryCode(g, name, byte(i+1)); got != "" {
			t.Errorf("%s beside the others: %q", name, got)
		}
	}
	for _, name := range []string{"pаypal", "Jоhn", "αbc", "𝐚𝐧𝐚", "ᎪᎡ", "anaᵃ", "漢字abc", "김タ", "ℂara", "ꓐꓳꓐ"} {
		if got := registryCode(g, name, 99); got != proto.NameInvalid {
			t.Errorf("%s: %q, want %s", name, got, proto.NameInvalid)
		}
	}
	// One's own names may look alike, and what looks like them stays taken
	// until the last is given up.
	for _, name := range []string{"carlo", "car1o"} {
		if got := registryCode(g, name, 100); got != "" {
			t.Errorf("%s: %q", name, got)
		}
	}
	if err := g.release("carlo", [32]byte{100}); err != nil {
		t.Fatal(err)
	}
	if got := registryCode(g, "carIo", 101); got != proto.NameTaken {
		t.Errorf("carIo: %q", got)
	}
	if err := g.release("car1o", [32]byte{100}); err != nil {
		t.Fatal(err)
	}
	if got := registryCode(g, "carIo", 101); got != "" {
		t.Errorf("carIo at last: %q", got)
	}
}
