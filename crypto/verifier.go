package crypto

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"chatsecure/proto"
)

const (
	// cacheFor is how long a verified identity is believed without looking
	// again: long enough for a burst of messages, short enough that an end of
	// validity or a new revocation list counts at once by human measure.
	cacheFor = 5 * time.Second
	// forgetAfter is how long an identity that nobody asks for stays: who is
	// looked at every few seconds, as every peer of a client is, is parsed and
	// has the signature of its card verified once.
	forgetAfter = 30 * time.Second
	// cacheSize bounds the identities remembered, at some 20 kB each: those that
	// are at work, not all that are connected. Older ones go when the next one is
	// verified.
	cacheSize = 256
)

// VerifierConfig says what a Verifier trusts.
type VerifierConfig struct {
	Trust  *Trust
	CRLs   *CRLStore        // nil: no revocation list is at hand
	Policy Policy           // what an unknown revocation status means; "" is PolicyTry
	Now    func() time.Time // nil: time.Now
}

// Verifier decides whose bundle it is. It is safe for concurrent use.
type Verifier struct {
	now func() time.Time

	mu     sync.Mutex // guards what follows
	trust  *Trust
	crls   *CRLStore
	policy Policy
	known  map[[32]byte]remembered // by bundle hash; verified live
}

type remembered struct {
	delegated delegated
	person    *Person
	at        time.Time
	lists     uint64 // CRLStore.generation then
}

// younger tells whether a result is at most so old. A clock that was set back
// makes its age negative: look again.
func (r remembered) younger(than time.Duration, now time.Time) bool {
	age := now.Sub(r.at)
	return age >= 0 && age < than
}

// NewVerifier returns a Verifier.
func NewVerifier(cfg VerifierConfig) *Verifier {
	v := &Verifier{now: cfg.Now}
	if v.now == nil {
		v.now = time.Now
	}
	v.Reload(cfg.Trust, cfg.CRLs, cfg.Policy)
	return v
}

// Reload replaces what is trusted, all at once, and forgets every identity
// verified before.
func (v *Verifier) Reload(trust *Trust, crls *CRLStore, policy Policy) {
	if trust == nil {
		trust = &Trust{}
	}
	if policy == "" {
		policy = PolicyTry
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.trust, v.crls, v.policy = trust, crls, policy
	v.known = make(map[[32]byte]remembered)
}

// WithPolicy returns a Verifier that trusts the same, and judges an unknown
// revocation status otherwise.
func (v *Verifier) WithPolicy(policy Policy) *Verifier {
	check := v.current()
	return NewVerifier(VerifierConfig{Trust: check.trust, CRLs: check.crls, Policy: policy, Now: v.now})
}

// Verify checks a bundle at this moment: shape, name, delegation, path to an
// anchor, revocation. Errors are TrustErrors. Clocks may differ by
// ClockTolerance. That its peer holds K is for the caller to check, and before:
// strangers are made to sign before they are worth building a path for.
func (v *Verifier) Verify(b *Bundle, name string) (*Person, error) {
	if err := b.Check(); err != nil {
		return nil, err
	}
	if err := checkName(b, name); err != nil {
		return nil, err
	}
	hash, now := b.Hash(), v.now()

	check := v.current()
	lists := check.crls.generation()
	known, ok := v.recall(hash)
	if ok && known.lists == lists && known.younger(cacheFor, now) && !now.After(known.person.Expires) {
		return known.person, nil
	}
	d := known.delegated
	if !ok {
		var err error
		if d, err = readDelegated(b, hash); err != nil {
			return nil, nameClock(err, now)
		}
	}
	person, err := check.person(d, now)
	if err != nil {
		return nil, nameClock(err, now)
	}
	v.remember(hash, remembered{d, person, now, lists}, check)
	return person, nil
}

// VerifyAt checks a bundle as it was at a time in the past, for history and
// proofs: valid then, and not revoked by then. Person.Now says whether the
// certificate would still be accepted.
func (v *Verifier) VerifyAt(b *Bundle, name string, at time.Time) (*Person, error) {
	if err := b.Check(); err != nil {
		return nil, err
	}
	if err := checkName(b, name); err != nil {
		return nil, err
	}
	if now := v.now(); at.Sub(now) > ClockTolerance {
		return nil, nameClock(&TrustError{Code: proto.DelegationNotYet, Reason: "the time claimed, " + shownTime(at) + ", is still to come"}, now)
	}
	d, err := readDelegated(b, b.Hash())
	if err != nil {
		return nil, err
	}
	check := v.current()
	check.past = true
	person, err := check.person(d, at)
	if err != nil {
		return nil, err
	}
	check.past = false
	_, person.Now = v.alone(check, b.X509, b.Chain)
	return person, nil
}

// Certificate checks a certificate alone, with the chain that came with it, at
// this moment: path to an anchor and revocation. It is for the own card; the
// Person has no name, K or times. Errors are TrustErrors.
func (v *Verifier) Certificate(leaf []byte, chain [][]byte) (*Person, error) {
	return v.alone(v.current(), leaf, chain)
}

// Due returns which revocation lists to fetch to know more about a
// certificate. It finds a path to an anchor first: nothing is fetched because
// of a certificate that nobody trusted has signed. Errors are TrustErrors.
func (v *Verifier) Due(leaf []byte, chain [][]byte) ([]CRLFetch, error) {
	check := v.current()
	if check.policy == PolicyOff {
		return nil, nil
	}
	check.policy = PolicyOff // an unknown status is the reason to ask
	person, err := v.alone(check, leaf, chain)
	if err != nil {
		return nil, err
	}
	return check.crls.Due(person.Path, v.now()), nil
}

func (v *Verifier) alone(c check, leaf []byte, chain [][]byte) (*Person, error) {
	cert, err := parseLeaf(leaf)
	if err != nil {
		return nil, err
	}
	issuers, err := parseChain(chain)
	if err != nil {
		return nil, err
	}
	now := v.now()
	person, err := c.holder(cert, issuers, now)
	if err != nil {
		return nil, nameClock(err, now)
	}
	return person, nil
}

// current is what to check against at this moment.
func (v *Verifier) current() check {
	v.mu.Lock()
	defer v.mu.Unlock()
	return check{trust: v.trust, crls: v.crls, policy: v.policy}
}

// recall returns what is remembered of a bundle.
func (v *Verifier) recall(hash [32]byte) (r remembered, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	r, ok = v.known[hash]
	return r, ok
}

// remember keeps a result, unless what it was checked against has been
// replaced meanwhile.
func (v *Verifier) remember(hash [32]byte, r remembered, c check) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.trust != c.trust || v.crls != c.crls || v.policy != c.policy {
		return
	}
	maps.DeleteFunc(v.known, func(_ [32]byte, old remembered) bool { return !old.younger(forgetAfter, r.at) })
	if len(v.known) >= cacheSize {
		clear(v.known)
	}
	v.known[hash] = r
}

func checkName(b *Bundle, name string) error {
	if b.Name != name {
		return &TrustError{
			Code:   proto.NameMismatch,
			Reason: fmt.Sprintf("the identity is delegated to the name %s, not to %s", shownText(b.Name), shownText(name)),
		}
	}
	return nil
}

// nameClock points at the clock where a time is why a live check fails, since
// a wrong clock is the likelier cause for one side of a conversation.
func nameClock(err error, now time.Time) error {
	refused, ok := errors.AsType[*TrustError](err)
	if !ok {
		return err
	}
	switch refused.Code {
	case proto.CertificateExpired, proto.CertificateNotYet, proto.DelegationExpired, proto.DelegationNotYet:
		again := *refused
		again.Reason += "; this machine's clock says " + shownTime(now)
		if again.Hint == "" {
			again.Hint = "check the clocks of both machines"
		}
		return &again
	}
	return err
}

// check is one look at an identity, against one state of the Verifier.
type check struct {
	trust  *Trust
	crls   *CRLStore
	policy Policy
	past   bool // judge as of the time given, not live
}

// delegated is what of a bundle neither time nor revocation lists change: its
// certificates, and that the leaf's key has signed the delegation of K.
type delegated struct {
	bundle  *Bundle
	hash    [32]byte
	key     *PublicKey // K
	leaf    *x509.Certificate
	issuers []*x509.Certificate // as they were sent: whether they lead anywhere is open
}

// readDelegated parses a bundle that Check has passed, and verifies the
// delegation's signature.
func readDelegated(b *Bundle, hash [32]byte) (delegated, error) {
	key, err := b.Key()
	if err != nil {
		return delegated{}, err
	}
	leaf, err := parseLeaf(b.X509)
	if err != nil {
		return delegated{}, err
	}
	if err := checkDelegation(b, leaf); err != nil {
		return delegated{}, err
	}
	issuers, err := parseChain(b.Chain)
	if err != nil {
		return delegated{}, err
	}
	return delegated{b, hash, key, leaf, issuers}, nil
}

// person says whose a bundle is at a time: the times of the delegation, a path,
// revocation.
func (c check) person(d delegated, at time.Time) (*Person, error) {
	if err := checkDelegationTimes(d.bundle, d.leaf, at); err != nil {
		return nil, err
	}
	person, err := c.holder(d.leaf, d.issuers, at)
	if err != nil {
		return nil, err
	}
	person.Name, person.Key, person.Expires = d.bundle.Name, d.key, time.Unix(d.bundle.NotAfter, 0).UTC()
	return person, nil
}

// holder finds who a certificate belongs to. The Person lacks what a bundle
// tells.
func (c check) holder(leaf *x509.Certificate, issuers []*x509.Certificate, at time.Time) (*Person, error) {
	found, revocation, err := c.certificate(leaf, issuers, at)
	if err != nil {
		return nil, err
	}
	identity, err := identify(found)
	if err != nil {
		return nil, err
	}
	return &Person{Identity: identity, Leaf: leaf, Path: found.certs, Revocation: revocation}, nil
}

func parseLeaf(der []byte) (*x509.Certificate, error) {
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, malformed("its certificate does not parse: %s", Visible(err.Error()))
	}
	return leaf, checkLeaf(leaf)
}

func parseChain(chain [][]byte) ([]*x509.Certificate, error) {
	certs := make([]*x509.Certificate, len(chain))
	for i, der := range chain {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, malformed("certificate %d of its chain does not parse: %s", i+1, Visible(err.Error()))
		}
		certs[i] = cert
	}
	return certs, nil
}

// checkDelegation checks that the card has signed the delegation, and that it
// could.
func checkDelegation(b *Bundle, leaf *x509.Certificate) error {
	message := DelegationMessage(b.X509, b.Name, b.PublicKey, b.NotBefore, b.NotAfter)
	if !verifyLeaf(leaf.PublicKey, message, b.Signature) {
		return &TrustError{
			Code:   proto.DelegationInvalid,
			Reason: "the delegation is not signed by the certificate of " + shownName(leaf),
		}
	}
	begins, ends := time.Unix(b.NotBefore, 0), time.Unix(b.NotAfter, 0)
	if begins.Before(leaf.NotBefore) || ends.After(leaf.NotAfter) {
		return &TrustError{
			Code:   proto.DelegationInvalid,
			Reason: "the delegation reaches beyond the validity of the certificate of " + shownName(leaf),
		}
	}
	return nil
}

// checkDelegationTimes checks a delegation's times. A leaf that is out of its
// own time is told as such, because its delegation is then out of time too and
// that would hide the cause.
func checkDelegationTimes(b *Bundle, leaf *x509.Certificate, at time.Time) error {
	begins, ends := time.Unix(b.NotBefore, 0), time.Unix(b.NotAfter, 0)
	if err := checkValidity(leaf, at); err != nil {
		return err
	}
	if begins.Sub(at) > ClockTolerance {
		return &TrustError{
			Code:   proto.DelegationNotYet,
			Reason: fmt.Sprintf("the delegation by %s begins on %s", shownName(leaf), shownTime(begins)),
		}
	}
	if at.Sub(ends) > ClockTolerance {
		return &TrustError{
			Code:   proto.DelegationExpired,
			Reason: fmt.Sprintf("the delegation by %s ended on %s", shownName(leaf), shownTime(ends)),
		}
	}
	return nil
}

// verifyLeaf checks a signature of a card. The key alone decides the
// algorithm: RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, section 8.2), or ECDSA
// (ASN.1, RFC 3279, section 2.2.3) with the hash of the curve's size.
func verifyLeaf(public any, message, signature []byte) bool {
	switch public := public.(type) {
	case *rsa.PublicKey:
		digest := sha256.Sum256(message)
		return rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature) == nil
	case *ecdsa.PublicKey:
		var digest []byte
		switch public.Curve.Params().BitSize {
		case 256:
			sum := sha256.Sum256(message)
			digest = sum[:]
		case 384:
			sum := sha512.Sum384(message)
			digest = sum[:]
		case 521:
			sum := sha512.Sum512(message)
			digest = sum[:]
		default:
			return false
		}
		return ecdsa.VerifyASN1(public, digest, signature)
	}
	return false
}

// certificate looks for a path that holds at the time and that nothing on it
// is known to be revoked from. One good path is enough; among several, one
// whose status is known is preferred to one whose is not.
func (c check) certificate(leaf *x509.Certificate, chain []*x509.Certificate, at time.Time) (path, RevocationResult, error) {
	paths, err := c.trust.paths(leaf, chain, at)
	if err != nil {
		return path{}, RevocationResult{}, err
	}
	// Who it is must not depend on which lists are at hand: if one path is a
	// citizen's, only such count.
	if slices.ContainsFunc(paths, path.isCitizen) {
		paths = slices.DeleteFunc(paths, func(p path) bool { return !p.isCitizen() })
	}
	if c.policy == PolicyOff {
		return paths[0], RevocationResult{Status: RevocationOff, Reason: "revocation is not looked at"}, nil
	}
	var best path
	var found RevocationResult
	for _, p := range paths {
		result := c.crls.check(p.certs, at, c.past)
		if found.Status == "" || result.Status.better(found.Status) {
			best, found = p, result
		}
		if found.Status == RevocationGood {
			break
		}
	}
	switch {
	case found.Status == RevocationRevoked:
		return path{}, found, &TrustError{Code: proto.CertificateRevoked, Reason: found.Reason}
	case found.Status == RevocationUnknown && c.policy == PolicyRequire:
		return path{}, found, &TrustError{
			Code:   proto.RevocationUnknown,
			Reason: found.Reason,
			Hint:   "get its revocation list with crl refresh or put it into the -crl directory, or use -crl-policy try",
		}
	}
	return best, found, nil
}
