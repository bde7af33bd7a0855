package trust

import (
	"crypto/sha256"
	"time"
	"unicode/utf8"

	"chatsecure/proto"
)

// The bounds on a bundle, which strangers send.
const (
	// MaxDelegation bounds the life of a delegation, and with it the use of a stolen
	// K.
	MaxDelegation = 24 * time.Hour
	// MaxMailbox bounds the life of a mailbox from the begin of the delegation that
	// names it: the key that opens letters is on the receiver's disk until then.
	MaxMailbox = 14 * 24 * time.Hour
	// MaxCertificates bounds the certificates of a bundle, leaf included. Real chains
	// have five at most; more only cost work.
	MaxCertificates = 8
	// MaxChainCertificates bounds those beside the leaf.
	MaxChainCertificates = MaxCertificates - 1
	// MaxChainBytes bounds all certificates together, in bytes of DER: a bundle in
	// base64 fits a handshake line beside a KEM ciphertext.
	MaxChainBytes = 20 << 10
	// maxDelegationSignature bounds the card's signature in bytes: RSA-4096 takes
	// 512, ECDSA on P-521 at most 141.
	maxDelegationSignature = 512
)

// Bundle proves whose a key K is: the delegation that the card signed, the card's
// certificate and the chain above it. It crosses as canonical JSON. A Bundle in use does
// not change. PROTOCOL.md, "Identity".
type Bundle struct {
	Name       string   `json:"name"`                 // the name its owner goes by
	PublicKey  []byte   `json:"public_key"`           // SPKI of K
	NotBefore  int64    `json:"not_before"`           // start of the delegation, Unix seconds
	NotAfter   int64    `json:"not_after"`            // its last second
	Mailbox    []byte   `json:"mailbox"`              // hash of a mailbox key, or empty, never null
	MailboxEnd int64    `json:"mailbox_end"`          // its last second; 0 without one
	Signature  []byte   `json:"public_key_signature"` // the card's, over DelegationMessage
	X509       []byte   `json:"x509"`                 // the card's certificate, DER
	Chain      [][]byte `json:"x509_chain"`           // its issuers in any order, DER; [] if none, never null
}

// Hash returns the bundle hash, which covers every byte of the bundle. A card's signature
// alone does not: an ECDSA signer can find a key under which one signature holds for two
// delegations. Check refuses times before 1970.
func (b *Bundle) Hash() [32]byte {
	chain := make(proto.List, len(b.Chain))
	for i, der := range b.Chain {
		chain[i] = der
	}
	return proto.HashTuple("bundle", b.Name, b.PublicKey, uint64(b.NotBefore), uint64(b.NotAfter), b.Signature,
		b.Mailbox, uint64(b.MailboxEnd), b.X509, chain)
}

// Check refuses bad sizes, counts and times, before any costly work. Errors are *Error.
func (b *Bundle) Check() error {
	switch {
	case b.Name == "" || len(b.Name) > proto.MaxNameBytes || !utf8.ValidString(b.Name):
		return malformed("its name is empty, longer than %d bytes or not UTF-8", proto.MaxNameBytes)
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

// checkTimes refuses times that no delegation can have.
func (b *Bundle) checkTimes() error {
	// Certificates end in the year 9999 at the latest (RFC 5280, section 4.1.2.5).
	// Within that bound times cannot overflow.
	const lastSecond = 253402300799
	if min(b.NotBefore, b.NotAfter, b.MailboxEnd) < 0 || max(b.NotBefore, b.NotAfter, b.MailboxEnd) > lastSecond {
		return malformed("its delegation has a time outside 1970 to 9999")
	}
	if b.NotAfter < b.NotBefore {
		return refuse(proto.DelegationInvalid, "the delegation ends before it begins")
	}
	if lives, most := b.NotAfter-b.NotBefore, int64(MaxDelegation/time.Second); lives > most {
		return refuse(proto.DelegationInvalid, "the delegation lives %d seconds, at most %d are allowed", lives, most)
	}
	return b.checkMailbox()
}

// checkMailbox refuses the forms and times that no mailbox can have. The leaf bounds it
// too.
func (b *Bundle) checkMailbox() error {
	named := len(b.Mailbox) > 0
	switch lives := b.MailboxEnd - b.NotBefore; {
	case b.Mailbox == nil:
		return malformed("its mailbox is null; without one it is an empty string")
	case named && len(b.Mailbox) != sha256.Size:
		return malformed("its mailbox has %d bytes, none or %d are allowed", len(b.Mailbox), sha256.Size)
	case named != (b.MailboxEnd != 0):
		return malformed("it has a mailbox without an end, or an end without a mailbox")
	case named && (b.MailboxEnd <= b.NotBefore || lives > int64(MaxMailbox/time.Second)):
		return refuse(proto.DelegationInvalid, "the mailbox ends %d seconds after the delegation begins, 1 to %d are allowed", lives, int64(MaxMailbox/time.Second))
	}
	return nil
}

func malformed(format string, args ...any) error {
	return refuse(proto.BundleMalformed, "the identity bundle is malformed: "+format, args...)
}

// Key returns the public half of K. Errors are *Error.
func (b *Bundle) Key() (*PublicKey, error) {
	key, err := ParsePublicKey(b.PublicKey)
	if err != nil {
		return nil, malformed("%s", err)
	}
	return key, nil
}
