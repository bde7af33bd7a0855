package trust

import (
	"cmp"
	"errors"
	"maps"
	"sync"
	"time"

	"chatsecure/proto"
)

const (
	// cacheFor is the time for which a verified identity is good without another
	// look: long enough for a burst of messages, and short enough that an expiry or
	// a new revocation list counts at once to people.
	cacheFor = 5 * time.Second
	// forgetAfter is the time for which an unused identity is remembered. A client
	// looks at each of its peers every few seconds, and so parses it and verifies
	// its card's signature once.
	forgetAfter = 30 * time.Second
	// cacheSize bounds the identities remembered, at some 20 kB each: the active
	// ones, not all that are connected.
	cacheSize = 256
)

// VerifierConfig holds what a Verifier trusts.
type VerifierConfig struct {
	Trust  *Store
	CRLs   *CRLStore        // nil is an empty one
	Policy Policy           // on revocation; "" is PolicyTry
	Now    func() time.Time // nil is time.Now
}

// Verifier finds the person of a bundle. It is safe for concurrent use.
type Verifier struct {
	now func() time.Time

	mu    sync.Mutex // guards the fields below
	check            // as it is now
	known memory     // live results by bundle hash
	// refused are those without a person. Strangers cause them, and their number must
	// not drive out the others.
	refused memory
}

// remembered is a live result: a person, or the refusal alone.
type remembered struct {
	proved  Proved
	person  *Person
	refusal error
	at      time.Time
	lists   uint64 // CRLStore.generation at that time
}

// memory holds results by bundle hash.
type memory map[[32]byte]remembered

// keep adds a result, and makes room where there is none.
func (m memory) keep(hash [32]byte, r remembered) {
	maps.DeleteFunc(m, func(_ [32]byte, old remembered) bool { return !old.younger(forgetAfter, r.at) })
	if len(m) >= cacheSize {
		clear(m)
	}
	m[hash] = r
}

// younger reports whether a result is younger than that. If the clock was set back,
// its age is negative and it is not.
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

// Reload replaces all that is trusted, at once, and forgets earlier results.
func (v *Verifier) Reload(trust *Store, crls *CRLStore, policy Policy) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.check = check{trust: cmp.Or(trust, &Store{}), crls: cmp.Or(crls, NewCRLStore()), policy: cmp.Or(policy, PolicyTry)}
	v.known, v.refused = make(memory), make(memory)
}

// Lenient returns a Verifier with the same trust that accepts an unknown revocation.
func (v *Verifier) Lenient() *Verifier {
	c := v.current()
	if c.policy == PolicyRequire {
		c.policy = PolicyTry
	}
	return NewVerifier(VerifierConfig{Trust: c.trust, CRLs: c.crls, Policy: c.policy, Now: v.now})
}

// Verify checks a bundle live: form, name, delegation, path to an anchor, revocation.
// Clocks may differ by ClockTolerance. Errors are *Error. The caller checks that the
// peer holds K, and does so first: no path is built for a stranger without a
// signature.
func (v *Verifier) Verify(b *Bundle, name string) (*Person, error) {
	if err := checkForm(b, name); err != nil {
		return nil, err
	}
	hash, now := b.Hash(), v.now()

	check := v.current()
	lists := check.crls.generation()
	known := v.recall(hash)
	if known.lists == lists && known.younger(cacheFor, now) && (known.refusal != nil || !now.After(known.person.Expires)) {
		return known.person, known.refusal
	}
	var person *Person
	var err error
	d := known.proved
	if d.bundle == nil {
		d, err = readDelegated(b)
	}
	if err == nil {
		person, err = check.person(&d, now)
	}
	if err != nil {
		d, err = Proved{}, nameClock(err, now)
	}
	v.remember(hash, remembered{d, person, err, now, lists}, check)
	return person, err
}

// Prove checks all of a bundle but the times and revocation, which At looks at. Errors are
// *Error.
func (v *Verifier) Prove(b *Bundle, name string) (*Proved, error) {
	if err := checkForm(b, name); err != nil {
		return nil, err
	}
	d, err := readDelegated(b)
	if err == nil {
		err = d.prove(v.current().trust)
	}
	return &d, err
}

// At finds the person of a bundle at the time in a signed header: valid then, and not revoked
// by then. Errors are *Error. PROTOCOL.md, "Who is judged when".
func (v *Verifier) At(d *Proved, at time.Time) (*Person, error) {
	c := v.current()
	c.now = v.now()
	if at.Sub(c.now) > ClockTolerance {
		return nil, nameClock(refuse(proto.DelegationNotYet, "%s is still to come", shownTime(at)), c.now)
	}
	person, err := c.person(d, at)
	return person, nameTime(err, "; the time in question is ", "; the time in question is ", at, "")
}

// Certificate checks a certificate without a bundle live, with the chain that came
// with it: path to an anchor and revocation. It is for the user's own card. The Person
// has no name, K or times. Errors are *Error.
func (v *Verifier) Certificate(leaf []byte, chain [][]byte) (*Person, error) {
	cert, err := parseLeaf(leaf)
	if err != nil {
		return nil, err
	}
	issuers, err := parseChain(chain)
	if err != nil {
		return nil, err
	}
	now := v.now()
	if err := checkValidity(cert, now); err != nil {
		return nil, nameClock(err, now)
	}
	check := v.current()
	paths, err := check.trust.paths(cert, issuers)
	if err != nil {
		return nil, err
	}
	person, err := check.holder(paths, now)
	return person, nameClock(err, now)
}

// current returns the present state to check against.
func (v *Verifier) current() check {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.check
}

// recall returns the remembered result of a bundle, of the time zero if there is none.
func (v *Verifier) recall(hash [32]byte) remembered {
	v.mu.Lock()
	defer v.mu.Unlock()
	if r, ok := v.known[hash]; ok {
		return r
	}
	return v.refused[hash]
}

// remember keeps a result, unless Reload has replaced the state that it was checked
// against.
func (v *Verifier) remember(hash [32]byte, r remembered, c check) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.check != c {
		return
	}
	delete(v.known, hash)
	delete(v.refused, hash)
	map[bool]memory{true: v.known, false: v.refused}[r.refusal == nil].keep(hash, r)
}

// checkForm refuses a bundle with a malformed part, or for another name.
func checkForm(b *Bundle, name string) error {
	if err := b.Check(); err != nil {
		return err
	}
	if b.Name != name {
		return refuse(proto.NameMismatch, "the identity is delegated to the name %s, not to %s", shownText(b.Name), shownText(name))
	}
	return nil
}

// nameClock adds the time of the look to an error about times: a wrong clock is the likelier
// cause.
func nameClock(err error, now time.Time) error {
	return nameTime(err, "; the clock here says ", "; the clock there says ", now,
		"if the time should be right, check the clocks of both machines")
}

// nameTime adds a time to an error about times, in the words for this side and the other.
func nameTime(err error, here, there string, at time.Time, hint string) error {
	refused, ok := errors.AsType[*Error](err)
	if !ok {
		return err
	}
	switch refused.Code {
	case proto.CertificateExpired, proto.CertificateNotYet, proto.DelegationExpired, proto.DelegationNotYet:
		again := *refused
		again.Reason, again.Other = refused.Reason+here+shownTime(at), refused.Reason+there+shownTime(at)
		again.Hint = cmp.Or(refused.Hint, hint)
		return &again
	}
	return err
}
