package chatsecure

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"chatsecure/internal/command"
	"chatsecure/internal/fail"
	"chatsecure/internal/relay"
)

// The relay's exit statuses. Those of the client, fail.ExitStatus, are a superset.
const (
	exitDone  = 0
	exitOther = 1
	exitUsage = 2
)

// relayOptions is the relay's command line.
type relayOptions struct {
	cfg                           relay.Config
	policy, ciphers               string // not yet in cfg
	listen, addrFile, logFormat   string
	verbose, fingerprint, version bool
	names                         bool
	free                          string
}

// flags returns the flags that set the options. Their texts are in relayUsage.
func (o *relayOptions) flags() *flag.FlagSet {
	fs := flag.NewFlagSet("relay", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&o.listen, "listen", ":8080", "")
	fs.Var((*command.Path)(&o.cfg.State), "state", "")
	fs.Var((*command.Path)(&o.cfg.CABundle), "ca-bundle", "")
	fs.Var((*command.Path)(&o.cfg.OnlyCA), "only-ca", "")
	fs.Var((*command.Path)(&o.cfg.Allow), "allow", "")
	fs.Var((*command.Path)(&o.cfg.Deny), "deny", "")
	fs.Var((*command.Path)(&o.cfg.CRLDir), "crl", "")
	fs.StringVar(&o.policy, "crl-policy", "try", "")
	fs.BoolVar(&o.cfg.Fetch, "fetch", true, "")
	fs.BoolVar(&o.cfg.FetchPrivate, "fetch-private", false, "")
	fs.StringVar(&o.ciphers, "ciphers", "", "")
	fs.IntVar(&o.cfg.MaxConns, "max-conns", relay.DefaultMaxConns, "")
	fs.BoolVar(&o.cfg.Letters, "letters", true, "")
	fs.IntVar(&o.cfg.LetterDays, "letter-days", relay.DefaultLetterDays, "")
	o.cfg.LetterMax = relay.DefaultLetterMax
	fs.Func("letter-max", "", o.setLetterMax)
	fs.Var((*command.Path)(&o.addrFile), "addr-file", "")
	fs.StringVar(&o.logFormat, "log", "text", "")
	fs.BoolVar(&o.verbose, "v", false, "")
	fs.BoolVar(&o.fingerprint, "fingerprint", false, "")
	fs.BoolVar(&o.names, "names", false, "")
	fs.StringVar(&o.free, "free", "", "")
	fs.BoolVar(&o.version, "version", false, "")
	return fs
}

// setLetterMax takes a number of bytes, or of the unit that follows it.
func (o *relayOptions) setLetterMax(value string) error {
	digits, unit := value, int64(1)
	for i, suffix := range [...]string{"KiB", "MiB", "GiB"} {
		if before, ok := strings.CutSuffix(value, suffix); ok {
			digits, unit = before, 1<<(10*(i+1))
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < max(1, 1<<20/unit) || n > relay.MaxLetterMax/unit {
		return fmt.Errorf("write bytes, or KiB, MiB or GiB as in 256MiB, from 1MiB to %dGiB", relay.MaxLetterMax>>30)
	}
	o.cfg.LetterMax = n * unit
	return nil
}

// parseRelay reads the command line. If ok is false, the program ends with status.
func parseRelay(args []string, stdout, stderr io.Writer) (o relayOptions, status int, ok bool) {
	fs := o.flags()
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, relayUsage)
		return o, exitDone, false
	case err == nil && fs.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", fs.Arg(0))
	case err == nil && o.logFormat != "text" && o.logFormat != "json":
		err = fmt.Errorf("-log is text or json, not %q", o.logFormat)
	case err == nil && o.cfg.MaxConns < 1:
		err = fmt.Errorf("-max-conns is at least 1, not %d", o.cfg.MaxConns)
	case err == nil && (o.cfg.LetterDays < 1 || o.cfg.LetterDays > relay.MaxLetterDays):
		err = fmt.Errorf("-letter-days is 1 to %d, not %d: a mailbox lives no longer", relay.MaxLetterDays, o.cfg.LetterDays)
	case err == nil && o.cfg.OnlyCA != "" && o.cfg.CABundle != "":
		err = errors.New("-only-ca and -ca-bundle exclude each other: the file of -only-ca has every trusted root")
	case err == nil:
		err = o.checkGiven(fs)
	}
	if err == nil {
		err = o.cfg.SetPolicy(o.policy)
	}
	if err == nil {
		err = o.cfg.SetCiphers(o.ciphers)
	}
	if err != nil {
		complain(stderr, err, "relay -h shows the options")
		return o, exitUsage, false
	}
	return o, exitDone, true
}

// checkGiven refuses an empty value where it would pass for none: a relay with an empty
// variable in place of a file must not serve everybody. It also refuses two uses at once.
func (o *relayOptions) checkGiven(fs *flag.FlagSet) (err error) {
	var uses []string
	fs.Visit(func(f *flag.Flag) {
		value := f.Value.String()
		switch f.Name {
		case "only-ca", "allow", "deny", "crl", "free":
			if value == "" {
				err = fmt.Errorf("-%s has an empty value", f.Name)
			}
		}
		if (f.Name == "names" || f.Name == "fingerprint") && value == "true" || f.Name == "free" {
			uses = append(uses, "-"+f.Name)
		}
	})
	if err == nil && len(uses) > 1 {
		err = fmt.Errorf("%s are uses of their own: give one of them", strings.Join(uses, " and "))
	}
	return err
}

// complain prints an error and its hint in the form that people see.
func complain(w io.Writer, err error, hint string) {
	fmt.Fprintf(w, "relay: error: %s\n", fail.Text(err))
	if hint != "" {
		fmt.Fprintf(w, "relay: hint: %s\n", hint)
	}
}

// RelayMain is the relay program. It runs the command line args, without the
// program's name, and returns the exit status.
func RelayMain(args []string, version string, stdout, stderr io.Writer) int {
	o, status, ok := parseRelay(args, stdout, stderr)
	if !ok {
		return status
	}
	if o.version {
		fmt.Fprintln(stdout, "relay", version)
		return exitDone
	}
	var err error
	if o.cfg.State, err = stateDir(o.cfg.State); err == nil && (o.fingerprint || o.names || o.free != "") {
		o.cfg.State, err = asOwner(o.cfg.State)
	}
	if err == nil {
		switch {
		case o.fingerprint:
			err = printFingerprint(stdout, o.cfg.State)
		case o.names:
			err = relay.WriteNames(stdout, o.cfg.State)
		case o.free != "":
			err = freeName(stdout, o.cfg.State, o.free)
		default:
			err = serve(o, stderr)
		}
	}
	if err != nil {
		complain(stderr, err, advice(err))
		return exitOther
	}
	return exitDone
}

// advice returns the hint for an error that stops the relay, "" for none.
func advice(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "another program listens there, perhaps a relay: end it, or give another port with -listen"
	case errors.Is(err, syscall.EACCES) && strings.HasPrefix(err.Error(), "listen "):
		return "a port below 1024 needs a capability (doc/chatsecure-relay-low-port.conf); or give another with -listen"
	}
	return fail.AsError(err).Hint
}

// stateDir returns the given state directory, or else the default of the XDG base
// directory specification.
func stateDir(given string) (string, error) {
	if given != "" {
		return given, nil
	}
	if base := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(base) {
		return filepath.Join(base, "chatsecure", "relay"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no state directory: %w; name one with -state", err)
	}
	return filepath.Join(home, ".local", "state", "chatsecure", "relay"), nil
}

// asOwner refuses a symbolic link, and turns root into the owner of the state directory, as of a service with a user
// of its own: the relay would refuse files that root left there. It returns the directory's
// name from then on.
func asOwner(dir string) (string, error) {
	info, err := os.Lstat(dir)
	if err == nil && info.Mode()&os.ModeSymlink != 0 { // serving refuses it too
		return dir, fmt.Errorf("state directory %s is a symbolic link; name the directory it leads to", dir)
	}
	if err != nil || os.Geteuid() != 0 {
		return dir, nil // the use itself says what is missing
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid == 0 {
		return dir, nil
	}
	err = os.Chdir(dir) // the owner may have no way in
	for _, step := range []func() error{
		func() error { return syscall.Setgroups(nil) },
		func() error { return syscall.Setgid(int(owner.Gid)) },
		func() error { return syscall.Setuid(int(owner.Uid)) },
	} {
		if err == nil {
			err = step()
		}
	}
	if err != nil {
		return dir, fmt.Errorf("as the owner of the state directory: %w", err)
	}
	return ".", nil
}

func printFingerprint(stdout io.Writer, state string) error {
	fingerprint, err := relay.Fingerprint(state)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, fingerprint)
	return err
}

func freeName(stdout io.Writer, state, name string) error {
	says, err := relay.Free(state, name)
	if err == nil {
		_, err = fmt.Fprintln(stdout, says)
	}
	return err
}

// serve runs the relay until SIGTERM or SIGINT. SIGHUP reloads.
func serve(o relayOptions, stderr io.Writer) error {
	o.cfg.Roots, o.cfg.Log = caBundle, logger(o, stderr)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)

	r, err := relay.New(o.cfg)
	if err != nil {
		return err
	}
	defer r.Close()
	widen()
	// The protocol itself breaks silence, with an ack every 30 seconds.
	ln, err := (&net.ListenConfig{KeepAlive: -1}).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return err
	}
	if o.addrFile != "" {
		if err := writeAddr(o.addrFile, ln.Addr().String()); err != nil {
			ln.Close()
			return err
		}
	}
	var tending sync.WaitGroup
	defer tending.Wait()
	defer stop()
	tending.Go(func() { relay.TendMemory(ctx) })
	done := make(chan error, 1)
	go func() { done <- r.Serve(ctx, ln) }()
	for {
		select {
		case <-hangup:
			r.Reload()
		case err := <-done:
			return err
		}
	}
}

// widen gives the Go scheduler two threads more than there are processors. A thread
// looks at sockets only when it has nothing else to run; under a flood, that delayed
// everybody by up to ten milliseconds. The two more threads have nothing to run, and
// the kernel is fair between busy threads. The call comes after relay.New, which
// gives half of the real processors to handshakes.
var widen = sync.OnceFunc(func() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 2)
	}
})

func logger(o relayOptions, w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{}
	if o.verbose {
		opts.Level = slog.LevelDebug
	}
	if o.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// writeAddr writes the address into a file that is complete once it appears.
func writeAddr(path, addr string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".addr-*")
	if err != nil {
		return fmt.Errorf("-addr-file: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = fmt.Fprintln(f, addr)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("-addr-file: %w", err)
	}
	return nil
}

// relayUsage is the text of -h. doc/relay.1 says the same.
const relayUsage = `usage: relay [-listen ADDR] [-state DIR] [options]
       relay -fingerprint [-state DIR]
       relay -names [-state DIR]
       relay -free NAME [-state DIR]

Passes messages between clients. Their messages are encrypted end to end; the
relay knows who talks to whom, and when. It stores letters alone, sealed, for
people who are not connected.

Options (given twice, the last counts; in a path ~ is your home directory):
  -listen ADDR         address to listen on (default :8080)
  -state DIR           the relay's key, names and letters (default
                       $XDG_STATE_HOME/chatsecure/relay)
  -ca-bundle FILE      more trusted roots, and intermediates, in PEM
  -only-ca FILE        these roots in PEM and no others, and intermediates
  -allow FILE          serve only these people: on each line an identity, or
                       the word issuer and the SHA-256 of an authority's key,
                       in hex
  -deny FILE           do not serve these people, in the same form; -deny beats
                       -allow
  -crl DIR             revocation lists, read within a few seconds of a change,
                       and at once on SIGHUP
  -crl-policy P        try (default): unknown revocation is accepted; require:
                       it is refused; off: nobody looks
  -fetch=false         fetch no revocation lists
  -fetch-private       fetch from private addresses too
  -ciphers LIST        cipher suites allowed, with commas (default
                       MLKEM768X25519_AES256_GCM,RSA_AES256_CBC_HMAC,RSA_AES128_CBC_HMAC)
  -max-conns N         connections at once (default 20000)
  -letters=false       keep no letters for people who are not connected
  -letter-days N       days for which a letter is kept, 1 to 14 (default 7)
  -letter-max BYTES    of letters kept in all, as 256MiB (default 64MiB)
  -addr-file FILE      file that gets host:port once the relay listens
  -log FORMAT          text (default) or json, on standard error
  -v                   log more
  -fingerprint         print the fingerprint of the relay's key, made if need
                       be
  -names               print each name, its owner's identity and the time of
                       its first use
  -free NAME           make a name nobody's, and remove the letters that wait
                       for its owner under it: at once, or, where a relay
                       runs, on its next SIGHUP
  -version             print the version
  -h                   print this

Exit status: 0 done, or ended by SIGTERM or SIGINT; 1 a failure; 2 usage.
`
