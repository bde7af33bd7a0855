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
	zero bool          // texts exactly as they came, each with a NUL at its end
}

func (o *recvOptions) flags(f *flag.FlagSet) runner {
	f.Var(checked[int]{&o.n, positive}, "n", "")
	f.Var(checked[string]{&o.from, oneName}, "from", "")
	f.Var(checked[time.Duration]{&o.time, duration(1, forEver)}, "for", "")
	f.BoolVar(&o.zero, "0", false, "")
	return o.run
}

func (o *recvOptions) run(a *app, ctx context.Context, args []string) error {
	if err := noArguments("recv", args); err != nil {
		return err
	}
	if o.zero && a.opt.json {
		return usageError("-0 and -json exclude one another")
	}
	c, err := a.connect(ctx, proto.TakesMessages, nil)
	if err != nil {
		return err
	}
	r := &receiver{presenter: a.presenter(c, nil), opt: *o}
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
	if r.opt.zero {
		r.look = zeroLook
	}
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
