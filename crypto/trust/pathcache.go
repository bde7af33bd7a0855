package trust

import (
	"crypto/sha256"
	"crypto/x509"
	"slices"
	"sync"
	"time"
)

// maxKnownPaths bounds the leaves whose paths are remembered, at some 20 kB each.
const maxKnownPaths = 256

// pathCache remembers the paths of leaves. A path depends on signatures, which do not
// change, and on the time, but only at the moments when a certificate begins or ends:
// between two of them the answer is the same. Revocation is not part of it and is
// checked every time.
type pathCache struct {
	mu    sync.Mutex
	known map[[32]byte]knownPaths // by leaf and chain
}

type knownPaths struct {
	paths       []path
	since, till time.Time // the answer holds between these, which are excluded
}

// paths returns every path that holds at the time, best first. Errors are *Error, and
// are not remembered: strangers could fill the memory with them.
func (s *Store) paths(leaf *x509.Certificate, chain []*x509.Certificate, at time.Time) ([]path, error) {
	raw := append([]byte(nil), leaf.Raw...) // DER delimits itself
	for _, cert := range chain {
		raw = append(raw, cert.Raw...)
	}
	key := sha256.Sum256(raw)
	if paths, ok := s.cache.recall(key, at); ok {
		return paths, nil
	}
	c := s.gather(leaf, chain)
	paths, err := c.paths(at)
	if err != nil {
		return nil, err
	}
	since, till := c.unchanged(at)
	s.cache.remember(key, knownPaths{slices.Clone(paths), since, till})
	return paths, nil
}

// unchanged returns the moments, excluded, between which the answer is the same as at
// that time. A certificate counts from a tolerance before it begins to a tolerance after
// it ends: see boundaries.
func (c *candidates) unchanged(at time.Time) (since, till time.Time) {
	since, till = at.Add(-MaxDelegation), at.Add(MaxDelegation) // any bounds will do
	for _, cert := range append([]*x509.Certificate{c.leaf}, c.certs...) {
		for _, moment := range []time.Time{
			cert.NotBefore.Add(-ClockTolerance), cert.NotBefore, cert.NotAfter, cert.NotAfter.Add(ClockTolerance),
		} {
			if !moment.After(at) && moment.After(since) {
				since = moment
			}
			if !moment.Before(at) && moment.Before(till) {
				till = moment
			}
		}
	}
	return since, till
}

func (p *pathCache) recall(key [32]byte, at time.Time) ([]path, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k, ok := p.known[key]
	if !ok || !at.After(k.since) || !at.Before(k.till) {
		return nil, false
	}
	return slices.Clone(k.paths), true
}

func (p *pathCache) remember(key [32]byte, k knownPaths) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil || len(p.known) >= maxKnownPaths {
		p.known = make(map[[32]byte]knownPaths)
	}
	p.known[key] = k
}
