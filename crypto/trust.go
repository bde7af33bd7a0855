package crypto

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// ClockTolerance is how far the clocks of honest machines may be apart. A
// live check passes if it holds at one moment within it.
const ClockTolerance = 5 * time.Minute

// The bounds on the work that one chain can cause. crypto/x509 adds its own:
// at most 100 signatures are checked while paths are built.
const (
	// maxCandidates bounds the certificates among which paths are looked for:
	// the peer's and what the CA bundles have for their issuers.
	maxCandidates = 64
	// maxPath bounds a path, leaf and anchor included.
	maxPath = 10
	// minRSABits is the shortest RSA key anywhere in a path; shorter ones are
	// within reach of factoring.
	minRSABits = 2048
	// maxRSABits is the longest of an issuer, because the time for a check
	// grows with the square of it and strangers choose it.
	maxRSABits = 8192
	// maxLeafRSABits is the longest of a leaf; cards have up to 4096.
	maxLeafRSABits = 4096
)

// anchorKind says why an anchor is trusted. The order is that of preference,
// where an identity has paths to several.
type anchorKind int

const (
	anchorPinned  anchorKind = iota // its hash is in the code
	anchorExtra                     // from the user's own CA bundle
	anchorMozilla                   // from Mozilla's CA bundle
)

// Trust is the set of roots, and of intermediates that help to reach them. It
// does not change and is safe for concurrent use.
type Trust struct {
	bySubject map[string][]*bundled // raw subject to certificates; extra ones first
	pinned    []Anchor
}

// bundled is one certificate of a CA bundle. It is parsed when a path first
// needs it: parsing all of Mozilla's costs more than a client's whole start.
type bundled struct {
	der  []byte
	kind anchorKind

	once   sync.Once
	cert   *x509.Certificate // nil if it does not parse
	anchor bool              // self-signed
}

// NewTrust makes a Trust of Mozilla's CA bundle and the user's own ones, all in
// PEM. Self-signed certificates of the user's are anchors, the others are
// intermediates for building paths. It fails for a bundle that has no
// certificate or a broken one; Mozilla's may have what Go does not parse.
func NewTrust(mozillaPEM []byte, extraPEM ...[]byte) (*Trust, error) {
	t := &Trust{bySubject: make(map[string][]*bundled), pinned: pinnedAnchors}
	for _, text := range extraPEM {
		n, err := t.addPEM(text, anchorExtra)
		if err != nil {
			return nil, fmt.Errorf("CA bundle: %w", err)
		}
		if n == 0 {
			return nil, errors.New("CA bundle: no certificate in PEM in it")
		}
	}
	if len(mozillaPEM) > 0 {
		if n, err := t.addPEM(mozillaPEM, anchorMozilla); err != nil || n == 0 {
			return nil, fmt.Errorf("Mozilla's CA bundle is damaged: %d certificates read: %w", n, err)
		}
	}
	return t, nil
}

// WithAnchors returns a Trust that also trusts the given roots where a chain
// supplies them, as it does the Portuguese ones.
func (t *Trust) WithAnchors(anchors ...Anchor) *Trust {
	return &Trust{bySubject: t.bySubject, pinned: slices.Concat(t.pinned, anchors)}
}

func (t *Trust) addPEM(text []byte, kind anchorKind) (n int, err error) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return n, nil
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		subject, ok := rawSubject(block.Bytes)
		if !ok {
			return n, fmt.Errorf("certificate %d is damaged", n+1)
		}
		c := &bundled{der: block.Bytes, kind: kind}
		if kind == anchorExtra {
			// There are few of the user's own: a broken one is told at once.
			if _, err := x509.ParseCertificate(block.Bytes); err != nil {
				return n, fmt.Errorf("certificate %d: %w", n+1, err)
			}
		}
		t.bySubject[string(subject)] = append(t.bySubject[string(subject)], c)
		n++
	}
}

// rawSubject finds the subject of a certificate without parsing the rest:
// RFC 5280, section 4.1.
func rawSubject(der []byte) (subject []byte, ok bool) {
	cert, ok := derOnly(der, derSequence)
	if !ok {
		return nil, false
	}
	tbs, _, ok := derExpect(cert, derSequence)
	if !ok {
		return nil, false
	}
	_, rest, _, ok := derOptional(tbs.body, derContext(0, true)) // version
	// serialNumber, signature, issuer, validity, subject
	var e derElement
	for range 5 {
		if !ok {
			return nil, false
		}
		e, rest, ok = derNext(rest)
	}
	return e.raw, ok && e.tag == derSequence
}

// load parses the certificate, once.
func (c *bundled) load() {
	c.once.Do(func() {
		cert, err := x509.ParseCertificate(c.der)
		if err != nil {
			return
		}
		c.cert, c.anchor = cert, c.kind == anchorMozilla || isSelfSigned(cert)
	})
}

// isSelfSigned reports whether a certificate is signed by its own key, which
// one that leads from an old key of an authority to its new one is not.
func isSelfSigned(cert *x509.Certificate) bool {
	if !bytes.Equal(cert.RawIssuer, cert.RawSubject) {
		return false
	}
	err := cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature)
	if _, insecure := errors.AsType[x509.InsecureAlgorithmError](err); insecure {
		// An old root may be signed with SHA-1. Nothing hangs on that
		// signature, but it cannot be checked either: go by the key's names.
		return len(cert.AuthorityKeyId) == 0 || bytes.Equal(cert.AuthorityKeyId, cert.SubjectKeyId)
	}
	return err == nil
}

// path is one way from a leaf to an anchor.
type path struct {
	certs  []*x509.Certificate // leaf first, anchor last
	kind   anchorKind
	anchor *Anchor // the pinned one, else nil
}

// candidates is what the paths of one leaf may be made of.
type candidates struct {
	leaf    *x509.Certificate
	roots   *x509.CertPool
	others  *x509.CertPool
	certs   []*x509.Certificate // all but the leaf
	kinds   map[*x509.Certificate]anchorKind
	anchors map[*x509.Certificate]*Anchor
}

// gather collects from the peer's chain and the CA bundles, in any order they
// come in, what may stand above leaf.
func (t *Trust) gather(leaf *x509.Certificate, chain []*x509.Certificate) *candidates {
	c := &candidates{
		leaf:    leaf,
		roots:   x509.NewCertPool(),
		others:  x509.NewCertPool(),
		kinds:   make(map[*x509.Certificate]anchorKind),
		anchors: make(map[*x509.Certificate]*Anchor),
	}
	for _, cert := range chain {
		if pinned := t.pinnedAnchor(cert); pinned != nil {
			c.addRoot(cert, anchorPinned, pinned)
		} else {
			c.addOther(cert)
		}
	}
	looked := make(map[string]bool)
	for i := -1; i < len(c.certs) && len(c.certs) < maxCandidates; i++ {
		issuer := leaf.RawIssuer
		if i >= 0 {
			issuer = c.certs[i].RawIssuer
		}
		if looked[string(issuer)] {
			continue
		}
		looked[string(issuer)] = true
		for _, b := range t.bySubject[string(issuer)] {
			b.load()
			if b.cert == nil || len(c.certs) >= maxCandidates {
				continue
			}
			pinned := t.pinnedAnchor(b.cert)
			switch {
			case pinned != nil:
				c.addRoot(b.cert, anchorPinned, pinned)
			case b.anchor:
				c.addRoot(b.cert, b.kind, nil)
			default:
				c.addOther(b.cert)
			}
		}
	}
	return c
}

func (t *Trust) pinnedAnchor(cert *x509.Certificate) *Anchor {
	if !bytes.Equal(cert.RawIssuer, cert.RawSubject) {
		return nil
	}
	sum := sha256.Sum256(cert.Raw)
	for i := range t.pinned {
		if t.pinned[i].SHA256 == sum {
			return &t.pinned[i]
		}
	}
	return nil
}

// addRoot adds an anchor. The pool keeps the first of equal certificates, so
// the kind of the first counts as well.
func (c *candidates) addRoot(cert *x509.Certificate, kind anchorKind, anchor *Anchor) {
	if checkIssuerKey(cert) != nil {
		return
	}
	c.roots.AddCert(cert)
	c.certs = append(c.certs, cert)
	c.kinds[cert], c.anchors[cert] = kind, anchor
}

func (c *candidates) addOther(cert *x509.Certificate) {
	c.certs = append(c.certs, cert)
	if checkIssuerKey(cert) == nil {
		c.others.AddCert(cert)
	}
}

// paths returns every path that holds at the time, best first; the error is a
// TrustError.
func (c *candidates) paths(at time.Time) ([]path, error) {
	chains, err := c.verify(at)
	if err != nil {
		// Certificates of one path can begin or end within the tolerance of
		// each other; one moment at which all hold is enough.
		for _, other := range c.boundaries(at) {
			if chains, err = c.verify(other); err == nil {
				break
			}
		}
	}
	if err != nil {
		return nil, c.explain(at, err)
	}
	var found []path
	for _, certs := range chains {
		if len(certs) < 2 || len(certs) > maxPath {
			continue
		}
		root := certs[len(certs)-1]
		found = append(found, path{certs, c.kinds[root], c.anchors[root]})
	}
	if len(found) == 0 {
		return nil, &TrustError{
			Code:   CodeCertificateUntrusted,
			Reason: "the certificate of " + shownName(c.leaf) + " vouches for itself, or its chain is too long",
		}
	}
	found = slices.DeleteFunc(found, func(p path) bool { return p.kind == anchorMozilla && !p.forPeople() })
	if len(found) == 0 {
		return nil, &TrustError{
			Code:   CodeCertificateUnsuitable,
			Reason: "the certificate of " + shownName(c.leaf) + " is not for client authentication or e-mail, as the authorities of Mozilla's bundle must say",
			Hint:   "use a card's authentication certificate, or name its authority with -ca-bundle",
		}
	}
	slices.SortStableFunc(found, func(a, b path) int {
		if a.kind != b.kind {
			return int(a.kind) - int(b.kind)
		}
		return len(a.certs) - len(b.certs)
	})
	return found, nil
}

func (c *candidates) verify(at time.Time) ([][]*x509.Certificate, error) {
	return c.leaf.Verify(x509.VerifyOptions{
		Roots:         c.roots,
		Intermediates: c.others,
		CurrentTime:   at,
		// Which usages will do depends on the anchor: see forPeople.
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
}

// boundaries returns the moments within the tolerance of at where some
// certificate begins or ends.
func (c *candidates) boundaries(at time.Time) (moments []time.Time) {
	for _, cert := range append([]*x509.Certificate{c.leaf}, c.certs...) {
		if cert.NotBefore.After(at) && cert.NotBefore.Sub(at) <= ClockTolerance {
			moments = append(moments, cert.NotBefore)
		}
		if cert.NotAfter.Before(at) && at.Sub(cert.NotAfter) <= ClockTolerance {
			moments = append(moments, cert.NotAfter)
		}
	}
	slices.SortFunc(moments, time.Time.Compare)
	moments = slices.CompactFunc(moments, time.Time.Equal)
	if len(moments) > 2 { // the earliest and the latest see every honest case
		moments = []time.Time{moments[0], moments[len(moments)-1]}
	}
	return moments
}

// forPeople reports whether all certificates below the anchor allow client
// authentication, or all allow e-mail. Without the extension a certificate may
// serve for anything: RFC 5280, section 4.2.1.12.
func (p path) forPeople() bool {
	allows := func(usage x509.ExtKeyUsage) bool {
		for _, cert := range p.certs[:len(p.certs)-1] {
			none := len(cert.ExtKeyUsage) == 0 && len(cert.UnknownExtKeyUsage) == 0
			if !none && !slices.Contains(cert.ExtKeyUsage, usage) && !slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageAny) {
				return false
			}
		}
		return true
	}
	return allows(x509.ExtKeyUsageClientAuth) || allows(x509.ExtKeyUsageEmailProtection)
}

// explain turns a failure to find a path into a TrustError that names the
// certificate at fault.
func (c *candidates) explain(at time.Time, err error) error {
	leaf := shownName(c.leaf)
	all := append([]*x509.Certificate{c.leaf}, c.certs...)
	for _, cert := range all {
		if len(cert.UnhandledCriticalExtensions) > 0 {
			return &TrustError{
				Code:   CodeCertificateUntrusted,
				Reason: fmt.Sprintf("the certificate of %s has a critical extension that is not known here (%v)", shownName(cert), cert.UnhandledCriticalExtensions[0]),
			}
		}
	}
	if err := c.outOfTime(at, err); err != nil {
		return err
	}
	for _, cert := range all {
		switch cert.SignatureAlgorithm {
		case x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.MD5WithRSA, x509.DSAWithSHA1:
			if !bytes.Equal(cert.RawIssuer, cert.RawSubject) {
				return &TrustError{
					Code:   CodeCertificateUntrusted,
					Reason: fmt.Sprintf("the certificate of %s is signed with %v, which is not safe", shownName(cert), cert.SignatureAlgorithm),
				}
			}
		}
		if err := checkIssuerKey(cert); err != nil && cert != c.leaf {
			return &TrustError{Code: CodeCertificateUntrusted, Reason: "the certificate of " + shownName(cert) + " has " + err.Error()}
		}
	}
	untrusted := &TrustError{
		Code:   CodeCertificateUntrusted,
		Reason: fmt.Sprintf("the certificate of %s, issued by %s, does not lead to a trusted authority", leaf, shownIssuer(c.leaf)),
		Hint:   "if that authority is to be trusted, name a file with its root certificate with -ca-bundle",
	}
	if bytes.Equal(c.leaf.RawIssuer, c.leaf.RawSubject) {
		untrusted.Reason = "the certificate of " + leaf + " vouches for itself"
	} else if len(c.kinds) > 0 {
		// An anchor was there, and what stands between is not in order.
		untrusted.Reason += ": " + shownText(err.Error())
	}
	return untrusted
}

// outOfTime returns the error of the certificate whose time makes all paths
// fail, nil if it is not that.
func (c *candidates) outOfTime(at time.Time, failure error) error {
	// When the newest of them began, all were valid if they ever were at once.
	newest := c.leaf.NotBefore
	for _, cert := range c.certs {
		if cert.NotBefore.After(newest) && cert.NotBefore.Before(c.leaf.NotAfter) {
			newest = cert.NotBefore
		}
	}
	for _, other := range []time.Time{newest, c.leaf.NotBefore} {
		if chains, err := c.verify(other); err == nil {
			for _, cert := range chains[0] {
				if err := checkValidity(cert, at); err != nil {
					return err
				}
			}
		}
	}
	// They never were. The standard library says whether time is the matter,
	// and keeps to itself of which certificate.
	if strings.Contains(failure.Error(), "expired or is not yet valid") {
		for _, cert := range c.certs {
			if err := checkValidity(cert, at); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkValidity refuses a certificate that at, give or take the tolerance, is
// outside its validity.
func checkValidity(cert *x509.Certificate, at time.Time) error {
	if cert.NotBefore.Sub(at) > ClockTolerance {
		return &TrustError{
			Code:   CodeCertificateNotYetValid,
			Reason: fmt.Sprintf("the certificate of %s begins on %s, and the time is %s", shownName(cert), shownTime(cert.NotBefore), shownTime(at)),
		}
	}
	if at.Sub(cert.NotAfter) > ClockTolerance {
		return &TrustError{
			Code:   CodeCertificateExpired,
			Reason: fmt.Sprintf("the certificate of %s ended on %s, and the time is %s", shownName(cert), shownTime(cert.NotAfter), shownTime(at)),
		}
	}
	return nil
}

// checkIssuerKey refuses keys of authorities that are weak, or so large that
// checking them is a way to keep this machine busy.
func checkIssuerKey(cert *x509.Certificate) error {
	if public, ok := cert.PublicKey.(*rsa.PublicKey); ok {
		if bits := public.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return fmt.Errorf("an RSA key of %d bits; %d to %d are allowed", bits, minRSABits, maxRSABits)
		}
	}
	return nil
}

// checkLeaf refuses certificates that are not a person's to sign with,
// whatever their authority.
func checkLeaf(leaf *x509.Certificate) error {
	unsuitable := func(format string, args ...any) error {
		return &TrustError{
			Code:   CodeCertificateUnsuitable,
			Reason: "the certificate of " + shownName(leaf) + " " + fmt.Sprintf(format, args...),
			Hint:   "use a card's authentication certificate",
		}
	}
	switch public := leaf.PublicKey.(type) {
	case *rsa.PublicKey:
		bits := public.N.BitLen()
		if bits < minRSABits || bits > maxLeafRSABits {
			return unsuitable("has an RSA key of %d bits; %d to %d are allowed", bits, minRSABits, maxLeafRSABits)
		}
		if public.E < 3 || public.E%2 == 0 || public.N.Bit(0) == 0 {
			return unsuitable("has an RSA key that is none: its exponent or modulus is even or too small")
		}
	case *ecdsa.PublicKey:
		if public.Curve != elliptic.P256() && public.Curve != elliptic.P384() && public.Curve != elliptic.P521() {
			return unsuitable("has a key on the curve %s; P-256, P-384 and P-521 are allowed", public.Curve.Params().Name)
		}
	default:
		return unsuitable("has a %v key; RSA and ECDSA are allowed", leaf.PublicKeyAlgorithm)
	}
	if leaf.BasicConstraintsValid && leaf.IsCA {
		return unsuitable("is that of an authority, not of a person")
	}
	hasKeyUsage := slices.ContainsFunc(leaf.Extensions, isKeyUsage)
	if hasKeyUsage && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return unsuitable("may not be used for digital signatures")
	}
	if leaf.SerialNumber.Sign() <= 0 || len(leaf.SerialNumber.Bytes()) > maxSerial {
		return unsuitable("has a serial number that is not positive or longer than %d bytes", maxSerial)
	}
	if subject, ok := derOnly(leaf.RawSubject, derSequence); !ok || len(subject) == 0 {
		return unsuitable("names nobody: its subject is empty")
	}
	return nil
}
