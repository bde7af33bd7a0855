package command

import (
	"context"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/internal/state"
	"chatsecure/proto"
	"chatsecure/testdata/lab/tty"
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
func fakeHistory() ([]*history.Message, []history.Finding, error) {
	at := time.Date(2026, 11, 22, 9, 58, 30, 0, time.Local)
	return []*history.Message{
		{
			ID: "139934430395280", Outgoing: true, From: crypto.End{Name: "Ana"}, To: []string{"bruno"}, Text: "Bom dia!", Time: at,
			Deliveries: []history.Delivery{{Name: "Bruno", Status: history.StatusRead}},
		},
		{
			ID: "139934430395281", From: crypto.End{Name: "Bruno"}, To: []string{"ana"}, Text: "Olá\x1b", Time: at.Add(time.Minute),
			Deliveries: []history.Delivery{{Name: "Ana", Status: history.StatusDelivered}},
		},
	}, nil, nil
}

// TestPromptLooksAsIn2016 plays a whole session at the prompt.
func TestPromptLooksAsIn2016(t *testing.T) {
	at := time.Date(2026, 11, 22, 9, 58, 20, 0, time.Local)
	clockAt := func(seconds int) { at = time.Date(2026, 11, 22, 9, 58, seconds, 0, time.Local) }
	c := newFakeTalker()
	person := fakePerson("Bruno", 1)
	c.online = []client.Online{{Name: "Bruno", Conn: "7f3a000000000000", Level: 1}, {Name: "Ana", Conn: c.conn, Level: 1, Self: true}}
	c.whois = map[string]*client.Whois{"Bruno": {Name: "Bruno", Conns: []client.WhoisConn{
		{Conn: "7f3a000000000000", Bundle: &trust.Bundle{X509: []byte{1}}, Person: person},
		{Conn: "8000000000000000", Bundle: &trust.Bundle{X509: []byte{1}}, Person: person},
	}}}
	say := func(m client.Message) func() {
		return func() {
			c.events <- []client.Event{{Type: client.EventMessage, Time: time.Date(2026, 11, 22, 9, 58, 36, 0, time.Local), Message: &m}}
			<-c.seen
		}
	}
	from := func(conn, text string, to ...string) client.Message {
		return client.Message{From: "Bruno", FromConn: conn, Text: text, To: to, Person: person}
	}
	first := from("7f3a000000000000", "Bom dia!", "ana")
	first.First = true
	hostile := from("7f3a000000000000", "a\x1b]52;c;AAAA\x07\rb\u202ec\n", "ana")

	out := new(tty.Paper)
	a := &app{System: System{Now: func() time.Time { return at }}, opt: options{}}
	a.out = newDisplay(a.System, a.opt)
	a.tty = fakeTerminal(out,
		tty.Step{Types: "Ana"},
		tty.Step{Types: "what?"},
		tty.Step{Types: "y"},
		tty.Step{Types: "list"},
		tty.Step{Before: func() { clockAt(21) }, Types: "whois Bruno"},
		tty.Step{Before: func() { clockAt(36); say(first)() }, Types: "history"},
		tty.Step{Before: func() { clockAt(37); say(hostile)() }, Types: "help"},
		tty.Step{Before: say(from("80aa000000000000", "from another device", "ana", "carla")), Types: "Bruno: Bom dia!"},
		tty.Step{Types: "whois Zé"},
		tty.Step{Types: "nonsense"},
		tty.Step{Types: ""},
		tty.Step{Types: "quit"},
	)
	ctx := context.Background()
	name, err := a.name(ctx, t.TempDir())
	if err != nil || name != "Ana" {
		t.Fatalf("the name is %q %v", name, err)
	}
	yes, err := asker{a, state.New(t.TempDir(), "")}.ConfirmRelay(ctx, "relay:1", "d913f65c02489bddc16e1845b09e4f7aed44c8a9329ccbf1a5032e7c8001fa98")
	if err != nil || !yes {
		t.Fatalf("the relay: %v %v", yes, err)
	}
	s := newPromptRun(a.out, c, time.Minute, a.Now)
	s.history, s.terminal, s.people = fakeHistory, a.tty, true
	a.out.onScreen(a.tty)
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

// TestPromptLine is the table of typed lines.
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
		if err != nil || got.verb != want.verb || got.arg != want.arg || got.text != want.text ||
			got.everyone != want.everyone || !slices.Equal(got.names, want.names) {
			t.Errorf("%q: %+v %v, want %+v", line, got, err, want)
		}
	}
	for _, line := range []string{
		"nonsense", "list all", "help me", "whois", "whois a b", "history a b", "history a/b", "whois ../x", "quit now",
		"john:", "john:   ", ": hello", "a,,b: hello", "-a: hello", "list: hello", "a/b: hello", "who is it: me", "exit: stage left", "\x1b[2J",
	} {
		got, err := parsePrompt(line)
		if fail.ExitStatus(err) != 2 || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%q: %+v %v, want an error of usage", line, got, err)
		}
	}
}

// TestShownIsREAD: a message at the end of the input is READ if it was shown.
// After that, no message is shown.
func TestShownIsREAD(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeTalker()
		sys, paper, _ := fakeSystem("")
		in, end := io.Pipe()
		sys.Stdout = writerFunc(func(b []byte) (int, error) {
			end.Close()
			synctest.Wait() // the session has ended as far as it can
			return paper.Write(b)
		})
		s := newPromptRun(newDisplay(sys, options{quiet: true}), c, time.Minute, time.Now)
		s.lines = newPipedLines(in, '\n')
		message := func(text string) {
			m := &client.Message{ID: text, From: "Bruno", FromConn: "1", To: []string{"ana"}, Text: text}
			c.events <- []client.Event{{Type: client.EventMessage, Time: time.Now(), Message: m}}
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

// TestWhoisOfTheRefused: the command and the prompt say once that a person is refused, whose
// verdict that is, and end with the same status. What the relay could have made up is told apart.
func TestWhoisOfTheRefused(t *testing.T) {
	c := newFakeTalker()
	refused := &trust.Error{Code: proto.CertificateRevoked, Reason: `the certificate of "VERA" was revoked`}
	c.whois = map[string]*client.Whois{
		"vera": {Name: "vera", Conns: []client.WhoisConn{{Conn: "1", Err: refused}, {Conn: "2", Err: refused}}},
		"rita": {Name: "rita", Conns: []client.WhoisConn{{Conn: "3", Err: fail.Errorf(proto.NameMismatch, "it is of another name")}}},
	}
	for name, want := range map[string]string{
		"vera": "client: error: vera is refused: " + refused.Reason + "\n",
		"rita": "client: error: the relay's proof for connection 3 of rita does not hold: it is of another name\nclient: hint: ",
	} {
		sys, _, said := fakeSystem("")
		s := newPromptRun(newDisplay(sys, options{}), c, time.Minute, time.Now)
		s.lines = newPipedLines(strings.NewReader("whois "+name+"\n"), '\n')
		err := s.readAll(t.Context())
		if s.failed != 4 || !strings.HasPrefix(said.String(), want) || strings.Count(said.String(), "error") != 1 {
			t.Errorf("%s: status %d (%v), said %q", name, s.failed, err, said)
		}
	}
}

// TestPromptEndsWithoutWatch: a client that ends before it watches names ends the
// prompt, too. Nobody waits for events that are never shown.
func TestPromptEndsWithoutWatch(t *testing.T) {
	c := newFakeTalker()
	c.watchErr = fail.Errorf(proto.Lost, "the client has ended")
	sys, _, _ := fakeSystem("")
	s := newPromptRun(newDisplay(sys, options{}), c, time.Minute, time.Now)
	s.people, s.lines = true, newPipedLines(strings.NewReader(""), '\n')
	if err := s.run(t.Context()); err != c.watchErr {
		t.Errorf("it ended with %v", err)
	}
	c.Close(t.Context())
	<-s.presented
}

type writerFunc func(b []byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
