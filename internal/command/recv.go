package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"time"

	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// recvOptions are the flags of recv.
type recvOptions struct {
	n      int           // number of messages; 0: no end
	from   string        // sender; "": all
	anyone bool          // also people who are not accepted
	time   time.Duration // 0: no end
	zero   bool          // texts exactly as they came, each with a NUL at its end
}

func (o *recvOptions) flags(f *flag.FlagSet) runner {
	f.Var(checked[int]{&o.n, positive}, "n", "")
	f.Var(checked[string]{&o.from, oneName}, "from", "")
	f.BoolVar(&o.anyone, "from-anyone", false, "")
	f.Var(checked[time.Duration]{&o.time, duration(1, forEver)}, "for", "")
	f.BoolVar(&o.zero, "0", false, "")
	return alone(o.run)(f)
}

func (o *recvOptions) run(a *app, ctx context.Context) error {
	if o.zero && a.opt.json {
		return usageError("-0 and -json exclude one another")
	}
	c, err := a.connect(ctx, proto.TakesMessages, func(cfg *client.Config) { cfg.ReadAnyone = o.anyone })
	if err != nil {
		return err
	}
	r := &receiver{presenter: a.presenter(c, nil), opt: *o}
	r.quietFor(c.accepts)
	if _, known := c.state.KnownPeer(proto.FoldName(o.from)); o.from != "" && !known {
		asking, cancel := context.WithTimeout(ctx, a.opt.timeout)
		r.tellAbsent(asking)
		cancel()
	}
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
	held []client.Event    // messages of people who are not accepted
	told map[[32]byte]bool // identities of those about whom the answer was no
	gaps int               // that people who are not accepted have caused
}

// quietFor has gaps of people who are not accepted counted, unless messages of anybody are wanted.
func (r *receiver) quietFor(accepted func(name string) bool) {
	if !r.opt.anyone {
		r.quiet = accepted
	}
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
	defer r.tellHeld()
	for !r.enough() {
		events, err := r.c.Next(waiting)
		shown, writeErr := r.present(r.admit(ctx, events))
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

// tellAbsent says that the relay knows nobody by the wanted name either: it may be a slip.
func (r *receiver) tellAbsent(ctx context.Context) {
	online, err := r.c.List(ctx)
	if err == nil && !slices.ContainsFunc(online, func(o client.Online) bool { return proto.SameName(o.Name, r.opt.from) }) {
		r.out.notice("nobody by the name of %s is known here or connected; this waits until somebody comes",
			proto.Visible(r.opt.from))
	}
}

// wants reports whether a message is wanted, and counts it. Others stay unread.
func (r *receiver) wants(m *client.Message) bool {
	if r.enough() || !r.isFrom(m) {
		return false
	}
	r.seen++
	return true
}

func (r *receiver) isFrom(m *client.Message) bool {
	return r.opt.from == "" || proto.SameName(m.From, r.opt.from)
}

// admit holds back the messages of people who are not accepted. It returns the others, and the
// held messages of people who were accepted meanwhile. After -n messages it asks no question.
func (r *receiver) admit(ctx context.Context, events []client.Event) (admitted []client.Event) {
	coming := r.seen
	admit := func(ev client.Event) {
		ev.Message.Known = ev.Message.Known || r.c.Knows(ev.Message)
		admitted = append(admitted, ev)
		coming++
	}
	for _, ev := range events {
		if ev.Gap != nil && r.quiet != nil && !r.quiet(ev.Gap.Name) {
			r.gaps++
		}
		switch {
		case ev.Type == client.EventAccepted:
			r.held = slices.DeleteFunc(r.held, func(h client.Event) bool {
				known := r.c.Knows(h.Message)
				if known {
					admit(h)
				}
				return known
			})
		case ev.Message == nil || !r.isFrom(ev.Message) || r.opt.n > 0 && coming >= r.opt.n:
			admitted = append(admitted, ev)
		case r.opt.anyone || r.accepts(ctx, ev.Message):
			admit(ev)
		default:
			r.held = append(r.held, ev)
		}
	}
	return admitted
}

// accepts tells whether the sender of a message is accepted, and asks if need be. Without a person
// to ask, and under -batch, the answer is no.
func (r *receiver) accepts(ctx context.Context, m *client.Message) bool {
	if m.Known || r.c.Knows(m) {
		return true
	}
	if r.told[m.Identity] {
		return false
	}
	if r.c.Accept(ctx, m) == nil {
		return true
	}
	if r.told == nil {
		r.told = make(map[[32]byte]bool)
	}
	r.told[m.Identity] = true
	r.out.notice("%s is not accepted, so their messages stay unread and are not printed; to take them: %s",
		proto.Visible(m.From),
		r.out.words((&state.Refused{Target: proto.Visible(m.From), Value: proto.FormatHash(m.Identity)}).Accept()))
	return false
}

// tellHeld counts the messages that were not printed, and those that may be missing.
func (r *receiver) tellHeld() {
	if n := len(r.held); n > 0 {
		r.out.notice("messages that were not printed, of people who are not accepted: %d", n)
	}
	if r.gaps > 0 {
		r.out.notice("times that messages may be missing, of people who are not accepted: %d", r.gaps)
	}
}

func (r *receiver) enough() bool { return r.opt.n > 0 && r.seen >= r.opt.n }

// timeOver is the end of -for. Fewer messages than -n are a failure.
func (r *receiver) timeOver() error {
	if r.seen < r.opt.n {
		hint := "allow more time with -for"
		if len(r.held) > 0 {
			hint = "others came from people who are not accepted: client trust accept NAME IDENTITY, or recv -from-anyone"
		}
		return &fail.Error{
			Code:    proto.NotDelivered,
			Message: fmt.Sprintf("%d of %d messages came within %v", r.seen, r.opt.n, r.opt.time),
			Hint:    hint,
		}
	}
	return r.result()
}

// result returns the exit status of the errors told so far.
func (r *receiver) result() error { return toldStatus(r.worst) }
