package fetch

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// list is the revocation list at one address. Fetcher.mu guards it.
type list struct {
	url, host string
	signers   []*x509.Certificate // one of them signs it
	delta     bool
	cached    *sidecar // nil: it is not in the cache

	wanted   time.Time     // when a certificate last named it
	retry    time.Time     // it is not asked for before
	ahead    time.Time     // when the next one is fetched ahead of time; zero: never
	failures int           // in a row
	problem  error         // of the last fetch; nil: it succeeded
	done     chan struct{} // closed at the end of the fetch; nil: none waits or is at work
}

// want notes that a certificate names the list.
func (l *list) want(d trust.CRLFetch, now time.Time) {
	l.signers, l.delta, l.wanted = d.Signers, d.Delta, now
}

// listLocked returns the list at an address, a new one if it is unknown. It returns nil
// if there are too many, or for an address that is never asked.
func (f *Fetcher) listLocked(address string, now time.Time) *list {
	if l := f.lists[address]; l != nil {
		return l
	}
	u, err := parseURL(address)
	if err != nil {
		return nil
	}
	l := &list{url: address, host: u.Host}
	hosts := map[string]bool{l.host: true}
	for _, other := range f.lists {
		hosts[other.host] = true
	}
	if (len(f.lists) >= maxLists || len(hosts) > maxHosts) && !f.forgetLocked(now) {
		return nil
	}
	f.lists[address] = l
	return l
}

// forgetLocked makes room: it forgets the list that nobody has named for longest, unless
// that one is in use.
func (f *Fetcher) forgetLocked(now time.Time) bool {
	var oldest *list
	for _, l := range f.lists {
		if l.done == nil && now.Sub(l.wanted) > namedFor && (oldest == nil || l.wanted.Before(oldest.wanted)) {
			oldest = l
		}
	}
	if oldest == nil {
		return false
	}
	f.dropFilesLocked(oldest)
	delete(f.lists, oldest.url)
	return true
}

// fetchAhead begins to fetch the lists in use that end soon.
func (f *Fetcher) fetchAhead(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.lists {
		if !l.ahead.IsZero() && !now.Before(l.ahead) && !now.Before(l.retry) && now.Sub(l.wanted) <= namedFor {
			f.beginLocked(l)
		}
	}
}

// beginLocked has a list fetched as soon as there is room. It returns false once the
// Fetcher is closed.
func (f *Fetcher) beginLocked(l *list) bool {
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

// startLocked starts the waiting fetches that have room.
func (f *Fetcher) startLocked() {
	atWork := 0
	for _, n := range f.running {
		atWork += n
	}
	var waiting []*list
	for _, l := range f.waiting {
		if atWork >= maxAtOnce || f.running[l.host] >= maxPerHost {
			waiting = append(waiting, l)
			continue
		}
		atWork++
		f.running[l.host]++
		f.wg.Go(func() { f.fetch(l) })
	}
	f.waiting = waiting
}

func (f *Fetcher) dropWaitingLocked() {
	for _, l := range f.waiting {
		close(l.done)
		l.done = nil
	}
	f.waiting = nil
}

// fetch fetches one list. It runs in a goroutine of its own.
func (f *Fetcher) fetch(l *list) {
	f.mu.Lock()
	want := *l
	f.mu.Unlock()
	got, err := f.fetchList(&want)
	if err != nil {
		err = failed(want.url, err)
	}
	if f.ctx.Err() == nil {
		f.notice("revocation list "+proto.Visible(want.url), err)
	}

	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.cfg.Now()
	if l.problem = err; err == nil {
		l.cached = got
	}
	l.schedule(now)
	close(l.done)
	l.done = nil
	if f.running[l.host]--; f.running[l.host] == 0 {
		delete(f.running, l.host)
	}
	if !f.closed {
		f.startLocked()
	}
}

// fetchList asks for a list. A new one is checked, and goes to the others and into the
// cache.
func (f *Fetcher) fetchList(want *list) (*sidecar, error) {
	cached := want.cached
	if cached != nil && !f.cache.isIntact(cached) {
		cached = nil // it is fetched again, whatever the server says
	}
	resp, err := f.get(f.ctx, want.url, trust.MaxCRL, cached)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	now := f.cfg.Now()
	if resp.StatusCode == http.StatusNotModified {
		side := *cached
		side.Fetched = now.Unix()
		return &side, state.ReplaceFile(f.cache.side(want.url), proto.MustMarshal(&side))
	}

	temp, err := os.CreateTemp(string(f.cache), state.Temp) // 0600
	if err != nil {
		return nil, err
	}
	defer os.Remove(temp.Name()) // after the rename there is nothing to remove
	defer temp.Close()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(temp, sum), resp.Body)
	if err != nil {
		return nil, err
	}
	if _, err := temp.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	info, err := f.cfg.Lists.Add(temp, want.url, want.signers, now)
	if err != nil {
		return nil, err
	}
	side := &sidecar{
		V: version, URL: want.url, ETag: tag(resp.Header.Get("ETag")), LastModified: tag(resp.Header.Get("Last-Modified")),
		Fetched: now.Unix(), ThisUpdate: info.ThisUpdate.Unix(), NextUpdate: info.NextUpdate.Unix(), Delta: want.delta,
		Size: n, SHA256: hex.EncodeToString(sum.Sum(nil)), Issuer: rawCertificates(want.signers),
	}
	if err := state.SyncFile(temp); err != nil {
		return nil, err
	}
	return side, f.place(temp, side)
}

// rawCertificates returns certificates in DER, one after the other.
func rawCertificates(certs []*x509.Certificate) (raw []byte) {
	for _, cert := range certs {
		raw = append(raw, cert.Raw...)
	}
	return raw
}

// schedule sets the times of the next fetches after one has ended.
func (l *list) schedule(now time.Time) {
	if l.problem == nil && now.Before(l.cached.nextUpdate()) {
		l.failures = 0
		l.retry = now.Add(again)
		l.ahead = l.cached.aheadOfTime(now)
		return
	}
	// A server whose list is long due gets no more requests than one that does not
	// answer.
	l.retry = now.Add(backoff(l.failures))
	l.failures++
}

// backoff is the time for which an address is left alone after a failure that
// followed so many others in a row.
func backoff(failures int) time.Duration {
	wait := min(backoffMin<<min(failures, 10), backoffMax)
	return wait/2 + rand.N(wait/2+1)
}

// aheadOfTime is when to fetch the next list: at three quarters of this one's life, and
// from then on again and again in the rest of it. The moment is drawn, so that not
// everybody comes at once.
func (s *sidecar) aheadOfTime(now time.Time) time.Time {
	life := max(s.nextUpdate().Sub(s.thisUpdate()), 0)
	if at := s.thisUpdate().Add(life/16*11 + rand.N(life/8+1)); at.After(now) {
		return at
	}
	rest := max(s.nextUpdate().Sub(now), 0) / 4
	return now.Add(max(rest/2+rand.N(rest/2+1), again))
}

// Result is the result of one list's fetch in a Refresh.
type Result struct {
	URL     string
	Changed bool  // there was a new one
	Err     error // nil: it was fetched
}

// Refresh asks for every list in the cache and for the due ones, and waits for them, no
// longer than ctx. It asks servers that failed lately too.
func (f *Fetcher) Refresh(ctx context.Context, due []trust.CRLFetch) []Result {
	type begun struct {
		list   *list
		before *sidecar
		done   <-chan struct{}
	}
	var all []begun
	now := f.cfg.Now()
	f.mu.Lock()
	for _, d := range due {
		if l := f.listLocked(d.URL, now); l != nil {
			l.want(d, now)
		}
	}
	for _, l := range f.lists {
		if l.signers != nil && f.beginLocked(l) {
			all = append(all, begun{l, l.cached, l.done})
		}
	}
	f.mu.Unlock()

	results := make([]Result, 0, len(all))
	for _, b := range all {
		r := Result{URL: b.list.url}
		select {
		case <-b.done:
			f.mu.Lock()
			r.Err = b.list.problem
			now := b.list.cached // nil: another list has taken its room since
			r.Changed = r.Err == nil && (b.before == nil || now != nil && now.SHA256 != b.before.SHA256)
			f.mu.Unlock()
		case <-ctx.Done():
			r.Err = ctx.Err()
		}
		results = append(results, r)
	}
	slices.SortFunc(results, func(a, b Result) int { return strings.Compare(a.URL, b.URL) })
	return results
}

// Refetch is Refresh of the lists in the cache, in the background.
func (f *Fetcher) Refetch() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.lists {
		if l.signers != nil {
			f.beginLocked(l)
		}
	}
}
