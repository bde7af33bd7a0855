package state

import (
	"slices"
	"strings"
	"testing"

	"chatsecure/testdata/corpus"
)

// FuzzConfig: a change of one option of any file that is taken changes this option's line alone,
// and the result is taken, too.
func FuzzConfig(f *testing.F) {
	taken := func(text string) bool { return new(Config).parse(text) == nil }
	corpus.Add(f, taken, []string{"", "\n", "# a\n\nrelay h:1\r\n\tonly-ca  a b.pem \nq", "relay"}, "q\nq\n", "name a\n  name\tb")
	f.Fuzz(func(t *testing.T, text string) {
		c := new(Config)
		if c.parse(text) != nil {
			return
		}
		for _, value := range []string{"h:2", ""} {
			changed, err := c.Change([]Setting{{Name: "relay", Value: value}})
			if err != nil {
				if len(text) < maxConfig-100 {
					t.Fatal(err)
				}
				return
			}
			again := new(Config)
			if err := again.parse(string(changed)); err != nil {
				t.Fatalf("%q became %q: %v", text, changed, err)
			}
			others := func(c *Config) []string {
				return slices.DeleteFunc(slices.Clone(c.lines), func(line string) bool { name, _ := split(line); return name == "relay" })
			}
			if was, is := others(c), others(again); strings.Join(was, "\n") != strings.Join(is, "\n") {
				t.Fatalf("%q became %q", text, changed)
			}
			i := slices.IndexFunc(again.Settings, func(s Setting) bool { return s.Name == "relay" })
			if i >= 0 && again.Settings[i].Value != value || i < 0 && value != "" {
				t.Fatalf("%q became %q, without relay %q", text, changed, value)
			}
		}
	})
}
