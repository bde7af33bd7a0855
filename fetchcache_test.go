package chatsecure

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"chatsecure/canon"
	"chatsecure/testdata/lab"
)

func testSidecar(t testing.TB) *fetchSidecar {
	t.Helper()
	pki, err := lab.New(lab.Options{CAKey: lab.P256})
	if err != nil {
		t.Fatal(err)
	}
	return &fetchSidecar{
		V: fetchVersion, URL: "http://crls.example/a.crl", ETag: `W/"1-2"`, LastModified: "Sun, 22 Nov 2026 10:00:00 GMT",
		Fetched: 1795000000, ThisUpdate: 1794000000, NextUpdate: 1796000000, Delta: true,
		Size: 1000, SHA256: fetchHash("a list"), Issuer: pki.Root.Cert.Raw,
	}
}

func TestFetchSidecar(t *testing.T) {
	good := testSidecar(t)
	if _, _, err := parseFetchSidecar(canon.MustMarshal(good)); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*fetchSidecar){
		"version":       func(s *fetchSidecar) { s.V++ },
		"address":       func(s *fetchSidecar) { s.URL = "https://crls.example/a.crl" },
		"file":          func(s *fetchSidecar) { s.URL = "file:///etc/passwd" },
		"tag":           func(s *fetchSidecar) { s.ETag = "a\r\nHost: b" },
		"long tag":      func(s *fetchSidecar) { s.ETag = strings.Repeat("x", fetchMaxTag+1) },
		"time":          func(s *fetchSidecar) { s.LastModified = "\x7f" },
		"size":          func(s *fetchSidecar) { s.Size = 1 << 40 },
		"no size":       func(s *fetchSidecar) { s.Size = 0 },
		"negative size": func(s *fetchSidecar) { s.Size = -1 },
		"hash":          func(s *fetchSidecar) { s.SHA256 = s.SHA256[1:] },
		"other hash":    func(s *fetchSidecar) { s.SHA256 = strings.ToUpper(s.SHA256) },
		"path":          func(s *fetchSidecar) { s.SHA256 = "../" + s.SHA256[3:] },
		"issuer":        func(s *fetchSidecar) { s.Issuer = s.Issuer[:100] },
	} {
		bad := *good
		spoil(&bad)
		if _, _, err := parseFetchSidecar(canon.MustMarshal(&bad)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func FuzzFetchSidecar(f *testing.F) {
	good := testSidecar(f)
	f.Add(canon.MustMarshal(good))
	f.Add([]byte(`{"v":1,"url":"http://x/"}`))
	now := time.Unix(1795000000, 0)
	f.Fuzz(func(t *testing.T, data []byte) {
		side, issuer, err := parseFetchSidecar(data)
		if err != nil {
			return
		}
		if issuer == nil || !bytes.Equal(canon.MustMarshal(side), data) {
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
