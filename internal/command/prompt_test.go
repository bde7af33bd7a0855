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
	"chatsecure/internal/term"
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
func fakeHistory(history.Query) (*history.Listing, error) {
	at := time.Date(2026, 11, 22, 9, 58, 30, 0, time.Local)
	return &history.Listing{Messages: []*history.Message{
		{
			ID: "139934430395280", Outgoing: true, From: crypto.End{Name: "Ana"}, To: []string{"bruno"}, Text: "Bom dia!", Time: at,
			Deliveries: []history.Delivery{{Name: "Bruno", Status: history.StatusRead}},
		},
		{
			ID: "139934430395281", From: crypto.End{Name: "Bruno"}, To: []string{"ana"}, Text: "Olá\x1b", Time: at.Add(time.Minute),
			Deliveries: []history.Delivery{{Name: "Ana", Status: history.StatusDelivered}},
		},
	}}, nil
}

// TestPromptLooksAsIn2016 plays a whole session at the prompt.
func TestPromptLooksAsIn2016(t *testing.T) {
	at := time.Date(2026, 11, 22, 9, 58, 20, 0, time.Local)
	clockAt := func(seconds int) { at = time.Date(2026, 11, 22, 9, 58, seconds, 0, time.Local) }
	c := newFakeTalker()
	person := fakePerson("Bruno", 1)
	c.online = []client.Online{{Name: "Bruno", Conn: "7f3a000000000000", Level: 1}, {Name: "Ana", Conn: c.conn, Level: 1, Self: true}}
	c.whois = map[string]*client.Whois{"Bruno": {Name: "Bruno", Conns: []client.WhoisConn{
		{Online: client.Online{Conn: "7f3a000000000000"}, Bundle: &trust.Bundle{X509: []byte{1}}, Person: person},
		{Online: client.Online{Conn: "8000000000000000"}, Bundle: &trust.Bundle{X509: []byte{1}}, Person: person},
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
	var s *promptRun
	answered := func(next func()) func() {
		return func() {
			s.answers.Wait()
			next()
		}
	}
	a := &app{System: System{Now: func() time.Time { return at }}, opt: options{}}
	a.out = newDisplay(a.System, a.opt)
	a.tty = fakeTerminal(out,
		tty.Step{Types: "Ana"},
		tty.Step{Types: "what?"},
		tty.Step{Types: "y"},
		tty.Step{Types: "list"},
		tty.Step{Before: answered(func() { clockAt(21) }), Types: "whois Bruno"},
		tty.Step{Before: answered(func() { clockAt(36); say(first)() }), Types: "history"},
		tty.Step{Before: answered(func() { clockAt(37); say(hostile)() }), Types: "help"},
		tty.Step{Before: say(from("80aa000000000000", "from another device", "ana", "carla")), Types: "Bruno: Bom dia!"},
		tty.Step{Types: "whois Zé"},
		tty.Step{Before: answered(func() {}), Types: "nonsense"},
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
	s = newPromptRun(a.out, c, time.Minute, a.Now)
	s.history, s.long = fakeHistory, true
	s.atTerminal(a.tty)
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
	"[09:58:20] [Ana-139934559672912] list\nUser list:\n\n1. ID: Bruno Level: 1\n2. ID: Ana Level: 1 (you)\n\n",
	"[Ana-139934559672912] whois Bruno\n" +
		"Nome           : BRUNO MIGUEL EXEMPLO\nOrganização    : Cartão de Cidadão\nIdentificação  : BI100000011\n" +
		"Instituicao    : Cidadão Português\nPaís           : PT\nVálido até     : 2021-01-03 23:59:59\nVálido de      : 2016-01-04 16:59:29\n",
	"Nome           : ", // of a new person, before the message
	"\n[09:58:36] [Bruno]: Bom dia!\n",
	"[Ana-139934559672912] history\nHistory for Bruno:\nID               Message           Status\n139934430395280  Bom dia!          READ",
	"Available commands are:\nlist\nhelp\nhistory\nwhois\n\nSyntax for sending message to 'john':\njohn: hello there\n",
}

// TestPromptLine is the table of typed lines, without a conversation and in one with bob. Nobody
// has seen 10, http, note or lessons.
func TestPromptLine(t *testing.T) {
	say := func(text string, names ...string) promptCommand {
		return promptCommand{verb: "say", names: names, text: text}
	}
	all := promptCommand{verb: "say", everyone: true, text: "all of you"}
	to := func(names ...string) promptCommand { return promptCommand{verb: "to", names: names} }
	verb := func(verb string, args ...string) promptCommand { return promptCommand{verb: verb, args: args} }
	refused := promptCommand{}
	for _, test := range []struct {
		line           string
		alone, talking promptCommand // refused, unless the line is blank
	}{
		{"", refused, refused},
		{"   ", refused, refused},
		{"list", verb("list"), refused},
		{" list ", verb("list"), refused},
		{"help", verb("help"), refused},
		{"quit", verb("quit"), refused},
		{"exit", verb("exit"), refused},
		{"history", verb("history"), refused},
		{"history Bruno", verb("history", "Bruno"), refused},
		{"history lessons", verb("history", "lessons"), say("history lessons", "bob")},
		{"whois Bruno", verb("whois", "Bruno"), refused},
		{"trust", verb("trust"), refused},
		{"trust block Bruno", verb("trust", "block", "Bruno"), refused},
		{"/list", verb("list"), verb("list")},
		{"/exit", verb("exit"), verb("exit")},
		{"/whois Bruno", verb("whois", "Bruno"), verb("whois", "Bruno")},
		{"/history", verb("history"), verb("history")},
		{"/to john", to("john"), to("john")},
		{"/to john,mary", to("john", "mary"), to("john", "mary")},
		{"/to john, mary", to("john", "mary"), to("john", "mary")},
		{"/to", to(), to()},
		{"john:", to("john"), to("john")},
		{"john,mary: ", to("john", "mary"), to("john", "mary")},
		{"to john", refused, say("to john", "bob")},
		{"nonsense", refused, say("nonsense", "bob")},
		{"list all", refused, say("list all", "bob")},
		{"/list all", refused, refused},
		{"/etc/passwd", refused, refused},
		{"//etc/passwd", refused, say("/etc/passwd", "bob")},
		{"/", refused, refused},
		{"/john: hello", refused, refused},
		{" two spaces ", refused, say(" two spaces ", "bob")},
		{"john: hello there", say("hello there", "john"), say("hello there", "john")},
		{"john:hello", say("hello", "john"), say("hello", "john")},
		{"john:  two spaces", say(" two spaces", "john"), say(" two spaces", "john")},
		{"john: a: b", say("a: b", "john"), say("a: b", "john")},
		{"john: /list", say("/list", "john"), say("/list", "john")},
		{"john,mary: both", say("both", "john", "mary"), say("both", "john", "mary")},
		{"john, mary: both", say("both", "john", "mary"), say("both", "john", "mary")},
		{"john,John,mary: once each", say("once each", "john", "mary"), say("once each", "john", "mary")},
		{"*: all of you", all, all},
		{"all: all of you", all, all},
		{"José: olá", say("olá", "José"), say("olá", "José")},
		{"john: \x1b[2J as is", say("\x1b[2J as is", "john"), say("\x1b[2J as is", "john")},
		// Words with a colon are no names that anybody has.
		{"10:30 is fine", say("30 is fine", "10"), refused},
		{"10:\x1b[2J", say("\x1b[2J", "10"), refused},
		{"http://example.com", say("//example.com", "http"), refused},
		{"note: milk", say("milk", "note"), refused},
		{"john,note: milk", say("milk", "john", "note"), refused},
		{":)", refused, say(":)", "bob")},
		{"a,,b: hello", refused, say("a,,b: hello", "bob")},
		{"and/or: hello", refused, say("and/or: hello", "bob")},
		{"list: hello", refused, say("list: hello", "bob")},
		{"who is it: me", refused, say("who is it: me", "bob")},
		{"*:", refused, refused},
		{"whois", refused, say("whois", "bob")},
		{"/whois", refused, refused},
		{"/whois a b", refused, refused},
		{"/history a/b", refused, refused},
		{"/whois ../x", refused, refused},
		{"/to a/b", refused, refused},
		{"\x1b[2J", refused, say("\x1b[2J", "bob")},
		// Of several lines the first names those whom all go to. They are never a command.
		{"john: one\nmary: two\nexit", say("one\nmary: two\nexit", "john"), say("one\nmary: two\nexit", "john")},
		{"john:\none\ntwo\n", say("one\ntwo", "john"), say("one\ntwo", "john")},
		{"exit\n", refused, say("exit", "bob")},
		{"/exit\n", refused, say("/exit", "bob")},
		{"list\nexit", refused, say("list\nexit", "bob")},
		{"all: hello\n\tgcc", refused, say("all: hello\n\tgcc", "bob")},
		{"note: milk\nand bread", say("milk\nand bread", "note"), say("note: milk\nand bread", "bob")},
		{"one\njohn: two", refused, say("one\njohn: two", "bob")},
		{"\n \n", refused, refused},
	} {
		for _, in := range []struct {
			current []string
			want    promptCommand
		}{{nil, test.alone}, {[]string{"bob"}, test.talking}} {
			view := promptView{in.current, func(name string) bool { return !slices.Contains([]string{"10", "http", "note", "lessons"}, name) }}
			got, err := view.parse(test.line)
			if in.want.verb == "" && strings.TrimSpace(test.line) != "" {
				if fail.ExitStatus(err) != 2 || strings.Contains(err.Error(), "\x1b") {
					t.Errorf("%q with %v: %+v %v, want an error of usage", test.line, in.current, got, err)
				}
				continue
			}
			if err != nil || got.verb != in.want.verb || !slices.Equal(got.args, in.want.args) && got.verb != "to" || got.text != in.want.text ||
				got.everyone != in.want.everyone || !slices.Equal(got.names, in.want.names) {
				t.Errorf("%q with %v: %+v %v, want %+v", test.line, in.current, got, err, in.want)
			}
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
			m := &client.Message{ID: text, From: "Bruno", FromConn: "1", To: []string{"ana"}, Text: text, Known: true}
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
// verdict that is, and end with the same status. A false word of the relay is told apart.
func TestWhoisOfTheRefused(t *testing.T) {
	c := newFakeTalker()
	refused := &trust.Error{Code: proto.CertificateRevoked, Reason: `the certificate of "VERA" was revoked`}
	conn := func(id string, err error) client.WhoisConn {
		return client.WhoisConn{Online: client.Online{Conn: id, Identity: strings.Repeat("0a", 32)}, Err: err}
	}
	c.whois = map[string]*client.Whois{
		"vera": {Name: "vera", Conns: []client.WhoisConn{conn("1", refused), conn("2", refused)}},
		"rita": {Name: "rita", Conns: []client.WhoisConn{conn("3", fail.Errorf(proto.IdentityChanged, "it has proved another"))}},
	}
	for name, want := range map[string]string{
		"vera": "client: error: vera is refused: " + refused.Reason + "\n",
		"rita": "client: error: it has proved another\n",
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

// TestPromptWaitsForNobody: while questions have no answer the prompt takes lines, up to a bound;
// an answer that does not come is told.
func TestPromptWaitsForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &slowTalker{fakeTalker: newFakeTalker(), asked: make(chan struct{}, 2*maxOpen), answer: make(chan struct{})}
		in, typist := io.Pipe()
		out := new(tty.Paper)
		sys, _, _ := fakeSystem("")
		a := &app{System: sys}
		a.out = newDisplay(a.System, a.opt)
		terminal := term.NewOf(in, out, nil)
		a.out.onScreen(terminal)
		s := newPromptRun(a.out, c, time.Minute, time.Now)
		s.atTerminal(terminal)
		ended := make(chan error, 1)
		go func() { ended <- s.run(t.Context()) }()
		types := func(lines string) {
			io.WriteString(typist, lines)
			synctest.Wait()
		}
		says := func(want string) {
			t.Helper()
			if !strings.Contains(out.String(), want) {
				t.Errorf("%q is not said in\n%s", want, out)
			}
		}
		types(strings.Repeat("list\n", maxOpen) + "bob: hi\n")
		if len(c.sent) != 1 {
			t.Errorf("%d messages are sent while questions are open", len(c.sent))
		}
		types("list\n")
		says("client: error: list is not asked: 8 questions have no answer yet\n")
		time.Sleep(time.Minute) // of the bubble
		synctest.Wait()
		says("client: error: list has had no answer within 1m0s\n")
		c.online = []client.Online{{Name: "Bruno"}}
		close(c.answer)
		types("list\n")
		says("1. ID: Bruno Level: 0\n")

		// Of a message that waits is told after a moment, once.
		pending := func(no string) {
			c.events <- []client.Event{{Type: client.EventReceipt, Receipt: &client.ReceiptChange{ID: no, To: "dave", Status: history.StatusPending}}}
			synctest.Wait()
		}
		types("dave: are you asleep?\n")
		pending("id2")
		pending("id2")
		if strings.Contains(out.String(), "not here") {
			t.Error("it is told at once")
		}
		time.Sleep(moment)
		synctest.Wait()
		says("client: notice: dave is not here; the message waits as long as this client runs\n")
		c.events <- []client.Event{{Type: client.EventReceipt, Receipt: &client.ReceiptChange{
			ID: "id2", To: "dave", Status: history.StatusFailed, Reason: "revoked"}}}
		synctest.Wait()
		says(`client: notice: "are you asleep?" to dave FAILED: revoked` + "\n")

		s.questions.open = []*question{{about: "Eve"}}
		types("eve: hi\n")
		c.events <- []client.Event{{Type: client.EventReceipt, Receipt: &client.ReceiptChange{ID: "id3", To: "eve", Status: history.StatusPending}}}
		time.Sleep(moment)
		synctest.Wait()
		if strings.Contains(out.String(), "eve is not here") {
			t.Error("who waits for one's own answer is said to be away")
		}
		s.questions.open = nil
		types("\n*: all\n")
		s.quiet = func(name string) bool { return name == "carla" }
		types("*: some\n")
		s.quiet = func(name string) bool { return false }
		types("*: none\n")
		says("client: error: nobody whom you have accepted has a conversation with you now\n")
		if sent := c.sent[len(c.sent)-2:]; !slices.Equal(sent[0].names, []string{"bruno", "carla"}) || !slices.Equal(sent[1].names, []string{"carla"}) {
			t.Errorf("all were %v", sent)
		}
		c.sent = c.sent[:2]

		types("Ana: me\n")
		says("client: error: Ana is you, and messages and pipes go to others\n")
		types("/to bob\nhello\n/to\nhello\n")
		if last := c.sent[len(c.sent)-1]; len(c.sent) != 3 || last.text != "hello" || !slices.Equal(last.names, []string{"bob"}) {
			t.Errorf("sent was %v", c.sent)
		}
		says("> bob> ")
		says("client: error: there is no command \"hello\"\n")
		types("/history -grep lunch\n")
		says("client: error: here history takes a name and a number, and no option\n")

		// A question needs no editor.
		got := make(chan answered, 1)
		go func() {
			got <- s.questions.ask(t.Context(), &question{text: "Dave is new.\n", last: "Is this the dave you mean? (y/n) "})
		}()
		synctest.Wait()
		says("Dave is new.\nIs this the dave you mean? ")
		types("y\n")
		says("client: error: \"y\" does not answer the question\n")
		time.Sleep(term.ReadingTime)
		synctest.Wait()
		says("Is this the dave you mean? (y/n) ")
		types("y\n")
		if a := <-got; !a.yes || a.err != nil {
			t.Errorf("the answer is %+v", a)
		}

		// At the end the undelivered ones are told by their text, if they were not told before, and that
		// is no failure.
		c.outcome = client.Outcome{Names: []client.NameOutcome{{Name: "dave", Failed: 1}}}
		types("/quit\n")
		if err := <-ended; err != nil {
			t.Errorf("it ended with %v", err)
		}
		says("client: notice: perhaps not delivered: \"hello\" to bob\n")
		if strings.Contains(out.String(), "delivered: \"are you asleep?\"") {
			t.Error("a message that had FAILED is told again")
		}
		c.events <- []client.Event{{Type: client.EventReceipt, Receipt: &client.ReceiptChange{
			ID: "id3", To: "bob", Status: history.StatusFailed, Reason: "the client stopped"}}}
		typist.Close()
		c.Close(t.Context())
		<-s.presented
		if strings.Contains(out.String(), "the client stopped") {
			t.Error("an undelivered message is told twice")
		}
	})
}
