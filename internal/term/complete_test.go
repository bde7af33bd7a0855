package term

import (
	"fmt"
	"strings"
	"testing"
)

// TestCommonStart is the table of common beginnings.
func TestCommonStart(t *testing.T) {
	for _, test := range []struct{ words, want string }{
		{"abc", "abc"}, {"abc abd", "ab"}, {"ABC abd", "AB"}, {"José josé2 JOSÉ", "José"}, {"a b", ""}, {"日本 日光", "日"},
		{"ab abc", "ab"}, {"abc ab", "ab"},
	} {
		var options []Option
		for _, word := range strings.Fields(test.words) {
			options = append(options, Option{Word: word})
		}
		if got := commonStart(options); got != test.want {
			t.Errorf("%q begin with %q, want %q", test.words, got, test.want)
		}
	}
}

// TestOptionsAreBounded: a list has at most maxOptions options, and counts the rest.
func TestOptionsAreBounded(t *testing.T) {
	var options []Option
	for i := range 10_000 {
		options = append(options, Option{Word: fmt.Sprintf("name%d", i)})
	}
	text := listOptions(options)
	if strings.Count(text, "name") > maxOptions || !strings.Contains(text, fmt.Sprintf("and %d more", len(options)-maxOptions)) {
		t.Errorf("the options are %q", text)
	}
}
