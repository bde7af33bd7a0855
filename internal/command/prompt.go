package command

import (
	"context"
	"errors"
	"io"
	"time"

	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
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
	stop := func() {}
	if interactive {
		s.terminal = a.person()
		for _, p := range c.state.KnownPeers() {
			s.desk.names.add(p.Name)
		}
		stop = s.terminal.StartEditing(a.Env, s.desk.editor())
		defer stop() // also if it panics
		a.out.onScreen(s.terminal)
		s.people = true
	} else {
		s.lines = a.input()
	}
	err = s.run(ctx)
	stop()
	err = errors.Join(err, c.leave(closeWait))
	<-s.presented
	a.out.onScreen(nil)
	return err
}

// interactive reports whether a person types and sees all output.
func (a *app) interactive() bool {
	return isTerminal(a.Stdin) && isTerminal(a.Stdout) && !a.opt.json && !a.opt.batch
}

// promptRun is one stay at the prompt. run's goroutine owns it. A second
// goroutine shows events.
type promptRun struct {
	presenter // owned by the goroutine that shows events, once run has begun

	history  historySource
	now      func() time.Time
	patience time.Duration
	terminal *term.Terminal // the prompt, or nil for a pipe
	desk     desk           // names and receipts for the terminal
	lines    lineSource     // of the pipe
	failed   int            // exit status of the most severe failure of a line
	sent     bool           // a message was sent

	showing   chan struct{} // capacity 1: full while events are shown and their senders told
	presented chan struct{} // closed after the last event
}

func newPromptRun(out *display, c talker, patience time.Duration, now func() time.Time) *promptRun {
	return &promptRun{
		presenter: presenter{out: out, c: c, look: promptLook}, patience: patience, now: now,
		showing: make(chan struct{}, 1), presented: make(chan struct{}),
	}
}

// errQuit ends the session at the wish of the person.
var errQuit = errors.New("quit")

func (s *promptRun) run(ctx context.Context) error {
	reading, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go s.show(stop)
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
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil && !errors.Is(err, errQuit) && !errors.Is(err, io.EOF) {
		return err
	}
	return s.finish(ctx)
}

// show shows events until the client ends, and marks messages as read.
func (s *promptRun) show(stop context.CancelCauseFunc) {
	defer close(s.presented)
	if s.terminal != nil {
		defer s.terminal.RestoreOnPanic()
	}
	for {
		events, err := s.c.Next(context.Background())
		if s.terminal != nil {
			s.desk.note(s.terminal, events)
		}
		s.showing <- struct{}{}
		shown, writeErr := s.present(events)
		if writeErr == nil {
			s.c.Shown(shown...)
		} else if err == nil {
			// Nobody reads the output any more: messages stay unread.
			stop(writeErr)
			s.take = takeNone
		}
		<-s.showing
		if err != nil {
			stop(err)
			return
		}
	}
}

// stopShowing leaves all further messages unread: one shown while the client
// leaves would not be READ for its sender. An output that nobody reads delays
// it by no more than the patience.
func (s *promptRun) stopShowing(ctx context.Context) {
	waiting, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	select {
	case s.showing <- struct{}{}:
		s.take = takeNone
		<-s.showing
	case <-waiting.Done():
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
				err = s.execute(ctx, line.text)
			}
			if errors.Is(err, errQuit) || err != nil && ctx.Err() != nil {
				return ended(ctx, err)
			}
			if err != nil {
				s.failed = fail.MostSevere(s.failed, s.out.fail(err))
			}
			s.out.flush()
		}
	}
}

func (s *promptRun) nextLines(ctx context.Context) ([]inputLine, error) {
	if s.terminal == nil {
		return s.lines.wait(ctx)
	}
	typed, err := s.terminal.Prompt(ctx, func() string { return clock(s.now()) + " [" + proto.Visible(s.c.Name()) + "-" + s.c.Conn() + "] " })
	if err != nil && !errors.Is(err, term.ErrLineTooLong) {
		return nil, err
	}
	line := checkLine(0, []byte(typed.Text), err != nil)
	return []inputLine{line}, nil
}

// execute executes one line.
func (s *promptRun) execute(ctx context.Context, line string) error {
	c, err := parsePrompt(line)
	if err != nil {
		return err
	}
	switch c.verb {
	case "quit":
		return errQuit
	case "help":
		if s.out.json {
			s.out.say(promptHelp)
			return nil
		}
		s.out.text(promptHelp)
	case "list":
		online, err := s.c.List(ctx)
		if err != nil {
			return err
		}
		showList(s.out, online)
	case "whois":
		w, err := whois(ctx, s.c, c.arg)
		if err != nil {
			return err
		}
		return showWhois(s.out, w, false)
	case "history":
		if err := s.c.Written(ctx); ctx.Err() != nil {
			return err
		}
		return showHistory(s.out, s.history, c.arg)
	case "say":
		return s.say(ctx, c)
	}
	return nil
}

func (s *promptRun) say(ctx context.Context, c promptCommand) error {
	names := c.names
	if c.everyone {
		if names = s.c.Everyone(); len(names) == 0 {
			return &fail.Error{
				Code: proto.NoSuchName, Message: "you have talked with nobody since this client began",
				Hint: "begin with a name: john: hello there",
			}
		}
	}
	id, err := s.c.Send(ctx, names, c.text)
	if err != nil {
		return err
	}
	s.sent = true
	if s.terminal != nil {
		s.desk.sent(s.terminal, id, names)
	}
	if s.out.json {
		s.out.sentLater(sentObject{s.out.head("sent"), id, names})
	}
	return nil
}

// finish waits for sent messages. From a pipe it waits until all are READ, and
// ends as send does. A person who quits does not wait.
func (s *promptRun) finish(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	if s.terminal != nil {
		cancel()
		if outcome := s.c.Wait(waiting, history.StatusDelivered); outcome.ExitStatus() != 0 {
			s.out.notice("some messages were not delivered; history shows which")
		}
		return nil
	}
	exit := s.failed
	if s.sent {
		outcome := s.c.Wait(waiting, history.StatusRead)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		exit = fail.MostSevere(exit, s.out.outcome(outcome, nil))
	}
	return toldStatus(exit)
}
