package fail

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"chatsecure/card"
	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/proto"
)

// TestExitStatus has the exit statuses of PROTOCOL.md and -h, by code.
func TestExitStatus(t *testing.T) {
	want := map[proto.Code]int{
		proto.Malformed: 1, proto.TooLong: 1, proto.Unexpected: 1, proto.Internal: 1, proto.History: 1,
		proto.Usage: 2, proto.NameInvalid: 2,
		proto.Busy: 3, proto.Slow: 3, proto.Flood: 3, proto.Shutdown: 3, proto.Lost: 3,
		proto.NoCommonSuite: 4, proto.NameTaken: 4, proto.NotAllowed: 4, proto.NotAccepted: 4, proto.IdentityChanged: 4, proto.UnknownPeer: 4, proto.UnknownRelay: 4, proto.RelayChanged: 4,
		proto.CertificateUntrusted: 4, proto.CertificateExpired: 4, proto.CertificateNotYet: 4, proto.CertificateRevoked: 4,
		proto.CertificateUnsuitable: 4, proto.RevocationUnknown: 4, proto.DelegationInvalid: 4, proto.DelegationExpired: 4,
		proto.DelegationNotYet: 4, proto.NameMismatch: 4, proto.BundleMalformed: 4,
		proto.Card:    5,
		proto.Timeout: 6, proto.NoSuchName: 6, proto.Gone: 6, proto.NoConversation: 6, proto.NotTaking: 6, proto.NotDelivered: 6, proto.NoMailbox: 6, proto.MailboxFull: 6,
		proto.SignatureInvalid: 8, proto.DecryptFailed: 8,
	}
	for code := range Codes {
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

// TestEveryCodeIsExplained compares the table with the codes of package proto.
func TestEveryCodeIsExplained(t *testing.T) {
	source, err := os.ReadFile("../../proto/errors.go")
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
		entry, ok := Codes[code]
		if !ok {
			t.Errorf("the code %q has no exit status", code)
		}
		// What a certificate is refused for has the remedy.
		perCase := code == proto.Internal || code == proto.RevocationUnknown ||
			strings.HasPrefix(string(code), "certificate-")
		if (entry.hint == "") != perCase {
			t.Errorf("the code %q has the hint %q", code, entry.hint)
		}
	}
	if found != len(Codes) {
		t.Errorf("proto/errors.go has %d codes, the table %d", found, len(Codes))
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
		{"clear", &proto.ClearError{Code: proto.Busy, Message: "a\nb\""}, proto.Busy, `has proved nothing yet, says busy: "a\x0ab\""`, "again"},
		{"clear, of no code", &proto.ClearError{Code: "x: y", Message: ""}, "x: y", `says "x: y": ""`, ""},
		{"trust", &trust.Error{Code: proto.CertificateRevoked, Reason: "revoked", Hint: "mind"}, proto.CertificateRevoked, "revoked", "mind"},
		{"trust without a hint", &trust.Error{Code: proto.CertificateExpired, Reason: "over"}, proto.CertificateExpired, "over", ""},
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

// TestHintsOfRefusals: a remedy comes from the refusal, not from its code alone, and what the
// other side refused gets none that is about this machine.
func TestHintsOfRefusals(t *testing.T) {
	for code := range Codes {
		far := proto.Errorf(code, "refused")
		// Without a proof the code itself may be anybody's: no hint of it may lead to a decision.
		if hint := AsError(&proto.ClearError{Code: code}).Advice(); (hint != "") != slices.Contains(inClear, code) ||
			strings.Contains(hint, "-name") || strings.Contains(hint, "accept") {
			t.Errorf("%s in clear: hint %q", code, hint)
		}
		for _, err := range []error{far, &Error{Code: code, Message: "alice refuses you", Err: far}} {
			hint := AsError(err).Advice()
			for _, local := range []string{"-ca-bundle", "-only-ca", "-crl", "this machine", "-accept-new", "trust accept", "-fingerprint"} {
				if strings.Contains(hint, local) {
					t.Errorf("%s of the other side: hint %q", code, hint)
				}
			}
		}
		if !strings.HasPrefix(string(code), "certificate-") && code != proto.RevocationUnknown {
			continue
		}
		if hint := AsError(&trust.Error{Code: code, Reason: "the path is too long"}).Advice(); hint != "" {
			t.Errorf("%s without a remedy: hint %q", code, hint)
		}
	}
}

// TestTold: the other side hears no path of this machine.
func TestTold(t *testing.T) {
	const secret = "/home/operator/lists/s.crl"
	for _, c := range []struct {
		err  error
		says string
	}{
		{&trust.Error{Code: proto.RevocationUnknown, Reason: secret + " clears nobody", Other: "it is not known"}, "it is not known"},
		{fmt.Errorf("%w; more", &trust.Error{Code: proto.CertificateRevoked, Reason: "revoked"}), "revoked"},
		{&Error{Code: proto.Internal, Message: secret + " cannot be written"}, "a fault of its own"},
		{&Error{Code: proto.History, Message: secret + " is damaged"}, "a fault of its own"},
		{proto.Errorf(proto.NameTaken, "taken"), "taken"},
	} {
		told := Told(c.err)
		if told.Code != AsError(c.err).Code || !strings.Contains(told.Message, c.says) || strings.Contains(told.Message, secret) {
			t.Errorf("%v: told %s %q", c.err, told.Code, told.Message)
		}
	}
	if told := Told(&fs.PathError{Op: "open", Path: secret, Err: syscall.EACCES}); told != nil {
		t.Errorf("told %v", told)
	}
}

func TestMostSevere(t *testing.T) {
	// The order of the specification, then the statuses that never meet another.
	order := []int{8, 5, 4, 3, 7, 6, 9, 2, 1, 0}
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

// TestSentences: a hint has no full stop at its end.
func TestSentences(t *testing.T) {
	for code, entry := range Codes {
		if strings.HasSuffix(entry.hint, ".") || strings.TrimSpace(entry.hint) != entry.hint {
			t.Errorf("%s: %q", code, entry.hint)
		}
	}
}
