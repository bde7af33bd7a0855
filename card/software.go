package card

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"io"
	"os"
	"path/filepath"
	"sync"

	"chatsecure/proto"
)

const (
	// maxPEM bounds cert.pem and key.pem in bytes. A certificate takes about
	// 2 KiB; a file of another kind must not fill the memory.
	maxPEM = 256 << 10

	// maxCertificates bounds the certificates read from one card: eID cards
	// carry at most five, PIV tokens up to 24.
	maxCertificates = 32
)

const softwareHint = "a software card is a directory with cert.pem (its certificate first, then the chain) and key.pem (PKCS#8)"

// softwareCard is a directory with cert.pem and key.pem.
type softwareCard struct {
	dir   string
	leaf  *x509.Certificate
	chain [][]byte

	mu  sync.Mutex
	key crypto.Signer // nil once closed; guarded by mu
}

func openSoftware(dir string, opt Options) (Card, error) {
	info, err := os.Stat(dir)
	switch {
	case isMissing(err):
		return nil, fail(NoCard, softwareHint+"; a token is named by a URI that begins with pkcs11:",
			"there is no software card at %s", show(dir)).because(err)
	case err != nil:
		return nil, unreadable(err)
	case !info.IsDir():
		return nil, fail(BadSpec, softwareHint, "%s is not a directory", show(dir))
	}
	leaf, chain, err := readCertificates(filepath.Join(dir, "cert.pem"))
	if err != nil {
		return nil, err
	}
	if err := checkLeaf(leaf); err != nil {
		return nil, err
	}
	key, err := readKey(filepath.Join(dir, "key.pem"), opt)
	if err != nil {
		return nil, err
	}
	// The checks of the leaf's key hold for an equal one.
	if pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(leaf.PublicKey) {
		return nil, fail(NoKey, softwareHint, "key.pem in %s is not the key of the first certificate in cert.pem", show(dir))
	}
	return &softwareCard{dir: dir, leaf: leaf, chain: chain, key: key}, nil
}

// checkLeaf refuses certificates that cannot authenticate a person.
func checkLeaf(leaf *x509.Certificate) error {
	if isCA(leaf) {
		return fail(Unsuitable, "", "the certificate is a CA's, not a person's")
	}
	if !maySign(leaf) {
		return fail(Unsuitable, "name the authentication certificate instead",
			"the certificate is not for authentication: its keyUsage lacks digitalSignature")
	}
	_, err := hashFor(leaf.PublicKey)
	return err
}

// readCertificates reads cert.pem, in which the leaf comes first.
func readCertificates(path string) (*x509.Certificate, [][]byte, error) {
	data, err := readPEM(path, Options{})
	if err != nil {
		return nil, nil, err
	}
	var leaf *x509.Certificate
	var chain [][]byte
	blocks := proto.NewPEM(bytes.NewReader(data))
	for {
		if err = blocks.Next(); err == io.EOF {
			break
		}
		if err == nil && blocks.Type != "CERTIFICATE" {
			return nil, nil, fail(NoCertificate, softwareHint, "%s holds %s, which is not a certificate", show(path), proto.Quote(blocks.Type))
		}
		var der []byte
		if err == nil {
			der, err = io.ReadAll(blocks)
		}
		if err != nil {
			return nil, nil, fail(NoCertificate, "", "%s cannot be used: %v", show(path), err).because(err)
		}
		if len(chain) == maxCertificates {
			return nil, nil, fail(NoCertificate, "", "%s holds more than %d certificates", show(path), maxCertificates)
		}
		if leaf != nil {
			chain = append(chain, der)
			continue
		}
		if leaf, err = x509.ParseCertificate(der); err != nil {
			return nil, nil, fail(NoCertificate, "", "the first certificate in %s is malformed: %v", show(path), err).because(err)
		}
	}
	if leaf == nil {
		return nil, nil, fail(NoCertificate, softwareHint, "%s holds no certificate", show(path))
	}
	return leaf, chain, nil
}

// readKey reads key.pem and erases the bytes read. The key lives until the card
// is closed.
func readKey(path string, opt Options) (crypto.Signer, error) {
	data, err := readPEM(path, opt)
	if err != nil {
		return nil, err
	}
	defer clear(data)
	const hint = "convert it: openssl pkcs8 -topk8 -nocrypt"
	block, rest := pem.Decode(data)
	if block == nil {
		return nil, fail(NoKey, hint, "%s holds no key in PEM form", show(path))
	}
	defer clear(block.Bytes)
	switch {
	case block.Type == "ENCRYPTED PRIVATE KEY":
		return nil, fail(NoKey, hint, "the key in %s is encrypted, which a software card cannot open", show(path))
	case block.Type != "PRIVATE KEY":
		return nil, fail(NoKey, hint, "%s holds %s, not a PKCS#8 private key", show(path), proto.Quote(block.Type))
	case len(bytes.TrimSpace(rest)) != 0:
		return nil, fail(NoKey, "", "%s holds more than one key", show(path))
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		// The parser's words may describe the key.
		return nil, fail(NoKey, hint, "the key in %s is malformed", show(path))
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return key, nil
	case *ecdsa.PrivateKey:
		return key, nil
	}
	return nil, fail(Unsuitable, "", "the key in %s is neither RSA nor EC on a NIST curve", show(path))
}

// readPEM reads one file of the card, of maxPEM bytes at most.
func readPEM(path string, opt Options) ([]byte, error) {
	data, err := readStart(path, maxPEM+1, "key file", opt)
	if err != nil {
		return nil, unreadable(err)
	}
	if len(data) > maxPEM {
		clear(data)
		return nil, fail(NoCard, softwareHint, "%s is longer than %d bytes", show(path), maxPEM)
	}
	return data, nil
}

func unreadable(err error) *Error {
	return fail(NoCard, softwareHint, "the software card cannot be read: %v", err).because(err)
}

func (c *softwareCard) Leaf() []byte { return bytes.Clone(c.leaf.Raw) }

func (c *softwareCard) Chain() [][]byte { return cloneAll(c.chain) }

func (c *softwareCard) Describe() string { return "software card " + show(c.dir) }

func (c *softwareCard) Sign(ctx context.Context, message []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, cancelled(err)
	}
	c.mu.Lock()
	key := c.key
	c.mu.Unlock()
	if key == nil {
		return nil, errClosed()
	}
	h, err := hashFor(key.Public())
	if err != nil {
		return nil, err
	}
	// A crypto.Hash as options selects PKCS#1 v1.5 for RSA and ASN.1 for ECDSA.
	sig, err := key.Sign(rand.Reader, digest(h, message), h)
	if err != nil {
		return nil, fail(Failed, "", "the software card cannot sign: %v", err).because(err)
	}
	if err := verify(c.leaf, message, sig); err != nil {
		return nil, err
	}
	return sig, nil
}

// Close drops the key. The copies inside crypto/rsa and crypto/ecdsa cannot be
// erased.
func (c *softwareCard) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.key = nil
	return nil
}

func surveySoftware(dir string, opt Options) *Report {
	token := &TokenReport{Label: dir, Manufacturer: "ChatSecure", Model: "software card", Flags: []string{}}
	module := ModuleReport{Path: dir, Description: "software card", Slots: []SlotReport{}}
	c, err := openSoftware(dir, opt)
	if err != nil {
		module.Err = asError(err)
		return &Report{Modules: []ModuleReport{module}, Err: module.Err}
	}
	defer c.Close()
	s := c.(*softwareCard)
	token.Certificates = []CertificateReport{{Label: "cert.pem", DER: s.leaf.Raw, Used: true}}
	for _, der := range s.chain {
		cert, err := x509.ParseCertificate(der)
		token.Certificates = append(token.Certificates, CertificateReport{Label: "cert.pem", DER: der, CA: err == nil && isCA(cert)})
	}
	token.Keys = []KeyReport{{Label: "key.pem", Type: keyType(s.leaf.PublicKey)}}
	module.Slots = []SlotReport{{Description: dir, Token: token}}
	return &Report{Modules: []ModuleReport{module}}
}

// keyType returns KeyReport.Type of a public key.
func keyType(pub crypto.PublicKey) string {
	switch pub.(type) {
	case *rsa.PublicKey:
		return "RSA"
	case *ecdsa.PublicKey:
		return "EC"
	}
	return "other"
}

func errClosed() error { return fail(Failed, "", "the card is closed already") }

// show returns a path unchanged, or quoted if it would disturb a sentence.
func show(path string) string {
	if q := proto.Quote(path); q != `"`+path+`"` || path == "" {
		return q
	}
	return path
}

func cloneAll(all [][]byte) [][]byte {
	out := make([][]byte, len(all))
	for i, b := range all {
		out[i] = bytes.Clone(b)
	}
	return out
}
