package corpus

import (
	"fmt"
	"strings"
	"testing"
)

// target is a Target that remembers.
type target struct {
	added  int
	failed string
}

func (f *target) Helper()         {}
func (f *target) Add(args ...any) { f.added += len(args) }
func (f *target) Fatalf(format string, args ...any) {
	if f.failed == "" {
		f.failed = fmt.Sprintf(format, args...)
	}
}

func TestAdd(t *testing.T) {
	even := func(s string) bool { return len(s)%2 == 0 }
	for name, test := range map[string]struct {
		good, others []string
		failed       string
		added        int
	}{
		"good":              {[]string{"ab", ""}, []string{"a"}, "", 3},
		"nothing":           {nil, nil, "no seed is taken", 0},
		"only bad ones":     {nil, []string{"a"}, "no seed is taken", 1},
		"one that is wrong": {[]string{"ab", "abc"}, nil, "seed 2 of 2 is refused", 2},
	} {
		f := &target{}
		Add(f, even, test.good, test.others...)
		if f.added != test.added || !strings.HasPrefix(f.failed, test.failed) || (test.failed == "") != (f.failed == "") {
			t.Errorf("%s: %d added, failed with %q", name, f.added, f.failed)
		}
	}
}
