// Package corpus fills the seed corpora of fuzz targets with real objects made by
// the tests. A target without seeds, or with seeds refused at the first byte,
// would find nothing in silence. Here it fails.
package corpus

import (
	"os"
	"testing"
)

// Add gives seeds to a target of one argument: at least one good seed, for each
// of which taken must be true, and others of any kind.
func Add[T ~[]byte | ~string](f *testing.F, taken func(T) bool, good []T, others ...T) {
	f.Helper()
	Check(f, len(good))
	for i, seed := range good {
		if !taken(seed) {
			f.Fatalf("seed %d of %d is refused, so the target may never see accepted input: %.200q", i+1, len(good), seed)
		}
		f.Add(seed)
	}
	for _, seed := range others {
		f.Add(seed)
	}
}

// Check is for targets of several arguments, which add their seeds themselves.
// good is the number of accepted seeds.
func Check(f *testing.F, good int) {
	f.Helper()
	if good == 0 {
		f.Fatal("no seed is accepted: the target would test nothing")
	}
}

// Put writes an input to the target's file, in place of the last input.
func Put(path string, data []byte) {
	if err := os.WriteFile(path, data, 0o600); err != nil {
		panic(err)
	}
}
