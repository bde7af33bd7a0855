// Command relay passes messages between ChatSecure clients. It is a thin main
// over package chatsecure.
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
	"chatsecure/crypto"
)

// version is set when a release is built: -ldflags "-X main.version=...".
var version = "dev"

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// The exit statuses, those of the client that a relay has too.
const (
	exitDone  = 0
	exitOther = 1
	exitUsage = 2
)

// options is the command line.
type options struct {
	listen, state, addrFile, logFormat   string
	ciphers, crlPolicy, caBundle, crlDir string
	maxConns                             int
	suites                               []string // of ciphers; nil is all
	fetch, fetchPrivate                  bool
	verbose, fingerprint, version        bool
}

func parse(args []string, stdout, stderr io.Writer) (o options, status int, ok bool) {
	fs := flag.NewFlagSet("relay", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&o.listen, "listen", ":8080", "")
	fs.StringVar(&o.state, "state", "", "")
	fs.StringVar(&o.caBundle, "ca-bundle", "", "")
	fs.StringVar(&o.crlDir, "crl", "", "")
	fs.StringVar(&o.crlPolicy, "crl-policy", "try", "")
	fs.BoolVar(&o.fetch, "fetch", true, "")
	fs.BoolVar(&o.fetchPrivate, "fetch-private", false, "")
	fs.StringVar(&o.ciphers, "ciphers", "", "")
	fs.IntVar(&o.maxConns, "max-conns", chatsecure.DefaultMaxConns, "")
	fs.StringVar(&o.addrFile, "addr-file", "", "")
	fs.StringVar(&o.logFormat, "log", "text", "")
	fs.BoolVar(&o.verbose, "v", false, "")
	fs.BoolVar(&o.fingerprint, "fingerprint", false, "")
	fs.BoolVar(&o.version, "version", false, "")

	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, manpage().Help())
		return o, exitDone, false
	case err == nil && fs.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", fs.Arg(0))
	case err == nil && o.logFormat != "text" && o.logFormat != "json":
		err = fmt.Errorf("-log is text or json, not %q", o.logFormat)
	case err == nil && o.maxConns < 1:
		err = fmt.Errorf("-max-conns is at least 1, not %d", o.maxConns)
	}
	if err == nil {
		_, err = crypto.ParsePolicy(o.crlPolicy)
	}
	if err == nil {
		o.suites, err = parseCiphers(o.ciphers)
	}
	if err != nil {
		complain(stderr, err, "relay -h shows what there is")
		return o, exitUsage, false
	}
	return o, exitDone, true
}

// parseCiphers reads a list of suites; none is all of them.
func parseCiphers(list string) ([]string, error) {
	if list == "" {
		return nil, nil
	}
	names := strings.Split(list, ",")
	for _, name := range names {
		if crypto.SuiteByName(name) == nil {
			return nil, fmt.Errorf("-ciphers: there is no suite %q", name)
		}
	}
	return names, nil
}

// complain is the one form of an error for people.
func complain(w io.Writer, err error, hint string) {
	fmt.Fprintf(w, "relay: error: %s\n", crypto.Visible(err.Error()))
	if hint != "" {
		fmt.Fprintf(w, "relay: hint: %s\n", hint)
	}
}

func run(args []string, stdout, stderr io.Writer) int {
	o, status, ok := parse(args, stdout, stderr)
	if !ok {
		return status
	}
	if o.version {
		fmt.Fprintln(stdout, "relay", version)
		return exitDone
	}
	var err error
	if o.state, err = stateDir(o.state); err == nil {
		if o.fingerprint {
			err = printFingerprint(stdout, o.state)
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
	policy, err := crypto.ParsePolicy(o.crlPolicy)
	if err != nil {
		return err
	}
	cfg := chatsecure.RelayConfig{
		State: o.state, Roots: chatsecure.CABundle, CABundle: o.caBundle, CRLDir: o.crlDir, CRLPolicy: policy,
		Fetch: o.fetch, FetchPrivate: o.fetchPrivate,
		Ciphers: o.suites, MaxConns: o.maxConns, Log: logger(o, stderr),
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)

	relay, err := chatsecure.NewRelay(cfg)
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
