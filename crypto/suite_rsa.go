package crypto

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"fmt"

	"chatsecure/crypto/trust"
)

// rsaSuite is RSA-2048 OAEP-SHA256 (RFC 8017, section 7.1) to an ephemeral key,
// with AES-CBC and HMAC-SHA256, encrypt-then-MAC: the algorithms of 2016.
type rsaSuite struct {
	name    string
	keySize int
}

type rsaKEMKey struct {
	private *rsa.PrivateKey
	public  []byte
}

func (k *rsaKEMKey) Public() []byte { return k.public }

func (k *rsaKEMKey) Erase() { k.private = nil }

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

func (s rsaSuite) CheckKey(publicKey []byte) error {
	_, err := s.parse(publicKey)
	return err
}

func (s rsaSuite) parse(publicKey []byte) (*rsa.PublicKey, error) {
	pub, err := trust.ParsePublicKey(publicKey)
	if err != nil {
		return nil, fmt.Errorf("KEM key: %w", err)
	}
	if pub.RSA() == nil {
		return nil, errors.New("KEM key: not an RSA key")
	}
	return pub.RSA(), nil
}

func (s rsaSuite) Encapsulate(publicKey, info []byte) (enc, secret []byte, err error) {
	pub, err := s.parse(publicKey)
	if err != nil {
		return nil, nil, err
	}
	secret = unknownSecret()
	enc, err = rsa.EncryptOAEP(sha256.New(), rand.Reader, pub, secret, info)
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
	// A failure continues with a secret that nobody has and fails at the
	// confirmation, as a wrong secret does. Neither an error nor its time tells a
	// chosen ciphertext apart.
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
	all := expandLabel(uncleared(mk), "cbc", s.keySize+aes.BlockSize+sha256.Size)
	key, iv, macKey := all[:s.keySize], all[s.keySize:s.keySize+aes.BlockSize], all[s.keySize+aes.BlockSize:]
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("crypto: " + err.Error())
	}
	clear(key)
	return block, iv, macKey
}

// mac is HMAC-SHA256 over the tuple (AAD, IV, ciphertext). The MAC key has no
// other use, so the tuple needs no context. It is written to the hash item by item,
// which spares a copy of the ciphertext.
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
	// After the MAC the bytes are the sender's own. Bad padding is refused all the
	// same, with the same error.
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
