package chatsecure

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"chatsecure/crypto"
	"chatsecure/proto"
)

// The bounds on fetching the issuers of one's own certificate. The cache has
// them under the SHA-256 of the certificate, so that a file that was changed is
// not read.
const (
	// fetchMaxIssuer bounds one certificate in bytes, fetchMaxIssuerFile an
	// answer, which may have several in PEM. Real ones have 2 kB.
	fetchMaxIssuer     = 8 << 10
	fetchMaxIssuerFile = 64 << 10
	// fetchMaxIssuers bounds the cache; a card needs two or three.
	fetchMaxIssuers = 64
	// fetchMaxPlaces bounds the addresses tried for one issuer.
	fetchMaxPlaces = 4
	// fetchIssuersTimeout bounds all of it: nobody can talk meanwhile.
	fetchIssuersTimeout = 30 * time.Second
)

// stateIssuers is where they are in a state directory.
const stateIssuers = "issuers"

func (f *Fetcher) issuerDir() string { return filepath.Join(f.cfg.State, stateIssuers) }

// Issuers returns certificates that lead from one's own certificate leaf up to
// a self-signed one, beside those that are at hand: from the cache, else from
// where each certificate says that its issuer's is (RFC 5280, section 4.2.2.1,
// caIssuers; DER or PEM). Nothing of it is trusted by that: it is to build a
// path from. What was found is returned also with an error, which says why the
// next one was not.
func (f *Fetcher) Issuers(ctx context.Context, leaf []byte, have [][]byte) ([][]byte, error) {
	if f == nil {
		return nil, errors.New("no issuer of the certificate is fetched")
	}
	at, err := x509.ParseCertificate(leaf)
	if err != nil {
		return nil, fmt.Errorf("the certificate cannot be read: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, fetchIssuersTimeout)
	defer cancel()
	stop := context.AfterFunc(f.ctx, cancel)
	defer stop()

	var known []*x509.Certificate
	for _, der := range slices.Concat(have, CachedIssuers(f.cfg.State)) {
		if cert, err := x509.ParseCertificate(der); err == nil && cert.IsCA {
			known = append(known, cert)
		}
	}
	var found [][]byte
	for range crypto.MaxCertificates - 1 {
		if bytes.Equal(at.RawIssuer, at.RawSubject) {
			break // a root, or as good as one
		}
		next := issuerOf(at, known)
		if next == nil {
			if next, err = f.fetchIssuer(ctx, at); err != nil {
				return found, err
			}
		}
		found = append(found, next.Raw)
		at = next
	}
	return found, nil
}

// fetchIssuer fetches the certificate of who issued cert.
func (f *Fetcher) fetchIssuer(ctx context.Context, cert *x509.Certificate) (*x509.Certificate, error) {
	name := crypto.Visible(cert.Issuer.CommonName)
	fail := func(format string, args ...any) error {
		return &Error{
			Code:    proto.CertificateUntrusted,
			Message: "the certificate of the authority \"" + name + "\" is not at hand: " + fmt.Sprintf(format, args...),
			Hint:    "get it from the authority, and name it in a PEM file with -ca-bundle",
		}
	}
	var places []string
	for _, address := range cert.IssuingCertificateURL {
		if _, err := fetchParseURL(address); err == nil && len(places) < fetchMaxPlaces {
			places = append(places, address)
		}
	}
	switch {
	case len(places) == 0:
		return nil, fail("its place is not named in the certificate that it issued")
	case f.cfg.Off:
		return nil, fail("%s is not asked (-fetch=false)", crypto.Visible(places[0]))
	}
	var problems []string
	for _, address := range places {
		issuer, err := f.tryIssuer(ctx, address, cert)
		if err == nil {
			f.notice("certificate "+crypto.Visible(address), nil)
			return issuer, nil
		}
		problems = append(problems, fetchFailed(address, err).Error())
	}
	return nil, fail("%s", strings.Join(problems, "; "))
}

func (f *Fetcher) tryIssuer(ctx context.Context, address string, cert *x509.Certificate) (*x509.Certificate, error) {
	resp, err := f.get(ctx, address, fetchMaxIssuerFile, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	certs, err := parseIssuers(data)
	if err != nil {
		return nil, err
	}
	issuer := issuerOf(cert, certs)
	if issuer == nil {
		return nil, errors.New("what is there did not sign the certificate")
	}
	if err := f.keepIssuer(issuer.Raw); err != nil {
		f.notice("certificate "+crypto.Visible(address), fmt.Errorf("it cannot be kept: %w", err))
	}
	return issuer, nil
}

// oidSignedData is 1.2.840.113549.1.7.2 in DER: RFC 5652, section 5.1.
var oidSignedData = []byte{0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02}

// parseIssuers reads one certificate in DER, or some in PEM.
func parseIssuers(data []byte) (certs []*x509.Certificate, err error) {
	asPKCS7 := errors.New("it is a PKCS#7 file, which is not read here: take the certificates out, for example with openssl pkcs7 -print_certs")
	block, rest := pem.Decode(data)
	if block == nil {
		if bytes.Contains(data[:min(len(data), 32)], oidSignedData) {
			return nil, asPKCS7
		}
		block = &pem.Block{Type: "CERTIFICATE", Bytes: data}
	}
	for ; block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "PKCS7", "CMS":
			return nil, asPKCS7
		case "CERTIFICATE":
		default:
			continue
		}
		if len(block.Bytes) > fetchMaxIssuer {
			return nil, fmt.Errorf("a certificate of %d bytes is too long", len(block.Bytes))
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, errors.New("it is not a certificate in DER or PEM")
		}
		if cert.IsCA {
			certs = append(certs, cert)
		}
	}
	if len(certs) == 0 {
		return nil, errors.New("there is no authority's certificate in it")
	}
	return certs, nil
}

// CachedIssuers returns the certificates that were fetched before, into a state
// directory. A file that is not what was fetched is not read; the next fetch
// replaces it.
func CachedIssuers(state string) (ders [][]byte) {
	dir := filepath.Join(state, stateIssuers)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // none is there yet, or they are fetched again
	}
	for _, entry := range entries {
		hash, ok := strings.CutSuffix(entry.Name(), ".crt")
		if !ok || len(ders) >= fetchMaxIssuers {
			continue
		}
		der, err := readStateFile(filepath.Join(dir, entry.Name()), fetchMaxIssuer)
		if sum := sha256.Sum256(der); err == nil && hex.EncodeToString(sum[:]) == hash {
			ders = append(ders, der)
		}
	}
	return ders
}

// keepIssuer puts a certificate into the cache.
func (f *Fetcher) keepIssuer(der []byte) error {
	if err := makeStateDir(f.issuerDir()); err != nil {
		return err
	}
	if len(CachedIssuers(f.cfg.State)) >= fetchMaxIssuers {
		return fmt.Errorf("%s has %d certificates already", f.issuerDir(), fetchMaxIssuers)
	}
	sum := sha256.Sum256(der)
	return replaceStateFile(filepath.Join(f.issuerDir(), hex.EncodeToString(sum[:])+".crt"), der)
}
