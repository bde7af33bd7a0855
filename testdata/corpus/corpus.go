// Package corpus fills the seed corpora of the fuzz targets from real objects
// that the tests make. A target that starts from nothing, or from what is
// refused at the first byte, finds nothing and says so to nobody: here it
// fails.
package corpus

import "testing"

// Add gives a target of one argument its seeds: good ones, of which taken must
// take each, and there must be one; and others, which may be anything.
func Add[T ~[]byte | ~string](f *testing.F, taken func(T) bool, good []T, others ...T) {
	f.Helper()
	Check(f, len(good))
	for i, seed := range good {
		if !taken(seed) {
			f.Fatalf("seed %d of %d is refused, so the target may never see what is taken: %.200q", i+1, len(good), seed)
		}
		f.Add(seed)
	}
	for _, seed := range others {
		f.Add(seed)
	}
}

// Check is for a target of several arguments, which adds its seeds itself:
// good is how many of them are taken.
func Check(f *testing.F, good int) {
	f.Helper()
	if good == 0 {
		f.Fatal("no seed is taken: the target would test nothing")
	}
}
