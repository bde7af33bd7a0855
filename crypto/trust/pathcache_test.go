package trust

import (
	"crypto/x509"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"chatsecure/testdata/lab"
)

// TestPathCacheIsLikeNone asks one Store at moments around every beginning and end, in any order.
// It answers as one without a cache.
func TestPathCacheIsLikeNone(t *testing.T) {
	p := newLab(t)
	valid := func(from, to time.Duration) lab.IssueOption {
		return lab.Mutate(func(c *x509.Certificate) { c.NotBefore, c.NotAfter = labNow.Add(from), labNow.Add(to) })
	}
	// Two authorities of one name and key, valid one after the other.
	root := newCA(t, p, nil, "Root", valid(-10*time.Hour, 10*time.Hour))
	early := newCA(t, p, root, "Authority", valid(-4*time.Hour, time.Hour))
	leaf := issue(t, p, "Ana", lab.By(early), valid(-3*time.Hour, 3*time.Hour))
	late := newCA(t, p, root, "Authority", lab.WithKey(early.Key), valid(-2*time.Hour, 2*time.Hour))
	chain := []*x509.Certificate{early.Cert, late.Cert}
	trust := trustOf(t, root.Cert)

	var moments []time.Time
	for _, cert := range append([]*x509.Certificate{leaf.Leaf, root.Cert}, chain...) {
		for _, edge := range []time.Time{cert.NotBefore, cert.NotAfter} {
			for _, off := range []time.Duration{-ClockTolerance, 0, ClockTolerance} {
				for _, by := range []time.Duration{-time.Second, 0, time.Second} {
					moments = append(moments, edge.Add(off+by))
				}
			}
		}
	}
	counts := map[int]bool{}
	for range 8 {
		rand.Shuffle(len(moments), func(i, j int) { moments[i], moments[j] = moments[j], moments[i] })
		for _, at := range moments {
			got, gotErr := trust.paths(leaf.Leaf, chain, at)
			want, wantErr := trustOf(t, root.Cert).gather(leaf.Leaf, chain).paths(at)
			same := slices.EqualFunc(got, want, func(a, b path) bool {
				return slices.EqualFunc(a.certs, b.certs, (*x509.Certificate).Equal) && a.kind == b.kind
			})
			if !same || (gotErr == nil) != (wantErr == nil) || gotErr != nil && gotErr.Error() != wantErr.Error() {
				t.Fatalf("at %v: %d paths, %v; without a memory %d, %v", at, len(got), gotErr, len(want), wantErr)
			}
			counts[len(got)] = true
		}
	}
	if !counts[0] || !counts[1] || !counts[2] {
		t.Errorf("not all was seen: %v", counts)
	}
	if n := len(trust.cache.known); n != 1 {
		t.Errorf("%d are remembered", n)
	}
}

// TestPathCacheForgets: the cache is bounded, and no list of paths is shared.
func TestPathCacheForgets(t *testing.T) {
	p := testLab(t)
	h := issue(t, p, "Ana")
	trust := trustOf(t, p.Root.Cert)
	first, err := trust.paths(h.Leaf, h.Chain, labNow)
	if err != nil {
		t.Fatal(err)
	}
	first[0] = path{}
	again, err := trust.paths(h.Leaf, h.Chain, labNow)
	if err != nil || len(again[0].certs) == 0 {
		t.Errorf("what one caller did to a list, another saw: %v %v", again, err)
	}
	if _, err := trust.paths(h.Leaf, nil, labNow); err == nil {
		t.Error("a chain that was not given was remembered")
	}
	for i := range maxKnownPaths {
		trust.cache.remember([32]byte{byte(i), byte(i >> 8), 1}, knownPaths{})
	}
	if n := len(trust.cache.known); n > maxKnownPaths {
		t.Errorf("%d are remembered", n)
	}
}
