package command

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/proto"
	"chatsecure/testdata/lab/town"
	"chatsecure/testdata/lab/tty"
)

// closingTalker is a talker that a test ends.
type closingTalker interface {
	talker
	Close(ctx context.Context) error
}

// sendWith runs send on a fake client and returns the exit status.
func sendWith(t *testing.T, c closingTalker, opt options, input string) (status int, stdout, stderr string) {
	t.Helper()
	sys, out, errw := fakeSystem("")
	a := &app{System: sys, opt: opt, out: newDisplay(sys, opt)}
	s := &sender{out: a.out, c: c, names: []string{"bruno", "carla"}}
	p := &presenter{out: a.out, c: c, take: takeNone}
	ctx := context.Background()
	reading, followed := p.followAside(ctx)
	err := s.run(ctx, reading, newPipedLines(strings.NewReader(input), '\n'), history.StatusDelivered, time.Second)
	c.Close(ctx)
	<-followed
	return a.finish(err), out.String(), errw.String()
}

func TestSendEveryLine(t *testing.T) {
	c := newFakeTalker()
	c.outcome = client.Outcome{Names: []client.NameOutcome{{Name: "bruno", Reached: 2}, {Name: "carla", Reached: 2}}}
	status, stdout, stderr := sendWith(t, c, options{quiet: true}, "one\ntwo\n")
	if status != 0 || stdout != "id1\nid2\n" || stderr != "" {
		t.Errorf("exit status %d, %q %q", status, stdout, stderr)
	}
	if len(c.sent) != 2 || c.sent[1].text != "two" || !slices.Equal(c.sent[0].names, []string{"bruno", "carla"}) ||
		!slices.Equal(c.outcomes, []history.Status{history.StatusDelivered}) {
		t.Errorf("sent was %v, waited for %v", c.sent, c.outcomes)
	}
}

// TestSendRefusesLinesByNumber: the other lines go, and the exit status is 1.
func TestSendRefusesLinesByNumber(t *testing.T) {
	c := newFakeTalker()
	c.outcome = client.Outcome{Names: []client.NameOutcome{{Name: "bruno", Reached: 2}}}
	status, stdout, stderr := sendWith(t, c, options{quiet: true}, "one\n\xff\n"+strings.Repeat("x", proto.MaxText+1)+"\ntwo\n")
	if status != 1 || stdout != "id1\nid2\n" || !strings.Contains(stderr, "client: error: line 2 is not sent") ||
		!strings.Contains(stderr, "client: error: line 3 is not sent") {
		t.Errorf("exit status %d, %q %q", status, stdout, stderr)
	}
}

func TestSendOutcomes(t *testing.T) {
	nobody := fail.Errorf(proto.NoSuchName, "nobody by the name of carla is connected")
	revoked := fail.Errorf(proto.CertificateRevoked, "revoked")
	reached, failed := client.NameOutcome{Name: "bruno", Reached: 1}, client.NameOutcome{Name: "carla", Failed: 1}
	for name, test := range map[string]struct {
		outcome client.Outcome
		sendErr error
		status  int
		says    string
	}{
		"some": {client.Outcome{Names: []client.NameOutcome{reached, failed}, Failed: []*fail.Error{nobody}}, nil, 7, "carla"},
		"none": {client.Outcome{Names: []client.NameOutcome{failed}, Failed: []*fail.Error{nobody}}, nil, 6, "carla"},
		"one refused": {client.Outcome{Names: []client.NameOutcome{reached, failed},
			Failed: []*fail.Error{nobody, revoked}}, nil, 4, "revoked"},
		"nobody at once":   {client.Outcome{}, nobody, 6, "carla"},
		"refused at once":  {client.Outcome{}, revoked, 4, "revoked"},
		"said once":        {client.Outcome{Names: []client.NameOutcome{failed}, Failed: []*fail.Error{nobody}}, nobody, 6, "carla"},
		"cut in the midst": {client.Outcome{Names: []client.NameOutcome{reached}}, fail.Errorf(proto.Lost, "the relay is lost"), 3, "lost"},
	} {
		c := newFakeTalker()
		c.outcome = test.outcome
		if test.sendErr != nil {
			c.sendErr = func([]string, string) error { return test.sendErr }
		}
		status, _, stderr := sendWith(t, c, options{quiet: true}, "one\n")
		if status != test.status || strings.Count(stderr, test.says) == 0 || strings.Count(stderr, nobody.Message) > 1 ||
			!strings.Contains(stderr, "client: hint: ") && test.sendErr != revoked {
			t.Errorf("%s: exit status %d, %q", name, status, stderr)
		}
	}
}

// TestSendSaysWhoHasIt: if only some got a message, its progress is told for
// each.
func TestSendSaysWhoHasIt(t *testing.T) {
	late := fail.Errorf(proto.NotDelivered, "late")
	read := client.NameOutcome{Name: "bruno", Reached: 1, Sent: 1, Delivered: 1, Read: 1}
	for _, test := range []struct {
		names []client.NameOutcome
		says  string
	}{
		{[]client.NameOutcome{read, {Name: "carla", Failed: 1}}, "bruno has read it; carla has not got it"},
		{[]client.NameOutcome{read, {Name: "carla", Open: 1, Sent: 1, Delivered: 1}}, "bruno has read it; carla has it, unread"},
		{[]client.NameOutcome{read, {Name: "carla", Open: 1, Sent: 1}}, "bruno has read it; the relay has taken it for carla"},
		{
			[]client.NameOutcome{{Name: "bruno", Reached: 9, Sent: 9, Delivered: 9, Read: 9},
				{Name: "carla", Reached: 1, Open: 3, Failed: 5, Sent: 4, Delivered: 3, Read: 1}},
			"bruno has got 9 of 9, and read 9; carla has got 3 of 9, and read 1",
		},
		{[]client.NameOutcome{{Name: "bruno", Failed: 2}, {Name: "carla", Open: 2, Sent: 2}},
			"bruno has got 0 of 2, and read 0; the relay has taken 2 of 2 for carla"},
		{[]client.NameOutcome{{Name: "bruno", Failed: 1}, {Name: "carla", Failed: 1}}, ""}, // the errors say so
		{[]client.NameOutcome{{Name: "bruno", Open: 1, Reached: 1, Sent: 2}}, ""},
	} {
		c := newFakeTalker()
		c.outcome = client.Outcome{Names: test.names, Failed: []*fail.Error{late}}
		_, _, stderr := sendWith(t, c, options{quiet: true}, "one\n")
		_, said, _ := strings.Cut(stderr, "not everybody has it: ")
		if strings.TrimSuffix(said, "\n") != test.says {
			t.Errorf("%v: %q is said, want %q", test.names, said, test.says)
		}
	}
}

// TestSendSaysWhatIsKept: each name has a sentence, whatever the number of its lines. Under -q it
// gives the reason of a status that is not 0.
func TestSendSaysWhatIsKept(t *testing.T) {
	until := time.Date(2026, 12, 7, 18, 3, 0, 0, time.Local)
	one := client.NameOutcome{Name: "bruno", Kept: 1, Sent: 1, Boxed: 1, Until: until}
	read := client.NameOutcome{Name: "carla", Reached: 1, Sent: 1, Delivered: 1, Read: 1}
	nobody := fail.Errorf(proto.NoSuchName, "nobody by the name of carla is connected")
	const notHere = "client: notice: bruno is not here; the relay keeps "
	for name, test := range map[string]struct {
		names  []client.NameOutcome
		failed []*fail.Error
		opt    options
		now    time.Time
		here   bool
		status int
		said   string
	}{
		"one":              {names: []client.NameOutcome{one}, status: 9, said: notHere + "it until 2026-12-07\n"},
		"under -q":         {names: []client.NameOutcome{one}, opt: options{quiet: true}, status: 9, said: notHere + "it until 2026-12-07\n"},
		"another has read": {names: []client.NameOutcome{one, read}, status: 9, said: notHere + "it until 2026-12-07\n"},
		"on the last day": {names: []client.NameOutcome{one}, now: until.Add(-23 * time.Hour), status: 9,
			said: notHere + "it until 2026-12-07 18:03\n"},
		"two of two": {names: []client.NameOutcome{{Name: "bruno", Kept: 2, Sent: 2, Boxed: 2, Until: until}}, status: 9,
			said: notHere + "them until 2026-12-07\n"},
		"two of three": {names: []client.NameOutcome{{Name: "bruno", Reached: 1, Kept: 2, Sent: 3, Boxed: 2, Delivered: 1, Until: until}}, status: 9,
			said: notHere + "2 of 3 messages until 2026-12-07\n"},
		"-wait sent":          {names: []client.NameOutcome{{Name: "bruno", Reached: 1, Sent: 1, Boxed: 1, Until: until}}, said: notHere + "it until 2026-12-07\n"},
		"-wait sent under -q": {names: []client.NameOutcome{{Name: "bruno", Reached: 1, Sent: 1, Boxed: 1, Until: until}}, opt: options{quiet: true}},
		"and nobody": {names: []client.NameOutcome{one, {Name: "carla", Failed: 1}}, failed: []*fail.Error{nobody}, status: 6,
			said: "client: error: nobody by the name of carla is connected\n" + "client: error: not everybody has it: the relay keeps it for bruno; " +
				"carla has not got it\n" + notHere + "it until 2026-12-07\n"},
		"asleep": {names: []client.NameOutcome{{Name: "bruno", Open: 1, Sent: 1, Boxed: 1, Until: until}}, failed: []*fail.Error{nobody}, here: true, status: 6,
			said: "client: error: nobody by the name of carla is connected\nclient: notice: bruno does not answer; the relay keeps it until 2026-12-07\n"},
	} {
		sys, _, stderr := fakeSystem("")
		sys.Now = func() time.Time { return test.now }
		d := newDisplay(sys, test.opt)
		d.advice = func(string) string { return "" }
		status := d.outcome(client.Outcome{Names: test.names, Failed: test.failed}, nil, func(string) bool { return test.here })
		if said := stderr.String(); status != test.status || said != test.said {
			t.Errorf("%s: status %d, said\n%swant %d and\n%s", name, status, said, test.status, test.said)
		}
	}
}

// TestSendNoticesTheEndOfTheClient, also while it waits for standard input.
func TestSendNoticesTheEndOfTheClient(t *testing.T) {
	c := &endedTalker{fakeTalker: newFakeTalker(), end: fail.Errorf(proto.Lost, "the relay was lost")}
	sys, _, stderr := fakeSystem("")
	a := &app{System: sys, out: newDisplay(sys, options{})}
	s := &sender{out: a.out, c: c, names: []string{"bruno"}}
	p := &presenter{out: a.out, c: c, take: takeNone}
	reading, followed := p.followAside(context.Background())
	r, w := tty.Pipe(t)
	defer w.Close()
	err := s.run(context.Background(), reading, newPipedLines(r, '\n'), history.StatusDelivered, time.Second)
	<-followed
	if status := a.finish(err); status != 3 || !strings.Contains(stderr.String(), "the relay was lost") {
		t.Errorf("exit status %d, %q", status, stderr.String())
	}
}

// endedTalker is a client that has ended by itself.
type endedTalker struct {
	*fakeTalker
	end error
}

func (e *endedTalker) Next(context.Context) ([]client.Event, error) { return nil, e.end }

// fastTalker gets a message's receipt before Send returns the id.
type fastTalker struct{ *fakeTalker }

func (f fastTalker) Send(ctx context.Context, names []string, text string) (string, error) {
	id, err := f.fakeTalker.Send(ctx, names, text)
	f.events <- []client.Event{{Type: client.EventReceipt, Receipt: &client.ReceiptChange{ID: id, No: uint64(len(f.sent)), To: "bruno"}}}
	synctest.Wait() // the receipt has been shown, or waits
	return id, err
}

// TestReceiptAfterItsMessage: in the output of -json a message precedes its
// receipts.
func TestReceiptAfterItsMessage(t *testing.T) {
	want := []string{`"sent" id1`, `"receipt" id1`, `"sent" id2`, `"receipt" id2`}
	check := func(t *testing.T, stdout string) {
		var got []string
		for line := range strings.Lines(stdout) {
			var o struct{ Type, ID string }
			if err := json.Unmarshal([]byte(line), &o); err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%q %s", o.Type, o.ID))
		}
		if !slices.Equal(got, want) {
			t.Errorf("the objects are %q", got)
		}
	}
	t.Run("send", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newFakeTalker()
			status, stdout, _ := sendWith(t, fastTalker{c}, options{json: true, quiet: true}, "one\ntwo\n")
			if check(t, stdout); status != 0 {
				t.Errorf("exit status %d", status)
			}
		})
	})
	t.Run("prompt", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newFakeTalker()
			sys, stdout, _ := fakeSystem("")
			s := newPromptRun(newDisplay(sys, options{json: true, quiet: true}), fastTalker{c}, time.Second, time.Now)
			s.lines = newPipedLines(strings.NewReader("bruno: one\nbruno: two\n"), '\n')
			err := s.run(t.Context())
			c.Close(t.Context())
			<-s.presented
			if check(t, stdout.String()); err != nil {
				t.Error(err)
			}
		})
	})
}

func TestSendJSON(t *testing.T) {
	c := newFakeTalker()
	c.events <- []client.Event{
		{Type: client.EventReceipt, Time: time.Unix(1, 0), Receipt: &client.ReceiptChange{ID: "id1", No: 1, To: "bruno",
			Conn: "2", Status: history.StatusRead}},
	}
	c.outcome = client.Outcome{Names: []client.NameOutcome{{Name: "carla", Failed: 1}},
		Failed: []*fail.Error{fail.Errorf(proto.NoSuchName, "nobody <&>")}}
	status, stdout, stderr := sendWith(t, c, options{json: true, quiet: true}, "one\n")
	types := map[string]map[string]any{}
	for line := range strings.Lines(stdout) {
		var o map[string]any
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if _, err := time.Parse(time.RFC3339, o["time"].(string)); err != nil || o["v"] != 1.0 || !strings.HasSuffix(o["time"].(string), "Z") {
			t.Errorf("%q: %v", line, err)
		}
		types[o["type"].(string)] = o
	}
	if o := types["sent"]; o["id"] != "id1" || len(o["to"].([]any)) != 2 {
		t.Errorf("sent: %v", o)
	}
	if o := types["receipt"]; o["to"] != "bruno" || o["conn"] != "2" || o["id"] != "id1" || o["status"] != "READ" {
		t.Errorf("receipt: %v", o)
	}
	if o := types["error"]; o["code"] != "no-such-name" || o["exit"] != 6.0 || o["message"] != "nobody <&>" {
		t.Errorf("error: %v", o)
	}
	if status != 6 || !strings.Contains(stderr, "client: error: nobody <&>\n") {
		t.Errorf("exit status %d, %q", status, stderr)
	}
}

// TestSendTellsNobodyBeforeALine: send whose lines are typed begins no conversation, and so shows
// nobody a certificate, until there is one.
func TestSendTellsNobodyBeforeALine(t *testing.T) {
	w := town.New(t, town.People("alice", "bob"))
	bob := w.Receive("bob")
	talks := func() bool {
		written, err := os.ReadFile(w.Path("state-bob", "history", "lines.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Contains(written, []byte(`"type":"conversation"`))
	}
	send := w.Start("alice", "-json", "send", "bob")
	send.Object("connected")
	for range 20 { // time for a handshake
		if talks() {
			t.Error("there was a handshake without a line")
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if _, err := send.Stdin.Write([]byte("hello\n")); err != nil {
		t.Fatal(err)
	}
	if r := send.End(); r.Status != 0 {
		t.Errorf("send ended with %+v", r)
	}
	if o := bob.Object("message"); o["text"] != "hello" || !talks() {
		t.Errorf("bob got %v", o)
	}
}
