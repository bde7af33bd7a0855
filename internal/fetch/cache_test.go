package fetch

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/proto"
	"chatsecure/testdata/corpus"
	"chatsecure/testdata/lab"
)

func testSidecar(t testing.TB) *sidecar {
	t.Helper()
	pki, err := lab.New(lab.Options{CAKey: lab.P256})
	if err != nil {
		t.Fatal(err)
	}
	return &sidecar{
		V: version, URL: "http://crls.example/a.crl", ETag: `W/"1-2"`, LastModified: "Sun, 22 Nov 2026 10:00:00 GMT",
		Fetched: 1795000000, ThisUpdate: 1794000000, NextUpdate: 1796000000, Delta: true,
		Size: 1000, SHA256: fileHash("a list"), Issuer: pki.Root.Cert.Raw,
	}
}

func TestFetchSidecar(t *testing.T) {
	good := testSidecar(t)
	if _, _, err := parseSidecar(proto.MustMarshal(good)); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*sidecar){
		"version":       func(s *sidecar) { s.V++ },
		"address":       func(s *sidecar) { s.URL = "https://crls.example/a.crl" },
		"file":          func(s *sidecar) { s.URL = "file:///etc/passwd" },
		"tag":           func(s *sidecar) { s.ETag = "a\r\nHost: b" },
		"long tag":      func(s *sidecar) { s.ETag = strings.Repeat("x", maxTag+1) },
		"time":          func(s *sidecar) { s.LastModified = "\x7f" },
		"size":          func(s *sidecar) { s.Size = 1 << 40 },
		"no size":       func(s *sidecar) { s.Size = 0 },
		"negative size": func(s *sidecar) { s.Size = -1 },
		"hash":          func(s *sidecar) { s.SHA256 = s.SHA256[1:] },
		"other hash":    func(s *sidecar) { s.SHA256 = strings.ToUpper(s.SHA256) },
		"path":          func(s *sidecar) { s.SHA256 = "../" + s.SHA256[3:] },
		"issuer":        func(s *sidecar) { s.Issuer = s.Issuer[:100] },
	} {
		bad := *good
		spoil(&bad)
		if _, _, err := parseSidecar(proto.MustMarshal(&bad)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func FuzzFetchSidecar(f *testing.F) {
	good := testSidecar(f)
	corpus.Add(f, func(b []byte) bool { _, _, err := parseSidecar(b); return err == nil },
		[][]byte{proto.MustMarshal(good)}, []byte(`{"v":1,"url":"http://x/"}`))
	now := time.Unix(1795000000, 0)
	f.Fuzz(func(t *testing.T, data []byte) {
		side, issuer, err := parseSidecar(data)
		if err != nil {
			return
		}
		if issuer == nil || !bytes.Equal(proto.MustMarshal(side), data) {
			t.Fatal("it was read as something else")
		}
		if !strings.HasPrefix(strings.ToLower(side.URL), "http://") || strings.ContainsAny(side.ETag+side.LastModified, "\r\n") {
			t.Fatalf("%q is asked with %q and %q", side.URL, side.ETag, side.LastModified)
		}
		if at := side.aheadOfTime(now); at.Before(now) {
			t.Fatalf("the next fetch is at %v, before now", at)
		}
	})
}

func TestFetchConditional(t *testing.T) {
	s := newScene(t)
	side := s.open(trust.PolicyTry)
	side.verify()
	side.settle()
	s.WantRequests(allLists...)
	s.pass(time.Hour)
	for _, r := range side.Refresh(context.Background(), nil) {
		if r.Err != nil || r.Changed {
			t.Errorf("%s: changed %v, error %v", r.URL, r.Changed, r.Err)
		}
	}
	s.WantRequests("304 /crl/auth.crl", "304 /crl/cc.crl", "304 /crl/root.crl")
	address := s.Web.URL + "/crl/auth.crl"
	lists := trust.NewCRLStore()
	fetched, problems := LoadCached(filepath.Join(s.Dir, "state"), lists)
	if fetched[address].Unix() != s.now().Unix() || len(problems) > 0 {
		t.Errorf("it was fetched at %v; %v", fetched[address], problems)
	}
	for _, l := range lists.List() {
		if _, ok := fetched[l.Source]; !ok || !l.Verified {
			t.Errorf("%s is from %s, verified %v", l.Issuer, l.Source, l.Verified)
		}
	}

	// A spoiled file is not compared with the server's.
	if err := os.WriteFile(side.cache.list(address), []byte("spoiled"), 0o600); err != nil {
		t.Fatal(err)
	}
	side.Refresh(context.Background(), nil)
	s.WantRequests("200 /crl/auth.crl", "304 /crl/cc.crl", "304 /crl/root.crl")

	// Without an ETag the time is compared.
	s.Serve("/crl/cc.crl", func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Unix(1e9, 0), bytes.NewReader(s.File("/crl/cc.crl")))
	})
	if err := os.Remove(side.cache.list(s.Web.URL + "/crl/cc.crl")); err != nil {
		t.Fatal(err)
	}
	side.Refresh(context.Background(), nil)
	side.Refresh(context.Background(), nil)
	s.WantRequests("200 /crl/cc.crl", "304 /crl/auth.crl", "304 /crl/auth.crl", "304 /crl/cc.crl", "304 /crl/root.crl", "304 /crl/root.crl")
}

// TestFetchCacheSurvives starts again without the server.
func TestFetchCacheSurvives(t *testing.T) {
	s := newScene(t)
	first := s.open(trust.PolicyRequire)
	if _, err := first.verifyWait(); err != nil {
		t.Fatal(err)
	}
	first.Close()
	for _, entry := range readDir(t, string(first.cache)) {
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

// TestFetchPoisonedCache changes the cache behind the program's back. A changed file is
// removed, told of, and fetched again.
func TestFetchPoisonedCache(t *testing.T) {
	for _, c := range []struct {
		name   string
		poison func(list, side string) error
	}{
		{"list changed", func(list, _ string) error { return flipByte(list, 100) }},
		{"list cut short", func(list, _ string) error { return os.Truncate(list, 100) }},
		{"list gone", func(list, _ string) error { return os.Remove(list) }},
		{"sidecar changed", func(_, side string) error { return flipByte(side, 20) }},
		{"sidecar cut short", func(_, side string) error { return os.Truncate(side, 20) }},
		{"sidecar of another", func(_, side string) error {
			others, err := filepath.Glob(filepath.Join(filepath.Dir(side), ".*.json"))
			others = slices.DeleteFunc(others, func(o string) bool { return o == side })
			return errors.Join(err, os.Rename(others[0], side))
		}},
		{"sidecar gone", func(_, side string) error { return os.Remove(side) }},
		{"sidecar a link", func(_, side string) error {
			return errors.Join(os.Rename(side, side+".real"), os.Symlink(side+".real", side))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t)
			first := s.open(trust.PolicyRequire)
			if _, err := first.verifyWait(); err != nil {
				t.Fatal(err)
			}
			first.Close()
			s.Requests()
			address := s.Web.URL + "/crl/auth.crl"
			if err := c.poison(first.cache.list(address), first.cache.side(address)); err != nil {
				t.Fatal(err)
			}
			again := s.open(trust.PolicyRequire)
			if _, err := os.Stat(again.cache.list(address)); err == nil {
				t.Error("the list is still there")
			}
			if _, err := again.verifyWait(); err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(s.Requests(), "200 /crl/auth.crl") {
				t.Error("it was not fetched again")
			}
			if told := strings.Join(again.notices, "\n"); !strings.Contains(told, "it was damaged, and is removed") && c.name != "sidecar gone" {
				t.Errorf("nobody was told: %s", told)
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
	for _, name := range []string{".new-1", ".new-2", fileHash("x") + listSuffix, "notes.txt"} {
		if err := os.WriteFile(filepath.Join(string(first.cache), name), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	old := s.now().Add(-2 * stale)
	if err := os.Chtimes(filepath.Join(string(first.cache), ".new-1"), old, old); err != nil {
		t.Fatal(err)
	}
	s.open(trust.PolicyTry)
	var left []string
	for _, entry := range readDir(t, string(first.cache)) {
		left = append(left, entry.Name())
	}
	if want := []string{".new-2", "notes.txt"}; !slices.Equal(left, want) {
		t.Errorf("%q is left, not %q", left, want)
	}
}
