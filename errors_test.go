package chatsecure

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"chatsecure/card"
	"chatsecure/crypto"
	"chatsecure/proto"
)

// TestExitStatus is the table of PROTOCOL.md and -h: what each code means to a
// script.
func TestExitStatus(t *testing.T) {
	want := map[proto.Code]int{
		proto.Malformed: 1, proto.TooLong: 1, proto.Unexpected: 1, proto.Internal: 1, proto.History: 1,
		proto.Usage: 2, proto.NameInvalid: 2,
		proto.Busy: 3, proto.Slow: 3, proto.Flood: 3, proto.Shutdown: 3, proto.Lost: 3,
		proto.NoCommonSuite: 4, proto.NameTaken: 4, proto.IdentityChanged: 4, proto.UnknownPeer: 4, proto.UnknownRelay: 4, proto.RelayChanged: 4,
		proto.CertificateUntrusted: 4, proto.CertificateExpired: 4, proto.CertificateNotYet: 4, proto.CertificateRevoked: 4,
		proto.CertificateUnsuitable: 4, proto.RevocationUnknown: 4, proto.DelegationInvalid: 4, proto.DelegationExpired: 4,
		proto.DelegationNotYet: 4, proto.NameMismatch: 4, proto.BundleMalformed: 4,
		proto.Card:    5,
		proto.Timeout: 6, proto.NoSuchName: 6, proto.Gone: 6, proto.NoConversation: 6, proto.NotTaking: 6, proto.NotDelivered: 6,
		proto.SignatureInvalid: 8, proto.DecryptFailed: 8,
	}
	for code := range codes {
		if _, ok := want[code]; !ok {
			t.Errorf("the test knows nothing of the code %q", code)
		}
	}
	for code, status := range want {
		if got := ExitStatus(Errorf(code, "it failed")); got != status {
			t.Errorf("%s: exit status %d, want %d", code, got, status)
		}
		if got := ExitStatus(fmt.Errorf("wrapped: %w", proto.Errorf(code, "it failed"))); got != status {
			t.Errorf("%s from the wire: exit status %d, want %d", code, got, status)
		}
	}
	if got := ExitStatus(proto.Errorf("something-new", "it failed")); got != 1 {
		t.Errorf("a code that nobody knows: exit status %d, want 1", got)
	}
	if got := ExitStatus(nil); got != 0 {
		t.Errorf("no error: exit status %d, want 0", got)
	}
}

// TestEveryCodeIsExplained holds the table against the codes of package proto.
func TestEveryCodeIsExplained(t *testing.T) {
	source, err := os.ReadFile("proto/errors.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for line := range strings.Lines(string(source)) {
		_, value, ok := strings.Cut(line, ` Code = "`)
		if !ok {
			continue
		}
		found++
		code := proto.Code(strings.Split(value, `"`)[0])
		entry, ok := codes[code]
		if !ok {
			t.Errorf("the code %q has no exit status", code)
		}
		if entry.hint == "" && code != proto.Internal {
			t.Errorf("the code %q does not say what to do", code)
		}
	}
	if found != len(codes) {
		t.Errorf("proto/errors.go has %d codes, the table %d", found, len(codes))
	}
}

func TestAsError(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	cases := []struct {
		name string
		err  error
		code proto.Code
		says string // in the message
		hint string // in the hint
	}{
		{"own", Errorf(proto.Lost, "gone"), proto.Lost, "gone", "relay"},
		{"own, wrapped", fmt.Errorf("while: %w", Errorf(proto.Lost, "gone")), proto.Lost, "gone", "relay"},
		{"wire", proto.Errorf(proto.NameTaken, "taken"), proto.NameTaken, "taken", "-name"},
		{"wire, hostile", &proto.Error{Code: proto.Busy, Message: "a\x1b[2Jb\nc"}, proto.Busy, `a\x1b[2Jb\x0ac`, "again"},
		{"trust", &crypto.TrustError{Code: proto.CertificateRevoked, Reason: "revoked", Hint: "mind"}, proto.CertificateRevoked, "revoked", "mind"},
		{"trust without a hint", &crypto.TrustError{Code: proto.CertificateExpired, Reason: "over"}, proto.CertificateExpired, "over", "clock"},
		{"card", &card.Error{Kind: card.PINIncorrect, Message: "the PIN was wrong", Hint: "careful"}, proto.Card, "PIN", "careful"},
		{"net", refused, proto.Lost, "refused", "relay"},
		{"decrypt", fmt.Errorf("x: %w", crypto.ErrDecrypt), proto.DecryptFailed, "", ""},
		{"gap", crypto.ErrGap, proto.DecryptFailed, "", ""},
		{"replay", crypto.ErrReplay, proto.DecryptFailed, "", ""},
		{"handshake", crypto.ErrHandshake, proto.Malformed, "", ""},
		{"clock", crypto.ErrClock, proto.Unexpected, "clock", "clocks"},
		{"cancelled", context.Canceled, proto.Internal, "interrupted", ""},
		{"deadline", context.DeadlineExceeded, proto.Timeout, "time", "-timeout"},
		{"full disk", &fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, proto.Internal, "no space", "room"},
		{"forbidden", &fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES}, proto.Internal, "denied", "owns"},
		{"anything", errors.New("odd"), proto.Internal, "odd", ""},
	}
	for _, c := range cases {
		e := AsError(c.err)
		if e.Code != c.code || !strings.Contains(e.Message, c.says) || !strings.Contains(e.Advice(), c.hint) {
			t.Errorf("%s: %s %q, hint %q", c.name, e.Code, e.Message, e.Advice())
		}
		if !errors.Is(c.err, e) && !errors.Is(e, c.err) {
			t.Errorf("%s: the error behind it is lost", c.name)
		}
	}
	if AsError(nil) != nil {
		t.Error("no error is an error")
	}
}

func TestMostSevere(t *testing.T) {
	// The order of the specification, then what can only be said alone.
	order := []int{8, 5, 4, 3, 7, 6, 2, 1, 0}
	for i, a := range order {
		for _, b := range order[i:] {
			if got := MostSevere(a, b); got != a {
				t.Errorf("of %d and %d, %d counts, want %d", a, b, got, a)
			}
			if got := MostSevere(b, a); got != a {
				t.Errorf("of %d and %d, %d counts, want %d", b, a, got, a)
			}
		}
	}
	if got := MostSevere(); got != 0 {
		t.Errorf("of nothing, %d counts", got)
	}
}

func TestOutcomeExitStatus(t *testing.T) {
	reached := func(name string) NameOutcome { return NameOutcome{Name: name, Reached: 2} }
	partly := NameOutcome{Name: "p", Reached: 1, Open: 1}
	failed := NameOutcome{Name: "f", Failed: 2}
	late := Errorf(proto.NotDelivered, "late")
	nobody := Errorf(proto.NoSuchName, "nobody")
	cases := []struct {
		name string
		out  Outcome
		want int
	}{
		{"nothing was sent", Outcome{}, 0},
		{"all", Outcome{Names: []NameOutcome{reached("a"), reached("b")}}, 0},
		{"none", Outcome{Names: []NameOutcome{failed}, Failed: []*Error{nobody}}, 6},
		{"one recipient, part of it", Outcome{Names: []NameOutcome{partly}, Failed: []*Error{late}}, 6},
		{"some", Outcome{Names: []NameOutcome{reached("a"), failed}, Failed: []*Error{nobody}}, 7},
		{"some, one late", Outcome{Names: []NameOutcome{reached("a"), partly}, Failed: []*Error{late}}, 7},
		{"some, one refused", Outcome{Names: []NameOutcome{reached("a"), failed}, Failed: []*Error{late, Errorf(proto.CertificateRevoked, "")}}, 4},
		{"none, the relay lost", Outcome{Names: []NameOutcome{partly}, Failed: []*Error{late, Errorf(proto.Lost, "")}}, 3},
		{"none, and a signature broken", Outcome{Names: []NameOutcome{partly}, Failed: []*Error{Errorf(proto.Lost, ""), Errorf(proto.SignatureInvalid, "")}}, 8},
		{"all, and then the relay lost", Outcome{Names: []NameOutcome{reached("a")}, Failed: []*Error{Errorf(proto.Lost, "")}}, 0},
		{"lost before anything was sent", Outcome{Failed: []*Error{Errorf(proto.Lost, "")}}, 3},
	}
	for _, c := range cases {
		if got := c.out.ExitStatus(); got != c.want {
			t.Errorf("%s: exit status %d, want %d", c.name, got, c.want)
		}
	}
}

// TestChangesAreExplained: row 5. Who reads the refusal must learn
// both readings of it, and how to go on.
func TestChangesAreExplained(t *testing.T) {
	old, now := strings.Repeat("0a", 32), strings.Repeat("0b", 32)
	e := errRelayChanged("relay.example:8080", old, now)
	for _, want := range []string{"relay.example:8080", old, now} {
		if !strings.Contains(e.Message, want) {
			t.Errorf("%q does not say %s", e.Message, want)
		}
	}
	for _, want := range []string{"anew", "between you and it", "relay -fingerprint", "client trust accept relay.example:8080"} {
		if !strings.Contains(e.Advice(), want) {
			t.Errorf("%q does not say %s", e.Advice(), want)
		}
	}
	var change *RelayChange
	if !errors.As(e, &change) || change.Now != now {
		t.Error("a program cannot tell what changed")
	}
	if e := errRelayUnknown("relay.example:8080", now); !strings.Contains(e.Message, now) || !strings.Contains(e.Advice(), "-fingerprint "+now) {
		t.Errorf("an unknown relay: %q %q", e.Message, e.Advice())
	}
}

func TestNormalFingerprint(t *testing.T) {
	plain := strings.Repeat("ab", 32)
	colons := strings.TrimSuffix(strings.Repeat("AB:", 32), ":")
	if got := normalFingerprint(colons); got != plain {
		t.Errorf("%s became %s", colons, got)
	}
}

// TestSentences holds hints to the house's style: no full stop at the end.
func TestSentences(t *testing.T) {
	for code, entry := range codes {
		if strings.HasSuffix(entry.hint, ".") || strings.TrimSpace(entry.hint) != entry.hint {
			t.Errorf("%s: %q", code, entry.hint)
		}
	}
}
