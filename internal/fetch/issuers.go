package fetch

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// issuersIn is the cache of fetched certificates in a state directory.
func issuersIn(stateDir string) cache { return cache{filepath.Join(stateDir, "issuers"), maxIssuers} }

// Issuers returns certificates that lead from one's own certificate leaf up to a
// self-signed one, apart from those in have. It takes them from the cache, else from
// the address in each certificate (RFC 5280, section 4.2.2.1, caIssuers; DER or PEM).
//
// It fetches an issuer again if the cached one has expired, and all of them with again,
// as the cached ones led nowhere. The rest of the cache comes last, as several
// authorities can have signed one. A returned certificate is trusted by nobody: it
// serves to build a path. The certificates found are returned also with an error, which
// tells why the next one is missing.
func (f *Fetcher) Issuers(ctx context.Context, leaf []byte, have [][]byte, again bool) (found [][]byte, missing error) {
	if f == nil {
		return nil, errors.New("no issuer of the certificate is fetched")
	}
	cert, err := x509.ParseCertificate(leaf)
	if err != nil {
		return nil, fmt.Errorf("the certificate cannot be read: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, issuersTimeout)
	defer cancel()
	defer context.AfterFunc(f.ctx, cancel)()

	cached := CachedIssuers(f.cfg.State)
	found, missing = f.climb(ctx, cert, trust.Authorities(have), trust.Authorities(slices.Concat(have, cached)), again)
	for _, der := range cached {
		if !slices.ContainsFunc(found, func(other []byte) bool { return bytes.Equal(other, der) }) {
			found = append(found, der)
		}
	}
	return found, missing
}

// climb finds the issuers above cert. mine are the user's own authorities, which are
// never fetched again; known has them and the cached ones.
func (f *Fetcher) climb(
	ctx context.Context, cert *x509.Certificate, mine, known []*x509.Certificate, again bool,
) (found [][]byte, missing error) {
	for range trust.MaxCertificates - 1 {
		if bytes.Equal(cert.RawIssuer, cert.RawSubject) {
			break // a root, or as good as one
		}
		now := f.cfg.Now()
		issuers, _ := trust.IssuersOf(cert, known, now)
		next := append(issuers, nil)[0]
		valid := next != nil && trust.IsValid(next, now)
		if !valid || again && !trust.HasIssuer(cert, mine) {
			fetched, err := f.fetchIssuer(ctx, cert, next)
			switch {
			case err == nil:
				next = fetched
			case next == nil:
				return found, err
			case !valid && missing == nil:
				missing = err // an expired one leads further than none
			}
		}
		found = append(found, next.Raw)
		cert = next
	}
	return found, missing
}

// fetchIssuer fetches the certificate of cert's issuer. old is the one at hand, or nil.
func (f *Fetcher) fetchIssuer(ctx context.Context, cert, old *x509.Certificate) (*x509.Certificate, error) {
	var problems []string
	for _, address := range cert.IssuingCertificateURL {
		_, err := parseURL(address)
		switch {
		case err != nil || len(problems) == maxPlaces:
			continue
		case f.cfg.Off:
			return nil, noIssuer(cert, proto.Visible(address)+" is not asked (-fetch=false)")
		case old != nil && f.cfg.Now().Sub(issuersIn(f.cfg.State).fetched(address)) < again:
			return old, nil // it was asked a moment ago
		}
		issuer, err := f.askIssuer(ctx, address, cert)
		if err == nil {
			f.cfg.Notice("certificate "+proto.Visible(address), nil)
			return issuer, nil
		}
		problems = append(problems, err.Error())
	}
	if len(problems) == 0 {
		return nil, ErrNoPlace
	}
	return nil, noIssuer(cert, strings.Join(problems, "; "))
}

// ErrNoPlace is the reason why no certificate of an authority was fetched: a certificate that
// it issued does not say where it is.
var ErrNoPlace = &fail.Error{
	Code: proto.CertificateUntrusted, Message: "its place is not named in the certificate that it issued", Hint: hintIssuer,
}

const hintIssuer = "get it from the authority, and name it in a PEM file with -ca-bundle"

// noIssuer says why no certificate of cert's issuer was fetched.
func noIssuer(cert *x509.Certificate, why string) error {
	return &fail.Error{
		Code:    proto.CertificateUntrusted,
		Message: "no certificate of the authority " + proto.Quote(trust.IssuerName(cert)) + " was fetched: " + why,
		Hint:    hintIssuer,
	}
}

func (f *Fetcher) askIssuer(ctx context.Context, address string, cert *x509.Certificate) (issuer *x509.Certificate, err error) {
	now := f.cfg.Now()
	err = f.ask(ctx, issuersIn(f.cfg.State), address, maxIssuerFile, func(r io.Reader) (string, []string, error) {
		data, err := io.ReadAll(r)
		if err != nil {
			return "", nil, err
		}
		certs, err := parseIssuers(data)
		if err != nil {
			return "", nil, err
		}
		issuers, refused := trust.IssuersOf(cert, certs, now)
		switch {
		case len(issuers) == 0 && refused != nil:
			return "", nil, fmt.Errorf("the fetched one does not serve: %w", refused)
		case len(issuers) == 0:
			return "", nil, errors.New("the fetched one is of another authority")
		case !trust.IsValid(issuers[0], now):
			ended := issuers[0].NotAfter.UTC().Format(time.DateTime)
			return "", nil, fmt.Errorf("the fetched certificate ended on %s", ended)
		}
		issuer = issuers[0]
		return "", nil, nil
	})
	return issuer, err
}

// parseIssuers reads authorities' certificates: one in DER, or some in PEM.
func parseIssuers(data []byte) (certs []*x509.Certificate, err error) {
	ders := [][]byte{data}
	if !trust.IsCertificate(data) {
		if ders, err = trust.PEMCertificates(data); err != nil {
			return nil, err
		}
	}
	for _, der := range ders {
		if len(der) > maxIssuer {
			return nil, fmt.Errorf("a certificate of %d bytes is too long", len(der))
		}
	}
	if certs = trust.Authorities(ders); len(certs) == 0 {
		return nil, errors.New("there is no authority's certificate in it")
	}
	return certs, nil
}

// CachedIssuers returns the fetched certificates in a state directory. It skips a damaged
// file, which the next fetch replaces.
func CachedIssuers(stateDir string) (ders [][]byte) {
	files := issuersIn(stateDir).files()
	for _, path := range slices.Sorted(maps.Keys(files)) {
		data, err := state.ReadFile(path, maxIssuerFile)
		if err != nil {
			continue
		}
		certs, _ := parseIssuers(data)
		for _, cert := range certs {
			ders = append(ders, cert.Raw)
		}
	}
	return ders[:min(len(ders), maxIssuers)]
}
