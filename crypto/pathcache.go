package crypto

import (
	"crypto/sha256"
	"crypto/x509"
	"slices"
	"sync"
	"time"
)

// maxKnownPaths bounds the leaves whose paths are remembered, at some 20 kB
// each: those that connect, or are looked at again, in a while.
const maxKnownPaths = 256

// pathCache remembers the paths of leaves. Whether one holds depends on
// signatures, which stay as they are, and on the time, which matters only where
// a certificate begins or ends: between two such moments the answer is the
// same. Revocation is no part of it and is looked at every time.
type pathCache struct {
	mu    sync.Mutex
	known map[[32]byte]knownPaths // by leaf and chain
}

type knownPaths struct {
	paths       []path
	since, till time.Time // it holds between these, which are not included
}

// paths returns every path that holds at the time, best first; the error is a
// TrustError. Errors are not remembered: strangers could fill the memory.
func (t *Trust) paths(leaf *x509.Certificate, chain []*x509.Certificate, at time.Time) ([]path, error) {
	raw := append([]byte(nil), leaf.Raw...) // DER says itself where it ends
	for _, cert := range chain {
		raw = append(raw, cert.Raw...)
	}
	key := sha256.Sum256(raw)
	if paths, ok := t.cache.recall(key, at); ok {
		return paths, nil
	}
	c := t.gather(leaf, chain)
	paths, err := c.paths(at)
	if err != nil {
		return nil, err
	}
	since, till := c.unchanged(at)
	t.cache.remember(key, knownPaths{slices.Clone(paths), since, till})
	return paths, nil
}

// unchanged returns between which moments, not included, what holds at a time
// holds as well. A certificate counts from a tolerance before it begins, and
// until a tolerance after it ends: see boundaries.
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
