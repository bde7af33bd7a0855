package trust

import (
	"bytes"
	"crypto/x509"
	"testing"

	"chatsecure/testdata/lab"
)

// TestCheckSignature: a signature that has held counts for its certificate and key alone.
func TestCheckSignature(t *testing.T) {
	p := testLab(t)
	ca, twin := newCA(t, p, p.Root, "Authority"), newCA(t, p, p.Root, "Authority")
	h := issue(t, p, "Ana", lab.By(ca))
	for range 2 {
		must(t, checkSignature(h.Leaf, ca.Cert))
		must(t, checkSignature(twin.Cert, p.Root.Cert))
	}
	der := bytes.Clone(h.Leaf.Raw)
	der[len(der)-1] ^= 1 // in the signature
	spoilt, err := x509.ParseCertificate(der)
	must(t, err)
	for range 2 {
		if checkSignature(spoilt, ca.Cert) == nil {
			t.Error("a spoilt signature holds after the whole one")
		}
		if checkSignature(h.Leaf, twin.Cert) == nil {
			t.Error("a signature holds under another key of the issuer's name")
		}
	}
}
