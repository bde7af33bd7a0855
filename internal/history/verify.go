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
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/proto"
)

// verification is one run of Verify, or the check of a proof. The goroutine that reads calls its
// methods; only found runs beside it.
//
// Its memory grows with conversations, letters, delegations and heads, not with messages: of those it keeps
// what was sent and not yet read, which the protocol bounds for each conversation.
type verification struct {
	reader
	report    Report
	trust     *trust.Verifier
	parties   map[partyKey]*Party
	judged    []*Party // the same, in the order of reading
	heads     []Head
	untrusted string // what to do about an unknown authority

	letters      map[flow]uint16 // how many records of each can have been shown
	letterDoubts []*letterDoubt
	inDoubt      map[[sha256.Size]byte][]*letterDoubt // by FullRecordID

	mu       sync.Mutex // guards the fields below
	findings []Finding
	more     int
	counts   [classes]int
	damaged  uint64 // the first line that was changed

	jobs    chan func() // nil: they are done at once
	workers sync.WaitGroup
}

// partyKey finds the party of a bundle that conversations call one identity.
type partyKey struct{ bundle, identity [32]byte }

// Verify checks the history in dir from end to end and changes nothing: the chain of lines, whose
// they are, every signature, delegation and certificate at the time of the message, the order of
// messages and records, and receipts against the sent records. The times are the signers' own. A
// missing history holds. An error means that the history could not be read.
func Verify(dir string, verifier *trust.Verifier) (*Report, error) {
	lines, err := openSnapshot(dir)
	if err != nil {
		return nil, err
	}
	defer lines.Close()
	v := newVerification(verifier)
	if err := v.read(lines); err != nil {
		return nil, openFailure(dir, err)
	}
	return v.finish(), nil
}

func newVerification(verifier *trust.Verifier) *verification {
	return &verification{
		reader: newReader(), trust: verifier, parties: make(map[partyKey]*Party),
		letters: make(map[flow]uint16), inDoubt: make(map[[sha256.Size]byte][]*letterDoubt),
	}
}

// read checks all lines. Signatures are most of the work, and nothing else depends on them.
func (v *verification) read(lines snapshot) error {
	v.jobs = make(chan func(), 256) // enough that no worker waits for the reader's disk
	for range runtime.GOMAXPROCS(0) {
		v.workers.Go(func() {
			for job := range v.jobs {
				job()
			}
		})
	}
	count, torn, err := lines.each(0, v.found, v.line)
	close(v.jobs)
	v.workers.Wait()
	v.report.Lines = int(count)
	if torn > 0 && lines.still {
		v.found(Finding{class: classTorn, What: fmt.Sprintf("it ends in the middle of a line (%d bytes), "+
			"as a killed client leaves it; a client that opens it cuts them off", torn)})
	}
	return err
}

func (v *verification) found(f Finding) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.counts[f.class]++
	if f.class == classDamage && f.Line > 0 && (v.damaged == 0 || f.Line < v.damaged) {
		v.damaged = f.Line
	}
	if len(v.findings) >= maxFindings {
		v.more++
		return
	}
	v.findings = append(v.findings, f)
}

func (v *verification) wrong(line uint64, what string) { v.found(Finding{Line: line, What: what}) }

// line checks one line, and makes a finding of an error.
func (v *verification) line(number uint64, line []byte) {
	l, err := parseLine(line)
	if err == nil {
		if (number == 1) != (l.Type == lineOwner) {
			v.wrong(number, "the line that says whose history it is stands at its beginning and nowhere else")
		}
		err = v.typed(number, l)
	}
	if err != nil {
		v.wrong(number, err.Error())
	}
}

func (v *verification) typed(number uint64, l *Line) error {
	if is, err := v.ofLetter(l); is {
		return err
	}
	c := v.about(l)
	if c == nil && !l.isLetter() && len(l.Header)+len(l.Conversation) > 0 && l.Type != lineConversation {
		return errors.New("it is about a conversation that has no line before it")
	}
	switch l.Type {
	case lineOwner:
		if number == 1 {
			v.report.Owner = Owner{l.Name, proto.MustHash(l.Identity)}
		}
	case lineBundle:
		return v.bundle(l)
	case lineHead:
		return v.head(number, l)
	case lineConversation:
		return v.conversation(number, l)
	case lineSent, lineReceived, lineText:
		return v.batch(number, l, c)
	case lineReceipt:
		return v.receipt(number, l, c)
	case lineEnd:
		return v.end(number, l, c)
	case lineLetterSent, lineLetterReceived, lineLetterReceipt:
		return v.letter(number, l)
	case linePending:
		return v.pending(l)
	case lineTaken:
		if l.Seq > c.sent.seq || l.Seq < c.taken {
			return errors.New("it acks lines that were never sent, or takes an ack back")
		}
		return c.take(l)
	case lineShown, lineSeen:
		if l.Seq > c.received.seq {
			return errShown
		}
	}
	return nil // nothing of the others is signed: only heads cover them
}

var errShown = errors.New("it says that records have been shown which are not in the history before it")

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

// head checks the owner's signature over all lines before.
func (v *verification) head(number uint64, l *Line) error {
	owner := v.report.Owner
	hash := [sha256.Size]byte(l.Hash)
	who, err := v.party(hash, owner.Name, owner.Identity)
	if err != nil {
		return err
	}
	if !proto.SameName(who.Bundle.Name, owner.Name) {
		return errors.New("it is a head of somebody else than whose history it is")
	}
	if !who.key.Verify(headSigns(proto.MustHash(l.Prev), l.Time, hash), l.Signature) {
		return errors.New("the signature of " + proto.Visible(owner.Name) + " does not hold: " +
			"lines before it were changed or are missing")
	}
	v.report.Heads++
	v.report.signed = number
	if !v.judge(number, who, who, l.Time) {
		return nil
	}
	v.heads = append(v.heads, Head{Line: number, Time: time.UnixMilli(l.Time).UTC()})
	if v.report.Certificate == "" {
		v.report.Certificate = trust.SubjectName(who.person.Leaf)
	}
	if who.doubt() != nil {
		if !who.doubted { // one finding is enough: nobody else ever attests a head
			v.doubtful(number, who)
		}
		who.doubted = true
		return nil
	}
	for _, p := range v.judged {
		if p.doubt() != nil && who.attests(p, l.Time) {
			p.waiting, p.beyond = nil, 0
		}
	}
	return nil
}

func (v *verification) conversation(number uint64, l *Line) error {
	if v.convs[flow{[32]byte(l.Conversation), l.Direction}] != nil {
		return errors.New("the conversation is in the history twice")
	}
	c := v.begin(l)
	for _, p := range [...]*party{&c.me, &c.peer} {
		var err error
		if p.Party, err = v.party([32]byte(p.End.Bundle), p.Name, p.identity()); err != nil {
			delete(v.convs, c.flow)
			return err
		}
		if p.Party.Bundle.Name != p.Name {
			v.wrong(number, "the bundle of "+proto.Visible(p.Name)+" is of another name")
		}
	}
	owner := v.report.Owner
	if !proto.SameName(c.me.Name, owner.Name) || c.me.identity() != owner.Identity {
		v.wrong(number, "it is a conversation of somebody else than whose history it is")
	}
	c.sent.restart(0, crypto.FirstDigest(c.t3, c.direction))
	c.received.restart(0, crypto.FirstDigest(c.t3, reverse(c.direction)))
	v.report.Conversations++
	return nil
}

// pending checks a record that waits. Nothing of it is signed.
func (v *verification) pending(l *Line) error {
	r, err := crypto.ParseRecord(l.Record, v.report.Owner.Identity)
	if err != nil {
		return err
	}
	if r.Seq != 0 {
		return errors.New("a record that waits has the number of one that was sent")
	}
	for _, name := range l.Names {
		folded := proto.FoldName(name)
		if !slices.ContainsFunc(r.To, func(to crypto.Recipient) bool { return to.Name == folded }) {
			return fmt.Errorf("record %s waits for %s, whom it is not for", r.ID, proto.Visible(name))
		}
	}
	return nil
}

// party finds the party of a bundle.
func (v *verification) party(hash [32]byte, name string, identity [32]byte) (*Party, error) {
	of := partyKey{hash, identity}
	if p := v.parties[of]; p != nil {
		return p, nil
	}
	b := v.bundles[hash]
	if b == nil {
		return nil, errors.New("the bundle of " + proto.Visible(name) + " is not in the history before it")
	}
	key, err := trust.ParsePublicKey(b.PublicKey)
	if err != nil {
		return nil, err
	}
	p := &Party{Verifier: v.trust, Bundle: b, Identity: identity, key: key}
	v.parties[of] = p
	v.judged = append(v.judged, p)
	return p, nil
}

// signed checks the common part of signed lines: the header against the conversation, the signer
// at that time, and the number. It has the signature checked.
func (v *verification) signed(number uint64, l *Line, c *side, kind string) (*crypto.MessageHeader, error) {
	h, err := crypto.ParseMessageHeader(l.Header)
	if err != nil {
		return nil, err
	}
	from, to, at := c.from, c.to, c.part
	if h.Kind != kind || !bytes.Equal(h.SrcBundle, from.End.Bundle) || !bytes.Equal(h.DstBundle, to.End.Bundle) {
		return nil, errors.New("its header is of another kind or person than its place")
	}
	v.verify(number, from, crypto.MessageSigns(l.Header, [32]byte(l.CipherHash)), l.Signature)
	if v.judge(number, from.Party, to.Party, h.Time) && from.Party.doubt() != nil {
		if at == &c.sent {
			at.doubts = append(at.doubts, doubt{number, h.Seq + h.Count - 1})
		} else {
			from.Party.doubtUntilHead(number)
		}
	}
	// The receipts that this client gave are not in its history. Everything that the peer sent is,
	// except the chunks of a pipe, and a conversation with a pipe has no records.
	what := fmt.Sprintf("it is message %d of its direction where %d is next: "+
		"messages are missing or in another order", h.N, at.n)
	switch records := kind == crypto.KindText || c.sent.seq > 0 || c.received.seq > 0; {
	case at.over:
		v.wrong(number, "it is behind the signed end of what its sender sent")
	case h.N < at.n, h.N > at.n && at == &c.received && records:
		v.wrong(number, what)
	case h.N > at.n && at == &c.received && c.gap.Line == 0:
		c.gap = Finding{Line: number, What: what}
	}
	at.n = h.N + 1
	return h, nil
}

// verify has a signature checked.
func (v *verification) verify(number uint64, from *party, signs, signature []byte) {
	job := func() {
		if !from.key.Verify(signs, signature) {
			v.wrong(number, "the signature of "+proto.Visible(from.Name)+" does not hold")
		}
	}
	if v.jobs == nil {
		job()
	} else {
		v.jobs <- job
	}
}

// judge judges both parties of a signed line. A wrong one is a finding of its own: it says nothing
// about the lines that follow.
func (v *verification) judge(number uint64, from, to *Party, at int64) bool {
	return v.judgeBy(Judge, number, from, to, at)
}

func (v *verification) judgeBy(
	judge judgement, number uint64, from, to *Party, at int64,
) bool {
	if v.trust == nil {
		return true
	}
	_, err := judge(from, to, at)
	if err == nil {
		return true
	}
	f := Finding{Line: number, What: err.Error()}
	if fail.HasCode(err, proto.RevocationUnknown) {
		f.class = classUnlisted
		if _, other := judge(from.lenient(), to.lenient(), at); other != nil {
			f.What, f.class = other.Error(), classDamage
		}
	}
	if e := fail.AsError(err); e.Code == proto.CertificateUntrusted {
		f.class, v.untrusted = classUntrusted, e.Hint
	}
	v.found(f)
	return false
}

// doubtful makes a finding of a line whose signer's certificate was revoked later.
func (v *verification) doubtful(number uint64, who *Party) {
	v.found(Finding{Line: number, What: who.doubt().String() + unattested, class: classDoubtful})
}

// batch checks a text message and its records.
func (v *verification) batch(number uint64, l *Line, c *side) error {
	h, err := v.signed(number, l, c, crypto.KindText)
	if err != nil {
		return err
	}
	at := c.part
	v.report.Messages++
	if c.gap.Line > 0 { // there are records, so there was no pipe
		v.found(c.gap)
		c.gap = Finding{}
	}
	v.report.Records += len(l.Records)
	last := h.Seq + h.Count - 1
	if at == &c.received {
		defer func() { at.forget(at.seq) }()
	}
	// A missing message must not make findings of all that follow it.
	defer func() {
		if at.seq != last || !bytes.Equal(h.Digest, at.digest()[:]) {
			at.restart(last, [32]byte(h.Digest))
		}
	}()
	if h.Count != uint64(len(l.Records)) {
		return fmt.Errorf("it has %d records where its header says %d", len(l.Records), h.Count)
	}
	if h.Seq != at.seq+1 {
		return fmt.Errorf("its first record has the number %d where %d is next: records are missing or in another order", h.Seq, at.seq+1)
	}
	if !bytes.Equal(l.Before, at.digest()[:]) {
		return errors.New("its records do not go on where the ones before it end")
	}
	records := crypto.RecordParser{Sender: c.from.identity()}
	for _, exact := range l.Records {
		if hash, sibling := siblingHash(exact); sibling && l.Type == lineText {
			at.next(hash)
			continue
		}
		at.next(sha256.Sum256(exact))
		if v.trust != nil { // else nobody knows the sender's identity, which an id rests on
			if _, err := checkRecord(&records, exact, at.seq, h.Time, c.to); err != nil {
				return err
			}
		}
	}
	if !bytes.Equal(h.Digest, at.digest()[:]) {
		return errors.New("its records are not those that were signed")
	}
	return nil
}

// siblingHash returns the hash that stands for another record of the message in a proof.
func siblingHash(exact []byte) (hash [sha256.Size]byte, ok bool) {
	b, ok := proto.DecodeBase64(nil, bytes.Trim(exact, `"`))
	if !ok || len(b) != len(hash) || exact[0] != '"' {
		return hash, false
	}
	return [sha256.Size]byte(b), true
}

// checkRecord checks the record of a message of that time, in which it has the number seq.
func checkRecord(
	p *crypto.RecordParser, exact []byte, seq uint64, at int64, to *party,
) (*crypto.Record, error) {
	r, err := p.Parse(exact)
	switch {
	case err != nil:
		return nil, err
	case r.Seq != seq || r.Time > at+trust.ClockTolerance.Milliseconds():
		return nil, fmt.Errorf("record %s has another number or a later time than its message", r.ID)
	case !r.Names(proto.FoldName(to.Name), to.End.Identity):
		return nil, fmt.Errorf("record %s does not name %s among those it is for", r.ID, proto.Visible(to.Name))
	}
	return r, nil
}

// receipt checks a receipt against the sent records.
func (v *verification) receipt(number uint64, l *Line, c *side) error {
	h, err := v.signed(number, l, c, crypto.KindReceipt)
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
	for _, claim := range [...]struct {
		seq    uint64
		digest []byte
	}{{r.Delivered, r.DeliveredDigest}, {r.Read, r.ReadDigest}} {
		if claim.seq > c.sent.seq {
			return errors.New("the receipt is for records that were not sent")
		}
		if claim.seq >= c.sent.base && !bytes.Equal(c.sent.digests[claim.seq-c.sent.base][:], claim.digest) {
			return errors.New("the receipt is for other records than were sent")
		}
	}
	if c.me.Party.doubt() != nil && c.peer.Party.attests(c.me.Party, h.Time) {
		c.sent.doubts = slices.DeleteFunc(c.sent.doubts, func(d doubt) bool { return d.seq <= r.Delivered })
	}
	c.sent.forget(r.Read)
	return c.take(l)
}

// end checks the sealed end of the peer's part.
func (v *verification) end(number uint64, l *Line, c *side) error {
	h, err := v.signed(number, l, c, crypto.KindEnd)
	if err != nil {
		return err
	}
	v.report.Ends++
	c.over = true
	if h.Seq != c.received.seq || !bytes.Equal(h.Digest, c.received.digest()[:]) {
		return errors.New("the conversation does not end with the last record in the history")
	}
	return nil
}

// finish makes the report.
func (v *verification) finish() *Report {
	for _, c := range v.order {
		for _, d := range c.sent.doubts {
			v.doubtful(d.line, c.me.Party)
		}
	}
	for _, d := range v.letterDoubts {
		if d.open > 0 {
			v.doubtful(d.line, d.who)
		}
	}
	for _, p := range v.judged {
		for _, number := range p.waiting {
			v.doubtful(number, p)
		}
		v.more += p.beyond
		v.counts[classDoubtful] += p.beyond
	}
	slices.SortStableFunc(v.findings, func(a, b Finding) int { return cmp.Compare(a.Line, b.Line) })
	r := &v.report
	r.Findings, r.More = v.findings, v.more
	r.classify(v.counts, v.untrusted)
	r.cover(v.heads, v.damaged)
	noted := make(map[string]bool) // the same card has many delegations
	for _, p := range v.judged {
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
