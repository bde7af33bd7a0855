//go:build cgo

package card

import (
	"context"
	"errors"
	"strings"

	"github.com/miekg/pkcs11"
)

// sight is what was seen of one module.
type sight struct {
	info   pkcs11.Info
	tokens []*token
	empty  []SlotReport
}

// openToken opens the first token that can be used among the modules that the
// URI means.
func openToken(ctx context.Context, u *uri, opt Options) (Card, error) {
	paths, err := modulePaths(u)
	if err != nil {
		return nil, err
	}
	return shared.openFirst(ctx, paths, u, opt)
}

func (l *libraries) openFirst(ctx context.Context, paths []string, u *uri, opt Options) (Card, error) {
	var failures []error
	for _, path := range paths {
		lib, ch, err := l.try(ctx, path, u)
		if err == nil {
			return newTokenCard(lib, ch, u, opt), nil
		}
		if errors.Is(err, Cancelled) {
			return nil, err
		}
		failures = append(failures, err)
		if errors.Is(err, Ambiguous) {
			break // more modules would not make it clearer
		}
	}
	return nil, nothingUsable(paths, failures)
}

// try looks for the card through one module; on success the library is held.
func (l *libraries) try(ctx context.Context, path string, u *uri) (*library, choice, error) {
	lib, err := l.acquire(ctx, path)
	if err != nil {
		return nil, choice{}, err
	}
	seen, _, err := call(ctx, lib, func(m module) (sight, error) { return see(m, u) })
	if err == nil {
		var ch choice
		if ch, _, err = decide(seen.tokens, seen.empty, u); err == nil {
			return lib, ch, nil
		}
	}
	lib.leave(ctx)
	return nil, choice{}, err
}

func see(m module, u *uri) (s sight, err error) {
	s.tokens, s.empty, s.info, err = look(m, u)
	return s, err
}

// nothingUsable sums up why none of the modules tried has the card. Of several,
// the failure that came furthest is told, and which modules could not be asked.
func nothingUsable(paths []string, failures []error) error {
	var best error
	var silent []string
	for _, err := range failures {
		best = moreTelling(best, err)
		if errors.Is(err, ModuleLoad) || errors.Is(err, ModuleArch) {
			silent = append(silent, err.Error())
		}
	}
	e := asError(best)
	if len(paths) == 1 || e.Kind != NoCard {
		return e
	}
	hint := e.Hint + "; asked " + strings.Join(paths, ", ")
	if len(silent) > 0 {
		hint += "; but " + strings.Join(silent, ", and ")
	}
	return &Error{Kind: e.Kind, Message: e.Message, Hint: hint, err: e.err}
}

// surveyTokens reports all that the modules show that the URI means.
func surveyTokens(ctx context.Context, u *uri) (*Report, error) {
	paths, err := modulePaths(u)
	if err != nil {
		return nil, err
	}
	return shared.survey(ctx, paths, u)
}

func (l *libraries) survey(ctx context.Context, paths []string, u *uri) (*Report, error) {
	r := &Report{}
	var failures []error
	chosen, ambiguous := false, false
	for _, path := range paths {
		m := ModuleReport{Path: path, Slots: []SlotReport{}}
		seen, err := l.glance(ctx, path, u)
		if errors.Is(err, Cancelled) {
			return nil, err
		}
		if err != nil {
			m.Err = asError(err)
		} else {
			m.Description = trim(seen.info.LibraryDescription)
			var ch choice
			var all []choice
			ch, all, err = decide(seen.tokens, seen.empty, u)
			take := err == nil && !chosen && !ambiguous
			for _, c := range all {
				var used *certificate
				if take && c.token == ch.token {
					used = ch.cert
				}
				m.Slots = append(m.Slots, c.token.report(used, c.err))
			}
			m.Slots = append(m.Slots, seen.empty...)
			chosen = chosen || take
		}
		if err != nil {
			failures = append(failures, err)
			ambiguous = ambiguous || !chosen && errors.Is(err, Ambiguous)
		}
		r.Modules = append(r.Modules, m)
	}
	if !chosen {
		r.Err = asError(nothingUsable(paths, failures))
	}
	return r, nil
}

// glance looks at one module and lets go of it.
func (l *libraries) glance(ctx context.Context, path string, u *uri) (sight, error) {
	lib, err := l.acquire(ctx, path)
	if err != nil {
		return sight{}, err
	}
	defer lib.leave(ctx)
	seen, _, err := call(ctx, lib, func(m module) (sight, error) { return see(m, u) })
	return seen, err
}
