// Package lab makes certificate authorities, cards and revocation lists (RFC
// 5280) for tests and for trials of the programs: a hierarchy like the Portuguese
// one (root, "Cartão de Cidadão", "EC de Autenticação"), citizens under it with
// the subject attributes of a real card, complete CRLs, software cards and
// SoftHSM2 tokens.
//
//	p, err := lab.New(lab.Options{})
//	alice, err := p.Issue("alice", lab.RSA2048)
//	err = p.Write(dir) // dir/ca-bundle.pem, dir/crl, dir/alice
//
// Nothing here is for real use: the private keys of authorities lie beside their
// certificates, and all tokens have one PIN.
package lab

import (
	"encoding/hex"
	"fmt"
	"slices"
	"sync"
	"time"
)

// DefaultBaseURL begins the URLs in CRLDistributionPoints and AIA unless Options
// has another. A loopback address needs no name server, and nothing listens on
// port 1, so that a fetch fails at once.
const DefaultBaseURL = "http://127.0.0.1:1/lab"

// Validity around the lab's clock. CAs are older than any expired citizen, so that
// a check "at that time" finds a valid chain.
const (
	year           = 365 * 24 * time.Hour
	rootAge        = 12 * year
	rootLife       = 20 * year // from now on
	caAge          = 11 * year
	caLife         = 12 * year
	holderAge      = 24 * time.Hour
	holderLife     = 5 * year
	expiredAge     = 6 * year
	crlAge         = time.Hour
	crlLife        = 30 * 24 * time.Hour
	labelRandBytes = 6 // 48 bits, so that no two labs have a root of the same name
)

// Options are the parameters of a lab. The zero value is right for most tests.
type Options struct {
	CAKey   KeyType          // of the three CAs; "" is P384
	BaseURL string           // of CDP and AIA, without a final slash; "" is DefaultBaseURL
	Now     func() time.Time // the lab's clock; nil is time.Now
}

// PKI is one lab: three CAs and their holders. It is safe for concurrent use. Its
// CAs and holders must not be changed.
type PKI struct {
	Root *CA // "Lab Raiz do Estado 001", self-signed, the one anchor
	CC   *CA // "Cartão de Cidadão 001"
	Auth *CA // "EC de Autenticação do Cartão de Cidadão 0001", issues to citizens

	opts Options

	mu      sync.Mutex
	holders []*Holder       // in order of issue
	civil   map[string]bool // civil numbers in use
	other   *PKI            // issuer of the Untrusted, made on first use
}

// New makes a lab in memory.
func New(opts Options) (*PKI, error) {
	p := empty(opts)
	label := hex.EncodeToString(randomBytes(labelRandBytes))
	var err error
	p.Root, err = p.NewCA(nil, DN("C", "PT", "O", "Sistema de Certificação Eletrónica do Estado",
		"OU", "Lab "+label, "CN", "Lab Raiz do Estado 001"),
		Window(p.now().Add(-rootAge), p.now().Add(rootLife)))
	if err != nil {
		return nil, fmt.Errorf("lab root: %w", err)
	}
	p.Root.File = "root"
	p.CC, err = p.NewCA(p.Root, DN("C", "PT", "O", "SCEE - Sistema de Certificação Electrónica do Estado",
		"OU", "ECEstado", "CN", "Cartão de Cidadão 001"), pathLen(1))
	if err != nil {
		return nil, fmt.Errorf("lab CA: %w", err)
	}
	p.CC.File = "cc"
	p.Auth, err = p.NewCA(p.CC, DN("C", "PT", "O", "Instituto dos Registos e do Notariado I.P.",
		"OU", "Cartão de Cidadão", "OU", "subECEstado",
		"CN", "EC de Autenticação do Cartão de Cidadão 0001"), pathLen(0))
	if err != nil {
		return nil, fmt.Errorf("lab sub CA: %w", err)
	}
	p.Auth.File = "auth"
	return p, nil
}

// empty returns a lab without CAs, with the defaults of its options.
func empty(opts Options) *PKI {
	if opts.CAKey == "" {
		opts.CAKey = P384
	}
	if opts.BaseURL == "" {
		opts.BaseURL = DefaultBaseURL
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &PKI{opts: opts, civil: make(map[string]bool)}
}

// now is the lab's time in the form of certificates: UTC, whole seconds.
func (p *PKI) now() time.Time { return p.opts.Now().UTC().Truncate(time.Second) }

// CAs returns the three authorities, root first.
func (p *PKI) CAs() []*CA { return []*CA{p.Root, p.CC, p.Auth} }

// BaseURL is the part before crl/ and aia/ of the certificates' URLs.
func (p *PKI) BaseURL() string { return p.opts.BaseURL }

// Served returns the files to serve under BaseURL, by path: new complete CRLs
// ("/crl/auth.crl") and the CAs' certificates ("/aia/auth.crt").
func (p *PKI) Served() (map[string][]byte, error) {
	lists, err := p.CRLs()
	if err != nil {
		return nil, err
	}
	files := make(map[string][]byte)
	for _, ca := range p.CAs() {
		files["/"+crlDir+"/"+ca.File+".crl"] = lists[ca.File]
		files["/"+aiaDir+"/"+ca.File+".crt"] = ca.Cert.Raw
	}
	return files, nil
}

// Holders returns all holders in order of issue.
func (p *PKI) Holders() []*Holder {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.holders)
}

// Revoke puts h on its issuer's next CRL, as revoked since at, with a reason of
// RFC 5280, section 5.3.1 (1 keyCompromise, 6 certificateHold, 8 removeFromCRL,
// ...).
func (p *PKI) Revoke(h *Holder, at time.Time, reason int) {
	if h.Issuer != nil {
		h.Issuer.Revoke(h.Leaf, at, reason)
	}
}
