package main

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
	"strings"
	"sync"
	"syscall"

	"chatsecure"
)

// The exit statuses, those of the client that a relay has too.
const (
	exitDone  = 0
	exitOther = 1
	exitUsage = 2
)

// options is the command line.
type options struct {
	cfg                           chatsecure.RelayConfig
	policy, ciphers               string // words of cfg
	listen, addrFile, logFormat   string
	verbose, fingerprint, version bool
}

// flags returns the flags that set the options.
func (o *options) flags() *flag.FlagSet {
	fs := flag.NewFlagSet("relay", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&o.listen, "listen", ":8080", "")
	fs.StringVar(&o.cfg.State, "state", "", "")
	fs.StringVar(&o.cfg.CABundle, "ca-bundle", "", "")
	fs.StringVar(&o.cfg.CRLDir, "crl", "", "")
	fs.StringVar(&o.policy, "crl-policy", "try", "")
	fs.BoolVar(&o.cfg.Fetch, "fetch", true, "")
	fs.BoolVar(&o.cfg.FetchPrivate, "fetch-private", false, "")
	fs.StringVar(&o.ciphers, "ciphers", "", "")
	fs.IntVar(&o.cfg.MaxConns, "max-conns", chatsecure.DefaultMaxConns, "")
	fs.StringVar(&o.addrFile, "addr-file", "", "")
	fs.StringVar(&o.logFormat, "log", "text", "")
	fs.BoolVar(&o.verbose, "v", false, "")
	fs.BoolVar(&o.fingerprint, "fingerprint", false, "")
	fs.BoolVar(&o.version, "version", false, "")
	return fs
}

func parse(args []string, stdout, stderr io.Writer) (o options, status int, ok bool) {
	fs := o.flags()
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, manpage().Help())
		return o, exitDone, false
	case err == nil && fs.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", fs.Arg(0))
	case err == nil && o.logFormat != "text" && o.logFormat != "json":
		err = fmt.Errorf("-log is text or json, not %q", o.logFormat)
	case err == nil && o.cfg.MaxConns < 1:
		err = fmt.Errorf("-max-conns is at least 1, not %d", o.cfg.MaxConns)
	}
	if err == nil {
		err = o.cfg.SetPolicy(o.policy)
	}
	if err == nil {
		err = o.cfg.SetCiphers(o.ciphers)
	}
	if err != nil {
		complain(stderr, err, "relay -h shows what there is")
		return o, exitUsage, false
	}
	return o, exitDone, true
}

// complain is the one form of an error for people.
func complain(w io.Writer, err error, hint string) {
	fmt.Fprintf(w, "relay: error: %s\n", chatsecure.AsError(err).Message)
	if hint != "" {
		fmt.Fprintf(w, "relay: hint: %s\n", hint)
	}
}

// relayMain is the relay program: it runs the command line args, which do not
// hold the program's name, and returns the exit status.
func relayMain(args []string, version string, stdout, stderr io.Writer) int {
	o, status, ok := parse(args, stdout, stderr)
	if !ok {
		return status
	}
	if o.version {
		fmt.Fprintln(stdout, "relay", version)
		return exitDone
	}
	var err error
	if o.cfg.State, err = stateDir(o.cfg.State); err == nil {
		if o.fingerprint {
			err = printFingerprint(stdout, o.cfg.State)
		} else {
			err = serve(o, stderr)
		}
	}
	if err != nil {
		complain(stderr, err, advice(err))
		return exitOther
	}
	return exitDone
}

// advice is what to do about an error that stops the relay.
func advice(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "another program listens there, perhaps a relay: end it, or give another port with -listen"
	case errors.Is(err, syscall.EACCES) && strings.HasPrefix(err.Error(), "listen "):
		return "a port below 1024 needs a capability (doc/chatsecure-relay-low-port.conf); or give another with -listen"
	}
	return chatsecure.AsError(err).Hint
}

// stateDir returns the state directory: the one given, or that of the XDG base
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

func printFingerprint(stdout io.Writer, state string) error {
	fingerprint, err := chatsecure.RelayFingerprint(state)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, fingerprint)
	return err
}

// serve runs the relay until a signal ends it.
func serve(o options, stderr io.Writer) error {
	o.cfg.Roots, o.cfg.Log = chatsecure.CABundle, logger(o, stderr)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)

	relay, err := chatsecure.NewRelay(o.cfg)
	if err != nil {
		return err
	}
	defer relay.Close()
	widen()
	// Silence is the protocol's business: an ack every 30 seconds.
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
	tending.Go(func() { tendMemory(ctx) })
	done := make(chan error, 1)
	go func() { done <- relay.Serve(ctx, ln) }()
	for {
		select {
		case <-hangup:
			relay.Reload()
		case err := <-done:
			return err
		}
	}
}

// widen has the Go scheduler use two threads more than there are processors.
// It looks at sockets when it has nothing else to run; under a flood that was
// up to ten milliseconds later, for everybody. Those two have nothing to run,
// and between busy threads the kernel is fair. It comes after NewRelay, which
// gives handshakes half of the processors there are.
var widen = sync.OnceFunc(func() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 2)
	}
})

func logger(o options, w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{}
	if o.verbose {
		opts.Level = slog.LevelDebug
	}
	if o.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// writeAddr puts the address into a file that appears complete.
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
