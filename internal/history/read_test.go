package history

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto"
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
	p.Must(p.a.h.Taken(p.Ca.T3, 3))
	p.Receipt(2, 1)
	p.Must(p.b.h.Shown(p.Cb.T3, 2))
	given := p.record("given up", []crypto.Recipient{{Name: "carla"}})
	p.Must(p.a.h.Pending(given, []string{"Carla"}))
	p.Must(p.a.h.Failed(given.ID, "Carla", "nobody came"))
	_ = carla

	summary := func(u *user) string {
		t.Helper()
		messages, problems, err := Read(u.dir)
		p.Must(err)
		if len(problems) > 0 {
			t.Errorf("problems: %v", problems)
		}
		var b strings.Builder
		for _, m := range messages {
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
	if messages, _, err := Read(p.a.dir); err != nil || !messages[0].With("BRUNO") || messages[1].With("Carla") || messages[0].With("Ana") {
		t.Errorf("with whom a message was is %v, %v", messages, err)
	}
	want = `to both Ana>bruno,carla READ: Bruno/conn-b=READ
two Ana>bruno READ: Bruno/conn-b=READ
three Ana>bruno DELIVERED: Bruno/conn-b=DELIVERED
four Ana>bruno DELIVERED: Bruno/conn-b=DELIVERED
`
	if got := summary(p.b); got != want {
		t.Errorf("Bruno reads\n%swant\n%s", got, want)
	}
	if messages, problems, err := Read(filepath.Join(p.a.dir, "none")); len(messages)+len(problems) != 0 || err != nil {
		t.Errorf("no history reads as %v, %v, %v", messages, problems, err)
	}
}

// TestHistoryBothSides: two clients of one user on one state directory talk with each
// other.
func TestHistoryBothSides(t *testing.T) {
	p := newPair(t)
	p.close(p.a)
	p.a.dir = p.b.dir
	h, _, err := Open(Config{Dir: p.b.dir, Receiving: true, Now: p.Clock.Now})
	p.Must(err)
	p.a.keep(h) // slot 1, beside Bruno's
	p.Connect()
	ids := p.Send("one", "two")
	p.Receipt(2, 1)
	p.Must(p.b.h.Shown(p.Cb.T3, 1))
	if r := verified(t, p.b.dir, p.Verifier); !r.OK() || r.Messages != 2 {
		t.Errorf("%+v", r)
	}
	messages, _, err := Read(p.b.dir)
	p.Must(err)
	if len(messages) != 4 {
		t.Errorf("%d messages, want each as sent and as received", len(messages))
	}
	for _, m := range messages {
		if want := map[string]Status{"one": StatusRead, "two": StatusDelivered}[m.Text]; m.Status() != want {
			t.Errorf("%s (outgoing: %t) is %s, want %s", m.Text, m.Outgoing, m.Status(), want)
		}
	}
	p.exported(p.b, ids[1])
	p.close(p.a)
	p.close(p.b)
	p.reopen(p.b)
	if left := p.b.h.Unshown(); len(left) != 1 || left[0].Record.Text != "two" {
		t.Errorf("unshown is %+v", left)
	}
	p.Must(p.b.h.Shown(p.Cb.T3, 2))
	if r := verified(t, p.b.dir, p.Verifier); !r.OK() {
		t.Errorf("%+v", r.Findings)
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
	path := filepath.Join(p.a.dir, "0.jsonl")
	data, err := os.ReadFile(path)
	p.Must(err)
	lines := lines(data)
	lines[nth(t, lines, lineSent, 0)] = []byte("garbage")
	p.Must(os.WriteFile(path, append(bytes.Join(lines, []byte("\n")), '\n'), 0o600))
	messages, problems, err := Read(p.a.dir)
	p.Must(err)
	if len(messages) != 1 || messages[0].Text != "two" || len(problems) == 0 {
		t.Errorf("%d messages and problems %v", len(messages), problems)
	}
}
