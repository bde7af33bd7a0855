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

// CRL describes a certificate revocation list. The zero value is a complete
// one: all that the CA has revoked, the next number, an hour old, good for
// thirty days.
type CRL struct {
	Number                 *big.Int
	ThisUpdate, NextUpdate time.Time
	Entries                []x509.RevocationListEntry // nil: the CA's own; empty: none
	Extensions             []pkix.Extension           // added to AKI and CRL number: DeltaIndicator, IDP, ...
	Key                    crypto.Signer              // signs instead of the CA's
	// Edit changes the list in any way before it is signed again: no
	// nextUpdate, no number, another issuer.
	Edit func(*pkix.TBSCertificateList)
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
	if c.Key == nil && c.Edit == nil {
		return der, nil
	}
	return ca.resign(der, c)
}

// resign applies c.Edit to a finished list and signs it again, with c.Key if
// there is one. A key given is of the CA's own type, or the algorithm that
// the list names would not be the key's.
func (ca *CA) resign(der []byte, c CRL) ([]byte, error) {
	var list pkix.CertificateList
	if _, err := asn1.Unmarshal(der, &list); err != nil {
		return nil, err
	}
	list.TBSCertList.Raw = nil // else the old bytes would be written
	if c.Edit != nil {
		c.Edit(&list.TBSCertList)
	}
	tbs, err := asn1.Marshal(list.TBSCertList)
	if err != nil {
		return nil, err
	}
	list.TBSCertList.Raw = tbs
	key := c.Key
	if key == nil {
		key = ca.Key
	}
	parsed, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, err
	}
	hash := hashOf(parsed.SignatureAlgorithm)
	h := hash.New()
	h.Write(tbs)
	sig, err := key.Sign(rand.Reader, h.Sum(nil), hash)
	if err != nil {
		return nil, err
	}
	list.SignatureValue = asn1.BitString{Bytes: sig, BitLength: 8 * len(sig)}
	return asn1.Marshal(list)
}

// hashOf is the hash inside a signature algorithm that x509 chooses by itself.
func hashOf(alg x509.SignatureAlgorithm) crypto.Hash {
	switch alg {
	case x509.ECDSAWithSHA384:
		return crypto.SHA384
	case x509.ECDSAWithSHA512:
		return crypto.SHA512
	}
	return crypto.SHA256
}

// CRLs returns the complete list of each CA that has files, by name: "root",
// "cc", "auth".
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
