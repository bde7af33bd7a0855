package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chatsecure"
)

// TestRecallIsBounded in lines and in bytes, and keeps the newest.
func TestRecallIsBounded(t *testing.T) {
	var r recall
	for i := range maxRecall + 10 {
		r.add(fmt.Sprint(i))
	}
	if len(r.lines) != maxRecall || r.lines[0] != "10" {
		t.Errorf("%d lines, the first is %q", len(r.lines), r.lines[0])
	}
	for i := range 9 {
		r.add(fmt.Sprint(i) + strings.Repeat("x", maxRecallBytes/4))
	}
	if r.bytes > maxRecallBytes || len(r.lines) != 3 || r.lines[2][0] != '8' {
		t.Errorf("%d bytes in %d lines", r.bytes, len(r.lines))
	}
	r.add(strings.Repeat("x", maxRecallBytes+1))
	if len(r.lines) != 3 {
		t.Error("a line is kept that is longer than all may be")
	}
	sum := 0
	for _, line := range r.lines {
		sum += len(line)
	}
	if sum != r.bytes {
		t.Errorf("%d bytes are counted, and there are %d", r.bytes, sum)
	}
}

// TestRoster: names come from what is known and from events, once each, and
// are bounded.
func TestRoster(t *testing.T) {
	var r roster
	r.add("bruno")
	r.add("Ana")
	for _, ev := range []chatsecure.Event{
		{Message: &chatsecure.Message{From: "Carla"}},
		{Peer: &chatsecure.PeerChange{Name: "Bruno", What: "came"}},
		{Peer: &chatsecure.PeerChange{Name: "bruno", What: "left"}},
		{Peer: &chatsecure.PeerChange{Name: "\x1b[2J", What: "came"}},
		{Receipt: &chatsecure.ReceiptChange{To: "Dora"}},
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
	r.add("BRUNO") // one that is there can still change
	if got := r.sorted(); len(got) != maxRoster || got[1] != "BRUNO" {
		t.Errorf("%d names, %q", len(got), got[:3])
	}
	if _, options := complete("bru", r.sorted()); len(options) != 1 || options[0] != (option{"BRUNO", ": "}) {
		t.Errorf("options %q", options)
	}
	_, options := complete("", r.sorted())
	text := listOptions(options, 80)
	if strings.Count(text, "name") > maxOptions || !strings.Contains(text, fmt.Sprintf("and %d more", len(options)-maxOptions)) {
		t.Errorf("the options are %q", text)
	}
	for line := range strings.Lines(text) {
		if textWidth(strings.TrimSuffix(line, "\n")) > 80 {
			t.Errorf("%q is too wide", line)
		}
	}
}

// TestComplete is the table of completion; TestKeys has what keys make of it.
func TestComplete(t *testing.T) {
	names := []string{"Ana", "Bruno", "bruna", "list.er"}
	for _, test := range []struct {
		before string
		from   int
		want   string // word+end, joined
	}{
		{"l", 0, "list|list.er: "},
		{"L", 0, "list|list.er: "},
		{"wh", 0, "whois "},
		{"b", 0, "Bruno: |bruna: "},
		{"Ana,b", 4, "Bruno: |bruna: "},
		{"Ana, b", 5, "Bruno: |bruna: "},
		{"Ana,l", 4, "list.er: "},
		{"whois ", 6, "Ana|Bruno|bruna|list.er"},
		{"history BR", 8, "Bruno|bruna"},
		{"Ana: b", 0, ""},
		{"x", 0, ""},
		{"help A", 0, ""},
	} {
		from, options := complete(test.before, names)
		var got []string
		for _, o := range options {
			got = append(got, o.word+o.end)
		}
		if strings.Join(got, "|") != test.want || test.want != "" && from != test.from {
			t.Errorf("%q: %q from %d, want %q from %d", test.before, got, from, test.want, test.from)
		}
	}
	for _, test := range []struct{ words, want string }{
		{"abc", "abc"}, {"abc abd", "ab"}, {"ABC abd", "AB"}, {"José josé2 JOSÉ", "José"}, {"a b", ""}, {"日本 日光", "日"}, {"ab abc", "ab"}, {"abc ab", "ab"},
	} {
		if got := commonStart(asOptions(strings.Fields(test.words), "")); got != test.want {
			t.Errorf("%q begin with %q, want %q", test.words, got, test.want)
		}
	}
}

// TestReceipts: the status is of the last message and says who has it, however
// early a receipt comes.
func TestReceipts(t *testing.T) {
	var r receipts
	change := func(id, to string, status chatsecure.Status) *chatsecure.ReceiptChange {
		return &chatsecure.ReceiptChange{ID: id, To: to, Status: status}
	}
	for _, step := range []struct {
		sent    string // an id
		to      []string
		changed *chatsecure.ReceiptChange
		want    string
		silent  bool
	}{
		{changed: change("0", "bob", chatsecure.StatusRead), silent: true},
		{changed: change("1", "bob", chatsecure.StatusSent), silent: true},
		{changed: change("1", "bob", chatsecure.StatusDelivered), silent: true},
		{sent: "1", to: []string{"Bob"}, want: "✓ delivered to Bob"},
		{changed: change("1", "bob", chatsecure.StatusRead), want: "✓ read by Bob"},
		{changed: change("1", "bob", chatsecure.StatusDelivered), want: "✓ read by Bob"}, // of another device
		{changed: change("0", "bob", chatsecure.StatusRead), silent: true},
		{sent: "2", to: []string{"bob", "carla", "dora"}},
		{changed: change("2", "carla", chatsecure.StatusSent)},
		{changed: change("2", "carla", chatsecure.StatusDelivered), want: "✓ delivered to carla"},
		{changed: change("2", "dora", chatsecure.StatusFailed), want: "✓ delivered to carla"},
		{changed: change("2", "bob", chatsecure.StatusRead), want: "✓ read by bob; delivered to carla"},
		{changed: change("2", "carla", chatsecure.StatusRead), want: "✓ read by bob, carla"},
		{changed: change("1", "bob", chatsecure.StatusRead), silent: true},
	} {
		got, about := "", true
		if step.sent != "" {
			got = r.sent(step.sent, step.to)
		} else {
			got, about = r.changed(step.changed)
		}
		if got != step.want || about == step.silent {
			t.Errorf("%+v: %q %v", step, got, about)
		}
	}
	for i := range maxEarly + 10 {
		r.changed(change(fmt.Sprint("x", i), "bob", chatsecure.StatusRead))
	}
	if len(r.early) != maxEarly || r.early[0].ID != "x10" {
		t.Errorf("%d receipts wait, the first of %s", len(r.early), r.early[0].ID)
	}
}

// TestDeskAsksWhoIsOnline in the background, one question at a time.
func TestDeskAsksWhoIsOnline(t *testing.T) {
	c := &slowTalker{fakeTalker: newFakeTalker(), asked: make(chan struct{}), answer: make(chan struct{})}
	c.online = []chatsecure.Online{{Name: "Bruno"}, {Name: "Ana", Self: true}}
	var d desk
	if _, options := d.complete("b"); len(options) != 0 {
		t.Errorf("options %q of nowhere", options)
	}
	stop := d.open(context.Background(), c)
	<-c.asked
	for range 3 { // no second question: nobody would receive it
		if _, options := d.complete("b"); len(options) != 0 {
			t.Errorf("options %q before the answer", options)
		}
	}
	close(c.answer)
	d.waiting.Wait()
	if _, options := d.complete("b"); len(options) != 1 || options[0].word != "Bruno" {
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
	d.complete("b") // nobody is asked any more

	// One who does not answer does not keep the desk open.
	c = &slowTalker{fakeTalker: newFakeTalker(), asked: make(chan struct{}), answer: make(chan struct{})}
	stop = d.open(context.Background(), c)
	<-c.asked
	stop()
}

// slowTalker answers when it may.
type slowTalker struct {
	*fakeTalker
	asked, answer chan struct{}
}

func (s *slowTalker) List(ctx context.Context) ([]chatsecure.Online, error) {
	s.asked <- struct{}{}
	select {
	case <-s.answer:
		return s.online, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestSessionInTheEditor plays a session on an emulator, with the editor in the
// terminal's place: receipts below the prompt, colour, a line too long.
func TestSessionInTheEditor(t *testing.T) {
	vt := newEmulator(t, 60, 30)
	out := &strip{vt: vt}
	c := newFakeTalker()
	terminal := fakeTerminal(out)
	e := &editing{editor: &editor{out: out, interrupt: func() {}, suspend: func() {}}, mode: &rawMode{}}
	e.size = func() (cols, rows int) { return 60, 30 }
	e.painter.paint = true
	terminal.paint = true
	terminal.editing.Store(e)

	a := &app{system: system{now: fixedNow}, tty: terminal}
	a.out = newDisplay(a.system, a.opt)
	a.out.onScreen(terminal.screen)
	s := newSession(a.out, c, 0, a.now)
	s.terminal = terminal
	e.complete = s.desk.complete
	ended := make(chan error, 1)
	go func() { ended <- s.run(context.Background()) }()

	show := func(ev chatsecure.Event) {
		ev.Time = fixedNow()
		c.events <- []chatsecure.Event{ev}
		<-c.seen
	}
	show(chatsecure.Event{Type: chatsecure.EventPeer, Peer: &chatsecure.PeerChange{Name: "Bruno", What: "came"}})
	e.feed([]byte("br\tolá\rwho"))
	atPrompt := func(typed string) {
		for again := true; again; runtime.Gosched() { // the next line is asked for
			e.mu.Lock()
			again = len(e.fields) == 0 || string(e.fields[0].line.text) != typed
			e.mu.Unlock()
		}
	}
	atPrompt("who")
	show(chatsecure.Event{Type: chatsecure.EventReceipt, Receipt: &chatsecure.ReceiptChange{ID: "id1", To: "Bruno", Status: chatsecure.StatusRead}})
	show(chatsecure.Event{Type: chatsecure.EventMessage, Message: &chatsecure.Message{From: "Bruno", Text: "tu\x1b[2J王", To: []string{"ana"}}})
	const want = "[09:58:36] [Ana-139934559672912] Bruno: olá\n[09:58:36] [Bruno]: tu\\x1b[2J王\n[09:58:36] [Ana-139934559672912] who|\n✓ read by Bruno"
	if got := out.screen(); got != want {
		t.Errorf("the terminal shows\n%s\nwant\n%s", got, want)
	}
	for _, colour := range []string{"\x1b[2m[09:58:36] [Ana-139934559672912] \x1b[mBruno", "\x1b[1m[Bruno]\x1b[m: ", "\x1b[2m✓ read by Bruno\x1b[m"} {
		if !strings.Contains(out.String(), colour) {
			t.Errorf("%q is not in %q", colour, out.String())
		}
	}
	e.feed([]byte("\x03" + "\x1b[200~bob: " + strings.Repeat("x", 300<<10) + "\r" + pasteEnd + "quit\r"))
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

// fixedNow is the time on the clock of a test.
func fixedNow() time.Time { return time.Date(2026, 11, 22, 9, 58, 36, 0, time.Local) }

// strip keeps all that an emulator gets. It is safe for concurrent use.
type strip struct {
	mu   sync.Mutex
	vt   *emulator
	text strings.Builder
}

func (s *strip) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.Write(b)
	return s.vt.Write(b)
}

func (s *strip) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (s *strip) screen() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.vt.all()
}

// TestColours: where there is any.
func TestColours(t *testing.T) {
	for _, test := range []struct {
		env    map[string]string
		dumb   bool
		colour palette
	}{
		{map[string]string{"TERM": "xterm"}, false, true},
		{map[string]string{"TERM": "xterm", "NO_COLOR": "1"}, false, false},
		{map[string]string{"TERM": "xterm", "NO_COLOR": ""}, false, true},
		{map[string]string{"TERM": "dumb"}, true, false},
		{nil, true, false},
	} {
		env := func(name string) string { return test.env[name] }
		if isDumb(env) != test.dumb || colours(env) != test.colour {
			t.Errorf("%v: dumb %v, colour %v", test.env, isDumb(env), colours(env))
		}
	}
	if got := palette(false).in(alarm, "x"); got != "x" {
		t.Errorf("without colour: %q", got)
	}
	if got := palette(true).in(alarm, "x"); got != "\x1b[31mx\x1b[m" {
		t.Errorf("with colour: %q", got)
	}
}

// TestDumbTerminal: where there are no control sequences, none are written.
func TestDumbTerminal(t *testing.T) {
	var out strings.Builder
	s := &screen{out: &out, dumb: true}
	s.show(fixed("> "))
	s.print("message\n")
	s.answered("\n")
	if got := out.String(); got != "> \nmessage\n> \n" {
		t.Errorf("shown is %q", got)
	}
	stop := fakeTerminal(&out).startEditing(func(string) string { return "" }, new(desk).complete)
	stop()
	stop()
}
