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
	verifier *crypto.Verifier
}

func newRelayTrust(cfg *RelayConfig) (*relayTrust, error) {
	t := &relayTrust{cfg: cfg, lists: crypto.NewCRLStore()}
	trust, err := t.readBundle()
	if err != nil {
		return nil, err
	}
	if cfg.CRLDir != "" {
		for _, problem := range t.lists.LoadDir(cfg.CRLDir) {
			cfg.Log.Warn("revocation lists", "problem", problem)
		}
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
	return crypto.NewTrust(CABundle, extra...)
}

// reload reads everything again. If the bundle cannot be read the old one
// stays.
func (t *relayTrust) reload(log *slog.Logger) error {
	t.listsChanged(log)
	trust, err := t.readBundle()
	if err != nil {
		return err
	}
	t.verifier.Reload(trust, t.lists, t.cfg.CRLPolicy)
	return nil
}

// listsChanged reads the directory of revocation lists again where it has
// changed.
func (t *relayTrust) listsChanged(log *slog.Logger) bool {
	changed, problems := t.lists.Refresh()
	if changed {
		for _, problem := range problems {
			log.Warn("revocation lists", "problem", problem)
		}
	}
	return changed
}
