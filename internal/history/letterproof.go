package history

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"

	"chatsecure/crypto"
	"chatsecure/proto"
)

// In a proof the line of a letter is a `letter`, without the names, which its bundles have. A
// `letter-receipt` has all its receipts, since its digest covers them. It may come days later,
// under other delegations: those of its two bundles that the proof does not have stand before it.

// furtherBundles returns the hashes of these, the giver's first.
func furtherBundles(h *crypto.LetterHeader, have ...*Line) (further [][]byte) {
	for _, hash := range [...][]byte{h.SrcBundle, h.DstBundle} {
		known := slices.ContainsFunc(have, func(l *Line) bool { return bytes.Equal(l.Hash, hash) })
		if !known && (len(further) == 0 || !bytes.Equal(further[0], hash)) {
			further = append(further, hash)
		}
	}
	return further
}

// letterLine has the line of a letter say whom it is to or from.
func letterLine(l *Line, name string) *Line {
	named := *l
	named.Name, named.Identity = name, proto.FormatHash([32]byte{})
	return &named
}

// checkLetter verifies the letter of a proof, as one of its sender's.
func (v *verification) checkLetter(sender, recipient, letter *Line, record int) (*checkedProof, error) {
	l := letterLine(letter, recipient.Bundle.Name)
	c, h := letterSide(l, v.report.Owner)
	if c == nil {
		return nil, errLetterHeader
	}
	if !bytes.Equal(h.SrcBundle, sender.Hash) || !bytes.Equal(h.DstBundle, recipient.Hash) {
		return nil, errors.New("its header names other bundles")
	}
	err := v.letterParties(c, h)
	if err == nil {
		_, err = v.letterSigned(0, l, c, h)
	}
	if err == nil {
		err = v.letterRecords(l, c, h, nil)
	}
	return &checkedProof{
		conversation: c.conversation, judges: JudgeLetter, text: letter,
		header: &crypto.MessageHeader{
			Conversation: h.Letter, Direction: crypto.DirectionAB, Seq: 1, Count: h.Count, Time: h.Time,
		},
		record: letter.Records[record], seq: uint64(record) + 1,
	}, err
}

// checkLetterReceipt verifies a receipt in a letter, for the record of a proof whose bundles are
// have. Whose it is remains to be judged.
func (v *verification) checkLetterReceipt(c *checkedProof, have, further []*Line, receipt *Line) error {
	l := letterLine(receipt, c.peer.Name)
	of, h := letterSide(l, v.report.Owner)
	if of == nil {
		return errLetterHeader
	}
	if !slices.EqualFunc(further, furtherBundles(h, have...), func(l *Line, hash []byte) bool { return bytes.Equal(l.Hash, hash) }) {
		return errProofForm
	}
	err := v.all(further...)
	if err == nil {
		err = v.letterParties(of, h)
	}
	if err == nil {
		_, err = v.letterSigned(0, l, of, h)
	}
	if err != nil {
		return err
	}
	entries, err := v.letterReceipts(l, h)
	c.receipt = &signedReceipt{
		judges: JudgeLetter, from: of.from.Party, to: of.to.Party, time: h.Time, entries: entries,
	}
	return err
}

// attribute finds the best receipt for a record. The persons who have left and got it must be those
// of the message.
func (r *signedReceipt) attribute(sender, recipient *Party, record *crypto.Record) error {
	if r.entries == nil {
		return nil
	}
	id := crypto.FullRecordID(sender.person.Identity, record)
	for _, e := range r.entries {
		if status := Status(e.Level); bytes.Equal(e.ID, id[:]) && status.rank() > r.status.rank() {
			r.status = status
		}
	}
	if r.status == "" {
		return errOtherReceipt
	}
	// These are parties of their own where the bundles are.
	r.from.Identity, r.to.Identity = recipient.person.Identity, sender.person.Identity
	r.from.Verifier, r.to.Verifier = recipient.Verifier, sender.Verifier
	return nil
}

func newSearch(id string) *search {
	raw, _ := hex.DecodeString(id)
	return &search{
		reader: newReader(), id: id, marks: [][]byte{[]byte(recordStart + id + `"`)},
		// A receipt has the whole hash: 15 bytes of it have base64 of their own.
		letterMark: []byte(recordStart + base64.StdEncoding.EncodeToString(raw[:15])),
		letters:    make(map[string]*Line),
	}
}

// letter takes in a letter with the record, or a receipt for it.
func (s *search) letter(l *Line) {
	of, _ := letterSide(l, Owner{})
	if of == nil {
		return
	}
	if l.Type != lineLetterReceipt {
		for i, exact := range l.Records {
			if bytes.HasPrefix(exact, s.marks[0]) {
				s.found = append(s.found, &candidate{side: of, line: l, index: i})
			}
		}
		return
	}
	entries, _ := crypto.ParseLetterReceipts(l.Receipts)
	for _, e := range entries {
		key := l.Identity + " " + e.Level
		if hex.EncodeToString(e.ID[:len(recordKey{})]) == s.id && s.letters[key] == nil {
			s.letters[key] = l
		}
	}
}

// letterReceipts has the receipts in letters that may be for a candidate.
func (s *search) letterReceipts(c *candidate) (receipts []*Line) {
	if c.line.Type != lineSent && c.line.Type != lineLetterSent {
		return nil
	}
	for _, level := range []string{crypto.LevelDelivered, crypto.LevelRead} {
		if l := s.letters[c.to.End.Identity+" "+level]; l != nil {
			receipts = append(receipts, l)
		}
	}
	return receipts
}

// bundleLine has the bundle with this hash.
func (r *reader) bundleLine(hash []byte) *Line {
	return &Line{Type: lineBundle, Hash: hash, Bundle: r.bundles[[sha256.Size]byte(hash)]}
}

// furtherLines has the bundles that a receipt names beside those that a proof has.
func (r *reader) furtherLines(receipt *Line, have []*Line) (lines []*Line) {
	if receipt.Type != lineLetterReceipt {
		return nil
	}
	h, err := crypto.ParseLetterHeader(receipt.Header)
	if err != nil {
		return nil
	}
	for _, hash := range furtherBundles(h, have...) {
		lines = append(lines, r.bundleLine(hash))
	}
	return lines
}
