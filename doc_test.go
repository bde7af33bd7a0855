package chatsecure

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// rooms has the packages of this module that ship, and the packages of the
// module that each may import. Imports run one way.
var rooms = map[string]string{
	"proto":            "",
	"card":             "proto",
	"crypto/trust":     "proto",
	"crypto":           "crypto/trust proto",
	"internal/term":    "proto",
	"internal/fail":    "proto",
	"internal/state":   "internal/fail crypto/trust proto",
	"internal/fetch":   "internal/state internal/fail crypto/trust proto",
	"internal/history": "internal/state internal/fail crypto crypto/trust proto",
	"internal/relay":   "internal/state internal/fetch internal/fail crypto crypto/trust proto",
	"internal/client":  "internal/history internal/state internal/fetch internal/fail crypto crypto/trust proto card",
	"internal/command": "internal/client internal/history internal/state internal/fetch internal/fail internal/term crypto crypto/trust proto card",
	"internal/attack":  "", // tests alone
	"":                 "internal/command internal/relay internal/fail",
	"cmd/relay":        "(root)",
	"cmd/client":       "(root)",
}

// TestImportsRunOneWay: each package imports the packages that it may import,
// and one module besides the standard library ships. This holds on each system,
// and without cgo. Tests and testdata are free.
func TestImportsRunOneWay(t *testing.T) {
	for _, env := range []string{"GOOS=linux CGO_ENABLED=1", "GOOS=darwin CGO_ENABLED=1", "GOOS=linux CGO_ENABLED=0"} {
		cmd := exec.Command("go", "list", "-deps", "-f", `{{if not .Standard}}{{.ImportPath}} {{join .Imports " "}}{{end}}`, "./...")
		cmd.Env = append(os.Environ(), strings.Fields(env)...)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: go list: %v", env, err)
		}
		seen := 0
		for line := range strings.Lines(string(out)) {
			words := strings.Fields(line)
			name, ours := inModule(words[0])
			if ours {
				seen++
				checkImports(t, env, name, words[1:])
			} else if words[0] != "github.com/miekg/pkcs11" {
				t.Errorf("%s: the programs hold %s", env, words[0])
			}
		}
		if seen != len(rooms) {
			t.Errorf("%s: go list tells of %d packages, and there are %d", env, seen, len(rooms))
		}
	}
}

func checkImports(t *testing.T, env, name string, imports []string) {
	t.Helper()
	allowed, known := rooms[name]
	if !known {
		t.Errorf("%s: package %q has no place here", env, name)
	}
	for _, path := range imports {
		other, ours := inModule(path)
		if ours && other == "" {
			other = "(root)"
		}
		if ours && !slices.Contains(strings.Fields(allowed), other) {
			t.Errorf("%s: package %q imports %q", env, name, other)
		}
		if path == "github.com/miekg/pkcs11" && name != "card" {
			t.Errorf("%s: package %q imports %s", env, name, path)
		}
	}
}

// TestReadmeWalks: the files that the README's walk with a message names exist.
func TestReadmeWalks(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, walk, _ := strings.Cut(string(text), "\n## Working on it\n")
	walk, _, _ = strings.Cut(walk, "\n## ")
	named := regexp.MustCompile("`([a-z/_]+\\.go)`").FindAllStringSubmatch(walk, -1)
	for _, m := range named {
		if _, err := os.Stat(m[1]); err != nil {
			t.Errorf("the README names %s: %v", m[1], err)
		}
	}
	if len(named) < 20 {
		t.Errorf("the README's walk names %d files", len(named))
	}
}

// inModule returns the path of a package below the module's root, and whether
// the package is of this module.
func inModule(path string) (name string, ours bool) {
	if path == "chatsecure" {
		return "", true
	}
	return strings.CutPrefix(path, "chatsecure/")
}
