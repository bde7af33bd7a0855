package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"chatsecure"
	"chatsecure/card"
	"chatsecure/crypto"
	"chatsecure/proto"
)

type crlObject struct {
	head
	Issuer     string `json:"issuer"` // the authority's name, in the form of RFC 2253
	Kind       string `json:"kind"`   // base, partition or delta
	Number     string `json:"number"`
	Base       string `json:"base,omitempty"`
	Entries    int    `json:"entries"`
	ThisUpdate string `json:"this_update"`
	NextUpdate string `json:"next_update,omitempty"`
	Source     string `json:"source"`            // a file, or the address that it was fetched from
	Fetched    string `json:"fetched,omitempty"` // when its server last said that this is its list
	Verified   bool   `json:"verified"`          // its authority's signature holds; false: the authority's certificate is not at hand
	Problem    string `json:"problem,omitempty"`
}

// runCRL shows the revocation lists at hand, and fetches them before where it
// is told to.
func runCRL(a *app, ctx context.Context, args []string) error {
	f := newFlags("crl")
	if err := parseFlags(f, args); err != nil {
		return err
	}
	refresh := f.NArg() == 1 && f.Arg(0) == "refresh"
	if !refresh && f.NArg() > 0 {
		return usageError("crl takes refresh or nothing, but there is %q", f.Arg(0))
	}
	dir, err := a.stateDir()
	if err != nil {
		return err
	}
	var failed error
	if refresh {
		if failed, err = a.refreshLists(ctx, dir); err != nil {
			return err
		}
	}
	lists, fetched := crypto.NewCRLStore(), map[string]time.Time{}
	_, err = chatsecure.OpenStateRead(dir)
	switch {
	case err == nil:
		var problems []error
		fetched, problems = chatsecure.LoadFetched(dir, lists)
		a.tellProblems(problems)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := a.loadLists(lists); err != nil {
		return err
	}
	bundle, err := a.readCABundle()
	if err != nil {
		return err
	}
	lists.CheckSignatures(append(certificates(bundle), chatsecure.CachedIssuers(dir)...))
	for _, l := range lists.List() {
		a.showCRL(l, fetched[l.Source])
	}
	return failed
}

// crlRefreshTimeout bounds crl refresh: a whole cache, from slow servers.
const crlRefreshTimeout = 5 * time.Minute

// refreshLists fetches anew every list that was fetched before, and those that
// the own certificate names, as far as it is at hand without a PIN. failed is
// what was not fetched.
func (a *app) refreshLists(ctx context.Context, dir string) (failed, err error) {
	if !a.opt.fetch {
		return nil, usageError("crl refresh fetches, and -fetch=false says not to")
	}
	bundle, err := a.readCABundle()
	if err != nil {
		return nil, err
	}
	state, err := a.stateForLists(dir)
	if err != nil {
		return nil, err
	}
	verifier, lists, err := a.verifier("", bundle)
	if err != nil {
		return nil, err
	}
	fetcher, err := a.fetcher(dir, lists)
	if err != nil {
		return nil, err
	}
	defer fetcher.Close()
	ctx, cancel := context.WithTimeout(ctx, crlRefreshTimeout)
	defer cancel()
	leaf, chain, err := a.ownCertificate(ctx, state, fetcher, verifier, bundle)
	if err != nil {
		return nil, err
	}
	var own []crypto.CRLFetch
	if leaf != nil {
		if own, err = verifier.Due(leaf, chain); err != nil {
			a.out.notice("for the own certificate nothing is fetched: %s", err)
		}
	}
	results := fetcher.Refresh(ctx, own)
	if len(results) == 0 {
		a.out.notice("there is no list to fetch: they become known with the people that one meets, and with -card CARD one's own")
	}
	return a.tellResults(results), nil
}

// stateForLists opens the state directory that lists are fetched into. Where
// there is none, -name makes it, as a first connection would.
func (a *app) stateForLists(dir string) (*chatsecure.State, error) {
	state, err := chatsecure.OpenState(dir, "")
	if !errors.Is(err, fs.ErrNotExist) {
		return state, err
	}
	if a.opt.name == "" {
		return nil, &chatsecure.Error{
			Code: proto.Usage, Message: "there is no state directory to fetch lists into at " + dir,
			Hint: "give -name NAME, for which it is made, or -state DIR with one that is there", Err: err,
		}
	}
	return chatsecure.OpenState(dir, a.opt.name)
}

// tellResults says how each fetch ended, and returns an error if some failed.
func (a *app) tellResults(results []chatsecure.FetchResult) error {
	failed := 0
	for _, r := range results {
		switch {
		case r.Err != nil:
			failed++
			a.out.notice("%s", r.Err)
		case r.Changed:
			a.out.detail("%s has a new list", crypto.Visible(r.URL))
		default:
			a.out.detail("%s has the list that is known", crypto.Visible(r.URL))
		}
	}
	if failed == 0 {
		return nil
	}
	return &chatsecure.Error{
		Code: proto.Internal, Message: fmt.Sprintf("%d of %d revocation lists were not fetched", failed, len(results)),
		Hint: "try again later; without -q it is said why",
	}
}

// ownCertificate is that of a kept key, or of the card that was named, with
// what is above it. It is nil if there is neither.
func (a *app) ownCertificate(ctx context.Context, state *chatsecure.State, f *chatsecure.Fetcher, v *crypto.Verifier, bundle []byte) (leaf []byte, chain [][]byte, err error) {
	kept, err := state.LoadKept(state.Name(), a.opt.card, a.now())
	if err != nil {
		return nil, nil, err
	}
	if kept != nil {
		kept.Key.Erase()
		return kept.Bundle.X509, kept.Bundle.Chain, nil
	}
	if a.opt.card == "" {
		return nil, nil, nil
	}
	c, err := a.openCard(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer c.Close()
	// Also the lists about one that is refused may be looked for.
	issuers, _ := a.issuers(ctx, c, f, v, bundle)
	return c.Leaf(), append(c.Chain(), issuers...), nil
}

// fetcher fetches revocation lists and keeps them in a state directory. lists
// may be nil: nobody looks.
func (a *app) fetcher(dir string, lists *crypto.CRLStore) (*chatsecure.Fetcher, error) {
	if lists == nil {
		lists = crypto.NewCRLStore()
	}
	return chatsecure.OpenFetcher(chatsecure.FetcherConfig{
		State: dir, Lists: lists, Off: !a.opt.fetch, Private: a.opt.fetchPrivate, Now: a.now,
		Notice: func(what string, err error) {
			switch {
			case errors.Is(err, chatsecure.ErrCacheDamaged):
				a.out.notice("%s: %s", what, crypto.Visible(err.Error()))
			case err != nil:
				a.out.detail("%s: %s", what, crypto.Visible(err.Error()))
			default:
				a.out.detail("%s was fetched", what)
			}
		},
	})
}

// issuers returns certificates to build the card's chain from, beside those
// that it carries: the path that is trusted here, first, the user's own and,
// where these do not lead to an anchor, fetched ones. A card that is refused for
// anything but an unknown revocation is refused here, before a PIN is asked for.
func (a *app) issuers(ctx context.Context, c card.Card, f *chatsecure.Fetcher, v *crypto.Verifier, bundle []byte) ([][]byte, error) {
	extra := certificates(bundle)
	person, err := v.Certificate(c.Leaf(), c.Chain())
	if !isOfChain(err) {
		return append(pathAbove(person), extra...), unlessUnknown(err)
	}
	have := slices.Concat(c.Chain(), extra)
	more, missing := f.Issuers(ctx, c.Leaf(), have, false)
	if person, err = v.Certificate(c.Leaf(), append(c.Chain(), more...)); isOfChain(err) && missing == nil {
		// What was fetched before may have been replaced.
		more, missing = f.Issuers(ctx, c.Leaf(), have, true)
		person, err = v.Certificate(c.Leaf(), append(c.Chain(), more...))
	}
	extra = slices.Concat(pathAbove(person), extra, more)
	if missing != nil && isOfChain(err) {
		e := *chatsecure.AsError(missing)
		e.Code, e.Message = chatsecure.AsError(err).Code, err.Error()+"; "+e.Message
		return extra, &e
	}
	return extra, unlessUnknown(err)
}

// isOfChain reports whether other certificates of authorities could help.
func isOfChain(err error) bool {
	return chatsecure.HasCode(err, proto.CertificateUntrusted) || chatsecure.HasCode(err, proto.CertificateExpired)
}

// pathAbove is what stands above a person's certificate, nothing for nobody.
func pathAbove(person *crypto.Person) (ders [][]byte) {
	if person == nil {
		return nil
	}
	for _, cert := range person.Path[1:] {
		ders = append(ders, cert.Raw)
	}
	return ders
}

// unlessUnknown passes on every error but that of an unknown revocation, which
// passes when a list is fetched.
func unlessUnknown(err error) error {
	if chatsecure.HasCode(err, proto.RevocationUnknown) {
		return nil
	}
	return err
}

// showCRL writes one list. fetched is zero for one from a directory.
func (a *app) showCRL(l crypto.CRLInfo, fetched time.Time) {
	if a.out.json {
		o := crlObject{
			head: a.out.head("crl"), Issuer: l.Name, Kind: l.Kind, Number: l.Number, Base: l.Base, Entries: l.Entries,
			ThisUpdate: formatTime(l.ThisUpdate), Source: l.Source, Verified: l.Verified, Problem: l.Problem,
		}
		if !l.NextUpdate.IsZero() {
			o.NextUpdate = formatTime(l.NextUpdate)
		}
		if !fetched.IsZero() {
			o.Fetched = formatTime(fetched)
		}
		a.out.objectLater(o)
		return
	}
	next := "does not say when the next is due"
	if !l.NextUpdate.IsZero() {
		next = "next by " + l.NextUpdate.UTC().Format(time.DateTime)
		if l.NextUpdate.Before(a.now()) {
			next += " (overdue)"
		}
	}
	kind := l.Kind + " list " + orNone(l.Number)
	if l.Base != "" {
		kind += " upon " + l.Base
	}
	a.out.line(fmt.Sprintf("%s: %s of %s (%s), %s, %s", crypto.Visible(l.Issuer), kind,
		l.ThisUpdate.UTC().Format(time.DateTime), age(a.now().Sub(l.ThisUpdate)), counted(l.Entries, "entry", "entries"), next))
	from := crypto.Visible(l.Source)
	if !fetched.IsZero() {
		from += ", fetched " + age(a.now().Sub(fetched))
	}
	if l.Verified {
		from += ", signature checked"
	} else {
		from += ", signature checked when it is used"
	}
	a.out.line("  " + from)
	if l.Problem != "" {
		a.out.line("  not used: " + crypto.Visible(l.Problem))
	}
}

// age is how long ago something was, for people.
func age(d time.Duration) string {
	switch {
	case d < 0:
		return "still to come"
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return counted(int(d/time.Minute), "minute", "minutes") + " ago"
	case d < 48*time.Hour:
		return counted(int(d/time.Hour), "hour", "hours") + " ago"
	}
	return counted(int(d/(24*time.Hour)), "day", "days") + " ago"
}
