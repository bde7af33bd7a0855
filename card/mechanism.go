//go:build cgo

package card

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"slices"

	"github.com/miekg/pkcs11"
)

// sha256Prefix is the DER of a DigestInfo for SHA-256 up to the hash (RFC 8017,
// section 9.2, note 1). CKM_RSA_PKCS needs it before the hash.
var sha256Prefix = []byte{0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}

// mechanism chooses a token's way to sign from its list of mechanisms, before
// C_SignInit: a second attempt could ask for the PIN again. input is the
// argument of C_Sign: the message if the token hashes it, else the hash.
func mechanism(m module, slot uint, pub crypto.PublicKey, message []byte) (mech *pkcs11.Mechanism, input []byte, err error) {
	h, err := hashFor(pub)
	if err != nil {
		return nil, nil, err
	}
	list, err := m.GetMechanismList(slot)
	if err != nil {
		return nil, nil, err
	}
	has := func(typ uint) bool {
		return slices.ContainsFunc(list, func(m *pkcs11.Mechanism) bool { return m.Mechanism == typ })
	}
	var whole, bare uint // whole hashes the message, bare takes the hash
	var prefix []byte
	if _, ok := pub.(*rsa.PublicKey); ok {
		whole, bare, prefix = pkcs11.CKM_SHA256_RSA_PKCS, pkcs11.CKM_RSA_PKCS, sha256Prefix
	} else {
		bare = pkcs11.CKM_ECDSA
		whole = map[crypto.Hash]uint{
			crypto.SHA256: pkcs11.CKM_ECDSA_SHA256, crypto.SHA384: pkcs11.CKM_ECDSA_SHA384, crypto.SHA512: pkcs11.CKM_ECDSA_SHA512,
		}[h]
	}
	switch {
	case has(whole):
		return pkcs11.NewMechanism(whole, nil), message, nil
	case has(bare):
		return pkcs11.NewMechanism(bare, nil), append(slices.Clone(prefix), digest(h, message)...), nil
	}
	return nil, nil, fail(Unsuitable, "", "the token cannot sign with the certificate's key over %s: it offers no mechanism for it", h)
}

// finish brings a token's signature into the form returned by Sign and verifies
// it.
func finish(leaf *x509.Certificate, message, raw []byte) ([]byte, error) {
	sig := raw
	if _, ok := leaf.PublicKey.(*ecdsa.PublicKey); ok {
		var err error
		if sig, err = fromRaw(raw); err != nil {
			return nil, err
		}
	}
	if err := verify(leaf, message, sig); err != nil {
		return nil, err
	}
	return sig, nil
}
