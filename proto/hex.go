package proto

import (
	"encoding/hex"
	"fmt"
)

// Binary stands in base64, except for hashes, identities and ids, which people
// read and compare: these stand in lower-case hexadecimal.

// IsHex reports whether s is n bytes in lower-case hexadecimal.
func IsHex(s string, n int) bool {
	if len(s) != 2*n {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// FormatHash writes a hash, an identity or a fingerprint.
func FormatHash(h [32]byte) string { return hex.EncodeToString(h[:]) }

// MustHash reads what FormatHash wrote: constants, and what IsHex has checked.
// It panics on anything else.
func MustHash(s string) (h [32]byte) {
	if !IsHex(s, len(h)) {
		panic(fmt.Sprintf("proto: %q is not a hash", s))
	}
	hex.Decode(h[:], []byte(s))
	return h
}
