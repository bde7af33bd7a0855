package command

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"chatsecure/crypto/trust"
	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/fetch"
	"chatsecure/proto"
)

// maxCABundle bounds a -ca-bundle or -only-ca file in bytes. Mozilla's own bundle has a
// quarter of a megabyte.
const maxCABundle = 8 << 20

// readCABundle returns the -ca-bundle or -only-ca file, or nil without these options.
func (a *app) readCABundle() ([]byte, error) {
	file := cmp.Or(a.opt.onlyCA, a.opt.caBundle)
	if file == "" {
		return nil, nil
	}
	data, err := readSmallFile(file, maxCABundle)
	if err != nil {
		return nil, a.badBundle(err)
	}
	if _, err := trust.PEMCertificates(data); err != nil {
		return nil, a.badBundle(err)
	}
	return data, nil
}

// certificates returns the certificates in a bundle that readCABundle has read, as
// candidates for the card's chain: cards since 2024 carry no CA certificates.
func certificates(bundle []byte) [][]byte {
	ders, _ := trust.PEMCertificates(bundle)
	return ders
}

// trust adds a verifier and a fetcher to cfg.
func (a *app) trust(cfg *client.Config, caBundle []byte) error {
	verifier, lists, err := a.verifier("", caBundle)
	if err != nil {
		return err
	}
	if lists != nil {
		cfg.Refresh = lists.Refresh
	}
	cfg.Verifier = verifier
	cfg.Fetcher, err = a.fetcher(cfg.State.Dir(), lists)
	return err
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
	return a.opt.places.of(strings.TrimPrefix(a.opt.advice("-ca-bundle"), "-")) + " " + proto.Visible(cmp.Or(a.opt.onlyCA, a.opt.caBundle))
}

// badBundle is an error of that file.
func (a *app) badBundle(err error) error {
	hint := "give a PEM file with certificates"
	if strings.Contains(err.Error(), "openssl") { // it names the command that makes one
		hint = "then give the file that it writes"
	}
	return &fail.Error{Code: proto.Usage, Message: a.bundleName() + ": " + err.Error(), Hint: hint, Err: err}
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

// verifier returns a verifier with trustStore's roots, and its revocation lists, which are nil with -crl-policy
// off. fetched is the directory of fetched lists, or "".
func (a *app) verifier(fetched string, caBundle []byte) (v *trust.Verifier, lists *trust.CRLStore, err error) {
	store, err := a.trustStore(caBundle)
	if err != nil {
		return nil, nil, err
	}
	lists, err = a.revocationLists(fetched)
	if err != nil {
		return nil, nil, err
	}
	return trust.NewVerifier(trust.VerifierConfig{Trust: store, CRLs: lists, Policy: a.opt.policy, Now: a.Now}), lists, nil
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
		return &fail.Error{
			Code: proto.Usage, Message: a.opt.places.of("crl") + ": " + err.Error(),
			Hint: "give a directory with revocation lists", Err: err,
		}
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
