package command

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

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
	version                        bool
	key                            string
	keyGiven                       bool
	ciphers                        []string
	keep, timeout                  time.Duration
}

// Defaults of the command line.
const (
	defaultRelay   = "localhost:8080"
	defaultTimeout = 30 * time.Second
)

// errHelp stands for -h.
var errHelp = flag.ErrHelp

// usageError is an error of the command line.
func usageError(format string, args ...any) error {
	return fail.Errorf(proto.Usage, format, args...)
}

// flags returns the global flags, which set the options and the list of ciphers.
func (o *options) flags(ciphers *string) *flag.FlagSet {
	f := newFlags("client")
	f.StringVar(&o.relay, "relay", o.relay, "")
	f.StringVar(&o.name, "name", o.name, "")
	f.StringVar(&o.card, "card", o.card, "")
	f.StringVar(&o.pinFile, "pin-file", "", "")
	f.StringVar(&o.state, "state", o.state, "")
	f.StringVar(&o.caBundle, "ca-bundle", "", "")
	f.StringVar(&o.onlyCA, "only-ca", o.onlyCA, "")
	f.StringVar(&o.crlDir, "crl", "", "")
	f.StringVar((*string)(&o.policy), "crl-policy", string(trust.PolicyTry), "")
	f.BoolVar(&o.fetch, "fetch", true, "")
	f.BoolVar(&o.fetchPrivate, "fetch-private", false, "")
	f.StringVar(&o.fingerprint, "fingerprint", "", "")
	f.BoolVar(&o.acceptNew, "accept-new", false, "")
	f.DurationVar(&o.keep, "keep", 0, "")
	f.StringVar(&o.key, "key", trust.KeyEd25519, "")
	f.StringVar(ciphers, "ciphers", "", "")
	f.BoolVar(&o.batch, "batch", false, "")
	f.DurationVar(&o.timeout, "timeout", defaultTimeout, "")
	f.BoolVar(&o.json, "json", false, "")
	f.BoolVar(&o.quiet, "q", false, "")
	f.BoolVar(&o.verbose, "v", false, "")
	f.BoolVar(&o.version, "version", false, "")
	return f
}

// parseGlobal reads the global flags and returns the remaining arguments.
func parseGlobal(args []string, env func(string) string) (o options, rest []string, err error) {
	o = options{
		relay: env("CHATSECURE_RELAY"), name: env("CHATSECURE_NAME"), card: env("CHATSECURE_CARD"), state: env("CHATSECURE_STATE"),
		onlyCA: env("CHATSECURE_ONLY_CA"),
	}
	var ciphers string
	f := o.flags(&ciphers)
	if err := parseFlags(f, args); err != nil {
		return o, nil, err
	}
	f.Visit(func(f *flag.Flag) { o.keyGiven = o.keyGiven || f.Name == "key" })
	if o.relay == "" {
		o.relay = defaultRelay
	}
	if o.policy, err = trust.ParsePolicy(string(o.policy)); err != nil {
		return o, nil, usageError("%v", err)
	}
	if ciphers != "" {
		o.ciphers = strings.Split(ciphers, ",")
	}
	return o, f.Args(), o.check()
}

func (o *options) check() error {
	for _, name := range o.ciphers {
		if crypto.SuiteByName(name) == nil {
			return usageError("unknown cipher suite %q: there are %s", name, strings.Join(crypto.SuiteNames(), ","))
		}
	}
	switch {
	case o.key != trust.KeyEd25519 && o.key != trust.KeyRSA:
		return usageError("unknown kind of key %q: choose %s or %s", o.key, trust.KeyEd25519, trust.KeyRSA)
	case o.keep < 0 || o.keep > trust.MaxDelegation:
		return usageError("-keep is at most %v, not %v", trust.MaxDelegation, o.keep)
	case o.timeout <= 0:
		return usageError("-timeout must be positive, not %v", o.timeout)
	case o.fingerprint != "" && !isFingerprint(o.fingerprint):
		return usageError("-fingerprint has 64 hex digits, with or without colons")
	case o.onlyCA != "" && o.caBundle != "":
		return usageError("-only-ca and -ca-bundle exclude each other, also where -only-ca comes from CHATSECURE_ONLY_CA")
	case o.quiet && o.verbose:
		return usageError("-q and -v exclude each other")
	}
	if o.name != "" {
		if err := proto.CheckName(o.name); err != nil {
			return &fail.Error{Code: proto.Usage, Message: fmt.Sprintf("-name %q: %v", o.name, err), Err: err}
		}
	}
	return nil
}

// advice is a hint that names the option in use to give roots with.
func (o *options) advice(hint string) string {
	option := "-ca-bundle"
	if o.onlyCA != "" {
		option = "-only-ca"
	}
	return strings.NewReplacer("-ca-bundle or -only-ca", option, "-ca-bundle", option).Replace(hint)
}

// checkRelay checks -relay, for commands that go online. For others its value,
// perhaps from the environment, does not matter.
func (o *options) checkRelay() error {
	if !isHostPort(o.relay) {
		return usageError("-relay is HOST:PORT with a port from 1 to 65535, as 192.0.2.1:8080 or [2001:db8::1]:8080, not %q", o.relay)
	}
	return nil
}

func isHostPort(s string) bool {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	number, err := net.LookupPort("tcp", port) // a service's name is allowed
	return err == nil && number > 0
}

func isFingerprint(s string) bool {
	digits := 0
	for _, c := range s {
		switch {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'f', 'A' <= c && c <= 'F':
			digits++
		case c != ':':
			return false
		}
	}
	return digits == 64
}

// stateDir returns the state directory by options and environment.
func (a *app) stateDir() (string, error) {
	if a.opt.state != "" {
		return filepath.Abs(a.opt.state)
	}
	if base := a.Env("XDG_STATE_HOME"); filepath.IsAbs(base) { // XDG: ignore a relative one
		return filepath.Join(base, "chatsecure"), nil
	}
	home := a.Env("HOME")
	if !filepath.IsAbs(home) {
		return "", &fail.Error{
			Code: proto.Internal, Message: "there is no home directory to keep the state in",
			Hint: "name a state directory with -state",
		}
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
	e := fail.Errorf(proto.Usage, "%s", proto.Visible(err.Error()))
	name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if unknown && new(options).flags(new(string)).Lookup(name) != nil {
		e.Hint = "-" + name + " is for all commands and stands before the command: client -" + name + " " + f.Name()
	}
	return e
}

// noFlags is for a command without flags and arguments.
func noFlags(command string, args []string) error {
	f := newFlags(command)
	if err := parseFlags(f, args); err != nil {
		return err
	}
	return noArguments(command, f.Args())
}

// noArguments refuses arguments.
func noArguments(command string, args []string) error {
	if len(args) > 0 {
		return usageError("%s takes no argument, but there is %q", command, args[0])
	}
	return nil
}

// parseNames reads NAME[,NAME...] and drops repeated names.
func parseNames(list string) ([]string, error) {
	var names []string
	seen := make(map[string]bool)
	for name := range strings.SplitSeq(list, ",") {
		if err := proto.CheckName(name); err != nil {
			return nil, &fail.Error{Code: proto.Usage, Message: fmt.Sprintf("%q is not a name: %v", name, err), Err: err}
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
