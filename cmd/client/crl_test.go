package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chatsecure/testdata/lab"
)

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "still to come", 0: "just now", 59 * time.Second: "just now", time.Minute: "1 minute ago", 59 * time.Minute: "59 minutes ago",
		time.Hour: "1 hour ago", 47 * time.Hour: "47 hours ago", 48 * time.Hour: "2 days ago", 1000 * time.Hour: "41 days ago",
	} {
		if got := age(d); got != want {
			t.Errorf("%v is %q, not %q", d, got, want)
		}
	}
}

// TestCRL lists what stands in a directory; nothing has been fetched yet.
func TestCRL(t *testing.T) {
	w := newTown(t, map[string][]lab.IssueOption{"alice": nil, "mallory": {lab.Revoked}})
	text := w.must("", "", "crl")
	for _, want := range []string{
		`"EC de Autenticação do Cartão de Cidadão 0001": base list 01 of `, "(1 hour ago), 1 entry, next by ", `"Lab Raiz do Estado 001": base list`,
		w.path("lab", "crl", "auth.crl") + ", signature checked when it is used", w.path("lab", "crl", "root.crl") + ", signature checked\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("crl does not show %q: %s", want, text)
		}
	}
	found := 0
	for line := range strings.Lines(w.must("", "", "-json", "crl")) {
		var o crlObject
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatal(err)
		}
		if o.Type != "crl" || o.Kind != "base" || o.Number != "01" || o.ThisUpdate == "" || o.NextUpdate == "" || o.Source == "" || o.Fetched != "" ||
			!strings.HasPrefix(o.Issuer, "CN=") || o.Verified != strings.HasPrefix(o.Issuer, "CN=Lab Raiz do Estado 001,") {
			t.Errorf("an object is %s", line)
		}
		found++
	}
	if found != 3 {
		t.Errorf("%d lists are shown", found)
	}
	w.fails(2, "", []string{"crl", "nonsense"}, `"nonsense"`)
	w.fails(2, "", []string{"crl", "refresh"}, "-fetch=false")
	w.fails(2, "", []string{"-fetch", "crl", "refresh"}, "there is no state directory", "-name NAME")
}

// TestCRLRefreshFirst: a person's first command may be this one. What is damaged
// in the cache is told, also without -v.
func TestCRLRefreshFirst(t *testing.T) {
	w := newTown(t, people("alice"))
	if r := w.run("", "alice", "-q=false", "-fetch", "crl", "refresh"); r.status != 0 || !strings.Contains(r.stderr, "there is no list to fetch") {
		t.Errorf("the first: %+v", r)
	}
	dir := w.path("state-alice", "crls")
	if err := os.WriteFile(filepath.Join(dir, "."+strings.Repeat("ab", 32)+".json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{true, false} {
		r := w.run("", "alice", "-q=false", "-fetch", "crl", "refresh")
		if told := strings.Contains(r.stderr, "in the cache: it was damaged, and is removed"); told != want {
			t.Errorf("told %v: %+v", told, r)
		}
	}
	if state := w.must("", "alice", "list"); !strings.Contains(state, "alice") {
		t.Errorf("the state directory is not alice's: %q", state)
	}
}

// TestDoctorBeforeIssuersAreFetched looks at a card of 2024: what the first
// connection will fetch is no failure.
func TestDoctorBeforeIssuersAreFetched(t *testing.T) {
	w := newTown(t, map[string][]lab.IssueOption{"alice": {lab.NoCA}})
	place := lab.DefaultBaseURL + "/aia/auth.crt"
	if text := w.run("", "alice", "-fetch", "-fetch-private", "doctor").stdout; !strings.Contains(text, "the first connection fetches it from "+place) {
		t.Errorf("doctor says %s", text)
	}
	public := w.run("", "alice", "-fetch", "doctor")
	if public.status != 4 || !strings.Contains(public.stdout, "is not fetched from "+place+": it is at 127.0.0.1, a loopback address") || !strings.Contains(public.stdout, "-fetch-private, or") {
		t.Errorf("without -fetch-private doctor says %+v", public)
	}
	off := w.run("", "alice", "doctor")
	if off.status != 4 || !strings.Contains(off.stdout, "does not lead to a trusted authority") {
		t.Errorf("with -fetch=false doctor says %+v", off)
	}
}
