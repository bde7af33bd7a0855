package crypto

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/hpke"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"fmt"

	"chatsecure/proto"
)

// The names of the suites, as they stand in `ciphers`.
const (
	SuiteMLKEM  = "MLKEM768X25519_AES256_GCM"
	SuiteRSA256 = "RSA_AES256_CBC_HMAC"
	SuiteRSA128 = "RSA_AES128_CBC_HMAC"
)

// ErrDecrypt is the one error of everything that opens, decapsulates or
// confirms: it must not tell an attacker which step failed.
var ErrDecrypt error = &refusal{code: proto.DecryptFailed, text: "decryption or authentication failed"}

// refusal is an error with a code of PROTOCOL.md's.
type refusal struct {
	code       proto.Code
	text, hint string
}

// Error returns the sentence.
func (e *refusal) Error() string { return e.text }

// Refusal returns the code and the hint. The sentence is that of the whole
// error which wraps this one.
func (e *refusal) Refusal() (proto.Code, string, string) { return e.code, "", e.hint }

// secretSize is the size of every derived secret and of every KEM secret.
const secretSize = 32

// sealOverhead bounds by how many bytes a sealed text is longer than its
// plaintext, in any suite: a CBC block of padding and a MAC.
const sealOverhead = aes.BlockSize + sha256.Size

// A Suite is a key encapsulation and a way of sealing. There are three.
type Suite interface {
	Name() string
	// GenerateKey makes a key pair that serves for one Decapsulate.
	GenerateKey() (KEMKey, error)
	// Encapsulate makes a 32-byte secret for the holder of publicKey. It fails
	// on a key that is malformed or weak.
	Encapsulate(publicKey, info []byte) (enc, secret []byte, err error)
	// Decapsulate returns the secret in enc. A spoiled enc gives either
	// ErrDecrypt or a secret that nobody else has; only a confirmation tells.
	Decapsulate(key KEMKey, enc, info []byte) (secret []byte, err error)
	// Seal appends the sealed plaintext to dst. A message key serves once.
	Seal(dst, mk, aad, plaintext []byte) []byte
	// Open appends the plaintext to dst, which may be sealed[:0], or returns
	// ErrDecrypt.
	Open(dst, mk, aad, sealed []byte) ([]byte, error)
}

// A KEMKey is the private half of an ephemeral key pair.
type KEMKey interface {
	Public() []byte
	// Erase drops the private half. What crypto/hpke and crypto/rsa hold inside
	// cannot be wiped from here, only let go.
	Erase()
}

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

// ChooseSuite returns the first of the offered suites that is also allowed, or
// nil. The offer's order decides; the transcript holds all of it.
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

// extract and expand are HKDF-SHA256 (RFC 5869). Neither can fail with the
// sizes used here.
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

// expandLabel derives with a label that is nothing but a context string.
func expandLabel(prk []byte, label string, size int) []byte {
	return expand(prk, contextPrefix+label, size)
}

// unknownSecret returns a secret that nobody has. It stands where one has been
// erased: what is sealed under it by mistake stays closed, and nothing opens.
// A zeroed key in its place would be one that everybody has.
func unknownSecret() []byte {
	secret := make([]byte, secretSize)
	rand.Read(secret)
	return secret
}

// checkKEMKey tells whether publicKey can be encapsulated to. A low-order
// X25519 point is found by using it, so it is used.
func checkKEMKey(s Suite, publicKey []byte) error {
	_, secret, err := s.Encapsulate(publicKey, nil)
	clear(secret)
	return err
}

// mlkemSuite is crypto/hpke's MLKEM768X25519 in base mode, export only
// (RFC 9180), with AES-256-GCM.
type mlkemSuite struct{}

type hpkeKey struct {
	private hpke.PrivateKey
	public  []byte
}

func (k *hpkeKey) Public() []byte { return k.public }
func (k *hpkeKey) Erase()         { k.private = nil }

const exportKEM = contextPrefix + "kem"

func (mlkemSuite) Name() string { return SuiteMLKEM }

func (mlkemSuite) GenerateKey() (KEMKey, error) {
	private, err := hpke.MLKEM768X25519().GenerateKey()
	if err != nil {
		return nil, err
	}
	return &hpkeKey{private, private.PublicKey().Bytes()}, nil
}

func (mlkemSuite) Encapsulate(publicKey, info []byte) (enc, secret []byte, err error) {
	pub, err := hpke.MLKEM768X25519().NewPublicKey(publicKey)
	if err != nil {
		return nil, nil, fmt.Errorf("KEM key: %w", err)
	}
	enc, sender, err := hpke.NewSender(pub, hpke.HKDFSHA256(), hpke.ExportOnly(), info)
	if err != nil {
		return nil, nil, fmt.Errorf("KEM key: %w", err)
	}
	secret, err = sender.Export(exportKEM, secretSize)
	return enc, secret, err
}

func (mlkemSuite) Decapsulate(key KEMKey, enc, info []byte) ([]byte, error) {
	k, ok := key.(*hpkeKey)
	if !ok || k.private == nil {
		return nil, ErrDecrypt
	}
	recipient, err := hpke.NewRecipient(enc, k.private, hpke.HKDFSHA256(), hpke.ExportOnly(), info)
	if err != nil {
		return nil, ErrDecrypt
	}
	secret, err := recipient.Export(exportKEM, secretSize)
	if err != nil {
		return nil, ErrDecrypt
	}
	return secret, nil
}

func (mlkemSuite) gcm(mk []byte) (cipher.AEAD, []byte) {
	key := expandLabel(mk, "key", 32)
	nonce := expandLabel(mk, "nonce", 12)
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("crypto: " + err.Error())
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("crypto: " + err.Error())
	}
	clear(key)
	return aead, nonce
}

func (s mlkemSuite) Seal(dst, mk, aad, plaintext []byte) []byte {
	// The nonce need not be random: mk serves once.
	aead, nonce := s.gcm(mk)
	return aead.Seal(dst, nonce, plaintext, aad)
}

func (s mlkemSuite) Open(dst, mk, aad, sealed []byte) ([]byte, error) {
	aead, nonce := s.gcm(mk)
	out, err := aead.Open(dst, nonce, sealed, aad)
	if err != nil {
		return nil, ErrDecrypt
	}
	return out, nil
}

// rsaSuite is RSA-2048 OAEP-SHA256 to an ephemeral key, and AES-CBC with
// HMAC-SHA256, encrypt-then-MAC: the algorithms of 2016.
type rsaSuite struct {
	name    string
	keySize int
}

type rsaKEMKey struct {
	private *rsa.PrivateKey
	public  []byte
}

func (k *rsaKEMKey) Public() []byte { return k.public }
func (k *rsaKEMKey) Erase()         { k.private = nil }

func (s rsaSuite) Name() string { return s.name }

func (s rsaSuite) GenerateKey() (KEMKey, error) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		return nil, err
	}
	return &rsaKEMKey{private, public}, nil
}

func (s rsaSuite) Encapsulate(publicKey, info []byte) (enc, secret []byte, err error) {
	pub, err := ParsePublicKey(publicKey)
	if err != nil {
		return nil, nil, fmt.Errorf("KEM key: %w", err)
	}
	if pub.rsa == nil {
		return nil, nil, errors.New("KEM key: not an RSA key")
	}
	secret = unknownSecret()
	enc, err = rsa.EncryptOAEP(sha256.New(), rand.Reader, pub.rsa, secret, info)
	if err != nil {
		clear(secret)
		return nil, nil, fmt.Errorf("KEM key: %w", err)
	}
	return enc, secret, nil
}

func (s rsaSuite) Decapsulate(key KEMKey, enc, info []byte) ([]byte, error) {
	k, ok := key.(*rsaKEMKey)
	if !ok || k.private == nil {
		return nil, ErrDecrypt
	}
	// A failure goes on with a secret that nobody has, so that neither an
	// error nor the time it takes tells a chosen ciphertext apart: it fails
	// where a wrong secret fails, at the confirmation.
	secret := unknownSecret()
	opened, err := rsa.DecryptOAEP(sha256.New(), nil, k.private, enc, info)
	good := 0
	if err == nil && len(opened) == secretSize {
		good = 1
	} else {
		opened = make([]byte, secretSize)
	}
	subtle.ConstantTimeCopy(good, secret, opened)
	clear(opened)
	return secret, nil
}

func (s rsaSuite) keys(mk []byte) (block cipher.Block, iv, macKey []byte) {
	key := expandLabel(mk, "key", s.keySize)
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("crypto: " + err.Error())
	}
	clear(key)
	return block, expandLabel(mk, "iv", aes.BlockSize), expandLabel(mk, "mac", sha256.Size)
}

// mac is HMAC-SHA256 over the tuple (AAD, IV, ciphertext). The MAC key serves
// for nothing else, so the tuple needs no context.
func (s rsaSuite) mac(dst, macKey, aad, iv, ciphertext []byte) []byte {
	h := hmac.New(sha256.New, macKey)
	for _, item := range [...][]byte{aad, iv, ciphertext} {
		n := uint32(len(item))
		h.Write([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
		h.Write(item)
	}
	return h.Sum(dst)
}

func (s rsaSuite) Seal(dst, mk, aad, plaintext []byte) []byte {
	block, iv, macKey := s.keys(mk)
	start := len(dst)
	dst = append(dst, plaintext...)
	pad := aes.BlockSize - len(plaintext)%aes.BlockSize
	for range pad {
		dst = append(dst, byte(pad))
	}
	ciphertext := dst[start:]
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(ciphertext, ciphertext)
	dst = s.mac(dst, macKey, aad, iv, ciphertext)
	clear(macKey)
	return dst
}

func (s rsaSuite) Open(dst, mk, aad, sealed []byte) ([]byte, error) {
	n := len(sealed) - sha256.Size
	if n < aes.BlockSize || n%aes.BlockSize != 0 {
		return nil, ErrDecrypt
	}
	block, iv, macKey := s.keys(mk)
	ciphertext := sealed[:n]
	want := s.mac(nil, macKey, aad, iv, ciphertext)
	clear(macKey)
	if !hmac.Equal(want, sealed[n:]) {
		return nil, ErrDecrypt
	}
	// Past the MAC the bytes are the sender's own; the padding is checked all
	// the same, and fails with the same error.
	start := len(dst)
	dst = append(dst, ciphertext...)
	plain := dst[start:]
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, plain)
	pad := int(plain[n-1])
	if pad < 1 || pad > aes.BlockSize {
		return nil, ErrDecrypt
	}
	for _, b := range plain[n-pad:] {
		if int(b) != pad {
			return nil, ErrDecrypt
		}
	}
	return dst[:start+n-pad], nil
}
