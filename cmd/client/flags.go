package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"chatsecure"
	"chatsecure/cmd/internal/manual"
	"chatsecure/crypto"
	"chatsecure/proto"
)

// options are the global flags, which stand before the command.
type options struct {
	relay, name, card, state       string
	pinFile, caBundle, crlDir      string
	fingerprint                    string
	policy                         crypto.Policy
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

// errHelp says that -h was given.
var errHelp = flag.ErrHelp

// usageError is an error of the command line.
func usageError(format string, args ...any) error {
	return chatsecure.Errorf(proto.Usage, format, args...)
}

// parseGlobal reads the global flags and returns what follows them.
func parseGlobal(args []string, env func(string) string) (o options, rest []string, err error) {
	o = options{
		relay: env("CHATSECURE_RELAY"), name: env("CHATSECURE_NAME"), card: env("CHATSECURE_CARD"), state: env("CHATSECURE_STATE"),
		fetch: true, key: crypto.KeyEd25519, timeout: defaultTimeout,
	}
	var policy, ciphers string
	f := newFlags("client")
	f.StringVar(&o.relay, "relay", o.relay, "")
	f.StringVar(&o.name, "name", o.name, "")
	f.StringVar(&o.card, "card", o.card, "")
	f.StringVar(&o.pinFile, "pin-file", "", "")
	f.StringVar(&o.state, "state", o.state, "")
	f.StringVar(&o.caBundle, "ca-bundle", "", "")
	f.StringVar(&o.crlDir, "crl", "", "")
	f.StringVar(&policy, "crl-policy", string(crypto.PolicyTry), "")
	f.BoolVar(&o.fetch, "fetch", true, "")
	f.BoolVar(&o.fetchPrivate, "fetch-private", false, "")
	f.StringVar(&o.fingerprint, "fingerprint", "", "")
	f.BoolVar(&o.acceptNew, "accept-new", false, "")
	f.DurationVar(&o.keep, "keep", 0, "")
	f.StringVar(&o.key, "key", o.key, "")
	f.StringVar(&ciphers, "ciphers", "", "")
	f.BoolVar(&o.batch, "batch", false, "")
	f.DurationVar(&o.timeout, "timeout", o.timeout, "")
	f.BoolVar(&o.json, "json", false, "")
	f.BoolVar(&o.quiet, "q", false, "")
	f.BoolVar(&o.verbose, "v", false, "")
	f.BoolVar(&o.version, "version", false, "")
	if err := parseFlags(f, args); err != nil {
		return o, nil, err
	}
	f.Visit(func(f *flag.Flag) { o.keyGiven = o.keyGiven || f.Name == "key" })
	if o.relay == "" {
		o.relay = defaultRelay
	}
	if o.policy, err = crypto.ParsePolicy(policy); err != nil {
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
	case o.key != crypto.KeyEd25519 && o.key != crypto.KeyRSA:
		return usageError("unknown kind of key %q: choose %s or %s", o.key, crypto.KeyEd25519, crypto.KeyRSA)
	case o.keep < 0 || o.keep > crypto.MaxDelegation:
		return usageError("-keep is at most %v, not %v", crypto.MaxDelegation, o.keep)
	case o.timeout <= 0:
		return usageError("-timeout must be more than nothing, not %v", o.timeout)
	case o.fingerprint != "" && !isFingerprint(o.fingerprint):
		return usageError("-fingerprint has 64 hex digits, with or without colons")
	case o.quiet && o.verbose:
		return usageError("-q and -v exclude each other")
	}
	if o.name != "" {
		if err := proto.CheckName(o.name); err != nil {
			return &chatsecure.Error{Code: proto.Usage, Message: fmt.Sprintf("-name %q: %v", o.name, err), Err: err}
		}
	}
	return nil
}

// checkRelay is for what goes to the relay. For the rest it does not matter what
// is named, which may come from the environment.
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
	number, err := net.LookupPort("tcp", port) // it may be a service's name
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

// stateDir is the state directory that the options and the environment mean.
func (a *app) stateDir() (string, error) {
	if a.opt.state != "" {
		return filepath.Abs(a.opt.state)
	}
	if base := a.env("XDG_STATE_HOME"); filepath.IsAbs(base) { // a relative one is to be ignored, says XDG
		return filepath.Join(base, "chatsecure"), nil
	}
	home := a.env("HOME")
	if !filepath.IsAbs(home) {
		return "", &chatsecure.Error{Code: proto.Internal, Message: "there is no home directory to keep the state in", Hint: "name a state directory with -state"}
	}
	return filepath.Join(home, ".local", "state", "chatsecure"), nil
}

// newFlags returns a flag set that prints nothing by itself.
func newFlags(name string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	return f
}

// parseFlags makes what package flag complains of an error of the command
// line. -h is errHelp.
func parseFlags(f *flag.FlagSet, args []string) error {
	err := f.Parse(args)
	if err == nil || errors.Is(err, errHelp) {
		return err
	}
	e := chatsecure.Errorf(proto.Usage, "%s", crypto.Visible(err.Error()))
	name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if unknown && slices.ContainsFunc(globalFlags, func(f manual.Flag) bool { return f.Name == name }) {
		e.Hint = "-" + name + " is for all commands and stands before the command: client -" + name + " " + f.Name()
	}
	return e
}

// noArguments refuses what a command does not take.
func noArguments(command string, args []string) error {
	if len(args) > 0 {
		return usageError("%s takes no argument, but there is %q", command, args[0])
	}
	return nil
}

// parseNames reads NAME[,NAME...]. A name that stands twice is taken once.
func parseNames(list string) ([]string, error) {
	var names []string
	seen := make(map[string]bool)
	for name := range strings.SplitSeq(list, ",") {
		if err := proto.CheckName(name); err != nil {
			return nil, &chatsecure.Error{Code: proto.Usage, Message: fmt.Sprintf("%q is not a name: %v", name, err), Err: err}
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

// readSmallFile reads a file that a person named, of at most max bytes.
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
