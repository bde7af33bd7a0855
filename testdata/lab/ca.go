package lab

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"slices"
	"sync"
	"time"
)

// Policy identifiers of the real certificates: anyPolicy on CAs, the card's own
// on holders.
const (
	anyPolicy    = "2.5.29.32.0"
	holderPolicy = "2.16.620.1.1.1.2.4.0.7"
)

// CA is a certificate authority with its key and its revocations.
type CA struct {
	Cert   *x509.Certificate
	Key    crypto.Signer
	Parent *CA    // nil for a root
	File   string // names its files and URLs: crl/FILE.crl, aia/FILE.crt

	now func() time.Time

	mu      sync.Mutex
	revoked []x509.RevocationListEntry
	number  int64 // of the last CRL
}

// NewCA makes a CA under parent (nil: a self-signed root), by default with the
// lab's kind of key and without a path length constraint. It is not part of the
// lab's own hierarchy and files. Its purpose is cross certificates, loops, long
// chains and CAs with a fault.
func (p *PKI) NewCA(parent *CA, subject pkix.RDNSequence, opts ...IssueOption) (*CA, error) {
	now := p.now()
	r := &request{now: now, keyType: p.opts.CAKey, subject: subject, issuer: parent, pathLen: -1,
		notBefore: now.Add(-caAge), notAfter: now.Add(caLife)}
	for _, o := range opts {
		o.apply(r)
	}
	t := &x509.Certificate{
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLen:            r.pathLen,
		MaxPathLenZero:        r.pathLen == 0,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		Policies:              policies(anyPolicy),
	}
	cert, key, err := p.sign(r, t)
	if err != nil {
		return nil, err
	}
	if r.selfSigned {
		r.issuer = nil
	}
	return &CA{Cert: cert, Key: key, Parent: r.issuer, File: "other", now: p.now}, nil
}

// With is the CA with another certificate and key, which sign what it would not.
func (ca *CA) With(cert *x509.Certificate, key crypto.Signer) *CA {
	return &CA{Cert: cert, Key: key, Parent: ca.Parent, File: ca.File, now: ca.now}
}

// Path returns the certificates of the CA and of those above it, without the
// root.
func (ca *CA) Path() []*x509.Certificate {
	var path []*x509.Certificate
	for ; ca != nil && ca.Parent != nil; ca = ca.Parent {
		path = append(path, ca.Cert)
	}
	return path
}

// Revoke puts a certificate of this CA on its list, in place of an earlier entry
// for it; see PKI.Revoke.
func (ca *CA) Revoke(cert *x509.Certificate, at time.Time, reason int) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	ca.revoked = slices.DeleteFunc(ca.revoked, func(e x509.RevocationListEntry) bool {
		return e.SerialNumber.Cmp(cert.SerialNumber) == 0
	})
	ca.revoked = append(ca.revoked, x509.RevocationListEntry{
		SerialNumber: cert.SerialNumber, RevocationTime: at.UTC().Truncate(time.Second), ReasonCode: reason})
}

// Entries returns the CA's current list.
func (ca *CA) Entries() []x509.RevocationListEntry {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return slices.Clone(ca.revoked)
}

// nextNumber returns the number of the CA's next CRL.
func (ca *CA) nextNumber() *big.Int {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	ca.number++
	return big.NewInt(ca.number)
}

// issued reports whether the certificate names this CA as its issuer.
func (ca *CA) issued(cert *x509.Certificate) bool {
	return bytes.Equal(cert.RawIssuer, ca.Cert.RawSubject) && bytes.Equal(cert.AuthorityKeyId, ca.Cert.SubjectKeyId)
}

// policies parses constant policy identifiers.
func policies(ids ...string) []x509.OID {
	var list []x509.OID
	for _, id := range ids {
		oid, err := x509.ParseOID(id)
		if err != nil {
			panic(err)
		}
		list = append(list, oid)
	}
	return list
}
