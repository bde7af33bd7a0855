package history

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// ProofReport is the meaning of a proof that holds.
type ProofReport struct {
	ID        string
	From      *trust.Person
	Recipient *trust.Person      // whose connection the message went to
	To        []crypto.Recipient // everyone the record was for, as its sender signed it
	Text      string
	Written   time.Time // the record's own time, by the sender's clock
	Sent      time.Time // the message's, by the sender's clock
	Receipt   *ProofReceipt
	Notes     []string // sentences, safe to print

	header *crypto.MessageHeader
	exact  []byte // of the header
	seq    uint64 // of the record
}

// ProofReceipt is the recipient's own statement.
type ProofReceipt struct {
	Status Status    // DELIVERED or READ
	Time   time.Time // by the recipient's clock
}

// VerifyProof checks a proof with nothing but the verifier's roots and lists: form, signatures,
// delegations, certificates at the time in the message, and the receipt if there is one. A genuine
// receipt whose signers do not hold at its time proves nothing, and the message does. Every byte of
// data counts. The code of every error gives exit status 8.
func VerifyProof(data []byte, verifier *trust.Verifier) (*ProofReport, error) {
	r, err := verifyProof(data, verifier)
	if fail.HasCode(err, proto.RevocationUnknown) {
		_, other := verifyProof(data, verifier.Lenient())
		if other == nil {
			return nil, &fail.Error{
				Code:    proto.SignatureInvalid,
				Message: "the signatures and certificates of the proof hold, and one thing is missing: " + proto.Visible(err.Error()),
				Hint:    UnlistedHint,
				Err:     err,
			}
		}
		err = other
	}
	if err == nil {
		return r, nil
	}
	if doubtful, ok := errors.AsType[*fail.Error](err); ok {
		return nil, doubtful
	}
	hint := "ask for the file again, as `client history -export` writes it; if it stays so, it proves nothing"
	switch e := fail.AsError(err); e.Code { // all else is well: signers are judged last
	case proto.CertificateUntrusted:
		hint = e.Hint
	case proto.CertificateNotYet, proto.DelegationNotYet:
		hint = "if the time in it should be right, check the clock of this machine"
	case proto.CertificateExpired, proto.DelegationExpired, proto.CertificateRevoked:
		hint = "another copy of it says the same: ask the person to write the message again"
	}
	return nil, &fail.Error{Code: proto.SignatureInvalid, Message: "the proof does not hold: " + proto.Visible(err.Error()), Hint: hint, Err: err}
}

func verifyProof(data []byte, verifier *trust.Verifier) (*ProofReport, error) {
	if len(data) > MaxProof {
		return nil, fmt.Errorf("it has %d bytes, a proof has at most %d", len(data), MaxProof)
	}
	var p Proof
	if err := proto.Unmarshal(data, &p); err != nil {
		if trimmed := bytes.TrimSpace(data); len(trimmed) != len(data) {
			return nil, fmt.Errorf("it begins or ends with spaces or newlines, which are not part of a proof: %w", err)
		}
		return nil, err
	}
	c, err := p.check()
	if err != nil {
		return nil, err
	}
	return c.judge(verifier)
}

// judge judges the persons and the record of a proof whose signatures hold, and reports the meaning.
func (c *checkedProof) judge(verifier *trust.Verifier) (*ProofReport, error) {
	sender, recipient := c.me.Party, c.peer.Party
	sender.Verifier, recipient.Verifier = verifier, verifier
	switch wrong, err := c.judges(sender, recipient, c.header.Time); wrong {
	case sender:
		return nil, fmt.Errorf("the sender: %w", err)
	case recipient:
		return nil, fmt.Errorf("the recipient: %w", err)
	}
	c.peer.End.Identity = proto.FormatHash(recipient.person.Identity)
	records := crypto.RecordParser{Sender: sender.person.Identity}
	record, err := checkRecord(&records, c.record, c.seq, c.header.Time, &c.peer)
	if err != nil {
		return nil, err
	}
	if c.receipt != nil {
		if err := c.receipt.attribute(sender, recipient, record); err != nil {
			return nil, fmt.Errorf("the receipt: %w", err)
		}
	}
	r := &ProofReport{
		From: sender.person, Recipient: recipient.person, header: c.header, exact: c.text.Header, seq: c.seq,
		ID: record.ID, To: record.To, Text: record.Text,
		Written: time.UnixMilli(record.Time).UTC(), Sent: time.UnixMilli(c.header.Time).UTC(),
		Notes: []string{"the times are what the signers' clocks said; nobody else attests them"},
	}
	note := func(party *Party) {
		if note := party.note(); note != "" && !slices.Contains(r.Notes, note) {
			r.Notes = append(r.Notes, note)
		}
	}
	note(sender)
	note(recipient)
	doubtful, void := sender.doubt(), ""
	if c.receipt != nil {
		if void = c.void(); void == "" {
			r.Receipt = &ProofReceipt{Status: c.receipt.status, Time: time.UnixMilli(c.receipt.time).UTC()}
			note(c.receipt.from)
		} else {
			r.Notes = append(r.Notes, void)
		}
	}
	if doubtful != nil && (r.Receipt == nil || !c.receipt.from.attests(sender, c.receipt.time)) {
		// It holds as far as signatures go, and somebody else may have made them.
		said := doubtful.String() + unattested
		if void != "" {
			said += "; " + void
		}
		return nil, fail.Errorf(proto.SignatureInvalid, "%s", said).With(DoubtfulHint)
	}
	return r, nil
}

// void says why the receipt proves nothing, or "". The message is judged by itself: a revocation
// after it, and before its receipt, takes nothing from it.
func (c *checkedProof) void() string {
	r := c.receipt
	dated := "it is dated " + proofTime(time.UnixMilli(r.time).UTC()) + ", and "
	_, err := r.judges(r.from, r.to, r.time)
	switch doubtful := r.from.doubt(); {
	case fail.HasCode(err, proto.CertificateRevoked):
		dated += err.Error()
	case err != nil: // it tells the time itself
		dated = err.Error()
	case doubtful != nil:
		dated += doubtful.String() + unattested
	default:
		return ""
	}
	return proto.Visible(c.peer.Name) + "'s receipt proves nothing: " + dated
}

// String returns the report for people: lines with newlines, safe to print.
func (r *ProofReport) String() string {
	var b strings.Builder
	line := func(label, format string, args ...any) {
		fmt.Fprintf(&b, "%-9s: %s\n", label, fmt.Sprintf(format, args...))
	}
	line("Message", "%s", r.ID)
	line("From", "%s", personText(r.From))
	var to []string
	for _, rc := range r.To {
		to = append(to, proto.Visible(rc.Name))
	}
	line("To", "%s", strings.Join(to, ", "))
	line("Sent to", "%s", personText(r.Recipient))
	line("Written", "%s", proofTime(r.Written))
	line("Signed", "%s", proofTime(r.Sent))
	line("Text", "%s", proto.Visible(r.Text))
	switch {
	case r.Receipt == nil:
		line("Receipt", "none that proves that it arrived")
	case r.Receipt.Status == StatusRead:
		line("Receipt", "READ: %s signed on %s that it had been shown", proto.Visible(r.Recipient.Name), proofTime(r.Receipt.Time))
	default:
		line("Receipt", "DELIVERED: %s signed on %s that it had been checked and stored",
			proto.Visible(r.Recipient.Name), proofTime(r.Receipt.Time))
	}
	for _, note := range r.Notes {
		line("Note", "%s", note)
	}
	return b.String()
}

// personText names a person by name, certificate and identity.
func personText(p *trust.Person) string {
	return fmt.Sprintf("%s (%s, issued by %s, identity %s)", proto.Visible(p.Name),
		proto.Quote(trust.SubjectName(p.Leaf)), proto.Quote(trust.IssuerName(p.Leaf)), proto.FormatHash(p.Identity))
}

func proofTime(t time.Time) string { return t.Format("2006-01-02 15:04:05.000 UTC") }
