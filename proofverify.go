package chatsecure

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"chatsecure/canon"
	"chatsecure/crypto"
	"chatsecure/proto"
)

// ProofReport is what a proof proves.
type ProofReport struct {
	ID        string
	From      ProofParty
	Recipient ProofParty         // whose connection the message went to
	To        []crypto.Recipient // everyone the record was for, as its sender signed it
	Text      string
	Written   time.Time // the record's own time, by the sender's clock
	Sent      time.Time // the message's, by the sender's clock
	Receipt   *ProofReceipt
	Notes     []string // what holds and is worth saying; sentences, safe to print

	conversation []byte
	direction    string
	seq, n       uint64
	header       []byte
}

// ProofParty is one of the two in a proof.
type ProofParty struct {
	Name     string
	Identity string // hex
	Person   *crypto.Person
}

// ProofReceipt is what the recipient signed.
type ProofReceipt struct {
	Status Status    // DELIVERED or READ
	Time   time.Time // by the recipient's clock
}

// VerifyProof checks a proof that ExportProof made, with nothing but the
// verifier's roots and lists: form, signatures, delegations, certificates as
// they were at the time in the message, and the receipt if there is one. Every
// byte of data counts. Errors have a code for exit status 8.
func VerifyProof(data []byte, verifier *crypto.Verifier) (*ProofReport, error) {
	r, err := verifyProof(data, verifier)
	if HasCode(err, proto.RevocationUnknown) {
		if _, other := verifyProof(data, verifier.WithPolicy(crypto.PolicyTry)); other == nil {
			return nil, &Error{
				Code: proto.SignatureInvalid, Message: "the signatures and certificates of the proof hold, and one thing is missing: " + crypto.Visible(err.Error()),
				Hint: UnlistedHint, Err: err,
			}
		}
	}
	if err != nil {
		// Who signs is judged after the signatures: all else may be well.
		hint := cmp.Or(untrustedHint(err), "ask for the file again, as `client history -export` writes it; if it stays so, it proves nothing")
		return nil, &Error{Code: proto.SignatureInvalid, Message: "the proof does not hold: " + crypto.Visible(err.Error()), Hint: hint}
	}
	return r, nil
}

// UnlistedHint is what to do where nothing but revocation lists is missing.
const UnlistedHint = "give the revocation lists with -crl DIR (client crl refresh fetches them into crls in the state directory), or use -crl-policy try"

// untrustedHint is what to do where a chain leads to no authority that is
// trusted here, and "" for any other error.
func untrustedHint(err error) string {
	if untrusted, ok := errors.AsType[*crypto.TrustError](err); ok && untrusted.Code == proto.CertificateUntrusted {
		return untrusted.Hint
	}
	return ""
}

func verifyProof(data []byte, verifier *crypto.Verifier) (*ProofReport, error) {
	if len(data) > maxProof {
		return nil, fmt.Errorf("it has %d bytes, a proof has at most %d", len(data), maxProof)
	}
	var p proof
	if err := canon.Unmarshal(data, &p); err != nil {
		if trimmed := bytes.TrimSpace(data); len(trimmed) != len(data) {
			return nil, fmt.Errorf("it begins or ends with spaces or newlines, which are not part of a proof: %w", err)
		}
		return nil, err
	}
	c, err := p.check()
	if err != nil {
		return nil, err
	}
	h := c.header
	r := &ProofReport{
		Sent: time.UnixMilli(h.Time).UTC(), conversation: h.Conversation, direction: h.Direction, n: h.N, header: p.Data.Header,
	}
	from, err := verifier.VerifyAt(&p.Bundle, p.Bundle.Name, r.Sent)
	if err != nil {
		return nil, fmt.Errorf("the sender: %w", err)
	}
	// Who the message was for is said by its sender, who knows the delegation
	// from the handshake: it counts as it was then.
	end := verifyEnd{bundle: p.Recipient}
	to, err := verifier.VerifyAt(p.Recipient, p.Recipient.Name, time.UnixMilli(end.within(h.Time)))
	if err != nil {
		return nil, fmt.Errorf("the recipient: %w", err)
	}
	r.From, r.Recipient = proofParty(from), proofParty(to)
	record, err := crypto.ParseRecord(p.Data.Record, from.Identity)
	if err != nil {
		return nil, err
	}
	if record.Seq != h.Seq+uint64(len(p.Digests.Earlier)) || record.Time > h.Time+crypto.ClockTolerance.Milliseconds() {
		return nil, fmt.Errorf("the record has another number or a later time than its message")
	}
	if !record.Names(proto.FoldName(to.Name), r.Recipient.Identity) {
		return nil, fmt.Errorf("the record does not name the recipient")
	}
	r.ID, r.To, r.Text, r.seq = record.ID, record.To, record.Text, record.Seq
	r.Written = time.UnixMilli(record.Time).UTC()
	r.Notes = []string{"the times are what the signers' clocks said; nobody else attests them"}
	for _, person := range [...]*crypto.Person{from, to} {
		if note := personNote(person.Name, person); note != "" && !slices.Contains(r.Notes, note) {
			r.Notes = append(r.Notes, note)
		}
	}
	if c.receipt != nil {
		at := time.UnixMilli(c.receiptHeader.Time).UTC()
		if _, err := verifier.VerifyAt(p.Recipient, p.Recipient.Name, at); err != nil {
			return nil, fmt.Errorf("the receipt: %w", err)
		}
		r.Receipt = &ProofReceipt{Status: c.status, Time: at}
	}
	return r, nil
}

func proofParty(person *crypto.Person) ProofParty {
	return ProofParty{Name: person.Name, Identity: hex.EncodeToString(person.Identity[:]), Person: person}
}

// String says for people who said what to whom and when, and what the receipt
// proves; lines with newlines, safe to print.
func (r *ProofReport) String() string {
	var b strings.Builder
	line := func(label, format string, args ...any) {
		fmt.Fprintf(&b, "%-9s: %s\n", label, fmt.Sprintf(format, args...))
	}
	line("Message", "%s", r.ID)
	line("From", "%s", r.From)
	var to []string
	for _, rc := range r.To {
		to = append(to, crypto.Visible(rc.Name))
	}
	line("To", "%s", strings.Join(to, ", "))
	line("Sent to", "%s", r.Recipient)
	line("Written", "%s", proofTime(r.Written))
	line("Signed", "%s", proofTime(r.Sent))
	line("Text", "%s", crypto.Visible(r.Text))
	switch {
	case r.Receipt == nil:
		line("Receipt", "none; the proof does not show that it arrived")
	case r.Receipt.Status == StatusRead:
		line("Receipt", "READ: %s signed on %s that it had been shown", crypto.Visible(r.Recipient.Name), proofTime(r.Receipt.Time))
	default:
		line("Receipt", "DELIVERED: %s signed on %s that it had been checked and stored", crypto.Visible(r.Recipient.Name), proofTime(r.Receipt.Time))
	}
	for _, note := range r.Notes {
		line("Note", "%s", note)
	}
	return b.String()
}

// String names a party by name, certificate and identity.
func (p ProofParty) String() string {
	return fmt.Sprintf("%s (%s, issued by %s, identity %s)", crypto.Visible(p.Name),
		crypto.Visible(p.Person.Leaf.Subject.CommonName), crypto.Visible(p.Person.Leaf.Issuer.CommonName), p.Identity)
}

func proofTime(t time.Time) string { return t.Format("2006-01-02 15:04:05.000 UTC") }

// ProofComparison is what two proofs say about each other.
type ProofComparison struct {
	Same      bool     // one record: the same id, text and recipients
	Conflict  bool     // they cannot both be what they seem: the sender signed two versions of one thing
	Different []string // what differs; sentences, safe to print
}

// CompareProofs compares two proofs that hold: two members of a group see so
// whether they were told the same.
func CompareProofs(a, b *ProofReport) ProofComparison {
	var c ProofComparison
	differ := func(what string, differs bool, x, y string) {
		if differs {
			c.Different = append(c.Different, fmt.Sprintf("%s: %s and %s", what, x, y))
		}
	}
	differ("the ids differ", a.ID != b.ID, a.ID, b.ID)
	sender := a.From.Identity == b.From.Identity
	differ("the senders differ", !sender, a.From.String(), b.From.String())
	text := a.Text == b.Text
	differ("the texts differ", !text, proofQuote(a.Text), proofQuote(b.Text))
	to := slices.Equal(a.To, b.To)
	differ("the recipients differ", !to, proofRecipients(a.To), proofRecipients(b.To))
	differ("the times of writing differ", !a.Written.Equal(b.Written), proofTime(a.Written), proofTime(b.Written))
	content := sender && text && to && a.Written.Equal(b.Written)
	c.Same = a.ID == b.ID && content
	switch {
	case a.ID == b.ID && !content:
		c.Conflict = true // the id is a hash of all of these
	case sender && a.Written.Equal(b.Written) && a.ID != b.ID && (text != to):
		c.Conflict = true // one moment, told in two ways
	case sender && bytes.Equal(a.conversation, b.conversation) && a.direction == b.direction:
		// One message has one number and one signature.
		c.Conflict = a.n == b.n && !bytes.Equal(a.header, b.header) || a.seq == b.seq && a.ID != b.ID
	}
	return c
}

// String says for people how two proofs go together, in one line or more.
func (c ProofComparison) String() string {
	switch {
	case c.Conflict:
		return "the proofs contradict each other: the sender signed two versions\n  " + strings.Join(c.Different, "\n  ") + "\n"
	case c.Same:
		return "both prove the same message: same sender, recipients, time and text\n"
	}
	return "the proofs are of different messages\n  " + strings.Join(c.Different, "\n  ") + "\n"
}

// maxProofQuote bounds a text that a comparison repeats, in characters.
const maxProofQuote = 200

func proofQuote(s string) string {
	if r := []rune(s); len(r) > maxProofQuote {
		s = string(r[:maxProofQuote]) + "..."
	}
	return `"` + crypto.Visible(s) + `"`
}

func proofRecipients(to []crypto.Recipient) string {
	var names []string
	for _, rc := range to {
		name := crypto.Visible(rc.Name)
		if len(rc.Identity) >= 8 {
			name += " (" + rc.Identity[:8] + ")"
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}
