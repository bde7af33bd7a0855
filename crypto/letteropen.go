package crypto

import (
	"bytes"
	"crypto/sha256"

	"chatsecure/crypto/trust"
	"chatsecure/proto"
)

// OpenLetter opens a letter to this mailbox and checks all that needs no certificate, and
// no record: its forms, that the inside repeats the outside and names the bundle inside,
// and the signature by that bundle's K. The caller verifies the bundle at the header's
// time, and whether dst-bundle is its own and names this mailbox, and then calls
// ReadRecords. Errors are ErrDecrypt, ErrSignature, a *trust.Error or a *proto.Error.
func OpenLetter(m *Mailbox, body []byte) (*Letter, error) {
	o, outside, sealed, err := SplitLetter(body)
	if err != nil {
		return nil, err
	}
	l := &Letter{ID: [32]byte(o.Letter), Mailbox: [32]byte(o.Mailbox), Body: body}
	if l.Mailbox != m.Hash() {
		return nil, letterError("it is for another mailbox")
	}
	ss, err := mailboxSuite().Decapsulate(m.key, o.Enc, letterInfo(l.ID, l.Mailbox))
	if err != nil {
		return nil, err
	}
	defer clear(ss)
	key := letterKey(ss, o.Letter, outside)
	defer clear(key)
	plaintext, err := mailboxSuite().Open(nil, key, outside, sealed)
	if err != nil {
		return nil, err
	}
	if err := l.read(plaintext, sha256.Sum256(o.Enc)); err != nil {
		clear(plaintext)
		return nil, err
	}
	return l, nil
}

// read takes the plaintext apart and checks it.
func (l *Letter) read(plaintext []byte, encHash [32]byte) error {
	lines := bytes.SplitN(plaintext, []byte("\n"), 5)
	if len(lines) != 5 {
		return letterError("lines are missing inside")
	}
	l.Bundle = new(trust.Bundle)
	if proto.Unmarshal(lines[0], l.Bundle) != nil {
		return letterError("its bundle is not canonical JSON")
	}
	var okKey, okSig bool
	l.MailboxKey, okKey = proto.DecodeBase64(nil, lines[1])
	l.Signature, okSig = proto.DecodeBase64(nil, lines[3])
	if !okKey || !okSig {
		return letterError("its mailbox key or signature is not base64")
	}
	l.Exact, l.inside = lines[2], lines[4]
	h, err := ParseLetterHeader(l.Exact)
	if err != nil {
		return err
	}
	l.Header = h
	if [32]byte(h.Letter) != l.ID || [32]byte(h.Mailbox) != l.Mailbox || [32]byte(h.EncHash) != encHash {
		return letterError("the inside is of another letter")
	}
	if [32]byte(h.SrcBundle) != l.Bundle.Hash() {
		return letterError("its header names another bundle than the one inside")
	}
	if err := l.Bundle.Check(); err != nil {
		return err
	}
	if err := proto.CheckName(l.Bundle.Name); err != nil { // no line of the relay's has had it
		return err
	}
	if err := checkOwnMailbox(l.Bundle, l.MailboxKey); err != nil {
		return err
	}
	k, err := l.Bundle.Key()
	if err != nil {
		return err
	}
	if !k.Verify(LetterSigns(l.Exact), l.Signature) {
		return ErrSignature
	}
	return nil
}

// ReadRecords decodes the records or receipts of a letter that sender, an identity, has
// proved to have signed, and checks their number, their digest, and each by itself. Whether
// a record names this receiver is a question for Record.Names. Errors are ErrDigest or a
// *proto.Error.
func (l *Letter) ReadRecords(sender [32]byte) error {
	h := l.Header
	if h.Kind == LetterReceipt {
		receipts, err := ParseLetterReceipts(l.inside)
		if err != nil {
			return err
		}
		if uint64(len(receipts)) != h.Count {
			return letterError("%d receipts where its header says %d", len(receipts), h.Count)
		}
		if receipts.Digest(l.ID, l.Mailbox) != [32]byte(h.Digest) {
			return ErrDigest
		}
		l.Receipts, l.ExactReceipts = receipts, l.inside
		return nil
	}
	lines, err := splitRecords(l.inside, h.Count)
	if err != nil {
		return letterError("%v", err)
	}
	d := FirstLetterDigest(l.ID, l.Mailbox)
	for _, line := range lines {
		d = NextDigest(d, sha256.Sum256(line))
	}
	if d != [32]byte(h.Digest) {
		return ErrDigest
	}
	p := RecordParser{Sender: sender}
	records := make([]*Record, len(lines))
	for i, line := range lines {
		r, err := p.Parse(line)
		if err != nil {
			return letterError("%v", err)
		}
		if r.Seq != uint64(i)+1 || r.Time > h.Time+trust.ClockTolerance.Milliseconds() {
			return letterError("seq or time of a record does not agree with it")
		}
		records[i] = r
	}
	l.Records, l.ExactRecords = records, lines
	return nil
}
