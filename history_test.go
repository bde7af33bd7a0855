package chatsecure

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"chatsecure/canon"
	cs "chatsecure/crypto"
	"chatsecure/testdata/corpus"
)

func TestHistoryKnown(t *testing.T) {
	p := newHistoryPair(t)
	ids := p.send("one", "two")
	ids = append(ids, p.send("three")...)
	expect := func(when string, want ...KnownLevel) {
		t.Helper()
		for i, id := range ids {
			if got := p.b.h.Known(id); got != want[i] {
				t.Errorf("%s: record %d is known as %d, want %d", when, i+1, got, want[i])
			}
		}
	}
	expect("received", KnownStored, KnownStored, KnownStored)
	p.must(p.b.h.Shown(p.cb.T3, 2))
	expect("shown", KnownShown, KnownShown, KnownStored)
	p.close(p.b)
	p.open(p.b)
	expect("opened again", KnownShown, KnownShown, KnownStored)
	left := p.b.h.Unshown()
	if len(left) != 1 || left[0].Record.Text != "three" || left[0].From != (cs.End{Name: "Ana", Conn: "conn-a"}) || left[0].Identity != p.a.local.Identity {
		t.Fatalf("unshown is %+v", left)
	}
	p.must(p.b.h.Shown(left[0].Conversation, left[0].Seq))
	p.close(p.b)
	p.open(p.b)
	expect("shown after a restart", KnownShown, KnownShown, KnownShown)
	if left := p.b.h.Unshown(); len(left) != 0 {
		t.Errorf("unshown is %+v, want nothing", left)
	}
	if p.a.h.Known(ids[0]) != KnownNot {
		t.Error("what was sent is known as received")
	}
}

// What another slot has is known once no process holds it, and what another
// client has shown is not shown again.
func TestHistoryOtherSlots(t *testing.T) {
	p := newHistoryPair(t)
	first := p.b.h
	second, _, err := OpenHistory(p.b.dir, true, p.clock.Now)
	p.must(err)
	ids := p.send("one", "two")
	refreshed := func(h *History, want KnownLevel) {
		t.Helper()
		p.must(h.RefreshKnown())
		if got := h.Known(ids[0]); got != want {
			t.Errorf("slot %s: known as %d, want %d", h.Slot(), got, want)
		}
	}
	refreshed(second, KnownNot) // slot 0 is held
	p.must(first.Close())
	refreshed(second, KnownStored)
	p.must(second.Close())

	// The next one takes slot 0, the one after it slot 1. Of what stands in
	// slot 0, only the first has anything to show.
	third, _, err := OpenHistory(p.b.dir, true, p.clock.Now)
	p.must(err)
	left := third.Unshown()
	if len(left) != 2 || left[0].Record.Text != "one" || left[1].Record.Text != "two" {
		t.Fatalf("unshown is %+v", left)
	}
	if len(third.Unshown()) != 0 {
		t.Error("unshown comes twice")
	}
	fourth, _, err := OpenHistory(p.b.dir, true, p.clock.Now)
	p.must(err)
	if left := fourth.Unshown(); len(left) != 0 {
		t.Errorf("what a running client holds is shown by another: %+v", left)
	}
	// It is received again in slot 1, as a new connection of the sender's
	// resends it.
	p.must(fourth.Begin(p.cb, p.b.local.Bundle))
	p.must(third.Shown(left[0].Conversation, 2))
	p.must(third.Close())
	refreshed(fourth, KnownShown)
	p.must(fourth.Close())
	p.b.h = nil
	fifth, _, err := OpenHistory(p.b.dir, true, p.clock.Now)
	p.must(err)
	if left := fifth.Unshown(); len(left) != 0 {
		t.Errorf("what was shown is shown again: %+v", left)
	}
	p.must(fifth.Close())
}

// What another slot has received since this client is connected is sent to this
// one, too, and is known once it has come.
func TestHistoryConnected(t *testing.T) {
	p := newHistoryPair(t)
	first := p.b.h
	ids := p.send("before")
	p.must(first.Shown(p.cb.T3, 1))
	p.clock.Add(time.Millisecond)
	second, _, err := OpenHistory(p.b.dir, true, p.clock.Now)
	p.must(err)
	second.Connected(p.clock.Now())
	record := cs.NewRecord(p.a.local.Identity, p.to(p.b), "to both", p.clock.Now())
	ids = append(ids, record.ID)
	p.sendRecords([]*cs.Record{record})
	p.must(first.Shown(p.cb.T3, 2))
	p.close(p.b)
	expect := func(when string, want ...KnownLevel) {
		t.Helper()
		p.must(second.RefreshKnown())
		for i, id := range ids {
			if got := second.Known(id); got != want[i] {
				t.Errorf("%s: record %d is known as %d, want %d", when, i+1, got, want[i])
			}
		}
	}
	expect("connected before", KnownShown, KnownNot)
	ca, cb := p.shake(p.a, p.b)
	p.must(second.Begin(cb, p.b.local.Bundle))
	s, _, err := ca.SealRecords([]*cs.Record{record}, p.clock.Now())
	p.must(err)
	o, err := cb.Open(s.Body, p.clock.Now())
	p.must(err)
	p.must(second.Received(cb, o))
	expect("received", KnownShown, KnownShown)
	p.must(second.Close())

	// Both are left behind for whoever connects after that.
	third, _, err := openHistory(p.b.dir, true, p.clock.Now().Add(time.Millisecond), p.clock.Now, func(f *os.File) historyStore { return f })
	p.must(err)
	second = third
	expect("connected after", KnownShown, KnownShown)
	p.must(third.Close())
}

// TestHistoryReconnected: what another slot received before the connection was
// lost comes only again after that.
func TestHistoryReconnected(t *testing.T) {
	p := newHistoryPair(t)
	second, _, err := OpenHistory(p.b.dir, true, p.clock.Now)
	p.must(err)
	second.Connected(p.clock.Now())
	id := p.send("text")[0]
	p.close(p.b)
	p.must(second.RefreshKnown())
	if got := second.Known(id); got != KnownNot {
		t.Errorf("in the connection: known as %d", got)
	}
	p.clock.Add(time.Second)
	second.Connected(p.clock.Now())
	if got := second.Known(id); got != KnownStored {
		t.Errorf("connected again: known as %d", got)
	}
	p.must(second.Close())
}

// What one slot received and another slot's client has shown is not shown
// again by a third, while that client still runs.
func TestHistoryShownElsewhere(t *testing.T) {
	p := newHistoryPair(t)
	p.close(p.b)
	low, _, err := OpenHistory(p.b.dir, true, p.clock.Now) // slot 0
	p.must(err)
	high, _, err := OpenHistory(p.b.dir, true, p.clock.Now) // slot 1
	p.must(err)
	ca, cb := p.shake(p.a, p.b)
	p.must(high.Begin(cb, p.b.local.Bundle))
	s, _, err := ca.SealRecords([]*cs.Record{cs.NewRecord(p.a.local.Identity, p.to(p.b), "text", p.clock.Now())}, p.clock.Now())
	p.must(err)
	o, err := cb.Open(s.Body, p.clock.Now())
	p.must(err)
	p.must(high.Received(cb, o))
	p.must(errors.Join(high.Close(), low.Close()))

	low, _, err = OpenHistory(p.b.dir, true, p.clock.Now)
	p.must(err)
	left := low.Unshown()
	if len(left) != 1 {
		t.Fatalf("unshown is %+v", left)
	}
	p.must(low.Shown(left[0].Conversation, left[0].Seq)) // a line in slot 0
	high, _, err = OpenHistory(p.b.dir, true, p.clock.Now)
	p.must(err)
	if again := high.Unshown(); len(again) != 0 || high.Known(left[0].Record.ID) != KnownShown {
		t.Errorf("unshown is %+v", again)
	}
	if err := high.Shown([32]byte{1}, 1); err == nil {
		t.Error("records of no conversation are marked shown")
	}
	p.must(errors.Join(high.Close(), low.Close()))
	if r := verified(t, p.b.dir, p.verifier); !r.OK() {
		t.Errorf("findings: %v", r.Findings)
	}
}

// A record that comes again in another conversation is READ as soon as it was
// shown in either.
func TestHistoryResent(t *testing.T) {
	p := newHistoryPair(t)
	record := cs.NewRecord(p.a.local.Identity, p.to(p.b), "text", p.clock.Now())
	p.sendRecords([]*cs.Record{record})
	p.connect()
	p.sendRecords([]*cs.Record{record})
	if got := p.b.h.Known(record.ID); got != KnownStored {
		t.Errorf("known as %d", got)
	}
	p.must(p.b.h.Shown(p.cb.T3, 1))
	if got := p.b.h.Known(record.ID); got != KnownShown {
		t.Errorf("after the second was shown, known as %d", got)
	}
	p.close(p.b)
	p.open(p.b)
	if got := p.b.h.Known(record.ID); got != KnownShown || len(p.b.h.Unshown()) != 0 {
		t.Errorf("opened again, known as %d", got)
	}
	for _, u := range []*historyUser{p.a, p.b} {
		if r := verified(t, u.dir, p.verifier); !r.OK() || r.Records != 2 {
			t.Errorf("%s: %+v", u.end.Name, r)
		}
		messages, _, err := ReadHistory(u.dir)
		p.must(err)
		if len(messages) != 1 {
			t.Errorf("%s: %d messages, want the one that was resent", u.end.Name, len(messages))
		}
	}
}

func TestReadHistory(t *testing.T) {
	p := newHistoryPair(t)
	carla := p.user("Carla", "conn-c")
	waits := cs.NewRecord(p.a.local.Identity, append(p.to(p.b), cs.Recipient{Name: "carla"}), "to both", p.clock.Now())
	p.must(p.a.h.Pending(waits, []string{"Carla"}))
	p.clock.Add(time.Second)
	p.sendRecords([]*cs.Record{waits})
	p.send("two", "three")
	p.send("four")
	p.must(p.a.h.Taken(p.ca.T3, 3))
	p.receipt(2, 1)
	p.must(p.b.h.Shown(p.cb.T3, 2))
	given := cs.NewRecord(p.a.local.Identity, []cs.Recipient{{Name: "carla"}}, "given up", p.clock.Now())
	p.must(p.a.h.Pending(given, []string{"Carla"}))
	p.must(p.a.h.Failed(given.ID, "Carla", "nobody came"))
	_ = carla

	summary := func(u *historyUser) string {
		t.Helper()
		messages, problems, err := ReadHistory(u.dir)
		p.must(err)
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
four Ana>bruno PENDING: Bruno/conn-b=PENDING
given up >carla FAILED: Carla/=FAILED (nobody came)
`
	if got := summary(p.a); got != want {
		t.Errorf("Ana reads\n%swant\n%s", got, want)
	}
	if messages, _, err := ReadHistory(p.a.dir); err != nil || !messages[0].With("BRUNO") || messages[1].With("Carla") || messages[0].With("Ana") {
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
	if messages, problems, err := ReadHistory(filepath.Join(p.a.dir, "none")); len(messages)+len(problems) != 0 || err != nil {
		t.Errorf("no history reads as %v, %v, %v", messages, problems, err)
	}
}

// Two clients of one user on one state directory talk with each other.
func TestHistoryBothSides(t *testing.T) {
	p := newHistoryPair(t)
	p.close(p.a)
	p.a.dir = p.b.dir
	h, _, err := OpenHistory(p.b.dir, true, p.clock.Now)
	p.must(err)
	p.a.h = h // slot 1, beside Bruno's
	p.ca, p.cb = p.shake(p.a, p.b)
	p.must(p.a.h.Begin(p.ca, p.a.local.Bundle))
	p.must(p.b.h.Begin(p.cb, p.b.local.Bundle))
	ids := p.send("one", "two")
	p.receipt(2, 1)
	p.must(p.b.h.Shown(p.cb.T3, 1))
	if r := verified(t, p.b.dir, p.verifier); !r.OK() || r.Messages != 2 {
		t.Errorf("%+v", r)
	}
	messages, _, err := ReadHistory(p.b.dir)
	p.must(err)
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
	p.open(p.b)
	if left := p.b.h.Unshown(); len(left) != 1 || left[0].Record.Text != "two" {
		t.Errorf("unshown is %+v", left)
	}
	p.must(p.b.h.Shown(p.cb.T3, 2))
	if r := verified(t, p.b.dir, p.verifier); !r.OK() {
		t.Errorf("%+v", r.Findings)
	}
}

// The chunks of a pipe leave nothing in the history, and no gap.
func TestHistoryPipe(t *testing.T) {
	p := newHistoryPair(t)
	for i := range 3 {
		s, err := p.ca.SealPipe([]byte("chunk"), p.clock.Now())
		p.must(err)
		o, err := p.cb.Open(s.Body, p.clock.Now())
		p.must(err)
		p.cb.Commit(o)
		if i != 1 {
			continue
		}
		s, err = p.ca.SealReceipt(0, 0, p.clock.Now())
		p.must(err)
		o, err = p.cb.Open(s.Body, p.clock.Now())
		p.must(err)
		p.must(p.b.h.Receipt(p.cb, o))
		p.cb.Commit(o)
	}
	s, err := p.ca.SealEnd(p.clock.Now())
	p.must(err)
	o, err := p.cb.Open(s.Body, p.clock.Now())
	p.must(err)
	p.must(p.b.h.Ended(p.cb, o))
	p.cb.Commit(o)
	if r := verified(t, p.b.dir, p.verifier); !r.OK() || r.Ends != 1 || r.Receipts != 1 {
		t.Errorf("%+v", r)
	}
}

// What can be read of a damaged history is shown, with what is wrong.
func TestReadHistoryDamaged(t *testing.T) {
	p := newHistoryPair(t)
	p.send("one")
	p.send("two")
	p.close(p.a)
	path := filepath.Join(p.a.dir, "0.jsonl")
	data, err := os.ReadFile(path)
	p.must(err)
	lines := historyLines(data)
	lines[nth(t, lines, lineSent, 0)] = []byte("garbage")
	p.must(os.WriteFile(path, append(bytes.Join(lines, []byte("\n")), '\n'), 0o600))
	messages, problems, err := ReadHistory(p.a.dir)
	p.must(err)
	if len(messages) != 1 || messages[0].Text != "two" || len(problems) == 0 {
		t.Errorf("%d messages and problems %v", len(messages), problems)
	}
}

// Lines are written by hand, and are what package canon writes.
func TestHistoryLinesAreCanonical(t *testing.T) {
	p := newHistoryPair(t)
	told(p)
	types := make(map[string]bool)
	for _, u := range []*historyUser{p.a, p.b} {
		data, err := os.ReadFile(filepath.Join(u.dir, "0.jsonl"))
		p.must(err)
		for _, line := range historyLines(data) {
			l, err := parseHistoryLine(line)
			if err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			types[l.Type] = true
			if again := canon.MustMarshal(l); !bytes.Equal(again, line) {
				t.Errorf("written  %s\ncanonical %s", line, again)
			}
			if typ, _, ok := peekType(line); !ok || string(typ) != l.Type {
				t.Errorf("a %s line looks like %s", l.Type, typ)
			}
		}
		head, err := os.ReadFile(filepath.Join(u.dir, "0.head"))
		p.must(err)
		if _, err := parseHistoryHead(head); err != nil {
			t.Errorf("%v: %s", err, head)
		}
	}
	for typ := range historyFields {
		if !types[typ] {
			t.Errorf("no %s line was written", typ)
		}
	}
}

// No key of a message is ever in the history: nothing in it opens what was
// captured on the way.
func TestHistoryHasNoKeys(t *testing.T) {
	p := newHistoryPair(t)
	told(p)
	data, err := os.ReadFile(filepath.Join(p.b.dir, "0.jsonl"))
	p.must(err)
	allowed := regexp.MustCompile(`^(v|prev|time|type|file|hash|bundle|conversation|suite|direction|me|peer|seq|id|name|reason|names|header|cipher_hash|signature|before|record|records|receipt|` +
		`conn|identity|kind|n|random|step|enc|key|src-bundle|dst-bundle|count|digest|to|text|salt|` +
		`public_key|not_before|not_after|public_key_signature|x509|x509_chain|delivered|delivered_digest|read|read_digest)$`)
	for _, name := range regexp.MustCompile(`[,{]"([^"\\]+)":`).FindAllSubmatch(data, -1) {
		if !allowed.Match(name[1]) {
			t.Errorf("the history has a field %s", name[1])
		}
	}
	private := p.b.local.Key.PKCS8()
	if bytes.Contains(data, []byte(base64.StdEncoding.EncodeToString(private))) {
		t.Error("the history has the private key")
	}
}

// Lines that are JSON of the right fields, and still none of the history's.
func TestHistoryLineRefused(t *testing.T) {
	zeros, hash := strings.Repeat("0", 64), base64.StdEncoding.EncodeToString(make([]byte, 32))
	start := `{"v":1,"prev":"` + zeros + `","time":1,"type":`
	if _, err := parseHistoryLine([]byte(start + `"file","file":"0.jsonl"}`)); err != nil {
		t.Fatal(err)
	}
	for name, line := range map[string]string{
		"version":           `{"v":2,"prev":"` + zeros + `","time":1,"type":"file","file":"0.jsonl"}`,
		"type":              start + `"other","file":"0.jsonl"}`,
		"field missing":     start + `"file"}`,
		"field of another":  start + `"file","file":"0.jsonl","seq":1}`,
		"field unknown":     start + `"file","file":"0.jsonl","key":"AA=="}`,
		"space":             start + ` "file","file":"0.jsonl"}`,
		"prev short":        `{"v":1,"prev":"00","time":1,"type":"file","file":"0.jsonl"}`,
		"prev in capitals":  `{"v":1,"prev":"` + strings.Repeat("A", 64) + `","time":1,"type":"file","file":"0.jsonl"}`,
		"time before 1970":  `{"v":1,"prev":"` + zeros + `","time":-1,"type":"file","file":"0.jsonl"}`,
		"conversation":      start + `"taken","conversation":"AA==","seq":1}`,
		"seq of nothing":    start + `"taken","conversation":"` + hash + `","seq":0}`,
		"direction":         start + `"shown","conversation":"` + hash + `","direction":"AC","seq":1}`,
		"no end of the two": start + `"conversation","conversation":"` + hash + `","suite":"s","direction":"AB","me":{"name":"a","conn":"b","identity":"","bundle":""},"peer":{"name":"a","conn":"b","identity":"","bundle":""}}`,
	} {
		if l, err := parseHistoryLine([]byte(line)); err == nil {
			t.Errorf("%s: taken as %+v", name, l)
		}
	}
}

func FuzzHistoryLine(f *testing.F) {
	p := newHistoryPair(f)
	told(p)
	var good [][]byte
	for _, u := range []*historyUser{p.a, p.b} {
		data, err := os.ReadFile(filepath.Join(u.dir, "0.jsonl"))
		p.must(err)
		good = append(good, historyLines(data)...)
	}
	corpus.Add(f, func(line []byte) bool { _, err := parseHistoryLine(line); return err == nil }, good)
	f.Fuzz(func(t *testing.T, line []byte) {
		// The quick look and the whole decoding agree on what they both read.
		x := newHistoryIndex()
		quick := x.line("0", line, 0)
		l, err := parseHistoryLine(line)
		if err != nil {
			return
		}
		if again := canon.MustMarshal(l); !bytes.Equal(again, line) {
			t.Errorf("taken %q\nis    %q", line, again)
		}
		if typ, _, ok := peekType(line); !ok || string(typ) != l.Type {
			t.Errorf("a %s line looks like %q", l.Type, typ)
		}
		if hash, ok := peekBundle(line); ok != (l.Type == lineBundle) || ok && !bytes.Equal(hash[:], l.Hash) {
			t.Errorf("the bundle looks like %x", hash)
		}
		if l.Type == lineConversation && (quick != nil || len(x.convs) != 1) {
			t.Errorf("the conversation is not known: %v", quick)
		}
		v := newHistoryView()
		if err := v.line("0", 1, line); err != nil || len(v.problems) > 0 {
			t.Errorf("reading: %v, %v", err, v.problems)
		}
		v.finish()
	})
}

// Whatever a file has, reading it ends, and changes nothing.
func FuzzHistoryFile(f *testing.F) {
	p := newHistoryPair(f)
	told(p)
	files := historyFiles(f, p.b.dir)
	if r, err := VerifyHistory(p.b.dir, p.verifier); err != nil || !r.OK() {
		f.Fatalf("the history that is the seed: %v", err)
	}
	corpus.Check(f, len(files["0.jsonl"]))
	f.Add(files["0.jsonl"], files["0.head"])
	f.Add(files["0.jsonl"][:1000], files["0.head"])
	f.Add([]byte("\n"), []byte("{}"))
	f.Fuzz(func(t *testing.T, data, head []byte) {
		dir := historyPut(t, map[string][]byte{"0.jsonl": data, "0.head": head, "lock": {}})
		r, err := VerifyHistory(dir, p.verifier)
		if err != nil {
			t.Fatal(err)
		}
		// The verdict is worth something: what holds opens without a word.
		h, notices, err := OpenHistory(dir, true, p.clock.Now)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		if r.OK() && len(r.Notes) == 0 && len(notices) > 0 {
			t.Errorf("it holds, and opening says %q", notices)
		}
	})
}
