package relay

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
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
	if _, err := readRoster(path); err == nil || !strings.Contains(err.Error(), "are allowed") {
		t.Errorf("too large: %v", err)
	}
}

// TestEmptiedRosterIsKept: an editor empties a file before it writes it. So an empty file is not
// taken for an end of the group, and one with a comment is.
func TestEmptiedRosterIsKept(t *testing.T) {
	deny := filepath.Join(t.TempDir(), "deny")
	g := group{cfg: &Config{Deny: deny, Log: slog.New(slog.DiscardHandler)}}
	for _, c := range []struct {
		text     string
		problems int
		named    int
	}{
		{"", 0, 0},
		{strings.Repeat("07", 32), 0, 1},
		{"", 1, 1},
		{"\n \r\n", 1, 1},
		{"# nobody", 0, 0},
		{"", 0, 0},
	} {
		if err := os.WriteFile(deny, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if problems := g.read(); len(problems) != c.problems || g.deny.Load().size() != c.named {
			t.Errorf("%q: %v, and %d are named", c.text, problems, g.deny.Load().size())
		}
	}
}

// TestGivenFilesAreRegular: a FIFO in the place of a file hangs neither the start nor SIGHUP.
func TestGivenFilesAreRegular(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for option, set := range map[string]func(cfg *Config){
		"-allow":     func(cfg *Config) { cfg.Allow = fifo },
		"-deny":      func(cfg *Config) { cfg.Deny = fifo },
		"-only-ca":   func(cfg *Config) { cfg.OnlyCA = fifo },
		"-ca-bundle": func(cfg *Config) { cfg.CABundle = fifo },
	} {
		cfg := Config{State: t.TempDir()}
		set(&cfg)
		if r, err := New(cfg); err == nil {
			r.Close()
			t.Errorf("%s: a FIFO is taken", option)
		} else if !strings.Contains(err.Error(), option) || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("%s: %v", option, err)
		}
	}
}
