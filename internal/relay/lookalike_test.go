package relay

import (
	"maps"
	"os"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// TestLookAlikesOfTheProtocol: PROTOCOL.md has all that another relay needs to refuse the same names:
// the scripts, the shapes and the version of Unicode.
func TestLookAlikesOfTheProtocol(t *testing.T) {
	text, err := os.ReadFile("../../PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n**Names that look alike**: ")
	section, _, ok := strings.Cut(section, "\n**")
	if !ok {
		t.Fatal("PROTOCOL.md has no paragraph about names that look alike")
	}
	if !strings.Contains(section, " Unicode "+unicode.Version+".") {
		t.Errorf("the version of Unicode is %s", unicode.Version)
	}

	_, list, _ := strings.Cut(section, "property Script: ")
	list, _, _ = strings.Cut(list, ".")
	listed := make(map[string]*unicode.RangeTable)
	for script := range strings.FieldsSeq(list) {
		listed[script] = unicode.Scripts[script]
	}
	if !maps.Equal(listed, scripts) {
		t.Errorf("the scripts are %v, not %v", listed, scripts)
	}
	for _, mix := range together {
		if words := strings.Join(mix, ", "); !regexp.MustCompile(strings.ReplaceAll(words, ", ", `(,|\s+and)\s+`)).MatchString(section) {
			t.Errorf("%s may stand together", words)
		}
	}

	for name, want := range map[string]map[rune]string{"small": small, "capital": capital} {
		_, block, _ := strings.Cut(section, "\n    "+name+":")
		block, _, _ = strings.Cut(block, "\n\n")
		got := make(map[rune]string)
		for word := range strings.FieldsSeq(block) {
			shape, letters, _ := strings.Cut(word, "=")
			for _, r := range letters {
				if got[r] != "" {
					t.Errorf("%s: %q has two shapes", name, r)
				}
				got[r] = shape
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("the %s shapes are %q, not %q", name, got, want)
		}
	}
}
