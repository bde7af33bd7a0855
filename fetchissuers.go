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

// fetchTry is how an address of an issuer answered.
type fetchTry struct {
	retry    time.Time // when it may be asked again
	failures int       // in a row
	issuer   *x509.Certificate
}

// Issuers returns certificates that lead from one's own certificate leaf up to
// a self-signed one, beside those that are at hand: from the cache, else from
// where each certificate says that its issuer's is (RFC 5280, section 4.2.2.1,
// caIssuers; DER or PEM). One in the cache that has ended is fetched again, and
// with again every one: those in the cache led nowhere. What else the cache has
// comes last, as an authority can have been signed by several. Nothing of it is
// trusted by that: it is to build a path from. What was found is returned also
// with an error, which says why the next one was not.
func (f *Fetcher) Issuers(ctx context.Context, leaf []byte, have [][]byte, again bool) (found [][]byte, missing error) {
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

	cached := CachedIssuers(f.cfg.State)
	defer func() {
		for _, der := range cached {
			if !slices.ContainsFunc(found, func(other []byte) bool { return bytes.Equal(other, der) }) {
				found = append(found, der)
			}
		}
	}()
	mine, known := authorities(have), authorities(slices.Concat(have, cached))
	for range crypto.MaxCertificates - 1 {
		if bytes.Equal(at.RawIssuer, at.RawSubject) {
			break // a root, or as good as one
		}
		now := f.cfg.Now()
		var next *x509.Certificate
		if issuers := issuersOf(at, known, now); len(issuers) > 0 {
			next = issuers[0]
		}
		valid := next != nil && isValid(next, now)
		if !valid || again && issuerOf(at, mine) == nil {
			fetched, err := f.fetchIssuer(ctx, at, next)
			switch {
			case err == nil:
				next = fetched
			case next == nil:
				return found, err
			case !valid && missing == nil:
				missing = err // the one that has ended says more than none
			}
		}
		found = append(found, next.Raw)
		at = next
	}
	return found, missing
}

// authorities reads those certificates that are an authority's.
func authorities(ders [][]byte) (certs []*x509.Certificate) {
	for _, der := range ders {
		if cert, err := x509.ParseCertificate(der); err == nil && cert.IsCA {
			certs = append(certs, cert)
		}
	}
	return certs
}

// fetchIssuer fetches the certificate of who issued cert. old is the one that is
// at hand, or nil.
func (f *Fetcher) fetchIssuer(ctx context.Context, cert, old *x509.Certificate) (*x509.Certificate, error) {
	name := crypto.Visible(cert.Issuer.CommonName)
	lack := "is not at hand"
	if old != nil {
		lack = "that is at hand has ended"
	}
	fail := func(format string, args ...any) error {
		return &Error{
			Code:    proto.CertificateUntrusted,
			Message: "the certificate of the authority \"" + name + "\" " + lack + ": " + fmt.Sprintf(format, args...),
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
		issuer, err := f.tryIssuer(ctx, address, cert, old)
		if err == nil {
			f.notice("certificate "+crypto.Visible(address), nil)
			return issuer, nil
		}
		problems = append(problems, fetchFailed(address, err).Error())
	}
	return nil, fail("%s", strings.Join(problems, "; "))
}

// tryIssuer asks one address, unless it has failed lately or, where there is an
// old one, has answered.
func (f *Fetcher) tryIssuer(ctx context.Context, address string, cert, old *x509.Certificate) (*x509.Certificate, error) {
	f.mu.Lock()
	try := f.issuers[address]
	f.mu.Unlock()
	switch early := f.cfg.Now().Before(try.retry); {
	case early && try.failures > 0:
		return nil, errors.New("it failed a moment ago, and is left alone for a while")
	case early && old != nil:
		return try.issuer, nil
	}
	issuer, err := f.askIssuer(ctx, address, cert)
	now := f.cfg.Now()
	if err == nil && !isValid(issuer, now) {
		err = fmt.Errorf("what is there ended on %s", issuer.NotAfter.UTC().Format(time.DateTime))
	}
	if err != nil {
		try = fetchTry{now.Add(fetchBackoff(try.failures)), try.failures + 1, nil}
	} else {
		try = fetchTry{now.Add(fetchAgain), 0, issuer}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.issuers) >= fetchMaxLists {
		clear(f.issuers)
	}
	f.issuers[address] = try
	return issuer, err
}

func (f *Fetcher) askIssuer(ctx context.Context, address string, cert *x509.Certificate) (*x509.Certificate, error) {
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
	issuers := issuersOf(cert, certs, f.cfg.Now())
	if len(issuers) == 0 {
		return nil, errors.New("what is there did not sign the certificate")
	}
	if err := f.keepIssuer(issuers[0].Raw); err != nil {
		f.notice("certificate "+crypto.Visible(address), fmt.Errorf("it cannot be kept: %w", err))
	}
	return issuers[0], nil
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
	if len(CachedIssuers(f.cfg.State)) >= fetchMaxIssuers && !f.dropEndedIssuers() {
		return fmt.Errorf("%s has %d certificates already", f.issuerDir(), fetchMaxIssuers)
	}
	return replaceStateFile(f.issuerPath(der), der)
}

// issuerPath names the file of a certificate.
func (f *Fetcher) issuerPath(der []byte) string {
	sum := sha256.Sum256(der)
	return filepath.Join(f.issuerDir(), hex.EncodeToString(sum[:])+".crt")
}

// dropEndedIssuers makes room in the cache, if there is one that has ended.
func (f *Fetcher) dropEndedIssuers() (dropped bool) {
	now := f.cfg.Now()
	for _, cert := range authorities(CachedIssuers(f.cfg.State)) {
		if now.After(cert.NotAfter) && os.Remove(f.issuerPath(cert.Raw)) == nil {
			dropped = true
		}
	}
	return dropped
}
