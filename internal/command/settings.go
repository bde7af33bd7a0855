package command

import (
	"flag"
	"path/filepath"
	"slices"
	"strings"

	"chatsecure/card"
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
var exclusive = [][]string{{"only-ca", "ca-bundle"}, {"q", "v"}, {"send", "recv"}, {"peer", "verify", "export"}}

// variable is the environment variable of an option.
func variable(option string) string {
	return "CHATSECURE_" + strings.ToUpper(strings.ReplaceAll(option, "-", "_"))
}

// fromEnvironment sets the options that are not set yet. An empty variable counts as none.
func fromEnvironment(f *flag.FlagSet, env func(string) string) (err error) {
	open := unset(f)
	f.VisitAll(func(o *flag.Flag) {
		value := env(variable(o.Name))
		if value == "" || !open[o.Name] || err != nil {
			return
		}
		if problem := set(f, o, value, ""); problem != "" {
			err = usageError("%s: %s", variable(o.Name), problem)
		}
	})
	return err
}

// fromFile sets the options that are not set yet. Relative paths are below the file's directory.
func fromFile(f *flag.FlagSet, file *state.Config) error {
	open := unset(f)
	for _, s := range file.Settings {
		o := f.Lookup(s.Name)
		if o == nil || !open[s.Name] {
			continue
		}
		if problem := set(f, o, s.Value, filepath.Dir(file.Path)); problem != "" {
			return file.Refuse(s.Line, "%s", problem)
		}
	}
	return nil
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
	if _, ok := o.Value.(*path); ok && dir != "" && !filepath.IsAbs(value) && !strings.HasPrefix(value, "~") && !card.IsURI(value) {
		value = filepath.Join(dir, value)
	}
	err := f.Set(o.Name, value)
	if r, ok := o.Value.(*relayAddr); ok && dir != "" && err == nil {
		err = r.check()
	}
	if err != nil {
		return "invalid value " + proto.Quote(given) + " for " + o.Name + ": " + proto.Visible(err.Error())
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
	sets := []*flag.FlagSet{new(options).flags()}
	for _, c := range commands {
		f := newFlags(c.name)
		c.flags(f)
		sets = append(sets, f)
	}
	known := make(map[string]bool)
	for _, f := range sets {
		if err := fromFile(f, file); err != nil {
			return nil, err
		}
		if a, b := pair(f); a != "" {
			return nil, usageError("%s: %s and %s exclude each other", proto.Visible(file.Path), a, b)
		}
		f.VisitAll(func(o *flag.Flag) { known[o.Name] = !commandLineOnly[o.Name] && o.Name != "state" })
	}
	for _, s := range file.Settings {
		if !known[s.Name] {
			return nil, file.Refuse(s.Line, "there is no option %s that may stand here", proto.Visible(s.Name))
		}
	}
	return file, nil
}

// pair returns two options of a set that are given and exclude each other, "" for none.
func pair(f *flag.FlagSet) (first, second string) {
	for _, group := range exclusive {
		given := ""
		for _, name := range group {
			if !isGiven(f.Lookup(name)) {
				continue
			}
			if given != "" {
				return given, name
			}
			given = name
		}
	}
	return "", ""
}

// isGiven reports whether an option has a value other than none. No option of exclusive has a
// default.
func isGiven(o *flag.Flag) bool { return o != nil && o.Value.String() != o.DefValue }

// refusePairs refuses options that exclude each other and come from one place.
func refusePairs(f *flag.FlagSet) error {
	if a, b := pair(f); a != "" {
		return usageError("-%s and -%s exclude each other", a, b)
	}
	return nil
}
