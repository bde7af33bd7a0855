package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"chatsecure"
	"chatsecure/crypto"
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
		proof, err := chatsecure.ExportProof(state.HistoryDir(), o.export)
		if err != nil {
			return err
		}
		a.out.text(string(proof)) // no newline: every byte of a proof counts
		return nil
	}
	return showHistory(a.out, historyIn(state), o.peer)
}

// readState opens the state directory for a command that only looks.
func (a *app) readState() (*chatsecure.State, error) {
	dir, err := a.stateDir()
	if err != nil {
		return nil, err
	}
	return chatsecure.OpenStateRead(dir)
}

// historySource reads the whole history.
type historySource func() (messages []*chatsecure.HistoryMessage, problems []chatsecure.Finding, err error)

func historyIn(state *chatsecure.State) historySource {
	return func() ([]*chatsecure.HistoryMessage, []chatsecure.Finding, error) {
		messages, problems, err := chatsecure.ReadHistory(state.HistoryDir())
		for _, m := range messages {
			if m.Outgoing && m.From.Name == "" { // it was never sent
				m.From.Name = state.Name()
			}
		}
		return messages, problems, err
	}
}

// showHistory writes the history with everyone, or with one peer.
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
		return &chatsecure.Error{Code: proto.SignatureInvalid, Message: "the history is damaged in " + counted(len(problems), "place", "places"), Hint: "client history -verify tells more"}
	}
	return nil
}

// historyRow is one message in the table of one peer.
type historyRow struct {
	id, text, status, when string
}

// historyWith returns the message's row in the table of a peer, or nil if the
// peer has no part in it.
func historyWith(m *chatsecure.HistoryMessage, peer string) *historyRow {
	row := &historyRow{id: m.ID, when: dateTime(m.Time)}
	if !m.Outgoing {
		if !proto.SameName(m.From.Name, peer) {
			return nil
		}
		row.text = "[" + crypto.Visible(m.From.Name) + "]: " + crypto.Visible(m.Text)
		row.status = string(m.Status())
		return row
	}
	i := slices.IndexFunc(m.Deliveries, func(d chatsecure.HistoryDelivery) bool { return proto.SameName(d.Name, peer) })
	if i < 0 {
		return nil
	}
	row.text, row.status = crypto.Visible(m.Text), string(m.Deliveries[i].Status)
	if reason := m.Deliveries[i].Reason; reason != "" {
		row.status += " (" + crypto.Visible(reason) + ")"
	}
	return row
}

// historyPeers returns the names that the messages are with, as their owners
// write them, sorted.
func historyPeers(messages []*chatsecure.HistoryMessage) []string {
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
	names := make([]string, 0, len(shown))
	for _, name := range shown {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(proto.FoldName(a), proto.FoldName(b)) })
	return names
}

// The columns of a history table, as wide as the original's at the least, and
// no wider for a long text than a terminal is.
const (
	historyIDWidth   = 17
	historyTextWidth = 18
	historyTextMax   = 60
)

// historyTables is the history for people: a table for each peer.
func historyTables(messages []*chatsecure.HistoryMessage, peer string) string {
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
				column = max(column, min(textWidth(row.text)+2, historyTextMax))
			}
		}
		fmt.Fprintf(&b, "History for %s:\n", crypto.Visible(name))
		fmt.Fprintf(&b, "%-*s%-*sStatus\n", idWidth, "ID", column, "Message")
		for _, row := range rows {
			fmt.Fprintf(&b, "%-*s%s%s  %s\n", idWidth, row.id, padded(row.text, column), row.status, row.when)
		}
	}
	return b.String()
}

// padded fills a text up to its column by what it takes on a screen, and keeps
// one that is wider apart from the next.
func padded(text string, column int) string {
	return text + strings.Repeat(" ", max(column-textWidth(text), 2))
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

func historyMessage(m *chatsecure.HistoryMessage) historyObject {
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

type verifyObject struct {
	head
	OK       bool     `json:"ok"`
	What     string   `json:"what"` // history, or the file of a proof
	Messages int      `json:"messages,omitempty"`
	Records  int      `json:"records,omitempty"`
	Receipts int      `json:"receipts,omitempty"`
	Lines    int      `json:"lines,omitempty"`
	ID       string   `json:"id,omitempty"`
	From     string   `json:"from,omitempty"`
	Identity string   `json:"identity,omitempty"`
	To       []string `json:"to,omitempty"`
	Text     string   `json:"text,omitempty"`
	Sent     string   `json:"sent,omitempty"`
	Status   string   `json:"status,omitempty"` // as the recipient signed it
	Findings []string `json:"findings,omitempty"`
	Notes    []string `json:"notes,omitempty"`
}

// verifyHistory checks everything that the history holds.
func (a *app) verifyHistory(state *chatsecure.State) error {
	bundle, err := a.readCABundle()
	if err != nil {
		return err
	}
	verifier, _, err := a.verifier(state.CRLDir(), bundle)
	if err != nil {
		return err
	}
	r, err := chatsecure.VerifyHistory(state.HistoryDir(), verifier)
	if err != nil {
		return err
	}
	o := verifyObject{head: a.out.head("verify"), OK: r.OK(), What: "history", Messages: r.Messages, Records: r.Records, Receipts: r.Receipts, Lines: r.Lines, Notes: r.Notes}
	for _, f := range r.Findings {
		o.Findings = append(o.Findings, f.String())
	}
	a.tellVerified(o, fmt.Sprintf("history: %s in %s; %s with %s, %s, %s",
		counted(r.Lines, "line", "lines"), counted(r.Files, "file", "files"), counted(r.Messages, "message", "messages"),
		counted(r.Records, "record", "records"), counted(r.Receipts, "receipt", "receipts"), counted(r.Conversations, "conversation", "conversations")))
	if r.Unlisted {
		return &chatsecure.Error{
			Code: proto.SignatureInvalid, Message: "all signatures and certificates of the history hold, but it is not known whether some of the certificates are revoked",
			Hint: chatsecure.UnlistedHint,
		}
	}
	if !r.OK() {
		return &chatsecure.Error{Code: proto.SignatureInvalid, Message: "the history does not verify: " + counted(len(r.Findings)+r.More, "finding", "findings"), Hint: r.Hint}
	}
	return nil
}

// tellVerified writes what a verification found.
func (a *app) tellVerified(o verifyObject, summary string) {
	for _, n := range o.Notes {
		a.out.notice("%s", n)
	}
	if a.out.json {
		a.out.object(o)
		return
	}
	for _, f := range o.Findings {
		a.out.line(f)
	}
	if o.OK {
		summary += ": all of it holds"
	}
	a.out.line(summary)
}

// maxProofFile bounds a file that is given to verify: a proof has at most 2
// MiB.
const maxProofFile = 2 << 20

// runVerify checks proofs. It needs no state and makes none.
func runVerify(a *app, _ context.Context, args []string) error {
	f := newFlags("verify")
	if err := parseFlags(f, args); err != nil {
		return err
	}
	if f.NArg() == 0 {
		return usageError("verify needs a file, or - for standard input")
	}
	bundle, err := a.readCABundle()
	if err != nil {
		return err
	}
	verifier, _, err := a.verifier("", bundle)
	if err != nil {
		return err
	}
	worst := 0
	var first *chatsecure.ProofReport
	for _, file := range f.Args() {
		r, err := a.verifyProof(file, verifier)
		switch {
		case err != nil:
			e := *chatsecure.AsError(err)
			if f.NArg() > 1 {
				e.Message = file + ": " + e.Message
			}
			a.out.fail(&e)
			worst = chatsecure.MostSevere(worst, chatsecure.ExitStatus(err))
		case first == nil:
			first = r
		default:
			comparison := chatsecure.CompareProofs(first, r)
			a.out.say(comparison.String())
			if comparison.Conflict {
				worst = chatsecure.MostSevere(worst, chatsecure.ExitStatus(chatsecure.Errorf(proto.SignatureInvalid, "")))
			}
		}
	}
	if worst != 0 {
		return statusError(worst)
	}
	return nil
}

func (a *app) verifyProof(file string, verifier *crypto.Verifier) (*chatsecure.ProofReport, error) {
	var data []byte
	var err error
	if file == "-" {
		data, err = io.ReadAll(io.LimitReader(a.stdin, maxProofFile+1))
	} else {
		data, err = readSmallFile(file, maxProofFile)
	}
	if err != nil {
		hint := ""
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, os.ErrPermission) {
			hint = "give a file that client history -export has written"
		}
		return nil, &chatsecure.Error{Code: proto.Internal, Message: "the proof cannot be read: " + err.Error(), Hint: hint, Err: err}
	}
	r, err := chatsecure.VerifyProof(data, verifier)
	if err != nil {
		return nil, err
	}
	o := verifyObject{head: a.out.head("verify"), OK: true, What: file, ID: r.ID, From: r.From.Name, Identity: r.From.Identity, Text: r.Text, Sent: formatTime(r.Sent), Notes: r.Notes}
	for _, to := range r.To {
		o.To = append(o.To, to.Name)
	}
	if r.Receipt != nil {
		o.Status = string(r.Receipt.Status)
	}
	if a.out.json {
		for _, n := range r.Notes {
			a.out.notice("%s", n)
		}
		a.out.object(o)
		return r, nil
	}
	a.out.text(r.String())
	return r, nil
}
