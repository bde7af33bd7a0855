package fetch

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/proto"
	"chatsecure/testdata/lab"
)

// TestFetchCached: a list in the cache is the file that was fetched. Its name tells its
// address, its time when it was fetched.
func TestFetchCached(t *testing.T) {
	s := newScene(t)
	side := s.open(trust.PolicyRequire)
	s.pass(-4 * time.Minute) // not the time of writing
	if _, err := side.verifyWait(); err != nil {
		t.Fatal(err)
	}
	lists := trust.NewCRLStore()
	cached, problems := LoadCached(filepath.Join(s.Dir, "state"), lists)
	if len(cached) != 3 || len(problems) > 0 {
		t.Errorf("cached are %v, %v", cached, problems)
	}
	for _, l := range lists.List() {
		c := cached[l.Source]
		data, err := os.ReadFile(l.Source)
		if place, ok := strings.CutPrefix(c.URL, s.Web.URL); !ok || err != nil || !bytes.Equal(data, s.File(place)) {
			t.Errorf("%s is from %q, %v", l.Source, c.URL, err)
		}
		if !c.Fetched.Equal(s.now()) {
			t.Errorf("%s was fetched at %v, not at %v", c.URL, c.Fetched, s.now())
		}
	}
	none := trust.NewCRLStore()
	if cached, problems := LoadCached(t.TempDir(), none); len(cached)+len(problems)+len(none.List()) > 0 {
		t.Errorf("nothing was fetched, and cached are %v, %v", cached, problems)
	}
}

// TestFetchRefetch: lists fetched before are fetched anew, once somebody's certificate names
// them, also by the next program. The ones at hand serve until then.
func TestFetchRefetch(t *testing.T) {
	s := newScene(t)
	first := s.open(trust.PolicyRequire)
	if _, err := first.verifyWait(); err != nil {
		t.Fatal(err)
	}
	s.Requests()
	first.Refetch()
	first.settle()
	s.WantRequests(allLists...)
	first.Close()

	second := s.open(trust.PolicyRequire)
	second.Refetch()
	second.settle()
	s.WantRequests() // nobody has named one yet
	second.Close()
	third := s.open(trust.PolicyRequire)
	for _, want := range [][]string{allLists, nil} {
		third.wantStatus(trust.RevocationGood)
		third.settle()
		s.WantRequests(want...)
	}
}

// TestFetchFlawed: a list that clears nobody is kept beside the one before, which still clears, also
// for the next program. It revokes.
func TestFetchFlawed(t *testing.T) {
	s := newScene(t)
	bob, err := s.PKI.Issue("bob")
	if err != nil {
		t.Fatal(err)
	}
	publish := func(form string) {
		t.Helper()
		i := slices.IndexFunc(lab.ListForms, func(f lab.ListForm) bool { return f.Name == form })
		lists, err := lab.ListForms[i].Lists(s.PKI.Auth)
		if err != nil {
			t.Fatal(err)
		}
		s.ServeFile("/crl/auth.crl", lists[0])
	}
	judge := func(side *program, bobIsRevoked bool) {
		t.Helper()
		side.wantStatus(trust.RevocationGood)
		var chain [][]byte
		for _, cert := range bob.Chain {
			chain = append(chain, cert.Raw)
		}
		if _, err := side.verifier.Certificate(bob.Leaf.Raw, chain); bobIsRevoked != fail.HasCode(err, proto.CertificateRevoked) {
			t.Errorf("bob: %v", err)
		}
	}
	side := s.open(trust.PolicyRequire)
	if _, err := side.verifyWait(); err != nil {
		t.Fatal(err)
	}
	files := len(side.crls.files())
	s.PKI.Revoke(bob, s.now().Add(-time.Minute), 1)
	for _, form := range []string{"unknown critical extension", "of tomorrow", "plain"} {
		publish(form)
		if _, err := side.refresh(); err != nil {
			t.Fatal(err)
		}
		judge(side, true)
		side.lists.Refresh()
		judge(side, true)
		side.Close()
		side = s.open(trust.PolicyRequire, func(cfg *Config) { cfg.Off = true })
		judge(side, true)
		entries, err := os.ReadDir(side.crls.dir)
		// The one of tomorrow stays beside the plain one: it is the newer of the two.
		if err != nil || len(entries) != files+1 {
			t.Errorf("after %s there are %v, %v", form, entries, err)
		}
		side.Close()
		side = s.open(trust.PolicyRequire)
	}
}

// TestFetchCacheSurvives starts again without the server.
func TestFetchCacheSurvives(t *testing.T) {
	s := newScene(t)
	first := s.open(trust.PolicyRequire)
	if _, err := first.verifyWait(); err != nil {
		t.Fatal(err)
	}
	first.Close()
	for _, entry := range readDir(t, first.crls.dir) {
		if info, err := entry.Info(); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s has the mode %v (%v)", entry.Name(), info.Mode(), err)
		}
	}
	s.Web.Close()
	for _, off := range []bool{false, true} {
		again := s.open(trust.PolicyRequire, func(cfg *Config) { cfg.Off = off })
		again.wantStatus(trust.RevocationGood)
		if len(again.notices) > 0 {
			t.Errorf("told: %q", again.notices)
		}
		again.Close()
	}
}

func readDir(t *testing.T, dir string) []os.DirEntry {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// TestFetchPoisonedCache changes the cache behind the program's back. A changed file counts
// for nothing, is told of if it is no list any more, and is fetched again.
func TestFetchPoisonedCache(t *testing.T) {
	for _, c := range []struct {
		name   string
		poison func(list string) error
		told   bool
	}{
		{"changed", func(list string) error { return flipByte(list, 100) }, false},
		{"signature changed", func(list string) error {
			info, err := os.Stat(list)
			if err != nil {
				return err
			}
			return flipByte(list, info.Size()-1)
		}, false},
		{"cut short", func(list string) error { return os.Truncate(list, 100) }, true},
		{"emptied", func(list string) error { return os.Truncate(list, 0) }, true},
		{"gone", os.Remove, false},
		{"another's", func(list string) error {
			others, err := filepath.Glob(filepath.Join(filepath.Dir(list), "*cc.crl#*"))
			return errors.Join(err, os.Rename(others[0], list))
		}, false},
		{"a link", func(list string) error {
			return errors.Join(os.Remove(list), os.Symlink("/dev/zero", list))
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t)
			first := s.open(trust.PolicyRequire)
			if _, err := first.verifyWait(); err != nil {
				t.Fatal(err)
			}
			first.Close()
			s.Requests()
			list := first.fileOf("/crl/auth.crl")
			if err := c.poison(list); err != nil {
				t.Fatal(err)
			}
			again := s.open(trust.PolicyRequire)
			told := strings.Join(again.notices, "\n")
			if c.told != strings.Contains(told, "it is damaged, and is fetched again") || c.told != strings.Contains(told, list) {
				t.Errorf("told: %q", told)
			}
			if _, err := again.verifyWait(); err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(s.Requests(), "200 /crl/auth.crl") {
				t.Error("it was not fetched again")
			}
			data, err := os.ReadFile(list)
			if err != nil || !bytes.Equal(data, s.File("/crl/auth.crl")) {
				t.Errorf("the cache has another file: %v", err)
			}
		})
	}
}

func flipByte(path string, at int64) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	data[at] ^= 1
	return os.WriteFile(path, data, 0o600)
}

// TestFetchCrash leaves the traces of a crash. Half-written files are removed once they
// are too old to be at work.
func TestFetchCrash(t *testing.T) {
	s := newScene(t)
	first := s.open(trust.PolicyTry)
	first.Close()
	for _, name := range []string{".new-1", ".new-2", "notes.txt"} {
		if err := os.WriteFile(filepath.Join(first.crls.dir, name), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, age := range map[string]time.Duration{".new-1": 2 * stale, ".new-2": stale / 2} {
		if err := os.Chtimes(filepath.Join(first.crls.dir, name), time.Time{}, s.now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	s.open(trust.PolicyTry)
	var left []string
	for _, entry := range readDir(t, first.crls.dir) {
		left = append(left, entry.Name())
	}
	if want := []string{".new-2", "notes.txt"}; !slices.Equal(left, want) {
		t.Errorf("%q is left, not %q", left, want)
	}
}
