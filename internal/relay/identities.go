package relay

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"chatsecure/crypto/trust"
	"chatsecure/internal/fetch"
	"chatsecure/proto"
)

// identities verifies the identities of clients. It holds the trusted authorities
// and the revocation lists, and their sources.
type identities struct {
	cfg      *Config
	lists    *trust.CRLStore
	fetcher  *fetch.Fetcher
	verifier *trust.Verifier
}

func newIdentities(cfg *Config) (*identities, error) {
	ids := &identities{cfg: cfg, lists: trust.NewCRLStore()}
	store, err := ids.readBundle()
	if err != nil {
		return nil, err
	}
	if cfg.CRLDir != "" {
		warnOfLists(cfg.Log, ids.lists.LoadDir(cfg.CRLDir))
	}
	ids.fetcher, err = fetch.Open(fetch.Config{
		State: cfg.State, Lists: ids.lists, Off: !cfg.Fetch || cfg.CRLPolicy == trust.PolicyOff, Private: cfg.FetchPrivate, Now: cfg.Now,
		Notice: func(what string, err error) {
			if err != nil {
				cfg.Log.Warn("not fetched", "what", what, "reason", err.Error())
			} else {
				cfg.Log.Info("fetched", "what", what)
				ids.remark(what)
			}
		},
	})
	if err != nil {
		return nil, err
	}
	ids.verifier = trust.NewVerifier(trust.VerifierConfig{Trust: store, CRLs: ids.lists, Policy: cfg.CRLPolicy, Now: cfg.Now})
	ids.remark("")
	return ids, nil
}

func (ids *identities) readBundle() (*trust.Store, error) {
	var extra [][]byte
	if ids.cfg.CABundle != "" {
		text, err := os.ReadFile(ids.cfg.CABundle)
		if err != nil {
			return nil, fmt.Errorf("CA bundle: %w", err)
		}
		extra = append(extra, text)
	}
	store, err := trust.NewStore(ids.cfg.Roots, extra...)
	if err != nil {
		return nil, fmt.Errorf("CA bundle %s: %w", ids.cfg.CABundle, err)
	}
	for _, notice := range store.Notices() {
		ids.cfg.Log.Warn("CA bundle", "file", ids.cfg.CABundle, "problem", notice)
	}
	return store, nil
}

// verify returns the person of a bundle, without waiting. After ErrFetching, a
// later call succeeds once the list has come.
func (ids *identities) verify(b *trust.Bundle, name string) (*trust.Person, error) {
	return ids.fetcher.Verify(ids.verifier, b, name)
}

// verifyWait is verify that waits for the lists it needs, until ctx ends.
func (ids *identities) verifyWait(ctx context.Context, b *trust.Bundle, name string) (*trust.Person, error) {
	return ids.fetcher.VerifyWait(ctx, ids.verifier, b, name)
}

// reload reads the bundle and the lists again, and has the lists fetched again.
// After an error the old bundle stays in force.
func (ids *identities) reload() error {
	ids.fetcher.Refetch()
	warnOfLists(ids.cfg.Log, ids.lists.Reread())
	ids.remark("")
	store, err := ids.readBundle()
	if err != nil {
		return err
	}
	ids.verifier.Reload(store, ids.lists, ids.cfg.CRLPolicy)
	return nil
}

// listsChanged reads the changed files in the directories of revocation lists, the
// operator's and that of the fetched ones, and reports whether there were any.
func (ids *identities) listsChanged() bool {
	changed, problems := ids.lists.Refresh()
	if changed {
		warnOfLists(ids.cfg.Log, problems)
		ids.remark("")
	}
	return changed
}

// remark logs what is unusual about the lists at hand, or about the one that was fetched.
func (ids *identities) remark(fetched string) {
	for _, l := range ids.lists.List() {
		if remark := l.Remark(); remark != "" && (fetched == "" || strings.HasSuffix(fetched, proto.Visible(l.Source))) {
			ids.cfg.Log.Warn("revocation list", "list", l.Source, "authority", l.Issuer, "remark", remark)
		}
	}
}

func warnOfLists(log *slog.Logger, problems []error) {
	for _, problem := range problems {
		log.Warn("revocation lists", "problem", problem)
	}
}
