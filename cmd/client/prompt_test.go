package main

import (
	"bufio"
	"context"
	"flag"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"chatsecure"
	"chatsecure/crypto"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: the terminal shows\n%s\nwant\n%s", name, got, want)
	}
}

// fakeHistory is a history of two messages.
func fakeHistory() ([]*chatsecure.HistoryMessage, []chatsecure.Finding, error) {
	at := time.Date(2026, 11, 22, 9, 58, 30, 0, time.Local)
	return []*chatsecure.HistoryMessage{
		{
			ID: "139934430395280", Outgoing: true, From: crypto.End{Name: "Ana"}, To: []string{"bruno"}, Text: "Bom dia!", Time: at,
			Deliveries: []chatsecure.HistoryDelivery{{Name: "Bruno", Status: chatsecure.StatusRead}},
		},
		{
			ID: "139934430395281", From: crypto.End{Name: "Bruno"}, To: []string{"ana"}, Text: "Olá\x1b", Time: at.Add(time.Minute),
			Deliveries: []chatsecure.HistoryDelivery{{Name: "Ana", Status: chatsecure.StatusDelivered}},
		},
	}, nil, nil
}

// TestPromptLooksAsIn2016 plays a whole stay at the prompt.
func TestPromptLooksAsIn2016(t *testing.T) {
	at := time.Date(2026, 11, 22, 9, 58, 20, 0, time.Local)
	clockAt := func(seconds int) { at = time.Date(2026, 11, 22, 9, 58, seconds, 0, time.Local) }
	c := newFakeTalker()
	person := fakePerson("Bruno", 1)
	c.online = []chatsecure.Online{{Name: "Bruno", Conn: "7f3a000000000000", Level: 1}, {Name: "Ana", Conn: c.conn, Level: 1, Self: true}}
	c.whois = map[string]*chatsecure.Whois{"Bruno": {Name: "Bruno", Conns: []chatsecure.WhoisConn{
		{Conn: "7f3a000000000000", Bundle: &crypto.Bundle{X509: []byte{1}}, Person: person},
		{Conn: "8000000000000000", Bundle: &crypto.Bundle{X509: []byte{1}}, Person: person},
	}}}
	say := func(m chatsecure.Message) func() {
		return func() {
			c.events <- []chatsecure.Event{{Type: chatsecure.EventMessage, Time: time.Date(2026, 11, 22, 9, 58, 36, 0, time.Local), Message: &m}}
			<-c.seen
		}
	}
	from := func(conn, text string, to ...string) chatsecure.Message {
		return chatsecure.Message{From: "Bruno", FromConn: conn, Text: text, To: to, Person: person}
	}
	first := from("7f3a000000000000", "Bom dia!", "ana")
	first.First = true
	hostile := from("7f3a000000000000", "a\x1b]52;c;AAAA\x07\rb\u202ec\n", "ana")

	out := new(paper)
	a := &app{system: system{now: func() time.Time { return at }}, opt: options{}}
	a.out = newDisplay(a.system, a.opt)
	a.tty = fakeTerminal(out,
		step{types: "Ana"},
		step{types: "what?"},
		step{types: "y"},
		step{types: "list"},
		step{before: func() { clockAt(21) }, types: "whois Bruno"},
		step{before: func() { clockAt(36); say(first)() }, types: "history"},
		step{before: func() { clockAt(37); say(hostile)() }, types: "help"},
		step{before: say(from("80aa000000000000", "from another device", "ana", "carla")), types: "Bruno: Bom dia!"},
		step{types: "whois Zé"},
		step{types: "nonsense"},
		step{types: ""},
		step{types: "quit"},
	)
	ctx := context.Background()
	name, err := a.name(ctx)
	if err != nil || name != "Ana" {
		t.Fatalf("the name is %q %v", name, err)
	}
	yes, err := asker{a}.ConfirmRelay(ctx, "relay:1", "d913f65c02489bddc16e1845b09e4f7aed44c8a9329ccbf1a5032e7c8001fa98")
	if err != nil || !yes {
		t.Fatalf("the relay: %v %v", yes, err)
	}
	s := newSession(a.out, c, time.Minute, a.now)
	s.history, s.terminal, s.people = fakeHistory, a.tty, true
	a.out.onScreen(a.tty.screen)
	if err := s.run(ctx); err != nil {
		t.Fatal(err)
	}
	c.Close(ctx)
	<-s.presented
	golden(t, "prompt.golden", out.String())
	if len(c.shown) != 3 {
		t.Errorf("%d messages are READ, want 3", len(c.shown))
	}
	if len(c.sent) != 1 || c.sent[0].text != "Bom dia!" || !slices.Equal(c.sent[0].names, []string{"Bruno"}) {
		t.Errorf("sent was %v", c.sent)
	}

	// The lines of the original, in their order.
	rest := out.String()
	for _, line := range original {
		_, after, ok := strings.Cut(rest, line)
		if !ok {
			t.Errorf("the original's %q is not there", line)
			continue
		}
		rest = after
	}
}

// original are the lines of the original report, section 5.
var original = []string{
	"Name: Ana\n",
	"Server cipher sha256 fingerprint is:\nd913f65c02489bddc16e1845b09e4f7aed44c8a9329ccbf1a5032e7c8001fa98\nConfirm (y/n)? ",
	"[09:58:20] [Ana-139934559672912] list\nUser list:\n\n1. ID: Bruno Level: 1\n2. ID: Ana Level: 1\n\n",
	"[Ana-139934559672912] whois Bruno\n" +
		"Nome           : BRUNO MIGUEL EXEMPLO\nOrganização    : Cartão de Cidadão\nIdentificação  : BI100000011\n" +
		"Instituicao    : Cidadão Português\nPaís           : PT\nVálido até     : 2021-01-03 23:59:59\nVálido de      : 2016-01-04 16:59:29\n",
	"Nome           : ", // of a new person, before the message
	"\n[09:58:36] [Bruno]: Bom dia!\n",
	"[Ana-139934559672912] history\nHistory for Bruno:\nID               Message           Status\n139934430395280  Bom dia!          READ",
	"Available commands are:\nlist\nhelp\nhistory\nwhois\n\nSyntax for sending message to 'john':\njohn: hello there\n",
}

// TestPromptLine is the table of what can be typed.
func TestPromptLine(t *testing.T) {
	ok := map[string]promptCommand{
		"":                    {},
		"   ":                 {},
		"list":                {verb: "list"},
		" list ":              {verb: "list"},
		"help":                {verb: "help"},
		"quit":                {verb: "quit"},
		"exit":                {verb: "quit"},
		"history":             {verb: "history"},
		"history Bruno":       {verb: "history", arg: "Bruno"},
		"whois Bruno":         {verb: "whois", arg: "Bruno"},
		"john: hello there":   {verb: "say", names: []string{"john"}, text: "hello there"},
		"john:hello":          {verb: "say", names: []string{"john"}, text: "hello"},
		"john:  two spaces":   {verb: "say", names: []string{"john"}, text: " two spaces"},
		"john: a: b":          {verb: "say", names: []string{"john"}, text: "a: b"},
		"a,b: both":           {verb: "say", names: []string{"a", "b"}, text: "both"},
		"a, b: both":          {verb: "say", names: []string{"a", "b"}, text: "both"},
		"a,A,b: once each":    {verb: "say", names: []string{"a", "b"}, text: "once each"},
		"*: all of you":       {verb: "say", everyone: true, text: "all of you"},
		"all: all of you":     {verb: "say", everyone: true, text: "all of you"},
		"José: olá":           {verb: "say", names: []string{"José"}, text: "olá"},
		"john: \x1b[2J as is": {verb: "say", names: []string{"john"}, text: "\x1b[2J as is"},
	}
	for line, want := range ok {
		got, err := parsePrompt(line)
		if err != nil || got.verb != want.verb || got.arg != want.arg || got.text != want.text || got.everyone != want.everyone || !slices.Equal(got.names, want.names) {
			t.Errorf("%q: %+v %v, want %+v", line, got, err, want)
		}
	}
	for _, line := range []string{
		"nonsense", "list all", "help me", "whois", "whois a b", "history a b", "history a/b", "whois ../x", "quit now",
		"john:", "john:   ", ": hello", "a,,b: hello", "-a: hello", "list: hello", "a/b: hello", "who is it: me", "exit: stage left", "\x1b[2J",
	} {
		got, err := parsePrompt(line)
		if chatsecure.ExitStatus(err) != 2 || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%q: %+v %v, want an error of usage", line, got, err)
		}
	}
}

// TestConfirm: nothing but a yes is one.
func TestConfirm(t *testing.T) {
	for typed, want := range map[string]bool{
		"y": true, "Y": true, "yes": true, " y ": true, "s": true, "sim": true,
		"n": false, "no": false, "não": false, "": false, "maybe": false, "yy": false, "1": false,
	} {
		out := new(paper)
		terminal := fakeTerminal(out, step{types: typed})
		got, err := terminal.confirm(context.Background(), "Sure?\n")
		if got != want || err != nil {
			t.Errorf("%q: %v %v, want %v", typed, got, err, want)
		}
	}
}

// TestSecretIsNotShown: the echo is off while it is typed, and on again after.
func TestSecretIsNotShown(t *testing.T) {
	out := new(paper)
	var echo []bool
	terminal := fakeTerminal(out, step{types: "1234", hidden: true})
	terminal.echo = func(on bool) error { echo = append(echo, on); return nil }
	pin, err := terminal.secret(context.Background(), "PIN: ")
	if err != nil || string(pin) != "1234" {
		t.Errorf("the PIN is %q %v", pin, err)
	}
	if !slices.Equal(echo, []bool{false, true}) || out.String() != "PIN: \n" {
		t.Errorf("echo was %v, shown %q", echo, out.String())
	}
	// A person who goes away leaves the echo on.
	echo = nil
	ctx, cancel := context.WithCancel(context.Background())
	terminal = fakeTerminal(out, step{before: func() { cancel(); select {} }})
	terminal.echo = func(on bool) error { echo = append(echo, on); return nil }
	if _, err := terminal.secret(ctx, "PIN: "); err != context.Canceled || !slices.Equal(echo, []bool{false, true}) {
		t.Errorf("interrupted: %v, echo %v", err, echo)
	}
}

// TestQuestionAtThePrompt: a question that comes while somebody is at the
// prompt gets the next line, and the prompt the one after it.
func TestQuestionAtThePrompt(t *testing.T) {
	out := new(paper)
	asked := make(chan struct{})
	terminal := fakeTerminal(out)
	lines, typist := pipe(t)
	terminal.in = bufio.NewReader(lines)
	type answer struct {
		line string
		err  error
	}
	prompt, question := make(chan answer), make(chan answer)
	ctx := context.Background()
	go func() {
		line, err := terminal.question(ctx, func() string { return "prompt> " })
		prompt <- answer{line, err}
	}()
	go func() {
		for !waits(terminal, 1) {
			runtime.Gosched()
		}
		close(asked)
		line, err := terminal.secret(ctx, "PIN: ")
		question <- answer{string(line), err}
	}()
	<-asked
	for !waits(terminal, 2) {
		runtime.Gosched()
	}
	terminal.print("a notice\n")
	typist.WriteString("1234\n")
	if got := <-question; got.line != "1234" || got.err != nil {
		t.Errorf("the question got %v", got)
	}
	typist.WriteString("list\n")
	if got := <-prompt; got.line != "list" || got.err != nil {
		t.Errorf("the prompt got %v", got)
	}
	if want := "a notice\nPIN: \nprompt> "; out.String() != want {
		t.Errorf("shown is %q, want %q", out.String(), want)
	}
}

// waits tells whether n wait for a line.
func waits(t *terminal, n int) bool {
	t.turn.Lock()
	defer t.turn.Unlock()
	return len(t.waiting) == n
}

// TestLineAfterNobodyWaited is not lost.
func TestLineAfterNobodyWaited(t *testing.T) {
	terminal := fakeTerminal(new(paper))
	lines, typist := pipe(t)
	terminal.in = bufio.NewReader(lines)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := terminal.readLine(ctx); err != context.Canceled {
		t.Fatal(err)
	}
	typist.WriteString("late\n")
	if line, err := terminal.readLine(context.Background()); string(line) != "late" || err != nil {
		t.Errorf("%q %v", line, err)
	}
}

// TestShownIsREAD: a message that comes as the input ends is READ if it is
// shown. After that, nothing is shown any more.
func TestShownIsREAD(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeTalker()
		sys, paper, _ := fakeSystem("")
		in, end := io.Pipe()
		sys.stdout = writerFunc(func(b []byte) (int, error) {
			end.Close()
			synctest.Wait() // the session has ended as far as it can
			return paper.Write(b)
		})
		s := newSession(newDisplay(sys, options{quiet: true}), c, time.Minute, time.Now)
		s.lines = newPipedLines(in)
		message := func(text string) {
			m := &chatsecure.Message{ID: text, From: "Bruno", FromConn: "1", To: []string{"ana"}, Text: text}
			c.events <- []chatsecure.Event{{Type: chatsecure.EventMessage, Time: time.Now(), Message: m}}
		}
		message("at the end")
		if err := s.run(t.Context()); err != nil {
			t.Error(err)
		}
		if len(c.shown) != 1 {
			t.Errorf("%d messages are READ as the client leaves", len(c.shown))
		}
		message("too late")
		c.Close(t.Context())
		<-s.presented
		if !strings.Contains(paper.String(), "at the end") || strings.Contains(paper.String(), "too late") || len(c.shown) != 1 {
			t.Errorf("shown is %q, READ are %d", paper.String(), len(c.shown))
		}
	})
}

type writerFunc func(b []byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
