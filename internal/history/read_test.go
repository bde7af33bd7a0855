package history

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/testdata/lab/people"
	"chatsecure/testdata/lab/wire"
)

func TestReadHistory(t *testing.T) {
	p := newPair(t)
	carla := p.open(p.User("Carla", "conn-c"))
	waits := p.record("to both", append(to(p.b), crypto.Recipient{Name: "carla"}))
	p.Must(p.a.h.Pending(waits, []string{"Carla"}))
	p.Clock.Add(time.Second)
	p.SendRecords(waits)
	p.Send("two", "three")
	p.Send("four")
	p.Must(p.a.h.Taken(p.Ca.T3, p.Ca.SendDirection(), 3))
	p.Receipt(2, 1)
	p.Must(p.b.h.Shown(p.Cb.T3, p.Cb.SendDirection(), 2))
	given := p.record("given up", []crypto.Recipient{{Name: "carla"}})
	p.Must(p.a.h.Pending(given, []string{"Carla"}))
	p.Must(p.a.h.Failed(given.ID, "Carla", "nobody came"))
	_ = carla

	summary := func(u *user) string {
		t.Helper()
		l, err := Read(u.dir, Query{})
		p.Must(err)
		if len(l.Problems) > 0 || l.More {
			t.Errorf("problems: %v, more: %t", l.Problems, l.More)
		}
		var b strings.Builder
		for _, m := range l.Messages {
			fmt.Fprintf(&b, "%s %s>%s %s:", m.Text, m.From.Name, strings.Join(m.To, ","), m.Status())
			for _, d := range m.Deliveries {
				fmt.Fprintf(&b, " %s/%s=%s", d.Name, d.Conn, d.Status)
				if d.Reason != "" {
					fmt.Fprintf(&b, " (%s)", d.Reason)
				}
			}
			b.WriteByte('\n')
		}
		return b.String()
	}
	want := `to both Ana>bruno,carla PENDING: Carla/=PENDING Bruno/conn-b=READ
two Ana>bruno DELIVERED: Bruno/conn-b=DELIVERED
three Ana>bruno SENT: Bruno/conn-b=SENT
four Ana>bruno PENDING: Bruno/conn-b=PENDING (it has left and was not answered, so it may have arrived)
given up >carla FAILED: Carla/=FAILED (nobody came)
`
	if got := summary(p.a); got != want {
		t.Errorf("Ana reads\n%swant\n%s", got, want)
	}
	l, err := Read(p.a.dir, Query{})
	p.Must(err)
	if m := l.Messages; !m[0].With("BRUNO") || m[1].With("Carla") || m[0].With("Ana") {
		t.Errorf("with whom a message was is %v", m)
	}
	want = `to both Ana>bruno,carla READ: Bruno/conn-b=READ
two Ana>bruno READ: Bruno/conn-b=READ
three Ana>bruno DELIVERED: Bruno/conn-b=DELIVERED
four Ana>bruno DELIVERED: Bruno/conn-b=DELIVERED
`
	if got := summary(p.b); got != want {
		t.Errorf("Bruno reads\n%swant\n%s", got, want)
	}
	if l, err := Read(filepath.Join(p.a.dir, "none"), Query{}); err != nil || len(l.Messages)+len(l.Problems) != 0 {
		t.Errorf("no history reads as %+v, %v", l, err)
	}
}

// TestHistoryPipe: the chunks of a pipe leave neither a line nor a gap.
func TestHistoryPipe(t *testing.T) {
	p := newPair(t)
	for i := range 3 {
		s, err := p.Ca.SealPipe([]byte("chunk"), p.Clock.Now(), crypto.NewMemory)
		p.Must(err)
		o, err := p.Cb.Open(s.Body, p.Clock.Now())
		p.Must(err)
		p.Cb.Commit(o)
		if i != 1 {
			continue
		}
		s, err = p.Ca.SealReceipt(0, 0, p.Clock.Now())
		p.Must(err)
		o, err = p.Cb.Open(s.Body, p.Clock.Now())
		p.Must(err)
		p.Must(p.b.h.Receipt(p.Cb, o))
		p.Cb.Commit(o)
	}
	s, err := p.Ca.SealEnd(p.Clock.Now())
	p.Must(err)
	o, err := p.Cb.Open(s.Body, p.Clock.Now())
	p.Must(err)
	p.Must(p.b.h.Ended(p.Cb, o))
	p.Cb.Commit(o)
	if r := verified(t, p.b.dir, p.Verifier); !r.OK() || r.Ends != 1 || r.Receipts != 1 {
		t.Errorf("%+v", r)
	}
}

// TestReadHistoryDamaged: the readable messages of a damaged history are shown, with
// the damages.
func TestReadHistoryDamaged(t *testing.T) {
	p := newPair(t)
	p.Send("one")
	p.Send("two")
	p.close(p.a)
	path := filepath.Join(p.a.dir, linesName)
	data, err := os.ReadFile(path)
	p.Must(err)
	lines := lines(data)
	lines[nth(t, lines, lineSent, 0)] = []byte("garbage")
	p.Must(os.WriteFile(path, append(bytes.Join(lines, []byte("\n")), '\n'), 0o600))
	l, err := Read(p.a.dir, Query{N: 1})
	p.Must(err)
	if len(l.Messages) != 1 || l.Messages[0].Text != "two" || len(l.Problems) == 0 {
		t.Errorf("%d messages and problems %v", len(l.Messages), l.Problems)
	}
}

// TestReadHistoryClockBack: lines that were written while the clock was wrong hide none that came
// before them.
func TestReadHistoryClockBack(t *testing.T) {
	p := newPair(t)
	fill := strings.Repeat("0123456789", 1000)
	for i := range 300 { // 3 MB
		p.Send(fmt.Sprint(i, fill))
	}
	p.Clock.Add(-48 * time.Hour)
	p.Must(p.a.h.Failed(strings.Repeat("0", 32), "nobody", "the clock is wrong"))
	p.Clock.Add(48 * time.Hour)
	p.Send("the last")
	p.close(p.a)
	whole, err := Read(p.a.dir, Query{})
	p.Must(err)
	l, err := Read(p.a.dir, Query{Since: whole.Messages[1].Time})
	p.Must(err)
	if len(whole.Messages) != 301 || len(l.Messages) != 300 {
		t.Errorf("%d messages of %d", len(l.Messages), len(whole.Messages))
	}
}

// TestReadHistoryOfGarbage: a file of garbage does not fill memory or the screen with what is wrong.
func TestReadHistoryOfGarbage(t *testing.T) {
	dir := writeFile(t, bytes.Repeat([]byte("\n"), 3*maxFindings))
	l, err := Read(dir, Query{N: 1})
	if err != nil || len(l.Problems) != maxFindings {
		t.Errorf("%d problems, %v", len(l.Problems), err)
	}
}

// TestReadHistoryForgedID: an id that is none does not get onto a screen, where it could look like
// rows of this program.
func TestReadHistoryForgedID(t *testing.T) {
	p := newPair(t)
	r := p.record("hi", to(p.b))
	r.ID = "x\n2026-12-01 10:00:00  READ       [bob]: yes\x1b[1A"
	p.Must(p.a.h.Pending(r, []string{"bruno"}))
	p.close(p.a)
	l, err := Read(p.a.dir, Query{})
	p.Must(err)
	if len(l.Messages) != 0 {
		t.Errorf("a message has the id %q", l.Messages[0].ID)
	}
}

// TestHistoryBothSides: two clients of one user on one state directory talk with each other.
func TestHistoryBothSides(t *testing.T) {
	talkers := wire.EmptyPair(t, people.Lab(t))
	holder, err := talkers.PKI.Issue("Ana")
	talkers.Must(err)
	talkers.A, talkers.B = talkers.Delegate(holder, "Ana", "conn-1"), talkers.Delegate(holder, "Ana", "conn-2")
	p := &pair{Pair: talkers}
	dir := t.TempDir()
	p.a, p.b = &user{User: talkers.A, dir: dir}, &user{User: talkers.B, dir: dir}
	for _, u := range []*user{p.a, p.b} {
		p.reopen(u)
		t.Cleanup(func() { p.close(u) })
	}
	p.Connect()
	ids := p.Send("one", "two")
	p.Receipt(2, 1)
	p.Must(p.b.h.Shown(p.Cb.T3, p.Cb.SendDirection(), 1))
	if r := verified(t, dir, p.Verifier); !r.OK() || r.Messages != 2 || r.Conversations != 2 {
		t.Errorf("%+v", r)
	}
	l, err := Read(dir, Query{})
	p.Must(err)
	if len(l.Messages) != 4 {
		t.Errorf("%d messages, want each as sent and as received", len(l.Messages))
	}
	for _, m := range l.Messages {
		if want := map[string]Status{"one": StatusRead, "two": StatusDelivered}[m.Text]; m.Status() != want {
			t.Errorf("%s (outgoing: %t) is %s, want %s", m.Text, m.Outgoing, m.Status(), want)
		}
	}
	if _, r := p.exported(p.a, ids[0]); r.Receipt == nil || r.Receipt.Status != StatusRead {
		t.Errorf("the proof has the receipt %+v", r.Receipt)
	}
}

// TestReadHistoryPart: the end of a long history is read alone, and reads as it does in the whole.
// Conversations, and messages to several, began long before.
func TestReadHistoryPart(t *testing.T) {
	p := newPair(t)
	carla := p.User("Carla", "conn-c")
	both := p.record("to both", append(to(p.b), wire.To(carla)...))
	p.SendRecords(both)
	p.Receipt(1, 1)
	fill := strings.Repeat("0123456789", 1000)
	for i := range 400 { // 4 MB
		if i == 150 {
			p.Connect()
		}
		p.Send(fmt.Sprintf("Message %d \"%d\" \\ %s", i, i, fill))
		p.Must(p.a.h.Taken(p.Ca.T3, p.Ca.SendDirection(), p.Ca.SentSeq()))
		if i%10 == 0 {
			p.Receipt(p.Ca.SentSeq(), p.Ca.SentSeq()-1)
		}
	}
	// Carla comes at last.
	ca, _ := p.Shake(p.A, carla)
	p.Must(p.a.h.Begin(ca, p.A.Local.Bundle))
	s, exact, err := ca.SealRecords([]*crypto.Record{both}, p.Clock.Now())
	p.Must(err)
	p.Must(p.a.h.Sent(ca, s, exact))
	p.close(p.a)
	whole, err := Read(p.a.dir, Query{})
	p.Must(err)
	if len(whole.Messages) != 401 {
		t.Fatalf("%d messages", len(whole.Messages))
	}
	since := whole.Messages[300].Time
	for what, test := range map[string]struct {
		query      Query
		begin, end int // of the whole
		more       bool
	}{
		"the last":          {Query{N: 1}, 400, 401, true},
		"some":              {Query{N: 50}, 351, 401, true},
		"many":              {Query{N: 300}, 101, 401, true},
		"all but one":       {Query{N: 400}, 1, 401, true},
		"all":               {Query{N: 401}, 0, 401, false},
		"more than all":     {Query{N: 1000}, 0, 401, false},
		"of Bruno":          {Query{N: 3, Peer: "BRUNO"}, 398, 401, true},
		"of Carla":          {Query{N: 3, Peer: "carla"}, 0, 1, false},
		"with a word":       {Query{N: 3, Grep: "mEssage 7 "}, 8, 9, false},
		"with a quote":      {Query{N: 3, Grep: "\"7\" \\ "}, 8, 9, false},
		"since then":        {Query{Since: since}, 300, 401, false},
		"some since then":   {Query{Since: since, N: 10}, 391, 401, true},
		"since then a word": {Query{Since: since, Grep: "SAGE 39 "}, 0, 0, false},
	} {
		l, err := Read(p.a.dir, test.query)
		p.Must(err)
		want := whole.Messages[test.begin:test.end]
		if l.More != test.more || len(l.Problems) > 0 || !reflect.DeepEqual(append([]*Message{}, l.Messages...), append([]*Message{}, want...)) {
			t.Errorf("%s: %d messages, more: %t, %v; want %d", what, len(l.Messages), l.More, l.Problems, len(want))
		}
	}
	if first := whole.Messages[0]; first.Status() != StatusPending || first.Deliveries[0].Status != StatusRead {
		t.Errorf("the message to both is %+v", first.Deliveries)
	}
	// What stands before the end is not read.
	file := filepath.Join(p.a.dir, linesName)
	data, err := os.ReadFile(file)
	p.Must(err)
	damaged := lines(data)
	damaged[20][0] = '#'
	p.Must(os.WriteFile(file, append(bytes.Join(damaged, []byte("\n")), '\n'), 0o600))
	if l, err := Read(p.a.dir, Query{N: 2}); err != nil || len(l.Messages) != 2 || len(l.Problems) > 0 {
		t.Errorf("%+v, %v", l, err)
	}
	damaged[20][0] = '{'
	// A damage is told with the number of its line.
	n := len(damaged) - 9
	damaged[n] = bytes.Repeat([]byte("x"), len(damaged[n]))
	p.Must(os.WriteFile(file, append(bytes.Join(damaged, []byte("\n")), '\n'), 0o600))
	l, err := Read(p.a.dir, Query{N: 2})
	p.Must(err)
	if len(l.Messages) != 2 || len(l.Problems) == 0 || l.Problems[0].Line != uint64(n+1) {
		t.Errorf("%d messages, problems %v, want them from line %d on", len(l.Messages), l.Problems, n+1)
	}
}
