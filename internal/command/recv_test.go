package command

import (
	"context"
	"encoding/json"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/proto"
	"chatsecure/testdata/lab/town"
	"chatsecure/testdata/lab/tty"
)

func message(from, text string, to ...string) client.Event {
	return client.Event{Type: client.EventMessage, Time: time.Unix(0, 0), Message: &client.Message{
		ID: "1d", From: from, FromConn: "7f3a", Seq: 7, Sent: time.Unix(1, 0), Text: text, To: to, Identity: [32]byte{1},
		Person: fakePerson(from, 1), Known: true,
	}}
}

// unknown is a message of a person who is not accepted.
func unknown(from, text string, identity byte) client.Event {
	ev := message(from, text, "ana")
	ev.Message.Known, ev.Message.Identity = false, [32]byte{identity}
	return ev
}

// recvWith runs recv on a fake client with the events of c.
func recvWith(c talker, opt options, ro recvOptions, stdout io.Writer) (status int, stderr string) {
	sys, _, errw := fakeSystem("")
	sys.Stdout = stdout
	a := &app{System: sys, opt: opt, out: newDisplay(sys, opt)}
	r := &receiver{presenter: &presenter{out: a.out, c: c}, opt: ro}
	if f, ok := c.(*fakeTalker); ok {
		r.quietFor(func(name string) bool { return f.accepted[proto.FoldName(name)] })
	}
	return a.finish(r.run(context.Background())), errw.String()
}

func TestRecvLines(t *testing.T) {
	c := newFakeTalker()
	c.events <- []client.Event{
		message("Bruno", "Bom dia!", "ana"),
		message("Bruno", "a\nb\x1b[2J\u202e\u200b\tc", "ana"),
		message("carla", "to us", "ana", "bruno"),
	}
	out := new(tty.Paper)
	status, stderr := recvWith(c, options{quiet: true}, recvOptions{n: 3}, out)
	want := "Bruno: Bom dia!\nBruno: a\\x0ab\\x1b[2J\\u202e\\u200b\tc\n[carla → ana, bruno] carla: to us\n"
	if status != 0 || out.String() != want || stderr != "" || len(c.shown) != 3 {
		t.Errorf("exit status %d, %q %q, %d are READ", status, out.String(), stderr, len(c.shown))
	}
}

// TestRecvZero: -0 writes texts exactly, and no text can begin a further message.
func TestRecvZero(t *testing.T) {
	c := newFakeTalker()
	c.events <- []client.Event{
		message("Bruno", "a\nb\x1b\u202e\tc\n", "ana", "carla"), message("carla", "", "ana"), message("carla", "x\x00bruno\ty", "ana"),
	}
	out := new(tty.Paper)
	status, stderr := recvWith(c, options{quiet: true}, recvOptions{n: 3, zero: true}, out)
	want := "Bruno\ta\nb\x1b\u202e\tc\n\x00carla\t\x00carla\tx\\x00bruno\ty\x00"
	if status != 0 || out.String() != want || stderr != "" || len(c.shown) != 3 {
		t.Errorf("exit status %d, %q %q, %d are READ", status, out.String(), stderr, len(c.shown))
	}
}

// TestRecvLeavesTheRest: messages beyond -n, or not -from, are not shown and
// not READ.
func TestRecvLeavesTheRest(t *testing.T) {
	c := newFakeTalker()
	c.events <- []client.Event{
		message("bruno", "1", "ana"), message("carla", "2", "ana"), message("Bruno", "3", "ana"), message("BRUNO", "4", "ana"),
	}
	out := new(tty.Paper)
	status, _ := recvWith(c, options{quiet: true}, recvOptions{n: 2, from: "BRUNO"}, out)
	if status != 0 || out.String() != "bruno: 1\nBruno: 3\n" || len(c.shown) != 2 || c.shown[1].Text != "3" {
		t.Errorf("exit status %d, %q, READ are %v", status, out.String(), c.shown)
	}
}

// TestRecvOfStrangers: a message of somebody who is not accepted is neither printed nor READ nor
// counted, and comes out, in its place among theirs, once they are. Nobody is asked about twice, or
// beyond -n.
func TestRecvOfStrangers(t *testing.T) {
	accepted := client.Event{Type: client.EventAccepted, Time: time.Unix(0, 0)}
	for _, c := range []struct {
		name          string
		opt           recvOptions
		accept        string // at the question
		trust         string // by another program, before the last events
		printed, says string
		asked         int
		status        int
	}{
		{"nobody is accepted", recvOptions{}, "", "", "carla: 3\n", "of people who are not accepted: 3", 2, 0},
		{"from NAME", recvOptions{from: "BRUNO", n: 1, time: time.Second}, "", "", "", "0 of 1 messages came", 1, 6},
		{"from NAME, another asks", recvOptions{from: "carla"}, "", "", "carla: 3\n", "", 0, 0},
		{"from anyone", recvOptions{anyone: true}, "", "", "bruno: 1\nbruno: 2\ncarla: 3\neve: 4\n", "", 0, 0},
		{"a yes at the question", recvOptions{n: 2}, "bruno", "", "bruno: 1\nbruno: 2\n", "", 1, 0},
		{"accepted by another program", recvOptions{}, "", "bruno", "carla: 3\nbruno: 1\nbruno: 2\n", "not accepted: 1", 2, 0},
	} {
		f := newFakeTalker()
		f.accept = c.accept
		f.events <- []client.Event{unknown("bruno", "1", 1), unknown("bruno", "2", 1), message("carla", "3", "ana"), unknown("eve", "4", 2)}
		later := &lateTalker{fakeTalker: f, then: func() {
			f.accepted[c.trust] = true
			f.events <- []client.Event{accepted}
			close(f.events)
		}}
		if c.opt.time > 0 {
			later.then = nil
		}
		out := new(tty.Paper)
		status, stderr := recvWith(later, options{}, c.opt, out)
		if status != c.status || out.String() != c.printed || !strings.Contains(stderr, c.says) || len(f.asked) != c.asked ||
			len(f.shown) != strings.Count(c.printed, "\n") {
			t.Errorf("%s: exit status %d, %q %q, %d are READ, asked about %v", c.name, status, out.String(), stderr, len(f.shown), f.asked)
		}
	}
}

// TestRecvGapsOfStrangers: gaps of people who are not accepted are counted, since one could cause any
// number. Who takes messages of anybody is told of each.
func TestRecvGapsOfStrangers(t *testing.T) {
	for _, anyone := range []bool{false, true} {
		f := newFakeTalker()
		f.accepted["carla"] = true
		var events []client.Event
		for _, name := range []string{"eve", "carla", "Eve"} {
			events = append(events, client.Event{Type: client.EventGap, Gap: &client.Gap{Name: name, Conn: "1", Reason: "a gap"}})
		}
		f.events <- events
		close(f.events)
		_, stderr := recvWith(f, options{}, recvOptions{anyone: anyone}, new(tty.Paper))
		told, counted := strings.Count(stderr, "may be missing: a gap"), strings.Contains(stderr, "of people who are not accepted: 2\n")
		if counted == anyone || told != map[bool]int{false: 1, true: 3}[anyone] {
			t.Errorf("from anyone %v: %q", anyone, stderr)
		}
	}
}

// lateTalker does something once its first events have been worked off.
type lateTalker struct {
	*fakeTalker
	calls int
	then  func()
}

func (l *lateTalker) Next(ctx context.Context) ([]client.Event, error) {
	if l.calls++; l.calls == 2 && l.then != nil {
		l.then()
	}
	return l.fakeTalker.Next(ctx)
}

func TestRecvFor(t *testing.T) {
	for _, test := range []struct{ n, come, status int }{{0, 0, 0}, {0, 1, 0}, {2, 1, 6}, {1, 0, 6}} {
		c := newFakeTalker()
		for range test.come {
			c.events <- []client.Event{message("bruno", "x", "ana")}
		}
		out := new(tty.Paper)
		if status, stderr := recvWith(c, options{quiet: true}, recvOptions{n: test.n, time: 50 * time.Millisecond},
			out); status != test.status || (status != 0) != (stderr != "") {
			t.Errorf("%+v: exit status %d, %q", test, status, stderr)
		}
		if len(c.shown) != test.come {
			t.Errorf("%+v: %d are READ", test, len(c.shown))
		}
	}
}

func TestRecvEndsWithTheClient(t *testing.T) {
	c := &endedTalker{fakeTalker: newFakeTalker(), end: fail.Errorf(proto.CertificateRevoked, "the relay refuses this connection")}
	sys, _, errw := fakeSystem("")
	a := &app{System: sys, out: newDisplay(sys, options{})}
	r := &receiver{presenter: &presenter{out: a.out, c: c}}
	if status := a.finish(r.run(context.Background())); status != 4 || !strings.Contains(errw.String(), "the relay refuses this connection") {
		t.Errorf("exit status %d, %q", status, errw.String())
	}
}

// TestRecvWhenNobodyReads: a message that could not be written is not READ, and
// the end is quiet.
func TestRecvWhenNobodyReads(t *testing.T) {
	c := newFakeTalker()
	c.events <- []client.Event{message("bruno", "x", "ana")}
	status, stderr := recvWith(c, options{}, recvOptions{}, brokenWriter{syscall.EPIPE})
	if status != 0 || strings.Contains(stderr, "error") || len(c.shown) != 0 {
		t.Errorf("exit status %d, %q, %d are READ", status, stderr, len(c.shown))
	}
	c = newFakeTalker()
	c.events <- []client.Event{message("bruno", "x", "ana")}
	status, stderr = recvWith(c, options{}, recvOptions{}, brokenWriter{syscall.ENOSPC})
	if status != 1 || !strings.Contains(stderr, "client: hint: make room") || len(c.shown) != 0 {
		t.Errorf("a full disk: exit status %d, %q, %d are READ", status, stderr, len(c.shown))
	}
}

type brokenWriter struct{ err error }

func (b brokenWriter) Write([]byte) (int, error) { return 0, b.err }

func TestRecvNotices(t *testing.T) {
	c := newFakeTalker()
	c.accepted["bruno"] = true
	first := message("bruno", "x", "ana")
	first.Message.First = true
	again := message("bruno", "y", "ana")
	again.Message.Again = true
	c.events <- []client.Event{
		first, again,
		{Type: client.EventGap, Gap: &client.Gap{Name: "bruno", Conn: "7f3a", Reason: "a gap"}},
		{Type: client.EventLost, Err: fail.Errorf(proto.Lost, "the relay is lost")},
		{Type: client.EventBack, Conn: "2"},
		{Type: client.EventPeer, Peer: &client.PeerChange{Name: "m", Conn: "1", What: "refused", Reason: "revoked"}},
		{Type: client.EventPeer, Peer: &client.PeerChange{Name: "bruno", Conn: "7f3a", What: "left", Reason: "cut short"}},
		{Type: client.EventNotice, Notice: "the history\x1b was repaired"},
		message("bruno", "z", "ana"),
	}
	out := new(tty.Paper)
	status, stderr := recvWith(c, options{}, recvOptions{n: 3}, out)
	if status != 0 || out.String() != "bruno: x\nbruno: y\nbruno: z\n" {
		t.Errorf("exit status %d, %q", status, out.String())
	}
	for _, want := range []string{"Nome           : BRUNO", "may have been shown before", "a gap", "the relay is lost",
		"the relay is back", "m is refused: revoked", "cut short", `the history\x1b was repaired`} {
		if !strings.Contains(stderr, want) {
			t.Errorf("nothing says %q in %q", want, stderr)
		}
	}
}

// unsurePerson is a person with an unknown revocation.
func unsurePerson(name string, identity byte) *trust.Person {
	p := fakePerson(name, identity)
	p.Revocation = trust.RevocationResult{
		Status: trust.RevocationUnknown, Reason: "whether the certificate of BRUNO is revoked is not known: no revocation list of X is at hand",
	}
	return p
}

// A person with an unknown revocation is told once, and introduced with a line
// about it.
func TestRevocationUnknownIsSaidOnce(t *testing.T) {
	authenticated := func(name, conn string, p *trust.Person) client.Event {
		return client.Event{Type: client.EventPeer, Peer: &client.PeerChange{Name: name, Conn: conn, What: "authenticated", Person: p}}
	}
	first := message("bruno", "x", "ana")
	first.Message.First, first.Message.Person = true, unsurePerson("bruno", 1)
	off := fakePerson("otto", 4)
	off.Revocation = trust.RevocationResult{Status: trust.RevocationOff, Reason: "revocation is not looked at"}
	c := newFakeTalker()
	c.events <- []client.Event{
		authenticated("bruno", "7f3a", unsurePerson("bruno", 1)), authenticated("Bruno", "7f3b", unsurePerson("bruno", 1)),
		authenticated("carla", "1", unsurePerson("carla", 2)), authenticated("dora", "2", fakePerson("dora", 3)),
		authenticated("otto", "3", off), first,
	}
	_, stderr := recvWith(c, options{}, recvOptions{n: 1}, new(tty.Paper))
	const note = " is accepted, although whether the certificate of BRUNO is revoked is not known: no revocation list of X is at hand\n"
	if strings.Count(stderr, "client: notice: bruno"+note) != 1 || strings.Count(stderr,
		"client: notice: carla"+note) != 1 || strings.Count(stderr, "although") != 2 {
		t.Errorf("it says %q", stderr)
	}
	if want := "Válido de      : 2016-01-04 16:59:29\nRevocation     : unknown: whether"; strings.Count(stderr, want) != 1 {
		t.Errorf("nothing says %q in %q", want, stderr)
	}
}

func TestRecvJSON(t *testing.T) {
	c := newFakeTalker()
	c.events <- []client.Event{
		message("Bruno", "a\nb\x1b<&>\u2028\u202e", "ana", "bruno"),
		{Type: client.EventPeer, Peer: &client.PeerChange{Name: "m", Conn: "1", What: "came"}},
		{Type: client.EventGap, Gap: &client.Gap{Name: "m", Conn: "1", Reason: "r"}},
		{Type: client.EventLost, Err: fail.Errorf(proto.Lost, "gone")},
		{Type: client.EventBack, Conn: "2"},
		message("Bruno", "end", "ana"),
	}
	out := new(tty.Paper)
	if status, stderr := recvWith(c, options{json: true, quiet: true}, recvOptions{n: 2}, out); status != 0 || stderr != "" {
		t.Errorf("exit status %d, %q", status, stderr)
	}
	var types []string
	for line := range strings.Lines(out.String()) {
		var o map[string]any
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		types = append(types, o["type"].(string))
		if len(types) > 1 {
			continue
		}
		if o["text"] != "a\nb\x1b<&>\u2028\u202e" || o["from"] != "Bruno" || o["conn"] != "7f3a" || o["id"] != "1d" ||
			o["seq"] != 7.0 || len(o["to"].([]any)) != 2 ||
			o["identity"] != "01"+strings.Repeat("00", 31) || o["time"] != "1970-01-01T00:00:00.000Z" {
			t.Errorf("the message is %v", o)
		}
	}
	if got := strings.Join(types, " "); got != "message peer gap lost back message" {
		t.Errorf("the objects are %s", got)
	}
}

// TestPipedPromptOfStrangers: the prompt's lines from a pipe print the messages of the same people as
// recv does.
func TestPipedPromptOfStrangers(t *testing.T) {
	f := newFakeTalker()
	sys, stdout, stderr := fakeSystem("")
	s := newPromptRun(newDisplay(sys, options{}), f, time.Minute, time.Now)
	f.events <- []client.Event{unknown("bruno", "a stranger's", 1), message("carla", "a friend's", "ana")}
	close(f.events)
	s.show(t.Context(), func(error) {})
	if got := stdout.String(); strings.Contains(got, "stranger's") || !strings.Contains(got, "friend's") {
		t.Errorf("it prints %q", got)
	}
	if got := stderr.String(); !strings.Contains(got, "of people who are not accepted: 1") {
		t.Errorf("it says %q", got)
	}
}

// TestRecvFromNobody: a name that nobody has here, and nobody at the relay, may be a slip, which is
// said once.
func TestRecvFromNobody(t *testing.T) {
	w := town.New(t, town.People("alice", "bob"))
	chatter(w, "bob")
	const says = "client: notice: nobody by the name of bobb is known here or connected; this waits until somebody comes\n"
	for _, c := range []struct {
		args []string
		want int
	}{
		{[]string{"-q=false", "recv", "-from", "bobb"}, 1}, {[]string{"recv", "-from", "bobb"}, 0},
		{[]string{"-q=false", "recv", "-from", "BOB"}, 0}, {[]string{"-q=false", "recv"}, 0},
	} {
		got := w.Run("", "alice", append(c.args, "-for", "1ms")...)
		if got.Status != 0 || strings.Count(got.Stderr, says) != c.want {
			t.Errorf("%q: %+v", c.args, got)
		}
	}
	w.Must("", "alice", "trust", "accept", "bobb", strings.Repeat("ab", 32))
	if got := w.Run("", "alice", "-q=false", "recv", "-from", "bobb", "-for", "1ms"); strings.Contains(got.Stderr, "nobody") {
		t.Errorf("known is nobody: %+v", got)
	}
}
