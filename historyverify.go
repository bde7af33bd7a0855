package chatsecure

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"chatsecure/crypto"
	"chatsecure/proto"
)

// maxFindings bounds what a report lists: a file that is garbage from end to
// end has as many findings as lines.
const maxFindings = 1000

// HistoryReport is what VerifyHistory checked and found.
type HistoryReport struct {
	Files, Lines, Bundles, Conversations int
	Messages, Records, Receipts          int // signatures checked are those of messages, receipts and ends
	Ends                                 int

	Findings []Finding // what does not hold, by file and line; at most 1000
	More     int       // further findings
	Hint     string    // what to do about the findings
	Notes    []string  // what holds and is worth saying

	// Unlisted is set if all holds but that it is not known whether some
	// certificates are revoked, which the policy refuses.
	Unlisted bool
}

// OK reports whether everything holds.
func (r *HistoryReport) OK() bool { return len(r.Findings) == 0 }

// String says for people what was checked and what does not hold; lines with
// newlines, safe to print.
func (r *HistoryReport) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "checked: %d files with %d lines, %d bundles, %d conversations, %d messages with %d records, %d receipts, %d ends\n",
		r.Files, r.Lines, r.Bundles, r.Conversations, r.Messages, r.Records, r.Receipts, r.Ends)
	for _, note := range r.Notes {
		fmt.Fprintf(&b, "note: %s\n", note)
	}
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%v\n", f)
	}
	if r.More > 0 {
		fmt.Fprintf(&b, "and %d more that do not hold\n", r.More)
	}
	if r.OK() {
		b.WriteString("everything holds; the times are what the signers' clocks said\n")
	}
	return b.String()
}

// historyVerify is one verification. Its methods are called by the goroutine
// that reads; only found and the jobs run beside it.
type historyVerify struct {
	report  HistoryReport
	slots   []string // in the order of reading
	persons *personCache
	bundles map[[sha256.Size]byte]*crypto.Bundle // of the present file
	convs   map[[32]byte]*verifyConv             // of the present file
	flows   map[flow]*verifyConv                 // of all files, by what is received
	shown   []shownClaim

	untrusted int    // findings that are only that an authority is not known
	trustHint string // and what to do about them

	mu       sync.Mutex // guards what follows
	findings []Finding
	more     int

	jobs    chan signatureJob
	workers sync.WaitGroup
}

// verifyConv is what a conversation must go on with.
type verifyConv struct {
	t3                 [32]byte
	direction, reverse string // ours, the peer's
	me, peer           verifyEnd
	sent               verifyDirection
	received           verifyDirection
	taken              uint64
	delivered, read    uint64     // of the last receipt
	digests            [][32]byte // of records sent, from that of seq base on
	base               uint64
}

// verifyEnd is one party of a conversation.
type verifyEnd struct {
	historyEnd
	hash   [32]byte
	bundle *crypto.Bundle
	key    *crypto.PublicKey
}

// verifyDirection is where one direction of a conversation stands.
type verifyDirection struct {
	n      uint64 // the next message's number, or the lowest it can have
	seq    uint64 // of the last record
	digest [32]byte
}

// shownClaim is a shown line, which may stand in another file than what was
// received.
type shownClaim struct {
	file string
	line uint64
	of   flow
	seq  uint64
}

type signatureJob struct {
	file      string
	line      uint64
	key       *crypto.PublicKey
	message   []byte
	signature []byte
	who       string
}

// VerifyHistory checks the history in dir from end to end and changes nothing:
// the chain of lines, every signature, delegation and certificate at the time
// of the message, the order of messages and records, and receipts against what
// was sent. The times are what the signers say; nobody attests them. A history
// that is not there holds. An error means that it could not be read; what does
// not hold is in the report.
func VerifyHistory(dir string, verifier *crypto.Verifier) (*HistoryReport, error) {
	r, unlisted, err := verifyHistory(dir, verifier)
	if err != nil || !unlisted {
		return r, err
	}
	other, _, err := verifyHistory(dir, verifier.WithPolicy(crypto.PolicyTry))
	if err != nil {
		return nil, err
	}
	r.Unlisted = other.OK()
	return r, nil
}

// verifyHistory also reports whether a certificate was refused because its
// revocation is not known.
func verifyHistory(dir string, verifier *crypto.Verifier) (r *HistoryReport, unlisted bool, err error) {
	v := &historyVerify{
		persons: newPersonCache(verifier),
		flows:   make(map[flow]*verifyConv),
		jobs:    make(chan signatureJob, 256), // enough that no worker waits for the reader's disk
	}
	for range runtime.GOMAXPROCS(0) {
		v.workers.Go(v.checkSignatures)
	}
	walk := historyWalk{dir: dir, each: v.line, found: v.found, note: v.note}
	err = walk.run()
	close(v.jobs)
	v.workers.Wait()
	if err = historyReadError(dir, err); err != nil {
		return nil, false, err
	}
	v.checkShown()
	v.report.Notes = append(v.report.Notes, v.persons.notes...)
	v.report.Files = len(v.slots)
	order := func(f Finding) int { return slices.Index(v.slots, f.File) }
	slices.SortStableFunc(v.findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(order(a), order(b)), cmp.Compare(a.Line, b.Line))
	})
	v.report.Findings, v.report.More = v.findings, v.more
	v.report.Hint = v.hint(walk.torn)
	return &v.report, v.persons.unlisted, nil
}

// hint is what to do about what was found: what a killed client leaves, and an
// authority that is not known here, are no sign that somebody was at the files.
func (v *historyVerify) hint(torn int) string {
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

// checkSignatures runs in every worker: signatures are most of the work, and
// nothing else depends on them.
func (v *historyVerify) checkSignatures() {
	for j := range v.jobs {
		if !j.key.Verify(j.message, j.signature) {
			v.found(Finding{j.file, j.line, "the signature of " + j.who + " does not hold"})
		}
	}
}

func (v *historyVerify) found(f Finding) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.findings) >= maxFindings {
		v.more++
		return
	}
	v.findings = append(v.findings, f)
}

func (v *historyVerify) note(what string) { v.report.Notes = append(v.report.Notes, what) }

// line checks one line. An error inside becomes a finding.
func (v *historyVerify) line(slot string, number uint64, line []byte) error {
	file := slot + historyExt
	if len(v.slots) == 0 || v.slots[len(v.slots)-1] != file {
		v.slots = append(v.slots, file)
		v.bundles = make(map[[sha256.Size]byte]*crypto.Bundle)
		v.convs = make(map[[32]byte]*verifyConv)
	}
	v.report.Lines++
	l, err := parseHistoryLine(line)
	if err == nil {
		err = v.typed(slot, number, l)
	}
	if err != nil {
		v.found(Finding{file, number, err.Error()})
	}
	return nil
}

func (v *historyVerify) typed(slot string, number uint64, l *historyLine) error {
	switch l.Type {
	case lineFile:
		if number != 1 {
			return errors.New("a file begins in the middle of another")
		}
	case lineBundle:
		return v.bundle(l)
	case lineConversation:
		return v.conversation(l)
	case lineSent, lineReceived:
		return v.batch(slot, number, l)
	case lineReceipt:
		return v.receipt(slot, number, l)
	case lineEnd:
		return v.end(slot, number, l)
	case lineTaken:
		return v.taken(l)
	case lineShown:
		v.shown = append(v.shown, shownClaim{slot + historyExt, number, flow{[32]byte(l.Conversation), l.Direction}, l.Seq})
	case lineGap:
		if v.convs[[32]byte(l.Conversation)] == nil {
			return errors.New("it is about a conversation that is not in the file before it")
		}
	case linePending:
		// Nothing of it is signed; the chain of lines is all that covers it.
	}
	return nil
}

func (v *historyVerify) bundle(l *historyLine) error {
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

func (v *historyVerify) conversation(l *historyLine) error {
	t3 := [32]byte(l.Conversation)
	c := &verifyConv{t3: t3, direction: l.Direction, reverse: reverse(l.Direction)}
	if v.convs[t3] != nil || v.flows[flow{t3, c.reverse}] != nil {
		return errors.New("the conversation is in the history twice")
	}
	for _, end := range [...]struct {
		from *historyEnd
		to   *verifyEnd
	}{{l.Me, &c.me}, {l.Peer, &c.peer}} {
		hash := [32]byte(end.from.Bundle)
		b := v.bundles[hash]
		if b == nil {
			return errors.New("the bundle of " + crypto.Visible(end.from.Name) + " is not in the file before it")
		}
		if b.Name != end.from.Name {
			return errors.New("the bundle of " + crypto.Visible(end.from.Name) + " is of another name")
		}
		key, err := crypto.ParsePublicKey(b.PublicKey)
		if err != nil {
			return err
		}
		*end.to = verifyEnd{*end.from, hash, b, key}
	}
	c.sent.digest = crypto.FirstDigest(t3, c.direction)
	c.received.digest = crypto.FirstDigest(t3, c.reverse)
	c.digests = [][32]byte{c.sent.digest}
	v.convs[t3], v.flows[flow{t3, c.reverse}] = c, c
	v.report.Conversations++
	return nil
}

// signed checks what all signed lines have: the header against the
// conversation, who signs at that time, and the number. It hands the signature
// to the workers.
func (v *historyVerify) signed(slot string, number uint64, l *historyLine, kind string) (*crypto.MessageHeader, *verifyConv, error) {
	h, err := crypto.ParseMessageHeader(l.Header)
	if err != nil {
		return nil, nil, err
	}
	c := v.convs[[32]byte(h.Conversation)]
	if c == nil {
		return nil, nil, errors.New("it is of a conversation that is not in the file before it")
	}
	direction, from, to, at := c.reverse, &c.peer, &c.me, &c.received
	if l.Type == lineSent {
		direction, from, to, at = c.direction, &c.me, &c.peer, &c.sent
	}
	if h.Kind != kind || h.Direction != direction || !bytes.Equal(h.SrcBundle, from.hash[:]) || !bytes.Equal(h.DstBundle, to.hash[:]) {
		return nil, nil, errors.New("its header is of another kind, direction or person than its place")
	}
	v.jobs <- signatureJob{
		file: slot + historyExt, line: number, key: from.key, who: crypto.Visible(from.Name),
		message: crypto.MessageSigns(l.Header, [32]byte(l.CipherHash)), signature: l.Signature,
	}
	// What does not hold of who signs says nothing about what follows: it is
	// a finding of its own.
	for _, err := range [...]error{v.persons.check(from, h.Time), v.persons.check(to, to.within(h.Time))} {
		if err == nil {
			continue
		}
		v.found(Finding{slot + historyExt, number, err.Error()})
		if hint := untrustedHint(err); hint != "" {
			v.trustHint = hint
			v.untrusted++
		}
	}
	// The receipts that this client gave are not in its history. All that the
	// peer sent is, but for the chunks of a pipe, and where there is a pipe
	// there are no records.
	missing := h.N > at.n && l.Type != lineSent && (kind == crypto.KindText || c.sent.seq > 0 || c.received.seq > 0)
	if h.N < at.n || missing {
		v.found(Finding{slot + historyExt, number, fmt.Sprintf("it is message %d of its direction where %d is next: messages are missing or in another order", h.N, at.n)})
	}
	at.n = h.N + 1
	return h, c, nil
}

// within returns t, or the end of the delegation that is nearest: that a
// message goes to somebody is said by its sender, who knows the delegation
// from the handshake.
func (e *verifyEnd) within(t int64) int64 {
	return max(e.bundle.NotBefore*1000, min(t, e.bundle.NotAfter*1000))
}

// batch checks a text message and its records.
func (v *historyVerify) batch(slot string, number uint64, l *historyLine) error {
	h, c, err := v.signed(slot, number, l, crypto.KindText)
	if err != nil {
		return err
	}
	from, to, at := &c.peer, &c.me, &c.received
	if l.Type == lineSent {
		from, to, at = &c.me, &c.peer, &c.sent
	}
	v.report.Messages++
	v.report.Records += len(l.Records)
	before, first := at.digest, at.seq
	// One that is missing must not make all that follow it findings too.
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
	for i, exact := range l.Records {
		d = crypto.NextDigest(d, sha256.Sum256(exact))
		if l.Type == lineSent {
			c.digests = append(c.digests, d)
		}
		if err := checkRecord(exact, h, uint64(i), from, to); err != nil {
			return err
		}
	}
	if !bytes.Equal(h.Digest, d[:]) {
		return errors.New("its records are not those that were signed")
	}
	return nil
}

// sentUpTo makes the digests end with the last record sent, also where what
// was read of it does not hold.
func (c *verifyConv) sentUpTo(at *verifyDirection) {
	if n := at.seq - c.base + 1; uint64(len(c.digests)) != n || c.digests[n-1] != at.digest {
		c.base, c.digests = at.seq, [][32]byte{at.digest}
	}
}

// checkRecord checks one record of a message.
func checkRecord(exact []byte, h *crypto.MessageHeader, i uint64, from, to *verifyEnd) error {
	r, err := crypto.ParseRecord(exact, from.identity())
	if err != nil {
		return err
	}
	if r.Seq != h.Seq+i || r.Time > h.Time+crypto.ClockTolerance.Milliseconds() {
		return fmt.Errorf("record %s has another number or a later time than its message", r.ID)
	}
	if !r.Names(proto.FoldName(to.Name), to.Identity) {
		return fmt.Errorf("record %s does not name %s among those it is for", r.ID, crypto.Visible(to.Name))
	}
	return nil
}

// receipt checks a receipt against what was sent.
func (v *historyVerify) receipt(slot string, number uint64, l *historyLine) error {
	h, c, err := v.signed(slot, number, l, crypto.KindReceipt)
	if err != nil {
		return err
	}
	v.report.Receipts++
	r, err := crypto.ParseReceipt(l.Receipt)
	if err != nil {
		return err
	}
	if d := r.Digest(c.t3, h.Direction); !bytes.Equal(h.Digest, d[:]) {
		return errors.New("the receipt is not the one that was signed")
	}
	if r.Delivered < c.delivered || r.Read < c.read {
		return errors.New("the receipt takes back what an earlier one says")
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

// end checks the end of the peer's part.
func (v *historyVerify) end(slot string, number uint64, l *historyLine) error {
	h, c, err := v.signed(slot, number, l, crypto.KindEnd)
	if err != nil {
		return err
	}
	v.report.Ends++
	if h.Seq != c.received.seq || !bytes.Equal(h.Digest, c.received.digest[:]) {
		return errors.New("the conversation does not end with the last record in the history")
	}
	return nil
}

func (v *historyVerify) taken(l *historyLine) error {
	c := v.convs[[32]byte(l.Conversation)]
	if c == nil {
		return errors.New("it is about a conversation that is not in the file before it")
	}
	if l.Seq > c.sent.seq || l.Seq < c.taken {
		return errors.New("it says that the relay took what was not sent, or takes that back")
	}
	c.taken = l.Seq
	return nil
}

// checkShown holds the shown lines against what was received.
func (v *historyVerify) checkShown() {
	for _, s := range v.shown {
		if c := v.flows[s.of]; c == nil || s.seq > c.received.seq {
			v.found(Finding{s.file, s.line, "it says that records have been shown which are not in the history"})
		}
	}
}

// personCache remembers what VerifyAt says of a bundle, over stretches of
// time: validity and revocation change once, so what holds at both ends of a
// stretch holds in it.
type personCache struct {
	verifier *crypto.Verifier
	known    map[[32]byte]*personTimes // by bundle hash
	notes    []string
	unlisted bool // somebody was refused because revocation is not known
}

type personTimes struct {
	identity         string
	goodFrom, goodTo int64 // Unix milliseconds
	badFrom, badTo   int64
	why              error // in the bad stretch
}

func newPersonCache(v *crypto.Verifier) *personCache {
	return &personCache{verifier: v, known: make(map[[32]byte]*personTimes)}
}

// check checks who is behind a party at a time, in Unix milliseconds, and that
// it is who the conversation's line says.
func (p *personCache) check(e *verifyEnd, at int64) error {
	t := p.known[e.hash]
	if t == nil {
		t = &personTimes{goodFrom: 1, badFrom: 1} // nothing is in either stretch
		p.known[e.hash] = t
	}
	if at < t.goodFrom || at > t.goodTo {
		if at >= t.badFrom && at <= t.badTo {
			return t.why
		}
		if err := p.look(e, t, at); err != nil {
			return err
		}
	}
	if t.identity != e.Identity {
		return errors.New("the identity of " + crypto.Visible(e.Name) + " is another than the history says")
	}
	return nil
}

// look asks the verifier, and how far the answer reaches.
func (p *personCache) look(e *verifyEnd, t *personTimes, at int64) error {
	person, err := p.at(e, at)
	if err != nil {
		p.unlisted = p.unlisted || HasCode(err, proto.RevocationUnknown)
		t.badFrom, t.badTo, t.why = at, at, err
		p.reach(e, at, func(to int64) bool {
			_, err2 := p.at(e, to)
			if err2 != nil && err2.Error() == err.Error() {
				t.badTo = to
				return true
			}
			return false
		})
		return err
	}
	if t.goodTo == 0 {
		t.goodFrom, t.goodTo, t.identity = at, at, fmt.Sprintf("%x", person.Identity)
		p.remark(e, person)
	}
	t.goodFrom, t.goodTo = min(t.goodFrom, at), max(t.goodTo, at)
	p.reach(e, at, func(to int64) bool {
		if _, err := p.at(e, to); err != nil {
			return false
		}
		t.goodTo = max(t.goodTo, to)
		return true
	})
	return nil
}

// reach tries ever smaller stretches after at, the rest of the delegation
// first, until one holds.
func (p *personCache) reach(e *verifyEnd, at int64, holds func(to int64) bool) {
	end := e.bundle.NotAfter * 1000
	for _, stretch := range [...]time.Duration{crypto.MaxDelegation, time.Hour, time.Minute, time.Second} {
		if to := min(at+stretch.Milliseconds(), end); to > at && holds(to) {
			return
		}
	}
}

func (p *personCache) at(e *verifyEnd, at int64) (*crypto.Person, error) {
	return p.verifier.VerifyAt(e.bundle, e.Name, time.UnixMilli(at))
}

// remark notes what holds then and does not now, and what is not known.
func (p *personCache) remark(e *verifyEnd, person *crypto.Person) {
	if note := personNote(e.Name, person); note != "" && !slices.Contains(p.notes, note) {
		p.notes = append(p.notes, note)
	}
}

// personNote says what is worth knowing of an identity that holds.
func personNote(name string, person *crypto.Person) string {
	switch {
	case person.Now != nil:
		return crypto.Visible(name) + ": valid then, not now: " + person.Now.Error()
	case person.Revocation.Status == crypto.RevocationUnknown:
		return crypto.Visible(name) + ": " + person.Revocation.Reason
	}
	return ""
}
