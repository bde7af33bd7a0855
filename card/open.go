//go:build cgo

package card

import (
	"context"
	"errors"
	"strings"
)

// openToken opens the first usable token in the modules selected by the URI.
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
			break // further modules cannot resolve it
		}
	}
	return nil, nothingUsable(paths, failures)
}

// try looks for the card through one module. On success it holds the library.
func (l *libraries) try(ctx context.Context, path string, u *uri) (*library, choice, error) {
	lib, seen, err := l.look(ctx, path, u)
	if err != nil {
		return nil, choice{}, err
	}
	ch, _, err := decide(seen, u)
	if err != nil {
		lib.leave(ctx)
		return nil, choice{}, err
	}
	return lib, ch, nil
}

// look reads one module. On success it holds the library.
func (l *libraries) look(ctx context.Context, path string, u *uri) (*library, sight, error) {
	lib, err := l.acquire(ctx, path)
	if err != nil {
		return nil, sight{}, err
	}
	seen, _, err := call(ctx, lib, func(m module) (sight, error) { return look(m, u) })
	if err != nil {
		lib.leave(ctx)
	}
	return lib, seen, err
}

// nothingUsable sums up the failures of all modules tried. It reports the one
// that came furthest, and in the hint the modules that could not be asked.
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

// surveyTokens reports the contents of the modules selected by the URI.
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
	chosen, settled := false, false // settled: Open would look no further
	for _, path := range paths {
		m := ModuleReport{Path: path, Slots: []SlotReport{}}
		lib, seen, err := l.look(ctx, path, u)
		if errors.Is(err, Cancelled) {
			return nil, err
		}
		if err != nil {
			m.Err = asError(err)
		} else {
			lib.leave(ctx)
			var ch choice
			var all []choice
			if ch, all, err = decide(seen, u); settled {
				ch = choice{}
			}
			m.Description = trim(seen.info.LibraryDescription)
			m.Slots = slotReports(seen, all, ch)
		}
		if err != nil {
			failures = append(failures, err)
		}
		if !settled {
			chosen = err == nil
			settled = chosen || errors.Is(err, Ambiguous)
		}
		r.Modules = append(r.Modules, m)
	}
	if !chosen {
		r.Err = asError(nothingUsable(paths, failures))
	}
	return r, nil
}
