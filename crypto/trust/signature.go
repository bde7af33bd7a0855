package trust

import (
	"crypto/sha256"
	"crypto/x509"
	"sync"
)

// maxHeld bounds the signatures that are remembered, at some 100 bytes each.
const maxHeld = 1024

// held has the signatures on certificates that have held: the hashes of a certificate
// and of the key that signed it. A relay sees the same people and authorities at each
// connect, and a client looks at its own chain several times in one start.
var held struct {
	sync.Mutex
	of map[[2][sha256.Size]byte]bool
}

// checkSignature verifies the signature on a certificate and nothing else. One that does
// not hold is not remembered, and so drives none out.
func checkSignature(child, parent *x509.Certificate) error {
	of := [2][sha256.Size]byte{sha256.Sum256(child.Raw), sha256.Sum256(parent.RawSubjectPublicKeyInfo)}
	held.Lock()
	known := held.of[of]
	held.Unlock()
	if known {
		return nil
	}
	if err := parent.CheckSignature(child.SignatureAlgorithm, child.RawTBSCertificate, child.Signature); err != nil {
		return err
	}
	held.Lock()
	defer held.Unlock()
	if held.of == nil || len(held.of) >= maxHeld {
		held.of = make(map[[2][sha256.Size]byte]bool)
	}
	held.of[of] = true
	return nil
}
