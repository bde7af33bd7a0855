package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/fetch"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

type crlObject struct {
	head
	Issuer     string   `json:"issuer"` // the authority's name, as in RFC 2253
	Kind       string   `json:"kind"`   // base, partition or delta
	Number     string   `json:"number"`
	Base       string   `json:"base,omitempty"`
	Entries    int      `json:"entries"`
	ThisUpdate jsonTime `json:"this_update"`
	NextUpdate jsonTime `json:"next_update,omitzero"`
	Source     string   `json:"source"`           // a file, or the URL of a fetched list
	Fetched    jsonTime `json:"fetched,omitzero"` // when the server last confirmed the list
	Verified   bool     `json:"verified"`         // the signature holds; false if the authority's certificate is not at hand
	Oddity     string   `json:"oddity,omitempty"` // it changes nothing
	Flaw       string   `json:"flaw,omitempty"`   // why the list clears nobody; it revokes all the same

	issuer string // the authority's name for people
}

// runCRL lists the revocation lists at hand. With refresh it fetches them
// first.
func runCRL(a *app, ctx context.Context, args []string) error {
	f := newFlags("crl")
	if err := parseFlags(f, args); err != nil {
		return err
	}
	refresh := f.NArg() == 1 && f.Arg(0) == "refresh"
	if !refresh && f.NArg() > 0 {
		return usageError("crl takes no argument but refresh, not %q", f.Arg(0))
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
	lists, fetched := trust.NewCRLStore(), map[string]time.Time{}
	_, err = state.OpenReadOnly(dir)
	switch {
	case err == nil:
		var problems []error
		fetched, problems = fetch.LoadCached(dir, lists)
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
	lists.CheckSignatures(append(certificates(bundle), fetch.CachedIssuers(dir)...))
	for _, l := range lists.List() {
		a.out.show(a.crlObject(l, fetched[l.Source]))
	}
	return failed
}

// crlRefreshTimeout bounds crl refresh. A whole cache may come from slow
// servers.
const crlRefreshTimeout = 5 * time.Minute

// refreshLists fetches every list that was fetched before, and the lists named
// by the own certificate if that can be read without a PIN. failed tells of
// lists that were not fetched.
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
	s := signer{app: a, state: state, name: state.Name(), bundle: bundle, verifier: verifier, fetcher: fetcher}
	leaf, chain, err := s.ownCertificate(ctx)
	if err != nil {
		return nil, err
	}
	var own []trust.CRLFetch
	if leaf != nil {
		if own, err = verifier.Places(leaf, chain); err != nil {
			a.out.notice("no list is fetched for your own certificate: %s", err)
		}
	}
	results := fetcher.Refresh(ctx, own)
	if len(results) == 0 {
		a.out.notice("there is no list to fetch: lists become known with the people you meet, and your own with -card CARD")
	}
	return a.tellResults(results), nil
}

// stateForLists opens the state directory for fetched lists. If there is none,
// -name makes it, as a first connection would.
func (a *app) stateForLists(dir string) (*state.State, error) {
	st, err := state.Open(dir, "")
	if !errors.Is(err, fs.ErrNotExist) {
		return st, err
	}
	if a.opt.name == "" {
		return nil, &fail.Error{
			Code: proto.Usage, Message: "there is no state directory to fetch lists into at " + dir,
			Hint: "give -name NAME, for which it is made, or -state DIR with one that is there", Err: err,
		}
	}
	return state.Open(dir, a.opt.name)
}

// tellResults reports each fetch. It returns an error if some failed.
func (a *app) tellResults(results []fetch.Result) error {
	failed := 0
	for _, r := range results {
		switch {
		case r.Err != nil:
			failed++
			a.out.notice("%s", r.Err)
		case r.Changed:
			a.out.detail("%s has a new list", proto.Visible(r.URL))
		default:
			a.out.detail("%s has the list that is known", proto.Visible(r.URL))
		}
	}
	if failed == 0 {
		return nil
	}
	return &fail.Error{
		Code: proto.Internal, Message: fmt.Sprintf("%d of %d revocation lists were not fetched", failed, len(results)),
		Hint: "try again later; without -q the reasons are shown",
	}
}

// crlObject is a list. fetched is zero for a list from a directory.
func (a *app) crlObject(l trust.CRLInfo, fetched time.Time) crlObject {
	return crlObject{
		head: a.out.head("crl"), Issuer: l.Name, Kind: l.Kind, Number: l.Number, Base: l.Base, Entries: l.Entries,
		ThisUpdate: jsonTime{l.ThisUpdate}, NextUpdate: jsonTime{l.NextUpdate}, Source: l.Source, Fetched: jsonTime{fetched},
		Verified: l.Verified, Oddity: l.Oddity, Flaw: l.Flaw, issuer: l.Issuer,
	}
}

func (o crlObject) text() string {
	now, kind := o.Time.Time, o.Kind+" list "+orNone(o.Number)
	if o.Base != "" {
		kind += " upon " + o.Base
	}
	next := "does not say when the next is due"
	if !o.NextUpdate.IsZero() {
		next = "next by " + o.NextUpdate.UTC().Format(time.DateTime)
		if o.NextUpdate.Before(now) {
			next += " (overdue)"
		}
	}
	text := fmt.Sprintf("%s: %s of %s (%s), %s, %s\n  %s", proto.Visible(o.issuer), kind, o.ThisUpdate.UTC().Format(time.DateTime),
		age(now.Sub(o.ThisUpdate.Time)), counted(o.Entries, "entry", "entries"), next, proto.Visible(o.Source))
	if !o.Fetched.IsZero() {
		text += ", fetched " + age(now.Sub(o.Fetched.Time))
	}
	text += ", signature checked"
	if !o.Verified {
		text += " when it is used"
	}
	if remark := (trust.CRLInfo{Oddity: o.Oddity, Flaw: o.Flaw}).Remark(); remark != "" {
		text += "\n  " + remark
	}
	return text + "\n"
}
