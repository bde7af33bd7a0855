package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/proto"
)

// sendLevels are the values of -wait.
var sendLevels = map[string]history.Status{
	"sent": history.StatusSent, "delivered": history.StatusDelivered, "read": history.StatusRead,
}

// sendOptions are the flags and arguments of send.
type sendOptions struct {
	level    string
	waitPeer time.Duration
	live     bool // leaves no letter
	names    []string
	text     string
	hasText  bool // false: each line of standard input is a message
	zero     bool // or what ends with a NUL
}

func (o *sendOptions) flags(f *flag.FlagSet) runner {
	o.level = "delivered"
	f.Var(checked[string]{&o.level, oneOf("sent", "delivered", "read")}, "wait", "")
	f.Var(checked[time.Duration]{&o.waitPeer, duration(0, forEver)}, "wait-peer", "")
	f.BoolVar(&o.live, "live", false, "")
	f.BoolVar(&o.zero, "0", false, "")
	return o.run
}

// take reads the arguments.
func (o *sendOptions) take(args []string) (err error) {
	if len(args) == 0 {
		return usageError("send needs a name to send to")
	}
	if o.names, err = parseNames(args[0]); err != nil {
		return err
	}
	if len(args) > 1 {
		o.text, o.hasText = strings.Join(args[1:], " "), true
	}
	if o.zero && o.hasText {
		return usageError("-0 is for messages on standard input, and there is a text already")
	}
	return nil
}

func (o *sendOptions) run(a *app, ctx context.Context, args []string) error {
	err := o.take(args)
	if err != nil {
		return err
	}
	var lines lineSource
	if o.hasText {
		line := checkLine(0, []byte(o.text), false)
		if line.problem != nil {
			return line.problem
		}
		lines = onlyLine(o.text)
	}
	c, err := a.connect(ctx, proto.TakesNone, func(cfg *client.Config) {
		cfg.WaitPeer, cfg.Live = o.waitPeer, o.live
		if o.hasText && notOneself(cfg.Name, o.names) == nil { // otherwise there may be nothing to send
			cfg.Seek = o.names
		}
	})
	if err != nil {
		return err
	}
	if err := notOneself(c.Name(), o.names); err != nil {
		return errors.Join(err, c.leave(closeWait))
	}
	switch {
	case o.zero:
		lines = newPipedLines(a.Stdin, 0)
	case lines == nil:
		lines = a.input()
	}
	s := &sender{out: a.out, c: c, names: o.names}
	reading, followed := a.presenter(c, takeNone).followAside(ctx)
	patience := a.opt.timeout + o.waitPeer
	if o.hasText {
		// Without input to read, the time runs from here.
		var cancel context.CancelFunc
		reading, cancel = context.WithTimeout(reading, patience)
		defer cancel()
	}
	stopFlush := every(flushEvery, func() { a.out.flush() })
	err = s.run(ctx, reading, lines, sendLevels[o.level], patience)
	err = errors.Join(err, c.leave(closeWait))
	<-followed
	stopFlush()
	return err
}

// sender sends lines to names and counts failures.
type sender struct {
	out   *display
	c     talker
	names []string
	worst int // exit status of the most severe refusal of a line
}

// run sends every line, waits until all have reached level, and reports
// failures. reading ends when the client does.
func (s *sender) run(
	ctx, reading context.Context, lines lineSource, level history.Status, patience time.Duration,
) error {
	cut := s.sendAll(reading, lines)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	waiting, done := context.WithTimeout(ctx, patience)
	if _, limited := reading.Deadline(); limited {
		waiting = reading
	}
	outcome := s.c.Wait(waiting, level)
	done()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return toldStatus(fail.MostSevere(s.out.outcome(outcome, cut, s.c.Here), s.worst))
}

// outcome writes each failure once, and what the relay keeps, and returns the exit status. cut is
// the reason why not all lines were sent, or nil. here tells whether somebody is connected.
func (d *display) outcome(outcome client.Outcome, cut error, here func(name string) bool) int {
	exit := fail.MostSevere(outcome.ExitStatus(), fail.ExitStatus(cut))
	if exit == 0 {
		if !d.quiet {
			d.sayKept(outcome, here)
		}
		return 0
	}
	failed := outcome.Failed
	same := func(e *fail.Error) bool { return e.Code == fail.AsError(cut).Code }
	if cut != nil && !slices.ContainsFunc(failed, same) {
		failed = append(failed, fail.AsError(cut))
	}
	for _, e := range failed {
		d.fail(e)
	}
	d.sayWhoHasIt(outcome)
	d.sayKept(outcome, here)
	return exit
}

// sayKept tells for each recipient what the relay keeps. Under -q it gives the reason of a status
// that is not 0.
func (d *display) sayKept(outcome client.Outcome, here func(name string) bool) {
	for _, n := range outcome.Names {
		what, where := "it", " is not here"
		switch total := n.Total(); {
		case n.Boxed == 0:
			continue
		case n.Boxed < total:
			what = fmt.Sprintf("%d of %d messages", n.Boxed, total)
		case total > 1:
			what = "them"
		}
		if here(n.Name) {
			where = " does not answer"
		}
		d.say(sentence("notice", proto.Visible(n.Name)+where+"; the relay keeps "+what+" until "+d.lastDay(n.Until)) + "\n")
	}
}

// lastDay is the day of an end to come, with the hour if that is near.
func (d *display) lastDay(end time.Time) string {
	if end.Sub(d.now()) < 24*time.Hour {
		return end.Local().Format("2006-01-02 15:04")
	}
	return day(end)
}

// sayWhoHasIt tells for each recipient how far a message got, if it reached
// some and not all: the errors name only failures.
func (d *display) sayWhoHasIt(outcome client.Outcome) {
	some, all := false, true
	var each []string
	for _, n := range outcome.Names {
		some = some || n.Sent > 0
		all = all && n.Open+n.Failed == 0 // the relay gives them what it keeps
		each = append(each, howFar(n))
	}
	if some && !all && len(each) > 1 {
		d.say(sentence("error", "not everybody has it: "+strings.Join(each, "; ")) + "\n")
	}
}

// howFar describes the progress of one recipient's message, or of many by
// number.
func howFar(n client.NameOutcome) string {
	name, total := proto.Visible(n.Name), n.Total()
	if total == 1 {
		switch {
		case n.Read > 0:
			return name + " has read it"
		case n.Delivered > 0:
			return name + " has it, unread"
		case n.Boxed > 0:
			return "the relay keeps it for " + name
		case n.Sent > 0:
			return "the relay has taken it for " + name
		}
		return name + " has not got it"
	}
	if n.Delivered == 0 && n.Sent > 0 {
		return fmt.Sprintf("the relay has taken %d of %d for %s", n.Sent, total, name)
	}
	return fmt.Sprintf("%s has got %d of %d, and read %d", name, n.Delivered, total, n.Read)
}

// sendAll sends until the lines end, the context ends, or nothing can be sent.
func (s *sender) sendAll(ctx context.Context, source lineSource) error {
	for {
		s.out.flush() // the reader of the ids gets them before the wait
		lines, err := source(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return ended(ctx, err)
		}
		for _, line := range lines {
			if line.problem != nil {
				s.worst = fail.MostSevere(s.worst, s.out.fail(line.problem))
				continue
			}
			id, err := s.c.Send(ctx, s.names, line.text)
			if err != nil {
				return ended(ctx, err)
			}
			if s.out.json {
				s.out.sentLater(sentObject{s.out.head("sent"), id, s.names})
			} else {
				s.out.line(id)
			}
		}
	}
}

// ended returns the cause of a context that ended, instead of err.
func ended(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, ctx.Err()) {
		return cause
	}
	return err
}
