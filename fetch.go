package chatsecure

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"chatsecure/crypto"
	"chatsecure/proto"
)

// The bounds on what fetching may take. What is fetched, and from where, is
// written in certificates: strangers' ones, if they lead to a trusted anchor.
const (
	// fetchTimeout bounds one fetch from the name's look-up to the last byte.
	fetchTimeout = 10 * time.Second
	// fetchDialTimeout leaves time for a second address of the same name.
	fetchDialTimeout = 5 * time.Second
	// fetchWait bounds how long somebody waits for lists: two fetches that fail
	// one after the other.
	fetchWait = 20 * time.Second
	// fetchMaxURL bounds an address; real ones have some hundred characters.
	fetchMaxURL = 1024
	// fetchMaxHeader bounds an answer's header.
	fetchMaxHeader = 16 << 10
	// fetchMaxLists bounds the addresses that are remembered and their files:
	// all lists of Portugal's citizen authorities are some hundred.
	fetchMaxLists = 256
	// fetchMaxHosts bounds the servers among them: an authority has one or two.
	fetchMaxHosts = 64
	// fetchMaxBytes bounds the cache on disk, and so what is held of it in
	// memory: four lists as long as the longest allowed.
	fetchMaxBytes = 4 * crypto.MaxCRL
	// fetchMaxAtOnce bounds the fetches at once, of one host to fetchMaxPerHost
	// so that one that is slow leaves room for the others.
	fetchMaxAtOnce  = 4
	fetchMaxPerHost = 2
	// fetchMaxPaths bounds the certificates whose lists were looked up lately.
	fetchMaxPaths = 4096
)

// When fetching happens.
const (
	// An address that failed is asked again after fetchBackoffMin, doubling to
	// fetchBackoffMax, each drawn between half and all of it.
	fetchBackoffMin = 30 * time.Second
	fetchBackoffMax = time.Hour
	// fetchAgain is how long an address that answered is left alone, whatever
	// its answer.
	fetchAgain = time.Minute
	// fetchTick is how often it is looked whether a list should be fetched
	// ahead of time.
	fetchTick = 5 * time.Second
	// fetchNamedFor is how long a certificate's naming of a list keeps that
	// fetched ahead of time; certificates in use are looked at every few seconds
	// and name theirs again every fetchNameEvery.
	fetchNamedFor  = time.Hour
	fetchNameEvery = 5 * time.Minute
	// fetchFarAway is when no list of today holds any more: to ask what is due
	// then names every list there is.
	fetchFarAway = 200 * 365 * 24 * time.Hour
)

// FetcherConfig is what a Fetcher needs.
type FetcherConfig struct {
	State   string           // state directory: lists are cached in crls, certificates in issuers
	Lists   *crypto.CRLStore // gets what is fetched, and what the cache has
	Off     bool             // fetch nothing; the cache is used all the same
	Private bool             // also from loopback, link-local and private addresses
	Now     func() time.Time // tests own the clock; default time.Now

	// Notice is told how each fetch ended: what was fetched, and nil or why it
	// was not. It may be called from any goroutine. Optional.
	Notice func(what string, err error)
}

// Fetcher fetches revocation lists that verified certificates name, and issuers
// of one's own certificate, by HTTP: RFC 5280, sections 4.2.1.13, 4.2.1.15 and
// 4.2.2.1. It keeps them on disk, asks for them conditionally, and leaves
// servers that fail alone for a while. What it fetches is believed for its
// signature only, so nothing is lost by plain HTTP but who asks. A nil Fetcher
// fetches nothing. Its methods may be called from any goroutine.
type Fetcher struct {
	cfg    FetcherConfig
	client *http.Client
	ctx    context.Context // ends with Close
	stop   context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex            // guards what follows
	lists   map[string]*fetchList // by address
	named   map[[32]byte]time.Time
	waiting []*fetchList        // asked for, in order, with no room to be fetched yet
	running map[string]int      // fetches at work, by host
	issuers map[string]fetchTry // of one's own certificate, by address
	closed  bool
}

// fetchList is the list at one address.
type fetchList struct {
	url, host string
	issuer    *x509.Certificate // who signs it
	delta     bool
	cached    *fetchSidecar // nil: nothing is

	wanted   time.Time     // when a certificate last named it
	retry    time.Time     // not before
	ahead    time.Time     // when the next one is fetched ahead of time; zero: not
	failures int           // in a row
	problem  error         // why the last fetch failed; nil: it did not
	done     chan struct{} // while it is fetched, or waits to be: closed afterwards
}

// OpenFetcher opens the cache in the state directory, throws out what is
// damaged in it, and reads the lists. It starts the goroutine that fetches
// ahead of time; Close ends it.
func OpenFetcher(cfg FetcherConfig) (*Fetcher, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	f := &Fetcher{
		cfg: cfg, client: fetchClient(cfg.Private),
		lists: make(map[string]*fetchList), named: make(map[[32]byte]time.Time), running: make(map[string]int), issuers: make(map[string]fetchTry),
	}
	if err := makeStateDir(f.listDir()); err != nil {
		return nil, stateError(err)
	}
	if err := f.openCache(); err != nil {
		return nil, stateError(err)
	}
	for _, problem := range cfg.Lists.LoadDir(f.listDir()) {
		f.notice("revocation lists fetched before", problem)
	}
	f.ctx, f.stop = context.WithCancel(context.Background())
	if !cfg.Off {
		f.wg.Go(f.run)
	}
	return f, nil
}

func (f *Fetcher) listDir() string { return filepath.Join(f.cfg.State, stateCRLs) }

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
	ticker := time.NewTicker(fetchTick)
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

// fetchAhead begins to fetch the lists in use whose end is near.
func (f *Fetcher) fetchAhead(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.lists {
		if !l.ahead.IsZero() && !now.Before(l.ahead) && !now.Before(l.retry) && now.Sub(l.wanted) <= fetchNamedFor {
			f.beginLocked(l)
		}
	}
}

// Verify is v.Verify, and begins to fetch in the background what would tell
// more of the certificate's revocation. Where the policy refuses what is not
// known, and it is being fetched, errFetching stands behind the error.
func (f *Fetcher) Verify(v *crypto.Verifier, b *crypto.Bundle, name string) (*crypto.Person, error) {
	person, underway, err := f.look(v, b, name)
	if len(underway) > 0 {
		return nil, &Error{
			Code: proto.RevocationUnknown, Message: err.Error() + "; its revocation list is being fetched",
			Hint: "try again in a moment, or allow more time with -timeout", Err: errFetching,
		}
	}
	return person, err
}

// errFetching stands behind an error that passes when a fetch has ended.
var errFetching = errors.New("a revocation list is being fetched")

// VerifyWait is Verify, and waits, no longer than ctx, for what is fetched
// where the policy refuses what is not known.
func (f *Fetcher) VerifyWait(ctx context.Context, v *crypto.Verifier, b *crypto.Bundle, name string) (*crypto.Person, error) {
	for {
		person, underway, err := f.look(v, b, name)
		if len(underway) == 0 {
			return person, err
		}
		// Each time something has been tried, and is then left alone for a
		// while: this ends.
		if err := awaitFetches(ctx, underway, err); err != nil {
			return nil, err
		}
	}
}

// awaitFetches waits for fetches. Its error is that of the look that they were
// begun for, where ctx ends first.
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

// look verifies, and begins to fetch. What is underway is returned only where
// it could make an error pass.
func (f *Fetcher) look(v *crypto.Verifier, b *crypto.Bundle, name string) (person *crypto.Person, underway []<-chan struct{}, err error) {
	person, err = v.Verify(b, name)
	if f == nil {
		return person, nil, err
	}
	underway = f.lookFor(v, b, person, err)
	if !HasCode(err, proto.RevocationUnknown) {
		return person, nil, err
	}
	if len(underway) > 0 {
		return nil, underway, err
	}
	// Something may have come since.
	if person, err = v.Verify(b, name); HasCode(err, proto.RevocationUnknown) {
		err = f.unfetched(v, b, err)
	}
	return person, nil, err
}

// lookFor begins to fetch the lists that a certificate lacks. It returns what
// to wait for, if anything.
func (f *Fetcher) lookFor(v *crypto.Verifier, b *crypto.Bundle, person *crypto.Person, err error) (underway []<-chan struct{}) {
	if f.cfg.Off {
		return nil
	}
	now := f.cfg.Now()
	var due []crypto.CRLFetch
	switch {
	case err == nil && person.Revocation.Status == crypto.RevocationOff:
		return nil
	case err == nil:
		f.nameAll(person.Path, now)
		due = f.cfg.Lists.Due(person.Path, now)
	case HasCode(err, proto.RevocationUnknown) || AsError(err).Code == proto.CertificateRevoked: // a hold may be lifted
		due, err = v.Due(b.X509, b.Chain)
		if err != nil {
			return nil
		}
	default:
		return nil
	}
	return f.fetchDue(due, now)
}

// nameAll notes that the lists of a path are in use, current or not.
func (f *Fetcher) nameAll(path []*x509.Certificate, now time.Time) {
	leaf := sha256.Sum256(path[0].Raw)
	f.mu.Lock()
	last, ok := f.named[leaf]
	if len(f.named) >= fetchMaxPaths {
		clear(f.named)
	}
	if age := now.Sub(last); ok && age >= 0 && age < fetchNameEvery {
		f.mu.Unlock()
		return
	}
	f.named[leaf] = now
	f.mu.Unlock()

	all := f.cfg.Lists.Due(path, now.Add(fetchFarAway))
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range all {
		if l := f.lists[d.URL]; l != nil {
			l.wanted, l.issuer, l.delta = now, d.Issuer, d.Delta
		}
	}
}

// fetchDue begins to fetch, of the lists that are due, the first of each
// authority's that may be asked now. The others are most often copies of it on
// other servers; what is still due afterwards is asked next.
func (f *Fetcher) fetchDue(due []crypto.CRLFetch, now time.Time) (underway []<-chan struct{}) {
	type group struct {
		issuer *x509.Certificate
		delta  bool
	}
	begun := make(map[group]bool)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range due {
		g := group{d.Issuer, d.Delta}
		if begun[g] {
			continue
		}
		l := f.listLocked(d.URL, now)
		if l == nil {
			continue
		}
		l.wanted, l.issuer, l.delta = now, d.Issuer, d.Delta
		if l.done == nil && now.Before(l.retry) || !f.beginLocked(l) {
			continue
		}
		begun[g] = true
		underway = append(underway, l.done)
	}
	return underway
}

// listLocked returns what is known of an address, made where it is new. It is
// nil for one too many, and for one that is not to be asked.
func (f *Fetcher) listLocked(address string, now time.Time) *fetchList {
	if l := f.lists[address]; l != nil {
		return l
	}
	u, err := fetchParseURL(address)
	if err != nil {
		return nil
	}
	l := &fetchList{url: address, host: u.Host}
	hosts := map[string]bool{l.host: true}
	for _, other := range f.lists {
		hosts[other.host] = true
	}
	if (len(f.lists) >= fetchMaxLists || len(hosts) > fetchMaxHosts) && !f.forgetLocked(now) {
		return nil
	}
	f.lists[address] = l
	return l
}

// forgetLocked makes room: the list that nobody has named for longest goes,
// unless it is in use.
func (f *Fetcher) forgetLocked(now time.Time) bool {
	var oldest *fetchList
	for _, l := range f.lists {
		if l.done == nil && now.Sub(l.wanted) > fetchNamedFor && (oldest == nil || l.wanted.Before(oldest.wanted)) {
			oldest = l
		}
	}
	if oldest == nil {
		return false
	}
	f.dropLocked(oldest)
	return true
}

// beginLocked has a list fetched as soon as there is room. It returns false
// once the Fetcher is closed.
func (f *Fetcher) beginLocked(l *fetchList) bool {
	if f.closed || f.cfg.Off {
		return false
	}
	if l.done == nil {
		l.done = make(chan struct{})
		f.waiting = append(f.waiting, l)
		f.startLocked()
	}
	return true
}

// startLocked starts what waits and has room.
func (f *Fetcher) startLocked() {
	at := 0
	for _, n := range f.running {
		at += n
	}
	f.waiting = slices.DeleteFunc(f.waiting, func(l *fetchList) bool {
		if at >= fetchMaxAtOnce || f.running[l.host] >= fetchMaxPerHost {
			return false
		}
		at++
		f.running[l.host]++
		f.wg.Go(func() { f.fetch(l) })
		return true
	})
}

func (f *Fetcher) dropWaitingLocked() {
	for _, l := range f.waiting {
		close(l.done)
		l.done = nil
	}
	f.waiting = nil
}

// fetch fetches one list. It is a goroutine of its own.
func (f *Fetcher) fetch(l *fetchList) {
	f.mu.Lock()
	want := fetchWant{url: l.url, issuer: l.issuer, delta: l.delta, cached: l.cached}
	f.mu.Unlock()
	got, err := f.fetchList(want)

	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.cfg.Now()
	if l.problem = err; err == nil {
		l.cached = got
	}
	l.schedule(now, err == nil)
	close(l.done)
	l.done = nil
	if f.running[l.host]--; f.running[l.host] == 0 {
		delete(f.running, l.host)
	}
	if !f.closed {
		f.startLocked()
	}
}

// schedule sets when a list may be asked for again, and when it is to be.
func (l *fetchList) schedule(now time.Time, ok bool) {
	if ok && now.Before(l.cached.nextUpdate()) {
		l.failures = 0
		l.retry = now.Add(fetchAgain)
		l.ahead = l.cached.aheadOfTime(now)
		return
	}
	// A server whose list is long due gets no more requests than one that
	// does not answer.
	l.retry = now.Add(fetchBackoff(l.failures))
	l.failures++
}

// fetchBackoff is how long an address is left alone that has failed once more
// than these times in a row.
func fetchBackoff(failures int) time.Duration {
	wait := min(fetchBackoffMin<<min(failures, 10), fetchBackoffMax)
	return wait/2 + rand.N(wait/2+1)
}

// aheadOfTime is when the next list is to be fetched: at three quarters of
// this one's life or, after that, in what is left of it again and again. The
// moment is drawn, so that not everybody comes at once.
func (s *fetchSidecar) aheadOfTime(now time.Time) time.Time {
	life := max(s.nextUpdate().Sub(s.thisUpdate()), 0)
	if at := s.thisUpdate().Add(life/16*11 + rand.N(life/8+1)); at.After(now) {
		return at
	}
	rest := max(s.nextUpdate().Sub(now), 0) / 4
	return now.Add(max(rest/2+rand.N(rest/2+1), fetchAgain))
}

// unfetched adds to a refusal why the list that is missing was not fetched.
func (f *Fetcher) unfetched(v *crypto.Verifier, b *crypto.Bundle, refusal error) error {
	if f.cfg.Off {
		return addReason(refusal, "nothing is fetched (-fetch=false)")
	}
	due, err := v.Due(b.X509, b.Chain)
	if err != nil {
		return refusal
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range due {
		if l := f.lists[d.URL]; l != nil && l.problem != nil && !d.Delta {
			return addReason(refusal, l.problem.Error())
		}
	}
	return refusal
}

// addReason adds to the reason of a TrustError.
func addReason(err error, more string) error {
	refused, ok := errors.AsType[*crypto.TrustError](err)
	if !ok {
		return err
	}
	again := *refused
	again.Reason += "; " + more
	return &again
}

// FetchResult is how one list of a Refresh was fetched.
type FetchResult struct {
	URL     string
	Changed bool  // there was a new one
	Err     error // why it was not fetched
}

// Refresh asks for every list in the cache, and for those that these
// certificates name and lack, and waits for it, no longer than ctx. Servers that
// failed lately are asked all the same.
func (f *Fetcher) Refresh(ctx context.Context, due []crypto.CRLFetch) []FetchResult {
	now := f.cfg.Now()
	f.mu.Lock()
	for _, d := range due {
		if l := f.listLocked(d.URL, now); l != nil {
			l.issuer, l.delta, l.wanted = d.Issuer, d.Delta, now
		}
	}
	f.mu.Unlock()
	type begun struct {
		list   *fetchList
		before *fetchSidecar
		done   <-chan struct{}
	}
	var all []begun
	f.mu.Lock()
	for _, l := range f.lists {
		before := l.cached
		if l.issuer != nil && f.beginLocked(l) {
			all = append(all, begun{l, before, l.done})
		}
	}
	f.mu.Unlock()

	results := make([]FetchResult, 0, len(all))
	for _, b := range all {
		r := FetchResult{URL: b.list.url}
		select {
		case <-b.done:
			f.mu.Lock()
			r.Err = b.list.problem
			r.Changed = r.Err == nil && (b.before == nil || b.list.cached.SHA256 != b.before.SHA256)
			f.mu.Unlock()
		case <-ctx.Done():
			r.Err = ctx.Err()
		}
		results = append(results, r)
	}
	slices.SortFunc(results, func(a, b FetchResult) int { return strings.Compare(a.URL, b.URL) })
	return results
}

// Refetch is Refresh in the background.
func (f *Fetcher) Refetch() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.lists {
		if l.issuer != nil {
			f.beginLocked(l)
		}
	}
}
