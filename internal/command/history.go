package command

import (
	"context"
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

func parseHistory(args []string) (o historyOptions, err error) {
	f := newFlags("history")
	f.StringVar(&o.peer, "peer", "", "")
	f.BoolVar(&o.verify, "verify", false, "")
	f.StringVar(&o.export, "export", "", "")
	if err := parseFlags(f, args); err != nil {
		return o, err
	}
	if o.peer != "" {
		if err := proto.CheckName(o.peer); err != nil {
			return o, usageError("-peer %q: %v", o.peer, err)
		}
	}
	if o.verify && o.export != "" || o.peer != "" && (o.verify || o.export != "") {
		return o, usageError("-peer, -verify and -export exclude one another")
	}
	return o, noArguments("history", f.Args())
}

func runHistory(a *app, _ context.Context, args []string) error {
	o, err := parseHistory(args)
	if err != nil {
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
		proof, err := history.ExportProof(state.HistoryDir(), o.export)
		if err != nil {
			return err
		}
		a.out.text(string(proof)) // no newline: every byte of a proof counts
		return nil
	}
	return showHistory(a.out, historyIn(state), o.peer)
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

// showHistory writes the whole history, or the part with one peer.
func showHistory(out *display, read historySource, peer string) error {
	messages, problems, err := read()
	if err != nil {
		return err
	}
	if out.json {
		for _, m := range messages {
			if peer == "" || historyWith(m, peer) != nil {
				out.objectLater(historyMessage(m))
			}
		}
	} else {
		out.text(historyTables(messages, peer))
	}
	for _, p := range problems {
		out.say("client: error: " + p.String() + "\n")
	}
	if len(problems) > 0 {
		return &fail.Error{
			Code: proto.SignatureInvalid, Message: "the history is damaged in " + counted(len(problems), "place", "places"),
			Hint: "client history -verify tells more",
		}
	}
	return nil
}

// historyRow is a message in a peer's table.
type historyRow struct {
	id, text, status, when string
}

// historyWith returns a message's row in a peer's table, or nil if it is not
// between the two.
func historyWith(m *history.Message, peer string) *historyRow {
	row := &historyRow{id: m.ID, when: dateTime(m.Time)}
	if !m.Outgoing {
		if !proto.SameName(m.From.Name, peer) {
			return nil
		}
		row.text = "[" + proto.Visible(m.From.Name) + "]: " + proto.Visible(m.Text)
		row.status = string(m.Status())
		return row
	}
	i := slices.IndexFunc(m.Deliveries, func(d history.Delivery) bool { return proto.SameName(d.Name, peer) })
	if i < 0 {
		return nil
	}
	row.text, row.status = proto.Visible(m.Text), string(m.Deliveries[i].Status)
	if reason := m.Deliveries[i].Reason; reason != "" {
		row.status += " (" + proto.Visible(reason) + ")"
	}
	return row
}

// historyPeers returns the names in the messages, as their owners write them,
// sorted.
func historyPeers(messages []*history.Message) []string {
	shown := make(map[string]string)
	add := func(name string) {
		if folded := proto.FoldName(name); shown[folded] == "" || name != folded {
			shown[folded] = name
		}
	}
	for _, m := range messages {
		if !m.Outgoing {
			add(m.From.Name)
			continue
		}
		for _, d := range m.Deliveries {
			add(d.Name)
		}
	}
	return sortedNames(shown)
}

// The columns of a history table: at least as wide as the original's, and no
// wider for a long text than a terminal.
const (
	historyIDWidth   = 17
	historyTextWidth = 18
	historyTextMax   = 60
)

// historyTables is the history for people: a table for each peer.
func historyTables(messages []*history.Message, peer string) string {
	peers := historyPeers(messages)
	if peer != "" {
		peers = slices.DeleteFunc(peers, func(name string) bool { return !proto.SameName(name, peer) })
	}
	var b strings.Builder
	for i, name := range peers {
		if i > 0 {
			b.WriteByte('\n')
		}
		var rows []*historyRow
		idWidth, column := historyIDWidth, historyTextWidth
		for _, m := range messages {
			if row := historyWith(m, name); row != nil {
				rows = append(rows, row)
				idWidth = max(idWidth, len(row.id)+2)
				column = max(column, min(term.TextWidth(row.text)+2, historyTextMax))
			}
		}
		fmt.Fprintf(&b, "History for %s:\n", proto.Visible(name))
		fmt.Fprintf(&b, "%-*s%-*sStatus\n", idWidth, "ID", column, "Message")
		for _, row := range rows {
			fmt.Fprintf(&b, "%-*s%s%s  %s\n", idWidth, row.id, padded(row.text, column), row.status, row.when)
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
		head: head{jsonVersion, "history", formatTime(m.Time)}, ID: m.ID, Direction: "in", From: m.From.Name, Conn: m.From.Conn,
		To: m.To, Text: m.Text, Identity: m.Identity, Status: string(m.Status()),
	}
	if m.Outgoing {
		o.Direction = "out"
	}
	for _, d := range m.Deliveries {
		o.Deliveries = append(o.Deliveries, historyDelivery{d.Name, d.Conn, string(d.Status), d.Reason})
	}
	return o
}
