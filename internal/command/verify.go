package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// runVerify checks proofs. It uses no state directory.
func runVerify(a *app, _ context.Context, args []string) error {
	if len(args) == 0 {
		return usageError("verify needs a file, or - for standard input")
	}
	t, err := a.trust("")
	if err != nil {
		return err
	}
	worst := 0
	var first *history.ProofReport
	for _, file := range args {
		r, err := a.verifyProof(file, t.verifier)
		switch {
		case err != nil:
			e := *fail.AsError(err)
			if len(args) > 1 {
				e.Message = file + ": " + e.Message
			}
			worst = fail.MostSevere(worst, a.out.fail(&e))
		case first == nil:
			first = r
		default:
			comparison := history.CompareProofs(first, r)
			a.out.say(comparison.String())
			if comparison.Conflict {
				worst = fail.MostSevere(worst, fail.ExitIntegrity)
			}
		}
	}
	return toldStatus(worst)
}

func (a *app) verifyProof(file string, verifier *trust.Verifier) (*history.ProofReport, error) {
	var data []byte
	var err error
	if file == "-" {
		data, err = io.ReadAll(io.LimitReader(a.Stdin, maxProofFile+1))
	} else {
		data, err = readSmallFile(file, maxProofFile)
	}
	if err != nil {
		hint := ""
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, os.ErrPermission) {
			hint = "give a file that client history -export has written"
		}
		return nil, fail.Errorf(proto.Internal, "the proof cannot be read: %w", err).With(hint)
	}
	r, err := history.VerifyProof(data, verifier)
	if err != nil {
		return nil, err
	}
	o := verifyObject{
		head: a.out.head("verify"), OK: true, What: file, ID: r.ID, From: r.From.Name,
		Identity: proto.FormatHash(r.From.Identity), Text: r.Text, Sent: jsonTime{r.Sent}, Notes: r.Notes,
	}
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
	} else {
		a.out.text(fields(r.String()))
	}
	return r, nil
}

// verifyHistory checks the whole history.
func (a *app) verifyHistory(state *state.State) error {
	t, err := a.trust(state.CRLDir())
	if err != nil {
		return err
	}
	r, err := history.Verify(state.HistoryDir(), t.verifier)
	if err != nil {
		return err
	}
	if what := somebodyElses(state, r.Owner); what != "" {
		r.Findings = append(r.Findings, history.Finding{What: what})
		r.Unlisted, r.Doubtful = false, false
		r.Hint = "somebody has put it there; a backup of the state directory may have its own"
	}
	o := verifyObject{
		head: a.out.head("verify"), OK: r.OK(), What: "history",
		Messages: r.Messages, Records: r.Records, Receipts: r.Receipts, Lines: r.Lines, Notes: r.Notes,
	}
	for _, f := range r.Findings {
		o.Findings = append(o.Findings, f.String())
	}
	for _, n := range o.Notes {
		a.out.notice("%s", n)
	}
	if o.Owner, o.Heads = r.Owner.Name, r.Heads; o.Owner != "" {
		o.Identity = proto.FormatHash(r.Owner.Identity)
	}
	if r.Head.Line > 0 {
		o.HeadLine, o.Head, o.After = r.Head.Line, jsonTime{r.Head.Time}, r.After
	}
	holds := ""
	if o.OK && r.Lines > 0 {
		holds = ": all of it holds"
	}
	if a.out.json {
		a.out.object(o)
	} else {
		a.out.text(strings.Join(append(o.Findings, fmt.Sprintf(
			"history: %s; %s with %s, %s, %s, %s%s\n",
			counted(r.Lines, "line", "lines"),
			counted(r.Messages, "message", "messages"), counted(r.Records, "record", "records"),
			counted(r.Receipts, "receipt", "receipts"),
			counted(r.Conversations, "conversation", "conversations"), counted(r.Heads, "head", "heads"), holds)), "\n"))
		for _, s := range r.Sentences() {
			a.out.line(s)
		}
	}
	switch {
	case r.Unlisted:
		return fail.Errorf(proto.SignatureInvalid, "all signatures and certificates of the history "+
			"hold, but it is not known whether some of the certificates are revoked").With(history.UnlistedHint)
	case r.Doubtful:
		return fail.Errorf(proto.SignatureInvalid, "all signatures of the history hold, but of some nobody else attests "+
			"that they are older than a revocation").With(history.DoubtfulHint)
	}
	if !r.OK() {
		return fail.Errorf(proto.SignatureInvalid, "the history does not verify: %s",
			counted(len(r.Findings)+r.More, "finding", "findings")).With(r.Hint)
	}
	return nil
}

// maxProofFile bounds a file given to verify, in bytes: a proof has at most 2
// MiB.
const maxProofFile = 2 << 20

type verifyObject struct {
	head
	OK       bool     `json:"ok"`
	What     string   `json:"what"` // history, or the name of the proof's file
	Messages int      `json:"messages,omitempty"`
	Records  int      `json:"records,omitempty"`
	Receipts int      `json:"receipts,omitempty"`
	Lines    int      `json:"lines,omitempty"`
	Owner    string   `json:"owner,omitempty"`     // whose history it is; Identity is theirs
	Heads    int      `json:"heads,omitempty"`     // signed by the owner
	HeadLine uint64   `json:"head_line,omitempty"` // of the last head: up to there it is whole
	Head     jsonTime `json:"head,omitzero"`       // when that was signed
	After    int      `json:"after,omitempty"`     // lines that follow it
	ID       string   `json:"id,omitempty"`
	From     string   `json:"from,omitempty"`
	Identity string   `json:"identity,omitempty"`
	To       []string `json:"to,omitempty"`
	Text     string   `json:"text,omitempty"`
	Sent     jsonTime `json:"sent,omitzero"`
	Status   string   `json:"status,omitempty"` // as signed by the recipient
	Findings []string `json:"findings,omitempty"`
	Notes    []string `json:"notes,omitempty"`
}
