package lab

// x509.RevocationList makes no lists that break rules.
//
//lint:file-ignore SA1019 pkix.TBSCertificateList is the one type that does

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"time"
)

// CRL describes a certificate revocation list. The zero value is a complete list:
// all revocations of the CA, the next number, one hour old, valid for thirty
// days.
type CRL struct {
	Number                 *big.Int
	ThisUpdate, NextUpdate time.Time
	Entries                []x509.RevocationListEntry // nil: the CA's own; empty: none
	Extensions             []pkix.Extension           // beside AKI and CRL number: DeltaIndicator, IDP, ...
	Key                    crypto.Signer              // signs instead of the CA's
	// Edit changes the list before it is signed again, for example to one
	// without nextUpdate or number, or of another issuer.
	Edit func(*pkix.TBSCertificateList)
	// Damage changes the bytes to be signed, after Edit, and Outer the identifier of
	// the algorithm that stands outside of them.
	Damage, Outer func(*DER)
	Options       crypto.SignerOpts // for the signature, in place of the key's hash
}

// MakeCRL signs a list of this CA and returns its DER.
func (ca *CA) MakeCRL(c CRL) ([]byte, error) {
	t := &x509.RevocationList{Number: c.Number, ThisUpdate: c.ThisUpdate, NextUpdate: c.NextUpdate,
		RevokedCertificateEntries: c.Entries, ExtraExtensions: c.Extensions}
	if t.Number == nil {
		t.Number = ca.nextNumber()
	}
	if t.ThisUpdate.IsZero() {
		t.ThisUpdate = ca.now().Add(-crlAge)
	}
	if t.NextUpdate.IsZero() {
		t.NextUpdate = t.ThisUpdate.Add(crlLife)
	}
	if c.Entries == nil {
		t.RevokedCertificateEntries = ca.Entries()
	}
	der, err := x509.CreateRevocationList(rand.Reader, t, ca.Cert, ca.Key)
	if err != nil {
		return nil, fmt.Errorf("CRL of %s: %w", ca.Cert.Subject.CommonName, err)
	}
	if c.Key == nil && c.Edit == nil && c.Damage == nil && c.Outer == nil && c.Options == nil {
		return der, nil
	}
	return ca.resign(der, c)
}

// resign applies c.Edit and c.Damage to a finished list and signs it again, with
// c.Key if set.
// c.Key must be of the type of the CA's key, whose algorithm the list names.
func (ca *CA) resign(der []byte, c CRL) ([]byte, error) {
	var list pkix.CertificateList
	if _, err := asn1.Unmarshal(der, &list); err != nil {
		return nil, err
	}
	list.TBSCertList.Raw = nil // Marshal would write the old bytes
	if c.Edit != nil {
		c.Edit(&list.TBSCertList)
	}
	tbs, err := asn1.Marshal(list.TBSCertList)
	if err != nil {
		return nil, err
	}
	algorithm := mustMarshal(list.SignatureAlgorithm)
	if c.Damage != nil {
		d := ParseDER(tbs)
		c.Damage(d)
		tbs = d.Bytes()
	}
	if c.Outer != nil {
		d := ParseDER(algorithm)
		c.Outer(d)
		algorithm = d.Bytes()
	}
	key := c.Key
	if key == nil {
		key = ca.Key
	}
	options := c.Options
	if options == nil {
		options = hashFor(ca.Key)
	}
	sig, err := crypto.SignMessage(key, rand.Reader, tbs, options)
	if err != nil {
		return nil, err
	}
	return asn1.Marshal([]asn1.RawValue{{FullBytes: tbs}, {FullBytes: algorithm},
		{FullBytes: mustMarshal(asn1.BitString{Bytes: sig, BitLength: 8 * len(sig)})}})
}

// CRLs returns new complete lists of the lab's CAs by file name: "root", "cc",
// "auth".
func (p *PKI) CRLs() (map[string][]byte, error) {
	lists := make(map[string][]byte)
	for _, ca := range p.CAs() {
		der, err := ca.MakeCRL(CRL{})
		if err != nil {
			return nil, err
		}
		lists[ca.File] = der
	}
	return lists, nil
}
