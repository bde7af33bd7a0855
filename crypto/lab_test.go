package crypto

import (
	"crypto/sha256"
	"errors"
	"testing"
)

func sha256Of(b []byte) [32]byte { return sha256.Sum256(b) }

// wantCode fails unless err is a TrustError with the code.
func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	refused, ok := errors.AsType[*TrustError](err)
	if !ok || refused.Code != code {
		t.Errorf("error is %v, want a TrustError with the code %s", err, code)
	}
}
