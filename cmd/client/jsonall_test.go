package main

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure"
)

// jsonObjects are the objects of -json by type.
var jsonObjects = map[string]any{
	"connected": connectedObject{}, "lost": reasonObject{}, "back": backObject{}, "message": messageObject{}, "sent": sentObject{}, "receipt": receiptObject{},
	"peer": peerObject{}, "gap": gapObject{}, "list": listObject{}, "whois": whoisObject{}, "history": historyObject{}, "verify": verifyObject{},
	"card": cardObject{}, "crl": crlObject{}, "trust": trustObject{}, "doctor": doctorObject{}, "error": errorObject{},
}

// TestSchemaIsOfTheObjects: the schema has the fields that the program writes,
// no more and no fewer, and requires those that are always there.
func TestSchemaIsOfTheObjects(t *testing.T) {
	s := loadSchema(t)
	for typ, object := range jsonObjects {
		def, ok := s.defs()[typ].(map[string]any)
		if !ok {
			t.Errorf("the schema does not have %s", typ)
			continue
		}
		var fields, always []string
		for _, f := range reflect.VisibleFields(reflect.TypeOf(object)) {
			if name, omitted := strings.CutSuffix(f.Tag.Get("json"), ",omitempty"); !f.Anonymous {
				fields = append(fields, name)
				if !omitted {
					always = append(always, name)
				}
			}
		}
		var required []string
		for _, name := range def["required"].([]any) {
			required = append(required, name.(string))
		}
		slices.Sort(fields)
		slices.Sort(always)
		slices.Sort(required)
		if got := slices.Sorted(maps.Keys(def["properties"].(map[string]any))); !slices.Equal(got, fields) {
			t.Errorf("%s: the schema has %q, the program %q", typ, got, fields)
		}
		if !slices.Equal(required, always) {
			t.Errorf("%s: the schema requires %q, the program always writes %q", typ, required, always)
		}
	}
	if n := len(s.root["oneOf"].([]any)); n != len(jsonObjects) {
		t.Errorf("the schema has %d types, the program %d", n, len(jsonObjects))
	}
}

// TestEventsByTheSchema: those that no honest relay brings about.
func TestEventsByTheSchema(t *testing.T) {
	s := loadSchema(t)
	sys, stdout, _ := fakeSystem("")
	out := newDisplay(sys, options{json: true})
	const conn = "0123456789abcdef"
	nasty := "a\nb\"\x1b[2J\u202e"
	p := &presenter{out: out, c: newFakeTalker()}
	p.present([]chatsecure.Event{
		{Type: chatsecure.EventGap, Time: time.Now(), Gap: &chatsecure.Gap{Name: "bob", Conn: conn, Reason: nasty}},
		{Type: chatsecure.EventPeer, Time: time.Now(), Peer: &chatsecure.PeerChange{Name: "bob", Conn: conn, What: whatRefused, Reason: nasty}},
		{Type: chatsecure.EventPeer, Time: time.Now(), Peer: &chatsecure.PeerChange{Name: "bob", Conn: conn, What: whatRenewed, Person: fakePerson("bob", 1)}},
		{Type: chatsecure.EventPeer, Time: time.Now(), Peer: &chatsecure.PeerChange{Name: "bob", Conn: conn, What: "authenticated", Person: unsurePerson("bob", 1)}},
		{Type: chatsecure.EventReceipt, Time: time.Now(), Receipt: &chatsecure.ReceiptChange{ID: strings.Repeat("0a", 16), To: "bob", Status: chatsecure.StatusFailed, Reason: nasty}},
		{Type: chatsecure.EventMessage, Time: time.Now(), Message: &chatsecure.Message{ID: strings.Repeat("0a", 16), From: "bob", FromConn: conn, To: []string{"ana"}, Text: nasty, Again: true}},
		{Type: chatsecure.EventError, Time: time.Now(), Err: &chatsecure.Error{Code: "internal", Message: nasty}},
	})
	got := s.checkLines(t, stdout.String())
	if want := map[string]int{"gap": 1, "peer": 3, "receipt": 1, "message": 1, "error": 1}; !maps.Equal(got, want) {
		t.Errorf("there are %v, not %v", got, want)
	}
}

// nastyTexts are lines that a careless program would let through to a
// terminal, or break a line of JSON with.
var nastyTexts = []string{
	`"quoted" and \back\slashed\ and {"v":1}`, "\x00\x01\x07\b\t\v\f\r\x1b[2J\x1b]52;c;aGk=\a\x7f", "\u202ebidi\u2066 \u200b\u200d zero \ufeff", "\u2028\u2029\u0085",
	"ação, 漢字, 👩‍👩‍👧, \U0010ffff", "", " ", strings.Repeat("200 kB of text. ", 200<<10/16), "</script>&amp;", "exit", "list",
}

// TestAllJSONByTheSchema runs every command with -json and checks every line,
// with messages that hold all that text may hold.
func TestAllJSONByTheSchema(t *testing.T) {
	s := loadSchema(t)
	w := newTown(t, people("alice", "bob", "mallory"))
	seen := make(map[string]int)
	check := func(output string) {
		t.Helper()
		for typ, n := range s.checkLines(t, output) {
			seen[typ] += n
		}
	}
	in := strings.Join(nastyTexts[:4], "\n") + "\nnot \xff UTF-8\n" + strings.Join(nastyTexts[4:], "\n") + "\n\xc0\x80\n"
	want := append(slices.Clone(nastyTexts), "one\ntwo\r\nthree")

	bob := w.start("bob", "-json", "recv", "-n", "12")
	bob.object("connected")
	received := make(chan result, 1)
	go func() { received <- bob.end() }() // 200 kB do not fit into a pipe
	r := w.run(in, "alice", "-json", "send", "-wait", "read", "bob")
	check(r.stdout)
	if r.status != 1 || !strings.Contains(r.stderr, "line 5 is not sent") || !strings.Contains(r.stderr, "line 13 is not sent") || strings.Count(r.stderr, "client: error: ") != 2 {
		t.Errorf("with two lines that are not UTF-8: exit status %d, said %q", r.status, r.stderr)
	}
	check(w.must("", "alice", "-json", "send", "-wait", "read", "bob", want[len(want)-1]))
	rest := <-received
	check(rest.stdout)
	if got := texts(t, rest.stdout, "message"); !slices.Equal(got, want) || rest.status != 0 {
		t.Errorf("bob got %.300q and ended with %d", got, rest.status)
	}
	for _, name := range []string{"alice", "bob"} {
		out := w.must("", name, "-json", "history")
		check(out)
		if got := texts(t, out, "history"); !slices.Equal(got, want) {
			t.Errorf("the history of %s has %.300q", name, got)
		}
	}
	check(w.run("", "alice", "-json", "send", "-wait-peer", "10ms", "mallory,nobody", "never sent").stdout)
	if out := w.must("", "alice", "-json", "history", "-peer", "mallory"); !strings.Contains(out, `"from":"alice"`) || !strings.Contains(out, `"identity":""`) {
		t.Errorf("what was never sent is %s", out)
	} else {
		check(out)
	}
	check(w.must("", "alice", "-json", "history", "-verify"))
	id := strings.Fields(w.must("", "alice", "history"))
	proof := w.must("", "alice", "history", "-export", id[slices.Index(id, "Status")+1])
	check(w.must(proof, "alice", "-json", "verify", "-"))
	check(w.run("{}", "alice", "-json", "verify", "-").stdout)

	// A receiver that loses the relay and has it again, and the one-shot commands.
	bob = w.receive("bob")
	for _, args := range [][]string{{"list"}, {"whois", "bob"}, {"card"}, {"crl"}, {"trust"}, {"doctor"}, {"logout"}} {
		check(w.must("", "alice", append([]string{"-json"}, args...)...))
	}
	check(w.run("list\nwhois bob\nbob: hi\nhistory\nhelp\nnonsense\n", "alice", "-json").stdout)
	check(w.run("", "alice", "-json", "whois", "nobody").stdout)
	check(w.run("", "alice", "-json", "nonsense").stdout)
	check(w.run("", "alice", "-json", "-card", w.path("none"), "card").stdout)
	w.stop()
	w.startRelay("relay")
	for line := ""; !strings.Contains(line, `"type":"back"`); check(line) {
		line = bob.line()
	}
	bob.cmd.Process.Signal(os.Interrupt)
	check(bob.end().stdout)

	// Somebody else under bob's name.
	w.must("", "bob", "release")
	mallory := w.start("mallory", "-name", "bob", "-json", "recv")
	mallory.object("connected")
	check(w.run("", "alice", "-json", "whois", "bob").stdout)
	if r := w.run("", "alice", "-json", "send", "bob", "x"); r.status != 4 {
		t.Errorf("to another person under a known name: %+v", r)
	} else {
		check(r.stdout)
	}
	check(w.must("", "alice", "-json", "trust"))
	mallory.cmd.Process.Kill()
	mallory.end()
	for typ := range jsonObjects {
		if seen[typ] == 0 && typ != "gap" { // for which TestEventsByTheSchema stands
			t.Errorf("no %s was seen", typ)
		}
	}
}

// texts are the texts of the objects of a type.
func texts(t *testing.T, output, typ string) (all []string) {
	t.Helper()
	for line := range strings.Lines(output) {
		var o struct{ Type, Text string }
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatal(err)
		}
		if o.Type == typ {
			all = append(all, o.Text)
		}
	}
	return all
}
