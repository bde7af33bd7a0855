package command

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"

	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/internal/state"
	"chatsecure/internal/term"
	"chatsecure/proto"
)

// historyOptions are the flags of history.
type historyOptions struct {
	query  history.Query
	since  string
	ids    bool
	verify bool
	export string
}

func (o *historyOptions) flags(f *flag.FlagSet) runner {
	o.query.N = -1 // a number that is given is another: see exclusive
	f.Var(checked[string]{&o.query.Peer, nameOrNone}, "peer", "")
	f.Var(checked[int]{&o.query.N, wholeNumber}, "n", "")
	f.StringVar(&o.since, "since", "", "")
	f.StringVar(&o.query.Grep, "grep", "", "")
	f.BoolVar(&o.ids, "ids", false, "")
	f.BoolVar(&o.verify, "verify", false, "")
	f.StringVar(&o.export, "export", "", "")
	return o.run
}

func (o *historyOptions) run(a *app, _ context.Context, args []string) error {
	if err := o.arguments(args, a.Now()); err != nil {
		return err
	}
	state, err := a.readState()
	if err != nil {
		return err
	}
	switch {
	case o.verify:
		return a.verifyHistory(state)
	case o.export != "":
		t, err := a.trust(state.CRLDir())
		if err != nil {
			return err
		}
		proof, err := history.ExportProof(state.HistoryDir(), o.export, t.verifier)
		if err != nil {
			return err
		}
		a.out.exact(string(proof))
		return nil
	}
	found, err := historyIn(state)(o.query)
	if err != nil {
		return err
	}
	if what := somebodyElses(state, found.Owner); what != "" {
		found.Problems = slices.Insert(found.Problems, 0, history.Finding{What: what})
	}
	if found.More {
		a.out.notice("there are earlier ones; -n 0 shows all")
	}
	return historyTable{query: o.query, ids: o.ids || a.opt.verbose, page: a.page}.show(a.out, found)
}

// arguments takes in NAME and N, and the time.
func (o *historyOptions) arguments(args []string, now time.Time) (err error) {
	if o.query.N < 0 {
		o.query.N = latestMessages
	}
	if len(args) > 2 {
		return usageError("history takes a name and a number, but there is %q; options stand before both", args[2])
	}
	if len(args) > 0 {
		if o.verify || o.export != "" {
			return usageError("-verify and -export are about the whole history, but there is %q", args[0])
		}
		if o.query.Peer != "" && !proto.SameName(o.query.Peer, args[0]) {
			return usageError("-peer names %s, and the argument %s: give one", o.query.Peer, proto.Visible(args[0]))
		}
		if o.query.Peer, err = oneName(args[0]); err != nil {
			return usageError("%q is not a name: %v", args[0], err)
		}
	}
	if len(args) > 1 {
		if o.query.N, err = positive(args[1]); err != nil {
			return usageError("%q is no number of messages: %v", args[1], err)
		}
	}
	if o.since != "" {
		if o.query.Since, err = pastTime(o.since, now); err != nil {
			return usageError("-since %s: %v", proto.Quote(o.since), err)
		}
	}
	return nil
}

// somebodyElses says that a history is of another name than the state directory, or "".
func somebodyElses(state *state.State, owner history.Owner) string {
	name := state.Name()
	if name == "" || owner.Name == "" || proto.SameName(name, owner.Name) {
		return ""
	}
	return fmt.Sprintf("it is a history of %s, and the state directory is %s's", proto.Visible(owner.Name), proto.Visible(name))
}

// historySource finds messages in the history.
type historySource func(history.Query) (*history.Listing, error)

func historyIn(state *state.State) historySource {
	return func(q history.Query) (*history.Listing, error) {
		found, err := history.Read(state.HistoryDir(), q)
		if err != nil {
			return nil, err
		}
		for _, m := range found.Messages {
			if m.Outgoing && m.From.Name == "" { // a message that was never sent
				m.From.Name = state.Name()
			}
		}
		if q.Peer != "" && len(found.Messages) == 0 {
			_, known := state.KnownPeer(proto.FoldName(q.Peer))
			if !known && (q.Grep != "" || !q.Since.IsZero()) { // the name may be right, and the rest not
				any, err := history.Read(state.HistoryDir(), history.Query{Peer: q.Peer, N: 1})
				known = err != nil || len(any.Messages) > 0
			}
			if !known {
				return nil, fail.Errorf(proto.NoSuchName, "no message in the history is from or to %s, and nobody known has that name",
					proto.Visible(q.Peer)).With("client trust lists the people who are known")
			}
		}
		return found, nil
	}
}

// The part of the history that is shown unless told: messages, and at the prompt bytes of their
// texts.
const (
	latestMessages = 50
	latestTexts    = 32 << 10
)

// showLatest writes the latest part of the history to the prompt. It reads once gate, of capacity 1,
// is free: without an index the whole history is in memory then.
func (t historyTable) showLatest(ctx context.Context, out *display, read historySource, gate chan struct{}) error {
	select {
	case gate <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	var found *history.Listing
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { <-gate }()
		found, err = read(t.query)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	n := len(found.Messages)
	if found.Messages = latest(found.Messages); found.More || len(found.Messages) < n {
		out.notice("there are earlier ones; the command client history -n 0 shows all")
	}
	return t.show(out, found)
}

// latest returns the last messages, as many as latestTexts has room for.
func latest(messages []*history.Message) (last []*history.Message) {
	room := latestTexts
	for _, m := range slices.Backward(messages) {
		if room <= 0 {
			break
		}
		if clipped := proto.Clip(m.Text, room); clipped != m.Text {
			copied := *m
			copied.Text = clipped + "…"
			m = &copied
		}
		room -= len(m.Text)
		last = append(last, m)
	}
	slices.Reverse(last)
	return last
}

// historyTable is the form of the history for people.
type historyTable struct {
	query    history.Query
	ids      bool
	original bool // the tables of the original, one a person

	page func(text string) bool // shows a text that is too long for the screen, or returns false; nil: nothing does
}

// show writes messages of the history, and what is wrong with it.
func (t historyTable) show(out *display, found *history.Listing) error {
	switch {
	case out.json:
		for _, m := range found.Messages {
			out.objectLater(historyMessage(m))
		}
	case len(found.Messages) == 0:
		out.notice("there is no such message")
	default:
		if text := t.text(found.Messages); t.page == nil || !t.page(text) {
			out.text(text)
		}
	}
	for _, p := range found.Problems {
		out.say(sentence("error", p.String()) + "\n")
	}
	if len(found.Problems) > 0 {
		return fail.Errorf(proto.SignatureInvalid, "the history does not verify: %s",
			counted(len(found.Problems), "finding", "findings")).With("client history -verify tells more")
	}
	return nil
}

// The widths of columns: those of the original, and of a status.
const (
	historyIDWidth     = 17
	historyTextWidth   = 18
	historyStatusWidth = len(history.StatusDelivered) + 2
)

// text is one line for each message: the time, how far it got, and the text with whose it is.
func (t historyTable) text(messages []*history.Message) string {
	if len(messages) == 0 {
		return ""
	}
	if t.original {
		return originalHistory(messages, t.query.Peer)
	}
	var b strings.Builder
	if t.query.Peer != "" {
		fmt.Fprintf(&b, "History for %s:\n", proto.Visible(t.query.Peer))
	}
	id := ""
	if t.ids {
		id = fmt.Sprintf("%-34s", "ID")
	}
	fmt.Fprintf(&b, "%-21s%s%-*sMessage\n", "Time", id, historyStatusWidth, "Status")
	for _, m := range messages {
		if t.ids {
			id = m.ID + "  "
		}
		fmt.Fprintf(&b, "%s  %s%s%s%s%s\n", dateTime(m.Time), id, padded(historyStatus(m), historyStatusWidth),
			term.Hang, historyText(m, t.query.Peer), historyReasons(m))
	}
	return b.String()
}

// historyText is a message's text after its sender and, unless it is told already, its recipients.
func historyText(m *history.Message, peer string) string {
	who := "[" + proto.Visible(m.From.Name)
	if len(m.To) > 1 || m.Outgoing && peer == "" {
		who += " → " + visibleNames(m.To)
	}
	return who + "]: " + messageText(m.Text)
}

// historyStatus is a message's status. What was kept in vain says so beside it: the two are one.
func historyStatus(m *history.Message) string {
	if all := m.Status(); all == history.StatusKept && len(m.Deliveries) == 1 {
		return string(all) + described(m.Deliveries[0].Reason)
	}
	return string(m.Status())
}

// historyReasons tells the reason why a message got no further, and how far it got with each
// recipient where that differs. It stands after the text, so that all texts begin in one column.
func historyReasons(m *history.Message) string {
	all := m.Status()
	differs := func(d history.Delivery) bool { return d.Status != all || d.Reason != "" }
	switch {
	case !slices.ContainsFunc(m.Deliveries, differs), len(m.Deliveries) == 1 && all == history.StatusKept:
		return ""
	case len(m.Deliveries) == 1:
		return " " + described(m.Deliveries[0].Reason)
	}
	var parts []string
	for _, d := range m.Deliveries {
		parts = append(parts, fmt.Sprintf("%s %s%s", proto.Visible(d.Name), d.Status, described(d.Reason)))
	}
	return "  (" + strings.Join(parts, "; ") + ")"
}

// originalHistory is a table for each person, or for one, as the original had it.
func originalHistory(messages []*history.Message, peer string) string {
	names, rows, id := make(map[string]string), make(map[string]string), historyIDWidth // by folded name
	for _, m := range messages {
		id = max(id, len(m.ID)+2)
	}
	add := func(name string, m *history.Message, text, status string) {
		folded := proto.FoldName(name)
		if names[folded] == "" || name != folded {
			names[folded] = name
		}
		status += "  " + dateTime(m.Time)
		line := term.Hang + padded(text, historyTextWidth) + status
		if strings.Contains(text, term.Row) || term.TextWidth(text) > historyTextWidth || id+term.TextWidth(line) >= 80 {
			line = status + "  " + term.Hang + text // the status stays beside the id, and the text has room
		}
		rows[folded] += padded(m.ID, id) + line + "\n"
	}
	for _, m := range messages {
		text := messageText(m.Text)
		if !m.Outgoing {
			add(m.From.Name, m, "["+proto.Visible(m.From.Name)+"]: "+text, string(m.Status()))
			continue
		}
		for _, d := range m.Deliveries {
			add(d.Name, m, text, string(d.Status)+described(d.Reason))
		}
	}
	var b strings.Builder
	for _, name := range sortedNames(names) {
		if peer != "" && !proto.SameName(name, peer) {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "History for %s:\n%-*s%-*sStatus\n%s", proto.Visible(name), id, "ID",
			historyTextWidth, "Message", rows[proto.FoldName(name)])
	}
	return b.String()
}

type historyObject struct {
	head
	ID         string            `json:"id"`
	Direction  string            `json:"direction"` // in or out
	From       string            `json:"from"`
	Conn       string            `json:"conn"`
	To         []string          `json:"to"`
	Text       string            `json:"text"`
	Identity   string            `json:"identity"`
	Status     string            `json:"status"`
	Letter     bool              `json:"letter,omitempty"`
	Deliveries []historyDelivery `json:"deliveries"`
}

type historyDelivery struct {
	Name   string   `json:"name"`
	Conn   string   `json:"conn"`
	Status string   `json:"status"`
	Until  jsonTime `json:"until,omitzero"` // of KEPT
	Reason string   `json:"reason,omitempty"`
}

func historyMessage(m *history.Message) historyObject {
	o := historyObject{
		head: head{jsonVersion, "history", jsonTime{m.Time}}, ID: m.ID, Direction: "in",
		From: m.From.Name, Conn: m.From.Conn, To: m.To, Text: m.Text, Identity: m.Identity,
		Status: string(m.Status()), Letter: m.Letter,
	}
	if m.Outgoing {
		o.Direction = "out"
	}
	for _, d := range m.Deliveries {
		o.Deliveries = append(o.Deliveries, historyDelivery{d.Name, d.Conn, string(d.Status), jsonTime{d.Until}, d.Reason})
	}
	return o
}
