package command

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/internal/state"
	"chatsecure/internal/term"
	"chatsecure/proto"
	"chatsecure/testdata/lab/tty"
)

// sitting is a person at the short prompt, on an emulator.
type sitting struct {
	t      *testing.T
	c      *fakeTalker
	s      *promptRun
	out    *strip
	typist *os.File
	ended  chan error
	soon   func(f func()) // when the time to read a question is over
}

func sitDown(t *testing.T) *sitting {
	t.Helper()
	p := &sitting{t: t, c: newFakeTalker(), ended: make(chan error, 1), soon: func(f func()) { f() }}
	p.out = newStrip(t, 60)
	var keys *os.File
	keys, p.typist = tty.Pipe(t)
	terminal := term.NewOf(keys, p.out, nil)
	a := &app{System: System{Now: fixedNow}, tty: terminal}
	a.out = newDisplay(a.System, a.opt)
	a.out.onScreen(terminal)
	p.s = newPromptRun(a.out, p.c, time.Minute, a.Now)
	p.s.atTerminal(terminal)
	p.s.soon = func(_ time.Duration, f func()) { p.soon(f) }
	stop := terminal.StartEditing(func(name string) string { return map[string]string{"TERM": "xterm", "NO_COLOR": "1"}[name] }, p.s.desk.complete)
	t.Cleanup(stop)
	go func() { p.ended <- p.s.run(context.Background()) }()
	return p
}

func (p *sitting) types(keys string) {
	p.t.Helper()
	if _, err := p.typist.WriteString(keys); err != nil {
		p.t.Fatal(err)
	}
}

// shows waits until the screen ends with a text; the cursor is a bar.
func (p *sitting) shows(end string) { p.t.Helper(); p.out.endsWith(p.t, end, nil) }

// showsSoon is shows while time passes.
func (p *sitting) showsSoon(end string, over <-chan func()) {
	p.t.Helper()
	p.out.endsWith(p.t, end, over)
}

// sends checks the messages that were sent, and forgets them.
func (p *sitting) sends(want ...fakeSent) {
	p.t.Helper()
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	if !slices.EqualFunc(p.c.sent, want, func(a, b fakeSent) bool { return a.text == b.text && slices.Equal(a.names, b.names) }) {
		p.t.Errorf("sent was %v, want %v", p.c.sent, want)
	}
	p.c.sent = nil
}

func (p *sitting) leaves() {
	p.t.Helper()
	p.types("\x15/quit\r")
	if err := <-p.ended; err != nil {
		p.t.Error(err)
	}
}

// TestQuestionTakesNothingElse: a question waits for an empty line, takes a yes or no, and lets all
// other lines go where they are meant to go.
func TestQuestionTakesNothingElse(t *testing.T) {
	p := sitDown(t)
	ask := func(ctx context.Context, q *question) <-chan answered {
		got := make(chan answered, 1)
		go func() { got <- p.s.questions.ask(ctx, q) }()
		return got
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.types("bob: yes, hal")
	p.shows("> bob: yes, hal|")
	got := ask(ctx, &question{text: "Dave is new.\n", last: "Is this the dave you mean? (y/n) "})
	p.shows("> bob: yes, hal|\nEnter on an empty line gets the question: Is this the dave you mean? (y/n)")
	p.types("f\r")
	p.shows("> bob: yes, half\nDave is new.\nIs this the dave you mean? (y/n) |")
	p.sends(fakeSent{[]string{"bob"}, "yes, half"})
	p.types("carol: y\rperhaps\r")
	p.shows("client: error: \"perhaps\" does not answer the question\n" + answerHint + "\nIs this the dave you mean? (y/n) |")
	p.sends(fakeSent{[]string{"carol"}, "y"})
	p.types("\x1b[200~y\x1b[201~\r") // a paste is no answer
	p.shows("client: error: \"y\" does not answer the question\n" + answerHint + "\nIs this the dave you mean? (y/n) |")
	second := ask(ctx, &question{text: "Eve is new.\n", last: "Is this the eve you mean? (y/n) "})
	p.types("y\r")
	p.shows("(y/n) y\nEve is new.\nIs this the eve you mean? (y/n) |")
	if a := <-got; !a.yes || a.err != nil {
		t.Errorf("the answer is %+v", a)
	}
	p.types("NO\r")
	p.shows("(y/n) NO\n> |")
	if a := <-second; a.yes || a.err != nil {
		t.Errorf("the answer is %+v", a)
	}

	// A question that is over leaves the prompt.
	got = ask(ctx, &question{text: "Fay is new.\n", last: "Is this the fay you mean? (y/n) "})
	p.shows("Is this the fay you mean? (y/n) |")
	cancel()
	if a := <-got; a.yes || a.err == nil {
		t.Errorf("the answer is %+v", a)
	}
	p.shows("\n> |")

	// A PIN is typed after /pin only, and never shown.
	got = ask(context.Background(), &question{text: "client: notice: the last try\n", last: "PIN of token alice: ", secret: true})
	p.types("bob: hi")
	p.shows("> bob: hi|\n/pin gets the question: PIN of token alice:")
	p.s.setStatus("✓ read by bob")
	p.shows("> bob: hi|\n✓ read by bob; /pin gets the question: PIN of token alice:")
	p.types("\r/pin\r")
	p.shows("client: notice: the last try\nPIN of token alice: |")
	p.types("2468\r")
	if a := <-got; string(a.secret) != "2468" || a.err != nil {
		t.Errorf("the answer is %+v", a)
	}
	p.shows("\n> |")
	if strings.Contains(p.out.String(), "2468") {
		t.Error("the PIN is shown")
	}
	p.types("/pin\r")
	p.shows("client: error: no card waits for its PIN\nclient: hint: /help shows what can be typed; Up brings the line back\n> |")

	for range maxQuestions {
		ask(context.Background(), &question{last: "x ", secret: true})
	}
	for open := 0; open < maxQuestions; runtime.Gosched() {
		p.s.questions.mu.Lock()
		open = len(p.s.questions.open)
		p.s.questions.mu.Unlock()
	}
	if a := <-ask(context.Background(), &question{}); a.err == nil {
		t.Error("there is no bound")
	}
	p.leaves()
	p.s.questions.close()
	if a := <-ask(context.Background(), &question{}); a.err == nil {
		t.Error("a question is asked after the end")
	}
}

// TestAnswerNeedsTheQuestion: keys that come before a person can have read a question are no answer.
func TestAnswerNeedsTheQuestion(t *testing.T) {
	p := sitDown(t)
	over := make(chan func(), 8)
	p.soon = func(f func()) { over <- f }
	p.shows("> |")
	got := make(chan answered, 1)
	go func() {
		got <- p.s.questions.ask(t.Context(), &question{text: "Dave is new.\n", last: "Is this the dave you mean? (y/n) "})
	}()
	p.shows("Dave is new.\nIs this the dave you mean? |")
	p.types("yes\r")
	p.shows("you mean? yes\nclient: error: \"yes\" does not answer the question\n" + answerHint + "\nIs this the dave you mean? |")
	(<-over)() // of the first drawing
	p.types("y")
	p.shows("\nIs this the dave you mean? y|")
	(<-over)()
	p.shows("\n> y|\nEnter on an empty line gets the question: Is this the dave you mean? (y/n)")
	p.types("\r")
	p.shows("client: error: \"y\" does not answer the question\n" + answerHint + "\nIs this the dave you mean? |")
	(<-over)()
	p.shows("\nIs this the dave you mean? (y/n) |")
	select {
	case a := <-got:
		t.Errorf("an early key is the answer %+v", a)
	default:
	}
	p.types("y\r")
	if a := <-got; !a.yes || a.err != nil {
		t.Errorf("the answer is %+v", a)
	}
	p.shows("\n> |")
	p.leaves()
}

// TestQuestionIsSeen: a question that other people's messages have moved off the screen is no
// longer answered, and is shown again, whole.
func TestQuestionIsSeen(t *testing.T) {
	p := sitDown(t)
	over := make(chan func(), 8)
	p.soon = func(f func()) { over <- f }
	p.shows("> |")
	flood := func(text string) {
		var events []client.Event
		for n := range 30 {
			events = append(events, client.Event{Type: client.EventMessage, Time: fixedNow(), Message: &client.Message{From: "carol", Text: fmt.Sprint(text, n), To: []string{"ana"}}})
		}
		p.c.events <- events
		<-p.c.seen
	}
	got := make(chan answered, 1)
	go func() {
		got <- p.s.questions.ask(t.Context(), &question{
			text: "Dave is new: see above.\n", again: "Dave is new:\nNome: DAVE\n", last: "Is this the dave you mean? (y/n) ",
		})
	}()
	p.shows("Dave is new: see above.\nIs this the dave you mean? |")
	(<-over)()
	p.shows("you mean? (y/n) |")
	flood("a") // it is gone, and comes again before it can be answered
	p.shows("[carol]: a29\nDave is new:\nNome: DAVE\nIs this the dave you mean? |")
	flood("b") // sooner than it can be read: then it waits
	p.shows("[carol]: b29\nIs this the dave you mean? |")
	p.showsSoon("[carol]: b29\nDave is new:\nNome: DAVE\nIs this the dave you mean? (y/n) |", over)
	p.types("y")
	p.shows("you mean? (y/n) y|")
	flood("c") // during the answer
	p.shows("[carol]: c29\n> y|\nEnter on an empty line gets the question: Is this the dave you mean? (y/n)")
	p.types("\r")
	p.shows("client: error: \"y\" does not answer the question\n" + answerHint + "\nDave is new:\nNome: DAVE\nIs this the dave you mean? |")
	p.showsSoon("(y/n) |", over)
	select {
	case a := <-got:
		t.Errorf("an unseen question has the answer %+v", a)
	default:
	}
	p.types("y\r")
	if a := <-got; !a.yes || a.err != nil {
		t.Errorf("the answer is %+v", a)
	}
	p.leaves()
}

// TestPasteAtThePrompt: a paste of several lines is one message or comes back; nothing pasted is a
// command.
func TestPasteAtThePrompt(t *testing.T) {
	p := sitDown(t)
	p.types("\x1b[200~bob: one\ncarol: two\nexit\n\x1b[201~")
	p.types("\r")
	p.shows("\n> |")
	p.sends(fakeSent{[]string{"bob"}, "one\ncarol: two\nexit"})
	p.types("\x1b[200~exit\nlist\x1b[201~")
	p.types("\r")
	p.shows("Up brings the line back\n> |")
	p.types("\x1b[200~/trust forget bob\r\n\x1b[201~")
	p.types("\r")
	p.shows("client: error: nothing pasted is a command: type \"/trust forget bob\" by hand\n" +
		"client: hint: /help shows what can be typed; Up brings the line back\n> |")
	p.types("\x1b[A ") // it stays a paste
	p.types("\r\x1b[200~exit\x1b[201~")
	p.types("\r")
	p.shows("type \"exit\" by hand\nclient: hint: /help shows what can be typed; Up brings the line back\n> |")
	p.types("\x1b[A\x1b[A\x1b[A\x1b[A")
	p.shows("list|")
	if screen := p.out.screen(); !strings.Contains(screen, `client: error: "exit list" is for nobody: begin with a name, as in john: hello`) {
		t.Errorf("nothing is said of the paste:\n%s", screen)
	}
	p.types(strings.Repeat("\x02", len("exit\nlist")) + "bob: \r") // it has come back, and can be changed
	p.shows("\n> |")
	p.sends(fakeSent{[]string{"bob"}, "exit\nlist"})
	p.types("/to bob\r")
	p.shows("\nbob> |")
	p.types("\x1b[200~see you\x1b[201~")
	p.types("\r")
	p.shows("> see you\nbob> |")
	p.sends(fakeSent{[]string{"bob"}, "see you"})
	p.types("\x1b[200~/quit\n/list\n\x1b[201~")
	p.types("\r")
	p.shows("/list\nbob> |")
	p.sends(fakeSent{[]string{"bob"}, "/quit\n/list"})
	p.types("10:30 is fine\r")
	p.shows("Up brings the line back\nbob> |")
	p.sends()
	p.types("\x1b[A\x01bob: \r")
	p.shows("\nbob> |")
	p.types("/to bob,carol,dora\r")
	p.shows("\nbob,+2> |")
	p.sends(fakeSent{[]string{"bob"}, "10:30 is fine"})
	p.leaves()
}

// TestRefusedLineIsNoBegin: a line that is refused is no part of the next one.
func TestRefusedLineIsNoBegin(t *testing.T) {
	p := sitDown(t)
	p.types("/to bob\rexit\r")
	p.shows("client: error: /exit is the command, and bob: exit says it\n" +
		"client: hint: /help shows what can be typed; Up brings the line back\nbob> |")
	p.types("list\r")
	p.shows("bob: list says it\nclient: hint: /help shows what can be typed; Up brings the line back\nbob> |")
	p.types("/etc/passwd\r")
	p.shows("client: error: there is no command \"etc/passwd\"\n" +
		"client: hint: /help shows what can be typed; Up brings the line back\nbob> |")
	p.types("//etc/passwd\r")
	p.shows("\nbob> |")
	p.types("/exit\r")
	if err := <-p.ended; err != nil {
		t.Error(err)
	}
	p.sends(fakeSent{[]string{"bob"}, "/etc/passwd"})
}

// TestStrangerIsClipped: a stranger's message takes a few rows of the prompt.
func TestStrangerIsClipped(t *testing.T) {
	for text, want := range map[string]string{
		"hi": "hi", "a\nb\nc\nd": "a\nb\nc\nd", "": "",
		"a\nb\nc\nd\ne":                     "a\nb\nc\nd\n... 2 bytes more: history shows them",
		strings.Repeat("\n", 40_000):        "\n\n\n\n... 39997 bytes more: history shows them",
		strings.Repeat("x", strangerText+3): strings.Repeat("x", strangerText) + "\n... 3 bytes more: history shows them",
		strings.Repeat("é", strangerText):   strings.Repeat("é", strangerText/2) + "\n... 600 bytes more: history shows them",
	} {
		if got := clipped(text); got != want {
			t.Errorf("%.20q is shown as %q, want %q", text, got, want)
		}
	}
}

// TestStrangerIsMarked: each message of somebody who is not accepted says so, and the first one what
// can be done. A message that waits for one's own answer says that.
func TestStrangerIsMarked(t *testing.T) {
	p := sitDown(t)
	p.s.quiet = func(name string) bool { return p.c.accepted[name] }
	p.c.accepted["dave"] = true
	message := func(from string, first bool) {
		p.c.events <- []client.Event{{Type: client.EventMessage, Time: fixedNow(), Message: &client.Message{
			From: from, Text: "hi", To: []string{"ana"}, First: first, Person: fakePerson("erin", 7),
		}}}
		<-p.c.seen
	}
	message("dave", false)
	p.shows("[09:58:36] [dave]: hi\n> |")
	message("erin", true)
	p.shows("[09:58:36] [erin, not accepted]: hi\n> |")
	if screen := p.out.screen(); strings.Count(screen, "Nome  ") != 1 || !strings.Contains(screen, "client: notice: erin is new here; a message to erin asks you whether to accept,\n") {
		t.Errorf("a stranger is introduced as\n%s", screen)
	}
	p.c.accepted["erin"] = true
	message("erin", true) // the question has shown the certificate, or a message
	p.shows("[09:58:36] [erin]: hi\n> |")
	if screen := p.out.screen(); strings.Count(screen, "Nome  ") != 1 {
		t.Errorf("the certificate is shown again:\n%s", screen)
	}
	p.c.accepted["erin"] = false
	list := listText([]client.Online{{Name: "erin", Level: 1}, {Name: "dave", Letters: true}, {Name: "Ana", Level: 1, Self: true}}, p.s.quiet)
	if list != "User list:\n\n1. ID: erin Level: 1 (not accepted)\n2. ID: dave Level: 0 Letters: yes\n3. ID: Ana Level: 1 (you)\n\n" {
		t.Errorf("the list is %q", list)
	}

	got := make(chan answered, 1)
	go func() {
		got <- p.s.questions.ask(context.Background(), &question{about: "erin", text: "Erin is new.\n", last: "Is this the erin you mean? (y/n) "})
	}()
	p.shows("(y/n) |")
	p.types("erin,carol: hello\r")
	p.shows("hello\nIs this the erin you mean? (y/n) |")
	pending := func(name string) {
		p.c.events <- []client.Event{{Type: client.EventReceipt, Receipt: &client.ReceiptChange{ID: "id1", To: name, Status: history.StatusPending}}}
		<-p.c.seen
	}
	pending("erin")
	p.shows("(y/n) |\nwaits for your answer about erin")
	pending("carol") // a question about carol would come after this one
	p.shows("(y/n) |\nwaits for your answer about erin, carol")
	names, next := p.s.desk.progress.overdue(time.Now().Add(time.Hour))
	if len(names) > 0 || next.IsZero() {
		t.Errorf("%v are said to keep one waiting; the next look is at %v", names, next)
	}
	p.types("y\r")
	<-got
	p.leaves()
}

// TestDecidedQuestion: trust answers the questions about a person. In a conversation, too, a line that
// is no answer goes to nobody.
func TestDecidedQuestion(t *testing.T) {
	p := sitDown(t)
	p.s.trust = func([]string) error { return nil }
	p.types("/to bob\r")
	p.shows("\nbob> |")
	for _, verb := range []string{"block", "accept", "forget"} {
		got := make(chan answered, 1)
		go func() {
			got <- p.s.questions.ask(context.Background(), &question{about: "erin", text: verb + "?\n", last: "Is this the erin you mean? (y/n) "})
		}()
		p.shows(verb + "?\nIs this the erin you mean? (y/n) |")
		p.types("maybe\r")
		p.shows("client: error: \"maybe\" does not answer the question\n" + answerHint + "\nIs this the erin you mean? (y/n) |")
		p.types("/trust " + verb + " Erin\r")
		p.shows("client: notice: the question about Erin is over: trust " + verb + " is the answer\nbob> |")
		if a := <-got; a.yes != (verb == "accept") || a.err != nil {
			t.Errorf("%s answers %+v", verb, a)
		}
	}
	p.sends()
	p.leaves()
}

// TestQuestionIsOver: a question that its asker takes back says why.
func TestQuestionIsOver(t *testing.T) {
	p := sitDown(t)
	a := asker{app: &app{out: p.s.out}}
	a.asked.Store(&p.s.questions)
	ctx, takeBack := context.WithCancelCause(t.Context())
	got := make(chan error, 1)
	go func() {
		_, err := a.confirm(ctx, &question{about: "erin", text: "erin is new\n", last: "Is this the erin you mean? (y/n) "})
		got <- err
	}()
	p.shows("erin is new\nIs this the erin you mean? (y/n) |")
	takeBack(fail.Errorf(proto.NotAccepted, "erin is blocked here"))
	p.shows("client: notice: the question about erin is over: erin is blocked here\n> |")
	if err := <-got; err == nil {
		t.Error("it is answered")
	}
	p.leaves()
}

// answerHint is on the screen after a line that is no answer.
const answerHint = "client: hint: answer y or n once (y/n) is there; a message begins with a name,\n" +
	"            | as in john: hello; Up brings the line back"

// TestLatestHistory: the prompt shows the last part of a long history, one reading at a time, and
// leaves without an answer that takes its time.
func TestLatestHistory(t *testing.T) {
	p := sitDown(t)
	var messages []*history.Message
	for i := range 120 {
		messages = append(messages, &history.Message{ID: fmt.Sprint("id", i), From: crypto.End{Name: "Bruno"}, Text: fmt.Sprintf("id%d ", i)})
	}
	reads, hold := make(chan struct{}, 2), make(chan struct{})
	p.s.history = func(q history.Query) (*history.Listing, error) {
		reads <- struct{}{}
		<-hold
		return &history.Listing{Messages: messages[len(messages)-q.N:], More: true}, nil
	}
	p.types("history\r")
	<-reads
	hold <- struct{}{}
	p.shows("> |")
	p.out.await(t, func(screen string) bool { return strings.Contains(screen, "id119") }, "id119", nil)
	if screen := p.out.String(); !strings.Contains(screen, "there are earlier ones; the command client history") ||
		!strings.Contains(screen, "id70 ") || strings.Contains(screen, "id69 ") {
		t.Errorf("shown is\n%s", screen)
	}
	p.types("history\rhistory\r")
	<-reads
	p.leaves()
	if len(reads) > 0 {
		t.Error("the history is read twice at a time")
	}

	messages[119].Text = strings.Repeat("long ", latestTexts)
	last := latest(messages)
	if len(last) != 1 || len(last[0].Text) > latestTexts+len("…") {
		t.Errorf("%d messages, the last has %d bytes", len(last), len(last[0].Text))
	}
}

// TestUnread: for a person who looks elsewhere a message rings, and what came since is marked with
// its number.
func TestUnread(t *testing.T) {
	p := sitDown(t)
	message := func(text string) {
		p.c.events <- []client.Event{{Type: client.EventMessage, Time: fixedNow(), Message: &client.Message{From: "bob", Text: text, To: []string{"ana"}}}}
		<-p.c.seen
	}
	p.types("x")
	p.shows("> x|")
	message("zero")
	p.shows("[09:58:36] [bob]: zero\n> x|")
	if strings.Contains(p.out.String(), "\a") {
		t.Error("it rings for somebody who looks")
	}
	p.types("\x1b[O")
	for !p.s.terminal.Away(time.Hour) {
		runtime.Gosched()
	}
	message("one")
	message("two")
	message("three")
	p.shows("[bob]: zero\n-- 3 new --\n[09:58:36] [bob]: one\n[09:58:36] [bob]: two\n[09:58:36] [bob]: three\n> x|")
	if !strings.Contains(p.out.String(), "\a") {
		t.Error("it does not ring")
	}
	p.types("\x1b[Iy")
	p.shows("> xy|")
	message("four")
	p.shows("[bob]: three\n[09:58:36] [bob]: four\n> xy|")
	p.leaves()
}

// TestNoticeAtThePrompt: a notice about a client that was killed is no advice, and keeps its words.
func TestNoticeAtThePrompt(t *testing.T) {
	p := sitDown(t)
	const killed = "a client was killed, and of its messages are PENDING: 1 to dave"
	p.c.events <- []client.Event{{Type: client.EventNotice, Notice: killed}}
	p.shows("client: notice: " + killed + "\n> |")
	p.leaves()
}

// TestNobodyWaitsAtTheEnd: after the last line no message waits as long as the client runs.
func TestNobodyWaitsAtTheEnd(t *testing.T) {
	p := sitDown(t)
	p.leaves()
	pending := &client.ReceiptChange{To: "dave", Status: history.StatusPending}
	p.s.desk.progress.changed(pending, time.Now().Add(-time.Hour))
	for range 2 { // the second comes after a look at those that wait
		p.c.events <- []client.Event{{Type: client.EventGap, Gap: &client.Gap{Name: "bob", Reason: "x"}}}
		<-p.c.seen
	}
	if strings.Contains(p.out.String(), "dave") {
		t.Errorf("at the end dave is waited for:\n%s", p.out.screen())
	}
}

// TestTrustAtThePrompt: eight digits of what was refused here are enough, of one refusal.
func TestTrustAtThePrompt(t *testing.T) {
	p := sitDown(t)
	var trusted [][]string
	p.s.trust = func(args []string) error {
		trusted = append(trusted, args)
		return nil
	}
	refuse := func(name, identity string) {
		p.c.events <- []client.Event{{Type: client.EventPeer, Peer: &client.PeerChange{
			Name: name, Conn: "1", What: whatRefused, Reason: "another person", Refused: &state.Refused{Target: name, Value: identity},
		}}}
		<-p.c.seen
	}
	first, second := strings.Repeat("a1", 32), "a1a1a1a1"+strings.Repeat("b2", 28)
	refuse("Bob", first)
	p.shows("client: notice: [Bob] is refused: another person; if it is the right one, by\n" +
		"              | another way: /trust accept Bob a1a1a1a1; if not: /trust block\n" +
		"              | Bob a1a1a1a1\n> |")
	p.types("trust block BOB a1a1a1a1\rtrust block bob\rtrust unblock bob a1a1a1a1\r")
	p.types("trust\rtrust accept bob a1a1a1a1\r/trust accept bob a1a1a1\rtrust accept bob a1a1a1a2\r")
	p.shows(`client: error: nothing that was refused here under "bob" begins with a1a1a1a2:` + "\n" +
		"             | give all 64 digits\nclient: hint: /help shows what can be typed; Up brings the line back\n> |")
	p.types("trust accept carol a1a1a1a1\r")
	p.shows("under \"carol\" begins with\n             | a1a1a1a1: give all 64 digits\nclient: hint: /help shows what can be typed; Up brings the line back\n> |")
	refuse("localhost:8080", second)
	p.types("trust accept LOCALHOST.:08080 a1a1a1a1\rtrust accept [::1]:8080 a1a1a1a1\r")
	p.shows("under \"[::1]:8080\" begins with\n             | a1a1a1a1: give all 64 digits\nclient: hint: /help shows what can be typed; Up brings the line back\n> |")
	refuse("bob", second)
	p.types("trust accept bob a1a1a1a1:b2\rtrust accept bob a1a1a1a1\r")
	p.shows("client: error: more than one of the refused begins with a1a1a1a1: give all 64\n             | digits\nclient: hint: /help shows what can be typed; Up brings the line back\n> |")
	p.leaves()
	want := [][]string{{"block", "BOB", first}, {"block", "bob"}, {"unblock", "bob", "a1a1a1a1"}, nil, {"accept", "bob", first}, {"accept", "bob", "a1a1a1"},
		{"accept", "LOCALHOST.:08080", second}, {"accept", "bob", second}}
	if !slices.EqualFunc(trusted, want, slices.Equal) {
		t.Errorf("trust got %q, want %q", trusted, want)
	}
	for range 2 * maxRefusals {
		p.s.refusals.note(&state.Refused{})
	}
	if len(p.s.refusals.last) != maxRefusals {
		t.Errorf("%d refusals are remembered", len(p.s.refusals.last))
	}
}
