package crypto

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"slices"

	"chatsecure/proto"
)

// secretSize is the size in bytes of every derived secret and KEM secret.
const secretSize = 32

// extract is HKDF-Extract with SHA-256 (RFC 5869). It cannot fail with the sizes
// used here.
func extract(secret, salt []byte) []byte {
	prk, err := hkdf.Extract(sha256.New, secret, salt)
	if err != nil {
		panic("crypto: " + err.Error())
	}
	return prk
}

// expand is HKDF-Expand with SHA-256 (RFC 5869, section 2.3) from a prk of 32 bytes.
// Each message of each hop needs one. crypto/hkdf would make more than ten allocations,
// which hold the key and which nobody can clear.
func expand(prk, info []byte, size int) []byte {
	const block, hash = sha256.BlockSize, sha256.Size
	var stack [512]byte
	inner := slices.Grow(stack[:0], block+hash+len(info)+1)[:block]
	var outer [block + hash]byte
	var h [hash]byte
	defer func() { clear(inner[:cap(inner)]); clear(outer[:]); clear(h[:]) }()
	copy(inner, prk)
	copy(outer[:], prk)
	for i := range block { // HMAC's two keys (RFC 2104)
		inner[i] ^= 0x36
		outer[i] ^= 0x5c
	}
	out := make([]byte, 0, (size+hash-1)/hash*hash)
	for n := byte(1); len(out) < size; n++ {
		text := append(append(inner, out[max(0, len(out)-hash):]...), info...)
		h = sha256.Sum256(append(text, n))
		h = sha256.Sum256(append(outer[:block], h[:]...))
		out = append(out, h[:]...)
	}
	clear(out[size:cap(out)])
	return out[:size:size]
}

// expandLabel derives with a bare context string, not a tuple.
func expandLabel(prk []byte, label string, size int) []byte {
	return expand(prk, []byte(proto.ContextPrefix+label), size)
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
