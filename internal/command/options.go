package command

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"chatsecure/card"
	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// options are the global flags, which precede the command.
type options struct {
	relay, name, card, state       string
	pinFile, crlDir                string
	caBundle, onlyCA               string
	fingerprint                    string
	policy                         trust.Policy
	fetch, fetchPrivate, acceptNew bool
	batch, json, quiet, verbose    bool
	letters                        bool
	prompt                         string // promptShort or promptLong
	bell                           bool
	version                        bool
	key                            string
	keyGiven                       bool
	ciphers                        suites
	keep, timeout                  time.Duration
	typed                          map[string]string // the options of the command line, as given
	places                         places            // of the other options
	file                           *state.Config     // of commands too; nil without a state directory
	outvoted                       string            // a sentence on a name that does not count
}

// Defaults of the command line.
const (
	defaultRelay   = "localhost:8080"
	defaultTimeout = 30 * time.Second
)

// errHelp stands for -h.
var errHelp = flag.ErrHelp

// usageError is an error of the command line.
func usageError(format string, args ...any) *fail.Error {
	return fail.Errorf(proto.Usage, format, args...)
}

// flags returns the global flags, which set the options.
func (o *options) flags() *flag.FlagSet {
	f := newFlags("")
	*o = options{
		relay: defaultRelay, policy: trust.PolicyTry, key: trust.KeyEd25519,
		timeout: defaultTimeout, prompt: promptShort,
	}
	f.Var((*relayAddr)(&o.relay), "relay", "")
	f.Var(checked[string]{&o.name, nameOrNone}, "name", "")
	f.Var((*Path)(&o.card), "card", "")
	f.Var((*Path)(&o.pinFile), "pin-file", "")
	f.Var((*Path)(&o.state), "state", "")
	f.Var((*Path)(&o.caBundle), "ca-bundle", "")
	f.Var((*Path)(&o.onlyCA), "only-ca", "")
	f.Var((*Path)(&o.crlDir), "crl", "")
	f.Var(checked[trust.Policy]{&o.policy, trust.ParsePolicy}, "crl-policy", "")
	f.BoolVar(&o.fetch, "fetch", true, "")
	f.BoolVar(&o.fetchPrivate, "fetch-private", false, "")
	f.Var(checked[string]{&o.fingerprint, fingerprintOrNone}, "fingerprint", "")
	f.BoolVar(&o.acceptNew, "accept-new", false, "")
	f.Var(checked[time.Duration]{&o.keep, duration(0, trust.MaxDelegation)}, "keep", "")
	f.Var(checked[string]{&o.key, oneOf(trust.KeyEd25519, trust.KeyRSA)}, "key", "")
	f.Var(checked[suites]{&o.ciphers, parseSuites}, "ciphers", "")
	f.BoolVar(&o.letters, "letters", true, "")
	f.BoolVar(&o.batch, "batch", false, "")
	f.Var(checked[time.Duration]{&o.timeout, duration(1, forEver)}, "timeout", "")
	f.Var(checked[string]{&o.prompt, oneOf(promptShort, promptLong)}, "prompt", "")
	f.BoolVar(&o.bell, "bell", false, "")
	f.BoolVar(&o.json, "json", false, "")
	f.BoolVar(&o.quiet, "q", false, "")
	f.BoolVar(&o.verbose, "v", false, "")
	f.BoolVar(&o.version, "version", false, "")
	return f
}

// parseGlobal reads the global flags and returns the remaining arguments. If only the environment
// or the file config is at fault, these come with the error.
func parseGlobal(args []string, env func(string) string) (o options, rest []string, err error) {
	f := o.flags()
	o.places, o.typed = make(places), make(map[string]string)
	if err := parseFlags(f, args); err != nil {
		return o, nil, err
	}
	f.Visit(func(f *flag.Flag) { o.typed[f.Name] = f.Value.String() })
	if o.version {
		return o, f.Args(), nil
	}
	if err := o.places.fromEnvironment(f, env); err != nil {
		return o, f.Args(), err
	}
	if dir, err := stateDir(o.state, env); err == nil { // else its first use says so
		if o.file, err = readConfig(dir); err != nil {
			return o, f.Args(), err
		}
		if err = o.places.fromFile(f, o.file); err != nil {
			return o, f.Args(), err
		}
		o.ownName(dir, env)
	}
	o.relay = cmp.Or(o.relay, defaultRelay)
	f.Visit(func(f *flag.Flag) { o.keyGiven = o.keyGiven || f.Name == "key" })
	return o, f.Args(), o.places.refusePairs(f)
}

// ownName takes the name of the state directory, which counts before one in the environment or the
// file. One of the command line is compared when the directory is opened.
func (o *options) ownName(dir string, env func(string) string) {
	owner, err := state.Owner(dir) // its first use says the error
	if err != nil || owner == "" || o.typed["name"] != "" {
		return
	}
	if o.name != "" && !proto.SameName(o.name, owner) {
		remedy := "another name needs another directory: client -state DIR"
		if env(variable("name")) == "" {
			remedy = "to mend the line: " + fail.Command(o.client()+" -name "+owner+" init")
		}
		o.outvoted = fmt.Sprintf("%s %s does not count, as the state directory belongs "+
			"to the name %s; %s", o.places.of("name"), o.name, owner, remedy)
		o.name = ""
	}
	o.name = cmp.Or(o.name, owner)
}

// client begins a command line that finds the state directory in use.
func (o *options) client() string {
	if dir := o.typed["state"]; dir != "" {
		return "client -state " + fail.ShellWord(dir)
	}
	return "client"
}

// roots returns the option in use to give roots with, and its file.
func (o *options) roots() (option string, file *string) {
	if o.onlyCA != "" {
		return "only-ca", &o.onlyCA
	}
	return "ca-bundle", &o.caBundle
}

// onState has the commands in hints that depend on the state directory, but for those that somebody
// else types, which have no options.
var onState = pattern(`\bclient ((-([a-gi-z]|[a-z][a-z-]+) ([A-Z][A-Z:]* )?)+[a-z]+\b|` +
	`(crl|doctor|history -verify|init|list|logout|trust|whois)\b)( -h)?`)

// advice is a hint in which commands can be typed as they stand: with the option in use to give
// roots with, and with the state directory in use. A card that the file or the environment names
// keeps nobody from a look at the others.
func (o *options) advice(hint string) string {
	roots, _ := o.roots()
	hint = strings.ReplaceAll(hint, "-ca-bundle or -only-ca", "-ca-bundle")
	hint = strings.ReplaceAll(hint, "-ca-bundle", "-"+roots)
	hint = onState().ReplaceAllStringFunc(hint, func(s string) string {
		if strings.HasSuffix(s, " -h") {
			return s
		}
		return o.client() + strings.TrimPrefix(s, "client")
	})
	if _, typed := o.typed["card"]; o.card != "" && !typed {
		hint = strings.Replace(hint, "client card shows the tokens",
			"client -card= card shows the tokens", 1)
	}
	return hint
}

// placed names the place of a card or PIN file that cannot be used, if that is not the command
// line.
func (o *options) placed(err error) error {
	place := ""
	switch {
	case isModuleTrouble(err), errors.Is(err, card.NoCard):
		place = o.places["card"]
	case errors.Is(err, card.PINNeeded):
		place = o.places["pin-file"]
	}
	if place == "" {
		return err
	}
	e := *fail.AsError(err)
	e.Message = place + ": " + e.Message
	return &e
}

// takesLetters tells whether there is a mailbox, which has a key of the default suite.
func (o *options) takesLetters() bool {
	return o.letters && (len(o.ciphers) == 0 || slices.Contains(o.ciphers, crypto.SuiteMLKEM))
}

// checkRelay checks -relay and brings it into its one form, for commands that go online.
// For others its value, perhaps from the environment, does not matter.
func (o *options) checkRelay() error {
	addr, err := state.RelayAddr(o.relay)
	if err != nil {
		return o.places.usageError("relay", " is %v, not %q", err, o.relay)
	}
	o.relay = addr
	return nil
}

// stateDir returns the state directory by options and environment.
func (a *app) stateDir() (string, error) { return stateDir(a.opt.state, a.Env) }

func stateDir(given string, env func(string) string) (string, error) {
	if given != "" {
		return filepath.Abs(given)
	}
	if base := env("XDG_STATE_HOME"); filepath.IsAbs(base) { // XDG: ignore a relative one
		return filepath.Join(base, "chatsecure"), nil
	}
	home := env("HOME")
	if !filepath.IsAbs(home) {
		return "", fail.Errorf(proto.Internal, "there is no home directory to keep the state in").
			With("name a state directory with -state")
	}
	return filepath.Join(home, ".local", "state", "chatsecure"), nil
}

// newFlags returns a flag set that prints nothing.
func newFlags(name string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	return f
}

// parseFlags parses flags. Errors of package flag become usage errors, and -h
// is errHelp.
func parseFlags(f *flag.FlagSet, args []string) error {
	err := f.Parse(args)
	if err == nil || errors.Is(err, errHelp) {
		return err
	}
	e := usageError("%s", proto.Visible(err.Error()))
	name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if unknown && new(options).flags().Lookup(name) != nil {
		e.Hint = "-" + name + " is for all commands and stands before the command: " +
			fail.Command("client -"+name+" "+f.Name())
	}
	return e
}

// parseNames reads NAME[,NAME...] and drops repeated names.
func parseNames(list string) ([]string, error) {
	var names []string
	seen := make(map[string]bool)
	for name := range strings.SplitSeq(list, ",") {
		if err := proto.CheckName(name); err != nil {
			return nil, usageError("%q is not a name: %w", name, err)
		}
		if folded := proto.FoldName(name); !seen[folded] {
			seen[folded] = true
			names = append(names, name)
		}
	}
	if len(names) > proto.MaxRecipients {
		return nil, usageError("a message goes to at most %d names", proto.MaxRecipients)
	}
	return names, nil
}

// readSmallFile reads a file of at most max bytes that a person named.
func readSmallFile(path string, max int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, max+1))
	if err == nil && int64(len(data)) > max {
		err = fmt.Errorf("%s is longer than %d bytes", path, max)
	}
	return data, err
}

// openState opens the state directory for a command that needs no name.
func (a *app) openState() (*state.State, error) {
	dir, err := a.stateDir()
	if err != nil {
		return nil, err
	}
	return state.Open(dir, "")
}

// readState opens the state directory for a command that changes nothing.
func (a *app) readState() (*state.State, error) {
	dir, err := a.stateDir()
	if err != nil {
		return nil, err
	}
	return state.OpenReadOnly(dir)
}
