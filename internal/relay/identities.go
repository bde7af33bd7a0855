package relay

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync/atomic"

	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/fetch"
	"chatsecure/internal/state"
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
	remarks  remarks       // on the lists
	fault    *fileError    // of the directory of -crl at the last look; the inspector's
}

// fileError is a fault in a file, or in the directory, that an option names.
type fileError struct {
	option, path string
	err          error
}

func (e *fileError) Error() string {
	return fmt.Sprintf("%s %s: %v", e.option, proto.Visible(e.path), state.Cause(e.err))
}

func (e *fileError) Unwrap() error { return e.err }

// log says that the fault changed nothing.
func (e *fileError) log(log *slog.Logger) {
	log = log.With("option", e.option, "file", e.path, "reason", state.Cause(e.err).Error())
	if hint := fail.AsError(e.err).Hint; hint != "" {
		log = log.With("hint", hint)
	}
	log.Error("file not read; its former content stays in force")
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
		problems := ids.lists.LoadDir(cfg.CRLDir)
		if fault := ids.unread(problems); fault != nil {
			return nil, fault
		}
		ids.warnOfLists(problems)
	}
	ids.fetcher, err = fetch.Open(fetch.Config{
		State: cfg.State, Lists: ids.lists, Off: !cfg.Fetch || cfg.CRLPolicy == trust.PolicyOff, Private: cfg.FetchPrivate, Now: cfg.Now,
		Notice: func(what string, err error) {
			if err != nil {
				cfg.Log.Warn("not fetched", "what", what, "reason", err.Error())
			} else {
				cfg.Log.Info("fetched", "what", what)
				ids.remark()
			}
		},
	})
	if err != nil {
		return nil, err
	}
	ids.verifier = trust.NewVerifier(trust.VerifierConfig{Trust: store, CRLs: ids.lists, Policy: cfg.CRLPolicy, Now: cfg.Now})
	ids.remark()
	return ids, nil
}

// maxBundle bounds the file of trusted authorities in bytes: some 10,000 certificates.
const maxBundle = 16 << 20

// readBundle reads the trusted authorities: those of -only-ca alone, or Mozilla's and
// those of -ca-bundle.
func (ids *identities) readBundle() (store *trust.Store, err error) {
	option, path := "-ca-bundle", ids.cfg.CABundle
	if ids.cfg.OnlyCA != "" {
		option, path = "-only-ca", ids.cfg.OnlyCA
	}
	if path == "" {
		return trust.NewStore(ids.cfg.Roots)
	}
	text, err := state.ReadGiven(path, maxBundle)
	switch {
	case err != nil:
	case ids.cfg.OnlyCA != "":
		store, err = trust.NewOnlyStore(text)
	default:
		store, err = trust.NewStore(ids.cfg.Roots, text)
	}
	if err != nil {
		return nil, &fileError{option, path, err}
	}
	for _, notice := range store.Notices() {
		ids.cfg.Log.Warn(option, "file", path, "problem", notice)
	}
	roots, others := store.Given()
	ids.cfg.Log.Info("read "+option, "file", path, "roots", len(roots), "intermediates", len(others))
	ids.remarks.signers(append(roots, others...))
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
	if refused := ids.group.admit(person.Identity, authoritiesOf(person)); refused != nil {
		return person, refused
	}
	return person, nil
}

// readGroup reads the group again.
func (ids *identities) readGroup() []*fileError {
	defer ids.version.Add(1)
	return ids.group.read()
}

// reload reads the bundle and the lists again, and has the lists fetched
// again. The former content of a file with a problem stays in force.
func (ids *identities) reload() (problems []*fileError) {
	defer ids.version.Add(1)
	ids.fetcher.Refetch()
	ofLists := ids.lists.Reread()
	ids.warnOfLists(ofLists)
	if ids.fault = ids.unread(ofLists); ids.fault != nil {
		problems = append(problems, ids.fault)
	}
	store, err := ids.readBundle()
	if fault, ok := errors.AsType[*fileError](err); ok {
		problems = append(problems, fault)
	} else if err == nil {
		ids.verifier.Reload(store, ids.lists, ids.cfg.CRLPolicy)
	}
	ids.remarks.again()
	ids.remark()
	return problems
}

// listsChanged reads the changed files in the directories of revocation lists, the
// operator's and that of the fetched ones, and reports whether there were any.
func (ids *identities) listsChanged() bool {
	changed, problems := ids.lists.Refresh()
	if changed {
		ids.version.Add(1)
		ids.warnOfLists(problems)
	}
	before := ids.fault
	if ids.fault = ids.unread(problems); ids.fault != nil && before == nil {
		ids.fault.log(ids.cfg.Log)
	}
	ids.remark()
	return changed
}

// warnOfLists logs the problems of lists.
func (ids *identities) warnOfLists(problems []error) {
	for _, problem := range problems {
		if ids.unread([]error{problem}) == nil {
			ids.cfg.Log.Warn("revocation list", "problem", problem)
		}
	}
}

// unread returns the problem of the operator's directory as a whole.
func (ids *identities) unread(problems []error) *fileError {
	for _, problem := range problems {
		if of, ok := errors.AsType[*fs.PathError](problem); ok && of.Path == ids.cfg.CRLDir {
			return &fileError{"-crl", of.Path, problem}
		}
	}
	return nil
}

func (ids *identities) remark() {
	ids.remarks.tell(ids.cfg.Log, ids.lists, ids.cfg.CRLDir, ids.cfg.Now())
}
