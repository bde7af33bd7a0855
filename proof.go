package chatsecure

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	"chatsecure/canon"
	"chatsecure/crypto"
	"chatsecure/proto"
)

// proofVersion and proofType begin every proof, so that nothing else is taken
// for one.
const (
	proofVersion = 1
	proofType    = "chatsecure-proof"
)

// maxProof bounds a proof in bytes: a record of 640 KiB, two bundles, and 47
// bytes for each of maxProofAhead hashes.
const maxProof = 2 << 20

// maxProofAhead bounds how many records a receipt in a proof may be ahead of
// its message. Receipts come after 8192 records at most.
const maxProofAhead = 16384

// proof is one message that proves itself, as JSON: PROTOCOL.md, "Proofs". The
// names from signature to x509_chain are those of the original's table 3. All
// of it is signed, or hashes to what is signed, or names which proof this is.
type proof struct {
	V         int       `json:"v"`
	Type      string    `json:"type"`
	Data      proofData `json:"data"`
	Signature []byte    `json:"signature"`
	crypto.Bundle
	Digests   proofDigests   `json:"digests"`
	Recipient *crypto.Bundle `json:"recipient"`
	Receipt   *proofReceipt  `json:"receipt,omitempty"`
}

// proofData is what was said: the message's header and the one record, in
// their exact bytes.
type proofData struct {
	Header json.RawMessage `json:"header"`
	Record json.RawMessage `json:"record"`
}

// proofDigests is what leads from the record to what is signed. Of the
// message's other records it has only the hashes, and their salts keep those
// closed.
type proofDigests struct {
	Ciphertext []byte   `json:"ciphertext"`        // H(ciphertext)
	Before     []byte   `json:"before"`            // the digest before the message
	Earlier    [][]byte `json:"earlier,omitempty"` // H of the message's records before this one
	Later      [][]byte `json:"later,omitempty"`   // and of those after it
}

// proofReceipt is a receipt by the recipient, with what leads from the message
// to it.
type proofReceipt struct {
	Header     json.RawMessage `json:"header"`
	Receipt    json.RawMessage `json:"receipt"`
	Signature  []byte          `json:"signature"`
	Ciphertext []byte          `json:"ciphertext"`        // H(ciphertext)
	Records    [][]byte        `json:"records,omitempty"` // H of the records after the message, up to the last one delivered
}

// proofCandidate is a message with the record that is asked for, while the
// history is read.
type proofCandidate struct {
	line      *historyLine
	index     int // of the record in the message
	conv      *verifyConv
	last      uint64   // seq of the last record of the message
	seq       uint64   // of the record
	later     [][]byte // H of the records sent after the message, as long as they may be needed
	delivered *proofReceipt
	read      *proofReceipt
}

// proofSearch looks for a record.
type proofSearch struct {
	id      string
	mark    []byte
	slot    string                               // of the present file
	bundles map[[sha256.Size]byte]*crypto.Bundle // of the present file
	convs   map[[32]byte]*verifyConv             // of the present file
	found   []*proofCandidate                    // of all files
}

// ExportProof returns a proof of the message with this id (32 hexadecimal
// digits) out of the history in dir: one JSON value without a final newline,
// which VerifyProof checks anywhere. A message that was sent to several
// connections is proved by the one whose receipt says most; a receipt is in
// the proof if the history has one. It needs neither card nor relay.
func ExportProof(dir, id string) ([]byte, error) {
	if !historyHex(id, len(recordKey{})) {
		return nil, Errorf(proto.Usage, "a message id has %d digits of 0-9 a-f, as `client history` shows it", 2*len(recordKey{}))
	}
	s := &proofSearch{id: id, mark: []byte(`{"id":"` + id + `"`)}
	walk := historyWalk{dir: dir, each: s.line, found: func(Finding) {}, note: func(string) {}}
	if err := historyReadError(dir, walk.run()); err != nil {
		return nil, err
	}
	var best *proofCandidate
	for _, c := range s.found {
		if best == nil || c.rank() > best.rank() {
			best = c
		}
	}
	if best == nil {
		return nil, historyError(nil, "`client history` lists the ids; a message that still waits to be sent has no proof", "there is no message %s in the history that was sent or received", id)
	}
	p := best.proof()
	data := canon.MustMarshal(p)
	if _, err := p.check(); err != nil {
		return nil, historyError(err, "", "the history does not prove message %s: %v", id, err)
	}
	return data, nil
}

// rank orders candidates by what they prove.
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
func (s *proofSearch) line(slot string, _ uint64, line []byte) error {
	if slot != s.slot {
		s.slot, s.bundles = slot, make(map[[sha256.Size]byte]*crypto.Bundle)
		s.convs = make(map[[32]byte]*verifyConv)
	}
	typ, rest, ok := peekType(line)
	if !ok {
		return nil
	}
	switch string(typ) {
	case lineBundle, lineConversation:
	case lineSent, lineReceived, lineReceipt:
		of, _, ok := peekFlow(rest, `,"header":{"conversation":"`)
		if !ok || !bytes.Contains(rest, s.mark) && !s.follows(s.convs[of.t3]) {
			return nil
		}
	default:
		return nil
	}
	l, err := parseHistoryLine(line)
	if err != nil {
		return nil // what is damaged proves nothing; -verify tells of it
	}
	switch l.Type {
	case lineBundle:
		s.bundles[[sha256.Size]byte(l.Hash)] = l.Bundle
	case lineConversation:
		s.convs[[32]byte(l.Conversation)] = &verifyConv{
			t3:   [32]byte(l.Conversation),
			me:   verifyEnd{historyEnd: *l.Me, bundle: s.bundles[[sha256.Size]byte(l.Me.Bundle)]},
			peer: verifyEnd{historyEnd: *l.Peer, bundle: s.bundles[[sha256.Size]byte(l.Peer.Bundle)]},
		}
	default:
		s.signed(l)
	}
	return nil
}

// follows reports whether what comes in a conversation belongs to a candidate.
func (s *proofSearch) follows(conv *verifyConv) bool {
	for _, c := range s.found {
		if c.conv == conv && c.open() {
			return true
		}
	}
	return false
}

// signed takes in a message or a receipt.
func (s *proofSearch) signed(l *historyLine) {
	header, err := crypto.ParseMessageHeader(l.Header)
	if err != nil {
		return
	}
	conv := s.convs[[32]byte(header.Conversation)]
	if conv == nil || conv.me.bundle == nil || conv.peer.bundle == nil {
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

// open reports whether a receipt that says more may still come.
func (c *proofCandidate) open() bool {
	return c.line.Type == lineSent && c.read == nil && len(c.later) <= maxProofAhead
}

// takeLater takes in what comes after a sent message in its conversation.
func (c *proofCandidate) takeLater(l *historyLine) {
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

// proof puts a candidate into its form.
func (c *proofCandidate) proof() *proof {
	from, to := c.conv.peer.bundle, c.conv.me.bundle
	if c.line.Type == lineSent {
		from, to = to, from
	}
	p := &proof{
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

// proofChecked is what a proof says once its own signatures and hashes have
// been checked; who is behind the keys has not.
type proofChecked struct {
	header        *crypto.MessageHeader
	record        json.RawMessage
	receipt       *crypto.Receipt // nil if there is none
	receiptHeader *crypto.MessageHeader
	status        Status // what the receipt proves
}

var errProofForm = errors.New("it is not a proof in its one form")

// check checks all of a proof that needs no certificates.
func (p *proof) check() (*proofChecked, error) {
	if p.V != proofVersion || p.Type != proofType || p.Recipient == nil {
		return nil, errProofForm
	}
	for _, b := range [...]*crypto.Bundle{&p.Bundle, p.Recipient} {
		if err := b.Check(); err != nil {
			return nil, err
		}
	}
	h, err := proofSigned(p.Data.Header, p.Digests.Ciphertext, p.Signature, &p.Bundle, p.Recipient)
	if err != nil {
		return nil, err
	}
	if h.Kind != crypto.KindText {
		return nil, errors.New("what was signed is not a text message")
	}
	before, err := proofHash(p.Digests.Before)
	if err != nil {
		return nil, err
	}
	own := sha256.Sum256(p.Data.Record)
	hashes := append(append([][]byte{}, p.Digests.Earlier...), own[:])
	hashes = append(hashes, p.Digests.Later...)
	if h.Count != uint64(len(hashes)) {
		return nil, fmt.Errorf("its message has %d records, and the proof %d", h.Count, len(hashes))
	}
	chain, err := proofChain(before, hashes)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(h.Digest, chain[len(chain)-1][:]) {
		return nil, errors.New("the text is not what was signed, or stands in another place")
	}
	checked := &proofChecked{header: h, record: p.Data.Record}
	if p.Receipt != nil {
		err = p.checkReceipt(checked, chain)
	}
	return checked, err
}

// proofSigned checks a signature by one bundle's K over a header that names
// both bundles.
func proofSigned(exact, ciphertext, signature []byte, from, to *crypto.Bundle) (*crypto.MessageHeader, error) {
	h, err := crypto.ParseMessageHeader(exact)
	if err != nil {
		return nil, err
	}
	fromHash, toHash := from.Hash(), to.Hash()
	if !bytes.Equal(h.SrcBundle, fromHash[:]) || !bytes.Equal(h.DstBundle, toHash[:]) {
		return nil, errors.New("the certificates and delegations in it are not those that the message names")
	}
	cipherHash, err := proofHash(ciphertext)
	if err != nil {
		return nil, err
	}
	key, err := crypto.ParsePublicKey(from.PublicKey)
	if err != nil {
		return nil, err
	}
	if !key.Verify(crypto.MessageSigns(exact, cipherHash), signature) {
		return nil, errors.New("the signature does not hold")
	}
	return h, nil
}

func proofHash(b []byte) (h [sha256.Size]byte, err error) {
	if len(b) != sha256.Size {
		return h, errProofForm
	}
	return [sha256.Size]byte(b), nil
}

// proofChain returns the digests from d on, over these hashes.
func proofChain(d [32]byte, hashes [][]byte) ([][32]byte, error) {
	chain := [][32]byte{d}
	for _, b := range hashes {
		h, err := proofHash(b)
		if err != nil {
			return nil, err
		}
		d = crypto.NextDigest(d, h)
		chain = append(chain, d)
	}
	return chain, nil
}

// checkReceipt checks the receipt in a proof. chain is that of the message,
// from the digest before its first record on.
func (p *proof) checkReceipt(checked *proofChecked, chain [][32]byte) error {
	h := checked.header
	rh, err := proofSigned(p.Receipt.Header, p.Receipt.Ciphertext, p.Receipt.Signature, p.Recipient, &p.Bundle)
	if err != nil {
		return fmt.Errorf("the receipt: %w", err)
	}
	r, err := crypto.ParseReceipt(p.Receipt.Receipt)
	if err != nil {
		return err
	}
	if rh.Kind != crypto.KindReceipt || !bytes.Equal(rh.Conversation, h.Conversation) || rh.Direction == h.Direction {
		return errors.New("the receipt is of another conversation, or none")
	}
	if d := r.Digest([32]byte(rh.Conversation), rh.Direction); !bytes.Equal(rh.Digest, d[:]) {
		return errors.New("the receipt is not what was signed")
	}
	more, err := proofChain(chain[len(chain)-1], p.Receipt.Records)
	if err != nil {
		return err
	}
	chain = append(chain, more[1:]...)
	base := h.Seq - 1 // chain[0] is the digest after this record
	seq := h.Seq + uint64(len(p.Digests.Earlier))
	batchEnd := base + h.Count
	if end := base + uint64(len(chain)) - 1; r.Delivered < seq || end != max(r.Delivered, batchEnd) {
		return errors.New("the receipt is not for this message")
	}
	if !bytes.Equal(chain[r.Delivered-base][:], r.DeliveredDigest) || r.Read >= base && !bytes.Equal(chain[r.Read-base][:], r.ReadDigest) {
		return errors.New("the receipt is for other records")
	}
	checked.receipt, checked.receiptHeader, checked.status = r, rh, StatusDelivered
	if r.Read >= seq {
		checked.status = StatusRead
	}
	return nil
}
