package trust

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sync"

	"chatsecure/proto"
)

// The kinds of key that GenerateKey makes.
const (
	KeyEd25519 = "ed25519" // RFC 8032; the default
	KeyRSA     = "rsa"     // RSA-2048 with PSS, as the original used
)

const (
	// keyRSABits is the one size of an RSA key, that of the original. It leaves
	// nothing to negotiate down and bounds the work that a stranger's key causes.
	keyRSABits = 2048
	// keyRSAExponent is the one public exponent. Small ones have broken RSA before,
	// large ones cost the verifier time.
	keyRSAExponent = 65537
	// pssSaltLen is the length of the salt in bytes, that of the hash (RFC 8017,
	// section 9.1).
	pssSaltLen = sha256.Size
	// maxSPKI bounds a public key in bytes of DER: RSA-2048 takes 294.
	maxSPKI = 512
)

var pssOptions = &rsa.PSSOptions{SaltLength: pssSaltLen, Hash: crypto.SHA256}

// Key is a signing key: a client's K, or the identity key of a relay. It is
// safe for concurrent use.
type Key struct {
	public *PublicKey

	mu      sync.RWMutex  // guards private; Erase takes it for writing
	private crypto.Signer // ed25519.PrivateKey or *rsa.PrivateKey; nil after Erase
}

// GenerateKey makes a new key: kind is KeyEd25519 or KeyRSA.
func GenerateKey(kind string) (*Key, error) {
	var private any
	var err error
	switch kind {
	case KeyEd25519:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	case KeyRSA:
		private, err = rsa.GenerateKey(rand.Reader, keyRSABits)
	default:
		err = fmt.Errorf("unknown kind of key %q: choose ed25519 or rsa", kind)
	}
	if err != nil {
		return nil, err
	}
	return newKey(private)
}

// ParseKey reads a private key in PKCS #8 (RFC 5958), as PKCS8 writes it. It refuses
// the keys that ParsePublicKey refuses.
func ParseKey(pkcs8 []byte) (*Key, error) {
	// ParsePKCS8PrivateKey ignores bytes after the structure.
	if _, ok := derOnly(pkcs8, derSequence); !ok {
		return nil, errors.New("private key is not one PKCS #8 structure")
	}
	private, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	return newKey(private)
}

// newKey makes a Key of a private key of the standard library.
func newKey(private any) (*Key, error) {
	signer, ok := private.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("private key of type %T: only Ed25519 and RSA-%d can be used", private, keyRSABits)
	}
	spki, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return nil, fmt.Errorf("public half of the key: %w", err)
	}
	public, err := ParsePublicKey(spki)
	if err != nil {
		return nil, err
	}
	return &Key{public: public, private: signer}, nil
}

// Kind returns KeyEd25519 or KeyRSA.
func (k *Key) Kind() string {
	if k.public.RSA() != nil {
		return KeyRSA
	}
	return KeyEd25519
}

// Public returns the public half.
func (k *Key) Public() *PublicKey { return k.public }

// PKCS8 returns the private key in PKCS #8 (RFC 5958), nil after Erase. The caller
// erases the bytes after use.
func (k *Key) PKCS8() []byte {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.private == nil {
		return nil
	}
	b, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		panic("crypto: marshal of a valid private key: " + err.Error())
	}
	return b
}

// Sign signs message: Ed25519 (RFC 8032, section 5.1), or RSASSA-PSS with
// SHA-256 and 32 bytes of salt (RFC 8017, section 8.1). After Erase it returns nil,
// which no verifier accepts.
func (k *Key) Sign(message []byte) []byte {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.private == nil {
		return nil
	}
	var options crypto.SignerOpts = crypto.Hash(0)
	if k.public.RSA() != nil {
		digest := sha256.Sum256(message)
		message, options = digest[:], pssOptions
	}
	signature, err := k.private.Sign(rand.Reader, message, options)
	if err != nil {
		panic("crypto: a signature with a valid key: " + err.Error())
	}
	return signature
}

// SignatureSize returns the length of a signature in bytes.
func (k *Key) SignatureSize() int {
	if k.public.RSA() != nil {
		return keyRSABits / 8
	}
	return ed25519.SignatureSize
}

// Erase zeroes the private key as far as it is in reach, and drops the rest. The public
// half stays.
func (k *Key) Erase() {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch private := k.private.(type) {
	case ed25519.PrivateKey:
		clear(private)
	case *rsa.PrivateKey:
		p := &private.Precomputed
		for _, n := range append([]*big.Int{private.D, p.Dp, p.Dq, p.Qinv}, private.Primes...) {
			if n != nil {
				clear(n.Bits())
			}
		}
	}
	k.private = nil
}

// PublicKey is the public half of a Key, checked by ParsePublicKey.
type PublicKey struct {
	spki []byte
	key  any // ed25519.PublicKey or *rsa.PublicKey
}

// ParsePublicKey reads a SubjectPublicKeyInfo (RFC 5280, section 4.1) in DER.
// It accepts Ed25519 in its canonical encoding and of large order, and RSA-2048 with
// the exponent 65537 and an odd modulus, each in its one encoding, since a hash of the
// encoding names the key. Under an Ed25519 key that is not on the curve nothing
// verifies.
func ParsePublicKey(spki []byte) (*PublicKey, error) {
	if len(spki) > maxSPKI {
		return nil, fmt.Errorf("public key of %d bytes, at most %d are allowed", len(spki), maxSPKI)
	}
	public, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return nil, errors.New("its public key is none (SubjectPublicKeyInfo in DER)")
	}
	switch public := public.(type) {
	case ed25519.PublicKey:
		if err := checkEd25519(public); err != nil {
			return nil, err
		}
	case *rsa.PublicKey:
		switch {
		case public.N.BitLen() != keyRSABits:
			return nil, fmt.Errorf("RSA public key of %d bits, only %d are allowed", public.N.BitLen(), keyRSABits)
		case public.N.Bit(0) == 0:
			return nil, errors.New("RSA public key with an even modulus")
		case public.E != keyRSAExponent:
			return nil, fmt.Errorf("RSA public key with the exponent %d, only %d is allowed", public.E, keyRSAExponent)
		}
	default:
		return nil, fmt.Errorf("its public key is of another kind than Ed25519 and RSA of %d bits", keyRSABits)
	}
	if again, err := x509.MarshalPKIXPublicKey(public); err != nil || !bytes.Equal(again, spki) {
		return nil, errors.New("public key is not in its canonical encoding")
	}
	return &PublicKey{bytes.Clone(spki), public}, nil
}

// SPKI returns the key as a SubjectPublicKeyInfo in DER. The caller does not change it.
func (p *PublicKey) SPKI() []byte { return p.spki }

// RSA returns the RSA key, or nil for Ed25519.
func (p *PublicKey) RSA() *rsa.PublicKey {
	key, _ := p.key.(*rsa.PublicKey)
	return key
}

// Verify reports whether signature is one over message, as Key.Sign makes it.
func (p *PublicKey) Verify(message, signature []byte) bool {
	if key, ok := p.key.(ed25519.PublicKey); ok {
		return ed25519.Verify(key, message, signature)
	}
	digest := sha256.Sum256(message)
	return rsa.VerifyPSS(p.RSA(), crypto.SHA256, digest[:], signature, pssOptions) == nil
}

// Fingerprint returns the hexadecimal SHA-256 of a public key's SPKI, by which people
// know a relay.
func Fingerprint(spki []byte) string {
	return proto.FormatHash(sha256.Sum256(spki))
}

// edPrime is the field's prime 2^255 - 19, big-endian (RFC 8032, section 5.1).
var edPrime = proto.MustHash("7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed")

// edSmallOrder are the y-coordinates, little-endian, of the eight points of small order:
// 1 (the neutral element), -1 (order 2), 0 (order 4), and the two of order 8. Anyone
// can sign for such a "key".
var edSmallOrder = [][32]byte{
	proto.MustHash("0100000000000000000000000000000000000000000000000000000000000000"),
	proto.MustHash("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
	proto.MustHash("0000000000000000000000000000000000000000000000000000000000000000"),
	proto.MustHash("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
	proto.MustHash("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
}

// checkEd25519 refuses two kinds of key that crypto/ed25519 takes: points of small
// order, and a y that is not below p (RFC 8032, section 5.1.3). It leaves a point off
// the curve to Verify, which decodes it: no signature holds under that.
func checkEd25519(public ed25519.PublicKey) error {
	y := [32]byte(public)
	y[31] &= 0x7f // the sign of x; points of small order come with either
	if slices.Contains(edSmallOrder, y) {
		return errors.New("Ed25519 public key is a point of small order")
	}
	slices.Reverse(y[:])
	if bytes.Compare(y[:], edPrime[:]) >= 0 {
		return errors.New("Ed25519 public key is not in its canonical encoding")
	}
	return nil
}
