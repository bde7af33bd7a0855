package history

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// JudgeLetter is Judge for a letter. The delegation of its addressee may have ended when it was
// sealed. It had begun, and its mailbox had not ended.
func JudgeLetter(from, to *Party, at int64) (wrong *Party, err error) {
	switch {
	case time.Unix(to.Bundle.NotBefore, 0).Sub(time.UnixMilli(at)) > trust.ClockTolerance:
		return to, fail.Errorf(proto.DelegationNotYet, "at that time nobody knew the mailbox of %s",
			proto.Visible(to.Bundle.Name))
	case at/1000 > to.Bundle.MailboxEnd:
		return to, fail.Errorf(proto.DelegationExpired, "at that time the mailbox of %s had ended",
			proto.Visible(to.Bundle.Name))
	}
	return Judge(from, to, at)
}

var errLetterHeader = errors.New("its header is none of a letter")

// letter checks the line of a letter.
func (v *verification) letter(number uint64, l *Line) error {
	c, h := letterSide(l, v.report.Owner)
	if c == nil {
		return errLetterHeader
	}
	if _, twice := v.letters[c.flow]; twice {
		return errors.New("the letter is in the history twice")
	}
	shown := uint16(0)
	if l.Type == lineLetterReceived {
		shown = uint16(h.Count)
	}
	v.letters[c.flow] = shown
	if err := v.letterParties(c, h); err != nil {
		return err
	}
	judged, err := v.letterSigned(number, l, c, h)
	if err != nil {
		return err
	}
	if l.Type == lineLetterReceipt {
		receipts, err := v.letterReceipts(l, h)
		if err == nil && judged && len(v.inDoubt) > 0 {
			v.attested(receipts, c, h.Time)
		}
		return err
	}
	v.report.Letters++
	v.report.Messages++
	v.report.Records += len(l.Records)
	var doubt *letterDoubt
	if judged && l.Type == lineLetterSent && c.from.doubt() != nil {
		doubt = &letterDoubt{line: number, who: c.from.Party}
		v.letterDoubts = append(v.letterDoubts, doubt)
	}
	return v.letterRecords(l, c, h, doubt)
}

// ofLetter reports whether a line is about the records of a letter, and checks it.
func (v *verification) ofLetter(l *Line) (is bool, err error) {
	switch l.Type {
	case lineShown, lineSeen, lineGap:
	default:
		return false, nil
	}
	of := flow{[32]byte(l.Conversation), reverse(l.Direction)}
	count, is := v.letters[of]
	if is && l.Seq > uint64(count) {
		return true, errShown
	}
	return is, nil
}

// letterParties finds whose the bundles are that a letter names.
func (v *verification) letterParties(c *side, h *crypto.LetterHeader) (err error) {
	for _, p := range [...]*party{c.from, c.to} {
		if p.Party, err = v.party([32]byte(p.End.Bundle), p.Name, p.identity()); err != nil {
			return err
		}
		if !proto.SameName(p.Party.Bundle.Name, p.Name) {
			return errors.New("the bundle of " + proto.Visible(p.Name) + " is of another name")
		}
	}
	if !bytes.Equal(h.Mailbox, c.to.Party.Bundle.Mailbox) {
		return errors.New("it is to another mailbox than " + proto.Visible(c.to.Name) + "'s")
	}
	return nil
}

// letterSigned checks the signer of a letter at the time in its header, and has the signature
// checked.
func (v *verification) letterSigned(
	number uint64, l *Line, c *side, h *crypto.LetterHeader,
) (judged bool, err error) {
	kind := crypto.LetterText
	if l.Type == lineLetterReceipt {
		kind = crypto.LetterReceipt
	}
	if h.Kind != kind {
		return false, errors.New("its header is of another kind than its place")
	}
	v.verify(number, c.from, crypto.LetterSigns(l.Header), l.Signature)
	judged = v.judgeBy(JudgeLetter, number, c.from.Party, c.to.Party, h.Time)
	if judged && c.from.doubt() != nil && l.Type != lineLetterSent {
		c.from.doubtUntilHead(number)
	}
	return judged, nil
}

// letterDoubt is a letter of the owner's that is in doubt until all of its records are attested.
type letterDoubt struct {
	line uint64
	who  *Party
	open int
}

// letterRecords checks the records of a letter. In a proof all but one are hashes.
func (v *verification) letterRecords(l *Line, c *side, h *crypto.LetterHeader, doubt *letterDoubt) error {
	if h.Count != uint64(len(l.Records)) {
		return fmt.Errorf("it has %d records where its header says %d", len(l.Records), h.Count)
	}
	digest := crypto.FirstLetterDigest([32]byte(h.Letter), [32]byte(h.Mailbox))
	records := crypto.RecordParser{Sender: c.from.identity()}
	for i, exact := range l.Records {
		if hash, sibling := siblingHash(exact); sibling && l.Type == lineLetter {
			digest = crypto.NextDigest(digest, hash)
			continue
		}
		digest = crypto.NextDigest(digest, sha256.Sum256(exact))
		if v.trust != nil { // else nobody knows the sender's identity, which an id rests on
			r, err := checkRecord(&records, exact, uint64(i)+1, h.Time, c.to)
			if err != nil {
				return err
			}
			if doubt != nil {
				doubt.open++
				id := crypto.FullRecordID(c.from.identity(), r)
				v.inDoubt[id] = append(v.inDoubt[id], doubt)
			}
		}
	}
	if !bytes.Equal(h.Digest, digest[:]) {
		return errors.New("its records are not those that were signed")
	}
	return nil
}

// letterReceipts checks the receipts of a letter. Each names a record by its whole hash, so that
// there is nothing to compare it with.
func (v *verification) letterReceipts(l *Line, h *crypto.LetterHeader) (crypto.LetterReceipts, error) {
	receipts, err := crypto.ParseLetterReceipts(l.Receipts)
	if err != nil {
		return nil, err
	}
	if uint64(len(receipts)) != h.Count {
		return nil, fmt.Errorf("it has %d receipts where its header says %d", len(receipts), h.Count)
	}
	if digest := receipts.Digest([32]byte(h.Letter), [32]byte(h.Mailbox)); !bytes.Equal(h.Digest, digest[:]) {
		return nil, errors.New("the receipts differ from those that were signed")
	}
	v.report.Receipts++
	return receipts, nil
}

// attested takes in what receipts by somebody else show of letters in doubt.
func (v *verification) attested(receipts crypto.LetterReceipts, c *side, at int64) {
	for _, e := range receipts {
		id := [sha256.Size]byte(e.ID)
		if doubts := v.inDoubt[id]; len(doubts) > 0 && c.from.attests(doubts[0].who, at) {
			for _, d := range doubts {
				d.open--
			}
			delete(v.inDoubt, id)
		}
	}
}
