package history

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// proofConv is the bundles of a conversation.
type proofConv struct{ me, peer *trust.Bundle }

// proofCandidate is a message with the wanted record, while the history is read.
type proofCandidate struct {
	line      *Line
	index     int // of the record in the message
	conv      *proofConv
	last      uint64   // seq of the last record of the message
	seq       uint64   // of the record
	later     [][]byte // H of the records sent after the message, while a receipt may need them
	delivered *proofReceipt
	read      *proofReceipt
}

// proofSearch looks for a record.
type proofSearch struct {
	mark    []byte                              // the beginning of the record
	slot    string                              // of the present file
	bundles map[[sha256.Size]byte]*trust.Bundle // of the present file
	convs   map[[32]byte]*proofConv             // of the present file
	found   []*proofCandidate                   // of all files
}

// ExportProof returns a proof of the message with this id (32 hexadecimal digits) out
// of the history in dir: one JSON value without a final newline, for VerifyProof. It
// has a receipt if the history has one. For a message to several connections it takes
// the connection with the furthest receipt. It needs neither card nor relay.
func ExportProof(dir, id string) ([]byte, error) {
	if !proto.IsHex(id, len(recordKey{})) {
		return nil, fail.Errorf(proto.Usage, "a message id has %d digits of 0-9 a-f, as `client history` shows it", 2*len(recordKey{}))
	}
	s := &proofSearch{mark: []byte(`{"id":"` + id + `"`)}
	walk := walk{dir: dir, each: s.line, found: func(Finding) {}, note: func(string) {}}
	if err := readError(dir, walk.run()); err != nil {
		return nil, err
	}
	var best *proofCandidate
	for _, c := range s.found {
		if best == nil || c.rank() > best.rank() {
			best = c
		}
	}
	if best == nil {
		return nil, failure(nil, "`client history` lists the ids; a message that still waits to be sent has no proof",
			"there is no message %s in the history that was sent or received", id)
	}
	p := best.proof()
	data := proto.MustMarshal(p)
	if _, err := p.check(); err != nil {
		return nil, failure(err, "", "the history does not prove message %s: %v", id, err)
	}
	return data, nil
}

// rank orders candidates by the receipt.
func (c *proofCandidate) rank() int {
	switch {
	case c.read != nil:
		return 2
	case c.delivered != nil:
		return 1
	}
	return 0
}

// line takes in one line of the history.
func (s *proofSearch) line(slot string, _ uint64, line []byte) {
	if slot != s.slot {
		s.slot, s.bundles = slot, make(map[[sha256.Size]byte]*trust.Bundle)
		s.convs = make(map[[32]byte]*proofConv)
	}
	typ, rest, ok := peekType(line)
	if !ok {
		return
	}
	switch string(typ) {
	case lineBundle, lineConversation:
	case lineSent, lineReceived, lineReceipt:
		of, _, ok := peekFlow(rest, `,"header":{"conversation":"`)
		if !ok || !bytes.Contains(rest, s.mark) && !s.follows(s.convs[of.t3]) {
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
		s.convs[[32]byte(l.Conversation)] = &proofConv{
			me:   s.bundles[[sha256.Size]byte(l.Me.Bundle)],
			peer: s.bundles[[sha256.Size]byte(l.Peer.Bundle)],
		}
	default:
		s.signed(l)
	}
}

// follows reports whether a candidate needs the next lines of a conversation.
func (s *proofSearch) follows(conv *proofConv) bool {
	for _, c := range s.found {
		if c.conv == conv && c.open() {
			return true
		}
	}
	return false
}

// signed takes in a message or a receipt.
func (s *proofSearch) signed(l *Line) {
	header, err := crypto.ParseMessageHeader(l.Header)
	if err != nil {
		return
	}
	conv := s.convs[[32]byte(header.Conversation)]
	if conv == nil || conv.me == nil || conv.peer == nil {
		return
	}
	for _, c := range s.found {
		if c.conv == conv && c.open() {
			c.takeLater(l)
		}
	}
	if l.Type == lineReceipt {
		return
	}
	for i, exact := range l.Records {
		if bytes.HasPrefix(exact, s.mark) {
			s.found = append(s.found, &proofCandidate{
				line: l, index: i, conv: conv,
				seq: header.Seq + uint64(i), last: header.Seq + uint64(len(l.Records)) - 1,
			})
		}
	}
}

// open reports whether a further receipt may still come.
func (c *proofCandidate) open() bool {
	return c.line.Type == lineSent && c.read == nil && len(c.later) <= maxProofAhead
}

// takeLater takes in a line after a sent message, of the same conversation.
func (c *proofCandidate) takeLater(l *Line) {
	if l.Type == lineSent {
		c.later = append(c.later, proofHashes(l.Records)...)
	}
	if l.Type != lineReceipt {
		return
	}
	r, err := crypto.ParseReceipt(l.Receipt)
	if err != nil || r.Delivered < c.seq || c.delivered != nil && r.Read < c.seq {
		return
	}
	upTo := uint64(0)
	if r.Delivered > c.last {
		upTo = r.Delivered - c.last
	}
	if upTo > uint64(len(c.later)) {
		return
	}
	receipt := &proofReceipt{
		Header: l.Header, Receipt: l.Receipt, Signature: l.Signature, Ciphertext: l.CipherHash,
		Records: c.later[:upTo:upTo],
	}
	if r.Read >= c.seq {
		c.read, c.later = receipt, nil
	} else {
		c.delivered = receipt
	}
}

func proofHashes(records []json.RawMessage) [][]byte {
	var hashes [][]byte
	for _, r := range records {
		h := sha256.Sum256(r)
		hashes = append(hashes, h[:])
	}
	return hashes
}

// proof makes a proof of a candidate.
func (c *proofCandidate) proof() *Proof {
	from, to := c.conv.peer, c.conv.me
	if c.line.Type == lineSent {
		from, to = to, from
	}
	p := &Proof{
		V: proofVersion, Type: proofType,
		Data:      proofData{Header: c.line.Header, Record: c.line.Records[c.index]},
		Signature: c.line.Signature,
		Bundle:    *from,
		Digests: proofDigests{
			Ciphertext: c.line.CipherHash, Before: c.line.Before,
			Earlier: proofHashes(c.line.Records[:c.index]), Later: proofHashes(c.line.Records[c.index+1:]),
		},
		Recipient: to,
		Receipt:   c.delivered,
	}
	if c.read != nil {
		p.Receipt = c.read
	}
	return p
}
