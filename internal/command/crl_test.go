package command

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/town"
)

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "still to come", 0: "just now", 59 * time.Second: "just now", time.Minute: "1 minute ago",
		59 * time.Minute: "59 minutes ago",
		time.Hour:        "1 hour ago", 47 * time.Hour: "47 hours ago", 48 * time.Hour: "2 days ago", 1000 * time.Hour: "41 days ago",
	} {
		if got := age(d); got != want {
			t.Errorf("%v is %q, not %q", d, got, want)
		}
	}
}

// TestCRL lists the lists in a directory, before any fetch.
func TestCRL(t *testing.T) {
	w := town.New(t, map[string][]lab.IssueOption{"alice": nil, "mallory": {lab.Revoked}})
	text := w.Must("", "", "crl")
	for _, want := range []string{
		`"EC de Autenticação do Cartão de Cidadão 0001": base list 01 of `, "(1 hour ago), 1 entry, next by ",
		`"Lab Raiz do Estado 001": base list`,
		w.Path("lab", "crl", "auth.crl") + ", signature checked when it is used", w.Path("lab", "crl", "root.crl") + ", signature checked\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("crl does not show %q: %s", want, text)
		}
	}
	found := 0
	for line := range strings.Lines(w.Must("", "", "-json", "crl")) {
		var o crlObject
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatal(err)
		}
		if o.Type != "crl" || o.Kind != "base" || o.Number != "01" || o.ThisUpdate.IsZero() || o.NextUpdate.IsZero() ||
			o.Source == "" || !o.Fetched.IsZero() ||
			!strings.HasPrefix(o.Issuer, "CN=") || o.Verified != strings.HasPrefix(o.Issuer, "CN=Lab Raiz do Estado 001,") {
			t.Errorf("an object is %s", line)
		}
		found++
	}
	if found != 3 {
		t.Errorf("%d lists are shown", found)
	}
	w.Fails(2, "", []string{"crl", "nonsense"}, `"nonsense"`)
	w.Fails(2, "", []string{"crl", "refresh"}, "-fetch is false")
	w.Fails(2, "", []string{"-fetch", "crl", "refresh"}, "there is no state directory", "-name NAME")
}

// TestCRLText: of a list that counts for nothing or clears nobody, crl says so.
func TestCRLText(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	object := func(change func(*crlObject)) string {
		o := crlObject{head: head{Time: jsonTime{now}}, issuer: `"EC"`, Kind: "base", Number: "07", Source: "dir/a.crl"}
		o.ThisUpdate, o.NextUpdate = jsonTime{now.Add(-time.Hour)}, jsonTime{now.Add(time.Hour)}
		change(&o)
		return o.text()
	}
	for says, change := range map[string]func(*crlObject){
		"base list 07 of 2026-11-22 11:00:00":       func(*crlObject) {},
		"base list without a number of 2026":        func(o *crlObject) { o.Number = "" },
		"signature checked\n":                       func(o *crlObject) { o.Verified = true },
		"signature checked when it is used\n":       func(*crlObject) {},
		"counts for nobody: it is not signed by":    func(o *crlObject) { o.refuted = true },
		"(still to come)":                           func(o *crlObject) { o.ThisUpdate = jsonTime{now.Add(time.Hour)} },
		"\n  clears nobody before its date; is the": func(o *crlObject) { o.ThisUpdate = jsonTime{now.Add(time.Hour)} },
	} {
		if text := object(change); !strings.Contains(text, says) || strings.Contains(text, "before its date") != strings.Contains(text, "still to come") ||
			strings.Contains(text, "counts for nobody") && strings.Contains(text, "when it is used") {
			t.Errorf("%q does not say %q", text, says)
		}
	}
}

// TestCRLRefreshFirst: crl refresh can be a person's first command. Damage in
// the cache is reported also without -v.
func TestCRLRefreshFirst(t *testing.T) {
	w := town.New(t, town.People("alice"))
	if r := w.Run("", "alice", "-q=false", "-fetch", "crl", "refresh"); r.Status != 0 ||
		!strings.Contains(r.Stderr, "there is no list to fetch now: your own certificate names no place") {
		t.Errorf("the first: %+v", r)
	}
	damaged := w.Path("state-alice", "crls", "http:%2F%2Fcrls.example%2Fa.crl")
	if err := os.WriteFile(damaged, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := w.Run("", "alice", "-q=false", "-fetch", "crl", "refresh")
	if strings.Count(r.Stderr, damaged) != 1 || !strings.Contains(r.Stderr, "in the cache: it is damaged, and is fetched again") {
		t.Errorf("of the damage it tells %+v", r)
	}
	if state := w.Must("", "alice", "list"); !strings.Contains(state, "alice") {
		t.Errorf("the state directory is not alice's: %q", state)
	}
}

// TestDoctorBeforeIssuersAreFetched looks at a card of 2024. A certificate that
// the first connection will fetch is no failure.
func TestDoctorBeforeIssuersAreFetched(t *testing.T) {
	w := town.New(t, map[string][]lab.IssueOption{"alice": {lab.NoCA}})
	place := lab.DefaultBaseURL + "/aia/auth.crt"
	if text := w.Run("", "alice", "-fetch", "-fetch-private", "doctor").Stdout; !strings.Contains(text,
		"the first connection fetches it from "+place) {
		t.Errorf("doctor says %s", text)
	}
	public := w.Run("", "alice", "-fetch", "doctor")
	if public.Status != 4 || !strings.Contains(public.Stdout, "is not fetched from "+place+": it is at 127.0.0.1, a loopback address") || !strings.Contains(public.Stdout, "-fetch-private, or") {
		t.Errorf("without -fetch-private doctor says %+v", public)
	}
	off := w.Run("", "alice", "doctor")
	if off.Status != 4 || !strings.Contains(off.Stdout, "does not lead to a trusted authority") {
		t.Errorf("with -fetch=false doctor says %+v", off)
	}
}
