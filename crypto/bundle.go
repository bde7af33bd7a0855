package crypto

import (
	"crypto/sha256"
	"fmt"
	"time"
	"unicode/utf8"

	"chatsecure/proto"
)

// The bounds on a bundle, which strangers send before they are known.
const (
	// MaxDelegation is the longest a delegation may live: how long a stolen K
	// is of use.
	MaxDelegation = 24 * time.Hour
	// MaxCertificates bounds the certificates of a bundle, the leaf included.
	// Real chains have five at most; more would only buy an attacker work.
	MaxCertificates = 8
	// MaxChainCertificates is how many of them may stand beside the leaf.
	MaxChainCertificates = MaxCertificates - 1
	// MaxChainBytes bounds these certificates together, in bytes of DER, so
	// that a bundle in base64 fits a handshake line beside a KEM ciphertext.
	MaxChainBytes = 20 << 10
	// maxBundleName bounds the name in bytes: 32 letters of at most 4 bytes.
	// What a name may look like is package proto's business.
	maxBundleName = 128
	// maxDelegationSignature bounds the card's signature in bytes: RSA-4096
	// takes 512, ECDSA on P-521 at most 141.
	maxDelegationSignature = 512
)

// Bundle is what proves whose a key K is: the delegation that the card signed,
// with its certificate and the chain above. Its JSON is canonical (package
// canon). A Bundle is not changed once it is in use.
//
// PROTOCOL.md, "Bundle".
type Bundle struct {
	Name      string   `json:"name"`                 // the name its owner goes by
	PublicKey []byte   `json:"public_key"`           // SPKI of K
	NotBefore int64    `json:"not_before"`           // start of the delegation, Unix seconds
	NotAfter  int64    `json:"not_after"`            // its last second
	Signature []byte   `json:"public_key_signature"` // the card's, over DelegationMessage
	X509      []byte   `json:"x509"`                 // the card's certificate, DER
	Chain     [][]byte `json:"x509_chain"`           // its issuers in any order, DER; [] if none, never null
}

// Hash names the bundle: PROTOCOL.md, "Bundle hash". Every byte of the bundle
// is in it. Times before 1970 are for Check to refuse.
func (b *Bundle) Hash() [32]byte {
	chain := make(list, len(b.Chain))
	for i, der := range b.Chain {
		chain[i] = der
	}
	return hashTuple("bundle", b.Name, b.PublicKey, uint64(b.NotBefore), uint64(b.NotAfter), b.Signature, b.X509, chain)
}

// DelegationMessage is what the card signs, once, to let the key in spki act
// for it under name from notBefore to notAfter (Unix seconds, both included):
// PROTOCOL.md, "Delegation". It begins with a length that no TLS, CMS, X.509 or
// SSH message an authentication key is asked to sign begins with.
func DelegationMessage(leaf []byte, name string, spki []byte, notBefore, notAfter int64) []byte {
	return tuple("delegation", sha256.Sum256(leaf), name, spki, uint64(notBefore), uint64(notAfter))
}

// Check looks at sizes, counts and shape, so that nothing dear is done for a
// bundle that cannot be good. Errors are TrustErrors.
func (b *Bundle) Check() error {
	switch {
	case b.Name == "" || len(b.Name) > maxBundleName || !utf8.ValidString(b.Name):
		return malformed("its name is empty, longer than %d bytes or not UTF-8", maxBundleName)
	case len(b.PublicKey) == 0 || len(b.PublicKey) > maxSPKI:
		return malformed("its public key has %d bytes, 1 to %d are allowed", len(b.PublicKey), maxSPKI)
	case len(b.Signature) == 0 || len(b.Signature) > maxDelegationSignature:
		return malformed("its delegation signature has %d bytes, 1 to %d are allowed", len(b.Signature), maxDelegationSignature)
	case len(b.X509) == 0:
		return malformed("it has no certificate")
	case b.Chain == nil:
		return malformed("its x509_chain is null; without issuers it is an empty list")
	case 1+len(b.Chain) > MaxCertificates:
		return malformed("it has %d certificates, at most %d are allowed", 1+len(b.Chain), MaxCertificates)
	}
	total := len(b.X509)
	for _, der := range b.Chain {
		if len(der) == 0 {
			return malformed("a certificate of its chain is empty")
		}
		total += len(der)
	}
	if total > MaxChainBytes {
		return malformed("its certificates have %d bytes, at most %d are allowed", total, MaxChainBytes)
	}
	return b.checkTimes()
}

func (b *Bundle) checkTimes() error {
	// Certificates end in the year 9999 at the latest (RFC 5280, section
	// 4.1.2.5); so bounded, times cannot overflow.
	const lastSecond = 253402300799
	if b.NotBefore < 0 || b.NotAfter < 0 || b.NotBefore > lastSecond || b.NotAfter > lastSecond {
		return malformed("its delegation has a time outside 1970 to 9999")
	}
	if b.NotAfter < b.NotBefore {
		return &TrustError{Code: proto.DelegationInvalid, Reason: "the delegation ends before it begins"}
	}
	if lives, most := b.NotAfter-b.NotBefore, int64(MaxDelegation/time.Second); lives > most {
		return &TrustError{
			Code:   proto.DelegationInvalid,
			Reason: fmt.Sprintf("the delegation lives %d seconds, at most %d are allowed", lives, most),
		}
	}
	return nil
}

func malformed(format string, args ...any) error {
	return &TrustError{Code: proto.BundleMalformed, Reason: "the identity bundle is malformed: " + fmt.Sprintf(format, args...)}
}

// Key returns K's public half. The error is a TrustError.
func (b *Bundle) Key() (*PublicKey, error) {
	key, err := ParsePublicKey(b.PublicKey)
	if err != nil {
		return nil, malformed("%s", err)
	}
	return key, nil
}
