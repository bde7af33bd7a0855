package fetch

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// list is the revocation list of one authority at one address. Fetcher.mu guards it.
type list struct {
	trust.CRLFetch // as a certificate last named it
	host           string

	named   time.Time     // when that was
	fetched time.Time     // zero: it is not in the cache
	retry   time.Time     // it is not asked for before
	tries   int           // in a row that left the list lacking
	problem error         // of the last fetch; nil: it succeeded
	done    chan struct{} // closed at the end of the fetch; nil: none waits or is at work
}

// placeID is the address of a list, and the key of its authority: the certificates of
// another key may name the same address, where they have no list.
func placeID(p trust.CRLFetch) string {
	return p.URL + " " + string(p.Signers[0].RawSubjectPublicKeyInfo)
}

// listLocked returns the list at a place that a certificate names now. It returns nil for
// an address that is never asked, or if there are too many.
func (f *Fetcher) listLocked(place trust.CRLFetch, now time.Time) *list {
	l := f.lists[placeID(place)]
	if l == nil {
		u, err := parseURL(place.URL)
		if err != nil {
			return nil
		}
		if len(f.lists) >= maxLists {
			maps.DeleteFunc(f.lists, func(_ string, l *list) bool { return l.done == nil && now.Sub(l.named) > namedFor })
		}
		if len(f.lists) >= maxLists {
			return nil
		}
		l = &list{host: u.Host, fetched: f.crls.fetched(place.URL)}
		f.lists[placeID(place)] = l
	}
	l.CRLFetch, l.named = place, now
	if !l.Lacking && l.problem == nil {
		l.tries = 0
	}
	return l
}

// begun is a fetch under way, as it was when it was asked for.
type begun struct {
	list
	of *list
}

// begin begins to fetch the lists at these places that are due, and returns the fetches
// under way. Of each authority it asks one address: the others are most often copies on
// other servers. Lists that are still due afterwards are asked for next.
func (f *Fetcher) begin(places []trust.CRLFetch) (all []begun) {
	settled := make(map[[2]any]bool) // by issuer and delta
	now := f.cfg.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range places {
		k := [2]any{p.Signers[0], p.Delta}
		if settled[k] {
			continue
		}
		l := f.listLocked(p, now)
		switch {
		case l == nil:
		case f.isDue(l, now) && f.beginLocked(l):
			all = append(all, begun{*l, l})
			settled[k] = true
		default:
			settled[k] = !p.Lacking && l.problem == nil && !l.fetched.IsZero()
		}
	}
	return all
}

// isDue reports whether a list is to be fetched now: it is lacking or to be fetched anew, or
// most of the time is over between its last fetch and its end, or of a day. The rest of the
// time is for servers that fail, or have no newer one yet.
func (f *Fetcher) isDue(l *list, now time.Time) bool {
	from := later(l.ThisUpdate, l.fetched)
	over := now.Sub(from) > time.Duration(f.ahead*float64(min(l.NextUpdate.Sub(from), ageMax)))
	return l.done != nil || !now.Before(l.retry) && (l.Lacking || l.fetched.Equal(outdated) || over)
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

// startLocked starts the waiting fetches that have room. A host has one at a time, so
// that a slow one does not keep the lists of others waiting.
func (f *Fetcher) startLocked() {
	f.waiting = slices.DeleteFunc(f.waiting, func(l *list) bool {
		if len(f.atWork) >= maxAtOnce || f.atWork[l.host] {
			return false
		}
		f.atWork[l.host] = true
		place := l.CRLFetch
		f.wg.Go(func() { f.fetch(l, place) })
		return true
	})
}

// fetch fetches one list from its place. It runs in a goroutine of its own.
func (f *Fetcher) fetch(l *list, place trust.CRLFetch) {
	err := f.ask(f.ctx, f.crls, place.URL, trust.MaxCRL, func(r io.Reader) (string, []string, error) {
		info, err := f.cfg.Lists.Add(r, place.URL, place.Signers, f.cfg.Now())
		if err != nil {
			return "", nil, err
		}
		// One that fits its address may clear the certificate that named that. One with a flaw may
		// have more in its file, and takes no other's place.
		rest := fmt.Sprintf("#%t-%t-%s", place.Fits(info), info.Flaw == "", info.ID)
		return rest, info.Outdated, nil
	})
	if f.ctx.Err() == nil {
		f.cfg.Notice("revocation list "+proto.Visible(place.URL), err)
	}

	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.cfg.Now()
	if l.problem = err; err == nil {
		l.fetched = now
	}
	// A server with a list that clears nobody gets no more requests than one that does not
	// answer.
	wait := min(backoffMin<<min(l.tries, 10), backoffMax)
	l.tries, l.retry = l.tries+1, now.Add(wait/2+rand.N(wait/2+1))
	close(l.done)
	l.done = nil
	delete(f.atWork, l.host)
	f.startLocked()
}

// Refresh fetches the lists about one certificate anew, and waits for them, no longer than
// ctx. The other lists in the cache are fetched anew as soon as somebody's certificate
// names them. The results are by address: nil, or the reason for a failure.
func (f *Fetcher) Refresh(ctx context.Context, v *trust.Verifier, leaf []byte, chain [][]byte) (results map[string]error, err error) {
	f.outdate()
	person, err := v.Certificate(leaf, chain)
	results = make(map[string]error)
	for _, b := range f.begin(f.places(person, err)) {
		select {
		case <-b.done:
			f.mu.Lock()
			results[b.URL] = b.of.problem
			f.mu.Unlock()
		case <-ctx.Done():
			results[b.URL] = ctx.Err()
		}
	}
	if fail.HasCode(err, proto.RevocationUnknown) || fail.HasCode(err, proto.CertificateRevoked) {
		err = nil // by the lists of before
	}
	return results, err
}

// Refetch fetches the lists in the cache anew, in the background: at once those that
// somebody's certificate has named, the others as soon as one does.
func (f *Fetcher) Refetch() {
	f.outdate()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.lists {
		f.beginLocked(l)
	}
}

// outdate notes that the lists in the cache are to be fetched anew, also from servers
// that failed lately.
func (f *Fetcher) outdate() {
	if f.cfg.Off {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for path := range f.crls.files() {
		os.Chtimes(path, outdated, outdated) // or else only this program knows
	}
	for _, l := range f.lists {
		l.retry = time.Time{}
		if !l.fetched.IsZero() {
			l.fetched = outdated
		}
	}
}
