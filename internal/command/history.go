package command

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"

	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/internal/state"
	"chatsecure/internal/term"
	"chatsecure/proto"
)

// historyOptions are the flags of history.
type historyOptions struct {
	peer   string
	verify bool
	export string
}

func (o *historyOptions) flags(f *flag.FlagSet) runner {
	f.Var(checked[string]{&o.peer, nameOrNone}, "peer", "")
	f.BoolVar(&o.verify, "verify", false, "")
	f.StringVar(&o.export, "export", "", "")
	return alone(o.run)(f)
}

func (o *historyOptions) run(a *app, _ context.Context) error {
	state, err := a.readState()
	if err != nil {
		return err
	}
	switch {
	case o.verify:
		return a.verifyHistory(state)
	case o.export != "":
		proof, err := history.ExportProof(state.HistoryDir(), o.export)
		if err != nil {
			return err
		}
		a.out.exact(string(proof))
		return nil
	}
	messages, problems, err := historyIn(state)()
	if err != nil {
		return err
	}
	return showHistory(a.out, messages, problems, o.peer)
}

// historySource reads the whole history.
type historySource func() (messages []*history.Message, problems []history.Finding, err error)

func historyIn(state *state.State) historySource {
	return func() ([]*history.Message, []history.Finding, error) {
		messages, problems, err := history.Read(state.HistoryDir())
		for _, m := range messages {
			if m.Outgoing && m.From.Name == "" { // a message that was never sent
				m.From.Name = state.Name()
			}
		}
		return messages, problems, err
	}
}

// The part of the history that the prompt shows: messages, and bytes of their texts.
const (
	latestMessages = 50
	latestTexts    = 32 << 10
)

// showLatest writes the latest part of the history, or of that with one peer. It reads once gate,
// of capacity 1, is free: the whole history is in memory then.
func showLatest(
	ctx context.Context, out *display, read historySource, peer string, gate chan struct{},
) error {
	select {
	case gate <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	var shown []*history.Message
	var problems []history.Finding
	var all int
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { <-gate }()
		var messages []*history.Message
		messages, problems, err = read()
		shown, all = latest(messages, peer)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	if len(shown) < all {
		out.notice("the last %d of %d messages; the command client history shows all", len(shown), all)
	}
	return showHistory(out, shown, problems, peer)
}

// latest returns the last messages, of a peer if one is named, and the number of all.
func latest(messages []*history.Message, peer string) (last []*history.Message, all int) {
	room := latestTexts
	for _, m := range slices.Backward(messages) {
		if peer != "" && !m.With(peer) {
			continue
		}
		all++
		if room <= 0 || len(last) == latestMessages {
			room = 0
			continue
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
	return last, all
}

// showHistory writes messages of the history, those with one peer if it is named.
func showHistory(
	out *display, messages []*history.Message, problems []history.Finding, peer string,
) error {
	if out.json {
		for _, m := range messages {
			if peer == "" || m.With(peer) {
				out.objectLater(historyMessage(m))
			}
		}
	} else {
		out.text(historyTables(messages, peer))
	}
	for _, p := range problems {
		out.say(sentence("error", p.String()) + "\n")
	}
	if len(problems) > 0 {
		return fail.Errorf(proto.SignatureInvalid, "the history is damaged in %s",
			counted(len(problems), "place", "places")).With("client history -verify tells more")
	}
	return nil
}

// historyRow is a message in a peer's table.
type historyRow struct {
	id, text, status, when string
}

// historyRows sorts messages by peer. Both maps are by folded name; names has the
// peers as they write themselves.
func historyRows(messages []*history.Message) (
	names map[string]string, rows map[string][]historyRow) {
	names, rows = make(map[string]string), make(map[string][]historyRow)
	add := func(name string, row historyRow) {
		folded := proto.FoldName(name)
		if names[folded] == "" || name != folded {
			names[folded] = name
		}
		rows[folded] = append(rows[folded], row)
	}
	for _, m := range messages {
		text, when := messageText(m.Text), dateTime(m.Time)
		if !m.Outgoing {
			text = "[" + proto.Visible(m.From.Name) + "]: " + text
			add(m.From.Name, historyRow{m.ID, text, string(m.Status()), when})
			continue
		}
		for _, d := range m.Deliveries {
			add(d.Name, historyRow{m.ID, text, string(d.Status) + described(d.Reason), when})
		}
	}
	return names, rows
}

// The columns of a history table are as wide as the original's. One long text
// must not push away the status of all others.
const (
	historyIDWidth   = 17
	historyTextWidth = 18
)

// historyTables is the history for people: a table for each peer, or for one.
func historyTables(messages []*history.Message, peer string) string {
	names, rows := historyRows(messages)
	var b strings.Builder
	for _, name := range sortedNames(names) {
		if peer != "" && !proto.SameName(name, peer) {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		idWidth := historyIDWidth
		for _, row := range rows[proto.FoldName(name)] {
			idWidth = max(idWidth, len(row.id)+2)
		}
		fmt.Fprintf(&b, "History for %s:\n", proto.Visible(name))
		fmt.Fprintf(&b, "%-*s%-*sStatus\n", idWidth, "ID", historyTextWidth, "Message")
		for _, row := range rows[proto.FoldName(name)] {
			text, status := padded(row.text, historyTextWidth), row.status+"  "+row.when
			if strings.Contains(text, term.Row) || term.TextWidth(text) > historyTextWidth ||
				idWidth+historyTextWidth+term.TextWidth(status) >= 80 {
				// The status stays beside the id, and the text has room.
				fmt.Fprintf(&b, "%-*s%s  %s%s\n", idWidth, row.id, status, term.Hang, row.text)
				continue
			}
			fmt.Fprintf(&b, "%-*s%s%s%s\n", idWidth, row.id, term.Hang, text, status)
		}
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
	Deliveries []historyDelivery `json:"deliveries"`
}

type historyDelivery struct {
	Name   string `json:"name"`
	Conn   string `json:"conn"`
	Status string `json:"status"`
	Reason string `json:"reason,omitempty"`
}

func historyMessage(m *history.Message) historyObject {
	o := historyObject{
		head: head{jsonVersion, "history", jsonTime{m.Time}}, ID: m.ID, Direction: "in",
		From: m.From.Name, Conn: m.From.Conn, To: m.To, Text: m.Text, Identity: m.Identity,
		Status: string(m.Status()),
	}
	if m.Outgoing {
		o.Direction = "out"
	}
	for _, d := range m.Deliveries {
		o.Deliveries = append(o.Deliveries, historyDelivery{d.Name, d.Conn, string(d.Status), d.Reason})
	}
	return o
}
