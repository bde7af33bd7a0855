package main

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"chatsecure"
	"chatsecure/card"
	"chatsecure/proto"
)

// system is everything outside of the program. Tests put their own in its place.
type system struct {
	version        string
	roots          []byte // Mozilla's list of certificate authorities, PEM
	stdin          io.Reader
	stdout, stderr io.Writer
	env            func(string) string
	now            func() time.Time
	signals        <-chan os.Signal
	openTTY        func() (*os.File, error)                                       // the controlling terminal
	cards          func(context.Context, string, card.Options) (card.Card, error) // default card.Open
}

// app is one run of the program.
type app struct {
	system
	opt options
	out *display

	ttyLock sync.Mutex // guards what follows
	tty     *terminal  // the person, once somebody must be asked; see person
	noTTY   bool       // nobody is there

	signal atomic.Int32 // the number of the signal that ended the run
}

// statusError is an exit status that everything has been said about.
type statusError int

func (statusError) Error() string { return "said already" }

// run is the whole program. It returns the exit status.
func run(args []string, sys system) int {
	if sys.cards == nil {
		sys.cards = card.Open
	}
	opt, rest, err := parseGlobal(args, sys.env)
	a := &app{system: sys, opt: opt, out: newDisplay(sys, opt)}
	if err == nil && opt.version {
		a.out.line("client " + a.version)
		return a.finish(nil)
	}
	if errors.Is(err, errHelp) {
		a.out.text(usage())
		return a.finish(nil)
	}
	if err != nil {
		return a.finish(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go a.awaitSignal(cancel)
	return a.finish(a.command(ctx, rest))
}

// command runs the command that stands first in args, or the prompt.
func (a *app) command(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return a.runSession(ctx)
	}
	for _, c := range commands {
		if c.Name == args[0] {
			err := c.run(a, ctx, args[1:])
			if errors.Is(err, errHelp) {
				a.out.text(c.Help("client"))
				return nil
			}
			return err
		}
	}
	return chatsecure.Errorf(proto.Usage, "there is no command %q", args[0])
}

// awaitSignal ends the run in order at the first signal, and at once at the
// second.
func (a *app) awaitSignal(cancel context.CancelFunc) {
	for s := range a.signals {
		number, _ := s.(syscall.Signal)
		if !a.signal.CompareAndSwap(0, int32(number)) {
			a.restoreTerminal()
			os.Exit(exitSignal + int(number))
		}
		cancel()
	}
}

// exitSignal is added to a signal's number, as shells do.
const exitSignal = 128

// finish says what went wrong, if something did, and returns the exit status.
func (a *app) finish(err error) int {
	writeErr := a.out.flush()
	if number := a.signal.Load(); number != 0 {
		return exitSignal + int(number)
	}
	if status, ok := errors.AsType[statusError](err); ok {
		return int(status)
	}
	if err == nil && writeErr != nil && !errors.Is(writeErr, syscall.EPIPE) {
		err = &chatsecure.Error{Code: proto.Internal, Message: "standard output cannot be written: " + writeErr.Error(), Err: writeErr}
	}
	// A reader that has had enough is no failure.
	if err == nil || errors.Is(err, syscall.EPIPE) {
		return 0
	}
	a.out.fail(err)
	a.out.flush()
	return chatsecure.ExitStatus(err)
}
