package history

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

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

// form checks the form of a proof. record is the index in the message of the one record whose
// exact bytes are there.
func (p *Proof) form() (record int, ok bool) {
	types := []string{lineBundle, lineBundle, lineText, lineReceipt}
	if p.V != version || p.Type != proofType || len(p.Lines) < 3 || len(p.Lines) > len(types) {
		return 0, false
	}
	var all []json.RawMessage
	for i, l := range p.Lines {
		want := Fields[l.Type]
		switch {
		case l.Type == lineText:
			want = Fields[lineSent]
		case l.Type == lineReceipt && len(l.Records) > 0:
			want |= fieldSet("records")
		}
		if l.Type != types[i] || l.fields() != want || l.V != 0 || l.Prev != "" || l.Time != 0 || !l.wellFormed() {
			return 0, false
		}
		all = append(all, l.Records...)
	}
	record = slices.IndexFunc(all, isRecord)
	return record, record >= 0 && record < len(p.Lines[2].Records) && !slices.ContainsFunc(all[record+1:], isRecord)
}

// checkedProof is what is signed in a proof that holds.
type checkedProof struct {
	*conversation // the sender is `me`
	text          *Line
	header        *crypto.MessageHeader
	record        json.RawMessage
	seq           uint64                // of the record
	receipt       *crypto.MessageHeader // nil if there is none
}

// check verifies a proof as a history of its sender's, which begins before its message: all that
// needs no certificate.
func (p *Proof) check() (*checkedProof, error) {
	record, ok := p.form()
	if !ok {
		return nil, errors.New("it is not a proof in its one form")
	}
	text := p.Lines[2]
	h, err := crypto.ParseMessageHeader(text.Header)
	if err != nil {
		return nil, err
	}
	v := newVerification(nil)
	end := func(l *Line) *End {
		return &End{Name: l.Bundle.Name, Identity: proto.FormatHash([32]byte{}), Bundle: l.Hash}
	}
	begin := &Line{
		Type: lineConversation, Conversation: h.Conversation, Direction: h.Direction, Me: end(p.Lines[0]), Peer: end(p.Lines[1]),
	}
	v.report.Owner.Name = begin.Me.Name
	if err := v.all(p.Lines[0], p.Lines[1], begin); err != nil {
		return nil, err
	}
	checked := &checkedProof{
		conversation: v.convs[flow{[32]byte(h.Conversation), h.Direction}], text: text, header: h,
		record: text.Records[record], seq: h.Seq + uint64(record),
	}
	checked.sent.n = h.N
	if h.Seq > 1 { // the first record goes on from d0
		checked.sent.restart(h.Seq-1, [32]byte(text.Before))
	}
	if err := v.all(text); err != nil || len(p.Lines) == 3 {
		return checked, err
	}
	receipt := p.Lines[3]
	if checked.receipt, err = checked.goOn(receipt); err == nil {
		err = v.all(receipt)
	}
	if err != nil {
		return nil, fmt.Errorf("the receipt: %w", err)
	}
	return checked, nil
}

// goOn takes in the records after the message, up to the last one that a receipt is for.
func (c *checkedProof) goOn(receipt *Line) (*crypto.MessageHeader, error) {
	h, err := crypto.ParseMessageHeader(receipt.Header)
	if err != nil {
		return nil, err
	}
	r, err := crypto.ParseReceipt(receipt.Receipt)
	if err != nil {
		return nil, err
	}
	for _, record := range receipt.Records {
		hash, _ := siblingHash(record)
		c.sent.next(hash)
	}
	if r.Delivered < c.seq || c.sent.seq != max(r.Delivered, c.header.Seq+c.header.Count-1) {
		return nil, errors.New("it is not for this message")
	}
	c.received.n = h.N
	return h, nil
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
