// Package fetch gets the revocation lists that verified certificates name, and the
// issuers of one's own certificate, by HTTP, and caches them in the state directory.
//
// It judges no certificate: crypto/trust does, and believes a fetched file for its
// signature alone. So plain HTTP reveals only the request. RFC 5280, sections
// 4.2.1.13, 4.2.1.15 and 4.2.2.1.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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

// Fetcher fetches lists and issuers. It asks for a list when a certificate lacks it or
// when it ends soon, and leaves failing servers alone for a while. A nil Fetcher
// fetches nothing. Any goroutine may call its methods.
type Fetcher struct {
	cfg    Config
	crls   cache
	client *http.Client
	ahead  float64         // the part of a list's time after which the next one is fetched
	ctx    context.Context // ends with Close
	stop   context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex       // guards the fields below
	lists   map[string]*list // by placeID
	waiting []*list          // in the order of asking, until there is room to fetch them
	atWork  map[string]bool  // hosts of the fetches at work
	closed  bool
}

// Open opens the cache in the state directory and reads the lists.
func Open(cfg Config) (*Fetcher, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Notice == nil {
		cfg.Notice = func(string, error) {}
	}
	f := &Fetcher{
		cfg: cfg, crls: crlsIn(cfg.State), client: newClient(cfg.Private), ahead: aheadMin + (aheadMax-aheadMin)*rand.Float64(),
		lists: make(map[string]*list), atWork: make(map[string]bool),
	}
	if err := f.crls.open(cfg.Now()); err != nil {
		return nil, state.Failure(err)
	}
	for _, problem := range cfg.Lists.LoadDir(f.crls.dir) {
		cfg.Notice("a revocation list in the cache", fmt.Errorf("%w: %w", ErrCacheDamaged, problem))
	}
	f.ctx, f.stop = context.WithCancel(context.Background())
	return f, nil
}

// Close ends every fetch and waits for it. No server can delay it: see bounded.
func (f *Fetcher) Close() {
	if f == nil {
		return
	}
	f.stop()
	f.mu.Lock()
	f.closed = true
	for _, l := range f.waiting {
		close(l.done)
		l.done = nil
	}
	f.waiting = nil
	f.mu.Unlock()
	f.wg.Wait()
}

// Verify is v.Verify, and begins to fetch in the background any list that would tell
// more of the certificate's revocation. ErrFetching stands behind the error if the
// policy refuses an unknown revocation that is being fetched.
func (f *Fetcher) Verify(v *trust.Verifier, b *trust.Bundle, name string) (*trust.Person, error) {
	return f.look(func() (*trust.Person, error) { return v.Verify(b, name) })
}

// look is Verify with any look at a certificate.
func (f *Fetcher) look(verify func() (*trust.Person, error)) (*trust.Person, error) {
	person, err := verify()
	if f == nil {
		return person, err
	}
	places := f.places(person, err)
	var underway fetching
	for _, b := range f.begin(places) {
		if b.Lacking {
			underway = append(underway, b.done)
		}
	}
	if !fail.HasCode(err, proto.RevocationUnknown) {
		return person, err
	}
	if len(underway) > 0 {
		return nil, &fail.Error{
			Code: proto.RevocationUnknown, Message: err.Error() + "; its revocation list is being fetched",
			Hint: "try again in a moment, or allow more time with -timeout", Err: underway,
		}
	}
	person, err = verify() // a list may have come since
	refused, ok := errors.AsType[*trust.Error](err)
	why := f.unfetched(places)
	if !ok || refused.Code != proto.RevocationUnknown || why == "" {
		return person, err
	}
	again := *refused
	again.Reason += "; " + why
	return nil, &again
}

// ErrFetching stands behind an error that may pass when a fetch has ended.
var ErrFetching = errors.New("a revocation list is being fetched")

// fetching is ErrFetching, with the ends of the fetches.
type fetching []<-chan struct{}

func (fetching) Error() string { return ErrFetching.Error() }

func (fetching) Is(target error) bool { return target == ErrFetching }

// Await waits for the fetches behind an error of Verify, and reports whether it is worth
// another call: it is not without a fetch, or once ctx has ended. Calls in turn come to
// an end: each tries an address, which is then left alone for a while.
func Await(ctx context.Context, err error) bool {
	underway, ok := errors.AsType[fetching](err)
	for _, done := range underway {
		select {
		case <-done:
		case <-ctx.Done():
			return false
		}
	}
	return ok
}

// VerifyWait is Verify, and waits for the fetch if the policy refuses an unknown
// revocation, no longer than ctx.
func (f *Fetcher) VerifyWait(ctx context.Context, v *trust.Verifier, b *trust.Bundle, name string) (*trust.Person, error) {
	return f.wait(ctx, func() (*trust.Person, error) { return v.Verify(b, name) })
}

// CertificateWait is VerifyWait for the certificate alone of a bundle: its delegation may have
// ended.
func (f *Fetcher) CertificateWait(
	ctx context.Context, v *trust.Verifier, b *trust.Bundle,
) (*trust.Person, error) {
	return f.wait(ctx, func() (*trust.Person, error) { return v.Certificate(b.X509, b.Chain) })
}

func (f *Fetcher) wait(
	ctx context.Context, verify func() (*trust.Person, error),
) (*trust.Person, error) {
	for {
		person, err := f.look(verify)
		if !Await(ctx, err) {
			return person, err
		}
	}
}

// places returns the places of the lists about a certificate. person and verdict are the
// results of Verify. There are none for a certificate without a path. A hold may be lifted.
func (f *Fetcher) places(person *trust.Person, verdict error) (places []trust.CRLFetch) {
	refused, ok := errors.AsType[*trust.Error](verdict)
	switch {
	case f.cfg.Off:
	case ok:
		places = refused.Places
	case person.Revocation.Status != trust.RevocationOff:
		places = person.Revocation.Places(f.cfg.Now())
	}
	return places
}

// unfetched returns the reason why a lacking list was not fetched, or "".
func (f *Fetcher) unfetched(places []trust.CRLFetch) string {
	if f.cfg.Off {
		return "nothing is fetched (-fetch=false)"
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range places {
		if l := f.lists[placeID(p)]; l != nil && l.problem != nil && p.Lacking && !p.Delta {
			return l.problem.Error()
		}
	}
	return ""
}
