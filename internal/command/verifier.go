package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/fetch"
	"chatsecure/proto"
)

// maxCABundle bounds a -ca-bundle or -only-ca file in bytes. Mozilla's own bundle has a
// quarter of a megabyte.
const maxCABundle = 8 << 20

// readCABundle returns the -ca-bundle or -only-ca file and the certificates in it, or nil without
// these options.
func (a *app) readCABundle() (bundle []byte, certificates [][]byte, err error) {
	_, file := a.opt.roots()
	if *file == "" {
		return nil, nil, nil
	}
	if bundle, err = readSmallFile(*file, maxCABundle); err == nil {
		certificates, err = trust.PEMCertificates(bundle)
	}
	if err != nil {
		return nil, nil, a.badBundle(err)
	}
	return bundle, certificates, nil
}

// trusted is by what certificates are judged.
type trusted struct {
	verifier *trust.Verifier
	cfg      trust.VerifierConfig // its own; the lists are nil with -crl-policy off
	more     [][]byte             // for the card's chain: cards since 2024 carry no CA certificates
}

// trust reads the roots and the revocation lists. fetched is the directory of fetched lists, or "".
func (a *app) trust(fetched string) (*trusted, error) {
	bundle, certificates, err := a.readCABundle()
	if err != nil {
		return nil, err
	}
	store, err := a.trustStore(bundle)
	if err != nil {
		return nil, err
	}
	lists, err := a.revocationLists(fetched)
	if err != nil {
		return nil, err
	}
	cfg := trust.VerifierConfig{Trust: store, CRLs: lists, Policy: a.opt.policy, Now: a.Now}
	return &trusted{trust.NewVerifier(cfg), cfg, certificates}, nil
}

// trustStore has Mozilla's roots, the pinned anchors and the -ca-bundle file,
// which may be nil, or the roots of the -only-ca file and no others.
func (a *app) trustStore(caBundle []byte) (store *trust.Store, err error) {
	switch {
	case a.opt.onlyCA != "":
		store, err = trust.NewOnlyStore(caBundle)
	case caBundle != nil:
		store, err = trust.NewStore(a.Roots, caBundle)
	default:
		store, err = trust.NewStore(a.Roots)
	}
	if err != nil {
		return nil, a.badBundle(err)
	}
	for _, notice := range store.Notices() {
		a.out.notice("%s: %s", a.bundleName(), notice)
	}
	return store, nil
}

// bundleName names the option and the file that readCABundle reads.
func (a *app) bundleName() string {
	option, file := a.opt.roots()
	return a.opt.places.of(option) + " " + proto.Visible(*file)
}

// badBundle is an error of that file.
func (a *app) badBundle(err error) error {
	hint := "give a PEM file with certificates"
	if strings.Contains(err.Error(), "openssl") { // it names the command that makes one
		hint = "then give the file that it writes"
	}
	return usageError("%s: %w", a.bundleName(), err).With(hint)
}

// ownRefused says of a refusal of one's own certificate that -only-ca is in force. Another root
// in its file helps only where the refusal says that a file would.
func (a *app) ownRefused(err error) error {
	if a.opt.onlyCA == "" || !fail.HasCode(err, proto.CertificateUntrusted) {
		return err
	}
	e := *fail.AsError(err)
	e.Message = fmt.Sprintf("%s: your own certificate is refused: %s", a.bundleName(), e.Message)
	if e.Hint != "" {
		e.Hint += "; or use a card of an authority in that file"
	}
	return &e
}

// revocationLists reads the lists in the -crl directory and the fetched ones. A
// missing -crl directory is an error. A broken list is only reported.
func (a *app) revocationLists(fetched string) (*trust.CRLStore, error) {
	if a.opt.policy == trust.PolicyOff {
		return nil, nil
	}
	crls := trust.NewCRLStore()
	if err := a.loadLists(crls); err != nil {
		return nil, err
	}
	if fetched != "" {
		if _, err := os.Lstat(fetched); !errors.Is(err, fs.ErrNotExist) {
			a.tellProblems(crls.LoadDir(fetched))
		}
	}
	return crls, nil
}

// loadLists reads the lists in the -crl directory.
func (a *app) loadLists(crls *trust.CRLStore) error {
	if a.opt.crlDir == "" {
		return nil
	}
	if _, err := os.ReadDir(a.opt.crlDir); err != nil {
		return usageError("%s: %w", a.opt.places.of("crl"), err).
			With("give a directory with revocation lists")
	}
	a.tellProblems(crls.LoadDir(a.opt.crlDir))
	return nil
}

func (a *app) tellProblems(problems []error) {
	for _, p := range problems {
		a.out.notice("a revocation list is not used: %s", proto.Visible(p.Error()))
	}
}

// fetched returns the directory of fetched lists, and the CA certificates that
// were fetched for a card. Without a usable state directory there is neither.
func (a *app) fetched() (lists string, issuers [][]byte) {
	state, err := a.readState()
	if err != nil {
		return "", nil
	}
	return state.CRLDir(), fetch.CachedIssuers(state.Dir())
}

// fetcher returns a fetcher that keeps revocation lists in a state directory.
// lists may be nil: then no list is used.
func (a *app) fetcher(dir string, lists *trust.CRLStore) (*fetch.Fetcher, error) {
	if lists == nil {
		lists = trust.NewCRLStore()
	}
	return fetch.Open(fetch.Config{
		State: dir, Lists: lists, Off: !a.opt.fetch, Private: a.opt.fetchPrivate, Now: a.Now,
		Notice: func(what string, err error) {
			switch {
			case errors.Is(err, fetch.ErrCacheDamaged):
				a.out.notice("%s: %s", what, proto.Visible(err.Error()))
			case err != nil:
				a.out.detail("%s: %s", what, proto.Visible(err.Error()))
			default:
				a.out.detail("%s was fetched", what)
			}
		},
	})
}
