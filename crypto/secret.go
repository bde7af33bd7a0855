package crypto

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"

	"chatsecure/proto"
)

// secretSize is the size in bytes of every derived secret and KEM secret.
const secretSize = 32

// extract and expand are HKDF-SHA256 (RFC 5869). They cannot fail with the sizes
// used here.
func extract(secret, salt []byte) []byte {
	prk, err := hkdf.Extract(sha256.New, secret, salt)
	if err != nil {
		panic("crypto: " + err.Error())
	}
	return prk
}

func expand(prk []byte, info string, size int) []byte {
	out, err := hkdf.Expand(sha256.New, prk, info, size)
	if err != nil {
		panic("crypto: " + err.Error())
	}
	return out
}

// expandLabel derives with a bare context string, not a tuple.
func expandLabel(prk []byte, label string, size int) []byte {
	return expand(prk, proto.ContextPrefix+label, size)
}

// unknownSecret returns a fresh random secret. It takes the place of an erased
// one: a text sealed under it by mistake stays closed, and nothing opens. A
// zeroed key there would be known to everybody.
func unknownSecret() []byte {
	secret := make([]byte, secretSize)
	rand.Read(secret)
	return secret
}

// uncleared returns a message key, or an unknownSecret in place of a cleared one.
func uncleared(mk []byte) []byte {
	var zero [secretSize]byte
	if len(mk) != secretSize || subtle.ConstantTimeCompare(mk, zero[:]) == 1 {
		return unknownSecret()
	}
	return mk
}

// takeSecret returns a secret that serves once and forgets it. Later it returns
// an unknownSecret.
func takeSecret(secret *[]byte) []byte {
	s := *secret
	*secret = nil
	if s == nil {
		return unknownSecret()
	}
	return s
}
