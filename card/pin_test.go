package card

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestPINFile(t *testing.T) {
	for _, tc := range []struct {
		content, pin string
		kind         Kind
	}{
		{"1234", "1234", ""},
		{"1234\n", "1234", ""},
		{"1234\r\n", "1234", ""},
		{"1234\nsecond line", "1234", ""},
		{" 12 34 \n", " 12 34 ", ""},
		{strings.Repeat("9", maxPIN) + "\r\n", strings.Repeat("9", maxPIN), ""},
		{strings.Repeat("9", maxPIN+1) + "\n", "", PINIncorrect},
		{strings.Repeat("9", 10*maxPIN), "", PINIncorrect},
		{"", "", PINNeeded},
		{"\n1234", "", PINNeeded},
		{"\r\n1234", "", PINNeeded},
	} {
		path := filepath.Join(t.TempDir(), "pin")
		writeFile(t, path, []byte(tc.content), 0o600)
		pin, err := PINFile(path, func(s string) { t.Errorf("%q: said %q", tc.content, s) })(t.Context(), PINRequest{})
		if tc.kind != "" {
			e := wantKind(t, err, tc.kind)
			if pin != nil || strings.Contains(e.Error()+e.Hint, "1234") || tc.kind == PINNeeded && !strings.Contains(e.Hint, "first line") {
				t.Errorf("%q: gave %q and said %q", tc.content, pin, e)
			}
		} else if err != nil || string(pin) != tc.pin {
			t.Errorf("%q: got %q, %v", tc.content, pin, err)
		}
	}
}

func TestPINFileReadableByOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pin")
	writeFile(t, path, []byte("1234\n"), 0o644)
	var notices []string
	pin, err := PINFile(path, func(s string) { notices = append(notices, s) })(t.Context(), PINRequest{})
	if err != nil || string(pin) != "1234" {
		t.Fatalf("got %q, %v", pin, err)
	}
	if len(notices) != 1 || !strings.Contains(notices[0], "read by others") {
		t.Errorf("said %q", notices)
	}
}

func TestPINFileMissing(t *testing.T) {
	_, err := PINFile(filepath.Join(t.TempDir(), "none"), nil)(t.Context(), PINRequest{})
	e := wantKind(t, err, PINNeeded)
	if !os.IsNotExist(e.err) || !strings.Contains(e.Hint, "first line") {
		t.Errorf("behind it is %v", e.err)
	}
}

// A pipe has no meaningful mode, so that there is no notice.
func TestPINFromPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w.WriteString("1234\n")
	w.Close()
	path := "/dev/fd/" + strconv.FormatUint(uint64(r.Fd()), 10)
	pin, err := PINFile(path, func(s string) { t.Errorf("said %q", s) })(t.Context(), PINRequest{})
	if err != nil || string(pin) != "1234" {
		t.Errorf("got %q, %v", pin, err)
	}
}

// The last try is never spent on a file. A lesser warning is shown before the PIN
// is given.
func TestPINFileWarnings(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pin")
	writeFile(t, path, []byte("1234\n"), 0o600)
	var notices []string
	f := PINFile(path, func(s string) { notices = append(notices, s) })
	_, err := f(t.Context(), PINRequest{fewTries: true, finalTry: true})
	wantKind(t, err, PINNeeded)
	if _, err := f(t.Context(), PINRequest{fewTries: true}); err != nil {
		t.Error(err)
	}
	if len(notices) != 1 || !strings.Contains(notices[0], "fewer tries") {
		t.Errorf("said %q", notices)
	}
}
