package command

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/testdata/lab/town"
)

// jsonObjects are the objects of -json by type.
var jsonObjects = map[string]any{
	"connected": connectedObject{}, "lost": reasonObject{}, "back": backObject{}, "message": messageObject{},
	"sent": sentObject{}, "receipt": receiptObject{},
	"peer": peerObject{}, "gap": gapObject{}, "list": listObject{}, "whois": whoisObject{}, "history": historyObject{},
	"verify": verifyObject{}, "mailbox": mailboxObject{},
	"card": cardObject{}, "crl": crlObject{}, "trust": trustObject{}, "doctor": doctorObject{}, "error": errorObject{},
}

// TestSchemaIsOfTheObjects: the schema has exactly the fields that the program
// writes, and requires those that are always there.
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
			if f.Anonymous || !f.IsExported() {
				continue
			}
			name, omitted, _ := strings.Cut(f.Tag.Get("json"), ",")
			fields = append(fields, name)
			if omitted != "omitempty" && omitted != "omitzero" {
				always = append(always, name)
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

// TestEventsByTheSchema checks the events that no honest relay causes.
func TestEventsByTheSchema(t *testing.T) {
	s := loadSchema(t)
	sys, stdout, _ := fakeSystem("")
	out := newDisplay(sys, options{json: true})
	const conn = "0123456789abcdef"
	nasty := "a\nb\"\x1b[2J\u202e"
	p := &presenter{out: out, c: newFakeTalker()}
	p.present([]client.Event{
		{Type: client.EventGap, Time: time.Now(), Gap: &client.Gap{Name: "bob", Conn: conn, Reason: nasty}},
		{Type: client.EventPeer, Time: time.Now(), Peer: &client.PeerChange{Name: "bob", Conn: conn, What: whatRefused, Reason: nasty}},
		{Type: client.EventPeer, Time: time.Now(), Peer: &client.PeerChange{Name: "bob", Conn: conn, What: whatRenewed,
			Person: fakePerson("bob", 1)}},
		{Type: client.EventPeer, Time: time.Now(), Peer: &client.PeerChange{Name: "bob", Conn: conn, What: "authenticated",
			Person: unsurePerson("bob", 1)}},
		{Type: client.EventReceipt, Time: time.Now(), Receipt: &client.ReceiptChange{ID: strings.Repeat("0a", 16), To: "bob",
			Status: history.StatusFailed, Reason: nasty}},
		{Type: client.EventReceipt, Time: time.Now(), Receipt: &client.ReceiptChange{ID: strings.Repeat("0a", 16), To: "bob",
			Status: history.StatusKept, Until: time.Now()}},
		{Type: client.EventMessage, Time: time.Now(), Message: &client.Message{ID: strings.Repeat("0a", 16), From: "bob",
			FromConn: conn, To: []string{"ana"}, Text: nasty, Again: true}},
		{Type: client.EventMessage, Time: time.Now(), Message: &client.Message{ID: strings.Repeat("0a", 16), From: "bob",
			To: []string{"ana"}, Text: nasty, Letter: true, Left: time.Now()}},
		{Type: client.EventGap, Time: time.Now(), Gap: &client.Gap{Name: "bob", Reason: nasty}},
		{Type: client.EventError, Time: time.Now(), Err: &fail.Error{Code: "internal", Message: nasty}},
	})
	got := s.checkLines(t, stdout.String())
	if want := map[string]int{"gap": 2, "peer": 3, "receipt": 2, "message": 2, "error": 1}; !maps.Equal(got, want) {
		t.Errorf("there are %v, not %v", got, want)
	}
	for _, field := range []string{`"letter":true`, `"until":"`} {
		if n := strings.Count(stdout.String(), field); n != 1 {
			t.Errorf("%s stands there %d times", field, n)
		}
	}
}

// nastyTexts would act on a terminal or break a line of JSON if a program were
// careless.
var nastyTexts = []string{
	`"quoted" and \back\slashed\ and {"v":1}`, "\x00\x01\x07\b\t\v\f\r\x1b[2J\x1b]52;c;aGk=\a\x7f",
	"\u202ebidi\u2066 \u200b\u200d zero \ufeff", "\u2028\u2029\u0085",
	"ação, 漢字, 👩‍👩‍👧, \U0010ffff", "", " ", strings.Repeat("200 kB of text. ", 200<<10/16), "</script>&amp;", "exit", "list",
}

// TestAllJSONByTheSchema runs every command with -json and checks every line.
// The messages have every kind of character.
func TestAllJSONByTheSchema(t *testing.T) {
	s := loadSchema(t)
	w := town.New(t, town.People("alice", "bob", "mallory"))
	seen := make(map[string]int)
	check := func(output string) {
		t.Helper()
		for typ, n := range s.checkLines(t, output) {
			seen[typ] += n
		}
	}
	in := strings.Join(nastyTexts[:4], "\n") + "\nnot \xff UTF-8\n" + strings.Join(nastyTexts[4:], "\n") + "\n\xc0\x80\n"
	want := append(slices.Clone(nastyTexts), "one\ntwo\r\nthree")

	bob := w.Start("bob", "-json", "recv", "-n", "12")
	bob.Object("connected")
	received := make(chan town.Result, 1)
	go func() { received <- bob.End() }() // 200 kB exceed a pipe
	r := w.Run(in, "alice", "-json", "send", "-wait", "read", "bob")
	check(r.Stdout)
	if r.Status != 1 || !strings.Contains(r.Stderr, "line 5 is not sent") ||
		!strings.Contains(r.Stderr, "line 13 is not sent") || strings.Count(r.Stderr, "client: error: ") != 2 {
		t.Errorf("with two lines that are not UTF-8: exit status %d, said %q", r.Status, r.Stderr)
	}
	check(w.Must("", "alice", "-json", "send", "-wait", "read", "bob", want[len(want)-1]))
	rest := <-received
	check(rest.Stdout)
	if got := texts(t, rest.Stdout, "message"); !slices.Equal(got, want) || rest.Status != 0 {
		t.Errorf("bob got %.300q and ended with %d", got, rest.Status)
	}
	for _, name := range []string{"alice", "bob"} {
		out := w.Must("", name, "-json", "history")
		check(out)
		if got := texts(t, out, "history"); !slices.Equal(got, want) {
			t.Errorf("the history of %s has %.300q", name, got)
		}
	}
	check(w.Run("", "alice", "-json", "send", "-wait-peer", "10ms", "mallory,nobody", "never sent").Stdout)
	if out := w.Must("", "alice", "-json", "history", "-peer", "mallory"); !strings.Contains(out, `"from":"alice"`) ||
		!strings.Contains(out, `"identity":""`) {
		t.Errorf("what was never sent is %s", out)
	} else {
		check(out)
	}
	check(w.Must("", "alice", "-json", "history", "-verify"))
	id := strings.Fields(w.Must("", "alice", "history", "-ids"))
	proof := w.Must("", "alice", "history", "-export", id[slices.Index(id, "Message")+3])
	check(w.Must(proof, "alice", "-json", "verify", "-"))
	check(w.Run("{}", "alice", "-json", "verify", "-").Stdout)

	// A letter, which the receiver gets below.
	if r := w.Run("", "alice", "-json", "send", "bob", nastyTexts[2]); r.Status != 9 || !strings.Contains(r.Stdout, `"status":"KEPT","until":"`) {
		t.Errorf("to somebody who is away: %+v", r)
	} else {
		check(r.Stdout)
	}
	check(w.Must("", "alice", "-json", "history"))

	// A receiver loses the relay and finds it again. Then come the one-shot
	// commands.
	bob = w.Receive("bob")
	for _, args := range [][]string{{"list"}, {"whois", "bob"}, {"card"}, {"crl"}, {"trust"}, {"doctor"}, {"logout"}} {
		check(w.Must("", "alice", append([]string{"-json"}, args...)...))
	}
	check(w.Run("list\nwhois bob\nbob: hi\nhistory\nhelp\nnonsense\n", "alice", "-json").Stdout)
	check(w.Run("", "alice", "-json", "whois", "nobody").Stdout)
	check(w.Run("", "alice", "-json", "nonsense").Stdout)
	check(w.Run("", "alice", "-json", "-card", w.Path("none"), "card").Stdout)
	// The authorities above the card stand in both forms as the relay's -allow takes them.
	cards, text := w.Must("", "alice", "-json", "card"), w.Must("", "alice", "card")
	for _, ca := range w.PKI.CAs() {
		key := sha256.Sum256(ca.Cert.RawSubjectPublicKeyInfo)
		name := ca.Cert.Subject.CommonName
		if !strings.Contains(cards, fmt.Sprintf(`{"name":"%s","key":"%x"}`, name, key)) || !strings.Contains(text, fmt.Sprintf("\n      issuer %x  # %s\n", key, name)) {
			t.Errorf("card does not show %s and %x: %s%s", name, key, cards, text)
		}
	}
	w.Stop()
	w.StartRelay("relay")
	for line := ""; !strings.Contains(line, `"type":"back"`); check(line) {
		line = bob.Line()
	}
	bob.Cmd.Process.Signal(os.Interrupt)
	check(bob.End().Stdout)

	// Another person under bob's name.
	check(w.Must("", "bob", "-json", "release", "-mailbox", "list"))
	w.Must("", "bob", "release")
	mallory := w.Start("mallory", "-name", "bob", "-json", "recv")
	mallory.Object("connected")
	another := w.Run("", "alice", "-json", "whois", "bob")
	check(another.Stdout)
	who := regexp.MustCompile(`"identity":"(\w+)","known":"another"`).FindStringSubmatch(another.Stdout)
	if who == nil {
		t.Fatalf("another person under a known name: %+v", another)
	}
	if r := w.Run("", "alice", "-json", "send", "bob", "x"); r.Status != 4 {
		t.Errorf("to another person under a known name: %+v", r)
	} else {
		check(r.Stdout)
	}
	check(w.Must("", "alice", "-json", "trust"))
	w.Must("", "alice", "trust", "block", "bob")
	check(w.Must("", "alice", "-json", "trust"))
	w.Must("", "alice", "trust", "block", "bob", who[1])
	if r := w.Run("", "alice", "-json", "whois", "bob"); !strings.Contains(r.Stdout, `"known":"blocked"`) {
		t.Errorf("whois of a blocked person: %+v", r)
	} else {
		check(r.Stdout)
	}
	mallory.Cmd.Process.Kill()
	mallory.End()
	for typ := range jsonObjects {
		if seen[typ] == 0 && typ != "gap" { // TestEventsByTheSchema has it
			t.Errorf("no %s was seen", typ)
		}
	}
}

// texts are the texts of all objects of a type.
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
