package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"chatsecure"
	"chatsecure/crypto"
	"chatsecure/proto"
)

// sendLevels are the words of -wait.
var sendLevels = map[string]chatsecure.Status{
	"sent": chatsecure.StatusSent, "delivered": chatsecure.StatusDelivered, "read": chatsecure.StatusRead,
}

// sendOptions are the flags and arguments of send.
type sendOptions struct {
	level    chatsecure.Status
	waitPeer time.Duration
	names    []string
	text     string
	hasText  bool // else every line of standard input is a message
}

func parseSend(args []string) (o sendOptions, err error) {
	f := newFlags("send")
	level := f.String("wait", "delivered", "")
	f.DurationVar(&o.waitPeer, "wait-peer", 0, "")
	if err := parseFlags(f, args); err != nil {
		return o, err
	}
	var ok bool
	if o.level, ok = sendLevels[*level]; !ok {
		return o, usageError("-wait is sent, delivered or read, not %q", *level)
	}
	if o.waitPeer < 0 {
		return o, usageError("-wait-peer cannot be less than nothing")
	}
	if f.NArg() == 0 {
		return o, usageError("send needs a name to send to")
	}
	if o.names, err = parseNames(f.Arg(0)); err != nil {
		return o, err
	}
	if f.NArg() > 1 {
		o.text, o.hasText = strings.Join(f.Args()[1:], " "), true
	}
	return o, nil
}

func runSend(a *app, ctx context.Context, args []string) error {
	o, err := parseSend(args)
	if err != nil {
		return err
	}
	var lines lineSource
	if o.hasText {
		line := checkLine(0, []byte(o.text), false)
		if line.problem != nil {
			return line.problem
		}
		lines = &oneLineOnly{text: o.text}
	}
	c, err := a.connect(ctx, proto.TakesNone, func(cfg *chatsecure.ClientConfig) { cfg.WaitPeer = o.waitPeer })
	if err != nil {
		return err
	}
	if lines == nil {
		lines = a.input()
	}
	s := &sender{out: a.out, c: c, names: o.names, offer: func(err error) { a.offer(c.state, err) }}
	p := &presenter{out: a.out, c: c, offer: s.offer, take: takeNone}
	reading, followed := p.followAside(ctx)
	patience := a.opt.timeout + o.waitPeer
	if o.hasText {
		// There is nothing to read: the time runs from here.
		var cancel context.CancelFunc
		reading, cancel = context.WithTimeout(reading, patience)
		defer cancel()
	}
	stopFlush := a.out.flushNowAndThen()
	err = s.run(ctx, reading, lines, o.level, patience)
	err = errors.Join(err, c.leave())
	<-followed
	stopFlush()
	return err
}

// takeNone is for a command that shows no messages.
func takeNone(*chatsecure.Message) bool { return false }

// sender sends lines to names and keeps count of what went wrong.
type sender struct {
	out   *display
	c     talker
	names []string
	offer func(err error)
	worst int // exit status of the most severe refusal told
}

// run sends every line, waits until all has reached level, and says what has
// not. reading ends when the client does.
func (s *sender) run(ctx, reading context.Context, lines lineSource, level chatsecure.Status, patience time.Duration) error {
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
	exit := s.tell(outcome, cut)
	if exit = chatsecure.MostSevere(exit, s.worst); exit != 0 {
		return statusError(exit)
	}
	return nil
}

// tell says what failed, each reason once, and returns the exit status. cut is
// why not all lines were sent, or nil.
func (s *sender) tell(outcome chatsecure.Outcome, cut error) int {
	exit := chatsecure.MostSevere(outcome.ExitStatus(), chatsecure.ExitStatus(cut))
	if exit == 0 {
		return 0
	}
	failed := outcome.Failed
	same := func(e *chatsecure.Error) bool { return e.Code == chatsecure.AsError(cut).Code }
	if cut != nil && !slices.ContainsFunc(failed, same) {
		failed = append(failed, chatsecure.AsError(cut))
	}
	for _, e := range failed {
		s.offer(e)
		s.out.fail(e)
	}
	s.out.sayWhoHasIt(outcome)
	return exit
}

// sayWhoHasIt says of a message that some have got, and not all, how far it got
// to each: the reasons say only who failed.
func (d *display) sayWhoHasIt(outcome chatsecure.Outcome) {
	some, all := false, true
	var each []string
	for _, n := range outcome.Names {
		some = some || n.Sent > 0
		all = all && n.Open+n.Failed == 0
		each = append(each, howFar(n))
	}
	if some && !all && len(each) > 1 {
		d.say("client: error: not everybody has it: " + strings.Join(each, "; ") + "\n")
	}
}

// howFar says how far what was sent to one name got: a message, or of many
// how many.
func howFar(n chatsecure.NameOutcome) string {
	name, total := crypto.Visible(n.Name), n.Reached+n.Open+n.Failed
	if total == 1 {
		switch {
		case n.Read > 0:
			return name + " has read it"
		case n.Delivered > 0:
			return name + " has it, unread"
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

// sendAll sends until the lines or the context end, or nothing can be sent any
// more.
func (s *sender) sendAll(ctx context.Context, source lineSource) error {
	for {
		lines, err := source.ready()
		if err == nil && len(lines) == 0 {
			// Nothing to do for now: whoever reads the ids gets them.
			s.out.flush()
			lines, err = source.wait(ctx)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return ended(ctx, err)
		}
		for _, line := range lines {
			if line.problem != nil {
				s.refuse(line.problem)
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

// refuse says an error that does not stand in the outcome.
func (s *sender) refuse(err error) {
	s.offer(err)
	s.out.fail(err)
	s.worst = chatsecure.MostSevere(s.worst, chatsecure.ExitStatus(err))
}

// ended returns why a context ended rather than that it did.
func ended(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, ctx.Err()) {
		return cause
	}
	return err
}

// oneLineOnly is a lineSource of one text.
type oneLineOnly struct {
	text string
	done bool
}

func (o *oneLineOnly) ready() ([]inputLine, error) {
	if o.done {
		return nil, io.EOF
	}
	o.done = true
	return []inputLine{{text: o.text}}, nil
}

func (o *oneLineOnly) wait(context.Context) ([]inputLine, error) { return o.ready() }

// lineSays names a line of standard input in a sentence.
func lineSays(number int, what string) string {
	if number == 0 {
		return "the text cannot be sent: " + what
	}
	return fmt.Sprintf("line %d is not sent: %s", number, what)
}

// stdinIsTerminal reports whether somebody types at standard input.
func (a *app) stdinIsTerminal() bool {
	in, ok := a.stdin.(*os.File)
	return ok && isTerminal(in.Fd())
}
