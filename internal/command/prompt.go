package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/internal/state"
	"chatsecure/internal/term"
	"chatsecure/proto"
)

// runSession is the client without a command: the prompt at a terminal, or the
// same commands from a pipe, one a line.
func (a *app) runSession(ctx context.Context, _ []string) error {
	if err := a.firstMinutes(ctx); err != nil {
		return err
	}
	interactive := a.interactive()
	c, err := a.connect(ctx, proto.TakesMessages, func(cfg *client.Config) {
		cfg.Persistent = interactive
		cfg.Receipts = cfg.Receipts || interactive
	})
	if err != nil {
		return err
	}
	s := newPromptRun(a.out, c, a.opt.timeout, a.Now)
	s.history = historyIn(c.state)
	s.trust = func(args []string) error {
		return a.trustIn(func() (*state.State, error) { return c.state, nil }, args)
	}
	stop := func() {}
	if interactive {
		s.atTerminal(a.person())
		s.long = a.opt.prompt == promptLong || term.IsDumb(a.Env)
		s.quiet = c.accepts
		a.asked.Store(&s.questions)
		defer a.asked.Store(nil)
		for _, p := range c.state.KnownPeers() {
			s.desk.names.add(p.Name)
		}
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + keyThreads)
		stop = s.terminal.StartEditing(a.Env, s.desk.complete)
		defer stop() // also if it panics
		a.out.onScreen(s.terminal)
	} else {
		s.lines = a.input()
	}
	err = s.run(ctx)
	s.questions.close()
	stop()
	err = errors.Join(err, c.leave(closeWait))
	<-s.presented
	a.out.onScreen(nil)
	return err
}

// The values of -prompt.
const (
	promptShort = "short"
	promptLong  = "long"
)

// keyThreads are threads beside those that keep the processors busy, so that the
// system gives a key its turn at once. The Go scheduler lets it wait until a
// goroutine that decrypts a flood of messages has had its time.
const keyThreads = 4

// interactive reports whether a person types and sees all output.
func (a *app) interactive() bool {
	return isTerminal(a.Stdin) && isTerminal(a.Stdout) && !a.opt.json && !a.opt.batch
}

// promptRun is one stay at the prompt. run's goroutine owns it. A second
// goroutine shows events.
type promptRun struct {
	presenter // owned by the goroutine that shows events, once run has begun

	history   historySource
	reading   chan struct{} // capacity 1: full while the history is read
	now       func() time.Time
	patience  time.Duration
	terminal  *term.Terminal // the prompt, or nil for a pipe
	long      bool           // the prompt is the original's
	desk      desk           // names and receipts for the terminal
	questions questions      // to the person
	refusals  refusals
	trust     func(args []string) error // is the command trust
	lines     lineSource                // of the pipe
	receiver  *receiver                 // of the pipe: whose messages are printed
	failed    int                       // exit status of the most severe failure of a line
	sent      bool                      // a message was sent

	soon func(wait time.Duration, f func()) // calls f after some time

	answers sync.WaitGroup // of the questions that are open
	open    chan struct{}  // has one element for each of them

	showing   chan struct{} // capacity 1: full while events are shown and their senders told
	presented chan struct{} // closed after the last event
	leaving   atomic.Bool   // all further messages stay unread
	lacking   bool          // at the end of a stay at a terminal, somebody lacks a message
}

func newPromptRun(out *display, c talker, patience time.Duration, now func() time.Time) *promptRun {
	s := &promptRun{
		presenter: presenter{out: out, c: c, look: promptLook}, patience: patience, now: now, open: make(chan struct{}, maxOpen),
		reading: make(chan struct{}, 1), showing: make(chan struct{}, 1), presented: make(chan struct{}),
		soon: func(wait time.Duration, f func()) { time.AfterFunc(wait, f) },
	}
	s.receiver = &receiver{presenter: &s.presenter}
	s.take = func(*client.Message) bool { return !s.leaving.Load() }
	return s
}

// atTerminal makes it the prompt of a person.
func (s *promptRun) atTerminal(t *term.Terminal) {
	s.receiver = nil
	s.terminal, s.people, s.quoted, s.met = t, true, s.desk.progress.quoted, s.questions.introduce
	s.desk.progress.asked = func(name string) bool { return s.questions.holdUp(name, s.quiet != nil && s.quiet(name)) }
}

// errQuit ends the session at the wish of the person.
var errQuit = errors.New("quit")

func (s *promptRun) run(ctx context.Context) error {
	reading, stop := context.WithCancelCause(ctx)
	defer s.answers.Wait()
	defer stop(nil)
	go s.show(reading, stop)
	defer s.stopShowing(ctx)
	if s.people {
		if err := s.c.Watch(ctx); err != nil {
			return err
		}
	}
	if s.terminal != nil {
		defer s.desk.open(ctx, s.c)()
	}
	err := s.readAll(reading)
	stop(nil)
	if s.terminal != nil && s.sent {
		waiting, cancel := context.WithTimeout(ctx, lastMoment)
		defer cancel()
		s.lacking = s.c.Wait(waiting, history.StatusDelivered).ExitStatus() != 0
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil && !errors.Is(err, errQuit) && !errors.Is(err, io.EOF) {
		return err
	}
	return s.finish(ctx)
}

// show shows events until the client ends, and marks messages as read.
func (s *promptRun) show(ctx context.Context, stop context.CancelCauseFunc) {
	defer close(s.presented)
	if s.terminal != nil {
		defer s.terminal.RestoreOnPanic()
	}
	for {
		events, err := s.nextEvents(ctx)
		if s.receiver != nil {
			events = s.receiver.admit(ctx, events)
		}
		s.showing <- struct{}{}
		if s.terminal != nil {
			s.desk.note(events, s.setStatus)
		}
		shown, writeErr := s.present(events)
		if writeErr == nil {
			s.c.Shown(shown...)
		} else if err == nil {
			// Nobody reads the output any more: messages stay unread.
			stop(writeErr)
			s.leaving.Store(true)
		}
		<-s.showing
		if err != nil {
			if s.receiver != nil {
				s.receiver.tellHeld()
			}
			stop(err)
			return
		}
	}
}

// nextEvents waits for events, or until something is due that is told by time: messages that wait,
// and the sum of a flood. Once no more lines are read, messages wait no longer.
func (s *promptRun) nextEvents(reading context.Context) ([]client.Event, error) {
	ctx, cancel := context.Background(), func() {}
	if s.terminal != nil {
		names, due := s.desk.progress.overdue(time.Now())
		if reading.Err() == nil {
			s.waiting(names)
		}
		if sum := s.flood.due(); due.IsZero() || !sum.IsZero() && sum.Before(due) {
			due = sum
		}
		if !due.IsZero() {
			ctx, cancel = context.WithDeadline(ctx, due)
		}
	}
	defer cancel()
	events, err := s.c.Next(ctx)
	if err != nil && err == ctx.Err() {
		return nil, nil
	}
	for i := range events {
		if r := events[i].Receipt; r != nil {
			s.out.awaitSent(r.No)
		}
		if events[i].Type == client.EventBack {
			s.desk.progress.back(time.Now())
		}
		s.refusals.note(refusedIn(&events[i]))
	}
	return events, err
}

// stopShowing leaves all further messages unread: one shown while the client
// leaves would not be READ for its sender. An output that nobody reads delays
// it by no more than the patience. At a terminal it tells what was not delivered.
func (s *promptRun) stopShowing(ctx context.Context) {
	s.leaving.Store(true)
	patience := s.patience
	if s.terminal != nil {
		ctx, patience = context.WithoutCancel(ctx), lastMoment
	}
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case s.showing <- struct{}{}:
		s.over = s.terminal != nil
		if s.lacking {
			s.tellUndelivered()
		}
		<-s.showing
	case <-waiting.Done():
	}
}

// tellUndelivered tells which messages are not delivered, as far as that is known.
func (s *promptRun) tellUndelivered() {
	lines, more := s.desk.progress.undelivered()
	for _, line := range lines[:min(len(lines), maxUndelivered)] {
		s.out.notice("%s", line)
	}
	if more || len(lines) > maxUndelivered {
		s.out.notice("more messages were perhaps not delivered; history shows them")
	}
}

// readAll executes lines until their end, the end of the client, or quit.
func (s *promptRun) readAll(ctx context.Context) error {
	for {
		lines, err := s.nextLines(ctx)
		if err != nil {
			return ended(ctx, err)
		}
		for _, line := range lines {
			err := error(line.problem)
			if line.problem == nil {
				err = s.execute(ctx, line)
			}
			if errors.Is(err, errQuit) || err != nil && ctx.Err() != nil {
				return ended(ctx, err)
			}
			if err != nil {
				if line.problem == nil {
					err = s.withRecall(err)
				}
				s.failed = fail.MostSevere(s.failed, s.out.fail(err))
			}
			s.out.flush()
		}
	}
}

func (s *promptRun) nextLines(ctx context.Context) ([]inputLine, error) {
	if s.terminal == nil {
		return s.lines(ctx)
	}
	typed, err := s.typed(ctx)
	if err != nil && !errors.Is(err, term.ErrLineTooLong) {
		return nil, err
	}
	line := checkLine(0, []byte(typed.Text), err != nil)
	line.pasted = typed.Pasted
	return []inputLine{line}, nil
}

// withRecall adds to the error of a typed line that it is not lost.
func (s *promptRun) withRecall(err error) error {
	if _, told := errors.AsType[statusError](err); told || s.terminal == nil || !s.terminal.Recalls() {
		return err
	}
	e := *fail.AsError(err)
	e.Hint = strings.TrimPrefix(e.Advice()+"; Up brings the line back", "; ")
	return &e
}

// prompt is the original's with the time and oneself, or short. Both name those whom bare lines go
// to.
func (s *promptRun) prompt() string {
	to := ""
	if names := s.desk.talksTo(); len(names) > 2 {
		to = fmt.Sprintf("%s,+%d", visibleNames(names[:1]), len(names)-1)
	} else {
		to = proto.Visible(strings.Join(names, ","))
	}
	if !s.long {
		return to + "> "
	}
	if to != "" {
		to += "> "
	}
	return clock(s.now()) + " [" + proto.Visible(s.c.Name()) + "-" + s.c.Conn() + "] " + to
}

// execute executes one line.
func (s *promptRun) execute(ctx context.Context, line inputLine) error {
	asked := s.questions.first(false)
	current := s.desk.talksTo()
	if asked != nil && asked.shown {
		current = nil // no line without a name is for them now
	}
	c, err := promptView{current, s.known}.parse(line.text)
	if err != nil && asked != nil && asked.shown {
		return &fail.Error{
			Code: proto.Usage, Message: quoteText(line.text) + " does not answer the question",
			Hint: "answer y or n once (y/n) is there; a message begins with a name, as in john: hello",
		}
	}
	if err != nil {
		name, text, _ := strings.Cut(strings.TrimSpace(line.text), " ")
		if s.desk.talksTo() == nil && text != "" && s.desk.names.has(name) { // bob hello
			return promptError("%s is no command; %[1]s: %s says it to %[1]s", proto.Visible(name), proto.Visible(proto.Clip(text, 12)))
		}
		return err
	}
	if line.pasted && c.verb != "" && c.verb != "say" {
		return promptError("nothing pasted is a command: type %s by hand", quoteText(line.text))
	}
	switch c.verb {
	case "quit", "exit":
		return errQuit
	case "help":
		if s.out.json {
			s.out.say(promptHelp)
			return nil
		}
		s.out.text(promptHelp)
	case "list":
		return s.ask(ctx, c, func(ctx context.Context) error {
			online, err := s.c.List(ctx)
			if err == nil {
				showList(s.out, online, s.quiet)
			}
			return err
		})
	case "whois":
		return s.ask(ctx, c, func(ctx context.Context) error {
			w, err := s.c.Whois(ctx, c.args[0])
			if err != nil {
				return err
			}
			return showWhois(s.out, w, false)
		})
	case "history":
		return s.ask(ctx, c, func(ctx context.Context) error {
			if err := s.c.Written(ctx); ctx.Err() != nil {
				return err
			}
			t := historyTable{query: history.Query{N: latestMessages}, original: s.long}
			if len(c.args) > 0 {
				t.query.Peer = c.args[0]
			}
			if len(c.args) > 1 {
				t.query.N, _ = positive(c.args[1]) // parseVerb has checked it
			}
			if s.terminal != nil {
				return t.showLatest(ctx, s.out, s.history, s.reading)
			}
			found, err := s.history(t.query)
			if err != nil {
				return err
			}
			return t.show(s.out, found)
		})
	case "to":
		return s.to(c.names)
	case "trust":
		args, err := s.refusals.whole(c.args)
		if err != nil {
			return err
		}
		if err = s.trust(args); err == nil && len(args) > 1 && args[0] != "unblock" && s.questions.decided(args[1], args[0] == "accept") {
			s.out.notice("the question about %s is over: trust %s is the answer", proto.Visible(args[1]), args[0])
		}
		return err
	case "pin":
		return s.pin(ctx)
	case "say":
		return s.say(ctx, c)
	}
	return nil
}

// known reports whether a name has been seen here, or is one's own. A script knows its names.
func (s *promptRun) known(name string) bool {
	return s.terminal == nil || s.desk.names.has(name) || proto.SameName(name, s.c.Name()) ||
		s.c.Here(name)
}

// maxOpen bounds the open questions to the relay and the history.
const maxOpen = 8

// ask runs a question whose answer may take its time. At a terminal the prompt is there again at
// once, and the answer comes when it comes; in a pipe the answers keep their order.
func (s *promptRun) ask(ctx context.Context, c promptCommand, question func(context.Context) error) error {
	what := strings.Join(append([]string{c.verb}, c.args...), " ")
	bounded := func() error {
		ctx, cancel := context.WithTimeout(ctx, s.patience)
		defer cancel()
		err := question(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			err = fail.Errorf(proto.Timeout, "%s has had no answer within %v", what, s.patience)
		}
		return err
	}
	if s.terminal == nil {
		return bounded()
	}
	select {
	case s.open <- struct{}{}:
	default:
		return &fail.Error{
			Code: proto.Busy, Message: fmt.Sprintf("%s is not asked: %d questions have no answer yet", what, maxOpen),
			Hint: "wait for one of them",
		}
	}
	s.answers.Go(func() {
		defer s.terminal.RestoreOnPanic()
		if err := bounded(); err != nil && ctx.Err() == nil {
			s.out.fail(err)
		}
		<-s.open
	})
	return nil
}

// to makes names those whom bare lines go to. Without any there is nobody.
func (s *promptRun) to(names []string) error {
	if err := notOneself(s.c.Name(), names); err != nil {
		return err
	}
	s.desk.names.add(names...)
	s.desk.current.Store(&names)
	return nil
}

// notOneself refuses one's own name among those to send to.
func notOneself(self string, names []string) error {
	for _, name := range names {
		if proto.SameName(name, self) {
			message := proto.Visible(name) + " is you, and messages and pipes go to others"
			return &fail.Error{Code: proto.Usage, Message: message, Hint: "name somebody else"}
		}
	}
	return nil
}

func (s *promptRun) say(ctx context.Context, c promptCommand) error {
	names := c.names
	if c.everyone {
		names = slices.DeleteFunc(s.c.Everyone(), func(name string) bool { return s.quiet != nil && !s.quiet(name) })
		if len(names) == 0 {
			return &fail.Error{
				Code: proto.NoSuchName, Message: "nobody whom you have accepted has a conversation with you now",
				Hint: "begin with a name: john: hello there",
			}
		}
	}
	if err := notOneself(s.c.Name(), names); err != nil {
		return err
	}
	id, err := s.c.Send(ctx, names, c.text)
	if err != nil {
		return err
	}
	s.sent = true
	for _, name := range names {
		if near := s.desk.names.near(name); !s.known(name) && len(near) > 0 {
			s.out.notice("nobody by the name of %s has been seen here, but %s; the message waits for %[1]s, and leaving ends that",
				proto.Visible(name), visibleNames(near))
		}
	}
	if s.terminal != nil {
		s.desk.names.add(names...)
		s.setStatus(s.desk.progress.sent(id, names, c.text))
	}
	if s.out.json {
		s.out.sentLater(sentObject{s.out.head("sent"), id, names})
	} else {
		s.out.wasSent()
	}
	return nil
}

// setStatus shows how far the last message has got, and the question that waits.
func (s *promptRun) setStatus(progress string) {
	if question := s.questions.status(); question != "" && progress != "" {
		progress += "; " + question
	} else if question != "" {
		progress = question
	}
	s.terminal.SetStatus(progress)
}

// lastMoment bounds the wait of a person who quits right after a message.
const lastMoment = time.Second

// maxUndelivered bounds the undelivered messages that are told at the end.
const maxUndelivered = 10

// finish waits until messages from a pipe are READ, and ends as send does. A person who quits does
// not wait, but for a moment, and what was not delivered is no failure of the stay.
func (s *promptRun) finish(ctx context.Context) error {
	if s.terminal != nil {
		return nil
	}
	waiting, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	exit := s.failed
	if s.sent {
		outcome := s.c.Wait(waiting, history.StatusRead)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		exit = fail.MostSevere(exit, s.out.outcome(outcome, nil, s.c.Here))
	}
	return toldStatus(exit)
}
