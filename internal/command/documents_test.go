package command

import (
	"errors"
	"go/build"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"chatsecure/testdata/lab/manual"
)

// document is a text at the top of the source.
func document(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// testsBelow returns the names of the tests that make test runs on Linux. Files
// for other systems, or for a tag that must be given, do not count.
func testsBelow(dir string) (map[string]bool, error) {
	linux := build.Default
	linux.GOOS, linux.CgoEnabled, linux.BuildTags = "linux", true, []string{"race"}
	tests := make(map[string]bool)
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		built := false
		if err == nil {
			built, err = linux.MatchFile(filepath.Split(path))
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		if built {
			for _, m := range declared.FindAllSubmatch(source, -1) {
				tests[string(m[1])] = true
			}
		}
		return err
	})
	return tests, err
}

// TestSecurityNamesTests: make test runs every test that SECURITY.md names, and
// every promise names one.
func TestSecurityNamesTests(t *testing.T) {
	exists, err := testsBelow("../..")
	if err != nil {
		t.Fatal(err)
	}
	text := document(t, "SECURITY.md")
	_, promises, _ := strings.Cut(text, "\n## What is promised\n")
	promises, _, _ = strings.Cut(promises, "\n## ")
	named := regexp.MustCompile("`(Test\\w+)`")
	for _, m := range named.FindAllStringSubmatch(text, -1) {
		if !exists[m[1]] {
			t.Errorf("SECURITY.md names %s, which make test does not run", m[1])
		}
	}
	n := 0
	for promise := range strings.SplitSeq(strings.TrimSpace(promises), "\n\n") {
		n++
		if !named.MatchString(promise) {
			t.Errorf("no test holds %.60q", promise)
		}
	}
	if n < 10 {
		t.Errorf("SECURITY.md has %d promises", n)
	}
}

// TestReadmeCommands: the program takes every command line in the README, and
// the exit statuses are those of -h.
func TestReadmeCommands(t *testing.T) {
	readme := document(t, "README.md")
	line := regexp.MustCompile(`(?m)^(?:    |\$ )(?:.*\| )?(?:bin/)?client( .*)?$`)
	inText := regexp.MustCompile("`client( [^`]*)`")
	flags, found := flagsOf(), 0
	for _, m := range slices.Concat(line.FindAllStringSubmatch(readme, -1), inText.FindAllStringSubmatch(readme, -1)) {
		found++
		text := regexp.MustCompile(`\s(#|\||>|<|\|\|)\s?.*$`).ReplaceAllString(m[1], "")
		args := shellWords(strings.Replace(text, "HOST:PORT", "host:8080", 1))
		_, rest, err := parseGlobal(args, func(string) string { return "" })
		if errors.Is(err, errHelp) {
			continue
		}
		if err != nil {
			t.Errorf("client%s: %v", text, err)
			continue
		}
		if len(rest) == 0 {
			continue
		}
		i := slices.IndexFunc(commands, func(c command) bool { return c.name == rest[0] })
		if i < 0 {
			t.Errorf("client%s: there is no command %q", text, rest[0])
			continue
		}
		for _, word := range rest[1:] {
			known := slices.Contains(flags[rest[0]], word) || slices.Contains(flags[rest[0]], word+"=")
			if strings.HasPrefix(word, "-") && word != "-" && !known {
				t.Errorf("client%s: %s has no flag %s", text, rest[0], word)
			}
		}
	}
	if found < 20 {
		t.Errorf("the README has %d command lines", found)
	}
	for _, s := range manual.Statuses(usage) {
		if row := "| " + s.Term + " | " + s.Text + " |"; !strings.Contains(readme, row) {
			t.Errorf("the README does not have %q", row)
		}
	}
}

// shellWords splits a line like a shell, as far as the README needs.
func shellWords(line string) (words []string) {
	for _, m := range regexp.MustCompile(`"([^"]*)"|'([^']*)'|(\S+)`).FindAllStringSubmatch(line, -1) {
		words = append(words, m[1]+m[2]+m[3])
	}
	return words
}
