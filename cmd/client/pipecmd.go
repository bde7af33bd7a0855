package main

import (
	"context"
	"errors"
	"syscall"
	"time"

	"chatsecure"
	"chatsecure/proto"
)

// pipeOptions are the flags and the argument of pipe.
type pipeOptions struct {
	send, recv bool // neither: both ways
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
		return o, usageError("-wait-peer cannot be less than nothing")
	case f.NArg() != 1:
		return o, usageError("pipe needs one name")
	}
	o.name = f.Arg(0)
	if err := proto.CheckName(o.name); err != nil {
		return o, usageError("%q is not a name: %v", o.name, err)
	}
	return o, nil
}

// runPipe carries bytes between standard input and output here and those of a
// pipe of the peer's.
func runPipe(a *app, ctx context.Context, args []string) error {
	o, err := parsePipe(args)
	if err != nil {
		return err
	}
	if a.opt.json && !o.send {
		return usageError("a pipe writes the peer's bytes to standard output, and -json would mix with them")
	}
	c, err := a.connect(ctx, proto.TakesPipe, func(cfg *chatsecure.ClientConfig) { cfg.WaitPeer = o.waitPeer })
	if err != nil {
		return err
	}
	p := &presenter{out: a.out, c: c, offer: func(err error) { a.offer(c.state, err) }, take: takeNone}
	_, followed := p.followAside(ctx)
	in, out := a.stdin, a.stdout // a nil one is a way that is not used
	if o.send {
		out = nil
	}
	if o.recv {
		in = nil
	}
	report, shown := (func(chatsecure.PipeProgress))(nil), func() {}
	if a.showsProgress(o) {
		p := newPipeProgress(a.out, a.now())
		report, shown = p.report, p.end
	}
	err = c.Pipe(ctx, o.name, in, out, report)
	shown()
	a.offer(c.state, err)
	if errors.Is(err, syscall.EPIPE) {
		err = statusError(1) // whoever read has had enough; the bytes did not all arrive
	}
	err = errors.Join(err, c.leave())
	<-followed
	return err
}
