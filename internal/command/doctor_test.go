package command

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"chatsecure/card"
	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/town"
)

// diagnosis is the output of doctor, by check.
func diagnosis(t *testing.T, r town.Result) map[string]doctorObject {
	t.Helper()
	checks := make(map[string]doctorObject)
	var order []string
	for line := range strings.Lines(r.Stdout) {
		var o doctorObject
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if o.Type == "doctor" {
			checks[o.Check] = o
			order = append(order, o.Check)
		}
	}
	if got := strings.Join(order, " "); got != "module reader card certificate chain crl relay admission clock state" {
		t.Errorf("the checks are %s; %q", got, r.Stderr)
	}
	return checks
}

func TestDoctorFindsNothing(t *testing.T) {
	w := town.New(t, town.People("alice"))
	fingerprint := w.Fingerprint("relay")
	if r := w.Run("", "alice", "-fingerprint", strings.Repeat("ab", 32), "doctor"); r.Status != 4 ||
		!strings.Contains(r.Stdout, "given is "+strings.Repeat("ab", 32)) || strings.Contains(r.Stdout, "known is") {
		t.Errorf("with another fingerprint: %+v", r)
	}
	out := w.Must("", "alice", "-fingerprint", fingerprint, "doctor")
	if strings.Contains(out, "failed") || strings.Count(out, "skipped") != 1 || strings.Count(out, "\n") != 10 ||
		!strings.Contains(out, fingerprint) || !strings.Contains(out, "\nskipped admission    only a connection shows whether the relay lets you in\n") {
		t.Errorf("doctor says %q", out)
	}
	if _, err := os.Lstat(w.Path("state-alice")); !os.IsNotExist(err) {
		t.Errorf("doctor made a state directory: %v", err)
	}
	w.Must("", "alice", "-keep", "1h", "list")
	if err := os.Rename(w.Path("lab", "alice"), w.Path("lab", "away")); err != nil {
		t.Fatal(err)
	}
	if out := w.Must("", "alice", "doctor"); !strings.Contains(out, "not needed: a kept key") || !strings.Contains(out, "known from before") {
		t.Errorf("with a kept key doctor says %q", out)
	}
}

// TestDoctorWaitsForABusyRelay: doctor tries a busy relay again, as a connection does, and says once
// what it waits for. One that stays busy is a failure.
func TestDoctorWaitsForABusyRelay(t *testing.T) {
	w := town.New(t, town.People("alice"))
	for _, stays := range []bool{false, true} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			for n := 0; ; n++ {
				c, err := l.Accept()
				if err != nil {
					return
				}
				if n > 0 && !stays {
					relay, err := net.Dial("tcp", w.Addr)
					if err == nil {
						go io.Copy(relay, c)
						go io.Copy(c, relay)
					}
					continue
				}
				bufio.NewReader(c).ReadSlice('\n')
				io.WriteString(c, `{"type":"error","code":"busy","message":"x"}`+"\n")
				c.Close()
			}
		}()
		timeout, status := "60s", doctorOK
		if stays {
			timeout, status = "2s", doctorFailed
		}
		r := w.Run("", "alice", "-q=false", "-json", "-relay", l.Addr().String(), "-fingerprint", w.Fingerprint("relay"), "-timeout", timeout, "doctor")
		c := diagnosis(t, r)["relay"]
		if c.Status != status || stays && (c.Code != "busy" || r.Status != 3) || strings.Count(r.Stderr, "; trying again\n") != 1 {
			t.Errorf("stays busy %v: %+v, exit status %d, %q", stays, c, r.Status, r.Stderr)
		}
	}
}

// TestDoctorFindsTrouble: each trouble is reported at its own check, with a
// hint and the exit status of a connection.
func TestDoctorFindsTrouble(t *testing.T) {
	w := town.New(t, map[string][]lab.IssueOption{
		"alice": nil, "expired": {lab.Expired}, "future": {lab.NotYetValid}, "untrusted": {lab.Untrusted}, "revoked": {lab.Revoked}, "other": nil,
	})
	w.Must("", "other", "list")
	empty := w.Path("empty")
	if err := os.Mkdir(empty, 0o700); err != nil {
		t.Fatal(err)
	}
	fingerprint := w.Fingerprint("relay")
	for _, c := range []struct {
		name, check string
		exit        int
		args        []string
	}{
		{"alice", "module", 5, []string{"-card", "pkcs11:?module-path=/none.so"}},
		{"alice", "module", 5, []string{"-card", "pkcs11:nonsense"}},
		{"alice", "card", 5, []string{"-card", w.Path("none")}},
		{"expired", "certificate", 4, nil},
		{"future", "certificate", 4, nil},
		{"untrusted", "chain", 4, nil},
		{"revoked", "crl", 4, nil},
		{"alice", "crl", 4, []string{"-crl", empty}},
		{"alice", "relay", 3, []string{"-relay", "127.0.0.1:1"}},
		{"alice", "relay", 4, []string{"-fingerprint", strings.Repeat("ab", 32)}},
		{"alice", "relay", 4, []string{"-accept-new=false", "-fingerprint", ""}},
		{"alice", "state", 2, []string{"-state", w.Path("state-other")}},
		{"alice", "state", 1, []string{"-state", w.Path("lab", "ca-bundle.pem")}},
	} {
		args := append([]string{"-fingerprint", fingerprint, "-json"}, c.args...)
		r := w.Run("", c.name, append(args, "doctor")...)
		if r.Status != c.exit {
			t.Errorf("%s %q: exit status %d, want %d; it said %q", c.name, c.args, r.Status, c.exit, r.Stderr)
		}
		got := diagnosis(t, r)[c.check]
		if got.Status != doctorFailed || got.Exit != c.exit || got.Hint == "" || got.Code == "" {
			t.Errorf("%s %q: the %s is %+v", c.name, c.args, c.check, got)
		}
		if !strings.HasPrefix(r.Stderr, "client: error: ") || !strings.Contains(r.Stderr, "\nclient: hint: ") {
			t.Errorf("%s %q: it said %q", c.name, c.args, r.Stderr)
		}
		if _, hint, _ := strings.Cut(r.Stderr, "hint: "); strings.Contains(r.Stderr, got.Message) || strings.Contains(hint, got.Hint) ||
			!strings.Contains(r.Stderr, c.check) {
			t.Errorf("%s %q: the %s is told twice: %q", c.name, c.args, c.check, r.Stderr)
		}
	}
}

// TestDoctorAndTheClock: a clock before a time that has passed is wrong.
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
		a := &app{System: sys, opt: options{state: dir, batch: true}, out: newDisplay(sys, options{})}
		d := &doctor{a: a}
		d.lookAtState()
		d.lookAtClock()
		got := d.checks[len(d.checks)-1]
		if got.Check != "clock" || (got.Status == doctorFailed) != (c.want == doctorFailed) {
			t.Errorf("a directory changed %v from now: %+v", c.ahead, got)
		}
	}
}

// TestDoctorAndThePIN: a locked card is a failure, and a card close to it a
// note.
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
		d := &doctor{a: &app{System: sys, out: newDisplay(sys, options{})}}
		c.token.Label, c.token.Certificates = "alice", []card.CertificateReport{{DER: []byte{1}, Used: true}}
		d.token(&card.Report{Modules: []card.ModuleReport{{Slots: []card.SlotReport{{Token: &c.token}}}}})
		if got := d.checks[0]; len(d.checks) != 1 || got.Status != c.want || !strings.Contains(got.Message, c.says) ||
			(got.Hint == "") != (c.want == doctorOK) || (got.Exit == 5) != (c.want == doctorFailed) {
			t.Errorf("it says %+v, want %s", d.checks, c.want)
		}
	}
}

// TestDoctorAsksNoPIN, even with a token that needs one.
func TestDoctorAsksNoPIN(t *testing.T) {
	lab.NeedSoftHSM(t)
	w := town.New(t, town.People("alice"))
	tokens, err := w.PKI.SoftHSM(w.Path("tokens"))
	if err != nil {
		t.Fatal(err)
	}
	w.Env = []string{tokens.Env()}
	wrong := w.Path("wrong")
	if err := os.WriteFile(wrong, []byte("000000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 4 { // a fourth wrong PIN would lock a card
		out := w.Must("", "alice", "-card", tokens.URI("alice"), "-pin-file", wrong, "doctor")
		if !strings.Contains(out, "ok      card") || strings.Contains(out, "wrong PIN") {
			t.Errorf("doctor says %q", out)
		}
	}
}
