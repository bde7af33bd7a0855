package history

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// verification is one run of Verify. The goroutine that reads calls its methods; only
// found and checkSignatures run beside it.
type verification struct {
	report  Report
	files   []string // in the order of reading
	trust   *trust.Verifier
	parties map[partyKey]*Party
	order   []*Party                            // the same, in the order of reading
	bundles map[[sha256.Size]byte]*trust.Bundle // of the present file
	convs   map[[32]byte]*verifyConv            // of the present file
	flows   map[flow]*verifyConv                // of all files, by the received flow
	shown   []shownClaim

	unlisted  bool   // somebody was refused for lack of a revocation list
	untrusted int    // findings of an authority that is unknown, and nothing else
	trustHint string // what to do about them

	mu       sync.Mutex // guards the fields below
	findings []Finding
	more     int

	jobs    chan signatureJob
	workers sync.WaitGroup
}

// verifyConv is the state in which a conversation must go on.
type verifyConv struct {
	t3                 [32]byte
	direction, reverse string // ours, the peer's
	me, peer           verifyEnd
	sent               verifyDirection
	received           verifyDirection
	taken              uint64
	delivered, read    uint64     // of the last receipt
	digests            [][32]byte // of sent records, from that of seq base on
	base               uint64
}

// verifyEnd is one party of a conversation.
type verifyEnd struct {
	End
	hash  [32]byte
	key   *trust.PublicKey
	party *Party
}

// partyKey finds the party of a bundle that conversations call one identity.
type partyKey struct{ bundle, identity [32]byte }

// verifyDirection is the state of one direction of a conversation.
type verifyDirection struct {
	n      uint64 // of the next message, or the lowest that it can have
	seq    uint64 // of the last record
	digest [32]byte
}

// lineAt is the place of a line: a file's base name, and the number from 1.
type lineAt struct {
	file   string
	number uint64
}

// shownClaim is a shown line. The received line that it is about may be in another
// file.
type shownClaim struct {
	at  lineAt
	of  flow
	seq uint64
}

type signatureJob struct {
	at        lineAt
	key       *trust.PublicKey
	message   []byte
	signature []byte
	who       string
}

// Verify checks the history in dir from end to end and changes nothing: the chain of
// lines, every signature, delegation and certificate at the time of the message, the
// order of messages and records, and receipts against the sent records. The times are
// the signers' own; nobody attests them. A missing history holds. An error means that
// the history could not be read.
func Verify(dir string, verifier *trust.Verifier) (*Report, error) {
	r, unlisted, err := verify(dir, verifier)
	if err != nil || !unlisted {
		return r, err
	}
	other, _, err := verify(dir, verifier.Lenient())
	if err != nil {
		return nil, err
	}
	r.Unlisted = other.OK()
	return r, nil
}

// verify also reports whether a certificate was refused for lack of a revocation list.
func verify(dir string, verifier *trust.Verifier) (r *Report, unlisted bool, err error) {
	v := &verification{
		trust:   verifier,
		parties: make(map[partyKey]*Party),
		flows:   make(map[flow]*verifyConv),
		jobs:    make(chan signatureJob, 256), // enough that no worker waits for the reader's disk
	}
	for range runtime.GOMAXPROCS(0) {
		v.workers.Go(v.checkSignatures)
	}
	walk := walk{dir: dir, each: v.line, found: v.found, note: v.note}
	err = walk.run()
	close(v.jobs)
	v.workers.Wait()
	if err = readError(dir, err); err != nil {
		return nil, false, err
	}
	v.checkShown()
	return v.finish(walk.torn), v.unlisted, nil
}

// finish makes the report. torn of the findings are those of a killed writer.
func (v *verification) finish(torn int) *Report {
	order := func(f Finding) int { return slices.Index(v.files, f.File) }
	slices.SortStableFunc(v.findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(order(a), order(b)), cmp.Compare(a.Line, b.Line))
	})
	r := &v.report
	r.Files = len(v.files)
	r.Findings, r.More = v.findings, v.more
	r.Hint = v.hint(torn)
	noted := make(map[string]bool) // the same card has many delegations
	for _, p := range v.order {
		key := p.Bundle.Name + "\n" + string(p.Bundle.X509)
		if p.person == nil || noted[key] {
			continue
		}
		noted[key] = true
		if note := p.note(); note != "" {
			r.Notes = append(r.Notes, note)
		}
	}
	return r
}

// hint says what to do about the findings. Neither the traces of a killed client nor
// an unknown authority mean that somebody was at the files.
func (v *verification) hint(torn int) string {
	switch all := len(v.findings) + v.more; {
	case all == 0:
		return ""
	case all == torn:
		return "the rest holds, and the next client that writes this file sets it right; nothing that was acknowledged is lost"
	case all == torn+v.untrusted:
		return v.trustHint
	}
	return "something other than this program has changed the files, or lost some of them; a backup may have them whole"
}

// checkSignatures runs in every worker. Signatures are most of the work, and nothing
// else depends on them.
func (v *verification) checkSignatures() {
	for j := range v.jobs {
		if !j.key.Verify(j.message, j.signature) {
			v.wrong(j.at, "the signature of "+j.who+" does not hold")
		}
	}
}

func (v *verification) found(f Finding) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.findings) >= maxFindings {
		v.more++
		return
	}
	v.findings = append(v.findings, f)
}

func (v *verification) wrong(at lineAt, what string) { v.found(Finding{at.file, at.number, what}) }

func (v *verification) note(what string) { v.report.Notes = append(v.report.Notes, what) }

// line checks one line, and makes a finding of an error.
func (v *verification) line(slot string, number uint64, line []byte) {
	at := lineAt{slot + Ext, number}
	if len(v.files) == 0 || v.files[len(v.files)-1] != at.file {
		v.files = append(v.files, at.file)
		v.bundles = make(map[[sha256.Size]byte]*trust.Bundle)
		v.convs = make(map[[32]byte]*verifyConv)
	}
	v.report.Lines++
	l, err := parseLine(line)
	if err == nil {
		err = v.typed(at, l)
	}
	if err != nil {
		v.wrong(at, err.Error())
	}
}

func (v *verification) typed(at lineAt, l *Line) error {
	switch l.Type {
	case lineFile:
		if at.number != 1 {
			return errors.New("a file begins in the middle of another")
		}
	case lineBundle:
		return v.bundle(l)
	case lineConversation:
		return v.conversation(l)
	case lineSent, lineReceived:
		return v.batch(at, l)
	case lineReceipt:
		return v.receipt(at, l)
	case lineEnd:
		return v.end(at, l)
	case lineTaken:
		return v.taken(l)
	case lineShown, lineSeen:
		v.shown = append(v.shown, shownClaim{at, flow{[32]byte(l.Conversation), l.Direction}, l.Seq})
	case lineGap:
		if v.convs[[32]byte(l.Conversation)] == nil {
			return errNoConversation
		}
	case linePending:
		// Nothing of it is signed; only the chain of lines covers it.
	}
	return nil
}

var errNoConversation = errors.New("it is about a conversation that is not in the file before it")

func (v *verification) bundle(l *Line) error {
	if hash := l.Bundle.Hash(); !bytes.Equal(hash[:], l.Hash) {
		return errors.New("the bundle is not the one that its hash names")
	}
	if err := l.Bundle.Check(); err != nil {
		return err
	}
	v.report.Bundles++
	v.bundles[[sha256.Size]byte(l.Hash)] = l.Bundle
	return nil
}

func (v *verification) conversation(l *Line) error {
	t3 := [32]byte(l.Conversation)
	c := &verifyConv{t3: t3, direction: l.Direction, reverse: reverse(l.Direction)}
	if v.convs[t3] != nil || v.flows[flow{t3, c.reverse}] != nil {
		return errors.New("the conversation is in the history twice")
	}
	var err error
	if c.me, err = v.party(l.Me); err != nil {
		return err
	}
	if c.peer, err = v.party(l.Peer); err != nil {
		return err
	}
	c.sent.digest = crypto.FirstDigest(t3, c.direction)
	c.received.digest = crypto.FirstDigest(t3, c.reverse)
	c.digests = [][32]byte{c.sent.digest}
	v.convs[t3], v.flows[flow{t3, c.reverse}] = c, c
	v.report.Conversations++
	return nil
}

// party finds the bundle and key of one end of a conversation.
func (v *verification) party(e *End) (verifyEnd, error) {
	hash := [32]byte(e.Bundle)
	b := v.bundles[hash]
	if b == nil {
		return verifyEnd{}, errors.New("the bundle of " + proto.Visible(e.Name) + " is not in the file before it")
	}
	if b.Name != e.Name {
		return verifyEnd{}, errors.New("the bundle of " + proto.Visible(e.Name) + " is of another name")
	}
	key, err := trust.ParsePublicKey(b.PublicKey)
	of := partyKey{hash, e.identity()}
	if v.parties[of] == nil {
		v.parties[of] = &Party{Verifier: v.trust, Bundle: b, Identity: of.identity}
		v.order = append(v.order, v.parties[of])
	}
	return verifyEnd{*e, hash, key, v.parties[of]}, err
}

// way returns the two ends of a signed line, and the state of its direction.
func (c *verifyConv) way(l *Line) (direction string, from, to *verifyEnd, at *verifyDirection) {
	if l.Type == lineSent {
		return c.direction, &c.me, &c.peer, &c.sent
	}
	return c.reverse, &c.peer, &c.me, &c.received
}

// signed checks the common part of signed lines: the header against the conversation,
// the signer at that time, and the number. It hands the signature to the workers.
func (v *verification) signed(place lineAt, l *Line, kind string) (*crypto.MessageHeader, *verifyConv, error) {
	h, err := crypto.ParseMessageHeader(l.Header)
	if err != nil {
		return nil, nil, err
	}
	c := v.convs[[32]byte(h.Conversation)]
	if c == nil {
		return nil, nil, errors.New("it is of a conversation that is not in the file before it")
	}
	direction, from, to, at := c.way(l)
	if h.Kind != kind || h.Direction != direction || !bytes.Equal(h.SrcBundle, from.hash[:]) || !bytes.Equal(h.DstBundle, to.hash[:]) {
		return nil, nil, errors.New("its header is of another kind, direction or person than its place")
	}
	v.jobs <- signatureJob{
		at: place, key: from.key, who: proto.Visible(from.Name),
		message: crypto.MessageSigns(l.Header, [32]byte(l.CipherHash)), signature: l.Signature,
	}
	v.judge(place, from.party, to.party, h.Time)
	// The receipts that this client gave are not in its history. Everything that the
	// peer sent is, except the chunks of a pipe, and a conversation with a pipe has no
	// records.
	missing := h.N > at.n && l.Type != lineSent && (kind == crypto.KindText || c.sent.seq > 0 || c.received.seq > 0)
	if h.N < at.n || missing {
		v.wrong(place, fmt.Sprintf("it is message %d of its direction where %d is next: messages are missing or in another order", h.N, at.n))
	}
	at.n = h.N + 1
	return h, c, nil
}

// judge judges both parties of a message. A wrong one is a finding of its own: it says nothing
// about the lines that follow.
func (v *verification) judge(place lineAt, from, to *Party, at int64) {
	_, err := Judge(from, to, at)
	if err == nil {
		return
	}
	v.wrong(place, err.Error())
	v.unlisted = v.unlisted || fail.HasCode(err, proto.RevocationUnknown)
	if hint := untrustedHint(err); hint != "" {
		v.trustHint = hint
		v.untrusted++
	}
}

// batch checks a text message and its records.
func (v *verification) batch(place lineAt, l *Line) error {
	h, c, err := v.signed(place, l, crypto.KindText)
	if err != nil {
		return err
	}
	_, from, to, at := c.way(l)
	v.report.Messages++
	v.report.Records += len(l.Records)
	before, first := at.digest, at.seq
	// A missing message must not make findings of all that follow it.
	at.seq, at.digest = h.Seq+h.Count-1, [32]byte(h.Digest)
	if l.Type == lineSent {
		defer func() { c.sentUpTo(at) }()
	}
	if h.Count != uint64(len(l.Records)) {
		return fmt.Errorf("it has %d records where its header says %d", len(l.Records), h.Count)
	}
	if h.Seq != first+1 {
		return fmt.Errorf("its first record has the number %d where %d is next: records are missing or in another order", h.Seq, first+1)
	}
	if !bytes.Equal(l.Before, before[:]) {
		return errors.New("its records do not go on where the ones before it end")
	}
	d := before
	records := crypto.RecordParser{Sender: from.identity()}
	for i, exact := range l.Records {
		d = crypto.NextDigest(d, sha256.Sum256(exact))
		if l.Type == lineSent {
			c.digests = append(c.digests, d)
		}
		if err := checkRecord(&records, exact, h.Seq+uint64(i), h, to); err != nil {
			return err
		}
	}
	if !bytes.Equal(h.Digest, d[:]) {
		return errors.New("its records are not those that were signed")
	}
	return nil
}

// sentUpTo makes the digests end with the last sent record, even if its message does
// not hold.
func (c *verifyConv) sentUpTo(at *verifyDirection) {
	if n := at.seq - c.base + 1; uint64(len(c.digests)) != n || c.digests[n-1] != at.digest {
		c.base, c.digests = at.seq, [][32]byte{at.digest}
	}
}

// checkRecord checks the record of a message that has the number seq.
func checkRecord(
	p *crypto.RecordParser, exact []byte, seq uint64, h *crypto.MessageHeader, to *verifyEnd,
) error {
	r, err := p.Parse(exact)
	if err != nil {
		return err
	}
	if r.Seq != seq || r.Time > h.Time+trust.ClockTolerance.Milliseconds() {
		return fmt.Errorf("record %s has another number or a later time than its message", r.ID)
	}
	if !r.Names(proto.FoldName(to.Name), to.Identity) {
		return fmt.Errorf("record %s does not name %s among those it is for", r.ID, proto.Visible(to.Name))
	}
	return nil
}

// receipt checks a receipt against the sent records.
func (v *verification) receipt(place lineAt, l *Line) error {
	h, c, err := v.signed(place, l, crypto.KindReceipt)
	if err != nil {
		return err
	}
	v.report.Receipts++
	r, err := crypto.ParseReceipt(l.Receipt)
	if err != nil {
		return err
	}
	if d := r.Digest(c.t3, h.Direction); !bytes.Equal(h.Digest, d[:]) {
		return errors.New("the receipt differs from the signed receipt")
	}
	if r.Delivered < c.delivered || r.Read < c.read {
		return errors.New("the receipt takes back an earlier one")
	}
	c.delivered, c.read = r.Delivered, r.Read
	for _, claim := range [...]struct {
		seq    uint64
		digest []byte
	}{{r.Delivered, r.DeliveredDigest}, {r.Read, r.ReadDigest}} {
		if claim.seq > c.sent.seq {
			return errors.New("the receipt is for records that were not sent")
		}
		if claim.seq >= c.base && !bytes.Equal(c.digests[claim.seq-c.base][:], claim.digest) {
			return errors.New("the receipt is for other records than were sent")
		}
	}
	if r.Read > c.base {
		c.digests = c.digests[r.Read-c.base:] // append lets go of what is before
		c.base = r.Read
	}
	return nil
}

// end checks the sealed end of the peer's part.
func (v *verification) end(place lineAt, l *Line) error {
	h, c, err := v.signed(place, l, crypto.KindEnd)
	if err != nil {
		return err
	}
	v.report.Ends++
	if h.Seq != c.received.seq || !bytes.Equal(h.Digest, c.received.digest[:]) {
		return errors.New("the conversation does not end with the last record in the history")
	}
	return nil
}

func (v *verification) taken(l *Line) error {
	c := v.convs[[32]byte(l.Conversation)]
	if c == nil {
		return errNoConversation
	}
	if l.Seq > c.sent.seq || l.Seq < c.taken {
		return errors.New("it acks lines that were never sent, or takes an ack back")
	}
	c.taken = l.Seq
	return nil
}

// checkShown checks the shown lines against the received records.
func (v *verification) checkShown() {
	for _, s := range v.shown {
		if c := v.flows[s.of]; c == nil || s.seq > c.received.seq {
			v.wrong(s.at, "it says that records have been shown which are not in the history")
		}
	}
}
