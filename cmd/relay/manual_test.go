package main

import (
	"flag"
	"os"
	"slices"
	"testing"
)

var update = flag.Bool("update", false, "write the man page anew")

// TestManPageIsOfToday: doc/relay.1 is what the table makes.
func TestManPageIsOfToday(t *testing.T) {
	const path = "../../doc/relay.1"
	want := manpage().Man()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%s is not what the table makes (%v): go test ./cmd/client ./cmd/relay -run ManPage -update", path, err)
	}
}

// TestManualHasEveryFlag: the table has the flags that are parsed, no more and
// no fewer.
func TestManualHasEveryFlag(t *testing.T) {
	want := []string{"h"}
	new(options).flags().VisitAll(func(f *flag.Flag) { want = append(want, f.Name) })
	var got []string
	for _, f := range flags {
		got = append(got, f.Name)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the manual has %q, the program takes %q", got, want)
	}
}
