package lab

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"time"
)

// Holder is a person with a card: the certificate, the part of its chain on the
// card, and the key.
type Holder struct {
	Name   string              // online and as the name of the directory
	Leaf   *x509.Certificate   // the authentication certificate
	Chain  []*x509.Certificate // CAs on the card, issuer first, root excluded; empty with NoCA
	Key    crypto.Signer       // the card's key
	Issuer *CA                 // nil if self-signed
}

// Sign signs a message like the card: PKCS #1 v1.5 or ECDSA, with the hash for the
// size of its key.
func (h *Holder) Sign(message []byte) ([]byte, error) {
	return crypto.SignMessage(h.Key, rand.Reader, message, hashFor(h.Key))
}

// ChainDER is Chain in DER, never nil.
func (h *Holder) ChainDER() [][]byte {
	chain := make([][]byte, len(h.Chain))
	for i, cert := range h.Chain {
		chain[i] = cert.Raw
	}
	return chain
}

// An IssueOption makes a certificate differ from the usual one. A KeyType is an
// option too. Of two that contradict each other the later one counts.
type IssueOption interface{ apply(*request) }

// request collects the options of one certificate.
type request struct {
	now                 time.Time
	keyType             KeyType
	key                 crypto.Signer // nil: a new one of keyType
	subject             pkix.RDNSequence
	notBefore, notAfter time.Time
	issuer              *CA
	civil               string
	pathLen             int // CAs only; -1 is no constraint

	selfSigned, untrusted, forged, noCA bool

	revokedFor int // reason; 0 is not revoked
	mutate     []func(*x509.Certificate)
}

type optionFunc func(*request)

func (f optionFunc) apply(r *request) { f(r) }

// Conditions of a holder.
var (
	// Expired ended a day before the lab's now.
	Expired IssueOption = optionFunc(func(r *request) {
		r.notBefore, r.notAfter = r.now.Add(-expiredAge), r.now.Add(-holderAge)
	})
	// NotYetValid begins a day after the lab's now.
	NotYetValid IssueOption = optionFunc(func(r *request) {
		r.notBefore, r.notAfter = r.now.Add(holderAge), r.now.Add(holderLife)
	})
	// Revoked is on the issuer's list from now on, for keyCompromise.
	Revoked IssueOption = optionFunc(func(r *request) { r.revokedFor = 1 })
	// Untrusted comes from another lab, with CAs of the same names and
	// another root. Its chain is complete.
	Untrusted IssueOption = optionFunc(func(r *request) { r.untrusted = true })
	// SelfSigned is its own issuer.
	SelfSigned IssueOption = optionFunc(func(r *request) { r.selfSigned = true })
	// Forged has the name and key identifier of the real issuer and the real
	// chain, but is signed by another key.
	Forged IssueOption = optionFunc(func(r *request) { r.forged = true })
	// NoCA leaves the CA certificates off the card, like cards since 2024.
	NoCA IssueOption = optionFunc(func(r *request) { r.noCA = true })
)

// Window sets the validity period.
func Window(notBefore, notAfter time.Time) IssueOption {
	return optionFunc(func(r *request) { r.notBefore, r.notAfter = notBefore, notAfter })
}

// WithKey sets the key, in place of a new one.
func WithKey(key crypto.Signer) IssueOption { return optionFunc(func(r *request) { r.key = key }) }

// WithSubject replaces the whole subject; see DN.
func WithSubject(dn pkix.RDNSequence) IssueOption {
	return optionFunc(func(r *request) { r.subject = dn })
}

// WithCivilNumber sets the subject's serialNumber; see civilNumber.
func WithCivilNumber(civil string) IssueOption {
	return optionFunc(func(r *request) { r.civil = civil })
}

// RenewalOf makes the next card of the same person: the same subject with a new
// key and a new serial number.
func RenewalOf(h *Holder) IssueOption {
	return optionFunc(func(r *request) {
		var dn pkix.RDNSequence
		if _, err := asn1.Unmarshal(h.Leaf.RawSubject, &dn); err != nil {
			panic(fmt.Sprintf("lab.RenewalOf: %v", err)) // a parsed certificate has a valid subject
		}
		r.subject = dn
	})
}

// By sets the issuer, in place of the lab's sub CA (or of a CA's parent).
func By(ca *CA) IssueOption { return optionFunc(func(r *request) { r.issuer = ca }) }

// pathLen sets a CA's path length constraint; -1 is none.
func pathLen(n int) IssueOption { return optionFunc(func(r *request) { r.pathLen = n }) }

// Mutate changes the template just before it is signed: its key usage,
// ExtraExtensions, distribution points or SignatureAlgorithm.
func Mutate(f func(*x509.Certificate)) IssueOption {
	return optionFunc(func(r *request) { r.mutate = append(r.mutate, f) })
}

// Issue makes a holder's key and certificate, by default with P-256, five years
// and a citizen's subject.
func (p *PKI) Issue(name string, opts ...IssueOption) (*Holder, error) {
	now := p.now()
	r := &request{now: now, keyType: P256, issuer: p.Auth,
		notBefore: now.Add(-holderAge), notAfter: now.Add(holderLife)}
	for _, o := range opts {
		o.apply(r)
	}
	if r.untrusted {
		other, err := p.untrusted()
		if err != nil {
			return nil, err
		}
		r.issuer = other.Auth
	}
	if r.subject == nil {
		if r.civil == "" {
			var err error
			if r.civil, err = p.newCivilNumber(); err != nil {
				return nil, err
			}
		}
		r.subject = citizen(name, r.civil)
	}
	t := &x509.Certificate{
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyAgreement,
		BasicConstraintsValid: true,
		Policies:              policies(holderPolicy),
	}
	cert, key, err := p.sign(r, t)
	if err != nil {
		return nil, fmt.Errorf("certificate of %s: %w", name, err)
	}
	h := &Holder{Name: name, Leaf: cert, Key: key}
	if !r.selfSigned {
		h.Issuer = r.issuer
		if !r.noCA {
			h.Chain = r.issuer.Path()
		}
	}
	if r.revokedFor != 0 {
		p.Revoke(h, now, r.revokedFor)
	}
	p.mu.Lock()
	p.holders = append(p.holders, h)
	p.mu.Unlock()
	return h, nil
}

// untrusted returns the other lab, whose root is not in this one.
func (p *PKI) untrusted() (*PKI, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.other == nil {
		other, err := New(p.opts)
		if err != nil {
			return nil, err
		}
		p.other = other
	}
	return p.other, nil
}

// sign completes the template from the request, makes the key if needed, and
// signs.
func (p *PKI) sign(r *request, t *x509.Certificate) (*x509.Certificate, crypto.Signer, error) {
	key := r.key
	if key == nil {
		var err error
		if key, err = r.keyType.Generate(); err != nil {
			return nil, nil, err
		}
	}
	subject, err := asn1.Marshal(r.subject)
	if err != nil {
		return nil, nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, nil, err
	}
	id := sha256.Sum256(spki)
	t.RawSubject, t.SubjectKeyId = subject, id[:20]
	t.NotBefore, t.NotAfter = r.notBefore, r.notAfter
	parent, signer := t, key
	if r.issuer != nil && !r.selfSigned {
		parent, signer = r.issuer.Cert, r.issuer.Key
		t.CRLDistributionPoints = []string{p.opts.BaseURL + "/crl/" + r.issuer.File + ".crl"}
		t.IssuingCertificateURL = []string{p.opts.BaseURL + "/aia/" + r.issuer.File + ".crt"}
	}
	if r.forged {
		stranger, err := P256.Generate()
		if err != nil {
			return nil, nil, err
		}
		impostor := *parent
		impostor.PublicKey = stranger.Public()
		parent, signer = &impostor, stranger
	}
	for _, f := range r.mutate {
		f(t)
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, key.Public(), signer)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, err
}
