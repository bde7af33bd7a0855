package proto

import (
	"strings"
	"testing"
)

func TestIsHex(t *testing.T) {
	for _, test := range []struct {
		s    string
		n    int
		want bool
	}{
		{"", 0, true}, {"09af", 2, true}, {"09a", 2, false}, {"09af00", 2, false}, {"09aF", 2, false}, {"09ag", 2, false}, {"/9af", 2, false},
		{"0:af", 2, false}, {"09\u00e1", 2, false},
	} {
		if got := IsHex(test.s, test.n); got != test.want {
			t.Errorf("IsHex(%q, %d) = %v", test.s, test.n, got)
		}
	}
}

func TestHash(t *testing.T) {
	var h [32]byte
	for i := range h {
		h[i] = byte(i * 11)
	}
	text := FormatHash(h)
	if !strings.HasPrefix(text, "000b16212c37424d") || MustHash(text) != h {
		t.Errorf("%x is %s, which is %x", h, text, MustHash(text))
	}
	for _, bad := range []string{"", text[1:], text + "0", strings.ToUpper(text), "x" + text[1:]} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%q is a hash", bad)
				}
			}()
			MustHash(bad)
		}()
	}
}
