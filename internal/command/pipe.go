package command

import (
	"context"
	"errors"
	"flag"
	"io"
	"syscall"
	"time"

	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/term"
	"chatsecure/proto"
)

// pipeOptions are the flags of pipe.
type pipeOptions struct {
	send, recv bool // neither means both ways
	waitPeer   time.Duration
}

func (o *pipeOptions) flags(f *flag.FlagSet) runner {
	f.BoolVar(&o.send, "send", false, "")
	f.BoolVar(&o.recv, "recv", false, "")
	f.Var(checked[time.Duration]{&o.waitPeer, duration(0, forEver)}, "wait-peer", "")
	return o.run
}

// run carries bytes between standard input and output and the peer's pipe.
func (o *pipeOptions) run(a *app, ctx context.Context, args []string) error {
	if len(args) != 1 {
		return usageError("pipe needs one name")
	}
	name, err := oneName(args[0])
	if err != nil {
		return usageError("%q is not a name: %w", name, err)
	}
	if a.opt.json && !o.send {
		return usageError("a pipe writes the peer's bytes to standard output, " +
			"and -json would mix with them")
	}
	c, err := a.connect(ctx, proto.TakesPipe, func(cfg *client.Config) { cfg.WaitPeer = o.waitPeer })
	if err != nil {
		return err
	}
	if err := notOneself(c.Name(), []string{name}); err != nil {
		return errors.Join(err, c.leave(closeWait))
	}
	_, followed := a.presenter(c, takeNone).followAside(ctx)
	in, out := a.Stdin, a.Stdout // nil for a way that is not used
	if isTerminal(in) {
		in = &afterQuestions{Reader: in, terminal: a.person()}
	}
	if o.send {
		out = nil
	}
	if o.recv {
		in = nil
	}
	report, shown := a.progress(*o)
	err = c.Pipe(ctx, name, in, out, report)
	shown()
	if errors.Is(err, syscall.EPIPE) {
		err = statusError(fail.ExitFailure) // the reader has closed; not all bytes arrived
	}
	err = errors.Join(err, c.leave(closeWait))
	<-followed
	return err
}

// afterQuestions reads a terminal once the questions are over. The lines that were typed before
// them come first.
type afterQuestions struct {
	io.Reader
	terminal *term.Terminal // nil: nobody is asked
	early    []byte
}

func (r *afterQuestions) Read(b []byte) (int, error) {
	if r.terminal != nil {
		r.early, r.terminal = r.terminal.Untaken(), nil
	}
	if len(r.early) == 0 {
		return r.Reader.Read(b)
	}
	n := copy(b, r.early)
	r.early = r.early[n:]
	return n, nil
}
