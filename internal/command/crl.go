package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
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
	Fetched    jsonTime `json:"fetched,omitzero"` // if it is in the cache, and not to be fetched anew
	Verified   bool     `json:"verified"`         // the signature, with a certificate at hand
	Oddity     string   `json:"oddity,omitempty"` // it changes nothing
	Flaw       string   `json:"flaw,omitempty"`   // the list clears nobody; it revokes all the same

	issuer  string // the authority's name for people
	refuted bool   // no certificate of the authority at hand has made the signature
}

// runCRL lists the revocation lists at hand. With refresh it fetches them
// first.
func runCRL(a *app, ctx context.Context, args []string) error {
	refresh := len(args) == 1 && args[0] == "refresh"
	if !refresh && len(args) > 0 {
		return usageError("crl takes no argument but refresh, not %q", args[0])
	}
	dir, err := a.stateDir()
	if err != nil {
		return err
	}
	var signers [][]byte
	var failed error
	if refresh {
		if signers, failed, err = a.refreshLists(ctx, dir); err != nil {
			return err
		}
	}
	lists, cached := trust.NewCRLStore(), map[string]fetch.Cached{}
	_, err = state.OpenReadOnly(dir)
	switch {
	case err == nil:
		var problems []error
		if cached, problems = fetch.LoadCached(dir, lists); !refresh { // which has told them
			a.tellProblems(problems)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := a.loadLists(lists); err != nil {
		return err
	}
	_, more, err := a.readCABundle()
	if err != nil {
		return err
	}
	lists.CheckSignatures(slices.Concat(signers, more, fetch.CachedIssuers(dir)))
	for _, l := range lists.List() {
		c := cached[l.Source]
		l.Source = cmp.Or(c.URL, l.Source)
		a.out.show(a.crlObject(l, c.Fetched))
	}
	return failed
}

// crlRefreshTimeout bounds crl refresh. Slow servers may have a card's lists.
const crlRefreshTimeout = 5 * time.Minute

// refreshLists fetches the lists about the own certificate, if that can be read without a
// PIN, and has the other lists in the cache fetched as soon as they are named. signers are
// the certificate's issuers. failed tells of lists that were not fetched.
func (a *app) refreshLists(ctx context.Context, dir string) (signers [][]byte, failed, err error) {
	if !a.opt.fetch {
		return nil, nil, a.opt.places.usageError("fetch", " is false, and crl refresh fetches")
	}
	state, err := a.stateForLists(dir)
	if err != nil {
		return nil, nil, err
	}
	s, err := a.signer(state, state.Name())
	if err != nil {
		return nil, nil, err
	}
	defer s.fetcher.Close()
	ctx, cancel := context.WithTimeout(ctx, crlRefreshTimeout)
	defer cancel()
	leaf, signers, err := s.ownCertificate(ctx)
	if err != nil {
		return nil, nil, err
	}
	if leaf == nil {
		s.fetcher.Refetch()
		a.out.notice("there is no list to fetch now: other people's are fetched when you meet them, " +
			"and your own with -card CARD")
		return nil, nil, nil
	}
	results, err := s.fetcher.Refresh(ctx, s.verifier, leaf, signers)
	if err != nil {
		a.out.notice("no list is fetched for your own certificate: %s", err)
	} else if len(results) == 0 {
		a.out.notice("there is no list to fetch now: your own certificate names no place of one, " +
			"and other people's are fetched when you meet them")
	}
	return signers, a.tellResults(results), nil
}

// stateForLists opens the state directory for fetched lists. If there is none,
// -name makes it, as a first connection would.
func (a *app) stateForLists(dir string) (*state.State, error) {
	st, err := state.Open(dir, "")
	if !errors.Is(err, fs.ErrNotExist) {
		return st, err
	}
	if a.opt.name == "" {
		return nil, usageError("there is no state directory to fetch lists into at %s", dir).
			With("give -name NAME, for which it is made, or -state DIR with one that is there")
	}
	return state.Open(dir, a.opt.name)
}

// tellResults reports the fetches that failed, and returns an error if there are some.
func (a *app) tellResults(results map[string]error) error {
	all := len(results)
	maps.DeleteFunc(results, func(_ string, err error) bool { return err == nil })
	for _, address := range slices.Sorted(maps.Keys(results)) {
		a.out.notice("%s", results[address])
	}
	if len(results) == 0 {
		return nil
	}
	return fail.Errorf(proto.Internal, "%d of %d revocation lists were not fetched", len(results),
		all).With("try again later; without -q the reasons are shown")
}

// crlObject is a list. fetched is zero for a list from a directory.
func (a *app) crlObject(l trust.CRLInfo, fetched time.Time) crlObject {
	return crlObject{
		head: a.out.head("crl"), Issuer: l.Name, Kind: l.Kind, Number: l.Number, Base: l.Base,
		Entries: l.Entries, ThisUpdate: jsonTime{l.ThisUpdate}, NextUpdate: jsonTime{l.NextUpdate},
		Source: l.Source, Fetched: jsonTime{fetched}, Verified: l.Verified,
		Oddity: l.Oddity, Flaw: l.Flaw, issuer: l.Issuer, refuted: l.Refuted,
	}
}

func (o crlObject) text() string {
	now, kind := o.Time.Time, o.Kind+" list without a number"
	if o.Number != "" {
		kind = o.Kind + " list " + o.Number
	}
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
	text := fmt.Sprintf("%s: %s of %s (%s), %s, %s\n  from %s", proto.Visible(o.issuer), kind,
		o.ThisUpdate.UTC().Format(time.DateTime), age(now.Sub(o.ThisUpdate.Time)),
		counted(o.Entries, "entry", "entries"), next, proto.Visible(o.Source))
	if !o.Fetched.IsZero() {
		text += ", fetched " + age(now.Sub(o.Fetched.Time))
	}
	switch {
	case o.refuted:
		text += ", counts for nobody: it is not signed by any key of its authority that is at hand"
	case !o.Verified:
		text += ", signature checked when it is used"
	default:
		text += ", signature checked"
	}
	if o.ThisUpdate.Sub(now) > trust.ClockTolerance {
		text += "\n  clears nobody before its date; is the clock here right?"
	}
	if remark := (trust.CRLInfo{Oddity: o.Oddity, Flaw: o.Flaw}).Remark(); remark != "" {
		text += "\n  " + remark
	}
	return text + "\n"
}
