package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// recvOptions are the flags of recv.
type recvOptions struct {
	n    int           // number of messages; 0: no end
	from string        // sender; "": all
	time time.Duration // 0: no end
}

func parseRecv(args []string) (o recvOptions, err error) {
	f := newFlags("recv")
	f.IntVar(&o.n, "n", 0, "")
	f.StringVar(&o.from, "from", "", "")
	f.DurationVar(&o.time, "for", 0, "")
	if err := parseFlags(f, args); err != nil {
		return o, err
	}
	given := make(map[string]bool)
	f.Visit(func(f *flag.Flag) { given[f.Name] = true })
	switch {
	case given["n"] && o.n < 1:
		return o, usageError("-n must be at least 1, not %d", o.n)
	case given["for"] && o.time <= 0:
		return o, usageError("-for must be positive, not %v", o.time)
	}
	if given["from"] {
		if err := proto.CheckName(o.from); err != nil {
			return o, usageError("-from takes one name, and %q is none: %v", o.from, err)
		}
	}
	return o, noArguments("recv", f.Args())
}

func runRecv(a *app, ctx context.Context, args []string) error {
	o, err := parseRecv(args)
	if err != nil {
		return err
	}
	c, err := a.connect(ctx, proto.TakesMessages, nil)
	if err != nil {
		return err
	}
	r := &receiver{presenter: a.presenter(c, nil), opt: o}
	err = r.run(ctx)
	patience := a.opt.timeout // the relay must get the receipts first
	if ctx.Err() != nil {
		patience = closeWait
	}
	return errors.Join(err, c.leave(patience))
}

// receiver shows messages until it has enough.
type receiver struct {
	*presenter
	opt  recvOptions
	seen int
}

func (r *receiver) run(ctx context.Context) error {
	waiting := ctx
	if r.opt.time > 0 {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, r.opt.time)
		defer cancel()
	}
	r.take = r.wants
	for !r.enough() {
		events, err := r.c.Next(waiting)
		shown, writeErr := r.present(events)
		if writeErr != nil {
			return writeErr
		}
		r.c.Shown(shown...)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, context.DeadlineExceeded):
			return r.timeOver()
		case errors.Is(err, io.EOF):
			return r.result()
		default:
			return err
		}
	}
	return r.result()
}

// wants reports whether a message is wanted, and counts it. Others stay unread.
func (r *receiver) wants(m *client.Message) bool {
	if r.enough() || r.opt.from != "" && !proto.SameName(m.From, r.opt.from) {
		return false
	}
	r.seen++
	return true
}

func (r *receiver) enough() bool { return r.opt.n > 0 && r.seen >= r.opt.n }

// timeOver is the end of -for. Fewer messages than -n are a failure.
func (r *receiver) timeOver() error {
	if r.seen < r.opt.n {
		return &fail.Error{
			Code:    proto.NotDelivered,
			Message: fmt.Sprintf("%d of %d messages came within %v", r.seen, r.opt.n, r.opt.time),
			Hint:    "allow more time with -for",
		}
	}
	return r.result()
}

// result returns the exit status of the errors told so far.
func (r *receiver) result() error { return toldStatus(r.worst) }
