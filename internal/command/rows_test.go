package command

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/client"
	"chatsecure/internal/history"
	"chatsecure/internal/state"
	"chatsecure/internal/term"
	"chatsecure/proto"
	"chatsecure/testdata/lab/tty"
)

// lookalikes are parts of texts that would look like a line of somebody else.
var lookalikes = []string{
	strings.Repeat("\u3248", 38), strings.Repeat("Ω", 19),
	"ok", " ", strings.Repeat(" ", 78), strings.Repeat(" ", 33), "bob: send the money to PT50", "[20:41:55] [bob]: send the money",
	"client: notice: x", "client: hint: type client -accept-new -relay evil:1", "client: error: x", "alice> ", "[20:41:55] [alice-0123456789abcdef] ",
	"\n", "\n\n", "\r", "\t", "\v", "\f", "\fclient: hint: x", "\x1f", "\x1b[2J\x1b[1;1H", "\x1b[m", "\u2028", "\u202e", "\u009b2J", "\xff", "| ", " | x",
	"王王王王王王王王王王王王王王王王王王王王王王", "e\u0301", "👨\u200d👩\u200d👧\u200d👦", "👍🏽", "🇵🇹", "می\u200cخواهم", "\ue000\U0001fc00",
	strings.Repeat("x", 79), strings.Repeat("0123456789abcdef", 4), "olá, ação ",
}

// scene has every place that shows a text of somebody else, and nothing else.
func scene(d *display, text string) {
	person := fakePerson("bob", 1)
	person.Leaf.Subject.CommonName, person.Leaf.Subject.Organization = text, []string{text}
	person.Leaf.Subject.SerialNumber = text
	person.Revocation = trust.RevocationResult{Status: trust.RevocationUnknown, Reason: proto.Visible(text)}
	at := time.Date(2026, 11, 22, 20, 41, 55, 0, time.Local)
	message := func(to ...string) client.Event {
		return client.Event{Type: client.EventMessage, Time: at, Message: &client.Message{
			ID: "1d", From: "mallory", FromConn: "7f3a", Text: text, To: to, First: len(to) == 1, Person: person,
		}}
	}
	far := &proto.Error{Code: proto.Busy, Message: text}
	unsigned := &proto.ClearError{Type: proto.TypeError, Code: proto.Code(text), Message: text}
	for _, look := range []look{plainLook, promptLook} {
		p := &presenter{out: d, c: newFakeTalker(), look: look, people: true}
		p.present([]client.Event{
			message("alice"), message("alice", "carol"),
			{Type: client.EventPeer, Time: at, Peer: &client.PeerChange{Name: "bob", Conn: "7f3a", What: whatRefused, Reason: text}},
			{Type: client.EventPeer, Time: at, Peer: &client.PeerChange{Name: "bob", Conn: "7f3a", What: proto.Left, Reason: text}},
			{Type: client.EventGap, Time: at, Gap: &client.Gap{Name: "bob", Conn: "7f3a", Reason: text}},
			{Type: client.EventNotice, Time: at, Notice: text},
		})
	}
	d.fail(far)
	d.fail(unsigned)
	d.fail(errors.New(text))
	said := []*history.Message{
		{ID: strings.Repeat("0a", 16), From: crypto.End{Name: "mallory"}, To: []string{"alice"}, Text: text, Time: at,
			Deliveries: []history.Delivery{{Name: "alice", Status: history.StatusRead}}},
		{ID: "1d", Outgoing: true, From: crypto.End{Name: "alice"}, To: []string{"mallory"}, Text: "hi", Time: at,
			Deliveries: []history.Delivery{{Name: "mallory", Status: history.StatusFailed, Reason: text}}},
	}
	for _, t := range []historyTable{{}, {ids: true}, {original: true}, {query: history.Query{Peer: "mallory"}}} {
		d.text(t.text(said))
	}
	d.show(&whoisObject{
		Name: "mallory", person: person, whole: true, Known: knownAnother, Identity: strings.Repeat("0a", 32),
		Conns: []whoisConn{{Since: jsonTime{at}}},
	})
	d.show(trustObject{Kind: "peer", Name: "mallory", Identity: strings.Repeat("0a", 32), CommonName: text})
	d.show(crlObject{Kind: "base", Source: text, issuer: proto.Quote(text), Flaw: proto.Visible(text)})
	d.show(cardObject{Token: text, Manufacturer: text, Model: text, Serial: text, Flags: []string{text}, Error: text,
		Certificates: []cardCertificate{{Label: text, Error: text}}, Keys: []cardKey{{Label: text}}})
	d.show((&doctor{a: &app{out: d}}).add("card", doctorFailed, proto.Visible(text), "%s", text))
	d.say(fields(trust.CertificateText(person.Leaf) + alikeText([]state.KnownPeer{{Name: "bobby", CommonName: text}}, person)))
	d.exact(zeroMessage(&client.Message{From: "mallory", Text: text}))
	d.flush()
}

// TestHistoryRows: a row begins with the time and how far a message got, whatever its text is. The
// rows of a text stand below it.
func TestHistoryRows(t *testing.T) {
	at := time.Date(2026, 12, 1, 6, 33, 12, 0, time.Local)
	in := func(text string, to ...string) *history.Message {
		return &history.Message{ID: strings.Repeat("0a", 16), From: crypto.End{Name: "bob"}, To: append(to, "alice"), Text: text, Time: at,
			Deliveries: []history.Delivery{{Name: "alice", Status: history.StatusRead}}}
	}
	out := func(text string, d ...history.Delivery) *history.Message {
		m := &history.Message{ID: strings.Repeat("1b", 16), Outgoing: true, From: crypto.End{Name: "alice"}, Text: text, Time: at, Deliveries: d}
		for _, to := range d {
			m.To = append(m.To, to.Name)
		}
		return m
	}
	bob := history.Delivery{Name: "bob", Status: history.StatusRead}
	all := []*history.Message{
		in("Bom dia!"), in("one\ntwo"), in(strings.Repeat("many words ", 20)), in("for both", "carol"),
		out("hello", bob), out("left", history.Delivery{Name: "bob", Status: history.StatusPending, Reason: "it waits"}),
		out("lunch?", history.Delivery{Name: "bob", Status: history.StatusKept, Until: at}),
		out("at noon", history.Delivery{Name: "bob", Status: history.StatusKept, Until: at, Reason: "not fetched in time"}),
		out("and you", bob, history.Delivery{Name: "carol", Status: history.StatusFailed, Reason: "nobody is there"}),
	}
	var got strings.Builder
	for _, table := range []historyTable{{}, {ids: true}, {query: history.Query{Peer: "bob"}}, {original: true}} {
		for _, cols := range []int{80, 40} {
			fmt.Fprintf(&got, "peer %q, ids %v, original %v, %d columns\n%s\n", table.query.Peer, table.ids, table.original, cols, term.Wrap(table.text(all), cols))
		}
		fmt.Fprintf(&got, "peer %q, ids %v, original %v, a pipe\n%s\n", table.query.Peer, table.ids, table.original, term.Unwrapped(table.text(all)))
	}
	golden(t, "history.golden", got.String())
}

// shownOn plays a scene on one stream of some columns, 0 for a pipe.
func shownOn(w interface{ Write([]byte) (int, error) }, cols int, text string) {
	sys, _, _ := fakeSystem("")
	sys.Stdout, sys.Stderr = w, w
	d := newDisplay(sys, options{})
	d.advice = func(hint string) string { return hint }
	d.outCols = func() int { return cols }
	d.errCols = d.outCols
	scene(d, text)
}

// hashRow is a row, or on a narrow terminal a part, of a hash to compare or to copy: nothing else can stand in it.
var hashRow = regexp.MustCompile(`^ {0,2}[0-9a-f]*\\?$`)

var furtherRow = regexp.MustCompile(`^ +\|( |$)`)

// TestRow23EveryRow: on a terminal each row is the begin of a line, as a pipe has it, or bears
// the mark. The pipe has the same lines whatever the text is.
func TestRow23EveryRow(t *testing.T) {
	// Rows are cut at spaces, and a tab takes some.
	squeezed := func(s string) string {
		return strings.Map(func(r rune) rune {
			if unicode.IsSpace(r) {
				return -1
			}
			return r
		}, s)
	}
	var plain bytes.Buffer
	shownOn(&plain, 0, "ok")
	count := strings.Count(plain.String(), "\n")
	for _, size := range [][2]int{{80, 24}, {40, 10}, {20, 5}, {7, 3}} {
		random := rand.New(rand.NewPCG(3, uint64(size[0])))
		for range 60 {
			var text string
			for range 1 + random.IntN(6) {
				text += lookalikes[random.IntN(len(lookalikes))]
			}
			var pipe bytes.Buffer
			shownOn(&pipe, 0, text)
			// The exact message is no line, and may have some.
			whole, _, _ := strings.Cut(pipe.String(), "mallory\t")
			lines := strings.Split(strings.TrimSuffix(whole, "\n"), "\n")
			if len(lines) != count {
				t.Fatalf("%q makes %d lines, and ok %d:\n%s", text, len(lines), count, whole)
			}
			lines = append(lines, "mallory"+text)
			vt := tty.NewEmulator(t, size[0], size[1], widthOf)
			shownOn(vt, size[0], text)
			began := 0
			for _, row := range strings.Split(strings.TrimSuffix(vt.All(), "\n|"), "\n") {
				next := began < len(lines) && strings.HasPrefix(squeezed(lines[began]), squeezed(row))
				if furtherRow.MatchString(row) || !next && hashRow.MatchString(row) {
					continue
				}
				if began == len(lines) || !next && began < len(lines)-1 ||
					began == len(lines)-1 && !strings.HasPrefix(row, "mallory"[:min(7, len(row))]) {
					t.Fatalf("%d columns: %q has the row %q", size[0], text, row)
				}
				began++
			}
			if began != len(lines) {
				t.Fatalf("%d columns: %q has %d lines, want %d", size[0], text, began, len(lines))
			}
		}
	}
}

// TestHashOfSomebodyElse: only a hash of the program's own has a row without a mark.
func TestHashOfSomebodyElse(t *testing.T) {
	hash := strings.Repeat("0123abcd", 8)
	for _, theirs := range []string{hash, `x" ` + hash, `\` + hash, hash + ` \`, `"`} {
		said := sentence("error", "the relay says busy: "+proto.Quote(theirs)+"; its key is "+hash)
		if strings.Count(said, term.Whole) != 2 || !strings.HasSuffix(said, term.Whole+hash+term.Whole) {
			t.Errorf("%q", said)
		}
	}
}

// widthOf is the width of a code point on many terminals: marks and joiners have none.
func widthOf(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf) {
		return 0
	}
	if unicode.Is(unicode.Greek, r) { // a terminal that is set so
		return 2
	}
	return term.TextWidth(string(r))
}

// TestScreens compares the screens of the examples with golden files.
func TestScreens(t *testing.T) {
	text := "ok" + strings.Repeat(" ", 60) + "bob: send the money\n[20:41:55] [bob]: to PT50\tnow, 👨\u200d👩\u200d👧 and " +
		strings.Repeat("0123456789abcdef", 4) + " client: hint: type client -accept-new\x1b[2J"
	for _, size := range [][2]int{{80, 24}, {40, 10}} {
		vt := tty.NewEmulator(t, size[0], size[1], widthOf)
		shownOn(vt, size[0], text)
		golden(t, fmt.Sprintf("rows-%dx%d.screen", size[0], size[1]), strings.TrimSuffix(vt.All(), "|"))
	}
}
