package crypto

import (
	"crypto/aes"
	"crypto/sha256"
)

// The names of the suites, as in `ciphers`.
const (
	SuiteMLKEM  = "MLKEM768X25519_AES256_GCM"
	SuiteRSA256 = "RSA_AES256_CBC_HMAC"
	SuiteRSA128 = "RSA_AES128_CBC_HMAC"
)

// A Suite is a key encapsulation and an authenticated encryption. PROTOCOL.md,
// "Suites".
type Suite interface {
	Name() string
	// GenerateKey makes a key pair for one Decapsulate.
	GenerateKey() (KEMKey, error)
	// CheckKey refuses bytes that are no public key. It tries nothing: an X25519 point
	// of low order shows only in Encapsulate.
	CheckKey(publicKey []byte) error
	// Encapsulate makes a 32-byte secret for the holder of publicKey. It refuses a
	// malformed or weak key.
	Encapsulate(publicKey, info []byte) (enc, secret []byte, err error)
	// Decapsulate returns the secret in enc. A spoiled enc gives ErrDecrypt, or a
	// secret that nobody else has, and only a confirmation tells.
	Decapsulate(key KEMKey, enc, info []byte) (secret []byte, err error)
	// Seal appends the sealed plaintext to dst. A message key serves once. Under one
	// that has been cleared nobody can open what is sealed.
	Seal(dst, mk, aad, plaintext []byte) []byte
	// Open appends the plaintext to dst, which may be sealed[:0]. Its one error is
	// ErrDecrypt. Under a key that has been cleared nothing opens.
	Open(dst, mk, aad, sealed []byte) ([]byte, error)
}

// A KEMKey is the private half of an ephemeral key pair.
type KEMKey interface {
	Public() []byte
	// Erase drops the private half. The memory inside crypto/hpke and crypto/rsa
	// is out of reach and cannot be cleared.
	Erase()
}

// sealOverhead bounds the bytes that sealing adds in any suite: a CBC block of
// padding and a MAC.
const sealOverhead = aes.BlockSize + sha256.Size

// suites is every suite, best first.
var suites = []Suite{
	mlkemSuite{},
	rsaSuite{name: SuiteRSA256, keySize: 32},
	rsaSuite{name: SuiteRSA128, keySize: 16},
}

// SuiteNames returns the names of all suites, best first.
func SuiteNames() []string {
	names := make([]string, len(suites))
	for i, s := range suites {
		names[i] = s.Name()
	}
	return names
}

// SuiteByName returns the suite of that name, or nil.
func SuiteByName(name string) Suite {
	for _, s := range suites {
		if s.Name() == name {
			return s
		}
	}
	return nil
}

// ChooseSuite returns the first of the offered suites that is allowed, or nil.
// The order of the offer decides, and all of it stands in the transcript.
func ChooseSuite(offered, allowed []string) Suite {
	for _, o := range offered {
		for _, a := range allowed {
			if o == a {
				return SuiteByName(o)
			}
		}
	}
	return nil
}
