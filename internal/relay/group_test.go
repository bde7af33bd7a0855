package relay

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRosterIsBounded: a file that is too large is refused, and one of many lines is not.
func TestRosterIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "allow")
	var lines strings.Builder
	for i := range maxNames {
		fmt.Fprintf(&lines, "%064x # %d\r\n", i, i)
	}
	if err := os.WriteFile(path, []byte("\ufeff"+lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := readRoster(path); err != nil || len(l.people) != maxNames {
		t.Errorf("%v", err)
	}
	if err := os.Truncate(path, maxRoster+1); err != nil {
		t.Fatal(err)
	}
	if _, err := readRoster(path); err == nil || !strings.Contains(err.Error(), "has more than") {
		t.Errorf("too large: %v", err)
	}
}
