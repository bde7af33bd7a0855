package chatsecure

import (
	"encoding/base64"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"chatsecure/testdata/lab"
	"chatsecure/testdata/lab/town"
)

// bobIsAway is the sentence of a client about a message that the relay keeps for a week.
const bobIsAway = "client: notice: bob is not here; the relay keeps it until IN A WEEK\n"

// inAWeek replaces the days in a text that are a week from now.
func inAWeek(text string) string {
	return regexp.MustCompile(`\d{4}-\d\d-\d\d`).ReplaceAllStringFunc(text, func(day string) string {
		at, err := time.Parse(time.DateOnly, day)
		if away := time.Until(at); err != nil || away < 5*24*time.Hour || away > 8*24*time.Hour {
			return day
		}
		return "IN A WEEK"
	})
}

// met has people talk once, so that each has accepted the other and named a mailbox, and leave.
func met(w *town.Town, from string, others ...string) {
	w.T.Helper()
	for _, name := range append(others, from) {
		writer := from
		if name == from {
			writer = others[0]
		}
		receiver := w.Receive(name, "-n", "1")
		w.Must("", writer, "send", "-wait", "read", name, "hello")
		if r := receiver.End(); r.Status != 0 {
			w.T.Fatalf("%s: %+v", name, r)
		}
	}
}

// untilRead has a person collect the receipts of letters until the history has each text as READ.
func untilRead(w *town.Town, name string, texts ...string) {
	w.T.Helper()
	for deadline := time.Now().Add(town.Patience); ; { // the history is the barrier
		table := w.Must("", name, "history")
		if !slices.ContainsFunc(texts, func(text string) bool { return !hasStatus(table, "READ", text) }) {
			return
		}
		if time.Now().After(deadline) {
			w.T.Fatalf("%q do not become READ in\n%s", texts, table)
		}
		w.Must("", name, "recv", "-for", "100ms")
	}
}

// hasStatus tells whether a table of the history has a text that went out with a status.
func hasStatus(table, status, text string) bool {
	return regexp.MustCompile(" " + status + ` +\[alice → bob\]: ` + regexp.QuoteMeta(text) + "\n").MatchString(table)
}

// TestLettersWaitForSomebody: what is sent to somebody who is away survives the relay's end by
// SIGKILL, is shown once, in its order, and READ comes to a later client of the sender's.
func TestLettersWaitForSomebody(t *testing.T) {
	w := town.New(t, town.People("alice", "bob"))
	met(w, "alice", "bob")
	r := w.Run("", "alice", "send", "Bob", "lunch?")
	id := strings.TrimSpace(r.Stdout)
	if r.Status != 9 || len(id) != 32 || inAWeek(r.Stderr) != bobIsAway {
		t.Fatalf("to somebody who is away: %+v", r)
	}
	r = w.Run("at one\nbring Ana\n", "alice", "send", "bob")
	if want := strings.Replace(bobIsAway, "keeps it", "keeps them", 1); r.Status != 9 || inAWeek(r.Stderr) != want {
		t.Errorf("two lines: %+v", r)
	}
	texts := []string{"lunch?", "at one", "bring Ana"}
	for _, text := range texts {
		if table := w.Must("", "alice", "history"); !hasStatus(table, "KEPT", text) {
			t.Errorf("%q is not KEPT in\n%s", text, table)
		}
	}
	w.Kill()
	w.StartRelay("relay")
	if got, want := w.Must("", "bob", "recv", "-n", "3"), "alice: lunch?\nalice: at one\nalice: bring Ana\n"; got != want {
		t.Errorf("bob gets %q", got)
	}
	if got := w.Must("", "bob", "recv", "-for", "1s"); got != "" {
		t.Errorf("bob gets again %q", got)
	}
	w.Must("", "alice", "list") // whatever she does next has the receipts
	for _, text := range texts {
		if table := w.Must("", "alice", "history"); !hasStatus(table, "READ", text) {
			t.Errorf("%q is not READ in\n%s", text, table)
		}
	}
	for _, name := range []string{"alice", "bob"} {
		if out := w.Must("", name, "history", "-verify"); !strings.Contains(out, ": all of it holds\n") {
			t.Errorf("%s: %s", name, out)
		}
	}
	proof := w.Must("", "alice", "history", "-export", id)
	if out := w.Must(proof, "bob", "verify", "-"); !strings.Contains(out, "Text     : lunch?\n") || !strings.Contains(out, "Receipt  : READ") {
		t.Errorf("the proof says\n%s", out)
	}
}

// TestLettersForSomebodyAsleep: a client that is there and does not answer gets a letter, too. It
// shows the message once when it wakes, after what was sent before.
func TestLettersForSomebodyAsleep(t *testing.T) {
	w := town.New(t, town.People("alice", "bob"))
	met(w, "alice", "bob")
	bob := w.Receive("bob", "-n", "3")
	w.Must("", "alice", "send", "bob", "before")
	bob.Pause()
	r := w.Run("", "alice", "-timeout", "3s", "send", "bob", "asleep")
	if r.Status != 6 || !strings.Contains(r.Stderr, "1 of 1 messages to bob did not become DELIVERED in time") ||
		!strings.Contains(r.Stderr, "needs not be sent again") || !strings.Contains(r.Stderr, "client: notice: bob does not answer; the relay keeps it until ") {
		t.Errorf("to somebody asleep: %+v", r)
	}
	bob.Cmd.Process.Signal(syscall.SIGCONT)
	w.Must("", "alice", "send", "-wait", "read", "bob", "after")
	for _, want := range []string{"before", "asleep", "after"} {
		if m := bob.Object("message"); m["text"] != want {
			t.Errorf("bob shows %v, want %s", m, want)
		}
	}
	if r := bob.End(); r.Status != 0 || strings.Contains(r.Stdout, `"type":"message"`) {
		t.Errorf("bob: %+v", r)
	}
	untilRead(w, "alice", "before", "asleep", "after")
}

// TestLettersEndSend: status 9 for each level of -wait, alone and beside others. KEPT is as good as
// SENT, and -live leaves nothing.
func TestLettersEndSend(t *testing.T) {
	w := town.New(t, town.People("alice", "bob", "carol", "dave"))
	met(w, "alice", "bob", "carol")
	carol := w.Receive("carol")
	for _, test := range []struct {
		status int
		args   string
		stdin  string
		says   []string
	}{
		{0, "send -wait sent bob one", "", nil},
		{0, "-q=false -fetch=false send -wait sent bob two", "", []string{bobIsAway}},
		{9, "send bob three", "", []string{bobIsAway}},
		{9, "send -wait delivered BOB four", "", []string{bobIsAway}},
		{9, "send -wait read bob five", "", []string{bobIsAway}},
		{0, "send -wait sent bob,carol six", "", nil},
		{9, "send -wait read bob,carol seven", "", []string{bobIsAway}},
		{9, "send -wait-peer 100ms bob eight", "", []string{bobIsAway}},
		{9, "", "bob: nine\n", []string{bobIsAway}},
		{6, "send bob,nobody ten", "", []string{"nobody by the name of nobody", "the relay keeps it for bob; nobody has not got it", bobIsAway}},
		{7, "send bob,carol,nobody eleven", "", []string{"nobody by the name of nobody", "the relay keeps it for bob; carol has", bobIsAway}},
		{6, "send dave twelve", "", []string{"nobody by the name of dave"}}, // who has no mailbox
		{6, "send -live bob live", "", []string{"nobody by the name of bob"}},
		{7, "send -live bob,carol live", "", []string{"nobody by the name of bob"}},
		{6, "send bob", strings.Repeat("x", 70<<10) + "\n", []string{"the text is too long for a letter to bob: "}},
		{6, "pipe bob", "", []string{"bob has no pipe open"}},
	} {
		r := w.Run(test.stdin, "alice", strings.Fields(test.args)...)
		r.Stderr = inAWeek(r.Stderr)
		said := strings.Join(test.says, "")
		for _, want := range test.says {
			if !strings.Contains(r.Stderr, want) {
				said = ""
			}
		}
		if r.Status != test.status || (said == "") != (r.Stderr == "") || test.status == 9 && r.Stderr != said {
			t.Errorf("%s: status %d, want %d; said\n%s", test.args, r.Status, test.status, r.Stderr)
		}
	}
	carol.Cmd.Process.Kill()
	carol.End()
	got := w.Must("", "bob", "recv", "-n", "11")
	for i, text := range strings.Fields("one two three four five six seven eight nine ten eleven") {
		lines := strings.Split(got, "\n")
		if !strings.HasSuffix(lines[i], "alice: "+text) {
			t.Errorf("line %d is %q", i, lines[i])
		}
	}
}

// TestLettersInJSON: KEPT stands between SENT and DELIVERED with its end, and a letter is marked.
func TestLettersInJSON(t *testing.T) {
	w := town.New(t, town.People("alice", "bob"))
	met(w, "alice", "bob")
	kept := w.Start("alice", "-json", "send", "bob", "lunch?")
	o := kept.Until(func(o map[string]any) bool { return o["type"] == "receipt" && o["status"] == "KEPT" })
	if until, err := time.Parse(time.RFC3339, o["until"].(string)); err != nil || !until.After(time.Now().AddDate(0, 0, 6)) || o["conn"] != "" {
		t.Errorf("the receipt is %v", o)
	}
	if r := kept.End(); r.Status != 9 {
		t.Errorf("it ends with %+v", r)
	}
	bob := w.Receive("bob", "-n", "1")
	if m := bob.Object("message"); m["letter"] != true || m["conn"] != "" || m["known"] != true || m["text"] != "lunch?" {
		t.Errorf("the message is %v", m)
	}
	if r := bob.End(); r.Status != 0 {
		t.Errorf("bob: %+v", r)
	}
	w.Receive("bob")
	if list := w.Must("", "alice", "list"); strings.Count(list, " Letters: yes") != 2 {
		t.Errorf("the list is\n%s", list)
	}
	if list := w.Must("", "alice", "-letters=false", "-json", "list"); strings.Count(list, `"letters":true`) != 1 {
		t.Errorf("the list is\n%s", list)
	}
}

// TestLettersAndWaitPeer: a sender who waits for somebody leaves a letter at once, and ends once it
// is READ.
func TestLettersAndWaitPeer(t *testing.T) {
	w := town.New(t, town.People("alice", "bob"))
	met(w, "alice", "bob")
	alice := w.Start("alice", "-json", "send", "-wait", "read", "-wait-peer", "60s", "bob", "lunch?")
	alice.Until(func(o map[string]any) bool { return o["type"] == "receipt" && o["status"] == "KEPT" })
	if got := w.Must("", "bob", "recv", "-n", "1"); got != "alice: lunch?\n" {
		t.Errorf("bob gets %q", got)
	}
	alice.Until(func(o map[string]any) bool { return o["type"] == "receipt" && o["status"] == "READ" })
	if r := alice.End(); r.Status != 0 || r.Stderr != "" {
		t.Errorf("alice: %+v", r)
	}
}

// TestLettersOnTheRelaysDisk: a copy of the relay's disk shows the identity of the sender of a
// letter, and neither the text nor a name or certificate of that person.
func TestLettersOnTheRelaysDisk(t *testing.T) {
	w := town.New(t, town.People("alice", "bob"))
	met(w, "alice", "bob")
	if r := w.Run("", "alice", "send", "bob", "a very private lunch"); r.Status != 9 {
		t.Fatalf("to somebody who is away: %+v", r)
	}
	holder := w.PKI.Holders()[slices.IndexFunc(w.PKI.Holders(), func(h *lab.Holder) bool { return h.Name == "alice" })]
	leaf := holder.Leaf
	identity := regexp.MustCompile(`"identity":"([0-9a-f]{64})"[^}]*"self":true`).FindStringSubmatch(w.Must("", "alice", "-json", "list"))
	stamped, files := 0, 0
	err := filepath.WalkDir(w.Path("relay", "letters"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		files++
		stamped += strings.Count(string(data), identity[1])
		if strings.Contains(path, identity[1]) {
			return err // alice's own mailbox, which she has shown to the relay
		}
		for what, shown := range map[string]string{
			"the text": "private lunch", "her name": "alice", "her certificate": base64.StdEncoding.EncodeToString(leaf.Raw),
			"her certificate as bytes": string(leaf.Raw), "who she is": leaf.Subject.CommonName, "her number": leaf.Subject.SerialNumber,
		} {
			if shown == "" || strings.Contains(string(data), shown) {
				t.Errorf("%s shows %s", path, what)
			}
		}
		return err
	})
	if err != nil || files < 2 || stamped != 1 {
		t.Errorf("%d files, %d of them with a stamp of hers: %v", files, stamped, err)
	}
}
