package command

import (
	"context"
	"errors"
	"syscall"
	"time"

	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// pipeOptions are the flags and the argument of pipe.
type pipeOptions struct {
	send, recv bool // neither means both ways
	waitPeer   time.Duration
	name       string
}

func parsePipe(args []string) (o pipeOptions, err error) {
	f := newFlags("pipe")
	f.BoolVar(&o.send, "send", false, "")
	f.BoolVar(&o.recv, "recv", false, "")
	f.DurationVar(&o.waitPeer, "wait-peer", 0, "")
	if err := parseFlags(f, args); err != nil {
		return o, err
	}
	switch {
	case o.send && o.recv:
		return o, usageError("-send and -recv exclude each other; without them a pipe goes both ways")
	case o.waitPeer < 0:
		return o, usageError("-wait-peer cannot be negative")
	case f.NArg() != 1:
		return o, usageError("pipe needs one name")
	}
	o.name = f.Arg(0)
	if err := proto.CheckName(o.name); err != nil {
		return o, usageError("%q is not a name: %v", o.name, err)
	}
	return o, nil
}

// runPipe carries bytes between standard input and output and the peer's pipe.
func runPipe(a *app, ctx context.Context, args []string) error {
	o, err := parsePipe(args)
	if err != nil {
		return err
	}
	if a.opt.json && !o.send {
		return usageError("a pipe writes the peer's bytes to standard output, and -json would mix with them")
	}
	c, err := a.connect(ctx, proto.TakesPipe, func(cfg *client.Config) { cfg.WaitPeer = o.waitPeer })
	if err != nil {
		return err
	}
	_, followed := a.presenter(c, takeNone).followAside(ctx)
	in, out := a.Stdin, a.Stdout // nil for a way that is not used
	if o.send {
		out = nil
	}
	if o.recv {
		in = nil
	}
	report, shown := (func(client.PipeProgress))(nil), func() {}
	if a.showsProgress(o) {
		p := newPipeProgress(a.out, a.Now())
		report, shown = p.report, p.end
	}
	err = c.Pipe(ctx, o.name, in, out, report)
	shown()
	if errors.Is(err, syscall.EPIPE) {
		err = statusError(fail.ExitFailure) // the reader has closed; not all bytes arrived
	}
	err = errors.Join(err, c.leave(closeWait))
	<-followed
	return err
}
