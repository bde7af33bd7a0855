package relay

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"

	"chatsecure/crypto/trust"
	"chatsecure/internal/fetch"
	"chatsecure/proto"
)

// identities verifies the identities of clients. It holds the trusted authorities,
// the revocation lists and the closed group, and their sources.
type identities struct {
	cfg      *Config
	group    group
	lists    *trust.CRLStore
	fetcher  *fetch.Fetcher
	verifier *trust.Verifier
	version  atomic.Uint64 // counts the changes of all these
}

func newIdentities(cfg *Config) (*identities, error) {
	ids := &identities{cfg: cfg, group: group{cfg: cfg}, lists: trust.NewCRLStore()}
	store, err := ids.readBundle()
	if err != nil {
		return nil, err
	}
	if problems := ids.group.read(); len(problems) > 0 {
		return nil, problems[0]
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

// readBundle reads the trusted authorities: those of -only-ca alone, or Mozilla's and
// those of -ca-bundle.
func (ids *identities) readBundle() (store *trust.Store, err error) {
	path, only := ids.cfg.CABundle, ids.cfg.OnlyCA != ""
	if only {
		path = ids.cfg.OnlyCA
	}
	var more [][]byte
	if path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("CA bundle: %w", err)
		}
		more = append(more, text)
	}
	if only {
		store, err = trust.NewOnlyStore(more[0])
	} else {
		store, err = trust.NewStore(ids.cfg.Roots, more...)
	}
	if err != nil {
		return nil, fmt.Errorf("CA bundle %s: %w", path, err)
	}
	for _, notice := range store.Notices() {
		ids.cfg.Log.Warn("CA bundle", "file", path, "problem", notice)
	}
	return store, nil
}

// verify returns the person of a bundle, without waiting. After ErrFetching, a
// later call succeeds once the list has come. With the code not-allowed it returns the
// person too.
func (ids *identities) verify(b *trust.Bundle, name string) (*trust.Person, error) {
	person, err := ids.fetcher.Verify(ids.verifier, b, name)
	if err != nil {
		return nil, err
	}
	return person, ids.group.admit(person.Identity, person.Authorities)
}

// reload reads the bundle, the lists and the group again, and has the lists fetched
// again. The former content of a file with a problem stays in force.
func (ids *identities) reload() (problems []error) {
	defer ids.version.Add(1)
	ids.fetcher.Refetch()
	warnOfLists(ids.cfg.Log, ids.lists.Reread())
	ids.remark("")
	problems = ids.group.read()
	store, err := ids.readBundle()
	if err != nil {
		return append(problems, err)
	}
	ids.verifier.Reload(store, ids.lists, ids.cfg.CRLPolicy)
	return problems
}

// listsChanged reads the changed files in the directories of revocation lists, the
// operator's and that of the fetched ones, and reports whether there were any.
func (ids *identities) listsChanged() bool {
	changed, problems := ids.lists.Refresh()
	if changed {
		ids.version.Add(1)
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
