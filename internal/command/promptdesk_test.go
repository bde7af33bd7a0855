package command

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chatsecure/internal/client"
	"chatsecure/internal/history"
	"chatsecure/internal/term"
	"chatsecure/testdata/lab/tty"
)

// TestRoster: names come from known people and events, once each, and are
// bounded.
func TestRoster(t *testing.T) {
	var r roster
	r.add("bruno")
	r.add("Ana")
	for _, ev := range []client.Event{
		{Message: &client.Message{From: "Carla"}},
		{Peer: &client.PeerChange{Name: "Bruno", What: "came"}},
		{Peer: &client.PeerChange{Name: "bruno", What: "left"}},
		{Peer: &client.PeerChange{Name: "\x1b[2J", What: "came"}},
		{Receipt: &client.ReceiptChange{To: "Dora"}},
		{Notice: "Elsa"},
	} {
		r.note(&ev)
	}
	if got, want := r.sorted(), []string{"Ana", "Bruno", "Carla"}; !slices.Equal(got, want) {
		t.Errorf("names %q, want %q", got, want)
	}
	for i := range maxRoster + 10 {
		r.add(fmt.Sprintf("name%d", i))
	}
	r.add("BRUNO") // a name that is there can still change
	if got := r.sorted(); len(got) != maxRoster || got[1] != "BRUNO" {
		t.Errorf("%d names, %q", len(got), got[:3])
	}
	if _, options := complete("bru", r.sorted(), false); len(options) != 1 || options[0] != (term.Option{Word: "BRUNO", End: ": "}) {
		t.Errorf("options %q", options)
	}
}

// TestNearNames: a name that nobody has is perhaps another one, mistyped.
func TestNearNames(t *testing.T) {
	var r roster
	r.add("bob", "carol", "dave", "al")
	for typed, want := range map[string]string{"bbo": "bob", "Bo": "bob", "carl": "carol", "carool": "carol", "bob": "", "zoe": "", "x": "", "davw": "dave"} {
		if got := strings.Join(r.near(typed), ","); got != want {
			t.Errorf("%s may be %q, want %q", typed, got, want)
		}
	}
}

// TestComplete is the table of completions. TestKeys of package term has their
// effect.
func TestComplete(t *testing.T) {
	names := []string{"Ana", "Bruno", "bruna", "list.er"}
	for _, test := range []struct {
		before  string
		from    int
		want    string // word+end, joined
		talking bool
	}{
		{"l", 0, "list|list.er: ", false},
		{"L", 0, "list|list.er: ", false},
		{"wh", 0, "whois ", false},
		{"b", 0, "Bruno: |bruna: ", false},
		{"Ana,b", 4, "Bruno: |bruna: ", false},
		{"Ana, b", 5, "Bruno: |bruna: ", false},
		{"Ana,l", 4, "list.er: ", false},
		{"whois ", 6, "Ana|Bruno|bruna|list.er", false},
		{"history BR", 8, "Bruno|bruna", false},
		{"history A", 8, "Ana", false},
		{"Ana: b", 0, "", false},
		{"x", 0, "", false},
		{"help A", 0, "", false},
		{"whois a b", 0, "", false},
		{"/", 0, "/exit|/help|/history |/list|/pin|/quit|/to |/trust |/whois ", false},
		{"/wh", 0, "/whois ", true},
		{"/whois A", 7, "Ana", true},
		{"/to Ana,b", 8, "Bruno|bruna", true},
		{"to A", 0, "", false},
		{"l", 0, "list.er: ", true},
		{"whois A", 0, "", true},
	} {
		from, options := complete(test.before, names, test.talking)
		var got []string
		for _, o := range options {
			got = append(got, o.Word+o.End)
		}
		if strings.Join(got, "|") != test.want || test.want != "" && from != test.from {
			t.Errorf("%q: %q from %d, want %q from %d", test.before, got, from, test.want, test.from)
		}
	}
}

// TestProgress: the status tells who has the last message.
func TestProgress(t *testing.T) {
	var p progress
	now := fixedNow()
	change := func(id, to string, status history.Status) *client.ReceiptChange {
		return &client.ReceiptChange{ID: id, To: to, Status: status}
	}
	left := func(id, to string) *client.ReceiptChange {
		return &client.ReceiptChange{ID: id, To: to, Status: history.StatusPending, Conn: "c"}
	}
	for _, step := range []struct {
		sent    string // an id
		to      []string
		changed *client.ReceiptChange
		want    string
		silent  bool
	}{
		{changed: change("0", "bob", history.StatusDelivered), want: "✓ delivered to bob"}, // of an earlier run
		{changed: change("0", "Bob", history.StatusRead), want: "✓ read by bob"},
		{changed: change("00", "carla", history.StatusRead), want: "✓ read by carla"},
		{changed: change("00", "bob", history.StatusKept), want: "✓ read by carla; kept for bob"},
		{changed: &client.ReceiptChange{ID: "1", No: 1, To: "bob", Status: history.StatusRead}, silent: true}, // given up here
		{sent: "1", to: []string{"Bob"}},
		{changed: change("1", "bob", history.StatusPending), want: "waits for Bob"},
		{changed: change("1", "bob", history.StatusSent), want: "sent to Bob"},
		{changed: change("1", "BOB", history.StatusKept), want: "… kept for Bob"},
		{changed: change("1", "bob", history.StatusSent), want: "… kept for Bob"},
		{changed: change("1", "bob", history.StatusDelivered), want: "✓ delivered to Bob"},
		{changed: change("1", "bob", history.StatusRead), want: "✓ read by Bob"},
		{changed: change("1", "bob", history.StatusDelivered), want: "✓ read by Bob"}, // of another device
		{changed: change("0", "bob", history.StatusRead), silent: true},
		{sent: "2", to: []string{"bob", "carla", "dora"}},
		{changed: change("2", "dora", history.StatusPending), want: "waits for dora"},
		{changed: change("2", "carla", history.StatusSent), want: "sent to carla; waits for dora"},
		{changed: change("2", "carla", history.StatusDelivered), want: "✓ delivered to carla; waits for dora"},
		{changed: change("2", "dora", history.StatusFailed), want: "✓ delivered to carla"},
		{changed: change("2", "bob", history.StatusRead), want: "✓ read by bob; delivered to carla"},
		{changed: change("2", "carla", history.StatusRead), want: "✓ read by bob, carla"},
		{changed: change("1", "bob", history.StatusRead), silent: true},
		{sent: "3", to: []string{"bob", "carla", "dora", "edgar", "fred"}},
		{changed: change("3", "fred", history.StatusKept), want: "… kept for fred"},
		{changed: change("3", "bob", history.StatusPending), want: "… kept for fred; waits for bob"},
		{changed: left("3", "bob"), want: "… kept for fred"},
		{changed: change("3", "carla", history.StatusSent), want: "… kept for fred; sent to carla"},
		{changed: change("3", "dora", history.StatusPending), want: "… kept for fred; sent to carla; waits for dora"},
	} {
		got, last := "", true
		if step.sent != "" {
			got = p.sent(step.sent, step.to, "text "+step.sent)
		} else {
			got, last = p.changed(step.changed, now)
		}
		if got != step.want || last == step.silent {
			t.Errorf("%+v: %q %v", step, got, last)
		}
	}
	if got, more := p.undelivered(); !slices.Equal(got, []string{
		`not delivered: "text 3" to dora`, `perhaps not delivered: "text 3" to bob, carla, edgar`,
	}) || more {
		t.Errorf("undelivered are %q, %v", got, more) // that the second message to dora has FAILED was told
	}
	if got := p.quoted("2") + p.quoted("9"); got != `"text 2"message 9` {
		t.Errorf("they are named %s", got)
	}
	for i := range maxSayings + 10 {
		p.sent(fmt.Sprint("x", i), []string{"bob"}, strings.Repeat("x\n", 100))
	}
	if len(p.sayings) != maxSayings || p.sayings[0].id != "x10" || len(p.sayings[0].quoted) > maxQuoted+8 {
		t.Errorf("%d texts are kept, the first is %+v", len(p.sayings), p.sayings[0])
	}
	if _, more := p.undelivered(); !more {
		t.Error("an undelivered message is forgotten in silence")
	}
}

// TestProgressOfWhoIsAway: a message that waits is spoken of after a moment, once for each person
// and stay away.
func TestProgressOfWhoIsAway(t *testing.T) {
	var p progress
	now := fixedNow()
	look := func(after time.Duration, want ...string) {
		t.Helper()
		now = now.Add(after)
		names, next := p.overdue(now)
		if !slices.Equal(names, want) {
			t.Errorf("%q are spoken of, want %q", names, want)
		}
		if !next.IsZero() && !next.After(now) {
			t.Errorf("the next look is %v after this one", next.Sub(now))
		}
	}
	note := func(id, to string, status history.Status) {
		p.changed(&client.ReceiptChange{ID: id, To: to, Status: status}, now)
	}
	look(0)
	note("1", "bob", history.StatusPending)
	note("1", "Carla", history.StatusPending)
	look(moment / 2)
	note("1", "bob", history.StatusSent)
	note("2", "carla", history.StatusPending)
	look(moment/2, "Carla")
	note("3", "carla", history.StatusPending)
	look(moment)
	note("1", "carla", history.StatusDelivered)
	note("4", "carla", history.StatusPending)
	look(moment, "carla")
	note("5", "dora", history.StatusPending)
	now = now.Add(moment)
	p.back(now) // the relay is: she may come yet
	look(moment / 2)
	look(moment/2, "dora")
	if _, next := p.overdue(now); !next.IsZero() {
		t.Errorf("there is a look at %v", next)
	}
}

// TestDeskAsksWhoIsOnline in the background, one question at a time.
func TestDeskAsksWhoIsOnline(t *testing.T) {
	c := &slowTalker{fakeTalker: newFakeTalker(), asked: make(chan struct{}), answer: make(chan struct{})}
	c.online = []client.Online{{Name: "Bruno"}, {Name: "Ana", Self: true}}
	var d desk
	if _, options := d.complete("b"); len(options) != 0 {
		t.Errorf("options %q of nowhere", options)
	}
	stop := d.open(context.Background(), c)
	<-c.asked
	for range 3 { // a second question would block: nobody receives it
		if _, options := d.complete("b"); len(options) != 0 {
			t.Errorf("options %q before the answer", options)
		}
	}
	close(c.answer)
	d.waiting.Wait()
	if _, options := d.complete("b"); len(options) != 1 || options[0].Word != "Bruno" {
		t.Errorf("options %q", options)
	}
	if _, options := d.complete("an"); len(options) != 0 {
		t.Errorf("options %q: oneself", options)
	}
	d.asked = time.Time{}
	d.complete("b")
	<-c.asked
	stop()
	d.asked = time.Time{}
	d.complete("b") // the desk is closed

	// A missing answer does not keep the desk open.
	c = &slowTalker{fakeTalker: newFakeTalker(), asked: make(chan struct{}), answer: make(chan struct{})}
	stop = d.open(context.Background(), c)
	<-c.asked
	stop()
}

// slowTalker answers when the test lets it.
type slowTalker struct {
	*fakeTalker
	asked, answer chan struct{}
}

func (s *slowTalker) List(ctx context.Context) ([]client.Online, error) {
	s.asked <- struct{}{}
	select {
	case <-s.answer:
		return s.online, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestSessionInTheEditor plays a session with the editor on an emulator:
// receipts below the prompt, colour, and a line that is too long.
func TestSessionInTheEditor(t *testing.T) {
	out := newStrip(t, 24)
	c := newFakeTalker()
	keys, typist := tty.Pipe(t)
	terminal := term.NewOf(keys, out, nil)

	a := &app{System: System{Now: fixedNow}, tty: terminal}
	a.out = newDisplay(a.System, a.opt)
	a.out.onScreen(terminal)
	s := newPromptRun(a.out, c, time.Minute, a.Now)
	s.long = true
	s.quiet = func(string) bool { return true }
	s.atTerminal(terminal)
	stop := terminal.StartEditing(func(name string) string { return map[string]string{"TERM": "xterm"}[name] }, s.desk.complete)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- s.run(context.Background()) }()

	show := func(ev client.Event) {
		ev.Time = fixedNow()
		c.events <- []client.Event{ev}
		<-c.seen
	}
	show(client.Event{Type: client.EventPeer, Peer: &client.PeerChange{Name: "Bruno", What: "came"}})
	typist.WriteString("br\tolá\rwho")
	out.endsWith(t, "] who|", nil)
	show(client.Event{Type: client.EventReceipt, Receipt: &client.ReceiptChange{ID: "id1", To: "Bruno", Status: history.StatusRead}})
	show(client.Event{Type: client.EventMessage, Message: &client.Message{From: "Bruno", Text: "tu\x1b[2J王", To: []string{"ana"}}})
	const want = "[09:58:36] [Ana-139934559672912] Bruno: olá\n[09:58:36] [Bruno, not accepted]: tu\\x1b[2J王\n[09:58:36] [Ana-139934559672912] who|\n✓ read by Bruno"
	out.endsWith(t, "✓ read by Bruno", nil) // output that comes fast is drawn together
	if got := out.screen(); got != want {
		t.Errorf("the terminal shows\n%s\nwant\n%s", got, want)
	}
	for _, colour := range []string{"\x1b[2m[09:58:36] [Ana-139934559672912] \x1b[mBruno", "\x1b[1m[Bruno, not accepted]\x1b[m: ",
		"\x1b[2m✓ read by Bruno\x1b[m"} {
		if !strings.Contains(out.String(), colour) {
			t.Errorf("%q is not in %q", colour, out.String())
		}
	}
	typist.WriteString("\x03" + "\x1b[200~bob: " + strings.Repeat("x", 300<<10) + "\x1b[201~\rquit\r")
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if got := out.String(); !strings.Contains(got, "\x1b[31mclient: error: the text cannot be sent: it is longer") {
		t.Errorf("nothing tells of the long line: %q", got[max(0, len(got)-500):])
	}
	if len(c.sent) != 1 || c.sent[0].text != "olá" {
		t.Errorf("sent was %v", c.sent)
	}
}

// fixedNow is a test's time.
func fixedNow() time.Time { return time.Date(2026, 11, 22, 9, 58, 36, 0, time.Local) }

// strip keeps the whole output for an emulator. It is safe for concurrent use.
type strip struct {
	mu    sync.Mutex
	vt    *tty.Emulator
	text  strings.Builder
	drawn chan struct{} // closed at the next output
}

func newStrip(t *testing.T, rows int) *strip {
	vt := tty.NewEmulator(t, 80, rows, func(r rune) int { return term.TextWidth(string(r)) })
	return &strip{vt: vt, drawn: make(chan struct{})}
}

func (s *strip) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.drawn)
	s.drawn = make(chan struct{})
	s.text.Write(b)
	return s.vt.Write(b)
}

// await waits for output until the screen is as it should be: the screen is the barrier. Whatever
// comes from due meanwhile is called.
func (s *strip) await(t *testing.T, done func(screen string) bool, want string, due <-chan func()) {
	t.Helper()
	for deadline := time.After(20 * time.Second); ; {
		s.mu.Lock()
		screen, drawn := s.vt.All(), s.drawn
		s.mu.Unlock()
		if done(screen) {
			return
		}
		select {
		case <-drawn:
		case call := <-due:
			call()
		case <-deadline:
			t.Fatalf("the screen does not show\n%s\nbut\n%s", want, screen)
		}
	}
}

// endsWith waits until the screen ends with a text; the cursor is a bar.
func (s *strip) endsWith(t *testing.T, end string, due <-chan func()) {
	t.Helper()
	s.await(t, func(screen string) bool { return strings.HasSuffix(screen, end) }, end, due)
}

func (s *strip) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (s *strip) screen() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.vt.All()
}
