package chatsecure

import (
	"fmt"
	"log/slog"
	"os"

	"chatsecure/crypto"
)

// relayTrust is whom the relay believes: the authorities and the revocation
// lists, and where they are read from.
type relayTrust struct {
	cfg      *RelayConfig
	lists    *crypto.CRLStore
	fetcher  *Fetcher
	verifier *crypto.Verifier
}

func newRelayTrust(cfg *RelayConfig) (*relayTrust, error) {
	t := &relayTrust{cfg: cfg, lists: crypto.NewCRLStore()}
	trust, err := t.readBundle()
	if err != nil {
		return nil, err
	}
	if cfg.CRLDir != "" {
		warnOfLists(cfg.Log, t.lists.LoadDir(cfg.CRLDir))
	}
	t.fetcher, err = OpenFetcher(FetcherConfig{
		State: cfg.State, Lists: t.lists, Off: !cfg.Fetch || cfg.CRLPolicy == crypto.PolicyOff, Private: cfg.FetchPrivate, Now: cfg.Now,
		Notice: func(what string, err error) {
			if err != nil {
				cfg.Log.Warn("not fetched", "what", what, "reason", err.Error())
			} else {
				cfg.Log.Info("fetched", "what", what)
			}
		},
	})
	if err != nil {
		return nil, err
	}
	t.verifier = crypto.NewVerifier(crypto.VerifierConfig{Trust: trust, CRLs: t.lists, Policy: cfg.CRLPolicy, Now: cfg.Now})
	return t, nil
}

func (t *relayTrust) readBundle() (*crypto.Trust, error) {
	var extra [][]byte
	if t.cfg.CABundle != "" {
		text, err := os.ReadFile(t.cfg.CABundle)
		if err != nil {
			return nil, fmt.Errorf("CA bundle: %w", err)
		}
		extra = append(extra, text)
	}
	return crypto.NewTrust(t.cfg.Roots, extra...)
}

// verify says whose a bundle is, without waiting. An error that is errFetching
// passes when a list has been fetched.
func (t *relayTrust) verify(b *crypto.Bundle, name string) (*crypto.Person, error) {
	return t.fetcher.Verify(t.verifier, b, name)
}

// reload reads everything again, and has the lists fetched again. If the bundle
// cannot be read the old one stays.
func (t *relayTrust) reload(log *slog.Logger) error {
	t.fetcher.Refetch()
	warnOfLists(log, t.lists.Reread())
	trust, err := t.readBundle()
	if err != nil {
		return err
	}
	t.verifier.Reload(trust, t.lists, t.cfg.CRLPolicy)
	return nil
}

// listsChanged reads again what has changed in the directories of revocation
// lists: the operator's and the one of those fetched.
func (t *relayTrust) listsChanged(log *slog.Logger) bool {
	changed, problems := t.lists.Refresh()
	if changed {
		warnOfLists(log, problems)
	}
	return changed
}

func warnOfLists(log *slog.Logger, problems []error) {
	for _, problem := range problems {
		log.Warn("revocation lists", "problem", problem)
	}
}
