package card

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// keys has a key of each kind, made once for all tests.
var keys = struct {
	rsa2048, rsa1024                  func() *rsa.PrivateKey
	p224, p256, p256b, p384, p521, ca func() *ecdsa.PrivateKey
}{
	rsaKey(2048), rsaKey(1024),
	ecKey(elliptic.P224()), ecKey(elliptic.P256()), ecKey(elliptic.P256()), ecKey(elliptic.P384()), ecKey(elliptic.P521()), ecKey(elliptic.P256()),
}

func rsaKey(bits int) func() *rsa.PrivateKey {
	return sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, bits)) })
}

func ecKey(c elliptic.Curve) func() *ecdsa.PrivateKey {
	return sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(c, rand.Reader)) })
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

const (
	forAuthentication = x509.KeyUsageDigitalSignature
	forSignature      = x509.KeyUsageContentCommitment
)

var serials struct {
	sync.Mutex
	n int64
}

// newCert makes a certificate for key's public half, signed by the test CA.
func newCert(key crypto.Signer, name string, usage x509.KeyUsage) []byte {
	serials.Lock()
	serials.n++
	n := serials.n
	serials.Unlock()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(n),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		KeyUsage:     usage,
	}
	return must(x509.CreateCertificate(rand.Reader, template, caTemplate, key.Public(), keys.ca()))
}

var caTemplate = &x509.Certificate{
	SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"},
	NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
}

var caCert = sync.OnceValue(func() []byte {
	return must(x509.CreateCertificate(rand.Reader, caTemplate, caTemplate, keys.ca().Public(), keys.ca()))
})

// writeCard makes a software card in a directory of its own.
func writeCard(t *testing.T, key crypto.Signer, certs ...[]byte) string {
	t.Helper()
	dir := t.TempDir()
	var chain []byte
	for _, c := range certs {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c})...)
	}
	writeFile(t, filepath.Join(dir, "cert.pem"), chain, 0o644)
	der := must(x509.MarshalPKCS8PrivateKey(key))
	writeFile(t, filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
	return dir
}

func writeFile(t *testing.T, path string, data []byte, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, data, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // past the umask
		t.Fatal(err)
	}
}

// wantKind checks an error's kind, and that its message can be shown.
func wantKind(t *testing.T, err error, kind Kind) *Error {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok || !errors.Is(err, kind) {
		t.Fatalf("got error %v, want one of kind %s", err, kind)
	}
	if e.Message == "" || e.Message[len(e.Message)-1] == '.' {
		t.Errorf("not a sentence to show: %q", e.Message)
	}
	return e
}

// checkSignature verifies a signature with the standard library's algorithm for
// the leaf.
func checkSignature(t *testing.T, leaf, message, sig []byte) {
	t.Helper()
	c := must(x509.ParseCertificate(leaf))
	algorithm := x509.SHA256WithRSA
	if pub, ok := c.PublicKey.(*ecdsa.PublicKey); ok {
		algorithm = map[elliptic.Curve]x509.SignatureAlgorithm{
			elliptic.P256(): x509.ECDSAWithSHA256, elliptic.P384(): x509.ECDSAWithSHA384, elliptic.P521(): x509.ECDSAWithSHA512,
		}[pub.Curve]
	}
	if err := c.CheckSignature(algorithm, message, sig); err != nil {
		t.Errorf("the signature does not verify: %v", err)
	}
}
