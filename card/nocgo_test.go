//go:build !cgo

package card

import "testing"

func TestWithoutCgo(t *testing.T) {
	for _, spec := range []string{"", "pkcs11:token=alice"} {
		_, err := Open(t.Context(), spec, Options{})
		if e := wantKind(t, err, NoCgo); e.Hint == "" {
			t.Error("does not say what to do")
		}
		_, err = Survey(t.Context(), spec, Options{})
		wantKind(t, err, NoCgo)
	}
	_, err := Open(t.Context(), "pkcs11:pin-value=1", Options{})
	wantKind(t, err, BadSpec)
}
