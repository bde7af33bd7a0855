package history

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"chatsecure/crypto"
	"chatsecure/proto"
)

// proofType is the type of every proof, so that nothing else passes for one.
const proofType = "chatsecure-proof"

// MaxProof bounds a proof in bytes: a record of 640 KiB, two bundles, and 47 bytes for each of
// maxProofAhead hashes.
const MaxProof = 2 << 20

// maxProofAhead bounds the records between a message and the receipt in its proof. Receipts come
// after 8192 records at most.
const maxProofAhead = 16384

// Proof is one message that proves itself, in canonical JSON: an excerpt of a history, whose lines
// have no v, prev and time. They are the bundles of the sender and of the recipient, the message,
// of whose other records there are only hashes, and perhaps a receipt. All of it is signed, or
// hashes to a signed value, or names the format. PROTOCOL.md, "Proofs".
type Proof struct {
	V     int     `json:"v"`
	Type  string  `json:"type"`
	Lines []*Line `json:"lines"`
}

// isRecord tells a record from the hash of one.
func isRecord(exact json.RawMessage) bool { _, sibling := siblingHash(exact); return !sibling }

// proofForms has the types of the lines of every proof.
var proofForms = regexp.MustCompile("^bundle bundle (text|letter|text receipt|(text|letter) (bundle ){0,2}letter-receipt)$")

// form checks the form of a proof. record is the index in the message of the one record whose
// exact bytes are there.
func (p *Proof) form() (record int, ok bool) {
	var types []string
	var all []json.RawMessage
	for _, l := range p.Lines {
		want := Fields[l.Type]
		switch {
		case l.Type == lineText:
			want = Fields[lineSent]
		case l.Type == lineLetter:
			want = fieldSet("header signature records")
		case l.Type == lineLetterReceipt:
			want = fieldSet("header signature receipts")
		case l.Type == lineReceipt && len(l.Records) > 0:
			want |= fieldSet("records")
		}
		if l.fields() != want || l.V != 0 || l.Prev != "" || l.Time != 0 || !l.wellFormed() {
			return 0, false
		}
		types, all = append(types, l.Type), append(all, l.Records...)
	}
	if p.V != version || p.Type != proofType || !proofForms.MatchString(strings.Join(types, " ")) {
		return 0, false
	}
	record = slices.IndexFunc(all, isRecord)
	return record, record >= 0 && record < len(p.Lines[2].Records) && !slices.ContainsFunc(all[record+1:], isRecord)
}

// checkedProof is what is signed in a proof that holds.
type checkedProof struct {
	*conversation // the sender is `me`
	text          *Line
	header        *crypto.MessageHeader // of a letter: what it says as one of a conversation
	judges        judgement
	record        json.RawMessage
	seq           uint64         // of the record
	receipt       *signedReceipt // nil if there is none
}

// signedReceipt is the receipt in a proof.
type signedReceipt struct {
	judges   judgement
	from, to *Party
	time     int64
	status   Status                // that it says of the record
	entries  crypto.LetterReceipts // of one in a letter
}

// judgement is Judge or JudgeLetter.
type judgement = func(from, to *Party, at int64) (wrong *Party, err error)

var (
	errProofForm    = errors.New("it is not a proof in its one form")
	errOtherReceipt = errors.New("it is not for this message")
)

// check verifies a proof as a history of its sender's, which begins before its message: all that
// needs no certificate.
func (p *Proof) check() (*checkedProof, error) {
	record, ok := p.form()
	if !ok {
		return nil, errProofForm
	}
	v := newVerification(nil)
	v.report.Owner.Name = p.Lines[0].Bundle.Name
	if err := v.all(p.Lines[:2]...); err != nil {
		return nil, err
	}
	check := v.checkText
	if p.Lines[2].Type == lineLetter {
		check = v.checkLetter
	}
	checked, err := check(p.Lines[0], p.Lines[1], p.Lines[2], record)
	if err == nil {
		err = v.all() // a signature may not hold
	}
	if err != nil || len(p.Lines) == 3 {
		return checked, err
	}
	last := len(p.Lines) - 1
	if receipt := p.Lines[last]; receipt.Type == lineReceipt {
		err = v.checkReceipt(checked, receipt)
	} else {
		err = v.checkLetterReceipt(checked, p.Lines[:2], p.Lines[3:last], receipt)
	}
	if err == nil {
		err = v.all()
	}
	if err != nil {
		return nil, fmt.Errorf("the receipt: %w", err)
	}
	return checked, nil
}

// checkText verifies the message of a proof, as the first of a conversation.
func (v *verification) checkText(sender, recipient, text *Line, record int) (*checkedProof, error) {
	h, err := crypto.ParseMessageHeader(text.Header)
	if err != nil {
		return nil, err
	}
	end := func(l *Line) *End {
		return &End{Name: l.Bundle.Name, Identity: proto.FormatHash([32]byte{}), Bundle: l.Hash}
	}
	begin := &Line{
		Type: lineConversation, Conversation: h.Conversation, Direction: h.Direction, Me: end(sender), Peer: end(recipient),
	}
	if err := v.all(begin); err != nil {
		return nil, err
	}
	checked := &checkedProof{
		conversation: v.convs[flow{[32]byte(h.Conversation), h.Direction}], text: text, header: h, judges: Judge,
		record: text.Records[record], seq: h.Seq + uint64(record),
	}
	checked.sent.n = h.N
	if h.Seq > 1 { // the first record goes on from d0
		checked.sent.restart(h.Seq-1, [32]byte(text.Before))
	}
	return checked, v.all(text)
}

// checkReceipt takes in the records after the message, up to the last one that a receipt is for, and
// verifies the receipt.
func (v *verification) checkReceipt(c *checkedProof, receipt *Line) error {
	h, err := crypto.ParseMessageHeader(receipt.Header)
	if err != nil {
		return err
	}
	r, err := crypto.ParseReceipt(receipt.Receipt)
	if err != nil {
		return err
	}
	for _, record := range receipt.Records {
		hash, _ := siblingHash(record)
		c.sent.next(hash)
	}
	if r.Delivered < c.seq || c.sent.seq != max(r.Delivered, c.header.Seq+c.header.Count-1) {
		return errOtherReceipt
	}
	c.received.n = h.N
	if err := v.all(receipt); err != nil {
		return err
	}
	c.receipt = &signedReceipt{
		judges: Judge, from: c.peer.Party, to: c.me.Party, time: h.Time, status: c.status(c.seq),
	}
	return nil
}

// all verifies lines, and returns the first thing that does not hold.
func (v *verification) all(lines ...*Line) error {
	for _, l := range lines {
		if err := v.typed(0, l); err != nil {
			return err
		}
	}
	if len(v.findings) > 0 {
		return errors.New(v.findings[0].What)
	}
	return nil
}
