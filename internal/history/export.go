package history

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"slices"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// candidate is a message with the wanted record, while the history is read.
type candidate struct {
	*side
	line     *Line
	header   *crypto.MessageHeader // nil: it is a letter
	index    int                   // of the record in the message
	later    []json.RawMessage     // hashes of the records sent after it, while a receipt may need them
	receipts []*Line               // the first that says DELIVERED, and the first that says READ
	status   Status                // that the last of them says
}

// search looks for a record.
type search struct {
	reader
	id    string
	marks [][]byte // the beginning of the record, and the conversations in which it was found
	found []*candidate

	letterMark []byte           // of a receipt in a letter for the record
	letters    map[string]*Line // the first such receipt of each giver and level
}

// ExportProof returns a proof of the message with this id (32 hexadecimal digits) out of the
// history in dir: one JSON value without a final newline, for VerifyProof. Of the connections that
// the message went to, and of their receipts, it takes those that prove most by what the verifier
// knows now: an earlier receipt may be older than a revocation. Where nothing holds, it takes the
// furthest. It needs neither card nor relay.
func ExportProof(dir, id string, verifier *trust.Verifier) ([]byte, error) {
	if !proto.IsHex(id, len(recordKey{})) {
		return nil, fail.Errorf(proto.Usage, "a message id has %d digits of 0-9 a-f, as `client history -ids` shows it", 2*len(recordKey{}))
	}
	s := newSearch(id)
	lines, err := openSnapshot(dir)
	if err != nil {
		return nil, err
	}
	defer lines.Close()
	if _, _, err := lines.each(0, func(Finding) {}, s.line); err != nil {
		return nil, openFailure(dir, err)
	}
	if len(s.found) == 0 {
		return nil, failure(nil, "client history -ids lists the ids; a message that still waits to be sent has no proof",
			"there is no message %s in the history that was sent or received", id)
	}
	var best *Proof
	most := -1
	verifier = verifier.Lenient() // a list that is missing here may be at hand elsewhere
	for _, c := range s.found {
		for _, receipt := range slices.Concat([]*Line{nil}, c.receipts, s.letterReceipts(c)) {
			p := c.proof(&s.reader, receipt)
			checked, wrong := p.check()
			if wrong != nil {
				err = wrong
				continue
			}
			proves := 0
			if checked.receipt != nil {
				proves = checked.receipt.status.rank()
			}
			if r, err := checked.judge(verifier); err == nil {
				proves += 5
				if r.Receipt != nil {
					proves += 5 * r.Receipt.Status.rank()
				}
			}
			if proves > most {
				best, most = p, proves
			}
		}
	}
	if best == nil {
		return nil, failure(err, "", "the history does not prove message %s: %v", id, err)
	}
	return proto.MustMarshal(best), nil
}

// line takes in one line of the history. It decodes the bundles and conversations, and of the rest
// what belongs to a candidate.
func (s *search) line(_ uint64, line []byte) {
	typ, rest, _ := peekType(line)
	switch string(typ) {
	case lineBundle, lineConversation:
	case lineLetterReceipt:
		if !bytes.Contains(rest, s.letterMark) {
			return
		}
	case lineSent, lineReceived, lineReceipt, lineLetterSent, lineLetterReceived:
		if !slices.ContainsFunc(s.marks, func(mark []byte) bool { return bytes.Contains(rest, mark) }) {
			return
		}
	default:
		return
	}
	l, err := parseLine(line)
	if err != nil {
		return // a damaged line proves nothing, and -verify tells of it
	}
	switch l.Type {
	case lineBundle:
		s.bundles[[sha256.Size]byte(l.Hash)] = l.Bundle
	case lineConversation:
		s.begin(l)
	case lineLetterSent, lineLetterReceived, lineLetterReceipt:
		s.letter(l)
	default:
		s.signed(l)
	}
}

// signed takes in a message or a receipt.
func (s *search) signed(l *Line) {
	h, err := crypto.ParseMessageHeader(l.Header)
	of := s.about(l)
	if err != nil || of == nil {
		return
	}
	for _, c := range s.found {
		// A received message has no receipt in the history of its receiver.
		if c.header != nil && c.conversation == of.conversation && c.line.Type == lineSent && c.status != StatusRead && len(c.later) <= maxProofAhead {
			c.goOn(l)
		}
	}
	if l.Type == lineReceived && len(s.found) > 0 {
		return // without a receipt it is no better than another
	}
	for i, exact := range l.Records {
		if bytes.HasPrefix(exact, s.marks[0]) {
			s.found = append(s.found, &candidate{side: of, line: l, header: h, index: i})
			s.marks = append(s.marks, proto.MustMarshal(h.Conversation))
		}
	}
}

// goOn takes in a line after a sent message, of the same conversation.
func (c *candidate) goOn(l *Line) {
	if l.Type == lineSent {
		c.later = append(c.later, hashes(l.Records)...)
	}
	if l.Type != lineReceipt {
		return
	}
	seq, last := c.header.Seq+uint64(c.index), c.header.Seq+c.header.Count-1
	r, err := crypto.ParseReceipt(l.Receipt)
	if err != nil || r.Delivered < seq {
		return
	}
	status := StatusDelivered
	if r.Read >= seq {
		status = StatusRead
	}
	ahead := max(r.Delivered, last) - last
	if status != c.status && ahead <= uint64(len(c.later)) {
		receipt := *l
		receipt.Records = c.later[:ahead:ahead]
		c.receipts, c.status = append(c.receipts, &receipt), status
	}
}

// hashes has the hash of each record in its place.
func hashes(records []json.RawMessage) (all []json.RawMessage) {
	for _, exact := range records {
		hash := sha256.Sum256(exact)
		all = append(all, proto.MustMarshal(hash[:]))
	}
	return all
}

// proof makes a proof of a candidate, with one of its receipts or nil.
func (c *candidate) proof(r *reader, receipt *Line) *Proof {
	text := *c.line
	text.Type = lineText
	text.Records = hashes(text.Records)
	text.Records[c.index] = c.line.Records[c.index]
	if c.header == nil {
		text.Type = lineLetter
	}
	lines := []*Line{r.bundleLine(c.from.End.Bundle), r.bundleLine(c.to.End.Bundle), &text}
	if receipt != nil {
		again := *receipt
		lines = append(append(lines, r.furtherLines(receipt, lines[:2])...), &again)
	}
	for _, l := range lines {
		l.V, l.Prev, l.Time = 0, "", 0
		if l.isLetter() || l.Type == lineLetter {
			l.Name, l.Identity, l.Run, l.Left, l.Until = "", "", "", 0, 0
		}
	}
	return &Proof{version, proofType, lines}
}
