// Package command is the command line of the client: one file a command, the
// prompt, and output as text or JSON. Run is the whole program and System the world
// around it. What -h says is in usage.go, and the completion of shells in completion.
//
// It has no part in the protocol: connections and conversations are internal/client,
// keys on disk internal/state, and certificates crypto/trust. What a terminal can do
// is internal/term. Exit statuses are those of PROTOCOL.md, "Error codes", and the
// objects of -json those of doc/schema.json.
package command

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"chatsecure/card"
	"chatsecure/internal/fail"
	"chatsecure/internal/term"
	"chatsecure/proto"
)

// System is the world outside of the program. Tests have their own.
type System struct {
	Version        string
	Roots          []byte // Mozilla's root certificates, PEM
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Env            func(string) string
	Environ        []string // all of it, as os.Environ
	Now            func() time.Time
	Signals        <-chan os.Signal
	OpenTTY        func() (*os.File, error) // the controlling terminal
	// cards is card.Open but in tests.
	cards func(context.Context, string, card.Options) (card.Card, error)
}

// app is one run of the program.
type app struct {
	System
	opt options
	out *display

	ttyLock sync.Mutex     // guards the fields below
	tty     *term.Terminal // the terminal of the person, once somebody was asked; see person
	noTTY   bool           // there is no terminal

	asked  atomic.Pointer[questions] // of the prompt, while there is one
	signal atomic.Int32              // number of the signal that ended the run, or 0
}

// statusError is an exit status whose error has been written already.
type statusError int

func (statusError) Error() string { return "said already" }

// toldStatus returns an exit status as a statusError, nil for 0.
func toldStatus(exit int) error {
	if exit == 0 {
		return nil
	}
	return statusError(exit)
}

// Run runs a command line, without the name of the program, and returns the
// exit status.
func Run(args []string, sys System) int {
	if sys.cards == nil {
		sys.cards = card.Open
	}
	opt, rest, err := parseGlobal(args, sys.Env)
	a := &app{System: sys, opt: opt, out: newDisplay(sys, opt)}
	if err == nil && opt.version {
		a.out.line("client " + a.Version)
		return a.finish(nil)
	}
	if len(rest) > 0 && (rest[0] != "card" || opt.card == "") { // without -card, card shows others
		a.out.running = "client " + strings.Join(rest, " ")
	}
	if err == nil {
		err = checkEnvironment(sys.Environ)
	}
	// A file config with a fault must not keep anybody from the help.
	run, rest, help, commandErr := a.command(rest)
	if err == nil || errors.Is(commandErr, errHelp) {
		err = commandErr
	} else {
		a.out.about = "" // an option of all commands is at fault
	}
	if errors.Is(err, errHelp) {
		a.out.text(help)
		return a.finish(nil)
	}
	if err != nil {
		return a.finish(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	over := make(chan struct{})
	defer close(over)
	go a.awaitSignal(cancel, over)
	return a.finish(run(a, ctx, rest))
}

// runHelp refuses more than one command. The help itself is shown as for -h, whatever else is
// wrong.
func runHelp(*app, context.Context, []string) error { return usageError("help takes one command") }

// command returns what runs the command named first in args, or the prompt, with the arguments
// for it, and the help to show where the error is errHelp.
func (a *app) command(args []string) (run runner, rest []string, help string, err error) {
	if len(args) == 0 {
		return (*app).runSession, nil, usage, nil
	}
	switch {
	case args[0] == "help" && len(args) == 1:
		return nil, nil, usage, errHelp
	case args[0] == "help" && len(args) == 2 && !strings.HasPrefix(args[1], "-"):
		args = []string{args[1], "-h"}
	}
	i := slices.IndexFunc(commands, func(c command) bool { return c.name == args[0] })
	if i < 0 {
		return nil, nil, usage, usageError("there is no command %q", args[0])
	}
	a.out.about = args[0]
	f := newFlags(args[0])
	run = commands[i].flags(f)
	err = parseFlags(f, args[1:])
	found := make(places)
	if err == nil {
		err = found.fromEnvironment(f, a.Env)
	}
	if err == nil {
		err = found.fromFile(f, a.opt.file)
	}
	return run, f.Args(), commands[i].help(), err
}

// lastWait bounds the end in order. A terminal or a pipe that takes no output would hold it up.
const lastWait = closeWait + 2*time.Second

// awaitSignal ends the run in order at the first signal, and at once at the second, or if that
// takes too long.
func (a *app) awaitSignal(cancel context.CancelFunc, over <-chan struct{}) {
	var late <-chan time.Time
	for {
		select {
		case s := <-a.Signals:
			number, _ := s.(syscall.Signal)
			if first := a.signal.Swap(int32(number)) == 0; first {
				cancel()
				late = time.After(lastWait)
				continue
			}
		case <-late:
		case <-over:
			return
		}
		a.restoreTerminal()
		os.Exit(exitSignal + int(a.signal.Load()))
	}
}

// exitSignal is added to a signal's number, as in shells.
const exitSignal = 128

// finish writes err, if any, and returns the exit status.
func (a *app) finish(err error) int {
	writeErr := a.out.flush()
	if number := a.signal.Load(); number != 0 {
		return exitSignal + int(number)
	}
	if status, ok := errors.AsType[statusError](err); ok {
		return int(status)
	}
	if err == nil && writeErr != nil && !errors.Is(writeErr, syscall.EPIPE) {
		err = fail.Errorf(proto.Internal, "standard output cannot be written: %w", writeErr)
	}
	// A reader that has closed the pipe is no failure.
	if err == nil || errors.Is(err, syscall.EPIPE) {
		return 0
	}
	exit := a.out.fail(a.opt.placed(err))
	a.out.flush()
	return exit
}
