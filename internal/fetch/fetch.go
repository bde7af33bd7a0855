// Package fetch gets the revocation lists that verified certificates name, and the
// issuers of one's own certificate, by HTTP, and caches them in the state directory.
//
// It judges no certificate: crypto/trust does, and believes a fetched file for its
// signature alone. So plain HTTP reveals only the request. RFC 5280, sections
// 4.2.1.13, 4.2.1.15 and 4.2.2.1.
package fetch

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"net/http"
	"sync"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// Config is the configuration of a Fetcher.
type Config struct {
	State   string           // state directory: lists are cached in crls, certificates in issuers
	Lists   *trust.CRLStore  // gets the fetched lists and the cached ones
	Off     bool             // fetch nothing; the cache is used all the same
	Private bool             // also from loopback, link-local and private addresses
	Now     func() time.Time // tests own the clock; default time.Now

	// Notice is told the result of each fetch: its object, and nil or the reason for
	// its failure. Any goroutine may call it. Optional.
	Notice func(what string, err error)
}

// Fetcher fetches lists and issuers. It asks for them conditionally, and leaves
// failing servers alone for a while. A nil Fetcher fetches nothing. Any goroutine may
// call its methods.
type Fetcher struct {
	cfg    Config
	cache  cache
	client *http.Client
	ctx    context.Context // ends with Close
	stop   context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex             // guards the fields below
	lists   map[string]*list       // by address
	named   map[[32]byte]time.Time // by leaf: when its lists were last noted as in use
	waiting []*list                // in the order of asking, until there is room to fetch them
	running map[string]int         // fetches at work, by host
	issuers map[string]attempt     // of one's own certificate, by address
	closed  bool
}

// Open opens the cache in the state directory, removes damaged files from it, and
// reads the lists. It starts the goroutine that fetches ahead of time; Close ends it.
func Open(cfg Config) (*Fetcher, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	f := &Fetcher{
		cfg: cfg, cache: cacheIn(cfg.State), client: newClient(cfg.Private),
		lists: make(map[string]*list), named: make(map[[32]byte]time.Time), running: make(map[string]int), issuers: make(map[string]attempt),
	}
	if err := state.MakeDir(string(f.cache)); err != nil {
		return nil, state.Failure(err)
	}
	if err := f.openCache(); err != nil {
		return nil, state.Failure(err)
	}
	for _, problem := range cfg.Lists.LoadDir(string(f.cache)) {
		f.notice("revocation lists fetched before", problem)
	}
	f.ctx, f.stop = context.WithCancel(context.Background())
	if !cfg.Off {
		f.wg.Go(f.run)
	}
	return f, nil
}

func (f *Fetcher) notice(what string, err error) {
	if f.cfg.Notice != nil {
		f.cfg.Notice(what, err)
	}
}

// Close ends every fetch and waits for it.
func (f *Fetcher) Close() {
	if f == nil {
		return
	}
	f.mu.Lock()
	f.closed = true
	f.dropWaitingLocked()
	f.mu.Unlock()
	f.stop()
	f.wg.Wait()
}

// run fetches ahead of time until Close.
func (f *Fetcher) run() {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			f.fetchAhead(f.cfg.Now())
		case <-f.ctx.Done():
			return
		}
	}
}

// Verify is v.Verify, and begins to fetch in the background any list that would tell
// more of the certificate's revocation. ErrFetching stands behind the error if the
// policy refuses an unknown revocation that is being fetched.
func (f *Fetcher) Verify(v *trust.Verifier, b *trust.Bundle, name string) (*trust.Person, error) {
	person, underway, err := f.look(v, b, name)
	if len(underway) > 0 {
		return nil, &fail.Error{
			Code: proto.RevocationUnknown, Message: err.Error() + "; its revocation list is being fetched",
			Hint: "try again in a moment, or allow more time with -timeout", Err: ErrFetching,
		}
	}
	return person, err
}

// ErrFetching stands behind an error that may pass when a fetch has ended.
var ErrFetching = errors.New("a revocation list is being fetched")

// VerifyWait is Verify, and waits for the fetch if the policy refuses an unknown
// revocation, no longer than ctx.
func (f *Fetcher) VerifyWait(ctx context.Context, v *trust.Verifier, b *trust.Bundle, name string) (*trust.Person, error) {
	for {
		person, underway, err := f.look(v, b, name)
		if len(underway) == 0 {
			return person, err
		}
		// This ends: each round tries an address, which is then left alone for a
		// while.
		if err := awaitFetches(ctx, underway, err); err != nil {
			return nil, err
		}
	}
}

// awaitFetches waits for fetches. If ctx ends first, it returns refusal, the error of
// the look that began them.
func awaitFetches(ctx context.Context, underway []<-chan struct{}, refusal error) error {
	for _, done := range underway {
		select {
		case <-done:
		case <-ctx.Done():
			return addReason(refusal, "its revocation list is still being fetched")
		}
	}
	return nil
}

// look verifies, and begins to fetch. It returns the fetches under way only if they
// could make an error pass.
func (f *Fetcher) look(v *trust.Verifier, b *trust.Bundle, name string) (person *trust.Person, underway []<-chan struct{}, err error) {
	person, err = v.Verify(b, name)
	if f == nil {
		return person, nil, err
	}
	underway = f.lookFor(v, b, person, err)
	if !fail.HasCode(err, proto.RevocationUnknown) {
		return person, nil, err
	}
	if len(underway) > 0 {
		return nil, underway, err
	}
	// A list may have come since.
	if person, err = v.Verify(b, name); fail.HasCode(err, proto.RevocationUnknown) {
		err = f.unfetched(v, b, err)
	}
	return person, nil, err
}

// lookFor begins to fetch the lists that a certificate lacks, and returns the fetches
// under way. person and verdict are the results of Verify.
func (f *Fetcher) lookFor(v *trust.Verifier, b *trust.Bundle, person *trust.Person, verdict error) (underway []<-chan struct{}) {
	if f.cfg.Off {
		return nil
	}
	now := f.cfg.Now()
	switch {
	case verdict == nil && person.Revocation.Status == trust.RevocationOff:
		return nil
	case verdict == nil:
		f.nameAll(person, now)
		return f.fetchDue(f.cfg.Lists.Places(person, now), now)
	case fail.HasCode(verdict, proto.RevocationUnknown), fail.HasCode(verdict, proto.CertificateRevoked): // a hold may be lifted
		due, err := v.Places(b.X509, b.Chain)
		if err != nil {
			return nil // nothing is fetched for a certificate without a path
		}
		return f.fetchDue(due, now)
	}
	return nil
}

// nameAll notes that the lists of a path are in use, current or not.
func (f *Fetcher) nameAll(person *trust.Person, now time.Time) {
	if !f.isNewlyNamed(sha256.Sum256(person.Leaf.Raw), now) {
		return
	}
	all := f.cfg.Lists.Places(person, now)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range all {
		if l := f.lists[d.URL]; l != nil {
			l.want(d, now)
		}
	}
}

// isNewlyNamed reports whether it is time to note the lists of a leaf again, and
// remembers that it was done now.
func (f *Fetcher) isNewlyNamed(leaf [32]byte, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	last, ok := f.named[leaf]
	if age := now.Sub(last); ok && age >= 0 && age < nameEvery {
		return false
	}
	if len(f.named) >= maxPaths {
		clear(f.named)
	}
	f.named[leaf] = now
	return true
}

// fetchDue begins to fetch the first due list of each authority that may be asked now,
// and returns the fetches under way. The others are most often copies of it on other
// servers. Lists that are still due afterwards are asked for next.
func (f *Fetcher) fetchDue(due []trust.CRLFetch, now time.Time) (underway []<-chan struct{}) {
	type group struct {
		issuer *x509.Certificate
		delta  bool
	}
	begun := make(map[group]bool)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range due {
		g := group{d.Signers[0], d.Delta}
		if !d.Lacking || begun[g] {
			continue
		}
		l := f.listLocked(d.URL, now)
		if l == nil {
			continue
		}
		l.want(d, now)
		if l.done == nil && now.Before(l.retry) || !f.beginLocked(l) {
			continue
		}
		begun[g] = true
		underway = append(underway, l.done)
	}
	return underway
}

// unfetched adds to a refusal the reason why the missing list was not fetched.
func (f *Fetcher) unfetched(v *trust.Verifier, b *trust.Bundle, refusal error) error {
	if f.cfg.Off {
		return addReason(refusal, "nothing is fetched (-fetch=false)")
	}
	due, err := v.Places(b.X509, b.Chain)
	if err != nil {
		return refusal
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range due {
		if l := f.lists[d.URL]; l != nil && l.problem != nil && d.Lacking && !d.Delta {
			return addReason(refusal, l.problem.Error())
		}
	}
	return refusal
}

// addReason adds to the reason of a *trust.Error.
func addReason(err error, more string) error {
	refused, ok := errors.AsType[*trust.Error](err)
	if !ok {
		return err
	}
	again := *refused
	again.Reason += "; " + more
	return &again
}
