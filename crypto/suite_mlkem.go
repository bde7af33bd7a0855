package crypto

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hpke"
	"fmt"

	"chatsecure/proto"
)

// mlkemSuite is crypto/hpke's MLKEM768X25519 in base mode, export only
// (RFC 9180), with AES-256-GCM.
type mlkemSuite struct{}

type hpkeKey struct {
	private hpke.PrivateKey
	public  []byte
}

func (k *hpkeKey) Public() []byte { return k.public }

func (k *hpkeKey) Erase() { k.private = nil }

const exportKEM = proto.ContextPrefix + "kem"

func (mlkemSuite) Name() string { return SuiteMLKEM }

func (mlkemSuite) GenerateKey() (KEMKey, error) {
	private, err := hpke.MLKEM768X25519().GenerateKey()
	if err != nil {
		return nil, err
	}
	return &hpkeKey{private, private.PublicKey().Bytes()}, nil
}

func (mlkemSuite) CheckKey(publicKey []byte) error {
	_, err := hpke.MLKEM768X25519().NewPublicKey(publicKey)
	return err
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

// gcm is AES-256-GCM under mk itself.
func (mlkemSuite) gcm(mk []byte) cipher.AEAD {
	block, err := aes.NewCipher(uncleared(mk))
	if err != nil {
		panic("crypto: " + err.Error())
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("crypto: " + err.Error())
	}
	return aead
}

// zeroNonce is the nonce of every text. A key and a nonce may not serve twice
// together, and each mk serves once.
var zeroNonce [12]byte

func (s mlkemSuite) Seal(dst, mk, aad, plaintext []byte) []byte {
	return s.gcm(mk).Seal(dst, zeroNonce[:], plaintext, aad)
}

func (s mlkemSuite) Open(dst, mk, aad, sealed []byte) ([]byte, error) {
	out, err := s.gcm(mk).Open(dst, zeroNonce[:], sealed, aad)
	if err != nil {
		return nil, ErrDecrypt
	}
	return out, nil
}
