package command

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"chatsecure/card"
	"chatsecure/internal/fail"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// An option is given on the command line, in the environment or in the file config of the state
// directory, and the first of these places counts. This is so for every option of every flag
// set: nothing here knows one of them but where two depend on each other.

// commandLineOnly has options that say what to do now, not how.
var commandLineOnly = map[string]bool{"version": true}

// exclusive has options that exclude each other. One that is given in a nearer place rules out
// the others in a farther one.
var exclusive = [][]string{
	{"only-ca", "ca-bundle"}, {"q", "v"}, {"send", "recv"}, {"peer", "verify", "export"},
	{"n", "verify"}, {"n", "export"}, {"since", "verify"}, {"since", "export"}, {"grep", "verify"}, {"grep", "export"},
}

// variable is the environment variable of an option.
func variable(option string) string {
	return "CHATSECURE_" + strings.ToUpper(strings.ReplaceAll(option, "-", "_"))
}

// places has the places of options that do not come from the command line, for people: a variable,
// or a line of the file.
type places map[string]string

// of names an option by where it was given.
func (p places) of(option string) string { return cmp.Or(p[option], "-"+option) }

// usageError is an error about an option. It begins with the option's place.
func (p places) usageError(option, format string, args ...any) error {
	hint := "client -h shows how it is used"
	if p[option] != "" {
		hint = "mend it there, or give -" + option + " on the command line, which counts first"
	}
	return usageError("%s%s", p.of(option), fmt.Sprintf(format, args...)).With(hint)
}

// ofTests are variables of make and of the tests.
var ofTests = pattern(
	`^CHATSECURE_(ATTACK|LOAD|NO_[A-Z]+|REAL_CA|SEED|SOAK(_[A-Z]+)?|TEST_[A-Z_]+)=`)

// checkEnvironment refuses a variable of no option: a slip in the name of one must not leave the
// program without it. An empty variable counts as none.
func checkEnvironment(environ []string) error {
	var all []string
	for _, f := range allFlags() {
		f.VisitAll(func(o *flag.Flag) { all = append(all, variable(o.Name)) })
	}
	for _, v := range environ {
		name, value, _ := strings.Cut(v, "=")
		if strings.HasPrefix(name, "CHATSECURE_") && value != "" && !slices.Contains(all, name) &&
			!ofTests().MatchString(v) {
			return usageError("%s in the environment is no option's variable", proto.Visible(name)).
				With("it may stand for " + nearest(name, all) + "; if not, unset it")
		}
	}
	return nil
}

// nearest returns the word that needs the fewest changes of a letter to become the given one.
func nearest(given string, words []string) string {
	given = given[:min(len(given), 64)]
	return slices.MinFunc(words, func(a, b string) int {
		return cmp.Compare(distance(given, a), distance(given, b))
	})
}

// distance counts the letters to add, leave out or replace between two words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0] // of the row above, one to the left
		row[0] = i + 1
		for j := range len(b) {
			least := before
			if a[i] != b[j] {
				least = 1 + min(before, row[j], row[j+1])
			}
			before, row[j+1] = row[j+1], least
		}
	}
	return row[len(b)]
}

// fromEnvironment sets the options that are not set yet. An empty variable counts as none.
func (p places) fromEnvironment(f *flag.FlagSet, env func(string) string) (err error) {
	open := unset(f)
	f.VisitAll(func(o *flag.Flag) {
		value := env(variable(o.Name))
		if value == "" || !open[o.Name] || err != nil {
			return
		}
		p[o.Name] = variable(o.Name)
		if problem := set(f, o, value, ""); problem != "" {
			err = p.usageError(o.Name, ": %s", problem)
		}
	})
	return err
}

// fromFile sets the options that are not set yet, and refuses those that exclude each other.
// Relative paths are below the file's directory. file may be nil.
func (p places) fromFile(f *flag.FlagSet, file *state.Config) error {
	if file == nil {
		return p.refusePairs(f)
	}
	open := unset(f)
	for _, s := range file.Settings {
		o := f.Lookup(s.Name)
		if o == nil || !open[s.Name] {
			continue
		}
		p[s.Name] = file.Place(s.Line) + ": " + s.Name
		if problem := set(f, o, s.Value, filepath.Dir(file.Path)); problem != "" {
			help := strings.TrimSpace("client "+f.Name()) + " -h"
			return file.Refuse(s.Line, "mend the line; "+help+" tells the values that it takes",
				"%s", problem)
		}
	}
	return p.refusePairs(f)
}

// unset returns the options of a set that a farther place may still set.
func unset(f *flag.FlagSet) map[string]bool {
	open := make(map[string]bool)
	f.VisitAll(func(o *flag.Flag) { open[o.Name] = !commandLineOnly[o.Name] })
	f.Visit(func(o *flag.Flag) {
		open[o.Name] = false
		for _, group := range exclusive {
			if isGiven(o) && slices.Contains(group, o.Name) {
				for _, other := range group {
					open[other] = false
				}
			}
		}
	})
	return open
}

// set sets an option and returns the problem, "" for none. dir is that of the file, if the value
// stands there: relative paths begin there, and what stands there is checked whether it matters
// now or not.
func set(f *flag.FlagSet, o *flag.Flag, value, dir string) (problem string) {
	given := value
	if b, ok := o.Value.(interface{ IsBoolFlag() bool }); ok && b.IsBoolFlag() {
		switch value {
		case "", "yes":
			value = "true"
		case "no":
			value = "false"
		}
		if value != "true" && value != "false" && value != "1" && value != "0" {
			return o.Name + " is true or false, yes or no, not " + proto.Visible(given)
		}
	} else if value == "" {
		return o.Name + " has no value"
	}
	if _, ok := o.Value.(*Path); ok && dir != "" && !filepath.IsAbs(value) &&
		!strings.HasPrefix(value, "~") && !card.IsURI(value) {
		value = filepath.Join(dir, value)
	}
	err := f.Set(o.Name, value)
	if _, ok := o.Value.(*relayAddr); ok && dir != "" && err == nil {
		_, err = state.RelayAddr(value)
	}
	if err != nil && !errors.Is(err, state.ErrInterface) { // which may be there when it is needed
		return fmt.Sprintf("invalid value %s for %s: %s", proto.Quote(given), o.Name, fail.Text(err))
	}
	return ""
}

// readConfig reads the file config of the state directory, and refuses it unless every line is
// an option of the client or of one of its commands, with a value that the option takes.
func readConfig(dir string) (*state.Config, error) {
	file, err := state.ReadConfig(dir)
	if err != nil {
		return nil, err
	}
	var known []string
	for _, f := range allFlags() {
		if err := make(places).fromFile(f, file); err != nil {
			return nil, err
		}
		f.VisitAll(func(o *flag.Flag) {
			if !commandLineOnly[o.Name] && o.Name != "state" {
				known = append(known, o.Name)
			}
		})
	}
	for _, s := range file.Settings {
		if !slices.Contains(known, s.Name) {
			return nil, file.Refuse(s.Line, "a line is an option without its dash, and its value, as: "+
				nearest(s.Name, known)+" VALUE",
				"there is no option %s that may stand here", proto.Visible(s.Name))
		}
	}
	return file, nil
}

// allFlags returns the flags of all commands, and those of each.
func allFlags() []*flag.FlagSet {
	sets := []*flag.FlagSet{new(options).flags()}
	for _, c := range commands {
		f := newFlags(c.name)
		c.flags(f)
		sets = append(sets, f)
	}
	return sets
}

// isGiven reports whether an option has a value other than none. No option of exclusive has a
// default.
func isGiven(o *flag.Flag) bool { return o != nil && o.Value.String() != o.DefValue }

// refusePairs refuses options that exclude each other and come from one place.
func (p places) refusePairs(f *flag.FlagSet) error {
	for _, group := range exclusive {
		var given []string
		for _, name := range group {
			if isGiven(f.Lookup(name)) {
				given = append(given, name)
			}
		}
		if len(given) < 2 {
			continue
		}
		e := usageError("%s and %s exclude each other", p.of(given[0]), p.of(given[1]))
		if p[given[0]] != "" {
			e.Hint = "keep one of the two"
		}
		return e
	}
	return nil
}
