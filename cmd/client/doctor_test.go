package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chatsecure/card"
	"chatsecure/testdata/lab"
)

// fingerprint is what relay -fingerprint prints.
func (w *town) fingerprint(state string) string {
	w.t.Helper()
	out, err := exec.Command(filepath.Join(w.bin, "relay"), "-fingerprint", "-state", w.path(state)).Output()
	if err != nil {
		w.t.Fatal(err)
	}
	return string(out)
}

// diagnosis is what doctor found, by check.
func diagnosis(t *testing.T, r result) map[string]doctorObject {
	t.Helper()
	checks := make(map[string]doctorObject)
	var order []string
	for line := range strings.Lines(r.stdout) {
		var o doctorObject
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if o.Type == "doctor" {
			checks[o.Check] = o
			order = append(order, o.Check)
		}
	}
	if got := strings.Join(order, " "); got != "module reader card certificate chain crl relay clock state" {
		t.Errorf("the checks are %s; %q", got, r.stderr)
	}
	return checks
}

func TestDoctorFindsNothing(t *testing.T) {
	w := newTown(t, people("alice"))
	fingerprint := strings.TrimSpace(w.fingerprint("relay"))
	if r := w.run("", "alice", "-fingerprint", strings.Repeat("ab", 32), "doctor"); r.status != 4 || !strings.Contains(r.stdout, "given is "+strings.Repeat("ab", 32)) || strings.Contains(r.stdout, "known is") {
		t.Errorf("with another fingerprint: %+v", r)
	}
	out := w.must("", "alice", "-fingerprint", fingerprint, "doctor")
	if strings.Contains(out, "failed") || strings.Contains(out, "skipped") || strings.Count(out, "\n") != 9 || !strings.Contains(out, fingerprint) {
		t.Errorf("doctor says %q", out)
	}
	if _, err := os.Lstat(w.path("state-alice")); !os.IsNotExist(err) {
		t.Errorf("doctor made a state directory: %v", err)
	}
	w.must("", "alice", "-keep", "1h", "list")
	if err := os.Rename(w.path("lab", "alice"), w.path("lab", "away")); err != nil {
		t.Fatal(err)
	}
	if out := w.must("", "alice", "doctor"); !strings.Contains(out, "not needed: a kept key") || !strings.Contains(out, "known from before") {
		t.Errorf("with a kept key doctor says %q", out)
	}
}

// TestDoctorFindsTrouble: each trouble at its own check, with a hint, and the
// exit status that a connection would end with.
func TestDoctorFindsTrouble(t *testing.T) {
	w := newTown(t, map[string][]lab.IssueOption{
		"alice": nil, "expired": {lab.Expired}, "future": {lab.NotYetValid}, "untrusted": {lab.Untrusted}, "revoked": {lab.Revoked}, "other": nil,
	})
	w.must("", "other", "list")
	empty := w.path("empty")
	if err := os.Mkdir(empty, 0o700); err != nil {
		t.Fatal(err)
	}
	fingerprint := strings.TrimSpace(w.fingerprint("relay"))
	for _, c := range []struct {
		name, check string
		exit        int
		args        []string
	}{
		{"alice", "module", 5, []string{"-card", "pkcs11:?module-path=/none.so"}},
		{"alice", "module", 5, []string{"-card", "pkcs11:nonsense"}},
		{"alice", "card", 5, []string{"-card", w.path("none")}},
		{"expired", "certificate", 4, nil},
		{"future", "certificate", 4, nil},
		{"untrusted", "chain", 4, nil},
		{"revoked", "crl", 4, nil},
		{"alice", "crl", 4, []string{"-crl", empty}},
		{"alice", "relay", 3, []string{"-relay", "127.0.0.1:1"}},
		{"alice", "relay", 4, []string{"-fingerprint", strings.Repeat("ab", 32)}},
		{"alice", "relay", 4, []string{"-accept-new=false", "-fingerprint", ""}},
		{"alice", "state", 2, []string{"-state", w.path("state-other")}},
		{"alice", "state", 1, []string{"-state", w.path("lab", "ca-bundle.pem")}},
	} {
		args := append([]string{"-fingerprint", fingerprint, "-json"}, c.args...)
		r := w.run("", c.name, append(args, "doctor")...)
		if r.status != c.exit {
			t.Errorf("%s %q: exit status %d, want %d; it said %q", c.name, c.args, r.status, c.exit, r.stderr)
		}
		got := diagnosis(t, r)[c.check]
		if got.Status != doctorFailed || got.Exit != c.exit || got.Hint == "" || got.Code == "" {
			t.Errorf("%s %q: the %s is %+v", c.name, c.args, c.check, got)
		}
		if !strings.HasPrefix(r.stderr, "client: error: ") || !strings.Contains(r.stderr, "\nclient: hint: ") {
			t.Errorf("%s %q: it said %q", c.name, c.args, r.stderr)
		}
	}
}

// TestDoctorAndTheClock: a clock that is behind what has happened is wrong.
func TestDoctorAndTheClock(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		ahead time.Duration
		want  string
	}{{time.Hour, doctorFailed}, {-time.Hour, doctorOK}} {
		sys, _, _ := fakeSystem("")
		at := time.Now().Add(c.ahead)
		if err := os.Chtimes(dir, at, at); err != nil {
			t.Fatal(err)
		}
		a := &app{system: sys, opt: options{state: dir, batch: true}, out: newDisplay(sys, options{})}
		d := &doctor{a: a}
		d.lookAtState()
		d.lookAtClock()
		got := d.checks[len(d.checks)-1]
		if got.Check != "clock" || (got.Status == doctorFailed) != (c.want == doctorFailed) {
			t.Errorf("a directory changed %v from now: %+v", c.ahead, got)
		}
		d.close()
	}
}

// TestDoctorAndThePIN: a card that is locked fails, one that is near is noted.
func TestDoctorAndThePIN(t *testing.T) {
	locked := &card.Error{Kind: card.PINLocked, Message: "the card's PIN is locked", Hint: "unlock it"}
	for _, c := range []struct {
		token card.TokenReport
		want  string
		says  string
	}{
		{card.TokenReport{}, doctorOK, `"alice"`},
		{card.TokenReport{Warning: "this is the last try", Flags: []string{"final PIN try"}}, doctorNote, "this is the last try"},
		{card.TokenReport{Warning: "this is the last try", Locked: locked}, doctorFailed, "the card's PIN is locked"},
	} {
		sys, _, _ := fakeSystem("")
		d := &doctor{a: &app{system: sys, out: newDisplay(sys, options{})}}
		c.token.Label, c.token.Certificates = "alice", []card.CertificateReport{{DER: []byte{1}, Used: true}}
		d.token(&card.Report{Modules: []card.ModuleReport{{Slots: []card.SlotReport{{Token: &c.token}}}}})
		if got := d.checks[0]; len(d.checks) != 1 || got.Status != c.want || !strings.Contains(got.Message, c.says) || (got.Hint == "") != (c.want == doctorOK) || (got.Exit == 5) != (c.want == doctorFailed) {
			t.Errorf("it says %+v, want %s", d.checks, c.want)
		}
	}
}

// TestDoctorAsksNoPIN: not even where there is a token that wants one.
func TestDoctorAsksNoPIN(t *testing.T) {
	lab.NeedSoftHSM(t)
	w := newTown(t, people("alice"))
	tokens, err := w.pki.SoftHSM(w.path("tokens"))
	if err != nil {
		t.Fatal(err)
	}
	w.env = []string{tokens.Env()}
	wrong := w.path("wrong")
	if err := os.WriteFile(wrong, []byte("000000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 4 { // a fourth wrong PIN would lock a card
		out := w.must("", "alice", "-card", tokens.URI("alice"), "-pin-file", wrong, "doctor")
		if !strings.Contains(out, "ok      card") || strings.Contains(out, "wrong PIN") {
			t.Errorf("doctor says %q", out)
		}
	}
}
