package lab

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Exists reports whether dir holds a lab made by Write.
func Exists(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, caDir, "root.pem"))
	return err == nil
}

// Load reads a lab made by Write, to issue and revoke more with the same CAs. The
// base URL is the lab's own, whatever opts has.
func Load(dir string, opts Options) (*PKI, error) {
	p := empty(opts)
	var err error
	if p.Root, err = p.loadCA(dir, "root", nil); err != nil {
		return nil, err
	}
	if p.CC, err = p.loadCA(dir, "cc", p.Root); err != nil {
		return nil, err
	}
	if p.Auth, err = p.loadCA(dir, "auth", p.CC); err != nil {
		return nil, err
	}
	if urls := p.Auth.Cert.CRLDistributionPoints; len(urls) == 1 {
		p.opts.BaseURL = strings.TrimSuffix(urls[0], "/crl/cc.crl")
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		h, err := p.loadHolder(filepath.Join(dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // no card: ca, crl, tokens, a state directory
		}
		if err != nil {
			return nil, err
		}
		p.holders = append(p.holders, h)
		p.civil[h.Leaf.Subject.SerialNumber] = true
	}
	return p, nil
}

// loadCA reads certificate, key and last list of one CA.
func (p *PKI) loadCA(dir, file string, parent *CA) (*CA, error) {
	base := filepath.Join(dir, caDir, file)
	certs, err := readCerts(base + ".pem")
	if err != nil {
		return nil, err
	}
	ca := &CA{Cert: certs[0], Parent: parent, File: file, now: p.now}
	if ca.Key, err = readKey(base + ".key.pem"); err != nil {
		return nil, err
	}
	der, err := os.ReadFile(base + ".crl")
	if err != nil {
		return nil, err
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, fmt.Errorf("%s.crl: %w", base, err)
	}
	ca.number = list.Number.Int64()
	for _, e := range list.RevokedCertificateEntries {
		ca.revoked = append(ca.revoked, x509.RevocationListEntry{
			SerialNumber: e.SerialNumber, RevocationTime: e.RevocationTime, ReasonCode: e.ReasonCode})
	}
	return ca, nil
}

// loadHolder reads one software card.
func (p *PKI) loadHolder(dir string) (*Holder, error) {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, fs.ErrNotExist
	}
	certs, err := readCerts(filepath.Join(dir, certFile))
	if err != nil {
		return nil, err
	}
	key, err := readKey(filepath.Join(dir, keyFile))
	if err != nil {
		return nil, err
	}
	h := &Holder{Name: filepath.Base(dir), Leaf: certs[0], Chain: certs[1:], Key: key}
	if p.Auth.issued(h.Leaf) {
		h.Issuer = p.Auth
	}
	return h, nil
}

// readCerts reads the certificates of a PEM file, of which there must be one at
// least.
func readCerts(path string) ([]*x509.Certificate, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("%s: no certificate in it", path)
	}
	return certs, nil
}

// readKey reads a PKCS#8 key in PEM.
func readKey(path string) (crypto.Signer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s: no key in it", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s: %T cannot sign", path, key)
	}
	return signer, nil
}
